//! What a phase's executor should do next. A restarted executor asks the same question and gets the same answer, so
//! there is one path. The deadline is looked at first.
#![deny(clippy::wildcard_enum_match_arm)]

use crate::approvals::{binding_change, quorum, waits};
use crate::decide::gives_up;
use crate::effect::{EffectClass, Side};
use crate::ids::{EffectId, PhaseName, Position};
use crate::loss::may_be_replaced;
use crate::operation::{Operation, Step};
use crate::plan::FailbackDeadline;
use crate::state::{EffectStatus, Finding, OperationRun, RequestStatus, State, UndoCause};
use crate::time::Timestamp;
use crate::witnessed::awaits_witness;

/// What should happen next in a phase. The loop does it and asks again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Due {
    /// Nothing, until an event or a person changes that.
    Idle,
    /// Nothing until a person says `retry` or `abort`.
    Blocked(Finding),
    /// Nothing until a person says `resume`.
    Paused,
    /// Nothing until a log checkpoint over the last word of the approvals has left the journal.
    AwaitWitness,
    /// Append `VoidStale`: a request has expired or its binding has changed.
    VoidStale,
    /// Append `Begin` for this request: it has its quorum.
    Begin(Position),
    /// Append `BeginUndo`.
    BeginUndo(UndoCause),
    /// Append `Block` with this finding: a person must decide.
    CallPerson(Finding),
    /// Ask the engine for this step's effects; intend the first that has not succeeded, or finish the step.
    Plan(Step),
    /// Take this intended effect through probe, act, probe, outcome.
    Effect(EffectId),
}

/// What is due in a phase. `now` is the journal database's clock.
#[must_use]
pub fn due(state: &State, phase: &PhaseName, now: Timestamp) -> Due {
    let Some(phase_state) = state.phases.get(phase) else { return Due::Idle };
    match &phase_state.operation {
        Some(run) => replacement(state, run, now).unwrap_or_else(|| in_operation(state, run, now)),
        None => at_rest(state, phase, now),
    }
}

fn at_rest(state: &State, phase: &PhaseName, now: Timestamp) -> Due {
    let open = || {
        state
            .requests
            .values()
            .filter(|request| &request.phase == phase && request.status == RequestStatus::Open)
    };
    if open().any(|request| binding_change(state, request, now).is_some()) {
        return Due::VoidStale;
    }
    open()
        .find(|request| waits(state, request, now).is_empty())
        .map_or(Due::Idle, |request| Due::Begin(request.position))
}

/// A request that takes the place of an operation that cannot go on.
fn replacement(state: &State, run: &OperationRun, now: Timestamp) -> Option<Due> {
    let request = state.requests.values().find(|request| {
        request.phase == run.phase
            && request.status == RequestStatus::Open
            && may_be_replaced(run, request.operation)
    })?;
    if binding_change(state, request, now).is_some() {
        return Some(Due::VoidStale);
    }
    waits(state, request, now).is_empty().then_some(Due::Begin(request.position))
}

fn in_operation(state: &State, run: &OperationRun, now: Timestamp) -> Due {
    if run.undo.is_none() && may_undo(run) {
        if let Some(cause) = &run.undo_asked {
            return Due::BeginUndo(cause.clone());
        }
        if let Some(due) = end_of_the_window(state, run, now) {
            return due;
        }
    }
    // A blocked step waits for a person, also with an effect open. An undo does not, nor what follows an opening: while it
    // is not through, nobody can write, so it goes on trying, and the finding is there for people to read.
    if let (Some(finding), None, None) = (&run.blocked, &run.undo, &run.opening) {
        return Due::Blocked(finding.clone());
    }
    if let Some(finding) = displaced(state, run).filter(|_| run.undo.is_none() && may_undo(run)) {
        return Due::CallPerson(finding);
    }
    // One effect at a time: what is intended and not concluded comes before anything new. An undo leaves the open
    // effects of the steps it undoes where they are: its own intents are higher, so theirs are refused.
    let open = run.effects.iter().find(|record| {
        let counts = run.undo.is_none() || record.step == Step::Undo;
        counts && matches!(record.status, EffectStatus::Intended | EffectStatus::Unknown(_))
    });
    if let Some(open) = open {
        return Due::Effect(open.id);
    }
    let begun = run.effects.iter().any(|record| record.step == run.step);
    if run.paused && !begun && !in_the_window(run) {
        return Due::Paused;
    }
    // Before anything is stopped, and never while it is: what has to leave the journal may have to wait for a disk.
    if run.step == Step::StopTraffic && !in_the_window(run) && awaits_witness(state, run) {
        return Due::AwaitWitness;
    }
    Due::Plan(run.step)
}

/// Whether the traffic is stopped, or may be, and the operation can still be undone.
#[must_use]
pub(crate) fn in_the_window(run: &OperationRun) -> bool {
    run.stopped.is_some() && run.opening.is_none()
}

/// From the opening's intent on nothing is undone: only its probe tells which side is open.
#[must_use]
pub(crate) const fn may_undo(run: &OperationRun) -> bool {
    run.opening.is_none()
}

/// Whether nothing leads back from an operation any more, though nothing is open: a loss was confirmed, the traffic is
/// stopped, and where it came from is gone. A new request may take its place.
pub(crate) fn gave_the_target_up(run: &OperationRun) -> bool {
    run.operation == Operation::FailbackTargetLost && (run.stopped.is_some() || run.replaces)
}

/// Whether nothing of the operation is undone any more, whoever asks: its opening has begun, or it has dropped something for
/// good.
#[must_use]
pub fn is_past_return(run: &OperationRun) -> bool {
    !may_undo(run)
        || run.opened
        || run.effects.iter().any(|record| gives_up(&record.effect) && record.step != Step::Undo)
}

/// What ends a window that cannot go on: an undo, or a person where the plan says so.
fn end_of_the_window(state: &State, run: &OperationRun, now: Timestamp) -> Option<Due> {
    let overdue = run.stopped.as_ref().is_some_and(|(_, undo)| now >= undo.at);
    let failed = failed_in_the_window(run)
        .or_else(|| lapsed_in_the_window(state, run, now))
        .or_else(|| displaced_in_the_window(state, run));
    if !holds(run) {
        let cause = if overdue { Some(UndoCause::Deadline) } else { failed };
        return cause.map(Due::BeginUndo);
    }
    if let Some(blocked) = &run.blocked {
        return Some(Due::Blocked(blocked.clone()));
    }
    if let Some(UndoCause::StepFailed { finding, .. }) = failed {
        return Some(Due::CallPerson(finding));
    }
    let finding = Finding {
        code: "SW-0522".to_owned(),
        what: "The failback's downtime is over and the traffic is held: nobody can write.".to_owned(),
        remedy: "Say `abort` to return the traffic to the target, or `retry` to go on towards the source without a limit."
            .to_owned(),
    };
    let calls = overdue && !run.overtime && run.operation != Operation::FailbackTargetLost;
    calls.then_some(Due::CallPerson(finding))
}

/// The code of a failback that should return to a target that does not answer.
pub const UNANSWERED: &str = "SW-0524";

/// Whether an operation in its window is ended by a person alone: a failback whose plan says so, or that could not return
/// by itself and called one.
pub(crate) fn holds(run: &OperationRun) -> bool {
    let is_unanswered = run.blocked.as_ref().is_some_and(|finding| finding.code == UNANSWERED);
    gave_the_target_up(run)
        || holds_by_plan(run)
        || (run.operation == Operation::Failback && (run.overtime || is_unanswered))
}

fn holds_by_plan(run: &OperationRun) -> bool {
    run.operation == Operation::Failback
        && run
            .plan
            .phases
            .iter()
            .any(|phase| phase.name == run.phase && phase.failback_deadline == FailbackDeadline::Hold)
}

/// Whether nothing returns the traffic of this operation but a person's word.
#[must_use]
pub fn waits_for_a_person(run: &OperationRun) -> bool {
    never_returns(run) || holds(run)
}

/// Whether nothing but a person's word has ever returned the traffic of this operation.
#[must_use]
pub fn never_returns(run: &OperationRun) -> bool {
    run.operation == Operation::FailbackTargetLost || holds_by_plan(run)
}

/// The side that must answer a write before an undo of this cause begins. A cutover's source had the writes until now; a
/// failback's target may be the very reason for going back. Whom a person sends back there, goes.
#[must_use]
pub fn must_answer(run: &OperationRun, cause: &UndoCause) -> Option<Side> {
    let by_itself = matches!(cause, UndoCause::Deadline | UndoCause::StepFailed { .. });
    (run.operation == Operation::Failback && by_itself).then_some(Side::Target)
}

/// What a person has to know of a failback that cannot return to its target by itself.
#[must_use]
pub fn unanswered(run: &OperationRun, why: &str) -> Finding {
    Finding {
        code: UNANSWERED.to_owned(),
        what: format!(
            "The failback cannot go on, and the target, to which the plan returns it, does not answer a write ({why}). The \
             traffic is held: nobody can write"
        ),
        remedy: format!(
            "Say `/migrate {0} retry` to go on towards the source without a limit, or `/migrate {0} abort --reason \"…\"` to \
             return as soon as the target answers.",
            run.phase
        ),
    }
}

/// A request that lapsed in the window can never open the other side, so there is nothing to wait for.
fn lapsed_in_the_window(state: &State, run: &OperationRun, now: Timestamp) -> Option<UndoCause> {
    let request = state.requests.get(&run.request).filter(|_| in_the_window(run))?;
    let lapsed = binding_change(state, request, now).is_some() || quorum(state, request).is_err();
    lapsed.then(|| UndoCause::StepFailed {
        step: run.step,
        finding: Finding {
            code: "SW-0521".to_owned(),
            what: format!("The approvals of request #{} no longer stand.", run.request),
            remedy: "Ask again, and have the new request approved.".to_owned(),
        },
    })
}

/// A side that came back on another timeline since the operation began, and since the newest `retry`: what it has proven
/// may not hold any more, so a person hears of it before it goes on.
fn displaced(state: &State, run: &OperationRun) -> Option<Finding> {
    let since = run.retried.unwrap_or(run.position);
    let changes = &state.phases.get(&run.phase)?.timelines;
    // A target that is given up is asked nothing.
    let counts = |side: Side| run.operation != Operation::FailbackTargetLost || side == Side::Source;
    let (side, change) = changes.iter().find(|(side, change)| counts(**side) && change.position > since)?;
    Some(change.finding(&run.phase, *side))
}

fn displaced_in_the_window(state: &State, run: &OperationRun) -> Option<UndoCause> {
    let finding = displaced(state, run).filter(|_| in_the_window(run))?;
    Some(UndoCause::StepFailed { step: run.step, finding })
}

/// A blocked step or a definite failure in the window undoes by itself: nobody is asked while nobody can write.
fn failed_in_the_window(run: &OperationRun) -> Option<UndoCause> {
    if !in_the_window(run) {
        return None;
    }
    if let Some(finding) = &run.blocked {
        return Some(UndoCause::StepFailed { step: run.step, finding: finding.clone() });
    }
    let failed = run.effects.iter().find_map(|record| match &record.status {
        EffectStatus::Failed(error) if record.step == run.step && Some(record.intent) > run.retried => {
            Some((record, error))
        }
        EffectStatus::Failed(_)
        | EffectStatus::Intended
        | EffectStatus::Unknown(_)
        | EffectStatus::Succeeded(_) => None,
    });
    failed.map(|(record, error)| UndoCause::StepFailed {
        step: record.step,
        finding: Finding {
            code: "SW-0520".to_owned(),
            what: format!("{} failed: {error}.", record.effect.label()),
            remedy: if record.effect.class() == EffectClass::Observation {
                "See to what it names, then ask again.".to_owned()
            } else {
                "See to its cause, then ask again.".to_owned()
            },
        },
    })
}
