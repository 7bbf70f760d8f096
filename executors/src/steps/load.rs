//! `load`: the slot, the stream's place, and the rows under the slot's snapshot.
//!
//! The forward stream has its row from here on, so that a fill after a crash knows from where to apply; it is left
//! standing until the copy is done.

use journal::{Direction, Effect, Finding, Side, StreamMode};

use super::StepContext;

/// The tables wait for the stream, which waits for the slot's place.
pub(crate) fn plan(ctx: &StepContext<'_>) -> Result<Vec<Effect>, Finding> {
    let slot = ctx.slot(Direction::Forward);
    let mut effects = vec![Effect::CreateSlot { side: Side::Source, slot: slot.clone() }];
    let Some(start) = ctx.start_stream(Direction::Forward, StreamMode::Apply)? else { return Ok(effects) };
    effects.push(start);
    effects.extend(ctx.tables().into_iter().map(|table| Effect::CopyTable { table, slot: slot.clone() }));
    Ok(effects)
}
