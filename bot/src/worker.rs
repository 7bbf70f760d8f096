//! From what arrived to what was done: person, language, journal, reply.
//!
//! A row of the inbox is done under its meaning key as the command's id. However often that happens, in however many
//! processes, the journal makes its events once, and one finishing of the row writes one reply. A journal that cannot be
//! reached leaves the row where it is.

use std::sync::Arc;
use std::time::Duration;

use journal::plan::Platform;
use journal::{Bound, Holder, Origin, Position, RequestStatus, State};
use journal_store::{Draft, Mailroom, Store, StoreError, Taken};
use runtime::Clock;
use runtime::retry::Backoff;
use tokio::sync::{Notify, watch};

use crate::arrival::{Arrival, Asks, Message, Place, Said, Word, dialect, person};
use crate::board;
use crate::conversation::{Conversation, Reply, Utterance};
use crate::discord;
use crate::github::{Binding, Desk, Event, Stopped};
use crate::language;
use crate::slack;
use crate::withdrawn::{Withdrawal, take_back};
use crate::words;

/// How long a row is one instance's. Far above what a command takes; what it takes longer is done once all the same.
const TERM: Duration = Duration::from_secs(30);

/// How long an arrival that another instance received, or whose taker died, may wait to be seen.
const POLL: Duration = Duration::from_millis(250);

/// Tries of one row before its person is told: with the waits between them, some five minutes.
const TRIES: i64 = 20;

/// Tries of a row for which GitHub has to be read: a few seconds, since others' words wait behind it.
const READS: i64 = 4;

/// Takes rows of the inbox, one at a time.
#[derive(Debug)]
pub struct Worker {
    /// The journal.
    pub store: Arc<dyn Store>,
    /// Inbox and outbox.
    pub mailroom: Arc<dyn Mailroom>,
    /// This instance.
    pub holder: Holder,
    /// Waits.
    pub clock: Arc<dyn Clock>,
    /// Told of each arrival.
    pub arrived: Arc<Notify>,
    /// Reads GitHub, if it is configured.
    pub desk: Option<Desk>,
    /// Looks at accounts of Slack, if it is configured.
    pub slack: Option<Arc<slack::Client>>,
    /// Does what is said.
    pub conversation: Conversation,
    /// Told of each reply.
    pub written: Arc<Notify>,
}

/// What a row came to.
enum Done {
    Replies(Vec<Draft>),
    /// The journal did not do its part.
    Later(String),
}

impl From<StoreError> for Done {
    fn from(error: StoreError) -> Self {
        Self::Later(error.to_string())
    }
}

impl Worker {
    /// Works until it is told to stop; the row in hand is finished first.
    pub async fn run(self, mut stop: watch::Receiver<bool>) {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
        while !*stop.borrow() {
            let wait = match self.mailroom.take(&self.holder, TERM).await {
                Ok(Some(taken)) => {
                    self.one(&taken).await;
                    backoff.reset();
                    continue;
                }
                Ok(None) => POLL,
                Err(error) => {
                    tracing::warn!(%error, "the inbox cannot be read");
                    backoff.wait()
                }
            };
            tokio::select! {
                () = self.arrived.notified() => {}
                () = self.clock.sleep(wait) => {}
                _ = stop.changed() => {}
            }
        }
    }

    async fn one(&self, taken: &Taken) {
        let meaning = &taken.letter.meaning;
        let replies = match serde_json::from_value::<Arrival>(taken.letter.body.clone()) {
            Ok(arrival) => match self.answer(taken, &arrival).await {
                Done::Replies(replies) => replies,
                Done::Later(why) if taken.tries < TRIES => {
                    tracing::warn!(%meaning, why, tries = taken.tries, "not done yet");
                    let wait = Duration::from_secs(15).min(Duration::from_millis(500) * tries(taken));
                    if let Err(error) = self.mailroom.put_back(taken, wait).await {
                        tracing::warn!(%error, "the row waits for its term's end");
                    }
                    return;
                }
                Done::Later(why) => {
                    tracing::error!(%meaning, why, "given up");
                    vec![arrival.place.say(words::given_up())]
                }
            },
            Err(error) => {
                tracing::error!(%meaning, %error, "a row of the inbox cannot be read; it is left undone");
                Vec::new()
            }
        };
        match self.mailroom.finish(taken, &replies).await {
            Ok(true) => self.written.notify_waiters(),
            Ok(false) => tracing::info!(%meaning, "another instance has finished it"),
            Err(error) => tracing::warn!(%error, %meaning, "not finished: it is done again"),
        }
    }

    async fn answer(&self, taken: &Taken, arrival: &Arrival) -> Done {
        let (platform, meaning) = (taken.letter.platform, taken.letter.meaning.as_str());
        let state = match self.store.state().await {
            Ok(state) => state,
            Err(error) => return error.into(),
        };
        let place = &arrival.place;
        let text = match &arrival.said {
            Said::Edited => return Done::Replies(vec![place.say(words::edits_do_not_count())]),
            Said::Deleted { meaning, by } => {
                return match self.deleted(arrival, meaning, by).await {
                    Ok(told) => Done::Replies(told),
                    Err(error) => error.into(),
                };
            }
            Said::Github(event) => return self.of_github(taken, arrival, event).await,
            Said::Text { text } => text.clone(),
            Said::Line { line } => line.clone(),
            Said::Button { word, request, plan, reason } => {
                let bound = state.requests.get(&Position::new(*request));
                if !bound.is_some_and(|request| request.plan_hash.to_string().starts_with(plan.as_str())) {
                    return Done::Replies(vec![place.say(words::other_button(*request))]);
                }
                let request = Position::new(*request);
                let command = match word {
                    Word::Approve => language::Command::Approve { request, reason: reason.clone() },
                    Word::Deny => {
                        let reason = reason.clone().unwrap_or_else(|| words::denied_by_button().to_owned());
                        let reason = Some(reason);
                        language::Command::Deny { request, reason }
                    }
                };
                command.to_string()
            }
        };
        let Some(person) = person(&state, platform, &arrival.account) else {
            tracing::info!(meaning, account = %arrival.account, "an account of nobody in the plan");
            let text = words::unmapped(platform, &arrival.name, &arrival.account);
            return Done::Replies(vec![place.say(text)]);
        };
        let bound = match self.bound(meaning, taken.tries, arrival, &text).await {
            Ok(bound) => bound,
            Err(done) => return done,
        };
        if platform == Platform::Slack
            && let Some(client) = &self.slack
        {
            match slack::standing(client, &arrival.account).await {
                Ok(None) => {}
                Ok(Some(standing)) => {
                    tracing::warn!(meaning, account = %arrival.account, ?standing, "an account that does not count");
                    return Done::Replies(vec![place.say(words::not_vouched(standing))]);
                }
                Err(why) => return Done::Later(why),
            }
        }
        let origin = Origin { bound, ..place.origin(&arrival.account, meaning) };
        let said = Utterance {
            person: &person,
            id: meaning,
            text: &text,
            dialect: dialect(&arrival.said),
            origin: Some(origin),
        };
        let reply = self.conversation.hear(&said).await;
        tracing::info!(meaning, %person, ok = reply.ok, code = reply.code, "answered");
        if reply.code.as_deref() == Some(words::STORE_FAILED) {
            return Done::Later(reply.text);
        }
        match self.store.state().await {
            Ok(state) => {
                // The reply that made a request is the first state of its operation's living message.
                let living = reply.made.map(|request| board::key(request.get()));
                let message = message(reply, &state, place);
                Done::Replies(match living {
                    None => vec![place.draft(&message)],
                    Some(key) => {
                        let living = Draft { living: Some(key), ..place.lasting().draft(&message) };
                        [living].into_iter().chain(discord::settled(place)).collect()
                    }
                })
            }
            Err(error) => error.into(),
        }
    }

    /// Takes back the approvals that a deleted comment gave, if they are still their persons' latest words. Who deleted
    /// it is in the event's origin.
    async fn deleted(&self, arrival: &Arrival, meaning: &str, by: &str) -> Result<Vec<Draft>, StoreError> {
        let id = format!("{meaning}:deleted");
        let withdrawal =
            Withdrawal { prefix: &format!("{meaning}."), id: &id, origin: arrival.place.origin(by, &id) };
        let gone = take_back(&self.store, &withdrawal).await?;
        Ok(gone
            .iter()
            .map(|gone| {
                let text = words::approval_deleted(&gone.person, &gone.request);
                Draft { living: Some(id.clone()), ..arrival.place.say(text) }
            })
            .collect())
    }

    async fn of_github(&self, taken: &Taken, arrival: &Arrival, event: &Event) -> Done {
        let Some(desk) = &self.desk else { return Done::Replies(Vec::new()) };
        match desk.answer(arrival, event).await {
            Ok(replies) => Done::Replies(replies),
            Err(Stopped::Github(why)) if taken.tries > READS => {
                tracing::warn!(meaning = %taken.letter.meaning, %why, "GitHub cannot be read");
                match self.store.state().await {
                    Ok(state) => Done::Replies(Desk::unread(&state, arrival, event, &why.to_string())),
                    Err(error) => error.into(),
                }
            }
            Err(why) => Done::Later(why.to_string()),
        }
    }

    /// What a text is bound to where it was said.
    async fn bound(
        &self,
        meaning: &str,
        tries: i64,
        arrival: &Arrival,
        text: &str,
    ) -> Result<Option<Bound>, Done> {
        let Some(desk) = &self.desk else { return Ok(None) };
        let reply = |text| Done::Replies(vec![arrival.place.say(text)]);
        match desk.bind(meaning, arrival, text).await {
            Ok(Binding::Free) => Ok(None),
            Ok(Binding::Bound(bound)) => Ok(Some(bound)),
            Ok(Binding::Gone) => Err(Done::Replies(Vec::new())),
            Ok(Binding::Refused(answer)) => Err(reply(answer)),
            // What others say waits behind it, so it is not tried for long.
            Err(why @ Stopped::Github(_)) if tries > READS => {
                Err(reply(words::github_unread(&why.to_string())))
            }
            Err(why) => Err(Done::Later(why.to_string())),
        }
    }
}

fn tries(taken: &Taken) -> u32 {
    u32::try_from(taken.tries).unwrap_or(u32::MAX)
}

/// A reply; where there are buttons, with those of the request that it leaves open.
fn message(reply: Reply, state: &State, place: &Place) -> Message {
    let open =
        reply.follow.as_ref().and_then(|follow| state.requests.get(&follow.request)).filter(|request| {
            let required = state.plan.as_ref().map_or(0, |(plan, _)| plan.policy(request.operation).required);
            request.status == RequestStatus::Open && required > 0
        });
    let asks = open
        .filter(|_| place.has_buttons())
        .map(|request| Asks { request: request.position.get(), plan: request.plan_hash.short() });
    Message { text: reply.text, asks }
}
