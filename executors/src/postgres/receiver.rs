//! One database as the receiver of effects: who probes and does what in it.

use std::sync::Arc;

use async_trait::async_trait;
use journal::EffectSpec;
use runtime::{Clock, SystemClock};

use crate::postgres::database::Database;
use crate::seams::{Acted, Authority, Cause, EffectError, Probe, Receiver};

/// One side's receiver. It knows the other side too, since sequences are moved past both sides' values, and since a
/// gate does not open beside an open one.
#[derive(Debug)]
pub struct DatabaseReceiver {
    pub(crate) database: Database,
    pub(crate) other: Database,
    pub(crate) clock: Arc<dyn Clock>,
}

impl DatabaseReceiver {
    /// A receiver of the effects on `database`; `other` is only read.
    #[must_use]
    pub fn new(database: Database, other: Database) -> Self {
        Self { database, other, clock: Arc::new(SystemClock) }
    }

    /// The same, under this clock.
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }
}

#[async_trait]
impl Receiver for DatabaseReceiver {
    async fn probe(&self, spec: &EffectSpec, _under: Authority) -> Probe {
        Probe::Unreachable(Cause(format!("{} is not received yet", spec.effect.label())))
    }

    async fn act(&self, spec: &EffectSpec, _under: Authority) -> Acted {
        Acted::Unknown(EffectError(format!("{} is not received yet", spec.effect.label())))
    }
}
