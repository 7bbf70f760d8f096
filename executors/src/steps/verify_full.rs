//! `verify_full`: the whole phase is compared, beside replication.

use journal::{Effect, Finding};

use super::StepContext;

/// One comparison a table.
pub(crate) fn plan(ctx: &StepContext<'_>) -> Result<Vec<Effect>, Finding> {
    Ok(ctx.verify_tables("full").collect())
}
