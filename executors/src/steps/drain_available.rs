//! `drain_available`: what can still be had of a target that is given up.
//!
//! If it can be reached at all its gate is closed first, so that nothing is added to what is drained. Then the failback
//! stream has a bounded time to bring what is there. Neither waits for a target that does not answer.

use journal::{Direction, Effect, Finding, Side, StreamMode};

use super::StepContext;

/// How long a target that does not answer is tried to be reached, in milliseconds: a restart takes less, and while it is
/// tried nobody can write.
pub(crate) const REACH_MS: u64 = 5_000;

/// The gate, then the stream.
pub(crate) fn plan(ctx: &StepContext<'_>) -> Result<Vec<Effect>, Finding> {
    let stream = ctx.stream(Direction::Failback);
    let mut effects =
        vec![Effect::CloseLost { side: Side::Target, patience_ms: REACH_MS, moment: "drain".to_owned() }];
    // A failback that this takes the place of may have turned it to guarding already. Its row is on the source.
    let guards =
        ctx.state.streams.get(&Direction::Failback).is_some_and(|stream| stream.mode == StreamMode::Guard);
    if guards {
        effects.push(Effect::SetStreamMode { stream: stream.clone(), mode: StreamMode::Apply });
    }
    effects.push(Effect::DrainAvailable {
        stream,
        tables: ctx.tables(),
        patience_ms: u64::try_from(ctx.plan.max_downtime.as_millis()).unwrap_or(u64::MAX),
    });
    Ok(effects)
}
