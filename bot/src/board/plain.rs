//! An audience that reads texts: in the place where an operation was asked for, else in the platform's own channel.

use journal::plan::Platform;
use journal_store::Draft;

use super::{Audience, Card, LEAST_BETWEEN_EDITS, Notice};
use crate::arrival::{Message, Place};

/// Notices leave before cards.
pub const URGENT: i64 = 10;

/// Readers of texts.
#[derive(Debug)]
pub struct Plain {
    /// Which platform's.
    pub platform: Platform,
    /// Where they read what was asked for elsewhere; none: nowhere.
    pub channel: Option<Place>,
}

impl Plain {
    /// Where an operation is shown: where it was asked for, if that is here.
    #[must_use]
    pub fn place<'p>(&'p self, origin: Option<&'p Place>) -> Option<&'p Place> {
        origin.filter(|place| place.platform() == self.platform).or(self.channel.as_ref())
    }

    /// Where people are called: where it was asked for, and, if all are to hear it, in the channel too.
    fn places<'p>(&'p self, notice: &'p Notice) -> Vec<&'p Place> {
        let mut places = Vec::from_iter(notice.origin.as_ref().filter(|at| at.platform() == self.platform));
        let is_elsewhere = notice.origin.is_none() || notice.is_for_all;
        places.extend(self.channel.as_ref().filter(|channel| is_elsewhere && !places.contains(channel)));
        places
    }
}

impl Audience for Plain {
    fn platform(&self) -> Platform {
        self.platform
    }

    fn card(&self, card: &Card) -> Vec<Draft> {
        let Some(place) = self.place(card.origin.as_ref()) else { return Vec::new() };
        let asks = card.asks.clone().filter(|_| place.has_buttons());
        let message = Message { text: card.text.clone(), asks };
        let wait = if card.stage.is_over() { std::time::Duration::ZERO } else { LEAST_BETWEEN_EDITS };
        vec![Draft { living: Some(card.key()), wait, ..place.draft(&message) }]
    }

    fn notice(&self, notice: &Notice) -> Vec<Draft> {
        self.places(notice)
            .into_iter()
            .map(|place| Draft {
                living: Some(notice.key.clone()),
                priority: URGENT,
                ..place.say(notice.text.clone())
            })
            .collect()
    }
}
