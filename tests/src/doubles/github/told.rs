//! What a test asks of the double: what the App has said, and that it said nothing else.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::Github;
use super::world::{APP_USER, Check, Comment, World};
use crate::wait::{Seen, wait_until};

/// How long an answer may take on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// The first request's number in a text: `#41`.
#[must_use]
pub fn number_in(text: &str) -> Option<u64> {
    let (_, rest) = text.split_once('#')?;
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

impl Github {
    /// Waits until something is so.
    ///
    /// # Errors
    /// It does not become so.
    pub async fn until<T>(&self, what: &str, mut look: impl FnMut(&mut World) -> Option<T>) -> Result<T> {
        wait_until(PATIENCE, what, async || {
            Ok(match self.world(|world| look(world)) {
                Some(found) => Seen::Done(found),
                None => Seen::NotYet(format!("{}\n{}", self.world(|world| world.said()), self.posted())),
            })
        })
        .await
    }

    /// Waits for a comment of the App that no test has expected yet, and that contains all of these.
    ///
    /// # Errors
    /// There is none.
    pub async fn answer(&self, number: u64, containing: &[&str]) -> Result<Comment> {
        self.until(&format!("a comment in #{number} with {containing:?}"), |world| {
            let comment = world.comments.values_mut().find(|comment| {
                comment.author == Some(APP_USER)
                    && !comment.is_expected
                    && comment.thread.number() == number
                    && containing.iter().all(|text| comment.body.contains(text))
            })?;
            comment.is_expected = true;
            Some(comment.clone())
        })
        .await
    }

    /// Waits until a comment of the App contains all of these.
    ///
    /// # Errors
    /// It does not come to.
    pub async fn comment_says(&self, id: u64, containing: &[&str]) -> Result<Comment> {
        self.until(&format!("the comment {id} with {containing:?}"), |world| {
            let comment = world.comments.get(&id)?;
            containing.iter().all(|text| comment.body.contains(text)).then(|| comment.clone())
        })
        .await
    }

    /// Waits for a check run of this name at a commit, in this status or conclusion.
    ///
    /// # Errors
    /// There is none.
    pub async fn check(&self, head: &str, name: &str, status: &str) -> Result<Check> {
        self.until(&format!("the check run `{name}` to be {status}"), |world| {
            let found = world.checks.values().find(|check| check.head == head && check.name == name)?;
            let is = found.conclusion.as_deref().unwrap_or(&found.status);
            (is == status).then(|| found.clone())
        })
        .await
    }

    /// The newest deliveries and requests, for a failed test.
    fn posted(&self) -> String {
        let inner = self.shared.lock();
        let newest = inner.post.attempts.iter().rev().take(5);
        let attempts =
            newest.map(|one| format!("webhook {} {}: {:?}", one.hook.event, one.hook.action, one.status));
        let requests = inner.requests.iter().rev().take(10).map(|what| format!("request {what}"));
        attempts.chain(requests).collect::<Vec<_>>().join("\n")
    }

    /// Nothing was said that was not expected, and nothing was done that a good client does not do.
    ///
    /// # Errors
    /// What it was.
    pub fn nothing_else(&self) -> Result<()> {
        let unexpected: Vec<String> = self.world(|world| {
            let said = world.comments.values().filter(|comment| !comment.is_expected);
            said.map(|comment| format!("#{}: {}", comment.thread.number(), comment.body)).collect()
        });
        ensure!(unexpected.is_empty(), "said and not expected:\n{}", unexpected.join("\n---\n"));
        let (violations, hasty) = {
            let inner = self.shared.lock();
            (inner.world.violations.clone(), inner.limits.hasty.clone())
        };
        ensure!(violations.is_empty(), "refused or not known:\n{}", violations.join("\n"));
        ensure!(hasty.is_empty(), "although it was asked to wait:\n{}", hasty.join("\n"));
        Ok(())
    }
}

impl World {
    /// What the App has said, for a failed test.
    fn said(&self) -> String {
        let comments = self.comments.values().filter(|comment| comment.author == Some(APP_USER));
        let comments =
            comments.map(|comment| format!("#{} {}: {}", comment.thread.number(), comment.id, comment.body));
        let checks = self.checks.values().map(|check| format!("check {}: {:?}", check.name, check.states));
        let lines: Vec<String> = comments
            .chain(checks)
            .chain(self.violations.iter().map(|what| format!("violation {what}")))
            .collect();
        lines.join("\n")
    }
}
