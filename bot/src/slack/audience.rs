//! What the board's readers see in Slack: a living message an operation, its evidence in the thread under it, and the whole
//! migration on the home tabs that are open.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use journal::plan::Platform;
use journal_store::Draft;
use runtime::Clock;

use crate::arrival::Place;
use crate::board::{Audience, Card, Notice, Plain};

/// How long a home tab is kept up to date after it was opened. Whoever opens it again is told that by Slack.
const READING: Duration = Duration::from_secs(3600);

/// How many home tabs are kept up to date: Slack takes some hundred publications a minute.
const MOST_READERS: usize = 50;

/// Between two states of a home tab.
const BETWEEN: Duration = Duration::from_secs(10);

/// The living message of a home tab.
const HOME: &str = "home";

/// Who looks at the home tab, and since when. It is no loss to forget them: Slack tells of each opening.
#[derive(Debug)]
pub struct Readers {
    clock: Arc<dyn Clock>,
    since: Mutex<BTreeMap<String, i64>>,
}

impl Readers {
    /// Nobody yet.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, since: Mutex::default() }
    }

    /// Somebody opened it.
    pub(crate) fn opened(&self, user: &str) {
        let mut since = self.since.lock().unwrap_or_else(PoisonError::into_inner);
        since.insert(user.to_owned(), self.clock.now_millis());
    }

    fn now(&self) -> Vec<String> {
        let reading = i64::try_from(READING.as_millis()).unwrap_or(i64::MAX);
        let first = self.clock.now_millis().saturating_sub(reading);
        let mut since = self.since.lock().unwrap_or_else(PoisonError::into_inner);
        since.retain(|_, at| *at >= first);
        since.keys().take(MOST_READERS).cloned().collect()
    }
}

/// A state of somebody's home tab.
pub(crate) fn home(user: &str, text: &str, wait: Duration) -> Draft {
    let place = Place::SlackHome { user: user.to_owned() };
    Draft { living: Some(HOME.to_owned()), priority: -1, wait, ..place.say(text.to_owned()) }
}

/// Slack's readers.
#[derive(Debug)]
pub struct SlackAudience {
    plain: Plain,
    readers: Arc<Readers>,
}

impl SlackAudience {
    /// Those of a channel, and of the home tab.
    #[must_use]
    pub fn new(channel: Option<String>, readers: Arc<Readers>) -> Self {
        let channel = channel.map(|channel| Place::SlackChannel { channel, thread: None });
        Self { plain: Plain { platform: Platform::Slack, channel }, readers }
    }
}

impl Audience for SlackAudience {
    fn platform(&self) -> Platform {
        Platform::Slack
    }

    fn card(&self, card: &Card) -> Vec<Draft> {
        self.plain.card(card)
    }

    fn notice(&self, notice: &Notice) -> Vec<Draft> {
        self.plain.notice(notice)
    }

    fn overview(&self, status: &dyn Fn() -> String) -> Vec<Draft> {
        let readers = self.readers.now();
        if readers.is_empty() {
            return Vec::new();
        }
        let text = status();
        readers.iter().map(|user| home(user, &text, BETWEEN)).collect()
    }
}
