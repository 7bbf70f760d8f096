//! The phase's filter: one expression over the columns of a table, written once in the plan and read everywhere.

use std::fmt;

use serde::Serialize;

/// A filter in the predicate language. Its text is canonical: two that mean the same by the same words are equal.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct Predicate(String);

impl fmt::Display for Predicate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
