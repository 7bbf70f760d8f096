//! Rules that came after plans had been adopted without them: they refuse what cannot be meant, and take away no plan that
//! a journal has.

use std::ops::Range;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use super::super::model::{JournalPlace, JournalSettings, SecretRef};
use super::Reader;
use super::table::{At, Table};

/// PostgreSQL's names are no longer, in bytes.
const LONGEST_NAME: usize = 63;
/// A leap year: a window that stays open for longer than until its next firing of a year is always open.
const LONGEST_WINDOW: Duration = Duration::from_secs(366 * 24 * 3600);

/// A path without what says nothing in it.
fn plain(path: &str) -> PathBuf {
    Path::new(path).components().filter(|part| *part != Component::CurDir).collect()
}

fn same_secret(one: &SecretRef, other: &SecretRef) -> bool {
    match (one, other) {
        (SecretRef::File(one), SecretRef::File(other)) => plain(one) == plain(other),
        _ => one == other,
    }
}

/// Why no table can be meant by a name or a pattern with its schema, if none can.
fn no_table(given: &str) -> Option<String> {
    if given.chars().any(char::is_control) {
        return Some(format!(
            "`{given}` holds a control character: expected schema.table, as the catalog spells it"
        ));
    }
    let (schema, table) = given.split_once('.')?;
    for (part, name) in [("schema", schema), ("table", table)] {
        let letters = name.bytes().filter(|byte| *byte != b'*').count();
        if letters > LONGEST_NAME {
            return Some(format!(
                "the {part}'s name `{name}` has {letters} bytes: expected at most {LONGEST_NAME}, as PostgreSQL's names have"
            ));
        }
    }
    if schema == "_switchyard" {
        return Some(format!(
            "`{given}` is Switchyard's own: each side keeps what is in that schema; expected the application's tables"
        ));
    }
    if schema == "information_schema" || schema.starts_with("pg_") {
        return Some(format!(
            "`{given}` is PostgreSQL's own: each server keeps what is in that schema; expected the application's tables"
        ));
    }
    None
}

impl Reader<'_> {
    /// Refuses a table's name, or a pattern's, that no database could have or no phase may move.
    pub(super) fn check_table(&mut self, given: &str, span: &Range<usize>) {
        if self.is_new
            && let Some(what) = no_table(given)
        {
            self.problems.add(span, what);
        }
    }

    /// Refuses a migration whose databases are one, and a journal that is one of them.
    pub(super) fn check_sides(
        &mut self,
        migration: Option<&Table<'_>>,
        (source, target): (Option<&SecretRef>, Option<&SecretRef>),
        (table, journal): (Option<&Table<'_>>, Option<&JournalSettings>),
    ) {
        if !self.is_new {
            return;
        }
        if let (Some(source), Some(target)) = (source, target)
            && same_secret(source, target)
            && let Some(at) = migration.and_then(|table| table.text("target"))
        {
            self.problems.add(
                &at.span,
                "`target` is the same reference as `source`, so both are one database: name where the target's own connection \
                 string is kept",
            );
        }
        let Some(JournalPlace::Postgres(kept)) = journal.map(|journal| &journal.place) else { return };
        for (side, secret) in [("source", source), ("target", target)] {
            if secret.is_some_and(|secret| same_secret(secret, kept))
                && let Some(at) = table.and_then(|table| table.text("url"))
            {
                self.problems.add(
                    &at.span,
                    format!(
                        "the journal's `url` is the same reference as the {side}'s: the journal has to outlive both sides and \
                         has a role of its own; name where another database's URL is kept, or sqlite:FILE"
                    ),
                );
                return;
            }
        }
    }

    /// Refuses a witness that is the journal itself, or the key.
    pub(super) fn check_witness(&mut self, table: &Table<'_>, journal: &JournalSettings) {
        let Some(at) = table.text("witness").filter(|_| self.is_new) else { return };
        let witness = plain(at.value);
        let taken = match (&journal.place, &journal.signing_key) {
            (JournalPlace::Sqlite(file), _) if plain(file) == witness => "the journal's own file",
            (_, Some(SecretRef::File(file))) if plain(file) == witness => "the file of the signing key",
            _ => return,
        };
        self.problems.add(
            &at.span,
            format!(
                "`witness` names {taken}: expected a file of its own, that each signed log checkpoint is appended to"
            ),
        );
    }

    /// Refuses a window that says nothing, or never closes.
    pub(super) fn check_window(&mut self, table: &Table<'_>, lasts: Option<Duration>) {
        if !self.is_new {
            return;
        }
        if let Some(list) = table.texts("phases").filter(|list| list.value.is_empty()) {
            self.problems.add(
                &list.span,
                "a window for no phase says nothing: name one, or leave `phases` out for all",
            );
        }
        if lasts.is_some_and(|lasts| lasts > LONGEST_WINDOW)
            && let Some(At { span, .. }) = table.text("lasts")
        {
            self.problems.add(
                &span,
                "`lasts` is longer than a year: expected at most 8784h, which is 366 days; where a window should never close, \
                 leave it out",
            );
        }
    }
}
