//! Names and literals in SQL, quoted by the one place that does so.

use journal::TableName;
pub use journal::quote::{ident, literal};

/// A table with its schema, both quoted.
#[must_use]
pub fn table(name: &TableName) -> String {
    format!("{}.{}", ident(&name.schema), ident(&name.table))
}
