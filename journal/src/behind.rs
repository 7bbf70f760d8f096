//! Whether a gate in a database shows that the journal is older than what was done under it.
//!
//! Each effect leaves its intent's position and its holder's epoch in the gate's row, and both are events before they are
//! used. So a row that names what the journal has not got was written under a newer copy of it: the journal was restored
//! from a backup, or a standby that lacked its end was promoted. What such a journal says of who may write is not true any
//! more, however right it is in itself.

use crate::effect::{GateMode, Side};
use crate::ids::{Epoch, PhaseName, Position};
use crate::state::{Finding, State};

/// A gate's row, as a database has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GateRow {
    /// What it says.
    pub mode: GateMode,
    /// The highest epoch that was here.
    pub epoch: Epoch,
    /// The highest intent that was here.
    pub position: Position,
}

/// What an undo without the journal may do, at most: each under the next position after the newest intent.
const WITHOUT_JOURNAL: u64 = 8;

/// Why the journal cannot be the newest, going by a gate's row that was read before the state was.
#[must_use]
pub fn behind(state: &State, phase: &PhaseName, side: Side, row: GateRow) -> Option<Finding> {
    let known = state.phases.get(phase)?;
    if side == Side::Target && known.quarantine.is_some() {
        return None;
    }
    let run = known.operation.as_ref();
    let ahead = run.filter(|run| run.stopped.is_some()).map_or(0, |_| WITHOUT_JOURNAL);
    // While an operation runs, and while a failover of the side was not looked into, the two may differ for a moment.
    let rests = run.is_none() && !known.timelines.contains_key(&side);
    let at = known.gate_positions.get(&side).copied().unwrap_or_default();
    let set = known.gates.get(&side).filter(|_| rests);
    let what = match set {
        _ if row.position.get() > state.head.get() + ahead => {
            format!(
                "was last changed under event {}, and the journal ends at event {}",
                row.position, state.head
            )
        }
        _ if row.epoch > known.epoch => {
            format!(
                "was last changed under epoch {}, and by the journal it is epoch {}",
                row.epoch, known.epoch
            )
        }
        Some(mode) if row.mode != *mode && row.position >= at => {
            format!("is {}, and by the journal it is {}", row.mode.word(), mode.word())
        }
        _ => return None,
    };
    Some(Finding {
        code: "SW-0660".to_owned(),
        what: format!("the journal is older than the {side}: the gate of phase {phase} there {what}"),
        remedy: "Nothing is begun and no stream of the phase runs by it, and what it says of who may write may be false: \
                 `switchyard doctor` looks for itself. Put the newest copy of the journal in its place."
            .to_owned(),
    })
}
