//! The load: a table's rows in chunks, under one snapshot, through any crash.
//!
//! The race is between three things: rows that are copied, changes that the stream applies, and executors that die. A
//! chunk is a range of heap blocks, and such a range has meaning in its own snapshot only: between two snapshots an
//! updated row moves from one block to another, so blocks [0, 30) of one and the rest of another hold one row twice and
//! miss another. And a row copied from an old snapshot after the stream has deleted it would rise again.
//!
//! Without a crash it is simple. The slot's creation gives a snapshot S1 at L1; nothing is applied while the load goes
//! on; all chunks are read under S1; the stream then begins at L1. A snapshot dies with the process that holds it. After
//! that comes the **fill**:
//!
//! 1. A new snapshot S2 is taken, at L2.
//! 2. The stream is applied from where the target stands up to exactly L2, all of it, skipping nothing by range. An update
//!    of a row that was never copied may lack unchanged TOAST values: such a row is read by its key under S2.
//! 3. The ranges without a receipt are read under S2, and rows whose key is there are left alone.
//!
//! Why this is right. Say that after step 2 every row of the state at L2 that is missing on the target stands, under S2,
//! in a range without a receipt. Take a row of the state at L2 that stands in a range *with* a receipt, read under some
//! earlier S. If it changed after S, its change was in the stream, was applied, and the row is there. If it did not, it
//! stood in the same place under S, since only a change moves a row, and was copied. Conversely nothing is there that
//! should not be: whatever was deleted after it was copied had its delete in the stream. Step 3 reads exactly those ranges,
//! and a row that is there already was brought by the stream up to L2, where it equals S2's own. The argument asks
//! nothing of S1: it holds for a third snapshot after a second, and after a crash in the middle of step 2, since the target's
//! place is then simply between the two, and what was completed under the lost snapshot is overtaken by the same changes
//! before the new one's place is reached.
//!
//! What could break it, and what holds it:
//! - *A process that still holds S1 while another has filled up to L2* (it lost its lease and got it back). Each chunk's
//!   own transaction on the target, at its end, shares the stream's row and demands that it stands exactly at the chunk's snapshot, and
//!   shares the gate row and demands that the epoch is the newest. So a snapshot proves its worth at each commit.
//! - *A heap that is rewritten* (VACUUM FULL, CLUSTER, an ALTER TABLE): blocks mean something else, and old snapshots may
//!   see nothing at all. Each read holds ACCESS SHARE, under which no rewrite happens, and demands that the heap's file
//!   now, its file as the snapshot shows it, and the plan's are one. Else: a fresh snapshot, and that table again alone,
//!   its rows and its plan deleted in one transaction.
//! - *An executor that is stopped in mid-chunk.* Its lane holds the chunk's row and rows that are not committed. Lanes carry
//!   their epoch in their session's name; whoever holds a newer one ends them before it begins. What both executors need,
//!   the gate's and the stream's row, a lane takes only for the last moment before its commit.
//! - *A lost COMMIT of a chunk.* The next try locks the chunk's row, so waits for it, and finds the receipt.
//!
//! Until the stream has passed the newest snapshot used, the phase is not consistent; that is `catch_up`'s to wait for. All
//! tables of a phase share one snapshot in one process.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use journal::{
    Direction, Effect, EffectSpec, Epoch, Evidence, Finding, Lsn, PhaseName, Side, StreamMode, StreamName,
    StreamSpec, TableName, origin_name,
};
use runtime::failpoint;
use tokio::task::JoinSet;

use crate::native::hash::RowSum;
use crate::native::plane::{Plane, Reading};
use crate::native::stream::apply_until;
use crate::native::{StreamError, TableShape};
use crate::postgres::catalog::shapes;
use crate::postgres::chunk::{
    ChunkError, LoadKey, PlannedChunk, cut, end_older_lanes, locked_heap, planned, write_plan,
};
use crate::postgres::copy::{ChunkJob, analyze, copy_chunk, slot as seen_slot};
use crate::postgres::snapshot::{BeginError, HeldSnapshot, SnapshotRows, end};
use crate::postgres::wire::{CreateSlotError, ReplicationConnection};
use crate::seams::{Acted, Authority, Cause, EffectError, Owner, Probe};

/// How often one act begins again with a fresh snapshot before it hands back to the loop.
const FRESH_SNAPSHOTS: u32 = 5;

/// Looks for a slot, or for a table's receipts.
pub async fn probe(plane: &Plane, spec: &EffectSpec, _under: Authority) -> Probe {
    match &spec.effect {
        Effect::CreateSlot { side, slot } => probe_slot(plane, *side, slot).await,
        Effect::CopyTable { table, slot } => {
            match planned(&plane.target, &key(plane, spec, table, slot)).await {
                Ok(chunks) => evidence(&chunks).map_or(Probe::Absent, Probe::Ours),
                Err(cause) => Probe::Unreachable(cause),
            }
        }
        _ => Probe::Unreachable(Cause(format!("{} is not the load's", spec.effect.label()))),
    }
}

/// Makes a slot, or copies what has no receipt.
pub async fn act(plane: &Plane, spec: &EffectSpec, under: Authority) -> Acted {
    match &spec.effect {
        Effect::CreateSlot { side, slot } => create_slot(plane, spec, *side, slot).await,
        Effect::CopyTable { table, slot } => {
            let ended = copy_table(plane, spec, under, key(plane, spec, table, slot), slot).await;
            plane.doing.clear(&spec.phase);
            match ended {
                Ok(evidence) => Acted::Done(evidence),
                Err(error @ (ChunkError::Superseded | ChunkError::Refused(_))) => {
                    Acted::Definite(EffectError(format!("{table} is not loaded: {error}")))
                }
                Err(error) => Acted::Unknown(EffectError(format!("{table} is not loaded yet: {error}"))),
            }
        }
        _ => Acted::Definite(EffectError(format!("{} is not the load's", spec.effect.label()))),
    }
}

async fn probe_slot(plane: &Plane, side: Side, name: &str) -> Probe {
    let seen = match seen_slot(plane.side(side), name).await {
        Ok(Some(seen)) => seen,
        Ok(None) => return Probe::Absent,
        Err(cause) => return Probe::Unreachable(cause),
    };
    if seen.plugin.as_deref() != Some("pgoutput") || !seen.is_here {
        return Probe::Foreign(Owner(format!(
            "the replication slot {name} at the {side} is of plugin {} in database {}",
            seen.plugin.as_deref().unwrap_or("none"),
            seen.database.as_deref().unwrap_or("none"),
        )));
    }
    if seen.wal_status.as_deref() == Some("lost") {
        return Probe::Differs(Finding {
            code: "SW-0250".to_owned(),
            what: format!("the replication slot {name} at the {side} has lost WAL that it needs"),
            remedy: "raise max_slot_wal_keep_size, abort the operation, and start the phase again".to_owned(),
        });
    }
    match seen.confirmed {
        Some(lsn) => {
            let mut evidence = Evidence::from([("lsn".to_owned(), lsn.to_string())]);
            evidence.insert("slot".to_owned(), name.to_owned());
            Probe::Ours(evidence)
        }
        None => Probe::Unreachable(Cause(format!(
            "the replication slot {name} at the {side} is still being made: it waits for the writers that were open"
        ))),
    }
}

async fn create_slot(plane: &Plane, spec: &EffectSpec, side: Side, name: &str) -> Acted {
    let database = plane.side(side);
    let made = match side {
        Side::Source => HeldSnapshot::of_new_slot(database, name, false).await.map(|held| {
            let lsn = held.lsn();
            plane.snapshots.keep(&spec.phase, Arc::new(held), Reading::First);
            lsn
        }),
        // Nothing is copied from the target: its stream is in guard from its beginning.
        Side::Target => match ReplicationConnection::connect(database).await {
            Ok(mut connection) => {
                connection.create_slot(name, false).await.map(|created| created.consistent_point)
            }
            Err(cause) => Err(CreateSlotError::Other(cause)),
        },
    };
    match made {
        Ok(lsn) => Acted::Done(Evidence::from([("lsn".to_owned(), lsn.to_string())])),
        Err(error @ CreateSlotError::NoFreeSlot) => {
            Acted::Definite(EffectError(format!("the {side} makes no slot {name}: {error}")))
        }
        Err(error) => Acted::Unknown(EffectError(format!("the {side} makes no slot {name}: {error}"))),
    }
}

/// The load's name in the target's tables. The generation stands in the slot's name, before the direction.
fn key(plane: &Plane, spec: &EffectSpec, table: &TableName, slot: &str) -> LoadKey {
    let generation = slot.rsplit('_').nth(1).and_then(|text| text.parse().ok()).unwrap_or(0);
    LoadKey {
        migration: plane.migration.clone(),
        phase: spec.phase.clone(),
        generation,
        table: table.clone(),
    }
}

/// What the receipts say together; none while one is missing.
fn evidence(chunks: &[PlannedChunk]) -> Option<Evidence> {
    let mut sum = RowSum::default();
    let (mut newest, mut filled) = (Lsn::default(), false);
    for chunk in chunks {
        let copied = chunk.copied?;
        sum.join(copied.sum);
        newest = newest.max(copied.snapshot);
        filled |= copied.filled;
    }
    if chunks.is_empty() {
        return None;
    }
    Some(Evidence::from([
        ("rows".to_owned(), sum.rows.to_string()),
        ("chunks".to_owned(), chunks.len().to_string()),
        ("hash".to_owned(), sum.to_string()),
        ("snapshot_lsn".to_owned(), newest.to_string()),
        ("filled".to_owned(), filled.to_string()),
    ]))
}

async fn copy_table(
    plane: &Plane,
    spec: &EffectSpec,
    under: Authority,
    key: LoadKey,
    slot: &str,
) -> Result<Evidence, ChunkError> {
    end_older_lanes(&plane.target, &spec.phase, under.epoch).await.map_err(ChunkError::Other)?;
    let shape = same_shape(plane, &key.table).await?;
    let load = Load { plane, key: Arc::new(key), shape: Arc::new(shape), epoch: under.epoch };
    let mut last = ChunkError::SnapshotGone;
    for _ in 0..FRESH_SNAPSHOTS {
        let (snapshot, reading) = snapshot(plane, &spec.phase, slot, under.epoch).await?;
        match load.under(&snapshot, reading).await {
            Ok(evidence) => return Ok(evidence),
            Err(error @ (ChunkError::SnapshotGone | ChunkError::Rewritten)) => {
                tracing::info!(phase = %spec.phase, table = %load.key.table, %error, "load begins a fill");
                plane.snapshots.release(&spec.phase);
                last = error;
            }
            Err(error) => return Err(error),
        }
    }
    // Unknown, not definite: the next act begins again.
    Err(ChunkError::Other(Cause(last.to_string())))
}

/// The table's shape, if both sides have the same.
async fn same_shape(plane: &Plane, table: &TableName) -> Result<TableShape, ChunkError> {
    let wanted = std::slice::from_ref(table);
    let mut seen = Vec::with_capacity(2);
    for side in Side::ALL {
        let session = plane.side(side).session().await.map_err(ChunkError::Other)?;
        let shape = shapes(&*session, wanted)
            .await
            .map_err(|cause| ChunkError::Other(Cause(format!("at the {side}: {cause}"))))?;
        session.done();
        seen.extend(shape);
    }
    let mut seen = seen.into_iter();
    match (seen.next(), seen.next()) {
        (Some(source), Some(target))
            if (&source.columns, &source.types, &source.key)
                == (&target.columns, &target.types, &target.key) =>
        {
            Ok(source)
        }
        _ => Err(ChunkError::Refused(Cause(
            "its columns, types or key are not the same at the source and at the target: \
             abort the operation, make them the same, and start again"
                .to_owned(),
        ))),
    }
}

/// The phase's snapshot: the one held, or a fill's, to whose place the stream is applied before anything is read.
async fn snapshot(
    plane: &Plane,
    phase: &PhaseName,
    slot: &str,
    epoch: Epoch,
) -> Result<(Arc<HeldSnapshot>, Reading), ChunkError> {
    if let Some((held, reading)) = plane.snapshots.current(phase)
        && held.is_alive().await
    {
        return Ok((held, reading));
    }
    plane.doing.say(phase, "taking a new snapshot after an interruption".to_owned());
    let held = Arc::new(HeldSnapshot::of_now(&plane.source).await.map_err(ChunkError::Other)?);
    plane.doing.say(phase, format!("applying what changed up to {} before the load goes on", held.lsn()));
    if failpoint::is_armed() {
        failpoint::hit("fill:before_apply");
    }
    let origin = |direction| origin_name(&plane.migration, phase, direction, 0);
    let stream = StreamSpec {
        name: StreamName { phase: phase.clone(), direction: Direction::Forward },
        mode: StreamMode::Apply,
        slot: slot.to_owned(),
        publication: slot.to_owned(),
        origin: origin(Direction::Forward),
        opposite_origin: origin(Direction::Failback),
        from: held.lsn(),
        timelines: Side::ALL.map(|side| plane.timelines.of(phase, side)),
        since: None,
        tables: Vec::new(),
    };
    let rows = Arc::new(SnapshotRows::new(Arc::clone(&held)));
    let applied = apply_until(plane.streams.parts(), &stream, epoch, held.lsn(), rows).await;
    match applied {
        Ok(_) => {}
        Err(StreamError::Stopped(finding)) => return Err(ChunkError::Refused(Cause(finding.to_string()))),
        Err(error) => return Err(ChunkError::Other(Cause(error.to_string()))),
    }
    if failpoint::is_armed() {
        failpoint::hit("fill:after_apply");
    }
    plane.snapshots.keep(phase, Arc::clone(&held), Reading::Fill);
    Ok((held, Reading::Fill))
}

/// One table's load.
struct Load<'p> {
    plane: &'p Plane,
    key: Arc<LoadKey>,
    shape: Arc<TableShape>,
    epoch: Epoch,
}

impl Load<'_> {
    async fn under(&self, snapshot: &Arc<HeldSnapshot>, reading: Reading) -> Result<Evidence, ChunkError> {
        let target = &self.plane.target;
        let unplanned = |text: &str| ChunkError::Other(Cause(text.to_owned()));
        self.plan(snapshot).await?;
        let chunks = planned(target, &self.key).await.map_err(ChunkError::Other)?;
        let total = chunks.len();
        let waiting: VecDeque<PlannedChunk> =
            chunks.into_iter().filter(|chunk| chunk.copied.is_none()).collect();
        if !waiting.is_empty() {
            self.lanes(snapshot, reading, waiting, total).await?;
            analyze(target, &self.shape).await;
        }
        let chunks = planned(target, &self.key).await.map_err(ChunkError::Other)?;
        evidence(&chunks).ok_or_else(|| unplanned("a chunk has no receipt after its copy"))
    }

    /// Makes the plan where there is none, or none for this heap.
    async fn plan(&self, snapshot: &HeldSnapshot) -> Result<(), ChunkError> {
        let reader = snapshot.begin().await.map_err(|error| match error {
            BeginError::Gone => ChunkError::SnapshotGone,
            BeginError::Other(cause) => ChunkError::Other(cause),
        })?;
        let heap = locked_heap(&reader, &self.key.table)
            .await
            .map_err(|error| ChunkError::of(snapshot.database(), "does not show the table's heap", &error))?;
        end(reader).await;
        if heap.relfilenode != heap.seen {
            return Err(ChunkError::Rewritten);
        }
        let chunks = planned(&self.plane.target, &self.key).await.map_err(ChunkError::Other)?;
        if !chunks.is_empty() && chunks.iter().all(|chunk| chunk.relfilenode == heap.relfilenode) {
            return Ok(());
        }
        let cut = cut(&self.key.table, heap.blocks, self.plane.load.chunk_bytes);
        let place = (snapshot.lsn(), self.epoch);
        write_plan(&self.plane.target, &self.key, place, (&self.shape, heap.relfilenode, cut)).await
    }

    /// Copies what waits, some chunks side by side. Dropped, or at the first error, its lanes end where they are: each
    /// chunk is whole or not there.
    async fn lanes(
        &self,
        snapshot: &Arc<HeldSnapshot>,
        reading: Reading,
        waiting: VecDeque<PlannedChunk>,
        total: usize,
    ) -> Result<(), ChunkError> {
        let done = total - waiting.len();
        let width = usize::from(self.plane.load.lanes.max(1)).min(waiting.len());
        let queue = Arc::new(Mutex::new((waiting, done)));
        let mut lanes = JoinSet::new();
        for _ in 0..width {
            let (snapshot, queue) = (Arc::clone(snapshot), Arc::clone(&queue));
            let (key, shape) = (Arc::clone(&self.key), Arc::clone(&self.shape));
            let (target, doing) = (self.plane.target.clone(), self.plane.doing.clone());
            let epoch = self.epoch;
            lanes.spawn(async move {
                let job = ChunkJob {
                    snapshot: &snapshot,
                    reading,
                    target: &target,
                    key: &key,
                    shape: &shape,
                    epoch,
                };
                loop {
                    let (next, done) = {
                        let mut queue = queue.lock().unwrap_or_else(PoisonError::into_inner);
                        (queue.0.pop_front(), queue.1)
                    };
                    let Some(chunk) = next else { return Ok(()) };
                    doing.say(&key.phase, format!("copying {}: {done} of {total} chunks", key.table));
                    copy_chunk(&job, &chunk).await?;
                    queue.lock().unwrap_or_else(PoisonError::into_inner).1 += 1;
                }
            });
        }
        while let Some(ended) = lanes.join_next().await {
            ended.map_err(|error| ChunkError::Other(Cause(format!("a copy lane broke: {error}"))))??;
        }
        Ok(())
    }
}
