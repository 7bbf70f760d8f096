//! `fence_target`: the target refuses the application's writes, and whoever was writing is gone.

use journal::{Effect, Finding, Side};

use super::StepContext;

/// As a failback leaves the target.
pub(crate) fn plan(ctx: &StepContext<'_>) -> Result<Vec<Effect>, Finding> {
    Ok(super::fence_source::fence(ctx, Side::Target))
}
