//! The journal in one SQLite file, shared by several processes at once.
//!
//! Every write of a process goes through its one [`appender`]; reads go through a small pool of connections that
//! cannot write. Both know the newest state that was replayed, so that only new events are read.

mod appender;
mod file;
mod reader;
mod rows;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::BoxStream;
use journal::{
    Actor, Command, CommandBody, CommandId, Holder, MigrationName, PhaseName, Position, Recorded, Refusal,
    State, Timestamp,
};
use runtime::Clock;
use tokio::sync::{mpsc, oneshot};

use crate::{Claim, ExecuteError, Lease, Progress, Reported, Store, StoreError};
use appender::{Appender, Job, Member};
use file::JournalFile;
use reader::Reader;

/// Callers that wait for a place in the appender's queue block here; far above what one process asks at once.
const QUEUE: usize = 1024;

/// The journal in a SQLite file.
///
/// It may be opened any number of times, by any number of processes. Dropping it ends its appender after what was
/// handed over to it.
#[derive(Debug)]
pub struct SqliteStore {
    reader: Arc<Reader>,
    jobs: mpsc::Sender<Job>,
}

impl SqliteStore {
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
        Self::start(file, migration, clock).await
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
        Self::start(file, migration, clock).await
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
        Ok(Self::unread(file, migration, clock))
    }

    async fn start(
        file: JournalFile,
        migration: &MigrationName,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, StoreError> {
        let store = Self::unread(file, migration, clock);
        // A journal that cannot be replayed is found here and not in the middle of an operation.
        store.reader.state().await?;
        Ok(store)
    }

    fn unread(file: JournalFile, migration: &MigrationName, clock: Arc<dyn Clock>) -> Self {
        let reader = Arc::new(Reader::new(&file, migration.clone(), clock));
        let (jobs, queue) = mpsc::channel(QUEUE);
        tokio::spawn(Appender::new(file, Arc::clone(&reader), queue).run());
        Self { reader, jobs }
    }

    /// Hands a job to the appender and waits for its answer.
    async fn ask<T, E: From<StoreError>>(
        &self,
        job: impl FnOnce(oneshot::Sender<Result<T, E>>) -> Job,
    ) -> Result<T, E> {
        let (reply, answer) = oneshot::channel();
        let stopped =
            || E::from(StoreError::Unavailable("its writer in this process has stopped".to_owned()));
        self.jobs.send(job(reply)).await.map_err(|_closed| stopped())?;
        answer.await.map_err(|_closed| stopped())?
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn execute(
        &self,
        id: CommandId,
        claim: Option<Claim>,
        command: Command,
    ) -> Result<Vec<Recorded>, ExecuteError> {
        let by_executor = matches!(command.actor, Actor::Executor(_));
        let takes_lease = matches!(command.body, CommandBody::TakeLease { .. });
        // An executor's append without a claim would not be fenced; a change of hands goes through `claim` alone.
        if takes_lease || (by_executor && claim.is_none()) {
            return Err(Refusal::NotAnExecutor.into());
        }
        let digest = rows::digest(&command).map_err(StoreError::from)?;
        self.ask(|reply| Job::Append { member: Box::new(Member { id, digest, claim, command }), reply }).await
    }

    async fn claim(
        &self,
        phase: &PhaseName,
        holder: &Holder,
        term: Duration,
    ) -> Result<Option<Lease>, StoreError> {
        let (phase, holder) = (phase.clone(), holder.clone());
        let id = rows::lease_command_id(&phase, self.reader.now())?;
        self.ask(|reply| Job::Take { id, phase, holder, term, reply }).await
    }

    async fn renew(&self, lease: &Lease) -> Result<bool, StoreError> {
        self.ask(|reply| Job::Renew { lease: lease.clone(), reply }).await
    }

    async fn release(&self, lease: &Lease) -> Result<(), StoreError> {
        self.ask(|reply| Job::Release { lease: lease.clone(), reply }).await
    }

    async fn state(&self) -> Result<Arc<State>, StoreError> {
        self.reader.state().await
    }

    fn tail(&self, after: Position) -> BoxStream<'static, Result<Recorded, StoreError>> {
        Reader::tail(&self.reader, after)
    }

    async fn stored(&self, after: Position, limit: u32) -> Result<Vec<(Position, Vec<u8>)>, StoreError> {
        self.reader.stored(after, limit).await
    }

    async fn report(&self, phase: &PhaseName, progress: Progress) -> Result<(), StoreError> {
        let body = serde_json::to_string(&progress).map_err(journal::CanonicalError::from)?;
        self.ask(|reply| Job::Report { phase: phase.clone(), body, reply }).await
    }

    async fn reported(&self) -> Result<BTreeMap<PhaseName, Reported>, StoreError> {
        self.reader.reported().await
    }

    async fn now(&self) -> Result<Timestamp, StoreError> {
        Ok(self.reader.now())
    }
}
