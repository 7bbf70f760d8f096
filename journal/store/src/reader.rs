//! Reading: the state, the tail, the stored bytes, the reports.
//!
//! Positions are given under the write lock and become visible in the order of commits, so a reader that has seen
//! position n has seen all below it and `position > n` skips nothing. Each row is checked to be the next one all the
//! same: a gap means that somebody was at the file. Appends of this process wake a tail at once; those of other
//! processes are met by asking again. The watch is marked as seen before the rows are read, so an append that
//! commits between the read and the wait wakes the wait.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use futures::stream::{self, BoxStream, Stream, StreamExt as _};
use journal::{MigrationName, PhaseName, Position, Recorded, State, Timestamp};
use runtime::Clock;
use tokio::sync::watch;

use crate::appender::replay;
use crate::backend::Backend;
use crate::record::{CheckedPage, LARGE_PAGE, PAGE};
use crate::{Progress, Reported, StoreError};

/// Pages that are read and checked ahead of the one that is replayed.
const AHEAD: usize = 2;

/// Does what keeps a core busy for milliseconds where nobody waits for that thread.
async fn beside<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| StoreError::Unavailable(error.to_string()))?
}

/// What reads the journal, and the newest state that was replayed from it.
#[derive(Debug)]
pub struct Reader<B> {
    backend: B,
    newest: watch::Sender<Arc<State>>,
    migration: MigrationName,
    clock: Arc<dyn Clock>,
}

impl<B: Backend> Reader<B> {
    /// Makes one that knows nothing yet.
    pub fn new(backend: B, migration: MigrationName, clock: Arc<dyn Clock>) -> Self {
        // Known before the first event, so that not even the first plan can be another migration's.
        let empty = State { migration: Some(migration.clone()), ..State::default() };
        Self { backend, newest: watch::Sender::new(Arc::new(empty)), migration, clock }
    }

    /// The database.
    pub const fn backend(&self) -> &B {
        &self.backend
    }

    /// This process's clock: for waiting and for ids, never for a lease.
    pub fn clock(&self) -> &dyn Clock {
        self.clock.as_ref()
    }

    /// Whose journal it is.
    pub const fn migration(&self) -> &MigrationName {
        &self.migration
    }

    /// The newest state that this process has replayed; others may have appended since.
    pub fn newest(&self) -> Arc<State> {
        Arc::clone(&self.newest.borrow())
    }

    /// Makes a state of committed events known, unless a newer one is, and wakes the tails.
    pub fn publish(&self, state: &Arc<State>) {
        self.newest.send_if_modified(|known| {
            let is_newer = state.head > known.head;
            if is_newer {
                *known = Arc::clone(state);
            }
            is_newer
        });
    }

    /// The state at the newest event.
    pub async fn state(reader: &Arc<Self>) -> Result<Arc<State>, StoreError> {
        let mut state = reader.newest();
        let page = reader.backend.events_after(state.head, PAGE).await.map_err(B::trouble)?;
        replay(&reader.migration, &mut state, &page)?;
        if page.len() == PAGE as usize {
            state = Self::replay_many(reader, state).await?;
        }
        reader.publish(&state);
        Ok(state)
    }

    /// Replays all that follows a state: while a page is replayed, the next ones are read and checked.
    async fn replay_many(reader: &Arc<Self>, mut state: Arc<State>) -> Result<Arc<State>, StoreError> {
        let mut pages = std::pin::pin!(Self::pages(reader, state.head));
        while let Some(page) = pages.next().await {
            let page = page?;
            let is_full = page.is_full(LARGE_PAGE);
            let migration = reader.migration.clone();
            state = beside(move || {
                page.replay(&migration, Arc::make_mut(&mut state))?;
                Ok(state)
            })
            .await?;
            if !is_full {
                break;
            }
        }
        Ok(state)
    }

    /// Pages after a position for ever, read and checked ahead: positions are dense, so it is known where each begins.
    fn pages(
        reader: &Arc<Self>,
        after: Position,
    ) -> impl Stream<Item = Result<CheckedPage, StoreError>> + use<B> {
        let reader = Arc::clone(reader);
        let begins = (after.get()..).step_by(LARGE_PAGE as usize).map(Position::new);
        stream::iter(begins)
            .map(move |after| {
                let reader = Arc::clone(&reader);
                tokio::spawn(async move {
                    let page = reader.backend.events_after(after, LARGE_PAGE).await.map_err(B::trouble)?;
                    beside(move || page.check(after.next())).await
                })
            })
            .buffered(AHEAD)
            .map(|page| page.map_err(|error| StoreError::Unavailable(error.to_string()))?)
    }

    /// The stored bytes after a position.
    pub async fn stored(&self, after: Position, limit: u32) -> Result<Vec<(Position, Vec<u8>)>, StoreError> {
        let page = self.backend.events_after(after, limit).await.map_err(B::trouble)?;
        page.rows().map(|row| row.stored()).collect()
    }

    /// The events that do not hash to the leaf stored beside them.
    pub async fn altered(&self) -> Result<Vec<Position>, StoreError> {
        let (mut altered, mut after) = (Vec::new(), Position::default());
        loop {
            let page = self.backend.events_after(after, LARGE_PAGE).await.map_err(B::trouble)?;
            let before = after;
            for row in page.rows() {
                after = row.position()?;
                if !row.is_whole() {
                    altered.push(after);
                }
            }
            if after == before {
                return Ok(altered);
            }
        }
    }

    /// The newest reports.
    pub async fn reported(&self) -> Result<BTreeMap<PhaseName, Reported>, StoreError> {
        let rows = self.backend.reports().await.map_err(B::trouble)?;
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

    /// The events after a position, for ever.
    pub fn tail(reader: &Arc<Self>, after: Position) -> BoxStream<'static, Result<Recorded, StoreError>> {
        let tail = Tail {
            woken: reader.newest.subscribe(),
            reader: Arc::clone(reader),
            after,
            read: VecDeque::new(),
            rest: Rest::No,
        };
        stream::unfold(tail, Tail::next).boxed()
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

struct Tail<B> {
    reader: Arc<Reader<B>>,
    woken: watch::Receiver<Arc<State>>,
    after: Position,
    read: VecDeque<Recorded>,
    rest: Rest,
}

impl<B: Backend> Tail<B> {
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
                        () = self.reader.backend.wait(self.reader.clock.as_ref()) => {}
                    }
                }
                Rest::AfterFailure => self.reader.clock.sleep(self.reader.backend.rest()).await,
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
        let page = self.reader.backend.events_after(self.after, PAGE).await.map_err(B::trouble)?;
        self.rest = if page.len() < PAGE as usize { Rest::UntilWoken } else { Rest::No };
        for row in page.rows() {
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
