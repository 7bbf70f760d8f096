//! The one task of a process that writes.
//!
//! What can happen at once, and why it is right:
//!
//! * **Callers of one process.** The task takes all that wait and serves them in one transaction: one fsync for many.
//!   How they are decided one after the other is [`crate::batch`]'s. Nobody is answered before the commit has returned:
//!   also a refusal may rest on an earlier member of the batch.
//! * **Processes.** The transaction takes the one head's lock first. What others appended is read within it, before
//!   anything is decided, and nobody can append until it ends: the position given is the next one, and the state decided
//!   on is the newest one.
//! * **Without waiting for the lock.** Where the database can (see [`Writer::reckoned`]), a batch of plain appends is
//!   decided on the state this process knows, and the transaction that writes it finds out under the head's lock
//!   whether that state was the newest, the clock was right and each claim is good. If not, nothing was written, and
//!   the batch is decided again in the order above.
//! * **A holder whose term ends while it waits.** The clock is read after the lock was taken. The lease row is read
//!   in the transaction that appends, so an append under an old epoch cannot slip in beside a change of hands.
//! * **A commit whose answer is lost.** It may or may not be there. The batch is served again from the beginning, and
//!   under the lock: a command id that is there answers with its events, one that is not is decided anew. So is any
//!   repeat of the caller.
//! * **A caller that goes away.** What was handed over is appended all the same.

use std::sync::Arc;
use std::time::Duration;

use journal::{CommandId, MigrationName, Position, Recorded, State, evolve};
use runtime::failpoint;
use runtime::retry::Backoff;
use tokio::sync::mpsc;

use crate::StoreError;
use crate::backend::{Backend, Seen, Trouble, Wanted, Writer};
use crate::batch::{Answer, Batch, Job, Leases};
use crate::reader::Reader;
use crate::record::{PAGE, Page};

/// Members of one transaction. Bounds how long other processes wait for the lock.
const BATCH: usize = 256;

/// Events read at once of a command that was seen before: few make more.
const FEW: u32 = 16;

/// Times that a batch is tried; with a database's own waiting of 2 s each, callers hear after some ten seconds.
const TRIES: u32 = 5;

/// The task.
#[derive(Debug)]
pub struct Appender<B: Backend> {
    reader: Arc<Reader<B>>,
    jobs: mpsc::Receiver<Job>,
    writer: Option<B::Writer>,
}

impl<B: Backend> Appender<B> {
    /// Makes one; its connection is made when it is needed.
    pub const fn new(reader: Arc<Reader<B>>, jobs: mpsc::Receiver<Job>) -> Self {
        Self { reader, jobs, writer: None }
    }

    /// Serves until nobody can ask any more.
    pub async fn run(mut self) {
        let mut jobs = Vec::new();
        while self.jobs.recv_many(&mut jobs, BATCH).await > 0 {
            let are_several = jobs.len() > 1;
            self.serve(std::mem::take(&mut jobs)).await;
            // Who was answered and asks again at once is of the next transaction, not of the one after it.
            if are_several {
                tokio::task::yield_now().await;
            }
        }
    }

    async fn serve(&mut self, jobs: Vec<Job>) {
        let mut backoff = Backoff::new(Duration::from_millis(5), Duration::from_millis(500));
        let mut tries = 1;
        let error = loop {
            match self.attempt(&jobs, tries == 1).await {
                Ok(answers) => {
                    for (job, answer) in jobs.into_iter().zip(answers) {
                        job.answer(answer);
                    }
                    return;
                }
                Err(Trouble::Database(error)) => {
                    if tries == TRIES || !B::may_retry(&error) {
                        break B::error(&error);
                    }
                    tracing::warn!(error = %B::error(&error), tries, "the journal's transaction is tried again");
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
    async fn attempt(&mut self, jobs: &[Job], is_first: bool) -> Result<Vec<Answer>, Trouble> {
        let mut writer = match self.writer.take() {
            Some(writer) => writer,
            None => self.reader.backend().writer().await?,
        };
        if is_first && let Some(answers) = at_once(&self.reader, &mut writer, jobs).await? {
            self.writer = Some(writer);
            return Ok(answers);
        }
        let done = transact(&self.reader, &mut writer, jobs).await;
        // After a failure it may be the connection; and a transaction that may still be open ends with it.
        if match &done {
            Ok(_answers) => true,
            Err(Trouble::Database(error)) => B::is_whole(error),
            Err(Trouble::Store(_)) => false,
        } {
            self.writer = Some(writer);
        }
        done
    }
}

/// Decides on what this process knows, and lets the database find out whether it is still so.
async fn at_once<B: Backend>(
    reader: &Reader<B>,
    writer: &mut B::Writer,
    jobs: &[Job],
) -> Result<Option<Vec<Answer>>, Trouble> {
    let Some(now) = writer.reckoned() else { return Ok(None) };
    if !jobs.iter().all(Job::is_append) {
        return Ok(None);
    }
    let state = reader.newest();
    let mut batch = Batch::new(reader.migration(), state, now, Leases::Assumed);
    let mut answers = Vec::with_capacity(jobs.len());
    for job in jobs {
        answers.push(batch.serve(job)?);
    }
    // A refusal may rest on a state that is old: it is given under the lock alone.
    let is_whole =
        answers.iter().all(|answer| matches!(answer, Answer::Appended(Ok(events)) if !events.is_empty()));
    if !is_whole {
        return Ok(None);
    }
    failpoint::hit("journal.before_commit");
    if !writer.write_at_once(&batch.written).await? {
        return Ok(None);
    }
    failpoint::hit("journal.after_commit");
    reader.publish(&batch.state);
    Ok(Some(answers))
}

async fn transact<B: Backend>(
    reader: &Reader<B>,
    writer: &mut B::Writer,
    jobs: &[Job],
) -> Result<Vec<Answer>, Trouble> {
    let mut state = reader.newest();
    let mut wanted = Wanted { after: state.head, ..Wanted::default() };
    for job in jobs {
        job.want(&mut wanted);
    }
    wanted.phases.sort();
    wanted.phases.dedup();
    let Seen { now, mut events, commands, leases } = writer.enter(&wanted).await?;
    loop {
        replay(reader.migration(), &mut state, &events)?;
        if events.len() < PAGE as usize {
            break;
        }
        events = writer.events_after(state.head, PAGE).await?;
    }
    let caught_up = state.head;
    let mut batch = Batch::new(reader.migration(), state, now, Leases::Seen(leases));
    for (id, row) in commands {
        let events = events_of(writer, reader.migration(), &id, row.first).await?;
        batch.known.insert(id, (row.digest, events));
    }
    let mut answers = Vec::with_capacity(jobs.len());
    for job in jobs {
        answers.push(batch.serve(job)?);
    }
    let appends = batch.state.head > caught_up;
    if !batch.written.is_empty() {
        writer.write(&batch.written).await?;
    }
    if appends {
        failpoint::hit("journal.before_commit");
    }
    writer.commit().await?;
    if appends {
        failpoint::hit("journal.after_commit");
    }
    reader.publish(&batch.state);
    Ok(answers)
}

/// Replays a page, which follows the state's head.
pub fn replay(migration: &MigrationName, state: &mut Arc<State>, page: &Page) -> Result<(), StoreError> {
    for row in page.rows() {
        let event = row.decode(state.head.next(), migration)?;
        evolve(Arc::make_mut(state), &event);
    }
    Ok(())
}

/// The events that a command made: from its first one on, as far as they are its own.
async fn events_of<W: Writer>(
    writer: &mut W,
    migration: &MigrationName,
    command: &CommandId,
    first: Position,
) -> Result<Vec<Recorded>, Trouble> {
    let (mut events, mut next) = (Vec::new(), first);
    loop {
        let before = events.len();
        let page = writer.events_after(Position::new(next.get().saturating_sub(1)), FEW).await?;
        let read = page.decode(next, migration)?;
        events.extend(read.into_iter().take_while(|event| event.envelope.command_id == *command));
        if events.len() - before < FEW as usize {
            break;
        }
        next = Position::new(next.get() + u64::from(FEW));
    }
    if events.is_empty() {
        return Err(StoreError::Foreign(format!("event {first} is not of the command {command}")).into());
    }
    Ok(events)
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
