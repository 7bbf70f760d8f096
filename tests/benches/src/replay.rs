//! A million events, from stored bytes to the state.

use std::str::FromStr as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use journal::{
    Actor, CommandId, Direction, Effect, EffectSpec, Envelope, Epoch, EventId, Evidence, Fact, Generation,
    Operation, Outcome, PersonId, Plan, Position, Recorded, SCHEMA_VERSION, State, Step, StreamHealth,
    StreamMode, StreamName, Timestamp, evolve, merkle,
};
use journal_store::{PostgresStore, SqliteStore, Store};
use product::cluster::{Cluster, Role};
use runtime::{Secret, SystemClock};
use sqlx::postgres::PgConnectOptions;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _, QueryBuilder};

use crate::report::{Reach, Report, median};
use crate::work::{PLAN, holder, migration, phase};

const EVENTS: u64 = 1_000_000;
const ROUNDS: usize = 8;
const REACH: Reach = Reach::AtMost(2.0);

/// Events as operations leave them: eight to one that verifies, among them two of its stream's.
struct Life {
    plan: Plan,
    operation: Position,
    effect: Option<EffectSpec>,
}

impl Life {
    fn new() -> Result<Self> {
        let plan = Plan::parse(PLAN).map_err(|problems| anyhow::anyhow!("{problems:?}"))?;
        Ok(Self { plan, operation: Position::default(), effect: None })
    }

    fn event(&mut self, position: u64) -> Result<Vec<u8>> {
        let person = Actor::Person(PersonId::new("ana")?);
        let (actor, body) = match position {
            1 => {
                let (text, plan_hash) = (PLAN.to_owned(), self.plan.hash());
                (Actor::Operator, Fact::PlanAdopted { text, plan_hash, authors: Vec::new() })
            }
            _ if position % 8 == 2 => (person, self.requested()),
            _ => (Actor::Executor(holder()?), self.of_executor(position)?),
        };
        let event = Recorded {
            envelope: Envelope {
                position: Position::new(position),
                migration: migration()?,
                phase: (position > 1).then(phase).transpose()?,
                event_id: EventId::new(uuid::Uuid::from_u128(u128::from(position)).to_string())?,
                schema_version: SCHEMA_VERSION.to_string(),
                epoch: matches!(actor, Actor::Executor(_)).then(|| Epoch::new(7)),
                actor,
                recorded_at: Timestamp::from_millis(1_790_000_000_000 + i64::try_from(position)?),
                command_id: CommandId::new(format!(
                    "region-a/7/{}",
                    uuid::Uuid::from_u128(u128::from(position))
                ))?,
                origin: None,
            },
            body,
        };
        Ok(event.to_bytes()?)
    }

    fn requested(&self) -> Fact {
        Fact::Requested {
            operation: Operation::Verify,
            plan_hash: self.plan.hash(),
            expires_at: Timestamp::from_millis(1_800_000_000_000),
            confirmed_loss: None,
            not_before: None,
            not_after: None,
            reason: Some("as every night".to_owned()),
        }
    }

    fn of_executor(&mut self, position: u64) -> Result<Fact> {
        let (operation, step, direction) = (self.operation, Step::VerifyFull, Direction::Forward);
        let health = |health| Fact::StreamChanged {
            direction,
            mode: StreamMode::Apply,
            health,
            seen: Evidence::new(),
        };
        Ok(match position % 8 {
            3 => {
                self.operation = Position::new(position);
                Fact::OperationStarted {
                    request: Position::new(position - 1),
                    operation: Operation::Verify,
                    plan_hash: self.plan.hash(),
                    reserved: Vec::new(),
                    generation: Generation::new(1),
                    broken_glass: None,
                }
            }
            4 => {
                let effect = Effect::VerifyTable {
                    table: "shop.orders".parse()?,
                    stream: StreamName { phase: phase()?, direction },
                    moment: format!("of #{position}"),
                };
                let spec = EffectSpec::new(self.plan.hash(), &phase()?, operation, step, effect);
                let (effect, named) = (spec.effect.clone(), spec.id);
                self.effect = Some(spec);
                Fact::EffectIntended {
                    operation,
                    step,
                    effect: named,
                    spec: effect,
                    undo: None,
                    consumes: Vec::new(),
                }
            }
            5 => {
                let id = self.effect.as_ref().map(|spec| spec.id);
                let evidence =
                    [("rows", "48211"), ("source_hash", "9c2f1b7ad04e8f35"), ("at", "16/B374D848")];
                let evidence = evidence.map(|(key, value)| (key.to_owned(), value.to_owned()));
                Fact::EffectSucceeded {
                    effect: id.ok_or_else(|| anyhow::anyhow!("no effect was intended"))?,
                    adopted: false,
                    evidence: Evidence::from(evidence),
                }
            }
            6 => Fact::StepFinished { operation, step },
            7 => Fact::OperationFinished { operation, outcome: Outcome::Completed },
            0 => health(StreamHealth::Lagging),
            _ => health(StreamHealth::CaughtUp),
        })
    }
}

fn told(report: &mut Report, name: &'static str, times: Vec<f64>, reference: &str) {
    let took = median(times);
    report.found(name, (format!("{EVENTS} events in {took:.2} s"), reference.to_owned()), took, REACH);
}

/// From bytes in memory, on one core: what reading and replaying cost without any database.
pub(crate) fn memory(report: &mut Report) -> Result<()> {
    let name = "replay memory";
    if !report.wants(name) {
        return Ok(());
    }
    let mut life = Life::new()?;
    let stored = (1..=EVENTS).map(|position| life.event(position)).collect::<Result<Vec<_>>>()?;
    let size: usize = stored.iter().map(Vec::len).sum();
    let began = on_cpu()?;
    let mut ended = 0;
    for bytes in &stored {
        ended += usize::from(merkle::leaf(bytes)[0]);
    }
    let hashing = on_cpu()? - began;
    ensure!(ended > 0, "nothing was hashed");
    let mut times = Vec::new();
    let before = on_cpu()?;
    for _ in 0..ROUNDS {
        let began = Instant::now();
        let mut state = State::default();
        for bytes in &stored {
            evolve(&mut state, &Recorded::from_bytes(bytes)?);
        }
        times.push(began.elapsed().as_secs_f64());
        ensure!(state.head.get() == EVENTS, "it stands at {}", state.head);
    }
    let mean = size / stored.len();
    let cpu = (on_cpu()? - before).as_secs_f64() / ROUNDS as f64;
    let reference =
        format!("{cpu:.2} s of one core; hashing {:.2} s; {mean} bytes each", hashing.as_secs_f64());
    told(report, name, times, &reference);
    Ok(())
}

/// How long this thread has had a core: what a busy machine does not change.
fn on_cpu() -> Result<Duration> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    let nanos = text.split_whitespace().next().unwrap_or_default().parse()?;
    Ok(Duration::from_nanos(nanos))
}

/// How long a store takes from being opened to the state.
async fn replayed(open: impl AsyncFn() -> Result<Arc<dyn Store>>) -> Result<Vec<f64>> {
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        let began = Instant::now();
        let store = open().await?;
        times.push(began.elapsed().as_secs_f64());
        ensure!(store.state().await?.head.get() == EVENTS, "not all events");
    }
    Ok(times)
}

/// From a SQLite file.
pub(crate) async fn sqlite(report: &mut Report) -> Result<()> {
    let name = "replay sqlite";
    if !report.wants(name) {
        return Ok(());
    }
    let dir = tempfile::tempdir()?;
    let url = format!("sqlite:{}", dir.path().join("journal.db").display());
    drop(SqliteStore::open(&url, &migration()?, Arc::new(SystemClock)).await?);
    let mut file = SqliteConnectOptions::from_str(&url)?.disable_statement_logging().connect().await?;
    fill_file(&mut file).await?;
    let began = Instant::now();
    let length: i64 = sqlx::query_scalar("select sum(length(bytes)) from event").fetch_one(&mut file).await?;
    let scan = began.elapsed();
    file.close().await?;
    let times = replayed(async || {
        let store = SqliteStore::open_existing(&url, &migration()?, Arc::new(SystemClock)).await?;
        Ok(Arc::new(store) as Arc<dyn Store>)
    });
    told(report, name, times.await?, &scanned(length, scan));
    Ok(())
}

fn scanned(length: i64, scan: Duration) -> String {
    format!("one scan of {} MB {:.2} s", length / 1_000_000, scan.as_secs_f64())
}

async fn fill_file(file: &mut sqlx::SqliteConnection) -> Result<()> {
    let mut life = Life::new()?;
    let mut position = 1;
    while position <= EVENTS {
        let mut tx = file.begin().await?;
        let first = position;
        for _ in 0..50 {
            let mut rows = Vec::new();
            while rows.len() < 200 && position <= EVENTS {
                rows.push((position, life.event(position)?));
                position += 1;
            }
            if rows.is_empty() {
                break;
            }
            let mut insert = QueryBuilder::new(
                "insert into event (position, bytes, leaf, event_id, command_id, digest, kind, phase, recorded_at) ",
            );
            insert.push_values(rows, |mut row, (at, bytes)| {
                let leaf = merkle::leaf(&bytes).to_vec();
                let number = i64::try_from(at).unwrap_or(i64::MAX);
                row.push_bind(number).push_bind(bytes).push_bind(leaf).push_bind(format!("{at}"));
                let digest = (at == first).then(|| vec![0_u8; 32]);
                row.push_bind(format!("c{first}"))
                    .push_bind(digest)
                    .push_bind("x")
                    .push_bind("region-a")
                    .push_bind(number);
            });
            insert.build().execute(&mut *tx).await?;
        }
        tx.commit().await?;
    }
    Ok(())
}

/// From PostgreSQL.
pub(crate) async fn postgres(report: &mut Report) -> Result<()> {
    let name = "replay postgres";
    if !report.wants(name) {
        return Ok(());
    }
    let cluster = Cluster::start("journal").await?;
    let url = Secret::new(cluster.url(Role::Mover));
    drop(PostgresStore::open(&url, &migration()?, Arc::new(SystemClock)).await?);
    let mut session = url.expose().parse::<PgConnectOptions>()?.disable_statement_logging().connect().await?;
    fill_server(&mut session).await?;
    let began = Instant::now();
    let length: i64 = sqlx::query_scalar("select sum(length(bytes))::bigint from switchyard_journal.event")
        .fetch_one(&mut session)
        .await?;
    let scan = began.elapsed();
    session.close().await?;
    let times = replayed(async || {
        let store = PostgresStore::open_existing(&url, &migration()?, Arc::new(SystemClock)).await?;
        Ok(Arc::new(store) as Arc<dyn Store>)
    });
    told(report, name, times.await?, &scanned(length, scan));
    Ok(())
}

async fn fill_server(session: &mut sqlx::PgConnection) -> Result<()> {
    let mut life = Life::new()?;
    let mut position = 1;
    while position <= EVENTS {
        let (first, mut bodies, mut ids) = (position, Vec::new(), Vec::new());
        while bodies.len() < 10_000 && position <= EVENTS {
            bodies.push(life.event(position)?);
            ids.push(position.to_string());
            position += 1;
        }
        let number = i64::try_from(first)?;
        let written: Option<i64> = sqlx::query_scalar(
            "select switchyard_journal.append($1 - 1, 0, null, '{}', '{}', $2, $3,
                 array_fill('c' || $1, array[cardinality($2)]),
                 array[sha256('')] || array_fill(null::bytea, array[cardinality($2) - 1]),
                 array_fill('x'::text, array[cardinality($2)]), array_fill('region-a'::text, array[cardinality($2)]),
                 array_fill(0::bigint, array[cardinality($2)]))",
        )
        .bind(number)
        .bind(bodies)
        .bind(ids)
        .fetch_one(&mut *session)
        .await?;
        ensure!(written.is_some(), "the events from {first} on were not appended");
    }
    sqlx::query("vacuum analyze switchyard_journal.event").execute(session).await?;
    Ok(())
}
