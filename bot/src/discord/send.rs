//! Answers to interactions, and messages in channels by the bot's token.
//!
//! An interaction's token is good for a quarter of an hour: while it is, the answer takes the place of "thinking", and
//! to write it twice is to write it once. Afterwards the answer is a message of its own, whose nonce is its row's number:
//! Discord gives the first one back to whoever posts it again soon.
//!
//! A living message never depends on a token: it is the bot's own from the beginning, since it is edited for hours. A
//! command that makes one therefore has two rows: the message, and the end of the "thinking" that stood for it. Discord
//! takes few edits of messages older than an hour; a living message whose edit is refused, or that somebody deleted, goes
//! on in a new one. A channel that is closed to the bot is left for the bot's own.
//!
//! A thread that is begun at a message has that message's id, and a message has one thread at most: so it does not matter who
//! began it, or whether the answer was lost. Without the right to begin one, the evidence is not shown.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use journal::plan::Platform;
use journal_store::{Draft, Mailroom, Outgoing};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::client::{Client, Failed, code};
use crate::arrival::{Message, Place, Word, button_value};
use crate::markup::{Flavour, render, render_within};
use crate::outbound::{Carrier, Delivery};
use crate::words;

/// The client counts Discord's own limits; this keeps two answers apart.
const PACE: Duration = Duration::from_millis(250);

/// How long a detail waits for the message that it stands under.
const UNTIL_THERE: Duration = Duration::from_secs(2);

/// After how many minutes of silence Discord folds a thread away: three days, one of the times that it takes.
const FOLDED_AFTER: u64 = 4_320;

/// The longest text that is sent as an embed, which Discord lets have 4,096 characters.
const LONG: usize = 3_900;

/// A message as its row holds it.
#[derive(Debug, Serialize, Deserialize)]
struct Body {
    #[serde(flatten)]
    message: Message,
    /// The token of the interaction that it answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    token: Option<String>,
    /// Nothing is said: what was shown while the answer was not there is taken away.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    settles: bool,
    /// The living message in whose thread it belongs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    under: Option<String>,
    /// What that thread is called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    title: Option<String>,
}

/// The row that takes away what a command showed, whose answer is a living message.
#[must_use]
pub(crate) fn settled(place: &Place) -> Option<Draft> {
    let Place::DiscordChannel { token: Some(token), .. } = place else { return None };
    let message = Message { text: String::new(), asks: None };
    let body = Body {
        message: message.clone(),
        token: Some(token.clone()),
        settles: true,
        under: None,
        title: None,
    };
    // Behind the message that it made room for.
    Some(Draft { priority: -1, body: serde_json::to_value(body).ok()?, ..place.draft(&message) })
}

/// Posts as the application.
#[derive(Debug)]
pub struct DiscordSender {
    /// Calls Discord.
    pub client: Arc<Client>,
    /// The application's id.
    pub application: u64,
    /// Knows where living messages are.
    pub mailroom: Arc<dyn Mailroom>,
    /// The bot's own channel, for what cannot be said where it belongs.
    pub channel: String,
}

impl From<Failed> for Delivery {
    fn from(failed: Failed) -> Self {
        match failed {
            Failed::Refused { status, code, message } => {
                let why = format!("Discord refused: {status} {code} {message}");
                if matches!(status, 400 | 403 | 404) {
                    Self::Never(why)
                } else {
                    Self::Later { wait: None, why }
                }
            }
            Failed::Limited(wait) => {
                Self::Later { wait: Some(wait), why: "Discord takes no more for now".to_owned() }
            }
            Failed::Unknown(why) => Self::Later { wait: None, why },
        }
    }
}

fn id_of(message: &Value) -> Result<String, Failed> {
    let id = message.get("id").and_then(Value::as_str).map(str::to_owned);
    id.ok_or_else(|| Failed::Unknown("Discord's answer has no id".to_owned()))
}

/// The token's time is over, or what stood there is gone.
const fn is_dead(failed: &Failed) -> bool {
    matches!(failed, Failed::Refused { status: 401 | 403 | 404, .. })
}

/// The channel takes nothing from the bot any more.
fn is_closed(failed: &Failed) -> bool {
    let closed = [code::UNKNOWN_CHANNEL, code::NO_ACCESS, code::NO_PERMISSION, code::ARCHIVED_THREAD];
    failed.code().is_some_and(|code| closed.contains(&code))
}

/// The message cannot be edited any more: the operation goes on in a new one.
fn is_fixed(failed: &Failed) -> bool {
    let fixed = [code::UNKNOWN_MESSAGE, code::TOO_MANY_LATE_EDITS, code::ANOTHERS_MESSAGE];
    failed.code().is_some_and(|code| fixed.contains(&code))
}

impl DiscordSender {
    fn original(&self, token: &str) -> String {
        format!("/webhooks/{}/{token}/messages/@original", self.application)
    }

    /// Posts it in a channel, or edits what was posted before.
    async fn write(&self, channel: &str, outgoing: &Outgoing, message: &Message) -> Result<String, Failed> {
        let mut body = shown(message);
        if let Some(known) = &outgoing.edits {
            match self.client.patch(&format!("/channels/{channel}/messages/{known}"), &body).await {
                Ok(_) => return Ok(known.clone()),
                Err(failed) if is_fixed(&failed) => {
                    tracing::info!(?failed, message = known, "a living message goes on in a new one");
                }
                Err(failed) => return Err(failed),
            }
        }
        if let Some(fields) = body.as_object_mut() {
            fields.insert("nonce".to_owned(), json!(format!("switchyard-{}", outgoing.id)));
            fields.insert("enforce_nonce".to_owned(), json!(true));
        }
        id_of(&self.client.post(&format!("/channels/{channel}/messages"), &body).await?)
    }

    /// Writes it where it belongs, or, if that is closed to the bot, in the bot's own channel.
    async fn post(&self, channel: &str, outgoing: &Outgoing, message: &Message) -> Result<String, Failed> {
        match self.write(channel, outgoing, message).await {
            Err(refused) if is_closed(&refused) && self.channel != channel => {
                tracing::warn!(channel, ?refused, "said in the bot's own channel instead");
                self.write(&self.channel, outgoing, message).await
            }
            done => done,
        }
    }

    /// Writes a detail into the thread under a living message, which begins with the first one.
    async fn detail(&self, channel: &str, outgoing: &Outgoing, body: &Body) -> Result<String, Delivery> {
        let under = body.under.as_deref().unwrap_or_default();
        let known = self.mailroom.living(&outgoing.draft.destination, under).await;
        let later = |why: String| Delivery::Later { wait: Some(UNTIL_THERE), why };
        let Some(parent) = known.map_err(|error| later(error.to_string()))? else {
            return Err(later("the message that it stands under is not there yet".to_owned()));
        };
        match self.write(&parent, outgoing, &body.message).await {
            Err(failed) if failed.code() == Some(code::UNKNOWN_CHANNEL) => {}
            done => return Ok(done?),
        }
        let thread = json!({"name": body.title, "auto_archive_duration": FOLDED_AFTER});
        match self.client.post(&format!("/channels/{channel}/messages/{parent}/threads"), &thread).await {
            Err(failed) if failed.code() != Some(code::HAS_A_THREAD) => return Err(failed.into()),
            Ok(_) | Err(_) => {}
        }
        Ok(self.write(&parent, outgoing, &body.message).await?)
    }

    async fn carry(&self, channel: &str, outgoing: &Outgoing, body: &Body) -> Result<String, Failed> {
        match &body.token {
            Some(token) if body.settles => match self.client.delete(&self.original(token)).await {
                Err(failed) if !is_dead(&failed) => Err(failed),
                Ok(_) | Err(_) => Ok("settled".to_owned()),
            },
            // A living message is the bot's own.
            Some(token) if outgoing.draft.living.is_none() => {
                match self.client.patch(&self.original(token), &shown(&body.message)).await {
                    Ok(message) => id_of(&message),
                    Err(failed) if is_dead(&failed) => self.post(channel, outgoing, &body.message).await,
                    Err(failed) => Err(failed),
                }
            }
            _ => self.post(channel, outgoing, &body.message).await,
        }
    }
}

/// The text, and the buttons under it.
fn shown(message: &Message) -> Value {
    const ROW: u8 = 1;
    const BUTTON: u8 = 2;
    const GREEN: u8 = 3;
    const RED: u8 = 4;
    let button = |word: Word, label: String, style: u8, plan: &str, request: u64| {
        let id = button_value(word, request, plan);
        json!({"type": BUTTON, "style": style, "label": label, "custom_id": id})
    };
    let rows: Vec<Value> = message
        .asks
        .iter()
        .map(|asks| {
            json!({"type": ROW, "components": [
                button(Word::Approve, words::approve_button(asks.request), GREEN, &asks.plan, asks.request),
                button(Word::Deny, words::deny_button(asks.request), RED, &asks.plan, asks.request),
            ]})
        })
        .collect();
    let (content, embeds) = if message.text.chars().count() <= Flavour::Discord.most() {
        (render(&message.text, Flavour::Discord), json!([]))
    } else {
        (String::new(), json!([{"description": render_within(&message.text, Flavour::Discord, LONG)}]))
    };
    // An edit that leaves something out leaves it standing: all is always said, if only that there is none.
    json!({"content": content, "embeds": embeds, "allowed_mentions": {"parse": []}, "components": rows})
}

#[async_trait]
impl Carrier for DiscordSender {
    fn platform(&self) -> Platform {
        Platform::Discord
    }

    fn pace(&self) -> Duration {
        PACE
    }

    async fn deliver(&self, outgoing: &Outgoing) -> Delivery {
        let place = serde_json::from_str(&outgoing.draft.destination);
        let body = serde_json::from_value::<Body>(outgoing.draft.body.clone());
        let (Ok(Place::DiscordChannel { channel, .. }), Ok(body)) = (place, body) else {
            return Delivery::Never("the row cannot be read".to_owned());
        };
        let done = match body.under {
            Some(_) => self.detail(&channel, outgoing, &body).await,
            None => self.carry(&channel, outgoing, &body).await.map_err(Delivery::from),
        };
        done.map_or_else(|delivery| delivery, Delivery::Sent)
    }
}
