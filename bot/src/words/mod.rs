//! Every sentence that people read. A reply says what happened, what is next, and who has to do it.

mod card;
pub(crate) mod check;
mod discord;
mod doctor;
mod done;
mod event;
mod groups;
mod help;
mod live;
mod loss;
mod people;
mod plan;
mod platforms;
mod problem;
mod proof;
mod pulls;
mod refusal;
mod status;
#[cfg(test)]
mod tests;
mod told;
mod waiting;

use std::time::Duration;

use journal::{Operation, PhaseName, PhaseStatus, Request, RequestStatus, State, Timestamp, VoidReason};

pub(crate) use card::*;
pub use discord::*;
pub use doctor::{
    doctor, no_answer, side_is_away, stream_is_down, way_back, way_back_not_needed, way_back_unknown,
    way_back_unread, wrong,
};
pub use done::done;
pub use event::Narrator;
pub(crate) use event::{because, stream_health};
pub(crate) use groups::{asked_again, called_roles, group, holder};
pub use groups::{groups_elsewhere, groups_unread};
pub use help::{about, overview, summary};
pub use live::{
    lever_elsewhere, live, live_count, live_problem, no_place, not_checked, of_phase, plan_begun,
    plan_not_written, plan_written,
};
pub use loss::quarantine;
pub(crate) use loss::{loss, loss_remedy, unconfirmed};
pub use people::{people, people_odd};
pub use plan::{
    Revision, adopted, adoption, checked, diff as plan_diff, full as plan_shown, in_the_way,
    next as plan_next, problems, warnings,
};
pub use platforms::*;
pub use problem::problem;
pub use proof::{
    BEHIND, CONTRADICTED, audit_proven, bad_key_name, bad_verifier_key, checked as journal_checked,
    checkpoint_line, journal_is_behind, key_not_written, new_key, no_key, no_signing_key, no_witness,
    nothing_witnessed, publisher_refuses, witness_failed,
};
pub use pulls::*;
pub use refusal::{no_phase_in_the_journal, refusal};
pub use status::{next, status};
pub use told::*;
pub use waiting::aloud;
pub(crate) use waiting::{able, begins, broken, glass_told, waiting};

/// What a sentence may need to know of the world.
#[derive(Debug, Clone, Copy)]
pub struct World<'w> {
    /// What the journal says.
    pub state: &'w State,
    /// The journal database's clock.
    pub now: Timestamp,
}

/// A moment, for people: the time alone if it is today.
pub(crate) fn moment(at: Timestamp, now: Timestamp) -> String {
    match (parts(at), parts(now)) {
        (Some((date, time)), Some((today, _))) => {
            let minute: String = time.chars().take(5).collect();
            if date == today { format!("{minute} UTC") } else { format!("{date} {minute} UTC") }
        }
        _ => at.to_string(),
    }
}

/// A moment with its seconds.
pub(crate) fn instant(at: Timestamp) -> String {
    match parts(at) {
        Some((date, time)) => format!("{date} {} UTC", time.chars().take(8).collect::<String>()),
        None => at.to_string(),
    }
}

/// Date and time of a moment, as RFC 3339 writes them.
fn parts(at: Timestamp) -> Option<(String, String)> {
    let text = at.to_string();
    let (date, time) = text.split_once('T')?;
    Some((date.to_owned(), time.to_owned()))
}

/// A length of time, for people.
pub(crate) fn length(of: Duration) -> String {
    let seconds = of.as_secs();
    match seconds {
        0 => format!("{} ms", of.as_millis()),
        1..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// What a person says to an operation that is blocked. One that gives the target up has nowhere to return to.
pub(crate) fn then(phase: &str, operation: &str) -> String {
    if operation == Operation::FailbackTargetLost.word() {
        return format!("/migrate {phase} retry");
    }
    format!("/migrate {phase} retry, or /migrate {phase} abort --reason \"…\"")
}

/// Names in a row.
pub(crate) fn list<T: ToString>(names: impl IntoIterator<Item = T>) -> String {
    let names: Vec<String> = names.into_iter().map(|name| name.to_string()).collect();
    if names.is_empty() { "nobody".to_owned() } else { names.join(", ") }
}

/// Where a phase rests, as a clause.
pub(crate) const fn resting(status: PhaseStatus) -> &'static str {
    match status {
        PhaseStatus::New => "new: nothing of it was moved yet",
        PhaseStatus::Replicating => "replicating: the source is the writer, the target follows",
        PhaseStatus::OnTarget => "on_target: the target is the writer, the source follows",
        PhaseStatus::Completed => "completed: the target is the writer for ever",
        PhaseStatus::Retired => "retired: it was given up, the source is the writer",
        PhaseStatus::Quarantined => "quarantined: the source was opened although the target was lost",
    }
}

/// A phase and what is live of it, as a clause.
pub(crate) fn still(state: &State, phase: &PhaseName) -> String {
    match state.operation(phase) {
        Some(run) => format!("{phase} is in mid-operation ({}, request #{})", run.operation, run.request),
        None => {
            let status = state.phases.get(phase).map_or(PhaseStatus::New, |phase| phase.status);
            format!("{phase} is {}", resting(status))
        }
    }
}

/// Why a request counts no more, as a clause.
pub(crate) fn voided(reason: &VoidReason) -> String {
    match reason {
        VoidReason::Expired => "it expired before it began".to_owned(),
        VoidReason::PlanChanged { plan_hash } => {
            format!(
                "the plan changed (it is {} now), and approvals are for one plan alone",
                plan_hash.short()
            )
        }
        VoidReason::PhaseMoved { status } => format!("the phase has moved on: it is {}", resting(*status)),
        VoidReason::NotBegun { not_after } => {
            format!("it had to begin by {} and did not", instant(*not_after))
        }
        VoidReason::CommitMoved { head } => {
            format!("its pull request's head is {} now, and it was made for another commit", commit(head))
        }
        VoidReason::PullRequestClosed => "its pull request was closed without being merged".to_owned(),
        VoidReason::OtherPlanAtHead => {
            "the plan at its pull request's head is not the adopted one".to_owned()
        }
        VoidReason::RoleLost { person } => {
            format!("{person} asked for it by a group's role, and is not in that group any more")
        }
        VoidReason::Denied { person } => format!("{person} denied it"),
        VoidReason::LossChanged => {
            "the loss that it confirms is not the one known now: the target answers, or more is known of it"
                .to_owned()
        }
        VoidReason::SourceIsBack => {
            "the stream back to the source is not down any more: `complete` ends the move and leaves nothing behind"
                .to_owned()
        }
        VoidReason::Undone => "its operation was undone, which spends the approvals".to_owned(),
    }
}

/// A commit, as people name it.
pub(crate) fn commit(id: &str) -> String {
    id.chars().take(8).collect()
}

/// A request in words: `#41 (cutover of region-a)`.
pub(crate) fn named(request: &Request) -> String {
    format!("#{} ({} of {})", request.position, request.operation, request.phase)
}

/// Where a request stands, as a clause.
pub(crate) fn standing(request: &Request) -> String {
    match &request.status {
        RequestStatus::Open => "it is open".to_owned(),
        RequestStatus::Running => "its operation runs".to_owned(),
        RequestStatus::Consumed => "its approvals are used: the other side's opening has begun".to_owned(),
        RequestStatus::Finished(journal::Outcome::Completed) => "its operation is completed".to_owned(),
        RequestStatus::Finished(journal::Outcome::Undone) => "its operation was undone".to_owned(),
        RequestStatus::Finished(journal::Outcome::Replaced) => {
            format!("its operation gave way to a {}", successor(request.operation))
        }
        RequestStatus::Void(reason) => format!("it is void, because {}", voided(reason)),
    }
}

/// What takes the place of an operation that gives way.
pub(crate) const fn successor(operation: Operation) -> Operation {
    match operation {
        Operation::Complete => Operation::CompleteSourceLost,
        _ => Operation::FailbackTargetLost,
    }
}

/// What can be asked for where a phase rests.
pub(crate) fn possible(status: PhaseStatus) -> Vec<Operation> {
    journal::transitions().iter().filter(|row| row.from == status).map(|row| row.operation).collect()
}

/// The lines that ask for what is possible.
pub(crate) fn possible_lines(phase: &PhaseName, status: PhaseStatus) -> String {
    let lines: Vec<String> = possible(status)
        .into_iter()
        .filter(|operation| {
            !matches!(operation, Operation::FailbackTargetLost | Operation::CompleteSourceLost)
        })
        .map(|operation| format!("`/migrate {phase} {operation}`"))
        .collect();
    if lines.is_empty() { "nothing more".to_owned() } else { lines.join(", ") }
}
