//! Where a person said something, and what they saw there.
//!
//! An origin is no part of what is asked: the same word, read once from a webhook and once in a sweep, is one command. It
//! is kept in the envelope, for auditors and for whoever has to look at the place again.

use serde::{Deserialize, Serialize};

use crate::plan::Platform;

/// Where a word was said. A word from a terminal has none.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Origin {
    /// The platform.
    pub platform: Platform,
    /// The account, as the plan names it: GitHub's number, Slack's `TEAM/USER`, Discord's snowflake.
    pub account: String,
    /// The place: GitHub's `owner/name#7`, Slack's `C0123/1700000000.000100` (channel and thread) or `C0123`, Discord's
    /// channel.
    pub place: String,
    /// The platform's name of the message, review, press or interaction.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// In a pull request: the commit that was its head when the word was read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bound: Option<Bound>,
    /// The plan's groups that the person was seen in, where their role came from one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<Membership>,
}

/// A group of the plan that a person was seen in: the evidence for a role that it gives.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Membership {
    /// The platform that was asked.
    pub platform: Platform,
    /// The group, by the platform's immutable id.
    pub group: String,
    /// The person's account that was found in it, as the plan names it.
    pub account: String,
}

/// A commit that a request is bound to, as the head of a pull request.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Bound {
    /// `owner/name`.
    pub repository: String,
    /// The pull request's number, in decimal.
    pub pull_request: String,
    /// The head's full commit id.
    pub head: String,
}

/// What a second look at a bound request's pull request came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "seen", rename_all = "snake_case")]
pub enum SeenBinding {
    /// The head is that commit, the plan at it is the adopted one, every counted review stands.
    Stands {
        /// The head.
        head: String,
    },
    /// Another commit is the head.
    Moved {
        /// Which.
        head: String,
    },
    /// It was closed without being merged.
    Closed,
    /// The plan at the head is not there, not readable, or not the adopted one.
    OtherPlan,
}
