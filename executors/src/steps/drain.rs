//! `drain`: the forward stream has applied everything up to the barrier, a marker written after the fence.

use journal::{Direction, Effect, Finding, Step};

use super::StepContext;

/// The marker, and its arrival. A quiet stream is never taken for a drained one.
pub(crate) fn plan(ctx: &StepContext<'_>) -> Result<Vec<Effect>, Finding> {
    Ok(ctx.marker(Step::Drain, Direction::Forward).to_vec())
}
