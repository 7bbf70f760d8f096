//! What has left the journal.

use crate::command::{Actor, CommandBody};
use crate::event::Fact;
use crate::refusal::Refusal;
use crate::state::{OperationRun, State};
use crate::witnessed::{awaits_witness, unwitnessed};

/// A log checkpoint left the journal. Only one over an uncovered word is news: a fact for each would need a further one.
pub(super) fn left(state: &State, actor: &Actor, body: &CommandBody) -> Result<Vec<Fact>, Refusal> {
    let CommandBody::ReportCheckpoint { size, root, left_to } = body else { return Ok(Vec::new()) };
    match actor {
        Actor::Operator => {}
        Actor::Person(_) | Actor::Executor(_) => return Err(Refusal::NotThePublisher),
    }
    if *size > state.head {
        return Err(Refusal::CheckpointAhead { size: *size, head: state.head });
    }
    if left_to.is_empty() {
        return Err(Refusal::LeftNowhere);
    }
    if let Some(known) = &state.left
        && known.size == *size
        && known.root != *root
    {
        return Err(Refusal::CheckpointDiffers { size: *size });
    }
    if unwitnessed(state).is_none_or(|word| word > *size) {
        return Ok(Vec::new());
    }
    Ok(vec![Fact::LogCheckpointLeft { size: *size, root: *root, left_to: left_to.clone() }])
}

/// Nothing stops for an opening, and nothing opens, before the last word on it has left the journal.
pub(super) fn check_witnessed(state: &State, run: &OperationRun) -> Result<(), Refusal> {
    if awaits_witness(state, run) {
        let lacks = "no log checkpoint over the last word of its approvals has left the journal";
        return Err(Refusal::OpeningUnproven { lacks });
    }
    Ok(())
}
