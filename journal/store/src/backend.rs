//! What a database does for the journal: SQL and nothing else. What is decided, and in which order, is the same for all
//! of them and stands in [`crate::batch`] and [`crate::appender`].

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::time::Duration;

use journal::{CommandId, Epoch, Holder, PhaseName, Position, Timestamp};
use runtime::Clock;

use crate::StoreError;
use crate::record::{Digest, Page};

/// What the database said, kept apart from what it holds: the first may be tried again.
#[derive(Debug)]
pub enum Trouble {
    /// The database did not do it, or nobody knows whether it did.
    Database(sqlx::Error),
    /// It holds what it must not.
    Store(StoreError),
}

impl From<sqlx::Error> for Trouble {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error)
    }
}

impl From<StoreError> for Trouble {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// What a batch has to know besides the state.
#[derive(Debug, Default)]
pub struct Wanted {
    /// The newest event known: those after it are wanted.
    pub after: Position,
    /// The commands of the batch: those seen before are wanted.
    pub commands: Vec<CommandId>,
    /// The phases whose leases are asked about.
    pub phases: Vec<PhaseName>,
}

/// What is kept of a command: it stands with the first of its events, and the others follow that one.
#[derive(Debug, Clone)]
pub struct CommandRow {
    /// What was asked.
    pub digest: Digest,
    /// Its first event.
    pub first: Position,
}

/// A lease's row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseRow {
    /// The term.
    pub epoch: Epoch,
    /// Who has it, or had it.
    pub holder: String,
    /// From this instant on it is free, in milliseconds since 1970-01-01 UTC.
    pub expires_at: i64,
}

/// What the database said under the head's lock.
#[derive(Debug, Default)]
pub struct Seen {
    /// The database's clock, read after the lock was taken.
    pub now: Timestamp,
    /// The first page of the newer events, in order.
    pub events: Page,
    /// The commands that were seen before.
    pub commands: BTreeMap<CommandId, CommandRow>,
    /// The leases that there are.
    pub leases: BTreeMap<PhaseName, LeaseRow>,
}

/// A claim that the append's own transaction has to find good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fence {
    /// The phase.
    pub phase: PhaseName,
    /// The term claimed.
    pub epoch: Epoch,
}

/// An event's row to write.
#[derive(Debug)]
pub struct NewEvent {
    /// The canonical bytes.
    pub bytes: Vec<u8>,
    /// Its id.
    pub event_id: String,
    /// The command that made it.
    pub command_id: CommandId,
    /// What was asked, for the first of the command's events.
    pub digest: Option<Digest>,
    /// Its kind.
    pub kind: &'static str,
    /// Its phase.
    pub phase: Option<PhaseName>,
    /// Its time, in milliseconds since 1970-01-01 UTC.
    pub recorded_at: i64,
}

/// Everything that a batch writes, in one transaction.
#[derive(Debug, Default)]
pub struct Written {
    /// The newest event before it.
    pub head: Position,
    /// The time that the batch was decided at.
    pub now: Timestamp,
    /// The claims it was decided on.
    pub fences: Vec<Fence>,
    /// The events, at the positions after the head.
    pub events: Vec<NewEvent>,
    /// Leases as they are after it; the holder is written where hands change.
    pub leases: BTreeMap<PhaseName, LeaseRow>,
    /// The newest progress of phases.
    pub reports: BTreeMap<PhaseName, String>,
}

impl Written {
    /// Whether nothing is to be written.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty() && self.leases.is_empty() && self.reports.is_empty()
    }
}

/// A progress report as it is kept: phase, time, body.
pub type ReportRow = (String, i64, String);

/// Gives a future that may be sent.
pub trait Sent<T>: Future<Output = T> + Send {}
impl<T, F: Future<Output = T> + Send> Sent<T> for F {}

/// A database that keeps a journal.
pub trait Backend: fmt::Debug + Send + Sync + 'static {
    /// The connection that writes.
    type Writer: Writer;

    /// Connects the one that writes.
    fn writer(&self) -> impl Sent<Result<Self::Writer, Trouble>>;

    /// Committed events after a position, in order.
    fn events_after(&self, after: Position, limit: u32) -> impl Sent<Result<Page, Trouble>>;

    /// The newest reports.
    fn reports(&self) -> impl Sent<Result<Vec<ReportRow>, Trouble>>;

    /// The database's clock.
    fn now(&self) -> impl Sent<Result<Timestamp, Trouble>>;

    /// Waits until another process may have appended: a hint, or the time after which one asks again.
    fn wait(&self, clock: &dyn Clock) -> impl Sent<()>;

    /// How long a tail rests after the database failed.
    fn rest(&self) -> Duration;

    /// A driver's error as the store's.
    fn error(error: &sqlx::Error) -> StoreError;

    /// Whether the whole transaction may be tried again, as nothing of it was done or its id tells what was.
    fn may_retry(error: &sqlx::Error) -> bool;

    /// Whether the connection is whole after such an error, and no transaction is open on it.
    fn is_whole(error: &sqlx::Error) -> bool;

    /// What is wrong with a trouble.
    fn trouble(trouble: Trouble) -> StoreError {
        match trouble {
            Trouble::Database(error) => Self::error(&error),
            Trouble::Store(error) => error,
        }
    }
}

/// The one connection of a process that writes.
pub trait Writer: Send + 'static {
    /// Begins a transaction, takes the head's lock, and reads under it.
    fn enter(&mut self, wanted: &Wanted) -> impl Sent<Result<Seen, Trouble>>;

    /// Further events, in the open transaction.
    fn events_after(&mut self, after: Position, limit: u32) -> impl Sent<Result<Page, Trouble>>;

    /// Writes, in the open transaction.
    fn write(&mut self, written: &Written) -> impl Sent<Result<(), Trouble>>;

    /// Ends the transaction: durable when it returns.
    fn commit(&mut self) -> impl Sent<Result<(), Trouble>>;

    /// The database's clock as reckoned from its last word, if this database can write what was decided without the
    /// head's lock and find out under it whether that was right.
    fn reckoned(&self) -> Option<Timestamp> {
        None
    }

    /// Takes the lock, looks whether the head, the clock and the fences are as they were taken to be and the commands
    /// are new, writes, and commits. `false`: they are not, and nothing was written.
    fn write_at_once(&mut self, written: &Written) -> impl Sent<Result<bool, Trouble>> {
        async move {
            let _unused = written;
            Ok(false)
        }
    }
}

/// A lease that changes hands, or its row as it was.
pub fn lease_row(epoch: Epoch, holder: &Holder, expires_at: Timestamp) -> LeaseRow {
    LeaseRow { epoch, holder: holder.as_str().to_owned(), expires_at: expires_at.millis() }
}
