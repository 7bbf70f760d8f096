//! From TOML to a checked plan: everything that is wrong at once, each with its place and what was probably meant.
//!
//! A misspelt key is told once. It is then read as the key that was meant, so that the rest of its table is looked at too
//! and nobody is told that the right key is missing.

mod cross;
mod later;
mod people;
mod phase;
mod problems;
mod schema;
mod settings;
mod shape;
mod table;

use std::ops::Range;
use std::time::Duration;

use toml::de::DeTable;

use super::model::{Plan, PlanProblem, PlanProblems, SecretRef};
use crate::ids::{MigrationName, NameError, PhaseName};

pub use schema::keys;

use super::may_have_role;
pub(super) use problems::without_secrets;
pub(super) use shape::is_secret;

use problems::{Mended, Problems, original, with_changes};
use shape::{Unknown, Wrong};
use table::{At, Table};

/// More misspelt keys than this are told, but the ones after are not read as what was meant.
const MENDED_AT_MOST: usize = 200;

/// A plan, and what a person should know of it although it is right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    /// The plan.
    pub plan: Plan,
    /// What does not stop it, from the file's top to its end.
    pub warnings: Vec<PlanProblem>,
}

/// Reads one text.
struct Reader<'t> {
    text: &'t str,
    problems: Problems<'t>,
    /// Whether the rules count that came after plans had been adopted without them.
    is_new: bool,
    /// Whether all of the text is TOML: else what is missing may stand in the part that is not read.
    is_whole: bool,
}

impl Reader<'_> {
    /// A name that people chose.
    fn name<T>(
        &mut self,
        at: Option<At<&str>>,
        make: impl FnOnce(String) -> Result<T, NameError>,
    ) -> Option<T> {
        let At { value, span } = at?;
        match make(value.to_owned()) {
            Ok(name) => Some(name),
            Err(error) => {
                let meant: String = value
                    .trim()
                    .to_lowercase()
                    .chars()
                    .map(|c| if c.is_whitespace() { '-' } else { c })
                    .collect();
                let right = meant.len() <= 40 && MigrationName::new(meant.clone()).is_ok();
                self.problems.suggest(&span, error.to_string(), right.then_some(meant));
                None
            }
        }
    }

    fn length(&mut self, at: Option<At<&str>>, default: Duration) -> Duration {
        let Some(At { value, span }) = at else { return default };
        match problems::length(value) {
            Ok(length) => length,
            Err((what, meant)) => {
                self.problems.suggest(&span, what, meant);
                default
            }
        }
    }

    fn filled(&mut self, at: Option<At<&str>>, key: &str) -> Option<String> {
        let At { value, span } = at?;
        if value.trim().is_empty() {
            self.problems.add(&span, format!("`{key}` is empty"));
            return None;
        }
        Some(value.to_owned())
    }

    /// Where a secret is kept, never the secret.
    fn secret(&mut self, at: Option<At<&str>>, key: &str, what: &str) -> Option<SecretRef> {
        let At { value, span } = at?;
        let secret = SecretRef::parse(value);
        if secret.is_none() {
            // Whatever stands there may be the secret, so nothing of it is repeated.
            self.problems.add(
                &span,
                format!("`{key}` must say where the {what}, env:NAME or file:PATH, never the thing itself"),
            );
        }
        secret
    }

    /// The plan, if all of it could be read. Who could approve is only looked at where `people_are_whole`.
    fn plan(&mut self, root: &Table<'_>, people_are_whole: bool) -> Option<Plan> {
        let top = 0..0;
        let migration_table = root.table("migration");
        let text = |key: &str| migration_table.as_ref().and_then(|table| table.text(key));
        let migration = self.name(text("name"), MigrationName::new);
        let source = self.secret(text("source"), "source", "connection string is kept");
        let target = self.secret(text("target"), "target", "connection string is kept");
        let journal_table = root.table("journal");
        let journal = journal_table.as_ref().and_then(|table| self.journal(table));
        self.check_sides(
            migration_table.as_ref(),
            (source.as_ref(), target.as_ref()),
            (journal_table.as_ref(), journal.as_ref()),
        );
        let socket = root.table("serve").and_then(|table| self.filled(table.text("socket"), "socket"));
        let before = self.problems.count();
        let persons = root.tables("person");
        let groups = self.groups(&root.tables("group"));
        let people = self.people(&persons, &groups.iter().map(|group| group.platform).collect());
        let approvals = self.approvals(root.table("approvals").as_ref());
        let glass = root.table("break_glass");
        let break_glass = self.break_glass(glass.as_ref());
        if people_are_whole && !persons.is_empty() && self.problems.count() == before {
            let place: Range<usize> = persons
                .last()
                .and_then(|person| person.text("id"))
                .map(|at| at.span)
                .or_else(|| text("name").map(|at| at.span))
                .unwrap_or_else(|| top.clone());
            self.check_quorum((&people, &groups), &approvals, &place);
            if let Some(glass) = &glass
                && !people.values().any(|person| may_have_role(person, &groups, break_glass.role))
            {
                let span = glass.text("role").map_or_else(|| glass.span.clone(), |at| at.span);
                self.problems.add(&span, "nobody has the role that may break the glass");
            }
        }
        let load = self.load(root.table("load").as_ref());
        let phases = root.tables("phase");
        let known: Vec<PhaseName> = phases
            .iter()
            .filter_map(|phase| phase.text("name"))
            .filter_map(|at| PhaseName::new(at.value).ok())
            .collect();
        let windows = self.windows(&root.tables("window"), &known);
        let drafts: Vec<_> = phases.iter().filter_map(|phase| self.phase(phase, &known)).collect();
        self.check_phases(&drafts);
        self.check_order(&drafts);
        if self.is_new {
            self.check_entries(&drafts);
        }
        let phases = drafts.into_iter().map(phase::Draft::whole).collect::<Option<Vec<_>>>();
        Some(Plan {
            migration: migration?,
            source: source?,
            target: target?,
            journal: journal?,
            socket: socket.unwrap_or_else(|| "switchyard.sock".to_owned()),
            people,
            groups,
            approvals: approvals.policies,
            break_glass,
            windows,
            load,
            phases: phases?,
        })
    }
}

/// Every place of the text where an unknown key stands: its own, and for one of the plan's tables each header's.
fn occurrences(text: &str, unknown: &Unknown) -> Vec<Range<usize>> {
    let mut places = vec![unknown.span.clone()];
    if unknown.outermost {
        let mut start = 0;
        for line in text.split_inclusive('\n') {
            let bare = line.trim_start();
            if let Some(inner) = bare.strip_prefix("[[").or_else(|| bare.strip_prefix('[')) {
                let inner_trimmed = inner.trim_start();
                let rest = inner_trimmed.strip_prefix(unknown.given.as_str());
                if rest.is_some_and(|rest| rest.trim_start().starts_with([']', '.'])) {
                    let at = start + (line.len() - inner_trimmed.len());
                    places.push(at..at + unknown.given.len());
                }
            }
            start += line.len();
        }
    }
    places.sort_by_key(|place| place.start);
    places.dedup();
    places
}

/// Tells every misspelt key, and gives the text as it was probably meant, with what was changed in it.
fn mend(problems: &mut Problems<'_>, text: &str) -> (String, Vec<Mended>) {
    let mut mended: Vec<Mended> = Vec::new();
    let mut left: Vec<usize> = Vec::new();
    let mut read = text.to_owned();
    while mended.len() + left.len() < MENDED_AT_MOST {
        let (tree, errors) = DeTable::parse_recoverable(&read);
        let next = shape::look(tree.get_ref()).unknown.into_iter().find_map(|unknown| {
            let meant = unknown.meant?;
            let start = original(&mended, unknown.span.start);
            (!left.contains(&start)).then_some((unknown, meant, start))
        });
        let Some((unknown, meant, start)) = next else { break };
        let mut tried = mended.clone();
        for place in occurrences(&read, &unknown) {
            let start = original(&mended, place.start);
            tried.push(Mended { at: start..start + place.len(), with: meant });
        }
        tried.sort_by_key(|each| each.at.start);
        let changed = with_changes(text, &tried);
        // A key that stands there already would be there twice: then this one is told and passed over.
        if DeTable::parse_recoverable(&changed).1.len() > errors.len() {
            left.push(start);
            continue;
        }
        for each in tried.iter().filter(|each| !mended.iter().any(|old| old.at == each.at)) {
            problems.suggest(&each.at, unknown.what.clone(), Some(meant.to_owned()));
        }
        mended = tried;
        read = changed;
    }
    (read, mended)
}

/// The lines under headers that are no TOML: which table their keys are of cannot be said.
fn headless(text: &str, wrong: &[usize]) -> Vec<usize> {
    let mut lost = Vec::new();
    let mut under = false;
    for (number, line) in (1..).zip(text.lines()) {
        if line.trim_start().starts_with('[') {
            under = wrong.contains(&number);
        } else if under {
            lost.push(number);
        }
    }
    lost
}

impl Plan {
    /// Reads a plan.
    ///
    /// # Errors
    /// Everything that is wrong, each with its line and column.
    pub fn parse(text: &str) -> Result<Self, PlanProblems> {
        Self::read(text).map(|reading| reading.plan)
    }

    /// Reads a plan that a journal has adopted. A rule that came later does not take it away.
    ///
    /// # Errors
    /// Everything that was wrong already then.
    pub fn parse_adopted(text: &str) -> Result<Self, PlanProblems> {
        Self::read_as(text, false).map(|reading| reading.plan)
    }

    /// Reads a plan, and gives the warnings about it too.
    ///
    /// # Errors
    /// Everything that is wrong, each with its line and column.
    pub fn read(text: &str) -> Result<Reading, PlanProblems> {
        Self::read_as(text, true)
    }

    fn read_as(text: &str, is_new: bool) -> Result<Reading, PlanProblems> {
        let mut problems = Problems::new(text);
        let (read, mended) = mend(&mut problems, text);
        problems.reading(&mended);
        let (tree, errors) = DeTable::parse_recoverable(&read);
        let told = problems.count();
        for error in &errors {
            let span = error.span().unwrap_or(0..0);
            let what = match read.get(span.clone()) {
                Some(key) if error.message() == "duplicate key" => {
                    format!("the key `{}` stands here for the second time", key.trim_matches(['"', '\'']))
                }
                _ => error.message().to_owned(),
            };
            problems.add(&span, what);
        }
        let syntax = problems.lines(told);
        let lost = headless(text, &syntax);
        let kept = problems.count();
        let complete = errors.is_empty();
        let seen = shape::look(tree.get_ref());
        for unknown in seen.unknown {
            problems.suggest(&unknown.span, unknown.what, unknown.meant.map(str::to_owned));
        }
        let of_people = |wrong: &Wrong| {
            wrong.title == "[[person]]"
                || wrong.title.starts_with("[approvals")
                || wrong.title == "[break_glass]"
        };
        let people_are_whole = complete && !seen.wrong.iter().chain(&seen.missing).any(of_people);
        for wrong in seen.wrong {
            problems.suggest(&wrong.span, wrong.what, wrong.meant);
        }
        // Of a text that is no TOML, only a part is there: what is missing may stand in the rest.
        for missing in seen.missing.into_iter().filter(|_| complete) {
            problems.suggest(&missing.span, missing.what, missing.meant);
        }
        let mut reader = Reader { text: &read, problems, is_new, is_whole: complete };
        let plan = reader.plan(&Table::new(tree.get_ref(), 0..0), people_are_whole);
        let mut problems = reader.problems;
        problems.forget(|number, line| match number {
            number if number < told => lost.contains(&line),
            number if number < kept => false,
            _ => lost.contains(&line) || syntax.contains(&line),
        });
        let (wrong, warnings) = problems.into_parts();
        match plan {
            Some(plan) if wrong.is_empty() => Ok(Reading { plan, warnings }),
            _ => Err(PlanProblems(wrong)),
        }
    }
}
