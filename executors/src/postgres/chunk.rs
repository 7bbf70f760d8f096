//! The plan of a table's load, and its receipts: rows of `_switchyard.chunk` on the target.

use journal::{Epoch, Lsn, MigrationName, PhaseName, PlanHash, TableName};
use tokio_postgres::{Client, Transaction};

use crate::native::hash::RowSum;
use crate::native::{Chunk, TableShape};
use crate::postgres::database::Database;
use crate::postgres::quote::{literal, table as quoted};
use crate::postgres::receipt::{epoch_is_current, is_missing, signed};
use crate::seams::Cause;

/// Which load: a table of a phase and generation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadKey {
    /// The migration.
    pub migration: MigrationName,
    /// The phase.
    pub phase: PhaseName,
    /// The generation, as the slot's name has it.
    pub generation: i64,
    /// The table.
    pub table: TableName,
}

/// A chunk as it is planned, and what was copied of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedChunk {
    /// Its range.
    pub chunk: Chunk,
    /// The heap file in which its blocks are counted.
    pub relfilenode: i64,
    /// Its receipt.
    pub copied: Option<CopiedChunk>,
}

/// What a chunk's receipt says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CopiedChunk {
    /// What was read.
    pub sum: RowSum,
    /// The place of the snapshot it was read under.
    pub snapshot: Lsn,
    /// Whether under a fill's snapshot.
    pub filled: bool,
}

/// Why a chunk was not written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChunkError {
    /// The snapshot is gone, or the target is not at its place: a fill is due.
    #[error("the snapshot of this load is gone or the target has gone past it")]
    SnapshotGone,
    /// The table's heap is another one than the plan was made for.
    #[error("the table was rewritten since its load was planned")]
    Rewritten,
    /// A newer executor holds the phase.
    #[error("a newer executor holds the phase")]
    Superseded,
    /// The server refuses, and would again.
    #[error("{0}")]
    Refused(Cause),
    /// The connection, or the server: it may pass.
    #[error("{0}")]
    Other(Cause),
}

impl ChunkError {
    /// By the server's own word: what it refuses it refuses again.
    pub(crate) fn of(database: &Database, what: &str, error: &tokio_postgres::Error) -> Self {
        let cause = database.cause(what, error);
        // 22 data, 23 constraints, 42 names, rights and syntax.
        let refused = error
            .code()
            .is_some_and(|code| ["22", "23", "42"].iter().any(|class| code.code().starts_with(class)));
        if refused { Self::Refused(cause) } else { Self::Other(cause) }
    }
}

fn lsn(text: Option<String>) -> Option<Lsn> {
    text.and_then(|text| text.parse().ok())
}

/// The plan as it stands, in order; empty if there is none.
///
/// # Errors
/// The target cannot be asked.
pub async fn planned(target: &Database, key: &LoadKey) -> Result<Vec<PlannedChunk>, Cause> {
    let sql = "select ordinal, first_block, end_block, relfilenode, rows, hash, snapshot_lsn::text, filled \
               from _switchyard.chunk \
               where migration = $1 and phase = $2 and generation = $3 and table_name = $4 order by ordinal";
    let session = target.session().await?;
    let found = session
        .query(sql, &[&key.migration.as_str(), &key.phase.as_str(), &key.generation, &key.table.to_string()])
        .await;
    let rows = match found {
        Ok(rows) => rows,
        Err(error) if is_missing(&error) => Vec::new(),
        Err(error) => return Err(target.cause("does not show the load's plan", &error)),
    };
    session.done();
    let block = |value: i64| u32::try_from(value).unwrap_or(u32::MAX);
    Ok(rows
        .iter()
        .map(|row| {
            let hash = row.get::<_, Option<String>>(5).and_then(|text| u128::from_str_radix(&text, 16).ok());
            let copied = match (row.get::<_, Option<i64>>(4), hash, lsn(row.get(6))) {
                (Some(rows), Some(hash), Some(snapshot)) => Some(CopiedChunk {
                    sum: RowSum { rows: u64::try_from(rows).unwrap_or(0), hash },
                    snapshot,
                    filled: row.get(7),
                }),
                _ => None,
            };
            let chunk = Chunk {
                table: key.table.clone(),
                ordinal: u32::try_from(row.get::<_, i32>(0)).unwrap_or(0),
                first: block(row.get(1)),
                end: row.get::<_, Option<i64>>(2).map(block),
            };
            PlannedChunk { chunk, relfilenode: row.get(3), copied }
        })
        .collect())
}

/// A table's heap as a reader under a snapshot finds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heap {
    /// Its file now.
    pub relfilenode: i64,
    /// Its file as the snapshot shows it. Another one: the heap was rewritten since, its rows stand elsewhere or are
    /// not to be seen at all, and the snapshot is of no use for this table.
    pub seen: i64,
    /// Its size now, in blocks.
    pub blocks: i64,
}

/// The table's heap, from inside a transaction under a snapshot. Takes ACCESS SHARE until that transaction ends, so that
/// no rewrite comes between this answer and what is read after it.
///
/// # Errors
/// The database's own.
pub async fn locked_heap(client: &Client, table: &TableName) -> Result<Heap, tokio_postgres::Error> {
    let name = quoted(table);
    client.batch_execute(&format!("lock table only {name} in access share mode")).await?;
    // The functions and regclass read the catalog as it is now; pg_class is read as the snapshot shows it.
    let sql = format!(
        "select pg_relation_filenode(r)::int8, \
           coalesce((select relfilenode::int8 from pg_class where oid = r), 0), \
           pg_relation_size(r) / current_setting('block_size')::int8 \
         from (select {}::regclass as r) as named",
        literal(&name)
    );
    let row = client.query_one(&sql, &[]).await?;
    Ok(Heap { relfilenode: row.get(0), seen: row.get(1), blocks: row.get(2) })
}

/// Cuts a heap into ranges of about `chunk_bytes`. The last has no end: whatever the heap grew to is in it.
#[must_use]
pub fn cut(table: &TableName, blocks: i64, chunk_bytes: u64) -> Vec<Chunk> {
    /// PostgreSQL's block size as nearly everybody compiles it. Another one merely makes other chunks.
    const BLOCK: u64 = 8192;
    let step = u32::try_from((chunk_bytes / BLOCK).max(1)).unwrap_or(u32::MAX);
    let blocks = u32::try_from(blocks.max(0)).unwrap_or(u32::MAX);
    let mut chunks = Vec::new();
    let mut first = 0_u32;
    loop {
        let end = first.saturating_add(step);
        let ordinal = u32::try_from(chunks.len()).unwrap_or(u32::MAX);
        let is_last = end >= blocks;
        chunks.push(Chunk { table: table.clone(), ordinal, first, end: (!is_last).then_some(end) });
        if is_last {
            return chunks;
        }
        first = end;
    }
}

/// What must hold in the transaction of whatever a load writes: this epoch is the newest, and the stream stands exactly
/// at the snapshot's place. Both rows are shared until the commit, so neither moves under it. Short transactions ask at
/// once, a chunk's at its end: an executor that is stopped in mid-copy would hold both rows against its successor.
///
/// # Errors
/// It does not hold, or the target cannot be asked.
pub async fn hold_place(
    target: &Database,
    tx: &Transaction<'_>,
    key: &LoadKey,
    place: (Lsn, Epoch),
) -> Result<(), ChunkError> {
    let fault = |error: tokio_postgres::Error| ChunkError::of(target, "does not admit a chunk", &error);
    if !epoch_is_current(tx, &key.migration, &key.phase, place.1).await.map_err(fault)? {
        return Err(ChunkError::Superseded);
    }
    stands_at(target, tx, key, (place.0, " for share")).await
}

/// Whether it is worth beginning: the same, of this moment, without a lock.
///
/// # Errors
/// As [`hold_place`].
pub async fn look_at_place(
    target: &Database,
    tx: &Transaction<'_>,
    key: &LoadKey,
    place: (Lsn, Epoch),
) -> Result<(), ChunkError> {
    let fault = |error: tokio_postgres::Error| ChunkError::of(target, "does not admit a chunk", &error);
    let sql = "select epoch <= $3 from _switchyard.gate where migration = $1 and phase = $2";
    let epoch = signed(place.1.get());
    let row =
        tx.query_opt(sql, &[&key.migration.as_str(), &key.phase.as_str(), &epoch]).await.map_err(fault)?;
    if !row.is_some_and(|row| row.get(0)) {
        return Err(ChunkError::Superseded);
    }
    stands_at(target, tx, key, (place.0, "")).await
}

async fn stands_at(
    target: &Database,
    tx: &Transaction<'_>,
    key: &LoadKey,
    (place, lock): (Lsn, &str),
) -> Result<(), ChunkError> {
    let sql = format!(
        "select lsn::text from _switchyard.stream \
         where migration = $1 and phase = $2 and direction = 'forward' and lane = 0{lock}"
    );
    let row = tx
        .query_opt(&sql, &[&key.migration.as_str(), &key.phase.as_str()])
        .await
        .map_err(|error| ChunkError::of(target, "does not show where the stream stands", &error))?;
    match row.and_then(|row| lsn(row.get(0))) {
        Some(at) if at == place => Ok(()),
        _ => Err(ChunkError::SnapshotGone),
    }
}

/// What a copy lane's sessions are called, up to the epoch: short, since the server cuts names at 63 bytes.
fn lane_name(migration: &MigrationName, phase: &PhaseName) -> String {
    let which = PlanHash::of(format!("{migration}/{phase}").as_bytes()).short();
    format!("switchyard load {which} ")
}

/// Names the session for the rest of its transaction, so that a successor can end it.
///
/// # Errors
/// The database's own.
pub async fn name_lane(
    tx: &Transaction<'_>,
    key: &LoadKey,
    epoch: Epoch,
) -> Result<(), tokio_postgres::Error> {
    let name = format!("{}{epoch}", lane_name(&key.migration, &key.phase));
    tx.batch_execute(&format!("set local application_name = {}", literal(&name))).await
}

/// Ends the copy lanes of older holders of the phase. One whose executor is stopped, or cut off, waits for ever for the
/// rest of its chunk, and its rows that are not committed keep everybody else from theirs.
///
/// # Errors
/// The target cannot be asked.
pub async fn end_older_lanes(target: &Database, phase: &PhaseName, epoch: Epoch) -> Result<(), Cause> {
    let sql = "select pg_terminate_backend(pid, 5000) from pg_stat_activity \
               where pid <> pg_backend_pid() and datname = current_database() \
                 and case when starts_with(application_name, $1) \
                            and substr(application_name, length($1) + 1) ~ '^[0-9]{1,18}$' \
                       then substr(application_name, length($1) + 1)::int8 < $2 else false end";
    let session = target.session().await?;
    let ended = session
        .query(sql, &[&lane_name(target.migration(), phase), &signed(epoch.get())])
        .await
        .map_err(|error| target.cause("does not end an older executor's copy", &error))?;
    session.done();
    if !ended.is_empty() {
        tracing::info!(%phase, lanes = ended.len(), "ended copy lanes of an older executor");
    }
    Ok(())
}

/// Writes a plan down, in the place of one for an older heap; in the latter case the table's rows on the target go with
/// it, in the same transaction, since ranges of two heaps have nothing to do with each other.
///
/// # Errors
/// As [`hold_place`].
pub async fn write_plan(
    target: &Database,
    key: &LoadKey,
    place: (Lsn, Epoch),
    plan: (&TableShape, i64, Vec<Chunk>),
) -> Result<(), ChunkError> {
    let (shape, relfilenode, chunks) = plan;
    let fault =
        |error: tokio_postgres::Error| ChunkError::of(target, "does not take the load's plan", &error);
    let mut session = target.session().await.map_err(ChunkError::Other)?;
    let tx = session.transaction().await.map_err(fault)?;
    hold_place(target, &tx, key, place).await?;
    let named = (key.migration.as_str(), key.phase.as_str(), key.table.to_string());
    let delete = "delete from _switchyard.chunk \
                  where migration = $1 and phase = $2 and generation = $3 and table_name = $4";
    let old = tx.execute(delete, &[&named.0, &named.1, &key.generation, &named.2]).await.map_err(fault)?;
    if old > 0 {
        tx.batch_execute("set local session_replication_role = replica").await.map_err(fault)?;
        tx.batch_execute(&format!("delete from only {}", quoted(&shape.table))).await.map_err(fault)?;
    }
    let insert = "insert into _switchyard.chunk \
                    (migration, phase, generation, table_name, ordinal, first_block, end_block, relfilenode, epoch) \
                  select $1, $2, $3, $4, * from unnest($5::int4[], $6::int8[], $7::int8[]), \
                  (values ($8::int8, $9::int8)) as fixed";
    let ordinals: Vec<i32> = chunks.iter().map(|c| i32::try_from(c.ordinal).unwrap_or(i32::MAX)).collect();
    let firsts: Vec<i64> = chunks.iter().map(|c| i64::from(c.first)).collect();
    let ends: Vec<Option<i64>> = chunks.iter().map(|c| c.end.map(i64::from)).collect();
    let epoch = signed(place.1.get());
    tx.execute(
        insert,
        &[&named.0, &named.1, &key.generation, &named.2, &ordinals, &firsts, &ends, &relfilenode, &epoch],
    )
    .await
    .map_err(fault)?;
    tx.commit().await.map_err(fault)?;
    session.done();
    Ok(())
}

/// Locks a chunk's row. `false`: it has its receipt already.
///
/// # Errors
/// The row is not there (the plan is another one by now), or the database's own.
pub async fn lock_chunk(
    target: &Database,
    tx: &Transaction<'_>,
    key: &LoadKey,
    planned: &PlannedChunk,
) -> Result<bool, ChunkError> {
    let sql = "select rows is null from _switchyard.chunk \
               where migration = $1 and phase = $2 and generation = $3 and table_name = $4 and ordinal = $5 \
                 and relfilenode = $6 for update";
    let ordinal = i32::try_from(planned.chunk.ordinal).unwrap_or(i32::MAX);
    let row = tx
        .query_opt(
            sql,
            &[
                &key.migration.as_str(),
                &key.phase.as_str(),
                &key.generation,
                &key.table.to_string(),
                &ordinal,
                &planned.relfilenode,
            ],
        )
        .await
        .map_err(|error| ChunkError::of(target, "does not lock a chunk", &error))?;
    row.map(|row| row.get(0)).ok_or(ChunkError::Rewritten)
}

/// Writes a chunk's receipt.
///
/// # Errors
/// The database's own.
pub async fn leave_chunk(
    tx: &Transaction<'_>,
    key: &LoadKey,
    ordinal: u32,
    copied: CopiedChunk,
    epoch: Epoch,
) -> Result<(), tokio_postgres::Error> {
    let sql = "update _switchyard.chunk \
               set rows = $6, hash = $7, snapshot_lsn = $8::text::pg_lsn, filled = $9, epoch = $10 \
               where migration = $1 and phase = $2 and generation = $3 and table_name = $4 and ordinal = $5";
    let rows = signed(copied.sum.rows);
    tx.execute(
        sql,
        &[
            &key.migration.as_str(),
            &key.phase.as_str(),
            &key.generation,
            &key.table.to_string(),
            &i32::try_from(ordinal).unwrap_or(i32::MAX),
            &rows,
            &copied.sum.to_string(),
            &copied.snapshot.to_string(),
            &copied.filled,
            &signed(epoch.get()),
        ],
    )
    .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ranges_of_a_heap_touch_and_the_last_is_open() {
        let table: TableName = "shop.orders".parse().unwrap();
        let chunks = cut(&table, 25, 10 * 8192);
        let ranges: Vec<_> = chunks.iter().map(|c| (c.first, c.end)).collect();
        assert_eq!(ranges, [(0, Some(10)), (10, Some(20)), (20, None)]);
        assert_eq!(cut(&table, 0, 8192).len(), 1);
        assert_eq!(cut(&table, 20, 10 * 8192).last().unwrap().first, 10);
    }
}
