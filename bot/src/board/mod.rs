//! The board: what the journal tells becomes one living message an operation, and a new message for what needs a person.
//!
//! It reads the journal from a watermark on, which is raised in the same transaction in which the messages are written: a
//! crash loses no message and writes none twice. What a [`Card`] says is made from the state alone, so it does not matter
//! how many events it missed, or that two instances write it: a state of a living message that is there already is not
//! written again. A [`Notice`] is named by the event it is about, for the same reason.
//!
//! What the platforms make of both is theirs: each is an [`Audience`].

mod card;
mod notice;
mod plain;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use journal::plan::Platform;
use journal::{Fact, PhaseName, Position, Recorded, RequestStatus, State, Timestamp};
use journal_store::{Draft, Mailroom, Reported, Store, StoreError};
use runtime::Clock;
use runtime::retry::Backoff;
use tokio::sync::{Notify, watch};

pub use card::{Card, Stage, asked, key};
pub use notice::Notice;
pub use plain::{Plain, URGENT};

/// The reader's name under which the watermark is kept.
const READER: &str = "board";

/// How often what no event tells is looked at: rates, reminders, what is overdue.
const TICK: Duration = Duration::from_secs(5);

/// Between two states of one message: people read no faster, and no platform takes more.
pub const LEAST_BETWEEN_EDITS: Duration = Duration::from_secs(3);

/// One platform's readers.
pub trait Audience: fmt::Debug + Send + Sync {
    /// Which.
    fn platform(&self) -> Platform;

    /// The messages that show an operation: living ones alone.
    fn card(&self, card: &Card) -> Vec<Draft>;

    /// The messages that call people: each is living under the notice's key, so that it is said once.
    fn notice(&self, notice: &Notice) -> Vec<Draft>;

    /// The messages that show the whole migration, if anybody looks at it. `status` gives it as the terminal prints it.
    fn overview(&self, status: &dyn Fn() -> String) -> Vec<Draft> {
        let _unused = status;
        Vec::new()
    }
}

/// Writes what the audiences are to see.
#[derive(Debug)]
pub struct Board {
    /// The journal.
    pub store: Arc<dyn Store>,
    /// The outbox.
    pub mailroom: Arc<dyn Mailroom>,
    /// The platforms.
    pub audiences: Vec<Box<dyn Audience>>,
    /// Waits.
    pub clock: Arc<dyn Clock>,
    /// Told of each message written.
    pub written: Arc<Notify>,
}

/// What the board looks at.
#[derive(Debug)]
pub(crate) struct View<'v> {
    pub(crate) state: &'v State,
    pub(crate) reported: &'v BTreeMap<PhaseName, Reported>,
    pub(crate) now: Timestamp,
}

impl Board {
    /// Writes until it is told to stop.
    pub async fn run(self, mut stop: watch::Receiver<bool>) {
        if self.audiences.is_empty() {
            return;
        }
        let mut backoff = Backoff::new(Duration::from_millis(250), Duration::from_secs(15));
        while !*stop.borrow() {
            tokio::select! {
                ended = self.follow() => match ended {
                    Ok(()) => backoff.reset(),
                    Err(error) => tracing::warn!(%error, "the board cannot follow the journal"),
                },
                _ = stop.changed() => return,
            }
            tokio::select! {
                () = self.clock.sleep(backoff.wait()) => {}
                _ = stop.changed() => return,
            }
        }
    }

    /// Follows the journal until it cannot be read or written.
    async fn follow(&self) -> Result<(), StoreError> {
        let mut told = self.mailroom.published(READER).await?;
        if told == Position::default() {
            // A bot that is new to a journal shows what is going on, and does not tell its history.
            let head = self.store.state().await?.head;
            self.publish(head, &[]).await?;
            told = head;
        }
        let mut events = self.store.tail(told);
        loop {
            let mut news = Vec::new();
            tokio::select! {
                event = events.next() => match event {
                    Some(event) => news.push(event?),
                    None => return Ok(()),
                },
                () = self.clock.sleep(TICK) => {}
            }
            // What is there already is told in one go.
            while let Some(Some(event)) = futures::FutureExt::now_or_never(events.next()) {
                news.push(event?);
            }
            told = news.last().map_or(told, |event| event.envelope.position);
            self.publish(told, &news).await?;
        }
    }

    /// Writes the cards of what these events and the time have changed, and the notices.
    async fn publish(&self, upto: Position, news: &[Recorded]) -> Result<(), StoreError> {
        let (state, reported, now) =
            (self.store.state().await?, self.store.reported().await?, self.store.now().await?);
        let view = View { state: &state, reported: &reported, now };
        let mut cards: Vec<Card> =
            touched(&state, news).into_iter().filter_map(|request| Card::new(&view, request)).collect();
        // The last steps may have ended together with their operation, or while nobody looked.
        for card in cards.iter_mut().filter(|card| card.stage.is_over()) {
            if let Some(request) = state.requests.get(&Position::new(card.request)) {
                card.evidence = card::left_behind(self.store.as_ref(), request).await?;
            }
        }
        let mut notices: Vec<Notice> =
            news.iter().filter_map(|event| Notice::of_event(&view, event)).collect();
        notices.extend(Notice::of_time(&view));
        let status = || {
            let report = crate::status::Report::new(&state, &reported, now, None);
            report.map(|report| crate::words::status(&report)).unwrap_or_default()
        };
        let mut drafts = Vec::new();
        for audience in &self.audiences {
            drafts.extend(cards.iter().flat_map(|card| audience.card(card)));
            drafts.extend(notices.iter().flat_map(|notice| audience.notice(notice)));
            drafts.extend(audience.overview(&status));
        }
        self.mailroom.publish(READER, upto, &drafts).await?;
        if !drafts.is_empty() {
            self.written.notify_waiters();
        }
        Ok(())
    }
}

/// The requests whose cards may have changed: those that live, and those that these events ended.
fn touched(state: &State, news: &[Recorded]) -> BTreeSet<Position> {
    let live = state.requests.values().filter(|request| request.is_live()).map(|request| request.position);
    let mut touched: BTreeSet<Position> = live.collect();
    for event in news {
        touched.extend(event.body.request());
        if matches!(event.body, Fact::OperationFinished { .. }) {
            touched.extend(event.envelope.phase.as_ref().and_then(|phase| last_ended(state, phase)));
        }
    }
    touched
}

/// The newest request of a phase whose operation is over.
fn last_ended(state: &State, phase: &PhaseName) -> Option<Position> {
    let ended = |request: &&journal::Request| {
        request.phase == *phase && matches!(request.status, RequestStatus::Finished(_))
    };
    state.requests.values().rev().find(ended).map(|request| request.position)
}
