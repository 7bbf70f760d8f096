//! An operation under way: where it stands, what it did, how it ends.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Finding;
use crate::effect::{Effect, Evidence, UndoPlan};
use crate::ids::{EffectId, PersonId, PhaseName, PlanHash, Position};
use crate::operation::{Operation, Step};
use crate::plan::Plan;
use crate::time::Timestamp;

/// How an operation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// All its steps are done.
    Completed,
    /// All it did was undone.
    Undone,
    /// It could not go on, and a `failback --target-lost` goes on from where it stands.
    Replaced,
}

/// Why an operation is being undone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "why", rename_all = "snake_case")]
pub enum UndoCause {
    /// The downtime that the plan allows is nearly over.
    Deadline,
    /// A step failed while the traffic was stopped.
    StepFailed {
        /// The step.
        step: Step,
        /// What was found.
        finding: Finding,
    },
    /// A person asked for it.
    Aborted {
        /// Who.
        person: PersonId,
        /// Why.
        reason: String,
    },
    /// A reserved approval was taken back, or the request denied.
    ApprovalLost {
        /// Who.
        person: PersonId,
    },
}

/// Where an effect stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EffectStatus {
    /// Intended: it may or may not be there.
    Intended,
    /// Nobody knows; only a probe leaves this.
    Unknown(String),
    /// It is there, and ours.
    Succeeded(Evidence),
    /// It is definitely not there.
    Failed(String),
}

/// An effect of a running operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EffectRecord {
    /// Its name.
    pub id: EffectId,
    /// The step that planned it.
    pub step: Step,
    /// What it is.
    pub effect: Effect,
    /// The position of its newest intent: the authority that its receiver compares.
    pub intent: Position,
    /// When it was first intended.
    pub intended_at: Timestamp,
    /// Where it stands.
    pub status: EffectStatus,
}

/// An operation being undone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UndoRun {
    /// Since which event.
    pub position: Position,
    /// Why.
    pub cause: UndoCause,
}

/// A running operation.
#[derive(Debug, Clone)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a fact of its own that an event has told, in any combination"
)]
pub struct OperationRun {
    /// The phase.
    pub phase: PhaseName,
    /// Its number: the position of its first event.
    pub position: Position,
    /// The request that authorises it.
    pub request: Position,
    /// What it is.
    pub operation: Operation,
    /// The plan it runs and is undone by, whatever is adopted meanwhile.
    pub plan: Arc<Plan>,
    /// That plan's hash.
    pub plan_hash: PlanHash,
    /// The persons whose approvals it reserves.
    pub reserved: Vec<PersonId>,
    /// Who broke the glass that it runs under.
    pub broken_glass: Option<PersonId>,
    /// When it began.
    pub started_at: Timestamp,
    /// The step it is at; [`Step::Undo`] while it is being undone.
    pub step: Step,
    /// The steps that are done.
    pub finished_steps: Vec<Step>,
    /// Its effects, in the order of their first intents.
    pub effects: Vec<EffectRecord>,
    /// What it waits for, if it is blocked.
    pub blocked: Option<Finding>,
    /// Whether it stops between steps.
    pub paused: bool,
    /// The intent of the effect that stops the traffic: when, and the undo written with it.
    pub stopped: Option<(Timestamp, UndoPlan)>,
    /// The opening's intent: from here on nothing is undone until a probe has told.
    pub opening: Option<Position>,
    /// Whether an opening was intended and its probe told that it is not there and will not be: it can be undone again,
    /// but the side it was meant for must be closed first, under a higher position, against what comes late.
    pub opening_failed: bool,
    /// Whether the opening is known to be there: the point of no return is passed.
    pub opened: bool,
    /// Whether it took the place of a way back that could not go on: the traffic was stopped before it began.
    pub replaces: bool,
    /// Whether a person said `retry` after the downtime was over: from then on a person alone ends the operation.
    pub overtime: bool,
    /// The newest `retry`: failures of effects intended before it count no more.
    pub retried: Option<Position>,
    /// The undo, if it has begun.
    pub undo: Option<UndoRun>,
    /// A person's wish to undo, not yet acted upon.
    pub undo_asked: Option<UndoCause>,
}

impl OperationRun {
    /// The effect of this name.
    #[must_use]
    pub fn effect(&self, id: EffectId) -> Option<&EffectRecord> {
        self.effects.iter().find(|record| record.id == id)
    }

    /// Evidence of the newest success, in this operation, that the test picks.
    pub fn evidence(&self, pick: impl Fn(&EffectRecord) -> bool) -> Option<&Evidence> {
        self.effects.iter().rev().filter(|record| pick(record)).find_map(|record| match &record.status {
            EffectStatus::Succeeded(evidence) => Some(evidence),
            EffectStatus::Intended | EffectStatus::Unknown(_) | EffectStatus::Failed(_) => None,
        })
    }
}
