//! The gateway: interactions through a websocket that the bot opened, for a team without a public address.
//!
//! What comes is what comes over HTTP, and it means the same: the inbox knows it by the interaction's id, so what comes
//! twice, as it may after a session was resumed, is done once. Nothing is signed here; the bot's token began the session.
//! The answer goes over HTTP, and what is to be answered later is kept before it.
//!
//! A session outlives its sockets: what happened while there was none comes when it is resumed. Discord says when a session
//! is over for good; then another begins, and what was said in between is lost: the person saw the failure. Sessions are
//! counted (1,000 a day), so none is begun in haste. A socket that does not answer a beat is taken for dead, and closed
//! so that the session lives on.
//!
//! Format and numbers: Discord's documentation, "Gateway", version 10, JSON, not compressed.

use std::sync::Arc;
use std::time::Duration;

use futures::{SinkExt as _, StreamExt as _};
use runtime::Clock;
use runtime::retry::Backoff;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;

use super::client::{Client, Failed, code};
use super::receive::receive;
use crate::inbound::signature::WINDOW_SECONDS;
use crate::inbound::{Doors, Heard};
use crate::websocket::{Socket, connect};

/// How long a new socket may take to say hello.
const HELLO: Duration = Duration::from_secs(20);

/// The waits between two tries.
const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(60);

/// The wait after a refusal that only a person can end: below Discord's daily number of sessions.
const UNTIL_A_PERSON_HELPS: Duration = Duration::from_secs(300);

/// 2015-01-01 in milliseconds: where the time in an id begins.
const EPOCH_MILLIS: i64 = 1_420_070_400_000;

/// What a payload is.
mod op {
    pub(super) const EVENT: u64 = 0;
    pub(super) const BEAT: u64 = 1;
    pub(super) const IDENTIFY: u64 = 2;
    pub(super) const RESUME: u64 = 6;
    pub(super) const RECONNECT: u64 = 7;
    pub(super) const INVALID: u64 = 9;
    pub(super) const HELLO: u64 = 10;
    pub(super) const BEATEN: u64 = 11;
}

/// Keeps a session.
#[derive(Debug)]
pub struct Gateway {
    /// Calls Discord.
    pub client: Arc<Client>,
    /// What begins a session.
    pub token: runtime::Secret,
    /// Keeps what arrives.
    pub doors: Arc<Doors>,
    /// Waits.
    pub clock: Arc<dyn Clock>,
}

/// A session that can be resumed.
#[derive(Debug, Clone)]
struct Session {
    id: String,
    url: String,
}

/// What is known of the session across sockets.
#[derive(Debug, Default)]
struct Known {
    session: Option<Session>,
    /// The newest event's number.
    sequence: Option<u64>,
}

#[derive(Deserialize)]
struct Payload {
    op: u64,
    #[serde(default)]
    d: Value,
    s: Option<u64>,
    t: Option<String>,
}

/// Why a socket is not read any more.
#[derive(Debug, PartialEq, Eq)]
enum Ended {
    /// Discord asks for another one.
    Asked,
    /// It broke: the session may be resumed.
    Broken(String),
    /// The session is over: another has to begin.
    Over(String),
    /// Discord refuses, and will again until a person has done something.
    Refused(String),
}

impl Gateway {
    /// Keeps a session until it is told to stop.
    pub async fn run(self, mut stop: watch::Receiver<bool>) {
        let mut backoff = Backoff::new(FIRST, LONGEST);
        let mut known = Known::default();
        let me = Arc::new(self);
        let mut answers = JoinSet::new();
        while !*stop.borrow() {
            let ended = tokio::select! {
                ended = me.one(&mut known, &mut backoff, &mut answers) => ended,
                _ = stop.changed() => break,
            };
            let wait = match ended {
                Ended::Asked => {
                    tracing::info!("Discord asks for another socket");
                    continue;
                }
                Ended::Broken(why) => {
                    let wait = backoff.wait();
                    tracing::warn!(
                        why,
                        seconds = wait.as_secs_f32(),
                        "Discord's socket is gone: another is opened"
                    );
                    wait
                }
                Ended::Over(why) => {
                    known = Known::default();
                    let wait = backoff.wait();
                    tracing::warn!(
                        why,
                        seconds = wait.as_secs_f32(),
                        "Discord's session is over: another begins"
                    );
                    wait
                }
                Ended::Refused(why) => {
                    known = Known::default();
                    tracing::error!(
                        why,
                        "Discord refuses the gateway: `switchyard bot check` tells what is missing"
                    );
                    UNTIL_A_PERSON_HELPS
                }
            };
            tokio::select! {
                () = me.clock.sleep(wait) => {}
                _ = stop.changed() => break,
            }
        }
        // What was taken is answered.
        while answers.join_next().await.is_some() {}
    }

    /// Where a session begins.
    async fn address(&self) -> Result<String, Ended> {
        let answer = match self.client.get("/gateway/bot").await {
            Ok(answer) => answer,
            Err(Failed::Refused { status, code, message }) => {
                return Err(Ended::Refused(format!("/gateway/bot: {status} {code} {message}")));
            }
            Err(failed) => return Err(Ended::Broken(format!("/gateway/bot: {failed:?}"))),
        };
        let left = answer.pointer("/session_start_limit/remaining").and_then(Value::as_u64);
        if left == Some(0) {
            return Err(Ended::Refused("no more sessions may begin today".to_owned()));
        }
        let url = answer.get("url").and_then(Value::as_str).map(str::to_owned);
        url.ok_or_else(|| Ended::Broken("/gateway/bot gave no address".to_owned()))
    }

    /// Opens a socket, begins or resumes the session, and reads.
    async fn one(&self, known: &mut Known, backoff: &mut Backoff, answers: &mut JoinSet<()>) -> Ended {
        let address = match &known.session {
            Some(session) => Ok(session.url.clone()),
            None => self.address().await,
        };
        let address = match address {
            Ok(address) => format!("{}/?v=10&encoding=json", address.trim_end_matches('/')),
            Err(ended) => return ended,
        };
        let mut socket = match connect(&address).await {
            Ok(socket) => socket,
            Err(error) => return Ended::Broken(error.to_string()),
        };
        let interval = match tokio::time::timeout(HELLO, hello(&mut socket)).await {
            Ok(Ok(interval)) => interval,
            Ok(Err(ended)) => return ended,
            Err(_) => return Ended::Broken("it did not say hello".to_owned()),
        };
        let begin = self.begin(known);
        if socket.send(Message::text(begin.to_string())).await.is_err() {
            return Ended::Broken("it cannot be written to".to_owned());
        }
        let reading = Reading {
            gateway: self,
            socket,
            known,
            backoff,
            answers,
            interval,
            is_beaten: true,
            has_begun: false,
        };
        reading.read().await
    }

    fn begin(&self, known: &Known) -> Value {
        match &known.session {
            Some(session) => json!({"op": op::RESUME, "d": {
                "token": self.token.expose(), "session_id": session.id, "seq": known.sequence,
            }}),
            // Interactions come without any intent.
            None => json!({"op": op::IDENTIFY, "d": {
                "token": self.token.expose(), "intents": 0,
                "properties": {"os": std::env::consts::OS, "browser": "switchyard", "device": "switchyard"},
            }}),
        }
    }

    /// Answers an interaction.
    fn answer(&self, interaction: Value, answers: &mut JoinSet<()>) {
        while answers.try_join_next().is_some() {}
        let age = age_seconds(&interaction, self.clock.now_millis());
        if age.is_none_or(|age| age.abs() > WINDOW_SECONDS) {
            tracing::warn!(?age, "an interaction from another time was not believed");
            return;
        }
        let (doors, client) = (Arc::clone(&self.doors), Arc::clone(&self.client));
        answers.spawn(async move {
            let Some(settings) = doors.discord_settings() else { return };
            let heard = receive(interaction.to_string().as_bytes(), settings);
            let Heard::Answer(answer) = doors.hear_discord(heard).await else { return };
            let text = |key: &str| interaction.get(key).and_then(Value::as_str).unwrap_or_default();
            let path = format!("/interactions/{}/{}/callback", text("id"), text("token"));
            match client.post(&path, &answer).await {
                Ok(_) => {}
                Err(failed) if failed.code() == Some(code::ALREADY_ANSWERED) => {
                    tracing::info!(id = text("id"), "an interaction that was answered before");
                }
                // The person sees a failure. What was kept is answered in the channel all the same.
                Err(failed) => {
                    tracing::warn!(?failed, id = text("id"), "an interaction was not answered in time");
                }
            }
        });
    }
}

/// How old an interaction is, by its id.
fn age_seconds(interaction: &Value, now_millis: i64) -> Option<i64> {
    let id: i64 = interaction.get("id")?.as_str()?.parse().ok()?;
    Some(now_millis.saturating_sub((id >> 22).saturating_add(EPOCH_MILLIS)) / 1000)
}

/// How often to beat.
async fn hello(socket: &mut Socket) -> Result<Duration, Ended> {
    loop {
        if let Some(Payload { op: op::HELLO, d, .. }) = next(socket).await? {
            let millis = d.get("heartbeat_interval").and_then(Value::as_u64).filter(|millis| *millis > 0);
            let millis = millis.ok_or_else(|| Ended::Broken("its hello has no interval".to_owned()))?;
            return Ok(Duration::from_millis(millis));
        }
    }
}

/// The next payload; none if what came is none.
async fn next(socket: &mut Socket) -> Result<Option<Payload>, Ended> {
    match socket.next().await {
        Some(Ok(Message::Text(text))) => {
            let payload = serde_json::from_str(&text).ok();
            if payload.is_none() {
                tracing::warn!("Discord's socket said something that cannot be read");
            }
            Ok(payload)
        }
        Some(Ok(Message::Close(frame))) => Err(closed(frame.as_ref())),
        // Pings are answered by the library when it is read on.
        Some(Ok(_)) => Ok(None),
        Some(Err(_)) | None => Err(Ended::Broken("it was closed".to_owned())),
    }
}

/// What Discord closed a socket for.
fn closed(frame: Option<&CloseFrame>) -> Ended {
    let Some(frame) = frame else { return Ended::Broken("it was closed".to_owned()) };
    let (number, why) = (u16::from(frame.code), format!("it was closed: {} {}", frame.code, frame.reason));
    match number {
        // A wrong token, a wrong shard, a wrong version, wrong intents: again and again the same.
        4004 | 4010..=4014 => Ended::Refused(why),
        // Closed in order, not known, sequence not valid, session timed out.
        1000 | 1001 | 4003 | 4007 | 4009 => Ended::Over(why),
        _ => Ended::Broken(why),
    }
}

/// A socket being read.
struct Reading<'g> {
    gateway: &'g Gateway,
    socket: Socket,
    known: &'g mut Known,
    backoff: &'g mut Backoff,
    answers: &'g mut JoinSet<()>,
    interval: Duration,
    /// Whether the last beat was answered.
    is_beaten: bool,
    /// Whether the session began, or went on, in this socket.
    has_begun: bool,
}

impl Reading<'_> {
    async fn read(mut self) -> Ended {
        // The first beat somewhere within the interval, so that not all clients beat at once.
        let mut share = [0_u8; 1];
        let share = getrandom::fill(&mut share).map_or(128, |()| u32::from(share[0]));
        let mut beat_at = Instant::now() + self.interval * share / 256;
        loop {
            let heard = tokio::select! {
                () = sleep_until(beat_at) => {
                    if !self.is_beaten {
                        return self.given_up().await;
                    }
                    self.is_beaten = false;
                    beat_at = Instant::now() + self.interval;
                    if self.beat().await.is_err() {
                        return Ended::Broken("it cannot be written to".to_owned());
                    }
                    continue;
                }
                heard = next(&mut self.socket) => heard,
            };
            match heard {
                Ok(Some(payload)) => {
                    if let Some(ended) = self.hear(payload).await {
                        return ended;
                    }
                }
                Ok(None) => {}
                Err(ended) => return ended,
            }
        }
    }

    async fn beat(&mut self) -> Result<(), tokio_tungstenite::tungstenite::Error> {
        let beat = json!({"op": op::BEAT, "d": self.known.sequence});
        self.socket.send(Message::text(beat.to_string())).await
    }

    /// Nobody answers: the socket is closed with a code that lets the session live on.
    async fn given_up(mut self) -> Ended {
        let frame = CloseFrame { code: 4000.into(), reason: "no answer to a heartbeat".into() };
        // Nobody may be there to be told.
        let told = tokio::time::timeout(Duration::from_secs(1), self.socket.close(Some(frame)));
        drop(told.await);
        Ended::Broken("a beat was not answered".to_owned())
    }

    /// What ends the socket, if the payload does.
    async fn hear(&mut self, payload: Payload) -> Option<Ended> {
        match payload.op {
            op::EVENT => {
                self.known.sequence = payload.s.or(self.known.sequence);
                self.event(payload.t.as_deref().unwrap_or_default(), payload.d);
                None
            }
            op::BEAT => {
                let is_sent = self.beat().await.is_ok();
                (!is_sent).then(|| Ended::Broken("it cannot be written to".to_owned()))
            }
            op::BEATEN => {
                self.is_beaten = true;
                None
            }
            op::RECONNECT if self.has_begun => Some(Ended::Asked),
            // At once, it would be asked for again and again.
            op::RECONNECT => Some(Ended::Broken("another is asked for before the session began".to_owned())),
            op::INVALID if payload.d == Value::Bool(true) => {
                Some(Ended::Broken("it is to be resumed".to_owned()))
            }
            op::INVALID => Some(Ended::Over("Discord knows it no more".to_owned())),
            _ => None,
        }
    }

    fn event(&mut self, name: &str, data: Value) {
        match name {
            "READY" => {
                let text = |key: &str| data.get(key).and_then(Value::as_str).map(str::to_owned);
                self.known.session =
                    text("session_id").zip(text("resume_gateway_url")).map(|(id, url)| Session { id, url });
                self.has_begun = true;
                self.backoff.reset();
                tracing::info!("Discord's interactions come through the gateway");
            }
            "RESUMED" => {
                self.has_begun = true;
                self.backoff.reset();
                tracing::info!("Discord's session was resumed");
            }
            "INTERACTION_CREATE" => self.gateway.answer(data, self.answers),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_close_code_is_answered_as_discord_asks() {
        let of = |number: u16| closed(Some(&CloseFrame { code: number.into(), reason: "".into() }));
        for number in [4004, 4010, 4011, 4012, 4013, 4014] {
            assert!(matches!(of(number), Ended::Refused(_)), "{number}");
        }
        for number in [1000, 1001, 4003, 4007, 4009] {
            assert!(matches!(of(number), Ended::Over(_)), "{number}");
        }
        for number in [1006, 4000, 4001, 4002, 4005, 4008] {
            assert!(matches!(of(number), Ended::Broken(_)), "{number}");
        }
        assert!(matches!(closed(None), Ended::Broken(_)));
    }

    #[test]
    fn an_interactions_age_is_in_its_id() {
        // Discord's own example of an id: 2016-04-30 11:18:25.796 UTC.
        let interaction = json!({"id": "175928847299117063"});
        assert_eq!(age_seconds(&interaction, 1_462_015_105_796), Some(0));
        assert_eq!(age_seconds(&interaction, 1_462_015_135_796), Some(30));
        assert_eq!(age_seconds(&json!({"id": "x"}), 0), None);
    }
}
