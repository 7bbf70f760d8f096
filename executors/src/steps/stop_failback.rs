//! `stop_failback`: the way back is given up: its stream first, so that nothing reads the slot when it goes.

use journal::{Direction, Effect, Finding, Operation, Side};

use super::StepContext;

/// The failback stream and all that served it alone; beside a source that is lost, what of it is on the target.
pub(crate) fn plan(ctx: &StepContext<'_>) -> Result<Vec<Effect>, Finding> {
    if ctx.run.operation == Operation::CompleteSourceLost {
        let (side, direction) = (Side::Target, Direction::Failback);
        return Ok(vec![
            Effect::DropSlot { side, slot: ctx.slot(direction) },
            Effect::DropPublication { side, publication: ctx.publication(direction) },
        ]);
    }
    Ok(drop_direction(ctx, Direction::Failback))
}

/// A direction's stream, slot, publication and origin, in the order in which nothing is dropped under a reader.
pub(crate) fn drop_direction(ctx: &StepContext<'_>, direction: Direction) -> Vec<Effect> {
    let (reads, writes) = (direction.from(), direction.to());
    vec![
        Effect::DropStream { stream: ctx.stream(direction) },
        Effect::DropSlot { side: reads, slot: ctx.slot(direction) },
        Effect::DropPublication { side: reads, publication: ctx.publication(direction) },
        Effect::DropOrigin { side: writes, origin: ctx.origin(direction) },
    ]
}
