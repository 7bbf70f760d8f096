//! The journal in a PostgreSQL database, in a schema of its own, shared by several processes at once.
//!
//! The head's row is locked by every append until its commit. A batch of plain appends takes one round trip: it is
//! decided on what this process knows, and the function that writes it finds out under the lock whether that still
//! holds. Everything else locks first, reads, decides and writes. Leases and events go by the database's clock.
//!
//! All of it needs sessions of its own: through a pooler, let it pool sessions, not transactions.

mod instance;
mod schema;
mod sql;

use std::sync::Arc;
use std::time::Duration;

use journal::{MigrationName, Position, Timestamp};
use runtime::{Clock, Secret};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{ConnectOptions as _, PgPool};

use crate::StoreError;
use crate::backend::{Backend, ReportRow, Trouble};
use crate::record::Page;
use crate::shared::Journal;

pub use instance::Instance;
pub(crate) use sql::from_database;
use sql::{PostgresWriter, is_passing};

/// How long another process's append may stay unseen.
const POLL: Duration = Duration::from_millis(250);

/// Readers at once: a status, a board and a few tails.
const READERS: u32 = 4;

/// How long a connection that cannot be made is tried.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// The journal in a PostgreSQL database.
pub type PostgresStore = Journal<Postgres>;

/// The database, and what reads it.
#[derive(Debug)]
pub struct Postgres {
    options: PgConnectOptions,
    readers: PgPool,
    clock: Arc<dyn Clock>,
}

impl Journal<Postgres> {
    /// Opens the journal of a database, making its schema if it is not there. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// The database cannot be reached ([`StoreError::Unavailable`]), or it holds another migration's journal, a newer
    /// version's, or its role may neither use nor make one ([`StoreError::Foreign`]).
    pub async fn open(
        url: &Secret,
        migration: &MigrationName,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, StoreError> {
        let options = options(url)?;
        schema::prepare(&options, migration).await?;
        Self::start(Postgres::new(options, Arc::clone(&clock)), migration, clock).await
    }

    /// Opens a journal that is there already; makes and changes nothing by itself.
    ///
    /// # Errors
    /// As [`PostgresStore::open`]; a database without a journal is [`StoreError::Foreign`], with a sentence that says
    /// what to do.
    pub async fn open_existing(
        url: &Secret,
        migration: &MigrationName,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, StoreError> {
        let options = options(url)?;
        schema::inspect(&options, migration).await?;
        Self::start(Postgres::new(options, Arc::clone(&clock)), migration, clock).await
    }

    /// Opens a journal that is there, without replaying it: an auditor wants the rows of one that cannot be replayed too.
    ///
    /// # Errors
    /// As [`PostgresStore::open_existing`], but for what its events say.
    pub async fn open_unread(
        url: &Secret,
        migration: &MigrationName,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, StoreError> {
        let options = options(url)?;
        schema::inspect(&options, migration).await?;
        Ok(Self::unread(Postgres::new(options, Arc::clone(&clock)), migration, clock))
    }
}

/// How every connection is made. Each statement ends by itself, and so does a transaction of a process that was
/// stopped in its midst: nobody holds the head's lock for long.
pub(crate) fn options(url: &Secret) -> Result<PgConnectOptions, StoreError> {
    let given: PgConnectOptions = url.expose().parse().map_err(|_unsaid: sqlx::Error| {
        StoreError::Foreign(
            "the journal's connection string is not a postgres:// URL (it is not shown here)".to_owned(),
        )
    })?;
    Ok(given
        .application_name("switchyard journal")
        .options([
            ("statement_timeout", "10s"),
            ("lock_timeout", "3s"),
            ("idle_in_transaction_session_timeout", "10s"),
            ("default_transaction_isolation", "read committed"),
            // The same few statements for ever: none of them is planned again.
            ("plan_cache_mode", "force_generic_plan"),
            // Where the other machine is gone without a word, its sessions and their locks end in half a minute.
            ("tcp_keepalives_idle", "10"),
            ("tcp_keepalives_interval", "5"),
            ("tcp_keepalives_count", "4"),
        ])
        .disable_statement_logging())
}

impl Postgres {
    fn new(options: PgConnectOptions, clock: Arc<dyn Clock>) -> Self {
        let readers = PgPoolOptions::new()
            .max_connections(READERS)
            .acquire_timeout(PATIENCE)
            .connect_lazy_with(options.clone());
        Self { options, readers, clock }
    }
}

impl Backend for Postgres {
    type Writer = PostgresWriter;

    async fn writer(&self) -> Result<PostgresWriter, Trouble> {
        Ok(PostgresWriter::new(self.options.connect().await?, Arc::clone(&self.clock)))
    }

    async fn events_after(&self, after: Position, limit: u32) -> Result<Page, Trouble> {
        let mut connection = self.readers.acquire().await?;
        sql::events_after(&mut connection, after, limit).await
    }

    async fn reports(&self) -> Result<Vec<ReportRow>, Trouble> {
        let rows = sqlx::query_as("select phase, at, body from switchyard_journal.progress");
        Ok(rows.fetch_all(&self.readers).await?)
    }

    async fn now(&self) -> Result<Timestamp, Trouble> {
        let now: i64 =
            sqlx::query_scalar("select switchyard_journal.now_ms()").fetch_one(&self.readers).await?;
        Ok(Timestamp::from_millis(now))
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

    fn may_retry(error: &sqlx::Error) -> bool {
        is_passing(error)
    }

    fn is_whole(_error: &sqlx::Error) -> bool {
        // A transaction may be open on it, and a new connection costs little beside a failure.
        false
    }
}
