//! Who may approve what, what counts, what voids it, and what a request still waits for.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::ids::{PersonId, PhaseName, Position};
use crate::loss::{WayBack, known_loss, way_back};
use crate::names::Direction;
use crate::operation::{Operation, PhaseStatus};
use crate::origin::Membership;
use crate::plan::{Plan, Role};
use crate::refusal::Refusal;
use crate::state::{
    Approval, ApprovalWord, Confirmed, Finding, Hold, PhaseState, Request, RequestStatus, State, VoidReason,
};
use crate::streams::stream_in_the_way;
use crate::time::Timestamp;
use crate::transitions::transitions;
use crate::windows::{Closed, closed};
use crate::witnessed::last_word;

/// What gives a request its authority.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Quorum {
    /// The persons whose approvals count, and who broke the glass.
    pub(crate) persons: Vec<PersonId>,
    /// Who broke the glass, if it is needed.
    pub(crate) glass: Option<PersonId>,
}

/// What makes a request's quorum, under the current plan.
///
/// The latest decisive word of a person counts, bound to the request's plan hash; a denial by anybody stands against it,
/// broken glass or not.
///
/// # Errors
/// [`Refusal::NoQuorum`] with how many count.
pub(crate) fn quorum(state: &State, request: &Request) -> Result<Quorum, Refusal> {
    let Some((plan, _)) = &state.plan else { return Err(Refusal::NoPlan) };
    let policy = plan.policy(request.operation);
    let mut persons = approvers(plan, request);
    let denied = request.words.values().any(|word| word.word == ApprovalWord::Denied);
    let have = u8::try_from(persons.len()).unwrap_or(u8::MAX);
    if denied {
        return Err(Refusal::NoQuorum { have, need: policy.required });
    }
    if have >= policy.required {
        return Ok(Quorum { persons, glass: None });
    }
    match glass(plan, request) {
        Some(person) => {
            if !persons.contains(person) {
                persons.push(person.clone());
            }
            Ok(Quorum { persons, glass: Some(person.clone()) })
        }
        None => Err(Refusal::NoQuorum { have, need: policy.required }),
    }
}

/// Who broke the glass for a request, if that stands: not taken back, by somebody who may, under this very plan.
pub(crate) fn glass<'r>(plan: &Plan, request: &'r Request) -> Option<&'r PersonId> {
    let glass = request.glass.as_ref().filter(|glass| !glass.withdrawn)?;
    let stands = glass.plan_hash == request.plan_hash
        && plan.has_role(&glass.person, plan.break_glass.role, &glass.groups);
    stands.then_some(&glass.person)
}

/// The persons whose approval of a request counts now.
#[must_use]
pub fn approvers(plan: &Plan, request: &Request) -> Vec<PersonId> {
    let policy = plan.policy(request.operation);
    let counts = |person: &PersonId, word: &Approval| {
        plan.has_role(person, policy.role, &word.groups)
            && !(policy.exclude_requester && *person == request.requester)
            && !(policy.exclude_author && request.authors.contains(person))
    };
    request
        .words
        .iter()
        .filter(|(_, word)| word.word == ApprovalWord::Approved && word.plan_hash == request.plan_hash)
        .filter(|(person, word)| counts(person, word))
        .map(|(person, _)| person.clone())
        .collect()
}

/// Why a request that is open, or runs and was not consumed, counts no more.
///
/// Time voids only what waits. The operation's first event has reserved the approvals; from then on a person's word ends
/// it, or its own deadline, or its end.
pub(crate) fn binding_change(state: &State, request: &Request, now: Timestamp) -> Option<VoidReason> {
    let current = state.binding(&request.phase)?;
    if current != request.plan_hash {
        return Some(VoidReason::PlanChanged { plan_hash: current });
    }
    let waits = request.status == RequestStatus::Open;
    if waits && now >= request.expires_at {
        return Some(VoidReason::Expired);
    }
    if let Some(not_after) = request.not_after.filter(|_| waits)
        && now > not_after
    {
        return Some(VoidReason::NotBegun { not_after });
    }
    let phase = state.phases.get(&request.phase)?;
    if request.operation == Operation::CompleteSourceLost
        && waits
        && way_back(&request.phase, phase) == WayBack::Stands
    {
        return Some(VoidReason::SourceIsBack);
    }
    // What has begun carries through what was confirmed; until then another loss is another request.
    if request.operation == Operation::FailbackTargetLost && waits {
        let known = known_loss(&request.phase, phase).map(|loss| loss.to_string());
        if known.is_none() || known != request.confirmed_loss {
            return Some(VoidReason::LossChanged);
        }
    }
    let status = phase.status;
    let may_begin = transitions().iter().any(|row| row.from == status && row.operation == request.operation);
    (!may_begin).then_some(VoidReason::PhaseMoved { status })
}

/// How long a second look at a pull request counts. An executor that is there begins within a few seconds.
const CONFIRMATION_STANDS: Duration = Duration::from_secs(60);

/// Whether the operation of a request may begin as far as its pull request goes: it is bound to none, or a second look
/// found it unchanged, after the last word on it and not long ago.
#[must_use]
pub fn is_confirmed(request: &Request, now: Timestamp) -> bool {
    if request.bound().is_none() {
        return true;
    }
    stands(request.confirmed.as_ref(), request, now)
}

/// Whether a second look is young, and younger than the last word on the request.
fn stands(look: Option<&Confirmed>, request: &Request, now: Timestamp) -> bool {
    look.is_some_and(|look| {
        now <= look.at.plus(CONFIRMATION_STANDS) && last_word(request).is_none_or(|word| word < look.position)
    })
}

/// The memberships that a request rests on: of who asked, who approves and who broke the glass, where a group alone gives
/// them the role for it.
#[must_use]
pub fn memberships(plan: &Plan, request: &Request) -> BTreeSet<Membership> {
    let asked = (&request.requester, Role::Operator, request.groups());
    let role = plan.policy(request.operation).role;
    let approved = approvers(plan, request);
    let words = request.words.iter().filter(|(person, _)| approved.contains(person));
    let broke = request.glass.as_ref().filter(|_| glass(plan, request).is_some());
    let said = words.map(|(person, word)| (person, role, word.groups.as_slice()));
    let broke = broke.map(|glass| (&glass.person, plan.break_glass.role, glass.groups.as_slice()));
    let by_group = |(person, role, _): &(&PersonId, Role, &[Membership])| !plan.has_role(person, *role, &[]);
    let all = [asked].into_iter().chain(said).chain(broke).filter(by_group);
    let gives =
        |person: &PersonId, role, seen: &Membership| plan.has_role(person, role, std::slice::from_ref(seen));
    all.flat_map(|(person, role, seen)| seen.iter().filter(move |one| gives(person, role, one)))
        .cloned()
        .collect()
}

/// Whether a second look found the groups that a request rests on as they were, if it rests on any.
#[must_use]
pub fn roles_are_confirmed(plan: &Plan, request: &Request, now: Timestamp) -> bool {
    memberships(plan, request).is_empty() || stands(request.roles_confirmed.as_ref(), request, now)
}

/// What keeps an open request from beginning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wait {
    /// A hold of the migration or of the phase.
    Hold {
        /// Why.
        reason: String,
    },
    /// A stream that it cannot do without, and that is down.
    Stream {
        /// Which.
        direction: Direction,
        /// Why.
        finding: Finding,
    },
    /// Approvals.
    Approvals {
        /// How many count.
        have: u8,
        /// How many are needed.
        need: u8,
    },
    /// The review of an operation that ran under broken glass.
    Review {
        /// Its request.
        request: Position,
    },
    /// Other phases, which must be on the target first.
    Phases {
        /// Which.
        phases: Vec<PhaseName>,
    },
    /// The moment it was asked for.
    Time {
        /// When.
        at: Timestamp,
    },
    /// A window of the plan.
    Window(Closed),
    /// A second look at the groups that give its persons their roles; the bot takes it when nothing else is in the way.
    Roles,
    /// A second look at its pull request; the bot takes it when nothing else is in the way.
    Confirmation,
}

impl Wait {
    /// Whether it is for approvals.
    #[must_use]
    pub const fn is_approvals(&self) -> bool {
        matches!(self, Self::Approvals { .. })
    }

    /// Whether it is for a look that the bot takes when nothing else is in the way.
    #[must_use]
    pub const fn is_look(&self) -> bool {
        matches!(self, Self::Roles | Self::Confirmation)
    }
}

/// Everything that keeps an open request, whose binding stands, from beginning now.
#[must_use]
pub fn waits(state: &State, request: &Request, now: Timestamp) -> Vec<Wait> {
    let Some((plan, _)) = &state.plan else { return Vec::new() };
    let mut waits = Vec::new();
    let phase = state.phases.get(&request.phase);
    if let Some(hold) = phase.and_then(|phase| hold_over(state, phase, request.operation)) {
        waits.push(Wait::Hold { reason: hold.reason.clone() });
    }
    if let Some((direction, finding)) = phase.and_then(|phase| stream_in_the_way(phase, request.operation)) {
        waits.push(Wait::Stream { direction, finding });
    }
    if let Err(Refusal::NoQuorum { have, need }) = quorum(state, request) {
        waits.push(Wait::Approvals { have, need });
    }
    if let Some(request) = unreviewed(state, &request.phase, request.operation) {
        waits.push(Wait::Review { request });
    }
    let phases = phases_first(state, plan, &request.phase, request.operation);
    if !phases.is_empty() {
        waits.push(Wait::Phases { phases });
    }
    if let Some(at) = request.not_before.filter(|at| now < *at) {
        waits.push(Wait::Time { at });
    }
    // Broken glass is for what cannot wait. What was scheduled asks about its own time.
    let earliest = request.not_before.map_or(now, |at| at.max(now));
    if glass(plan, request).is_none()
        && let Some(closed) = closed(plan, &request.phase, request.operation, earliest)
    {
        waits.push(Wait::Window(closed));
    }
    if !roles_are_confirmed(plan, request, now) {
        waits.push(Wait::Roles);
    }
    if !is_confirmed(request, now) {
        waits.push(Wait::Confirmation);
    }
    waits
}

/// The hold that keeps an operation from beginning. `verify` only looks, and a person who holds a phase wants to know.
pub(crate) fn hold_over<'s>(
    state: &'s State,
    phase: &'s PhaseState,
    operation: Operation,
) -> Option<&'s Hold> {
    let hold = phase.hold.as_ref().or(state.hold.as_ref());
    hold.filter(|_| operation != Operation::Verify)
}

/// The request whose broken glass nobody has reviewed, where that keeps an operation from being asked for and begun:
/// every one but those that lead back to the source.
pub(crate) fn unreviewed(state: &State, phase: &PhaseName, operation: Operation) -> Option<Position> {
    let leads_back = matches!(operation, Operation::Failback | Operation::FailbackTargetLost);
    let of_phase = state.requests.values().filter(|request| request.phase == *phase && !leads_back);
    of_phase
        .filter(|request| request.glass.as_ref().is_some_and(|glass| glass.used && glass.review.is_none()))
        .map(|request| request.position)
        .next()
}

/// The phases that a cutover must wait for: named in the plan's `after`, and not on the target.
pub(crate) fn phases_first(
    state: &State,
    plan: &Plan,
    phase: &PhaseName,
    operation: Operation,
) -> Vec<PhaseName> {
    if operation != Operation::Cutover {
        return Vec::new();
    }
    let moved = |name: &&PhaseName| {
        let status = state.phases.get(*name).map_or(PhaseStatus::New, |phase| phase.status);
        matches!(status, PhaseStatus::OnTarget | PhaseStatus::Completed)
    };
    let after = plan.phase(phase).map(|phase| phase.after.as_slice()).unwrap_or_default();
    after.iter().filter(|name| !moved(name)).cloned().collect()
}
