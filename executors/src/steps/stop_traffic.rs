//! `stop_traffic`: the lever holds the application's traffic. Downtime begins with its intent, which carries the undo.
//!
//! Hours may lie between the rehearsal and this step, a pause or a person's `retry`. So what it showed is looked at once
//! more just before anything is stopped.

use journal::{Effect, Expectation, Finding};

use super::StepContext;

/// A last look, then the stop.
pub(crate) fn plan(ctx: &StepContext<'_>) -> Result<Vec<Effect>, Finding> {
    let limit_ms = u64::try_from(ctx.plan.lag_limit.as_millis()).unwrap_or(u64::MAX);
    Ok(vec![
        Effect::AwaitLag { stream: ctx.stream(ctx.applying()), limit_ms },
        Effect::ObserveTraffic { at: ctx.leaving() },
        Effect::TrialWrite {
            side: ctx.opening(),
            tables: ctx.tables(),
            expect: Expectation::Refused,
            moment: "stop".to_owned(),
        },
        Effect::HoldTraffic { at: ctx.leaving() },
    ])
}
