//! What the events of a running operation change in it and in its phase.

use super::{Occurrence, phase_mut};
use crate::effect::{Effect, Evidence, GateMode, Side};
use crate::event::Fact;
use crate::ids::{EffectId, Position};
use crate::names::Direction;
use crate::operation::{Operation, PhaseStatus, Step};
use crate::state::{
    EffectRecord, EffectStatus, OperationRun, Outcome, PhaseState, RequestStatus, State, StreamState,
    UndoCause, UndoRun,
};
use crate::transitions::transitions;

pub(super) fn operate(state: &mut State, at: &Occurrence<'_>) {
    if let Fact::OperationStarted { .. } = &at.event.body {
        start(state, at);
        return;
    }
    if let Fact::OperationFinished { outcome, .. } = &at.event.body {
        finish(state, at, *outcome);
        return;
    }
    let Some(phase) = phase_mut(state, at) else { return };
    if let Fact::EffectSucceeded { effect, evidence, .. } = &at.event.body {
        let succeeded = EffectStatus::Succeeded(evidence.clone());
        if let Some(run) = phase.operation.as_mut().filter(|run| run.undo.is_some() || run.opening.is_some())
        {
            // What kept it from going on by itself is over.
            run.blocked = None;
        }
        if let Some(done) = phase.operation.as_mut().and_then(|run| settle(run, *effect, succeeded)) {
            change_phase(phase, &done, evidence);
        }
        return;
    }
    let Some(run) = phase.operation.as_mut() else { return };
    let consumed = advance(run, at);
    if let Some(request) = consumed.and_then(|request| state.requests.get_mut(&request)) {
        request.status = RequestStatus::Consumed;
    }
}

fn start(state: &mut State, at: &Occurrence<'_>) {
    let Fact::OperationStarted { request, operation, plan_hash, reserved, generation, broken_glass } =
        &at.event.body
    else {
        return;
    };
    let Some(plan) = state.plans.get(plan_hash).cloned() else { return };
    if let Some(request) = state.requests.get_mut(request) {
        request.status = RequestStatus::Running;
        if let Some(glass) = request.glass.as_mut().filter(|_| broken_glass.is_some()) {
            glass.used = true;
        }
    }
    let Some(name) = at.phase else { return };
    let Some(phase) = state.phases.get_mut(name) else { return };
    let replaces = *operation == Operation::FailbackTargetLost && phase.replaced;
    phase.replaced = false;
    phase.generation = *generation;
    if *operation == Operation::Start {
        phase.tables.clear();
    }
    phase.operation = Some(OperationRun {
        phase: name.clone(),
        position: at.position(),
        request: *request,
        operation: *operation,
        plan,
        plan_hash: *plan_hash,
        reserved: reserved.clone(),
        broken_glass: broken_glass.clone(),
        started_at: at.event.envelope.recorded_at,
        step: operation.steps().first().copied().unwrap_or(Step::Undo),
        finished_steps: Vec::new(),
        effects: Vec::new(),
        blocked: None,
        paused: false,
        stopped: None,
        opening: None,
        opening_failed: false,
        opened: false,
        replaces,
        overtime: false,
        retried: None,
        undo: None,
        undo_asked: None,
    });
}

/// What an event changes in a running operation; gives the request whose approvals it consumes.
fn advance(run: &mut OperationRun, at: &Occurrence<'_>) -> Option<Position> {
    match &at.event.body {
        Fact::EffectIntended { .. } => return intend(run, at),
        Fact::Paused {} => run.paused = true,
        Fact::Resumed {} => run.paused = false,
        Fact::Retried { .. } => {
            run.blocked = None;
            run.retried = Some(at.position());
            // Only a person can say this, and only of an operation that holds at its deadline.
            run.overtime =
                run.stopped.as_ref().is_some_and(|(_, undo)| at.event.envelope.recorded_at >= undo.at);
        }
        Fact::AbortRequested { reason } => {
            if let Some(person) = at.person {
                run.undo_asked = Some(UndoCause::Aborted { person: person.clone(), reason: reason.clone() });
            }
        }
        Fact::EffectFailed { effect, error } => {
            let failed = settle(run, *effect, EffectStatus::Failed(error.clone()));
            if failed.is_some_and(|effect| is_opening(run.operation, run.step, &effect)) {
                run.opening = None;
                run.opening_failed = true;
            }
        }
        Fact::EffectUnknown { effect, error } => {
            settle(run, *effect, EffectStatus::Unknown(error.clone()));
        }
        Fact::StepFinished { step, .. } => {
            run.finished_steps.push(*step);
            if let Some(next) = run.operation.steps().iter().find(|step| !run.finished_steps.contains(step)) {
                run.step = *next;
            }
        }
        Fact::StepBlocked { finding, .. } => run.blocked = Some(finding.clone()),
        Fact::UndoStarted { cause, .. } => {
            run.undo = Some(UndoRun { position: at.position(), cause: cause.clone() });
            run.undo_asked = None;
            run.blocked = None;
            run.paused = false;
            run.step = Step::Undo;
        }
        Fact::PlanAdopted { .. }
        | Fact::Requested { .. }
        | Fact::Approved { .. }
        | Fact::Denied { .. }
        | Fact::Revoked { .. }
        | Fact::GlassBroken { .. }
        | Fact::GlassReviewed { .. }
        | Fact::BindingConfirmed { .. }
        | Fact::RolesConfirmed { .. }
        | Fact::RequestVoided { .. }
        | Fact::HoldPlaced { .. }
        | Fact::HoldReleased {}
        | Fact::LeaseTaken { .. }
        | Fact::OperationStarted { .. }
        | Fact::EffectSucceeded { .. }
        | Fact::OperationFinished { .. }
        | Fact::StreamChanged { .. }
        | Fact::FenceBreached { .. }
        | Fact::TimelineChanged { .. }
        | Fact::LossDeclared { .. }
        | Fact::QuarantineClosed { .. }
        | Fact::QuarantineRead { .. }
        | Fact::LeftBehind { .. }
        | Fact::LogCheckpointLeft { .. }
        | Fact::VersionBarrier { .. } => {}
    }
    None
}

/// Writes an intent down; gives the request whose approvals it consumes.
fn intend(run: &mut OperationRun, at: &Occurrence<'_>) -> Option<Position> {
    let Fact::EffectIntended { step, effect, spec, undo, .. } = &at.event.body else { return None };
    let (intent, intended_at) = (at.position(), at.event.envelope.recorded_at);
    match run.effects.iter_mut().find(|record| record.id == *effect) {
        Some(record) => {
            record.intent = intent;
            record.status = EffectStatus::Intended;
        }
        None => run.effects.push(EffectRecord {
            id: *effect,
            step: *step,
            effect: spec.clone(),
            intent,
            intended_at,
            status: EffectStatus::Intended,
        }),
    }
    if let (None, Some(undo)) = (&run.stopped, undo) {
        run.stopped = Some((intended_at, undo.clone()));
    }
    if is_opening(run.operation, *step, spec) && run.opening.is_none() {
        run.opening = Some(intent);
        return Some(run.request);
    }
    None
}

/// Whether an effect is the one after which there is no undo.
pub(crate) fn is_opening(operation: Operation, step: Step, effect: &Effect) -> bool {
    matches!(effect, Effect::OpenGate { side } if step != Step::Undo && operation.opens() == Some(*side))
}

fn settle(run: &mut OperationRun, effect: EffectId, status: EffectStatus) -> Option<Effect> {
    let operation = run.operation;
    let record = run.effects.iter_mut().find(|record| record.id == effect)?;
    record.status = status;
    let (step, settled) = (record.step, record.effect.clone());
    if matches!(record.status, EffectStatus::Succeeded(_)) && is_opening(operation, step, &settled) {
        run.opened = true;
    }
    Some(settled)
}

/// What a success changes in the phase.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "only these effects change what a phase is; the rest leave evidence"
)]
fn change_phase(phase: &mut PhaseState, effect: &Effect, evidence: &Evidence) {
    match effect {
        Effect::Preflight { tables } => phase.tables.clone_from(tables),
        Effect::InstallHome { side, mode } => {
            let kept = match evidence.get("mode").map(String::as_str) {
                Some("open") => GateMode::Open,
                Some("closed") => GateMode::Closed,
                Some(_) | None => *mode,
            };
            phase.gates.insert(*side, kept);
            let identity = evidence
                .iter()
                .filter(|(key, _)| ["system_identifier", "database_oid", "timeline"].contains(&key.as_str()));
            phase
                .identities
                .insert(*side, identity.map(|(key, value)| (key.clone(), value.clone())).collect());
            phase.timelines.remove(side);
        }
        Effect::ProbeAnew { side, timeline, .. } => {
            let identity = phase.identities.entry(*side).or_default();
            identity.insert("timeline".to_owned(), timeline.to_string());
            if phase.timelines.get(side).is_some_and(|change| change.timeline == *timeline) {
                phase.timelines.remove(side);
            }
            // Those that stopped at the side's other timeline begin anew.
            phase.streams.values_mut().for_each(|stream| stream.health = None);
        }
        Effect::CompareColumns { .. } => phase.warning = evidence.get("warning").cloned(),
        Effect::CloseGate { side } => set_gate(phase, *side, GateMode::Closed, evidence),
        Effect::OpenGate { side } => set_gate(phase, *side, GateMode::Open, evidence),
        Effect::StartStream { stream, mode, slot, publication, origin, from } => {
            let started = StreamState {
                mode: *mode,
                slot: slot.clone(),
                publication: publication.clone(),
                origin: origin.clone(),
                from: *from,
                health: None,
                seen: Evidence::new(),
            };
            phase.streams.insert(stream.direction, started);
        }
        Effect::SetStreamMode { stream, mode } => {
            if let Some(running) = phase.streams.get_mut(&stream.direction) {
                running.mode = *mode;
            }
        }
        Effect::DropStream { stream } => {
            let dropped = phase.streams.remove(&stream.direction);
            if stream.direction == Direction::Failback {
                phase.lost_stream = dropped;
            }
        }
        Effect::CloseLost { side, .. } if evidence.get("reached").is_some_and(|said| said == "yes") => {
            set_gate(phase, *side, GateMode::Closed, evidence);
            if let Some(quarantine) = &mut phase.quarantine {
                quarantine.is_closed = true;
            }
        }
        _ => {}
    }
}

pub(super) fn set_gate(phase: &mut PhaseState, side: Side, mode: GateMode, evidence: &Evidence) {
    phase.gates.insert(side, mode);
    // Not the intent's: what was done while the journal was away was done under a position of its own.
    if let Some(position) = evidence.get("position").and_then(|position| position.parse().ok()) {
        phase.gate_positions.insert(side, position);
    }
}

fn finish(state: &mut State, at: &Occurrence<'_>, outcome: Outcome) {
    let Some(phase) = phase_mut(state, at) else { return };
    let Some(run) = phase.operation.take() else { return };
    match outcome {
        Outcome::Completed => {
            let row =
                transitions().iter().find(|row| row.from == phase.status && row.operation == run.operation);
            if let Some(row) = row {
                phase.status = row.to;
            }
            if run.operation == Operation::CompleteSourceLost {
                // Their rows are on the side that is lost.
                phase.streams.clear();
            }
            if run.operation == Operation::Retire {
                if phase.quarantine.take().is_some() {
                    // What comes next may be another database.
                    phase.identities.remove(&Side::Target);
                    phase.timelines.remove(&Side::Target);
                    phase.gate_positions.remove(&Side::Target);
                }
                // As after an undone start: what was dropped is not looked for again.
                phase.generation = phase.generation.next();
                phase.gates.remove(&Side::Target);
                phase.breaches.clear();
            }
        }
        Outcome::Replaced => phase.replaced = true,
        Outcome::Undone => {
            if run.operation == Operation::Start {
                // The next start begins under new names: what was dropped is not looked for again.
                phase.generation = phase.generation.next();
                phase.status = PhaseStatus::New;
                phase.streams.clear();
                phase.tables.clear();
                phase.gates.remove(&Side::Target);
            }
        }
    }
    if let Some(request) = state.requests.get_mut(&run.request) {
        request.status = RequestStatus::Finished(outcome);
    }
}
