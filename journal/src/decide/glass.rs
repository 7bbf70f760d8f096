//! Broken glass: one person alone, loudly, and reviewed by another afterwards.

use super::people::{current_plan, known_request, reason_given, with_role};
use super::requests::check_binding;
use crate::approvals::Wait;
use crate::approvals::{glass as standing, waits};
use crate::command::Command;
use crate::event::Fact;
use crate::ids::{PersonId, Position};
use crate::refusal::Refusal;
use crate::state::{Glass, Request, RequestStatus, State};
use crate::time::Timestamp;

/// The shortest reason, in characters: whoever reviews it reads nothing else of the hour in which it was given.
const LEAST_REASON: usize = 20;

pub(super) struct Broken<'c> {
    pub(super) request: Position,
    pub(super) reason: &'c str,
}

/// Gives an open request its quorum, and opens its windows. It overrules nothing else: not a denial, a hold, the
/// binding, the expiry, the schedule, nor what the opening demands.
pub(super) fn break_glass(
    state: &State,
    now: Timestamp,
    command: &Command,
    broken: &Broken<'_>,
) -> Result<Vec<Fact>, Refusal> {
    let Broken { request, reason } = *broken;
    let plan = current_plan(state)?;
    with_role(state, command, plan.break_glass.role)?;
    let asked = known_request(state, request)?;
    if asked.status != RequestStatus::Open {
        return Err(Refusal::RequestClosed { request });
    }
    check_binding(state, asked, now)?;
    if plan.policy(asked.operation).required == 0 {
        return Err(Refusal::NoApprovalNeeded { request });
    }
    if standing(plan, asked).is_some() {
        return Err(Refusal::GlassBroken { request });
    }
    let helps = |wait: &Wait| matches!(wait, Wait::Approvals { .. } | Wait::Window(_));
    if !waits(state, asked, now).iter().any(helps) {
        return Err(Refusal::GlassNotNeeded { request });
    }
    let reason = reason_given(reason)?;
    if reason.chars().count() < LEAST_REASON {
        return Err(Refusal::ReasonTooShort { least: LEAST_REASON });
    }
    let from = asked.not_before.unwrap_or(now).max(now);
    let review_by = from.plus(plan.break_glass.review_within);
    Ok(vec![Fact::GlassBroken { request, plan_hash: asked.plan_hash, reason, review_by }])
}

/// The broken glass that an operation began under and that nobody has reviewed.
pub(super) fn to_review(asked: &Request) -> Option<&Glass> {
    asked.glass.as_ref().filter(|glass| glass.used && glass.review.is_none())
}

pub(super) struct Review {
    pub(super) approved: bool,
    pub(super) reason: Option<String>,
}

pub(super) fn review(
    asked: &Request,
    person: &PersonId,
    glass: &Glass,
    said: &Review,
) -> Result<Vec<Fact>, Refusal> {
    let request = asked.position;
    if glass.person == *person {
        return Err(Refusal::OwnReview { request });
    }
    if !matches!(asked.status, RequestStatus::Finished(_)) {
        return Err(Refusal::ReviewTooEarly { request });
    }
    Ok(vec![Fact::GlassReviewed { request, approved: said.approved, reason: said.reason.clone() }])
}
