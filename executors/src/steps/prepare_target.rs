//! `prepare_target`: our schema, the gate (closed), tables and keys, the fence, and the origin that the load and the
//! forward stream write under.
//!
//! The gate is closed and proven so before the first row arrives: from here on, for ever, at most one side accepts the
//! application's writes.

use journal::{Direction, Effect, Expectation, Finding, GateMode, Side};

use super::StepContext;

/// The tables come from what was just seen on the source. A repeat intends what was seen the first time: an effect that
/// was written down is not planned anew because a column was added since.
pub(crate) fn plan(ctx: &StepContext<'_>) -> Result<Vec<Effect>, Finding> {
    let side = Side::Target;
    let intended = ctx.run.effects.iter().rev().find_map(|record| match &record.effect {
        effect @ Effect::CreateTables { .. } => Some(effect.clone()),
        _ => None,
    });
    let create = intended.unwrap_or_else(|| Effect::CreateTables { tables: ctx.seen.tables.clone() });
    Ok(vec![
        Effect::InstallHome { side, mode: GateMode::Closed },
        create,
        Effect::InstallFence { side, tables: ctx.tables() },
        Effect::TrialWrite {
            side,
            tables: ctx.tables(),
            expect: Expectation::Refused,
            moment: "after".to_owned(),
        },
        Effect::CreateOrigin { side, origin: ctx.origin(Direction::Forward) },
    ])
}
