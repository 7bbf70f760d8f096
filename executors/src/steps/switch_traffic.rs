//! `switch_traffic`: streams, sequences, route, gate, resume: the target becomes the writer.
//!
//! The order is the safety. The failback stream applies, proven by a marker, before the gate opens, so no write on the
//! target is unseen by it. The lever is repointed while it holds and seen at its new place before the gate opens, so no
//! write is lost between. Only the resume follows the opening.

use journal::{Effect, Finding, Step, StreamMode};

use super::StepContext;

/// As a cutover ends.
pub(crate) fn plan(ctx: &StepContext<'_>) -> Result<Vec<Effect>, Finding> {
    Ok(switch(ctx, Step::SwitchTraffic))
}

/// The switch to the side about to open.
pub(crate) fn switch(ctx: &StepContext<'_>, step: Step) -> Vec<Effect> {
    let to = ctx.opening();
    let mut effects = vec![
        Effect::SetStreamMode { stream: ctx.stream(ctx.applying()), mode: StreamMode::Guard },
        Effect::SetStreamMode { stream: ctx.stream(ctx.guarding()), mode: StreamMode::Apply },
    ];
    effects.extend(ctx.guard_marker(step));
    effects.extend(ctx.marker(step, ctx.applying()));
    effects.extend([
        Effect::AdvanceSequences { side: to, tables: ctx.tables(), alone: false },
        Effect::RouteTraffic { to },
        Effect::OpenGate { side: to },
        Effect::ResumeTraffic { to },
    ]);
    effects
}
