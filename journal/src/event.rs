//! Facts, their envelope, and the bytes that are stored and hashed.

use serde::{Deserialize, Serialize};

use crate::canonical::{CanonicalError, to_canonical};
use crate::command::Actor;
use crate::effect::{Effect, Evidence, Side, StreamMode, UndoPlan};
use crate::ids::{
    CommandId, EffectId, Epoch, EventId, Generation, Holder, MigrationName, PersonId, PhaseName, PlanHash,
    Position, TableName, Timeline,
};
use crate::names::Direction;
use crate::operation::{Operation, Step};
use crate::origin::{Membership, Origin};
use crate::schema::SCHEMA;
use crate::state::{Finding, Outcome, StreamHealth, UndoCause, VoidReason};
use crate::time::Timestamp;
use crate::witnessed::Root;

/// One immutable fact. The journal holds what a person or an auditor would ask about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Fact {
    /// A plan's text became the migration's current revision.
    PlanAdopted {
        /// The plan, as it was reviewed.
        text: String,
        /// The hash of its meaning.
        plan_hash: PlanHash,
        /// The persons who wrote it, where that is known.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        authors: Vec<PersonId>,
    },
    /// A person asked for an operation. The event's position is the request's number.
    Requested {
        /// What was asked.
        operation: Operation,
        /// What the request is bound to.
        plan_hash: PlanHash,
        /// When it voids by itself.
        expires_at: Timestamp,
        /// The loss that was shown and confirmed, for `failback --target-lost`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        confirmed_loss: Option<String>,
        /// It begins no earlier.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        not_before: Option<Timestamp>,
        /// It begins no later.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        not_after: Option<Timestamp>,
        /// Why it was asked for.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// A person approved a request, bound to its plan hash.
    Approved {
        /// The request.
        request: Position,
        /// The hash that was approved.
        plan_hash: PlanHash,
        /// Why, if the person said.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// A person denied a request.
    Denied {
        /// The request.
        request: Position,
        /// Why.
        reason: String,
    },
    /// A person took back their approval.
    Revoked {
        /// The request.
        request: Position,
    },
    /// One person gave a request its quorum alone. Another person has to review it when its operation is over.
    GlassBroken {
        /// The request.
        request: Position,
        /// The hash that it is bound to.
        plan_hash: PlanHash,
        /// Why.
        reason: String,
        /// Until when it should be reviewed.
        review_by: Timestamp,
    },
    /// Another person looked at an operation that ran under broken glass.
    GlassReviewed {
        /// Its request.
        request: Position,
        /// Whether they approve of it.
        approved: bool,
        /// What they say.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// A second look found the pull request of a bound request as it was when it was asked for.
    BindingConfirmed {
        /// The request.
        request: Position,
        /// The head, which is the commit it is bound to.
        head: String,
    },
    /// A second look at the groups that give persons of a request their roles.
    RolesConfirmed {
        /// The request.
        request: Position,
        /// The memberships that are gone: the words that rested on them count no more.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        lost: Vec<Membership>,
    },
    /// A request counts no more.
    RequestVoided {
        /// The request.
        request: Position,
        /// Why.
        reason: VoidReason,
    },
    /// No new operation begins, in the whole migration or in this event's phase.
    HoldPlaced {
        /// Why.
        reason: String,
    },
    /// The hold is over.
    HoldReleased {},
    /// The operation stops between its steps.
    Paused {},
    /// It goes on.
    Resumed {},
    /// A blocked step is tried again.
    Retried {
        /// The step.
        step: Step,
    },
    /// A person asked to undo the unfinished operation.
    AbortRequested {
        /// Why.
        reason: String,
    },
    /// An executor took the phase for a term.
    LeaseTaken {
        /// The new term.
        epoch: Epoch,
        /// Who.
        holder: Holder,
    },
    /// An operation began. It reserves its approvals; plan and phase are frozen.
    OperationStarted {
        /// The request that authorises it.
        request: Position,
        /// What it is.
        operation: Operation,
        /// The plan it runs and is undone by.
        plan_hash: PlanHash,
        /// The persons whose approvals it reserves.
        reserved: Vec<PersonId>,
        /// The generation of the phase's objects.
        generation: Generation,
        /// Who broke the glass that it runs under.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        broken_glass: Option<PersonId>,
    },
    /// An effect is about to be probed and done.
    EffectIntended {
        /// The operation.
        operation: Position,
        /// The step.
        step: Step,
        /// Its name.
        effect: EffectId,
        /// What it is.
        spec: Effect,
        /// With the intent that stops the traffic: the undo and its time.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        undo: Option<UndoPlan>,
        /// With the opening's intent: the persons whose approvals it consumes.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        consumes: Vec<PersonId>,
    },
    /// The effect is there, and ours.
    EffectSucceeded {
        /// Its name.
        effect: EffectId,
        /// Whether it was there before this executor acted.
        adopted: bool,
        /// What was seen.
        evidence: Evidence,
    },
    /// The receiver said definitely that the effect is not there and will not be.
    EffectFailed {
        /// Its name.
        effect: EffectId,
        /// What the receiver said, scrubbed.
        error: String,
    },
    /// Nobody knows whether the effect is there. Only a probe leaves this.
    EffectUnknown {
        /// Its name.
        effect: EffectId,
        /// What happened, scrubbed.
        error: String,
    },
    /// A step has done all its effects.
    StepFinished {
        /// The operation.
        operation: Position,
        /// The step.
        step: Step,
    },
    /// A step waits for a person.
    StepBlocked {
        /// The operation.
        operation: Position,
        /// The step.
        step: Step,
        /// What was found.
        finding: Finding,
    },
    /// The operation is being undone, newest first.
    UndoStarted {
        /// The operation.
        operation: Position,
        /// Why.
        cause: UndoCause,
        /// What the target answered to a write, where a failback returns to it by itself.
        #[serde(default, skip_serializing_if = "Evidence::is_empty")]
        answered: Evidence,
    },
    /// The operation is over.
    OperationFinished {
        /// The operation.
        operation: Position,
        /// How.
        outcome: Outcome,
    },
    /// A stream changed between states that a person would ask about.
    StreamChanged {
        /// Which.
        direction: Direction,
        /// What it does.
        mode: StreamMode,
        /// How it is.
        health: StreamHealth,
        /// Where a stream that applies and is down had come to, as its row says: `checkpoint`, and `newest_change_at`, when
        /// the newest change that was applied was committed, by the clock of the side read.
        #[serde(default, skip_serializing_if = "Evidence::is_empty")]
        seen: Evidence,
    },
    /// A guard saw changes of the phase's rows that carry no mark of ours.
    FenceBreached {
        /// The guarding stream.
        direction: Direction,
        /// The table.
        table: TableName,
        /// Where in the stream, in the database's notation.
        at: String,
        /// How many changes, in decimal.
        changes: String,
    },
    /// The source is about to be opened although the target is lost: what was applied of it is all there is. From here on
    /// the target is quarantined, and this event is the standing intent to close its gate at its first contact.
    LossDeclared {
        /// The operation.
        operation: Position,
        /// The loss as it was shown and confirmed.
        confirmed: String,
        /// The last applied failback checkpoint.
        checkpoint: String,
        /// When the newest change that was applied was committed, by the target's clock: nothing that was acknowledged
        /// before it is lost. None where it is not known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        newest_change_at: Option<Timestamp>,
        /// Whether everything that the target has is known to be applied.
        drained: bool,
        /// Whether the target was reached and its gate closed.
        closed: bool,
    },
    /// The first contact with a quarantined target: its gate is closed.
    QuarantineClosed {
        /// The `loss_declared` by which it was done.
        loss: Position,
        /// What was seen there.
        evidence: Evidence,
    },
    /// The rest of a quarantined target's stream was read, for people. Nothing of it was applied.
    QuarantineRead {
        /// The `loss_declared` that it belongs to.
        loss: Position,
        /// The file, one change a line; none where it cannot be read.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        file: Option<String>,
        /// How many changes are in it, in decimal.
        changes: String,
        /// Why it cannot be read.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        finding: Option<Finding>,
    },
    /// What a phase that was given up leaves behind on a side that did not come back.
    LeftBehind {
        /// The operation.
        operation: Position,
        /// The side.
        side: Side,
        /// What, by name.
        what: Vec<String>,
    },
    /// A side came back on another timeline: after a failover, or a restore to an earlier moment. Until it is probed anew
    /// nothing opens.
    TimelineChanged {
        /// Which side.
        side: Side,
        /// The timeline that it was on.
        was: Timeline,
        /// The one that it is on.
        timeline: Timeline,
    },
    /// A signed log checkpoint over people's last words stands outside the journal.
    LogCheckpointLeft {
        /// The last position that it covers.
        size: Position,
        /// The tree's root at that size.
        root: Root,
        /// Where it stands.
        left_to: Vec<String>,
    },
    /// From here on events are written by a newer schema version: whoever does not read it stops here.
    VersionBarrier {
        /// That version, in decimal.
        to: String,
    },
}

impl Fact {
    /// The kind's name, as in the stored body.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::PlanAdopted { .. } => "plan_adopted",
            Self::Requested { .. } => "requested",
            Self::Approved { .. } => "approved",
            Self::Denied { .. } => "denied",
            Self::Revoked { .. } => "revoked",
            Self::GlassBroken { .. } => "glass_broken",
            Self::GlassReviewed { .. } => "glass_reviewed",
            Self::BindingConfirmed { .. } => "binding_confirmed",
            Self::RolesConfirmed { .. } => "roles_confirmed",
            Self::RequestVoided { .. } => "request_voided",
            Self::HoldPlaced { .. } => "hold_placed",
            Self::HoldReleased { .. } => "hold_released",
            Self::Paused { .. } => "paused",
            Self::Resumed { .. } => "resumed",
            Self::Retried { .. } => "retried",
            Self::AbortRequested { .. } => "abort_requested",
            Self::LeaseTaken { .. } => "lease_taken",
            Self::OperationStarted { .. } => "operation_started",
            Self::EffectIntended { .. } => "effect_intended",
            Self::EffectSucceeded { .. } => "effect_succeeded",
            Self::EffectFailed { .. } => "effect_failed",
            Self::EffectUnknown { .. } => "effect_unknown",
            Self::StepFinished { .. } => "step_finished",
            Self::StepBlocked { .. } => "step_blocked",
            Self::UndoStarted { .. } => "undo_started",
            Self::OperationFinished { .. } => "operation_finished",
            Self::StreamChanged { .. } => "stream_changed",
            Self::FenceBreached { .. } => "fence_breached",
            Self::TimelineChanged { .. } => "timeline_changed",
            Self::LossDeclared { .. } => "loss_declared",
            Self::QuarantineClosed { .. } => "quarantine_closed",
            Self::QuarantineRead { .. } => "quarantine_read",
            Self::LeftBehind { .. } => "left_behind",
            Self::LogCheckpointLeft { .. } => "log_checkpoint_left",
            Self::VersionBarrier { .. } => "version_barrier",
        }
    }
}

impl Fact {
    /// The request that the fact names; a request's own event is named by nothing but its position.
    #[must_use]
    pub const fn request(&self) -> Option<Position> {
        match self {
            Self::Approved { request, .. }
            | Self::Denied { request, .. }
            | Self::Revoked { request }
            | Self::GlassBroken { request, .. }
            | Self::GlassReviewed { request, .. }
            | Self::BindingConfirmed { request, .. }
            | Self::RolesConfirmed { request, .. }
            | Self::RequestVoided { request, .. }
            | Self::OperationStarted { request, .. } => Some(*request),
            Self::PlanAdopted { .. }
            | Self::Requested { .. }
            | Self::HoldPlaced { .. }
            | Self::HoldReleased {}
            | Self::Paused {}
            | Self::Resumed {}
            | Self::Retried { .. }
            | Self::AbortRequested { .. }
            | Self::LeaseTaken { .. }
            | Self::EffectIntended { .. }
            | Self::EffectSucceeded { .. }
            | Self::EffectFailed { .. }
            | Self::EffectUnknown { .. }
            | Self::StepFinished { .. }
            | Self::StepBlocked { .. }
            | Self::UndoStarted { .. }
            | Self::OperationFinished { .. }
            | Self::StreamChanged { .. }
            | Self::FenceBreached { .. }
            | Self::TimelineChanged { .. }
            | Self::LossDeclared { .. }
            | Self::QuarantineClosed { .. }
            | Self::QuarantineRead { .. }
            | Self::LeftBehind { .. }
            | Self::LogCheckpointLeft { .. }
            | Self::VersionBarrier { .. } => None,
        }
    }
}

/// What surrounds a fact. Position, ids, epoch and time are given by the store.
///
/// [`crate::Schema::read`] names its fields again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope {
    /// Its place in the journal.
    pub position: Position,
    /// The migration.
    pub migration: MigrationName,
    /// The phase it is about; none if it is about all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<PhaseName>,
    /// Its unique id.
    pub event_id: EventId,
    /// The schema version of the body, in decimal.
    pub schema_version: String,
    /// Who made it happen.
    pub actor: Actor,
    /// When the store recorded it, by its database's clock.
    pub recorded_at: Timestamp,
    /// The command that made it.
    pub command_id: CommandId,
    /// The lease's epoch, for what an executor appended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<Epoch>,
    /// Where the person said it, if not at a terminal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
}

/// A fact in its envelope: one event of the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Recorded {
    /// Its envelope.
    #[serde(flatten)]
    pub envelope: Envelope,
    /// The fact.
    pub body: Fact,
}

/// Stored bytes are not an event that this version can read.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// Written by a newer version, or a barrier before one.
    #[error(
        "from here on the journal is written by schema version {found}, this program reads up to {known}: use a newer switchyard"
    )]
    Newer {
        /// The version found.
        found: String,
        /// The newest that this program reads.
        known: u32,
    },
    /// What stands where the schema version stands is none.
    #[error("not an event: `{found}` is no schema version")]
    NoVersion {
        /// What was found.
        found: String,
    },
    /// The body is not what the version that it says it is of wrote.
    #[error("not an event of schema version {from}: {why}")]
    NotOfItsVersion {
        /// The version.
        from: u32,
        /// What is missing or wrong.
        why: String,
    },
    /// Not an event.
    #[error("not an event: {0}")]
    Malformed(#[from] serde_json::Error),
}

impl Recorded {
    /// The canonical bytes (RFC 8785) that are stored and hashed. For an event that was read from an older version's bytes
    /// they are not those bytes: hashes are over what is stored.
    ///
    /// # Errors
    /// A value has no canonical form; nothing that the core makes does.
    pub fn to_bytes(&self) -> Result<Vec<u8>, CanonicalError> {
        to_canonical(self)
    }

    /// Reads stored bytes, of this schema version or an older one.
    ///
    /// # Errors
    /// The bytes are not an event, or a newer version's.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        SCHEMA.read(bytes)
    }
}
