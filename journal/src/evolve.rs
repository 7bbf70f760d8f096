//! Replaying events. Total and deterministic: whatever was once appended is replayed without a question.
#![deny(clippy::wildcard_enum_match_arm)]

use std::sync::Arc;

use crate::command::Actor;
use crate::effect::{Effect, Evidence, GateMode, Side};
use crate::event::{Fact, Recorded};
use crate::ids::{EffectId, PersonId, PhaseName, PlanHash, Position};
use crate::names::Direction;
use crate::operation::{Operation, PhaseStatus, Step};
use crate::origin::Membership;
use crate::plan::Plan;
use crate::state::{
    Approval, ApprovalWord, Breach, Confirmed, EffectRecord, EffectStatus, Glass, GlassReview, Hold,
    OperationRun, Outcome, PhaseState, Quarantine, Request, RequestStatus, Rest, State, StreamState,
    TimelineChange, UndoCause, UndoRun,
};
use crate::transitions::transitions;
use crate::witnessed::LeftCheckpoint;

/// Replays one event. Total and deterministic.
pub fn evolve(state: &mut State, event: &Recorded) {
    let envelope = &event.envelope;
    state.head = envelope.position;
    state.migration.get_or_insert_with(|| envelope.migration.clone());
    let at = Occurrence { event, person: person(&envelope.actor), phase: envelope.phase.as_ref() };
    match &event.body {
        Fact::PlanAdopted { text, plan_hash, authors } => adopt(state, text, *plan_hash, authors),
        Fact::Requested { .. } => ask(state, &at),
        Fact::Approved { request, .. } => word(state, &at, *request, ApprovalWord::Approved),
        Fact::Denied { request, .. } => {
            word(state, &at, *request, ApprovalWord::Denied);
            lose_approval(state, &at, *request);
        }
        Fact::Revoked { request } => {
            word(state, &at, *request, ApprovalWord::Revoked);
            withdraw_glass(state, &at, *request);
            lose_approval(state, &at, *request);
        }
        Fact::GlassBroken { .. } => break_glass(state, &at),
        Fact::GlassReviewed { request, approved, reason } => {
            let glass = state.requests.get_mut(request).and_then(|request| request.glass.as_mut());
            if let (Some(glass), Some(person)) = (glass, at.person) {
                let (person, approved, reason) = (person.clone(), *approved, reason.clone());
                glass.review = Some(GlassReview { person, approved, reason });
            }
        }
        Fact::BindingConfirmed { request, .. } => {
            if let Some(request) = state.requests.get_mut(request) {
                request.confirmed = Some(Confirmed { position: envelope.position, at: envelope.recorded_at });
            }
        }
        Fact::RolesConfirmed { request, lost } => confirm_roles(state, &at, (*request, lost)),
        Fact::RequestVoided { request, reason } => {
            if let Some(request) = state.requests.get_mut(request) {
                request.status = RequestStatus::Void(reason.clone());
            }
        }
        Fact::HoldPlaced { reason } => {
            let hold = Some(Hold { position: envelope.position, reason: reason.clone() });
            set_hold(state, at.phase, hold);
        }
        Fact::HoldReleased {} => set_hold(state, at.phase, None),
        Fact::LeaseTaken { epoch, holder } => {
            if let Some(phase) = at.phase {
                let phase = state.phases.entry(phase.clone()).or_default();
                phase.epoch = *epoch;
                phase.holder = Some(holder.clone());
            }
        }
        Fact::OperationStarted { .. }
        | Fact::Paused {}
        | Fact::Resumed {}
        | Fact::Retried { .. }
        | Fact::AbortRequested { .. }
        | Fact::EffectIntended { .. }
        | Fact::EffectSucceeded { .. }
        | Fact::EffectFailed { .. }
        | Fact::EffectUnknown { .. }
        | Fact::StepFinished { .. }
        | Fact::StepBlocked { .. }
        | Fact::UndoStarted { .. }
        | Fact::OperationFinished { .. } => operate(state, &at),
        Fact::StreamChanged { direction, health, seen, .. } => {
            if let Some(stream) = phase_mut(state, &at).and_then(|phase| phase.streams.get_mut(direction)) {
                stream.health = Some(health.clone());
                stream.seen.clone_from(seen);
            }
        }
        Fact::LossDeclared { .. } => declare_loss(state, &at),
        Fact::QuarantineClosed { loss, evidence } => {
            if let Some(phase) = phase_mut(state, &at)
                && let Some(quarantine) = phase.quarantine.as_mut().filter(|known| known.position == *loss)
            {
                quarantine.is_closed = true;
                set_gate(phase, Side::Target, GateMode::Closed, evidence);
            }
        }
        Fact::QuarantineRead { loss, file, changes, finding } => {
            let quarantine = phase_mut(state, &at).and_then(|phase| phase.quarantine.as_mut());
            if let Some(quarantine) = quarantine.filter(|known| known.position == *loss) {
                let (file, changes, finding) = (file.clone(), changes.clone(), finding.clone());
                quarantine.rest = Some(Rest { file, changes, finding });
            }
        }
        // A word to people.
        Fact::LeftBehind { .. } => {}
        Fact::FenceBreached { .. } => breach(state, &at),
        Fact::TimelineChanged { .. } => displace(state, &at),
        Fact::LogCheckpointLeft { size, root, left_to } => {
            let (position, left_to) = (envelope.position, left_to.clone());
            state.left = Some(LeftCheckpoint { position, size: *size, root: *root, left_to });
        }
        // Who could not read the number could not read the event.
        Fact::VersionBarrier { to } => state.barrier = to.parse().unwrap_or(state.barrier),
    }
}

/// Replays a journal from its beginning.
pub fn replay<'e>(events: impl IntoIterator<Item = &'e Recorded>) -> State {
    let mut state = State::default();
    for event in events {
        evolve(&mut state, event);
    }
    state
}

/// An event with what is looked up in it most.
struct Occurrence<'e> {
    event: &'e Recorded,
    person: Option<&'e PersonId>,
    phase: Option<&'e PhaseName>,
}

impl Occurrence<'_> {
    const fn position(&self) -> Position {
        self.event.envelope.position
    }

    /// The groups that whoever said it was seen in.
    fn groups(&self) -> Vec<Membership> {
        self.event.envelope.origin.as_ref().map(|origin| origin.groups.clone()).unwrap_or_default()
    }
}

const fn person(actor: &Actor) -> Option<&PersonId> {
    match actor {
        Actor::Person(person) => Some(person),
        Actor::Executor(_) | Actor::Operator => None,
    }
}

fn phase_mut<'s>(state: &'s mut State, at: &Occurrence<'_>) -> Option<&'s mut PhaseState> {
    state.phases.get_mut(at.phase?)
}

fn adopt(state: &mut State, text: &str, hash: PlanHash, authors: &[PersonId]) {
    // `decide` has read this very text; a later version that reads it otherwise keeps the plan it had. The hash is the
    // one that people approved, however a later version would hash the same meaning.
    let Ok(plan) = Plan::parse_adopted(text) else { return };
    let plan = Arc::new(plan);
    for phase in &plan.phases {
        state.phases.entry(phase.name.clone()).or_default();
    }
    state.bindings =
        plan.phases.iter().map(|phase| (phase.name.clone(), plan.hash_for(&phase.name))).collect();
    state.plans.insert(hash, Arc::clone(&plan));
    state.plan = Some((plan, hash));
    state.authors = authors.to_vec();
}

fn ask(state: &mut State, at: &Occurrence<'_>) {
    let Fact::Requested { operation, plan_hash, expires_at, confirmed_loss, not_before, not_after, reason } =
        &at.event.body
    else {
        return;
    };
    let (Some(phase), Some(requester)) = (at.phase, at.person) else { return };
    let request = Request {
        position: at.position(),
        phase: phase.clone(),
        operation: *operation,
        requester: requester.clone(),
        requested_at: at.event.envelope.recorded_at,
        plan_hash: *plan_hash,
        expires_at: *expires_at,
        confirmed_loss: confirmed_loss.clone(),
        not_before: *not_before,
        not_after: *not_after,
        reason: reason.clone(),
        origin: at.event.envelope.origin.clone(),
        confirmed: None,
        roles_confirmed: None,
        authors: state.authors.clone(),
        glass: None,
        words: std::collections::BTreeMap::new(),
        status: RequestStatus::Open,
    };
    state.requests.insert(at.position(), request);
}

fn break_glass(state: &mut State, at: &Occurrence<'_>) {
    let Fact::GlassBroken { request, plan_hash, reason, review_by } = &at.event.body else { return };
    let (Some(person), Some(request)) = (at.person, state.requests.get_mut(request)) else { return };
    request.glass = Some(Glass {
        person: person.clone(),
        position: at.position(),
        plan_hash: *plan_hash,
        reason: reason.clone(),
        review_by: *review_by,
        groups: at.groups(),
        withdrawn: false,
        used: false,
        review: None,
    });
}

fn withdraw_glass(state: &mut State, at: &Occurrence<'_>, request: Position) {
    let glass = state.requests.get_mut(&request).and_then(|request| request.glass.as_mut());
    if let Some(glass) = glass.filter(|glass| Some(&glass.person) == at.person) {
        glass.withdrawn = true;
    }
}

fn word(state: &mut State, at: &Occurrence<'_>, request: Position, word: ApprovalWord) {
    let (Some(person), Some(request)) = (at.person, state.requests.get_mut(&request)) else { return };
    let approval =
        Approval { word, position: at.position(), plan_hash: request.plan_hash, groups: at.groups() };
    request.words.insert(person.clone(), approval);
}

/// A denial, or the revocation of a reserved approval, undoes the attempt that reserved it, before the opening.
fn lose_approval(state: &mut State, at: &Occurrence<'_>, request: Position) {
    let Some(person) = at.person else { return };
    let Some(phase) = state.requests.get(&request).map(|request| request.phase.clone()) else { return };
    let Some(run) = state.phases.get_mut(&phase).and_then(|phase| phase.operation.as_mut()) else { return };
    if run.request == request && run.opening.is_none() && run.undo.is_none() && run.undo_asked.is_none() {
        run.undo_asked = Some(UndoCause::ApprovalLost { person: person.clone() });
    }
}

/// Who is not in a group any more keeps their word; without the group's role it gives no quorum.
fn confirm_roles(state: &mut State, at: &Occurrence<'_>, (request, lost): (Position, &[Membership])) {
    let Some(request) = state.requests.get_mut(&request) else { return };
    request.roles_confirmed = Some(Confirmed { position: at.position(), at: at.event.envelope.recorded_at });
    let asked = request.origin.as_mut().map(|origin| &mut origin.groups);
    let said = request.words.values_mut().map(|word| &mut word.groups);
    let broke = request.glass.as_mut().map(|glass| &mut glass.groups);
    for groups in asked.into_iter().chain(said).chain(broke) {
        groups.retain(|one| !lost.contains(one));
    }
}

fn set_hold(state: &mut State, phase: Option<&PhaseName>, hold: Option<Hold>) {
    match phase {
        Some(phase) => {
            let phase = state.phases.entry(phase.clone()).or_default();
            if hold.is_none() {
                // Who releases has seen what held.
                phase.breaches.iter_mut().for_each(|breach| breach.is_acknowledged = true);
            }
            phase.hold = hold;
        }
        None => state.hold = hold,
    }
}

fn breach(state: &mut State, at: &Occurrence<'_>) {
    let Fact::FenceBreached { direction, table, at: place, changes } = &at.event.body else { return };
    let position = at.position();
    if let Some(phase) = phase_mut(state, at) {
        phase.breaches.push(Breach {
            position,
            direction: *direction,
            table: table.clone(),
            at: place.clone(),
            changes: changes.clone(),
            recorded_at: at.event.envelope.recorded_at,
            is_acknowledged: false,
        });
        // A breach holds the phase: a person has to look before anything new begins.
        phase.hold.get_or_insert_with(|| Hold {
            position,
            reason: format!("a write passed the fence: {table}, seen by the {direction} stream at {place}"),
        });
    }
}

fn declare_loss(state: &mut State, at: &Occurrence<'_>) {
    let Fact::LossDeclared { operation, checkpoint, newest_change_at, closed, .. } = &at.event.body else {
        return;
    };
    let position = at.position();
    let Some(phase) = phase_mut(state, at) else { return };
    let Some(plan_hash) = phase.operation.as_ref().map(|run| run.plan_hash) else { return };
    let stream = phase.lost_stream.take();
    // The forward stream's row is on the target: nothing can run it, and nothing has to.
    phase.streams.clear();
    phase.quarantine = Some(Quarantine {
        position,
        operation: *operation,
        plan_hash,
        // `decide` took it from a row of ours.
        checkpoint: checkpoint.parse().unwrap_or_default(),
        newest_change_at: *newest_change_at,
        stream,
        is_closed: *closed,
        rest: None,
    });
}

fn displace(state: &mut State, at: &Occurrence<'_>) {
    let Fact::TimelineChanged { side, was, timeline } = &at.event.body else { return };
    let (position, recorded_at) = (at.position(), at.event.envelope.recorded_at);
    if let Some(phase) = phase_mut(state, at) {
        let was = phase.probed_timeline(*side).unwrap_or(*was);
        phase.timelines.insert(*side, TimelineChange { position, was, timeline: *timeline, recorded_at });
        phase.timeline_changed = Some(position);
    }
}

fn operate(state: &mut State, at: &Occurrence<'_>) {
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

fn set_gate(phase: &mut PhaseState, side: Side, mode: GateMode, evidence: &Evidence) {
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
