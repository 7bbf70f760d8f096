//! `catch_up`: the stream is applied up to the newest snapshot that the load used. Only from there on is the target one
//! state of the source.

use journal::{Direction, Effect, EffectStatus, Finding};

use super::StepContext;

/// The newest snapshot is in the evidence of the copies.
pub(crate) fn plan(ctx: &StepContext<'_>) -> Result<Vec<Effect>, Finding> {
    let mut newest = None;
    for record in &ctx.run.effects {
        if let (Effect::CopyTable { table, .. }, EffectStatus::Succeeded(evidence)) =
            (&record.effect, &record.status)
        {
            newest = newest.max(Some(super::lsn(evidence, "snapshot_lsn", &format!("the copy of {table}"))?));
        }
    }
    let lsn = newest.ok_or_else(|| Finding {
        code: "SW-0291".to_owned(),
        what: format!("the load of phase {} has no copied table", ctx.phase),
        remedy: "Say `abort`, then begin the operation anew.".to_owned(),
    })?;
    Ok(vec![Effect::AwaitApplied { stream: ctx.stream(Direction::Forward), lsn }])
}
