//! What people do in Slack.

use std::sync::atomic::Ordering;

use anyhow::{Context as _, Result, bail};
use serde_json::{Map, Value, json};

use super::deliver::encoded;
use super::state::{APP, BOT_USER, Message, TEAM};
use super::{Ack, Slack};
use crate::doubles::ledger::Said;

const FORM: &str = "application/x-www-form-urlencoded";
const JSON: &str = "application/json";

/// What a person types, as Slack passes it on.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

impl Slack {
    fn goes_by_socket(&self) -> bool {
        self.delivery.by_socket.load(Ordering::SeqCst)
    }

    fn team_of(&self, user: &str) -> String {
        self.inner.state().users.get(user).map_or_else(|| TEAM.to_owned(), |user| user.team.clone())
    }

    /// A person sends `/migrate` with a text.
    ///
    /// # Errors
    /// None of the app's: those are in the answer.
    pub async fn command(&self, channel: &str, user: &str, text: &str) -> Result<Ack> {
        let (trigger, response) = {
            let mut state = self.inner.state();
            (state.trigger(user), state.response(channel, user))
        };
        let response = format!("http://{}{response}", self.served.address());
        let (team, text) = (self.team_of(user), escaped(text));
        let fields = [
            ("token", "deprecated"),
            ("team_id", team.as_str()),
            ("team_domain", "shop"),
            ("channel_id", channel),
            ("channel_name", "ops"),
            ("user_id", user),
            ("user_name", "whoever"),
            ("command", "/migrate"),
            ("text", text.as_str()),
            ("api_app_id", APP),
            ("is_enterprise_install", "false"),
            ("response_url", response.as_str()),
            ("trigger_id", trigger.as_str()),
        ];
        let ack = if self.goes_by_socket() {
            let payload: Map<String, Value> =
                fields.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
            self.envelope("slash_commands", Value::Object(payload)).await?
        } else {
            self.delivery.send("/slack/commands", FORM, encoded(&fields)).await?
        };
        self.answered_at_once(channel, user, &ack);
        Ok(ack)
    }

    /// What came with the acknowledgement of a command.
    fn answered_at_once(&self, channel: &str, user: &str, ack: &Ack) {
        if ack.status != 200 || ack.body.is_empty() {
            return;
        }
        match serde_json::from_str::<Value>(&ack.body) {
            Ok(given) => self.inner.whisper(&mut self.inner.state(), channel, user, &given),
            // A text alone is a whisper.
            Err(_) => self.inner.whisper(&mut self.inner.state(), channel, user, &json!({"text": ack.body})),
        }
    }

    /// A person presses a button of a message, by its `action_id`.
    ///
    /// # Errors
    /// There is no such button.
    pub async fn press(&self, channel: &str, user: &str, ts: &str, action: &str) -> Result<Ack> {
        let payload = self.pressed(channel, user, ts, action)?;
        self.interact(&payload).await
    }

    /// The interaction that a press makes: to be sent once, twice, or changed.
    ///
    /// # Errors
    /// There is no such button.
    pub fn pressed(&self, channel: &str, user: &str, ts: &str, action: &str) -> Result<Value> {
        let team = self.team_of(user);
        let mut state = self.inner.state();
        let found = state.channels.get(channel).and_then(|channel| channel.messages.get(ts));
        let message = found.with_context(|| format!("there is no message {ts} in {channel}"))?.value(true);
        let (block, button) = button(&message["blocks"], action)
            .with_context(|| format!("there is no button {action} under {message}"))?;
        let (trigger, response) = (state.trigger(user), state.response(channel, user));
        let mut pressed = button;
        pressed["block_id"] = json!(block);
        pressed["action_ts"] = json!(state.ts());
        Ok(json!({
            "type": "block_actions", "user": {"id": user, "username": "whoever", "name": "whoever", "team_id": team},
            "api_app_id": APP, "token": "deprecated", "trigger_id": trigger,
            "container": {"type": "message", "message_ts": ts, "channel_id": channel, "is_ephemeral": false},
            "team": {"id": TEAM, "domain": "shop"}, "enterprise": null, "is_enterprise_install": false,
            "channel": {"id": channel, "name": "ops"}, "message": message, "state": {"values": {}},
            "response_url": format!("http://{}{response}", self.served.address()), "actions": [pressed],
        }))
    }

    /// Sends an interaction.
    ///
    /// # Errors
    /// None of the app's: those are in the answer.
    pub async fn interact(&self, payload: &Value) -> Result<Ack> {
        if self.goes_by_socket() {
            self.envelope("interactive", payload.clone()).await
        } else {
            let body = encoded(&[("payload", &payload.to_string())]);
            self.delivery.send("/slack/interactions", FORM, body).await
        }
    }

    /// A person sends what they wrote in a window, by the `action_id` of its inputs.
    ///
    /// # Errors
    /// There is no such window, or Slack itself would not let it be sent.
    pub async fn submit(&self, user: &str, view: &str, written: &[(&str, &str)]) -> Result<Ack> {
        let payload = self.submitted(user, view, written)?;
        let ack = self.interact(&payload).await?;
        self.submission_answered(user, view, &ack);
        Ok(ack)
    }

    /// The interaction that sending a window makes.
    ///
    /// # Errors
    /// There is no such window, or Slack itself would not let it be sent.
    pub fn submitted(&self, user: &str, view: &str, written: &[(&str, &str)]) -> Result<Value> {
        let team = self.team_of(user);
        let mut state = self.inner.state();
        let open = state.views.get(view).filter(|open| open.user == user);
        let body = open.with_context(|| format!("{user} has no window {view} open"))?.body.clone();
        let mut values = Map::new();
        for block in body["blocks"].as_array().into_iter().flatten().filter(|block| block["type"] == "input")
        {
            let action = block.pointer("/element/action_id").and_then(Value::as_str).unwrap_or_default();
            let given =
                written.iter().find(|(name, _)| *name == action).map(|(_, value)| *value).unwrap_or_default();
            let least = block.pointer("/element/min_length").and_then(Value::as_u64).unwrap_or(0);
            let length = u64::try_from(given.chars().count())?;
            if (given.is_empty() && block["optional"] != true) || (!given.is_empty() && length < least) {
                bail!("Slack does not send the window: {action} has too little in it");
            }
            let value = if given.is_empty() { Value::Null } else { json!(given) };
            let id = block["block_id"].as_str().unwrap_or_default();
            values.insert(id.to_owned(), json!({action: {"type": "plain_text_input", "value": value}}));
        }
        let mut shown = body;
        shown["state"] = json!({"values": values});
        shown["app_id"] = json!(APP);
        Ok(json!({
            "type": "view_submission", "team": {"id": TEAM, "domain": "shop"},
            "user": {"id": user, "username": "whoever", "name": "whoever", "team_id": team}, "api_app_id": APP,
            "token": "deprecated", "trigger_id": state.trigger(user), "view": shown, "response_urls": [],
            "is_enterprise_install": false, "enterprise": null,
        }))
    }

    fn submission_answered(&self, user: &str, view: &str, ack: &Ack) {
        if ack.status != 200 {
            return;
        }
        let given: Value = serde_json::from_str(&ack.body).unwrap_or(Value::Null);
        match given["response_action"].as_str() {
            Some("errors") => {
                let errors = given["errors"].as_object().cloned().unwrap_or_default();
                let text: Vec<&str> = errors.values().filter_map(Value::as_str).collect();
                self.inner
                    .ledger
                    .note(Said::now(&format!("window/{user}"), view, text.join("\n"), given).edit());
            }
            Some("clear") | None => drop(self.inner.state().views.remove(view)),
            Some(other) => self.inner.ledger.violated(format!("the double knows no response_action {other}")),
        }
    }

    /// A person mentions the bot. The message's id comes with the answer.
    ///
    /// # Errors
    /// There is no such channel.
    pub async fn mention(
        &self,
        channel: &str,
        user: &str,
        text: &str,
        thread: Option<&str>,
    ) -> Result<(String, Ack)> {
        let (ts, event) = self.mentioned(channel, user, text, thread)?;
        let ack = self.event(&event).await?;
        Ok((ts, ack))
    }

    /// The event that a mention makes: to be delivered once, twice, or late.
    ///
    /// # Errors
    /// There is no such channel.
    pub fn mentioned(
        &self,
        channel: &str,
        user: &str,
        text: &str,
        thread: Option<&str>,
    ) -> Result<(String, Value)> {
        let team = self.team_of(user);
        let mut state = self.inner.state();
        let ts = state.ts();
        let text = format!("<@{BOT_USER}> {}", escaped(text));
        let message = Message {
            ts: ts.clone(),
            thread: thread.map(str::to_owned),
            user: user.to_owned(),
            is_ours: false,
            text: text.clone(),
            blocks: json!([]),
            metadata: None,
        };
        let place = state.channels.get_mut(channel).context("no such channel")?;
        place.messages.insert(ts.clone(), message);
        let mut event = json!({
            "type": "app_mention", "user": user, "user_team": team, "text": text, "ts": ts, "team": TEAM,
            "channel": channel, "event_ts": ts,
        });
        if let Some(thread) = thread {
            event["thread_ts"] = json!(thread);
        }
        let id = state.number();
        Ok((ts, wrapped(&event, id)))
    }

    /// Somebody edits a message in which the bot was mentioned.
    ///
    /// # Errors
    /// None of the app's: those are in the answer.
    pub async fn edit(&self, event: &Value, text: &str) -> Result<Ack> {
        let mut edited = event["event"].clone();
        let id = {
            let mut state = self.inner.state();
            edited["edited"] = json!({"user": edited["user"], "ts": state.ts()});
            state.number()
        };
        edited["text"] = json!(format!("<@{BOT_USER}> {}", escaped(text)));
        self.event(&wrapped(&edited, id)).await
    }

    /// A person opens the app's home tab.
    ///
    /// # Errors
    /// None of the app's: those are in the answer.
    pub async fn open_home(&self, user: &str) -> Result<Ack> {
        let event = {
            let mut state = self.inner.state();
            let (ts, id) = (state.ts(), state.number());
            let home = json!({"type": "app_home_opened", "user": user, "channel": "D0HOME", "tab": "home", "event_ts": ts});
            wrapped(&home, id)
        };
        self.event(&event).await
    }

    /// Delivers an event.
    ///
    /// # Errors
    /// None of the app's: those are in the answer.
    pub async fn event(&self, event: &Value) -> Result<Ack> {
        if self.goes_by_socket() {
            self.envelope("events_api", event.clone()).await
        } else {
            self.delivery.send("/slack/events", JSON, event.to_string()).await
        }
    }

    /// Slack asks whether the URL of the events is the app's. The answer must be the challenge.
    ///
    /// # Errors
    /// It is not.
    pub async fn verify_url(&self) -> Result<()> {
        let body = json!({"type": "url_verification", "token": "deprecated", "challenge": "3eZbrw1aBm2rZgRNFdxV2595E9CY"});
        let ack = self.delivery.send("/slack/events", JSON, body.to_string()).await?.taken()?;
        let answer: Value = serde_json::from_str(&ack.body).unwrap_or(json!({"challenge": ack.body}));
        anyhow::ensure!(answer["challenge"] == body["challenge"], "it answered {ack:?}");
        Ok(())
    }

    /// What stands in a channel now, in its order: id, thread, text.
    #[must_use]
    pub fn messages(&self, channel: &str) -> Vec<(String, Option<String>, String)> {
        let state = self.inner.state();
        let Some(channel) = state.channels.get(channel) else { return Vec::new() };
        let shown = |message: &Message| {
            let read = super::blocks::read(&message.blocks);
            if read.is_empty() { super::blocks::shown(&message.text) } else { read }
        };
        channel
            .messages
            .values()
            .map(|message| (message.ts.clone(), message.thread.clone(), shown(message)))
            .collect()
    }
}

fn wrapped(event: &Value, id: u64) -> Value {
    json!({
        "token": "deprecated", "team_id": TEAM, "api_app_id": APP, "event": event, "type": "event_callback",
        "event_id": format!("Ev{id:08}"), "event_time": super::state::seconds(), "is_ext_shared_channel": false,
        "authorizations": [{"enterprise_id": null, "team_id": TEAM, "user_id": BOT_USER, "is_bot": true}],
    })
}

/// A button of blocks, and the block in which it stands.
fn button(blocks: &Value, action: &str) -> Option<(String, Value)> {
    for block in blocks.as_array()? {
        let elements = block.get("elements").and_then(Value::as_array).cloned().unwrap_or_default();
        let all = elements.into_iter().chain(block.get("accessory").cloned());
        if let Some(found) =
            all.into_iter().find(|element| element["type"] == "button" && element["action_id"] == action)
        {
            return Some((block["block_id"].as_str().unwrap_or_default().to_owned(), found));
        }
    }
    None
}
