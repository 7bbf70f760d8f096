//! Messages in channels, by the bot's token.
//!
//! Each message's metadata holds its row's number. A row that was tried before may be there: the channel's history is
//! searched for it before it is posted again.

use std::time::Duration;

use async_trait::async_trait;
use journal::plan::Platform;
use journal_store::Outgoing;
use reqwest::{Client, RequestBuilder, StatusCode};
use runtime::Secret;
use serde_json::{Value, json};

use crate::arrival::{Message, Place, Word, button_value};
use crate::markup::{Flavour, render};
use crate::outbound::{Carrier, Delivery};
use crate::words;

/// Slack takes about one message a second in a channel.
const PACE: Duration = Duration::from_secs(1);

/// What the metadata of our messages are called.
const EVENT: &str = "switchyard_message";

/// Posts as the bot.
#[derive(Debug)]
pub struct SlackSender {
    client: Client,
    token: Secret,
    api: String,
}

impl SlackSender {
    /// A sender. Nothing is connected yet.
    ///
    /// # Errors
    /// No client can be made.
    pub fn new(api: &str, token: Secret) -> Result<Self, reqwest::Error> {
        let client = Client::builder()
            .connect_timeout(Duration::from_secs(10))
            .timeout(Duration::from_secs(30))
            .build()?;
        Ok(Self { client, token, api: api.trim_end_matches('/').to_owned() })
    }

    /// Calls a method. Slack answers 200 also to what it refuses.
    async fn call(&self, request: RequestBuilder) -> Result<Value, Delivery> {
        let later =
            |error: reqwest::Error| Delivery::Later { wait: None, why: error.without_url().to_string() };
        let response = request.bearer_auth(self.token.expose()).send().await.map_err(later)?;
        let status = response.status();
        if !status.is_success() {
            let wait =
                response.headers().get("retry-after").and_then(|wait| wait.to_str().ok()?.parse().ok());
            let wait = wait.map(Duration::from_secs).filter(|_| status == StatusCode::TOO_MANY_REQUESTS);
            return Err(Delivery::Later { wait, why: format!("Slack answered {status}") });
        }
        let answer: Value = response.json().await.map_err(later)?;
        if answer.get("ok").and_then(Value::as_bool) == Some(true) {
            return Ok(answer);
        }
        let error = answer.get("error").and_then(Value::as_str).unwrap_or("no error named");
        let why = format!("Slack refused: {error}");
        Err(match error {
            "channel_not_found"
            | "is_archived"
            | "not_in_channel"
            | "message_not_found"
            | "cant_update_message"
            | "no_text"
            | "msg_too_long"
            | "restricted_action" => Delivery::Never(why),
            _ => Delivery::Later { wait: None, why },
        })
    }

    /// The message of this row in the channel.
    async fn find(
        &self,
        channel: &str,
        thread: Option<&str>,
        outgoing: &Outgoing,
    ) -> Result<Option<String>, Delivery> {
        // A minute for clocks that differ.
        let oldest = (outgoing.written_at.millis() / 1000 - 60).to_string();
        let (method, mut query) = match thread {
            Some(thread) => ("conversations.replies", vec![("ts", thread)]),
            None => ("conversations.history", Vec::new()),
        };
        query.extend([
            ("channel", channel),
            ("oldest", oldest.as_str()),
            ("limit", "200"),
            ("include_all_metadata", "true"),
        ]);
        let answer = self.call(self.client.get(format!("{}/{method}", self.api)).query(&query)).await?;
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

    async fn post(
        &self,
        channel: &str,
        thread: Option<&str>,
        outgoing: &Outgoing,
        message: &Message,
    ) -> Result<String, Delivery> {
        let known = outgoing.edits.clone();
        if known.is_none()
            && outgoing.attempts > 1
            && let Some(ts) = self.find(channel, thread, outgoing).await?
        {
            return Ok(ts);
        }
        let mut body = shown(message);
        if let Some(fields) = body.as_object_mut() {
            fields.insert("channel".to_owned(), json!(channel));
            fields.insert("unfurl_links".to_owned(), json!(false));
            let payload = json!({"event_type": EVENT, "event_payload": {"outbox": outgoing.id.to_string()}});
            fields.insert("metadata".to_owned(), payload);
            match (&known, thread) {
                (Some(ts), _) => fields.insert("ts".to_owned(), json!(ts)),
                (None, Some(thread)) => fields.insert("thread_ts".to_owned(), json!(thread)),
                (None, None) => None,
            };
        }
        let method = if known.is_some() { "chat.update" } else { "chat.postMessage" };
        let answer = self.call(self.client.post(format!("{}/{method}", self.api)).json(&body)).await?;
        match answer.get("ts").and_then(Value::as_str) {
            Some(ts) => Ok(ts.to_owned()),
            None => Err(Delivery::Later { wait: None, why: "Slack's answer has no ts".to_owned() }),
        }
    }
}

/// The text, and the buttons under it.
fn shown(message: &Message) -> Value {
    let text = render(&message.text, Flavour::Slack);
    let mut blocks =
        vec![json!({"type": "section", "text": {"type": "mrkdwn", "text": text, "verbatim": true}})];
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
    json!({"text": text, "blocks": blocks})
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
        let place = serde_json::from_str(&outgoing.draft.destination);
        let message = serde_json::from_value::<Message>(outgoing.draft.body.clone());
        let (Ok(Place::SlackChannel { channel, thread }), Ok(message)) = (place, message) else {
            return Delivery::Never("the row cannot be read".to_owned());
        };
        match self.post(&channel, thread.as_deref(), outgoing, &message).await {
            Ok(ts) => Delivery::Sent(ts),
            Err(delivery) => delivery,
        }
    }
}
