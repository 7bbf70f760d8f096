//! The streams that should run, derived from events. A supervisor brings reality to it.

use std::collections::BTreeMap;

use crate::effect::StreamMode;
use crate::ids::{Lsn, Position, TableName, Timeline};
use crate::names::{Direction, StreamName};
use crate::operation::{Operation, Step};
use crate::state::{DISPLACED, Finding, PhaseState, State, StreamHealth, StreamState};

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
    /// The timeline on which the side it reads was last probed, and that of the side it writes: on another it stands still.
    pub timelines: [Option<Timeline>; 2],
    /// The newest change of a timeline: what runs from before it is begun anew.
    pub since: Option<Position>,
    /// The phase's tables, whose changes it is to carry.
    pub tables: Vec<TableName>,
}

/// The stream that an operation could not do without, if it is down: with what was found.
///
/// A switch drains the stream that applies, and the one that guards must be certain to see the first write of the side
/// that opens; but back towards the source a guard that has stopped does not block, or nobody could leave the target.
/// `complete` gives the way back up, so it goes on beside one that has stopped for good.
#[must_use]
pub fn stream_in_the_way(phase: &PhaseState, operation: Operation) -> Option<(Direction, Finding)> {
    let down = |direction: Direction| {
        let finding = match phase.streams.get(&direction)?.health.as_ref()? {
            // The operation itself probes anew, first of all.
            StreamHealth::Stopped { finding } if finding.code == DISPLACED => return None,
            StreamHealth::Stopped { finding } => finding.clone(),
            StreamHealth::Broken { error } => Finding {
                code: "SW-0541".to_owned(),
                what: format!("It is broken and being restarted: {error}."),
                remedy: "See to its cause; it goes on by itself, and then this can be asked again."
                    .to_owned(),
            },
            StreamHealth::CaughtUp | StreamHealth::Lagging => return None,
        };
        Some((direction, finding))
    };
    let stopped = |direction: Direction| {
        let health = phase.streams.get(&direction).and_then(|stream| stream.health.as_ref());
        matches!(health, Some(StreamHealth::Stopped { .. }))
    };
    match operation {
        Operation::Cutover => down(Direction::Forward).or_else(|| down(Direction::Failback)),
        Operation::Failback => down(Direction::Failback),
        Operation::Complete if !stopped(Direction::Failback) => {
            let (direction, mut finding) = down(Direction::Failback)?;
            finding.remedy.push_str(" If the source is gone for good, say `complete --source-lost`.");
            Some((direction, finding))
        }
        // A comparison is made at a place of the stream that applies, to which one that has stopped does not come.
        Operation::Verify => applying(phase).filter(|at| stopped(*at)).and_then(down),
        Operation::Start
        | Operation::Complete
        | Operation::Retire
        | Operation::FailbackTargetLost
        | Operation::CompleteSourceLost => None,
    }
}

/// The stream of a phase that applies.
fn applying(phase: &PhaseState) -> Option<Direction> {
    phase.streams.iter().find(|(_, stream)| stream.mode == StreamMode::Apply).map(|(at, _)| *at)
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
        // One end of either is lost, and nothing of them is wanted any more.
        let ended = phase_state
            .operation
            .as_ref()
            .is_some_and(|run| run.operation == Operation::CompleteSourceLost && run.undo.is_none());
        // An undo opens the side being left before it turns that side's stream back to applying, so that a dead other side
        // does not keep it closed. Until then the stream rests: in guard it would drop the first new writes.
        let rests = |direction: Direction, stream: &StreamState| {
            phase_state.operation.as_ref().is_some_and(|run| {
                run.undo.is_some()
                    && stream.mode == StreamMode::Guard
                    && run.operation.opens() == Some(direction.to())
            })
        };
        let running = phase_state.streams.iter().filter(|_| !loading && !ended);
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
                timelines: [direction.from(), direction.to()].map(|side| phase_state.probed_timeline(side)),
                since: phase_state.timeline_changed,
                tables: phase_state.tables.clone(),
            };
            desired.insert(name, spec);
        }
    }
    desired
}
