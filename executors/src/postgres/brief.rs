//! Strong locks on tables that the application may be using: waited for briefly, given up, tried again.
//!
//! # The race
//!
//! Who asks for a lock that conflicts with the application's waits for each of its open transactions, and everybody who
//! comes later waits behind that request, not behind the transaction. One forgotten transaction so turns a statement of
//! ours that would take a millisecond into a standstill of a live table, for as long as we wait. No phase's own tables
//! need be meant: a foreign key is made and dropped on both of its ends, and the other end may be another phase's, live
//! for weeks.
//!
//! So outside a window nothing waits in that queue for longer than [`LOCK_WAIT`]. Then the transaction is given up, which
//! lets everybody through and leaves nothing of the effect; after a pause that is longer than the wait it is begun anew.
//! It takes one such lock at a time and commits, since waits of several add up while the first are held.

use std::time::{Duration, Instant};

use journal::TableName;
use runtime::Clock;
use runtime::retry::Backoff;
use tokio_postgres::{GenericClient, Transaction};

use crate::postgres::writers;

/// The longest that a lock is waited for while the application may queue behind us.
pub(super) const LOCK_WAIT: Duration = Duration::from_millis(200);

/// How long one act tries before a person is told who is in its way.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// The pauses between two tries: even the shortest, cut by its jitter, is longer than the wait.
const PAUSES: [Duration; 2] = [Duration::from_millis(400), Duration::from_secs(1)];

/// From here on the transaction gives up a lock after [`LOCK_WAIT`].
///
/// Who waits for an autovacuum sends it away when his `deadlock_timeout` is over, by default long after we have given up;
/// so ours is shorter, where the role may say so.
///
/// # Errors
/// The database's own.
pub(super) async fn be_brief(tx: &Transaction<'_>) -> Result<(), tokio_postgres::Error> {
    let half = LOCK_WAIT / 2;
    tx.batch_execute(&format!(
        "set local lock_timeout = '{}ms'; \
         do $$ begin perform set_config('deadlock_timeout', '{}ms', true); exception when others then null; end $$",
        LOCK_WAIT.as_millis(),
        half.as_millis()
    ))
    .await
}

/// Whether a lock was not had in time, or at the price of a deadlock: another try may have it.
pub(super) fn is_in_the_way(error: &tokio_postgres::Error) -> bool {
    error.code().is_some_and(|code| matches!(code.code(), "55P03" | "40P01"))
}

/// Whether a statement had its locks. Not: its transaction did nothing, and is to be given up.
///
/// # Errors
/// The statement's, of any other kind.
pub(super) fn had<T>(done: Result<T, tokio_postgres::Error>) -> Result<bool, tokio_postgres::Error> {
    match done {
        Ok(_) => Ok(true),
        Err(error) if is_in_the_way(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

/// One act's tries.
#[derive(Debug)]
pub(super) struct Tries {
    began: Instant,
    patience: Duration,
    pause: Backoff,
}

impl Tries {
    /// Begins them.
    pub(super) fn new(clock: &dyn Clock, patience: Duration) -> Self {
        let [first, most] = PAUSES;
        Self { began: clock.monotonic(), patience, pause: Backoff::new(first, most) }
    }

    /// Whether the patience is over.
    pub(super) fn are_over(&self, clock: &dyn Clock) -> bool {
        clock.monotonic() - self.began >= self.patience
    }

    /// Lets the application through.
    pub(super) async fn pause(&mut self, clock: &dyn Clock) {
        clock.sleep(self.pause.wait()).await;
    }

    /// What was waited for in vain, and who is in the way, which is who has a lock of these modes: each by pid, user,
    /// application and since when.
    ///
    /// # Errors
    /// The database's own.
    pub(super) async fn told(
        &self,
        client: &impl GenericClient,
        (tables, modes): (&[TableName], &[&str]),
    ) -> Result<String, tokio_postgres::Error> {
        let holders = writers::lock_holders(client, tables, modes).await?;
        let named: Vec<String> = holders.values().map(ToString::to_string).collect();
        let who = if named.is_empty() { "nobody that can be seen now".to_owned() } else { named.join("; ") };
        let names: Vec<String> = tables.iter().map(ToString::to_string).collect();
        let on = names.join(", ");
        tracing::warn!(tables = %on, %who, "a lock was not had");
        Ok(format!("the lock on {on} was not had within {:?}; in its way: {who}", self.patience))
    }
}
