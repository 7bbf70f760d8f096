//! The life of a phase as a table that one can read, and the diagram made from it.

use std::fmt::Write as _;

use crate::operation::{Operation, PhaseStatus};

/// From where an operation may begin, and where the phase rests when it is done. Undone, it rests where it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transition {
    /// Where the phase rests before.
    pub from: PhaseStatus,
    /// The operation.
    pub operation: Operation,
    /// Where it rests afterwards.
    pub to: PhaseStatus,
}

/// All of them. What is not here is refused.
#[must_use]
pub const fn transitions() -> &'static [Transition] {
    use Operation as O;
    use PhaseStatus as P;
    const fn row(from: P, operation: O, to: P) -> Transition {
        Transition { from, operation, to }
    }
    const TABLE: &[Transition] = &[
        row(P::New, O::Start, P::Replicating),
        row(P::Replicating, O::Verify, P::Replicating),
        row(P::Replicating, O::Cutover, P::OnTarget),
        row(P::Replicating, O::Retire, P::Retired),
        row(P::Retired, O::Start, P::Replicating),
        row(P::OnTarget, O::Verify, P::OnTarget),
        row(P::OnTarget, O::Failback, P::Replicating),
        row(P::OnTarget, O::FailbackTargetLost, P::Quarantined),
        row(P::Quarantined, O::Retire, P::Retired),
        row(P::OnTarget, O::Complete, P::Completed),
        row(P::OnTarget, O::CompleteSourceLost, P::Completed),
    ];
    TABLE
}

/// The table as a Mermaid state diagram, for `docs/`.
#[must_use]
pub fn diagram() -> String {
    let mut text = String::from("stateDiagram-v2\n    [*] --> new\n");
    for row in transitions() {
        // Writing to a String cannot fail.
        let _written = writeln!(text, "    {} --> {}: {}", row.from, row.to, row.operation);
    }
    let _written = writeln!(text, "    {} --> [*]", PhaseStatus::Completed);
    text
}
