//! What the data plane works with.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use journal::{LoadSettings, MigrationName, PhaseName, Side, Timeline};
use runtime::Clock;
use tokio::sync::watch;

use crate::native::streams::Streams;
use crate::postgres::database::Database;
use crate::postgres::snapshot::HeldSnapshot;

/// What the data plane works with. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Plane {
    /// The database being left.
    pub source: Database,
    /// The database being moved to.
    pub target: Database,
    /// The streams that run here.
    pub streams: Streams,
    /// The snapshots held here.
    pub snapshots: SnapshotKeeper,
    /// How tables are loaded.
    pub load: LoadSettings,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// The migration.
    pub migration: MigrationName,
    /// What is being done, for people.
    pub doing: Doing,
    /// The timelines on which each phase's sides were last probed.
    pub timelines: Timelines,
}

impl Plane {
    /// A plane that holds nothing yet.
    #[must_use]
    pub fn new(
        source: Database,
        target: Database,
        streams: Streams,
        load: LoadSettings,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let migration = source.migration().clone();
        let (snapshots, doing, timelines) =
            (SnapshotKeeper::default(), Doing::default(), Timelines::default());
        Self { source, target, streams, snapshots, load, clock, migration, doing, timelines }
    }

    /// The database of a side.
    #[must_use]
    pub const fn side(&self, side: Side) -> &Database {
        match side {
            Side::Source => &self.source,
            Side::Target => &self.target,
        }
    }
}

/// The snapshot that each phase's load reads under, in this process: of the slot's creation, or of a fill. Nothing of
/// it outlives the process; what it was good for is proved by the stream's place on the target, not by this.
#[derive(Debug, Clone, Default)]
pub struct SnapshotKeeper {
    held: Arc<Mutex<BTreeMap<PhaseName, Kept>>>,
}

/// A snapshot, and how what is read under it is written.
type Kept = (Arc<HeldSnapshot>, Reading);

/// How rows that are read under a snapshot are to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// Under the snapshot of the slot's creation: none of them is there.
    First,
    /// Under a fill's snapshot: those that are there are left alone.
    Fill,
}

impl SnapshotKeeper {
    /// Keeps a phase's snapshot in the place of any other.
    pub fn keep(&self, phase: &PhaseName, snapshot: Arc<HeldSnapshot>, reading: Reading) {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).insert(phase.clone(), (snapshot, reading));
    }

    /// The phase's snapshot.
    #[must_use]
    pub fn current(&self, phase: &PhaseName) -> Option<Kept> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).get(phase).cloned()
    }

    /// Lets the phase's snapshot go, and with it what it keeps the database from cleaning.
    pub fn release(&self, phase: &PhaseName) {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).remove(phase);
    }
}

/// What is being done in each phase, in words for people: a projection that nobody audits.
#[derive(Debug, Clone)]
pub struct Doing(Arc<watch::Sender<BTreeMap<PhaseName, String>>>);

impl Default for Doing {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(BTreeMap::new())))
    }
}

impl Doing {
    /// Says what is being done.
    pub fn say(&self, phase: &PhaseName, text: String) {
        self.0.send_modify(|all| {
            all.insert(phase.clone(), text);
        });
    }

    /// Nothing more is being done.
    pub fn clear(&self, phase: &PhaseName) {
        self.0.send_if_modified(|all| all.remove(phase).is_some());
    }

    /// What is being done in a phase.
    #[must_use]
    pub fn of(&self, phase: &PhaseName) -> Option<String> {
        self.0.borrow().get(phase).cloned()
    }

    /// Every change of it.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<BTreeMap<PhaseName, String>> {
        self.0.subscribe()
    }
}

/// The timelines on which each phase's sides were last probed, as journalled.
#[derive(Debug, Clone, Default)]
pub struct Timelines(Arc<Mutex<BTreeMap<(PhaseName, Side), Timeline>>>);

impl Timelines {
    /// Makes this the timeline of a phase's side.
    pub fn set(&self, phase: &PhaseName, side: Side, timeline: Option<Timeline>) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (phase.clone(), side);
        match timeline {
            Some(timeline) => known.insert(key, timeline),
            None => known.remove(&key),
        };
    }

    /// The timeline of a phase's side.
    #[must_use]
    pub fn of(&self, phase: &PhaseName, side: Side) -> Option<Timeline> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&(phase.clone(), side)).copied()
    }
}
