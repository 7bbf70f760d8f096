//! Answers to interactions, and messages in channels by the bot's token.
//!
//! An interaction's token is good for a quarter of an hour: while it is, the answer takes the place of "thinking", and
//! to write it twice is to write it once. Afterwards the answer is a message of its own, whose nonce is its row's number:
//! Discord gives the first one back to whoever posts it again soon.

use std::time::Duration;

use async_trait::async_trait;
use journal::plan::Platform;
use journal_store::Outgoing;
use runtime::Secret;
use serde_json::{Map, Value, json};
use serenity::http::{Http, HttpBuilder, HttpError};
use serenity::model::id::{ApplicationId, ChannelId, MessageId};

use crate::arrival::{Message, Place, Word, button_value};
use crate::markup::{Flavour, render};
use crate::outbound::{Carrier, Delivery};
use crate::words;

/// The client counts Discord's own limits; this keeps two answers apart.
const PACE: Duration = Duration::from_millis(250);

/// Posts as the application.
#[derive(Debug)]
pub struct DiscordSender {
    http: Http,
}

impl DiscordSender {
    /// A sender. Nothing is connected yet. An address of the API is only for tests and proxies.
    #[must_use]
    pub fn new(api: Option<&str>, application: u64, token: &Secret) -> Self {
        let mut builder =
            HttpBuilder::new(token.expose()).application_id(ApplicationId::new(application.max(1)));
        if let Some(api) = api {
            builder = builder.proxy(api);
        }
        Self { http: builder.build() }
    }

    async fn post(
        &self,
        channel: ChannelId,
        token: Option<&str>,
        outgoing: &Outgoing,
        message: &Message,
    ) -> Result<String, Delivery> {
        let mut body = shown(message);
        if let Some(id) = outgoing.edits.as_deref().and_then(|id| id.parse::<u64>().ok()) {
            let done = self.http.edit_message(channel, MessageId::new(id.max(1)), &body, Vec::new()).await;
            return done.map(|message| message.id.to_string()).map_err(|error| refused(&error));
        }
        if let Some(token) = token {
            match self.http.edit_original_interaction_response(token, &body, Vec::new()).await {
                Ok(message) => return Ok(message.id.to_string()),
                // The token's time is over, or the answer was deleted: a message of its own.
                Err(error) if matches!(status(&error), Some(401 | 403 | 404)) => {}
                Err(error) => return Err(refused(&error)),
            }
        }
        body.insert("nonce".to_owned(), json!(format!("switchyard-{}", outgoing.id)));
        body.insert("enforce_nonce".to_owned(), json!(true));
        let done = self.http.send_message(channel, Vec::new(), &body).await;
        done.map(|message| message.id.to_string()).map_err(|error| refused(&error))
    }
}

fn status(error: &serenity::Error) -> Option<u16> {
    match error {
        serenity::Error::Http(HttpError::UnsuccessfulRequest(response)) => {
            Some(response.status_code.as_u16())
        }
        _ => None,
    }
}

fn refused(error: &serenity::Error) -> Delivery {
    // The error's own text may hold the request's address, and that a token.
    match (status(error), error) {
        (
            Some(status @ (400 | 403 | 404)),
            serenity::Error::Http(HttpError::UnsuccessfulRequest(response)),
        ) => Delivery::Never(format!("Discord answered {status}: {}", response.error.message)),
        (Some(status), _) => Delivery::Later { wait: None, why: format!("Discord answered {status}") },
        (None, _) => Delivery::Later { wait: None, why: "Discord did not answer".to_owned() },
    }
}

/// The text, and the buttons under it.
fn shown(message: &Message) -> Map<String, Value> {
    const ROW: u8 = 1;
    const BUTTON: u8 = 2;
    const GREEN: u8 = 3;
    const RED: u8 = 4;
    let mut body = Map::new();
    body.insert("content".to_owned(), json!(render(&message.text, Flavour::Discord)));
    body.insert("allowed_mentions".to_owned(), json!({"parse": []}));
    if let Some(asks) = &message.asks {
        let button = |word: Word, label: String, style: u8| {
            let id = button_value(word, asks.request, &asks.plan);
            json!({"type": BUTTON, "style": style, "label": label, "custom_id": id})
        };
        let row = json!([{"type": ROW, "components": [
            button(Word::Approve, words::approve_button(asks.request), GREEN),
            button(Word::Deny, words::deny_button(asks.request), RED),
        ]}]);
        body.insert("components".to_owned(), row);
    }
    body
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
        let message = serde_json::from_value::<Message>(outgoing.draft.body.clone());
        let (Ok(Place::DiscordChannel { channel, token }), Ok(message)) = (place, message) else {
            return Delivery::Never("the row cannot be read".to_owned());
        };
        let Ok(channel) = channel.parse::<u64>() else {
            return Delivery::Never("the channel's id is no number".to_owned());
        };
        match self.post(ChannelId::new(channel.max(1)), token.as_deref(), outgoing, &message).await {
            Ok(id) => Delivery::Sent(id),
            Err(delivery) => delivery,
        }
    }
}
