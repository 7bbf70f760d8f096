//! `finalize_schema`: indexes, unique constraints, checks and foreign keys, then triggers and row security, once the rows
//! are there.

use journal::{Effect, Finding};

use super::StepContext;

/// What was intended stays intended, first; what the source has besides follows.
pub(crate) fn plan(ctx: &StepContext<'_>) -> Result<Vec<Effect>, Finding> {
    let mut effects: Vec<Effect> = ctx
        .run
        .effects
        .iter()
        .filter(|record| record.step == journal::Step::FinalizeSchema && !super::undo::failed(record))
        .map(|record| record.effect.clone())
        .collect();
    for object in &ctx.seen.objects {
        let known = effects.iter().any(|effect| {
            matches!(effect, Effect::AddSchemaObject { object: other }
                if (&other.table, &other.kind, &other.name) == (&object.table, &object.kind, &object.name))
        });
        if !known {
            effects.push(Effect::AddSchemaObject { object: object.clone() });
        }
    }
    Ok(effects)
}
