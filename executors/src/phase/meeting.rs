//! Both sides, met as what they are: on which timeline.
//!
//! The race: a side fails over between a look at it and the opening. A connection that is older than the failover says
//! nothing of it, and one that is newer is made by whoever needs it, at any moment. So the newest connection's timeline
//! is held against the journal's before anything else is due, and both sides are met once more just before an opening
//! is intended; what the journal is told of refuses that intent.

use std::time::Duration;

use journal::{CommandBody, Operation, OperationRun, PhaseState, Side, State, Timeline};

use super::{Halt, Work, running};

/// How long both sides may take to be met before an opening.
const MEETING: Duration = Duration::from_secs(2);

impl Work<'_> {
    /// Tells the journal of a side that is on another timeline than it knows. Whether there was one.
    pub(super) async fn tell_timelines(&mut self, state: &State) -> Result<bool, Halt> {
        let Some((side, timeline)) = self.moved(state) else { return Ok(false) };
        tracing::warn!(phase = %self.home.name, %side, %timeline, "came back on another timeline");
        let phase = self.home.name.clone();
        self.append(CommandBody::ReportTimeline { phase, side, timeline }).await?;
        Ok(true)
    }

    /// A side that the newest connection has met on another timeline than the journal knows.
    pub(super) fn moved(&self, state: &State) -> Option<(Side, Timeline)> {
        let phase = state.phases.get(&self.home.name)?;
        Side::ALL.into_iter().find_map(|side| {
            let (known, seen) = (phase.timeline(side)?, self.home.hands.timeline(side)?);
            (known != seen).then_some((side, seen))
        })
    }

    /// Meets both sides just before an opening is intended, so that no connection from before a failover stands for a side
    /// that is another by now. Whether both are what the journal knows.
    pub(super) async fn meets(&mut self, state: &State) -> bool {
        let is_lost = |(_, run): (&PhaseState, &OperationRun)| run.operation == Operation::FailbackTargetLost;
        let sides: &[Side] =
            if running(state, &self.home.name).is_some_and(is_lost) { &[Side::Source] } else { &Side::ALL };
        let met = tokio::time::timeout(MEETING, self.home.hands.meet(sides)).await;
        let cause = match met {
            Ok(Ok(())) => None,
            Ok(Err(cause)) => Some(cause.0),
            Err(_) => Some(format!("no answer within {MEETING:?}")),
        };
        if let Some(cause) = cause {
            self.shared.doing(Some(format!("before the opening: {cause}")));
            let wait = self.away.wait();
            self.wake(wait).await;
            return false;
        }
        self.moved(state).is_none_or(|(side, _)| !sides.contains(&side))
    }
}
