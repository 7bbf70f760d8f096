//! `replicate`: the failback stream is made and stands guard; both streams are proven by a marker.

use journal::{Direction, Effect, Finding, Side, Step, StreamMode};

use super::StepContext;

/// The forward stream runs already; the other way needs its publication before its slot.
pub(crate) fn plan(ctx: &StepContext<'_>) -> Result<Vec<Effect>, Finding> {
    let (side, back) = (Side::Target, Direction::Failback);
    let mut effects = vec![
        Effect::CreatePublication { side, publication: ctx.publication(back), tables: ctx.tables() },
        Effect::CreateSlot { side, slot: ctx.slot(back) },
    ];
    let Some(start) = ctx.start_stream(back, StreamMode::Guard)? else { return Ok(effects) };
    effects.push(start);
    effects.extend(ctx.marker(Step::Replicate, Direction::Forward));
    effects.extend(ctx.marker(Step::Replicate, back));
    Ok(effects)
}
