//! Who writes a phase's tables: waited for before a switch, and waited out after the gate has closed.
//!
//! # The race
//!
//! The gate closes by replacing the body of the fence's function ([`crate::postgres::fence`]). A transaction that wrote
//! before has passed and commits when it likes; a statement under way may still run the old body. The barrier may be
//! taken only when each of them has ended, or their writes come after it and are lost.
//!
//! # Why lock holders are the right set
//!
//! Every write of a row takes ROW EXCLUSIVE on its table (a TRUNCATE takes ACCESS EXCLUSIVE) and keeps it to the end of
//! its transaction. A session that is granted a lock which its transaction did not hold yet then takes in every catalog
//! invalidation sent so far. The closing transaction sends its own at its commit, before it releases its locks. So a
//! transaction that is first granted its write lock after that looks the function up anew and meets the closed body;
//! whatever passed the fence therefore held a write lock at the instant of the close, or earlier. It is enough that each
//! transaction that held one at *any* instant after the close has ended: a superset of those that matter, since nobody
//! joins those that matter later. That is why the set may be captured at the first probe, and captured again
//! after a restart: what is captured later is either the remainder of those that matter, or transactions that the
//! fence refuses, which only makes the wait a little longer. Transactions are told apart by virtual transaction id, so a
//! session's next transaction is another.
//!
//! Two edges. A transaction that is *prepared* changes its virtual id and has no session: so every prepared transaction
//! that holds a write lock counts at every probe, whether captured or not. And a reader may see the closing transaction
//! as committed an instant before it has sent its invalidations: so nothing is captured while that transaction still
//! holds the lock on its own id, which it releases after sending.
//!
//! SHARE UPDATE EXCLUSIVE alone (vacuum, analyze, `create index concurrently`) writes no row and is not waited for:
//! an autovacuum of a large table would outlast any window. Nobody of ours is left out: our applier does not write the
//! side that is being fenced, and a lock of our own would be our own fault to see.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use journal::{EffectId, EffectSpec, Evidence, Finding, GateMode, TableName};
use runtime::Clock;
use tokio_postgres::{Client, GenericClient};

use crate::postgres::database::Database;
use crate::postgres::fence;
use crate::postgres::receipt::{acted, epoch_is_current, is_missing, lock_gate};
use crate::seams::{Acted, Authority, EffectError, Probe};

/// The tables `$1` (schemas), `$2` (names) and all that inherits from them, as `tree (oid, depth)`.
pub(crate) const TREE: &str = "with recursive tree (oid, depth) as ( \
     select c.oid, 0 from unnest($1::text[], $2::text[]) as w (schema, name) \
     join pg_namespace n on n.nspname = w.schema \
     join pg_class c on c.relnamespace = n.oid and c.relname = w.name and c.relkind in ('r', 'p') \
     union \
     select i.inhrelid, tree.depth + 1 from tree join pg_inherits i on i.inhparent = tree.oid)";

/// How long a quiet moment is waited for before a person is told who is in its way.
const QUIET_PATIENCE: Duration = Duration::from_secs(30);

/// How long an ended session may take to go.
const ENDING: Duration = Duration::from_secs(5);

/// How long one act of an observation waits.
const ACT: Duration = Duration::from_millis(400);

/// How often it looks meanwhile.
const LOOK: Duration = Duration::from_millis(20);

/// Tables as the two array parameters of [`TREE`].
pub(crate) fn columns(tables: &[TableName]) -> (Vec<&str>, Vec<&str>) {
    tables.iter().map(|table| (table.schema.as_str(), table.table.as_str())).unzip()
}

/// Those of the tables that are not there.
///
/// # Errors
/// The database's own.
pub async fn missing(
    client: &impl GenericClient,
    tables: &[TableName],
) -> Result<Vec<String>, tokio_postgres::Error> {
    let sql = "select w.schema || '.' || w.name from unnest($1::text[], $2::text[]) as w (schema, name) \
               where not exists (select from pg_namespace n join pg_class c on c.relnamespace = n.oid \
                                 where n.nspname = w.schema and c.relname = w.name and c.relkind in ('r', 'p'))";
    let (schemas, names) = columns(tables);
    let rows = client.query(sql, &[&schemas, &names]).await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// A transaction that holds a write lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WriteHolder {
    /// Its session; none for a prepared transaction.
    pub pid: Option<i32>,
    /// Its role, if we may see it.
    pub user: String,
    /// Its application's name, if we may see it.
    pub application: String,
    /// How long it has been open, in milliseconds, if we may see it.
    pub age_ms: Option<i64>,
    /// Its global id, if it is prepared.
    pub prepared: Option<String>,
    /// The tables it holds.
    pub tables: String,
}

impl fmt::Display for WriteHolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.pid, &self.prepared) {
            (Some(pid), _) => write!(f, "pid {pid}")?,
            (None, Some(gid)) => write!(f, "prepared transaction {gid}")?,
            (None, None) => write!(f, "a prepared transaction")?,
        }
        write!(f, " (user {}", self.user)?;
        if !self.application.is_empty() {
            write!(f, ", application {}", self.application)?;
        }
        match self.age_ms {
            Some(age) => write!(f, ", open for {age} ms, on {})", self.tables),
            None => write!(f, ", on {})", self.tables),
        }
    }
}

/// The locks that a write takes, and those that are stronger.
const WRITE_LOCKS: [&str; 5] =
    ["RowExclusiveLock", "ShareLock", "ShareRowExclusiveLock", "ExclusiveLock", "AccessExclusiveLock"];

/// The locks that dropping waits for: every one.
pub(crate) const BESIDE_NOBODY: &[&str] = &[
    "AccessShareLock",
    "RowShareLock",
    "RowExclusiveLock",
    "ShareUpdateExclusiveLock",
    "ShareLock",
    "ShareRowExclusiveLock",
    "ExclusiveLock",
    "AccessExclusiveLock",
];

/// The locks that making a trigger or a foreign key waits for: those of writers, and of a vacuum; not those of readers.
pub(crate) const BESIDE_READERS: &[&str] = BESIDE_NOBODY.split_at(2).1;

/// The holders of a write lock on the tables and what inherits from them, by virtual transaction id.
///
/// # Errors
/// The database's own.
pub async fn holders(
    client: &impl GenericClient,
    tables: &[TableName],
) -> Result<BTreeMap<String, WriteHolder>, tokio_postgres::Error> {
    lock_holders(client, tables, &WRITE_LOCKS).await
}

/// Whether anybody here but us may be a writer whose transaction is older than this, in milliseconds: seen so, or hidden from
/// us, or prepared. It asks far less of the server than [`holders`].
///
/// # Errors
/// The database's own.
pub async fn may_be_old(client: &impl GenericClient, age_ms: i64) -> Result<bool, tokio_postgres::Error> {
    let sql = "select exists (select from pg_prepared_xact()) or exists ( \
                 select from pg_stat_get_activity(null) a \
                 where a.datid = (select d.oid from pg_database d where d.datname = current_database()) \
                   and coalesce(a.application_name, '') not like 'switchyard%' \
                   and (a.xact_start <= clock_timestamp() - $1 * interval '1 ms' \
                        or a.xact_start is null and a.state is null))";
    Ok(client.query_one(sql, &[&(age_ms as f64)]).await?.get(0))
}

/// The same of locks of these modes.
///
/// # Errors
/// The database's own.
pub(crate) async fn lock_holders(
    client: &impl GenericClient,
    tables: &[TableName],
    modes: &[&str],
) -> Result<BTreeMap<String, WriteHolder>, tokio_postgres::Error> {
    // pg_locks is read once, so that all of it is of one instant.
    let sql = format!(
        "{TREE}, locks as materialized (select * from pg_locks where granted), \
         held as (select l.virtualtransaction as vxid, min(l.pid) as pid, \
                    string_agg(distinct l.relation::regclass::text, ', ') as tables \
             from locks l join tree on tree.oid = l.relation \
             where l.locktype = 'relation' \
               and l.database = (select d.oid from pg_database d where d.datname = current_database()) \
               and l.mode = any ($3::text[]) \
             group by l.virtualtransaction) \
         select h.vxid, h.pid, coalesce(a.usename::text, p.owner::text, a.backend_type, 'unknown'), \
                coalesce(a.application_name, ''), \
                (extract(epoch from clock_timestamp() - coalesce(a.xact_start, p.prepared)) * 1000)::bigint, \
                p.gid, h.tables \
         from held h \
         left join pg_stat_activity a on a.pid = h.pid \
         left join pg_prepared_xacts p on h.pid is null and exists ( \
             select from locks x where x.locktype = 'transactionid' and x.virtualtransaction = h.vxid \
               and x.transactionid = p.transaction)"
    );
    let (schemas, names) = columns(tables);
    let rows = client.query(&sql, &[&schemas, &names, &modes]).await?;
    Ok(rows
        .iter()
        .map(|row| {
            let holder = WriteHolder {
                pid: row.get(1),
                user: row.get(2),
                application: row.get(3),
                age_ms: row.get(4),
                prepared: row.get(5),
                tables: row.get(6),
            };
            (row.get(0), holder)
        })
        .collect())
}

/// What one effect's waiting has seen so far, in this process. All of it may be lost.
#[derive(Debug)]
struct Waiting {
    /// When it began here.
    since: Instant,
    /// Who held a write lock when it began; none until they could be captured.
    captured: Option<BTreeMap<String, WriteHolder>>,
    /// When each holder was first seen, for those whose age is hidden from us.
    first_seen: BTreeMap<String, Instant>,
    /// Whom we ended, and when.
    ended: Vec<String>,
    ended_at: Option<Instant>,
}

impl Waiting {
    fn new(now: Instant) -> Self {
        Self { since: now, captured: None, first_seen: BTreeMap::new(), ended: Vec::new(), ended_at: None }
    }
}

/// The waits in progress, by effect.
#[derive(Debug, Default)]
pub struct Waits {
    waiting: Mutex<BTreeMap<EffectId, Waiting>>,
}

/// What an `AwaitWriters` asks for.
#[derive(Debug, Clone, Copy)]
pub struct WaitOut<'e> {
    /// The tables.
    pub tables: &'e [TableName],
    /// How long before it is an error.
    pub patience: Duration,
    /// Whether sessions are ended then.
    pub terminate: bool,
}

/// What to do about writers that are open when the patience is over. A held failback is gone on with, an undone switch is
/// asked for anew.
fn still_open(terminate: bool) -> String {
    let next = if terminate {
        "a longer `fence_patience` in the plan waits for them; `terminate_blockers` ends no prepared transaction"
    } else {
        "`terminate_blockers = true` in the plan ends such sessions, but no prepared transaction, and a longer \
         `fence_patience` waits for them"
    };
    format!(
        "End these transactions, a prepared one with COMMIT PREPARED or ROLLBACK PREPARED. If the operation is held say \
         `retry`; if it was undone ask for it again. The next time {next}."
    )
}

/// What the patience has come to.
enum Verdict {
    Gone(Evidence),
    Wait,
    End(Vec<String>),
    Over(Vec<String>),
}

impl Waits {
    fn with<T>(&self, id: EffectId, now: Instant, see: impl FnOnce(&mut Waiting) -> T) -> T {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        see(waiting.entry(id).or_insert_with(|| Waiting::new(now)))
    }

    fn forget(&self, id: EffectId) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
    }

    /// Who of the captured is left, and what follows from the patience.
    fn judge(
        &self,
        id: EffectId,
        now: Instant,
        held: BTreeMap<String, WriteHolder>,
        asked: WaitOut<'_>,
    ) -> Verdict {
        self.with(id, now, |waiting| {
            let captured = waiting.captured.get_or_insert_with(|| held.clone());
            let left: BTreeMap<&String, &WriteHolder> =
                held.iter().filter(|(vxid, who)| who.pid.is_none() || captured.contains_key(*vxid)).collect();
            let waited = now.duration_since(waiting.since);
            if left.is_empty() {
                let mut evidence = Evidence::from([
                    ("waited_ms".to_owned(), waited.as_millis().to_string()),
                    ("waited_out".to_owned(), captured.len().to_string()),
                ]);
                for (at, who) in captured.values().enumerate() {
                    evidence.insert(format!("writer_{}", at + 1), who.to_string());
                }
                for (at, who) in waiting.ended.iter().enumerate() {
                    evidence.insert(format!("ended_{}", at + 1), who.clone());
                }
                return Verdict::Gone(evidence);
            }
            if waited < asked.patience {
                return Verdict::Wait;
            }
            let named = left.values().map(ToString::to_string).collect();
            let can_end = asked.terminate && left.values().any(|who| who.pid.is_some());
            match waiting.ended_at {
                None if can_end => Verdict::End(
                    left.iter().filter(|(_, who)| who.pid.is_some()).map(|(v, _)| (*v).clone()).collect(),
                ),
                Some(at) if can_end && now.duration_since(at) < ENDING => Verdict::Wait,
                Some(_) | None => Verdict::Over(named),
            }
        })
    }

    /// `AwaitWriters`: whether every writer that was open when the gate closed has ended.
    pub async fn probe_writers(
        &self,
        database: &Database,
        spec: &EffectSpec,
        asked: WaitOut<'_>,
        clock: &dyn Clock,
    ) -> Probe {
        let mut session = match database.session().await {
            Ok(session) => session,
            Err(cause) => return Probe::Unreachable(cause),
        };
        let seen = match closed_holders(&mut session, database, spec, asked.tables).await {
            Ok(seen) => seen,
            Err(error) if is_missing(&error) => return not_closed(database, spec),
            Err(error) => return Probe::Unreachable(database.cause("does not name its writers", &error)),
        };
        session.done();
        let held = match seen {
            Closed::No => {
                self.forget(spec.id);
                return not_closed(database, spec);
            }
            Closed::Ending => return Probe::Absent,
            Closed::Yes(held) => held,
        };
        match self.judge(spec.id, clock.monotonic(), held, asked) {
            Verdict::Gone(evidence) => Probe::Ours(evidence),
            Verdict::Wait | Verdict::End(_) => Probe::Absent,
            Verdict::Over(named) => {
                self.forget(spec.id);
                Probe::Differs(Finding {
                    code: "SW-0503".to_owned(),
                    what: format!(
                        "writers of phase {} that were open when the {}'s gate closed are still open after {} ms: {}",
                        spec.phase,
                        database.side(),
                        asked.patience.as_millis(),
                        named.join("; ")
                    ),
                    remedy: still_open(asked.terminate),
                })
            }
        }
    }

    /// `AwaitWriters`: waits a moment; ends the sessions named once the patience is over, if the plan says so.
    pub async fn act_writers(
        &self,
        database: &Database,
        (spec, under): (&EffectSpec, Authority),
        asked: WaitOut<'_>,
        clock: &dyn Clock,
    ) -> Acted {
        let mut session = match database.session().await {
            Ok(session) => session,
            Err(cause) => return Acted::Unknown(EffectError(cause.0)),
        };
        let until = clock.monotonic() + ACT;
        loop {
            let verdict = match closed_holders(&mut session, database, spec, asked.tables).await {
                Ok(Closed::Yes(held)) => self.judge(spec.id, clock.monotonic(), held, asked),
                Ok(Closed::Ending) => Verdict::Wait,
                Ok(Closed::No) => break,
                Err(error) => return acted(database, &error),
            };
            match verdict {
                Verdict::Gone(_) | Verdict::Over(_) => break,
                Verdict::Wait => {}
                Verdict::End(vxids) => match end(&mut session, database, (spec, under), &vxids).await {
                    Ok(ended) => self.with(spec.id, clock.monotonic(), |waiting| {
                        waiting.ended.extend(ended);
                        waiting.ended_at = Some(clock.monotonic());
                    }),
                    Err(error) => return acted(database, &error),
                },
            }
            if clock.monotonic() >= until {
                break;
            }
            clock.sleep(LOOK).await;
        }
        session.done();
        Acted::Done(Evidence::new())
    }

    /// `AwaitQuiet`: whether no transaction older than this holds a write lock.
    pub async fn probe_quiet(
        &self,
        database: &Database,
        spec: &EffectSpec,
        (tables, older_than): (&[TableName], Duration),
        clock: &dyn Clock,
    ) -> Probe {
        let session = match database.session().await {
            Ok(session) => session,
            Err(cause) => return Probe::Unreachable(cause),
        };
        let held = match holders(&*session, tables).await {
            Ok(held) => held,
            Err(error) => return Probe::Unreachable(database.cause("does not name its writers", &error)),
        };
        session.done();
        let now = clock.monotonic();
        let (old, waited) = self.with(spec.id, now, |waiting| {
            waiting.first_seen.retain(|vxid, _| held.contains_key(vxid));
            let mut old = Vec::new();
            for (vxid, who) in &held {
                let seen = *waiting.first_seen.entry(vxid.clone()).or_insert(now);
                let age = who.age_ms.map_or_else(
                    || now.duration_since(seen),
                    |age| Duration::from_millis(u64::try_from(age).unwrap_or(0)),
                );
                if age > older_than {
                    old.push(who.to_string());
                }
            }
            (old, now.duration_since(waiting.since))
        });
        if old.is_empty() {
            return Probe::Ours(Evidence::from([
                ("writers".to_owned(), held.len().to_string()),
                ("waited_ms".to_owned(), waited.as_millis().to_string()),
            ]));
        }
        tracing::info!(phase = %spec.phase, side = %database.side(), blockers = %old.join("; "),
            "long transactions hold write locks");
        if waited < QUIET_PATIENCE {
            return Probe::Absent;
        }
        self.forget(spec.id);
        Probe::Differs(Finding {
            code: "SW-0507".to_owned(),
            what: format!(
                "phase {} on the {} has had a writing transaction older than {} ms for {} s: {}",
                spec.phase,
                database.side(),
                older_than.as_millis(),
                waited.as_secs(),
                old.join("; ")
            ),
            remedy: "Let these transactions end or end them, then `retry`: a switch would have to wait for them with \
                     the traffic stopped."
                .to_owned(),
        })
    }
}

fn not_closed(database: &Database, spec: &EffectSpec) -> Probe {
    Probe::Differs(Finding {
        code: "SW-0502".to_owned(),
        what: format!(
            "the gate of phase {} on the {} is not closed, so nobody can be waited out",
            spec.phase,
            database.side()
        ),
        remedy: "A later intent opened it. Look at the journal; the operation has to begin again.".to_owned(),
    })
}

/// The gate, and the holders as they were at one instant after it had closed.
enum Closed {
    No,
    /// Its transaction has committed and not yet told everybody.
    Ending,
    Yes(BTreeMap<String, WriteHolder>),
}

async fn closed_holders(
    client: &mut Client,
    database: &Database,
    spec: &EffectSpec,
    tables: &[TableName],
) -> Result<Closed, tokio_postgres::Error> {
    let tx = client.transaction().await?;
    let row = lock_gate(&tx, database.migration(), &spec.phase).await?;
    let is_closed = row.is_none_or(|row| row.mode == GateMode::Closed)
        && fence::function_follows(&tx, database, &spec.phase, GateMode::Closed).await?;
    let seen = match row {
        _ if !is_closed => Closed::No,
        Some(row) if row.is_ending => Closed::Ending,
        // The statement that reads the locks begins after the row was seen closed.
        Some(_) | None => Closed::Yes(holders(&tx, tables).await?),
    };
    tx.commit().await?;
    Ok(seen)
}

/// Ends the sessions of these transactions, if they are still in them and we are still the newest holder.
async fn end(
    client: &mut Client,
    database: &Database,
    (spec, under): (&EffectSpec, Authority),
    vxids: &[String],
) -> Result<Vec<String>, tokio_postgres::Error> {
    let tx = client.transaction().await?;
    if !epoch_is_current(&tx, database.migration(), &spec.phase, under.epoch).await? {
        return Ok(Vec::new());
    }
    let sql = "with found as materialized ( \
                   select distinct l.pid, a.usename::text as usename, a.application_name \
                   from pg_locks l left join pg_stat_activity a on a.pid = l.pid \
                   where l.virtualtransaction = any ($1::text[]) and l.pid is not null) \
               select pid, coalesce(usename, 'unknown'), coalesce(application_name, ''), \
                      pg_terminate_backend(pid) from found";
    let rows = tx.query(sql, &[&vxids]).await?;
    tx.commit().await?;
    let mut ended = Vec::with_capacity(rows.len());
    for row in &rows {
        let (pid, user, application): (i32, &str, &str) = (row.get(0), row.get(1), row.get(2));
        tracing::warn!(pid, user, application, phase = %spec.phase, "ended a writer whose patience was over");
        ended.push(format!("pid {pid} (user {user}, application {application})"));
    }
    Ok(ended)
}

/// Waits a moment, for an observation that has no better condition.
pub async fn moment(clock: &dyn Clock) -> Acted {
    clock.sleep(ACT / 2).await;
    Acted::Done(Evidence::new())
}
