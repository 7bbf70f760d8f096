//! What may be asked of the journal. A command is decided into facts or refused; it never carries a fact itself.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::effect::{Effect, Evidence, Side, StreamMode};
use crate::ids::{EffectId, Epoch, Holder, PersonId, PhaseName, Position, TableName, Timeline};
use crate::names::Direction;
use crate::operation::{Operation, Step};
use crate::origin::{Membership, Origin, SeenBinding};
use crate::state::{Finding, StreamHealth, UndoCause};
use crate::time::Timestamp;
use crate::witnessed::Root;

/// Who makes something happen.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "by", content = "name", rename_all = "snake_case")]
pub enum Actor {
    /// A human, by any of their accounts.
    Person(PersonId),
    /// An executor under a lease.
    Executor(Holder),
    /// The program itself, at its operator's terminal: adopting a plan at `serve`.
    Operator,
}

/// A command and who gives it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    /// Who.
    pub actor: Actor,
    /// What.
    pub body: CommandBody,
    /// Where it was said. No part of what is asked: a repeat may come from elsewhere and is the same command.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
}

impl Command {
    /// A command from nowhere but a terminal or the program itself.
    #[must_use]
    pub const fn new(actor: Actor, body: CommandBody) -> Self {
        Self { actor, body, origin: None }
    }
}

/// What goes with a request.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestOptions {
    /// The plan hash (or its first digits) that the person saw; another current one refuses the request.
    pub plan: Option<String>,
    /// The loss that was shown and is confirmed, for `failback --target-lost`.
    pub confirmed_loss: Option<String>,
    /// When it may begin; at once, if none is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Timestamp>,
    /// How long after that it may still begin.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "millis")]
    pub within: Option<Duration>,
    /// Why it is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A length of time as decimal milliseconds, since canonical numbers are doubles.
mod millis {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(of: &Option<Duration>, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&of.map_or(0, |of| of.as_millis()))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
        let text = String::deserialize(from)?;
        text.parse().map(|millis| Some(Duration::from_millis(millis))).map_err(serde::de::Error::custom)
    }
}

/// How an effect ended, as its receiver was seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EffectOutcome {
    /// It is there, and ours.
    Succeeded {
        /// Whether it was there before this executor acted.
        adopted: bool,
        /// What was seen.
        evidence: Evidence,
    },
    /// It is definitely not there, and a person has to look.
    Failed {
        /// What was found, scrubbed.
        finding: Finding,
    },
    /// Nobody knows.
    Unknown {
        /// What happened, scrubbed.
        error: String,
    },
}

/// What was done at the first contact with a quarantined target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "found", rename_all = "snake_case")]
pub enum Found {
    /// Its gate is closed.
    Closed {
        /// What was seen there.
        evidence: Evidence,
    },
    /// The rest of its stream is in a file.
    Read {
        /// The file.
        file: String,
        /// How many changes.
        changes: u64,
    },
    /// The rest of its stream cannot be read.
    Unread {
        /// Why.
        finding: Finding,
    },
}

/// All commands: first people's, then the executors', who need a claim on the phase.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case")]
pub enum CommandBody {
    /// Makes this text the migration's plan.
    AdoptPlan {
        /// The plan's TOML.
        text: String,
        /// The persons who wrote it, where that is known.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        authors: Vec<PersonId>,
    },
    /// Asks for an operation.
    Request {
        /// The phase.
        phase: PhaseName,
        /// The operation.
        operation: Operation,
        /// What goes with it.
        options: RequestOptions,
    },
    /// Approves a request.
    Approve {
        /// The request.
        request: Position,
        /// Why, if the person said.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// Denies a request.
    Deny {
        /// The request.
        request: Position,
        /// Why.
        reason: String,
    },
    /// Gives a request its quorum alone, with a reason and a review to follow.
    BreakGlass {
        /// The request.
        request: Position,
        /// Why.
        reason: String,
    },
    /// Takes back one's own approval.
    Revoke {
        /// The request.
        request: Position,
    },
    /// Undoes an unfinished operation.
    Abort {
        /// The phase.
        phase: PhaseName,
        /// Why.
        reason: String,
    },
    /// Stops an operation between its steps.
    Pause {
        /// The phase.
        phase: PhaseName,
    },
    /// Lets it go on.
    Resume {
        /// The phase.
        phase: PhaseName,
    },
    /// Leaves a blocked step.
    Retry {
        /// The phase.
        phase: PhaseName,
    },
    /// Lets no new operation begin.
    Hold {
        /// The phase, or the whole migration.
        phase: Option<PhaseName>,
        /// Why.
        reason: String,
    },
    /// Ends a hold.
    Release {
        /// The phase, or the whole migration.
        phase: Option<PhaseName>,
    },
    /// The store's own: a change of hands, decided with the new epoch already given.
    TakeLease {
        /// The phase.
        phase: PhaseName,
        /// The new epoch.
        epoch: Epoch,
        /// Who takes it.
        holder: Holder,
    },
    /// Begins the operation of a request that has its quorum.
    Begin {
        /// The phase.
        phase: PhaseName,
        /// The request.
        request: Position,
    },
    /// Voids requests that have expired or whose binding has changed.
    VoidStale {
        /// The phase.
        phase: PhaseName,
    },
    /// Writes down an effect before it is probed.
    Intend {
        /// The phase.
        phase: PhaseName,
        /// The step.
        step: Step,
        /// The effect.
        effect: Effect,
        /// With the effect that stops the traffic: the effects that undo the operation from here on.
        undo: Vec<Effect>,
    },
    /// Writes down how an effect ended.
    Conclude {
        /// The phase.
        phase: PhaseName,
        /// Its name.
        effect: EffectId,
        /// How.
        outcome: EffectOutcome,
    },
    /// Every effect of the step is done.
    FinishStep {
        /// The phase.
        phase: PhaseName,
        /// The step.
        step: Step,
    },
    /// The step needs a person.
    Block {
        /// The phase.
        phase: PhaseName,
        /// The step.
        step: Step,
        /// What was found.
        finding: Finding,
    },
    /// Begins the undo of the running operation.
    BeginUndo {
        /// The phase.
        phase: PhaseName,
        /// Why.
        cause: UndoCause,
        /// What the side that it returns to answered to a write, where it must have.
        answered: Evidence,
    },
    /// A stream changed.
    ReportStream {
        /// The phase.
        phase: PhaseName,
        /// Which.
        direction: Direction,
        /// What it does.
        mode: StreamMode,
        /// How it is.
        health: StreamHealth,
        /// Where a stream that applies and is down had come to.
        #[serde(default, skip_serializing_if = "Evidence::is_empty")]
        seen: Evidence,
    },
    /// What became of a quarantined target at its first contact.
    ReportQuarantine {
        /// The phase.
        phase: PhaseName,
        /// The `loss_declared` that it is about.
        loss: Position,
        /// What.
        found: Found,
    },
    /// A guard saw what no fence should have let through.
    ReportBreach {
        /// The phase.
        phase: PhaseName,
        /// The guarding stream.
        direction: Direction,
        /// The table.
        table: TableName,
        /// Where in the stream.
        at: String,
        /// How many changes.
        changes: u64,
    },
    /// The bot's own: what a second look at the pull request of a bound request came to.
    ReportBinding {
        /// The request.
        request: Position,
        /// What was seen.
        seen: SeenBinding,
    },
    /// The bot's own: what a second look at the groups that give persons of a request their roles came to.
    ReportRoles {
        /// The request.
        request: Position,
        /// The memberships that are gone.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        lost: Vec<Membership>,
    },
    /// A side is on another timeline than the one it was last seen on.
    ReportTimeline {
        /// The phase.
        phase: PhaseName,
        /// Which side.
        side: Side,
        /// The one that it is on.
        timeline: Timeline,
    },
    /// The publisher's own: a signed log checkpoint stands outside the journal, durably.
    ReportCheckpoint {
        /// The last position that it covers.
        size: Position,
        /// The tree's root at that size.
        root: Root,
        /// Where it stands: `file:PATH` for a witness file.
        left_to: Vec<String>,
    },
}

impl CommandBody {
    /// The phase the command is about, if it names one.
    #[must_use]
    pub const fn phase(&self) -> Option<&PhaseName> {
        match self {
            Self::AdoptPlan { .. }
            | Self::Approve { .. }
            | Self::Deny { .. }
            | Self::BreakGlass { .. }
            | Self::Revoke { .. }
            | Self::ReportBinding { .. }
            | Self::ReportRoles { .. }
            | Self::ReportCheckpoint { .. } => None,
            Self::Hold { phase, .. } | Self::Release { phase } => phase.as_ref(),
            Self::Request { phase, .. }
            | Self::Abort { phase, .. }
            | Self::Pause { phase }
            | Self::Resume { phase }
            | Self::Retry { phase }
            | Self::TakeLease { phase, .. }
            | Self::Begin { phase, .. }
            | Self::VoidStale { phase }
            | Self::Intend { phase, .. }
            | Self::Conclude { phase, .. }
            | Self::FinishStep { phase, .. }
            | Self::Block { phase, .. }
            | Self::BeginUndo { phase, .. }
            | Self::ReportStream { phase, .. }
            | Self::ReportBreach { phase, .. }
            | Self::ReportTimeline { phase, .. }
            | Self::ReportQuarantine { phase, .. } => Some(phase),
        }
    }
}
