//! Who asks, and where: what a rule needs first, or the refusal that says it is not there.

use crate::command::{Actor, Command};
use crate::ids::{PersonId, PhaseName, Position};
use crate::plan::{Plan, Role};
use crate::refusal::Refusal;
use crate::state::{OperationRun, PhaseState, Request, State};

pub(super) const fn executor(actor: &Actor) -> Result<(), Refusal> {
    match actor {
        Actor::Executor(_) => Ok(()),
        Actor::Person(_) | Actor::Operator => Err(Refusal::NotAnExecutor),
    }
}

pub(super) fn known_person<'a>(state: &State, actor: &'a Actor) -> Result<&'a PersonId, Refusal> {
    let Actor::Person(person) = actor else { return Err(Refusal::NotAPerson) };
    if current_plan(state)?.people.contains_key(person) {
        Ok(person)
    } else {
        Err(Refusal::UnknownPerson { person: person.clone() })
    }
}

pub(super) fn with_role<'a>(
    state: &State,
    command: &'a Command,
    role: Role,
) -> Result<&'a PersonId, Refusal> {
    let person = known_person(state, &command.actor)?;
    let seen = command.origin.as_ref().map_or(&[][..], |origin| &origin.groups);
    if current_plan(state)?.has_role(person, role, seen) {
        Ok(person)
    } else {
        Err(Refusal::LacksRole { person: person.clone(), role })
    }
}

pub(super) fn current_plan(state: &State) -> Result<&Plan, Refusal> {
    state.plan.as_ref().map(|(plan, _)| &**plan).ok_or(Refusal::NoPlan)
}

pub(super) fn known_phase<'s>(state: &'s State, phase: &PhaseName) -> Result<&'s PhaseState, Refusal> {
    let plan = current_plan(state)?;
    state.phases.get(phase).map(|phase| &**phase).ok_or_else(|| Refusal::NoPhase {
        phase: phase.clone(),
        known: plan.phases.iter().map(|phase| phase.name.clone()).collect(),
    })
}

pub(super) fn running<'s>(state: &'s State, phase: &PhaseName) -> Result<&'s OperationRun, Refusal> {
    known_phase(state, phase)?.operation.as_ref().ok_or_else(|| Refusal::NothingRuns { phase: phase.clone() })
}

pub(super) fn known_request(state: &State, request: Position) -> Result<&Request, Refusal> {
    state.requests.get(&request).ok_or(Refusal::NoRequest { request })
}

pub(super) fn reason_given(reason: &str) -> Result<String, Refusal> {
    let reason = reason.trim();
    if reason.is_empty() { Err(Refusal::ReasonNeeded) } else { Ok(reason.to_owned()) }
}
