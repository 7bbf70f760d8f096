//! Adopting a plan.

use super::people::with_role;
use crate::command::{Actor, Command};
use crate::event::Fact;
use crate::ids::PersonId;
use crate::plan::{Plan, Role};
use crate::refusal::Refusal;
use crate::state::{RequestStatus, State, VoidReason};

pub(super) fn adopt_plan(
    state: &State,
    command: &Command,
    text: &str,
    authors: &[PersonId],
) -> Result<Vec<Fact>, Refusal> {
    let plan = Plan::parse(text).map_err(Refusal::BadPlan)?;
    match &command.actor {
        // The first plan makes the first persons, so nobody can be asked for a role yet.
        Actor::Operator if state.plan.is_none() => {}
        Actor::Operator | Actor::Person(_) | Actor::Executor(_) => {
            with_role(state, command, Role::Operator)?;
        }
    }
    if state.migration.as_ref().is_some_and(|name| *name != plan.migration) {
        return Err(Refusal::OtherMigration);
    }
    let hash = plan.hash();
    if state.plan.as_ref().is_some_and(|(_, current)| *current == hash) {
        return Err(Refusal::SamePlan);
    }
    let live = state.live_without(&plan);
    if !live.is_empty() {
        return Err(Refusal::PhasesLive { phases: live });
    }
    for (name, phase) in &state.phases {
        let changed =
            state.plan.as_ref().is_none_or(|(current, _)| current.hash_for(name) != plan.hash_for(name));
        if phase.operation.is_some() && changed {
            return Err(Refusal::PhaseFrozen { phase: name.clone() });
        }
    }
    let mut facts =
        vec![Fact::PlanAdopted { text: text.to_owned(), plan_hash: hash, authors: authors.to_vec() }];
    for request in state.requests.values().filter(|request| request.status == RequestStatus::Open) {
        let plan_hash = plan.hash_for(&request.phase);
        if plan_hash != request.plan_hash {
            let reason = VoidReason::PlanChanged { plan_hash };
            facts.push(Fact::RequestVoided { request: request.position, reason });
        }
    }
    Ok(facts)
}
