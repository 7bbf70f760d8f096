//! The page that is scraped.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use journal::{PhaseName, State, Timestamp, Writer};
use journal_store::Reported;

use super::names::{self, Family};
use crate::status::{PhaseReport, Report};

/// What the journal and its boxes say just now.
#[derive(Debug)]
pub struct Look<'l> {
    /// The journal's state.
    pub state: &'l State,
    /// The executors' newest reports.
    pub reported: &'l BTreeMap<PhaseName, Reported>,
    /// The journal database's clock.
    pub now: Timestamp,
    /// That clock less this machine's, in milliseconds.
    pub clock_difference: i64,
    /// How many rows of inbox and outbox wait.
    pub waiting: (u64, u64),
    /// Since when the oldest of them do.
    pub oldest: (Option<Timestamp>, Option<Timestamp>),
}

/// The page. Without a look, the journal did not answer: the counters are there all the same.
#[must_use]
pub fn page(look: Option<&Look<'_>>) -> String {
    let mut page = Page::default();
    // A copy, so that nobody who counts waits for the page.
    let counted = super::counted().clone();
    for family in [&names::REFUSED, &names::LETTERS, &names::MESSAGES, &names::COMMANDS] {
        page.head(family);
        for ((_, values), number) in counted.iter().filter(|((name, _), _)| *name == family.name) {
            let values: Vec<&str> = values.iter().map(String::as_str).collect();
            page.sample(family, &values, *number);
        }
    }
    page.one(&names::JOURNAL_UP, u8::from(look.is_some()));
    if let Some(look) = look {
        page.journal(look);
        if let Some(report) = Report::new(look.state, look.reported, look.now, None) {
            page.phases(look, &report);
        }
    }
    page.text
}

#[derive(Debug, Default)]
struct Page {
    text: String,
}

/// Milliseconds in seconds, exactly.
fn seconds(millis: i64) -> String {
    let sign = if millis < 0 { "-" } else { "" };
    let millis = millis.unsigned_abs();
    format!("{sign}{}.{:03}", millis / 1000, millis % 1000)
}

fn age(now: Timestamp, then: Timestamp) -> String {
    seconds(now.millis().saturating_sub(then.millis()).max(0))
}

/// A label's value, as the format writes it.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

impl Page {
    fn head(&mut self, family: &Family) {
        let Family { name, help, kind, .. } = family;
        let help = help.replace('\\', "\\\\");
        let _written = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {}", kind.word());
    }

    fn sample(&mut self, family: &Family, values: &[&str], number: impl std::fmt::Display) {
        let pairs: Vec<String> = family
            .labels
            .iter()
            .zip(values)
            .map(|(label, value)| format!("{label}=\"{}\"", escaped(value)))
            .collect();
        let labels = if pairs.is_empty() { String::new() } else { format!("{{{}}}", pairs.join(",")) };
        let _written = writeln!(self.text, "{}{labels} {number}", family.name);
    }

    fn one(&mut self, family: &Family, number: impl std::fmt::Display) {
        self.head(family);
        self.sample(family, &[], number);
    }

    fn journal(&mut self, look: &Look<'_>) {
        let since = |then: Option<Timestamp>| then.map_or_else(|| seconds(0), |then| age(look.now, then));
        self.one(&names::JOURNAL_POSITION, look.state.head.get());
        self.one(&names::CLOCK_DIFFERENCE, seconds(look.clock_difference));
        self.one(&names::INBOX_WAITING, look.waiting.0);
        self.one(&names::INBOX_OLDEST, since(look.oldest.0));
        self.one(&names::OUTBOX_WAITING, look.waiting.1);
        self.one(&names::OUTBOX_OLDEST, since(look.oldest.1));
    }

    /// One family, with what each phase has to say of it.
    fn each(
        &mut self,
        report: &Report,
        family: &Family,
        of: impl Fn(&PhaseReport) -> Option<(&'static str, String)>,
    ) {
        self.head(family);
        for phase in &report.phases {
            if let Some((second, number)) = of(phase) {
                self.sample(family, &[&phase.name, second], number);
            }
        }
    }

    fn phases(&mut self, look: &Look<'_>, report: &Report) {
        let one = || "1".to_owned();
        let flag = |is: bool| Some(("", u8::from(is).to_string()));
        self.each(report, &names::PHASE_STATUS, |phase| Some((phase.status, one())));
        self.each(report, &names::PHASE_WRITER, |phase| Some((writer(phase.writer), one())));
        self.each(report, &names::PHASE_LAG, |phase| {
            let lag = i64::try_from(phase.lag_ms?).unwrap_or(i64::MAX);
            Some(("", seconds(lag)))
        });
        self.each(report, &names::PHASE_REPORT_AGE, |phase| Some(("", age(look.now, phase.reported_at?))));
        self.each(report, &names::PHASE_BLOCKED, |phase| flag(phase.blocked.is_some()));
        self.each(report, &names::PHASE_HELD, |phase| flag(phase.hold.is_some() || report.hold.is_some()));
        self.each(report, &names::PHASE_REQUESTS, |phase| {
            let open = phase.requests.iter().filter(|request| request.status == "open").count();
            Some(("", open.to_string()))
        });
        self.each(report, &names::PHASE_DEADLINE, |phase| {
            let left = phase.deadline?.millis().saturating_sub(look.now.millis());
            Some(("", seconds(left)))
        });
        self.each(report, &names::PHASE_GLASS, |phase| {
            Some(("", phase.broken_glass.iter().filter(|glass| glass.used).count().to_string()))
        });
    }
}

const fn writer(writer: Writer) -> &'static str {
    match writer {
        Writer::Source => "source",
        Writer::Target => "target",
        Writer::None => "none",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_labels_are_written_as_the_format_wants_them() {
        assert_eq!(
            (seconds(1), seconds(-1500), seconds(60_000)),
            ("0.001".into(), "-1.500".into(), "60.000".into())
        );
        let mut page = Page::default();
        page.sample(&names::PHASE_STATUS, &["a\"b\\c\nd", "new"], 1);
        assert_eq!(page.text, "switchyard_phase_status{phase=\"a\\\"b\\\\c\\nd\",status=\"new\"} 1\n");
        assert!(super::page(None).contains("\nswitchyard_journal_up 0\n"));
    }

    #[test]
    fn every_name_is_a_name_and_counters_end_with_total() {
        for family in names::ALL {
            assert!(family.name.starts_with("switchyard_"), "{}", family.name);
            assert!(family.name.chars().all(|c| c.is_ascii_lowercase() || c == '_'), "{}", family.name);
            assert_eq!(
                family.name.ends_with("_total"),
                family.kind == names::Kind::Counter,
                "{}",
                family.name
            );
        }
    }
}
