//! What must be known before a side opens.
//!
//! The opening is the place that all else serves. Its intent is decided here, in the transaction that appends it, and
//! it is refused unless the journal itself shows that the other side is fenced, drained and verified, that the streams
//! have been turned round, and that two distinct persons' approvals of that very plan still stand. So nothing between
//! an executor's look at the journal and its append can slip in.

use super::people::known_request;
use super::requests::check_binding;
use super::witness::check_witnessed;
use crate::approvals::{Quorum, quorum};
use crate::effect::{Effect, Expectation, Side, StreamMode};
use crate::ids::{PersonId, TableName};
use crate::names::Direction;
use crate::operation::{Operation, Step};
use crate::refusal::Refusal;
use crate::state::{EffectStatus, OperationRun, PhaseState, RequestStatus, State};
use crate::time::Timestamp;

/// Who opens one side after an opening of the other that failed has first closed that one, against what comes late.
pub(super) fn check_closed_first(run: &OperationRun) -> Result<(), Refusal> {
    let closed = run.effects.iter().any(|record| {
        record.step == Step::Undo
            && matches!(record.status, EffectStatus::Succeeded(_))
            && matches!(&record.effect, Effect::CloseGate { side } if run.operation.opens() == Some(*side))
    });
    if closed {
        Ok(())
    } else {
        Err(Refusal::OpeningUnproven { lacks: "the side whose opening failed is not closed" })
    }
}

/// A side that came back on another timeline was probed anew, and what this operation had compared before, again.
fn check_timelines(phase: &PhaseState, run: &OperationRun) -> Result<(), Refusal> {
    let lacks = |lacks| Err(Refusal::OpeningUnproven { lacks });
    if run.operation == Operation::FailbackTargetLost {
        // The target is not asked, and nothing was compared with it.
        return if phase.timelines.contains_key(&Side::Source) {
            lacks("the source came back on another timeline and was not probed anew")
        } else {
            Ok(())
        };
    }
    if !phase.timelines.is_empty() {
        return lacks("a side came back on another timeline and was not probed anew");
    }
    let Some(changed) = phase.timeline_changed.filter(|changed| *changed > run.position) else {
        return Ok(());
    };
    let is_compared = |table: &TableName| {
        run.effects.iter().any(|record| {
            record.intent > changed
                && matches!(record.status, EffectStatus::Succeeded(_))
                && matches!(&record.effect, Effect::VerifyTable { table: one, .. } if one == table)
        })
    };
    if phase.tables.iter().all(is_compared) {
        return Ok(());
    }
    lacks("the tables were not compared since a side came back on another timeline")
}

/// The quorum, the roles and the binding, once more, of a request whose operation runs.
pub(super) fn check_quorum_again(
    state: &State,
    now: Timestamp,
    run: &OperationRun,
) -> Result<Vec<PersonId>, Refusal> {
    let asked = known_request(state, run.request)?;
    // An opening that was proven absent consumed the approvals for this very operation, which may try it again.
    let spent = asked.status == RequestStatus::Consumed && run.opening_failed;
    if asked.status != RequestStatus::Running && !spent {
        return Err(Refusal::RequestClosed { request: run.request });
    }
    check_binding(state, asked, now)?;
    let Quorum { persons, glass } = quorum(state, asked)?;
    let reserved: Vec<PersonId> =
        persons.into_iter().filter(|person| run.reserved.contains(person)).collect();
    // Who began under broken glass goes on under it; nobody breaks it for what has begun.
    if glass.is_some() && glass == run.broken_glass {
        return Ok(reserved);
    }
    let need = run.plan.policy(run.operation).required;
    let have = u8::try_from(reserved.len()).unwrap_or(u8::MAX);
    if have < need { Err(Refusal::NoQuorum { have, need }) } else { Ok(reserved) }
}

type Pick<'p> = &'p dyn Fn(&Effect) -> bool;

/// What must be known before the other side may open, each as a success in this very operation.
pub(super) fn check_opening(
    state: &State,
    now: Timestamp,
    run: &OperationRun,
) -> Result<Vec<PersonId>, Refusal> {
    let lacks = |lacks| Refusal::OpeningUnproven { lacks };
    let Some(to) = run.operation.opens() else { return Err(lacks("the operation opens nothing")) };
    if run.operation == Operation::FailbackTargetLost {
        return check_lost_opening(state, now, run);
    }
    let from = to.other();
    let (applying, guarding) = match to {
        Side::Target => (Direction::Forward, Direction::Failback),
        Side::Source => (Direction::Failback, Direction::Forward),
    };
    let Some((_, undo)) = &run.stopped else { return Err(lacks("the traffic was not stopped")) };
    if now >= undo.at && !run.overtime {
        return Err(lacks("the time that the downtime allows is over"));
    }
    if run.undo.is_some() {
        return Err(Refusal::Undoing);
    }
    if let Some(phase) = state.phases.get(&run.phase) {
        if phase.breaches.iter().any(|breach| breach.position > run.position) {
            return Err(lacks("a write passed a fence since this operation began"));
        }
        check_timelines(phase, run)?;
    }
    let done = |pick: Pick<'_>| {
        run.effects.iter().any(|record| {
            matches!(record.status, EffectStatus::Succeeded(_))
                && record.step != Step::Undo
                && pick(&record.effect)
        })
    };
    let needed: [(Pick<'_>, &'static str); 9] = [
        (
            &|e| matches!(e, Effect::TrialWrite { side, expect: Expectation::Refused, .. } if *side == to),
            "the other side's fence was not tried",
        ),
        (&|e| matches!(e, Effect::HoldTraffic { .. }), "the traffic is not held"),
        (&|e| matches!(e, Effect::CloseGate { side } if *side == from), "the gate being left is not closed"),
        (
            &|e| matches!(e, Effect::AwaitWriters { side, .. } if *side == from),
            "open writers were not waited out",
        ),
        (&|e| matches!(e, Effect::VerifyChanged { .. }), "what changed was not verified"),
        (
            &|e| matches!(e, Effect::SetStreamMode { stream, mode: StreamMode::Guard } if stream.direction == applying),
            "the stream that applied does not guard",
        ),
        (
            &|e| matches!(e, Effect::SetStreamMode { stream, mode: StreamMode::Apply } if stream.direction == guarding),
            "the stream that guarded does not apply",
        ),
        (
            &|e| matches!(e, Effect::AdvanceSequences { side, .. } if *side == to),
            "the sequences were not moved forward",
        ),
        (
            &|e| matches!(e, Effect::RouteTraffic { to: side } if *side == to),
            "the lever does not point there",
        ),
    ];
    for (pick, missing) in needed {
        if !done(pick) {
            return Err(lacks(missing));
        }
    }
    let drained = run.effects.iter().any(|record| {
        matches!(record.status, EffectStatus::Succeeded(_))
            && matches!(record.step, Step::Drain | Step::DrainFailback)
            && matches!(&record.effect, Effect::AwaitMarker { stream, .. } if stream.direction == applying)
    });
    if !drained {
        return Err(lacks("the stream is not drained"));
    }
    check_witnessed(state, run)?;
    check_quorum_again(state, now, run)
}

/// What must be known before the source may open beside a target that is lost: that the loss was declared, that nothing of
/// the target is applied any more, that its gate was closed if it could be, and that the lever leads to the source.
fn check_lost_opening(state: &State, now: Timestamp, run: &OperationRun) -> Result<Vec<PersonId>, Refusal> {
    let lacks = |lacks| Refusal::OpeningUnproven { lacks };
    if run.stopped.is_none() {
        return Err(lacks("the traffic was not stopped"));
    }
    if run.undo.is_some() {
        return Err(Refusal::Undoing);
    }
    let Some(phase) = state.phases.get(&run.phase) else { return Err(lacks("the phase is not there")) };
    check_timelines(phase, run)?;
    let declared = phase.quarantine.as_ref().is_some_and(|quarantine| quarantine.operation == run.position);
    if !declared {
        return Err(lacks("the loss is not declared"));
    }
    if !phase.streams.is_empty() {
        return Err(lacks("a stream of the lost target still runs"));
    }
    let done = |pick: Pick<'_>| {
        run.effects
            .iter()
            .any(|record| matches!(record.status, EffectStatus::Succeeded(_)) && pick(&record.effect))
    };
    let needed: [(Pick<'_>, &'static str); 5] = [
        (
            &|e| matches!(e, Effect::TrialWrite { side: Side::Source, expect: Expectation::Refused, .. }),
            "the source's fence was not tried",
        ),
        (&|e| matches!(e, Effect::HoldTraffic { .. }), "the traffic is not held"),
        (
            &|e| matches!(e, Effect::CloseLost { side: Side::Target, moment, .. } if moment == "opening"),
            "it was not tried to close the target's gate",
        ),
        (
            &|e| matches!(e, Effect::AdvanceSequences { side: Side::Source, .. }),
            "the sequences were not moved forward",
        ),
        (&|e| matches!(e, Effect::RouteTraffic { to: Side::Source }), "the lever does not point there"),
    ];
    for (pick, missing) in needed {
        if !done(pick) {
            return Err(lacks(missing));
        }
    }
    check_witnessed(state, run)?;
    check_quorum_again(state, now, run)
}
