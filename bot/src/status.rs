//! Where a migration is, as data: from the journal and the newest reports, without a server.

use std::collections::BTreeMap;
use std::time::Duration;

use journal::{
    Direction, Due, FailbackDeadline, Finding, GateMode, Operation, OperationRun, Outcome, PhaseName,
    PhaseState, PhaseStatus, Plan, Position, Request, RequestStatus, Side, State, Step, StreamHealth,
    Timestamp, UndoCause, Writer, due, is_past_return, known_loss, stream_in_the_way,
};
use journal_store::Reported;
use serde::Serialize;

use crate::words;

/// The shortest silence that is taken for nobody's being there: a report comes every 2 s, and one may be late.
const SILENCE: Duration = Duration::from_secs(5);

/// How many requests that are over are shown with the live ones.
const PAST_REQUESTS: usize = 5;

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
    /// As last probed.
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
                let phase = state.phases.get(name).unwrap_or(&fresh);
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
            is_provable: plan.journal.signing_key.is_some(),
            phases,
        })
    }
}

/// A phase and all that is known of it.
struct Seen<'s> {
    state: &'s State,
    plan: &'s Plan,
    name: &'s PhaseName,
    phase: &'s PhaseState,
    reported: Option<&'s Reported>,
    now: Timestamp,
}

impl Seen<'_> {
    fn report(&self) -> PhaseReport {
        let phase = self.phase;
        let run = phase.operation.as_ref();
        let silence = self.plan.journal.lease_term.max(SILENCE);
        let is_stale = self.reported.is_none_or(|reported| self.now.since(reported.at) > silence);
        let progress = self.reported.map(|reported| &reported.progress);
        let lag_ms = progress.filter(|_| !is_stale).and_then(|progress| progress.lag_ms);
        let observed = progress.map(|progress| progress.observed.clone()).unwrap_or_default();
        let is_shown = |key: &str| key.starts_with("gate.") || key.starts_with("slot.");
        PhaseReport {
            name: self.name.to_string(),
            status: status_word(phase),
            operation: run.map(|run| run.operation.word()),
            tables: phase.tables.iter().map(ToString::to_string).collect(),
            step: run.map(|run| run.step.word()),
            writer: phase.writer(),
            lag_ms,
            requests: self.requests(),
            blocked: run.and_then(|run| run.blocked.clone()),
            paused: run.is_some_and(|run| run.paused),
            hold: phase.hold.as_ref().map(|hold| hold.reason.clone()),
            broken_glass: self.broken_glass(),
            undoing: run.and_then(undo_cause).map(words::because),
            deadline: run.and_then(deadline),
            point_of_no_return_passed: run.is_some_and(is_past_return),
            next: words::next(&self.next()),
            doing: progress
                .filter(|_| !is_stale)
                .and_then(|progress| progress.doing.clone())
                .filter(|doing| run.is_some_and(|run| doing.starts_with(run.step.word()))),
            gates: self.gates(&observed),
            streams: self.streams(&observed),
            breaches: self.breaches(),
            timelines: self.timelines(),
            way_back: self.way_back(lag_ms),
            loss: self.loss(),
            quarantine: phase.quarantine.as_ref().map(words::quarantine),
            observed: observed.into_iter().filter(|(key, _)| !is_shown(key)).collect(),
            holder: phase.holder.as_ref().map(ToString::to_string),
            epoch: phase.epoch.get(),
            reported_at: self.reported.map(|reported| reported.at),
            is_stale,
        }
    }

    fn next(&self) -> Next {
        let run = self.phase.operation.as_ref();
        match due(self.state, self.name, self.now) {
            Due::Blocked(_) => Next::NeedsPerson,
            Due::Paused => Next::NeedsResume,
            Due::AwaitWitness => Next::NeedsWitness,
            Due::VoidStale => Next::Voids,
            Due::Begin(request) => Next::Begins { request },
            Due::BeginUndo(_) => Next::BeginsUndo,
            Due::CallPerson(_) => Next::CallsPerson,
            Due::Plan(_) | Due::Effect(_) => match run {
                Some(run) if run.undo.is_some() => Next::Undoes,
                Some(run) => match deadline(run) {
                    Some(at) if holds_at_deadline(run) => Next::HoldsAt { step: run.step, at },
                    Some(at) => Next::RunsUntil { step: run.step, at },
                    None => Next::Runs { step: run.step },
                },
                None => Next::Nothing,
            },
            Due::Idle => self.waiting(),
        }
    }

    /// Why nothing is due at rest.
    fn waiting(&self) -> Next {
        let open = self
            .state
            .requests
            .values()
            .find(|request| request.phase == *self.name && request.status == RequestStatus::Open);
        match open {
            None => Next::Nothing,
            Some(request) if let Some((direction, _)) = stream_in_the_way(self.phase, request.operation) => {
                Next::NeedsStream { direction }
            }
            Some(_) if self.state.hold.is_some() || self.phase.hold.is_some() => Next::NeedsRelease,
            Some(request)
                if journal::waits(self.state, request, self.now).iter().any(journal::Wait::is_approvals) =>
            {
                let last = request.not_after.map_or(request.expires_at, |last| last.min(request.expires_at));
                Next::NeedsApprovals { request: request.position, expires_at: last }
            }
            Some(request) => {
                let world = words::World { state: self.state, now: self.now };
                let told = format!("request #{}: {}", request.position, words::waiting(world, request));
                Next::Waits { told }
            }
        }
    }

    /// Only where the way back is asked for: while the target is the writer, or nobody is.
    fn loss(&self) -> Option<LossReport> {
        let loss =
            known_loss(self.name, self.phase).filter(|_| self.phase.status == PhaseStatus::OnTarget)?;
        Some(LossReport {
            told: words::loss(&loss, self.now),
            word: loss.word,
            checkpoint: loss.checkpoint.to_string(),
            newest_change_at: loss.newest_change_at,
        })
    }

    fn broken_glass(&self) -> Vec<GlassReport> {
        words::broken(self.state, Some(self.name))
            .map(|(request, glass)| GlassReport {
                request: request.position.get(),
                person: glass.person.to_string(),
                reason: glass.reason.clone(),
                used: glass.used,
                review_by: glass.review_by,
                is_overdue: glass.used && glass.review_by < self.now,
                told: words::glass_told(request, glass, self.now),
            })
            .collect()
    }

    fn requests(&self) -> Vec<RequestReport> {
        let mine = || self.state.requests.values().filter(|request| request.phase == *self.name);
        let mut shown: Vec<RequestReport> =
            mine().filter(|request| request.is_live()).map(|request| self.request(request)).collect();
        shown.extend(
            mine()
                .rev()
                .filter(|request| !request.is_live())
                .take(PAST_REQUESTS)
                .map(|request| self.request(request)),
        );
        shown
    }

    fn request(&self, request: &Request) -> RequestReport {
        let approved_by: Vec<String> =
            journal::approvers(self.plan, request).iter().map(ToString::to_string).collect();
        RequestReport {
            number: request.position.get(),
            operation: request.operation.word(),
            requester: request.requester.to_string(),
            approvals: approved_by.len(),
            required: self.plan.policy(request.operation).required,
            approved_by,
            expires: request.expires_at,
            not_before: request.not_before,
            not_after: request.not_after,
            reason: request.reason.clone(),
            confirmed_loss: request.confirmed_loss.clone(),
            status: match &request.status {
                RequestStatus::Open => "open",
                RequestStatus::Running => "running",
                RequestStatus::Consumed => "consumed",
                RequestStatus::Finished(Outcome::Completed) => "completed",
                RequestStatus::Finished(Outcome::Undone) => "undone",
                RequestStatus::Finished(Outcome::Replaced) => "replaced",
                RequestStatus::Void(_) => "void",
            },
            plan_hash: request.plan_hash.to_string(),
            is_live: request.is_live(),
        }
    }

    fn gates(&self, observed: &BTreeMap<String, String>) -> BTreeMap<&'static str, GateReport> {
        Side::ALL
            .into_iter()
            .filter_map(|side| {
                let mode = self.phase.gates.get(&side)?;
                let mode = match mode {
                    GateMode::Open => "open",
                    GateMode::Closed => "closed",
                };
                let seen = observed.get(&format!("gate.{side}")).cloned();
                Some((side.word(), GateReport { mode, seen }))
            })
            .collect()
    }

    fn streams(&self, observed: &BTreeMap<String, String>) -> Vec<StreamReport> {
        self.phase
            .streams
            .iter()
            .map(|(direction, stream)| StreamReport {
                direction: direction.to_string(),
                mode: stream.mode.word(),
                health: stream
                    .health
                    .as_ref()
                    .map_or_else(|| "not reported yet".to_owned(), words::stream_health),
                slot: stream.slot.clone(),
                retained_bytes: observed.get(&format!("slot.{direction}.retained_bytes")).cloned(),
                wal_status: observed.get(&format!("slot.{direction}.wal_status")).cloned(),
            })
            .collect()
    }

    fn breaches(&self) -> Vec<BreachReport> {
        let mut reports: Vec<BreachReport> = Vec::new();
        for breach in &self.phase.breaches {
            let (stream, table) = (breach.direction.to_string(), breach.table.to_string());
            let changes = breach.changes.parse().unwrap_or(1);
            let same = |known: &&mut BreachReport| {
                known.stream == stream && known.table == table && known.acknowledged == breach.is_acknowledged
            };
            match reports.iter_mut().find(same) {
                Some(known) => {
                    known.changes += changes;
                    known.at.clone_from(&breach.at);
                }
                None => reports.push(BreachReport {
                    position: breach.position.get(),
                    stream,
                    table,
                    at: breach.at.clone(),
                    changes,
                    since: breach.recorded_at,
                    acknowledged: breach.is_acknowledged,
                }),
            }
        }
        reports
    }

    fn timelines(&self) -> Vec<TimelineReport> {
        let changes = self.phase.timelines.iter();
        changes
            .map(|(side, change)| TimelineReport {
                side: side.word(),
                position: change.position.get(),
                was: change.was.get(),
                timeline: change.timeline.get(),
                since: change.recorded_at,
                finding: change.finding(self.name, *side),
            })
            .collect()
    }

    /// How long a failback would take now. The lag must be worked off in the window; a second is kept for the rest of it,
    /// which measures well below that on an idle pair.
    fn way_back(&self, lag_ms: Option<u64>) -> Option<String> {
        let back = self.phase.streams.get(&journal::Direction::Failback);
        let seen =
            self.reported.and_then(|reported| reported.progress.observed.get("slot.failback.wal_status"));
        let is_slot_lost = seen.is_some_and(|status| status == "lost");
        let is_lost = is_slot_lost
            || back.is_none_or(|stream| matches!(stream.health, Some(StreamHealth::Stopped { .. })));
        let told = match self.phase.status {
            PhaseStatus::New | PhaseStatus::Retired => return None,
            PhaseStatus::Replicating if is_lost && back.is_some() => "one-way",
            PhaseStatus::Replicating => return None,
            PhaseStatus::Completed | PhaseStatus::Quarantined => "none",
            PhaseStatus::OnTarget if !self.phase.timelines.is_empty() => {
                "not known before the side that came back on another timeline is probed anew"
            }
            PhaseStatus::OnTarget if is_lost => "one-way",
            PhaseStatus::OnTarget => match lag_ms {
                Some(lag) => return Some(format!("about {} s", lag.div_ceil(1000) + 1)),
                None => "there, how long is not known: no lag was reported lately",
            },
        };
        Some(told.to_owned())
    }
}

fn undo_cause(run: &OperationRun) -> Option<&UndoCause> {
    run.undo.as_ref().map(|undo| &undo.cause).or(run.undo_asked.as_ref())
}

/// Whether the plan wants a person, not an undo, when the downtime is over.
fn holds_at_deadline(run: &OperationRun) -> bool {
    let settings = run.plan.phase(&run.phase);
    run.operation == Operation::Failback
        && settings.is_some_and(|phase| phase.failback_deadline == FailbackDeadline::Hold)
}

/// When the downtime is over and the operation undoes by itself, or calls a person, while it can.
fn deadline(run: &OperationRun) -> Option<Timestamp> {
    let (_, undo) = run.stopped.as_ref()?;
    let ends = run.operation != Operation::FailbackTargetLost && !run.overtime;
    (ends && run.opening.is_none() && run.undo.is_none()).then_some(undo.at)
}

const fn status_word(phase: &PhaseState) -> &'static str {
    let Some(run) = &phase.operation else { return phase.status.word() };
    if run.blocked.is_some() {
        return "blocked";
    }
    if run.undo.is_some() {
        return "undoing";
    }
    if run.paused {
        return "paused";
    }
    match run.operation {
        Operation::Start => "starting",
        Operation::Cutover => "cutting_over",
        Operation::Failback | Operation::FailbackTargetLost => "failing_back",
        Operation::Complete => "completing",
        Operation::Verify => "verifying",
        Operation::Retire => "retiring",
    }
}
