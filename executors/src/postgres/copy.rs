//! Rows on their way: COPY text out of one side, hashed as it passes, into the other.
//!
//! Text, not binary: it is byte-equal on both sides under pinned settings whatever the versions are, and the change
//! stream carries the same text, so a row has one form wherever it is compared.

use bytes::{Bytes, BytesMut};
use futures::{SinkExt, StreamExt};
use journal::{Epoch, Lsn};
use runtime::failpoint;
use tokio_postgres::{Client, CopyOutStream, Transaction};

use crate::native::hash::RowSum;
use crate::native::plane::Reading;
use crate::native::{Cell, Chunk, Input, Row, TableShape};
use crate::postgres::chunk::{
    ChunkError, CopiedChunk, LoadKey, PlannedChunk, hold_place, leave_chunk, lock_chunk, locked_heap,
    look_at_place, name_lane,
};
use crate::postgres::database::Database;
use crate::postgres::inputs::{self, Sent};
use crate::postgres::quote::{ident, table as quoted};
use crate::postgres::snapshot::{BeginError, HeldSnapshot, end};

/// How many bytes are gathered before they are sent on: the server sends a frame a row.
const PIECE: usize = 128 * 1024;

/// A line of copy text as cells.
#[must_use]
pub fn cells(line: &[u8]) -> Row {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.split(|byte| *byte == b'\t').map(cell).collect()
}

fn cell(field: &[u8]) -> Cell {
    if field == b"\\N" {
        return Cell::Null;
    }
    let mut text = Vec::with_capacity(field.len());
    let mut bytes = field.iter().copied();
    while let Some(byte) = bytes.next() {
        let plain = if byte == b'\\' {
            match bytes.next() {
                Some(b'b') => 0x08,
                Some(b'f') => 0x0c,
                Some(b'n') => b'\n',
                Some(b'r') => b'\r',
                Some(b't') => b'\t',
                Some(b'v') => 0x0b,
                Some(other) => other,
                None => b'\\',
            }
        } else {
            byte
        };
        text.push(plain);
    }
    Cell::Text(Bytes::from(text))
}

/// The columns of a shape in this order, with a prefix.
fn columns(shape: &TableShape, order: &[usize], prefix: &str) -> String {
    let names: Vec<String> = order
        .iter()
        .filter_map(|at| shape.columns.get(*at))
        .map(|name| format!("{prefix}{}", ident(name)))
        .collect();
    names.join(", ")
}

/// The columns of a shape with its key first.
#[must_use]
pub fn key_first(shape: &TableShape) -> Vec<usize> {
    let rest = (0..shape.columns.len()).filter(|at| !shape.key.contains(at));
    shape.key.iter().copied().chain(rest).collect()
}

/// A select of a whole table, columns in this order.
#[must_use]
pub fn whole_select(shape: &TableShape, order: &[usize]) -> String {
    format!("select {} from only {}", columns(shape, order, ""), quoted(&shape.table))
}

/// A select of the rows of these keys (each the key's values as text, in key order), columns in this order.
#[must_use]
pub fn keyed_select(shape: &TableShape, order: &[usize], keys: &[Vec<String>]) -> String {
    let texts = |part: usize| keys.iter().map(|key| key.get(part).map(String::as_str)).collect();
    let inputs: Vec<&Input> = shape.key.iter().filter_map(|at| shape.inputs.get(*at)).collect();
    let wanted = inputs::from(inputs.iter().copied(), "wanted", |part| {
        inputs.get(part).map(|input| Sent::of(input, texts(part)).quoted()).unwrap_or_default()
    });
    let joins: Vec<String> = shape
        .key
        .iter()
        .filter_map(|at| shape.columns.get(*at).zip(shape.inputs.get(*at)))
        .zip(&shape.key_equals)
        .enumerate()
        .map(|(part, ((column, input), equals))| {
            let value = inputs::value(input, &format!("wanted.{}", inputs::column(part)));
            equals.of(&format!("t.{}", ident(column)), &value)
        })
        .collect();
    format!(
        "select {} from {wanted} join only {} as t on {}",
        columns(shape, order, "t."),
        quoted(&shape.table),
        joins.join(" and ")
    )
}

fn chunk_select(shape: &TableShape, chunk: &Chunk) -> String {
    let order: Vec<usize> = (0..shape.columns.len()).collect();
    let mut sql = format!("{} where ctid >= '({},0)'::tid", whole_select(shape, &order), chunk.first);
    if let Some(end) = chunk.end {
        sql.push_str(&format!(" and ctid < '({end},0)'::tid"));
    }
    sql
}

/// One chunk's way.
#[derive(Debug)]
pub struct ChunkJob<'a> {
    /// The snapshot it is read under.
    pub snapshot: &'a HeldSnapshot,
    /// How it is written.
    pub reading: Reading,
    /// Where to.
    pub target: &'a Database,
    /// Which load.
    pub key: &'a LoadKey,
    /// The table.
    pub shape: &'a TableShape,
    /// Under which epoch.
    pub epoch: Epoch,
}

/// Copies a chunk: its rows and its receipt in one transaction of the target. None if it has its receipt already.
/// Dropped at any await, it leaves all or nothing.
///
/// # Errors
/// As [`ChunkError`]; nothing was written, but for a lost COMMIT.
pub async fn copy_chunk(
    job: &ChunkJob<'_>,
    planned: &PlannedChunk,
) -> Result<Option<CopiedChunk>, ChunkError> {
    let reader = job.snapshot.begin().await.map_err(|error| match error {
        BeginError::Gone => ChunkError::SnapshotGone,
        BeginError::Other(cause) => ChunkError::Other(cause),
    })?;
    let unread = |error: tokio_postgres::Error| {
        ChunkError::of(job.snapshot.database(), &format!("does not give {}", job.shape.table), &error)
    };
    let unwritten = |error: tokio_postgres::Error| {
        ChunkError::of(job.target, &format!("does not take {}", job.shape.table), &error)
    };
    let heap = locked_heap(&reader, &job.shape.table).await.map_err(unread)?;
    if heap.relfilenode != planned.relfilenode || heap.seen != planned.relfilenode {
        return Err(ChunkError::Rewritten);
    }
    let mut session = job.target.session().await.map_err(ChunkError::Other)?;
    let tx = session.transaction().await.map_err(unwritten)?;
    let place = (job.snapshot.lsn(), job.epoch);
    name_lane(&tx, job.key, job.epoch).await.map_err(unwritten)?;
    look_at_place(job.target, &tx, job.key, place).await?;
    if !lock_chunk(job.target, &tx, job.key, planned).await? {
        return Ok(None);
    }
    let out = format!("copy ({}) to stdout", chunk_select(job.shape, &planned.chunk));
    let rows = reader.copy_out(&out).await.map_err(unread)?;
    let sum = match job.reading {
        Reading::First => put_rows(&tx, job, rows).await?,
        Reading::Fill => fill_rows(&tx, job, rows).await?,
    };
    hold_place(job.target, &tx, job.key, place).await?;
    let filled = job.reading == Reading::Fill;
    let copied = CopiedChunk { sum, snapshot: job.snapshot.lsn(), filled };
    leave_chunk(&tx, job.key, planned.chunk.ordinal, copied, job.epoch).await.map_err(unwritten)?;
    if failpoint::is_armed() {
        failpoint::hit(&format!("chunk:{}:before_commit", job.shape.table));
    }
    tx.commit().await.map_err(unwritten)?;
    if failpoint::is_armed() {
        failpoint::hit(&format!("chunk:{}:after_commit", job.shape.table));
    }
    session.done();
    end(reader).await;
    Ok(Some(copied))
}

/// Every row is new.
async fn put_rows(
    tx: &Transaction<'_>,
    job: &ChunkJob<'_>,
    rows: CopyOutStream,
) -> Result<RowSum, ChunkError> {
    let unwritten = |error| ChunkError::of(job.target, &format!("does not take {}", job.shape.table), &error);
    tx.batch_execute("set local session_replication_role = replica").await.map_err(unwritten)?;
    let order: Vec<usize> = (0..job.shape.columns.len()).collect();
    let names = columns(job.shape, &order, "");
    let into = format!("copy {} ({names}) from stdin", quoted(&job.shape.table));
    relay(tx, job, rows, &into).await
}

/// Rows whose key is there are newer or equal, and are left alone.
async fn fill_rows(
    tx: &Transaction<'_>,
    job: &ChunkJob<'_>,
    rows: CopyOutStream,
) -> Result<RowSum, ChunkError> {
    let unwritten = |error| ChunkError::of(job.target, &format!("does not take {}", job.shape.table), &error);
    let order: Vec<usize> = (0..job.shape.columns.len()).collect();
    let names = columns(job.shape, &order, "");
    let table = quoted(&job.shape.table);
    let stage = format!(
        "set local session_replication_role = replica; \
         create temporary table switchyard_fill on commit drop as select {names} from only {table} with no data"
    );
    tx.batch_execute(&stage).await.map_err(unwritten)?;
    let sum = relay(tx, job, rows, &format!("copy pg_temp.switchyard_fill ({names}) from stdin")).await?;
    let overriding = if job.shape.overrides_identity { " overriding system value" } else { "" };
    let merge = format!(
        "insert into {table} ({names}){overriding} select {names} from pg_temp.switchyard_fill \
         on conflict do nothing"
    );
    tx.batch_execute(&merge).await.map_err(unwritten)?;
    Ok(sum)
}

async fn relay(
    tx: &Transaction<'_>,
    job: &ChunkJob<'_>,
    rows: CopyOutStream,
    into: &str,
) -> Result<RowSum, ChunkError> {
    let unread = |error: tokio_postgres::Error| {
        ChunkError::of(job.snapshot.database(), &format!("does not give {}", job.shape.table), &error)
    };
    let unwritten = |error: tokio_postgres::Error| {
        ChunkError::of(job.target, &format!("does not take {}", job.shape.table), &error)
    };
    let sink = tx.copy_in::<_, Bytes>(into).await.map_err(unwritten)?;
    futures::pin_mut!(sink, rows);
    let mut sum = RowSum::default();
    let mut piece = BytesMut::with_capacity(PIECE * 2);
    while let Some(line) = rows.next().await {
        let line = line.map_err(unread)?;
        sum.add_lines(&line);
        piece.extend_from_slice(&line);
        if piece.len() >= PIECE {
            sink.send(piece.split().freeze()).await.map_err(unwritten)?;
        }
    }
    if !piece.is_empty() {
        sink.send(piece.freeze()).await.map_err(unwritten)?;
    }
    let written = sink.finish().await.map_err(unwritten)?;
    if written != sum.rows {
        let what = format!("{} rows of {} were read and {written} were taken", sum.rows, job.shape.table);
        return Err(ChunkError::Other(crate::seams::Cause(what)));
    }
    Ok(sum)
}

/// Gives every row of a select to `each`, as a line of copy text.
///
/// # Errors
/// The database's own.
pub async fn each_line(
    client: &Client,
    select: &str,
    mut each: impl FnMut(&[u8]),
) -> Result<(), tokio_postgres::Error> {
    let rows = client.copy_out(&format!("copy ({select}) to stdout")).await?;
    futures::pin_mut!(rows);
    while let Some(piece) = rows.next().await {
        for line in piece?.split_inclusive(|byte| *byte == b'\n') {
            each(line);
        }
    }
    Ok(())
}

/// Lets the target's planner know a table that was just filled. Only statistics: a failure costs plans, not rows.
pub async fn analyze(target: &Database, shape: &TableShape) {
    let Ok(session) = target.session().await else { return };
    match session.batch_execute(&format!("analyze {}", quoted(&shape.table))).await {
        Ok(()) => session.done(),
        Err(error) => {
            tracing::debug!(table = %shape.table, error = %target.cause("does not analyze", &error), "no statistics");
        }
    }
}

/// A slot as the server shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotSeen {
    /// Whose plugin.
    pub plugin: Option<String>,
    /// Of which database.
    pub database: Option<String>,
    /// Whether it is of this session's database.
    pub is_here: bool,
    /// `reserved`, `extended`, `unreserved`, `lost`.
    pub wal_status: Option<String>,
    /// What it has confirmed.
    pub confirmed: Option<Lsn>,
}

/// A slot by its name.
///
/// # Errors
/// The server cannot be asked.
pub async fn slot(database: &Database, name: &str) -> Result<Option<SlotSeen>, crate::seams::Cause> {
    let sql = "select plugin::text, database::text, coalesce(database = current_database(), false), \
                 wal_status, confirmed_flush_lsn::text \
               from pg_replication_slots where slot_name = $1";
    let session = database.session().await?;
    let row = session
        .query_opt(sql, &[&name])
        .await
        .map_err(|error| database.cause("does not show its slots", &error))?;
    session.done();
    Ok(row.map(|row| SlotSeen {
        plugin: row.get(0),
        database: row.get(1),
        is_here: row.get(2),
        wal_status: row.get(3),
        confirmed: row.get::<_, Option<String>>(4).and_then(|text| text.parse().ok()),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copy_text_is_unescaped_into_cells() {
        let row = cells(b"1\t\\N\ta\\tb\\nc\\\\d\t\n");
        let text = |text: &'static str| Cell::Text(Bytes::from_static(text.as_bytes()));
        assert_eq!(row, [text("1"), Cell::Null, text("a\tb\nc\\d"), text("")]);
    }
}
