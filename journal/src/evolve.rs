//! Replaying events. Total and deterministic: whatever was once appended is replayed without a question.
#![deny(clippy::wildcard_enum_match_arm)]

mod operation;

use std::sync::Arc;

use crate::command::Actor;
use crate::effect::{GateMode, Side};
use crate::event::{Fact, Recorded};
use crate::ids::{PersonId, PhaseName, PlanHash, Position};
use crate::origin::Membership;
use crate::plan::Plan;
use crate::state::{
    Approval, ApprovalWord, Breach, Confirmed, Glass, GlassReview, Hold, PhaseState, Quarantine, Request,
    RequestStatus, Rest, State, TimelineChange, UndoCause,
};
use crate::witnessed::LeftCheckpoint;

pub(crate) use operation::is_opening;
use operation::{operate, set_gate};

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
    state.phases.get_mut(at.phase?).map(|phase| &mut **phase)
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
