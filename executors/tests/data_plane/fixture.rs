//! Two clusters and a mover between them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use executors::native::Breach;
use executors::native::mover::Mover;
use executors::native::plane::Plane;
use executors::native::streams::{StreamReports, Streams};
use executors::postgres::database::Database;
use executors::postgres::{HOME_SQL, tables};
use executors::{Acted, Authority, Probe, Receiver};
use journal::{
    Direction, Effect, EffectSpec, Epoch, Evidence, Finding, Generation, LoadSettings, MigrationName,
    PhaseName, PlanHash, Position, Side, Step, StreamHealth, StreamMode, StreamName, StreamSpec, TableName,
    origin_name, publication_name, slot_name,
};
use product::cluster::{Cluster, Role};
use runtime::{Scrubber, Secret, SystemClock, Tasks};
use tokio_postgres::Client;

#[derive(Debug)]
struct Unheard;

#[async_trait]
impl StreamReports for Unheard {
    async fn stream(&self, _: &StreamName, _: Epoch, _: StreamMode, _: StreamHealth) {}
    async fn breach(&self, _: &StreamName, _: Epoch, _: &Breach) {}
}

/// Two clusters, and what one executor has.
pub struct Fixture {
    pub source: Cluster,
    pub target: Cluster,
    pub tasks: Tasks,
    position: AtomicU64,
    pub epoch: u64,
}

pub fn migration() -> MigrationName {
    MigrationName::new("move").unwrap()
}

pub fn phase() -> PhaseName {
    PhaseName::new("a").unwrap()
}

pub fn slot(direction: Direction) -> String {
    slot_name(&migration(), &phase(), Generation::new(1), direction)
}

pub fn table(text: &str) -> TableName {
    text.parse().unwrap()
}

impl Fixture {
    pub async fn new() -> Self {
        let (source, target) =
            futures::future::join(Cluster::start("source"), Cluster::start("target")).await;
        let (source, target) = (source.unwrap(), target.unwrap());
        for (side, mode) in [(&source, "open"), (&target, "closed")] {
            let client = side.connect(Role::Mover).await.unwrap();
            client.batch_execute(HOME_SQL).await.unwrap();
            client
                .batch_execute(&format!(
                    "insert into _switchyard.gate values ('move', 'a', '{mode}', 0, 0, '')"
                ))
                .await
                .unwrap();
        }
        Self { source, target, tasks: Tasks::default(), position: AtomicU64::new(1), epoch: 1 }
    }

    pub async fn on(&self, side: Side) -> Client {
        match side {
            Side::Source => self.source.connect(Role::Mover).await.unwrap(),
            Side::Target => self.target.connect(Role::Mover).await.unwrap(),
        }
    }

    pub fn database(&self, side: Side) -> Database {
        let url = match side {
            Side::Source => self.source.url(Role::Mover),
            Side::Target => self.target.url(Role::Mover),
        };
        Database::new(side, migration(), &Secret::new(url), &Scrubber::default()).unwrap()
    }

    /// A mover with nothing in memory: as after a restart.
    pub fn mover(&self) -> Mover {
        let (source, target) = (self.database(Side::Source), self.database(Side::Target));
        let clock = Arc::new(SystemClock);
        let streams = Streams::new(
            source.clone(),
            target.clone(),
            Arc::new(Unheard),
            Arc::<SystemClock>::clone(&clock),
            self.tasks.clone(),
        );
        let load = LoadSettings {
            bytes_per_second: None,
            existing: journal::plan::Existing::Check,
            lanes: 3,
            chunk_bytes: 64 * 1024,
        };
        Mover::new(Plane::new(source, target, streams, load, clock))
    }

    pub fn authority(&self) -> Authority {
        let position = self.position.fetch_add(1, Ordering::SeqCst);
        Authority { epoch: Epoch::new(self.epoch), position: Position::new(position) }
    }

    pub fn spec(&self, step: Step, effect: Effect) -> EffectSpec {
        EffectSpec::new(PlanHash::of(b"plan"), &phase(), Position::new(1), step, effect)
    }

    /// Does an effect as the loop would.
    pub async fn done(&self, mover: &Mover, step: Step, effect: Effect) -> Result<Evidence, Finding> {
        let spec = self.spec(step, effect);
        let under = self.authority();
        let mut last = String::new();
        for _ in 0..50 {
            match mover.probe(&spec, under).await {
                Probe::Ours(evidence) => return Ok(evidence),
                Probe::Differs(finding) => return Err(finding),
                Probe::Absent => match mover.act(&spec, under).await {
                    Acted::Done(_) => {}
                    Acted::Definite(error) => panic!("{}: definitely not: {error}", spec.effect.label()),
                    Acted::Unknown(error) => last = error.to_string(),
                },
                Probe::Foreign(owner) => panic!("{}: foreign: {owner:?}", spec.effect.label()),
                Probe::Unreachable(cause) => last = cause.to_string(),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("{} was never done: {last}", spec.effect.label());
    }

    /// The phase's tables on the target, its publication, slot and stream row.
    pub async fn prepare(&self, mover: &Mover, names: &[TableName]) {
        let source = self.on(Side::Source).await;
        let definitions =
            executors::postgres::catalog::definitions(&*mover.plane().source.session().await.unwrap(), names)
                .await
                .unwrap();
        let list: Vec<String> = names.iter().map(executors::postgres::quote::table).collect();
        let publication = publication_name(&migration(), &phase(), Generation::new(1), Direction::Forward);
        source
            .batch_execute(&format!("create publication {publication} for table {}", list.join(", ")))
            .await
            .unwrap();
        let target = self.on(Side::Target).await;
        let origin = origin_name(&migration(), &phase(), Direction::Forward, 0);
        target.execute("select pg_replication_origin_create($1)", &[&origin]).await.unwrap();
        self.tables(Effect::CreateTables { tables: definitions }).await.unwrap();
        let made = self
            .done(
                mover,
                Step::Load,
                Effect::CreateSlot { side: Side::Source, slot: slot(Direction::Forward) },
            )
            .await
            .unwrap();
        target
            .batch_execute(&format!(
                "insert into _switchyard.stream (migration, phase, direction, mode, epoch, position, effect, lsn) \
                 values ('move', 'a', 'forward', 'apply', 1, 1, '', '{}')",
                made["lsn"]
            ))
            .await
            .unwrap();
    }

    /// Does an effect on the target's tables.
    pub async fn tables(&self, effect: Effect) -> Result<Evidence, String> {
        let database = self.database(Side::Target);
        let spec = self.spec(Step::PrepareTarget, effect);
        let under = self.authority();
        match tables::probe(&database, &spec, under).await {
            Probe::Absent => {}
            Probe::Ours(evidence) => return Ok(evidence),
            other => return Err(format!("{other:?}")),
        }
        match tables::act(&database, &spec, under, &SystemClock).await {
            Acted::Done(_) => {}
            other => return Err(format!("{other:?}")),
        }
        match tables::probe(&database, &spec, under).await {
            Probe::Ours(evidence) => Ok(evidence),
            other => Err(format!("{other:?}")),
        }
    }

    pub fn forward(&self) -> StreamName {
        StreamName { phase: phase(), direction: Direction::Forward }
    }

    /// The forward stream, as the journal would want it.
    pub fn stream(&self) -> StreamSpec {
        let origin = |direction| origin_name(&migration(), &phase(), direction, 0);
        StreamSpec {
            name: self.forward(),
            mode: StreamMode::Apply,
            slot: slot(Direction::Forward),
            publication: slot(Direction::Forward),
            origin: origin(Direction::Forward),
            opposite_origin: origin(Direction::Failback),
            from: journal::Lsn::default(),
            timelines: [None, None],
            since: None,
            tables: Vec::new(),
        }
    }
}

/// A table's rows as text, in order of its key, by the test's own SQL.
pub async fn rows(client: &Client, name: &str, key: &str) -> Vec<String> {
    client.batch_execute("set timezone = 'UTC'; set extra_float_digits = 3").await.unwrap();
    let sql = format!("select t::text from {name} as t order by {key}");
    client.query(&sql, &[]).await.unwrap().iter().map(|row| row.get(0)).collect()
}

/// Fails with the first differences.
pub async fn assert_same_rows(fixture: &Fixture, name: &str, key: &str) -> usize {
    let source = rows(&fixture.on(Side::Source).await, name, key).await;
    let target = rows(&fixture.on(Side::Target).await, name, key).await;
    let only = |one: &[String], other: &[String]| -> Vec<String> {
        let other: std::collections::HashSet<&String> = other.iter().collect();
        one.iter().filter(|row| !other.contains(row)).take(3).map(|r| r.chars().take(120).collect()).collect()
    };
    let (missing, extra) = (only(&source, &target), only(&target, &source));
    assert!(
        source == target,
        "{name}: {} rows at the source, {} at the target; missing or other: {missing:?}; extra or other: {extra:?}",
        source.len(),
        target.len()
    );
    source.len()
}

/// The application.
pub struct Writers {
    stop: Arc<AtomicBool>,
    pub writes: Arc<AtomicI64>,
    running: Vec<tokio::task::JoinHandle<()>>,
}

impl Writers {
    /// Each writer runs `statement(n)` with random numbers until it is stopped.
    pub async fn start(fixture: &Fixture, count: u64, statement: fn(&mut Dice) -> String) -> Self {
        let (stop, writes) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicI64::new(0)));
        let mut running = Vec::new();
        for n in 0..count {
            let client = fixture.on(Side::Source).await;
            let (stop, writes) = (Arc::clone(&stop), Arc::clone(&writes));
            let mut dice = Dice(0x9E37_79B9 + n * 7919);
            running.push(tokio::spawn(async move {
                while !stop.load(Ordering::SeqCst) {
                    // A deadlock or a key that is there is the application's daily bread.
                    if client.batch_execute(&statement(&mut dice)).await.is_ok() {
                        writes.fetch_add(1, Ordering::SeqCst);
                    }
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
            }));
        }
        Self { stop, writes, running }
    }

    pub async fn stop(self) -> i64 {
        self.stop.store(true, Ordering::SeqCst);
        for writer in self.running {
            writer.await.unwrap();
        }
        self.writes.load(Ordering::SeqCst)
    }
}

/// Random numbers that a failed run can repeat.
pub struct Dice(u64);

impl Dice {
    pub const fn seeded(seed: u64) -> Self {
        Self(0x9E37_79B9 + seed)
    }

    pub fn below(&mut self, most: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % most
    }
}

/// Waits for a condition.
pub async fn wait<F: Future<Output = bool>>(what: &str, mut condition: impl FnMut() -> F) {
    let until = Instant::now() + Duration::from_secs(30);
    while !condition().await {
        assert!(Instant::now() < until, "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
