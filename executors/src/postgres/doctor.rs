//! What a database shows of a phase without the journal: everything is read, nothing is locked or changed.

use std::collections::BTreeMap;

use journal::{Direction, GateMode, GateRow, Generation, PhaseName, PhasePlan, Side, TableName, slot_name};
use serde::Serialize;
use tokio_postgres::{Error, Transaction};

use crate::postgres::database::Database;
use crate::postgres::receipt::is_missing;
use crate::postgres::{fence, gate, preflight, survey, writers};
use crate::seams::Cause;

/// Generations whose slots are looked for. A phase that was started more often is not seen whole.
const GENERATIONS: std::ops::RangeInclusive<u64> = 1..=32;

/// From this age on a transaction of the database is shown, in milliseconds.
const LONG_MS: i64 = 60_000;

/// The origins of these names, and how far each is.
const SEEN_ORIGINS: &str = "select o.roname::text, coalesce(s.remote_lsn::text, 'nothing yet') from pg_replication_origin o \
     left join pg_replication_origin_status s on s.local_id = o.roident where o.roname = any ($1)";

/// The same for a role that may not see how far.
const UNSEEN_ORIGINS: &str = "select roname::text, 'a place that this role may not see' from pg_replication_origin where roname = any ($1)";

/// One side of one phase.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct SideSeen {
    /// `system_identifier`, `database_oid`, `timeline`.
    pub identity: BTreeMap<String, String>,
    /// Whether it is a standby.
    pub is_standby: bool,
    /// Tables of the phase that are not there.
    pub missing_tables: Vec<String>,
    /// Its gate row; none before the phase was prepared.
    pub gate: Option<GateSeen>,
    /// Its fence.
    pub fence: FenceSeen,
    /// The slots that the phase's streams read here.
    pub slots: Vec<SlotSeen>,
    /// The phase's origins here, with how far each has come on the other side.
    pub origins: BTreeMap<String, String>,
    /// What the role may not see, with the grant that lets it.
    pub not_permitted: Vec<String>,
    /// The streams that write here.
    pub streams: Vec<StreamSeen>,
    /// What passed the fence of the other side, as the guard that writes here has seen it.
    pub breaches: Vec<String>,
    /// The newest receipts.
    pub receipts: Vec<String>,
    /// Who holds a write lock on the phase's tables.
    pub writers: Vec<String>,
    /// Old transactions of the whole database: they hold back clean-up and the making of slots.
    pub long_transactions: Vec<String>,
}

/// A gate row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GateSeen {
    /// `open` or `closed`.
    pub mode: String,
    /// The highest epoch it has seen.
    pub epoch: i64,
    /// The highest intent it has seen.
    pub position: i64,
    /// When its mode was set.
    pub changed_at: String,
}

impl GateSeen {
    /// The same, as the journal is held against it.
    #[must_use]
    pub fn row(&self) -> GateRow {
        gate::row_of(&self.mode, self.epoch, self.position)
    }
}

/// The fence as it stands.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct FenceSeen {
    /// How many of its triggers stand.
    pub triggers: i64,
    /// What its function does: `open`, `closed`, or none if there is none, or one of another making.
    pub function: Option<String>,
    /// What is wrong with it, where triggers stand.
    pub defect: Option<String>,
}

/// A slot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SlotSeen {
    /// Its name.
    pub name: String,
    /// The stream that reads it.
    pub direction: Direction,
    /// Whether somebody reads it now.
    pub is_active: bool,
    /// `reserved`, `extended`, `unreserved` or `lost`.
    pub wal_status: String,
    /// How much log it keeps, in bytes.
    pub retained_bytes: i64,
    /// How much log was written since the place that its reader has confirmed, in bytes.
    pub behind_bytes: i64,
}

/// A stream's row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StreamSeen {
    /// Which.
    pub direction: Direction,
    /// `apply` or `guard`.
    pub mode: String,
    /// Its checkpoint.
    pub lsn: String,
    /// Whose it is.
    pub epoch: i64,
    /// When the row was written last, in seconds before now.
    pub age_s: i64,
}

/// The phase's tables: those that the plan names, and those that its patterns match on the source now.
///
/// # Errors
/// There are patterns, and the source cannot be reached or read.
pub async fn tables(source: &Database, phase: &PhasePlan) -> Result<Vec<TableName>, Cause> {
    let mut tables = phase.tables.clone();
    if !phase.patterns.is_empty() {
        let session = source.session().await?;
        let matching = survey::matching(&session, &phase.patterns).await;
        tables.extend(matching.map_err(|error| source.cause("does not show its tables", &error))?);
        session.done();
        tables.sort();
        tables.dedup();
    }
    Ok(tables)
}

/// Looks at a phase on one side.
///
/// # Errors
/// The side cannot be reached or read.
pub async fn look(database: &Database, phase: &PhaseName, tables: &[TableName]) -> Result<SideSeen, Cause> {
    let mut session = database.session().await?;
    let identity = database.identity(&session).await?;
    let seen = read(&mut session, database, phase, tables).await;
    let mut seen = seen.map_err(|error| database.cause("cannot be read", &error))?;
    session.done();
    seen.identity = identity;
    Ok(seen)
}

async fn read(
    client: &mut tokio_postgres::Client,
    database: &Database,
    phase: &PhaseName,
    tables: &[TableName],
) -> Result<SideSeen, Error> {
    let home = "select to_regclass('_switchyard.gate') is not null, pg_is_in_recovery()";
    let row = client.query_one(home, &[]).await?;
    let (has_home, is_standby): (bool, bool) = (row.get(0), row.get(1));
    let tx = client.build_transaction().read_only(true).start().await?;
    let mut seen = SideSeen {
        is_standby,
        missing_tables: writers::missing(&tx, tables).await?,
        writers: writers::holders(&tx, tables).await?.values().map(ToString::to_string).collect(),
        fence: fence_of(&tx, database, phase, tables).await?,
        long_transactions: long_transactions(&tx).await?,
        ..SideSeen::default()
    };
    match preflight::lacks_origin_status(&tx).await? {
        Some(grant) => {
            seen.origins = origins(&tx, database, phase, UNSEEN_ORIGINS).await?;
            seen.not_permitted.push(format!("how far the origins are; at the {}: {grant}", database.side()));
        }
        None => seen.origins = origins(&tx, database, phase, SEEN_ORIGINS).await?,
    }
    if !is_standby {
        seen.slots = slots(&tx, database, phase).await?;
    }
    if has_home {
        match own(&tx, database, phase, &mut seen).await {
            Err(error) if !is_missing(&error) => return Err(error),
            Ok(()) | Err(_) => {}
        }
    }
    tx.rollback().await?;
    Ok(seen)
}

async fn fence_of(
    tx: &Transaction<'_>,
    database: &Database,
    phase: &PhaseName,
    tables: &[TableName],
) -> Result<FenceSeen, Error> {
    let standing = "select count(*) from pg_trigger t join pg_proc p on p.oid = t.tgfoid \
                    join pg_namespace n on n.oid = p.pronamespace \
                    where n.nspname = '_switchyard' and p.proname = $1";
    let name = fence::function_name(database.migration(), phase);
    let triggers: i64 = tx.query_one(standing, &[&name]).await?.get(0);
    let closed = fence::function_follows(tx, database, phase, GateMode::Closed).await?;
    let open = fence::function_follows(tx, database, phase, GateMode::Open).await?;
    let (mode, function) = match (closed, open) {
        (true, _) => (GateMode::Closed, Some("closed".to_owned())),
        (false, true) => (GateMode::Open, Some("open".to_owned())),
        (false, false) => (GateMode::Closed, None),
    };
    let defect =
        if triggers == 0 { None } else { fence::defect(tx, database, phase, (tables, mode)).await? };
    Ok(FenceSeen { triggers, function, defect })
}

async fn slots(tx: &Transaction<'_>, database: &Database, phase: &PhaseName) -> Result<Vec<SlotSeen>, Error> {
    let direction = match database.side() {
        Side::Source => Direction::Forward,
        Side::Target => Direction::Failback,
    };
    let names: Vec<String> =
        GENERATIONS.map(|n| slot_name(database.migration(), phase, Generation::new(n), direction)).collect();
    let sql = "select slot_name::text, active, coalesce(wal_status, 'unknown'), \
                      coalesce(pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn), 0)::int8, \
                      coalesce(pg_wal_lsn_diff(pg_current_wal_lsn(), confirmed_flush_lsn), 0)::int8 \
               from pg_replication_slots where slot_name = any ($1) and database = current_database() order by 1";
    Ok(tx
        .query(sql, &[&names])
        .await?
        .iter()
        .map(|row| SlotSeen {
            name: row.get(0),
            direction,
            is_active: row.get(1),
            wal_status: row.get(2),
            retained_bytes: row.get(3),
            behind_bytes: row.get(4),
        })
        .collect())
}

async fn origins(
    tx: &Transaction<'_>,
    database: &Database,
    phase: &PhaseName,
    sql: &str,
) -> Result<BTreeMap<String, String>, Error> {
    let names: Vec<String> = Direction::ALL
        .into_iter()
        .map(|direction| journal::origin_name(database.migration(), phase, direction, 0))
        .collect();
    Ok(tx.query(sql, &[&names]).await?.iter().map(|row| (row.get(0), row.get(1))).collect())
}

async fn long_transactions(tx: &Transaction<'_>) -> Result<Vec<String>, Error> {
    let sql = "select format('pid %s (user %s%s, open for %s s, %s)', pid, coalesce(usename, 'unknown'), \
                        case when application_name = '' then '' else ', application ' || application_name end, \
                        extract(epoch from clock_timestamp() - xact_start)::int8, state) \
               from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid() \
                 and xact_start < clock_timestamp() - $1::int8 * interval '1 ms' \
               union all \
               select format('prepared transaction %s (user %s, open for %s s)', gid, owner, \
                        extract(epoch from clock_timestamp() - prepared)::int8) \
               from pg_prepared_xacts where database = current_database() \
                 and prepared < clock_timestamp() - $1::int8 * interval '1 ms'";
    Ok(tx.query(sql, &[&LONG_MS]).await?.iter().map(|row| row.get(0)).collect())
}

/// What stands in our own schema.
async fn own(
    tx: &Transaction<'_>,
    database: &Database,
    phase: &PhaseName,
    seen: &mut SideSeen,
) -> Result<(), Error> {
    let of: [&(dyn tokio_postgres::types::ToSql + Sync); 2] =
        [&database.migration().as_str(), &phase.as_str()];
    let gate = "select mode, epoch, position, date_trunc('second', changed_at)::text from _switchyard.gate \
                where migration = $1 and phase = $2";
    seen.gate = tx.query_opt(gate, &of).await?.map(|row| GateSeen {
        mode: row.get(0),
        epoch: row.get(1),
        position: row.get(2),
        changed_at: row.get(3),
    });
    let streams = "select direction, mode, lsn::text, epoch, \
                          extract(epoch from clock_timestamp() - updated_at)::int8 \
                   from _switchyard.stream where migration = $1 and phase = $2 and lane = 0 order by 1";
    seen.streams = tx
        .query(streams, &of)
        .await?
        .iter()
        .map(|row| StreamSeen {
            direction: if row.get::<_, &str>(0) == "forward" {
                Direction::Forward
            } else {
                Direction::Failback
            },
            mode: row.get(1),
            lsn: row.get(2),
            epoch: row.get(3),
            age_s: row.get(4),
        })
        .collect();
    let breaches = "select format('%s changes of %s since %s (%s guard)', sum(changes), table_name, \
                             date_trunc('second', min(seen_at)), direction) \
                    from _switchyard.breach where migration = $1 and phase = $2 \
                    group by table_name, direction order by min(seen_at)";
    seen.breaches = tx.query(breaches, &of).await?.iter().map(|row| row.get(0)).collect();
    let receipts = "select format('%s at %s (epoch %s, position %s)', label, date_trunc('second', written_at), \
                             epoch, position) \
                    from _switchyard.receipt where migration = $1 and phase = $2 \
                    order by position desc, written_at desc limit 3";
    seen.receipts = tx.query(receipts, &of).await?.iter().map(|row| row.get(0)).collect();
    Ok(())
}
