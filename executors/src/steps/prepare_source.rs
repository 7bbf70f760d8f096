//! `prepare_source`: our schema, the gate (open), the publication, and the origin that failback will write under.

use journal::{Direction, Effect, Finding, GateMode, Side};

use super::StepContext;

/// Nothing here touches the application's tables but the publication that names them.
pub(crate) fn plan(ctx: &StepContext<'_>) -> Result<Vec<Effect>, Finding> {
    let side = Side::Source;
    super::preflight::unshared(ctx, &ctx.tables())?;
    Ok(vec![
        Effect::InstallHome { side, mode: GateMode::Open },
        Effect::CreatePublication {
            side,
            publication: ctx.publication(Direction::Forward),
            tables: ctx.tables(),
        },
        Effect::CreateOrigin { side, origin: ctx.origin(Direction::Failback) },
    ])
}
