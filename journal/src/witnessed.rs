//! What has to be seen from outside before anything opens: the people's last word on a request.
//!
//! Whoever cuts the end off the journal leaves no trace, unless a log checkpoint over it has left the journal before.
//! So an opening waits for one that covers the last word of its approvals.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::ids::{NameError, Position, from_text};
use crate::merkle::Hash;
use crate::state::{OperationRun, Request, RequestStatus, State};

/// The root of the journal's tree, in hexadecimal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Root(Hash);

impl Root {
    /// Wraps a hash.
    #[must_use]
    pub const fn new(hash: Hash) -> Self {
        Self(hash)
    }

    /// The hash.
    #[must_use]
    pub const fn hash(&self) -> &Hash {
        &self.0
    }
}

impl fmt::Display for Root {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl FromStr for Root {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut hash = [0; 32];
        let expected = "64 hexadecimal digits";
        hex::decode_to_slice(text, &mut hash).map_err(|_| NameError {
            what: "tree's root",
            given: text.to_owned(),
            expected,
        })?;
        Ok(Self(hash))
    }
}

impl Serialize for Root {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Root {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_text(deserializer)
    }
}

/// The newest log checkpoint that is known, by the journal itself, to have left it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftCheckpoint {
    /// The event that tells.
    pub position: Position,
    /// The last position that it covers.
    pub size: Position,
    /// The tree's root at that size.
    pub root: Root,
    /// Where it went.
    pub left_to: Vec<String>,
}

/// Where the last word on a request stands that an opening depends on.
#[must_use]
pub(crate) fn last_word(request: &Request) -> Option<Position> {
    let glass = request.glass.as_ref().map(|glass| glass.position);
    request.words.values().map(|word| word.position).max().max(glass)
}

/// Whether the word on a request that its operation stands on is covered by what has left the journal.
fn is_covered(state: &State, request: &Request) -> bool {
    let left = state.left.as_ref().map(|left| left.size);
    last_word(request) <= left
}

/// The newest word on a live request that no log checkpoint known to have left the journal covers.
#[must_use]
pub fn unwitnessed(state: &State) -> Option<Position> {
    let is_live = |request: &&Request| matches!(request.status, RequestStatus::Open | RequestStatus::Running);
    let uncovered = state.requests.values().filter(is_live).filter(|request| !is_covered(state, request));
    uncovered.filter_map(last_word).max()
}

/// Whether an operation waits for a log checkpoint: its plan can prove itself, and nothing has left the journal yet that
/// covers the last word of its approvals.
#[must_use]
pub fn awaits_witness(state: &State, run: &OperationRun) -> bool {
    run.operation.opens().is_some()
        && run.plan.journal.signing_key.is_some()
        && state.requests.get(&run.request).is_some_and(|request| !is_covered(state, request))
}
