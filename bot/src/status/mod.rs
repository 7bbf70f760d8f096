//! Where a migration is, as data: from the journal and the newest reports, without a server.

mod seen;

use std::collections::BTreeMap;

use journal::{Direction, Finding, PhaseName, PhaseState, Position, State, Step, Timestamp, Writer};
use journal_store::Reported;
use serde::Serialize;

use seen::Seen;

/// What happens next by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Nothing.
    Nothing,
    /// Nothing until `retry` or `abort`.
    NeedsPerson,
    /// Nothing until `resume`.
    NeedsResume,
    /// Nothing until a log checkpoint over the approvals has left the journal.
    NeedsWitness,
    /// Nothing until `release`.
    NeedsRelease,
    /// Nothing until a stream follows again.
    NeedsStream {
        /// Which.
        direction: Direction,
    },
    /// A request waits.
    NeedsApprovals {
        /// Which.
        request: Position,
        /// When it voids.
        expires_at: Timestamp,
    },
    /// A request has its approvals and waits for something else: its time, a window, other phases, a review.
    Waits {
        /// What is said of it.
        told: String,
    },
    /// A request begins.
    Begins {
        /// Which.
        request: Position,
    },
    /// A request is voided.
    Voids,
    /// A step runs.
    Runs {
        /// Which.
        step: Step,
    },
    /// A step runs, with the traffic stopped.
    RunsUntil {
        /// Which.
        step: Step,
        /// When the undo begins by itself.
        at: Timestamp,
    },
    /// A failback's step runs, with the traffic stopped, and the plan wants a person at its end.
    HoldsAt {
        /// Which.
        step: Step,
        /// When the person is called.
        at: Timestamp,
    },
    /// The undo runs.
    Undoes,
    /// The undo is about to begin.
    BeginsUndo,
    /// The step is about to be blocked.
    CallsPerson,
}

/// Everything.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The version of this shape.
    pub v: u8,
    /// The migration's name.
    pub migration: String,
    /// The current plan's hash.
    pub plan_hash: String,
    /// The newest event.
    pub position: u64,
    /// The journal's clock.
    pub now: Timestamp,
    /// Why the journal cannot be believed, where a log checkpoint is known to contradict it. It is looked for by whoever asks
    /// for the report.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub contradicted: Option<String>,
    /// Why no new operation begins anywhere.
    pub hold: Option<String>,
    /// The newest log checkpoint that the journal knows to stand outside it.
    pub log_checkpoint: Option<CheckpointReport>,
    /// Whether the plan names a key to sign log checkpoints with: without one the journal cannot prove itself.
    pub is_provable: bool,
    /// The phases, in the plan's order.
    pub phases: Vec<PhaseReport>,
}

/// A log checkpoint.
#[derive(Debug, Clone, Serialize)]
pub struct CheckpointReport {
    /// The last event it covers.
    pub size: u64,
    /// The tree's root at that size, in hexadecimal.
    pub root: String,
    /// Where it stands.
    pub left_to: Vec<String>,
}

/// One phase.
#[derive(Debug, Clone, Serialize)]
pub struct PhaseReport {
    /// Its name.
    pub name: String,
    /// Where it rests, or what is being done.
    pub status: &'static str,
    /// The operation that runs.
    pub operation: Option<&'static str>,
    /// Its step.
    pub step: Option<&'static str>,
    /// Its tables, as its `start` found them, and keeps them; none before.
    pub tables: Vec<String>,
    /// Who may write.
    pub writer: Writer,
    /// The applying stream's lag, if it was reported lately.
    pub lag_ms: Option<u64>,
    /// Its requests: the live ones, then some that are over.
    pub requests: Vec<RequestReport>,
    /// What shows the journal to be older than what was done in a database: then nothing else here need be true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub behind: Option<String>,
    /// What a person has to look at.
    pub blocked: Option<Finding>,
    /// Whether the operation is paused.
    pub paused: bool,
    /// Why no new operation begins here.
    pub hold: Option<String>,
    /// Broken glass that nobody has reviewed.
    pub broken_glass: Vec<GlassReport>,
    /// Why the operation is being undone.
    pub undoing: Option<String>,
    /// When the operation's downtime is over: it undoes by itself, or calls a person.
    pub deadline: Option<Timestamp>,
    /// Whether nothing of the operation is undone any more.
    pub point_of_no_return_passed: bool,
    /// What happens next by itself.
    pub next: String,
    /// What is being done, for people.
    pub doing: Option<String>,
    /// The gates there are.
    pub gates: BTreeMap<&'static str, GateReport>,
    /// The streams there are.
    pub streams: Vec<StreamReport>,
    /// What no fence should have let through.
    pub breaches: Vec<BreachReport>,
    /// What the last comparison of both sides' columns, constraints and indexes found that blocks nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
    /// The sides that came back on another timeline and were not probed anew.
    pub timelines: Vec<TimelineReport>,
    /// `about n s`, `one-way` or `none`; null while the source is the writer and the way back is not needed.
    pub way_back: Option<String>,
    /// What is known of the loss, should the target be given up now: only while its stream is down.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loss: Option<LossReport>,
    /// What became of a target that was given up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quarantine: Option<String>,
    /// What else was last probed.
    pub observed: BTreeMap<String, String>,
    /// The executor that took the phase last.
    pub holder: Option<String>,
    /// Under which epoch.
    pub epoch: u64,
    /// When it was last heard of.
    pub reported_at: Option<Timestamp>,
    /// Whether that is so long ago that nobody seems to be there.
    pub is_stale: bool,
}

/// What is known of a loss.
#[derive(Debug, Clone, Serialize)]
pub struct LossReport {
    /// The word that confirms it.
    pub word: String,
    /// The last applied failback checkpoint.
    pub checkpoint: String,
    /// When the newest change that was applied was committed, by the target's clock.
    pub newest_change_at: Option<Timestamp>,
    /// What leads on from there.
    #[serde(skip)]
    pub remedy: String,
    /// What is said of it.
    #[serde(skip)]
    pub told: String,
}

/// Broken glass.
#[derive(Debug, Clone, Serialize)]
pub struct GlassReport {
    /// The request.
    pub request: u64,
    /// Who broke it.
    pub person: String,
    /// Why.
    pub reason: String,
    /// Whether an operation began under it.
    pub used: bool,
    /// Until when it should be reviewed.
    pub review_by: Timestamp,
    /// Whether that is past.
    pub is_overdue: bool,
    /// What is said of it.
    #[serde(skip)]
    pub told: String,
}

/// One request.
#[derive(Debug, Clone, Serialize)]
pub struct RequestReport {
    /// Its number.
    pub number: u64,
    /// The operation.
    pub operation: &'static str,
    /// Who asked.
    pub requester: String,
    /// How many approvals count.
    pub approvals: usize,
    /// How many are needed.
    pub required: u8,
    /// Whose count.
    pub approved_by: Vec<String>,
    /// When it voids by itself.
    #[serde(rename = "expires_at")]
    pub expires: Timestamp,
    /// It begins no earlier.
    pub not_before: Option<Timestamp>,
    /// It begins no later.
    pub not_after: Option<Timestamp>,
    /// Why it was asked for.
    pub reason: Option<String>,
    /// The loss that it confirms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confirmed_loss: Option<String>,
    /// `open`, `running`, `consumed`, `completed`, `undone`, `replaced`, `void`.
    pub status: &'static str,
    /// The plan it is bound to.
    pub plan_hash: String,
    /// Whether it waits or runs.
    #[serde(skip)]
    pub is_live: bool,
}

/// One gate.
#[derive(Debug, Clone, Serialize)]
pub struct GateReport {
    /// By the journal.
    pub mode: &'static str,
    /// As last probed; none where it was not probed since it was set.
    pub seen: Option<String>,
}

/// One stream.
#[derive(Debug, Clone, Serialize)]
pub struct StreamReport {
    /// Its direction.
    pub direction: String,
    /// What it does.
    pub mode: &'static str,
    /// How it is.
    pub health: String,
    /// The slot it reads.
    pub slot: String,
    /// What the slot retains, if it was probed.
    pub retained_bytes: Option<String>,
    /// Whether the WAL it needs is still there: `reserved`, `extended`, `unreserved`, `lost`.
    pub wal_status: Option<String>,
}

/// What one stream saw of one table, before or after a person released the phase.
#[derive(Debug, Clone, Serialize)]
pub struct BreachReport {
    /// The event of the first.
    pub position: u64,
    /// The guarding stream.
    pub stream: String,
    /// The table.
    pub table: String,
    /// Where in the stream the newest was.
    pub at: String,
    /// How many changes.
    pub changes: u64,
    /// When the first was recorded.
    pub since: Timestamp,
    /// Whether a person has released the phase since.
    pub acknowledged: bool,
}

/// A side that came back on another timeline.
#[derive(Debug, Clone, Serialize)]
pub struct TimelineReport {
    /// Which.
    pub side: &'static str,
    /// The event.
    pub position: u64,
    /// The timeline that it was last probed on.
    pub was: u64,
    /// The one that it is on.
    pub timeline: u64,
    /// When that was recorded.
    pub since: Timestamp,
    /// What a person has to know of it.
    pub finding: Finding,
}

impl Report {
    /// The report of a migration, or of one of its phases; none before a plan was adopted.
    #[must_use]
    pub fn new(
        state: &State,
        reported: &BTreeMap<PhaseName, Reported>,
        now: Timestamp,
        only: Option<&PhaseName>,
    ) -> Option<Self> {
        let (plan, hash) = state.plan.as_ref()?;
        let mut names: Vec<&PhaseName> = plan.phases.iter().map(|phase| &phase.name).collect();
        names.extend(state.phases.keys().filter(|name| plan.phase(name).is_none()));
        let fresh = PhaseState::default();
        let phases = names
            .into_iter()
            .filter(|name| only.is_none_or(|only| only == *name))
            .map(|name| {
                let phase = state.phases.get(name).map_or(&fresh, |phase| &**phase);
                Seen { state, plan, name, phase, reported: reported.get(name), now }.report()
            })
            .collect();
        Some(Self {
            v: 1,
            migration: plan.migration.to_string(),
            plan_hash: hash.to_string(),
            position: state.head.get(),
            now,
            hold: state.hold.as_ref().map(|hold| hold.reason.clone()),
            log_checkpoint: state.left.as_ref().map(|left| CheckpointReport {
                size: left.size.get(),
                root: left.root.to_string(),
                left_to: left.left_to.clone(),
            }),
            contradicted: None,
            is_provable: plan.journal.signing_key.is_some(),
            phases,
        })
    }
}
