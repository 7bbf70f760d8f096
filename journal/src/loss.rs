//! What is known of a loss, before and while the source is opened although the target is lost.
//!
//! The failback stream delivers transactions in the order of their commits, and each carries the time of its commit by the
//! target's clock, taken before its commit is written. So whatever the target acknowledged before the newest applied
//! commit's time was written before that commit, and is applied. What it acknowledged later may be lost, and how much that
//! is nobody can know while the target is away. The word that a person types is made from these two facts: another loss
//! has another word, and a confirmation of the one is none of the other.

use std::fmt;

use crate::ids::{EffectId, Lsn, PhaseName};
use crate::names::Direction;
use crate::operation::Operation;
use crate::state::{DISPLACED, OperationRun, PhaseState, StreamHealth};
use crate::time::Timestamp;

/// The code of a stream that does not carry what is written to a table: its place says nothing of that table.
pub const UNCARRIED: &str = "SW-0411";

/// What is known of a loss.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownLoss {
    /// What confirms it.
    pub word: String,
    /// The last applied failback checkpoint.
    pub checkpoint: Lsn,
    /// When the newest change that was applied was committed, by the target's clock; none where it is not known.
    pub newest_change_at: Option<Timestamp>,
    /// Why nothing comes.
    pub down: Down,
}

/// Why nothing comes from a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Down {
    /// One end of its stream is not reached, which the error names.
    Away(String),
    /// The stream stopped, in the finding's words, while the target may well be there.
    Stopped(String),
    /// Tables that the stream did not carry, in the finding's words: of what was written to them that time bounds nothing.
    Uncarried(String),
}

impl KnownLoss {
    fn new(phase: &PhaseName, (checkpoint, newest_change_at): (Lsn, Option<Timestamp>), down: Down) -> Self {
        let newest = newest_change_at.map_or_else(|| "unknown".to_owned(), |at| at.to_string());
        let mut told = format!("loss {phase} {checkpoint} {newest}");
        if let Down::Uncarried(what) = &down {
            told.extend([" ", what]);
        }
        let digest = EffectId::of(told.as_bytes()).to_string();
        let digits: String = digest.chars().filter(char::is_ascii_hexdigit).take(6).collect();
        Self { word: format!("loss-{digits}"), checkpoint, newest_change_at, down }
    }
}

/// As it stands in a request that confirms it.
impl fmt::Display for KnownLoss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: applied up to {}, newest known change ", self.word, self.checkpoint)?;
        match self.newest_change_at {
            Some(at) => write!(f, "{at}")?,
            None => f.write_str("unknown")?,
        }
        match &self.down {
            Down::Uncarried(what) => write!(f, "; {what}"),
            Down::Away(_) | Down::Stopped(_) => Ok(()),
        }
    }
}

/// How a phase's way back to the source is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WayBack {
    /// Its stream is not down, or waits for its side to be probed anew: a plain failback leads back.
    Stands,
    /// It is down, and where it had come to is not known.
    Unknown,
    /// It is down.
    Lost(KnownLoss),
}

/// How the way back is, as journalled.
#[must_use]
pub(crate) fn way_back(name: &PhaseName, phase: &PhaseState) -> WayBack {
    let Some(stream) = phase.streams.get(&Direction::Failback) else { return WayBack::Unknown };
    let down = match &stream.health {
        Some(StreamHealth::Broken { error }) => Down::Away(error.clone()),
        Some(StreamHealth::Stopped { finding }) if finding.code == UNCARRIED => {
            Down::Uncarried(finding.what.clone())
        }
        Some(StreamHealth::Stopped { finding }) if finding.code != DISPLACED => {
            Down::Stopped(finding.what.clone())
        }
        Some(StreamHealth::Stopped { .. } | StreamHealth::CaughtUp | StreamHealth::Lagging) | None => {
            return WayBack::Stands;
        }
    };
    let seen = |key: &str| stream.seen.get(key).map(String::as_str);
    let Some(checkpoint) = seen("checkpoint").and_then(|text| text.parse().ok()) else {
        return WayBack::Unknown;
    };
    let newest = seen("newest_change_at").and_then(|text| text.parse().ok());
    WayBack::Lost(KnownLoss::new(name, (checkpoint, newest), down))
}

/// What is known of the loss, should the target of a phase be given up now. None: it is not known to be lost.
#[must_use]
pub fn known_loss(name: &PhaseName, phase: &PhaseState) -> Option<KnownLoss> {
    match way_back(name, phase) {
        WayBack::Lost(loss) => Some(loss),
        WayBack::Stands | WayBack::Unknown => None,
    }
}

/// Whether a running operation gives way to another, which goes on from where it stands. To a `failback --target-lost`: a
/// way back that is in its window, or is being undone from there, and that has not begun to open the source; before its
/// window it can be aborted. To a `complete --source-lost`: a `complete`.
#[must_use]
pub fn may_be_replaced(run: &OperationRun, by: Operation) -> bool {
    let leads_back = matches!(run.operation, Operation::Failback | Operation::FailbackTargetLost);
    match by {
        Operation::FailbackTargetLost => leads_back && run.stopped.is_some() && run.opening.is_none(),
        Operation::CompleteSourceLost => run.operation == Operation::Complete,
        _ => false,
    }
}
