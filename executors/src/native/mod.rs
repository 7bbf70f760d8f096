//! The data plane: copy, verify, replicate, apply, independent of the database.
//!
//! A database brings [`Snapshots`], [`ChangeStream`], [`Sink`] and [`Gatekeeper`]; each has all of it, since a failback
//! swaps the roles.

pub(crate) mod available;
mod compare;
mod delta;
pub mod fold;
pub mod hash;
mod hold;
pub mod load;
pub mod mover;
mod place;
pub mod plane;
pub(crate) mod quarantine;
pub mod spool;
pub mod stream;
pub mod stream_effects;
pub mod streams;
mod unchanged;
pub mod verify;

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use journal::{EffectId, Evidence, Lsn, StreamMode, TableName};

pub use crate::native::spool::Changes;
use crate::seams::{Authority, Cause, Difference};

/// A place in a change stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Checkpoint {
    /// PostgreSQL: the end of a commit.
    Lsn(Lsn),
}

/// Proof that the value is committed, durably, where it must be. Built by a [`Sink`] alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Durable<T>(T);

impl<T: Copy> Durable<T> {
    /// For sinks, after the commit has returned.
    pub(crate) const fn committed(value: T) -> Self {
        Self(value)
    }

    /// The value.
    #[must_use]
    pub const fn get(&self) -> T {
        self.0
    }
}

/// Proof that a side's gate is closed and every writer that was open is gone. Built by a [`Gatekeeper`] alone.
#[derive(Debug)]
pub struct Fenced {
    /// The effect that closed the gate.
    pub(crate) by: EffectId,
}

/// A checkpoint taken after the last write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Barrier {
    /// Where the marker is.
    pub checkpoint: Checkpoint,
    /// What tells it from any other.
    pub nonce: String,
}

/// How text becomes a value of a column: by its type's input function, as a load does it. Never by a cast from text, which
/// looks names up, and which a database may have defined to mean something else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Input {
    /// The type as SQL, without modifiers: the column itself applies those.
    pub kind: String,
    /// How it is reached.
    pub way: InputWay,
}

/// How a type's input function is reached from SQL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InputWay {
    /// The text is the value.
    Text,
    /// It is called: its qualified name, and as SQL what follows the text.
    Function(String, String),
    /// Its declared result is not the type, as of enums, domains and ranges: an array's text has it read each element. With
    /// what separates them.
    Array(char),
    /// Nor does an array unnest into such values: an array has no arrays of its own, and a composite becomes columns. As a
    /// JSON string's type it is reached.
    Json,
}

/// The shape of a table as both sides have it: columns in the order in which cells travel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableShape {
    /// Its name.
    pub table: TableName,
    /// Column names as the catalog spells them; generated columns are left out.
    pub columns: Vec<String>,
    /// Each column's type as SQL, with its modifiers.
    pub types: Vec<String>,
    /// How each column's text becomes a value.
    pub inputs: Vec<Input>,
    /// Indexes into `columns` of the primary key, in key order.
    pub key: Vec<usize>,
    /// By what the primary key tells each of its columns' values apart.
    pub key_equals: Vec<Equality>,
    /// Whether an identity column is `generated always`, which an insert must override.
    pub overrides_identity: bool,
    /// Indexes into `columns` of such identity columns: no update may set them.
    pub always: Vec<usize>,
}

impl TableShape {
    /// The same with these columns alone, by their indexes in ascending order. None if one of the key is not among them.
    #[must_use]
    pub fn narrowed(&self, kept: &[usize]) -> Option<Self> {
        let place = |at: &usize| kept.iter().position(|one| one == at);
        Some(Self {
            table: self.table.clone(),
            columns: kept.iter().filter_map(|at| self.columns.get(*at).cloned()).collect(),
            types: kept.iter().filter_map(|at| self.types.get(*at).cloned()).collect(),
            inputs: kept.iter().filter_map(|at| self.inputs.get(*at).cloned()).collect(),
            key: self.key.iter().map(place).collect::<Option<_>>()?,
            key_equals: self.key_equals.clone(),
            overrides_identity: self.overrides_identity,
            always: self.always.iter().filter_map(place).collect(),
        })
    }
}

/// How two values of a key's column are compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Equality {
    /// The operator as SQL.
    pub operator: String,
    /// Beneath a domain its base type as SQL: an operator of any enum, array or range takes no domain.
    pub base: Option<String>,
}

impl Equality {
    /// `t.k operator(pg_catalog.=) u.c0`.
    #[must_use]
    pub fn of(&self, left: &str, right: &str) -> String {
        let Self { operator, base } = self;
        match base {
            Some(base) => format!("{left}::{base} {operator} ({right})::{base}"),
            None => format!("{left} {operator} {right}"),
        }
    }
}

/// One value in the database's own canonical text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cell {
    /// NULL.
    Null,
    /// The text.
    Text(Bytes),
    /// Not sent, since it did not change (TOAST). Never NULL.
    Unchanged,
}

/// A row, one cell a column of its table's shape.
pub type Row = Vec<Cell>;

/// One change of one row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A new row.
    Insert {
        /// The table.
        shape: Arc<TableShape>,
        /// The row.
        new: Row,
    },
    /// A changed row.
    Update {
        /// The table.
        shape: Arc<TableShape>,
        /// The old key's cells in key order, if the key changed.
        old_key: Option<Row>,
        /// The new row, with unchanged cells.
        new: Row,
    },
    /// A deleted row.
    Delete {
        /// The table.
        shape: Arc<TableShape>,
        /// The key's cells in key order.
        key: Row,
    },
}

/// What a stream cannot go on from without a person.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StreamError {
    /// The connection, or the server: connect again, from the checkpoint.
    #[error("{0}")]
    Lost(Cause),
    /// Another holder took the checkpoint row, or its mode changed: read it again.
    #[error("the checkpoint row was taken or changed")]
    Superseded,
    /// TRUNCATE, another shape, a lost slot, a row that should be there: stop and say so.
    #[error("{0}")]
    Stopped(Difference),
}

/// One committed transaction of the source's stream.
#[derive(Debug)]
pub struct Transaction {
    /// The end of its commit: the checkpoint once it is applied.
    pub end: Checkpoint,
    /// When it committed, in milliseconds since 1970-01-01 UTC by that server's clock.
    pub committed_ms: i64,
    /// The origin it carries, if it was itself replicated.
    pub origin: Option<String>,
    /// Its changes of published tables, in order.
    pub changes: Changes,
    /// The nonces of our markers in it.
    pub markers: Vec<String>,
}

/// What a stream gives.
#[derive(Debug)]
pub enum StreamItem {
    /// A transaction.
    Transaction(Transaction),
    /// Nothing is pending up to here.
    Idle(Checkpoint),
}

/// A snapshot of one database that several connections can share, and its place in the change stream.
pub trait Snapshot: std::fmt::Debug + Send + Sync {
    /// Its name, for receipts.
    fn id(&self) -> &str;
    /// Its place in the change stream.
    fn checkpoint(&self) -> Checkpoint;
}

/// A range of a table's heap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// The table.
    pub table: TableName,
    /// Its number in the table, from 0.
    pub ordinal: u32,
    /// The first block.
    pub first: u32,
    /// The block after the last; none for the open end.
    pub end: Option<u32>,
}

/// Rows as they travel, in the database's copy format, one row an item or several.
pub type RowStream = BoxStream<'static, Result<Bytes, Cause>>;

/// Reads tables under a snapshot.
#[async_trait]
pub trait Snapshots: std::fmt::Debug + Send + Sync {
    /// What holds a snapshot open.
    type Held: Snapshot;

    /// Opens a snapshot with a place in the stream, without touching the phase's slot.
    async fn open(&self) -> Result<Self::Held, Cause>;

    /// Cuts a table into chunks.
    async fn chunks(&self, shape: &TableShape, chunk_bytes: u64) -> Result<Vec<Chunk>, Cause>;

    /// Reads a chunk under a snapshot.
    async fn read(&self, under: &Self::Held, shape: &TableShape, chunk: &Chunk) -> Result<RowStream, Cause>;
}

/// A database's change stream, from a slot.
#[async_trait]
pub trait ChangeStream: Send {
    /// The next item. Cancellation safe. Keeps the connection alive however slowly it is called.
    async fn next(&mut self) -> Result<StreamItem, StreamError>;

    /// Tells the server that everything up to here is durable elsewhere.
    async fn confirm(&mut self, at: Durable<Checkpoint>) -> Result<(), StreamError>;
}

/// Whether rows may be missing on the side written, since a load is still being filled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Completeness {
    /// Every row is there: a missing one stops the stream.
    Whole,
    /// Rows may be missing: an update of one is completed by key from the side read.
    Filling,
}

/// A batch of whole transactions.
#[derive(Debug)]
pub struct Batch {
    /// The transactions, in commit order.
    pub transactions: Vec<Transaction>,
    /// The checkpoint before it.
    pub previous: Checkpoint,
    /// The checkpoint after it.
    pub end: Checkpoint,
}

/// Writes one side.
#[async_trait]
pub trait Sink: Send {
    /// Takes the stream's checkpoint row over under this epoch and reads it. Waits for a batch in flight.
    async fn take_over(&mut self) -> Result<(Checkpoint, StreamMode), StreamError>;

    /// Writes a chunk with its receipt in one transaction. Rows whose key is present are left alone.
    async fn put_chunk(&mut self, chunk: &Chunk, rows: RowStream) -> Result<ChunkReceipt, Cause>;

    /// Applies a batch, its markers, its changed keys and its checkpoint in one transaction.
    async fn apply(&mut self, batch: Batch) -> Result<Durable<Checkpoint>, StreamError>;

    /// Commits a batch's markers, breaches and checkpoint, applying nothing.
    async fn guard(&mut self, batch: Batch) -> Result<(Durable<Checkpoint>, Vec<Breach>), StreamError>;
}

/// What no fence should have let through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Breach {
    /// The table.
    pub table: TableName,
    /// Where.
    pub at: Checkpoint,
    /// How many changes.
    pub changes: u64,
}

/// What a chunk's own transaction says of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChunkReceipt {
    /// Rows read.
    pub rows: u64,
    /// The order-free sum of the rows' hashes, from the bytes as they passed.
    pub hash: u128,
}

/// Keeps one side's gate for one phase.
#[async_trait]
pub trait Gatekeeper: std::fmt::Debug + Send + Sync {
    /// Closes the gate and waits the open writers out.
    async fn close(&self, spec: &journal::EffectSpec, under: Authority) -> Result<Fenced, Cause>;

    /// Opens the gate.
    async fn open(&self, spec: &journal::EffectSpec, under: Authority) -> Result<Evidence, Cause>;

    /// Writes a marker after the fence: the barrier.
    async fn mark(
        &self,
        fenced: &Fenced,
        spec: &journal::EffectSpec,
        under: Authority,
    ) -> Result<Barrier, Cause>;
}
