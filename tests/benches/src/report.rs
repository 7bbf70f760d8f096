//! What was measured, as lines for people and one for programs.

use std::io::Write as _;
use std::time::Duration;

use serde::Serialize;

/// What a figure has to be.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Reach {
    /// At most so many times the reference, or so much.
    AtMost(f64),
    /// At least.
    AtLeast(f64),
}

impl Reach {
    fn is_met(self, found: f64) -> bool {
        match self {
            Self::AtMost(limit) => found <= limit,
            Self::AtLeast(limit) => found >= limit,
        }
    }

    fn text(self) -> String {
        match self {
            Self::AtMost(limit) => format!("≤ {limit}"),
            Self::AtLeast(limit) => format!("≥ {limit}"),
        }
    }
}

/// One bench.
#[derive(Debug, Serialize)]
struct Line {
    name: &'static str,
    ours: String,
    reference: String,
    found: f64,
    reach: String,
    met: bool,
}

/// All of them.
#[derive(Debug)]
pub(crate) struct Report {
    wanted: Vec<String>,
    lines: Vec<Line>,
}

impl Report {
    pub(crate) const fn new(wanted: Vec<String>) -> Self {
        Self { wanted, lines: Vec::new() }
    }

    /// Whether a bench is to be run.
    pub(crate) fn wants(&self, name: &str) -> bool {
        self.wanted.is_empty() || self.wanted.iter().any(|wanted| name.starts_with(wanted.as_str()))
    }

    pub(crate) fn line(&self, text: &str) {
        let mut out = std::io::stdout().lock();
        writeln!(out, "{text}").and_then(|()| out.flush()).ok();
    }

    /// A bench's figure: a ratio, or an amount that is compared with what it should reach.
    pub(crate) fn found(
        &mut self,
        name: &'static str,
        (ours, reference): (String, String),
        found: f64,
        reach: Reach,
    ) {
        let met = reach.is_met(found);
        let said = if met { "reached" } else { "NOT reached" };
        self.line(&format!("{name:<28} {ours:<34} {reference:<38} {found:>9.2}  {} {said}", reach.text()));
        self.lines.push(Line { name, ours, reference, found, reach: reach.text(), met });
    }

    /// The last line.
    pub(crate) fn close(&self) {
        let met = self.lines.iter().all(|line| line.met);
        let all =
            serde_json::json!({ "bench": if met { "reached" } else { "not reached" }, "lines": self.lines });
        self.line(&all.to_string());
    }
}

/// Times of one kind, taken in rounds with another kind's between them.
#[derive(Debug, Default)]
pub(crate) struct Times(Vec<Duration>);

impl Times {
    pub(crate) fn push(&mut self, time: Duration) {
        self.0.push(time);
    }

    pub(crate) fn extend(&mut self, more: Self) {
        self.0.extend(more.0);
    }

    pub(crate) fn at(&self, part: f64) -> Duration {
        let mut sorted = self.0.clone();
        sorted.sort();
        let last = sorted.len().saturating_sub(1);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "an index below the length"
        )]
        let index = (last as f64 * part) as usize;
        sorted.get(index).copied().unwrap_or_default()
    }

    pub(crate) fn text(&self) -> String {
        format!("p50 {:.3} ms, p99 {:.3} ms", millis(self.at(0.5)), millis(self.at(0.99)))
    }
}

pub(crate) fn millis(of: Duration) -> f64 {
    of.as_secs_f64() * 1000.0
}

/// The middle of some figures.
pub(crate) fn median(mut of: Vec<f64>) -> f64 {
    of.sort_by(f64::total_cmp);
    of.get(of.len() / 2).copied().unwrap_or_default()
}
