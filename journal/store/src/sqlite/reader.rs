//! Reading: the state, the tail, the stored bytes, the reports.
//!
//! Positions are given under the write lock and become visible in the order of commits, so a reader that has seen
//! position n has seen all below it and `position > n` skips nothing. Each row is checked to be the next one all the
//! same: a gap means that somebody was at the file. Appends of this process wake a tail at once; those of other
//! processes are met by asking again. The watch is marked as seen before the rows are read, so an append that
//! commits between the read and the wait wakes the wait.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, BoxStream, StreamExt as _};
use journal::{MigrationName, PhaseName, Position, Recorded, State, Timestamp, evolve};
use runtime::Clock;
use sqlx::sqlite::SqlitePoolOptions;
use sqlx::{SqliteConnection, SqlitePool};
use tokio::sync::watch;

use super::file::JournalFile;
use super::rows::{EventRow, PAGE, Trouble, events_after, from_database, number};
use crate::{Progress, Reported, StoreError};

/// How long another process's append may stay unseen. A tenth of a second is at once for people, and ten reads of an
/// index a second are nothing for SQLite.
const POLL: Duration = Duration::from_millis(100);

/// Readers at once: a status, a board and a few tails.
const READERS: u32 = 4;

/// What reads the journal, and the newest state that was replayed from it.
#[derive(Debug)]
pub(super) struct Reader {
    pool: SqlitePool,
    newest: watch::Sender<Arc<State>>,
    migration: MigrationName,
    clock: Arc<dyn Clock>,
}

impl Reader {
    pub(super) fn new(file: &JournalFile, migration: MigrationName, clock: Arc<dyn Clock>) -> Self {
        let pool = SqlitePoolOptions::new()
            .max_connections(READERS)
            .test_before_acquire(false)
            .connect_lazy_with(file.reading());
        // Known before the first event, so that not even the first plan can be another migration's.
        let empty = State { migration: Some(migration.clone()), ..State::default() };
        Self { pool, newest: watch::Sender::new(Arc::new(empty)), migration, clock }
    }

    pub(super) fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.clock.now_millis())
    }

    pub(super) fn clock(&self) -> &dyn Clock {
        self.clock.as_ref()
    }

    pub(super) const fn migration(&self) -> &MigrationName {
        &self.migration
    }

    /// The newest state that this process has replayed; others may have appended since.
    pub(super) fn newest(&self) -> Arc<State> {
        Arc::clone(&self.newest.borrow())
    }

    /// Makes a state of committed events known, unless a newer one is, and wakes the tails.
    pub(super) fn publish(&self, state: &Arc<State>) {
        self.newest.send_if_modified(|known| {
            let is_newer = state.head > known.head;
            if is_newer {
                *known = Arc::clone(state);
            }
            is_newer
        });
    }

    pub(super) async fn state(&self) -> Result<Arc<State>, StoreError> {
        let mut state = self.newest();
        let mut connection = self.pool.acquire().await.map_err(|error| from_database(&error))?;
        catch_up(&mut connection, &self.migration, &mut state).await?;
        self.publish(&state);
        Ok(state)
    }

    pub(super) async fn stored(
        &self,
        after: Position,
        limit: u32,
    ) -> Result<Vec<(Position, Vec<u8>)>, StoreError> {
        let rows: Vec<EventRow> = sqlx::query_as(
            "select position, bytes, leaf
             from event
             where position > ?1
             order by position
             limit ?2",
        )
        .bind(number(after.get())?)
        .bind(i64::from(limit))
        .fetch_all(&self.pool)
        .await
        .map_err(|error| from_database(&error))?;
        rows.into_iter().map(EventRow::into_stored).collect()
    }

    pub(super) async fn reported(&self) -> Result<BTreeMap<PhaseName, Reported>, StoreError> {
        let rows: Vec<(String, i64, String)> = sqlx::query_as("select phase, at, body from progress")
            .fetch_all(&self.pool)
            .await
            .map_err(|error| from_database(&error))?;
        let mut reports = BTreeMap::new();
        for (phase, at, body) in rows {
            let unreadable = |why: String| StoreError::Foreign(format!("the progress of {phase}: {why}"));
            let name = PhaseName::new(phase.as_str()).map_err(|error| unreadable(error.to_string()))?;
            let progress: Progress =
                serde_json::from_str(&body).map_err(|error| unreadable(error.to_string()))?;
            reports.insert(name, Reported { at: Timestamp::from_millis(at), progress });
        }
        Ok(reports)
    }

    pub(super) fn tail(
        reader: &Arc<Self>,
        after: Position,
    ) -> BoxStream<'static, Result<Recorded, StoreError>> {
        let tail = Tail {
            woken: reader.newest.subscribe(),
            reader: Arc::clone(reader),
            after,
            read: VecDeque::new(),
            rest: Rest::No,
        };
        stream::unfold(tail, Tail::next).boxed()
    }

    async fn events_after(&self, after: Position) -> Result<Vec<EventRow>, Trouble> {
        let mut connection = self.pool.acquire().await?;
        events_after(&mut connection, after).await
    }
}

/// Replays what is newer than the state.
pub(super) async fn catch_up(
    connection: &mut SqliteConnection,
    migration: &MigrationName,
    state: &mut Arc<State>,
) -> Result<(), Trouble> {
    loop {
        let rows = events_after(connection, state.head).await?;
        for row in &rows {
            let event = row.decode(state.head.next(), migration)?;
            evolve(Arc::make_mut(state), &event);
        }
        if rows.len() < PAGE {
            return Ok(());
        }
    }
}

/// Whether a tail waits before it reads again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rest {
    /// There may be more.
    No,
    /// Nothing new, until it is woken or asks again.
    UntilWoken,
    /// The database failed: not at once again.
    AfterFailure,
    /// What follows cannot be read, ever.
    Over,
}

struct Tail {
    reader: Arc<Reader>,
    woken: watch::Receiver<Arc<State>>,
    after: Position,
    read: VecDeque<Recorded>,
    rest: Rest,
}

impl Tail {
    async fn next(mut self) -> Option<(Result<Recorded, StoreError>, Self)> {
        loop {
            if let Some(event) = self.read.pop_front() {
                return Some((Ok(event), self));
            }
            match self.rest {
                Rest::No => {}
                Rest::UntilWoken => {
                    tokio::select! {
                        // The sender lives as long as the reader, which this tail holds.
                        _changed = self.woken.changed() => {}
                        () = self.reader.clock.sleep(POLL) => {}
                    }
                }
                Rest::AfterFailure => self.reader.clock.sleep(POLL).await,
                Rest::Over => return None,
            }
            self.woken.mark_unchanged();
            if let Err(error) = self.fill().await {
                self.rest = match error {
                    StoreError::Unavailable(_) => Rest::AfterFailure,
                    _ => Rest::Over,
                };
                // Only when all before it were handed out: a page breaks off at the event that cannot be read, and
                // the next read begins with it.
                return Some((Err(error), self));
            }
        }
    }

    /// Reads the next page, up to the first event that cannot be read.
    async fn fill(&mut self) -> Result<(), StoreError> {
        let rows = self.reader.events_after(self.after).await?;
        self.rest = if rows.len() < PAGE { Rest::UntilWoken } else { Rest::No };
        for row in &rows {
            match row.decode(self.after.next(), &self.reader.migration) {
                Ok(event) => {
                    self.after = event.envelope.position;
                    self.read.push_back(event);
                }
                Err(error) if self.read.is_empty() => return Err(error),
                Err(_later) => {
                    self.rest = Rest::No;
                    break;
                }
            }
        }
        Ok(())
    }
}
