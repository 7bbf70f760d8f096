//! The journal in one SQLite file, shared by several processes at once.
//!
//! `begin immediate` takes SQLite's one write lock: the head's lock. A batch of plain appends is decided before it and
//! written in one turn of the thread that holds the connection: triggers find out under the lock whether head, commands
//! and leases are as they were taken to be, a hook of the commit whether the clock is. Reads go through a small pool of
//! connections that cannot write.

mod file;
mod sql;

use std::sync::Arc;
use std::time::Duration;

use journal::{MigrationName, Position, Timestamp};
use runtime::Clock;
use sqlx::sqlite::SqlitePoolOptions;
use sqlx::{ConnectOptions as _, SqlitePool};

use crate::StoreError;
use crate::backend::{Backend, ReportRow, Trouble};
use crate::record::Page;
use crate::shared::Journal;
use file::JournalFile;
use sql::{SqliteWriter, events_after, from_database, is_busy};

/// How long another process's append may stay unseen. A tenth of a second is at once for people, and ten reads of an
/// index a second are nothing for SQLite.
const POLL: Duration = Duration::from_millis(100);

/// Readers at once: a status, a board and a few tails.
const READERS: u32 = 4;

/// The journal in a SQLite file.
pub type SqliteStore = Journal<Sqlite>;

/// The file, and what reads it.
#[derive(Debug)]
pub struct Sqlite {
    file: JournalFile,
    readers: SqlitePool,
    clock: Arc<dyn Clock>,
}

impl Journal<Sqlite> {
    /// Opens the journal at `sqlite:FILE` (relative to the working directory), making the file and its tables if they
    /// are not there. Must be called within a tokio runtime. Time for leases and events is the clock's: SQLite has no
    /// other, so all processes that share a file must share a clock.
    ///
    /// # Errors
    /// The file cannot be opened ([`StoreError::Unavailable`]), or is another migration's journal, a newer version's,
    /// or no journal at all ([`StoreError::Foreign`]).
    pub async fn open(
        url: &str,
        migration: &MigrationName,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, StoreError> {
        let file = JournalFile::of(url)?;
        file.prepare(migration, clock.as_ref()).await?;
        Self::start(Sqlite::new(file, Arc::clone(&clock)), migration, clock).await
    }

    /// Opens a journal that is there already; makes and changes nothing by itself.
    ///
    /// # Errors
    /// As [`SqliteStore::open`]; a file that is not there, is empty or an older version's is
    /// [`StoreError::Foreign`], with a sentence that says what to do.
    pub async fn open_existing(
        url: &str,
        migration: &MigrationName,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, StoreError> {
        let file = JournalFile::of(url)?;
        file.inspect(migration).await?;
        Self::start(Sqlite::new(file, Arc::clone(&clock)), migration, clock).await
    }

    /// Opens a journal that is there, without replaying it: an auditor wants the rows of one that cannot be replayed too.
    ///
    /// # Errors
    /// As [`SqliteStore::open_existing`], but for what its events say.
    pub async fn open_unread(
        url: &str,
        migration: &MigrationName,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, StoreError> {
        let file = JournalFile::of(url)?;
        file.inspect(migration).await?;
        Ok(Self::unread(Sqlite::new(file, Arc::clone(&clock)), migration, clock))
    }
}

impl Sqlite {
    fn new(file: JournalFile, clock: Arc<dyn Clock>) -> Self {
        let readers = SqlitePoolOptions::new()
            .max_connections(READERS)
            .test_before_acquire(false)
            .connect_lazy_with(file.reading());
        Self { file, readers, clock }
    }
}

impl Backend for Sqlite {
    type Writer = SqliteWriter;

    async fn writer(&self) -> Result<SqliteWriter, Trouble> {
        let connection = self.file.writing().connect().await?;
        Ok(SqliteWriter::new(connection, Arc::clone(&self.clock)).await?)
    }

    async fn events_after(&self, after: Position, limit: u32) -> Result<Page, Trouble> {
        let mut connection = self.readers.acquire().await?;
        events_after(&mut connection, after, limit).await
    }

    async fn reports(&self) -> Result<Vec<ReportRow>, Trouble> {
        Ok(sqlx::query_as("select phase, at, body from progress").fetch_all(&self.readers).await?)
    }

    async fn now(&self) -> Result<Timestamp, Trouble> {
        Ok(Timestamp::from_millis(self.clock.now_millis()))
    }

    async fn wait(&self, clock: &dyn Clock) {
        clock.sleep(POLL).await;
    }

    fn rest(&self) -> Duration {
        POLL
    }

    fn error(error: &sqlx::Error) -> StoreError {
        from_database(error)
    }

    fn may_retry(_error: &sqlx::Error) -> bool {
        true
    }

    fn is_whole(error: &sqlx::Error) -> bool {
        is_busy(error)
    }
}
