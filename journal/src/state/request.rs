//! What people asked for and what they said to it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Outcome;
use crate::ids::{PersonId, PhaseName, PlanHash, Position};
use crate::operation::{Operation, PhaseStatus};
use crate::origin::{Bound, Membership, Origin};
use crate::time::Timestamp;

/// Why a request counts no more.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "why", rename_all = "snake_case")]
pub enum VoidReason {
    /// Its time is over.
    Expired,
    /// The plan is another one now.
    PlanChanged {
        /// The new plan's hash.
        plan_hash: PlanHash,
    },
    /// Its pull request has another head than the commit it is bound to.
    CommitMoved {
        /// The head now.
        head: String,
    },
    /// Its pull request was closed without being merged.
    PullRequestClosed,
    /// The plan at its pull request's head is not the adopted one.
    OtherPlanAtHead,
    /// The phase is where the operation cannot begin.
    PhaseMoved {
        /// Where it is.
        status: PhaseStatus,
    },
    /// The last moment at which it might begin is past.
    NotBegun {
        /// That moment.
        not_after: Timestamp,
    },
    /// Somebody denied it.
    Denied {
        /// Who.
        person: PersonId,
    },
    /// Whoever asked for it had their role by a group, and is not in it any more.
    RoleLost {
        /// Who.
        person: PersonId,
    },
    /// Its operation was undone: its approvals are spent.
    Undone,
    /// The loss that was confirmed is not the one known now.
    LossChanged,
    /// The source that was to be given up for lost is not lost any more.
    SourceIsBack,
}

/// A person's latest decisive word on a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ApprovalWord {
    /// Yes.
    Approved,
    /// No.
    Denied,
    /// Yes, taken back.
    Revoked,
}

/// A person's word, where it stands and what it was bound to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Approval {
    /// The word.
    pub word: ApprovalWord,
    /// Where it stands.
    pub position: Position,
    /// The plan hash it was given for.
    pub plan_hash: PlanHash,
    /// The groups that the person was seen in, as long as nobody found them gone.
    pub groups: Vec<Membership>,
}

/// Broken glass: one person alone gave a request its quorum.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glass {
    /// Who.
    pub person: PersonId,
    /// Where it stands.
    pub position: Position,
    /// The plan hash it was given for.
    pub plan_hash: PlanHash,
    /// Why.
    pub reason: String,
    /// Until when it should be reviewed.
    pub review_by: Timestamp,
    /// The groups that the person was seen in, as long as nobody found them gone.
    pub groups: Vec<Membership>,
    /// Whether the person took it back.
    pub withdrawn: bool,
    /// Whether an operation began under it: from then on it needs its review, whatever becomes of the operation.
    pub used: bool,
    /// The review.
    pub review: Option<GlassReview>,
}

/// Another person's look at an operation that ran under broken glass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GlassReview {
    /// Who.
    pub person: PersonId,
    /// Whether they approve of it.
    pub approved: bool,
    /// What they say.
    pub reason: Option<String>,
}

/// Where a request stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RequestStatus {
    /// It waits for approvals, or for its turn.
    Open,
    /// Its operation runs and has reserved the approvals.
    Running,
    /// The opening's intent consumed the approvals.
    Consumed,
    /// Its operation is over.
    Finished(Outcome),
    /// It counts no more.
    Void(VoidReason),
}

/// An operation that a person asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Its number: the position of its event.
    pub position: Position,
    /// The phase.
    pub phase: PhaseName,
    /// The operation.
    pub operation: Operation,
    /// Who asked.
    pub requester: PersonId,
    /// When.
    pub requested_at: Timestamp,
    /// The plan it is bound to.
    pub plan_hash: PlanHash,
    /// When it voids by itself.
    pub expires_at: Timestamp,
    /// The loss that was confirmed, as it was shown.
    pub confirmed_loss: Option<String>,
    /// It begins no earlier.
    pub not_before: Option<Timestamp>,
    /// It begins no later.
    pub not_after: Option<Timestamp>,
    /// Why it was asked for.
    pub reason: Option<String>,
    /// Where it was asked for, and the commit it is bound to in a pull request.
    pub origin: Option<Origin>,
    /// The newest second look that found its pull request unchanged.
    pub confirmed: Option<Confirmed>,
    /// The newest second look at the groups that give its persons their roles.
    pub roles_confirmed: Option<Confirmed>,
    /// The persons who wrote the plan it is bound to, where that is known.
    pub authors: Vec<PersonId>,
    /// The glass that was broken for it.
    pub glass: Option<Glass>,
    /// Each person's latest word.
    pub words: BTreeMap<PersonId, Approval>,
    /// Where it stands.
    pub status: RequestStatus,
}

impl Request {
    /// Whether it waits or runs.
    #[must_use]
    pub const fn is_live(&self) -> bool {
        matches!(self.status, RequestStatus::Open | RequestStatus::Running | RequestStatus::Consumed)
    }

    /// The commit that it is bound to, if it was asked for in a pull request.
    #[must_use]
    pub fn bound(&self) -> Option<&Bound> {
        self.origin.as_ref()?.bound.as_ref()
    }

    /// The groups that whoever asked for it was seen in, as long as nobody found them gone.
    #[must_use]
    pub fn groups(&self) -> &[Membership] {
        self.origin.as_ref().map_or(&[], |origin| &origin.groups)
    }

    /// Its broken glass, as long as everybody has to be told: until it is withdrawn or void unused, or reviewed.
    #[must_use]
    pub fn unreviewed_glass(&self) -> Option<&Glass> {
        self.glass.as_ref().filter(|glass| {
            let may_be_used = !glass.withdrawn && matches!(self.status, RequestStatus::Open);
            glass.review.is_none() && (glass.used || may_be_used)
        })
    }
}

/// A second look that found what a request rests on unchanged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Confirmed {
    /// Where it stands.
    pub position: Position,
    /// When it was recorded.
    pub at: Timestamp,
}
