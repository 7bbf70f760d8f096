//! What Discord keeps of a server.

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

/// The application, which is its bot's user too.
pub const APPLICATION: &str = "100000000000000900";
/// The server.
pub const GUILD: &str = "100000000000000800";
/// The channel of every conversation.
pub const OPS: &str = "100000000000000700";

/// The role that the bot has, and what it may: see, send, embed, read what was sent, begin threads and write in them.
pub(super) const ROLE: &str = "100000000000000600";
const RIGHTS: u64 = 1 << 10 | 1 << 11 | 1 << 14 | 1 << 16 | BEGIN_THREADS | WRITE_IN_THREADS;
pub(super) const BEGIN_THREADS: u64 = 1 << 35;
pub(super) const WRITE_IN_THREADS: u64 = 1 << 38;

/// How long an interaction may wait for its first answer, and its token lives.
pub(super) const FIRST_ANSWER: Duration = Duration::from_secs(3);
pub(super) const TOKEN_LIFE: Duration = Duration::from_secs(900);

/// 2015-01-01 in milliseconds: where the time in an id begins.
const EPOCH_MILLIS: u64 = 1_420_070_400_000;

/// A message.
#[derive(Debug, Clone)]
pub(super) struct Message {
    pub(super) id: u64,
    pub(super) channel: String,
    pub(super) body: Value,
    /// Alone for this person.
    pub(super) only_for: Option<String>,
    /// How many seconds older than it is it shall be.
    pub(super) aged: u64,
    /// How often it was edited since it is older than an hour.
    pub(super) late_edits: u32,
}

impl Message {
    /// As the API shows it.
    pub(super) fn value(&self) -> Value {
        json!({
            "id": self.id.to_string(), "channel_id": self.channel, "type": 0, "tts": false, "pinned": false,
            "author": {"id": APPLICATION, "username": "switchyard", "discriminator": "0", "bot": true, "avatar": null},
            "content": self.body.get("content").cloned().unwrap_or(json!("")), "timestamp": "2026-01-01T00:00:00.000000+00:00",
            "edited_timestamp": null, "mention_everyone": false, "mentions": [], "mention_roles": [], "attachments": [],
            "embeds": [], "components": self.body.get("components").cloned().unwrap_or(json!([])),
            "nonce": self.body.get("nonce").cloned().unwrap_or(Value::Null),
            "application_id": APPLICATION, "flags": if self.only_for.is_some() { 64 } else { 0 },
        })
    }
}

/// A channel.
#[derive(Debug, Default)]
pub(super) struct Channel {
    pub(super) is_closed: bool,
    /// The name of the thread that it is.
    pub(super) thread: Option<String>,
    /// What the channel takes from the bot's role.
    pub(super) denied: u64,
    pub(super) messages: BTreeMap<u64, Message>,
    pub(super) nonces: BTreeMap<String, u64>,
    pub(super) posted: Vec<Instant>,
}

/// An interaction, by its token.
#[derive(Debug, Clone)]
pub(super) struct Interaction {
    pub(super) id: u64,
    pub(super) kind: u64,
    pub(super) channel: String,
    pub(super) user: String,
    pub(super) made: Instant,
    /// How much older it shall be.
    pub(super) aged: Duration,
    /// The kind of its first answer.
    pub(super) answer: Option<u64>,
    /// What "@original" is.
    pub(super) original: Option<u64>,
    /// Whether its answer is for the person alone.
    pub(super) is_whisper: bool,
    /// Whether its answer was taken away.
    pub(super) is_settled: bool,
    /// The choices that it was given.
    pub(super) choices: Option<Value>,
    /// The window that it opened.
    pub(super) modal: Option<Value>,
}

/// Somebody.
#[derive(Debug, Clone)]
pub struct Member {
    /// What they are called.
    pub name: String,
    /// A program.
    pub is_bot: bool,
}

/// Everything.
#[derive(Debug)]
pub(super) struct State {
    pub(super) members: BTreeMap<String, Member>,
    pub(super) channels: BTreeMap<String, Channel>,
    pub(super) interactions: BTreeMap<String, Interaction>,
    /// Commands, by "global" or the server's id.
    pub(super) commands: BTreeMap<String, Vec<Value>>,
    /// Where interactions are sent.
    pub(super) endpoint: Option<String>,
    /// What the bot's role may.
    pub(super) rights: u64,
    /// How often they were written.
    pub(super) registrations: u32,
    numbers: u64,
}

impl State {
    pub(super) fn new() -> Self {
        Self {
            members: BTreeMap::new(),
            channels: BTreeMap::new(),
            interactions: BTreeMap::new(),
            commands: BTreeMap::new(),
            endpoint: None,
            rights: RIGHTS,
            registrations: 0,
            numbers: 0,
        }
    }

    /// An id that was never given before, with the time in it.
    pub(super) fn id(&mut self) -> u64 {
        self.numbers += 1;
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX));
        (now.saturating_sub(EPOCH_MILLIS) << 22) | (self.numbers & 0x3f_ffff)
    }

    /// A new interaction; gives its token.
    pub(super) fn interaction(&mut self, kind: u64, channel: &str, user: &str) -> (u64, String) {
        let id = self.id();
        let token = format!("aW50ZXJhY3Rpb24-LEAK-{id}");
        let made = Interaction {
            id,
            kind,
            channel: channel.to_owned(),
            user: user.to_owned(),
            made: Instant::now(),
            aged: Duration::ZERO,
            answer: None,
            original: None,
            is_whisper: false,
            is_settled: false,
            choices: None,
            modal: None,
        };
        self.interactions.insert(token.clone(), made);
        (id, token)
    }
}
