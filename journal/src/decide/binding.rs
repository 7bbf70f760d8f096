//! The second look at the pull request of a bound request, just before its operation begins.
//!
//! A webhook that tells of a push may be late or lost, so it decides nothing alone: whatever the bot hears, it looks again
//! and reports what it saw. An operation of a bound request begins only while such a report is young and younger than the
//! last word on the request.

use super::people::known_request;
use crate::approvals::is_confirmed;
use crate::command::Actor;
use crate::event::Fact;
use crate::ids::Position;
use crate::origin::{Bound, SeenBinding};
use crate::refusal::Refusal;
use crate::state::{RequestStatus, State, VoidReason};
use crate::time::Timestamp;

pub(super) fn seen(
    state: &State,
    now: Timestamp,
    actor: &Actor,
    (request, seen): (Position, &SeenBinding),
) -> Result<Vec<Fact>, Refusal> {
    match actor {
        Actor::Operator => {}
        Actor::Person(_) | Actor::Executor(_) => return Err(Refusal::NotTheBot),
    }
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
