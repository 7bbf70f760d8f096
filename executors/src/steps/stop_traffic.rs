//! `stop_traffic`: the lever holds the application's traffic. Downtime begins with its intent, which carries the undo.
//!
//! Hours may lie between the rehearsal and this step, a pause or a person's `retry`. So what it showed is looked at once
//! more just before anything is stopped.

use journal::{Effect, Expectation, Finding, Operation};

use super::StepContext;

/// A last look, then the stop.
pub(crate) fn plan(ctx: &StepContext<'_>) -> Result<Vec<Effect>, Finding> {
    let refused = Effect::TrialWrite {
        side: ctx.opening(),
        tables: ctx.tables(),
        expect: Expectation::Refused,
        moment: "stop".to_owned(),
    };
    if ctx.run.operation == Operation::FailbackTargetLost {
        // The target is asked nothing, and where the traffic is does not matter: it may be held already.
        return Ok(vec![refused, Effect::HoldTraffic { at: ctx.leaving() }]);
    }
    let limit_ms = u64::try_from(ctx.plan.lag_limit.as_millis()).unwrap_or(u64::MAX);
    Ok(vec![
        Effect::AwaitLag { stream: ctx.stream(ctx.applying()), limit_ms },
        Effect::ObserveTraffic { at: ctx.leaving() },
        refused,
        Effect::HoldTraffic { at: ctx.leaving() },
    ])
}
