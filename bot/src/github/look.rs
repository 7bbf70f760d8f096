//! The second look: whether the pull request of a bound request is as it was when it was asked for, and whether the words
//! that count for it still stand there. It is what lets an operation begin; webhooks only make it come earlier.

use std::sync::Arc;

use journal::{
    Actor, ApprovalWord, Bound, Command, CommandBody, CommandId, Position, Recorded, Request, RequestStatus,
    SeenBinding, State, Wait, waits,
};
use journal_store::{Draft, ExecuteError, Mailroom, StoreError};
use runtime::Clock;
use tokio::sync::{Notify, watch};

use super::client::Failure;
use super::desk::{At, Desk, Stopped, comment_of, once};
use super::receive::comment_id;
use crate::arrival::Place;
use crate::rounds::{Missed, Round, rounds};
use crate::withdrawn::{Withdrawal, take_back};
use crate::words;

/// Who an account is that is not known: a look finds what is gone, not who made it go.
const NOBODY: &str = "0";

/// What a look came to.
#[derive(Debug, Default)]
pub(super) struct Looked {
    /// What was seen; none if the request is bound to nothing.
    pub(super) seen: Option<SeenBinding>,
    /// What has to be said about words that are gone.
    pub(super) told: Vec<Draft>,
}

/// Whether nothing but a look keeps a request from beginning.
fn waits_for_a_look(state: &State, request: &Request, now: journal::Timestamp) -> bool {
    request.status == RequestStatus::Open
        && request.bound().is_some()
        && waits(state, request, now).contains(&Wait::Confirmation)
        && waits(state, request, now).iter().all(Wait::is_look)
}

/// The id of the review that a command came from, by the name of its message.
fn review_of(meaning: &str) -> Option<u64> {
    meaning.strip_prefix("github:review:")?.split(':').next()?.parse().ok()
}

impl Desk {
    /// Looks at the pull request of a request, and at what its words stand in.
    ///
    /// # Errors
    /// GitHub cannot be read now, or the journal.
    pub(super) async fn look(&self, state: &State, request: &Request) -> Result<Looked, Stopped> {
        let Some(bound) = request.bound() else { return Ok(Looked::default()) };
        let place = Place::PullRequest {
            repository: bound.repository.clone(),
            number: bound.pull_request.parse().unwrap_or_default(),
        };
        let told = self.withdrawn(request, &place).await?;
        let seen = Some(self.binding(state, bound, &place).await?);
        Ok(Looked { seen, told })
    }

    async fn binding(&self, state: &State, bound: &Bound, place: &Place) -> Result<SeenBinding, Stopped> {
        let Some(at) = At::of(place) else { return Ok(SeenBinding::Closed) };
        let Some(pull) = self.client.pull(at.number).await?.filter(|pull| !pull.is_dropped()) else {
            return Ok(SeenBinding::Closed);
        };
        let head = pull.head().to_owned();
        if head != bound.head {
            return Ok(SeenBinding::Moved { head });
        }
        let text = match self.client.file(&self.plan_path, &head).await {
            Ok(text) => text,
            Err(Failure::Refused(_)) => None,
            Err(other) => return Err(other.into()),
        };
        let adopted = state.plan.as_ref().map(|(_, hash)| *hash);
        let found = text.and_then(|text| journal::Plan::parse(&text).ok()).map(|plan| plan.hash());
        Ok(if found.is_some() && found == adopted {
            SeenBinding::Stands { head }
        } else {
            SeenBinding::OtherPlan
        })
    }

    /// Takes back approvals whose comment or review is gone.
    async fn withdrawn(&self, request: &Request, place: &Place) -> Result<Vec<Draft>, Stopped> {
        let mut told = Vec::new();
        for word in request.words.values().filter(|word| word.word == ApprovalWord::Approved) {
            let Some(event) = self.event(word.position).await? else { continue };
            let said =
                event.envelope.origin.filter(|origin| origin.platform == journal::plan::Platform::Github);
            let Some(message) = said.and_then(|origin| origin.message) else { continue };
            let gone = if let Some((id, is_on_diff)) = comment_of(&message) {
                let is_gone = self.client.comment(id, is_on_diff).await?.is_none();
                let name = comment_id(id, is_on_diff);
                is_gone.then(|| (format!("{name}."), format!("{name}:deleted")))
            } else if let (Some(id), Some(at)) = (review_of(&message), At::of(place)) {
                let name = super::receive::review_id(id);
                let is_gone = !self.review_stands(at.number, id).await?;
                is_gone.then(|| (format!("{name}:"), format!("{name}:dismissed")))
            } else {
                None
            };
            let Some((prefix, meaning)) = gone else { continue };
            let withdrawal =
                Withdrawal { prefix: &prefix, id: &meaning, origin: place.origin(NOBODY, &meaning) };
            for gone in take_back(&self.store, &withdrawal).await? {
                let text = words::approval_gone(&gone.person, &gone.request);
                told.push(once(place, &meaning, text));
            }
        }
        Ok(told)
    }

    async fn event(&self, position: Position) -> Result<Option<Recorded>, StoreError> {
        let before = Position::new(position.get().saturating_sub(1));
        let page = self.store.stored(before, 1).await?;
        let event = page.into_iter().find(|(at, _)| *at == position).map(|(position, bytes)| {
            Recorded::from_bytes(&bytes).map_err(|source| StoreError::Unreadable { position, source })
        });
        event.transpose()
    }

    /// Looks, and reports what counts: a change always, that nothing changed only where something waits for it.
    ///
    /// # Errors
    /// GitHub cannot be read now, or the journal.
    pub(super) async fn look_and_report(&self, number: Position) -> Result<Vec<Draft>, Stopped> {
        let state = self.store.state().await?;
        let Some(request) = state.requests.get(&number) else { return Ok(Vec::new()) };
        let looked = self.look(&state, request).await?;
        let Some(seen) = looked.seen else { return Ok(looked.told) };
        // What was taken back meanwhile counts no more.
        let (state, now) = (self.store.state().await?, self.store.now().await?);
        let is_waiting =
            state.requests.get(&number).is_some_and(|request| waits_for_a_look(&state, request, now));
        if matches!(seen, SeenBinding::Stands { .. }) && !is_waiting {
            return Ok(looked.told);
        }
        tracing::info!(request = %number, ?seen, "looked at its pull request");
        let body = CommandBody::ReportBinding { request: number, seen };
        let id = CommandId::new(format!("github:look:{number}:{}", uuid::Uuid::now_v7()));
        let Ok(id) = id else { return Ok(looked.told) };
        match self.store.execute(id, None, Command::new(Actor::Operator, body)).await {
            Ok(_) => {}
            Err(ExecuteError::Store(error)) => return Err(error.into()),
            Err(why) => tracing::warn!(request = %number, %why, "the look was not taken"),
        }
        Ok(looked.told)
    }
}

/// Looks at the pull requests of requests that wait for nothing else.
#[derive(Debug)]
pub struct Watch {
    /// Looks.
    pub desk: Desk,
    /// The outbox.
    pub mailroom: Arc<dyn Mailroom>,
    /// Waits.
    pub clock: Arc<dyn Clock>,
    /// Told of each message written.
    pub written: Arc<Notify>,
}

impl Watch {
    /// Watches until it is told to stop.
    pub async fn run(self, stop: watch::Receiver<bool>) {
        rounds(&self, self.clock.as_ref(), stop).await;
    }

    async fn look(&self) -> Result<(), Stopped> {
        let (state, now) = (self.desk.store.state().await?, self.desk.store.now().await?);
        let waiting: Vec<Position> = state
            .requests
            .values()
            .filter(|request| waits_for_a_look(&state, request, now))
            .map(|request| request.position)
            .collect();
        for request in waiting {
            let told = self.desk.look_and_report(request).await?;
            if !told.is_empty() {
                self.mailroom.write(&told).await?;
                self.written.notify_waiters();
            }
        }
        Ok(())
    }
}

impl Round for Watch {
    async fn once(&self) -> Result<(), Missed> {
        self.look().await.map_err(|why| {
            let wait = if let Stopped::Github(Failure::Later { wait, .. }) = &why { *wait } else { None };
            Missed { why: format!("a pull request cannot be looked at: {why}"), wait }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::review_of;

    #[test]
    fn a_commands_message_tells_its_review() {
        assert_eq!(review_of("github:review:50:approved"), Some(50));
        assert_eq!(review_of("github:review:50:text"), Some(50));
        assert_eq!(review_of("github:comment:50"), None);
    }
}
