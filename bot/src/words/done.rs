//! What was done, what is next, and who has to do it.

use journal::{FailbackDeadline, Operation, PersonId, Position, Request, RequestStatus, approvers};

use super::{World, begins, length, named, waiting};
use crate::language::Command;

/// The reply to a command that the journal has taken. `at` is the position of its first event, the number of a request.
#[must_use]
pub fn done(person: &PersonId, command: &Command, at: Position, world: World<'_>) -> String {
    let asked = |number: &Position, tell: &dyn Fn(&Request) -> String| {
        world.state.requests.get(number).map_or_else(|| format!("Request #{number} is noted."), tell)
    };
    match command {
        Command::Request { .. } => asked(&at, &|request| requested(request, world)),
        Command::Approve { request, reason } => {
            asked(request, &|request| approved((person, reason.as_deref()), request, world))
        }
        Command::Deny { request, reason } => asked(request, &|request| {
            let reason = reason.as_deref().unwrap_or_default();
            if request.glass.as_ref().is_some_and(|glass| glass.review.is_some()) {
                return format!(
                    "{person} reviewed the broken glass of request {} and disapproved of it: “{reason}”. What it kept from \
                     beginning may begin again; what was done is not undone by this.",
                    named(request)
                );
            }
            let next = match request.status {
                RequestStatus::Running => {
                    format!("Its operation is being undone: /migrate status {}", request.phase)
                }
                _ => format!(
                    "It is void. To try again, ask anew: /migrate {} {}",
                    request.phase, request.operation
                ),
            };
            format!("{person} denied request {}: “{reason}”. {next}", named(request))
        }),
        Command::BreakGlass { request, .. } => asked(request, &|request| {
            format!(
                "{person} broke the glass for request {}, plan {}. {}\nTo stop it: /migrate deny #{} --reason \"…\"",
                named(request),
                request.plan_hash.short(),
                waiting(world, request),
                request.position
            )
        }),
        Command::Revoke { request } => asked(request, &|request| {
            let next = match request.status {
                RequestStatus::Running => {
                    format!("Its operation is being undone: /migrate status {}", request.phase)
                }
                _ => waiting(world, request),
            };
            format!("{person} took back the approval of request {}. {next}", named(request))
        }),
        Command::Abort { phase, reason } => {
            let what = world.state.operation(phase).map_or_else(
                || "The operation".to_owned(),
                |run| format!("The {} of {phase} (request #{})", run.operation, run.request),
            );
            let reason = reason.as_deref().unwrap_or_default();
            format!("{what} will be undone, newest first: “{reason}”. Follow it: /migrate status {phase}")
        }
        Command::Pause { phase } => {
            let step = world
                .state
                .operation(phase)
                .map_or_else(|| "its step".to_owned(), |run| format!("the step {}", run.step));
            format!(
                "{phase} pauses before its next step; {step} is finished first if it has begun. To go on: /migrate {phase} resume"
            )
        }
        Command::Resume { phase } => format!("{phase} goes on. Follow it: /migrate status {phase}"),
        Command::Retry { phase } => {
            let step = world.state.operation(phase).map_or("step", |run| run.step.word());
            format!("{phase} tries {step} again. Follow it: /migrate status {phase}")
        }
        Command::Hold { phase, reason } => {
            let reason = reason.as_deref().unwrap_or_default();
            match phase {
                Some(phase) => format!(
                    "No new operation begins in {phase}: “{reason}”. What runs goes on. To end the hold: /migrate release {phase}"
                ),
                None => format!(
                    "No new operation begins anywhere: “{reason}”. What runs goes on. To end the hold: /migrate release"
                ),
            }
        }
        Command::Release { phase } => match phase {
            Some(phase) => format!("The hold of {phase} is over. Requests with their approvals begin now."),
            None => "The hold is over. Requests with their approvals begin now.".to_owned(),
        },
        // These append nothing.
        Command::History { .. }
        | Command::Status { .. }
        | Command::Plan { .. }
        | Command::Help { .. }
        | Command::Whoami
        | Command::Audit => String::new(),
    }
}

fn requested(request: &Request, world: World<'_>) -> String {
    let plan = world.state.plan.as_ref().map(|(plan, _)| plan);
    let loss = request.confirmed_loss.as_ref().map_or_else(String::new, |loss| {
        format!("\nThe target is given up, at this loss: {loss}. What it acknowledged since is lost.")
    });
    let downtime = plan
        .and_then(|plan| plan.phase(&request.phase))
        .filter(|_| request.operation.opens().is_some() && request.confirmed_loss.is_none())
        .map(|phase| {
            let holds =
                request.operation == Operation::Failback && phase.failback_deadline == FailbackDeadline::Hold;
            let then =
                if holds { "then a person is called, the traffic held" } else { "or it undoes by itself" };
            format!(" Writes stop for at most {}, {then}.", length(phase.max_downtime))
        })
        .unwrap_or_default();
    let more = if request.status == RequestStatus::Open {
        waiting(world, request)
    } else {
        format!("It runs: /migrate status {}", request.phase)
    };
    format!(
        "Request #{}: {} of {}. {more}\nPlan {}.{downtime}{loss}",
        request.position,
        request.operation,
        request.phase,
        request.plan_hash.short()
    )
}

fn approved((person, reason): (&PersonId, Option<&str>), request: &Request, world: World<'_>) -> String {
    let why = reason.map_or_else(String::new, |reason| format!(" “{reason}”"));
    if let Some(review) = request.glass.as_ref().and_then(|glass| glass.review.as_ref()) {
        return format!(
            "{} reviewed the broken glass of request {} and approved of it. What it kept from beginning may begin again.",
            review.person,
            named(request)
        );
    }
    let plan = world.state.plan.as_ref().map(|(plan, _)| plan);
    let counts = plan.map_or(0, |plan| approvers(plan, request).len());
    let required = plan.map_or(0, |plan| plan.policy(request.operation).required);
    let next = match request.status {
        RequestStatus::Open if counts >= usize::from(required) => {
            format!(
                "{} To stop it: /migrate deny #{} --reason \"…\"",
                begins(world, request),
                request.position
            )
        }
        RequestStatus::Open => waiting(world, request),
        RequestStatus::Running
        | RequestStatus::Consumed
        | RequestStatus::Finished(_)
        | RequestStatus::Void(_) => format!("See: /migrate status {}", request.phase),
    };
    format!(
        "{person} approved request {}, plan {}: {counts} of {required} approvals.{why} {next}",
        named(request),
        request.plan_hash.short()
    )
}
