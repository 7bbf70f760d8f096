//! The window that a button opens: it shows what is approved or denied, and asks why.
//!
//! Slack lets a window be opened for three seconds after the press, so it is opened before the press is acknowledged,
//! and not by way of the inbox. Nothing is lost by that: a press is no word yet. The word is what the person sends from
//! the window, and that is kept before it is acknowledged, as any other.

use std::sync::Arc;
use std::time::Duration;

use journal::{Position, State};
use journal_store::{Store, StoreError};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::client::{Client, Failed};
use super::send::section;
use crate::arrival::{Said, Word, button_value};
use crate::board;
use crate::markup::{Flavour, render};
use crate::words;

/// The window's name for Slack.
pub(super) const CALLBACK: &str = "switchyard_word";
/// The field of the reason.
pub(crate) const REASON: &str = "reason";

/// How long a window may take to open. The person sees "thinking" for so long.
const LIMIT: Duration = Duration::from_millis(2500);

/// A press on a button under a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Press {
    /// What lets a window be opened.
    pub trigger: String,
    /// Where an answer goes that only the person reads.
    pub response_url: Option<String>,
    /// What the button says.
    pub word: Word,
    /// The request's number.
    pub request: u64,
    /// The first digits of the plan's hash that was shown.
    pub plan: String,
    /// Where the button stands.
    pub channel: String,
    /// The thread in which the answer belongs.
    pub thread: String,
}

/// What a window keeps: nobody is trusted with it, it is checked when it comes back.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Kept {
    pub(super) value: String,
    pub(super) channel: String,
    pub(super) thread: String,
}

/// Opens windows.
#[derive(Debug)]
pub struct Windows {
    /// Calls Slack.
    pub client: Arc<Client>,
    /// What is shown.
    pub store: Arc<dyn Store>,
}

impl Windows {
    /// Opens the window of a press; whatever keeps it from that is told to the person.
    pub async fn open(&self, press: &Press) {
        let opened = tokio::time::timeout(LIMIT, self.try_open(press)).await;
        let told = match opened {
            Ok(Ok(None)) => return,
            Ok(Ok(Some(told))) => told,
            Ok(Err(why)) => {
                tracing::warn!(request = press.request, why, "no window was opened");
                words::no_window(press.word, press.request)
            }
            Err(_) => {
                tracing::warn!(request = press.request, "the window took too long");
                words::no_window(press.word, press.request)
            }
        };
        self.refuse(press.response_url.as_deref(), &told).await;
    }

    /// Tells whoever pressed a button, and nobody else, why nothing came of it.
    pub async fn refuse(&self, response_url: Option<&str>, told: &str) {
        let Some(url) = response_url else { return };
        match tokio::time::timeout(LIMIT, self.client.whisper(url, &render(told, Flavour::Slack))).await {
            Ok(Ok(())) => {}
            Ok(Err(failed)) => tracing::warn!(?failed, "the person could not be told"),
            Err(_) => tracing::warn!("the person could not be told in time"),
        }
    }

    /// None: it is open. Else what the person is told instead.
    async fn try_open(&self, press: &Press) -> Result<Option<String>, String> {
        let state = self.store.state().await.map_err(|error| error.to_string())?;
        let asked = state.requests.get(&Position::new(press.request));
        if !asked.is_some_and(|asked| asked.plan_hash.to_string().starts_with(press.plan.as_str())) {
            return Ok(Some(words::other_button(press.request)));
        }
        let text = self.shown(&state, press.request).await.map_err(|error| error.to_string())?;
        let body = json!({"trigger_id": press.trigger, "view": view(press, &text)});
        match self.client.post("views.open", &body).await {
            Ok(_) => Ok(None),
            Err(Failed::Refused(error)) => Err(format!("Slack refused: {error}")),
            Err(failed) => Err(format!("{failed:?}")),
        }
    }

    /// What is approved or denied: the operation, the phase, the plan, and what the journal knows of both.
    async fn shown(&self, state: &State, request: u64) -> Result<String, StoreError> {
        let (reported, now) = (self.store.reported().await?, self.store.now().await?);
        Ok(board::asked(state, &reported, now, Position::new(request)).unwrap_or_default())
    }
}

fn plain(text: &str) -> Value {
    json!({"type": "plain_text", "text": text})
}

fn view(press: &Press, text: &str) -> Value {
    let kept = Kept {
        value: button_value(press.word, press.request, &press.plan),
        channel: press.channel.clone(),
        thread: press.thread.clone(),
    };
    let is_denial = press.word == Word::Deny;
    let label = match press.word {
        Word::Approve => words::approve_button(press.request),
        Word::Deny => words::deny_button(press.request),
    };
    json!({
        "type": "modal", "callback_id": CALLBACK, "title": plain(&label), "close": plain(words::cancel()),
        "submit": plain(words::word_button(press.word)),
        "private_metadata": serde_json::to_string(&kept).unwrap_or_default(),
        "blocks": [
            section(&render(text, Flavour::Slack)),
            {
                "type": "input", "block_id": REASON, "optional": !is_denial, "label": plain(words::reason_label(press.word)),
                "element": {"type": "plain_text_input", "action_id": REASON, "multiline": true, "max_length": 500},
            },
        ],
    })
}

/// What a window's words say: the word, and why.
pub(super) fn word(kept: &Kept, reason: Option<String>) -> Option<Said> {
    match crate::arrival::button(&kept.value)? {
        Said::Button { word, request, plan, .. } => {
            let reason = reason.map(|text| text.split_whitespace().collect::<Vec<_>>().join(" "));
            Some(Said::Button { word, request, plan, reason: reason.filter(|text| !text.is_empty()) })
        }
        _ => None,
    }
}
