//! Sentences about pull requests: what their plans are, what their reviews say, what merging them does.

use std::fmt::Write as _;
use std::path::Path;

use journal::{PersonId, Plan, PlanHash, PlanProblem, PlanProblems, Request, State, Timestamp};

use super::{Revision, adoption, checked, commit, instant, named, plan_diff, problems, warnings};

/// The plan's file is not there.
pub const NO_PLAN_AT_HEAD: &str = "SW-0690";
/// The plan's file is another plan.
pub const OTHER_PLAN_AT_HEAD: &str = "SW-0691";
/// The plan's file is no plan.
pub const BAD_PLAN_AT_HEAD: &str = "SW-0692";
/// The pull request was closed.
pub const PULL_DROPPED: &str = "SW-0693";
/// A review that does not say what it means.
pub const REVIEW_UNCLEAR: &str = "SW-0694";
/// A merged plan that was not adopted.
pub const NOT_ADOPTED: &str = "SW-0695";
/// Something that reached the bot too late.
pub const TOO_LATE: &str = "SW-0696";
/// GitHub could not be read.
pub const GITHUB_UNREAD: &str = "SW-0697";

/// How much of a review stands in a denial's reason.
const REASON: usize = 200;

/// The plan's file is not there at the head.
#[must_use]
pub fn no_plan_at_head(path: &str, head: &str) -> String {
    format!(
        "There is no {path} at commit {} of this pull request, so there is no plan to bind a request to, and nothing was \
         done. Say it in a pull request that carries the plan, or name the right file as `plan_path` in the bot's file. \
         ({NO_PLAN_AT_HEAD})",
        commit(head)
    )
}

/// The plan's file cannot be read at the head.
#[must_use]
pub fn plan_unread_at_head(path: &str, head: &str, why: &str) -> String {
    format!(
        "{path} at commit {} cannot be read, so nothing was done: {why}. ({BAD_PLAN_AT_HEAD})",
        commit(head)
    )
}

/// The plan's file is wrong at the head.
#[must_use]
pub fn bad_plan_at_head(path: &str, head: &str) -> String {
    format!(
        "{path} at commit {} is no plan that can be used, so nothing was done. `switchyard plan check {path}` tells what \
         is wrong; so does the comment about the plan in this pull request. ({BAD_PLAN_AT_HEAD})",
        commit(head)
    )
}

/// The plan's file is not the adopted plan at the head.
#[must_use]
pub fn other_plan_at_head(path: &str, head: &str, found: &PlanHash, adopted: &PlanHash) -> String {
    format!(
        "{path} at commit {} is plan {}, and the migration runs by plan {}, so nothing was done: what is approved here \
         must be what runs. Merge this pull request, which adopts its plan, or adopt it with `switchyard plan adopt \
         {path}`; then say it again. ({OTHER_PLAN_AT_HEAD})",
        commit(head),
        found.short(),
        adopted.short()
    )
}

/// The pull request was closed without being merged.
#[must_use]
pub fn pull_dropped() -> String {
    format!(
        "This pull request was closed without being merged, so nothing can be asked for in it, and nothing was done. Open \
         it again, or say it in another one. ({PULL_DROPPED})"
    )
}

/// GitHub could not be read.
#[must_use]
pub fn github_unread(why: &str) -> String {
    format!(
        "GitHub could not be read, so it is not known what this would be bound to, and nothing was done ({why}). Say it \
         again. ({GITHUB_UNREAD})"
    )
}

/// Something that reached the bot hours after it was said.
#[must_use]
pub fn too_late(at: Timestamp) -> String {
    format!(
        "This was said at {} and has reached Switchyard only now, so nothing was done. Say it again if it is still meant. \
         ({TOO_LATE})",
        instant(at)
    )
}

/// The line to paste for a request.
fn paste(request: &Request, verb: &str) -> String {
    let reason = if verb == "deny" { " --reason \"…\"" } else { "" };
    format!("/migrate {verb} #{}{reason}", request.position)
}

/// A review where several requests could be meant.
#[must_use]
pub fn review_of_several(requests: &[&Request], verb: &str) -> String {
    let mut text = format!(
        "More than one request of this pull request could be meant by the review, so it counts for none. Say which \
         ({REVIEW_UNCLEAR}):"
    );
    for request in requests {
        let _written = write!(text, "\n{}: {}", named(request), paste(request, verb));
    }
    text
}

/// A review that was there before its request.
#[must_use]
pub fn review_before(request: &Request, verb: &str) -> String {
    format!(
        "The review was submitted before request {} was made, so it does not count for it. To say so now \
         ({REVIEW_UNCLEAR}):\n{}",
        named(request),
        paste(request, verb)
    )
}

/// A review of another commit.
#[must_use]
pub fn review_of_other_commit(request: &Request, bound: &str, verb: &str) -> String {
    format!(
        "The review is about another commit than {}, to which request {} is bound, so it does not count for it. Look at \
         that commit, then ({REVIEW_UNCLEAR}):\n{}",
        commit(bound),
        named(request),
        paste(request, verb)
    )
}

/// The reason of a denial by review: how the review begins.
#[must_use]
pub fn denied_by_review(text: &str) -> String {
    let first = text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    let plain: String = first
        .chars()
        .map(|c| if matches!(c, '"' | '“' | '”' | '\\') { '\'' } else { c })
        .filter(|c| !c.is_control())
        .take(REASON)
        .collect();
    if plain.is_empty() {
        "changes requested in a review".to_owned()
    } else {
        format!("in a review: {plain}")
    }
}

/// An approval that went with its review.
#[must_use]
pub fn review_dismissed(person: &PersonId, reviewer: &str, by: &str, request: &Request) -> String {
    let who = if reviewer == by {
        format!("{by} dismissed it")
    } else {
        format!("{by} dismissed {reviewer}'s review")
    };
    format!(
        "{person}'s approval of request {} stood in a review that counts no more ({who}), so it does not count either. To \
         approve again: /migrate approve #{}",
        named(request),
        request.position
    )
}

/// An approval whose comment or review was found to be gone.
#[must_use]
pub fn approval_gone(person: &PersonId, request: &Request) -> String {
    format!(
        "What {person} approved request {} with was deleted or dismissed, so that approval does not count any more. To \
         approve again: /migrate approve #{}",
        named(request),
        request.position
    )
}

/// What a press on the button will do, in forty characters.
#[must_use]
pub const fn approve_described() -> &'static str {
    "Counts as your approval"
}

/// What a press on the button will do, in forty characters.
#[must_use]
pub const fn deny_described() -> &'static str {
    "Voids the request"
}

/// A plan in a pull request, and the journal that it is held against.
#[derive(Debug, Clone, Copy)]
pub struct PlanInPull<'p> {
    /// Its file.
    pub file: &'p Path,
    /// The file's text.
    pub text: &'p str,
    /// The commit.
    pub head: &'p str,
    /// The plan.
    pub plan: &'p Plan,
    /// What a person should know of it.
    pub warnings: &'p [PlanProblem],
    /// What the journal says.
    pub state: &'p State,
}

/// What a plan in a pull request is, and what merging it would change.
#[must_use]
pub fn plan_in_pull(pull: &PlanInPull<'_>) -> String {
    let mut text = format!("{}\nAt commit {}.\n", checked(pull.file, pull.plan), commit(pull.head));
    if !pull.warnings.is_empty() {
        let _written = writeln!(text, "\n{}", warnings(pull.file, pull.text, pull.warnings));
    }
    let names: Vec<String> = pull.plan.phases.iter().map(|phase| phase.name.to_string()).collect();
    let _written = writeln!(text, "Phases: {}.\n", names.join(", "));
    match &pull.state.plan {
        Some((adopted, hash)) if *hash != pull.plan.hash() => {
            let new = format!("{} at {}", pull.file.display(), commit(pull.head));
            let revision =
                Revision { old: (Path::new("the adopted plan"), adopted), new: (Path::new(&new), pull.plan) };
            let _written = writeln!(text, "{}\n\n{}", plan_diff(revision), adoption(revision, pull.state));
            text.push_str("\nMerging this pull request adopts it, in the name of whoever merges.");
        }
        Some(_) => text.push_str(
            "It means the same as the plan that the migration runs by: what is asked for here is bound to it.",
        ),
        None => text.push_str("The migration has no plan yet; `switchyard serve` adopts its first."),
    }
    text
}

/// A file in a pull request that is no plan.
#[must_use]
pub fn bad_plan_in_pull(file: &Path, text: &str, head: &str, wrong: &PlanProblems) -> String {
    format!(
        "{}\nAt commit {}. Merging it would adopt nothing, and nothing can be asked for in this pull request. \
         ({BAD_PLAN_AT_HEAD})",
        problems(file, text, wrong),
        commit(head)
    )
}

/// A pull request that takes the plan's file away.
#[must_use]
pub fn plan_removed(path: &str) -> String {
    format!(
        "This pull request takes {path} away. Merging it changes nothing: the migration keeps the plan that it has."
    )
}

/// A plan that was merged and is the current one.
#[must_use]
pub fn merged_and_adopted(login: &str, hash: &PlanHash) -> String {
    format!(
        "Merged by {login}: plan {} is the one that the migration runs by. Give the merged file to the machines that run \
         `switchyard serve`: they go on under it, and need it at their next start.",
        hash.short()
    )
}

/// A plan that was merged by somebody whom the adopted plan does not name.
#[must_use]
pub fn merged_by_nobody(login: &str, account: &str) -> String {
    format!(
        "Merged by {login}, but not adopted: the plan that the migration runs by names no person with this GitHub account \
         ({account}). An operator adopts it with `switchyard plan adopt FILE`. ({NOT_ADOPTED})"
    )
}

/// A plan that was merged and refused.
#[must_use]
pub fn merged_not_adopted(login: &str, why: &str) -> String {
    format!(
        "Merged by {login}, but not adopted: {why}\nWhen that is settled, an operator adopts it with `switchyard plan \
         adopt FILE`. ({NOT_ADOPTED})"
    )
}
