//! The gateway: sessions that begin, beat, break and go on.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use axum::extract::ws::{CloseFrame, Message, WebSocket};
use axum::extract::{State as From, WebSocketUpgrade};
use axum::response::Response;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::state::{APPLICATION, FIRST_ANSWER, GUILD};
use super::{Discord, Inner, TOKEN};
use crate::wait::{Seen, wait_until};

/// How often a client must beat, in milliseconds: often, so that tests see it.
const BEAT: u64 = 400;

#[derive(Debug, Clone)]
enum Word {
    Dispatch(u64),
    Reconnect,
    Invalid,
    Cut,
}

/// A session: it outlives its sockets.
#[derive(Debug)]
struct Session {
    id: String,
    /// What was dispatched, in its order; the sequence number is the place, from 1.
    events: Vec<(String, Value)>,
    socket: Option<mpsc::UnboundedSender<Word>>,
}

/// The one session, and what was seen of clients.
#[derive(Debug, Default)]
pub(super) struct Gateway {
    session: Mutex<Option<Session>>,
    identifies: Mutex<u32>,
    resumes: Mutex<u32>,
    beats: Mutex<u64>,
    /// Beats are not answered any more.
    is_deaf: Mutex<bool>,
    /// The next resumption gets everything again.
    is_forgetful: Mutex<bool>,
}

impl Gateway {
    fn count(of: &Mutex<u32>) -> u32 {
        *of.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn say(&self, word: Word) {
        let session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(socket) = session.as_ref().and_then(|session| session.socket.as_ref()) {
            // A socket that is gone hears nothing.
            socket.send(word).ok();
        }
    }
}

pub(super) async fn open(
    From(inner): From<Arc<Inner>>,
    uri: axum::http::Uri,
    upgrade: WebSocketUpgrade,
) -> Response {
    let query = uri.query().unwrap_or_default();
    if !query.contains("v=10") || !query.contains("encoding=json") || query.contains("compress") {
        inner.ledger.violated(format!("the gateway was opened with {query}"));
    }
    upgrade.on_upgrade(move |socket| serve(inner, socket))
}

async fn close(mut socket: WebSocket, code: u16, reason: &'static str) {
    socket.send(Message::Close(Some(CloseFrame { code, reason: reason.into() }))).await.ok();
}

async fn send(socket: &mut WebSocket, value: &Value) -> bool {
    socket.send(Message::Text(value.to_string().into())).await.is_ok()
}

async fn serve(inner: Arc<Inner>, mut socket: WebSocket) {
    if !send(&mut socket, &json!({"op": 10, "d": {"heartbeat_interval": BEAT}, "s": null, "t": null})).await {
        return;
    }
    let (say, mut words) = mpsc::unbounded_channel();
    let mut is_known = false;
    // A client that does not beat for three intervals is gone.
    let silence = Duration::from_millis(BEAT * 10);
    loop {
        let sent = tokio::select! {
            word = words.recv() => match word {
                Some(Word::Dispatch(sequence)) => dispatch(&inner, &mut socket, sequence).await,
                Some(Word::Reconnect) => {
                    send(&mut socket, &json!({"op": 7, "d": null, "s": null, "t": null})).await
                }
                Some(Word::Invalid) => {
                    *inner.gateway.session.lock().unwrap_or_else(PoisonError::into_inner) = None;
                    send(&mut socket, &json!({"op": 9, "d": false, "s": null, "t": null})).await
                }
                Some(Word::Cut) | None => return,
            },
            heard = tokio::time::timeout(silence, socket.recv()) => match heard {
                Err(_) => {
                    inner.ledger.violated("a client of the gateway stopped beating");
                    return close(socket, 4009, "Session timed out").await;
                }
                Ok(Some(Ok(Message::Text(text)))) => {
                    let given: Value = serde_json::from_str(&text).unwrap_or(Value::Null);
                    match given["op"].as_u64() {
                        Some(1) => {
                            *inner.gateway.beats.lock().unwrap_or_else(PoisonError::into_inner) += 1;
                            let is_deaf = *inner.gateway.is_deaf.lock().unwrap_or_else(PoisonError::into_inner);
                            is_deaf || send(&mut socket, &json!({"op": 11, "d": null, "s": null, "t": null})).await
                        }
                        Some(2) if !is_known => {
                            if given["d"]["token"] != TOKEN {
                                return close(socket, 4004, "Authentication failed").await;
                            }
                            if given["d"]["properties"]["os"].is_null() || !given["d"]["intents"].is_u64() {
                                inner.ledger.violated(format!("IDENTIFY lacks something: {given}"));
                            }
                            if given["d"]["intents"].as_u64().is_some_and(|intents| intents & (1 << 15) != 0) {
                                return close(socket, 4014, "Disallowed intent(s)").await;
                            }
                            is_known = true;
                            *inner.gateway.identifies.lock().unwrap_or_else(PoisonError::into_inner) += 1;
                            begin(&inner, say.clone());
                            true
                        }
                        Some(6) if !is_known => {
                            *inner.gateway.is_deaf.lock().unwrap_or_else(PoisonError::into_inner) = false;
                            *inner.gateway.resumes.lock().unwrap_or_else(PoisonError::into_inner) += 1;
                            is_known = resume(&inner, &given["d"], say.clone());
                            is_known || send(&mut socket, &json!({"op": 9, "d": false, "s": null, "t": null})).await
                        }
                        Some(2 | 6) => return close(socket, 4005, "Already authenticated").await,
                        _ => {
                            inner.ledger.violated(format!("the gateway was sent {text}"));
                            return close(socket, 4001, "Unknown opcode").await;
                        }
                    }
                }
                Ok(Some(Ok(Message::Close(_)) | Err(_)) | None) => break,
                Ok(Some(Ok(_))) => true,
            },
        };
        if !sent {
            break;
        }
    }
}

/// A new session, which begins with READY.
fn begin(inner: &Inner, say: mpsc::UnboundedSender<Word>) {
    let id = format!("session-{}", inner.state().id());
    let ready = json!({
        "v": 10, "user": {"id": APPLICATION, "username": "switchyard", "bot": true}, "session_id": id,
        "resume_gateway_url": inner.socket_base, "application": {"id": APPLICATION, "flags": 0}, "shard": [0, 1],
        "guilds": [{"id": GUILD, "unavailable": true}],
    });
    say.send(Word::Dispatch(1)).ok();
    let session = Session { id, events: vec![("READY".to_owned(), ready)], socket: Some(say) };
    *inner.gateway.session.lock().unwrap_or_else(PoisonError::into_inner) = Some(session);
}

/// Goes on with a session: what was missed comes again, then RESUMED.
fn resume(inner: &Inner, given: &Value, say: mpsc::UnboundedSender<Word>) -> bool {
    let mut kept = inner.gateway.session.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(session) = kept.as_mut() else { return false };
    let seen = given["seq"].as_u64().unwrap_or(0);
    let forgets =
        std::mem::take(&mut *inner.gateway.is_forgetful.lock().unwrap_or_else(PoisonError::into_inner));
    // READY does not come again.
    let seen = if forgets { 1 } else { seen };
    if given["token"] != TOKEN || given["session_id"] != session.id.as_str() {
        return false;
    }
    let missed = session.events.len();
    session.events.push(("RESUMED".to_owned(), json!({})));
    for sequence in (seen + 1)..=u64::try_from(missed + 1).unwrap_or(u64::MAX) {
        say.send(Word::Dispatch(sequence)).ok();
    }
    session.socket = Some(say);
    true
}

async fn dispatch(inner: &Inner, socket: &mut WebSocket, sequence: u64) -> bool {
    let event = {
        let kept = inner.gateway.session.lock().unwrap_or_else(PoisonError::into_inner);
        let index = usize::try_from(sequence.saturating_sub(1)).unwrap_or(usize::MAX);
        kept.as_ref().and_then(|session| session.events.get(index).cloned())
    };
    let Some((name, data)) = event else { return true };
    send(socket, &json!({"op": 0, "t": name, "s": sequence, "d": data})).await
}

impl Discord {
    /// Waits until the application has begun so many sessions.
    ///
    /// # Errors
    /// It has not in time.
    pub async fn identified(&self, sessions: u32) -> Result<()> {
        self.seen("sessions", sessions, || Gateway::count(&self.inner.gateway.identifies)).await
    }

    /// Waits until the application has gone on with a session so often.
    ///
    /// # Errors
    /// It has not in time.
    pub async fn resumed(&self, times: u32) -> Result<()> {
        self.seen("resumptions", times, || Gateway::count(&self.inner.gateway.resumes)).await
    }

    /// Waits until the application has beaten so often.
    ///
    /// # Errors
    /// It has not in time.
    pub async fn beaten(&self, times: u32) -> Result<()> {
        let beats = || {
            u32::try_from(*self.inner.gateway.beats.lock().unwrap_or_else(PoisonError::into_inner))
                .unwrap_or(0)
        };
        self.seen("beats", times, beats).await
    }

    async fn seen(&self, what: &str, least: u32, count: impl Fn() -> u32) -> Result<()> {
        wait_until(Duration::from_secs(30), &format!("{least} {what}"), async || {
            let seen = count();
            Ok(if seen >= least { Seen::Done(()) } else { Seen::NotYet(seen.to_string()) })
        })
        .await
    }

    /// The gateway asks for another connection.
    pub fn ask_to_reconnect(&self) {
        self.inner.gateway.say(Word::Reconnect);
    }

    /// The gateway ends the session for good.
    pub fn invalidate_session(&self) {
        self.inner.gateway.say(Word::Invalid);
    }

    /// The gateway answers no beat of the socket that is open, until another one is.
    pub fn stop_answering_beats(&self) {
        *self.inner.gateway.is_deaf.lock().unwrap_or_else(PoisonError::into_inner) = true;
    }

    /// With the next resumption everything comes again, whatever the client says that it has seen.
    pub fn forget_what_was_seen(&self) {
        *self.inner.gateway.is_forgetful.lock().unwrap_or_else(PoisonError::into_inner) = true;
    }

    /// The network breaks.
    pub fn cut_gateway(&self) {
        self.inner.gateway.say(Word::Cut);
    }

    /// Sends an interaction through the gateway and waits for the answer through the API; null if none came in time.
    pub(super) async fn dispatched(&self, interaction: &Value, token: &str) -> Result<Value> {
        {
            let mut kept = self.inner.gateway.session.lock().unwrap_or_else(PoisonError::into_inner);
            let session = kept.as_mut().context("no session was begun")?;
            session.events.push(("INTERACTION_CREATE".to_owned(), interaction.clone()));
            let sequence = u64::try_from(session.events.len())?;
            if let Some(socket) = &session.socket {
                socket.send(Word::Dispatch(sequence)).ok();
            }
        }
        let until = std::time::Instant::now() + FIRST_ANSWER;
        loop {
            let kept = self.inner.state().interactions.get(token).cloned();
            if let Some(kept) = kept
                && let Some(kind) = kept.answer
            {
                return Ok(match (kept.choices, kept.modal) {
                    (Some(choices), _) => json!({"type": kind, "data": {"choices": choices}}),
                    (_, Some(modal)) => json!({"type": kind, "data": modal}),
                    _ => json!({"type": kind}),
                });
            }
            if std::time::Instant::now() > until {
                return Ok(Value::Null);
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}
