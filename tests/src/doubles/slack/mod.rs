//! Slack: a workspace with its people and channels, the Web API, and the app's requests, signed or by Socket Mode.
//!
//! What a person does in Slack is a method of [`Slack`]: it sends what Slack would send, waits the three seconds that
//! Slack waits, and shows the person what Slack would show.

#![expect(clippy::indexing_slicing, reason = "JSON's own indexing gives null for what is not there")]

mod api;
mod blocks;
mod deliver;
mod people;
mod socket;
mod state;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Result;
use axum::Router;
use axum::body::Bytes;
use axum::extract::State as From;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use axum::routing::any;

pub use deliver::{Ack, Request};
pub use state::User;

use super::http::{Faults, Served};
use super::ledger::Ledger;
use state::{Channel, State, TEAM};

/// What messages are posted with.
pub const BOT_TOKEN: &str = "xoxb-shop-LEAK-bot";
/// What Socket Mode is opened with.
pub const APP_TOKEN: &str = "xapp-shop-LEAK-app";
/// What requests are signed with, unless it is changed.
pub const SIGNING_SECRET: &str = "slack-LEAK-signing-secret";

/// What the server and its handle share.
#[derive(Debug)]
struct Inner {
    state: Mutex<State>,
    ledger: Ledger,
    faults: Faults,
    /// Every call of the Web API, by name.
    calls: Mutex<Vec<String>>,
    /// Sockets that may be opened.
    tickets: Mutex<BTreeSet<String>>,
    socket_base: String,
    sockets: socket::Sockets,
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The workspace.
#[derive(Debug)]
pub struct Slack {
    inner: Arc<Inner>,
    served: Served,
    delivery: deliver::Delivery,
}

impl Slack {
    /// A workspace with the channel `ops`, in which the bot is.
    ///
    /// # Errors
    /// It cannot listen.
    pub async fn start() -> Result<Self> {
        let mut made = None;
        let served = Served::start(|address| {
            let inner = Arc::new(Inner {
                state: Mutex::new(State::new()),
                ledger: Ledger::default(),
                faults: Faults::default(),
                calls: Mutex::default(),
                tickets: Mutex::default(),
                socket_base: format!("ws://{address}"),
                sockets: socket::Sockets::default(),
            });
            made = Some(Arc::clone(&inner));
            Router::new().route("/link/", any(socket::open)).fallback(serve).with_state(inner)
        })
        .await?;
        let inner = made.ok_or_else(|| anyhow::anyhow!("the server was not made"))?;
        let slack = Self { inner, served, delivery: deliver::Delivery::new()? };
        slack.channel("C0OPS");
        slack.member("U0SWITCH", |user| user.is_bot = true);
        Ok(slack)
    }

    /// Where the Web API is, for the bot's file.
    #[must_use]
    pub fn api(&self) -> String {
        format!("http://{}/api", self.served.address())
    }

    /// The workspace's id.
    #[must_use]
    pub const fn team(&self) -> &'static str {
        TEAM
    }

    /// What was said and broken.
    #[must_use]
    pub fn ledger(&self) -> &Ledger {
        &self.inner.ledger
    }

    /// What goes wrong next.
    #[must_use]
    pub fn faults(&self) -> &Faults {
        &self.inner.faults
    }

    /// How often a method was called.
    #[must_use]
    pub fn calls(&self, method: &str) -> usize {
        let calls = self.inner.calls.lock().unwrap_or_else(PoisonError::into_inner);
        calls.iter().filter(|call| *call == method).count()
    }

    /// A new channel, in which the bot is.
    pub fn channel(&self, id: &str) {
        self.inner.state().channels.insert(id.to_owned(), Channel { has_bot: true, ..Channel::default() });
    }

    /// Archives a channel.
    pub fn archive(&self, id: &str) {
        if let Some(channel) = self.inner.state().channels.get_mut(id) {
            channel.is_archived = true;
        }
    }

    /// A member of the workspace, with something changed.
    pub fn member(&self, id: &str, change: impl FnOnce(&mut User)) {
        let mut user = User {
            team: TEAM.to_owned(),
            is_bot: false,
            is_restricted: false,
            is_ultra_restricted: false,
            is_deleted: false,
        };
        change(&mut user);
        self.inner.state().users.insert(id.to_owned(), user);
    }

    /// Makes a user group, or changes who is in it.
    pub fn user_group(&self, id: &str, members: &[&str]) {
        let members = members.iter().map(ToString::to_string).collect();
        self.inner.state().groups.insert(id.to_owned(), members);
    }

    /// Takes a scope from the app.
    pub fn take_scope(&self, scope: &str) {
        self.inner.state().scopes.remove(scope);
    }

    /// Gives the app a scope.
    pub fn give_scope(&self, scope: &str) {
        self.inner.state().scopes.insert(scope.to_owned());
    }

    /// Deletes a message.
    pub fn delete(&self, channel: &str, ts: &str) {
        if let Some(channel) = self.inner.state().channels.get_mut(channel) {
            channel.messages.remove(ts);
        }
    }

    /// Half an hour passes for every response URL that was given out: whoever uses one now has not understood it.
    pub fn tokens_run_out(&self) {
        for response in self.inner.state().responses.values_mut() {
            response.has_run_out = true;
        }
    }

    /// How long a trigger is good for, instead of three seconds.
    pub fn let_triggers_live(&self, life: std::time::Duration) {
        self.inner.state().trigger_life = life;
    }
}

async fn serve(
    From(inner): From<Arc<Inner>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let path = uri.path();
    if let Some(name) = path.strip_prefix("/api/") {
        return inner.api(name, &method, uri.query().unwrap_or_default(), &headers, &body).await;
    }
    if path.starts_with("/response/") && method == Method::POST {
        return inner.respond(path, &headers, &body);
    }
    inner.ledger.violated(format!("{method} {path} is nowhere in Slack"));
    StatusCode::NOT_FOUND.into_response()
}

/// Reads a form or a query.
fn form(text: &str) -> api::Form {
    let mut fields = api::Form::new();
    for pair in text.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        fields.entry(deliver::decoded(name)).or_insert_with(|| deliver::decoded(value));
    }
    fields
}
