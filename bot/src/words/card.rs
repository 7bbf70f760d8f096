//! An operation's living message, and the calls for a person beside it: the same words in every place.

use std::fmt::Write as _;

use journal::{
    Actor, Finding, Glass, OperationRun, PhaseName, Request, RequestStatus, Step, TableName, Timestamp,
    UndoCause, VoidReason, approvers,
};

use super::{World, because, commit, instant, list, named, successor, voided, waiting};
use crate::board::Stage;

/// What else a card is made of.
#[derive(Debug)]
pub(crate) struct Told {
    /// Where it stands.
    pub(crate) stage: Stage,
    /// The step it is at, and which of how many.
    pub(crate) step: Option<(&'static str, usize, usize)>,
    /// What is being done, for people.
    pub(crate) doing: Option<String>,
}

/// The headline and the whole text of an operation's living message.
pub(crate) fn card(
    world: World<'_>,
    request: &Request,
    run: Option<&OperationRun>,
    told: &Told,
) -> (String, String) {
    let what = named(request);
    let headline = match told.stage {
        Stage::Asking => format!("Request {what} waits for approvals"),
        Stage::Waiting => format!("Request {what} has its approvals"),
        Stage::Running => match told.step {
            Some((step, at, of)) => format!("Request {what} runs: {step}, {at} of {of}"),
            None => format!("Request {what} runs"),
        },
        Stage::Blocked => format!("Request {what} NEEDS A PERSON"),
        Stage::Undoing => format!("Request {what} is being undone"),
        Stage::Completed => format!("Request {what} is completed"),
        Stage::Undone => format!("Request {what} was undone"),
        Stage::Replaced => format!("Request {what} gave way to a {}", successor(request.operation)),
        Stage::Void => format!("Request {what} is void"),
    };
    let mut text = format!("{headline}.\n");
    let _written = writeln!(text, "Asked for by {} at {}.", request.requester, instant(request.requested_at));
    if let Some(reason) = &request.reason {
        let _written = writeln!(text, "“{reason}”");
    }
    if let Some(loss) = &request.confirmed_loss {
        let _written = writeln!(
            text,
            "THE TARGET IS GIVEN UP, at this loss: {loss}. What it acknowledged since is lost."
        );
    }
    let _written = write!(text, "Plan {}", request.plan_hash.short());
    if let Some(bound) = request.bound() {
        let _written = write!(text, ", commit {}", commit(&bound.head));
    }
    text.push_str(".\n");
    if let Some((plan, _)) = &world.state.plan {
        let approved = approvers(plan, request);
        if !approved.is_empty() {
            let _written = writeln!(text, "Approved by {}.", list(approved));
        }
    }
    match &request.status {
        RequestStatus::Open => {
            let _written = writeln!(text, "{}", waiting(world, request));
        }
        RequestStatus::Void(reason) => {
            let _written = writeln!(
                text,
                "It counts no more: {}. To ask anew: /migrate {} {}",
                voided(reason),
                request.phase,
                request.operation
            );
        }
        RequestStatus::Running | RequestStatus::Consumed | RequestStatus::Finished(_) => {}
    }
    if let Some(run) = run {
        running(&mut text, run, told);
    }
    (headline, text.trim_end().to_owned())
}

fn running(text: &mut String, run: &OperationRun, told: &Told) {
    if let Some(finding) = &run.blocked {
        let _written =
            writeln!(text, "{finding}\nThen: {}", super::then(&run.phase.to_string(), run.operation.word()));
    }
    if let Some(undo) = &run.undo {
        let _written = writeln!(text, "Why: {}.", because(&undo.cause));
    }
    if run.paused {
        let _written = writeln!(text, "Paused. To go on: /migrate {} resume", run.phase);
    }
    if let Some(doing) = &told.doing {
        let _written = writeln!(text, "{doing}");
    }
    let done: Vec<&str> = run.finished_steps.iter().map(|step| step.word()).collect();
    if !done.is_empty() {
        let _written = writeln!(text, "Done: {}.", done.join(", "));
    }
    match (&run.stopped, run.opening) {
        (Some((_, undo)), None) if run.undo.is_none() && !run.overtime => {
            let _written = writeln!(
                text,
                "The traffic is stopped since {}. If the other side is not opening by {}, it ends by itself.",
                instant(run.stopped.as_ref().map_or(undo.at, |(at, _)| *at)),
                instant(undo.at)
            );
        }
        (_, Some(_)) => text.push_str("The point of no return is passed.\n"),
        _ => {}
    }
}

/// A step needs a person.
pub(crate) fn called_blocked(request: &Request, finding: &Finding, step: Step) -> String {
    super::ended_blocked(request, finding, step)
}

/// An operation is being undone.
pub(crate) fn called_undo(request: &Request, cause: &UndoCause) -> String {
    format!(
        "Request {} is being undone: {}. `/migrate status {}` shows how far it is.",
        named(request),
        because(cause),
        request.phase
    )
}

/// Somebody broke the glass.
pub(crate) fn called_glass(request: &Request, actor: &Actor, reason: &str) -> String {
    let who = match actor {
        Actor::Person(person) => person.as_str(),
        Actor::Executor(_) | Actor::Operator => "somebody",
    };
    format!(
        "GLASS BROKEN: {who} alone gave request {} its quorum: “{reason}”. Whoever sees a mistake: /migrate deny #{} --reason \
         \"…\". When it is over, another person reviews it: /migrate approve #{1}",
        named(request),
        request.position
    )
}

/// Something passed the fence.
pub(crate) fn called_breach(phase: &PhaseName, table: &TableName, changes: &str) -> String {
    format!(
        "ALARM: {changes} changes of {table} passed the fence of {phase}. The phase is held. Find out who wrote past the \
         fence; /migrate {phase} verify compares both sides; when they are equal: /migrate release {phase}"
    )
}

/// A request counts no more, and nobody said so.
pub(crate) fn called_void(request: &Request, reason: &VoidReason) -> String {
    format!(
        "Request {} is void: {}. Its approvals are spent. To ask anew: /migrate {} {}",
        named(request),
        voided(reason),
        request.phase,
        request.operation
    )
}

/// A request is about to count no more. The moment is named, not how far it is: a notice is said once.
pub(crate) fn called_expires(world: World<'_>, request: &Request, last: Timestamp) -> String {
    format!("Request {} counts until {}. {}", named(request), instant(last), waiting(world, request))
}

/// A scheduled request is about to be due, and lacks approvals.
pub(crate) fn called_due(world: World<'_>, request: &Request, at: Timestamp) -> String {
    let last = request
        .not_after
        .map_or_else(String::new, |last| format!(", and by {} at the latest", instant(last)));
    format!(
        "Request {} is to begin at {}{last}, and lacks approvals. {}",
        named(request),
        instant(at),
        super::waiting::lacking(world, request)
    )
}

/// A review of broken glass is overdue.
pub(crate) fn called_review(request: &Request, glass: &Glass) -> String {
    format!(
        "Request {} ran under broken glass of {} (“{}”), and the review was due at {}. Somebody else: /migrate approve #{}, or \
         /migrate deny #{4} --reason \"…\"",
        named(request),
        glass.person,
        glass.reason,
        instant(glass.review_by),
        request.position
    )
}
