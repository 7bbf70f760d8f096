//! What people and executors say of the operation that runs, and holds.

use super::effects::gives_up;
use super::loss;
use super::people::{current_plan, known_phase, reason_given, running};
use crate::due::{gave_the_target_up, holds, in_the_window, may_undo, must_answer};
use crate::effect::{Effect, Evidence};
use crate::event::Fact;
use crate::ids::PhaseName;
use crate::operation::Step;
use crate::refusal::Refusal;
use crate::state::{EffectStatus, Finding, OperationRun, Outcome, State, UndoCause};
use crate::time::Timestamp;

/// Whether the phase's operation can still be undone.
pub(super) fn undoable(state: &State, phase: &PhaseName) -> Result<(), Refusal> {
    let run = running(state, phase)?;
    if !may_undo(run) || gave_the_target_up(run) {
        return Err(Refusal::PointOfNoReturn);
    }
    if run.undo.is_some() {
        return Err(Refusal::Undoing);
    }
    // What is dropped cannot be taken back.
    if run.effects.iter().any(|record| gives_up(&record.effect)) {
        return Err(Refusal::PointOfNoReturn);
    }
    Ok(())
}

pub(super) fn abort(state: &State, phase: &PhaseName, reason: &str) -> Result<Vec<Fact>, Refusal> {
    undoable(state, phase)?;
    Ok(vec![Fact::AbortRequested { reason: reason_given(reason)? }])
}

pub(super) fn pause(run: &OperationRun) -> Result<Vec<Fact>, Refusal> {
    if run.undo.is_some() {
        return Err(Refusal::Undoing);
    }
    if in_the_window(run) {
        return Err(Refusal::InTheWindow);
    }
    if run.opening.is_some() {
        return Err(Refusal::PointOfNoReturn);
    }
    if run.paused { Err(Refusal::PausedAlready) } else { Ok(vec![Fact::Paused {}]) }
}

pub(super) fn resume(run: &OperationRun) -> Result<Vec<Fact>, Refusal> {
    if run.paused { Ok(vec![Fact::Resumed {}]) } else { Err(Refusal::NotPaused) }
}

pub(super) fn retry(run: &OperationRun) -> Result<Vec<Fact>, Refusal> {
    if run.blocked.is_none() {
        return Err(Refusal::NotBlocked);
    }
    Ok(vec![Fact::Retried { step: run.step }])
}

fn current_hold(state: &State, phase: Option<&PhaseName>) -> Result<bool, Refusal> {
    match phase {
        Some(phase) => Ok(known_phase(state, phase)?.hold.is_some()),
        None => current_plan(state).map(|_| state.hold.is_some()),
    }
}

pub(super) fn hold(state: &State, phase: Option<&PhaseName>, reason: &str) -> Result<Vec<Fact>, Refusal> {
    if current_hold(state, phase)? {
        return Err(Refusal::HeldAlready);
    }
    Ok(vec![Fact::HoldPlaced { reason: reason_given(reason)? }])
}

pub(super) fn release(state: &State, phase: Option<&PhaseName>) -> Result<Vec<Fact>, Refusal> {
    if current_hold(state, phase)? { Ok(vec![Fact::HoldReleased {}]) } else { Err(Refusal::NotHeld) }
}

pub(super) fn finish_step(state: &State, run: &OperationRun, step: Step) -> Result<Vec<Fact>, Refusal> {
    if step != run.step || run.blocked.is_some() {
        return Err(Refusal::StepNotDue { step });
    }
    if run.undo.is_none() && run.undo_asked.is_some() && may_undo(run) {
        return Err(Refusal::Undoing);
    }
    let mut of_step = run.effects.iter().filter(|record| record.step == step).peekable();
    let none = of_step.peek().is_none();
    let displaced = state.phases.get(&run.phase).map(|phase| &phase.timelines);
    let all_done = of_step.all(|record| match record.status {
        EffectStatus::Succeeded(_) => true,
        EffectStatus::Failed(_) => {
            // It may have been changed or dropped on the source since: it is not there.
            let is_gone = matches!(record.effect, Effect::AddSchemaObject { .. });
            // Its side may have come back on yet another timeline, on which it was probed since.
            let is_probed = |side| displaced.is_none_or(|sides| !sides.contains_key(side));
            is_gone || matches!(&record.effect, Effect::ProbeAnew { side, .. } if is_probed(side))
        }
        EffectStatus::Intended | EffectStatus::Unknown(_) => false,
    });
    // An undo may have nothing to undo, and finalize_schema may have nothing to make; every other step does something.
    if !all_done || (none && !matches!(step, Step::Undo | Step::FinalizeSchema)) {
        return Err(Refusal::StepOpen { step });
    }
    let operation = run.position;
    let mut facts = Vec::new();
    if step == Step::DeclareLoss {
        facts.push(loss::declared(state, run)?);
    }
    if step == Step::CleanUp {
        facts.extend(loss::left_behind(state, run));
    }
    facts.push(Fact::StepFinished { operation, step });
    if step == Step::Undo {
        facts.push(Fact::OperationFinished { operation, outcome: Outcome::Undone });
    } else if run.operation.steps().last() == Some(&step) {
        facts.push(Fact::OperationFinished { operation, outcome: Outcome::Completed });
    }
    Ok(facts)
}

pub(super) fn block(run: &OperationRun, step: Step, finding: &Finding) -> Result<Vec<Fact>, Refusal> {
    if step != run.step {
        return Err(Refusal::StepNotDue { step });
    }
    if run.blocked.as_ref() == Some(finding) {
        return Ok(Vec::new());
    }
    Ok(vec![Fact::StepBlocked { operation: run.position, step, finding: finding.clone() }])
}

pub(super) fn begin_undo(
    now: Timestamp,
    run: &OperationRun,
    cause: &UndoCause,
    answered: &Evidence,
) -> Result<Vec<Fact>, Refusal> {
    if !may_undo(run) || gave_the_target_up(run) {
        return Err(Refusal::PointOfNoReturn);
    }
    if run.undo.is_some() {
        return Err(Refusal::Undoing);
    }
    let founded = match cause {
        UndoCause::Deadline => !holds(run) && run.stopped.as_ref().is_some_and(|(_, undo)| now >= undo.at),
        UndoCause::StepFailed { .. } => in_the_window(run) && !holds(run),
        UndoCause::Aborted { .. } | UndoCause::ApprovalLost { .. } => run.undo_asked.as_ref() == Some(cause),
    };
    if !founded {
        return Err(Refusal::StepNotDue { step: Step::Undo });
    }
    if must_answer(run, cause).is_some() && answered.is_empty() {
        let lacks = "the side that it would return to has not answered a write";
        return Err(Refusal::OpeningUnproven { lacks });
    }
    let (cause, answered) = (cause.clone(), answered.clone());
    Ok(vec![Fact::UndoStarted { operation: run.position, cause, answered }])
}
