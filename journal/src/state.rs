//! What the journal says is so. Made by replaying events, never by hand.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::effect::{Effect, Evidence, GateMode, Side, StreamMode, UndoPlan};
use crate::ids::{
    EffectId, Epoch, Generation, Holder, Lsn, MigrationName, PersonId, PhaseName, PlanHash, Position,
    TableName, Timeline,
};
use crate::names::Direction;
use crate::operation::{Operation, PhaseStatus, Step};
use crate::origin::{Bound, Membership, Origin};
use crate::plan::Plan;
use crate::time::Timestamp;
use crate::witnessed::LeftCheckpoint;

/// Something that a person has to look at, in words that name the place and the remedy.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Finding {
    /// A stable code, as listed in the documentation: `SW-0201`.
    pub code: String,
    /// What failed and on what.
    pub what: String,
    /// What to do next.
    pub remedy: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}). {}", self.what.trim_end_matches('.'), self.code, self.remedy)
    }
}

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
}

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

/// How a stream is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum StreamHealth {
    /// It follows within the plan's lag limit.
    CaughtUp,
    /// It follows, further behind than that.
    Lagging,
    /// It stopped and is being restarted.
    Broken {
        /// Why, scrubbed.
        error: String,
    },
    /// It cannot go on without a person: its slot is lost, or it met what it must not apply.
    Stopped {
        /// What was found.
        finding: Finding,
    },
}

/// Who may write a phase, as journalled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Writer {
    /// The source.
    Source,
    /// The target.
    Target,
    /// Nobody.
    None,
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

/// No new operation begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    /// Since which event.
    pub position: Position,
    /// Why.
    pub reason: String,
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

/// A stream as the journal wants it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamState {
    /// What it does.
    pub mode: StreamMode,
    /// The slot it reads.
    pub slot: String,
    /// The publication it reads.
    pub publication: String,
    /// The origin that marks what it writes.
    pub origin: String,
    /// Where it began.
    pub from: Lsn,
    /// How it was last reported.
    pub health: Option<StreamHealth>,
    /// Where it had come to when it went down: `checkpoint`, `newest_change_at`.
    pub seen: Evidence,
}

/// A target that was given up for lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quarantine {
    /// The `loss_declared`: the standing intent to close its gate.
    pub position: Position,
    /// The operation.
    pub operation: Position,
    /// The plan that it ran by.
    pub plan_hash: PlanHash,
    /// The last applied failback checkpoint.
    pub checkpoint: Lsn,
    /// When the newest change that was applied was committed.
    pub newest_change_at: Option<Timestamp>,
    /// The failback stream as it was.
    pub stream: Option<StreamState>,
    /// Whether its gate is known to be closed.
    pub is_closed: bool,
    /// The rest of its stream, once it was read.
    pub rest: Option<Rest>,
}

impl Quarantine {
    /// Whether the target came back, is closed, and everything that it had more is in a file: then nothing there is needed.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.is_closed && self.rest.as_ref().is_some_and(|rest| rest.file.is_some())
    }
}

/// The rest of a quarantined target's stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rest {
    /// Where it is written; none where it cannot be read.
    pub file: Option<String>,
    /// How many changes.
    pub changes: String,
    /// Why it cannot be read.
    pub finding: Option<Finding>,
}

/// Changes that no fence should have let through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Breach {
    /// The event.
    pub position: Position,
    /// The guarding stream.
    pub direction: Direction,
    /// The table.
    pub table: TableName,
    /// Where in the stream.
    pub at: String,
    /// How many changes, in decimal.
    pub changes: String,
    /// When it was recorded.
    pub recorded_at: Timestamp,
    /// Whether a person has released the phase since.
    pub is_acknowledged: bool,
}

/// A side that is on another timeline than the one it was last probed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimelineChange {
    /// The event.
    pub position: Position,
    /// The timeline by which the phase knows the side.
    pub was: Timeline,
    /// The one that it is on.
    pub timeline: Timeline,
    /// When it was recorded.
    pub recorded_at: Timestamp,
}

impl TimelineChange {
    /// What a person has to know of it.
    #[must_use]
    pub fn finding(&self, phase: &PhaseName, side: Side) -> Finding {
        Finding {
            code: DISPLACED.to_owned(),
            what: format!(
                "The {side} came back on another timeline: it was {}, it is {}. After a failover or a restore it may lack \
                 what was last written there",
                self.was, self.timeline
            ),
            remedy: format!(
                "Gate, fence, slots and checkpoints have to be probed anew before anything opens: `/migrate {phase} verify` \
                 does it, or the next switch, or `retry` where a step waits."
            ),
        }
    }
}

/// The code of a side that came back on another timeline.
pub const DISPLACED: &str = "SW-0530";

/// One phase.
#[derive(Debug, Clone)]
pub struct PhaseState {
    /// Where it rests.
    pub status: PhaseStatus,
    /// The generation of its objects.
    pub generation: Generation,
    /// The operation that runs.
    pub operation: Option<OperationRun>,
    /// No new operation begins.
    pub hold: Option<Hold>,
    /// The newest lease's epoch.
    pub epoch: Epoch,
    /// Who holds it.
    pub holder: Option<Holder>,
    /// The gates as journalled; a side without one has none yet.
    pub gates: BTreeMap<Side, GateMode>,
    /// The streams that should run.
    pub streams: BTreeMap<Direction, StreamState>,
    /// Breaches, oldest first.
    pub breaches: Vec<Breach>,
    /// What was seen of each side on first contact: `system_identifier`, `database_oid`, `timeline`.
    pub identities: BTreeMap<Side, Evidence>,
    /// The sides that are on another timeline since, and were not probed anew yet.
    pub timelines: BTreeMap<Side, TimelineChange>,
    /// The newest change of a timeline: what was proven before it may not hold any more.
    pub timeline_changed: Option<Position>,
    /// Under which position each gate was last set, as its receipt says.
    pub gate_positions: BTreeMap<Side, Position>,
    /// Whether the operation that ended last gave way to one that goes on from where it stood.
    pub replaced: bool,
    /// The failback stream as it was, once it is dropped.
    pub lost_stream: Option<StreamState>,
    /// The target, given up for lost. Its gate as journalled counts no more.
    pub quarantine: Option<Quarantine>,
    /// Its tables, as `start` found them: the named ones and what the patterns matched then. From there on the phase is
    /// these, whatever the plan's patterns match later. Empty before.
    pub tables: Vec<TableName>,
}

impl Default for PhaseState {
    fn default() -> Self {
        Self {
            status: PhaseStatus::New,
            generation: Generation::new(1),
            operation: None,
            hold: None,
            epoch: Epoch::default(),
            holder: None,
            gates: BTreeMap::new(),
            streams: BTreeMap::new(),
            breaches: Vec::new(),
            identities: BTreeMap::new(),
            timelines: BTreeMap::new(),
            timeline_changed: None,
            gate_positions: BTreeMap::new(),
            replaced: false,
            lost_stream: None,
            quarantine: None,
            tables: Vec::new(),
        }
    }
}

impl PhaseState {
    /// Who may write, as journalled: the side whose gate is open, the source before there are gates. A target that is given
    /// up for lost is not counted, since nothing leads the application to it.
    #[must_use]
    pub fn writer(&self) -> Writer {
        let open = |side| self.gates.get(&side) == Some(&GateMode::Open);
        let on_target = open(Side::Target) && self.quarantine.is_none();
        match (open(Side::Source) || !self.gates.contains_key(&Side::Source), on_target) {
            (_, true) => Writer::Target,
            (true, false) => Writer::Source,
            (false, false) => Writer::None,
        }
    }

    /// The timeline that a side was last seen on; none before first contact.
    #[must_use]
    pub fn timeline(&self, side: Side) -> Option<Timeline> {
        let changed = self.timelines.get(&side).map(|change| change.timeline);
        changed.or_else(|| self.probed_timeline(side))
    }

    /// The timeline that a side was last probed on.
    #[must_use]
    pub fn probed_timeline(&self, side: Side) -> Option<Timeline> {
        self.identities.get(&side)?.get("timeline")?.parse().ok()
    }

    /// The direction that applies when the phase is at rest.
    #[must_use]
    pub const fn applying(&self) -> Direction {
        match self.status {
            PhaseStatus::OnTarget | PhaseStatus::Completed => Direction::Failback,
            PhaseStatus::New | PhaseStatus::Replicating | PhaseStatus::Retired | PhaseStatus::Quarantined => {
                Direction::Forward
            }
        }
    }
}

/// Everything the journal says is so.
#[derive(Debug, Clone, Default)]
pub struct State {
    /// The newest event replayed.
    pub head: Position,
    /// The migration's name, from the first event on.
    pub migration: Option<MigrationName>,
    /// The current plan and its hash.
    pub plan: Option<(Arc<Plan>, PlanHash)>,
    /// The persons who wrote the current plan, where that is known.
    pub authors: Vec<PersonId>,
    /// What requests of each phase are bound to under the current plan: made once, since it is asked for again and again.
    pub bindings: BTreeMap<PhaseName, PlanHash>,
    /// All plans ever adopted, for operations that began with them.
    pub plans: BTreeMap<PlanHash, Arc<Plan>>,
    /// No new operation begins anywhere.
    pub hold: Option<Hold>,
    /// The phases of the current plan, and any older one that was begun.
    pub phases: BTreeMap<PhaseName, PhaseState>,
    /// Requests by number.
    pub requests: BTreeMap<Position, Request>,
    /// The newest log checkpoint known to stand outside the journal.
    pub left: Option<LeftCheckpoint>,
    /// The schema version of the newest version barrier; 0 if there is none.
    pub barrier: u32,
}

impl State {
    /// The schema version that events are written by at the head.
    #[must_use]
    pub const fn schema_version(&self) -> u32 {
        if self.barrier == 0 { 1 } else { self.barrier }
    }

    /// What requests of a phase are bound to under the current plan.
    #[must_use]
    pub fn binding(&self, phase: &PhaseName) -> Option<PlanHash> {
        let known = self.bindings.get(phase).copied();
        known.or_else(|| self.plan.as_ref().map(|(plan, _)| plan.hash_for(phase)))
    }

    /// The phase's running operation.
    #[must_use]
    pub fn operation(&self, phase: &PhaseName) -> Option<&OperationRun> {
        self.phases.get(phase)?.operation.as_ref()
    }
}
