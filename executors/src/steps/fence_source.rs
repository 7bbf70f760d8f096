//! `fence_source`: the source refuses the application's writes, and whoever was writing is gone.

use journal::{Effect, Finding, Side};

use super::StepContext;

/// As a cutover leaves the source.
pub(crate) fn plan(ctx: &StepContext<'_>) -> Result<Vec<Effect>, Finding> {
    Ok(fence(ctx, Side::Source))
}

/// Closed means: the gate's commit has returned, and every writer that was open then is gone.
pub(crate) fn fence(ctx: &StepContext<'_>, side: Side) -> Vec<Effect> {
    vec![
        Effect::CloseGate { side },
        Effect::AwaitWriters {
            side,
            tables: ctx.tables(),
            patience_ms: u64::try_from(ctx.plan.fence_patience.as_millis()).unwrap_or(u64::MAX),
            terminate: ctx.plan.terminate_blockers,
        },
    ]
}
