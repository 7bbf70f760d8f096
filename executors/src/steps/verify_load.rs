//! `verify_load`: each table is proven at one place of the forward stream.

use journal::{Effect, Finding};

use super::StepContext;

/// One comparison a table.
pub(crate) fn plan(ctx: &StepContext<'_>) -> Result<Vec<Effect>, Finding> {
    Ok(ctx.verify_tables("load").collect())
}
