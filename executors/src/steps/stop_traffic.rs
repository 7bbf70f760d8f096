//! `stop_traffic`: the lever holds the application's traffic. Downtime begins with its intent, which carries the undo.

use journal::{Effect, Finding};

use super::StepContext;

/// One effect.
pub(crate) fn plan(ctx: &StepContext<'_>) -> Result<Vec<Effect>, Finding> {
    Ok(vec![Effect::HoldTraffic { at: ctx.leaving() }])
}
