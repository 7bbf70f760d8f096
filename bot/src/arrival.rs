//! What a platform's message is to the rest of the bot: who said what, where. The inbox keeps it as JSON.

use journal::plan::Platform;
use journal::{Origin, PersonId, State};
use journal_store::{Draft, Letter};
use serde::{Deserialize, Serialize};
use std::time::Duration;

use crate::github;
use crate::language::Dialect;

/// What arrived.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Arrival {
    /// The account, as the plan names it: GitHub's number, Slack's `TEAM/USER`, Discord's snowflake.
    pub account: String,
    /// What people call the account; for sentences alone.
    pub name: String,
    /// Where an answer goes.
    pub place: Place,
    /// What was said.
    pub said: Said,
}

/// Where an answer goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "at", rename_all = "snake_case")]
pub enum Place {
    /// A pull request's conversation.
    PullRequest {
        /// `owner/name`.
        repository: String,
        /// Its number.
        number: u64,
    },
    /// A channel of Slack.
    SlackChannel {
        /// Its id.
        channel: String,
        /// The message whose thread it is.
        thread: Option<String>,
    },
    /// Somebody's home tab in Slack: a place to show things, where nothing is said.
    SlackHome {
        /// Whose.
        user: String,
    },
    /// A channel of Discord.
    DiscordChannel {
        /// Its id.
        channel: String,
        /// The interaction's token: for a quarter of an hour the answer takes the place of "thinking".
        token: Option<String>,
    },
}

/// What was said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum Said {
    /// A text in which lines that begin with `/migrate` may be commands.
    Text {
        /// The text.
        text: String,
    },
    /// A command alone, as a platform's own command box gives it.
    Line {
        /// The line.
        line: String,
    },
    /// A press on a button under a request.
    Button {
        /// Which.
        word: Word,
        /// The request's number.
        request: u64,
        /// The first digits of the plan's hash that was shown.
        plan: String,
        /// What the person said with it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// A text with commands was edited, or edited into one.
    Edited,
    /// What happens on GitHub alone.
    Github(github::Event),
    /// A comment with commands was deleted.
    Deleted {
        /// The id of the commands that it became, without their place in the text.
        meaning: String,
        /// The number of the account that deleted it.
        by: String,
    },
}

/// What a button says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Word {
    /// Yes.
    Approve,
    /// No.
    Deny,
}

impl Word {
    /// As it stands in a button's value.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Approve => "approve",
            Self::Deny => "deny",
        }
    }
}

/// A button's value: `approve:41:12345678`. Nobody is trusted with it: it is checked when it comes back.
#[must_use]
pub fn button_value(word: Word, request: u64, plan: &str) -> String {
    format!("{}:{request}:{plan}", word.word())
}

/// What a button's value says.
#[must_use]
pub fn button(value: &str) -> Option<Said> {
    let mut parts = value.split(':');
    let word = match parts.next()? {
        "approve" => Word::Approve,
        "deny" => Word::Deny,
        _ => return None,
    };
    let request = parts.next()?.parse().ok()?;
    let plan = parts.next().filter(|plan| plan.len() >= 8)?.to_owned();
    parts.next().is_none().then_some(Said::Button { word, request, plan, reason: None })
}

/// The language of a text from a platform.
#[must_use]
pub const fn dialect(said: &Said) -> Dialect {
    match said {
        Said::Line { .. } | Said::Button { .. } => Dialect::Terminal,
        Said::Text { .. } | Said::Edited | Said::Deleted { .. } | Said::Github(_) => Dialect::Markdown,
    }
}

impl Arrival {
    /// The row of the inbox for it; none if a key is not fit for one.
    #[must_use]
    pub fn letter(&self, platform: Platform, transport: Option<&str>, meaning: &str) -> Option<Letter> {
        let is_key = |text: &str, most: usize| {
            !text.is_empty() && text.len() <= most && text.bytes().all(|byte| byte.is_ascii_graphic())
        };
        if !is_key(meaning, 180) || transport.is_some_and(|text| !is_key(text, 300)) {
            return None;
        }
        let kind = match &self.said {
            Said::Text { .. } => "text",
            Said::Line { .. } => "line",
            Said::Button { .. } => "button",
            Said::Edited => "edited",
            Said::Github(_) => "github",
            Said::Deleted { .. } => "deleted",
        };
        Some(Letter {
            transport: transport.map(str::to_owned),
            meaning: meaning.to_owned(),
            platform,
            kind: kind.to_owned(),
            body: serde_json::to_value(self).ok()?,
        })
    }
}

/// Whose account it is.
#[must_use]
pub fn person(state: &State, platform: Platform, account: &str) -> Option<PersonId> {
    let (plan, _) = state.plan.as_ref()?;
    plan.people
        .values()
        .find(|person| person.accounts.get(&platform).is_some_and(|known| known == account))
        .map(|person| person.id.clone())
}

/// A message to people, before a platform renders it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// What it says, as the terminal would print it.
    pub text: String,
    /// The request that it puts before people who can approve it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asks: Option<Asks>,
}

/// A request that waits for approvals.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asks {
    /// Its number.
    pub request: u64,
    /// The first digits of its plan's hash.
    pub plan: String,
}

impl Place {
    /// The place as the journal keeps it: `owner/name#7`, `C0123/1700000000.000100`, `C0123`.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::PullRequest { repository, number } => format!("{repository}#{number}"),
            Self::SlackChannel { channel, thread: Some(thread) } => format!("{channel}/{thread}"),
            Self::SlackChannel { channel, thread: None } | Self::DiscordChannel { channel, .. } => {
                channel.clone()
            }
            Self::SlackHome { user } => user.clone(),
        }
    }

    /// A place by the name that the journal keeps; none if it is not one of this platform.
    #[must_use]
    pub fn read(platform: Platform, name: &str) -> Option<Self> {
        let is_plain = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic());
        match platform {
            _ if !is_plain => None,
            Platform::Github => {
                let (repository, number) = name.split_once('#')?;
                Some(Self::PullRequest { repository: repository.to_owned(), number: number.parse().ok()? })
            }
            Platform::Slack => {
                let (channel, thread) = name
                    .split_once('/')
                    .map_or((name, None), |(channel, thread)| (channel, Some(thread.to_owned())));
                Some(Self::SlackChannel { channel: channel.to_owned(), thread })
            }
            Platform::Discord => Some(Self::DiscordChannel { channel: name.to_owned(), token: None }),
        }
    }

    /// The place without what is only a way to answer: where a living message is.
    #[must_use]
    pub fn lasting(&self) -> Self {
        match self {
            Self::DiscordChannel { channel, .. } => {
                Self::DiscordChannel { channel: channel.clone(), token: None }
            }
            other => other.clone(),
        }
    }

    /// The outbox's row for a message to this place.
    ///
    /// What is only a way to answer, an interaction's token, goes with the message: the place of a living message is the
    /// same whoever spoke there.
    #[must_use]
    pub fn draft(&self, message: &Message) -> Draft {
        let mut body = serde_json::to_value(message).unwrap_or_default();
        let destination = match self {
            Self::DiscordChannel { channel, token: Some(token) } => {
                if let Some(fields) = body.as_object_mut() {
                    fields.insert("token".to_owned(), token.as_str().into());
                }
                serde_json::to_string(&Self::DiscordChannel { channel: channel.clone(), token: None })
            }
            place => serde_json::to_string(place),
        };
        Draft {
            platform: self.platform(),
            destination: destination.unwrap_or_default(),
            living: None,
            priority: 0,
            body,
            wait: Duration::ZERO,
        }
    }

    /// The outbox's row for a text alone.
    #[must_use]
    pub fn say(&self, text: String) -> Draft {
        self.draft(&Message { text, asks: None })
    }

    /// What the journal keeps of something that was said or done here, by an account, under a name.
    #[must_use]
    pub fn origin(&self, account: &str, message: &str) -> Origin {
        Origin {
            platform: self.platform(),
            account: account.to_owned(),
            place: self.name(),
            message: Some(message.to_owned()),
            bound: None,
            groups: Vec::new(),
        }
    }

    /// Whether messages here can have buttons.
    #[must_use]
    pub const fn has_buttons(&self) -> bool {
        matches!(self.platform(), Platform::Slack | Platform::Discord)
    }

    /// Whose it is.
    #[must_use]
    pub const fn platform(&self) -> Platform {
        match self {
            Self::PullRequest { .. } => Platform::Github,
            Self::SlackChannel { .. } | Self::SlackHome { .. } => Platform::Slack,
            Self::DiscordChannel { .. } => Platform::Discord,
        }
    }
}
