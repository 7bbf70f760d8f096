//! A journal in some database: every write of a process goes through its one appender, reads go beside it. Both know
//! the newest state that was replayed, so that only new events are read.

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

use crate::appender::Appender;
use crate::backend::Backend;
use crate::batch::{Job, Member};
use crate::reader::Reader;
use crate::record::{digest, lease_command_id};
use crate::{Claim, ExecuteError, Lease, Progress, Reported, Store, StoreError};

/// Callers that wait for a place in the appender's queue block here; far above what one process asks at once.
const QUEUE: usize = 1024;

/// The journal in a database.
///
/// It may be opened any number of times, by any number of processes. Dropping it ends its appender after what was
/// handed over to it.
#[derive(Debug)]
pub struct Journal<B: Backend> {
    reader: Arc<Reader<B>>,
    jobs: mpsc::Sender<Job>,
}

impl<B: Backend> Journal<B> {
    /// Starts the appender and replays what is there.
    pub(crate) async fn start(
        backend: B,
        migration: &MigrationName,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, StoreError> {
        let store = Self::unread(backend, migration, clock);
        // A journal that cannot be replayed is found here and not in the middle of an operation.
        Reader::state(&store.reader).await?;
        Ok(store)
    }

    /// Starts the appender alone.
    pub(crate) fn unread(backend: B, migration: &MigrationName, clock: Arc<dyn Clock>) -> Self {
        let reader = Arc::new(Reader::new(backend, migration.clone(), clock));
        let (jobs, queue) = mpsc::channel(QUEUE);
        tokio::spawn(Appender::new(Arc::clone(&reader), queue).run());
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
impl<B: Backend> Store for Journal<B> {
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
        let digest = digest(&command).map_err(StoreError::from)?;
        self.ask(|reply| Job::Append { member: Box::new(Member { id, digest, claim, command }), reply }).await
    }

    async fn claim(
        &self,
        phase: &PhaseName,
        holder: &Holder,
        term: Duration,
    ) -> Result<Option<Lease>, StoreError> {
        let (phase, holder) = (phase.clone(), holder.clone());
        let id = lease_command_id(&phase, Timestamp::from_millis(self.reader.clock().now_millis()))?;
        self.ask(|reply| Job::Take { id, phase, holder, term, reply }).await
    }

    async fn renew(&self, lease: &Lease) -> Result<bool, StoreError> {
        self.ask(|reply| Job::Renew { lease: lease.clone(), reply }).await
    }

    async fn release(&self, lease: &Lease) -> Result<(), StoreError> {
        self.ask(|reply| Job::Release { lease: lease.clone(), reply }).await
    }

    async fn state(&self) -> Result<Arc<State>, StoreError> {
        Reader::state(&self.reader).await
    }

    fn tail(&self, after: Position) -> BoxStream<'static, Result<Recorded, StoreError>> {
        Reader::tail(&self.reader, after)
    }

    async fn stored(&self, after: Position, limit: u32) -> Result<Vec<(Position, Vec<u8>)>, StoreError> {
        self.reader.stored(after, limit).await
    }

    async fn altered(&self) -> Result<Vec<Position>, StoreError> {
        self.reader.altered().await
    }

    async fn report(&self, phase: &PhaseName, progress: Progress) -> Result<(), StoreError> {
        let body = serde_json::to_string(&progress).map_err(journal::CanonicalError::from)?;
        self.ask(|reply| Job::Report { phase: phase.clone(), body, reply }).await
    }

    async fn reported(&self) -> Result<BTreeMap<PhaseName, Reported>, StoreError> {
        self.reader.reported().await
    }

    async fn now(&self) -> Result<Timestamp, StoreError> {
        self.reader.backend().now().await.map_err(B::trouble)
    }
}
