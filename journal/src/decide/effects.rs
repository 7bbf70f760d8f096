//! Effects: intended, and how they ended.

use super::opening::{check_closed_first, check_opening, check_quorum_again};
use super::operations::block;
use super::witness::check_witnessed;
use crate::command::EffectOutcome;
use crate::due::may_undo;
use crate::effect::{Effect, EffectSpec, Side, UndoPlan};
use crate::event::Fact;
use crate::evolve::is_opening;
use crate::ids::{EffectId, PhaseName};
use crate::operation::{Operation, Step};
use crate::refusal::Refusal;
use crate::state::{EffectStatus, OperationRun, State};
use crate::time::Timestamp;

pub(super) struct Intent<'c> {
    pub(super) phase: &'c PhaseName,
    pub(super) step: Step,
    pub(super) effect: &'c Effect,
    pub(super) undo: &'c [Effect],
}

pub(super) fn intend(
    state: &State,
    now: Timestamp,
    run: &OperationRun,
    intent: &Intent<'_>,
) -> Result<Vec<Fact>, Refusal> {
    let Intent { phase, step, effect, undo } = *intent;
    if step != run.step {
        return Err(Refusal::StepNotDue { step });
    }
    if !belongs(run.operation, step, effect) {
        return Err(Refusal::ForeignEffect { label: effect.label(), step });
    }
    // No step without an authorisation: until the opening consumes it, the request must stand.
    if run.undo.is_none() && run.undo_asked.is_some() && may_undo(run) {
        return Err(Refusal::Undoing);
    }
    let spec = EffectSpec::new(run.plan_hash, phase, run.position, step, effect.clone());
    let open = run.effects.iter().find(|record| {
        record.step == step && matches!(record.status, EffectStatus::Intended | EffectStatus::Unknown(_))
    });
    if let Some(open) = open {
        return Err(Refusal::EffectOpen { effect: open.id });
    }
    if run.effect(spec.id).is_some_and(|record| matches!(record.status, EffectStatus::Succeeded(_))) {
        return Err(Refusal::EffectNotOpen { effect: spec.id });
    }
    let mut undo_plan = None;
    if matches!(effect, Effect::HoldTraffic { .. }) && step == Step::StopTraffic {
        let Some(plan) = run.plan.phase(phase) else { return Err(Refusal::StepNotDue { step }) };
        check_quorum_again(state, now, run)?;
        check_witnessed(state, run)?;
        let first = run.effect(spec.id).map_or(now, |record| record.intended_at);
        let at = first.plus(plan.max_downtime.saturating_sub(plan.undo_reserve));
        undo_plan = Some(UndoPlan { at, effects: undo.to_vec() });
    }
    // What cannot be undone asks for its approvals again before its first such effect.
    let first = !run.effects.iter().any(|record| gives_up(&record.effect));
    let gives_up_target = run.operation == Operation::FailbackTargetLost && step == Step::DeclareLoss;
    if gives_up_target && first && gives_up(effect) {
        check_quorum_again(state, now, run)?;
    }
    if run.operation.opens().is_none() && step != Step::Undo && first && gives_up(effect) {
        check_quorum_again(state, now, run)?;
    }
    if step == Step::Undo && run.opening_failed && matches!(effect, Effect::OpenGate { .. }) {
        check_closed_first(run)?;
    }
    let mut consumes = Vec::new();
    if is_opening(run.operation, step, effect) {
        consumes = check_opening(state, now, run)?;
    }
    Ok(vec![Fact::EffectIntended {
        operation: run.position,
        step,
        effect: spec.id,
        spec: effect.clone(),
        undo: undo_plan,
        consumes,
    }])
}

/// Which gates a step may touch. The rest of an effect is the engine's business; gates are everybody's.
fn belongs(operation: Operation, step: Step, effect: &Effect) -> bool {
    let opening_step = matches!(step, Step::SwitchTraffic | Step::SwitchTrafficBack);
    let fence_step = |side: Side| match side {
        Side::Source => step == Step::FenceSource,
        Side::Target => step == Step::FenceTarget,
    };
    if let Effect::OpenGate { side } = effect {
        // An undo opens the side that the operation fenced, never the other.
        let undone = step == Step::Undo && operation.opens().is_some_and(|opens| *side == opens.other());
        return undone || (opening_step && operation.opens() == Some(*side));
    }
    // A target that is lost is only ever closed by the operation that gives it up.
    if matches!(effect, Effect::CloseLost { .. } | Effect::DrainAvailable { .. }) {
        return operation == Operation::FailbackTargetLost;
    }
    if let Effect::CloseGate { side } = effect {
        return fence_step(*side) || step == Step::Undo;
    }
    if matches!(effect, Effect::HoldTraffic { .. }) {
        return step == Step::StopTraffic;
    }
    if matches!(effect, Effect::DropTables { .. }) {
        return (step == Step::Undo && operation == Operation::Start)
            || (step == Step::CleanUp && operation == Operation::Retire);
    }
    true
}

/// Whether an effect gives up what only a new start could make again.
pub(crate) const fn gives_up(effect: &Effect) -> bool {
    matches!(effect, Effect::DropStream { .. } | Effect::DropSlot { .. } | Effect::RemoveFence { .. })
}

pub(super) fn conclude(
    run: &OperationRun,
    effect: EffectId,
    outcome: &EffectOutcome,
) -> Result<Vec<Fact>, Refusal> {
    let open = run
        .effect(effect)
        .filter(|record| matches!(record.status, EffectStatus::Intended | EffectStatus::Unknown(_)));
    let Some(open) = open else { return Err(Refusal::EffectNotOpen { effect }) };
    if run.undo.is_some() && open.step != Step::Undo {
        return Err(Refusal::Undoing);
    }
    let fact = match outcome {
        EffectOutcome::Succeeded { adopted, evidence } => {
            Fact::EffectSucceeded { effect, adopted: *adopted, evidence: evidence.clone() }
        }
        EffectOutcome::Failed { finding } => {
            // In one transaction: a failure without its finding would be tried again by itself, and a finding without
            // its failure would leave an opening neither there nor undone.
            let mut facts = vec![Fact::EffectFailed { effect, error: finding.to_string() }];
            facts.extend(block(run, open.step, finding)?);
            return Ok(facts);
        }
        EffectOutcome::Unknown { .. } if matches!(open.status, EffectStatus::Unknown(_)) => {
            return Ok(Vec::new());
        }
        EffectOutcome::Unknown { error } => Fact::EffectUnknown { effect, error: error.clone() },
    };
    Ok(vec![fact])
}
