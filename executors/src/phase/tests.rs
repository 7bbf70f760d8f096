//! The loop against a real journal and receivers that pretend.

mod away;
mod busy;
mod finalize;
mod old_journal;
mod timelines;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use async_trait::async_trait;
use futures::stream::BoxStream;
use journal::plan::TablePattern;
use journal::{
    Actor, Command, CommandBody, CommandId, Direction, Effect, EffectId, EffectSpec, Epoch, Evidence, Fact,
    Finding, Found, GateRow, Holder, Operation, Outcome, Party, PersonId, PhaseName, PhaseStatus, Plan,
    Position, Quarantine, Recorded, RequestOptions, RequestStatus, SchemaObject, Side, State, Step,
    StreamSpec, TableDefinition, TableName, Timeline, Timestamp, UndoCause,
};
use journal_store::{ExecuteError, Reported, SqliteStore, StoreError};
use runtime::SystemClock;

use super::*;
use crate::engine::NativeEngine;
use crate::postgres::survey::SharedSequence;
use crate::seams::{Acted, Authority, EffectError, Observed, Probe, Receiver};

const PLAN: &str = r#"
[migration]
name = "shop"
source = "env:SRC"
target = "env:DST"
[journal]
url = "sqlite:unused"
[[person]]
id = "ana"
roles = ["operator", "approver"]
[[person]]
id = "ben"
roles = ["approver"]
[[phase]]
name = "a"
tables = ["shop.orders", "shop.items"]
max_downtime = "1500ms"
undo_reserve = "700ms"
[phase.lever]
kind = "command"
stop = ["x"]
observe = ["x"]
route = ["x"]
resume = ["x"]
"#;

/// How an effect of some label misbehaves.
#[derive(Debug, Clone)]
enum Trick {
    /// Its act never returns; nothing is done.
    Hang,
    /// Its act is refused.
    Definite,
    /// Its act is done, and its answer lost.
    LoseAnswer,
    /// Its probe finds something else.
    Differ,
    /// Its act keeps its thread busy for longer than a term, once.
    Busy,
}

/// Both databases, the mover and the lever at once: what was done is there.
#[derive(Debug, Default)]
struct World {
    there: Mutex<BTreeMap<EffectId, Evidence>>,
    acted: Mutex<Vec<(String, Epoch)>>,
    tricks: Mutex<BTreeMap<String, Trick>>,
    streams_stopped: AtomicBool,
    raised: Mutex<Vec<(Side, Epoch)>>,
    /// The gate rows that are shown.
    rows: Mutex<BTreeMap<Side, GateRow>>,
    /// The highest position each side has admitted.
    positions: Mutex<BTreeMap<Side, Position>>,
    /// Sides that answer no write.
    dumb: Mutex<BTreeSet<Side>>,
    /// The timeline that each side is on.
    timelines: Mutex<BTreeMap<Side, Timeline>>,
    /// How often both sides were met anew.
    met: AtomicUsize,
    /// What is set as soon as the step's effect of this label is acted.
    bell: Mutex<Option<(String, Arc<AtomicBool>)>>,
    /// What the source has besides its tables, and what it has once the first of it was made.
    objects: Mutex<[Vec<SchemaObject>; 2]>,
    /// Of how many tables `finalize_schema` was looked at each time.
    looks: Mutex<Vec<usize>>,
}

impl World {
    fn newest(&self, side: Side) -> Epoch {
        let raised = self.raised.lock().unwrap();
        raised.iter().filter(|(at, _)| *at == side).map(|(_, epoch)| *epoch).max().unwrap_or_default()
    }

    /// As a gate row does.
    fn admits(&self, spec: &EffectSpec, under: Authority) -> bool {
        let Party::Database(side) = spec.effect.party() else { return true };
        if spec.effect.class() != journal::EffectClass::Transactional {
            return true;
        }
        let mut positions = self.positions.lock().unwrap();
        let highest = positions.entry(side).or_default();
        let admitted = under.epoch >= self.newest(side) && under.position > *highest;
        *highest = under.position.max(*highest);
        admitted
    }

    fn trick(&self, label: &str, trick: Trick) {
        self.tricks.lock().unwrap().insert(label.to_owned(), trick);
    }

    fn tricked(&self, spec: &EffectSpec) -> Option<Trick> {
        // What undoes is never tricked: its place is told by its step.
        let label = spec.effect.label();
        let at = format!("{}/{label}", spec.step);
        self.tricks.lock().unwrap().get(&at).cloned()
    }

    fn acted(&self, label: &str) -> usize {
        self.acted.lock().unwrap().iter().filter(|(acted, _)| acted == label).count()
    }
}

#[async_trait]
impl Receiver for World {
    async fn probe(&self, spec: &EffectSpec, _under: Authority) -> Probe {
        if let Some(Trick::Differ) = self.tricked(spec) {
            return Probe::Differs(Finding {
                code: "SW-0401".to_owned(),
                what: "shop.orders, key 7: amount differs".to_owned(),
                remedy: "Look.".to_owned(),
            });
        }
        self.there.lock().unwrap().get(&spec.id).cloned().map_or(Probe::Absent, Probe::Ours)
    }

    async fn act(&self, spec: &EffectSpec, under: Authority) -> Acted {
        self.acted.lock().unwrap().push((format!("{}/{}", spec.step, spec.effect.label()), under.epoch));
        if let Some((label, bell)) = &*self.bell.lock().unwrap()
            && *label == format!("{}/{}", spec.step, spec.effect.label())
        {
            bell.store(true, Ordering::SeqCst);
        }
        if !self.there.lock().unwrap().contains_key(&spec.id) && !self.admits(spec, under) {
            return Acted::Definite(EffectError("refused at the gate".to_owned()));
        }
        let trick = self.tricked(spec);
        match trick {
            Some(Trick::Hang) => std::future::pending::<()>().await,
            Some(Trick::Definite) => return Acted::Definite(EffectError("permission denied".to_owned())),
            Some(Trick::Busy) => {
                self.tricks.lock().unwrap().remove(&format!("{}/{}", spec.step, spec.effect.label()));
                let until = Instant::now() + busy::FOR;
                while Instant::now() < until {
                    std::hint::spin_loop();
                }
            }
            Some(Trick::LoseAnswer | Trick::Differ) | None => {}
        }
        let mut evidence: Evidence =
            ["lsn", "snapshot_lsn"].into_iter().map(|key| (key.to_owned(), "0/16B3748".to_owned())).collect();
        if let (journal::Effect::InstallHome { side, .. }, timelines) =
            (&spec.effect, self.timelines.lock().unwrap())
        {
            evidence.extend(timelines.get(side).map(|known| ("timeline".to_owned(), known.to_string())));
        }
        self.there.lock().unwrap().insert(spec.id, evidence.clone());
        match trick {
            Some(Trick::LoseAnswer) => Acted::Unknown(EffectError("connection closed".to_owned())),
            _ => Acted::Done(evidence),
        }
    }
}

fn index(name: &str, table: &TableName) -> SchemaObject {
    SchemaObject {
        table: table.clone(),
        name: name.to_owned(),
        kind: "index".to_owned(),
        statement: format!("create index {name}"),
    }
}

#[derive(Debug, Clone, Default)]
struct Pretend(Arc<World>);

#[async_trait]
impl Hands for Pretend {
    fn receiver(&self, _party: Party) -> &dyn Receiver {
        &*self.0
    }

    async fn observe(&self, step: Step, tables: &[TableName]) -> Result<Observed, Cause> {
        let of = |table: &TableName| TableDefinition { table: table.clone(), statements: vec![] };
        if step == Step::FinalizeSchema {
            self.0.looks.lock().unwrap().push(tables.len());
        }
        let made = self.0.acted.lock().unwrap().iter().any(|(label, _)| label.contains("add_schema_object"));
        let mut objects = self.0.objects.lock().unwrap()[usize::from(made)].clone();
        objects.retain(|object| tables.contains(&object.table));
        if objects.is_empty() {
            objects.push(index("by_day", &tables[0]));
        }
        let tables = tables.iter().map(of).collect();
        Ok(Observed { tables, objects, ..Observed::default() })
    }

    async fn sequences(&self) -> Result<Vec<SharedSequence>, Cause> {
        Ok(Vec::new())
    }

    async fn matching(&self, patterns: &[TablePattern]) -> Result<Vec<TableName>, Cause> {
        let there = ["shop.orders", "shop.order_lines"].map(|name| name.parse::<TableName>().unwrap());
        Ok(there.into_iter().filter(|table| patterns.iter().any(|each| each.matches(table))).collect())
    }

    async fn gate(&self, side: Side) -> Result<Option<GateRow>, Cause> {
        Ok(self.0.rows.lock().unwrap().get(&side).copied())
    }

    async fn raise_epoch(&self, side: Side, epoch: Epoch) -> Result<bool, Cause> {
        let newest = self.0.newest(side);
        self.0.raised.lock().unwrap().push((side, epoch));
        Ok(newest <= epoch)
    }

    async fn answers(&self, side: Side, _epoch: Epoch) -> Result<bool, Cause> {
        if self.0.dumb.lock().unwrap().contains(&side) {
            return Err(Cause(format!("the {side} cannot be reached")));
        }
        Ok(true)
    }

    fn expect_identity(&self, _side: Side, _seen: &Evidence) {}

    fn timeline(&self, side: Side) -> Option<Timeline> {
        self.0.timelines.lock().unwrap().get(&side).copied()
    }

    async fn first_contact(&self, _: (&Quarantine, &[TableName]), _: Authority) -> Result<Found, Cause> {
        Err(Cause("the target cannot be reached".to_owned()))
    }

    async fn meet(&self, _sides: &[Side]) -> Result<(), Cause> {
        self.0.met.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    fn set_streams(&self, _epoch: Epoch, _specs: Vec<StreamSpec>, _lag_limit: Duration) {}

    fn stop_streams(&self) {
        self.0.streams_stopped.store(true, Ordering::SeqCst);
    }

    fn lag_ms(&self, _direction: Direction) -> Option<u64> {
        Some(3)
    }

    fn doing(&self) -> Option<String> {
        None
    }

    async fn facts(&self) -> BTreeMap<String, String> {
        BTreeMap::new()
    }
}

/// A journal that can be made to fail.
#[derive(Debug)]
struct Fragile {
    inner: SqliteStore,
    renews: Arc<AtomicBool>,
    /// Nothing is written any more.
    full: Arc<AtomicBool>,
    /// Nothing is answered any more.
    away: Arc<AtomicBool>,
    /// The opening's intent is written, its answer is lost, and nothing is answered from then on.
    loses_opening: bool,
}

impl Fragile {
    fn new(inner: SqliteStore) -> Self {
        let (renews, full, away) = (Arc::new(AtomicBool::new(true)), Arc::default(), Arc::default());
        Self { inner, renews, full, away, loses_opening: false }
    }

    fn reads(&self) -> Result<(), StoreError> {
        if self.away.load(Ordering::SeqCst) {
            Err(StoreError::Unavailable("away".to_owned()))
        } else {
            Ok(())
        }
    }

    fn writes(&self) -> Result<(), StoreError> {
        if self.full.load(Ordering::SeqCst) {
            return Err(StoreError::Unavailable("full".to_owned()));
        }
        self.reads()
    }
}

#[async_trait]
impl Store for Fragile {
    async fn execute(
        &self,
        id: CommandId,
        claim: Option<journal_store::Claim>,
        command: Command,
    ) -> Result<Vec<Recorded>, ExecuteError> {
        self.writes()?;
        let opens = matches!(
            &command.body,
            CommandBody::Intend { effect: Effect::OpenGate { .. }, step, .. } if *step != Step::Undo
        );
        let done = self.inner.execute(id, claim, command).await;
        if opens && self.loses_opening {
            self.away.store(true, Ordering::SeqCst);
            self.reads()?;
        }
        done
    }
    async fn claim(
        &self,
        phase: &PhaseName,
        holder: &Holder,
        term: Duration,
    ) -> Result<Option<Lease>, StoreError> {
        self.writes()?;
        if !self.renews.load(Ordering::SeqCst) {
            return Ok(None);
        }
        self.inner.claim(phase, holder, term).await
    }
    async fn renew(&self, lease: &Lease) -> Result<bool, StoreError> {
        self.writes()?;
        if !self.renews.load(Ordering::SeqCst) {
            return Err(StoreError::Unavailable("away".to_owned()));
        }
        self.inner.renew(lease).await
    }
    async fn release(&self, lease: &Lease) -> Result<(), StoreError> {
        self.inner.release(lease).await
    }
    async fn state(&self) -> Result<Arc<State>, StoreError> {
        self.reads()?;
        self.inner.state().await
    }
    fn tail(&self, after: Position) -> BoxStream<'static, Result<Recorded, StoreError>> {
        self.inner.tail(after)
    }
    async fn stored(&self, after: Position, limit: u32) -> Result<Vec<(Position, Vec<u8>)>, StoreError> {
        self.inner.stored(after, limit).await
    }
    async fn altered(&self) -> Result<Vec<Position>, StoreError> {
        self.inner.altered().await
    }
    async fn report(&self, phase: &PhaseName, progress: Progress) -> Result<(), StoreError> {
        self.writes()?;
        self.inner.report(phase, progress).await
    }
    async fn reported(&self) -> Result<BTreeMap<PhaseName, Reported>, StoreError> {
        self.inner.reported().await
    }
    async fn now(&self) -> Result<Timestamp, StoreError> {
        self.reads()?;
        self.inner.now().await
    }
}

struct Trial {
    store: Arc<dyn Store>,
    world: Arc<World>,
    tasks: Tasks,
    plan: String,
    url: String,
    _home: tempfile::TempDir,
}

fn phase() -> PhaseName {
    "a".parse().unwrap()
}

fn person(id: &str) -> Actor {
    Actor::Person(PersonId::new(id).unwrap())
}

async fn open(url: &str) -> SqliteStore {
    SqliteStore::open(url, &"shop".parse().unwrap(), Arc::new(SystemClock)).await.unwrap()
}

impl Trial {
    async fn begin() -> Self {
        Self::begin_with(PLAN).await
    }

    async fn begin_with(plan: &str) -> Self {
        let home = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", home.path().join("journal.db").display());
        let store: Arc<dyn Store> = Arc::new(open(&url).await);
        let plan = plan.to_owned();
        let trial = Self { store, world: Arc::default(), tasks: Tasks::default(), plan, url, _home: home };
        trial
            .say(Actor::Operator, CommandBody::AdoptPlan { text: trial.plan.clone(), authors: Vec::new() })
            .await;
        trial
    }

    async fn say(&self, actor: Actor, body: CommandBody) -> Position {
        let id = CommandId::new(uuid::Uuid::now_v7().to_string()).unwrap();
        let events = self.store.execute(id, None, Command::new(actor, body)).await.unwrap();
        events.last().unwrap().envelope.position
    }

    async fn ask(&self, operation: Operation) -> Position {
        let options = RequestOptions::default();
        let request =
            self.say(person("ana"), CommandBody::Request { phase: phase(), operation, options }).await;
        if operation.default_approvals() > 0 {
            for who in ["ana", "ben"] {
                self.say(person(who), CommandBody::Approve { request, reason: None }).await;
            }
        }
        request
    }

    fn run(&self, holder: &str) {
        self.run_on(holder, Arc::clone(&self.store), Duration::from_secs(1));
    }

    fn run_on(&self, holder: &str, store: Arc<dyn Store>, term: Duration) {
        let one = PhaseLoop {
            name: phase(),
            plan_hash: Plan::parse(&self.plan).unwrap().hash_for(&phase()),
            store,
            holder: Holder::new(holder).unwrap(),
            term,
            clock: Arc::new(SystemClock),
            tasks: self.tasks.clone(),
            engine: Arc::new(NativeEngine),
            hands: Arc::new(Pretend(Arc::clone(&self.world))),
            leases: Leases::default(),
        };
        tokio::spawn(one.run());
    }

    async fn until(&self, what: &str, seen: impl Fn(&State) -> bool) -> Arc<State> {
        for _ in 0..1000 {
            let state = self.store.state().await.unwrap();
            if seen(&state) {
                return state;
            }
            tokio::time::timeout(Duration::from_millis(10), std::future::pending::<()>()).await.unwrap_err();
        }
        let state = self.store.state().await.unwrap();
        panic!("never {what}: {:#?}", state.operation(&phase()));
    }

    async fn finished(&self, request: Position) -> Outcome {
        let over = |state: &State| matches!(state.requests[&request].status, RequestStatus::Finished(_));
        let state = self.until("finished", over).await;
        let RequestStatus::Finished(outcome) = &state.requests[&request].status else { panic!("not over") };
        *outcome
    }

    async fn events(&self) -> Vec<Recorded> {
        let stored = self.store.stored(Position::default(), 10_000).await.unwrap();
        stored.into_iter().map(|(_, bytes)| Recorded::from_bytes(&bytes).unwrap()).collect()
    }

    /// The labels that an operation intended, in order, step by step.
    async fn intended(&self, request: Position) -> Vec<String> {
        let mut number = None;
        let mut labels = Vec::new();
        for event in self.events().await {
            match event.body {
                Fact::OperationStarted { request: of, .. } if of == request => {
                    number = Some(event.envelope.position);
                }
                Fact::EffectIntended { operation, step, spec, .. } if Some(operation) == number => {
                    labels.push(format!("{step}/{}", spec.label()));
                }
                _ => {}
            }
        }
        labels
    }
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "the lists of all operations, to be read at one place")]
async fn a_phase_lives_through_all_its_operations_and_each_effect_is_done_once() {
    let trial = Trial::begin().await;
    trial.run("one");
    let mut requests = Vec::new();
    for operation in [
        Operation::Start,
        Operation::Cutover,
        Operation::Failback,
        Operation::Verify,
        Operation::Cutover,
        Operation::Complete,
    ] {
        let request = trial.ask(operation).await;
        assert_eq!(trial.finished(request).await, Outcome::Completed, "{operation}");
        requests.push(request);
    }
    let state = trial.store.state().await.unwrap();
    let phase = &state.phases[&phase()];
    assert_eq!(phase.status, PhaseStatus::Completed);
    assert_eq!(phase.writer(), journal::Writer::Target);
    assert!(phase.streams.is_empty());
    assert_eq!(
        trial.intended(requests[0]).await,
        [
            "preflight/preflight",
            "prepare_source/install_home:source",
            "prepare_source/create_publication:source",
            "prepare_source/create_origin:source",
            "prepare_target/install_home:target",
            "prepare_target/create_tables",
            "prepare_target/install_fence:target",
            "prepare_target/trial_write:target:after",
            "prepare_target/create_origin:target",
            "load/create_slot:source",
            "load/start_stream:forward",
            "load/copy_table:shop.orders",
            "load/copy_table:shop.items",
            "catch_up/await_applied:forward",
            "verify_load/verify_table:shop.orders",
            "verify_load/verify_table:shop.items",
            "finalize_schema/add_schema_object:shop.orders:by_day",
            "replicate/create_publication:target",
            "replicate/create_slot:target",
            "replicate/start_stream:failback",
            "replicate/emit_marker:source",
            "replicate/await_marker:forward",
            "replicate/emit_marker:target",
            "replicate/await_marker:failback",
        ]
    );
    let back = [
        "prepare_switch/await_lag:failback",
        "prepare_switch/install_fence:target",
        "prepare_switch/emit_marker:target",
        "prepare_switch/await_marker:failback",
        "prepare_switch/emit_marker:source",
        "prepare_switch/await_marker:forward",
        "prepare_switch/verify_table:shop.orders",
        "prepare_switch/verify_table:shop.items",
        "prepare_switch/observe_traffic",
        "prepare_switch/trial_write:source:before",
        "prepare_switch/sweep_changed",
        "prepare_switch/compare_columns:source",
        "prepare_switch/await_quiet:target",
        "stop_traffic/await_lag:failback",
        "stop_traffic/observe_traffic",
        "stop_traffic/trial_write:source:stop",
        "stop_traffic/hold_traffic",
        "fence_target/close_gate:target",
        "fence_target/await_writers:target",
        "drain_failback/emit_marker:target",
        "drain_failback/await_marker:failback",
        "verify_delta/emit_marker:source",
        "verify_delta/await_marker:forward",
        "verify_delta/verify_changed",
        "switch_traffic_back/set_stream_mode:failback:guard",
        "switch_traffic_back/set_stream_mode:forward:apply",
        "switch_traffic_back/emit_marker:source",
        "switch_traffic_back/await_marker:forward",
        "switch_traffic_back/emit_marker:target",
        "switch_traffic_back/await_marker:failback",
        "switch_traffic_back/advance_sequences:source",
        "switch_traffic_back/route_traffic:source",
        "switch_traffic_back/open_gate:source",
        "switch_traffic_back/resume_traffic:source",
    ];
    assert_eq!(trial.intended(requests[2]).await, back);
    // A cutover is its mirror.
    let mirrored: Vec<String> = back.iter().map(|label| mirror(label)).collect();
    assert_eq!(trial.intended(requests[1]).await, mirrored);
    assert_eq!(
        trial.intended(requests[5]).await,
        [
            "drain_failback/emit_marker:target",
            "drain_failback/await_marker:failback",
            "stop_failback/drop_stream:failback",
            "stop_failback/drop_slot:target",
            "stop_failback/drop_publication:target",
            "stop_failback/drop_origin:source",
            "clean_up/drop_stream:forward",
            "clean_up/drop_slot:source",
            "clean_up/drop_publication:source",
            "clean_up/drop_origin:target",
            "clean_up/remove_fence:target",
        ]
    );
    // Each intent led to one act, and labels are unique within a step of an operation.
    for request in &requests {
        let labels = trial.intended(*request).await;
        assert_eq!(labels.iter().collect::<BTreeSet<_>>().len(), labels.len());
    }
    assert_eq!(trial.world.acted("switch_traffic/open_gate:target"), 2);
    assert_eq!(trial.world.acted("load/copy_table:shop.orders"), 1);
    let raised: BTreeSet<Side> = trial.world.raised.lock().unwrap().iter().map(|(side, _)| *side).collect();
    assert_eq!(raised.len(), 2);
    trial.tasks.stop().await;
}

fn mirror(label: &str) -> String {
    let swap = |text: &str, one: &str, other: &str| {
        text.replace(one, "\u{1}").replace(other, one).replace('\u{1}', other)
    };
    let text = label.replace("drain_failback/", "drain/").replace("switch_traffic_back/", "switch_traffic/");
    let (step, effect) = text.split_once('/').unwrap();
    let effect = swap(&swap(effect, "source", "target"), "forward", "failback");
    format!("{}/{effect}", step.replace("fence_target", "fence_source"))
}

#[tokio::test]
async fn the_deadline_drops_what_hangs_and_undoes_by_the_list_that_was_written_before() {
    let trial = Trial::begin().await;
    trial.run("one");
    assert_eq!(trial.finished(trial.ask(Operation::Start).await).await, Outcome::Completed);
    trial.world.trick("drain/await_marker:forward", Trick::Hang);
    let request = trial.ask(Operation::Cutover).await;
    assert_eq!(trial.finished(request).await, Outcome::Undone);
    let intended = trial.intended(request).await;
    let undo: Vec<&str> = intended.iter().filter_map(|label| label.strip_prefix("undo/")).collect();
    // Streams and route were never touched, so they are not undone.
    let expected = [
        "open_gate:source",
        "resume_traffic:source",
        "trial_write:source:undone",
        "observe_traffic",
        "emit_marker:source",
        "await_marker:forward",
    ];
    assert_eq!(undo, expected);
    let state = trial.store.state().await.unwrap();
    assert_eq!(state.phases[&phase()].status, PhaseStatus::Replicating);
    assert_eq!(state.phases[&phase()].writer(), journal::Writer::Source);
    let events = trial.events().await;
    let at = |kind: &str| events.iter().rev().find(|e| e.body.kind() == kind).unwrap().envelope.recorded_at;
    let held = events.iter().find(|e| matches!(&e.body, Fact::EffectIntended { undo: Some(_), .. })).unwrap();
    let Fact::EffectIntended { undo: Some(written), .. } = &held.body else { panic!("no undo") };
    assert_eq!(written.effects.len(), 13, "the whole undo is written down");
    let begun = at("undo_started").since(held.envelope.recorded_at);
    assert!(begun >= Duration::from_millis(800), "{begun:?}");
    assert!(begun < Duration::from_millis(1500), "{begun:?}");
    let cause = events.iter().find_map(|e| match &e.body {
        Fact::UndoStarted { cause, .. } => Some(cause.clone()),
        _ => None,
    });
    assert_eq!(cause, Some(UndoCause::Deadline));
    trial.tasks.stop().await;
}

#[tokio::test]
async fn a_difference_in_the_window_undoes_with_its_finding() {
    let trial = Trial::begin().await;
    trial.run("one");
    assert_eq!(trial.finished(trial.ask(Operation::Start).await).await, Outcome::Completed);
    trial.world.trick("verify_delta/verify_changed", Trick::Differ);
    let request = trial.ask(Operation::Cutover).await;
    assert_eq!(trial.finished(request).await, Outcome::Undone);
    let causes: Vec<UndoCause> = trial
        .events()
        .await
        .into_iter()
        .filter_map(|e| match e.body {
            Fact::UndoStarted { cause, .. } => Some(cause),
            _ => None,
        })
        .collect();
    let [UndoCause::StepFailed { step: Step::VerifyDelta, finding }] = causes.as_slice() else {
        panic!("{causes:?}")
    };
    assert_eq!(finding.code, "SW-0401");
    trial.tasks.stop().await;
}

#[tokio::test]
async fn a_definite_failure_outside_the_window_blocks_until_a_person_says_retry() {
    let trial = Trial::begin().await;
    trial.world.trick("prepare_source/create_publication:source", Trick::Definite);
    trial.run("one");
    let request = trial.ask(Operation::Start).await;
    let blocked = |state: &State| state.operation(&phase()).is_some_and(|run| run.blocked.is_some());
    let state = trial.until("blocked", blocked).await;
    let finding = state.operation(&phase()).unwrap().blocked.clone().unwrap();
    assert!(finding.what.contains("permission denied"), "{finding}");
    assert_eq!(trial.world.acted("prepare_source/create_publication:source"), 1);
    trial.world.tricks.lock().unwrap().clear();
    trial.say(person("ana"), CommandBody::Retry { phase: phase() }).await;
    assert_eq!(trial.finished(request).await, Outcome::Completed);
    trial.tasks.stop().await;
}

#[tokio::test]
async fn a_lost_answer_is_unknown_once_and_then_found_by_the_probe() {
    let trial = Trial::begin().await;
    trial.world.trick("prepare_source/install_home:source", Trick::LoseAnswer);
    trial.run("one");
    assert_eq!(trial.finished(trial.ask(Operation::Start).await).await, Outcome::Completed);
    let events = trial.events().await;
    assert_eq!(events.iter().filter(|e| e.body.kind() == "effect_unknown").count(), 1);
    let adopted = |e: &&Recorded| matches!(e.body, Fact::EffectSucceeded { adopted: true, .. });
    assert_eq!(events.iter().filter(adopted).count(), 1);
    assert_eq!(trial.world.acted("prepare_source/install_home:source"), 1);
    trial.tasks.stop().await;
}

#[tokio::test]
async fn an_abort_drops_a_hanging_load_and_removes_what_the_start_made() {
    let trial = Trial::begin().await;
    trial.world.trick("load/copy_table:shop.items", Trick::Hang);
    trial.run("one");
    let request = trial.ask(Operation::Start).await;
    while trial.world.acted("load/copy_table:shop.items") == 0 {
        tokio::task::yield_now().await;
    }
    let reason = "wrong day".to_owned();
    trial.say(person("ana"), CommandBody::Abort { phase: phase(), reason }).await;
    assert_eq!(trial.finished(request).await, Outcome::Undone);
    let intended = trial.intended(request).await;
    let undo: Vec<&str> = intended.iter().filter_map(|label| label.strip_prefix("undo/")).collect();
    let expected = [
        "drop_stream:forward",
        "drop_slot:source",
        "drop_publication:source",
        "drop_origin:target",
        "drop_origin:source",
        "drop_tables",
        "remove_fence:target",
    ];
    assert_eq!(undo, expected);
    let state = trial.store.state().await.unwrap();
    assert_eq!(state.phases[&phase()].status, PhaseStatus::New);
    trial.tasks.stop().await;
}

#[tokio::test]
async fn a_holder_that_cannot_renew_stops_at_two_thirds_and_another_goes_on() {
    let trial = Trial::begin().await;
    let fragile = Fragile::new(open(&trial.url).await);
    let renews = Arc::clone(&fragile.renews);
    trial.world.trick("load/copy_table:shop.items", Trick::Hang);
    trial.run_on("one", Arc::new(fragile), Duration::from_millis(600));
    let request = trial.ask(Operation::Start).await;
    while trial.world.acted("load/copy_table:shop.items") == 0 {
        tokio::task::yield_now().await;
    }
    renews.store(false, Ordering::SeqCst);
    let cut = Instant::now();
    while !trial.world.streams_stopped.load(Ordering::SeqCst) {
        tokio::task::yield_now().await;
    }
    assert!(cut.elapsed() < Duration::from_millis(550), "the holder outlived two thirds of its term");
    trial.world.tricks.lock().unwrap().clear();
    trial.run("two");
    assert_eq!(trial.finished(request).await, Outcome::Completed);
    let acted = trial.world.acted.lock().unwrap().clone();
    let items: Vec<Epoch> = acted
        .iter()
        .filter(|(label, _)| label == "load/copy_table:shop.items")
        .map(|(_, epoch)| *epoch)
        .collect();
    let [first, second] = items.as_slice() else { panic!("{items:?}") };
    assert!(first < second);
    trial.tasks.stop().await;
}

#[tokio::test]
async fn an_opening_that_is_refused_is_undone_after_its_side_is_closed() {
    let trial = Trial::begin().await;
    trial.run("one");
    assert_eq!(trial.finished(trial.ask(Operation::Start).await).await, Outcome::Completed);
    trial.world.trick("switch_traffic/open_gate:target", Trick::Definite);
    let request = trial.ask(Operation::Cutover).await;
    assert_eq!(trial.finished(request).await, Outcome::Undone);
    let intended = trial.intended(request).await;
    let undo: Vec<&str> = intended.iter().filter_map(|label| label.strip_prefix("undo/")).collect();
    let expected = [
        "close_gate:target",
        "await_writers:target",
        "emit_marker:target",
        "await_marker:failback",
        "open_gate:source",
        "route_traffic:source",
        "resume_traffic:source",
        "trial_write:source:undone",
        "observe_traffic",
        "set_stream_mode:failback:guard",
        "set_stream_mode:forward:apply",
        "emit_marker:source",
        "await_marker:forward",
    ];
    assert_eq!(undo, expected);
    trial.tasks.stop().await;
}

#[tokio::test]
async fn an_opening_without_an_answer_is_proven_absent_when_the_downtime_is_over_and_undone() {
    let trial = Trial::begin().await;
    trial.run("one");
    assert_eq!(trial.finished(trial.ask(Operation::Start).await).await, Outcome::Completed);
    trial.world.trick("switch_traffic/open_gate:target", Trick::Hang);
    let request = trial.ask(Operation::Cutover).await;
    assert_eq!(trial.finished(request).await, Outcome::Undone);
    let intended = trial.intended(request).await;
    let closed = intended.iter().position(|label| label == "undo/close_gate:target").unwrap();
    let opened = intended.iter().position(|label| label == "undo/open_gate:source").unwrap();
    assert!(closed < opened);
    trial.tasks.stop().await;
}

#[tokio::test]
async fn a_failback_at_its_deadline_calls_a_person_who_may_go_on_or_return() {
    let trial = Trial::begin().await;
    trial.run("one");
    assert_eq!(trial.finished(trial.ask(Operation::Start).await).await, Outcome::Completed);
    assert_eq!(trial.finished(trial.ask(Operation::Cutover).await).await, Outcome::Completed);
    let blocked = |state: &State| state.operation(&phase()).is_some_and(|run| run.blocked.is_some());

    trial.world.trick("drain_failback/await_marker:failback", Trick::Hang);
    let request = trial.ask(Operation::Failback).await;
    trial.until("at its deadline", blocked).await;
    trial.say(person("ana"), CommandBody::Abort { phase: phase(), reason: "back".to_owned() }).await;
    assert_eq!(trial.finished(request).await, Outcome::Undone);
    assert_eq!(trial.store.state().await.unwrap().phases[&phase()].writer(), journal::Writer::Target);

    trial.world.trick("drain_failback/await_marker:failback", Trick::Definite);
    let request = trial.ask(Operation::Failback).await;
    trial.until("failed", blocked).await;
    trial.world.tricks.lock().unwrap().clear();
    trial.say(person("ana"), CommandBody::Retry { phase: phase() }).await;
    assert_eq!(trial.finished(request).await, Outcome::Completed);
    assert_eq!(trial.store.state().await.unwrap().phases[&phase()].writer(), journal::Writer::Source);
    trial.tasks.stop().await;
}

/// A failback that returns by itself, whose target answers no write when its drain hangs until the deadline.
async fn unanswered() -> (Trial, Position) {
    let plan = PLAN.replace("[phase.lever]", "failback_deadline = \"return\"\n[phase.lever]");
    let trial = Trial::begin_with(&plan).await;
    trial.run("one");
    assert_eq!(trial.finished(trial.ask(Operation::Start).await).await, Outcome::Completed);
    assert_eq!(trial.finished(trial.ask(Operation::Cutover).await).await, Outcome::Completed);
    trial.world.trick("drain_failback/await_marker:failback", Trick::Hang);
    trial.world.dumb.lock().unwrap().insert(Side::Target);
    let request = trial.ask(Operation::Failback).await;
    let blocked = |state: &State| {
        let finding = state.operation(&phase()).and_then(|run| run.blocked.clone());
        finding.is_some_and(|finding| finding.code == journal::UNANSWERED)
    };
    trial.until("unanswered", blocked).await;
    (trial, request)
}

#[tokio::test]
async fn a_failback_returns_by_itself_to_a_target_that_answers() {
    let plan = PLAN.replace("[phase.lever]", "failback_deadline = \"return\"\n[phase.lever]");
    let trial = Trial::begin_with(&plan).await;
    trial.run("one");
    assert_eq!(trial.finished(trial.ask(Operation::Start).await).await, Outcome::Completed);
    assert_eq!(trial.finished(trial.ask(Operation::Cutover).await).await, Outcome::Completed);
    trial.world.trick("drain_failback/await_marker:failback", Trick::Hang);
    let request = trial.ask(Operation::Failback).await;
    assert_eq!(trial.finished(request).await, Outcome::Undone);
    assert_eq!(trial.store.state().await.unwrap().phases[&phase()].writer(), journal::Writer::Target);
    let answered = trial.events().await.into_iter().find_map(|event| match event.body {
        Fact::UndoStarted { answered, .. } => Some(answered),
        _ => None,
    });
    assert_eq!(answered.unwrap()["target"], "answered a write");
    trial.tasks.stop().await;
}

#[tokio::test]
async fn a_failback_holds_before_a_target_that_does_not_answer_until_a_person_returns_it() {
    let (trial, request) = unanswered().await;
    trial.world.dumb.lock().unwrap().clear();
    // It does not change its mind by itself: the person who was called decides.
    trial.until("still held", |state| state.operation(&phase()).is_some_and(|run| run.undo.is_none())).await;
    trial.say(person("ana"), CommandBody::Abort { phase: phase(), reason: "it is back".to_owned() }).await;
    assert_eq!(trial.finished(request).await, Outcome::Undone);
    assert_eq!(trial.store.state().await.unwrap().phases[&phase()].writer(), journal::Writer::Target);
    trial.tasks.stop().await;
}

#[tokio::test]
async fn a_failback_whose_target_does_not_answer_goes_on_towards_the_source_when_told() {
    let (trial, request) = unanswered().await;
    trial.world.tricks.lock().unwrap().clear();
    trial.say(person("ana"), CommandBody::Retry { phase: phase() }).await;
    assert_eq!(trial.finished(request).await, Outcome::Completed);
    assert_eq!(trial.store.state().await.unwrap().phases[&phase()].writer(), journal::Writer::Source);
    trial.tasks.stop().await;
}

#[tokio::test]
async fn an_undo_that_is_refused_goes_on_trying_without_filling_the_journal() {
    let trial = Trial::begin().await;
    trial.run("one");
    assert_eq!(trial.finished(trial.ask(Operation::Start).await).await, Outcome::Completed);
    trial.world.trick("drain/await_marker:forward", Trick::Definite);
    trial.world.trick("undo/resume_traffic:source", Trick::Definite);
    let request = trial.ask(Operation::Cutover).await;
    while trial.world.acted("undo/resume_traffic:source") < 4 {
        tokio::task::yield_now().await;
    }
    let blocks = |events: &[Recorded]| events.iter().filter(|e| e.body.kind() == "step_blocked").count();
    assert_eq!(blocks(&trial.events().await), 2, "one for the drain, one for the undo");
    trial.world.tricks.lock().unwrap().clear();
    assert_eq!(trial.finished(request).await, Outcome::Undone);
    assert_eq!(trial.store.state().await.unwrap().phases[&phase()].writer(), journal::Writer::Source);
    trial.tasks.stop().await;
}
