//! Effects as data: what an executor may do outside the journal, so exact that it has no choice left.

mod protocol;

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::canonical::to_canonical;
use crate::ids::{EffectId, Lsn, PhaseName, PlanHash, Position, TableName, Timeline};
use crate::names::{Direction, StreamName};
use crate::operation::Step;
use crate::time::Timestamp;

pub use protocol::{EffectClass, Party};

/// What an auditor wants to read of an outcome: row counts, checksums, LSNs, durations in milliseconds, the
/// lever's answer. Values never hold credentials or cell values.
pub type Evidence = BTreeMap<String, String>;

/// One of the two databases.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// The database being left.
    Source,
    /// The database being moved to.
    Target,
}

impl Side {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Source, Self::Target];

    /// The word for it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Target => "target",
        }
    }

    /// The other one.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Source => Self::Target,
            Self::Target => Self::Source,
        }
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// What a gate says to the application.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GateMode {
    /// Its writes pass.
    Open,
    /// Its writes are refused.
    Closed,
}

impl GateMode {
    /// The mode that a gate's row names; whatever does not say open is closed.
    #[must_use]
    pub fn of_word(word: &str) -> Self {
        if word == Self::Open.word() { Self::Open } else { Self::Closed }
    }

    /// The word for it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Closed => "closed",
        }
    }
}

/// What a stream does with what it reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StreamMode {
    /// It writes it to the other side.
    Apply,
    /// It drops what carries our mark and reports anything else as a breach of the fence.
    Guard,
}

impl StreamMode {
    /// The word for it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Apply => "apply",
            Self::Guard => "guard",
        }
    }
}

/// What a trial write must meet. The trial is rolled back either way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Expectation {
    /// The write passes.
    Passes,
    /// The write is refused by the fence.
    Refused,
}

/// A table as it is to be made on the target: its columns and its primary key, no more.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TableDefinition {
    /// Its name.
    pub table: TableName,
    /// Statements in order: types, sequences, `create table` with the primary key.
    pub statements: Vec<String>,
}

/// An index or constraint that is made after the load.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SchemaObject {
    /// The table it belongs to.
    pub table: TableName,
    /// Its name in the catalog.
    pub name: String,
    /// What it is, in words: `index`, `unique constraint`, `foreign key`, `check constraint`.
    pub kind: String,
    /// The statement that makes it.
    pub statement: String,
}

/// What a stream must still have when a side that it reads or writes is probed anew.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct StreamCheck {
    /// Which.
    pub direction: Direction,
    /// The slot it reads.
    pub slot: String,
    /// What it does, as journalled.
    pub mode: StreamMode,
    /// Whether the operation cannot do without it. A guard's loss is said, and is not in the way of what leads back.
    pub is_needed: bool,
}

/// An effect on the outside. Absolute, under deterministic names; doing it twice is doing it once.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Effect {
    /// Looks for everything that is known to make a later step fail. Pure observation.
    Preflight {
        /// The phase's tables.
        tables: Vec<TableName>,
    },
    /// A side that came back on another timeline, after a failover or a restore, has what this phase left there: gate,
    /// fence, and for each stream its slot, its checkpoint and its mode. Pure observation. Evidence: `timeline`,
    /// `forked_at`, and a word a stream.
    ProbeAnew {
        /// Where.
        side: Side,
        /// The timeline by which it was known.
        was: Timeline,
        /// The one that it is on.
        timeline: Timeline,
        /// Its gate's mode, as journalled.
        mode: GateMode,
        /// Under which position the gate was set so; none if it never changed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        gate: Option<Position>,
        /// The tables whose fence must stand there; none where no fence was made yet.
        fenced: Vec<TableName>,
        /// The phase's streams.
        streams: Vec<StreamCheck>,
    },
    /// The schema `_switchyard` and the phase's gate row, in this mode if the row is new.
    InstallHome {
        /// Where.
        side: Side,
        /// The mode of a new gate row. An old row keeps its mode.
        mode: GateMode,
    },
    /// A publication of these very tables, TRUNCATE included.
    CreatePublication {
        /// Where.
        side: Side,
        /// Its name.
        publication: String,
        /// Its tables.
        tables: Vec<TableName>,
    },
    /// A replication origin, which marks what an apply writes here.
    CreateOrigin {
        /// Where.
        side: Side,
        /// Its name.
        origin: String,
    },
    /// The tables on the target, behind the closed gate.
    CreateTables {
        /// Their definitions, parents first.
        tables: Vec<TableDefinition>,
    },
    /// Fence triggers whose function follows the gate row's mode. Made under a short lock timeout, with retries.
    InstallFence {
        /// Where.
        side: Side,
        /// The fenced tables.
        tables: Vec<TableName>,
    },
    /// A write as the application would make it, rolled back. Pure observation.
    TrialWrite {
        /// Where.
        side: Side,
        /// The tables tried.
        tables: Vec<TableName>,
        /// What it must meet.
        expect: Expectation,
        /// Tells two trials of one step apart: `before`, `after`.
        moment: String,
    },
    /// A logical replication slot (pgoutput), with its snapshot held by the executor that made it.
    /// Evidence: `lsn`, its consistent point.
    CreateSlot {
        /// Where.
        side: Side,
        /// Its name.
        slot: String,
    },
    /// A table's rows, in chunks with receipts; after a crash the fill. Evidence: `rows`, `chunks`, `hash`,
    /// `snapshot_lsn` (the newest snapshot used), `filled` (`true` after an interruption).
    CopyTable {
        /// The table.
        table: TableName,
        /// The slot under whose snapshot the load began.
        slot: String,
    },
    /// The stream's checkpoint row on the side it writes, from a place on. The supervisor runs it from then on.
    StartStream {
        /// Which.
        stream: StreamName,
        /// What it does.
        mode: StreamMode,
        /// The slot it reads.
        slot: String,
        /// The publication it reads.
        publication: String,
        /// The origin that marks what it writes.
        origin: String,
        /// Where it begins.
        from: Lsn,
    },
    /// The stream's mode, in its checkpoint row: a batch under the other mode is refused from its commit on.
    /// Evidence: `checkpoint`.
    SetStreamMode {
        /// Which.
        stream: StreamName,
        /// What it does from now on.
        mode: StreamMode,
    },
    /// Waits until the stream has committed everything up to a place. Pure observation.
    AwaitApplied {
        /// Which.
        stream: StreamName,
        /// The place.
        lsn: Lsn,
    },
    /// Waits until the stream lags less than this. Pure observation.
    AwaitLag {
        /// Which.
        stream: StreamName,
        /// The limit in milliseconds.
        #[serde(with = "decimal")]
        limit_ms: u64,
    },
    /// Compares a whole table at one place of the stream, while both sides go on. Evidence: `rows`, `hash`,
    /// `source_lsn`, `target_lsn`. A difference names the table, the key and the column.
    VerifyTable {
        /// The table.
        table: TableName,
        /// The stream whose place fixes the comparison: the one that applies.
        stream: StreamName,
        /// Why now: `load`, `sweep`, `full`.
        moment: String,
    },
    /// Compares the keys that the streams have named since the last proof. Both sides must stand still.
    VerifyChanged {
        /// The phase's tables.
        tables: Vec<TableName>,
        /// The stream that applied up to the barrier.
        stream: StreamName,
    },
    /// Compares, beside the application, the keys that the streams have named since the last proof, at one place of the
    /// stream, until what is left would be compared within the limit. Evidence: `keys`, `left`, `estimate_ms`.
    SweepChanged {
        /// The phase's tables.
        tables: Vec<TableName>,
        /// The stream whose place fixes the comparison: the one that applies.
        stream: StreamName,
        /// How long what is left may take, in milliseconds.
        #[serde(with = "decimal")]
        limit_ms: u64,
    },
    /// An index or constraint on the target.
    AddSchemaObject {
        /// The object.
        object: SchemaObject,
    },
    /// A marker in the side's own stream, committed durably. Evidence: `lsn`.
    EmitMarker {
        /// Where.
        side: Side,
        /// Tells it from any other.
        nonce: String,
    },
    /// Waits until the stream has committed the marker on its other side. Evidence: `lsn`. Pure observation.
    AwaitMarker {
        /// Which.
        stream: StreamName,
        /// The marker's.
        nonce: String,
    },
    /// Waits until no transaction older than this holds a write lock on the tables. Pure observation; evidence
    /// and differences name who does: pid, user, age.
    AwaitQuiet {
        /// Where.
        side: Side,
        /// The tables.
        tables: Vec<TableName>,
        /// The age in milliseconds that is too old.
        #[serde(with = "decimal")]
        older_than_ms: u64,
    },
    /// The columns of the tables are the same on both sides: types, defaults, what is generated. Pure observation;
    /// differences name table and column.
    CompareColumns {
        /// Where the application is to write.
        side: Side,
        /// The tables.
        tables: Vec<TableName>,
    },
    /// The lever as it stands. Pure observation.
    ObserveTraffic {
        /// The side that the traffic must reach.
        at: Side,
    },
    /// The lever holds the traffic: clients wait, their transactions have ended.
    HoldTraffic {
        /// The side the traffic reached until now.
        at: Side,
    },
    /// The lever points at a side, while it holds.
    RouteTraffic {
        /// The side.
        to: Side,
    },
    /// The lever lets the traffic through, to the side it points at.
    ResumeTraffic {
        /// The side.
        to: Side,
    },
    /// The gate closes: row and function in one transaction, under the strongest synchronous commit.
    CloseGate {
        /// Where.
        side: Side,
    },
    /// Closes the gate of a side that may be lost, if it can be reached at all within a time. Evidence: `reached`, `yes` or
    /// `no`; where it was, what a closed gate shows; where it was not, `why`.
    CloseLost {
        /// Where.
        side: Side,
        /// How long it is tried to reach it, in milliseconds.
        #[serde(with = "decimal")]
        patience_ms: u64,
        /// Tells two tries of one operation apart: `drain`, `opening`.
        moment: String,
    },
    /// Waits until a stream from a side that may be lost has applied everything that can still be had: up to where that
    /// side's log is once nobody writes there any more, or for a time. Pure observation. Evidence: `drained`, `yes` or `no`,
    /// and `why` not; `checkpoint`.
    DrainAvailable {
        /// Which.
        stream: StreamName,
        /// The phase's tables.
        tables: Vec<TableName>,
        /// How long, in milliseconds.
        #[serde(with = "decimal")]
        patience_ms: u64,
    },
    /// Waits until every writer that was open when the gate closed is gone, prepared ones included.
    AwaitWriters {
        /// Where.
        side: Side,
        /// The tables.
        tables: Vec<TableName>,
        /// How long, in milliseconds, before it is an error.
        #[serde(with = "decimal")]
        patience_ms: u64,
        /// Whether the named sessions are ended when the patience is over.
        terminate: bool,
    },
    /// The gate opens: row and function in one transaction. Towards a cutover's target or a failback's source this
    /// is the opening: after it there is no undo.
    OpenGate {
        /// Where.
        side: Side,
    },
    /// Sequences of the tables move forward on the side about to open, never back, with headroom.
    AdvanceSequences {
        /// The side about to open.
        side: Side,
        /// The tables.
        tables: Vec<TableName>,
        /// Whether the other side is lost and is not asked.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        alone: bool,
    },
    /// The stream's checkpoint row goes, and with it the stream.
    DropStream {
        /// Which.
        stream: StreamName,
    },
    /// A slot goes, for ever.
    DropSlot {
        /// Where.
        side: Side,
        /// Its name.
        slot: String,
    },
    /// A publication goes.
    DropPublication {
        /// Where.
        side: Side,
        /// Its name.
        publication: String,
    },
    /// An origin goes.
    DropOrigin {
        /// Where.
        side: Side,
        /// Its name.
        origin: String,
    },
    /// Fence triggers and their function go; the gate row stays.
    RemoveFence {
        /// Where.
        side: Side,
        /// The tables.
        tables: Vec<TableName>,
    },
    /// Tables that this phase made on the target go.
    DropTables {
        /// The tables.
        tables: Vec<TableName>,
    },
}

/// An effect with its name and its place: what a receiver gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EffectSpec {
    /// Its name: the same after every crash.
    pub id: EffectId,
    /// The phase it serves.
    pub phase: PhaseName,
    /// The step that planned it.
    pub step: Step,
    /// What it is.
    pub effect: Effect,
}

impl EffectSpec {
    /// Names an effect: a hash over the plan, the phase, the operation's position, the step and the effect, without
    /// an attempt number.
    #[must_use]
    pub fn new(plan: PlanHash, phase: &PhaseName, operation: Position, step: Step, effect: Effect) -> Self {
        let named = (plan, phase, operation, step, &effect);
        // The tuple holds strings alone, so it always has canonical bytes; a debug rendering is as unique.
        let bytes = to_canonical(&named).unwrap_or_else(|_| format!("{named:?}").into_bytes());
        Self { id: EffectId::of(&bytes), phase: phase.clone(), step, effect }
    }
}

/// The undo of an operation, written down in full before anything is stopped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UndoPlan {
    /// When it begins by itself.
    pub at: Timestamp,
    /// Its effects in order.
    pub effects: Vec<Effect>,
}

/// Numbers as decimal strings.
mod decimal {
    use std::fmt::Display;
    use std::str::FromStr;

    use serde::{Deserializer, Serializer};

    use crate::ids::from_text;

    pub(super) fn serialize<T: Display, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(value)
    }

    pub(super) fn deserialize<'de, T, D>(deserializer: D) -> Result<T, D::Error>
    where
        T: FromStr<Err: Display>,
        D: Deserializer<'de>,
    {
        from_text(deserializer)
    }
}
