//! A lost target: what is declared of it, and what becomes of it when it is met again.

use super::people::known_phase;
use crate::command::Found;
use crate::effect::{Effect, Evidence, Side};
use crate::event::Fact;
use crate::ids::{PhaseName, Position};
use crate::names::{Direction, origin_name, publication_name, slot_name};
use crate::operation::Operation;
use crate::refusal::Refusal;
use crate::state::{OperationRun, State};

/// The loss, from what the operation has seen.
pub(super) fn declared(state: &State, run: &OperationRun) -> Result<Fact, Refusal> {
    let lacks = |lacks| Refusal::OpeningUnproven { lacks };
    let dropped = run.evidence(|record| {
        matches!(&record.effect, Effect::DropStream { stream } if stream.direction == Direction::Failback)
    });
    let checkpoint = dropped.and_then(|evidence| evidence.get("checkpoint"));
    let checkpoint = checkpoint.ok_or_else(|| lacks("the failback stream still runs"))?.clone();
    let newest_change_at =
        dropped.and_then(|evidence| evidence.get("newest_change_at")).and_then(|text| text.parse().ok());
    let says = |evidence: Option<&Evidence>, key: &str| {
        evidence.and_then(|evidence| evidence.get(key)).is_some_and(|said| said == "yes")
    };
    let drained = run.evidence(|record| matches!(record.effect, Effect::DrainAvailable { .. }));
    let closed = run.evidence(|record| matches!(record.effect, Effect::CloseLost { .. }));
    let confirmed = state.requests.get(&run.request).and_then(|request| request.confirmed_loss.clone());
    Ok(Fact::LossDeclared {
        operation: run.position,
        confirmed: confirmed.unwrap_or_default(),
        checkpoint,
        newest_change_at,
        drained: says(drained, "drained"),
        closed: says(closed, "reached"),
    })
}

/// What a phase that ends leaves on a side that is still lost.
pub(super) fn left_behind(state: &State, run: &OperationRun) -> Option<Fact> {
    let phase = state.phases.get(&run.phase)?;
    let is_lost = || phase.quarantine.as_ref().is_some_and(|quarantine| !quarantine.is_done());
    let side = match run.operation {
        Operation::Retire if is_lost() => Side::Target,
        Operation::CompleteSourceLost => Side::Source,
        Operation::Start
        | Operation::Cutover
        | Operation::Failback
        | Operation::Complete
        | Operation::Verify
        | Operation::Retire
        | Operation::FailbackTargetLost => return None,
    };
    let migration = state.migration.as_ref()?;
    let (name, generation) = (&run.phase, phase.generation);
    let [reads, writes] = match side {
        Side::Source => [Direction::Forward, Direction::Failback],
        Side::Target => [Direction::Failback, Direction::Forward],
    };
    let mut what = vec![
        format!("slot {}", slot_name(migration, name, generation, reads)),
        format!("publication {}", publication_name(migration, name, generation, reads)),
        format!("origin {}", origin_name(migration, name, writes, 0)),
        "gate, fence and the rows of _switchyard".to_owned(),
    ];
    if side == Side::Target {
        what.extend(phase.tables.iter().map(|table| format!("table {table}")));
    }
    Some(Fact::LeftBehind { operation: run.position, side, what })
}

/// What was done at the first contact; said again, it is no news.
pub(super) fn found(
    state: &State,
    phase: &PhaseName,
    (loss, found): (Position, &Found),
) -> Result<Vec<Fact>, Refusal> {
    let quarantine = known_phase(state, phase)?.quarantine.as_ref();
    let Some(quarantine) = quarantine.filter(|quarantine| quarantine.position == loss) else {
        return Ok(Vec::new());
    };
    let fact = match found {
        Found::Closed { .. } if quarantine.is_closed => return Ok(Vec::new()),
        Found::Closed { evidence } => Fact::QuarantineClosed { loss, evidence: evidence.clone() },
        // The rest is whole only once nobody writes there any more.
        Found::Read { .. } | Found::Unread { .. } if !quarantine.is_closed || quarantine.rest.is_some() => {
            return Ok(Vec::new());
        }
        Found::Read { file, changes } => Fact::QuarantineRead {
            loss,
            file: Some(file.clone()),
            changes: changes.to_string(),
            finding: None,
        },
        Found::Unread { finding } => {
            Fact::QuarantineRead { loss, file: None, changes: "0".to_owned(), finding: Some(finding.clone()) }
        }
    };
    Ok(vec![fact])
}
