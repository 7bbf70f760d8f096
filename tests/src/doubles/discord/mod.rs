//! Discord: a server with its members and channels, the HTTP API, interactions signed over HTTP or through the gateway.
//!
//! What a person does in Discord is a method of [`Discord`]: it sends what Discord would send, waits the three seconds
//! that Discord waits, and shows the person what Discord would show.

#![expect(clippy::indexing_slicing, reason = "JSON's own indexing gives null for what is not there")]

mod api;
mod check;
mod gateway;
mod people;
mod state;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Result;
use axum::Router;
use axum::body::Bytes;
use axum::extract::State as From;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use axum::routing::any;
use ed25519_dalek::SigningKey;
use serde_json::Value;

pub use people::{Interacted, Request};
pub use state::{APPLICATION, GUILD, Member, OPS};

use super::http::{Faults, Served};
use super::ledger::Ledger;
use state::{Channel, State};

/// What messages are posted with.
pub const TOKEN: &str = "discord-LEAK-bot-token";

/// What the server and its handle share.
#[derive(Debug)]
struct Inner {
    state: Mutex<State>,
    ledger: Ledger,
    faults: Faults,
    calls: Mutex<Vec<String>>,
    socket_base: String,
    public_key: String,
    gateway: gateway::Gateway,
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The server.
#[derive(Debug)]
pub struct Discord {
    inner: Arc<Inner>,
    served: Served,
    key: SigningKey,
    delivery: people::Delivery,
}

impl Discord {
    /// A server with one channel.
    ///
    /// # Errors
    /// It cannot listen.
    pub async fn start() -> Result<Self> {
        let key = SigningKey::from_bytes(&[7; 32]);
        let public_key = hex::encode(key.verifying_key().to_bytes());
        let mut made = None;
        let served = Served::start(|address| {
            let inner = Arc::new(Inner {
                state: Mutex::new(State::new()),
                ledger: Ledger::default(),
                faults: Faults::default(),
                calls: Mutex::default(),
                socket_base: format!("ws://{address}/gateway"),
                public_key,
                gateway: gateway::Gateway::default(),
            });
            made = Some(Arc::clone(&inner));
            let gateway = any(gateway::open);
            Router::new()
                .route("/gateway", gateway.clone())
                .route("/gateway/", gateway)
                .fallback(serve)
                .with_state(inner)
        })
        .await?;
        let inner = made.ok_or_else(|| anyhow::anyhow!("the server was not made"))?;
        let discord = Self { inner, served, key, delivery: people::Delivery::new()? };
        discord.channel(OPS);
        Ok(discord)
    }

    /// Where the API is, for the bot's file.
    #[must_use]
    pub fn api(&self) -> String {
        format!("http://{}", self.served.address())
    }

    /// The application's public key.
    #[must_use]
    pub fn public_key(&self) -> String {
        hex::encode(self.key.verifying_key().to_bytes())
    }

    /// What was said and broken.
    #[must_use]
    pub fn ledger(&self) -> &Ledger {
        &self.inner.ledger
    }

    /// What goes wrong next; calls are named like `POST channels/messages`.
    #[must_use]
    pub fn faults(&self) -> &Faults {
        &self.inner.faults
    }

    /// How often a call was made.
    #[must_use]
    pub fn calls(&self, name: &str) -> usize {
        let calls = self.inner.calls.lock().unwrap_or_else(PoisonError::into_inner);
        calls.iter().filter(|call| *call == name).count()
    }

    /// A new channel.
    pub fn channel(&self, id: &str) {
        self.inner.state().channels.insert(id.to_owned(), Channel::default());
    }

    /// Where interactions are sent, as the developer portal says.
    pub fn endpoint(&self, url: &str) {
        self.inner.state().endpoint = Some(url.to_owned());
    }

    /// What the bot's role may, and what a channel takes from it: Discord's bits.
    pub fn rights(&self, role: u64, channel: &str, denied: u64) {
        let mut state = self.inner.state();
        state.rights = role;
        if let Some(channel) = state.channels.get_mut(channel) {
            channel.denied = denied;
        }
    }

    /// Takes the bot out of a channel.
    pub fn close_channel(&self, id: &str, is_closed: bool) {
        if let Some(channel) = self.inner.state().channels.get_mut(id) {
            channel.is_closed = is_closed;
        }
    }

    /// A member of the server.
    pub fn member(&self, id: &str, name: &str, is_bot: bool) {
        self.inner.state().members.insert(id.to_owned(), Member { name: name.to_owned(), is_bot });
    }

    /// Deletes a message.
    pub fn delete(&self, channel: &str, id: &str) {
        if let (Some(channel), Ok(id)) = (self.inner.state().channels.get_mut(channel), id.parse::<u64>()) {
            channel.messages.remove(&id);
        }
    }

    /// Makes every message this much older, in seconds.
    pub fn age_messages(&self, by_seconds: u64) {
        for channel in self.inner.state().channels.values_mut() {
            channel.messages.values_mut().for_each(|message| message.aged += by_seconds);
        }
    }

    /// Makes every interaction this much older: after a quarter of an hour its token is dead.
    pub fn age_tokens(&self, by: Duration) {
        self.inner.state().interactions.values_mut().for_each(|interaction| interaction.aged += by);
    }

    /// How many persons still see "thinking" in place of an answer, and will until its token dies.
    #[must_use]
    pub fn thinking(&self) -> usize {
        let state = self.inner.state();
        let waits = |each: &&state::Interaction| {
            each.answer == Some(5)
                && each.original.is_none()
                && !each.is_settled
                && each.made.elapsed() + each.aged < state::TOKEN_LIFE
        };
        state.interactions.values().filter(waits).count()
    }

    /// The commands that are registered, in the server or globally.
    #[must_use]
    pub fn commands(&self, place: &str) -> Vec<Value> {
        self.inner.state().commands.get(place).cloned().unwrap_or_default()
    }

    /// How often commands were written.
    #[must_use]
    pub fn registrations(&self) -> u32 {
        self.inner.state().registrations
    }

    /// What stands in a channel now: id and body.
    #[must_use]
    pub fn messages(&self, channel: &str) -> BTreeMap<u64, Value> {
        let state = self.inner.state();
        let messages = state.channels.get(channel).map(|channel| &channel.messages);
        messages.into_iter().flatten().map(|(id, message)| (*id, message.body.clone())).collect()
    }
}

async fn serve(
    From(inner): From<Arc<Inner>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    match uri.path().strip_prefix("/api/v10/") {
        Some(path) => inner.api(&method, path, &headers, &body).await,
        None => {
            inner.ledger.violated(format!("{method} {} is nowhere in Discord", uri.path()));
            StatusCode::NOT_FOUND.into_response()
        }
    }
}
