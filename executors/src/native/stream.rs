//! One running stream: take the row over, read, commit in batches, confirm.
//!
//! # The races
//!
//! *Two executors, or this one twice.* The row on the side written is taken over under the epoch before the stream is
//! opened, which waits for a batch in flight; each batch compares and sets epoch, mode and checkpoint. Whoever loses
//! reads the row again, and ends if it is a newer epoch's.
//!
//! *The mode changes between reading and committing.* The batch is refused, the row is read again, and the same batch is
//! committed under the new mode: a transaction is either applied or guarded, never both and never neither.
//!
//! *A command that comes late.* An undo opens the side that is read before it has the stream apply again, and may not reach
//! the row: an older command that was under way there may still set it to guard, long after that side's writes are allowed.
//! So what is not ours is a breach only while the gate of the side read is closed. Where it is open the stream drops
//! nothing, and waits for the mode that is on its way.
//!
//! *Feedback.* The server hears of a place only once the row on the other side is at it. Places that need nothing written
//! there, keepalives between transactions and transactions that are our own echo, are written down now and then, not one
//! by one, or two idle streams would keep each other awake by their checkpoints. So a slot is never ahead of its row; where
//! it is, the side written has lost what it had, and the stream does not begin.
//!
//! *A failover.* A side that comes back on another timeline may lack what was last written there, and its places may mean
//! other changes. A run begins only on the timelines on which both sides were last probed.
//!
//! *A stream that stops again and again.* A run that begins anew may read for a while before it meets what stopped the
//! one before. So nothing is said of it, and it has no lag, until it has passed the place where the server was when it
//! began: what stopped the last run lies before that place.
//!
//! *A batch that takes too long.* Who waits for the gate row ends a session of ours that has held it for two seconds. On a
//! slow side a batch of fixed size would be ended each time, and begun anew, and never be there. So a run begins with few
//! changes a batch, and has more as long as they are written quickly.
//!
//! *A hold.* Who compares both sides needs the side written exactly at a place. The stream then commits nothing that
//! ended after the place, and says so once it knows that nothing before it is outstanding: from a transaction that ends
//! after it, or from the server's word that nothing comes before it. Silence proves nothing.

mod control;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use journal::{Epoch, GateMode, Lsn, PhaseName, Side, StreamMode, StreamSpec};
use runtime::Clock;

use crate::native::{
    Batch, Breach, ChangeStream, Checkpoint, Completeness, Durable, StreamError, StreamItem, Transaction,
};
use crate::postgres::apply::{Applier, RowSource};
use crate::postgres::changes::PgChanges;
use crate::postgres::database::Database;
use crate::postgres::{gate, marker, stream_row};

pub use crate::native::hold::StreamHold;
pub(crate) use control::Control;
pub use control::{Progress, StreamHandle};

/// How many changes one batch has at most, whole transactions apart: a batch holds the gate row as long as it lasts.
const MAX_CHANGES: usize = 2_000;

/// How many a run begins with.
const FEW_CHANGES: usize = 16;

/// How long a batch should take. Who waits for the gate row ends whatever holds it for two seconds, a batch with the rest.
const BATCH: Duration = Duration::from_millis(300);

/// How many transactions.
const MAX_TRANSACTIONS: usize = 1_000;

/// How often a place that needed nothing written is written down after all.
const WRITE_DOWN_EVERY: Duration = Duration::from_secs(5);

/// How often the lag is said anew while nothing is dealt with.
const SAY_AGAIN: Duration = Duration::from_secs(1);

/// Between two looks at a row whose mode is on its way.
const LOOK: Duration = Duration::from_millis(100);

/// What streams work with. Cheap to clone.
#[derive(Debug, Clone)]
pub struct StreamParts {
    /// The source.
    pub source: Database,
    /// The target.
    pub target: Database,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

impl StreamParts {
    /// The database of a side.
    #[must_use]
    pub const fn side(&self, side: Side) -> &Database {
        match side {
            Side::Source => &self.source,
            Side::Target => &self.target,
        }
    }
}

/// What a run tells its supervisor.
pub(crate) trait Told: Send + Sync {
    /// The stream is past what it began behind, under this mode, with this lag.
    fn lag(&self, mode: StreamMode, lag_ms: u64);
    /// The stream has dealt with something.
    fn moved(&self);
    /// A guard's find.
    fn breach(&self, breach: Breach);
}

/// Runs a stream until it cannot go on. Dropped at any await, what was in flight commits whole or not at all.
pub(crate) async fn run(
    parts: &StreamParts,
    (spec, epoch): (&StreamSpec, Epoch),
    control: &mut Control,
    told: &dyn Told,
) -> StreamError {
    let mut run = match Run::begin(parts, (spec, epoch), told).await {
        Ok(run) => run,
        Err(error) => return error,
    };
    loop {
        if let Err(error) = run.turn(control).await {
            return error;
        }
    }
}

struct Run<'r> {
    applier: Applier,
    changes: PgChanges,
    clock: &'r dyn Clock,
    told: &'r dyn Told,
    mode: StreamMode,
    /// The side read, and the phase whose gate stands there.
    from: &'r Database,
    phase: &'r PhaseName,
    opposite_origin: &'r str,
    /// The checkpoint in the row.
    row: Lsn,
    row_written: Instant,
    /// Everything up to here was dealt with: never before `row`.
    reached: Lsn,
    /// Where the server was when this run began.
    behind: Lsn,
    /// The end of the newest transaction whose rows were written.
    written: Lsn,
    /// Read, not dealt with.
    pending: VecDeque<Transaction>,
    pending_changes: usize,
    /// How many changes the next batch may have.
    size: usize,
    /// The server's word after the last of `pending`.
    idle: Option<Lsn>,
    /// How old the newest transaction dealt with was then.
    dealt_lag: Option<u64>,
    /// What ended the stream behind `pending`.
    end: Option<StreamError>,
}

impl<'r> Run<'r> {
    async fn begin(
        parts: &'r StreamParts,
        (spec, epoch): (&'r StreamSpec, Epoch),
        told: &'r dyn Told,
    ) -> Result<Self, StreamError> {
        let direction = spec.name.direction;
        let to = parts.side(direction.to());
        let mut applier = Applier::connect(to, spec, epoch, Completeness::Whole, None).await?;
        let (Checkpoint::Lsn(row), mode) = applier.take_over().await?;
        let clock = &*parts.clock;
        let from = parts.side(direction.from());
        let behind = marker::place(from).await.map_err(StreamError::Lost)?;
        let changes = PgChanges::connect(from, spec, row, clock).await?;
        // What was committed before the journal heard of it is said again; it knows a repeat.
        for breach in stream_row::breaches(to, &spec.name).await.map_err(StreamError::Lost)? {
            told.breach(breach);
        }
        tracing::info!(stream = %spec.name, %epoch, checkpoint = %row, mode = mode.word(), "stream is up");
        Ok(Self {
            applier,
            changes,
            clock,
            told,
            mode,
            from,
            phase: &spec.name.phase,
            opposite_origin: &spec.opposite_origin,
            row,
            row_written: clock.monotonic(),
            reached: row,
            behind,
            written: row,
            pending: VecDeque::new(),
            pending_changes: 0,
            size: FEW_CHANGES,
            idle: None,
            dealt_lag: None,
            end: None,
        })
    }

    async fn turn(&mut self, control: &mut Control) -> Result<(), StreamError> {
        if control.holds.take_asked() {
            self.look_again().await?;
        }
        self.settle();
        if self.has_passed() {
            control.pass();
        }
        self.publish(control);
        if control.holds.settle(self.reached, self.written) {
            control.holds.wait().await;
            return Ok(());
        }
        let limit = control.holds.limit();
        let next_is_in = |run: &Self| {
            run.pending.front().is_some_and(|next| limit.is_none_or(|limit| end_of(next) <= limit))
        };
        if !next_is_in(self) {
            if let (Some(limit), false) = (limit, self.pending.is_empty()) {
                // What comes next ended after the hold's place, so nothing before it is outstanding.
                self.reached = self.reached.max(limit);
                return Ok(());
            }
            if let Some(error) = self.end.take() {
                return Err(error);
            }
            self.write_down(control).await?;
            if limit.is_some() {
                self.changes.ask();
            }
            tokio::select! {
                item = self.changes.next() => self.absorb(item?),
                () = control.holds.asked() => return Ok(()),
                // Of a long transaction that is being received the lag is said meanwhile.
                () = self.clock.sleep(SAY_AGAIN) => return Ok(()),
            }
        }
        self.read_ready();
        if next_is_in(self) {
            self.publish(control);
            self.deal(control, limit).await?;
        }
        Ok(())
    }

    fn publish(&self, control: &Control) {
        control.publish(Progress {
            lsn: self.reached,
            mode: self.mode,
            lag_ms: self.lag(),
            oldest_ms: self.oldest_ms(),
        });
    }

    /// The place that the server named, once everything before it was dealt with.
    fn settle(&mut self) {
        if self.pending.is_empty()
            && let Some(idle) = self.idle
        {
            self.reached = self.reached.max(idle);
            self.tell(self.oldest_ms().map_or(0, |oldest| self.age(oldest)));
        }
    }

    fn has_passed(&self) -> bool {
        self.reached >= self.behind
    }

    fn tell(&self, lag_ms: u64) {
        if self.has_passed() {
            self.told.lag(self.mode, lag_ms);
        }
    }

    /// 0 when nothing is outstanding; the age of the oldest transaction that is; none before the server's first word, and
    /// where it is not known what comes before the place at which the server was.
    fn lag(&self) -> Option<u64> {
        match self.oldest_ms() {
            Some(oldest) => Some(self.age(oldest)),
            None if !self.has_passed() => None,
            None if self.idle.is_some() => Some(0),
            None => self.dealt_lag,
        }
    }

    /// When the oldest transaction that is outstanding was committed, of which a part was received at least.
    fn oldest_ms(&self) -> Option<i64> {
        self.pending.front().map(|oldest| oldest.committed_ms).or_else(|| self.changes.receiving())
    }

    fn age(&self, committed_ms: i64) -> u64 {
        control::age(committed_ms, self.clock.now_millis())
    }

    fn absorb(&mut self, item: StreamItem) {
        match item {
            StreamItem::Idle(Checkpoint::Lsn(at)) => self.idle = Some(at),
            StreamItem::Transaction(transaction) => {
                self.idle = None;
                self.pending_changes += transaction.changes.len();
                self.pending.push_back(transaction);
            }
        }
    }

    /// Takes what is there already, up to a batch.
    fn read_ready(&mut self) {
        while self.end.is_none() && self.pending_changes < self.size && self.pending.len() < MAX_TRANSACTIONS
        {
            match self.changes.ready() {
                Some(Ok(item)) => self.absorb(item),
                Some(Err(error)) => self.end = Some(error),
                None => return,
            }
        }
    }

    /// Commits what is pending, up to the hold's place.
    async fn deal(&mut self, control: &Control, limit: Option<Lsn>) -> Result<(), StreamError> {
        let mut transactions = Vec::new();
        while let Some(next) =
            self.pending.pop_front_if(|next| limit.is_none_or(|limit| end_of(next) <= limit))
        {
            self.pending_changes = self.pending_changes.saturating_sub(next.changes.len());
            transactions.push(next);
        }
        let Some((end, committed_ms)) = transactions.last().map(|last| (end_of(last), last.committed_ms))
        else {
            return Ok(());
        };
        if let Some(oldest) = transactions.first() {
            self.tell(self.age(oldest.committed_ms));
        }
        let written = transactions.iter().rev().find(|each| self.changes_rows(each)).map(end_of);
        if written.is_some() || transactions.iter().any(|each| !each.markers.is_empty()) {
            let began = self.clock.monotonic();
            self.commit(control, transactions, end).await?;
            self.size = next_size(self.size, self.clock.monotonic().duration_since(began));
        }
        if let (Some(written), StreamMode::Apply) = (written, self.mode) {
            self.written = written;
        }
        self.reached = self.reached.max(end);
        let lag_ms = self.age(committed_ms);
        self.dealt_lag = Some(lag_ms);
        self.told.moved();
        self.tell(lag_ms);
        // Also where nothing but our own echo comes, and comes without a pause.
        self.write_down(control).await
    }

    async fn commit(
        &mut self,
        control: &Control,
        transactions: Vec<Transaction>,
        end: Lsn,
    ) -> Result<(), StreamError> {
        let (previous, end_at) = (Checkpoint::Lsn(self.row), Checkpoint::Lsn(end));
        let batch = Batch { transactions, previous, end: end_at };
        loop {
            self.may_guard(control, &batch.transactions).await?;
            match self.applier.commit(self.mode, &batch).await {
                Ok((durable, breaches)) => {
                    let _durable: Durable<Checkpoint> = durable;
                    self.row = end;
                    self.row_written = self.clock.monotonic();
                    self.changes.confirm_at(end);
                    for breach in breaches {
                        self.told.breach(breach);
                    }
                    return Ok(());
                }
                Err(StreamError::Superseded) => {
                    let before = self.mode;
                    self.look_again().await?;
                    if self.mode == before {
                        // Not the mode, so the epoch, at the gate: a newer holder is about to take the row too.
                        return Err(StreamError::Superseded);
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Whether a transaction changes rows and is not our own echo.
    fn changes_rows(&self, transaction: &Transaction) -> bool {
        !transaction.changes.is_empty() && transaction.origin.as_deref() != Some(self.opposite_origin)
    }

    /// Waits while the stream is to guard, there is something to drop, and its writer had every right to write it.
    async fn may_guard(
        &mut self,
        control: &Control,
        transactions: &[Transaction],
    ) -> Result<(), StreamError> {
        let Some(oldest) = transactions.iter().find(|each| self.changes_rows(each)) else { return Ok(()) };
        let mut is_said = false;
        while self.mode == StreamMode::Guard
            && gate::mode(self.from, self.phase).await.map_err(StreamError::Lost)? == Some(GateMode::Open)
        {
            if !is_said {
                let side = self.from.side();
                tracing::warn!(%side, "a stream in guard reads a side whose gate is open: it waits to be told to apply");
                is_said = true;
            }
            let age = self.age(oldest.committed_ms);
            let oldest_ms = Some(oldest.committed_ms);
            control.publish(Progress { lsn: self.reached, mode: self.mode, lag_ms: Some(age), oldest_ms });
            self.tell(age);
            self.clock.sleep(LOOK).await;
            self.look_again().await?;
        }
        Ok(())
    }

    /// Reads the row again. A row that moved without us is begun anew from.
    async fn look_again(&mut self) -> Result<(), StreamError> {
        let (Checkpoint::Lsn(row), mode) = self.applier.take_over().await?;
        if row != self.row {
            return Err(StreamError::Superseded);
        }
        self.mode = mode;
        Ok(())
    }

    /// Now and then the row follows what needed nothing written.
    async fn write_down(&mut self, control: &Control) -> Result<(), StreamError> {
        // A server that shuts down waits until everything is confirmed.
        let is_asked = self.changes.take_asked();
        let is_due = self.clock.monotonic().duration_since(self.row_written) >= WRITE_DOWN_EVERY;
        if self.reached > self.row && (is_asked || is_due) {
            self.commit(control, Vec::new(), self.reached).await?;
        }
        Ok(())
    }
}

/// How many changes the batch after one of this size has, which took so long.
fn next_size(size: usize, took: Duration) -> usize {
    match () {
        () if took > BATCH => (size / 2).max(FEW_CHANGES),
        () if took < BATCH / 3 => (size * 2).min(MAX_CHANGES),
        () => size,
    }
}

fn end_of(transaction: &Transaction) -> Lsn {
    let Checkpoint::Lsn(end) = transaction.end;
    end
}

/// Applies whole transactions that ended at or before `until`, then sets the stream's row to exactly `until`. Rows may be
/// missing on the side written: they are completed by key from `rows`. For the fill after a crash, before the
/// stream runs. May be dropped at any await: called again, it goes on from the row.
///
/// # Errors
/// As the stream itself.
pub async fn apply_until(
    parts: &StreamParts,
    spec: &StreamSpec,
    epoch: Epoch,
    until: Lsn,
    rows: Arc<dyn RowSource>,
) -> Result<Lsn, StreamError> {
    let direction = spec.name.direction;
    let to = parts.side(direction.to());
    let mut applier = Applier::connect(to, spec, epoch, Completeness::Filling, Some(rows)).await?;
    let (Checkpoint::Lsn(mut row), mode) = applier.take_over().await?;
    if row >= until {
        return Ok(row);
    }
    let mut changes = PgChanges::connect(parts.side(direction.from()), spec, row, &*parts.clock).await?;
    changes.end_at(until);
    let (mut is_over, mut size) = (false, FEW_CHANGES);
    while !is_over {
        let (mut transactions, mut count) = (Vec::new(), 0);
        let mut item = Some(changes.next().await);
        while let Some(read) = item {
            match read? {
                StreamItem::Transaction(transaction) if end_of(&transaction) <= until => {
                    count += transaction.changes.len();
                    transactions.push(transaction);
                }
                StreamItem::Idle(Checkpoint::Lsn(at)) if at < until => {}
                StreamItem::Transaction(_) | StreamItem::Idle(_) => is_over = true,
            }
            item = if is_over || count >= size || transactions.len() >= MAX_TRANSACTIONS {
                None
            } else {
                changes.ready()
            };
        }
        let end = if is_over { Some(until) } else { transactions.last().map(end_of) };
        if let Some(end) = end {
            let (previous, end_at) = (Checkpoint::Lsn(row), Checkpoint::Lsn(end));
            let batch = Batch { transactions, previous, end: end_at };
            let began = parts.clock.monotonic();
            let (durable, _) = applier.commit(mode, &batch).await?;
            size = next_size(size, parts.clock.monotonic().duration_since(began));
            changes.confirm(durable).await?;
            row = end;
        }
    }
    Ok(row)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_side_gets_small_batches_and_a_quick_one_large_ones() {
        let (quick, slow) = (Duration::from_millis(5), Duration::from_secs(1));
        let mut size = FEW_CHANGES;
        for _ in 0..10 {
            size = next_size(size, quick);
        }
        assert_eq!(size, MAX_CHANGES);
        assert_eq!(next_size(size, BATCH / 2), size);
        for _ in 0..10 {
            size = next_size(size, slow);
        }
        assert_eq!(size, FEW_CHANGES);
    }
}
