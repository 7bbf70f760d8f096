//! `clean_up`: what the phase leaves behind is removed.
//!
//! After `complete` the source's gate stays closed and fenced for ever, also where the source is lost and may come back; after `retire` the target has nothing left of the
//! phase: a copy that nothing feeds any more would only wait to be taken for the truth.

use journal::{Direction, Effect, Finding, Operation, Side};

use super::StepContext;
use super::stop_failback::drop_direction;

/// The streams that are left, with `retire` the tables made on the target, and the fence of the side that stays the writer.
pub(crate) fn plan(ctx: &StepContext<'_>) -> Result<Vec<Effect>, Finding> {
    let retire = ctx.run.operation == Operation::Retire;
    if retire && ctx.state.quarantine.as_ref().is_some_and(|quarantine| !quarantine.is_done()) {
        return Ok(on_the_source(ctx));
    }
    if ctx.run.operation == Operation::CompleteSourceLost {
        return Ok(vec![
            Effect::DropStream { stream: ctx.stream(Direction::Forward) },
            Effect::DropOrigin { side: Side::Target, origin: ctx.origin(Direction::Forward) },
            Effect::RemoveFence { side: Side::Target, tables: ctx.tables() },
        ]);
    }
    let mut effects = Vec::new();
    if retire {
        effects.extend(drop_direction(ctx, Direction::Failback));
    }
    effects.extend(drop_direction(ctx, Direction::Forward));
    if retire {
        // As in the undo of a start: what was made for this phase goes with its triggers; only then the fence's function.
        let tables = ctx.tables();
        effects.push(Effect::DropTables { tables: tables.clone() });
        effects.push(Effect::RemoveFence { side: Side::Target, tables });
    }
    let side = if retire { Side::Source } else { Side::Target };
    effects.push(Effect::RemoveFence { side, tables: ctx.tables() });
    Ok(effects)
}

/// Of a phase whose target is lost and did not come back, or whose rest was not read: what is on the source goes. What
/// stays on the target is named by the journal, and nothing waits for it.
fn on_the_source(ctx: &StepContext<'_>) -> Vec<Effect> {
    let side = Side::Source;
    vec![
        Effect::DropSlot { side, slot: ctx.slot(Direction::Forward) },
        Effect::DropPublication { side, publication: ctx.publication(Direction::Forward) },
        Effect::DropOrigin { side, origin: ctx.origin(Direction::Failback) },
        Effect::RemoveFence { side, tables: ctx.tables() },
    ]
}
