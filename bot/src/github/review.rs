//! Reviews. Approving one counts as an approval of the one request that is open in its pull request, requesting changes
//! as a denial, if it is about the very commit that the request is bound to and the request was there before it.
//! Everything else is answered with the line that says what was meant.
//!
//! A person's reviews are read again in their order by GitHub's time, and only the latest decisive one counts: a comment is
//! none, and one that was dismissed or overtaken since says nothing any more.

use journal::{Request, RequestStatus};
use journal_store::Draft;

use super::desk::{At, Desk, Stopped, Word, replied};
use super::receive::review_id;
use super::repository::{Review, moment};
use crate::arrival::Arrival;
use crate::language::{Command, Dialect, read};
use crate::words;

/// What was said of a review when it was submitted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reviewed<'r> {
    /// Its number.
    pub(super) id: u64,
    /// `approved`, `changes_requested`, `commented`.
    pub(super) state: &'r str,
    /// Its text.
    pub(super) text: &'r str,
}

/// What a review says of requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Approves,
    Denies,
}

impl Verdict {
    fn of(state: &str) -> Option<Self> {
        if state.eq_ignore_ascii_case("approved") {
            Some(Self::Approves)
        } else if state.eq_ignore_ascii_case("changes_requested") {
            Some(Self::Denies)
        } else {
            None
        }
    }

    /// Whether a request can still be meant.
    const fn can_mean(self, status: &RequestStatus) -> bool {
        match self {
            Self::Approves => matches!(status, RequestStatus::Open),
            Self::Denies => matches!(status, RequestStatus::Open | RequestStatus::Running),
        }
    }
}

/// Whether a review is its account's latest decisive one.
fn is_latest(reviews: &[Review], this: &Review) -> bool {
    let account = this.user.as_ref().map(|user| user.id);
    let is_decisive = |review: &&Review| {
        let is_dismissed = review.state.eq_ignore_ascii_case("dismissed");
        review.user.as_ref().map(|user| user.id) == account
            && (is_dismissed || Verdict::of(&review.state).is_some())
    };
    let when = |review: &Review| (review.submitted_at.as_deref().and_then(moment), review.id);
    reviews.iter().filter(is_decisive).all(|other| when(other) <= when(this))
}

/// The request that a bare review means, or why none is meant.
fn meant<'s>(candidates: &[&'s Request], review: &Review) -> Result<&'s Request, String> {
    let verb = if Verdict::of(&review.state) == Some(Verdict::Denies) { "deny" } else { "approve" };
    let [request] = candidates else { return Err(words::review_of_several(candidates, verb)) };
    // GitHub's times are whole seconds.
    let before = review
        .submitted_at
        .as_deref()
        .and_then(moment)
        .is_some_and(|at| request.requested_at.millis().div_euclid(1000) <= at.millis().div_euclid(1000));
    if !before {
        return Err(words::review_before(request, verb));
    }
    match (&review.commit_id, request.bound()) {
        (Some(commit), Some(bound)) if *commit == bound.head => Ok(request),
        (_, Some(bound)) => Err(words::review_of_other_commit(request, &bound.head, verb)),
        (_, None) => Err(words::review_of_several(candidates, verb)),
    }
}

impl Desk {
    /// A review was submitted.
    pub(super) async fn reviewed(
        &self,
        arrival: &Arrival,
        submitted: &Reviewed<'_>,
    ) -> Result<Vec<Draft>, Stopped> {
        let Some(at) = At::of(&arrival.place) else { return Ok(Vec::new()) };
        let reviews = self.client.reviews(at.number).await?;
        let Some(review) = reviews.iter().find(|review| review.id == submitted.id) else {
            return Ok(Vec::new());
        };
        let has_commands = !read(submitted.text, Dialect::Markdown).is_empty();
        let is_unchanged = review.body.as_deref().unwrap_or_default() == submitted.text;
        if has_commands && !is_unchanged {
            return Ok(vec![arrival.place.say(words::edits_do_not_count())]);
        }
        let state = self.store.state().await?;
        let verdict = Verdict::of(&review.state)
            .filter(|_| review.state.eq_ignore_ascii_case(submitted.state) && is_latest(&reviews, review));
        let candidates = verdict.map(|verdict| at.requests(&state, |status| verdict.can_mean(status)));
        let is_about_nothing = candidates.as_ref().is_none_or(Vec::is_empty);
        let Some(person) = Self::person(&state, &arrival.account) else {
            // Everybody may review a pull request; only where a request waits do they need to know.
            let text = words::unmapped(journal::plan::Platform::Github, &arrival.name, &arrival.account);
            let replies =
                if is_about_nothing && !has_commands { Vec::new() } else { vec![arrival.place.say(text)] };
            return Ok(replies);
        };
        let mut word = Word {
            person: &person,
            account: &arrival.account,
            place: &arrival.place,
            id: &format!("{}:text", review_id(review.id)),
            text: submitted.text,
            dialect: Dialect::Markdown,
            bound: review.commit_id.as_deref().map(|commit| at.bound(commit)),
        };
        let mut replies = Vec::new();
        if has_commands {
            let reply = self.say(&word).await;
            if reply.code.as_deref() == Some(words::STORE_FAILED) {
                return Err(Stopped::unreachable(reply.text));
            }
            replies.push(replied(&arrival.place, reply));
        }
        let (Some(verdict), Some(candidates)) = (verdict, candidates.filter(|all| !all.is_empty())) else {
            return Ok(replies);
        };
        if names_requests(submitted.text) {
            return Ok(replies);
        }
        let id = format!("{}:{}", review_id(review.id), submitted.state);
        let command = match meant(&candidates, review) {
            Ok(request) => command(verdict, request, submitted.text),
            Err(answer) => {
                replies.push(arrival.place.say(answer));
                return Ok(replies);
            }
        };
        let text = command.to_string();
        (word.id, word.text, word.dialect) = (&id, &text, Dialect::Terminal);
        let reply = self.say(&word).await;
        if reply.code.as_deref() == Some(words::STORE_FAILED) {
            return Err(Stopped::unreachable(reply.text));
        }
        replies.push(replied(&arrival.place, reply));
        Ok(replies)
    }

    /// Whether a review of the journal's still says what it said.
    pub(super) async fn review_stands(&self, number: u64, id: u64) -> Result<bool, Stopped> {
        let reviews = self.client.reviews(number).await?;
        let review = reviews.iter().find(|review| review.id == id);
        Ok(review.is_some_and(|review| Verdict::of(&review.state) == Some(Verdict::Approves)))
    }
}

/// Whether a review's text says itself which requests it means.
fn names_requests(text: &str) -> bool {
    read(text, Dialect::Markdown).iter().any(|heard| {
        matches!(heard.said, Ok(Command::Approve { .. } | Command::Deny { .. } | Command::Revoke { .. }))
    })
}

fn command(verdict: Verdict, request: &Request, text: &str) -> Command {
    let request = request.position;
    match verdict {
        Verdict::Approves => Command::Approve { request, reason: None },
        Verdict::Denies => Command::Deny { request, reason: Some(words::denied_by_review(text)) },
    }
}

impl Stopped {
    fn unreachable(why: String) -> Self {
        Self::Journal(journal_store::StoreError::Unavailable(why))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::github::repository::User;

    fn review(id: u64, account: u64, state: &str, second: u32) -> Review {
        Review {
            id,
            user: Some(User { id: account, login: "x".to_owned(), kind: "User".to_owned() }),
            state: state.to_owned(),
            body: None,
            commit_id: Some("abc".to_owned()),
            submitted_at: Some(format!("2026-11-27T10:00:{second:02}Z")),
        }
    }

    #[test]
    fn case_7_a_comment_changes_nothing_and_the_latest_decisive_review_counts() {
        let approved = review(1, 7, "APPROVED", 1);
        let denied = review(2, 7, "CHANGES_REQUESTED", 2);
        let commented = review(3, 7, "COMMENTED", 3);
        let other = review(4, 8, "APPROVED", 4);
        let all = [approved.clone(), denied.clone(), commented, other];
        assert!(!is_latest(&all, &approved));
        assert!(is_latest(&all, &denied));
        assert!(is_latest(&[approved.clone(), review(3, 7, "COMMENTED", 3)], &approved));
        assert!(!is_latest(&[approved.clone(), review(5, 7, "DISMISSED", 5)], &approved));
    }

    #[test]
    fn a_review_that_names_requests_says_nothing_by_its_state() {
        assert!(names_requests("fine\n/migrate approve #4"));
        assert!(!names_requests("fine\n/migrate status"));
    }
}
