//! From a webhook's body to what was said.

use journal::plan::Platform;
use journal_store::Letter;
use serde::Deserialize;

use super::event::Event;
use super::repository::User;
use super::send::Shown;
use crate::arrival::{Arrival, Place, Said, Word};
use crate::language::{Dialect, read};

/// What a delivery is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Arrived {
    /// Something to answer, or to look at.
    Letter(Box<Letter>),
    /// Part of the life cycle: `ping`, `installation`.
    Known,
    /// Nothing that concerns the bot.
    Nothing,
    /// It cannot be read.
    Malformed,
}

/// What every delivery of use has.
#[derive(Deserialize)]
struct About {
    action: String,
    repository: Repository,
    sender: User,
}

#[derive(Deserialize)]
struct Repository {
    full_name: String,
}

#[derive(Deserialize)]
struct IssueComment {
    issue: Issue,
    comment: Comment,
    changes: Option<Changes>,
}

#[derive(Deserialize)]
struct Issue {
    number: u64,
    /// There if the issue is a pull request.
    pull_request: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
struct DiffComment {
    pull_request: Pull,
    comment: Comment,
    changes: Option<Changes>,
}

#[derive(Deserialize)]
struct Comment {
    id: u64,
    body: Option<String>,
    /// None: the account was deleted.
    user: Option<User>,
}

#[derive(Deserialize)]
struct Reviewed {
    pull_request: Pull,
    review: Review,
    changes: Option<Changes>,
}

#[derive(Deserialize)]
struct Review {
    id: u64,
    state: String,
    body: Option<String>,
    /// None: the account was deleted.
    user: Option<User>,
}

#[derive(Deserialize)]
struct Changed {
    pull_request: Pull,
    changes: Option<Changes>,
}

#[derive(Deserialize)]
struct Changes {
    base: Option<serde::de::IgnoredAny>,
    body: Option<Before>,
}

/// What an edit took the place of.
#[derive(Deserialize)]
struct Before {
    from: Option<String>,
}

/// Whether an edit concerns a command: one stands in the text now, or stood there before. An edit that left the text as it
/// was, which GitHub tells of too, is none.
fn is_edit(changes: Option<&Changes>, text: &str) -> bool {
    let before = changes.and_then(|changes| changes.body.as_ref()?.from.as_deref());
    before != Some(text) && (has_commands(text) || before.is_some_and(has_commands))
}

#[derive(Deserialize)]
struct Pull {
    number: u64,
    updated_at: Option<String>,
    #[serde(default)]
    merged: bool,
    merge_commit_sha: Option<String>,
    head: Head,
}

#[derive(Deserialize)]
struct Head {
    sha: String,
}

#[derive(Deserialize)]
struct Pressed {
    check_run: Check,
    requested_action: Option<Action>,
}

#[derive(Deserialize)]
struct Check {
    id: u64,
    external_id: Option<String>,
}

#[derive(Deserialize)]
struct Action {
    identifier: String,
}

/// One delivery.
struct Delivery<'d> {
    guid: &'d str,
    body: &'d [u8],
    about: About,
}

/// Reads a delivery of the event that its header names, about the configured repository.
#[must_use]
pub fn receive(event: &str, guid: &str, body: &[u8], repository: &str) -> Arrived {
    match event {
        "ping" | "installation" | "installation_repositories" => return Arrived::Known,
        "issue_comment"
        | "pull_request_review_comment"
        | "pull_request_review"
        | "pull_request"
        | "check_run" => {}
        _ => return Arrived::Nothing,
    }
    let Ok(about) = serde_json::from_slice::<About>(body) else { return Arrived::Malformed };
    if !about.repository.full_name.eq_ignore_ascii_case(repository) {
        tracing::info!(
            of = ?about.repository.full_name,
            configured = repository,
            "a delivery about another repository; if it was renamed or transferred, so must it be in the bot's file"
        );
        return Arrived::Nothing;
    }
    let delivery = Delivery { guid, body, about };
    let read = match event {
        "issue_comment" => delivery.issue_comment(),
        "pull_request_review_comment" => delivery.diff_comment(),
        "pull_request_review" => delivery.review(),
        "pull_request" => delivery.pull(),
        _ => delivery.press(),
    };
    read.unwrap_or(Arrived::Malformed)
}

/// What GitHub calls an account that is gone.
pub(super) const GHOST: &str = "ghost";

/// What a comment is called in the journal.
#[must_use]
pub(super) fn comment_id(id: u64, is_on_diff: bool) -> String {
    if is_on_diff { format!("github:diff_comment:{id}") } else { format!("github:comment:{id}") }
}

/// What a merge is called in the journal.
#[must_use]
pub(super) fn merge_id(number: u64, commit: &str) -> String {
    format!("github:merge:{number}:{commit}")
}

/// What a review is called in the journal.
#[must_use]
pub(super) fn review_id(id: u64) -> String {
    format!("github:review:{id}")
}

fn parsed<'d, T: Deserialize<'d>>(body: &'d [u8]) -> Option<T> {
    serde_json::from_slice(body).ok()
}

/// Whether commands stand in a text, right or wrong ones.
pub(super) fn has_commands(text: &str) -> bool {
    !read(text, Dialect::Markdown).is_empty()
}

impl Delivery<'_> {
    fn letter(&self, number: u64, meaning: &str, said: Said) -> Arrived {
        let sender = &self.about.sender;
        let place = Place::PullRequest { repository: self.about.repository.full_name.clone(), number };
        let arrival = Arrival { account: sender.id.to_string(), name: sender.login.clone(), place, said };
        match arrival.letter(Platform::Github, Some(self.guid), meaning) {
            Some(letter) => Arrived::Letter(Box::new(letter)),
            None => Arrived::Malformed,
        }
    }

    fn issue_comment(&self) -> Option<Arrived> {
        let IssueComment { issue, comment, changes } = parsed(self.body)?;
        if issue.pull_request.is_none() {
            return Some(Arrived::Nothing);
        }
        Some(self.comment(issue.number, comment, (false, changes.as_ref())))
    }

    fn diff_comment(&self) -> Option<Arrived> {
        let DiffComment { pull_request, comment, changes } = parsed(self.body)?;
        Some(self.comment(pull_request.number, comment, (true, changes.as_ref())))
    }

    fn comment(
        &self,
        number: u64,
        comment: Comment,
        (is_on_diff, changes): (bool, Option<&Changes>),
    ) -> Arrived {
        let text = comment.body.unwrap_or_default();
        let id = comment_id(comment.id, is_on_diff);
        let by = &self.about.sender;
        // What it says by now tells nothing of what was said in it, nor does whose it was: the account may be gone, too.
        if self.about.action == "deleted" && comment.user.as_ref().is_none_or(User::is_human) {
            let said = Said::Deleted { meaning: id.clone(), by: by.id.to_string() };
            return self.letter(number, &format!("{id}:deleted"), said);
        }
        // People alone are heard: no App, no bot, not this one's own comments, not an account that is gone.
        let Some(author) = comment.user.filter(User::is_human) else { return Arrived::Nothing };
        match self.about.action.as_str() {
            "created" if by.id == author.id && has_commands(&text) => {
                self.letter(number, &id, Said::Text { text })
            }
            "edited" if by.is_human() && is_edit(changes, &text) => {
                self.letter(number, &format!("{id}:edited"), Said::Edited)
            }
            _ => Arrived::Nothing,
        }
    }

    fn review(&self) -> Option<Arrived> {
        let Reviewed { pull_request, review, changes } = parsed(self.body)?;
        let id = review_id(review.id);
        if self.about.action == "dismissed" && review.user.as_ref().is_none_or(User::is_human) {
            let reviewer = review.user.map_or_else(|| GHOST.to_owned(), |user| user.login);
            let said = Said::Github(Event::Dismissed { id: review.id, reviewer });
            return Some(self.letter(pull_request.number, &format!("{id}:dismissed"), said));
        }
        let Some(reviewer) = review.user.filter(User::is_human) else { return Some(Arrived::Nothing) };
        let text = review.body.unwrap_or_default();
        let by = &self.about.sender;
        let number = pull_request.number;
        Some(match self.about.action.as_str() {
            "submitted" if by.id == reviewer.id => {
                // It says nothing by its state alone, and no command stands in it.
                if review.state == "commented" && !has_commands(&text) {
                    return Some(Arrived::Nothing);
                }
                let meaning = format!("{id}:{}", review.state);
                let said = Said::Github(Event::Review { id: review.id, state: review.state, text });
                self.letter(number, &meaning, said)
            }
            "edited" if by.is_human() && is_edit(changes.as_ref(), &text) => {
                self.letter(number, &format!("{id}:edited"), Said::Edited)
            }
            _ => Arrived::Nothing,
        })
    }

    fn pull(&self) -> Option<Arrived> {
        let Changed { pull_request, changes } = parsed(self.body)?;
        let action = self.about.action.as_str();
        let concerns = match action {
            "opened" | "synchronize" | "reopened" | "closed" => true,
            "edited" => changes.is_some_and(|changes| changes.base.is_some()),
            _ => false,
        };
        if !concerns {
            return Some(Arrived::Nothing);
        }
        let Pull { number, updated_at, merged, merge_commit_sha, head } = pull_request;
        if let Some(commit) = merge_commit_sha.filter(|_| merged) {
            return Some(self.letter(number, &merge_id(number, &commit), Said::Github(Event::Merged)));
        }
        let at = updated_at.unwrap_or_default();
        let meaning = format!("github:pull:{number}:{action}:{}:{at}", head.sha);
        Some(self.letter(number, &meaning, Said::Github(Event::Pull)))
    }

    fn press(&self) -> Option<Arrived> {
        let Pressed { check_run, requested_action } = parsed(self.body)?;
        let by = &self.about.sender;
        let is_press = self.about.action == "requested_action" && by.is_human();
        let Some(action) = requested_action.filter(|_| is_press) else { return Some(Arrived::Nothing) };
        let Some((word, request)) = button(&action.identifier) else { return Some(Arrived::Nothing) };
        // What the App itself wrote there when it made the check run; of others' check runs it hears nothing.
        let shown = check_run.external_id.as_deref().and_then(Shown::read);
        let Some(Shown { number, plan, .. }) = shown.filter(|shown| shown.request == request) else {
            return Some(Arrived::Nothing);
        };
        let meaning = format!("github:check:{}:{}:{}", check_run.id, action.identifier, by.id);
        let said = Said::Button { word, request, plan, reason: None };
        Some(self.letter(number, &meaning, said))
    }
}

/// What a button of a check run says: `approve-41`.
fn button(identifier: &str) -> Option<(Word, u64)> {
    let (word, request) = identifier.split_once('-')?;
    let word = match word {
        "approve" => Word::Approve,
        "deny" => Word::Deny,
        _ => return None,
    };
    Some((word, request.parse().ok()?))
}

#[cfg(test)]
#[path = "receive_tests.rs"]
mod tests;
