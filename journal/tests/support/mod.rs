//! A journal in memory, and an executor that does what is due with effects that always, or never, work.

use journal::*;

pub const PLAN: &str = r#"
[migration]
name = "shop"
source = "env:SRC"
target = "env:DST"
[journal]
url = "sqlite:x.db"
[[person]]
id = "ana"
roles = ["operator", "approver"]
[[person]]
id = "ben"
roles = ["approver"]
[[person]]
id = "cy"
roles = ["operator"]
[[phase]]
name = "a"
tables = ["shop.orders"]
max_downtime = "60s"
undo_reserve = "10s"
[phase.lever]
kind = "command"
stop = ["x"]
observe = ["x"]
route = ["x"]
resume = ["x"]
"#;

#[derive(Debug, Clone, Default)]
pub struct Journal {
    pub events: Vec<Recorded>,
    pub state: State,
    pub now: Timestamp,
}

pub fn phase() -> PhaseName {
    PhaseName::new("a").unwrap()
}

pub fn person(id: &str) -> Actor {
    Actor::Person(PersonId::new(id).unwrap())
}

pub fn executor() -> Actor {
    Actor::Executor(Holder::new("host/main").unwrap())
}

pub fn table() -> TableName {
    "shop.orders".parse().unwrap()
}

pub fn stream(direction: Direction) -> StreamName {
    StreamName { phase: phase(), direction }
}

impl Journal {
    pub fn adopted() -> Self {
        Self::under(PLAN)
    }

    /// A journal that begins with this plan.
    pub fn under(plan: &str) -> Self {
        let mut journal = Self { now: Timestamp::from_millis(1_000_000), ..Self::default() };
        journal
            .give(Actor::Operator, CommandBody::AdoptPlan { text: plan.to_owned(), authors: Vec::new() })
            .unwrap();
        journal
    }

    pub fn give(&mut self, actor: Actor, body: CommandBody) -> Result<Vec<Recorded>, Refusal> {
        self.give_from(Command::new(actor, body))
    }

    /// What a command from anywhere comes to.
    pub fn give_from(&mut self, command: Command) -> Result<Vec<Recorded>, Refusal> {
        let facts = decide(&self.state, self.now, &command)?;
        let mut appended = Vec::new();
        let id = CommandId::new(format!("c{}", self.state.head.next())).unwrap();
        let epoch = match (&command.actor, command.body.phase()) {
            (Actor::Executor(_), Some(phase)) => Some(self.state.phases[phase].epoch),
            _ => None,
        };
        for fact in facts {
            let request = fact.request().and_then(|request| self.state.requests.get(&request));
            let request = request.map(|request| request.phase.clone());
            let position = self.state.head.next();
            let recorded = Recorded {
                envelope: Envelope {
                    position,
                    migration: MigrationName::new("shop").unwrap(),
                    phase: request.or_else(|| command.body.phase().cloned()),
                    event_id: EventId::new(format!("{position:032}")).unwrap(),
                    schema_version: SCHEMA_VERSION.to_string(),
                    actor: command.actor.clone(),
                    recorded_at: self.now,
                    command_id: id.clone(),
                    epoch: epoch.filter(|epoch| *epoch > Epoch::default()),
                    origin: command.origin.clone(),
                },
                body: fact,
            };
            // What is replayed is what was stored: every event of every test goes through its bytes.
            let recorded = Recorded::from_bytes(&recorded.to_bytes().unwrap()).unwrap();
            evolve(&mut self.state, &recorded);
            self.events.push(recorded.clone());
            appended.push(recorded);
        }
        Ok(appended)
    }

    pub fn ask(&mut self, who: &str, operation: Operation) -> Result<Position, Refusal> {
        self.ask_with(who, operation, RequestOptions::default())
    }

    pub fn ask_with(
        &mut self,
        who: &str,
        operation: Operation,
        options: RequestOptions,
    ) -> Result<Position, Refusal> {
        let body = CommandBody::Request { phase: phase(), operation, options };
        Ok(self.give(person(who), body)?.last().unwrap().envelope.position)
    }

    pub fn deny(&mut self, who: &str, request: Position) -> Result<(), Refusal> {
        let body = CommandBody::Deny { request, reason: "no".to_owned() };
        self.give(person(who), body).map(drop)
    }

    pub fn revoke(&mut self, who: &str, request: Position) -> Result<(), Refusal> {
        self.give(person(who), CommandBody::Revoke { request }).map(drop)
    }

    pub fn break_glass(&mut self, who: &str, request: Position) -> Result<(), Refusal> {
        let body = CommandBody::BreakGlass { request, reason: "the source is failing".to_owned() };
        self.give(person(who), body).map(drop)
    }

    pub fn wait(&mut self, seconds: u64) {
        self.now = self.now.plus(std::time::Duration::from_secs(seconds));
    }

    pub fn approve(&mut self, who: &str, request: Position) -> Result<(), Refusal> {
        self.give(person(who), CommandBody::Approve { request, reason: None }).map(drop)
    }

    /// An executor meets a side on this timeline.
    pub fn meet(&mut self, side: Side, timeline: u64) -> usize {
        let body = CommandBody::ReportTimeline { phase: phase(), side, timeline: Timeline::new(timeline) };
        self.give(executor(), body).unwrap().len()
    }

    /// The stream back is reported to be so.
    pub fn back(&mut self, health: StreamHealth, checkpoint: Option<&str>) {
        let seen = checkpoint.map(|checkpoint| {
            Evidence::from([
                ("checkpoint".to_owned(), checkpoint.to_owned()),
                ("newest_change_at".to_owned(), "1970-01-01T00:16:30.000Z".to_owned()),
            ])
        });
        let body = CommandBody::ReportStream {
            phase: phase(),
            direction: Direction::Failback,
            mode: StreamMode::Apply,
            health,
            seen: seen.unwrap_or_default(),
        };
        self.give(executor(), body).unwrap();
    }

    /// The target does not answer any more; the stream back had come to this place.
    pub fn target_dies(&mut self, checkpoint: &str) {
        self.back(StreamHealth::Broken { error: "connection refused".to_owned() }, Some(checkpoint));
    }

    /// Asks for the target to be given up, with the word that the refusal shows.
    pub fn give_up(&mut self, who: &str) -> Result<Position, Refusal> {
        let shown = self.ask(who, Operation::FailbackTargetLost);
        let Err(Refusal::LossUnconfirmed { loss, given: None }) = shown else { return shown };
        let options = RequestOptions { confirmed_loss: Some(loss.word), ..RequestOptions::default() };
        self.ask_with(who, Operation::FailbackTargetLost, options)
    }

    pub fn due(&self) -> Due {
        due(&self.state, &phase(), self.now)
    }

    pub fn phase(&self) -> &PhaseState {
        &self.state.phases[&phase()]
    }

    /// Does what is due, once. Every effect works, but those whose label the closure picks, which fail.
    pub fn tick(&mut self, fails: &dyn Fn(&Effect) -> bool) -> Result<bool, Refusal> {
        let phase = phase();
        let body = match self.due() {
            Due::Idle | Due::Blocked(_) | Due::Paused | Due::AwaitWitness => return Ok(false),
            Due::VoidStale => CommandBody::VoidStale { phase },
            Due::Begin(request) => CommandBody::Begin { phase, request },
            Due::BeginUndo(cause) => {
                let answers = must_answer(self.state.operation(&phase).unwrap(), &cause);
                let answered =
                    answers.map(|side| ("side".to_owned(), side.to_string())).into_iter().collect();
                CommandBody::BeginUndo { phase, cause, answered }
            }
            Due::CallPerson(finding) => {
                let step = self.state.operation(&phase).unwrap().step;
                CommandBody::Block { phase, step, finding }
            }
            Due::Effect(effect) => {
                let record = self.state.operation(&phase).unwrap().effect(effect).unwrap();
                let outcome = if fails(&record.effect) {
                    EffectOutcome::Failed {
                        finding: Finding {
                            code: "SW-0000".to_owned(),
                            what: "no".to_owned(),
                            remedy: "none".to_owned(),
                        },
                    }
                } else {
                    EffectOutcome::Succeeded { adopted: false, evidence: evidence(&record.effect) }
                };
                CommandBody::Conclude { phase, effect, outcome }
            }
            Due::Plan(step) => {
                let run = self.state.operation(&phase).unwrap();
                let mut effects = anew(self.phase(), run, step);
                effects.extend(plan(run.operation, step));
                let is_done = |effect: &&Effect| {
                    run.effects.iter().any(|record| {
                        record.effect == **effect
                            && record.step == step
                            && matches!(record.status, EffectStatus::Succeeded(_))
                    })
                };
                match effects.iter().find(|effect| !is_done(effect)) {
                    Some(effect) => {
                        let undo = plan(run.operation, Step::Undo);
                        CommandBody::Intend { phase, step, effect: effect.clone(), undo }
                    }
                    None => CommandBody::FinishStep { phase, step },
                }
            }
        };
        self.give(executor(), body).map(|_| true)
    }

    pub fn run(&mut self) -> Result<(), Refusal> {
        while self.tick(&|_| false)? {}
        Ok(())
    }

    /// Asks, has it approved by ana and ben, and runs it to its end.
    pub fn live(&mut self, operation: Operation) {
        let request = self.ask("ana", operation).unwrap();
        if operation.default_approvals() > 0 {
            self.approve("ana", request).unwrap();
            self.approve("ben", request).unwrap();
        }
        self.run().unwrap();
    }
}

fn evidence(effect: &Effect) -> Evidence {
    let said = |pairs: &[(&str, &str)]| {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    };
    match effect {
        Effect::CloseLost { .. } => return said(&[("reached", "no"), ("why", "dead")]),
        Effect::DrainAvailable { .. } => return said(&[("drained", "no"), ("why", "dead")]),
        Effect::DropStream { .. } => {
            return said(&[("checkpoint", "0/16B3748"), ("newest_change_at", "1970-01-01T00:16:30.000Z")]);
        }
        _ => {}
    }
    let met = matches!(effect, Effect::InstallHome { .. });
    met.then(|| ("timeline".to_owned(), "1".to_owned())).into_iter().collect()
}

/// What comes before any step where a side came back on another timeline.
fn anew(phase: &PhaseState, run: &OperationRun, step: Step) -> Vec<Effect> {
    if step == Step::Undo {
        return Vec::new();
    }
    let has_home = |side: &Side| {
        run.evidence(|record| matches!(&record.effect, Effect::InstallHome { side: at, .. } if at == side))
            .is_some()
    };
    let is_lost = run.operation == Operation::FailbackTargetLost || phase.quarantine.is_some();
    let leant_on = phase.timelines.iter().filter(|(side, _)| {
        (run.operation != Operation::Start || has_home(side)) && !(is_lost && **side == Side::Target)
    });
    let looks = leant_on.map(|(side, change)| Effect::ProbeAnew {
        side: *side,
        was: change.was,
        timeline: change.timeline,
        mode: phase.gates[side],
        gate: None,
        fenced: vec![],
        streams: vec![],
    });
    let mut effects: Vec<Effect> = looks.collect();
    if let Some(changed) = phase.timeline_changed.filter(|changed| *changed > run.position && !is_lost) {
        let again = Effect::VerifyTable {
            table: table(),
            stream: stream(Direction::Forward),
            moment: format!("anew-{changed}"),
        };
        let is_done = |record: &EffectRecord| {
            record.effect == again && matches!(record.status, EffectStatus::Succeeded(_))
        };
        if !run.effects.iter().any(is_done) {
            effects.push(again);
        }
    }
    effects
}

/// The steps of the operation that gives the target up.
fn lost(step: Step) -> Vec<Effect> {
    let (tables, side) = (vec![table()], Side::Source);
    let close =
        |moment: &str| Effect::CloseLost { side: Side::Target, patience_ms: 1, moment: moment.to_owned() };
    match step {
        Step::StopTraffic => vec![
            Effect::TrialWrite { side, tables, expect: Expectation::Refused, moment: "stop".to_owned() },
            Effect::HoldTraffic { at: Side::Target },
        ],
        Step::DrainAvailable => vec![
            close("drain"),
            Effect::DrainAvailable { stream: stream(Direction::Failback), tables, patience_ms: 1 },
        ],
        Step::DeclareLoss => vec![Effect::DropStream { stream: stream(Direction::Failback) }],
        Step::SwitchTrafficBack => vec![
            Effect::AdvanceSequences { side, tables, alone: true },
            Effect::RouteTraffic { to: side },
            close("opening"),
            Effect::OpenGate { side },
            Effect::ResumeTraffic { to: side },
        ],
        _ => vec![],
    }
}

/// The least list of effects that each step must have.
pub fn plan(operation: Operation, step: Step) -> Vec<Effect> {
    let tables = vec![table()];
    let to = operation.opens().unwrap_or(Side::Target);
    let from = to.other();
    let (applying, guarding) = match to {
        Side::Target => (Direction::Forward, Direction::Failback),
        Side::Source => (Direction::Failback, Direction::Forward),
    };
    let start = |direction: Direction, mode| Effect::StartStream {
        stream: stream(direction),
        mode,
        slot: "s".to_owned(),
        publication: "p".to_owned(),
        origin: "o".to_owned(),
        from: Lsn::new(1),
    };
    let set = |direction, mode| Effect::SetStreamMode { stream: stream(direction), mode };
    if operation == Operation::FailbackTargetLost {
        return lost(step);
    }
    match step {
        Step::Preflight => vec![Effect::Preflight { tables }],
        Step::PrepareSource => vec![Effect::InstallHome { side: Side::Source, mode: GateMode::Open }],
        Step::PrepareTarget => vec![Effect::InstallHome { side: Side::Target, mode: GateMode::Closed }],
        Step::Load => vec![start(Direction::Forward, StreamMode::Apply)],
        Step::CatchUp => vec![Effect::AwaitApplied { stream: stream(Direction::Forward), lsn: Lsn::new(2) }],
        Step::VerifyLoad | Step::VerifyFull => {
            vec![Effect::VerifyTable { table: table(), stream: stream(applying), moment: "x".to_owned() }]
        }
        Step::FinalizeSchema => vec![],
        Step::Replicate => vec![start(Direction::Failback, StreamMode::Guard)],
        Step::PrepareSwitch => vec![Effect::TrialWrite {
            side: to,
            tables,
            expect: Expectation::Refused,
            moment: "before".to_owned(),
        }],
        Step::StopTraffic => vec![Effect::HoldTraffic { at: from }],
        Step::FenceSource | Step::FenceTarget => vec![
            Effect::CloseGate { side: from },
            Effect::AwaitWriters { side: from, tables, patience_ms: 1, terminate: false },
        ],
        Step::Drain | Step::DrainFailback => {
            vec![Effect::AwaitMarker { stream: stream(applying), nonce: "n".to_owned() }]
        }
        Step::VerifyDelta => vec![Effect::VerifyChanged { tables, stream: stream(applying) }],
        Step::SwitchTraffic | Step::SwitchTrafficBack => vec![
            set(applying, StreamMode::Guard),
            set(guarding, StreamMode::Apply),
            Effect::AdvanceSequences { side: to, tables, alone: false },
            Effect::RouteTraffic { to },
            Effect::OpenGate { side: to },
            Effect::ResumeTraffic { to },
        ],
        Step::StopFailback if operation == Operation::CompleteSourceLost => {
            vec![Effect::DropSlot { side: Side::Target, slot: "s".to_owned() }]
        }
        Step::StopFailback => vec![Effect::DropStream { stream: stream(Direction::Failback) }],
        Step::CleanUp => vec![Effect::DropStream { stream: stream(Direction::Forward) }],
        Step::Undo if operation.opens().is_some() => vec![
            Effect::CloseGate { side: to },
            set(guarding, StreamMode::Guard),
            set(applying, StreamMode::Apply),
            Effect::OpenGate { side: from },
            Effect::ResumeTraffic { to: from },
        ],
        Step::Undo | Step::DrainAvailable | Step::DeclareLoss => vec![],
    }
}
