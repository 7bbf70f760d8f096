//! What an interaction is answered with, over HTTP and through the gateway alike.
//!
//! A word is kept before it is acknowledged, and answered later. What is no word is answered at once, from the journal's
//! state: Discord waits three seconds.

use std::sync::Arc;
use std::time::Duration;

use journal::{Position, State};
use journal_store::Store;
use serde_json::{Value, json};

use super::commands::{PHASE, REQUEST, TOPIC};
use super::receive::{Press, REASON, Typing};
use crate::arrival::Word;
use crate::board;
use crate::language::Verb;
use crate::markup::{Flavour, render};
use crate::words;

/// How long the journal may take: what is left of the three seconds is for the way.
const LIMIT: Duration = Duration::from_millis(2000);

/// How many choices Discord shows.
const MOST_CHOICES: usize = 25;

// The kinds of answers.
const MESSAGE: u8 = 4;
const CHOICES: u8 = 8;
const WINDOW: u8 = 9;

/// The flag of what one person alone reads.
const TO_THE_PERSON_ALONE: u8 = 1 << 6;

/// Answers what is no word.
#[derive(Debug)]
pub struct Reception {
    /// What is shown.
    pub store: Arc<dyn Store>,
}

/// Something for the person alone.
pub(crate) fn whispered(text: &str) -> Value {
    json!({"type": MESSAGE, "data": {
        "content": render(text, Flavour::Discord), "flags": TO_THE_PERSON_ALONE, "allowed_mentions": {"parse": []},
    }})
}

impl Reception {
    /// The window of a press: it shows what is approved or denied, and asks why.
    pub(crate) async fn window(&self, press: &Press) -> Value {
        match tokio::time::timeout(LIMIT, self.shown(press)).await {
            Ok(Ok(Some(text))) => window(press, &text),
            Ok(Ok(None)) => whispered(&words::other_button(press.request)),
            Ok(Err(error)) => {
                tracing::warn!(%error, request = press.request, "no window was opened");
                whispered(&words::no_window(press.word, press.request))
            }
            Err(_) => {
                tracing::warn!(request = press.request, "the journal took too long for a window");
                whispered(&words::no_window(press.word, press.request))
            }
        }
    }

    async fn shown(&self, press: &Press) -> Result<Option<String>, journal_store::StoreError> {
        let state = self.store.state().await?;
        let request = Position::new(press.request);
        let is_it = |hash: String| hash.starts_with(press.plan.as_str());
        if !state.requests.get(&request).is_some_and(|asked| is_it(asked.plan_hash.to_string())) {
            return Ok(None);
        }
        let (reported, now) = (self.store.reported().await?, self.store.now().await?);
        Ok(board::asked(&state, &reported, now, request))
    }

    /// The choices for an option that is being filled in. None, if the journal cannot be read: the person types on.
    pub(crate) async fn complete(&self, typing: &Typing) -> Value {
        let choices = match tokio::time::timeout(LIMIT, self.store.state()).await {
            Ok(Ok(state)) => choices(&state, typing),
            Ok(Err(error)) => {
                tracing::warn!(%error, "nothing can be completed");
                Vec::new()
            }
            Err(_) => Vec::new(),
        };
        let choices: Vec<Value> =
            choices.into_iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
        json!({"type": CHOICES, "data": {"choices": choices}})
    }
}

fn window(press: &Press, text: &str) -> Value {
    // The kinds of parts.
    const TEXT: u8 = 10;
    const LABEL: u8 = 18;
    const INPUT: u8 = 4;
    const SEVERAL_LINES: u8 = 2;
    let title = match press.word {
        Word::Approve => words::approve_button(press.request),
        Word::Deny => words::deny_button(press.request),
    };
    let input = json!({
        "type": INPUT, "custom_id": REASON, "style": SEVERAL_LINES, "max_length": 500, "required": press.word == Word::Deny,
    });
    json!({"type": WINDOW, "data": {"custom_id": press.value(), "title": title, "components": [
        {"type": TEXT, "content": render(text, Flavour::Discord)},
        {"type": LABEL, "label": words::reason_label(press.word), "component": input},
    ]}})
}

/// What could stand there: what is shown, and what it means.
fn choices(state: &State, typing: &Typing) -> Vec<(String, String)> {
    let typed = typing.text.trim().trim_start_matches('#').to_lowercase();
    let fits = |name: &str| name.to_lowercase().contains(&typed);
    let found: Vec<(String, String)> = match typing.option.as_str() {
        PHASE => {
            let phases = state.plan.iter().flat_map(|(plan, _)| &plan.phases);
            phases.map(|phase| (phase.name.to_string(), phase.name.to_string())).collect()
        }
        REQUEST => {
            let live = state.requests.values().rev();
            live.filter(|request| request.is_live() || request.unreviewed_glass().is_some())
                .map(|request| (words::choice(request), request.position.to_string()))
                .collect()
        }
        TOPIC => Verb::ALL.iter().map(|verb| (verb.word().to_owned(), verb.word().to_owned())).collect(),
        _ => Vec::new(),
    };
    let shown = |name: String| name.chars().take(100).collect::<String>();
    let found = found.into_iter().filter(|(name, _)| fits(name)).take(MOST_CHOICES);
    found.map(|(name, value)| (shown(name), value)).collect()
}
