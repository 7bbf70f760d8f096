//! What a comparison asks of the two databases, and the verdict it leaves on the target.
//!
//! A verdict is a receipt. That both sides are equal is true for ever of the place it names. That they differ is not:
//! people put it right and ask again. So a difference counts only under the very intent that found it; under a later one
//! it is absent, and the next act takes its place.

use std::collections::BTreeMap;

use journal::{Direction, EffectSpec, Evidence, Finding, Lsn, PhaseName, TableName};
use tokio_postgres::{Client, Transaction};

use crate::postgres::database::{Database, Session};
use crate::postgres::quote::literal;
use crate::postgres::receipt::{Admission, GATE_LOCK_TIMEOUT, acted, admit, is_missing, leave, signed};
use crate::seams::{Acted, Authority, Cause, EffectError, Probe};

/// The evidence's key of a difference.
const DIFFERENCE: &str = "difference";

/// A verdict as evidence.
#[must_use]
pub fn differs(mut evidence: Evidence, finding: &Finding) -> Evidence {
    evidence.insert(DIFFERENCE.to_owned(), finding.what.clone());
    evidence.insert("code".to_owned(), finding.code.clone());
    evidence.insert("remedy".to_owned(), finding.remedy.clone());
    evidence
}

fn finding(evidence: &Evidence) -> Option<Finding> {
    let text = |key: &str| evidence.get(key).cloned().unwrap_or_default();
    evidence.contains_key(DIFFERENCE).then(|| Finding {
        code: text("code"),
        what: text(DIFFERENCE),
        remedy: text("remedy"),
    })
}

async fn lock_gate(
    tx: &Transaction<'_>,
    target: &Database,
    spec: &EffectSpec,
) -> Result<(), tokio_postgres::Error> {
    tx.batch_execute(GATE_LOCK_TIMEOUT).await?;
    let lock = "select 1 from _switchyard.gate where migration = $1 and phase = $2 for update";
    tx.query_opt(lock, &[&target.migration().as_str(), &spec.phase.as_str()]).await?;
    Ok(())
}

/// The verdict, if there is one that counts. Locks the gate row, so that one in flight is waited for.
pub async fn probe_verdict(target: &Database, spec: &EffectSpec, under: Authority) -> Probe {
    let mut session = match target.session().await {
        Ok(session) => session,
        Err(cause) => return Probe::Unreachable(cause),
    };
    match read_verdict(&mut session, target, spec).await {
        Ok(found) => {
            session.done();
            let Some((evidence, position)) = found else { return Probe::Absent };
            match finding(&evidence) {
                None => Probe::Ours(evidence),
                Some(finding) if position == signed(under.position.get()) => Probe::Differs(finding),
                Some(_) => Probe::Absent,
            }
        }
        Err(error) if is_missing(&error) => Probe::Absent,
        Err(error) => Probe::Unreachable(target.cause("cannot be probed", &error)),
    }
}

async fn read_verdict(
    client: &mut Client,
    target: &Database,
    spec: &EffectSpec,
) -> Result<Option<(Evidence, i64)>, tokio_postgres::Error> {
    let tx = client.transaction().await?;
    lock_gate(&tx, target, spec).await?;
    let sql = "select evidence, position from _switchyard.receipt where effect = $1";
    let row = tx.query_opt(sql, &[&spec.id.to_string()]).await?;
    tx.commit().await?;
    Ok(row.map(|row| (serde_json::from_str(row.get(0)).unwrap_or_default(), row.get(1))))
}

/// Leaves a verdict on the target, in the place of a difference of an earlier intent.
pub async fn leave_verdict(
    target: &Database,
    spec: &EffectSpec,
    under: Authority,
    evidence: &Evidence,
) -> Acted {
    let mut session = match target.session().await {
        Ok(session) => session,
        Err(cause) => return Acted::Unknown(EffectError(cause.to_string())),
    };
    match try_leave(&mut session, target, spec, (under, evidence)).await {
        Ok(Admission::Admitted) => {
            session.done();
            Acted::Done(evidence.clone())
        }
        Ok(Admission::Already(there)) => Acted::Done(there),
        Ok(Admission::Refused(error)) => Acted::Definite(error),
        Err(error) => acted(target, &error),
    }
}

async fn try_leave(
    client: &mut Client,
    target: &Database,
    spec: &EffectSpec,
    verdict: (Authority, &Evidence),
) -> Result<Admission, tokio_postgres::Error> {
    let (under, evidence) = verdict;
    let tx = client.transaction().await?;
    lock_gate(&tx, target, spec).await?;
    let forget =
        "delete from _switchyard.receipt where effect = $1 and position < $2 and evidence::jsonb ? $3";
    tx.execute(forget, &[&spec.id.to_string(), &signed(under.position.get()), &DIFFERENCE]).await?;
    let admission = admit(&tx, target.migration(), spec, under).await?;
    if admission == Admission::Admitted {
        leave(&tx, target.migration(), spec, under, evidence).await?;
        tx.commit().await?;
    }
    Ok(admission)
}

/// The newest verdict on each of the tables, of the phase's whole comparisons.
///
/// # Errors
/// The target cannot be asked.
pub async fn newest_verdicts(
    target: &Database,
    phase: &PhaseName,
    tables: &[TableName],
) -> Result<BTreeMap<TableName, Evidence>, Cause> {
    let labels: Vec<String> = tables.iter().map(label).collect();
    let sql = "select distinct on (label) label, evidence from _switchyard.receipt \
               where migration = $1 and phase = $2 and label = any ($3) order by label, position desc";
    let session = target.session().await?;
    let rows = session
        .query(sql, &[&target.migration().as_str(), &phase.as_str(), &labels])
        .await
        .map_err(|error| target.cause("does not show what was compared", &error))?;
    session.done();
    let of = |table: &TableName| {
        let row = rows.iter().find(|row| row.get::<_, &str>(0) == label(table))?;
        Some((table.clone(), serde_json::from_str(row.get(1)).unwrap_or_default()))
    };
    Ok(tables.iter().filter_map(of).collect())
}

/// The label of a whole comparison of a table.
fn label(table: &TableName) -> String {
    format!("verify_table:{table}")
}

/// A place in a database's log, and a transaction id that every transaction committed before it is older than.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settled {
    /// The place.
    pub lsn: Lsn,
    /// The id.
    pub before: i64,
}

fn lsn(text: &str) -> Lsn {
    text.parse().unwrap_or_default()
}

/// Where a database's log ends now. The place is read first, so that the id, which is newer, bounds it.
///
/// # Errors
/// The database cannot be asked.
pub async fn settled(database: &Database) -> Result<Settled, Cause> {
    let fault = |error: tokio_postgres::Error| database.cause("does not say where its log ends", &error);
    let session = database.session().await?;
    let at = session.query_one("select pg_current_wal_insert_lsn()::text", &[]).await.map_err(fault)?;
    let id = session.query_one("select pg_current_xact_id()::text::int8", &[]).await.map_err(fault)?;
    session.done();
    Ok(Settled { lsn: lsn(at.get(0)), before: id.get(0) })
}

/// A read-only transaction whose snapshot is of this moment.
#[derive(Debug)]
pub struct Standing {
    /// Its connection.
    pub session: Session,
    /// Where the log ended.
    pub lsn: Lsn,
    /// No transaction older than this was still open.
    pub oldest: i64,
}

impl Standing {
    /// Whether everything that was committed before that place is in this snapshot.
    #[must_use]
    pub const fn holds(&self, settled: Settled) -> bool {
        self.oldest >= settled.before
    }
}

/// Begins a read-only transaction and takes its snapshot now. Keyed reads in it go by the key's index.
///
/// # Errors
/// The database cannot be asked.
pub async fn stand(database: &Database) -> Result<Standing, Cause> {
    let fault = |error: tokio_postgres::Error| database.cause("gives no snapshot", &error);
    let session = database.session().await?;
    session.batch_execute("begin isolation level repeatable read read only").await.map_err(fault)?;
    let sql = "select pg_current_wal_insert_lsn()::text, pg_snapshot_xmin(pg_current_snapshot())::text::int8";
    let row = session.query_one(sql, &[]).await.map_err(fault)?;
    Ok(Standing { lsn: lsn(row.get(0)), oldest: row.get(1), session })
}

/// Makes keyed reads of this transaction go by the key's index: a table that was just filled has no statistics, and a
/// scan of the whole of it in the window would be the downtime.
///
/// # Errors
/// The database's own.
pub async fn by_index(client: &Client) -> Result<(), tokio_postgres::Error> {
    client
        .batch_execute(
            "set local enable_seqscan = off; set local enable_hashjoin = off; set local enable_mergejoin = off",
        )
        .await
}

/// How many changed keys are read, and compared, at a time.
const PAGE: u32 = 2_000;

/// The keys of a phase that a side remembers as changed, of both directions, read once, page by page, in a transaction
/// under its snapshot. A key may come twice.
#[derive(Debug)]
pub struct ChangedKeys<'s> {
    session: &'s Session,
    database: &'s Database,
    is_open: bool,
}

impl<'s> ChangedKeys<'s> {
    /// Begins to read.
    ///
    /// # Errors
    /// The database cannot be asked.
    pub async fn open(
        session: &'s Session,
        database: &'s Database,
        phase: &PhaseName,
    ) -> Result<Self, Cause> {
        let keys = Self { session, database, is_open: true };
        let there = "select to_regclass('_switchyard.changed') is not null, \
                       exists (select from pg_attribute where attrelid = to_regclass('_switchyard.changed') \
                               and attname = 'long_key')";
        let there = session.query_one(there, &[]).await.map_err(|error| keys.fault(&error))?;
        let (is_there, has_long): (bool, bool) = (there.get(0), there.get(1));
        if !is_there {
            return Ok(Self { is_open: false, ..keys });
        }
        // Made by an earlier version it has no long keys.
        let key = if has_long { "coalesce(long_key, key)" } else { "key" };
        let sql = format!(
            "declare changed_keys no scroll cursor for select table_name, {key} from _switchyard.changed \
             where migration = {} and phase = {}",
            literal(database.migration().as_str()),
            literal(phase.as_str())
        );
        session.batch_execute(&sql).await.map_err(|error| keys.fault(&error))?;
        Ok(keys)
    }

    fn fault(&self, error: &tokio_postgres::Error) -> Cause {
        self.database.cause("does not show what changed", error)
    }

    /// The next page, by table; empty at the end.
    ///
    /// # Errors
    /// The database cannot be asked, or a remembered table's name is none.
    pub async fn next(&mut self) -> Result<BTreeMap<TableName, Vec<String>>, Cause> {
        let mut page: BTreeMap<TableName, Vec<String>> = BTreeMap::new();
        if !self.is_open {
            return Ok(page);
        }
        let sql = format!("fetch {PAGE} from changed_keys");
        for row in self.session.query(&sql, &[]).await.map_err(|error| self.fault(&error))? {
            let table = row.get::<_, &str>(0).parse().map_err(|error| {
                Cause(format!("the {} remembers a change of no table: {error}", self.database.side()))
            })?;
            page.entry(table).or_default().push(row.get(1));
        }
        Ok(page)
    }

    /// Ends it; the transaction goes on.
    ///
    /// # Errors
    /// The database cannot be asked.
    pub async fn close(self) -> Result<(), Cause> {
        if !self.is_open {
            return Ok(());
        }
        self.session.batch_execute("close changed_keys").await.map_err(|error| self.fault(&error))
    }
}

/// How many changed keys of a phase a side remembers.
///
/// # Errors
/// The database cannot be asked.
pub async fn count_changed(database: &Database, phase: &PhaseName) -> Result<u64, Cause> {
    let session = database.session().await?;
    let sql = "select count(*) from _switchyard.changed where migration = $1 and phase = $2";
    match session.query_one(sql, &[&database.migration().as_str(), &phase.as_str()]).await {
        Ok(row) => {
            session.done();
            Ok(u64::try_from(row.get::<_, i64>(0)).unwrap_or(0))
        }
        Err(error) if is_missing(&error) => Ok(0),
        Err(error) => Err(database.cause("does not count what changed", &error)),
    }
}

/// Forgets the changes of a table up to a place: they are proven. A key that changed again since has a later place.
///
/// A row that the stream has locked is getting a later place at this moment, so it is left to it: waiting for it, with
/// other rows locked, is how two of us would wait for each other.
///
/// # Errors
/// The database cannot be asked.
pub async fn forget_changed(
    database: &Database,
    names: (&PhaseName, &TableName),
    direction: Direction,
    up_to: Lsn,
) -> Result<u64, Cause> {
    let sql = "delete from _switchyard.changed where ctid = any (array( \
                 select ctid from _switchyard.changed where migration = $1 and phase = $2 and table_name = $3 \
                   and direction = $4 and lsn <= $5::text::pg_lsn for update skip locked))";
    let session = database.session().await?;
    let forgotten = session
        .execute(
            sql,
            &[
                &database.migration().as_str(),
                &names.0.as_str(),
                &names.1.to_string(),
                &direction.word(),
                &up_to.to_string(),
            ],
        )
        .await;
    match forgotten {
        Ok(count) => {
            session.done();
            Ok(count)
        }
        Err(error) if is_missing(&error) => Ok(0),
        Err(error) => Err(database.cause("does not forget proven changes", &error)),
    }
}
