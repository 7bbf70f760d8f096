//! Socket Mode: envelopes through a websocket that the app opened, each to be acknowledged within three seconds.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use axum::extract::ws::{Message, WebSocket};
use axum::extract::{Query, State as From, WebSocketUpgrade};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};

use super::state::APP;
use super::{Ack, Inner, Slack};
use crate::wait::{Seen, wait_until};

/// How long Slack waits.
const PATIENCE: Duration = Duration::from_secs(3);

enum Word {
    Say(Value),
    /// Closes it as Slack does before a restart of its own.
    Refresh,
    /// The network breaks.
    Cut,
}

/// The sockets that are open, newest last, and the envelopes that wait.
#[derive(Debug, Default)]
pub(super) struct Sockets {
    open: Mutex<BTreeMap<u64, mpsc::UnboundedSender<Word>>>,
    waiting: Mutex<BTreeMap<String, oneshot::Sender<Value>>>,
}

impl Sockets {
    fn newest(&self) -> Option<mpsc::UnboundedSender<Word>> {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.last_key_value().map(|(_, socket)| socket.clone())
    }

    fn count(&self) -> usize {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

pub(super) async fn open(
    From(inner): From<Arc<Inner>>,
    Query(query): Query<BTreeMap<String, String>>,
    upgrade: WebSocketUpgrade,
) -> Response {
    let ticket = query.get("ticket").cloned().unwrap_or_default();
    let is_good = inner.tickets.lock().unwrap_or_else(PoisonError::into_inner).remove(&ticket);
    if !is_good {
        inner.ledger.violated("a socket was opened twice with one address");
        return StatusCode::FORBIDDEN.into_response();
    }
    upgrade.on_upgrade(move |socket| serve(inner, socket))
}

async fn serve(inner: Arc<Inner>, mut socket: WebSocket) {
    let (say, mut words) = mpsc::unbounded_channel();
    let id = inner.state().number();
    let hello = json!({
        "type": "hello", "num_connections": inner.sockets.count() + 1, "debug_info": {"host": "double"},
        "connection_info": {"app_id": APP},
    });
    if socket.send(Message::Text(hello.to_string().into())).await.is_err() {
        return;
    }
    inner.sockets.open.lock().unwrap_or_else(PoisonError::into_inner).insert(id, say);
    loop {
        tokio::select! {
            word = words.recv() => match word {
                Some(Word::Say(value)) => {
                    if socket.send(Message::Text(value.to_string().into())).await.is_err() {
                        break;
                    }
                }
                Some(Word::Refresh) => {
                    let bye = json!({"type": "disconnect", "reason": "refresh_requested", "debug_info": {"host": "double"}});
                    socket.send(Message::Text(bye.to_string().into())).await.ok();
                    // No more envelopes come this way; acknowledgements still do, until the app closes it.
                    inner.sockets.open.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
                }
                Some(Word::Cut) | None => break,
            },
            heard = socket.recv() => match heard {
                Some(Ok(Message::Text(text))) => acknowledged(&inner, &text),
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                Some(Ok(Message::Binary(_))) => inner.ledger.violated("a socket was sent bytes"),
                Some(Ok(Message::Close(_)) | Err(_)) | None => break,
            },
        }
    }
    inner.sockets.open.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
}

fn acknowledged(inner: &Inner, text: &str) {
    let given: Value = serde_json::from_str(text).unwrap_or(Value::Null);
    let id = given["envelope_id"].as_str().unwrap_or_default();
    let waiting = inner.sockets.waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
    match waiting {
        // Whoever waited may have given up.
        Some(waiting) => drop(waiting.send(given)),
        None => inner.ledger.violated(format!("a socket was told {text}, which acknowledges nothing")),
    }
}

impl Slack {
    /// Waits until the app has so many sockets open.
    ///
    /// # Errors
    /// It has not in time.
    pub async fn connected(&self, sockets: usize) -> Result<()> {
        wait_until(Duration::from_secs(30), &format!("{sockets} sockets to be open"), async || {
            let open = self.inner.sockets.count();
            Ok(if open == sockets { Seen::Done(()) } else { Seen::NotYet(format!("{open} are")) })
        })
        .await
    }

    fn tell(&self, word: Word) {
        if let Some(socket) = self.inner.sockets.newest() {
            // A socket that is gone hears nothing.
            socket.send(word).ok();
        }
    }

    /// Slack asks the app to open another socket.
    pub fn refresh_socket(&self) {
        self.tell(Word::Refresh);
    }

    /// The network between Slack and the app breaks.
    pub fn cut_socket(&self) {
        self.tell(Word::Cut);
    }

    /// Sends an envelope. The answer's body is the payload that came with the acknowledgement.
    pub(super) async fn envelope(&self, kind: &str, payload: Value) -> Result<Ack> {
        let id = format!("envelope-{}", self.inner.state().number());
        self.envelope_again(&id, kind, payload).await
    }

    /// The same, under an id that may have been sent before.
    ///
    /// # Errors
    /// No socket is open.
    pub async fn envelope_again(&self, id: &str, kind: &str, payload: Value) -> Result<Ack> {
        let envelope = json!({
            "envelope_id": id, "type": kind, "accepts_response_payload": kind != "events_api", "payload": payload,
        });
        let (told, heard) = oneshot::channel();
        self.inner.sockets.waiting.lock().unwrap_or_else(PoisonError::into_inner).insert(id.to_owned(), told);
        let socket = self.inner.sockets.newest().context("no socket is open")?;
        let begun = Instant::now();
        socket.send(Word::Say(envelope)).ok();
        let (status, body) = match tokio::time::timeout(PATIENCE, heard).await {
            Ok(Ok(given)) => (200, given.get("payload").map(ToString::to_string).unwrap_or_default()),
            _ => (0, String::new()),
        };
        Ok(Ack { status, body, took: begun.elapsed() })
    }
}
