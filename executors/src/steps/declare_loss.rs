//! `declare_loss`: from here on nothing of the target is applied any more, and what was is written down.

use journal::{Direction, Effect, Finding};

use super::StepContext;

/// The failback stream's row goes, on the source: its last checkpoint is the bound of the loss. The slot stays on the
/// target, so that the rest can be read for people should it come back.
pub(crate) fn plan(ctx: &StepContext<'_>) -> Result<Vec<Effect>, Finding> {
    Ok(vec![Effect::DropStream { stream: ctx.stream(Direction::Failback) }])
}
