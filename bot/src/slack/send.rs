//! Messages in channels and on home tabs, by the bot's token.
//!
//! Each message's metadata holds its row's number. A row that was tried before may be there: the channel's history is
//! searched for it before it is posted again. A living message that somebody deleted is posted anew; a channel that is
//! closed to the bot is left for the bot's own.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use journal::plan::Platform;
use journal_store::{Mailroom, Outgoing, StoreError};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::client::{Client, Failed};
use crate::arrival::{Message, Place, Word, button_value};
use crate::markup::{Flavour, render};
use crate::outbound::{Carrier, Delivery};
use crate::words;

/// Slack takes about one message a second in a channel.
const PACE: Duration = Duration::from_secs(1);

/// How long a detail waits for the message that it stands under.
const UNTIL_THERE: Duration = Duration::from_secs(2);

/// What the metadata of our messages are called.
const EVENT: &str = "switchyard_message";

/// A message as its row holds it.
#[derive(Debug, Serialize, Deserialize)]
struct Body {
    #[serde(flatten)]
    message: Message,
    /// The living message in whose thread it belongs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    under: Option<String>,
}

/// Posts as the bot.
#[derive(Debug)]
pub struct SlackSender {
    /// Calls Slack.
    pub client: Arc<Client>,
    /// Knows where living messages are.
    pub mailroom: Arc<dyn Mailroom>,
    /// The channel of the bot's own, for what cannot be said where it belongs.
    pub channel: Option<String>,
}

/// Where a message goes.
#[derive(Debug, Clone, Copy)]
struct At<'a> {
    channel: &'a str,
    thread: Option<&'a str>,
}

impl From<Failed> for Delivery {
    fn from(failed: Failed) -> Self {
        match failed {
            Failed::Refused(error) => {
                let why = format!("Slack refused: {error}");
                let is_final = is_closed(&error)
                    || matches!(
                        error.as_str(),
                        "message_not_found"
                            | "cant_update_message"
                            | "no_text"
                            | "msg_too_long"
                            | "invalid_blocks"
                            | "user_not_found"
                            | "not_enabled"
                            | "thread_not_found"
                    );
                if is_final { Self::Never(why) } else { Self::Later { wait: None, why } }
            }
            Failed::Limited(wait) => Self::Later { wait, why: "Slack takes no more for now".to_owned() },
            Failed::Unknown(why) => Self::Later { wait: None, why },
        }
    }
}

impl From<StoreError> for Delivery {
    fn from(error: StoreError) -> Self {
        Self::Later { wait: None, why: error.to_string() }
    }
}

/// The channel takes nothing from the bot any more.
fn is_closed(error: &str) -> bool {
    matches!(error, "channel_not_found" | "is_archived" | "not_in_channel" | "restricted_action")
}

impl SlackSender {
    /// The message of this row in the channel.
    async fn find(&self, at: At<'_>, outgoing: &Outgoing) -> Result<Option<String>, Failed> {
        // A minute for clocks that differ.
        let oldest = (outgoing.written_at.millis() / 1000 - 60).to_string();
        let (method, mut query) = match at.thread {
            Some(thread) => ("conversations.replies", vec![("ts", thread)]),
            None => ("conversations.history", Vec::new()),
        };
        query.extend([
            ("channel", at.channel),
            ("oldest", oldest.as_str()),
            ("limit", "200"),
            ("include_all_metadata", "true"),
        ]);
        let answer = self.client.get(method, &query).await?;
        let messages = answer.get("messages").and_then(Value::as_array).cloned().unwrap_or_default();
        let id = outgoing.id.to_string();
        Ok(messages
            .iter()
            .find(|message| {
                let payload = message.pointer("/metadata/event_payload/outbox").and_then(Value::as_str);
                message.get("bot_id").is_some() && payload == Some(id.as_str())
            })
            .and_then(|message| message.get("ts")?.as_str().map(str::to_owned)))
    }

    /// Posts it, or edits what was posted before.
    async fn write(&self, at: At<'_>, outgoing: &Outgoing, message: &Message) -> Result<String, Failed> {
        let mut body = shown(message, outgoing.id);
        if let Some(fields) = body.as_object_mut() {
            fields.insert("channel".to_owned(), json!(at.channel));
        }
        if let Some(known) = &outgoing.edits {
            let mut edit = body.clone();
            if let Some(fields) = edit.as_object_mut() {
                fields.insert("ts".to_owned(), json!(known));
            }
            match self.client.post("chat.update", &edit).await {
                Ok(_) => return Ok(known.clone()),
                // Somebody deleted it, or it cannot be edited any more: the operation goes on in a new one.
                Err(Failed::Refused(error))
                    if matches!(
                        error.as_str(),
                        "message_not_found" | "cant_update_message" | "edit_window_closed"
                    ) => {}
                Err(failed) => return Err(failed),
            }
        }
        if outgoing.attempts > 1
            && let Some(ts) = self.find(at, outgoing).await?
        {
            return Ok(ts);
        }
        if let (Some(fields), Some(thread)) = (body.as_object_mut(), at.thread) {
            fields.insert("thread_ts".to_owned(), json!(thread));
        }
        let answer = self.client.post("chat.postMessage", &body).await?;
        let ts = answer.get("ts").and_then(Value::as_str).map(str::to_owned);
        ts.ok_or_else(|| Failed::Unknown("Slack's answer has no ts".to_owned()))
    }

    /// Writes it where it belongs, or, if that is closed to the bot, in the bot's own channel.
    async fn post(&self, at: At<'_>, outgoing: &Outgoing, message: &Message) -> Result<String, Failed> {
        let refused = match self.write(at, outgoing, message).await {
            Err(Failed::Refused(error)) if is_closed(&error) || error == "thread_not_found" => error,
            done => return done,
        };
        let own = At { channel: self.channel.as_deref().unwrap_or(at.channel), thread: None };
        if own.channel == at.channel && at.thread.is_none() {
            return Err(Failed::Refused(refused));
        }
        tracing::warn!(channel = at.channel, refused, "said in the bot's own channel instead");
        self.write(own, outgoing, message).await
    }

    /// The message in whose thread a detail belongs: none if it is not there yet.
    async fn parent(&self, outgoing: &Outgoing, under: &str) -> Result<String, Delivery> {
        let known = self.mailroom.living(&outgoing.draft.destination, under).await?;
        known.ok_or_else(|| Delivery::Later {
            wait: Some(UNTIL_THERE),
            why: "the message that it stands under is not there yet".to_owned(),
        })
    }

    async fn home(&self, user: &str, text: &str) -> Result<String, Delivery> {
        let body = json!({"user_id": user, "view": {"type": "home", "blocks": [section(&render(text, Flavour::Slack))]}});
        self.client.post("views.publish", &body).await?;
        Ok(format!("home/{user}"))
    }

    async fn carry(&self, outgoing: &Outgoing) -> Result<String, Delivery> {
        let place = serde_json::from_str(&outgoing.draft.destination);
        let body = serde_json::from_value::<Body>(outgoing.draft.body.clone());
        let (Ok(place), Ok(body)) = (place, body) else {
            return Err(Delivery::Never("the row cannot be read".to_owned()));
        };
        match place {
            Place::SlackChannel { channel, thread } => {
                let thread = match (thread, &body.under) {
                    (Some(thread), _) => Some(thread),
                    (None, Some(under)) => Some(self.parent(outgoing, under).await?),
                    (None, None) => None,
                };
                let at = At { channel: &channel, thread: thread.as_deref() };
                Ok(self.post(at, outgoing, &body.message).await?)
            }
            Place::SlackHome { user } => self.home(&user, &body.message.text).await,
            Place::PullRequest { .. } | Place::DiscordChannel { .. } => {
                Err(Delivery::Never("the row is another platform's".to_owned()))
            }
        }
    }
}

pub(super) fn section(text: &str) -> Value {
    json!({"type": "section", "text": {"type": "mrkdwn", "text": text, "verbatim": true}})
}

/// The text, the buttons under it, and the row's number.
fn shown(message: &Message, row: i64) -> Value {
    let text = render(&message.text, Flavour::Slack);
    let mut blocks = vec![section(&text)];
    if let Some(asks) = &message.asks {
        let button = |word: Word, label: String, style: &str| {
            json!({
                "type": "button", "style": style, "action_id": format!("switchyard_{}", word.word()),
                "text": {"type": "plain_text", "text": label},
                "value": button_value(word, asks.request, &asks.plan),
            })
        };
        blocks.push(json!({"type": "actions", "elements": [
            button(Word::Approve, words::approve_button(asks.request), "primary"),
            button(Word::Deny, words::deny_button(asks.request), "danger"),
        ]}));
    }
    let metadata = json!({"event_type": EVENT, "event_payload": {"outbox": row.to_string()}});
    json!({"text": text, "blocks": blocks, "metadata": metadata, "unfurl_links": false})
}

#[async_trait]
impl Carrier for SlackSender {
    fn platform(&self) -> Platform {
        Platform::Slack
    }

    fn pace(&self) -> Duration {
        PACE
    }

    async fn deliver(&self, outgoing: &Outgoing) -> Delivery {
        match self.carry(outgoing).await {
            Ok(id) => Delivery::Sent(id),
            Err(delivery) => delivery,
        }
    }
}
