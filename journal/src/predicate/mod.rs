//! The phase's filter: one expression over the columns of a table, written once in the plan and read everywhere.
//!
//! The language is small, so that one reading of it can be exact: a column compared with literals (`=`, `<>`, `<`, `<=`,
//! `>`, `>=`, `IN`, `BETWEEN`, `IS NULL`), joined by `AND`, `OR`, `NOT`. Logic has three values, as in SQL: a row belongs
//! to a phase only where its filter is TRUE, so neither where it is FALSE nor where it is unknown.

mod column_type;
mod decimal;
mod disjoint;
mod expression;
mod moment;
mod read;
#[cfg(test)]
mod tests;
mod typed;
mod words;

use std::collections::BTreeSet;
use std::fmt;

use serde::{Serialize, Serializer};

pub use column_type::{CatalogType, Collation, ColumnType};
use expression::{Expression, Literal};
pub use typed::{RowProblem, Typed, Value};

/// A filter in the predicate language, checked as far as one can without knowing the columns' types.
///
/// Two are equal if their canonical texts are: spacing, the case of key words and names, needless parentheses and the
/// writing of numbers do not count; the order of the parts does.
#[derive(Debug, Clone)]
pub struct Predicate {
    expression: Expression<Literal>,
    text: String,
}

/// What is wrong with a filter, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct PredicateProblem {
    /// Where it is, in bytes from the start of the text that was parsed.
    pub at: usize,
    /// What is wrong.
    pub what: String,
    /// What was probably meant.
    pub suggestion: Option<String>,
}

impl Predicate {
    /// Reads one, as PostgreSQL would with `standard_conforming_strings = on`.
    ///
    /// # Errors
    /// The text is no expression, or has a part that the language has not; the first such part is named.
    pub fn parse(text: &str) -> Result<Self, PredicateProblem> {
        let expression = read::read(text)?;
        let text = expression.to_string();
        // The journal keeps the canonical text, so that has to be read again, too.
        match read::read(&text) {
            Ok(_) => Ok(Self { expression, text }),
            Err(problem) => Err(PredicateProblem { at: 0, ..problem }),
        }
    }

    /// Refuses the spellings that can be read and that the language has not. Plans were adopted with them, whose filters
    /// stay what they are.
    pub(crate) fn spelt(text: &str) -> Result<(), PredicateProblem> {
        read::spelt(text)
    }

    /// The columns it asks about.
    #[must_use]
    pub fn columns(&self) -> BTreeSet<&str> {
        let mut columns = BTreeSet::new();
        self.expression.each_test(&mut |test| {
            columns.insert(test.column.as_str());
        });
        columns
    }

    /// Whether it is proven that no row belongs to both, whatever the columns' types are: a proof without types uses
    /// only what holds under every type that takes the literals. With types more can be proven, never less.
    #[must_use]
    pub fn disjoint(&self, other: &Self) -> bool {
        disjoint::disjoint(&self.expression, &other.expression, |_| None)
    }
}

impl fmt::Display for Predicate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl PartialEq for Predicate {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Predicate {}

impl PartialOrd for Predicate {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Predicate {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.text.cmp(&other.text)
    }
}

impl Serialize for Predicate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}
