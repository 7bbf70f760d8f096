//! The shared sections: the journal, windows, loading.

use std::collections::BTreeSet;
use std::time::Duration;

use croner::errors::CronError;
use croner::parser::{CronParser, Seconds, Year};
use croner::{Cron, Weekday};
use jiff::ToSpan as _;
use jiff::civil::Date;
use jiff::tz::TimeZoneDatabase;

use super::super::model::{
    Existing, JournalPlace, JournalSettings, LoadSettings, SecretRef, Window, WindowKind,
};
use super::Reader;
use super::problems::nearest;
use super::table::{At, Table};
use crate::ids::PhaseName;
use crate::operation::Operation;

/// Five seconds: a dead executor's phase rests no longer than that, and a slow database keeps a live one's.
const LEASE: Duration = Duration::from_secs(5);
/// A third of it is what a holder has left to stop in.
const SHORTEST_LEASE: Duration = Duration::from_millis(500);
/// The fields of a cron expression, and what each may be.
const FIELDS: [(&str, &str); 5] = [
    ("minute", "0 to 59"),
    ("hour", "0 to 23"),
    ("day of month", "1 to 31"),
    ("month", "1 to 12 or JAN to DEC, a range from its earlier end to its later"),
    ("day of week", "0 (Sunday) to 7 or SUN to SAT, a range from its earlier end to its later"),
];
/// PostgreSQL's block.
const BLOCK: u64 = 8192;

/// Whether the expression has a day in the 28 years after which the calendar's days and weekdays are the same again.
fn comes(cron: &Cron) -> bool {
    let mut days = Date::constant(2024, 1, 1).series(1.day());
    days.by_ref().take(28 * 366).any(|day| {
        let month = u32::from(day.month().unsigned_abs());
        let weekday = u32::from(day.weekday().to_sunday_zero_offset().unsigned_abs());
        let matches = |given: Result<bool, CronError>| given.unwrap_or(false);
        matches(cron.pattern.month_match(month))
            && matches(cron.pattern.day_match(
                i32::from(day.year()),
                month,
                u32::from(day.day().unsigned_abs()),
                Weekday::from_days_from_sunday(weekday),
            ))
    })
}

impl Reader<'_> {
    pub(super) fn journal(&mut self, table: &Table<'_>) -> Option<JournalSettings> {
        let place = table.text("url").and_then(|at| self.place(&at));
        let lease_term = self.length(table.text("lease"), LEASE);
        if lease_term < SHORTEST_LEASE
            && let Some(at) = table.text("lease")
        {
            self.problems.add(&at.span, "a lease shorter than 500ms would be lost under load");
        }
        let signing_key = self.secret(table.text("signing_key"), "signing_key", "key is kept");
        if table.text("signing_key").is_none() {
            self.problems
                .warn(&table.span, "without `signing_key` the journal cannot prove itself to an auditor");
        }
        let witness_file = self.filled(table.text("witness"), "witness");
        let settings = JournalSettings { place: place?, lease_term, signing_key, witness_file };
        self.check_witness(table, &settings);
        Some(settings)
    }

    fn place(&mut self, At { value, span }: &At<&str>) -> Option<JournalPlace> {
        match value.split_once(':') {
            Some(("sqlite", file)) if !file.is_empty() => Some(JournalPlace::Sqlite(file.to_owned())),
            Some(("env" | "file", rest)) if !rest.is_empty() => {
                SecretRef::parse(value).map(JournalPlace::Postgres)
            }
            Some(("postgres" | "postgresql", _)) => {
                self.problems.add(
                    span,
                    "the journal's `url` must say where the postgres:// URL is kept, env:NAME or file:PATH, never the URL itself",
                );
                None
            }
            other => {
                // What stands there may be the secret itself, so only its kind is named.
                let kinds = [("sqlite", "sqlite:FILE"), ("env", "env:NAME"), ("file", "file:PATH")];
                let meant = other
                    .and_then(|(word, _)| nearest(word, kinds.map(|(kind, _)| kind)))
                    .and_then(|near| kinds.into_iter().find(|(kind, _)| *kind == near))
                    .map(|(_, form)| form.to_owned());
                self.problems.suggest(
                    span,
                    "the journal's `url` must be sqlite:FILE, or env:NAME or file:PATH where a postgres:// URL is kept",
                    meant,
                );
                None
            }
        }
    }

    pub(super) fn load(&mut self, table: Option<&Table<'_>>) -> LoadSettings {
        let mut load = LoadSettings {
            lanes: 2,
            chunk_bytes: 8 * 1024 * 1024,
            bytes_per_second: None,
            existing: Existing::Check,
        };
        let Some(table) = table else { return load };
        if let Some(At { value, span }) = table.number("lanes") {
            match u16::try_from(value) {
                Ok(lanes @ 1..=32) => load.lanes = lanes,
                _ => self.problems.add(&span, "`lanes` must be from 1 to 32"),
            }
        }
        if let Some(At { value, span }) = table.number("chunk_bytes") {
            load.chunk_bytes = value;
            if value < BLOCK {
                self.problems.add(&span, "`chunk_bytes` must be at least one block, 8192");
            }
        }
        if let Some(at) = table.number("bytes_per_second") {
            self.problems.add(
                &at.span,
                "this version reads as fast as it can and has no `bytes_per_second`: remove it, and load with fewer `lanes`",
            );
        }
        if let Some(at) = table.text("existing").filter(|at| at.value == "recreate") {
            self.problems.suggest(
                &at.span,
                "this version never drops a table on the target: say \"check\", and drop the table yourself before the start",
                Some("\"check\"".to_owned()),
            );
        }
        load
    }

    pub(super) fn windows(&mut self, tables: &[Table<'_>], phases: &[PhaseName]) -> Vec<Window> {
        tables.iter().filter_map(|table| self.window(table, phases)).collect()
    }

    fn window(&mut self, table: &Table<'_>, known: &[PhaseName]) -> Option<Window> {
        let kind = table.word("kind", &["allowed", "frozen"]).map(|at| match at.value {
            "allowed" => WindowKind::Allowed,
            _ => WindowKind::Frozen,
        });
        let cron = table.text("cron").and_then(|at| self.cron(&at));
        let lasts = table.text("lasts").map(|at| self.length(Some(at), Duration::from_secs(60)));
        self.check_window(table, lasts);
        let time_zone = match table.text("time_zone") {
            Some(at) => self.time_zone(&at),
            None => Some("UTC".to_owned()),
        };
        let operations = match table.texts("operations") {
            Some(list) => {
                if list.value.is_empty() {
                    self.problems.add(
                        &list.span,
                        "a window about no operation says nothing: name one, or leave `operations` out",
                    );
                }
                let keys = Operation::ALL.map(super::super::key);
                let meant: Vec<_> =
                    list.value.iter().filter_map(|given| super::shape::word(given.value, &keys)).collect();
                Operation::ALL.into_iter().filter(|each| meant.contains(&super::super::key(*each))).collect()
            }
            // Those that open a side.
            None => BTreeSet::from([Operation::Cutover, Operation::Failback]),
        };
        let phases = self.phase_names(table.texts("phases"), known);
        let why = self.filled(table.text("why"), "why");
        Some(Window {
            kind: kind?,
            cron: cron?,
            lasts: lasts?,
            time_zone: time_zone?,
            operations,
            phases: phases.into_iter().map(|at| at.value).collect(),
            why,
        })
    }

    /// Names of phases, each of which the plan has.
    pub(super) fn phase_names(
        &mut self,
        list: Option<At<Vec<At<&str>>>>,
        known: &[PhaseName],
    ) -> Vec<At<PhaseName>> {
        let mut names: Vec<At<PhaseName>> = Vec::new();
        for given in list.map(|list| list.value).unwrap_or_default() {
            let found = known.iter().find(|name| name.as_str() == given.value);
            match found {
                Some(name) if names.iter().any(|other| other.value == *name) => {
                    self.problems.add(&given.span, format!("the phase {name} is named twice"));
                }
                Some(name) => names.push(At { value: name.clone(), span: given.span }),
                // That the plan has no phases at all is told once.
                None if known.is_empty() => {}
                None => {
                    let meant = nearest(given.value, known.iter().map(PhaseName::as_str)).map(str::to_owned);
                    let mut what = format!("the plan has no phase `{}`", given.value);
                    if meant.is_none() {
                        let known: Vec<&str> = known.iter().map(PhaseName::as_str).collect();
                        what.push_str(&format!(": expected one of {}", known.join(", ")));
                    }
                    self.problems.suggest(&given.span, what, meant);
                }
            }
        }
        names
    }

    fn cron(&mut self, At { value, span }: &At<&str>) -> Option<String> {
        let fields = value.split_whitespace().count();
        if fields != 5 {
            self.problems.add(
                span,
                format!(
                    "`{value}` has {fields} field{}: expected minute, hour, day of month, month and day of week, as in \
                     0 22 * * MON-FRI",
                    if fields == 1 { "" } else { "s" }
                ),
            );
            return None;
        }
        let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
        match parser.parse(value) {
            Ok(cron) if !comes(&cron) => {
                self.problems.add(span, format!("`{value}` never comes: no month has such a day"));
                None
            }
            Ok(_) => Some(value.split_whitespace().collect::<Vec<_>>().join(" ").to_uppercase()),
            Err(error) => {
                let field =
                    FIELDS.iter().zip(value.split_whitespace()).enumerate().find(|(at, (_, field))| {
                        let mut alone = ["*"; FIELDS.len()];
                        if let Some(place) = alone.get_mut(*at) {
                            *place = field;
                        }
                        parser.parse(&alone.join(" ")).is_err()
                    });
                let why = match field {
                    Some((_, ((name, range), field))) => {
                        format!("the {name} `{field}` is not understood, expected {range}")
                    }
                    None => error.to_string(),
                };
                self.problems.add(span, format!("`{value}` is no cron expression: {why}"));
                None
            }
        }
    }

    fn time_zone(&mut self, At { value, span }: &At<&str>) -> Option<String> {
        // The names that the program brings along: what a plan means does not depend on the machine.
        let zones = TimeZoneDatabase::bundled();
        let known: Vec<String> = zones.available().map(|name| name.as_str().to_owned()).collect();
        if let Some(name) = known.iter().find(|name| name.as_str() == *value) {
            return Some(name.clone());
        }
        let meant = nearest(value, known.iter().map(String::as_str)).map(str::to_owned);
        self.problems.suggest(
            span,
            format!("`{value}` is no time zone: expected an IANA name, as in Europe/Berlin"),
            meant,
        );
        None
    }
}
