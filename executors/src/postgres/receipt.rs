//! Admission of effects at a database, and the receipts they leave.
//!
//! The race: an executor sends "open the target" and loses the connection at COMMIT. It probes, reads "closed" since
//! the statement is not committed yet, undoes and opens the source; then the late COMMIT opens the target: two writers.
//! Likewise an executor that was stopped past its lease and goes on. Leases cannot reach either; the gate row can. Every
//! effect locks the phase's row, and is refused unless its epoch is at least the highest seen and its intent's position
//! is higher than the highest seen, in its own transaction. A probe locks the row too, under a lock timeout: it so waits
//! for an effect in flight, and "absent" is never "not yet committed". Whoever undoes takes a higher position, so what
//! comes late is refused.

use journal::{EffectSpec, Epoch, Evidence, GateMode, MigrationName, PhaseName, Position};
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, GenericClient, Transaction};

use crate::postgres::database::{Database, chain};
use crate::seams::{Acted, Authority, Cause, EffectError, Probe};

/// How long a probe or an effect waits for the gate row. An effect in flight holds it for its own transaction.
pub const GATE_LOCK_TIMEOUT: &str = "set local lock_timeout = '2s'";

/// The strongest durability there is: the standby's too, where one is waited for.
pub const STRONGEST_COMMIT: &str = "select set_config('synchronous_commit', \
     case when current_setting('synchronous_standby_names') = '' then 'on' else 'remote_apply' end, true)";

/// The answer of the gate row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Admission {
    /// Go on; the row's epoch and position were raised, in this transaction.
    Admitted,
    /// This very effect is there already.
    Already(Evidence),
    /// A newer holder or a later intent was here.
    Refused(EffectError),
}

impl Admission {
    /// How the act ends when it was not admitted now; none if it goes on.
    #[must_use]
    pub fn ended(self) -> Option<Acted> {
        match self {
            Self::Admitted => None,
            Self::Already(evidence) => Some(Acted::Done(evidence)),
            Self::Refused(why) => Some(Acted::Definite(why)),
        }
    }
}

/// A phase's gate row, as it stands under its lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GateRow {
    /// Who may write the phase here.
    pub mode: GateMode,
    /// The highest epoch seen.
    pub epoch: i64,
    /// The position of the highest intent applied.
    pub position: i64,
    /// Whether the transaction that wrote this version is still ending: committed, its locks not yet released.
    pub is_ending: bool,
}

/// Locks the phase's gate row, under the lock timeout, and reads it. None: there is no row, which means closed.
///
/// # Errors
/// The database's own, a lock timeout (55P03) included.
pub async fn lock_gate(
    tx: &Transaction<'_>,
    migration: &MigrationName,
    phase: &PhaseName,
) -> Result<Option<GateRow>, tokio_postgres::Error> {
    tx.batch_execute(GATE_LOCK_TIMEOUT).await?;
    let sql = "select g.mode, g.epoch, g.position, \
                      exists (select from pg_locks l where l.locktype = 'transactionid' \
                              and l.transactionid = g.xmin and l.pid is distinct from pg_backend_pid()) \
               from _switchyard.gate g where g.migration = $1 and g.phase = $2 for update of g";
    let row = tx.query_opt(sql, &[&migration.as_str(), &phase.as_str()]).await?;
    Ok(row.map(|row| GateRow {
        mode: GateMode::of_word(row.get(0)),
        epoch: row.get(1),
        position: row.get(2),
        is_ending: row.get(3),
    }))
}

/// The effect's receipt, if it is there.
///
/// # Errors
/// The database's own.
pub async fn receipt(
    client: &impl GenericClient,
    spec: &EffectSpec,
) -> Result<Option<Evidence>, tokio_postgres::Error> {
    let sql = "select evidence from _switchyard.receipt where effect = $1";
    let row = client.query_opt(sql, &[&spec.id.to_string()]).await?;
    Ok(row.map(|row| serde_json::from_str(&row.get::<_, String>(0)).unwrap_or_default()))
}

/// Locks the phase's gate row and admits the effect, or not. The row must be there.
///
/// # Errors
/// The database's own, a lock timeout (55P03) included.
pub async fn admit(
    tx: &Transaction<'_>,
    migration: &MigrationName,
    spec: &EffectSpec,
    under: Authority,
) -> Result<Admission, tokio_postgres::Error> {
    admit_above(tx, migration, (spec, under), signed(under.position.get()) - 1).await
}

/// The same for an effect of several transactions, of which only the last leaves the receipt: a row that this very intent
/// raised, in an earlier attempt, does not refuse it. Two intents never have the same position.
///
/// # Errors
/// The database's own, a lock timeout (55P03) included.
pub async fn admit_in_parts(
    tx: &Transaction<'_>,
    migration: &MigrationName,
    spec: &EffectSpec,
    under: Authority,
) -> Result<Admission, tokio_postgres::Error> {
    admit_above(tx, migration, (spec, under), signed(under.position.get())).await
}

/// Shares the gate row with the stream's batches until the transaction ends, if it is as [`admit_in_parts`] left it. Nobody
/// passes the gate meanwhile. Some: why not.
///
/// # Errors
/// The database's own, a lock timeout (55P03) included.
pub async fn share_gate(
    tx: &Transaction<'_>,
    migration: &MigrationName,
    spec: &EffectSpec,
    under: Authority,
) -> Result<Option<EffectError>, tokio_postgres::Error> {
    tx.batch_execute(GATE_LOCK_TIMEOUT).await?;
    let sql = "select epoch = $3 and position = $4 from _switchyard.gate \
               where migration = $1 and phase = $2 for share";
    let (epoch, position) = (signed(under.epoch.get()), signed(under.position.get()));
    let row = tx.query_opt(sql, &[&migration.as_str(), &spec.phase.as_str(), &epoch, &position]).await?;
    Ok((!row.is_some_and(|row| row.get(0))).then(|| {
        EffectError(format!(
            "refused at the gate: a later intent or a newer holder was here after {}",
            under.position
        ))
    }))
}

/// Admits an effect to a row of this position at most.
async fn admit_above(
    tx: &Transaction<'_>,
    migration: &MigrationName,
    (spec, under): (&EffectSpec, Authority),
    at_most: i64,
) -> Result<Admission, tokio_postgres::Error> {
    let Some(row) = lock_gate(tx, migration, &spec.phase).await? else {
        return Ok(Admission::Refused(EffectError(format!(
            "phase {} has no gate row here, and a missing row means closed",
            spec.phase
        ))));
    };
    if let Some(evidence) = receipt(tx, spec).await? {
        return Ok(Admission::Already(evidence));
    }
    let (epoch, position) = (row.epoch, row.position);
    if signed(under.epoch.get()) < epoch || position > at_most {
        return Ok(Admission::Refused(EffectError(format!(
            "refused at the gate: it has seen epoch {epoch} and position {position}, and epoch {} and position {} are not \
             after that",
            under.epoch, under.position
        ))));
    }
    let raise = "update _switchyard.gate set epoch = $3, position = $4 where migration = $1 and phase = $2";
    let values = (signed(under.epoch.get()), signed(under.position.get()));
    tx.execute(raise, &[&migration.as_str(), &spec.phase.as_str(), &values.0, &values.1]).await?;
    Ok(Admission::Admitted)
}

/// Writes the effect's receipt, in its own transaction.
///
/// # Errors
/// The database's own.
pub async fn leave(
    tx: &Transaction<'_>,
    migration: &MigrationName,
    spec: &EffectSpec,
    under: Authority,
    evidence: &Evidence,
) -> Result<(), tokio_postgres::Error> {
    let sql = "insert into _switchyard.receipt (effect, migration, phase, label, epoch, position, evidence) \
               values ($1, $2, $3, $4, $5, $6, $7)";
    let evidence = serde_json::to_string(evidence).unwrap_or_else(|_| "{}".to_owned());
    let (epoch, position) = (signed(under.epoch.get()), signed(under.position.get()));
    tx.execute(
        sql,
        &[
            &spec.id.to_string(),
            &migration.as_str(),
            &spec.phase.as_str(),
            &spec.effect.label(),
            &epoch,
            &position,
            &evidence,
        ],
    )
    .await?;
    Ok(())
}

/// Whether the effect's receipt is there: locks the gate row first, so that an effect in flight is waited for.
pub async fn probe_receipt(database: &Database, spec: &EffectSpec) -> Probe {
    let mut session = match database.session().await {
        Ok(session) => session,
        Err(cause) => return Probe::Unreachable(cause),
    };
    match locked_receipt(&mut session, database.migration(), spec).await {
        Ok(found) => {
            session.done();
            found.map_or(Probe::Absent, Probe::Ours)
        }
        // Our schema is not there, so nothing of ours is.
        Err(error) if is_missing(&error) => Probe::Absent,
        Err(error) => Probe::Unreachable(held_up(database, &spec.phase, "cannot be probed", &error).await),
    }
}

async fn locked_receipt(
    client: &mut Client,
    migration: &MigrationName,
    spec: &EffectSpec,
) -> Result<Option<Evidence>, tokio_postgres::Error> {
    let tx = client.transaction().await?;
    lock_gate(&tx, migration, &spec.phase).await?;
    let found = receipt(&tx, spec).await?;
    tx.commit().await?;
    Ok(found)
}

/// Holds a chunk or a batch against the phase's epoch, sharing the row, and raises nothing. `false`: a newer holder.
///
/// # Errors
/// The database's own.
pub async fn epoch_is_current(
    tx: &Transaction<'_>,
    migration: &MigrationName,
    phase: &PhaseName,
    epoch: Epoch,
) -> Result<bool, tokio_postgres::Error> {
    let sql = "select epoch <= $3 from _switchyard.gate where migration = $1 and phase = $2 for share";
    let row = tx.query_opt(sql, &[&migration.as_str(), &phase.as_str(), &signed(epoch.get())]).await?;
    Ok(row.is_some_and(|row| row.get(0)))
}

/// Raises the phase's epoch at a side, before a new holder's first effect that opens. `false`: a newer one was here.
///
/// # Errors
/// The side cannot be reached.
pub async fn raise_epoch(database: &Database, phase: &PhaseName, epoch: Epoch) -> Result<bool, Cause> {
    let mut session = database.session().await?;
    match raised(&mut session, database, phase, epoch).await {
        Ok(newest) => {
            session.done();
            Ok(newest.is_none_or(|newest| newest <= signed(epoch.get())))
        }
        Err(error) if is_missing(&error) => Ok(true),
        Err(error) => Err(held_up(database, phase, "does not take the new epoch", &error).await),
    }
}

/// Whether a side takes a write for this phase, over a connection of its own and committed as durably as its gate: the
/// epoch, raised. `false`: a newer one was here.
///
/// # Errors
/// It does not.
pub async fn answers(database: &Database, phase: &PhaseName, epoch: Epoch) -> Result<bool, Cause> {
    let mut client = database.connect().await?;
    match raised(&mut client, database, phase, epoch).await {
        Ok(Some(newest)) => Ok(newest <= signed(epoch.get())),
        Ok(None) => Err(Cause(format!("the {} has no gate row of phase {phase}", database.side()))),
        Err(error) => Err(held_up(database, phase, "does not take a write", &error).await),
    }
}

async fn raised(
    client: &mut Client,
    database: &Database,
    phase: &PhaseName,
    epoch: Epoch,
) -> Result<Option<i64>, tokio_postgres::Error> {
    let tx = client.transaction().await?;
    tx.batch_execute(GATE_LOCK_TIMEOUT).await?;
    tx.query_one(STRONGEST_COMMIT, &[]).await?;
    let sql = "update _switchyard.gate set epoch = greatest(epoch, $3) where migration = $1 and phase = $2 \
               returning epoch";
    let values: [&(dyn tokio_postgres::types::ToSql + Sync); 3] =
        [&database.migration().as_str(), &phase.as_str(), &signed(epoch.get())];
    let newest = tx.query_opt(sql, &values).await?.map(|row| row.get(0));
    tx.commit().await?;
    Ok(newest)
}

/// Why the gate row could not be had. If its lock was waited for in vain, a session of ours that holds it is ended, so
/// that the next try can tell.
pub async fn held_up(
    database: &Database,
    phase: &PhaseName,
    what: &str,
    error: &tokio_postgres::Error,
) -> Cause {
    if error.code() == Some(&SqlState::LOCK_NOT_AVAILABLE) {
        end_stale_holder(database, phase).await;
    }
    database.cause(what, error)
}

/// Ends sessions of ours that have held the gate row for as long as a probe waits: of an executor that was stopped in
/// mid-transaction, or whose COMMIT does not come, or waits for a standby. What is in flight ends in milliseconds; ended,
/// it is there whole or not at all, and the next probe can tell. Somebody else's session is left alone.
async fn end_stale_holder(database: &Database, phase: &PhaseName) {
    let Ok(session) = database.session().await else { return };
    // Whoever holds a row lock holds its table's lock too; several sharers have no single transaction id to look for.
    let sql = "select pg_terminate_backend(a.pid) from pg_stat_activity a \
               where a.application_name = $1 and a.pid <> pg_backend_pid() \
                 and (a.state = 'idle in transaction' or a.wait_event = 'SyncRep') \
                 and a.xact_start < clock_timestamp() - interval '2 seconds' \
                 and exists (select from pg_locks l where l.pid = a.pid and l.granted \
                             and l.relation = '_switchyard.gate'::regclass \
                             and l.mode in ('RowShareLock', 'RowExclusiveLock'))";
    let name = format!("switchyard {}", database.migration());
    match session.query(sql, &[&name]).await {
        Ok(ended) => {
            if !ended.is_empty() {
                tracing::warn!(side = %database.side(), %phase, "ended a session of ours that held the gate row");
            }
            session.done();
        }
        Err(error) => {
            tracing::debug!(cause = %database.cause("does not say who holds the gate row", &error), "probing");
        }
    }
}

/// An act's end from its error: definite only when the server said so about a statement, never for a lost connection
/// or a lost COMMIT.
#[must_use]
pub fn acted(database: &Database, error: &tokio_postgres::Error) -> Acted {
    let text = EffectError(database.scrub(&chain(error)));
    match error.code() {
        Some(code) if is_definite(code) => Acted::Definite(text),
        Some(_) | None => Acted::Unknown(text),
    }
}

/// Whether a code means that the statement did nothing and waiting will not change that. Lock timeouts, deadlocks,
/// serialisation failures, shutdowns and resource shortages (classes 08, 40, 53, 55P03, 57, 58) pass, and so does a
/// catalog row that another replaced at the same instant (XX000).
fn is_definite(code: &SqlState) -> bool {
    let code = code.code();
    !(["08", "40", "53", "57", "58"].iter().any(|class| code.starts_with(class))
        || code == "55P03"
        || code == "55006"
        || code == "XX000")
}

/// Whether an error says that our schema or a table of it is not there.
#[must_use]
pub fn is_missing(error: &tokio_postgres::Error) -> bool {
    error
        .code()
        .is_some_and(|code| *code == SqlState::UNDEFINED_TABLE || *code == SqlState::INVALID_SCHEMA_NAME)
}

/// Positions and epochs as PostgreSQL's bigint.
#[must_use]
pub fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// And back.
#[must_use]
pub fn position(value: i64) -> Position {
    Position::new(u64::try_from(value).unwrap_or(0))
}
