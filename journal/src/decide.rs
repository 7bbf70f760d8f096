//! The rules. (filled next)
use crate::{command::Command, event::Fact, refusal::Refusal, state::State, time::Timestamp};

/// Decides a command into facts, or refuses it. Total and deterministic.
///
/// # Errors
/// The refusal says which rule, as data.
pub fn decide(_state: &State, _now: Timestamp, _command: &Command) -> Result<Vec<Fact>, Refusal> {
    Err(Refusal::NoPlan)
}
