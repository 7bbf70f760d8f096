//! People's words on a request.

use super::glass::{Review, review, to_review};
use super::operations::undoable;
use super::people::{current_plan, known_person, known_request, reason_given, with_role};
use super::requests::check_binding;
use crate::command::{Actor, Command};
use crate::event::Fact;
use crate::ids::Position;
use crate::refusal::Refusal;
use crate::state::{Approval, ApprovalWord, RequestStatus, State, VoidReason};
use crate::time::Timestamp;

pub(super) fn approve(
    state: &State,
    now: Timestamp,
    command: &Command,
    (request, reason): (Position, Option<&String>),
) -> Result<Vec<Fact>, Refusal> {
    let reason = reason.map(|reason| reason.trim().to_owned()).filter(|reason| !reason.is_empty());
    let person = known_person(state, &command.actor)?;
    let asked = known_request(state, request)?;
    let plan = current_plan(state)?;
    let policy = plan.policy(asked.operation);
    with_role(state, command, policy.role)?;
    if let Some(glass) = to_review(asked) {
        return review(asked, person, glass, &Review { approved: true, reason });
    }
    if asked.status != RequestStatus::Open {
        return Err(Refusal::RequestClosed { request });
    }
    check_binding(state, asked, now)?;
    if policy.required == 0 {
        return Err(Refusal::NoApprovalNeeded { request });
    }
    if policy.exclude_requester && *person == asked.requester {
        return Err(Refusal::RequesterExcluded);
    }
    if policy.exclude_author && asked.authors.contains(person) {
        return Err(Refusal::AuthorExcluded);
    }
    let seen = command.origin.as_ref().and_then(|origin| origin.bound.as_ref());
    if let (Some(bound), Some(seen)) = (asked.bound(), seen)
        && bound != seen
    {
        return Err(Refusal::OtherCommit { request, bound: bound.head.clone() });
    }
    let still_counts = |word: &Approval| {
        word.word == ApprovalWord::Approved && plan.has_role(person, policy.role, &word.groups)
    };
    if asked.words.get(person).is_some_and(still_counts) {
        return Err(Refusal::SaidAlready);
    }
    Ok(vec![Fact::Approved { request, plan_hash: asked.plan_hash, reason }])
}

/// A denial of an open request voids it; of a running one, before its opening, it undoes the attempt.
pub(super) fn deny(
    state: &State,
    command: &Command,
    request: Position,
    reason: &str,
) -> Result<Vec<Fact>, Refusal> {
    let person = known_person(state, &command.actor)?;
    let asked = known_request(state, request)?;
    with_role(state, command, current_plan(state)?.policy(asked.operation).role)?;
    let reason = reason_given(reason)?;
    // What is not over can still be stopped, or is past that; only what is over is reviewed.
    if let Some(glass) = to_review(asked).filter(|_| matches!(asked.status, RequestStatus::Finished(_))) {
        return review(asked, person, glass, &Review { approved: false, reason: Some(reason) });
    }
    match &asked.status {
        RequestStatus::Open => Ok(vec![
            Fact::Denied { request, reason },
            Fact::RequestVoided { request, reason: VoidReason::Denied { person: person.clone() } },
        ]),
        RequestStatus::Running => {
            undoable(state, &asked.phase)?;
            Ok(vec![Fact::Denied { request, reason }])
        }
        RequestStatus::Consumed => Err(Refusal::PointOfNoReturn),
        RequestStatus::Finished(_) | RequestStatus::Void(_) => Err(Refusal::RequestClosed { request }),
    }
}

pub(super) fn revoke(state: &State, actor: &Actor, request: Position) -> Result<Vec<Fact>, Refusal> {
    let person = known_person(state, actor)?;
    let asked = known_request(state, request)?;
    let approved = asked.words.get(person).is_some_and(|word| word.word == ApprovalWord::Approved);
    let broke = asked.glass.as_ref().is_some_and(|glass| glass.person == *person && !glass.withdrawn);
    if !approved && !broke {
        return Err(Refusal::NothingToRevoke);
    }
    match &asked.status {
        RequestStatus::Open => {}
        RequestStatus::Running => undoable(state, &asked.phase)?,
        RequestStatus::Consumed => return Err(Refusal::PointOfNoReturn),
        RequestStatus::Finished(_) | RequestStatus::Void(_) => {
            return Err(Refusal::RequestClosed { request });
        }
    }
    Ok(vec![Fact::Revoked { request }])
}
