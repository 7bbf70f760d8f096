//! `drain_failback`: the failback stream has applied everything up to a marker. In a failback that is the barrier; in
//! `complete` it proves that the way back was whole when it was given up.

use journal::{Direction, Effect, Finding, Operation, Step};

use super::StepContext;

/// The marker, and its arrival. Who completes beside a way back that has stopped for good gives it up as it is: the
/// marker's place says up to where the source could have come.
pub(crate) fn plan(ctx: &StepContext<'_>) -> Result<Vec<Effect>, Finding> {
    let [emit, arrival] = ctx.marker(Step::DrainFailback, Direction::Failback);
    let gives_up = ctx.run.operation == Operation::Complete
        && ctx.has_stopped(Direction::Failback)
        && !ctx.is_intended(&arrival);
    Ok(if gives_up { vec![emit] } else { vec![emit, arrival] })
}
