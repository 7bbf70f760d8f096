//! `verify_delta`: what changed since the last proof is compared again, while both sides stand still.
//!
//! The guard's marker comes first: a breach of the fence on the side about to open would be among the keys it names.

use journal::{Effect, Finding, Step};

use super::StepContext;

/// The guard brought up to now, then the changed keys.
pub(crate) fn plan(ctx: &StepContext<'_>) -> Result<Vec<Effect>, Finding> {
    let mut effects = ctx.guard_marker(Step::VerifyDelta);
    effects.push(Effect::VerifyChanged { tables: ctx.tables(), stream: ctx.stream(ctx.applying()) });
    Ok(effects)
}
