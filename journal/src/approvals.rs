//! Who may approve what, what counts, and what voids it.

use crate::ids::PersonId;
use crate::plan::Plan;
use crate::refusal::Refusal;
use crate::state::{ApprovalWord, Request, State, VoidReason};
use crate::time::Timestamp;
use crate::transitions::transitions;

/// The persons whose approvals make a request's quorum, under the current plan.
///
/// The latest decisive word of a person counts, bound to the request's plan hash; a denial by anybody stands against it.
///
/// # Errors
/// [`Refusal::NoQuorum`] with how many count.
pub(crate) fn quorum(state: &State, request: &Request) -> Result<Vec<PersonId>, Refusal> {
    let Some((plan, _)) = &state.plan else { return Err(Refusal::NoPlan) };
    let policy = plan.policy(request.operation);
    let valid = valid_approvers(plan, request);
    let denied = request.words.values().any(|word| word.word == ApprovalWord::Denied);
    let have = u8::try_from(valid.len()).unwrap_or(u8::MAX);
    if denied || have < policy.required {
        return Err(Refusal::NoQuorum { have, need: policy.required });
    }
    Ok(valid)
}

/// The persons whose approval of the request counts now.
pub(crate) fn valid_approvers(plan: &Plan, request: &Request) -> Vec<PersonId> {
    let policy = plan.policy(request.operation);
    let counts = |person: &PersonId| {
        let has_role = plan.people.get(person).is_some_and(|known| known.roles.contains(&policy.role));
        has_role && !(policy.exclude_requester && *person == request.requester)
    };
    request
        .words
        .iter()
        .filter(|(_, word)| word.word == ApprovalWord::Approved && word.plan_hash == request.plan_hash)
        .map(|(person, _)| person)
        .filter(|person| counts(person))
        .cloned()
        .collect()
}

/// Why a request that is open, or runs and was not consumed, counts no more.
pub(crate) fn binding_change(state: &State, request: &Request, now: Timestamp) -> Option<VoidReason> {
    let (plan, _) = state.plan.as_ref()?;
    let current = plan.hash_for(&request.phase);
    if current != request.plan_hash {
        return Some(VoidReason::PlanChanged { plan_hash: current });
    }
    if now >= request.expires_at {
        return Some(VoidReason::Expired);
    }
    let status = state.phases.get(&request.phase)?.status;
    let may_begin = transitions().iter().any(|row| row.from == status && row.operation == request.operation);
    (!may_begin).then_some(VoidReason::PhaseMoved { status })
}
