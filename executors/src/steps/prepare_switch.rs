//! `prepare_switch`: before the window, all that can wait for strangers, and a rehearsal.
//!
//! Triggers are made here, under a short lock timeout; inside the window only their function is replaced.

use journal::{Effect, Expectation, Finding, Side, Step};

use super::StepContext;

/// An age from which a writing transaction is shown by name before the traffic is stopped, in milliseconds.
const LONG_WRITER_MS: u64 = 1_000;

/// The lag gate, the fence's triggers, both streams proven, a sweep, and a look at lever, gate and writers.
pub(crate) fn plan(ctx: &StepContext<'_>) -> Result<Vec<Effect>, Finding> {
    let (from, to) = (ctx.leaving(), ctx.opening());
    let limit_ms = u64::try_from(ctx.plan.lag_limit.as_millis()).unwrap_or(u64::MAX);
    let mut effects = vec![
        Effect::AwaitLag { stream: ctx.stream(ctx.applying()), limit_ms },
        Effect::InstallFence { side: from, tables: ctx.tables() },
    ];
    effects.extend(ctx.marker(Step::PrepareSwitch, ctx.applying()));
    let proof = ctx.marker(Step::PrepareSwitch, ctx.guarding());
    // Without the stream that would guard there is no way forth again, which is no reason not to go back.
    if to == Side::Target || !ctx.has_stopped(ctx.guarding()) || proof.iter().any(|one| ctx.is_intended(one))
    {
        effects.extend(proof);
    }
    effects.extend(ctx.verify_tables("sweep"));
    effects.push(Effect::ObserveTraffic { at: from });
    effects.push(Effect::TrialWrite {
        side: to,
        tables: ctx.tables(),
        expect: Expectation::Refused,
        moment: "before".to_owned(),
    });
    effects.push(Effect::AwaitQuiet { side: from, tables: ctx.tables(), older_than_ms: LONG_WRITER_MS });
    Ok(effects)
}
