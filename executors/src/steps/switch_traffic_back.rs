//! `switch_traffic_back`: streams, sequences, route, gate, resume: the source becomes the writer again.

use journal::{Effect, Finding, Operation, Side, Step};

use super::StepContext;
use super::drain_available::REACH_MS;

/// As a failback ends.
pub(crate) fn plan(ctx: &StepContext<'_>) -> Result<Vec<Effect>, Finding> {
    if ctx.run.operation == Operation::FailbackTargetLost {
        return Ok(beside_a_lost_target(ctx));
    }
    Ok(super::switch_traffic::switch(ctx, Step::SwitchTrafficBack))
}

/// No stream is left to turn. A target that came back meanwhile is closed before the source opens; the opening itself is
/// refused beside an open one that it can read.
fn beside_a_lost_target(ctx: &StepContext<'_>) -> Vec<Effect> {
    let to = Side::Source;
    vec![
        Effect::AdvanceSequences { side: to, tables: ctx.tables(), alone: true },
        Effect::RouteTraffic { to },
        Effect::CloseLost { side: to.other(), patience_ms: REACH_MS / 5, moment: "opening".to_owned() },
        Effect::OpenGate { side: to },
        Effect::ResumeTraffic { to },
    ]
}
