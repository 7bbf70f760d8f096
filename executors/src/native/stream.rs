//! One running stream.

use std::sync::Arc;

use journal::{Epoch, Lsn, Side, StreamMode, StreamSpec};
use runtime::Clock;
use tokio::sync::watch;

use crate::native::StreamError;
use crate::postgres::apply::RowSource;
use crate::postgres::database::Database;
use crate::seams::Cause;

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

/// How far a stream has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Everything up to here is applied, durably.
    pub lsn: Lsn,
    /// What it does.
    pub mode: StreamMode,
    /// Its lag in milliseconds when this was written; none while it is not known, or the stream is not up.
    pub lag_ms: Option<u64>,
}

/// A stream that is desired here. Cheap to clone.
#[derive(Debug, Clone)]
pub struct StreamHandle {
    progress: watch::Receiver<Progress>,
}

impl StreamHandle {
    /// How far it has come, and every change of that.
    #[must_use]
    pub fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.clone()
    }

    /// Holds the stream where everything that ended at or before `lsn` is applied and nothing after it. It goes on when
    /// the hold is dropped.
    ///
    /// # Errors
    /// The stream is past it already, or is not up.
    pub async fn hold_at(&self, lsn: Lsn) -> Result<StreamHold, Cause> {
        Err(Cause(format!("the stream cannot be held at {lsn} yet")))
    }
}

/// A stream that stands still until this is dropped.
#[derive(Debug)]
pub struct StreamHold {
    at: Lsn,
}

impl StreamHold {
    /// Where it stands.
    #[must_use]
    pub const fn at(&self) -> Lsn {
        self.at
    }

    /// Whether it still stands: ask after the snapshot was taken. A stream that was ended meanwhile may run elsewhere.
    #[must_use]
    pub const fn holds(&self) -> bool {
        true
    }
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
    let _unbuilt = (parts, spec, epoch, rows);
    Err(StreamError::Lost(Cause(format!("nothing is applied up to {until} yet"))))
}
