//! The streams that should run, derived from events. A supervisor brings reality to it.

use std::collections::BTreeMap;

use crate::effect::StreamMode;
use crate::ids::Lsn;
use crate::names::{Direction, StreamName};
use crate::operation::{Operation, Step};
use crate::state::{State, StreamState};

/// A stream as it should run. Its true mode and checkpoint are in its row on the side it writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamSpec {
    /// Which.
    pub name: StreamName,
    /// What it should do.
    pub mode: StreamMode,
    /// The slot it reads.
    pub slot: String,
    /// The publication it reads.
    pub publication: String,
    /// The origin that marks what it writes.
    pub origin: String,
    /// The origin of the opposite direction: what carries it is ours and is dropped.
    pub opposite_origin: String,
    /// Where it began.
    pub from: Lsn,
}

/// The streams of all phases that should run now.
#[must_use]
pub fn desired_streams(state: &State) -> BTreeMap<StreamName, StreamSpec> {
    let mut desired = BTreeMap::new();
    let Some(migration) = &state.migration else { return desired };
    for (phase, phase_state) in &state.phases {
        // While the copy goes on under the slot's snapshot, nothing later than the snapshot may be applied: a delete
        // would come before the row that it deletes.
        let loading = phase_state.operation.as_ref().is_some_and(|run| {
            run.operation == Operation::Start && !run.finished_steps.contains(&Step::Load)
        });
        // An undo opens the side being left before it turns that side's stream back to applying, so that a dead other side
        // does not keep it closed. Until then the stream rests: in guard it would drop the first new writes.
        let rests = |direction: Direction, stream: &StreamState| {
            phase_state.operation.as_ref().is_some_and(|run| {
                run.undo.is_some()
                    && stream.mode == StreamMode::Guard
                    && run.operation.opens() == Some(direction.to())
            })
        };
        let running = phase_state.streams.iter().filter(|_| !loading);
        for (direction, stream) in running.filter(|(direction, stream)| !rests(**direction, stream)) {
            let name = StreamName { phase: phase.clone(), direction: *direction };
            let spec = StreamSpec {
                name: name.clone(),
                mode: stream.mode,
                slot: stream.slot.clone(),
                publication: stream.publication.clone(),
                origin: stream.origin.clone(),
                opposite_origin: crate::names::origin_name(migration, phase, direction.opposite(), 0),
                from: stream.from,
            };
            desired.insert(name, spec);
        }
    }
    desired
}
