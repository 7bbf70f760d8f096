//! The undo while the journal is away.
//!
//! The intent that stops the traffic holds the whole undo and its time. So when that time has come (or a step has failed)
//! and the journal takes no append, the executor does what was written, from memory, straight through the receivers: the
//! gate of the side being left opens, the lever points there and resumes. Nothing else is ever done so. The streams rest
//! from before that gate opens: one that still guards would drop the first new writes. They are turned back, and the proof
//! that ends an undo is made, when the journal is there again; until then a slot keeps what they have to read.
//!
//! # The races
//!
//! *Another executor.* It reached the journal, and took the phase over while this one acts without a lease: the bound on
//! the downtime must hold as long as one executor lives and reaches the side, so this undo outlives the tenure. The gate of
//! the side being left decides. Whoever takes a phase over in its window raises that gate's epoch first, before it runs a
//! stream or an effect, and then asks it for the receipt of the undo's opening ([`Work::prove`]). So the old executor's
//! opening is either refused for ever, or seen: then the new one starts no stream, opens nothing, and begins the undo.
//!
//! *Positions.* A gate admits an effect only with a position higher than any it has seen. With P the newest intent that is
//! known, which is the highest that any receiver can have met, the undo's own effects take P+1, P+2 and so on: this process
//! is the only source of intents under its epoch, and what it asked the journal for without an answer it never acted. The
//! same effects have the same names in the journal (operation, step, effect), so later intents of them find the receipts
//! and adopt them. The rows do not end above what comes next: a taken lease or the undo's first event takes a position, and
//! each adopted effect two, an intent and an outcome; so before the effect at place k of the list the journal is at least at
//! P+2k, and a row at most at P+k. At most four are done so, two of them at gates.
//!
//! *An append whose answer was lost* may be the intent to open the other side. This process has not acted it, and whoever
//! finds it later proves first, as above. All the same the other side is closed first, if it answers: an opening may be
//! skipped over only where the journal cannot hold one. An intent that the journal then turns out to hold is asked for once,
//! found absent, and failed; the undo goes on by the path of a failed opening, which closes that side under a higher
//! position still. An opening that was acted, or may have been, is never undone from memory.
//!
//! *The lever* has no row. A late `resume` could let the traffic through to a side that another executor has closed since:
//! errors, never a loss. To keep that short, directly before each of the lever's effects the gate must still be open by this
//! undo's own receipt, and know no newer epoch.
//!
//! A failback that holds at its deadline is never returned from memory: the plan wants a person. One that returns by itself
//! does so only if the target takes a write, the raised epoch in its gate row.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use journal::{
    CommandBody, Due, Effect, EffectSpec, Epoch, Finding, OperationRun, Party, Position, Side, State, Step,
    Timestamp, UndoCause, never_returns, waits_for_a_person,
};
use journal_store::StoreError;
use runtime::failpoint;

use super::{Halt, LOOK_AGAIN, PhaseLoop, Work, running};
use crate::protocol::{Turn, turn};
use crate::seams::{Authority, Observed, Probe};

/// How long the journal may take to answer while an undo waits behind the call.
const ANSWER: Duration = Duration::from_millis(1500);

/// How long the other side may take to be closed before it is let go.
const CLOSING: Duration = Duration::from_secs(2);

/// What of an undo can be done without the journal.
#[derive(Debug)]
pub(super) struct Written {
    operation: Position,
    leaving: Side,
    /// Closes the other side: only where its opening may have been intended.
    close: (EffectSpec, Position),
    /// The gate of the side being left, then the lever.
    effects: Vec<(EffectSpec, Position)>,
    /// The gate's own, again.
    gate: EffectSpec,
}

#[derive(Debug)]
struct Kept {
    written: Arc<Written>,
    epoch: Epoch,
    at: Instant,
    must_close: bool,
    begun: bool,
    done: bool,
}

/// The undo of the window that runs here, as it was last seen in the journal.
#[derive(Debug, Default)]
pub(super) struct Memory(Mutex<Option<Kept>>);

/// What one pass over the undo came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pass {
    /// The application can write again.
    Done,
    /// Something did not answer: again.
    NotYet,
    /// A newer executor was at the gate.
    Superseded,
}

/// Whether the side being left may have been opened by an executor that had no journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Proof {
    /// The journal was not looked at yet.
    Unseen,
    /// It may have been: nothing is done before it is known.
    Open,
    /// It was not, and cannot be any more.
    Clear,
    /// It was: the undo has begun, and only its event is missing.
    Undone,
}

impl Memory {
    fn with<T>(&self, act: impl FnOnce(&mut Option<Kept>) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Keeps what the journal shows now.
    fn keep(&self, written: Option<(Written, Epoch, Instant)>) {
        self.with(|kept| {
            let Some((written, epoch, at)) = written else {
                *kept = None;
                return;
            };
            let before = kept.take().filter(|known| known.written.operation == written.operation);
            let told = |test: fn(&Kept) -> bool| before.as_ref().is_some_and(test);
            let (must_close, begun, done) =
                (told(|known| known.must_close), told(|known| known.begun), told(|known| known.done));
            *kept = Some(Kept { written: Arc::new(written), epoch, at, must_close, begun, done });
        });
    }

    /// Another holds the phase, or nothing is left to undo.
    pub(super) fn forget(&self) {
        self.with(|kept| *kept = None);
    }

    /// The phase was taken again. What is remembered counts on only if nobody held it in between.
    pub(super) fn taken(&self, epoch: Epoch) {
        self.with(|kept| match kept {
            Some(known) if known.epoch.next() == epoch => known.epoch = epoch,
            _ => *kept = None,
        });
    }

    /// The intent of the other side's opening is about to be asked for.
    pub(super) fn opening_is_asked(&self) {
        self.with(|kept| {
            if let Some(known) = kept {
                known.must_close = true;
            }
        });
    }

    /// A step has failed: the undo waits for nothing else.
    pub(super) fn hasten(&self, now: Instant) {
        self.with(|kept| {
            if let Some(known) = kept {
                known.at = known.at.min(now);
            }
        });
    }

    /// How long until the undo is due; none if there is none, or it is done.
    pub(super) fn left(&self, now: Instant) -> Option<Duration> {
        self.with(|kept| {
            let known = kept.as_ref().filter(|known| !known.done)?;
            Some(if known.begun { Duration::ZERO } else { known.at.saturating_duration_since(now) })
        })
    }

    /// Whether the undo is due now.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.left(now).is_some_and(|left| left.is_zero())
    }

    /// Waits for the journal's answer, and no longer than an undo can wait for it.
    pub(super) async fn reach<T, E: From<StoreError>>(
        &self,
        now: Instant,
        asked: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let Some(left) = self.left(now) else { return asked.await };
        tokio::time::timeout(left.max(ANSWER), asked).await.unwrap_or_else(|_| {
            Err(StoreError::Unavailable("no answer in time, and an undo waits for it".to_owned()).into())
        })
    }
}

impl PhaseLoop {
    /// What can be done of the running window's undo without the journal; none outside a window, from an opening's intent
    /// on, and where a person must be asked.
    fn written(&self, state: &State, run: &OperationRun) -> Option<Written> {
        let may = run.opening.is_none() && !run.opening_failed;
        if !may || (run.undo.is_none() && waits_for_a_person(run)) {
            return None;
        }
        let leaving = run.operation.opens()?.other();
        let whole = self.engine.plan(&self.name, Step::Undo, state, &Observed::default()).ok()?;
        let known = run.effects.iter().map(|record| record.intent).max()?;
        let spec = |effect| EffectSpec::new(run.plan_hash, &self.name, run.position, Step::Undo, effect);
        let mut position = known.next();
        let close = (spec(Effect::CloseGate { side: leaving.other() }), position);
        let mut effects = Vec::new();
        for effect in whole {
            let is_last = matches!(effect, Effect::ResumeTraffic { .. });
            if is_last || matches!(effect, Effect::OpenGate { .. } | Effect::RouteTraffic { .. }) {
                position = position.next();
                effects.push((spec(effect), position));
            }
            if is_last {
                break;
            }
        }
        let gate = spec(Effect::OpenGate { side: leaving });
        Some(Written { operation: run.position, leaving, close, effects, gate })
    }

    /// Goes over the undo once, from memory.
    pub(super) async fn undo_without_journal(&self, memory: &Memory) -> Pass {
        let known = memory.with(|kept| {
            let known = kept.as_mut().filter(|known| !known.done)?;
            known.begun = true;
            Some((Arc::clone(&known.written), known.epoch, known.must_close))
        });
        let Some((written, epoch, must_close)) = known else { return Pass::NotYet };
        let phase = &self.name;
        tracing::warn!(%phase, operation = %written.operation, "the journal is away: undoing what was written");
        self.hands.stop_streams();
        let pass = self.pass(&written, epoch, must_close).await;
        match pass {
            Pass::Done => {
                memory.with(|kept| {
                    if let Some(known) = kept {
                        known.done = true;
                    }
                });
                tracing::warn!(%phase, side = %written.leaving, "undone without the journal: traffic is resumed");
            }
            Pass::NotYet => {}
            Pass::Superseded => {
                memory.forget();
                tracing::warn!(%phase, "a newer executor has the phase: nothing is undone from memory");
            }
        }
        pass
    }

    async fn pass(&self, written: &Written, epoch: Epoch, must_close: bool) -> Pass {
        let under = |position| Authority { epoch, position };
        if let Some(ended) = self.is_newest(written.leaving, epoch).await {
            return ended;
        }
        if must_close {
            let (spec, position) = &written.close;
            let closing = turn(self.hands.receiver(spec.effect.party()), spec, under(*position));
            match tokio::time::timeout(CLOSING, closing).await {
                Ok(Turn::Succeeded { .. }) => {}
                came_to => {
                    tracing::warn!(phase = %self.name, ?came_to, "the other side was not closed first");
                }
            }
        }
        for (spec, position) in &written.effects {
            if spec.effect.party() == Party::Lever {
                if let Some(ended) = self.is_newest(written.leaving, epoch).await {
                    return ended;
                }
                let gate = self.hands.receiver(Party::Database(written.leaving));
                match gate.probe(&written.gate, under(*position)).await {
                    Probe::Ours(_) => {}
                    Probe::Unreachable(_) | Probe::Absent => return Pass::NotYet,
                    Probe::Differs(_) | Probe::Foreign(_) => return Pass::Superseded,
                }
            }
            let label = spec.effect.label();
            if failpoint::is_armed() {
                failpoint::hit(&format!("without_journal:{label}:before_effect"));
            }
            let came_to = turn(self.hands.receiver(spec.effect.party()), spec, under(*position)).await;
            if !matches!(came_to, Turn::Succeeded { .. }) {
                tracing::warn!(phase = %self.name, effect = %label, ?came_to, "undoing without the journal");
                return Pass::NotYet;
            }
            if failpoint::is_armed() {
                failpoint::hit(&format!("without_journal:{label}:after_effect"));
            }
        }
        Pass::Done
    }

    /// How a pass ends if the side does not take this epoch.
    async fn is_newest(&self, side: Side, epoch: Epoch) -> Option<Pass> {
        match self.hands.raise_epoch(side, epoch).await {
            Ok(true) => None,
            Ok(false) => Some(Pass::Superseded),
            Err(cause) => {
                tracing::warn!(phase = %self.name, %side, %cause, "undoing without the journal");
                Some(Pass::NotYet)
            }
        }
    }
}

impl Work<'_> {
    /// Remembers what can be done without the journal. `asked`: a monotonic reading from before `now` was read.
    pub(super) fn remember(&self, state: &State, now: Timestamp, asked: Instant) {
        let written = running(state, &self.home.name).and_then(|(_, run)| {
            let (_, undo) = run.stopped.as_ref()?;
            let written = self.home.written(state, run)?;
            // An undo that has begun waits for nothing.
            let wait = if run.undo.is_some() { Duration::ZERO } else { undo.at.since(now) };
            Some((written, self.lease.epoch, asked + wait))
        });
        self.memory.keep(written);
    }

    /// The journal does not answer: undoes from memory if that is due, else waits a moment.
    pub(super) async fn journal_is_away(&mut self) -> Result<(), Halt> {
        let clock = &self.home.clock;
        if self.memory.is_due(clock.monotonic()) {
            self.shared.doing(Some("the journal is away: undoing".to_owned()));
            self.streams = None;
            // From its first effect on this operation can only be undone, whatever the journal takes next.
            self.proof = Proof::Undone;
            match self.home.undo_without_journal(self.memory).await {
                Pass::Done => return Ok(()),
                Pass::Superseded => return Err(Halt::Lost),
                Pass::NotYet => {}
            }
        }
        let left = self.memory.left(clock.monotonic()).filter(|left| !left.is_zero());
        let wait = self.away.wait().min(left.unwrap_or(LOOK_AGAIN));
        clock.sleep(wait).await;
        Ok(())
    }

    /// Whether the streams must stand still, since the side that they read or guard may have been opened without a word.
    pub(super) fn must_rest(&self, state: &State) -> bool {
        let undoing = running(state, &self.home.name).is_none_or(|(_, run)| run.undo.is_some());
        !undoing && matches!(self.proof, Proof::Unseen | Proof::Open | Proof::Undone)
    }

    /// Before anything is done in a window that this lease did not begin: raises the epoch at the side being left, so that
    /// no older executor can open it any more, then asks whether one has.
    pub(super) async fn prove(&mut self, state: &State) -> Result<(), Halt> {
        let run = running(state, &self.home.name).map(|(_, run)| run);
        let window = run.filter(|run| run.stopped.is_some() && run.undo.is_none() && !run.opened);
        let window = window.filter(|run| !never_returns(run));
        let Some((run, opens)) = window.and_then(|run| Some((run, run.operation.opens()?))) else {
            self.proof = Proof::Clear;
            return Ok(());
        };
        if self.proof == Proof::Unseen {
            self.proof = Proof::Open;
        }
        if self.proof != Proof::Open {
            return Ok(());
        }
        let leaving = opens.other();
        let asks =
            |cause| Some(format!("looking whether the {leaving} was opened without the journal: {cause}"));
        match self.home.raise(leaving, self.lease, self.shared).await {
            Ok(true) => {}
            Ok(false) => return Err(Halt::Lost),
            Err(cause) => {
                self.shared.doing(asks(cause));
                return Ok(());
            }
        }
        let effect = Effect::OpenGate { side: leaving };
        let spec = EffectSpec::new(run.plan_hash, &self.home.name, run.position, Step::Undo, effect);
        let newest = run.effects.iter().map(|record| record.intent).max().unwrap_or_default();
        let under = Authority { epoch: self.lease.epoch, position: newest };
        match self.home.hands.receiver(spec.effect.party()).probe(&spec, under).await {
            Probe::Absent => self.proof = Proof::Clear,
            Probe::Ours(_) | Probe::Differs(_) => {
                tracing::warn!(phase = %self.home.name, side = %leaving, "opened while the journal was away");
                self.proof = Proof::Undone;
            }
            Probe::Unreachable(cause) => self.shared.doing(asks(cause)),
            Probe::Foreign(_) => {}
        }
        Ok(())
    }

    /// What is due in view of that: nothing that acts before it is known, and the undo once it has begun.
    pub(super) fn in_view_of_proof(&self, next: Due, state: &State) -> Option<Due> {
        let acts = matches!(next, Due::Plan(_) | Due::Effect(_));
        match self.proof {
            Proof::Clear => Some(next),
            Proof::Unseen | Proof::Open => (!acts).then_some(next),
            Proof::Undone => {
                let run = running(state, &self.home.name).map(|(_, run)| run);
                let Some(run) = run.filter(|run| run.undo.is_none() && run.opening.is_none()) else {
                    return Some(next);
                };
                if !acts && !matches!(next, Due::Paused | Due::Blocked(_)) {
                    return Some(next);
                }
                Some(Due::BeginUndo(UndoCause::StepFailed { step: run.step, finding: undone_already(run) }))
            }
        }
    }

    /// Whether the other side must not be opened any more, whatever was intended.
    pub(super) fn is_undone(&self) -> bool {
        self.proof == Proof::Undone
    }

    /// Whether an intent is the opening's: whoever asks for it may not hear whether it was written.
    pub(super) fn asks_for_opening(&self, body: &CommandBody) {
        if let CommandBody::Intend { effect: Effect::OpenGate { .. }, step, .. } = body
            && *step != Step::Undo
        {
            self.memory.opening_is_asked();
        }
    }
}

fn undone_already(run: &OperationRun) -> Finding {
    let side = run.operation.opens().map_or("side being left", |opens| opens.other().word());
    Finding {
        code: "SW-0523".to_owned(),
        what: format!("The {side} was opened again while the journal was away, as the written undo says."),
        remedy: "Nothing is lost. See why the journal could not be reached, then ask again.".to_owned(),
    }
}
