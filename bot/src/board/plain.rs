//! An audience that reads texts: in the place where an operation was asked for, else in the platform's own channel. What its
//! steps left as evidence stands in the thread under its living message.

use journal::plan::Platform;
use journal_store::Draft;

use super::{Audience, Card, LEAST_BETWEEN_EDITS, Notice};
use crate::arrival::{Message, Place};
use crate::words;

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

    /// What each step left as evidence, one message a step, under the operation's own.
    fn details(place: &Place, card: &Card) -> Vec<Draft> {
        let mut steps: Vec<(&str, Vec<(&str, &str)>)> = Vec::new();
        for (step, done, seen) in &card.evidence {
            match steps.iter_mut().find(|(known, _)| known == step) {
                Some((_, lines)) => lines.push((done, seen)),
                None => steps.push((step, vec![(done, seen)])),
            }
        }
        let draft = |(step, lines): &(&str, Vec<(&str, &str)>)| {
            let mut draft = place.say(words::evidence(step, lines));
            if let Some(fields) = draft.body.as_object_mut() {
                fields.insert("under".to_owned(), card.key().into());
                fields.insert("title".to_owned(), words::evidence_title(card).into());
            }
            let living = Some(format!("{}:{step}", card.key()));
            Draft { living, priority: -1, wait: LEAST_BETWEEN_EDITS, ..draft }
        };
        steps.iter().map(draft).collect()
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
        let living = Draft { living: Some(card.key()), wait, ..place.draft(&message) };
        [living].into_iter().chain(Self::details(place, card)).collect()
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
