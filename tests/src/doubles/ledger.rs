//! What a platform saw: everything that was said, whether a test expected it, and every rule that was broken.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use serde_json::Value;

use crate::wait::{Seen, wait_until};

/// How long something may take to be said. Long, since the machine may be busy; nothing waits for it in vain.
pub const SOON: Duration = Duration::from_secs(20);

/// Something that was said: a message, one state of a message, a whisper, a window.
#[derive(Debug, Clone)]
pub struct Said {
    /// Where: a channel's id, `channel/person` for what one person alone sees, `home/person`, `window/person`.
    pub place: String,
    /// The message's id.
    pub message: String,
    /// What people read, as they read it.
    pub text: String,
    /// As it was sent.
    pub body: Value,
    /// Whether it is a later state of a message that was there.
    pub is_edit: bool,
    /// When.
    pub at: Instant,
    is_heard: bool,
}

impl Said {
    /// Something that was said just now.
    #[must_use]
    pub fn now(place: &str, message: &str, text: String, body: Value) -> Self {
        let (place, message) = (place.to_owned(), message.to_owned());
        Self { place, message, text, body, is_edit: false, at: Instant::now(), is_heard: false }
    }

    /// Whether a test has waited for it.
    #[must_use]
    pub const fn is_heard(&self) -> bool {
        self.is_heard
    }

    /// The same, as a later state.
    #[must_use]
    pub fn edit(self) -> Self {
        Self { is_edit: true, ..self }
    }
}

#[derive(Debug, Default)]
struct Book {
    said: Vec<Said>,
    violations: Vec<String>,
}

/// All that was said and broken.
#[derive(Debug, Default)]
pub struct Ledger(Mutex<Book>);

impl Ledger {
    fn book(&self) -> MutexGuard<'_, Book> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes what was said.
    pub fn note(&self, said: Said) {
        self.book().said.push(said);
    }

    /// Notes a rule that was broken.
    pub fn violated(&self, what: impl Into<String>) {
        self.book().violations.push(what.into());
    }

    /// All of it, in its order.
    #[must_use]
    pub fn said(&self) -> Vec<Said> {
        self.book().said.clone()
    }

    /// Waits until something is said in a place that holds a text, formatting aside, and that nobody has waited for yet. The earlier states
    /// of the same message are heard with it: a state may be left out, and so no test can wait for each.
    ///
    /// # Errors
    /// It is not said in time.
    pub async fn hear(&self, place: &str, needle: &str) -> Result<Said> {
        wait_until(SOON, &format!("“{needle}” to be said in {place}"), async || {
            let mut book = self.book();
            let found = book
                .said
                .iter()
                .position(|said| !said.is_heard && said.place == place && plain(&said.text).contains(needle));
            let Some(index) = found else {
                return Ok(Seen::NotYet(listed(&book.said, |said| !said.is_heard)));
            };
            let heard = book.said.get(index).cloned();
            let Some(heard) = heard else { bail!("the ledger lost a line") };
            for said in book.said.iter_mut().take(index + 1) {
                if said.place == heard.place && said.message == heard.message {
                    said.is_heard = true;
                }
            }
            Ok(Seen::Done(heard))
        })
        .await
    }

    /// Takes every state of a message for expected, up to now.
    pub fn follow(&self, message: &str) {
        self.book()
            .said
            .iter_mut()
            .filter(|said| said.message == message)
            .for_each(|said| said.is_heard = true);
    }

    /// Takes later states of messages that a test has heard for expected, up to now: living messages may have gone on.
    pub fn follow_living(&self) {
        let said = self.said();
        let living = said.iter().filter(|said| said.is_heard).map(|said| said.message.as_str());
        let living: std::collections::BTreeSet<&str> = living.collect();
        let later = |said: &Said| said.is_edit && living.contains(said.message.as_str());
        self.book().said.iter_mut().filter(|said| later(said)).for_each(|said| said.is_heard = true);
    }

    /// Takes everything that was said in a place for expected, up to now: for places that other tests are about.
    pub fn pass_over(&self, place: &str) {
        self.book().said.iter_mut().filter(|said| said.place == place).for_each(|said| said.is_heard = true);
    }

    /// Gives the violations that hold a text, and takes them for expected.
    pub fn forgive(&self, needle: &str) -> usize {
        let mut book = self.book();
        let before = book.violations.len();
        book.violations.retain(|violation| !violation.contains(needle));
        before - book.violations.len()
    }

    /// Ends a conversation.
    ///
    /// # Errors
    /// A rule was broken, or something was said that no test expected.
    pub fn close(&self) -> Result<()> {
        let book = self.book();
        ensure!(
            book.violations.is_empty(),
            "the platform's rules were broken:\n{}",
            book.violations.join("\n")
        );
        let unheard = listed(&book.said, |said| !said.is_heard);
        ensure!(unheard.is_empty(), "said, and not expected:\n{unheard}");
        Ok(())
    }
}

fn listed(said: &[Said], which: impl Fn(&Said) -> bool) -> String {
    let lines = said.iter().filter(|said| which(said)).map(|said| {
        let kind = if said.is_edit { "edit of " } else { "" };
        format!("[{}] {kind}{}: {}", said.place, said.message, said.text)
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// A text without what a platform's way of writing adds: so words can be compared across platforms and the terminal.
#[must_use]
pub fn plain(text: &str) -> String {
    let text = text.replace("```text\n", "").replace("\n```", "").replace("```\n", "");
    let unseen = |c: &char| !matches!(c, '`' | '\u{200b}' | '\\');
    let lines: Vec<String> = text.lines().map(|line| line.chars().filter(unseen).collect()).collect();
    let lines: Vec<&str> = lines.iter().map(|line| line.trim_end()).collect();
    lines.join("\n").trim().to_owned()
}
