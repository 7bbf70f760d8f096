//! What happens on GitHub alone. All but the words of a review is read again at the time of use.

use journal::Timestamp;
use serde::{Deserialize, Serialize};

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// Somebody reviewed the pull request.
    Review {
        /// The review's number.
        id: u64,
        /// `approved`, `changes_requested`, `commented`.
        state: String,
        /// What it says, as it was submitted.
        text: String,
    },
    /// A review counts no more.
    Dismissed {
        /// The review's number.
        id: u64,
        /// What people call the reviewer.
        reviewer: String,
    },
    /// The pull request was opened, pushed to or closed.
    Pull,
    /// It was merged.
    Merged,
    /// Something was said too long ago to be done now.
    Late {
        /// When.
        at: Timestamp,
    },
}
