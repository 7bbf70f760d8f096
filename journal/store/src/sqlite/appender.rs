//! The one task of a process that writes.
//!
//! What can happen at once, and why it is right:
//!
//! * **Callers of one process.** The task takes all that wait and serves them in one transaction: one fsync for many.
//!   Each is decided against the state with the earlier members of its batch in it, so two that cannot both be right
//!   are not both accepted. A member that is refused has written nothing and the others stand. Nobody is answered
//!   before the commit has returned: also a refusal may rest on an earlier member of the batch.
//! * **Processes.** `begin immediate` takes SQLite's one write lock first. What others appended is read within the
//!   transaction, before anything is decided, and nobody can append until it ends: the position given is the next one,
//!   and the state decided on is the newest one.
//! * **A holder whose term ends while it waits.** The clock is read after the lock was taken. The lease row is read
//!   in the transaction that appends, so an append under an old epoch cannot slip in beside a change of hands.
//! * **A commit whose answer is lost.** It may or may not be there. The batch is served again from the beginning: a
//!   command id that is there answers with its events, one that is not is decided anew. So is any repeat of the caller.
//! * **A caller that goes away.** What was handed over is appended all the same.

use std::sync::Arc;
use std::time::Duration;

use journal::{
    Actor, Command, CommandBody, CommandId, Envelope, Epoch, Fact, Holder, PhaseName, Position, Recorded,
    SCHEMA_VERSION, State, Timestamp, decide, evolve, merkle,
};
use runtime::failpoint;
use runtime::retry::Backoff;
use sqlx::{ConnectOptions as _, Connection as _, SqliteConnection};
use tokio::sync::{mpsc, oneshot};

use super::file::JournalFile;
use super::reader::{Reader, catch_up};
use super::rows::{Digest, Trouble, digest, event_id, events_of, from_database, is_busy, number, plain};
use crate::{Claim, ExecuteError, Lease, StoreError};

/// Members of one transaction. Bounds how long other processes wait for the lock.
const BATCH: usize = 256;

/// Times that a batch is tried; with SQLite's own waiting of 2 s each, callers hear after some ten seconds.
const TRIES: u32 = 5;

/// A command to append.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) id: CommandId,
    pub(super) digest: Digest,
    pub(super) claim: Option<Claim>,
    pub(super) command: Command,
}

/// Where an answer goes.
type Reply<T, E = StoreError> = oneshot::Sender<Result<T, E>>;

/// What the appender is asked for.
#[derive(Debug)]
pub(super) enum Job {
    Append { member: Box<Member>, reply: Reply<Vec<Recorded>, ExecuteError> },
    Take { id: CommandId, phase: PhaseName, holder: Holder, term: Duration, reply: Reply<Option<Lease>> },
    Renew { lease: Lease, reply: Reply<bool> },
    Release { lease: Lease, reply: Reply<()> },
    Report { phase: PhaseName, body: String, reply: Reply<()> },
}

/// What a job came to, kept until the commit.
#[derive(Debug)]
enum Answer {
    Appended(Result<Vec<Recorded>, ExecuteError>),
    Taken(Result<Option<Lease>, StoreError>),
    Renewed(bool),
    Done,
}

impl Job {
    fn answer(self, answer: Answer) {
        // A caller that has gone away does not hear it.
        let _heard = match (self, answer) {
            (Self::Append { reply, .. }, Answer::Appended(result)) => reply.send(result).is_ok(),
            (Self::Take { reply, .. }, Answer::Taken(result)) => reply.send(result).is_ok(),
            (Self::Renew { reply, .. }, Answer::Renewed(is_held)) => reply.send(Ok(is_held)).is_ok(),
            (Self::Release { reply, .. } | Self::Report { reply, .. }, Answer::Done) => {
                reply.send(Ok(())).is_ok()
            }
            // Dropping the sender tells the caller that there is no answer.
            (_job, _answer) => false,
        };
    }

    fn fail(self, error: StoreError) {
        let _heard = match self {
            Self::Append { reply, .. } => reply.send(Err(error.into())).is_ok(),
            Self::Take { reply, .. } => reply.send(Err(error)).is_ok(),
            Self::Renew { reply, .. } => reply.send(Err(error)).is_ok(),
            Self::Release { reply, .. } | Self::Report { reply, .. } => reply.send(Err(error)).is_ok(),
        };
    }
}

/// The task.
#[derive(Debug)]
pub(super) struct Appender {
    file: JournalFile,
    reader: Arc<Reader>,
    jobs: mpsc::Receiver<Job>,
    connection: Option<SqliteConnection>,
}

impl Appender {
    pub(super) const fn new(file: JournalFile, reader: Arc<Reader>, jobs: mpsc::Receiver<Job>) -> Self {
        Self { file, reader, jobs, connection: None }
    }

    /// Serves until nobody can ask any more.
    pub(super) async fn run(mut self) {
        let mut jobs = Vec::new();
        while self.jobs.recv_many(&mut jobs, BATCH).await > 0 {
            self.serve(std::mem::take(&mut jobs)).await;
        }
    }

    async fn serve(&mut self, jobs: Vec<Job>) {
        let mut backoff = Backoff::new(Duration::from_millis(5), Duration::from_millis(500));
        let mut tries = 1;
        let error = loop {
            match self.attempt(&jobs).await {
                Ok(answers) => {
                    for (job, answer) in jobs.into_iter().zip(answers) {
                        job.answer(answer);
                    }
                    return;
                }
                Err(Trouble::Database(error)) => {
                    if !is_busy(&error) {
                        // It may be the connection; and a transaction that may still be open ends with it.
                        self.connection = None;
                    }
                    if tries == TRIES {
                        break from_database(&error);
                    }
                    tracing::warn!(error = %error, tries, "the journal's transaction is tried again");
                    tries += 1;
                    self.reader.clock().sleep(backoff.wait()).await;
                }
                Err(Trouble::Store(error)) => break error,
            }
        };
        for job in jobs {
            job.fail(again(&error));
        }
    }

    /// One transaction for all the jobs. An error means that it may or may not be committed.
    async fn attempt(&mut self, jobs: &[Job]) -> Result<Vec<Answer>, Trouble> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.file.writing().connect().await?,
        };
        let done = self.transact(&mut connection, jobs).await;
        self.connection = Some(connection);
        done
    }

    async fn transact(
        &self,
        connection: &mut SqliteConnection,
        jobs: &[Job],
    ) -> Result<Vec<Answer>, Trouble> {
        let mut tx = connection.begin_with("begin immediate").await?;
        let mut batch = Batch {
            connection: &mut tx,
            reader: &self.reader,
            state: self.reader.newest(),
            now: self.reader.now(),
        };
        catch_up(batch.connection, self.reader.migration(), &mut batch.state).await?;
        let caught_up = batch.state.head;
        let mut answers = Vec::with_capacity(jobs.len());
        for job in jobs {
            answers.push(batch.serve(job).await?);
        }
        let state = batch.state;
        let appends = state.head > caught_up;
        if appends {
            failpoint::hit("journal.before_commit");
        }
        tx.commit().await?;
        if appends {
            failpoint::hit("journal.after_commit");
        }
        self.reader.publish(&state);
        Ok(answers)
    }
}

/// The same error for each member of a batch.
fn again(error: &StoreError) -> StoreError {
    match error {
        StoreError::Unavailable(why) => StoreError::Unavailable(why.clone()),
        StoreError::Foreign(why) => StoreError::Foreign(why.clone()),
        StoreError::Refused(refusal) => StoreError::Refused(refusal.clone()),
        StoreError::Unreadable { .. } | StoreError::Unwritable(_) => StoreError::Foreign(error.to_string()),
    }
}

/// A transaction that holds the write lock, and the state with all that it has appended so far.
struct Batch<'t> {
    connection: &'t mut SqliteConnection,
    reader: &'t Reader,
    state: Arc<State>,
    now: Timestamp,
}

/// A command to decide, as it goes into the envelopes of its facts.
struct Asked<'c> {
    id: &'c CommandId,
    digest: Digest,
    epoch: Option<Epoch>,
    command: &'c Command,
}

/// A lease's row.
struct LeaseRow {
    epoch: Epoch,
    holder: String,
    expires_at: i64,
}

impl Batch<'_> {
    async fn serve(&mut self, job: &Job) -> Result<Answer, Trouble> {
        Ok(match job {
            Job::Append { member, .. } => Answer::Appended(self.execute(member).await?),
            Job::Take { id, phase, holder, term, .. } => {
                Answer::Taken(self.take(id, phase, holder, *term).await?)
            }
            Job::Renew { lease, .. } => Answer::Renewed(self.extend(lease, lease.term).await?),
            Job::Release { lease, .. } => {
                // Lost already is as good as released.
                let _was_held = self.extend(lease, Duration::ZERO).await?;
                Answer::Done
            }
            Job::Report { phase, body, .. } => {
                self.report(phase, body).await?;
                Answer::Done
            }
        })
    }

    /// The outer error is the batch's, the inner one the member's.
    async fn execute(&mut self, member: &Member) -> Result<Result<Vec<Recorded>, ExecuteError>, Trouble> {
        // First of all: a repeat is answered even if the lease was lost since.
        if let Some((digest, events)) =
            events_of(self.connection, &member.id, self.reader.migration()).await?
        {
            return Ok(if digest == member.digest {
                Ok(events)
            } else {
                Err(ExecuteError::IdReused(member.id.clone()))
            });
        }
        if let Some(claim) = &member.claim
            && !self.is_good(claim, &member.command.body).await?
        {
            return Ok(Err(ExecuteError::LeaseLost { phase: claim.phase.clone(), epoch: claim.epoch }));
        }
        let epoch = member.claim.as_ref().map(Claim::epoch);
        let asked = Asked { id: &member.id, digest: member.digest, epoch, command: &member.command };
        self.append(&asked).await
    }

    /// Whether the claim is the phase's newest epoch, its term runs, and the command is about that phase.
    async fn is_good(&mut self, claim: &Claim, body: &CommandBody) -> Result<bool, Trouble> {
        if body.phase().is_some_and(|phase| *phase != claim.phase) {
            return Ok(false);
        }
        let row = self.lease(&claim.phase).await?;
        Ok(row.is_some_and(|row| row.epoch == claim.epoch && self.now.millis() < row.expires_at))
    }

    async fn append(&mut self, asked: &Asked<'_>) -> Result<Result<Vec<Recorded>, ExecuteError>, Trouble> {
        let facts = match decide(&self.state, self.now, asked.command) {
            Ok(facts) => facts,
            Err(refusal) => return Ok(Err(refusal.into())),
        };
        // All bytes before the first row: what cannot be written must not leave a part behind.
        let mut events = Vec::with_capacity(facts.len());
        let mut position = self.state.head;
        for fact in facts {
            position = position.next();
            let event = self.envelop(position, asked, fact)?;
            match event.to_bytes() {
                Ok(bytes) => events.push((event, bytes)),
                Err(error) => return Ok(Err(StoreError::from(error).into())),
            }
        }
        // A command without facts leaves nothing, and a repeat of it is decided anew.
        if !events.is_empty() {
            self.insert_command(asked, self.state.head.next(), position).await?;
        }
        let mut recorded = Vec::with_capacity(events.len());
        for (event, bytes) in events {
            self.insert_event(&event, &bytes).await?;
            evolve(Arc::make_mut(&mut self.state), &event);
            recorded.push(event);
        }
        if self.state.head != position {
            return Err(StoreError::Foreign(format!(
                "the state stands at event {} after event {position} was replayed",
                self.state.head
            ))
            .into());
        }
        Ok(Ok(recorded))
    }

    fn envelop(&self, position: Position, asked: &Asked<'_>, fact: Fact) -> Result<Recorded, StoreError> {
        Ok(Recorded {
            envelope: Envelope {
                position,
                migration: self.reader.migration().clone(),
                phase: phase_of(&self.state, &asked.command.body, &fact),
                event_id: event_id(self.now)?,
                schema_version: SCHEMA_VERSION.to_string(),
                actor: asked.command.actor.clone(),
                recorded_at: self.now,
                command_id: asked.id.clone(),
                epoch: asked.epoch,
            },
            body: fact,
        })
    }

    async fn insert_command(
        &mut self,
        asked: &Asked<'_>,
        first: Position,
        last: Position,
    ) -> Result<(), Trouble> {
        sqlx::query(
            "insert into command (id, digest, first_position, last_position) values (?1, ?2, ?3, ?4)",
        )
        .bind(asked.id.as_str())
        .bind(asked.digest.as_slice())
        .bind(number(first.get())?)
        .bind(number(last.get())?)
        .execute(&mut *self.connection)
        .await?;
        Ok(())
    }

    async fn insert_event(&mut self, event: &Recorded, bytes: &[u8]) -> Result<(), Trouble> {
        let envelope = &event.envelope;
        sqlx::query(
            "insert into event (position, bytes, leaf, event_id, command_id, kind, phase, recorded_at)
             values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )
        .bind(number(envelope.position.get())?)
        .bind(bytes)
        .bind(merkle::leaf(bytes).as_slice())
        .bind(envelope.event_id.as_str())
        .bind(envelope.command_id.as_str())
        .bind(event.body.kind())
        .bind(envelope.phase.as_ref().map(PhaseName::as_str))
        .bind(envelope.recorded_at.millis())
        .execute(&mut *self.connection)
        .await?;
        Ok(())
    }

    async fn take(
        &mut self,
        id: &CommandId,
        phase: &PhaseName,
        holder: &Holder,
        term: Duration,
    ) -> Result<Result<Option<Lease>, StoreError>, Trouble> {
        let row = self.lease(phase).await?;
        if events_of(self.connection, id, self.reader.migration()).await?.is_some() {
            // Taken by an earlier try whose commit was not answered. Only this holder's process takes under its
            // name, one lease at a time: if the row is its own, it is the one taken then.
            let own = row.filter(|row| row.holder == holder.as_str());
            return Ok(Ok(own.map(|row| lease(phase, row.epoch, holder, term))));
        }
        if row.as_ref().is_some_and(|row| row.holder != holder.as_str() && self.now.millis() < row.expires_at)
        {
            return Ok(Ok(None));
        }
        let in_row = row.as_ref().map_or_else(Epoch::default, |row| row.epoch);
        let in_state = self.state.phases.get(phase).map_or_else(Epoch::default, |phase| phase.epoch);
        let epoch = in_row.max(in_state).next();
        let command = Command {
            actor: Actor::Executor(holder.clone()),
            body: CommandBody::TakeLease { phase: phase.clone(), epoch, holder: holder.clone() },
        };
        let digest = match digest(&command) {
            Ok(digest) => digest,
            Err(error) => return Ok(Err(error.into())),
        };
        match self.append(&Asked { id, digest, epoch: Some(epoch), command: &command }).await? {
            Ok(_events) => {}
            Err(ExecuteError::Refused(refusal)) => return Ok(Err(StoreError::Refused(refusal))),
            Err(ExecuteError::Store(error)) => return Ok(Err(error)),
            Err(ExecuteError::LeaseLost { .. } | ExecuteError::IdReused(_)) => return Ok(Ok(None)),
        }
        let sql = if row.is_some() {
            "update lease set epoch = ?2, holder = ?3, expires_at = ?4 where phase = ?1"
        } else {
            "insert into lease (phase, epoch, holder, expires_at) values (?1, ?2, ?3, ?4)"
        };
        sqlx::query(sql)
            .bind(phase.as_str())
            .bind(number(epoch.get())?)
            .bind(holder.as_str())
            .bind(self.now.plus(term).millis())
            .execute(&mut *self.connection)
            .await?;
        Ok(Ok(Some(lease(phase, epoch, holder, term))))
    }

    /// Lets the lease end at this time from now, if it is still held. An expired one is lost for good, also if nobody
    /// has taken it: its holder has stopped.
    async fn extend(&mut self, lease: &Lease, by: Duration) -> Result<bool, Trouble> {
        let done = sqlx::query(
            "update lease
             set expires_at = ?4
             where phase = ?1 and epoch = ?2 and holder = ?3 and expires_at > ?5",
        )
        .bind(lease.phase.as_str())
        .bind(number(lease.epoch.get())?)
        .bind(lease.holder.as_str())
        .bind(self.now.plus(by).millis())
        .bind(self.now.millis())
        .execute(&mut *self.connection)
        .await?;
        Ok(done.rows_affected() > 0)
    }

    async fn lease(&mut self, phase: &PhaseName) -> Result<Option<LeaseRow>, Trouble> {
        let row: Option<(i64, String, i64)> =
            sqlx::query_as("select epoch, holder, expires_at from lease where phase = ?1")
                .bind(phase.as_str())
                .fetch_optional(&mut *self.connection)
                .await?;
        let Some((epoch, holder, expires_at)) = row else { return Ok(None) };
        Ok(Some(LeaseRow { epoch: Epoch::new(plain(epoch)?), holder, expires_at }))
    }

    async fn report(&mut self, phase: &PhaseName, body: &str) -> Result<(), Trouble> {
        sqlx::query(
            "insert into progress (phase, at, body)
             values (?1, ?2, ?3)
             on conflict (phase) do update set at = excluded.at, body = excluded.body",
        )
        .bind(phase.as_str())
        .bind(self.now.millis())
        .bind(body)
        .execute(&mut *self.connection)
        .await?;
        Ok(())
    }
}

fn lease(phase: &PhaseName, epoch: Epoch, holder: &Holder, term: Duration) -> Lease {
    Lease { phase: phase.clone(), epoch, holder: holder.clone(), term }
}

/// The phase an event is about: its request's, else its command's, else that of the command's request.
///
/// One command may make facts about several phases: a new plan voids requests of each.
fn phase_of(state: &State, command: &CommandBody, fact: &Fact) -> Option<PhaseName> {
    let of = |request: &Position| state.requests.get(request).map(|request| request.phase.clone());
    match fact {
        Fact::PlanAdopted { .. } | Fact::LogCheckpointLeft { .. } => None,
        Fact::Approved { request, .. }
        | Fact::Denied { request, .. }
        | Fact::Revoked { request }
        | Fact::GlassBroken { request, .. }
        | Fact::GlassReviewed { request, .. }
        | Fact::RequestVoided { request, .. }
        | Fact::OperationStarted { request, .. } => of(request),
        Fact::Requested { .. }
        | Fact::HoldPlaced { .. }
        | Fact::HoldReleased {}
        | Fact::Paused {}
        | Fact::Resumed {}
        | Fact::Retried { .. }
        | Fact::AbortRequested { .. }
        | Fact::LeaseTaken { .. }
        | Fact::EffectIntended { .. }
        | Fact::EffectSucceeded { .. }
        | Fact::EffectFailed { .. }
        | Fact::EffectUnknown { .. }
        | Fact::StepFinished { .. }
        | Fact::StepBlocked { .. }
        | Fact::UndoStarted { .. }
        | Fact::OperationFinished { .. }
        | Fact::StreamChanged { .. }
        | Fact::FenceBreached { .. } => match command {
            CommandBody::Approve { request }
            | CommandBody::Deny { request, .. }
            | CommandBody::BreakGlass { request, .. }
            | CommandBody::Revoke { request } => of(request),
            other => other.phase().cloned(),
        },
    }
}
