//! What stops, holds, routes and resumes application traffic: one file a lever.

pub mod command;
pub mod pgbouncer;

use std::sync::Arc;

use journal::{LeverSettings, MigrationName, PhaseName};
use runtime::{Clock, Scrubber};

use crate::seams::{Cause, Lever};

/// The lever that the plan names for a phase. Nothing is connected or run yet.
///
/// # Errors
/// A secret it needs is not where the plan says.
pub fn lever(
    settings: &LeverSettings,
    migration: &MigrationName,
    phase: &PhaseName,
    scrubber: &Scrubber,
    clock: Arc<dyn Clock>,
) -> Result<Arc<dyn Lever>, Cause> {
    let _unused = (settings, scrubber, clock);
    Err(Cause(format!("the lever of {migration}/{phase} is not built yet")))
}
