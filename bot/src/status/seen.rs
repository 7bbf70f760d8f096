//! What is made of a phase: its state, the newest report of it, and the plan.

use std::collections::BTreeMap;
use std::time::Duration;

use journal::{
    Due, FailbackDeadline, GateMode, Operation, OperationRun, Outcome, PhaseName, PhaseState, PhaseStatus,
    Plan, Request, RequestStatus, Side, State, StreamHealth, Timestamp, UndoCause, due, is_past_return,
    known_loss, stream_in_the_way,
};
use journal_store::{BEHIND, Reported};

use super::{
    BreachReport, GateReport, GlassReport, LossReport, Next, PhaseReport, RequestReport, StreamReport,
    TimelineReport,
};
use crate::words;

/// The shortest silence that is taken for nobody's being there: a report comes every 2 s, and one may be late.
const SILENCE: Duration = Duration::from_secs(5);

/// How many requests that are over are shown with the live ones.
const PAST_REQUESTS: usize = 5;
/// A phase and all that is known of it.
pub(super) struct Seen<'s> {
    pub(super) state: &'s State,
    pub(super) plan: &'s Plan,
    pub(super) name: &'s PhaseName,
    pub(super) phase: &'s PhaseState,
    pub(super) reported: Option<&'s Reported>,
    pub(super) now: Timestamp,
}

impl Seen<'_> {
    pub(super) fn report(&self) -> PhaseReport {
        let phase = self.phase;
        let run = phase.operation.as_ref();
        let silence = self.plan.journal.lease_term.max(SILENCE);
        let is_stale = self.reported.is_none_or(|reported| self.now.since(reported.at) > silence);
        let progress = self.reported.map(|reported| &reported.progress);
        let lag_ms = progress.filter(|_| !is_stale).and_then(|progress| progress.lag_ms);
        let mut observed = progress.map(|progress| progress.observed.clone()).unwrap_or_default();
        let behind = observed.remove(BEHIND);
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
            behind,
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
            warning: phase.warning.clone(),
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
            remedy: words::loss_remedy(self.name.as_str(), &loss),
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
                let seen =
                    observed.get(&format!("gate.{side}")).filter(|seen| !self.is_past(side, seen)).cloned();
                Some((side.word(), GateReport { mode, seen }))
            })
            .collect()
    }

    /// Whether a gate was probed before it was set as the journal has it: a report is some seconds behind a switch.
    fn is_past(&self, side: Side, seen: &str) -> bool {
        let position = |text: &str| text.rsplit_once("position ").and_then(|(_, at)| at.parse::<u64>().ok());
        let set = self.phase.gate_positions.get(&side).map(|set| set.get());
        set.zip(position(seen)).is_some_and(|(set, seen)| seen < set)
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
        Operation::Complete | Operation::CompleteSourceLost => "completing",
        Operation::Verify => "verifying",
        Operation::Retire => "retiring",
    }
}
