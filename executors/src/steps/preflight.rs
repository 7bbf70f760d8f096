//! `preflight`: everything that can be known to fail is found before anything is touched.

use journal::{Effect, Finding};

use super::StepContext;

/// One look at both sides.
pub(crate) fn plan(ctx: &StepContext<'_>) -> Result<Vec<Effect>, Finding> {
    Ok(vec![Effect::Preflight { tables: ctx.tables() }])
}
