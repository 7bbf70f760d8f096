//! Order-free hashes of rows.
//!
//! A row is hashed as the bytes in which it travels: PostgreSQL's own text, under pinned settings, so that nothing is
//! decoded and no collation or equality of a type has a say (its own record hash takes -0.0 for 0.0 and 1.0 for 1.00,
//! and fails on json). Sums of 128 bits do not depend on the order of rows; the count beside them tells rows that
//! cancel out.

use std::fmt;

use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

/// The sum of rows' hashes, and their number.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RowSum {
    /// How many.
    pub rows: u64,
    /// The wrapping sum of their XXH3 128-bit hashes.
    pub hash: u128,
}

impl RowSum {
    /// Adds a row's bytes.
    pub fn add(&mut self, row: &[u8]) {
        self.rows += 1;
        self.hash = self.hash.wrapping_add(xxh3_128(row));
    }

    /// Adds every line of a piece of copy text. Newlines inside values are escaped there.
    pub fn add_lines(&mut self, text: &[u8]) {
        for line in text.split_inclusive(|byte| *byte == b'\n') {
            self.add(line);
        }
    }

    /// Adds another sum.
    pub const fn join(&mut self, other: Self) {
        self.rows += other.rows;
        self.hash = self.hash.wrapping_add(other.hash);
    }
}

impl fmt::Display for RowSum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.hash)
    }
}

/// How many buckets a table is compared in: at 4 M rows, a thousand rows a bucket to look through again.
pub const BUCKETS: usize = 4096;

/// A whole table as sums in buckets of its key's hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Buckets(Vec<RowSum>);

impl Default for Buckets {
    fn default() -> Self {
        Self(vec![RowSum::default(); BUCKETS])
    }
}

/// The bucket of a key's bytes.
#[must_use]
pub fn bucket(key: &[u8]) -> usize {
    usize::try_from(xxh3_64(key)).unwrap_or(0) % BUCKETS
}

/// The first `parts` fields of a line of copy text: the key, where the select puts it first. Tabs inside values are
/// escaped there.
#[must_use]
pub fn key_of(line: &[u8], parts: usize) -> &[u8] {
    let end = line
        .iter()
        .enumerate()
        .filter(|(_, byte)| matches!(byte, b'\t' | b'\n'))
        .nth(parts.saturating_sub(1))
        .map_or(line.len(), |(at, _)| at);
    line.get(..end).unwrap_or(line)
}

impl Buckets {
    /// Adds a line whose first `parts` fields are its key.
    pub fn add(&mut self, line: &[u8], parts: usize) {
        if let Some(sum) = self.0.get_mut(bucket(key_of(line, parts))) {
            sum.add(line);
        }
    }

    /// The whole table's sum.
    #[must_use]
    pub fn total(&self) -> RowSum {
        let mut total = RowSum::default();
        for sum in &self.0 {
            total.join(*sum);
        }
        total
    }

    /// The buckets in which two tables differ, each with the greater number of rows of the two.
    #[must_use]
    pub fn differing(&self, other: &Self) -> Vec<(usize, u64)> {
        let pairs = self.0.iter().zip(&other.0).enumerate();
        pairs.filter(|(_, (a, b))| a != b).map(|(at, (a, b))| (at, a.rows.max(b.rows))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_does_not_depend_on_the_order_of_rows() {
        let (mut one, mut other) = (RowSum::default(), RowSum::default());
        one.add_lines(b"1\ta\n2\tb\n");
        other.add_lines(b"2\tb\n");
        other.add_lines(b"1\ta\n");
        assert_eq!(one, other);
        other.add(b"1\ta\n");
        assert_ne!(one, other);
    }

    #[test]
    fn the_key_is_the_first_fields() {
        assert_eq!(key_of(b"1\ta\tx\n", 1), b"1");
        assert_eq!(key_of(b"1\ta\tx\n", 2), b"1\ta");
        assert_eq!(key_of(b"1\ta\n", 2), b"1\ta");
        assert_eq!(key_of(b"1", 1), b"1");
    }

    #[test]
    fn one_spoiled_cell_is_one_differing_bucket() {
        let (mut source, mut target) = (Buckets::default(), Buckets::default());
        for id in 0..1000 {
            source.add(format!("{id}\tsame\n").as_bytes(), 1);
            target.add(format!("{id}\t{}\n", if id == 7 { "other" } else { "same" }).as_bytes(), 1);
        }
        assert_eq!(source.differing(&target).len(), 1);
        assert_eq!(source.differing(&target)[0].0, bucket(b"7"));
        assert_eq!(source.total().rows, 1000);
    }
}
