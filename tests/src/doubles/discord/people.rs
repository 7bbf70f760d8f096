//! What people do in Discord, and how it reaches the application.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail, ensure};
use ed25519_dalek::Signer as _;
use serde_json::{Value, json};

use super::state::{APPLICATION, FIRST_ANSWER, GUILD};
use super::{Discord, check};

/// A request as it was sent.
#[derive(Debug, Clone)]
pub struct Request {
    /// Its body.
    pub body: String,
    /// `X-Signature-Timestamp`.
    pub time: String,
    /// `X-Signature-Ed25519`.
    pub signature: String,
}

/// What came of an interaction.
#[derive(Debug, Clone)]
pub struct Interacted {
    /// The status of the HTTP answer; 0 if there was none in time. Through the gateway: 204 if it was answered in time.
    pub status: u16,
    /// The answer.
    pub answer: Value,
    /// The interaction's token.
    pub token: String,
    /// How long the answer took.
    pub took: Duration,
}

impl Interacted {
    /// The person sees that it was taken.
    ///
    /// # Errors
    /// The person sees "the application did not respond".
    pub fn taken(self) -> Result<Self> {
        ensure!(matches!(self.status, 200 | 204), "Discord shows the person a failure: {self:?}");
        Ok(self)
    }

    /// The names of the choices that were given.
    ///
    /// # Errors
    /// It was no answer with choices.
    pub fn choices(&self) -> Result<Vec<String>> {
        let choices = self.answer.pointer("/data/choices").and_then(Value::as_array).context("no choices")?;
        Ok(choices.iter().filter_map(|choice| choice["value"].as_str().map(str::to_owned)).collect())
    }
}

/// Delivers.
#[derive(Debug)]
pub(super) struct Delivery {
    client: reqwest::Client,
    app: Mutex<String>,
    skew: AtomicI64,
    last: Mutex<Option<Request>>,
    by_gateway: AtomicBool,
}

impl Delivery {
    pub(super) fn new() -> Result<Self> {
        Ok(Self {
            client: reqwest::Client::builder().timeout(FIRST_ANSWER).no_proxy().build()?,
            app: Mutex::default(),
            skew: AtomicI64::new(0),
            last: Mutex::default(),
            by_gateway: AtomicBool::new(false),
        })
    }
}

impl Discord {
    /// Where the application is: the interactions endpoint.
    pub fn aim(&self, endpoint: &str) {
        endpoint.clone_into(&mut self.delivery.app.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// From now on requests carry a time that is so many seconds from the application's.
    pub fn skew(&self, by_seconds: i64) {
        self.delivery.skew.store(by_seconds, Ordering::SeqCst);
    }

    /// From now on interactions come through the gateway. The real one knows no other way then.
    pub fn use_gateway(&self) {
        self.delivery.by_gateway.store(true, Ordering::SeqCst);
    }

    /// Signs a body as Discord does.
    ///
    /// # Errors
    /// The clock cannot be read.
    pub fn signed(&self, body: &str) -> Result<Request> {
        let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs())?;
        let time = now.saturating_add(self.delivery.skew.load(Ordering::SeqCst)).to_string();
        let signature = hex::encode(self.key.sign(format!("{time}{body}").as_bytes()).to_bytes());
        Ok(Request { body: body.to_owned(), time, signature })
    }

    /// Sends a request as it is; gives status, content type and body.
    ///
    /// # Errors
    /// None of the application's: no answer is the status 0.
    pub async fn send(&self, request: &Request) -> Result<(u16, String, Value)> {
        *self.delivery.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(request.clone());
        let app = self.delivery.app.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let call = self.delivery.client.post(app).header("content-type", "application/json");
        let call = call
            .header("x-signature-timestamp", &request.time)
            .header("x-signature-ed25519", &request.signature);
        match call.body(request.body.clone()).send().await {
            Ok(response) => {
                let status = response.status().as_u16();
                let kind = response.headers().get("content-type").and_then(|kind| kind.to_str().ok());
                let kind = kind.unwrap_or_default().to_owned();
                let text = response.text().await.unwrap_or_default();
                Ok((status, kind, serde_json::from_str(&text).unwrap_or(Value::Null)))
            }
            Err(_) => Ok((0, String::new(), Value::Null)),
        }
    }

    /// The last request, as it was sent.
    ///
    /// # Errors
    /// There was none.
    pub fn last_request(&self) -> Result<Request> {
        self.delivery
            .last
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
            .context("nothing was sent yet")
    }

    /// What Discord does when the endpoint is entered, and routinely afterwards: a PING must be answered, and a request
    /// with a bad signature refused, or the endpoint is removed.
    ///
    /// # Errors
    /// The endpoint would be removed.
    pub async fn probe(&self) -> Result<()> {
        let ping = json!({"id": self.inner.state().id().to_string(), "type": 1, "version": 1, "token": "", "application_id": APPLICATION});
        let request = self.signed(&ping.to_string())?;
        let (status, kind, answer) = self.send(&request).await?;
        ensure!(
            status == 200 && kind.starts_with("application/json") && answer == json!({"type": 1}),
            "a PING: {status} {kind} {answer}"
        );
        let other = ed25519_dalek::SigningKey::from_bytes(&[8; 32]);
        let signature =
            hex::encode(other.sign(format!("{}{}", request.time, request.body).as_bytes()).to_bytes());
        let (status, _, answer) = self.send(&Request { signature, ..request }).await?;
        ensure!(status == 401, "a bad signature was answered with {status} {answer}");
        Ok(())
    }

    /// A new interaction of a member in the server: type, channel, data.
    #[must_use]
    pub fn interaction(&self, kind: u64, channel: &str, user: &str, data: Value) -> Value {
        let mut state = self.inner.state();
        let (id, token) = state.interaction(kind, channel, user);
        let member = state.members.get(user).cloned();
        let name = member.as_ref().map_or("somebody", |member| member.name.as_str()).to_owned();
        let is_bot = member.is_some_and(|member| member.is_bot);
        json!({
            "version": 1, "id": id.to_string(), "type": kind, "token": token, "application_id": APPLICATION,
            "guild_id": GUILD, "guild_locale": "en-US", "locale": "en-US", "channel_id": channel,
            "channel": {"id": channel, "type": 0}, "context": 0, "authorizing_integration_owners": {"0": GUILD},
            "app_permissions": "2147568640", "entitlements": [],
            "member": {
                "user": {"id": user, "username": name, "discriminator": "0", "bot": is_bot, "avatar": null},
                "roles": [], "permissions": "2147568640", "joined_at": "2025-01-01T00:00:00+00:00", "deaf": false, "mute": false,
            },
            "data": data,
        })
    }

    /// Sends an interaction and gives its answer, which does what it says.
    ///
    /// # Errors
    /// None of the application's: those are in the answer.
    pub async fn interact(&self, interaction: &Value) -> Result<Interacted> {
        let token = interaction["token"].as_str().unwrap_or_default().to_owned();
        let begun = Instant::now();
        if self.delivery.by_gateway.load(Ordering::SeqCst) {
            let answer = self.dispatched(interaction, &token).await?;
            let status = if answer.is_null() { 0 } else { 204 };
            return Ok(Interacted { status, answer, token, took: begun.elapsed() });
        }
        let request = self.signed(&interaction.to_string())?;
        let (status, kind, answer) = self.send(&request).await?;
        if status == 200 {
            ensure!(kind.starts_with("application/json"), "an answer of the type {kind}");
            if let Err(why) = self.inner.answered_at_once(&token, &answer) {
                bail!("Discord does not take the answer {answer}: {why}");
            }
        }
        Ok(Interacted { status, answer, token, took: begun.elapsed() })
    }

    /// A person sends `/migrate`, with the options as Discord gives them.
    ///
    /// # Errors
    /// None of the application's: those are in the answer.
    pub async fn command(&self, channel: &str, user: &str, options: Value) -> Result<Interacted> {
        let interaction = self.interaction(2, channel, user, command(options));
        self.interact(&interaction).await
    }

    /// A person is typing `/migrate`: one of the options is focused.
    ///
    /// # Errors
    /// None of the application's: those are in the answer.
    pub async fn type_on(&self, channel: &str, user: &str, options: Value) -> Result<Interacted> {
        let interaction = self.interaction(4, channel, user, command(options));
        self.interact(&interaction).await
    }

    /// A person presses the button of a message whose `custom_id` begins so.
    ///
    /// # Errors
    /// There is no such button.
    pub async fn press(&self, channel: &str, user: &str, message: &str, begins: &str) -> Result<Interacted> {
        let interaction = self.pressed(channel, user, message, begins)?;
        self.interact(&interaction).await
    }

    /// The interaction that a press makes.
    ///
    /// # Errors
    /// There is no such button.
    pub fn pressed(&self, channel: &str, user: &str, message: &str, begins: &str) -> Result<Value> {
        let number: u64 = message.parse()?;
        let found = {
            let state = self.inner.state();
            let found =
                state.channels.get(channel).and_then(|channel| channel.messages.get(&number)).cloned();
            found.with_context(|| format!("there is no message {message} in {channel}"))?
        };
        let rows = found.body["components"].as_array().cloned().unwrap_or_default();
        let buttons = rows.iter().flat_map(|row| row["components"].as_array().cloned().unwrap_or_default());
        let ids: Vec<String> =
            buttons.filter_map(|button| button["custom_id"].as_str().map(str::to_owned)).collect();
        let id = ids.iter().find(|id| id.starts_with(begins));
        let id =
            id.with_context(|| format!("no button {begins}…: {ids:?} under {}", check::read(&found.body)))?;
        let mut interaction =
            self.interaction(3, channel, user, json!({"custom_id": id, "component_type": 2}));
        interaction["message"] = found.value();
        let token = interaction["token"].as_str().unwrap_or_default().to_owned();
        if let Some(kept) = self.inner.state().interactions.get_mut(&token) {
            kept.original = Some(number);
        }
        Ok(interaction)
    }

    /// A person sends what they wrote in the window that an interaction opened.
    ///
    /// # Errors
    /// It opened none, or Discord itself would not let it be sent.
    pub async fn submit(
        &self,
        channel: &str,
        user: &str,
        token: &str,
        written: &[(&str, &str)],
    ) -> Result<Interacted> {
        let interaction = self.submitted(channel, user, token, written)?;
        self.interact(&interaction).await
    }

    /// The interaction that sending a window makes.
    ///
    /// # Errors
    /// There is no window, or Discord itself would not let it be sent.
    pub fn submitted(
        &self,
        channel: &str,
        user: &str,
        token: &str,
        written: &[(&str, &str)],
    ) -> Result<Value> {
        let modal = self.inner.state().interactions.get(token).and_then(|each| each.modal.clone());
        let modal = modal.context("the interaction opened no window")?;
        let mut components = Vec::new();
        for (index, component) in modal["components"].as_array().into_iter().flatten().enumerate() {
            let input = &component["component"];
            if component["type"] != 18 {
                components.push(json!({"type": component["type"], "id": index}));
                continue;
            }
            let name = input["custom_id"].as_str().unwrap_or_default();
            let given =
                written.iter().find(|(each, _)| *each == name).map(|(_, text)| *text).unwrap_or_default();
            let count = u64::try_from(given.chars().count())?;
            let least = input["min_length"].as_u64().unwrap_or(0);
            if (given.is_empty() && input["required"] != false) || (!given.is_empty() && count < least) {
                bail!("Discord does not send the window: {name} has too little in it");
            }
            let sent = json!({"type": 4, "id": index + 10, "custom_id": name, "value": given});
            components.push(json!({"type": 18, "id": index, "component": sent}));
        }
        Ok(self.interaction(
            5,
            channel,
            user,
            json!({"custom_id": modal["custom_id"], "components": components}),
        ))
    }
}

fn command(options: Value) -> Value {
    json!({"id": "100000000000000500", "name": "migrate", "type": 1, "guild_id": GUILD, "options": options})
}
