//! A phase: its tables, its filters, its limits, its lever.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use super::super::model::{FailbackDeadline, LeverSettings, PhasePlan, TablePattern};
use super::Reader;
use super::problems::nearest;
use super::schema::LEVERS;
use super::table::{At, Table};
use crate::ids::{PhaseName, TableName};
use crate::predicate::Predicate;

/// A phase as far as it could be read, with the places that the rules across the plan need.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) name: At<PhaseName>,
    pub(super) tables: Vec<At<TableName>>,
    pub(super) patterns: Vec<At<TablePattern>>,
    pub(super) filter: Option<Predicate>,
    pub(super) filters: BTreeMap<TableName, Predicate>,
    /// Whether a filter could not be read: then nothing is said of what the phase shares.
    pub(super) unread: bool,
    pub(super) after: Vec<At<PhaseName>>,
    limits: Limits,
    pub(super) lever: Option<LeverSettings>,
    /// Where its lever's entry is named.
    pub(super) entry: Range<usize>,
}

#[derive(Debug)]
struct Limits {
    max_downtime: Duration,
    undo_reserve: Duration,
    fence_patience: Duration,
    terminate_blockers: bool,
    lag_limit: Duration,
    failback_deadline: FailbackDeadline,
}

impl Draft {
    /// The whole phase, if all of it could be read.
    pub(super) fn whole(self) -> Option<PhasePlan> {
        fn values<T>(list: Vec<At<T>>) -> Vec<T> {
            list.into_iter().map(|at| at.value).collect()
        }
        Some(PhasePlan {
            name: self.name.value,
            tables: values(self.tables),
            patterns: values(self.patterns),
            filter: self.filter,
            filters: self.filters,
            after: values(self.after),
            max_downtime: self.limits.max_downtime,
            undo_reserve: self.limits.undo_reserve,
            fence_patience: self.limits.fence_patience,
            terminate_blockers: self.limits.terminate_blockers,
            lag_limit: self.limits.lag_limit,
            failback_deadline: self.limits.failback_deadline,
            lever: self.lever?,
        })
    }
}

impl Reader<'_> {
    pub(super) fn phase(&mut self, table: &Table<'_>, known: &[PhaseName]) -> Option<Draft> {
        let name = self.name(table.text("name"), PhaseName::new);
        let (tables, patterns) = self.tables(table);
        let before = self.problems.count();
        let filter = table.text("filter").and_then(|at| self.filter(&at));
        let filters = table.table("filters").map(|inner| self.filters(&inner, &tables, &patterns));
        let unread = self.problems.count() > before;
        let limits = self.limits(table);
        let after = self.phase_names(table.texts("after"), known);
        let inner = table.table("lever");
        let lever = inner.as_ref().and_then(|inner| self.lever(inner));
        let entry = inner.as_ref().map_or_else(
            || table.span.clone(),
            |inner| inner.text("database").map_or_else(|| inner.span.clone(), |at| at.span),
        );
        let span = table.text("name").map_or_else(|| table.span.clone(), |at| at.span);
        Some(Draft {
            name: At { value: name?, span },
            tables,
            patterns,
            filter,
            filters: filters.unwrap_or_default(),
            unread,
            after,
            limits,
            lever,
            entry,
        })
    }

    fn tables(&mut self, table: &Table<'_>) -> (Vec<At<TableName>>, Vec<At<TablePattern>>) {
        let (mut tables, mut patterns): (Vec<At<TableName>>, Vec<At<TablePattern>>) =
            (Vec::new(), Vec::new());
        let Some(list) = table.texts("tables") else { return (tables, patterns) };
        if list.value.is_empty() {
            self.problems.add(&list.span, "a phase needs at least one table");
        }
        for At { value, span } in list.value {
            self.check_table(value, &span);
            if value.contains('*') {
                match TablePattern::new(value) {
                    Ok(pattern) if patterns.iter().any(|other| other.value == pattern) => {
                        self.problems.add(&span, format!("the pattern {pattern} is named twice"));
                    }
                    Ok(pattern) => patterns.push(At { value: pattern, span }),
                    Err(what) => self.problems.add(&span, what),
                }
                continue;
            }
            match value.parse::<TableName>() {
                Ok(name) if tables.iter().any(|other| other.value == name) => {
                    self.problems.add(&span, format!("the table {name} is named twice"));
                }
                Ok(name) => tables.push(At { value: name, span }),
                Err(error) => {
                    let meant =
                        (!value.is_empty() && !value.contains('.')).then(|| format!("public.{value}"));
                    self.problems.suggest(&span, error.to_string(), meant);
                }
            }
        }
        (tables, patterns)
    }

    fn filter(&mut self, at: &At<&str>) -> Option<Predicate> {
        let read = match Predicate::parse(at.value) {
            Ok(predicate) if self.is_new => Predicate::spelt(at.value).map(|()| predicate),
            read => read,
        };
        match read {
            Ok(predicate) => Some(predicate),
            Err(problem) => {
                let place = self.within(at, problem.at);
                self.problems.suggest(&place, problem.what, problem.suggestion);
                None
            }
        }
    }

    fn filters(
        &mut self,
        table: &Table<'_>,
        tables: &[At<TableName>],
        patterns: &[At<TablePattern>],
    ) -> BTreeMap<TableName, Predicate> {
        let mut filters = BTreeMap::new();
        for (key, text) in table.pairs() {
            self.check_table(key.value, &key.span);
            let name = match key.value.parse::<TableName>() {
                Ok(name) => Some(name),
                Err(error) => {
                    self.problems.add(&key.span, error.to_string());
                    None
                }
            };
            if let Some(name) = &name
                && !tables.iter().any(|table| table.value == *name)
                && !patterns.iter().any(|pattern| pattern.value.matches(name))
            {
                let known: Vec<String> = tables.iter().map(|table| table.value.to_string()).collect();
                let meant = nearest(key.value, known.iter().map(String::as_str)).map(str::to_owned);
                self.problems.suggest(
                    &key.span,
                    format!("the phase has no table {name}, which this filter is for"),
                    meant,
                );
            }
            let predicate = self.filter(&text);
            if let (Some(name), Some(predicate)) = (name, predicate) {
                filters.insert(name, predicate);
            }
        }
        filters
    }

    fn limits(&mut self, table: &Table<'_>) -> Limits {
        let max_downtime = self.length(table.text("max_downtime"), Duration::from_secs(60));
        // A quarter is enough for an undo, and no undo needs more than ten seconds.
        let reserve = (max_downtime / 4).min(Duration::from_secs(10));
        let undo_reserve = self.length(table.text("undo_reserve"), reserve);
        if undo_reserve >= max_downtime {
            let span = table.text("undo_reserve").or_else(|| table.text("max_downtime"));
            let span = span.map_or_else(|| table.span.clone(), |at| at.span);
            self.problems
                .add(&span, "`undo_reserve` must be shorter than `max_downtime`, of which it is a part");
        }
        Limits {
            max_downtime,
            undo_reserve,
            fence_patience: self.length(table.text("fence_patience"), Duration::from_secs(5)),
            terminate_blockers: table.flag("terminate_blockers").unwrap_or(false),
            lag_limit: self.length(table.text("lag_limit"), Duration::from_secs(2)),
            failback_deadline: match table.word("failback_deadline", &["hold", "return"]) {
                Some(At { value: "return", .. }) => FailbackDeadline::Return,
                _ => FailbackDeadline::Hold,
            },
        }
    }

    /// An entry's connect string. The plan's text is journalled and shown, so no password may stand in it.
    fn open_place(&mut self, table: &Table<'_>, key: &str) -> Option<String> {
        let given = self.filled(table.text(key), key)?;
        if given.to_ascii_lowercase().contains("password")
            && let Some(at) = table.text(key)
        {
            self.problems.add(
                &at.span,
                format!(
                    "`{key}` holds a password, and everybody reads a plan: keep it in pgbouncer's auth_file, or in the \
                     entry of its ini, where it stays as it is"
                ),
            );
            return None;
        }
        Some(given)
    }

    fn lever(&mut self, table: &Table<'_>) -> Option<LeverSettings> {
        match table.word("kind", LEVERS)?.value {
            "pgbouncer" => {
                let admin = self.secret(table.text("admin"), "admin", "console's connection string is kept");
                let ini = self.filled(table.text("ini"), "ini");
                let database = self.filled(table.text("database"), "database");
                let source = self.open_place(table, "source");
                let target = self.open_place(table, "target");
                let pause_limit = self.length(table.text("pause_limit"), Duration::from_secs(5));
                Some(LeverSettings::Pgbouncer {
                    admin: admin?,
                    ini: ini?,
                    database: database?,
                    source: source?,
                    target: target?,
                    pause_limit,
                })
            }
            _ => {
                let stop = self.call(table, "stop");
                let observe = self.call(table, "observe");
                let route = self.call(table, "route");
                let resume = self.call(table, "resume");
                let timeout = self.length(table.text("timeout"), Duration::from_secs(10));
                Some(LeverSettings::Command {
                    stop: stop?,
                    observe: observe?,
                    route: route?,
                    resume: resume?,
                    timeout,
                })
            }
        }
    }

    /// A program and its arguments.
    fn call(&mut self, table: &Table<'_>, key: &str) -> Option<Vec<String>> {
        let list = table.texts(key)?;
        if list.value.first().is_none_or(|program| program.value.is_empty()) {
            self.problems.add(&list.span, format!("`{key}` needs at least a program's name"));
            return None;
        }
        Some(list.value.into_iter().map(|at| at.value.to_owned()).collect())
    }

    /// The place of a byte of a text, where the text stands in the file as it is; else the text's own.
    fn within(&self, at: &At<&str>, byte: usize) -> Range<usize> {
        let raw = self.text.get(at.span.clone()).unwrap_or_default();
        let quoted = |quotes: usize| {
            raw.len()
                .checked_sub(quotes)
                .and_then(|end| raw.get(quotes..end))
                .is_some_and(|text| text == at.value)
        };
        let quotes = [3, 1].into_iter().find(|quotes| quoted(*quotes));
        quotes.map_or_else(
            || at.span.clone(),
            |quotes| {
                let start = at.span.start + quotes + byte;
                start..at.span.end.max(start)
            },
        )
    }
}

/// The filter of a table of a phase: its own, or the phase's.
pub(super) fn filter_of<'d>(draft: &'d Draft, table: &TableName) -> Option<&'d Predicate> {
    draft.filters.get(table).or(draft.filter.as_ref())
}
