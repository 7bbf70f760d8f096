//! Which phase an event is about.

use journal::{CommandBody, Fact, PhaseName, Position, State};

/// The phase an event is about: its request's, else its command's, else that of the command's request.
///
/// One command may make facts about several phases: a new plan voids requests of each.
pub fn phase_of(state: &State, command: &CommandBody, fact: &Fact) -> Option<PhaseName> {
    let of = |request: &Position| state.requests.get(request).map(|request| request.phase.clone());
    match fact {
        Fact::PlanAdopted { .. } | Fact::LogCheckpointLeft { .. } | Fact::VersionBarrier { .. } => None,
        Fact::Approved { request, .. }
        | Fact::Denied { request, .. }
        | Fact::Revoked { request }
        | Fact::GlassBroken { request, .. }
        | Fact::GlassReviewed { request, .. }
        | Fact::BindingConfirmed { request, .. }
        | Fact::RolesConfirmed { request, .. }
        | Fact::RequestVoided { request, .. }
        | Fact::OperationStarted { request, .. } => of(request),
        Fact::Requested { .. }
        | Fact::HoldPlaced { .. }
        | Fact::HoldReleased {}
        | Fact::Paused {}
        | Fact::Resumed {}
        | Fact::Retried { .. }
        | Fact::AbortRequested { .. }
        | Fact::LeaseTaken { .. }
        | Fact::EffectIntended { .. }
        | Fact::EffectSucceeded { .. }
        | Fact::EffectFailed { .. }
        | Fact::EffectUnknown { .. }
        | Fact::StepFinished { .. }
        | Fact::StepBlocked { .. }
        | Fact::UndoStarted { .. }
        | Fact::OperationFinished { .. }
        | Fact::StreamChanged { .. }
        | Fact::FenceBreached { .. }
        | Fact::TimelineChanged { .. }
        | Fact::LossDeclared { .. }
        | Fact::QuarantineClosed { .. }
        | Fact::QuarantineRead { .. }
        | Fact::LeftBehind { .. } => match command {
            CommandBody::Approve { request, .. }
            | CommandBody::Deny { request, .. }
            | CommandBody::BreakGlass { request, .. }
            | CommandBody::Revoke { request } => of(request),
            other => other.phase().cloned(),
        },
    }
}
