//! Beginning an undo; and whether the side that a failback would return to is there.
//!
//! A cutover returns to the source, which had the application's writes a moment ago. A failback returns to the target,
//! which may be the very reason for leaving it: dead, or read-only, or without its disk. There an undo that has begun
//! would try for ever to open it, with nobody able to write. So a failback returns by itself only after the target has
//! answered a write, committed as durably as a gate is; else it goes on holding, and a person decides.

use std::time::Duration;

use journal::{CommandBody, Evidence, OperationRun, Side, State, UndoCause, must_answer, unanswered};

use super::{Halt, Work, running};
use crate::seams::Cause;

/// The longest time that the target is given to answer. The reserve for the undo is the plan's, and half of it is left.
const LONGEST: Duration = Duration::from_secs(5);

/// Between two tries.
const AGAIN: Duration = Duration::from_millis(100);

impl Work<'_> {
    /// Begins the undo that is due, or calls a person.
    pub(super) async fn begin_undo(&mut self, state: &State, cause: &UndoCause) -> Result<(), Halt> {
        let Some((_, run)) = running(state, &self.home.name) else { return Ok(()) };
        let phase = self.home.name.clone();
        let answered = match must_answer(run, cause) {
            None => Evidence::new(),
            // It answered to the executor that opened it from memory.
            Some(side) if self.is_undone() => {
                Evidence::from([(side.to_string(), "opened while the journal was away".to_owned())])
            }
            Some(side) => match self.answers(run, side).await? {
                Ok(answered) => answered,
                Err(why) => return self.block(run.step, unanswered(run, &why.0)).await,
            },
        };
        self.append(CommandBody::BeginUndo { phase, cause: cause.clone(), answered }).await
    }

    /// Whether the side takes a write, within half of the plan's reserve for the undo.
    async fn answers(&mut self, run: &OperationRun, side: Side) -> Result<Result<Evidence, Cause>, Halt> {
        let reserve = run.plan.phase(&self.home.name).map_or(LONGEST, |plan| plan.undo_reserve);
        let limit = (reserve / 2).min(LONGEST);
        self.shared.doing(Some(format!("{}: whether the {side} answers a write", run.step)));
        let (clock, epoch) = (&self.home.clock, self.lease.epoch);
        let began = clock.monotonic();
        loop {
            let left = limit.saturating_sub(clock.monotonic().duration_since(began));
            let asked = tokio::time::timeout(left, self.home.hands.answers(side, epoch)).await;
            let why = match asked {
                Ok(Ok(true)) => {
                    let took = clock.monotonic().duration_since(began).as_millis();
                    return Ok(Ok(Evidence::from([
                        (side.to_string(), "answered a write".to_owned()),
                        ("took_ms".to_owned(), took.to_string()),
                    ])));
                }
                Ok(Ok(false)) => return Err(Halt::Lost),
                Ok(Err(cause)) => cause,
                Err(_) => Cause(format!("no answer within {limit:?}")),
            };
            if clock.monotonic().duration_since(began) + AGAIN >= limit {
                tracing::warn!(phase = %self.home.name, %side, %why, "does not answer a write");
                return Ok(Err(why));
            }
            clock.sleep(AGAIN).await;
        }
    }
}
