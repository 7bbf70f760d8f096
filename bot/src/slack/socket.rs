//! Socket Mode: Slack's requests through a websocket that the bot opened, for a team without a public address.
//!
//! What comes is what comes over HTTP, and it means the same: the inbox knows it by the same keys, so a word that comes
//! once each way is done once. Nothing is signed here; the address of the socket, which is good once, is what tells that
//! it is Slack. An envelope is acknowledged when what is in it is kept, and not before; Slack sends it again if it was an
//! event, and shows the person a failure if it was a command.
//!
//! Slack closes sockets now and then, and says so before. Another is opened then while the old one is still read, so that
//! nothing falls between the two.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::{SinkExt as _, StreamExt as _};
use runtime::Clock;
use runtime::retry::Backoff;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::Message;

use super::client::Client;
use super::receive::{self, Answer};
use crate::inbound::{Doors, Told};
use crate::websocket::{Socket, connect};

/// How long a socket may be silent: Slack pings every few seconds.
const SILENCE: Duration = Duration::from_secs(60);

/// The first wait after a socket that broke, and the longest.
const FIRST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(60);

/// How long a socket is still read that Slack is about to close.
const LAST_WORDS: Duration = Duration::from_secs(10);

/// Opens sockets, one after another.
#[derive(Debug)]
pub struct Sockets {
    /// Calls Slack.
    pub client: Arc<Client>,
    /// Keeps what arrives.
    pub doors: Arc<Doors>,
    /// Waits.
    pub clock: Arc<dyn Clock>,
}

#[derive(Deserialize)]
struct Envelope {
    #[serde(rename = "type")]
    kind: String,
    envelope_id: Option<String>,
    reason: Option<String>,
    #[serde(default)]
    payload: Value,
}

/// Why a socket is not read any more.
enum Ended {
    /// Slack is about to close it: it is read on beside its successor.
    Refreshed(Box<Socket>),
    /// It broke.
    Broken(String),
}

impl Sockets {
    /// Opens sockets until it is told to stop.
    pub async fn run(self, mut stop: watch::Receiver<bool>) {
        let mut backoff = Backoff::new(FIRST, LONGEST);
        let me = Arc::new(self);
        let mut old = JoinSet::new();
        while !*stop.borrow() {
            let ended = tokio::select! {
                ended = me.one(&mut backoff) => ended,
                _ = stop.changed() => break,
            };
            while old.try_join_next().is_some() {}
            match ended {
                Ended::Refreshed(socket) => {
                    let me = Arc::clone(&me);
                    old.spawn(async move {
                        // What it says of how soon to come back is said of its successor by now.
                        let mut settled = Backoff::new(FIRST, LONGEST);
                        let read = me.read(*socket, &mut settled);
                        // Whatever it ends with, its successor is there.
                        let _ended = tokio::time::timeout(LAST_WORDS, read).await.is_ok();
                    });
                }
                Ended::Broken(why) => {
                    let wait = backoff.wait();
                    tracing::warn!(
                        why,
                        seconds = wait.as_secs_f32(),
                        "Slack's socket is gone: another is opened"
                    );
                    tokio::select! {
                        () = me.clock.sleep(wait) => {}
                        _ = stop.changed() => break,
                    }
                }
            }
        }
    }

    /// Opens one and reads it.
    async fn one(&self, backoff: &mut Backoff) -> Ended {
        let url = match self.client.socket().await {
            Ok(url) => url,
            Err(failed) => return Ended::Broken(format!("apps.connections.open: {failed:?}")),
        };
        match connect(&url).await {
            Ok(socket) => self.read(socket, backoff).await,
            Err(error) => Ended::Broken(error.to_string()),
        }
    }

    /// Reads it. Where Slack says goodbye before it greeted, as where too many are open, the next one would be sent away, too.
    async fn read(&self, mut socket: Socket, backoff: &mut Backoff) -> Ended {
        let mut is_greeted = false;
        loop {
            let heard = match tokio::time::timeout(SILENCE, socket.next()).await {
                Ok(Some(Ok(heard))) => heard,
                Ok(Some(Err(_)) | None) => return Ended::Broken("it was closed".to_owned()),
                Err(_) => return Ended::Broken("it fell silent".to_owned()),
            };
            let text = match heard {
                Message::Text(text) => text,
                Message::Close(_) => return Ended::Broken("it was closed".to_owned()),
                // Pings are answered by the library when it is read on.
                Message::Ping(_) | Message::Pong(_) | Message::Binary(_) | Message::Frame(_) => {
                    if socket.flush().await.is_err() {
                        return Ended::Broken("it cannot be written to".to_owned());
                    }
                    continue;
                }
            };
            let Ok(envelope) = serde_json::from_str::<Envelope>(&text) else {
                tracing::warn!("Slack's socket said something that cannot be read");
                continue;
            };
            match (envelope.kind.as_str(), &envelope.envelope_id) {
                ("hello", _) => {
                    is_greeted = true;
                    backoff.reset();
                    tracing::info!("Slack's requests come through a socket");
                }
                ("disconnect", _) if is_greeted => return Ended::Refreshed(Box::new(socket)),
                ("disconnect", _) => {
                    let why = envelope.reason.as_deref().unwrap_or("no reason");
                    return Ended::Broken(format!("Slack sends it away: {why}"));
                }
                (_, Some(id)) => {
                    let Some(answer) = self.answer(&envelope, id).await else { continue };
                    if socket.send(Message::text(answer.to_string())).await.is_err() {
                        return Ended::Broken("it cannot be written to".to_owned());
                    }
                }
                _ => {}
            }
        }
    }

    /// What acknowledges an envelope; none if it was not kept.
    async fn answer(&self, envelope: &Envelope, id: &str) -> Option<Value> {
        let settings = self.doors.slack_settings()?;
        let (answer, shown) = match envelope.kind.as_str() {
            "slash_commands" => (receive::command(&fields(&envelope.payload), settings), true),
            "interactive" => (receive::interaction_of(&envelope.payload.to_string(), settings), false),
            "events_api" => (receive::event(envelope.payload.to_string().as_bytes(), settings), false),
            other => {
                tracing::info!(kind = other, "an envelope of no concern");
                (Answer::Nothing, false)
            }
        };
        let shown = shown.then(|| json!({"response_type": "in_channel"}));
        match self.doors.hear_slack(answer, shown).await {
            Told::Taken(Some(payload)) => Some(json!({"envelope_id": id, "payload": payload})),
            // What cannot be read would not be readable the next time.
            Told::Taken(None) | Told::Text(_) | Told::Nothing | Told::Malformed => {
                Some(json!({"envelope_id": id}))
            }
            Told::Unkept => None,
        }
    }
}

/// A command's fields.
fn fields(payload: &Value) -> BTreeMap<String, String> {
    let fields = payload.as_object().into_iter().flatten();
    fields.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect()
}
