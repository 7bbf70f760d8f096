//! What the model is a state of: the journal's real state, two gates, what is under way to them, two executors.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use journal::*;

use crate::support::{Journal, PLAN, phase};

/// A guard of the real system, taken away in one run of the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guard {
    /// Nothing is taken away.
    None,
    /// A gate refuses what comes under an older epoch.
    ReceiverEpoch,
    /// A gate refuses what was intended before what it last took.
    ReceiverPosition,
    /// Only the newest lease appends.
    Claim,
    /// The intent stands in the journal before anything is sent.
    IntentFirst,
    /// A request begins, and opens, by a quorum.
    Quorum,
    /// Approvals are for one plan.
    Binding,
    /// Approvals are used once.
    UsedOnce,
    /// A side opens when the other is fenced, drained and verified.
    Proofs,
    /// An undo closes the side whose opening failed before it opens the other.
    CloseFirst,
    /// From the opening's intent on nothing is undone.
    NoReturn,
}

impl Guard {
    /// The refusals that are overheard while the guard is away.
    pub fn overhears(self, refusal: &Refusal, body: &CommandBody) -> bool {
        let code = refusal.code();
        let is_undo = matches!(body, CommandBody::Intend { step: Step::Undo, .. });
        match self {
            Self::Quorum => code == "SW-0123",
            Self::Binding => ["SW-0104", "SW-0117", "SW-0124"].contains(&code.as_str()),
            Self::UsedOnce => code == "SW-0117",
            Self::Proofs => ["SW-0134", "SW-0138", "SW-0139"].contains(&code.as_str()) && !is_undo,
            Self::CloseFirst => code == "SW-0139" && is_undo,
            Self::NoReturn => code == "SW-0127",
            Self::None | Self::ReceiverEpoch | Self::ReceiverPosition | Self::Claim | Self::IntentFirst => {
                false
            }
        }
    }

    /// Whether the executor also overlooks that the approvals no longer stand.
    pub fn overlooks_lapses(self) -> bool {
        matches!(self, Self::Quorum | Self::Binding | Self::UsedOnce)
    }
}

/// A gate row: what the database admits, whatever anybody believes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gate {
    pub open: bool,
    pub epoch: u64,
    pub position: u64,
    /// The highest epoch that it has ever seen: what the guard is measured by, also when it is away.
    pub seen: u64,
}

/// A statement under way to a gate: it arrives now, much later, or never.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Message {
    pub side: Side,
    pub open: bool,
    pub epoch: u64,
    pub position: u64,
}

/// How often what disturbs may still happen.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Left {
    pub takes: u8,
    pub absents: u8,
    pub deadlines: u8,
    pub revokes: u8,
    pub plans: u8,
    pub asks: u8,
}

/// The journal: its state, never its sequence. What the properties need of the past is kept as sets.
#[derive(Debug, Clone)]
pub struct Log {
    pub state: State,
    pub now: Timestamp,
    /// The positions of the intents of gate effects.
    pub intents: BTreeSet<u64>,
    /// The requests whose approvals an opening has consumed.
    pub consumed: BTreeSet<Position>,
    /// The invariants that were seen broken.
    pub broken: BTreeSet<&'static str>,
}

#[derive(Clone)]
pub struct World {
    pub log: Arc<Log>,
    pub gates: [Gate; 2],
    pub network: BTreeSet<Message>,
    /// The lease that each executor believes in.
    pub epochs: [u64; 2],
    pub left: Left,
}

pub fn index(side: Side) -> usize {
    match side {
        Side::Source => 0,
        Side::Target => 1,
    }
}

/// The gate that an effect sets, and how.
pub fn gate_of(effect: &Effect) -> Option<(Side, bool)> {
    match effect {
        Effect::OpenGate { side } => Some((*side, true)),
        Effect::CloseGate { side } => Some((*side, false)),
        _ => None,
    }
}

/// Three persons who may approve.
pub fn plan_text(downtime: u8) -> String {
    PLAN.replace("id = \"cy\"\nroles = [\"operator\"]", "id = \"cy\"\nroles = [\"operator\", \"approver\"]")
        .replace("\"60s\"", &format!("\"{downtime}s\""))
}

impl World {
    /// A phase that replicates, brought there by real events.
    pub fn replicating(left: Left) -> Self {
        let mut journal = Journal::under(&plan_text(60));
        journal.live(Operation::Start);
        let gate = |open| Gate { open, epoch: 0, position: 0, seen: 0 };
        let log = Log {
            state: journal.state,
            now: journal.now,
            intents: BTreeSet::new(),
            consumed: BTreeSet::new(),
            broken: BTreeSet::new(),
        };
        Self {
            log: Arc::new(log),
            gates: [gate(true), gate(false)],
            network: BTreeSet::new(),
            epochs: [0, 0],
            left,
        }
    }

    pub fn run(&self) -> Option<&OperationRun> {
        self.log.state.operation(&phase())
    }

    pub fn phase(&self) -> &PhaseState {
        &self.log.state.phases[&phase()]
    }

    pub fn newest_epoch(&self) -> u64 {
        self.phase().epoch.get()
    }

    /// The operations that were completed since the beginning, `start` included.
    pub fn completed(&self) -> usize {
        let done = |request: &&Request| request.status == RequestStatus::Finished(Outcome::Completed);
        self.log.state.requests.values().filter(done).count()
    }

    /// What a person or executor asks, decided by the real rules; none if it is refused or changes nothing.
    pub fn append(&self, guard: Guard, actor: Actor, body: CommandBody, epoch: Option<u64>) -> Option<Self> {
        let state = &self.log.state;
        let command = Command::new(actor, body);
        let mut facts = match decide(state, self.log.now, &command) {
            Ok(facts) => facts,
            Err(refusal) if guard.overhears(&refusal, &command.body) => overheard(state, &command.body)?,
            Err(_) => return None,
        };
        if guard == Guard::Binding {
            facts.retain(|fact| !matches!(fact, Fact::RequestVoided { .. }));
        }
        if facts.is_empty() {
            return None;
        }
        let mut log = Log::clone(&self.log);
        for fact in facts {
            if epoch.is_some_and(|epoch| epoch != self.newest_epoch()) {
                log.broken.insert("an old lease appends nothing");
            }
            log.note(&fact);
            let request = fact.request().and_then(|request| log.state.requests.get(&request));
            let about = request.map(|request| request.phase.clone());
            let position = log.state.head.next();
            let envelope = Envelope {
                position,
                migration: MigrationName::new("shop").unwrap(),
                phase: about.or_else(|| command.body.phase().cloned()),
                event_id: EventId::new(position.to_string()).unwrap(),
                schema_version: "1".to_owned(),
                actor: command.actor.clone(),
                recorded_at: log.now,
                command_id: CommandId::new("c").unwrap(),
                epoch: epoch.map(Epoch::new),
                origin: command.origin.clone(),
            };
            evolve(&mut log.state, &Recorded { envelope, body: fact });
        }
        Some(Self { log: Arc::new(log), ..self.clone() })
    }

    /// A statement reaches its gate, which takes it or refuses it.
    pub fn deliver(&self, guard: Guard, message: &Message) -> Self {
        let mut world = self.clone();
        world.network.remove(message);
        let gate = &mut world.gates[index(message.side)];
        if message.position == gate.position {
            return world;
        }
        let is_new = message.epoch >= gate.epoch || guard == Guard::ReceiverEpoch;
        let is_later = message.position > gate.position || guard == Guard::ReceiverPosition;
        if !is_new || !is_later {
            return world;
        }
        let mut log = Log::clone(&self.log);
        if message.epoch < gate.seen {
            log.broken.insert("what a gate took carries the highest epoch it has seen");
        }
        if !log.intents.contains(&message.position) {
            log.broken.insert("no effect without its intent");
        }
        gate.open = message.open;
        gate.position = message.position;
        gate.raise(message.epoch);
        world.log = Arc::new(log);
        world
    }
}

impl World {
    /// Forgets what its gate refuses now and so for ever, since neither its epoch nor its position ever falls.
    pub fn forget_refused(mut self, guard: Guard) -> Self {
        if guard == Guard::None {
            let gates = &self.gates;
            self.network.retain(|message| {
                let gate = &gates[index(message.side)];
                message.epoch >= gate.epoch && message.position > gate.position
            });
        }
        self
    }
}

impl Gate {
    pub fn raise(&mut self, epoch: u64) {
        self.epoch = self.epoch.max(epoch);
        self.seen = self.seen.max(epoch);
    }
}

impl Log {
    /// Looks at a fact beside the rules, before it is replayed.
    fn note(&mut self, fact: &Fact) {
        if let Fact::OperationStarted { request, .. } = fact
            && self.state.requests.get(request).is_none_or(|asked| self.now >= asked.expires_at)
        {
            self.broken.insert("nothing that has expired begins");
        }
        let Some(run) = self.state.operation(&phase()) else { return };
        match fact {
            Fact::EffectIntended { step, spec, .. } => {
                if gate_of(spec).is_some() {
                    self.intents.insert(self.state.head.next().get());
                }
                let opens = matches!(spec, Effect::OpenGate { side } if run.operation.opens() == Some(*side));
                if opens && *step != Step::Undo {
                    if !is_proven(run) {
                        self.broken.insert("a side opens when the other is fenced, drained and verified");
                    }
                    // One that was proven absent may be tried again in the same operation.
                    let is_again = self.consumed.contains(&run.request) && !run.opening_failed;
                    if is_again || !is_approved(&self.state, run.request) {
                        self.broken.insert("a side opens by two persons' approvals of this plan, used once");
                    }
                    self.consumed.insert(run.request);
                }
            }
            Fact::UndoStarted { .. } if run.opening.is_some() => {
                self.broken.insert("nothing is undone from the opening on");
            }
            _ => {}
        }
    }
}

fn is_proven(run: &OperationRun) -> bool {
    let done = |pick: &dyn Fn(&Effect) -> bool| {
        run.effects
            .iter()
            .any(|record| matches!(record.status, EffectStatus::Succeeded(_)) && pick(&record.effect))
    };
    let from = run.operation.opens().map(Side::other);
    done(&|effect| matches!(effect, Effect::CloseGate { side } if Some(*side) == from))
        && done(&|effect| matches!(effect, Effect::AwaitWriters { .. }))
        && done(&|effect| matches!(effect, Effect::AwaitMarker { .. }))
        && done(&|effect| matches!(effect, Effect::VerifyChanged { .. }))
}

/// The rule said again, in other words than the rules have.
fn is_approved(state: &State, request: Position) -> bool {
    let (Some(asked), Some((plan, _))) = (state.requests.get(&request), &state.plan) else { return false };
    let counts = |(person, approval): (&PersonId, &Approval)| {
        let known = plan.people.get(person).is_some_and(|known| known.roles.contains(&Role::Approver));
        known && approval.word == ApprovalWord::Approved
    };
    let persons = asked.words.iter().filter(|word| counts(*word)).count();
    persons >= 2 && state.binding(&asked.phase) == Some(asked.plan_hash)
}

/// What would be appended if nobody asked: the facts of a command whose refusal is overheard.
fn overheard(state: &State, body: &CommandBody) -> Option<Vec<Fact>> {
    match body {
        CommandBody::Begin { phase, request } => {
            let asked = state.requests.get(request)?;
            let idle = state.phases.get(phase)?.operation.is_none();
            let may = transitions().iter().any(|row| {
                row.operation == asked.operation
                    && state.phases.get(phase).is_some_and(|phase| phase.status == row.from)
            });
            (idle && may).then(|| {
                vec![Fact::OperationStarted {
                    request: *request,
                    operation: asked.operation,
                    plan_hash: state.plan.as_ref().map(|(_, hash)| *hash).unwrap(),
                    reserved: asked.words.keys().cloned().collect(),
                    generation: state.phases[phase].generation,
                    broken_glass: None,
                }]
            })
        }
        CommandBody::Intend { phase, step, effect, undo } => {
            let run = state.operation(phase)?;
            let spec = EffectSpec::new(run.plan_hash, phase, run.position, *step, effect.clone());
            let is_open = |record: &EffectRecord| {
                matches!(record.status, EffectStatus::Intended | EffectStatus::Unknown(_))
                    || record.id == spec.id
            };
            if run.effects.iter().any(is_open) {
                return None;
            }
            let stops = matches!(effect, Effect::HoldTraffic { .. });
            let at = journal::Timestamp::from_millis(i64::MAX);
            Some(vec![Fact::EffectIntended {
                operation: run.position,
                step: *step,
                effect: spec.id,
                spec: effect.clone(),
                undo: stops.then(|| UndoPlan { at, effects: undo.clone() }),
                consumes: vec![],
            }])
        }
        CommandBody::BeginUndo { phase, cause, answered } => {
            let run = state.operation(phase).filter(|run| run.undo.is_none())?;
            let (operation, cause, answered) = (run.position, cause.clone(), answered.clone());
            Some(vec![Fact::UndoStarted { operation, cause, answered }])
        }
        CommandBody::AdoptPlan { text, .. } => {
            let plan = Plan::parse(text).unwrap();
            Some(vec![Fact::PlanAdopted { text: text.clone(), plan_hash: plan.hash(), authors: Vec::new() }])
        }
        _ => None,
    }
}

impl World {
    /// What two states are compared by. Positions count by their order alone, since nothing looks at more of them.
    fn digest(&self) -> String {
        let mut positions: BTreeSet<u64> = self.gates.iter().map(|gate| gate.position).collect();
        positions.extend(self.network.iter().map(|message| message.position));
        let run = self.run();
        let gate_effects = run.into_iter().flat_map(|run| &run.effects);
        let of_gates = gate_effects.filter(|record| gate_of(&record.effect).is_some());
        positions.extend(of_gates.map(|record| record.intent.get()));
        let rank = |position: u64| positions.iter().position(|each| *each == position).unwrap_or(usize::MAX);
        let message = |message: &Message| (message.side, message.open, message.epoch, rank(message.position));
        let mut text = String::new();
        for gate in &self.gates {
            let _ = write!(text, "{} {} {} {};", gate.open, gate.epoch, gate.seen, rank(gate.position));
        }
        for each in &self.network {
            let is_known = self.log.intents.contains(&each.position);
            let _ = write!(text, "{:?}{is_known};", message(each));
        }
        let _ = write!(text, "{:?};", self.epochs);
        let phase = self.phase();
        let _ = write!(text, "{:?} {:?} {} {:?};", self.left, self.log.broken, phase.epoch, phase.status);
        if let Some(run) = run {
            let overdue = run.stopped.as_ref().map(|(_, undo)| self.log.now >= undo.at);
            let _ = write!(
                text,
                "{:?} {:?} {overdue:?} {} {} {} {} {:?} {:?} {:?} {};",
                run.operation,
                run.step,
                run.opening.is_some(),
                run.opening_failed,
                run.opened,
                run.blocked.is_some(),
                run.undo.as_ref().map(|undo| &undo.cause),
                run.undo_asked,
                run.reserved,
                run.overtime
            );
            for record in &run.effects {
                let status = match record.status {
                    EffectStatus::Intended => 'i',
                    EffectStatus::Unknown(_) => 'u',
                    EffectStatus::Succeeded(_) => 's',
                    EffectStatus::Failed(_) => 'f',
                };
                let at = gate_of(&record.effect).map(|_| rank(record.intent.get()));
                let _ = write!(text, "{}{status}{at:?},", record.effect.label());
            }
        }
        for request in self.log.state.requests.values() {
            let words: Vec<_> = request.words.iter().map(|(who, word)| (who, word.word)).collect();
            let is_current = self.log.state.binding(&request.phase) == Some(request.plan_hash);
            let expired = self.log.now >= request.expires_at;
            match &request.status {
                RequestStatus::Finished(outcome) => {
                    let _ = write!(text, "{:?}{outcome:?}{};", request.operation, is_current);
                }
                status => {
                    let _ = write!(text, "{:?}{status:?}{words:?}{is_current}{expired};", request.operation);
                }
            }
        }
        text
    }
}

impl Hash for World {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.digest().hash(hasher);
    }
}

impl PartialEq for World {
    fn eq(&self, other: &Self) -> bool {
        self.digest() == other.digest()
    }
}

impl Eq for World {}

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.digest())
    }
}
