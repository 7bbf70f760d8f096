//! Requests: made, voided, begun.

use super::people::{current_plan, known_phase, known_request};
use crate::approvals::{binding_change, quorum};
use crate::command::RequestOptions;
use crate::event::Fact;
use crate::ids::{PhaseName, Position};
use crate::operation::Operation;
use crate::refusal::Refusal;
use crate::state::{Request, RequestStatus, State, VoidReason};
use crate::time::Timestamp;
use crate::transitions::transitions;

pub(super) struct Asked<'c> {
    pub(super) phase: &'c PhaseName,
    pub(super) operation: Operation,
    pub(super) options: &'c RequestOptions,
}

pub(super) fn request(state: &State, now: Timestamp, asked: &Asked<'_>) -> Result<Vec<Fact>, Refusal> {
    let Asked { phase, operation, options } = *asked;
    let plan = current_plan(state)?;
    let phase_state = known_phase(state, phase)?;
    if plan.phase(phase).is_none() {
        let known = plan.phases.iter().map(|phase| phase.name.clone()).collect();
        return Err(Refusal::NoPhase { phase: phase.clone(), known });
    }
    if operation == Operation::FailbackTargetLost {
        return Err(Refusal::NotAvailable { operation });
    }
    let plan_hash = plan.hash_for(phase);
    if let Some(seen) = &options.plan
        && (seen.len() < 8 || !plan_hash.to_string().starts_with(seen.as_str()))
    {
        return Err(Refusal::OtherPlan { current: plan_hash });
    }
    if let Some(run) = &phase_state.operation {
        return Err(Refusal::Busy { operation: run.operation, request: run.request });
    }
    let status = phase_state.status;
    if !transitions().iter().any(|row| row.from == status && row.operation == operation) {
        return Err(Refusal::WrongStatus { operation, status });
    }
    if let Some(hold) = phase_state.hold.as_ref().or(state.hold.as_ref()) {
        return Err(Refusal::Held { reason: hold.reason.clone() });
    }
    let same = |other: &&Request| {
        other.phase == *phase && other.operation == operation && other.status == RequestStatus::Open
    };
    if let Some(open) =
        state.requests.values().find(same).filter(|open| binding_change(state, open, now).is_none())
    {
        return Err(Refusal::AskedAlready { request: open.position });
    }
    let expires_at = now.plus(plan.policy(operation).expires);
    let mut facts = void_stale(state, now, phase);
    facts.push(Fact::Requested {
        operation,
        plan_hash,
        expires_at,
        confirmed_loss: options.confirmed_loss.clone(),
    });
    Ok(facts)
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

pub(super) fn begin(
    state: &State,
    now: Timestamp,
    phase: &PhaseName,
    number: Position,
) -> Result<Vec<Fact>, Refusal> {
    let phase_state = known_phase(state, phase)?;
    if let Some(run) = &phase_state.operation {
        return Err(Refusal::Busy { operation: run.operation, request: run.request });
    }
    let asked = known_request(state, number)?;
    if asked.status != RequestStatus::Open || asked.phase != *phase {
        return Err(Refusal::RequestClosed { request: number });
    }
    match binding_change(state, asked, now) {
        None => {}
        Some(VoidReason::Expired) => return Err(Refusal::RequestExpired { request: number }),
        Some(_) => return Err(Refusal::BindingChanged { request: number }),
    }
    if let Some(hold) = phase_state.hold.as_ref().or(state.hold.as_ref()) {
        return Err(Refusal::Held { reason: hold.reason.clone() });
    }
    let reserved = quorum(state, asked)?;
    let Some((_, plan_hash)) = &state.plan else { return Err(Refusal::NoPlan) };
    Ok(vec![Fact::OperationStarted {
        request: number,
        operation: asked.operation,
        plan_hash: *plan_hash,
        reserved,
        generation: phase_state.generation,
    }])
}
