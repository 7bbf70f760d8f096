//! What webhooks did not bring: deliveries that failed are asked for again, and what people wrote since the last look is
//! read from the lists.
//!
//! Both come in under the meaning that the webhook would have had, so that what is known already is a duplicate. Times are
//! GitHub's own: the watermark of a list is the newest time that was seen in it. A bot that is new to a repository begins
//! with the present, and what it would do hours late it does not do: it says so, and people say it again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use journal::plan::Platform;
use journal::{Position, Timestamp};
use journal_store::{Letter, Mailroom, Receipt, StoreError};
use runtime::Clock;
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::{Notify, watch};

use super::client::{Client, Failure, PAGE};
use super::desk::Stopped;
use super::event::Event;
use super::receive::{GHOST, comment_id, has_commands, merge_id, review_id};
use super::repository::{Comment, Pull, Review, User, moment};
use crate::arrival::{Arrival, Place, Said};

/// How long GitHub keeps deliveries.
const KEPT: Duration = Duration::from_secs(3 * 86_400);

/// How far before the watermark a list is read again: a list may show a thing a moment late.
const MARGIN: Duration = Duration::from_secs(60);

/// What was said longer ago than this is not done any more.
const LATE: Duration = Duration::from_secs(3600);

/// How often a delivery is asked for again.
const ATTEMPTS: usize = 4;

/// How many deliveries are asked for again in one sweep.
const AT_ONCE: usize = 50;

/// How many meanings are remembered that the inbox is known to have.
const REMEMBERED: usize = 20_000;

/// A delivery, as the App's list has it.
#[derive(Debug, Deserialize)]
struct Delivered {
    id: u64,
    guid: String,
    delivered_at: String,
    status: String,
    event: String,
}

/// A list with a watermark of its own.
#[derive(Debug, Clone, Copy)]
enum List {
    Comments,
    DiffComments,
    Pulls,
}

impl List {
    /// The name of its watermark: seconds since 1970, which only grow.
    const fn reader(self) -> &'static str {
        match self {
            Self::Comments => "github:comments",
            Self::DiffComments => "github:diff_comments",
            Self::Pulls => "github:pulls",
        }
    }
}

/// Sweeps, again and again.
#[derive(Debug)]
pub struct Sweep {
    /// GitHub.
    pub client: Arc<Client>,
    /// The inbox.
    pub mailroom: Arc<dyn Mailroom>,
    /// Waits.
    pub clock: Arc<dyn Clock>,
    /// Told of each arrival.
    pub arrived: Arc<Notify>,
    /// How often.
    pub every: Duration,
}

/// Seconds since 1970 as a watermark.
fn mark(at: Timestamp) -> Position {
    Position::new(u64::try_from(at.millis().div_euclid(1000)).unwrap_or_default())
}

fn time_of(mark: Position) -> Timestamp {
    Timestamp::from_millis(i64::try_from(mark.get()).unwrap_or_default().saturating_mul(1000))
}

fn before(at: Timestamp, by: Duration) -> Timestamp {
    Timestamp::from_millis(at.millis().saturating_sub(i64::try_from(by.as_millis()).unwrap_or(i64::MAX)))
}

impl Sweep {
    /// Sweeps until it is told to stop.
    pub async fn run(self, mut stop: watch::Receiver<bool>) {
        let mut horizon = KEPT;
        let mut kept = BTreeSet::new();
        while !*stop.borrow() {
            if kept.len() > REMEMBERED {
                kept.clear();
            }
            let wait = match self.once(horizon, &mut kept).await {
                Ok(found) => {
                    if found > 0 {
                        tracing::info!(found, "webhooks that did not come");
                    }
                    // What failed in the last sweep's time, and a while before.
                    horizon = self.every.saturating_mul(10).max(LATE);
                    self.every
                }
                Err(why) => {
                    tracing::warn!(%why, "what webhooks did not bring cannot be looked for");
                    let asked =
                        if let Stopped::Github(Failure::Later { wait, .. }) = &why { *wait } else { None };
                    self.every.max(asked.unwrap_or_default())
                }
            };
            tokio::select! {
                () = self.clock.sleep(wait) => {}
                _ = stop.changed() => {}
            }
        }
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.clock.now_millis())
    }

    async fn once(&self, horizon: Duration, kept: &mut BTreeSet<String>) -> Result<usize, Stopped> {
        let mut found = self.comments(List::Comments, kept).await?;
        found += self.comments(List::DiffComments, kept).await?;
        found += self.pulls(kept).await?;
        self.redeliver(horizon).await?;
        Ok(found)
    }

    /// Since when a list is to be read; none if it was never read, and begins now.
    async fn since(&self, list: List) -> Result<Option<Timestamp>, StoreError> {
        let known = self.mailroom.published(list.reader()).await?;
        if known == Position::default() {
            self.raise(list, before(self.now(), MARGIN)).await?;
            return Ok(None);
        }
        Ok(Some(before(time_of(known), MARGIN)))
    }

    async fn raise(&self, list: List, to: Timestamp) -> Result<(), StoreError> {
        self.mailroom.publish(list.reader(), mark(to), &[]).await
    }

    /// Keeps what was found; whether it was new.
    async fn keep(&self, letter: Option<Letter>, kept: &mut BTreeSet<String>) -> Result<usize, StoreError> {
        let Some(letter) = letter.filter(|letter| !kept.contains(&letter.meaning)) else { return Ok(0) };
        let is_new = self.mailroom.receive(&letter).await? == Receipt::New;
        if is_new {
            tracing::info!(meaning = %letter.meaning, "found, and not brought by a webhook");
            self.arrived.notify_one();
        }
        kept.insert(letter.meaning);
        Ok(usize::from(is_new))
    }

    async fn comments(&self, list: List, kept: &mut BTreeSet<String>) -> Result<usize, Stopped> {
        let Some(since) = self.since(list).await? else { return Ok(0) };
        let are_on_diffs = matches!(list, List::DiffComments);
        let comments = self.client.comments_since(since, are_on_diffs).await?;
        let mut found = 0;
        for comment in &comments {
            found += self.keep(self.letter_of(comment, are_on_diffs), kept).await?;
        }
        if let Some(newest) = comments.iter().filter_map(|comment| moment(&comment.updated_at)).max() {
            self.raise(list, newest).await?;
        }
        Ok(found)
    }

    fn letter_of(&self, comment: &Comment, is_on_diff: bool) -> Option<Letter> {
        let author = comment.user.as_ref().filter(|user| user.is_human())?;
        let text = comment.body.clone().filter(|text| has_commands(text))?;
        let number = comment.pull_number()?;
        let id = comment_id(comment.id, is_on_diff);
        // Its first text is not known any more; whether it was heard is, under its own name.
        if comment.updated_at != comment.created_at {
            return self.letter(author, number, (&format!("{id}:edited"), Said::Edited));
        }
        let said = match moment(&comment.created_at).filter(|at| self.now().since(*at) > LATE) {
            Some(at) => Said::Github(Event::Late { at }),
            None => Said::Text { text },
        };
        self.letter(author, number, (&id, said))
    }

    fn letter(&self, by: &User, number: u64, (meaning, said): (&str, Said)) -> Option<Letter> {
        let place = Place::PullRequest { repository: self.client.repository().to_owned(), number };
        let arrival = Arrival { account: by.id.to_string(), name: by.login.clone(), place, said };
        arrival.letter(Platform::Github, None, meaning)
    }

    async fn pulls(&self, kept: &mut BTreeSet<String>) -> Result<usize, Stopped> {
        let Some(since) = self.since(List::Pulls).await? else { return Ok(0) };
        let pulls = self.client.pulls_since(since).await?;
        let mut found = 0;
        for pull in &pulls {
            found += self.keep(self.letter_of_pull(pull, since), kept).await?;
            for review in self.client.reviews(pull.number).await? {
                found += self.keep(self.letter_of_review(&review, pull.number, since), kept).await?;
            }
        }
        if let Some(newest) = pulls.iter().filter_map(|pull| moment(&pull.updated_at)).max() {
            self.raise(List::Pulls, newest).await?;
        }
        Ok(found)
    }

    fn letter_of_pull(&self, pull: &Pull, since: Timestamp) -> Option<Letter> {
        let nobody = User { id: 0, login: GHOST.to_owned(), kind: "User".to_owned() };
        let by = pull.user.as_ref().unwrap_or(&nobody);
        if let (Some(at), Some(commit)) = (pull.merged_at(), &pull.merge_commit_sha) {
            let meaning = merge_id(pull.number, commit);
            return self
                .letter(by, pull.number, (&meaning, Said::Github(Event::Merged)))
                .filter(|_| at >= since);
        }
        let state = if pull.is_open() { "open" } else { "closed" };
        let meaning = format!("github:pull:{}:swept:{}:{state}", pull.number, pull.head());
        self.letter(by, pull.number, (&meaning, Said::Github(Event::Pull)))
    }

    fn letter_of_review(&self, review: &Review, number: u64, since: Timestamp) -> Option<Letter> {
        let by = review.user.as_ref().filter(|user| user.is_human())?;
        let id = review_id(review.id);
        let state = review.state.to_lowercase();
        let text = review.body.clone().unwrap_or_default();
        match state.as_str() {
            // A dismissal has no time of its own, and its name is there once.
            "dismissed" => {
                let said = Said::Github(Event::Dismissed { id: review.id, reviewer: by.login.clone() });
                self.letter(by, number, (&format!("{id}:dismissed"), said))
            }
            "approved" | "changes_requested" | "commented" => {
                let is_new = review.submitted_at.as_deref().and_then(moment).is_some_and(|at| at >= since);
                let says = state != "commented" || has_commands(&text);
                let meaning = format!("{id}:{state}");
                let said = Said::Github(Event::Review { id: review.id, state, text });
                self.letter(by, number, (&meaning, said)).filter(|_| is_new && says)
            }
            _ => None,
        }
    }

    /// Asks for failed deliveries again: those of presses on buttons are in no other list.
    async fn redeliver(&self, horizon: Duration) -> Result<(), Stopped> {
        let oldest = before(self.now(), horizon);
        let mut known: BTreeMap<String, Vec<Delivered>> = BTreeMap::new();
        let mut cursor: Option<String> = None;
        loop {
            let at = cursor.map(|cursor| format!("&cursor={cursor}")).unwrap_or_default();
            let page = self.client.of_app(&format!("/app/hook/deliveries?per_page={PAGE}{at}")).await?;
            let items: Vec<Delivered> = page.items.into_iter().filter_map(delivered).collect();
            let is_past =
                items.last().and_then(|item| moment(&item.delivered_at)).is_none_or(|at| at < oldest);
            for item in items {
                known.entry(item.guid.clone()).or_default().push(item);
            }
            cursor = page.cursor;
            if is_past || cursor.is_none() {
                break;
            }
        }
        for attempts in known.values().filter(|attempts| is_lost(attempts)).take(AT_ONCE) {
            let Some(newest) = attempts.iter().max_by_key(|attempt| attempt.id) else { continue };
            tracing::info!(guid = %newest.guid, event = %newest.event, "a webhook failed and is asked for again");
            self.client.post_as_app(&format!("/app/hook/deliveries/{}/attempts", newest.id)).await?;
        }
        Ok(())
    }
}

fn delivered(item: Value) -> Option<Delivered> {
    serde_json::from_value(item).ok()
}

/// Whether a webhook never came, and asking again may help. A list shows a new attempt late; one more is a duplicate.
fn is_lost(attempts: &[Delivered]) -> bool {
    let is_ours = attempts.iter().all(|attempt| {
        matches!(
            attempt.event.as_str(),
            "issue_comment"
                | "pull_request_review_comment"
                | "pull_request_review"
                | "pull_request"
                | "check_run"
        )
    });
    is_ours && attempts.len() < ATTEMPTS && attempts.iter().all(|attempt| attempt.status != "OK")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt(id: u64, status: &str, event: &str) -> Delivered {
        Delivered {
            id,
            guid: "g".to_owned(),
            delivered_at: "2026-11-27T10:00:00Z".to_owned(),
            status: status.to_owned(),
            event: event.to_owned(),
        }
    }

    #[test]
    fn a_webhook_is_lost_when_no_attempt_came_through() {
        let failed = |id| attempt(id, "failed to connect to host", "check_run");
        assert!(is_lost(&[failed(1)]));
        assert!(!is_lost(&[failed(1), attempt(2, "OK", "check_run")]));
        assert!(!is_lost(&[failed(1), failed(2), failed(3), failed(4)]));
        assert!(!is_lost(&[attempt(1, "failed to connect to host", "installation")]));
    }

    #[test]
    fn a_watermark_is_a_time_in_seconds() {
        let at = Timestamp::from_millis(1_700_000_000_999);
        assert_eq!(time_of(mark(at)), Timestamp::from_millis(1_700_000_000_000));
        assert_eq!(before(at, Duration::from_secs(1)), Timestamp::from_millis(1_699_999_999_999));
    }
}
