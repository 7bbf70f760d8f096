//! What a phase's executor should do next.

use crate::ids::{EffectId, PhaseName, Position};
use crate::operation::Step;
use crate::state::{Finding, State, UndoCause};
use crate::time::Timestamp;

/// What should happen next in a phase. The loop does it and asks again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Due {
    /// Nothing, until an event or a person changes that.
    Idle,
    /// Nothing until a person says `retry` or `abort`.
    Blocked(Finding),
    /// Nothing until a person says `resume`.
    Paused,
    /// Append `VoidStale`: a request has expired or its binding has changed.
    VoidStale,
    /// Append `Begin` for this request: it has its quorum.
    Begin(Position),
    /// Append `BeginUndo`.
    BeginUndo(UndoCause),
    /// Ask the engine for this step's effects; intend the first that has not succeeded, or finish the step.
    Plan(Step),
    /// Take this intended effect through probe, act, probe, outcome.
    Effect(EffectId),
}

/// What is due in a phase. `now` is the journal database's clock.
#[must_use]
pub fn due(_state: &State, _phase: &PhaseName, _now: Timestamp) -> Due {
    Due::Idle
}
