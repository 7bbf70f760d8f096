//! The second look at the pull request of a bound request, and at the groups that give its persons their roles, just
//! before its operation begins.
//!
//! A webhook that tells of a push may be late or lost, so it decides nothing alone: whatever the bot hears, it looks again
//! and reports what it saw. An operation of a bound request begins only while such a report is young and younger than the
//! last word on the request.

use super::people::{current_plan, known_request};
use crate::approvals::{is_confirmed, memberships, roles_are_confirmed};
use crate::command::Actor;
use crate::event::Fact;
use crate::ids::Position;
use crate::origin::{Bound, Membership, SeenBinding};
use crate::plan::Role;
use crate::refusal::Refusal;
use crate::state::{RequestStatus, State, VoidReason};
use crate::time::Timestamp;

pub(super) fn seen(
    state: &State,
    now: Timestamp,
    actor: &Actor,
    (request, seen): (Position, &SeenBinding),
) -> Result<Vec<Fact>, Refusal> {
    the_bot(actor)?;
    let asked = known_request(state, request)?;
    let bound = asked.bound().filter(|_| asked.status == RequestStatus::Open);
    // What has begun is frozen, and what is over needs no look.
    let Some(Bound { head: bound, .. }) = bound else { return Ok(Vec::new()) };
    let void = |reason| Ok(vec![Fact::RequestVoided { request, reason }]);
    match seen {
        SeenBinding::Stands { head } if head == bound => {
            if is_confirmed(asked, now) {
                return Ok(Vec::new());
            }
            Ok(vec![Fact::BindingConfirmed { request, head: head.clone() }])
        }
        SeenBinding::Stands { head } | SeenBinding::Moved { head } => {
            void(VoidReason::CommitMoved { head: head.clone() })
        }
        SeenBinding::Closed => void(VoidReason::PullRequestClosed),
        SeenBinding::OtherPlan => void(VoidReason::OtherPlanAtHead),
    }
}

/// What the groups said of the memberships that a request rests on. Who asked for it and has their role no more takes it
/// along.
pub(super) fn roles(
    state: &State,
    now: Timestamp,
    actor: &Actor,
    (request, lost): (Position, &[Membership]),
) -> Result<Vec<Fact>, Refusal> {
    the_bot(actor)?;
    let plan = current_plan(state)?;
    let asked = known_request(state, request)?;
    if asked.status != RequestStatus::Open {
        return Ok(Vec::new());
    }
    let resting = memberships(plan, asked);
    let lost: Vec<Membership> = lost.iter().filter(|one| resting.contains(one)).cloned().collect();
    if lost.is_empty() && roles_are_confirmed(plan, asked, now) {
        return Ok(Vec::new());
    }
    let person = &asked.requester;
    let left: Vec<Membership> = asked.groups().iter().filter(|one| !lost.contains(one)).cloned().collect();
    let may_ask = lost.is_empty() || plan.has_role(person, Role::Operator, &left);
    let mut facts = vec![Fact::RolesConfirmed { request, lost }];
    if !may_ask {
        let reason = VoidReason::RoleLost { person: person.clone() };
        facts.push(Fact::RequestVoided { request, reason });
    }
    Ok(facts)
}

fn the_bot(actor: &Actor) -> Result<(), Refusal> {
    match actor {
        Actor::Operator => Ok(()),
        Actor::Person(_) | Actor::Executor(_) => Err(Refusal::NotTheBot),
    }
}
