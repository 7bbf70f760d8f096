//! Requests: made, voided, begun.

use std::time::Duration;

use super::people::{current_plan, known_phase, known_request};
use crate::approvals::{
    Quorum, Wait, binding_change, glass, hold_over, phases_first, quorum, unreviewed, waits,
};
use crate::command::RequestOptions;
use crate::event::Fact;
use crate::ids::{PersonId, PhaseName, Position};
use crate::loss::{WayBack, may_be_replaced, way_back};
use crate::operation::Operation;
use crate::origin::Origin;
use crate::plan::Plan;
use crate::refusal::Refusal;
use crate::state::{OperationRun, Outcome, PhaseState, Request, RequestStatus, State, VoidReason};
use crate::streams::stream_in_the_way;
use crate::time::Timestamp;
use crate::transitions::transitions;
use crate::windows::{closed, next_open};

/// How late a scheduled operation may begin if nothing else was said. A longer one would begin when nobody thinks of it
/// any more, a shorter one would be lost to the restart of an executor.
const BEGIN_MARGIN: Duration = Duration::from_secs(3600);

/// How far ahead an operation may be scheduled.
const FURTHEST: Duration = Duration::from_secs(366 * 86_400);

pub(super) struct Asked<'c> {
    pub(super) phase: &'c PhaseName,
    pub(super) operation: Operation,
    pub(super) options: &'c RequestOptions,
    pub(super) origin: Option<&'c Origin>,
}

pub(super) fn request(state: &State, now: Timestamp, asked: &Asked<'_>) -> Result<Vec<Fact>, Refusal> {
    let Asked { phase, operation, options, origin } = *asked;
    let plan = current_plan(state)?;
    let phase_state = known_phase(state, phase)?;
    if plan.phase(phase).is_none() {
        let known = plan.phases.iter().map(|phase| phase.name.clone()).collect();
        return Err(Refusal::NoPhase { phase: phase.clone(), known });
    }
    let plan_hash = plan.hash_for(phase);
    if let Some(seen) = &options.plan
        && (seen.len() < 8 || !plan_hash.to_string().starts_with(seen.as_str()))
    {
        return Err(Refusal::OtherPlan { current: plan_hash });
    }
    if plan.policy(operation).bind_commit && origin.is_none_or(|origin| origin.bound.is_none()) {
        return Err(Refusal::CommitNeeded { operation });
    }
    if let Some(run) = in_the_way(phase_state, operation) {
        return Err(Refusal::Busy { operation: run.operation, request: run.request });
    }
    let status = phase_state.status;
    if !transitions().iter().any(|row| row.from == status && row.operation == operation) {
        return Err(Refusal::WrongStatus { operation, status });
    }
    if let Some(hold) = hold_over(state, phase_state, operation) {
        return Err(Refusal::Held { reason: hold.reason.clone() });
    }
    if let Some((direction, finding)) = stream_in_the_way(phase_state, operation) {
        return Err(Refusal::StreamDown { direction, finding });
    }
    let confirmed_loss = confirmed(phase, phase_state, (operation, options))?;
    if let Some(request) = unreviewed(state, phase, operation) {
        return Err(Refusal::GlassUnreviewed { request });
    }
    let phases = phases_first(state, plan, phase, operation);
    if !phases.is_empty() {
        return Err(Refusal::PhasesFirst { phases });
    }
    let same = |other: &&Request| {
        other.phase == *phase && other.operation == operation && other.status == RequestStatus::Open
    };
    if let Some(open) =
        state.requests.values().find(same).filter(|open| binding_change(state, open, now).is_none())
    {
        return Err(Refusal::AskedAlready { request: open.position });
    }
    let Times { not_before, not_after, expires_at } = schedule(plan, now, asked)?;
    let reason = options.reason.as_deref().map(str::trim).filter(|reason| !reason.is_empty());
    let mut facts = void_stale(state, now, phase);
    facts.push(Fact::Requested {
        operation,
        plan_hash,
        expires_at,
        confirmed_loss,
        not_before,
        not_after,
        reason: reason.map(str::to_owned),
    });
    Ok(facts)
}

/// The operation that keeps another from being asked for and begun.
fn in_the_way(phase: &PhaseState, operation: Operation) -> Option<&OperationRun> {
    let gives_way = |run: &&OperationRun| may_be_replaced(run, operation);
    phase.operation.as_ref().filter(|run| !gives_way(run))
}

/// The loss, as it was shown, if it was confirmed by its word.
fn confirmed(
    phase: &PhaseName,
    state: &PhaseState,
    (operation, options): (Operation, &RequestOptions),
) -> Result<Option<String>, Refusal> {
    if operation == Operation::CompleteSourceLost && way_back(phase, state) == WayBack::Stands {
        return Err(Refusal::SourceNotLost);
    }
    if operation != Operation::FailbackTargetLost {
        return Ok(None);
    }
    let loss = match way_back(phase, state) {
        WayBack::Stands => return Err(Refusal::TargetNotLost),
        WayBack::Unknown => return Err(Refusal::LossUnknown),
        WayBack::Lost(loss) => loss,
    };
    let given = options.confirmed_loss.as_deref().map(str::trim).filter(|given| !given.is_empty());
    if given.is_some_and(|given| given.eq_ignore_ascii_case(&loss.word)) {
        return Ok(Some(loss.to_string()));
    }
    Err(Refusal::LossUnconfirmed { loss, given: given.map(str::to_owned) })
}

struct Times {
    not_before: Option<Timestamp>,
    not_after: Option<Timestamp>,
    expires_at: Timestamp,
}

/// When a request begins at the earliest and at the latest, and when it expires: as long as the plan says after the last
/// moment at which it may begin, or after the first one where there is no last; the wait for a window does not count.
fn schedule(plan: &Plan, now: Timestamp, asked: &Asked<'_>) -> Result<Times, Refusal> {
    let Asked { phase, operation, options, .. } = *asked;
    let not_before = options.not_before;
    if let Some(at) = not_before.filter(|at| *at <= now) {
        return Err(Refusal::SchedulePast { at });
    }
    if options.within.is_some_and(|within| within.is_zero()) {
        return Err(Refusal::NoTimeToBegin);
    }
    let earliest = not_before.unwrap_or(now);
    let not_after = match (not_before, options.within) {
        (_, Some(within)) => Some(earliest.plus(within)),
        (Some(at), None) => Some(at.plus(BEGIN_MARGIN)),
        (None, None) => None,
    };
    let latest = now.plus(FURTHEST);
    if not_after.unwrap_or(earliest) > latest {
        return Err(Refusal::ScheduleTooFar { latest });
    }
    let opens = next_open(plan, phase, operation, earliest);
    if let Some(not_after) = not_after.filter(|last| opens.is_none_or(|opens| opens > *last)) {
        return Err(Refusal::NeverInWindow { not_after, until: opens });
    }
    let from = not_after.or(opens).unwrap_or(earliest);
    Ok(Times { not_before, not_after, expires_at: from.plus(plan.policy(operation).expires) })
}

pub(super) fn void_stale(state: &State, now: Timestamp, phase: &PhaseName) -> Vec<Fact> {
    let open = state
        .requests
        .values()
        .filter(|request| request.phase == *phase && request.status == RequestStatus::Open);
    open.filter_map(|request| {
        let reason = binding_change(state, request, now)?;
        Some(Fact::RequestVoided { request: request.position, reason })
    })
    .collect()
}

/// Refuses a request whose binding has changed.
pub(super) fn check_binding(state: &State, request: &Request, now: Timestamp) -> Result<(), Refusal> {
    let number = request.position;
    match binding_change(state, request, now) {
        None => Ok(()),
        Some(VoidReason::Expired) => Err(Refusal::RequestExpired { request: number }),
        Some(VoidReason::NotBegun { .. }) => Err(Refusal::BeginMissed { request: number }),
        Some(VoidReason::PlanChanged { .. }) => Err(Refusal::BindingChanged { request: number }),
        Some(
            VoidReason::PhaseMoved { .. }
            | VoidReason::Denied { .. }
            | VoidReason::CommitMoved { .. }
            | VoidReason::PullRequestClosed
            | VoidReason::OtherPlanAtHead
            | VoidReason::LossChanged
            | VoidReason::SourceIsBack
            | VoidReason::RoleLost { .. }
            | VoidReason::Undone,
        ) => Err(Refusal::RequestClosed { request: number }),
    }
}

pub(super) fn begin(
    state: &State,
    now: Timestamp,
    phase: &PhaseName,
    number: Position,
) -> Result<Vec<Fact>, Refusal> {
    let phase_state = known_phase(state, phase)?;
    let asked = known_request(state, number)?;
    if let Some(run) = in_the_way(phase_state, asked.operation) {
        return Err(Refusal::Busy { operation: run.operation, request: run.request });
    }
    if asked.status != RequestStatus::Open || asked.phase != *phase {
        return Err(Refusal::RequestClosed { request: number });
    }
    check_binding(state, asked, now)?;
    match waits(state, asked, now).into_iter().next() {
        None => {}
        Some(Wait::Hold { reason }) => return Err(Refusal::Held { reason }),
        Some(Wait::Stream { direction, finding }) => return Err(Refusal::StreamDown { direction, finding }),
        Some(Wait::Approvals { have, need }) => return Err(Refusal::NoQuorum { have, need }),
        Some(Wait::Review { request }) => return Err(Refusal::GlassUnreviewed { request }),
        Some(Wait::Phases { phases }) => return Err(Refusal::PhasesFirst { phases }),
        Some(Wait::Time { at }) => return Err(Refusal::TooEarly { request: number, at }),
        Some(Wait::Window(closed)) => {
            return Err(Refusal::OutsideWindow { request: number, until: closed.until });
        }
        Some(Wait::Roles) => return Err(Refusal::RolesUnconfirmed { request: number }),
        Some(Wait::Confirmation) => return Err(Refusal::Unconfirmed { request: number }),
    }
    let Some((plan, plan_hash)) = &state.plan else { return Err(Refusal::NoPlan) };
    let Quorum { mut persons, glass: alone } = quorum(state, asked)?;
    // Glass that was broken and is not needed, since the approvals came in and the windows opened, stays unused.
    let outside = closed(plan, phase, asked.operation, now).is_some();
    let broken_glass: Option<PersonId> = alone.or_else(|| glass(plan, asked).filter(|_| outside).cloned());
    if let Some(person) = broken_glass.as_ref().filter(|person| !persons.contains(person)) {
        persons.push(person.clone());
    }
    let mut facts = Vec::new();
    if let Some(run) = &phase_state.operation {
        // It goes on from where that one stands: traffic stopped, gates closed.
        facts.push(Fact::OperationFinished { operation: run.position, outcome: Outcome::Replaced });
    }
    facts.push(Fact::OperationStarted {
        request: number,
        operation: asked.operation,
        plan_hash: *plan_hash,
        reserved: persons,
        generation: phase_state.generation,
        broken_glass,
    });
    Ok(facts)
}
