//! `drain_failback`: the failback stream has applied everything up to a marker. In a failback that is the barrier; in
//! `complete` it proves that the way back was whole when it was given up.

use journal::{Direction, Effect, Finding, Step};

use super::StepContext;

/// The marker, and its arrival.
pub(crate) fn plan(ctx: &StepContext<'_>) -> Result<Vec<Effect>, Finding> {
    Ok(ctx.marker(Step::DrainFailback, Direction::Failback).to_vec())
}
