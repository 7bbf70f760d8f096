//! `switch_traffic_back`: streams, sequences, route, gate, resume: the source becomes the writer again.

use journal::{Effect, Finding, Step};

use super::StepContext;

/// As a failback ends.
pub(crate) fn plan(ctx: &StepContext<'_>) -> Result<Vec<Effect>, Finding> {
    Ok(super::switch_traffic::switch(ctx, Step::SwitchTrafficBack))
}
