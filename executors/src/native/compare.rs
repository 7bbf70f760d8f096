//! Rows of one table on both sides, compared by their bytes.

use std::collections::{BTreeMap, BTreeSet};

use journal::{Finding, Side, TableName};
use xxhash_rust::xxh3::xxh3_128;

use crate::native::hash::{Buckets, bucket, key_of};
use crate::native::plane::Plane;
use crate::native::{Cell, TableShape};
use crate::postgres::copy::{cells, each_line, keyed_select, whole_select};
use crate::postgres::database::Session;
use crate::seams::Cause;

/// How many differing keys a finding names.
pub(super) const NAMED: usize = 5;

/// A table on both sides: a transaction under its snapshot each, source first.
pub(super) struct Pair<'p> {
    pub(super) plane: &'p Plane,
    pub(super) source: &'p Session,
    pub(super) target: &'p Session,
    pub(super) shape: &'p TableShape,
    pub(super) order: Vec<usize>,
}

/// A key that differs: its text for people, and what of it is where.
pub(super) struct Differing {
    pub(super) key: String,
    pub(super) how: String,
}

impl Pair<'_> {
    fn fault(&self, side: Side) -> impl Fn(tokio_postgres::Error) -> Cause + '_ {
        move |error| {
            self.plane.side(side).cause(&format!("does not give {} to be compared", self.shape.table), &error)
        }
    }

    /// Every line of the same select on both sides.
    async fn both(
        &self,
        select: &str,
        mut source: impl FnMut(&[u8]),
        mut target: impl FnMut(&[u8]),
    ) -> Result<(), Cause> {
        let reads = futures::future::join(
            each_line(self.source, select, &mut source),
            each_line(self.target, select, &mut target),
        );
        let (from_source, from_target) = reads.await;
        from_source.map_err(self.fault(Side::Source))?;
        from_target.map_err(self.fault(Side::Target))
    }

    /// The whole table in buckets, on both sides.
    pub(super) async fn buckets(&self) -> Result<(Buckets, Buckets), Cause> {
        let parts = self.shape.key.len();
        let (mut source, mut target) = (Buckets::default(), Buckets::default());
        let select = whole_select(self.shape, &self.order);
        self.both(&select, |line| source.add(line, parts), |line| target.add(line, parts)).await?;
        Ok((source, target))
    }

    /// The keys that differ in these buckets, as copy text.
    pub(super) async fn differing_keys(&self, among: &BTreeSet<usize>) -> Result<Vec<Vec<u8>>, Cause> {
        let parts = self.shape.key.len();
        let (mut source, mut target) = (BTreeMap::new(), BTreeMap::new());
        let gather = |into: &mut BTreeMap<Vec<u8>, u128>, line: &[u8]| {
            let key = key_of(line, parts);
            if among.contains(&bucket(key)) {
                into.insert(key.to_vec(), xxh3_128(line));
            }
        };
        let select = whole_select(self.shape, &self.order);
        self.both(&select, |line| gather(&mut source, line), |line| gather(&mut target, line)).await?;
        let mut keys: BTreeSet<&Vec<u8>> = source.keys().collect();
        keys.extend(target.keys());
        Ok(keys.into_iter().filter(|key| source.get(*key) != target.get(*key)).cloned().collect())
    }

    /// The rows of these keys on both sides, by their key's copy text.
    pub(super) async fn rows(&self, keys: &[Vec<String>]) -> Result<[BTreeMap<Vec<u8>, Vec<u8>>; 2], Cause> {
        let parts = self.shape.key.len();
        let (mut source, mut target) = (BTreeMap::new(), BTreeMap::new());
        let gather = |into: &mut BTreeMap<Vec<u8>, Vec<u8>>, line: &[u8]| {
            into.insert(key_of(line, parts).to_vec(), line.to_vec());
        };
        let select = keyed_select(self.shape, &self.order, keys);
        self.both(&select, |line| gather(&mut source, line), |line| gather(&mut target, line)).await?;
        Ok([source, target])
    }

    /// How two rows of one key differ, without their values; none if they do not.
    fn how(&self, source: Option<&Vec<u8>>, target: Option<&Vec<u8>>) -> Option<String> {
        match (source, target) {
            (None, None) => None,
            (Some(_), None) => Some("is missing at the target".to_owned()),
            (None, Some(_)) => Some("is at the target but not at the source".to_owned()),
            (Some(source), Some(target)) if source == target => None,
            (Some(source), Some(target)) => {
                let (source, target) = (cells(source), cells(target));
                let at = source.iter().zip(&target).position(|(a, b)| a != b)?;
                let column = self.order.get(at).and_then(|at| self.shape.columns.get(*at))?;
                Some(format!("differs in column {column}"))
            }
        }
    }

    /// Names how rows differ, in the keys' order.
    pub(super) fn compare(&self, rows: &[BTreeMap<Vec<u8>, Vec<u8>>; 2]) -> Vec<Differing> {
        let [source, target] = rows;
        let mut keys: BTreeSet<&Vec<u8>> = source.keys().collect();
        keys.extend(target.keys());
        keys.into_iter()
            .filter_map(|key| {
                let how = self.how(source.get(key), target.get(key))?;
                Some(Differing { key: key_texts(key).join(", "), how })
            })
            .collect()
    }
}

/// A key's copy text as its values.
pub(super) fn key_texts(key: &[u8]) -> Vec<String> {
    cells(key)
        .into_iter()
        .map(|cell| match cell {
            Cell::Text(text) => String::from_utf8_lossy(&text).into_owned(),
            Cell::Null | Cell::Unchanged => String::new(),
        })
        .collect()
}

/// The finding of rows that differ, of which these are named.
pub(super) fn finding(found: &[(TableName, Differing)], count: u64, is_all: bool) -> Finding {
    let named: Vec<String> =
        found.iter().map(|(table, row)| format!("{table} key ({}) {}", row.key, row.how)).collect();
    let at_least = if is_all { "" } else { "at least " };
    let rows = if count == 1 { "row" } else { "rows" };
    let more = if count > u64::try_from(found.len()).unwrap_or(0) { "; and others" } else { "" };
    Finding {
        code: "SW-0401".to_owned(),
        what: format!("source and target differ in {at_least}{count} {rows}: {}{more}", named.join("; ")),
        remedy:
            "Find out who wrote there, make the rows equal on the side that takes no traffic, and `retry`."
                .to_owned(),
    }
}
