//! What a phase's loop does under one lease: one thing that is due, then another.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::stream::BoxStream;
use journal::plan::key;
use journal::{
    Actor, Command, CommandBody, Due, Effect, EffectId, EffectOutcome, EffectSpec, EffectStatus, Finding,
    Operation, OperationRun, PhaseName, PhaseState, Position, Recorded, Refusal, Side, State, Step,
    StreamSpec, Timestamp, desired_streams, due,
};
use journal_store::{ExecuteError, Lease, StoreError};
use runtime::failpoint;
use runtime::retry::Backoff;

use super::memory::{Memory, Proof};
use super::stuck::Pace;
use super::{Halt, LOOK_AGAIN, OBSERVE_AGAIN, PhaseLoop, Shared, command_id};
use crate::protocol::{Turn, settle, turn};
use crate::seams::{Authority, Cause, EffectError, Observed};

/// How long both sides have at most to be looked at before anything is done under a lease.
const FIRST_LOOK: Duration = Duration::from_secs(1);

/// What a step does next: none if it is done, a finding if it cannot be planned.
type Next = Result<Option<EffectSpec>, Finding>;

/// The loop's work under one lease.
pub(super) struct Work<'a> {
    pub(super) home: &'a PhaseLoop,
    pub(super) lease: &'a Lease,
    pub(super) shared: &'a Shared,
    pub(super) memory: &'a Memory,
    pub(super) proof: Proof,
    pub(super) tail: Option<BoxStream<'static, Result<Recorded, StoreError>>>,
    /// What the streams were last set to.
    pub(super) streams: Option<Vec<StreamSpec>>,
    /// The effect that is tried again, and how long to wait for it.
    pub(super) pace: Option<Pace>,
    /// What a step saw when it last looked at all that it plans from: of which operation, and which step.
    pub(super) seen: Option<(Position, Step, Observed)>,
    /// What was due when a rule last refused it.
    pub(super) refused: Option<Due>,
    pub(super) away: Backoff,
}

impl<'a> Work<'a> {
    pub(super) fn new(
        home: &'a PhaseLoop,
        lease: &'a Lease,
        (shared, memory): (&'a Shared, &'a Memory),
    ) -> Self {
        let away = Backoff::new(Duration::from_millis(50), LOOK_AGAIN);
        let proof = Proof::Unseen;
        Self {
            home,
            lease,
            shared,
            memory,
            proof,
            tail: None,
            streams: None,
            pace: None,
            seen: None,
            refused: None,
            away,
        }
    }

    /// Does what is due until the lease is lost.
    pub(super) async fn run(&mut self) {
        self.look_first().await;
        loop {
            let (state, now) = match self.look().await {
                Ok(seen) => seen,
                Err(error) => {
                    tracing::warn!(phase = %self.home.name, %error, "journal away");
                    if let Err(Halt::Lost) = self.journal_is_away().await {
                        return;
                    }
                    continue;
                }
            };
            let did = match self.turn(&state, now).await {
                Err(Halt::Away) => self.journal_is_away().await,
                other => other,
            };
            if let Err(Halt::Lost) = did {
                return;
            }
        }
    }

    /// Gives both sides a moment to show whether the journal is older than what was done there, unless an operation's
    /// window is open, in which every moment counts and each effect is refused by the gate's row in any case.
    async fn look_first(&mut self) {
        let clock = &self.home.clock;
        let began = clock.monotonic();
        while !self.shared.is_looked_at() && clock.monotonic().saturating_duration_since(began) < FIRST_LOOK {
            let Ok(state) = self.home.store.state().await else { return };
            let in_a_window = running(&state, &self.home.name).is_some_and(|(_, run)| run.stopped.is_some());
            if in_a_window {
                return;
            }
            clock.sleep(OBSERVE_AGAIN).await;
        }
    }

    /// Does the one thing that is due.
    async fn turn(&mut self, state: &State, now: Timestamp) -> Result<(), Halt> {
        if self.shared.is_behind().is_some() {
            if self.streams.as_ref().is_none_or(|streams| !streams.is_empty()) {
                self.home.hands.set_streams(self.lease.epoch, Vec::new(), LOOK_AGAIN);
                self.streams = Some(Vec::new());
            }
            self.shared.doing(None);
            self.wake(LOOK_AGAIN).await;
            return Ok(());
        }
        self.prove(state).await?;
        if self.tell_timelines(state).await? {
            return Ok(());
        }
        self.follow(state);
        let Some(next) = self.in_view_of_proof(due(state, &self.home.name, now), state) else {
            let wait = self.away.wait();
            self.wake(wait).await;
            return Ok(());
        };
        self.away.reset();
        match self.perform(&next, state, now).await {
            Ok(()) => self.refused = None,
            Err(Halt::Refused(refusal)) => return self.refused(next, state, &refusal).await,
            Err(halt) => return Err(halt),
        }
        Ok(())
    }

    async fn look(&mut self) -> Result<(Arc<State>, Timestamp), StoreError> {
        let asked = self.home.clock.monotonic();
        let looking = async { Ok((self.home.store.state().await?, self.home.store.now().await?)) };
        let (state, now) = self.memory.reach::<_, StoreError>(asked, looking).await?;
        self.remember(&state, now, asked);
        Ok((state, now))
    }

    /// Brings what follows the journal by itself to where the journal is: streams and expected identities.
    fn follow(&mut self, state: &State) {
        if !state.phases.contains_key(&self.home.name) {
            return;
        }
        self.home.expect_identities(state);
        let rest = self.must_rest(state);
        let specs: Vec<StreamSpec> = desired_streams(state)
            .into_values()
            .filter(|spec| spec.name.phase == self.home.name && !rest)
            .collect();
        if self.streams.as_ref() != Some(&specs) {
            let plan = state.plan.as_ref().and_then(|(plan, _)| plan.phase(&self.home.name));
            let lag_limit = plan.map_or(LOOK_AGAIN, |plan| plan.lag_limit);
            self.home.hands.set_streams(self.lease.epoch, specs.clone(), lag_limit);
            self.streams = Some(specs);
        }
    }

    async fn perform(&mut self, next: &Due, state: &State, now: Timestamp) -> Result<(), Halt> {
        let phase = self.home.name.clone();
        match next {
            Due::Idle | Due::Paused | Due::Blocked(_) => {
                self.shared.doing(None);
                self.wake(LOOK_AGAIN).await;
                Ok(())
            }
            Due::AwaitWitness => {
                self.shared
                    .doing(Some("a log checkpoint over the approvals has to leave the journal".to_owned()));
                self.wake(LOOK_AGAIN).await;
                Ok(())
            }
            Due::VoidStale => self.append(CommandBody::VoidStale { phase }).await,
            Due::Begin(_) if self.is_outdated(state) => {
                self.shared.doing(Some("the plan was revised: restart this executor with it".to_owned()));
                self.wake(LOOK_AGAIN).await;
                Ok(())
            }
            Due::Begin(request) => self.append(CommandBody::Begin { phase, request: *request }).await,
            Due::BeginUndo(cause) => self.begin_undo(state, cause).await,
            Due::CallPerson(finding) => match running(state, &phase) {
                Some((_, run)) => self.block(run.step, finding.clone()).await,
                None => Ok(()),
            },
            Due::Plan(step) => self.plan(*step, state).await,
            Due::Effect(id) => self.effect(*id, state, now).await,
        }
    }

    /// Whether the journal's plan has another section for this phase than the one that the lever was made from.
    fn is_outdated(&self, state: &State) -> bool {
        let name = &self.home.name;
        state.plan.as_ref().is_some_and(|(plan, _)| plan.hash_for(name) != self.home.plan_hash)
    }

    /// A rule refused what was due. Once, the state may have moved in between; if the very same is due and refused
    /// again, it needs a person, or in the window an undo.
    async fn refused(&mut self, what: Due, state: &State, refusal: &Refusal) -> Result<(), Halt> {
        tracing::warn!(phase = %self.home.name, %refusal, due = ?what, "refused");
        let again = self.refused.as_ref() == Some(&what);
        if let (true, Due::Plan(step)) = (again, &what) {
            let finding = Finding {
                code: "SW-0293".to_owned(),
                what: format!("the step {step} of phase {} cannot go on: {refusal}", self.home.name),
                remedy: "Remove the cause, then say `retry`; or say `abort`.".to_owned(),
            };
            match self.block(*step, finding).await {
                Err(Halt::Refused(refusal)) => {
                    tracing::warn!(phase = %self.home.name, %refusal, head = %state.head, "cannot block");
                }
                other => return other,
            }
        }
        let wait = if again { LOOK_AGAIN } else { OBSERVE_AGAIN };
        self.refused = Some(what);
        self.home.clock.sleep(wait).await;
        Ok(())
    }

    // ---- steps ----

    async fn plan(&mut self, step: Step, state: &State) -> Result<(), Halt> {
        let Some((_, run)) = running(state, &self.home.name) else { return Ok(()) };
        let phase = self.home.name.clone();
        self.shared.doing(Some(step.to_string()));
        let next = match self.next(step, state, run).await {
            Ok(Ok(next)) => next,
            Ok(Err(finding)) => return self.block(step, finding).await,
            Err(cause) => {
                self.shared.doing(Some(format!("{step}: {cause}")));
                let wait = self.away.wait();
                self.wake(wait).await;
                return Ok(());
            }
        };
        let Some(spec) = next else { return self.append(CommandBody::FinishStep { phase, step }).await };
        let undo = match &spec.effect {
            Effect::HoldTraffic { .. } => match self.home.engine.undo(&phase, state) {
                Ok(undo) => undo,
                Err(finding) => return self.block(step, finding).await,
            },
            _ => Vec::new(),
        };
        let opens = matches!(spec.effect, Effect::OpenGate { .. }) && step != Step::Undo;
        if opens && !self.meets(state).await {
            return Ok(());
        }
        hit(run, &spec, "before_intent");
        self.append(CommandBody::Intend { phase, step, effect: spec.effect.clone(), undo }).await?;
        hit(run, &spec, "after_intent");
        Ok(())
    }

    /// The step's next effect: none if all are done, a finding if none can be planned.
    ///
    /// A step of many effects may take hours, and meanwhile people may change what the source has. So all that it plans from
    /// is looked at first and, before it ends, once more; but not before each effect, of which there are as many as tables.
    async fn next(&mut self, step: Step, state: &State, run: &OperationRun) -> Result<Next, Cause> {
        let known = self.seen.take().filter(|(of, at, _)| (*of, *at) == (run.position, step));
        if let Some((of, at, seen)) = known {
            let next = self.planned(step, state, (run, &seen));
            if self.stands(step, &next).await? {
                self.seen = Some((of, at, seen));
                return Ok(next);
            }
        }
        let seen = self.observe(step, state, run).await?;
        let next = self.planned(step, state, (run, &seen));
        self.seen = Some((run.position, step, seen));
        Ok(next)
    }

    /// Whether a plan by what was seen before may be followed. What `finalize_schema` makes, its own table still has to have.
    async fn stands(&mut self, step: Step, next: &Next) -> Result<bool, Cause> {
        let Ok(Some(spec)) = next else { return Ok(false) };
        if let Effect::AddSchemaObject { object } = &spec.effect {
            let now = self.home.hands.observe(step, std::slice::from_ref(&object.table)).await?;
            return Ok(now.objects.contains(object));
        }
        Ok(step == Step::PrepareSwitch)
    }

    /// The first of the step's effects, by what was seen, that has not succeeded.
    fn planned(&self, step: Step, state: &State, (run, seen): (&OperationRun, &Observed)) -> Next {
        let phase = &self.home.name;
        let effects = self.home.engine.plan(phase, step, state, seen)?;
        Ok(effects
            .into_iter()
            .map(|effect| EffectSpec::new(run.plan_hash, phase, run.position, step, effect))
            .find(|spec| {
                let status = run.effect(spec.id).map(|record| &record.status);
                !matches!(status, Some(EffectStatus::Succeeded(_)))
            }))
    }

    async fn observe(&mut self, step: Step, state: &State, run: &OperationRun) -> Result<Observed, Cause> {
        let Some(plan) = run.plan.phase(&self.home.name) else { return Ok(Observed::default()) };
        let known_tables = state.phases.get(&self.home.name).map(|phase| phase.tables.as_slice());
        let tables = known_tables.filter(|tables| !tables.is_empty()).unwrap_or(&plan.tables);
        // What was intended is planned again as it was intended, so it need not be seen again.
        let known = run.effects.iter().any(|record| matches!(record.effect, Effect::CreateTables { .. }));
        match step {
            Step::PrepareTarget if !known => self.home.hands.observe(step, tables).await,
            Step::FinalizeSchema => self.home.hands.observe(step, tables).await,
            Step::Preflight | Step::PrepareSwitch => {
                let hands = &self.home.hands;
                let mut seen = Observed::default();
                if !plan.patterns.is_empty() {
                    seen.matching = hands.matching(&plan.patterns).await?;
                }
                if step == Step::Preflight {
                    seen.sequences = hands.sequences().await?;
                }
                Ok(seen)
            }
            _ => Ok(Observed::default()),
        }
    }

    // ---- effects ----

    async fn effect(&mut self, id: EffectId, state: &State, now: Timestamp) -> Result<(), Halt> {
        let Some((_, run)) = running(state, &self.home.name) else { return Ok(()) };
        let Some(record) = run.effect(id) else { return Ok(()) };
        let spec = EffectSpec {
            id,
            phase: self.home.name.clone(),
            step: record.step,
            effect: record.effect.clone(),
        };
        // While it is tried again, what was in the way stays to be read.
        if self.pace.as_ref().is_none_or(|pace| pace.id != id) {
            self.shared.doing(Some(format!("{}: {}", spec.step, spec.effect.label())));
        }
        let under = Authority { epoch: self.lease.epoch, position: record.intent };
        let (wait, mut pace) = match self.pace.take() {
            Some(mut pace) if pace.id == id => (pace.backoff.wait(), pace),
            _ => {
                let backoff = Backoff::new(Duration::from_millis(50), LOOK_AGAIN);
                (Duration::ZERO, Pace { id, backoff, since: self.home.clock.monotonic() })
            }
        };
        let deadline = self.deadline(run, now);
        let opens = matches!(spec.effect, Effect::OpenGate { .. }) && spec.step != Step::Undo;
        let opening = if opens && self.is_undone() { Some(Duration::ZERO) } else { opening(run, &spec, now) };
        let (home, lease, shared) = (self.home, self.lease, self.shared);
        let taking = async {
            if !wait.is_zero() {
                home.clock.sleep(wait).await;
            }
            let receiver = home.hands.receiver(spec.effect.party());
            if let Effect::OpenGate { .. } = &spec.effect {
                // What is open already is adopted whatever the other side is like: it may be dead by now.
                match (settle(receiver, &spec, under).await, opening) {
                    (there @ Turn::Succeeded { .. }, _) => return Ok(there),
                    (told, Some(left)) if left.is_zero() => return Ok(told),
                    (_, _) => {}
                }
                if let Err(cause) = may_open(home, lease, shared, (&spec, run.operation)).await? {
                    return Ok(Turn::Unreachable(cause));
                }
            }
            let Some(left) = opening else { return Ok(turn(receiver, &spec, under).await) };
            // An opening is not dropped for anything else, so an answer that does not come must not be waited for beyond
            // the downtime: then the side is asked whether it is open.
            Ok(tokio::time::timeout(left, turn(receiver, &spec, under)).await.unwrap_or_else(|_| {
                Turn::Unknown(EffectError("no answer before the downtime was over".to_owned()))
            }))
        };
        let came_to = tokio::select! {
            biased;
            () = self.something_else(id, deadline) => {
                tracing::info!(phase = %spec.phase, effect = %spec.effect.label(), "dropped: something else is due");
                return Ok(());
            }
            came_to = Box::pin(taking) => came_to?,
        };
        match came_to {
            Turn::Succeeded { adopted, evidence } => {
                hit(run, &spec, "after_effect");
                self.conclude(id, EffectOutcome::Succeeded { adopted, evidence }).await?;
                hit(run, &spec, "after_outcome");
            }
            Turn::Failed(finding) => {
                tracing::warn!(phase = %spec.phase, effect = %spec.effect.label(), %finding, "effect failed");
                if spec.step == Step::Undo || run.opened {
                    // While it is not through nobody can write, so it goes on trying, and people read why.
                    let finding = self.stuck(&spec, &finding.what).unwrap_or(finding);
                    if run.blocked.as_ref().is_none_or(|known| known.code != finding.code) {
                        self.block(spec.step, finding).await?;
                    }
                    self.pace = Some(pace);
                    return Ok(());
                }
                hit(run, &spec, "after_effect");
                self.memory.hasten(self.home.clock.monotonic());
                self.conclude(id, EffectOutcome::Failed { finding }).await?;
                hit(run, &spec, "after_outcome");
            }
            Turn::Unknown(error) => {
                tracing::warn!(phase = %spec.phase, effect = %spec.effect.label(), %error, "outcome unknown");
                self.shared.doing(Some(format!("{}: {}: {error}", spec.step, spec.effect.label())));
                let new = matches!(record.status, EffectStatus::Intended);
                self.say_stuck(run, &spec, (pace.since, &error.0)).await?;
                self.pace = Some(pace);
                if new {
                    self.conclude(id, EffectOutcome::Unknown { error: error.0 }).await?;
                }
            }
            Turn::Unreachable(cause) => {
                tracing::warn!(phase = %spec.phase, effect = %spec.effect.label(), %cause, "waiting");
                self.shared.doing(Some(format!("{}: {}: {cause}", spec.step, spec.effect.label())));
                if let Some(finding) = self.is_away(&spec, pace.since, &cause.0) {
                    return self.conclude(id, EffectOutcome::Failed { finding }).await;
                }
                self.say_stuck(run, &spec, (pace.since, &cause.0)).await?;
                self.pace = Some(pace);
            }
            Turn::Waiting => {
                pace.backoff = Backoff::new(OBSERVE_AGAIN, OBSERVE_AGAIN);
                self.pace = Some(pace);
            }
        }
        Ok(())
    }

    /// When the undo begins by itself, if it may still.
    fn deadline(&self, run: &OperationRun, now: Timestamp) -> Option<Instant> {
        let (_, undo) = run.stopped.as_ref()?;
        let may = run.opening.is_none() && run.undo.is_none();
        may.then(|| self.home.clock.monotonic() + undo.at.since(now) + Duration::from_millis(1))
    }

    /// Completes when something else than this effect is due: an abort, a revocation, the deadline. While the journal
    /// is away the deadline is known from before.
    async fn something_else(&mut self, id: EffectId, mut deadline: Option<Instant>) {
        loop {
            let left = deadline.map(|at| at.saturating_duration_since(self.home.clock.monotonic()));
            self.wake(left.map_or(LOOK_AGAIN, |left| left.min(LOOK_AGAIN))).await;
            match self.look().await {
                Ok((state, now)) => {
                    if due(&state, &self.home.name, now) != Due::Effect(id) {
                        return;
                    }
                    // What is not told yet would not be due yet. An opening is not dropped for it.
                    let opens =
                        running(&state, &self.home.name).is_some_and(|(_, run)| run.opening.is_some());
                    if !opens && self.moved(&state).is_some() {
                        return;
                    }
                    deadline = running(&state, &self.home.name).and_then(|(_, run)| self.deadline(run, now));
                }
                Err(_) if deadline.is_some_and(|at| self.home.clock.monotonic() >= at) => return,
                Err(_) => self.home.clock.sleep(OBSERVE_AGAIN).await,
            }
        }
    }

    // ---- the journal ----

    /// Waits for a new event, at most this long.
    pub(super) async fn wake(&mut self, most: Duration) {
        let tail = match &mut self.tail {
            Some(tail) => tail,
            none => {
                let Ok(state) = self.home.store.state().await else {
                    return self.home.clock.sleep(most.min(LOOK_AGAIN)).await;
                };
                none.insert(self.home.store.tail(state.head))
            }
        };
        let event = tokio::select! {
            event = tail.next() => event,
            () = self.home.clock.sleep(most) => return,
        };
        if !matches!(event, Some(Ok(_))) {
            // A tail that failed is begun anew, from where the journal is then.
            self.tail = None;
            self.home.clock.sleep(most.min(Duration::from_millis(100))).await;
        }
    }

    async fn conclude(&mut self, effect: EffectId, outcome: EffectOutcome) -> Result<(), Halt> {
        let phase = self.home.name.clone();
        match self.append(CommandBody::Conclude { phase, effect, outcome }).await {
            // Somebody's undo began in between, or it is concluded: the journal has the last word.
            Err(Halt::Refused(refusal)) => {
                tracing::info!(phase = %self.home.name, %refusal, "outcome not needed");
                Ok(())
            }
            other => other,
        }
    }

    pub(super) async fn block(&mut self, step: Step, finding: Finding) -> Result<(), Halt> {
        self.append(CommandBody::Block { phase: self.home.name.clone(), step, finding }).await
    }

    /// Appends under the lease. A journal that is away is tried again, under the same command id, for as long as the
    /// lease lasts.
    pub(super) async fn append(&mut self, body: CommandBody) -> Result<(), Halt> {
        let home = self.home;
        let Ok(id) = command_id(&home.holder, self.lease) else { return Err(Halt::Lost) };
        let actor = Actor::Executor(home.holder.clone());
        let mut backoff = Backoff::new(Duration::from_millis(20), Duration::from_millis(500));
        self.asks_for_opening(&body);
        loop {
            let command = Command::new(actor.clone(), body.clone());
            let asked = home.store.execute(id.clone(), Some(self.lease.claim()), command);
            match self.memory.reach(home.clock.monotonic(), asked).await {
                Ok(_) => return Ok(()),
                Err(ExecuteError::Refused(refusal)) => return Err(Halt::Refused(refusal)),
                Err(ExecuteError::LeaseLost { .. } | ExecuteError::IdReused(_)) => return Err(Halt::Lost),
                Err(ExecuteError::Store(error)) => {
                    tracing::warn!(phase = %home.name, %error, "not appended yet");
                    let left = self.memory.left(home.clock.monotonic());
                    if left.is_some_and(|left| left.is_zero()) {
                        return Err(Halt::Away);
                    }
                    home.clock.sleep(backoff.wait().min(left.unwrap_or(LOOK_AGAIN))).await;
                }
            }
        }
    }
}

/// Before an effect that opens a side, both sides must know this epoch: a late effect of an older executor would find the
/// other side's row without it. An undo reopens a side that the journal never left, so it asks that side alone, and a
/// dead target does not keep the source closed; so does the operation that gives it up. `Ok(Err(cause))`: not yet.
async fn may_open(
    home: &PhaseLoop,
    lease: &Lease,
    shared: &Shared,
    (spec, operation): (&EffectSpec, Operation),
) -> Result<Result<(), Cause>, Halt> {
    let Effect::OpenGate { side } = &spec.effect else { return Ok(Ok(())) };
    let alone = spec.step == Step::Undo || operation == Operation::FailbackTargetLost;
    let sides: &[Side] = if alone { std::slice::from_ref(side) } else { &Side::ALL };
    for side in sides {
        match home.raise(*side, lease, shared).await {
            Ok(true) => {}
            Ok(false) => return Err(Halt::Lost),
            Err(cause) => return Ok(Err(cause)),
        }
    }
    Ok(Ok(()))
}

/// How long an opening may still be tried: nothing once the downtime is over. None: the effect is no opening, or a person
/// said to go on without a limit.
fn opening(run: &OperationRun, spec: &EffectSpec, now: Timestamp) -> Option<Duration> {
    // Beside a lost target there is nothing to return to, so the source is opened however long it takes.
    let is_limited = !run.overtime && run.operation != Operation::FailbackTargetLost;
    let opens = matches!(spec.effect, Effect::OpenGate { .. }) && spec.step != Step::Undo && is_limited;
    let (_, undo) = run.stopped.as_ref().filter(|_| opens)?;
    Some(undo.at.since(now))
}

pub(super) fn running<'s>(state: &'s State, phase: &PhaseName) -> Option<(&'s PhaseState, &'s OperationRun)> {
    let phase = state.phases.get(phase)?;
    Some((phase, phase.operation.as_ref()?))
}

/// A place where a test may kill this process.
fn hit(run: &OperationRun, spec: &EffectSpec, moment: &str) {
    if failpoint::is_armed() {
        let operation = key(run.operation);
        failpoint::hit(&format!("{operation}/{}/{}/{moment}", spec.step, spec.effect.label()));
    }
}
