//! What executors saw of streams, fences and timelines.

use super::people::known_phase;
use crate::command::CommandBody;
use crate::effect::Side;
use crate::event::Fact;
use crate::ids::{PhaseName, Timeline};
use crate::refusal::Refusal;
use crate::state::{Breach, State, StreamState};

/// A stream changed between states that a person would ask about; said again, it is no news.
pub(super) fn stream(state: &State, body: &CommandBody) -> Result<Vec<Fact>, Refusal> {
    let CommandBody::ReportStream { phase, direction, mode, health, seen } = body else {
        return Ok(Vec::new());
    };
    let known = known_phase(state, phase)?.streams.get(direction);
    let is_known = |stream: &StreamState| {
        stream.health.as_ref() == Some(health) && (seen.is_empty() || stream.seen == *seen)
    };
    if known.is_none_or(is_known) {
        return Ok(Vec::new());
    }
    let (health, seen) = (health.clone(), seen.clone());
    Ok(vec![Fact::StreamChanged { direction: *direction, mode: *mode, health, seen }])
}

/// A guard saw changes; the same ones, read again, are no second breach.
pub(super) fn breach(state: &State, body: &CommandBody) -> Result<Vec<Fact>, Refusal> {
    let CommandBody::ReportBreach { phase, direction, table, at, changes } = body else {
        return Ok(Vec::new());
    };
    let known = known_phase(state, phase)?;
    let said = |breach: &Breach| breach.direction == *direction && breach.table == *table && breach.at == *at;
    if known.breaches.iter().any(said) {
        return Ok(Vec::new());
    }
    let changes = changes.to_string();
    Ok(vec![Fact::FenceBreached { direction: *direction, table: table.clone(), at: at.clone(), changes }])
}

/// A side is on another timeline than the one it was last known to be on; said again, it is no news.
pub(super) fn timeline(
    state: &State,
    phase: &PhaseName,
    side: Side,
    timeline: Timeline,
) -> Result<Vec<Fact>, Refusal> {
    match known_phase(state, phase)?.timeline(side) {
        Some(was) if was != timeline => Ok(vec![Fact::TimelineChanged { side, was, timeline }]),
        Some(_) | None => Ok(Vec::new()),
    }
}
