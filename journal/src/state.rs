//! What the journal says is so. Made by replaying events, never by hand.

mod request;
mod run;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::effect::{Evidence, GateMode, Side, StreamMode};
use crate::ids::{
    Epoch, Generation, Holder, Lsn, MigrationName, PersonId, PhaseName, PlanHash, Position, TableName,
    Timeline,
};
use crate::names::Direction;
use crate::operation::PhaseStatus;
use crate::plan::Plan;
use crate::shared::Shared;
use crate::time::Timestamp;
use crate::witnessed::LeftCheckpoint;

pub use request::{
    Approval, ApprovalWord, Confirmed, Glass, GlassReview, Request, RequestStatus, VoidReason,
};
pub use run::{EffectRecord, EffectStatus, OperationRun, Outcome, UndoCause, UndoRun};

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

/// No new operation begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    /// Since which event.
    pub position: Position,
    /// Why.
    pub reason: String,
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
    /// What the newest comparison of both sides' columns and indexes found that blocks nothing.
    pub warning: Option<String>,
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
            warning: None,
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
    pub phases: BTreeMap<PhaseName, Shared<PhaseState>>,
    /// Requests by number.
    pub requests: Shared<BTreeMap<Position, Request>>,
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

    /// The phases that this plan leaves out while something of them runs or stands at a side: an operation, streams,
    /// a quarantine. Nobody would serve them any more.
    #[must_use]
    pub fn live_without(&self, plan: &Plan) -> Vec<PhaseName> {
        let is_live = |phase: &PhaseState| {
            let is_over =
                matches!(phase.status, PhaseStatus::New | PhaseStatus::Completed | PhaseStatus::Retired);
            phase.operation.is_some() || !is_over
        };
        let left_out = self.phases.iter().filter(|(name, _)| plan.phase(name).is_none());
        left_out.filter(|(_, phase)| is_live(phase)).map(|(name, _)| name.clone()).collect()
    }

    /// The phase's running operation.
    #[must_use]
    pub fn operation(&self, phase: &PhaseName) -> Option<&OperationRun> {
        self.phases.get(phase)?.operation.as_ref()
    }
}
