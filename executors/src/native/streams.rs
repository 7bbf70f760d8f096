//! The streams that run here, and what brings them to what the journal wants.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use journal::{Epoch, PhaseName, StreamHealth, StreamMode, StreamName, StreamSpec};
use runtime::{Clock, Tasks};

use crate::native::Breach;
use crate::native::stream::{StreamHandle, StreamParts};
use crate::postgres::database::Database;

/// Who is told what becomes of the streams. Both calls may repeat what was said before: the journal knows a repeat.
#[async_trait]
pub trait StreamReports: std::fmt::Debug + Send + Sync {
    /// A stream changed.
    async fn stream(&self, name: &StreamName, epoch: Epoch, mode: StreamMode, health: StreamHealth);

    /// A guard saw what no fence should have let through.
    async fn breach(&self, name: &StreamName, epoch: Epoch, breach: &Breach);
}

/// The supervisor of the streams. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Streams {
    parts: StreamParts,
    reports: Arc<dyn StreamReports>,
    tasks: Tasks,
}

impl Streams {
    /// A supervisor of no streams yet.
    #[must_use]
    pub fn new(
        source: Database,
        target: Database,
        reports: Arc<dyn StreamReports>,
        clock: Arc<dyn Clock>,
        tasks: Tasks,
    ) -> Self {
        Self { parts: StreamParts { source, target, clock }, reports, tasks }
    }

    /// Makes these the phase's streams: starts what is missing, ends what is not named or runs under another epoch.
    /// `lag_limit` parts caught up from lagging.
    pub fn set_desired(&self, phase: &PhaseName, epoch: Epoch, specs: Vec<StreamSpec>, lag_limit: Duration) {
        let _unbuilt = (phase, epoch, specs, lag_limit, &self.reports, &self.tasks);
    }

    /// Ends the phase's streams: the lease is lost. What they had in flight commits whole or not at all.
    pub fn stop_phase(&self, phase: &PhaseName) {
        let _unbuilt = phase;
    }

    /// A stream that is desired here, whether it is up at this moment or being restarted.
    #[must_use]
    pub fn handle(&self, name: &StreamName) -> Option<StreamHandle> {
        let _unbuilt = name;
        None
    }

    /// What the streams work with.
    #[must_use]
    pub const fn parts(&self) -> &StreamParts {
        &self.parts
    }
}
