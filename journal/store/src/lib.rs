//! The journal in a database: appends, leases, tailing, progress; and beside it the inbox and the outbox.
//!
//! Business rules live in the crate `journal`; a store that refuses for a business reason is a bug. It decides again
//! under the head's lock, so callers never hold a transaction.

mod appender;
mod backend;
mod batch;
mod mail;
mod phase;
mod postgres;
mod reader;
mod record;
mod schema;
mod shared;
mod sqlite;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::BoxStream;
use journal::{
    CanonicalError, Command, CommandId, DecodeError, Epoch, Holder, PhaseName, Position, Recorded, Refusal,
    State, Timestamp,
};

pub use mail::{Draft, Letter, Mailroom, Outgoing, PostgresMailroom, Receipt, SqliteMailroom, Taken};
pub use postgres::{Instance, PostgresStore};
pub use sqlite::SqliteStore;

/// A lease on a phase: the right to append for it and to act for it, for a short term.
///
/// The holder stops itself at two thirds of the term on its monotonic clock; the database's clock alone decides
/// when another may take it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// The phase.
    pub phase: PhaseName,
    /// The term. Raised by every change of hands.
    pub epoch: Epoch,
    /// Who holds it.
    pub holder: Holder,
    /// How long it lasts from the last renewal.
    pub term: Duration,
}

impl Lease {
    /// The claim that an append carries.
    #[must_use]
    pub fn claim(&self) -> Claim {
        Claim { phase: self.phase.clone(), epoch: self.epoch }
    }
}

/// A holder's word that it holds a phase under an epoch. The store checks it in the append's own transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    pub(crate) phase: PhaseName,
    pub(crate) epoch: Epoch,
}

impl Claim {
    /// The epoch claimed.
    #[must_use]
    pub const fn epoch(&self) -> Epoch {
        self.epoch
    }
}

/// How many events are read at once.
const STORED_PAGE: u32 = 1000;

/// Calls for the stored bytes of every event after a position, in order; gives the last position that was read.
///
/// # Errors
/// The store cannot be read, or the call fails.
pub async fn each_stored<E: From<StoreError>>(
    store: &dyn Store,
    mut after: Position,
    mut call: impl FnMut(Position, &[u8]) -> Result<(), E>,
) -> Result<Position, E> {
    loop {
        let page = store.stored(after, STORED_PAGE).await?;
        let Some((last, _)) = page.last() else { return Ok(after) };
        after = *last;
        for (position, bytes) in &page {
            call(*position, bytes)?;
        }
    }
}

/// The same for the events themselves.
///
/// # Errors
/// The store cannot be read, or an event of it cannot.
pub async fn each_event(
    store: &dyn Store,
    after: Position,
    mut call: impl FnMut(Recorded),
) -> Result<Position, StoreError> {
    each_stored(store, after, |position, bytes| {
        call(Recorded::from_bytes(bytes).map_err(|source| StoreError::Unreadable { position, source })?);
        Ok(())
    })
    .await
}

/// What nobody audits: lag, rates, percentages. Latest wins; never an event.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct Progress {
    /// Replication lag of the applying stream in milliseconds, if it runs.
    pub lag_ms: Option<u64>,
    /// What is being done, for people: `copying shop.orders: 3 of 12 chunks`.
    pub doing: Option<String>,
    /// Other facts as last probed, by name: `gate.source`, `gate.target`, `slot.forward.retained_bytes`,
    /// `blockers`, `lever`, and [`BEHIND`].
    pub observed: BTreeMap<String, String>,
}

/// The fact that a database shows the journal to be older than what was done there: the finding, in words.
pub const BEHIND: &str = "journal";

/// A progress report with its time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reported {
    /// When it was written.
    pub at: Timestamp,
    /// What.
    pub progress: Progress,
}

/// The journal's database did not do its part.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It cannot be reached, or refused: try again.
    #[error("the journal cannot be reached: {0}")]
    Unavailable(String),
    /// It holds bytes that cannot be read.
    #[error("the journal's event {position} cannot be read: {source}")]
    Unreadable {
        /// Where.
        position: Position,
        /// Why.
        source: DecodeError,
    },
    /// It is not a journal, or a newer version's, or a dense position is missing.
    #[error("not a journal this program can use: {0}")]
    Foreign(String),
    /// What was to be written has no canonical form: a bug of whoever made it. Nothing was written.
    #[error("it cannot be written to the journal: {0}")]
    Unwritable(#[from] CanonicalError),
    /// A rule refuses the change of hands: the plan has no such phase.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

/// A command was not appended.
#[derive(Debug, thiserror::Error)]
pub enum ExecuteError {
    /// A rule refuses it.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The claim is no longer good: another holder has the phase, or the term is over.
    #[error("the lease on phase {phase} under epoch {epoch} is lost")]
    LeaseLost {
        /// The phase.
        phase: PhaseName,
        /// The epoch that was claimed.
        epoch: Epoch,
    },
    /// The command id was used before, for another command.
    #[error("the command id {0} was used before, for another command")]
    IdReused(CommandId),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The journal's store. Each method says what a crash after it means.
#[async_trait]
pub trait Store: fmt::Debug + Send + Sync + 'static {
    /// Decides a command under the head's lock and appends its facts, durably, in one transaction. A command id seen
    /// before returns the events it made the first time if the command is the same. A crash afterwards loses nothing;
    /// a lost answer is resolved by repeating the call with the same id.
    async fn execute(
        &self,
        id: CommandId,
        claim: Option<Claim>,
        command: Command,
    ) -> Result<Vec<Recorded>, ExecuteError>;

    /// Takes the phase's lease if it is free, over, or this holder's own from before (a holder's name is held by one
    /// process at a time), raising the epoch and appending the change of hands. `None`: another holds it.
    async fn claim(
        &self,
        phase: &PhaseName,
        holder: &Holder,
        term: Duration,
    ) -> Result<Option<Lease>, StoreError>;

    /// Extends the lease by its term. `false`: it is lost, for good.
    async fn renew(&self, lease: &Lease) -> Result<bool, StoreError>;

    /// Gives the lease up before its term.
    async fn release(&self, lease: &Lease) -> Result<(), StoreError>;

    /// The state at the newest event.
    async fn state(&self) -> Result<Arc<State>, StoreError>;

    /// Events after a position, in order, skipping none; waits for new ones for ever.
    fn tail(&self, after: Position) -> BoxStream<'static, Result<Recorded, StoreError>>;

    /// The stored bytes after a position, in order, at most `limit`.
    async fn stored(&self, after: Position, limit: u32) -> Result<Vec<(Position, Vec<u8>)>, StoreError>;

    /// The events that do not hash to the leaf stored beside them: somebody was at one of the two.
    async fn altered(&self) -> Result<Vec<Position>, StoreError>;

    /// Writes a projection, never an event.
    async fn report(&self, phase: &PhaseName, progress: Progress) -> Result<(), StoreError>;

    /// The newest reports.
    async fn reported(&self) -> Result<BTreeMap<PhaseName, Reported>, StoreError>;

    /// The database's clock.
    async fn now(&self) -> Result<Timestamp, StoreError>;
}
