//! Writing what a stream read: exactly once, in sets.
//!
//! # The races
//!
//! *A crash, or a lost connection, around COMMIT.* The checkpoint is moved in the batch's own transaction, by compare and
//! set on epoch, mode and the checkpoint before it. Whoever reads the row afterwards knows whether the batch is there;
//! nobody has to guess, and what is read again from the stream is skipped by its place.
//!
//! *Another executor, or the stream's other mode.* Either finds the row changed, or changes it; of two, one commits. The
//! batch takes the gate row (shared), then the stream's row, as an effect does (`postgres/receipt.rs`), so they cannot
//! wait for each other in a ring.
//!
//! *Echoes.* What is written here carries our origin; what the opposite direction wrote carries its own. A transaction
//! with the opposite direction's origin is ours and is dropped, in either mode. Any other origin is the application's.

mod remembered;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use journal::{Epoch, Finding, Lsn, StreamMode, StreamSpec, TableName};
use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Statement, Transaction as Tx};

use crate::native::fold::{TableWindow, fold, key_of};
use crate::native::{
    Batch, Breach, Cell, Change, Checkpoint, Completeness, Durable, Row, StreamError, TableShape, Transaction,
};
use crate::postgres::changes::BEGIN_ANEW;
use crate::postgres::database::Database;
use crate::postgres::inputs::Sent;
use crate::postgres::receipt::{epoch_is_current, signed};
use crate::postgres::sets::{columns, delete_sql, found_sql, key_columns, move_sql, update_sql, upsert_sql};
use crate::postgres::{anew, catalog, stream_row};
use crate::seams::Cause;

/// Where a row that the side written lacks is read from: the side read, under a snapshot that is not older than the
/// change.
#[async_trait]
pub trait RowSource: fmt::Debug + Send + Sync {
    /// The row of this key, cells in the shape's order; none if it is not there.
    async fn row_by_key(&self, shape: &TableShape, key: &[Cell]) -> Result<Option<Row>, Cause>;
}

/// Writes one stream's batches. Dropped in mid-batch, the batch commits whole or not at all.
pub struct Applier {
    database: Database,
    spec: StreamSpec,
    epoch: Epoch,
    completeness: Completeness,
    rows: Option<Arc<dyn RowSource>>,
    client: Client,
    statements: BTreeMap<String, Statement>,
}

impl fmt::Debug for Applier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Applier({})", self.spec.name)
    }
}

/// Why a batch did not commit.
enum Failure {
    Database(tokio_postgres::Error),
    Stream(StreamError),
    /// A row is not there, which one by one may be: what this is if it is not.
    Missing(StreamError),
}

impl Failure {
    /// Whether one by one may pass what as sets did not: unique values that changed places inside a set, or keys that are
    /// one to the server and two to who reads them.
    fn is_of_sets(&self) -> bool {
        match self {
            Self::Database(error) => swaps_unique_values(error),
            Self::Missing(_) => true,
            Self::Stream(_) => false,
        }
    }
}

impl From<tokio_postgres::Error> for Failure {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Database(error)
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::Stream(StreamError::Lost(Cause(format!(
            "a large transaction that was put away cannot be read: {error}"
        ))))
    }
}

impl From<StreamError> for Failure {
    fn from(error: StreamError) -> Self {
        Self::Stream(error)
    }
}

impl Applier {
    /// Connects to the side written and marks the session with the stream's origin.
    ///
    /// # Errors
    /// The side cannot be reached, or the origin is not there.
    pub async fn connect(
        database: &Database,
        spec: &StreamSpec,
        epoch: Epoch,
        completeness: Completeness,
        rows: Option<Arc<dyn RowSource>>,
    ) -> Result<Self, StreamError> {
        let (client, timeline) = database.connect_seen().await.map_err(StreamError::Lost)?;
        anew::check_timeline(database.side(), spec, timeline)?;
        let set_up = "select pg_replication_origin_session_setup($1)";
        if let Err(error) = client.query(set_up, &[&spec.origin]).await {
            if error.code() == Some(&SqlState::OBJECT_IN_USE) {
                // An applier that an earlier process left behind; the next try finds the origin free.
                let said =
                    error.as_db_error().map(tokio_postgres::error::DbError::message).unwrap_or_default();
                stream_row::end_ours(database, said).await.map_err(StreamError::Lost)?;
            }
            return Err(StreamError::Lost(database.cause("does not let its changes be marked", &error)));
        }
        let (database, spec) = (database.clone(), spec.clone());
        Ok(Self { database, spec, epoch, completeness, rows, client, statements: BTreeMap::new() })
    }

    /// Takes the stream's row over under this epoch and reads it. Waits for a batch in flight.
    ///
    /// # Errors
    /// [`StreamError::Superseded`]: a newer epoch has it, or it is gone.
    pub async fn take_over(&mut self) -> Result<(Checkpoint, StreamMode), StreamError> {
        let sql = "update _switchyard.stream set epoch = $4 \
                   where migration = $1 and phase = $2 and direction = $3 and lane = 0 and epoch <= $4 \
                   returning lsn::text, mode";
        let name = &self.spec.name;
        let epoch = signed(self.epoch.get());
        let values: [&(dyn ToSql + Sync); 4] =
            [&self.database.migration().as_str(), &name.phase.as_str(), &name.direction.word(), &epoch];
        let row = self.client.query_opt(sql, &values).await.map_err(|error| self.lost(&error))?;
        let row = row.ok_or(StreamError::Superseded)?;
        let lsn: Lsn = row.get::<_, String>(0).parse().map_err(|error| {
            StreamError::Lost(Cause(format!("a checkpoint that cannot be read: {error}")))
        })?;
        let mode = if row.get::<_, String>(1) == "apply" { StreamMode::Apply } else { StreamMode::Guard };
        Ok((Checkpoint::Lsn(lsn), mode))
    }

    /// Commits a batch under a mode: its rows (in apply) or its breaches (in guard), its markers, its keys and its
    /// checkpoint, in one transaction. A batch without transactions only moves the checkpoint.
    ///
    /// # Errors
    /// [`StreamError::Superseded`]: the row was taken or changed, read it again. [`StreamError::Stopped`]: a person
    /// is needed. [`StreamError::Lost`]: whether it committed, only the row tells.
    pub async fn commit(
        &mut self,
        mode: StreamMode,
        batch: &Batch,
    ) -> Result<(Durable<Checkpoint>, Vec<Breach>), StreamError> {
        let opposite = self.spec.opposite_origin.clone();
        let foreign: Vec<&Transaction> =
            batch.transactions.iter().filter(|tx| tx.origin.as_deref() != Some(opposite.as_str())).collect();
        let mut in_order = false;
        loop {
            match self.try_commit(mode, batch, &foreign, in_order).await {
                Ok(breaches) => return Ok((Durable::committed(batch.end), breaches)),
                // One by one they pass as they passed there.
                Err(failure) if failure.is_of_sets() && !in_order => in_order = true,
                Err(Failure::Stream(error) | Failure::Missing(error)) => return Err(error),
                Err(Failure::Database(error)) => {
                    let is_lacking = error.code() == Some(&SqlState::UNDEFINED_COLUMN);
                    let apart = if is_lacking { self.columns_apart(&foreign).await } else { None };
                    return Err(apart.unwrap_or_else(|| self.refused(&error)));
                }
            }
        }
    }

    async fn try_commit(
        &mut self,
        mode: StreamMode,
        batch: &Batch,
        foreign: &[&Transaction],
        in_order: bool,
    ) -> Result<Vec<Breach>, Failure> {
        let tx = self.client.transaction().await?;
        // Without the set-up the origin's time would stay that of this session's first transaction, and who reads our
        // own changes on the way back would take it for their commit's.
        let Checkpoint::Lsn(end) = batch.end;
        tx.batch_execute(&format!(
            "set local session_replication_role = replica; set local synchronous_commit = on; \
             select pg_replication_origin_xact_setup('{end}', clock_timestamp())"
        ))
        .await?;
        let mut work = Work {
            tx: &tx,
            database: &self.database,
            spec: &self.spec,
            completeness: self.completeness,
            rows: self.rows.as_deref(),
            statements: &mut self.statements,
        };
        if !epoch_is_current(&tx, self.database.migration(), &self.spec.name.phase, self.epoch).await? {
            return Err(StreamError::Superseded.into());
        }
        work.move_checkpoint(self.epoch, mode, batch).await?;
        let changed = foreign.iter().any(|each| !each.changes.is_empty());
        let mut breaches = Vec::new();
        match mode {
            StreamMode::Apply if changed => work.apply(foreign, in_order).await?,
            StreamMode::Guard if changed => breaches = work.breaches(foreign).await?,
            StreamMode::Apply | StreamMode::Guard => {}
        }
        if changed {
            work.keys(foreign).await?;
        }
        work.markers(&batch.transactions).await?;
        tx.commit().await?;
        Ok(breaches)
    }

    fn lost(&self, error: &tokio_postgres::Error) -> StreamError {
        StreamError::Lost(self.database.cause("does not take a stream's changes", error))
    }

    /// Which columns the side written does not have, or the side read: said as precisely as where the stream first met the
    /// change. None if they are the same, or cannot be read.
    async fn columns_apart(&self, transactions: &[&Transaction]) -> Option<StreamError> {
        let read = shapes_of(transactions).ok()?;
        let tables: Vec<TableName> = read.keys().cloned().collect();
        let written = catalog::shapes(&self.client, &tables).await.ok()?;
        let only = |these: &[String], those: &[String]| -> String {
            let only: Vec<&str> =
                these.iter().filter(|column| !those.contains(column)).map(String::as_str).collect();
            if only.is_empty() { "none".to_owned() } else { only.join(", ") }
        };
        let (from, to) = (self.spec.name.direction.from(), self.spec.name.direction.to());
        written.iter().find_map(|shape| {
            let sent = &read.get(&shape.table)?.columns;
            (!sent.iter().all(|column| shape.columns.contains(column))).then(|| {
                StreamError::Stopped(Finding {
                    code: "SW-0306".to_owned(),
                    what: format!(
                        "the columns of {} are not the same on both sides: only on the {from} {}; only on the {to} {}",
                        shape.table,
                        only(sent, &shape.columns),
                        only(&shape.columns, sent)
                    ),
                    remedy: until_columns_agree(),
                })
            })
        })
    }

    /// What the server says definitely about the data needs a person; the rest passes.
    fn refused(&self, error: &tokio_postgres::Error) -> StreamError {
        let definite = error.code().is_some_and(|code| {
            // Data, constraints, and names that are not there. Never a value: the server's detail is left out.
            ["21", "22", "23", "42"].iter().any(|class| code.code().starts_with(class))
        });
        let Some(said) = error.as_db_error().filter(|_| definite) else { return self.lost(error) };
        let table = said.table().map_or_else(String::new, |table| format!(" into {table}"));
        StreamError::Stopped(Finding {
            code: "SW-0303".to_owned(),
            what: format!(
                "the stream {} cannot write{table} on the {}: {} ({})",
                self.spec.name,
                self.database.side(),
                said.message(),
                said.code().code()
            ),
            remedy: if said.code().code().starts_with("42") {
                until_columns_agree()
            } else {
                "Nothing is lost: it goes on from its checkpoint when the cause is removed.".to_owned()
            },
        })
    }
}

fn until_columns_agree() -> String {
    format!(
        "Nothing is lost. When both sides have the same columns again it goes on from its checkpoint by itself. \
         Else: {BEGIN_ANEW}"
    )
}

/// The tables that were changed, as they are where the changes were read.
fn shapes_of(transactions: &[&Transaction]) -> std::io::Result<BTreeMap<TableName, Arc<TableShape>>> {
    let mut shapes = BTreeMap::new();
    for transaction in transactions {
        for window in transaction.changes.windows() {
            for change in window?.iter() {
                let (Change::Insert { shape, .. }
                | Change::Update { shape, .. }
                | Change::Delete { shape, .. }) = change;
                shapes.entry(shape.table.clone()).or_insert_with(|| Arc::clone(shape));
            }
        }
    }
    Ok(shapes)
}

/// The places of the columns that are present.
fn places(present: &[bool]) -> Vec<usize> {
    present.iter().enumerate().filter(|(_, there)| **there).map(|(at, _)| at).collect()
}

/// Whether values of a unique constraint may have changed places inside a set.
fn swaps_unique_values(error: &tokio_postgres::Error) -> bool {
    [Some(&SqlState::UNIQUE_VIOLATION), Some(&SqlState::EXCLUSION_VIOLATION)].contains(&error.code())
}

/// One batch's work inside its transaction.
struct Work<'w, 't> {
    tx: &'w Tx<'t>,
    database: &'w Database,
    spec: &'w StreamSpec,
    completeness: Completeness,
    rows: Option<&'w dyn RowSource>,
    statements: &'w mut BTreeMap<String, Statement>,
}

/// Up to how many changes are written one by one without looking for sets among them.
const ONE_BY_ONE: usize = 32;

impl Work<'_, '_> {
    async fn move_checkpoint(
        &mut self,
        epoch: Epoch,
        mode: StreamMode,
        batch: &Batch,
    ) -> Result<(), Failure> {
        let sql = "update _switchyard.stream \
                   set lsn = $7::text::pg_lsn, updated_at = clock_timestamp(), \
                       source_committed_at = coalesce(to_timestamp($8::text::numeric / 1000), source_committed_at) \
                   where migration = $1 and phase = $2 and direction = $3 and lane = 0 \
                     and epoch = $4 and mode = $5 and lsn = $6::text::pg_lsn";
        let (Checkpoint::Lsn(previous), Checkpoint::Lsn(end)) = (batch.previous, batch.end);
        let (previous, end) = (previous.to_string(), end.to_string());
        let committed = batch.transactions.last().map(|last| last.committed_ms.to_string());
        let statement = self.statement(sql).await?;
        let (name, epoch) = (&self.spec.name, signed(epoch.get()));
        let values: [&(dyn ToSql + Sync); 8] = [
            &self.database.migration().as_str(),
            &name.phase.as_str(),
            &name.direction.word(),
            &epoch,
            &mode.word(),
            &previous,
            &end,
            &committed,
        ];
        match self.tx.execute(&statement, &values).await? {
            0 => Err(StreamError::Superseded.into()),
            _ => Ok(()),
        }
    }

    async fn statement(&mut self, sql: &str) -> Result<Statement, tokio_postgres::Error> {
        if let Some(known) = self.statements.get(sql) {
            return Ok(known.clone());
        }
        let prepared = self.tx.prepare(sql).await?;
        self.statements.insert(sql.to_owned(), prepared.clone());
        Ok(prepared)
    }

    /// Writes what the transactions changed, a window after the other, and remembers which keys they touched.
    async fn apply(&mut self, transactions: &[&Transaction], in_order: bool) -> Result<(), Failure> {
        self.tx.batch_execute("set constraints all deferred").await?;
        let small: Option<Vec<&[Change]>> = transactions.iter().map(|each| each.changes.as_slice()).collect();
        if let Some(small) = small {
            // Many small transactions are one window.
            return self.window(&small.into_iter().flatten().collect::<Vec<_>>(), in_order).await;
        }
        for transaction in transactions {
            for window in transaction.changes.windows() {
                let window = window?;
                let changes: Vec<&Change> = window.iter().collect();
                // One window that sets cannot write does not have all others written one by one.
                self.tx.batch_execute("savepoint switchyard_window").await?;
                match self.window(&changes, false).await {
                    Err(failure) if failure.is_of_sets() => {
                        self.tx.batch_execute("rollback to savepoint switchyard_window").await?;
                        self.window(&changes, true).await.map_err(|failure| match failure {
                            Failure::Missing(error) => Failure::Stream(error),
                            other => other,
                        })?;
                    }
                    written => written?,
                }
                self.tx.batch_execute("release savepoint switchyard_window").await?;
            }
        }
        Ok(())
    }

    /// Writes changes in sets where sets can say it. What they cannot is looked for by halves, so that one such row does
    /// not have all that is around it written one by one.
    async fn window(&mut self, changes: &[&Change], in_order: bool) -> Result<(), Failure> {
        let mut parts = vec![changes];
        while let Some(part) = parts.pop() {
            let sets = if in_order { None } else { fold(part.iter().copied()) };
            match sets {
                Some(sets) => {
                    for set in sets.iter().filter(|set| !set.deletes.is_empty()) {
                        self.delete(&set.shape, &set.deletes.iter().collect::<Vec<_>>()).await?;
                    }
                    for set in &sets {
                        self.write(set).await?;
                    }
                }
                None if part.len() > ONE_BY_ONE && !in_order => {
                    let (first, second) = part.split_at(part.len() / 2);
                    parts.extend([second, first]);
                }
                None => {
                    for change in part {
                        self.one(change).await?;
                    }
                }
            }
        }
        Ok(())
    }

    async fn write(&mut self, window: &TableWindow) -> Result<(), Failure> {
        let shape = &window.shape;
        for (present, moves) in &window.moves {
            let rows: Vec<(&Row, &Row)> = moves.rows.iter().map(|(since, row)| (since, row)).collect();
            self.update(shape, &places(present), (&rows, moves.meet)).await?;
        }
        for (present, rows) in &window.updates {
            let keys: Vec<Row> = rows.iter().map(|row| key_of(shape, row)).collect();
            let rows: Vec<(&Row, &Row)> = keys.iter().zip(rows).collect();
            self.update(shape, &places(present), (&rows, false)).await?;
        }
        if !window.upserts.is_empty() {
            self.upsert(shape, &window.upserts.iter().collect::<Vec<_>>()).await?;
        }
        Ok(())
    }

    async fn upsert(&mut self, shape: &TableShape, rows: &[&Row]) -> Result<(), Failure> {
        let all: Vec<usize> = (0..shape.columns.len()).collect();
        if shape.always.iter().any(|at| !shape.key.contains(at)) {
            // What no update may set can only be inserted anew.
            let keys: Vec<Row> = rows.iter().map(|row| key_of(shape, row)).collect();
            self.delete(shape, &keys.iter().collect::<Vec<_>>()).await?;
        }
        let written = self.execute(&upsert_sql(shape), &columns(shape, rows, &all)?).await?;
        if written == rows.len() as u64 {
            return Ok(());
        }
        // Where all columns are key, a row that is there already is not written again.
        let keys: Vec<Row> = rows.iter().map(|row| key_of(shape, row)).collect();
        let is_key_alone = (0..shape.columns.len()).all(|at| shape.key.contains(&at));
        if is_key_alone && self.there(shape, &keys.iter().collect::<Vec<_>>()).await? == rows.len() {
            return Ok(());
        }
        Err(self.swallowed(shape).into())
    }

    async fn delete(&mut self, shape: &TableShape, keys: &[&Row]) -> Result<(), Failure> {
        let deleted = self.execute(&delete_sql(shape), &key_columns(shape, keys)?).await?;
        // A row that was not there needs no deletion; one that still is was kept by somebody.
        if deleted < keys.len() as u64 && self.there(shape, keys).await? > 0 {
            return Err(self.swallowed(shape).into());
        }
        Ok(())
    }

    /// How many rows of these keys are there.
    async fn there(&mut self, shape: &TableShape, keys: &[&Row]) -> Result<usize, Failure> {
        Ok(self.set(&found_sql(shape), &key_columns(shape, keys)?).await?.len())
    }

    /// Writes came to less than was given, and the server said nothing.
    fn swallowed(&self, shape: &TableShape) -> StreamError {
        let (table, side) = (&shape.table, self.database.side());
        StreamError::Stopped(Finding {
            code: "SW-0321".to_owned(),
            what: format!(
                "what the stream {} writes into {table} on the {side} is swallowed there: fewer rows came to be written or \
                 deleted than it gave",
                self.spec.name
            ),
            remedy: format!(
                "A rule or a trigger of {table} on the {side} that fires always (ENABLE ALWAYS or REPLICA) keeps them out: \
                 make it ordinary (`alter table … enable rule …`, `enable trigger …`) or drop it. Nothing is lost: nothing \
                 of the batch was committed, and it goes on from its checkpoint by itself."
            ),
        })
    }

    /// Updates rows of which some cells were not sent, each with the key under which it is; `meet`: one takes a key that
    /// another has. A row that is not there is completed, or stops the stream.
    async fn update(
        &mut self,
        shape: &TableShape,
        present: &[usize],
        (rows, meet): (&[(&Row, &Row)], bool),
    ) -> Result<(), Failure> {
        let new: Vec<&Row> = rows.iter().map(|(_, row)| *row).collect();
        let keys: Vec<&Row> = rows.iter().map(|(key, _)| *key).collect();
        let mut sent = columns(shape, &new, present)?;
        sent.extend(key_columns(shape, &keys)?);
        // Whether an identity column may have been given another value.
        let is_given = shape
            .always
            .iter()
            .any(|at| !shape.key.contains(at) || rows.iter().any(|(key, row)| **key != key_of(shape, row)));
        let sql = if meet || is_given { move_sql(shape, present) } else { update_sql(shape, present) };
        let hit: BTreeSet<i64> = self.set(&sql, &sent).await?.iter().map(|row| row.get(0)).collect();
        if hit.len() == rows.len() {
            return Ok(());
        }
        for (place, row) in (1..).zip(&new) {
            if !hit.contains(&place) {
                self.complete(shape, row).await?;
            }
        }
        Ok(())
    }

    /// A row that should be there and is not. While a load is being filled it is read by its new key from the side read.
    async fn complete(&mut self, shape: &TableShape, row: &Row) -> Result<(), Failure> {
        let source = match (self.completeness, self.rows) {
            (Completeness::Filling, Some(source)) => source,
            (Completeness::Filling | Completeness::Whole, _) => {
                return Err(Failure::Missing(StreamError::Stopped(Finding {
                    code: "SW-0304".to_owned(),
                    what: format!(
                        "a row of {} that the stream {} changes is not on the {}",
                        shape.table,
                        self.spec.name,
                        self.database.side()
                    ),
                    remedy: "Somebody removed it there, or wrote past the fence. Put the row back as the other side has it, with \
                             session_replication_role = replica: it goes on by itself."
                        .to_owned(),
                })));
            }
        };
        let found = source.row_by_key(shape, &key_of(shape, row)).await.map_err(StreamError::Lost)?;
        match found {
            Some(found) => self.upsert(shape, &[&found]).await,
            // Its delete comes later in the stream.
            None => Ok(()),
        }
    }

    /// One change as it happened there.
    async fn one(&mut self, change: &Change) -> Result<(), Failure> {
        match change {
            Change::Insert { shape, new } => self.upsert(shape, &[new]).await,
            Change::Delete { shape, key } => self.delete(shape, &[key]).await,
            Change::Update { shape, old_key: None, new } if !new.contains(&Cell::Unchanged) => {
                self.upsert(shape, &[new]).await
            }
            Change::Update { shape, old_key, new } => {
                let key = old_key.clone().unwrap_or_else(|| key_of(shape, new));
                if new.contains(&Cell::Unchanged) {
                    let present: Vec<bool> = new.iter().map(|cell| *cell != Cell::Unchanged).collect();
                    return self.update(shape, &places(&present), (&[(&key, new)], false)).await;
                }
                // A changed key with every cell sent needs no row there: replay finds it under the new key.
                self.delete(shape, &[&key]).await?;
                self.upsert(shape, &[new]).await
            }
        }
    }

    /// Runs a set's statement; gives what it returns.
    async fn set(&mut self, sql: &str, sent: &[Sent<'_>]) -> Result<Vec<tokio_postgres::Row>, Failure> {
        let statement = self.statement(sql).await?;
        let values: Vec<&(dyn ToSql + Sync)> =
            sent.iter().map(|column| column as &(dyn ToSql + Sync)).collect();
        Ok(self.tx.query(&statement, &values).await?)
    }

    /// Runs a set's statement; gives how many rows it wrote.
    async fn execute(&mut self, sql: &str, sent: &[Sent<'_>]) -> Result<u64, Failure> {
        let statement = self.statement(sql).await?;
        let values: Vec<&(dyn ToSql + Sync)> =
            sent.iter().map(|column| column as &(dyn ToSql + Sync)).collect();
        Ok(self.tx.execute(&statement, &values).await?)
    }
}
