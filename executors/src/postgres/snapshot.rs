//! A snapshot that many connections share, and its place in the change stream.
//!
//! The server exports one when it makes a logical slot, and it lives as long as that replication connection stays idle.
//! An ordinary transaction takes it over at once and exports it again: from then on the snapshot is that transaction's,
//! whose end this process notices, and a temporary slot can go. A snapshot's name may come back after a crash of the
//! server, so whoever imports one asks the holder afterwards whether it is still in its transaction: an answer after
//! the import proves that the name was the holder's at the import.

use std::fmt;

use async_trait::async_trait;
use futures::StreamExt;
use journal::Lsn;
use tokio::sync::Mutex;
use tokio_postgres::error::SqlState;
use uuid::Uuid;

use crate::native::{Cell, Checkpoint, Row, Snapshot, TableShape};
use crate::postgres::apply::RowSource;
use crate::postgres::copy::{cells, keyed_select};
use crate::postgres::database::{Database, Session};
use crate::postgres::quote::literal;
use crate::postgres::wire::{CreateSlotError, CreatedSlot, ReplicationConnection};
use crate::seams::Cause;

/// A snapshot of one database at a place in its log: everything that committed before the place, nothing after it.
pub struct HeldSnapshot {
    database: Database,
    holder: Session,
    id: String,
    lsn: Lsn,
}

impl fmt::Debug for HeldSnapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HeldSnapshot({} at {})", self.id, self.lsn)
    }
}

impl Snapshot for HeldSnapshot {
    fn id(&self) -> &str {
        &self.id
    }

    fn checkpoint(&self) -> Checkpoint {
        Checkpoint::Lsn(self.lsn)
    }
}

/// A transaction under a snapshot was not begun.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BeginError {
    /// Its holder is gone: it will never come back.
    #[error("the snapshot is gone")]
    Gone,
    /// The connection, or the server.
    #[error("{0}")]
    Other(Cause),
}

impl HeldSnapshot {
    /// Makes a slot of this name and takes its snapshot over. Not to be dropped in between: the slot would stay without
    /// its snapshot, which the caller must be able to live with.
    ///
    /// # Errors
    /// As the slot's creation; `Other` also when the snapshot was lost on the way, with the slot there already.
    pub async fn of_new_slot(
        database: &Database,
        slot: &str,
        temporary: bool,
    ) -> Result<Self, CreateSlotError> {
        let mut creator = ReplicationConnection::connect(database).await.map_err(CreateSlotError::Other)?;
        let created = creator.create_slot(slot, temporary).await?;
        let held = Self::take_over(database, &created.snapshot, created.consistent_point).await;
        drop(creator);
        held.map_err(CreateSlotError::Other)
    }

    /// A snapshot of this moment, by a slot that is gone again at once. Waits for the writers that are open now.
    ///
    /// # Errors
    /// There is no free slot, or the server cannot be asked.
    pub async fn of_now(database: &Database) -> Result<Self, Cause> {
        ExportedSnapshot::of_now(database).await?.hold().await
    }

    async fn take_over(database: &Database, exported: &str, lsn: Lsn) -> Result<Self, Cause> {
        let fault = |error: tokio_postgres::Error| database.cause("loses the new snapshot", &error);
        let holder = database.session().await?;
        let begin = format!(
            "begin isolation level repeatable read read only; set transaction snapshot {}",
            literal(exported)
        );
        holder.batch_execute(&begin).await.map_err(fault)?;
        let row = holder.query_one("select pg_export_snapshot()", &[]).await.map_err(fault)?;
        Ok(Self { database: database.clone(), id: row.get(0), holder, lsn })
    }

    /// The database it is of.
    #[must_use]
    pub const fn database(&self) -> &Database {
        &self.database
    }

    /// Its place in the database's own log.
    #[must_use]
    pub const fn lsn(&self) -> Lsn {
        self.lsn
    }

    /// Begins a read-only transaction under the snapshot.
    ///
    /// # Errors
    /// The snapshot is gone, or the server cannot be reached.
    pub async fn begin(&self) -> Result<Session, BeginError> {
        let session = self.database.session().await.map_err(BeginError::Other)?;
        let begin = format!(
            "begin isolation level repeatable read read only; set transaction snapshot {}",
            literal(&self.id)
        );
        if let Err(error) = session.batch_execute(&begin).await {
            // 22023, and 42704 on other versions: there is no such snapshot.
            let gone = matches!(error.code(), Some(code)
                if *code == SqlState::INVALID_PARAMETER_VALUE || *code == SqlState::UNDEFINED_OBJECT);
            let cause = self.database.cause("does not take the snapshot", &error);
            return Err(if gone { BeginError::Gone } else { BeginError::Other(cause) });
        }
        match self.holder.batch_execute("select 1").await {
            Ok(()) => Ok(session),
            Err(_) => Err(BeginError::Gone),
        }
    }

    /// The read-only transaction that holds it, for who reads by one alone.
    #[must_use]
    pub fn into_reading(self) -> Session {
        self.holder
    }

    /// Whether its holder still answers.
    pub async fn is_alive(&self) -> bool {
        self.holder.batch_execute("select 1").await.is_ok()
    }
}

/// A snapshot of this moment that the server has just exported: its place is known before anything else is done.
#[derive(Debug)]
pub struct ExportedSnapshot {
    database: Database,
    creator: ReplicationConnection,
    created: CreatedSlot,
}

impl ExportedSnapshot {
    /// As [`HeldSnapshot::of_now`], not yet held.
    ///
    /// # Errors
    /// There is no free slot, or the server cannot be asked.
    pub async fn of_now(database: &Database) -> Result<Self, Cause> {
        let fault = |error| Cause(format!("no snapshot can be taken at the {}: {error}", database.side()));
        let mut creator = ReplicationConnection::connect(database).await?;
        let slot = format!("switchyard_tmp_{}", Uuid::now_v7().simple());
        let created = creator.create_slot(&slot, true).await.map_err(fault)?;
        Ok(Self { database: database.clone(), creator, created })
    }

    /// Its place in the database's own log.
    #[must_use]
    pub const fn lsn(&self) -> Lsn {
        self.created.consistent_point
    }

    /// Holds it; the slot goes.
    ///
    /// # Errors
    /// The server cannot be asked.
    pub async fn hold(self) -> Result<HeldSnapshot, Cause> {
        let held = HeldSnapshot::take_over(&self.database, &self.created.snapshot, self.lsn()).await;
        drop(self.creator);
        held
    }
}

/// The oldest transaction that a new slot, and so a new snapshot, waits for, in words: whose, and since when.
///
/// # Errors
/// The server cannot be asked.
pub async fn oldest_writer(database: &Database) -> Result<Option<String>, Cause> {
    let session = database.session().await?;
    let sql = "select who || ', open since ' || date_trunc('second', since)::text from ( \
                 select 'the transaction of pid ' || pid || ' (user ' || coalesce(usename::text, 'unknown') || \
                        ', application ' || coalesce(nullif(application_name, ''), 'unnamed') || ', database ' || \
                        coalesce(datname::text, 'none') || ')', xact_start \
                 from pg_stat_activity where backend_xid is not null and pid <> pg_backend_pid() \
                 union all \
                 select 'the prepared transaction ' || gid || ' (user ' || owner || ', database ' || database || ')', \
                        prepared from pg_prepared_xacts) as open (who, since) \
               where since is not null order by since limit 1";
    let row = session
        .query_opt(sql, &[])
        .await
        .map_err(|error| database.cause("does not name its writers", &error))?;
    session.done();
    Ok(row.map(|row| row.get(0)))
}

/// Ends a read-only transaction and gives its connection back. A failure merely closes it.
pub async fn end(session: Session) {
    if session.batch_execute("commit").await.is_ok() {
        session.done();
    }
}

/// Single rows under a snapshot, for the fill's stream.
pub struct SnapshotRows {
    snapshot: std::sync::Arc<HeldSnapshot>,
    session: Mutex<Option<Session>>,
}

impl fmt::Debug for SnapshotRows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SnapshotRows({:?})", self.snapshot)
    }
}

impl SnapshotRows {
    /// Rows as they were under this snapshot.
    #[must_use]
    pub fn new(snapshot: std::sync::Arc<HeldSnapshot>) -> Self {
        Self { snapshot, session: Mutex::new(None) }
    }
}

#[async_trait]
impl RowSource for SnapshotRows {
    async fn row_by_key(&self, shape: &TableShape, key: &[Cell]) -> Result<Option<Row>, Cause> {
        let mut texts = Vec::with_capacity(key.len());
        for cell in key {
            let Cell::Text(text) = cell else {
                return Err(Cause(format!("a key of {} has a part without a value", shape.table)));
            };
            let text = std::str::from_utf8(text)
                .map_err(|_| Cause(format!("a key of {} is not UTF-8", shape.table)))?;
            texts.push(text.to_owned());
        }
        let mut slot = self.session.lock().await;
        let session = match slot.take() {
            Some(session) => session,
            None => self.snapshot.begin().await.map_err(|error| Cause(error.to_string()))?,
        };
        let fault = |error: tokio_postgres::Error| {
            self.snapshot.database().cause(&format!("does not give a row of {}", shape.table), &error)
        };
        let order: Vec<usize> = (0..shape.columns.len()).collect();
        let sql = format!("copy ({}) to stdout", keyed_select(shape, &order, &[texts]));
        let mut found = None;
        let copy = session.copy_out(&sql).await.map_err(fault)?;
        futures::pin_mut!(copy);
        while let Some(line) = copy.next().await {
            found = Some(cells(&line.map_err(fault)?));
        }
        // Only now: an error above leaves the connection to be closed.
        *slot = Some(session);
        Ok(found)
    }
}
