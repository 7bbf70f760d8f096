//! The rules: a command becomes facts, or is refused. Total and deterministic.
#![deny(clippy::wildcard_enum_match_arm)]

mod binding;
mod effects;
mod glass;
mod loss;
mod opening;
mod operations;
mod people;
mod plans;
mod reports;
mod requests;
mod witness;
mod words;

pub(crate) use effects::gives_up;
use effects::{Intent, conclude, intend};
use glass::{Broken, break_glass};
use operations::{abort, begin_undo, block, finish_step, hold, pause, release, resume, retry};
use people::{executor, known_phase, running, with_role};
use plans::adopt_plan;
use requests::{Asked, begin, request, void_stale};
use words::{approve, deny, revoke};

use crate::command::{Command, CommandBody};
use crate::event::Fact;
use crate::plan::Role;
use crate::refusal::Refusal;
use crate::state::State;
use crate::time::Timestamp;

/// Decides a command into facts, or refuses it.
///
/// # Errors
/// The refusal says which rule, as data.
pub fn decide(state: &State, now: Timestamp, command: &Command) -> Result<Vec<Fact>, Refusal> {
    match &command.body {
        CommandBody::AdoptPlan { text, authors } => adopt_plan(state, command, text, authors),
        CommandBody::Request { phase, operation, options } => {
            with_role(state, command, Role::Operator)?;
            let origin = command.origin.as_ref();
            request(state, now, &Asked { phase, operation: *operation, options, origin })
        }
        CommandBody::Approve { request, reason } => approve(state, now, command, (*request, reason.as_ref())),
        CommandBody::Deny { request, reason } => deny(state, command, *request, reason),
        CommandBody::BreakGlass { request, reason } => {
            break_glass(state, now, command, &Broken { request: *request, reason })
        }
        CommandBody::Revoke { request } => revoke(state, &command.actor, *request),
        CommandBody::Abort { phase, reason } => {
            with_role(state, command, Role::Operator)?;
            abort(state, phase, reason)
        }
        CommandBody::Pause { phase } => {
            with_role(state, command, Role::Operator)?;
            pause(running(state, phase)?)
        }
        CommandBody::Resume { phase } => {
            with_role(state, command, Role::Operator)?;
            resume(running(state, phase)?)
        }
        CommandBody::Retry { phase } => {
            with_role(state, command, Role::Operator)?;
            retry(running(state, phase)?)
        }
        CommandBody::Hold { phase, reason } => {
            with_role(state, command, Role::Operator)?;
            hold(state, phase.as_ref(), reason)
        }
        CommandBody::Release { phase } => {
            with_role(state, command, Role::Operator)?;
            release(state, phase.as_ref())
        }
        CommandBody::TakeLease { phase, epoch, holder } => {
            executor(&command.actor)?;
            let newest = known_phase(state, phase)?.epoch;
            if *epoch <= newest {
                return Err(Refusal::OldEpoch { given: *epoch, newest });
            }
            Ok(vec![Fact::LeaseTaken { epoch: *epoch, holder: holder.clone() }])
        }
        CommandBody::ReportBinding { request, seen } => {
            binding::seen(state, now, &command.actor, (*request, seen))
        }
        CommandBody::ReportRoles { request, lost } => {
            binding::roles(state, now, &command.actor, (*request, lost))
        }
        CommandBody::ReportCheckpoint { .. } => witness::left(state, &command.actor, &command.body),
        CommandBody::Begin { .. }
        | CommandBody::VoidStale { .. }
        | CommandBody::Intend { .. }
        | CommandBody::Conclude { .. }
        | CommandBody::FinishStep { .. }
        | CommandBody::Block { .. }
        | CommandBody::BeginUndo { .. }
        | CommandBody::ReportStream { .. }
        | CommandBody::ReportBreach { .. }
        | CommandBody::ReportTimeline { .. }
        | CommandBody::ReportQuarantine { .. } => {
            executor(&command.actor)?;
            execute(state, now, &command.body)
        }
    }
}

/// What executors ask. They come with a claim on the phase, which the store has checked.
fn execute(state: &State, now: Timestamp, body: &CommandBody) -> Result<Vec<Fact>, Refusal> {
    match body {
        CommandBody::Begin { phase, request } => begin(state, now, phase, *request),
        CommandBody::VoidStale { phase } => Ok(void_stale(state, now, phase)),
        CommandBody::Intend { phase, step, effect, undo } => {
            let run = running(state, phase)?;
            intend(state, now, run, &Intent { phase, step: *step, effect, undo })
        }
        CommandBody::Conclude { phase, effect, outcome } => {
            conclude(running(state, phase)?, *effect, outcome)
        }
        CommandBody::FinishStep { phase, step } => finish_step(state, running(state, phase)?, *step),
        CommandBody::Block { phase, step, finding } => block(running(state, phase)?, *step, finding),
        CommandBody::BeginUndo { phase, cause, answered } => {
            begin_undo(now, running(state, phase)?, cause, answered)
        }
        CommandBody::ReportStream { .. } => reports::stream(state, body),
        CommandBody::ReportBreach { .. } => reports::breach(state, body),
        CommandBody::ReportTimeline { phase, side, timeline } => {
            reports::timeline(state, phase, *side, *timeline)
        }
        CommandBody::ReportQuarantine { phase, loss, found } => loss::found(state, phase, (*loss, found)),
        CommandBody::AdoptPlan { .. }
        | CommandBody::Request { .. }
        | CommandBody::Approve { .. }
        | CommandBody::Deny { .. }
        | CommandBody::BreakGlass { .. }
        | CommandBody::Revoke { .. }
        | CommandBody::Abort { .. }
        | CommandBody::Pause { .. }
        | CommandBody::Resume { .. }
        | CommandBody::Retry { .. }
        | CommandBody::Hold { .. }
        | CommandBody::Release { .. }
        | CommandBody::TakeLease { .. }
        | CommandBody::ReportBinding { .. }
        | CommandBody::ReportRoles { .. }
        | CommandBody::ReportCheckpoint { .. } => Err(Refusal::NotAPerson),
    }
}
