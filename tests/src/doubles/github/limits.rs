//! Rate limits: the hour's requests, content made in a minute, and refusals for haste that a test arms.

use std::collections::VecDeque;

/// Requests an hour.
const HOUR: u64 = 5000;
/// Content-making requests a minute.
const MINUTE: usize = 80;

/// A refusal for haste.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Haste {
    /// The hour's requests are used up; the header says when the next hour begins.
    Primary {
        /// In how many seconds.
        reset_in: i64,
    },
    /// Too much at once; the header says how long to wait.
    Secondary {
        /// Seconds.
        retry_after: i64,
    },
}

/// What was used, and what is armed.
#[derive(Debug, Default)]
pub struct Limits {
    used: u64,
    made: VecDeque<i64>,
    armed: Option<Haste>,
    until: Option<(i64, Haste)>,
    /// How often a request was refused for haste.
    pub refused: u64,
    /// Requests that came although GitHub had asked to wait.
    pub hasty: Vec<String>,
}

impl Limits {
    /// Refuses the next content-making request, and everything until the time is over.
    pub fn arm(&mut self, haste: Haste) {
        self.armed = Some(haste);
    }

    /// Counts a request, in seconds of GitHub's clock; `Some` refuses it.
    pub fn count(&mut self, what: &str, makes_content: bool, now: i64) -> Option<Haste> {
        if let Some((until, haste)) = self.until {
            if now < until {
                self.hasty.push(format!("{what}, {} s before it might", until - now));
                self.refused += 1;
                return Some(haste);
            }
            self.until = None;
        }
        self.used += 1;
        if !makes_content {
            return None;
        }
        if let Some(haste) = self.armed.take() {
            let wait = match haste {
                Haste::Primary { reset_in } => reset_in,
                Haste::Secondary { retry_after } => retry_after,
            };
            self.until = Some((now + wait, haste));
            self.refused += 1;
            return Some(haste);
        }
        while self.made.front().is_some_and(|at| *at <= now - 60) {
            self.made.pop_front();
        }
        if self.made.len() >= MINUTE {
            let haste = Haste::Secondary { retry_after: 60 };
            self.until = Some((now + 60, haste));
            self.refused += 1;
            return Some(haste);
        }
        self.made.push_back(now);
        None
    }

    /// A request that did not count after all: nothing had changed.
    pub fn give_back(&mut self) {
        self.used = self.used.saturating_sub(1);
    }

    /// The headers that every answer carries.
    #[must_use]
    pub fn headers(&self, refused: Option<Haste>, now: i64) -> Vec<(&'static str, String)> {
        let (remaining, reset) = match (refused, self.until) {
            (Some(Haste::Primary { .. }), Some((until, _))) => (0, until),
            _ => (HOUR.saturating_sub(self.used), now + 3600),
        };
        let mut headers = vec![
            ("x-ratelimit-limit", HOUR.to_string()),
            ("x-ratelimit-remaining", remaining.to_string()),
            ("x-ratelimit-used", (HOUR - remaining.min(HOUR)).to_string()),
            ("x-ratelimit-reset", reset.to_string()),
            ("x-ratelimit-resource", "core".to_owned()),
        ];
        if let (Some(Haste::Secondary { .. }), Some((until, _))) = (refused, self.until) {
            headers.push(("retry-after", (until - now).max(1).to_string()));
        }
        headers
    }
}
