//! What Slack keeps of a workspace.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

/// The workspace.
pub(super) const TEAM: &str = "T0SHOP";
/// The app.
pub(super) const APP: &str = "A0SWITCH";
/// The app's bot.
pub(super) const BOT: &str = "B0SWITCH";
/// The bot's user.
pub(super) const BOT_USER: &str = "U0SWITCH";

/// A member, or somebody from a shared channel.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "these are Slack's own, each on its own")]
pub struct User {
    /// Whose member it is.
    pub team: String,
    /// A program.
    pub is_bot: bool,
    /// A guest of several channels.
    pub is_restricted: bool,
    /// A guest of one channel.
    pub is_ultra_restricted: bool,
    /// It was deactivated.
    pub is_deleted: bool,
}

/// A message.
#[derive(Debug, Clone)]
pub(super) struct Message {
    pub(super) ts: String,
    pub(super) thread: Option<String>,
    pub(super) user: String,
    pub(super) is_ours: bool,
    pub(super) text: String,
    pub(super) blocks: Value,
    pub(super) metadata: Option<Value>,
}

impl Message {
    /// As the API shows it.
    pub(super) fn value(&self, with_metadata: bool) -> Value {
        let mut value = json!({
            "type": "message", "ts": self.ts, "user": self.user, "text": self.text, "team": TEAM, "blocks": self.blocks,
        });
        if self.is_ours {
            value["bot_id"] = json!(BOT);
            value["app_id"] = json!(APP);
        }
        if let Some(thread) = &self.thread {
            value["thread_ts"] = json!(thread);
        }
        if let Some(metadata) = self.metadata.as_ref().filter(|_| with_metadata) {
            value["metadata"] = metadata.clone();
        }
        value
    }
}

/// A channel.
#[derive(Debug, Default)]
pub(super) struct Channel {
    pub(super) is_archived: bool,
    pub(super) has_bot: bool,
    pub(super) messages: BTreeMap<String, Message>,
    /// Posts are counted per channel: about one a second, and a few at once.
    pub(super) posted: Vec<Instant>,
}

/// What lets an app open a window.
#[derive(Debug)]
pub(super) struct Trigger {
    pub(super) made: Instant,
    pub(super) user: String,
    pub(super) was_used: bool,
}

/// Where an app may answer for half an hour, five times.
#[derive(Debug)]
pub(super) struct ResponseUrl {
    pub(super) channel: String,
    pub(super) user: String,
    pub(super) made: Instant,
    pub(super) uses: u32,
    pub(super) has_run_out: bool,
}

/// A window in front of a person.
#[derive(Debug, Clone)]
pub(super) struct View {
    pub(super) user: String,
    pub(super) body: Value,
}

/// Everything.
#[derive(Debug)]
pub(super) struct State {
    pub(super) users: BTreeMap<String, User>,
    pub(super) channels: BTreeMap<String, Channel>,
    pub(super) triggers: BTreeMap<String, Trigger>,
    pub(super) responses: BTreeMap<String, ResponseUrl>,
    pub(super) views: BTreeMap<String, View>,
    pub(super) homes: BTreeMap<String, Value>,
    pub(super) scopes: BTreeSet<String>,
    /// User groups, by id: who is in them.
    pub(super) groups: BTreeMap<String, BTreeSet<String>>,
    /// How long a trigger is good for.
    pub(super) trigger_life: Duration,
    numbers: u64,
}

impl State {
    pub(super) fn new() -> Self {
        let scopes = [
            "commands",
            "chat:write",
            "app_mentions:read",
            "users:read",
            "channels:history",
            "groups:history",
            "usergroups:read",
        ];
        Self {
            users: BTreeMap::new(),
            channels: BTreeMap::new(),
            triggers: BTreeMap::new(),
            responses: BTreeMap::new(),
            views: BTreeMap::new(),
            homes: BTreeMap::new(),
            scopes: scopes.into_iter().map(str::to_owned).collect(),
            groups: BTreeMap::new(),
            trigger_life: Duration::from_secs(3),
            numbers: 0,
        }
    }

    /// A number that was never given before.
    pub(super) fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    /// A message's id: its time, made unique.
    pub(super) fn ts(&mut self) -> String {
        let number = self.number();
        format!("{}.{:06}", seconds(), number)
    }

    pub(super) fn trigger(&mut self, user: &str) -> String {
        let number = self.number();
        let id = format!("{number}.47445629121.{number:032x}");
        let trigger = Trigger { made: Instant::now(), user: user.to_owned(), was_used: false };
        self.triggers.insert(id.clone(), trigger);
        id
    }

    /// The path of a response URL.
    pub(super) fn response(&mut self, channel: &str, user: &str) -> String {
        let path = format!("/response/{TEAM}/{}/{:024x}", self.number(), 7);
        let made = ResponseUrl {
            channel: channel.to_owned(),
            user: user.to_owned(),
            made: Instant::now(),
            uses: 0,
            has_run_out: false,
        };
        self.responses.insert(path.clone(), made);
        path
    }
}

/// Seconds since 1970.
pub(super) fn seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
