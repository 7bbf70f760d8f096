//! Folding one window of changes by key, so that it can be written as sets.
//!
//! Two changes of one key in one set would be refused (21000), so each key keeps its last state. Deletes come before
//! upserts, so that a unique value may move from a deleted row to a new one. What sets cannot say in any order, a key
//! that changes or a row that is changed after its delete, sends the whole window down the other way: one by one.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use journal::TableName;

use crate::native::{Cell, Change, Row, TableShape};

/// What becomes of one table in a window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableWindow {
    /// The table.
    pub shape: Arc<TableShape>,
    /// Keys whose rows go, cells in key order.
    pub deletes: Vec<Row>,
    /// Whole rows that are there afterwards.
    pub upserts: Vec<Row>,
    /// Rows with unchanged cells, which must be there already, by which columns are present.
    pub updates: BTreeMap<Vec<bool>, Vec<Row>>,
}

enum Last {
    Gone(Row),
    There(Row),
}

/// The key's cells of a row, in key order.
#[must_use]
pub fn key_of(shape: &TableShape, row: &Row) -> Row {
    shape.key.iter().map(|at| row.get(*at).cloned().unwrap_or(Cell::Null)).collect()
}

fn ordered(key: &Row) -> Vec<Option<Bytes>> {
    key.iter()
        .map(|cell| match cell {
            Cell::Text(text) => Some(text.clone()),
            Cell::Null | Cell::Unchanged => None,
        })
        .collect()
}

/// A row with its unchanged cells taken from an earlier image of it.
fn completed(new: &Row, earlier: &Row) -> Row {
    new.iter()
        .enumerate()
        .map(|(at, cell)| match cell {
            Cell::Unchanged => earlier.get(at).cloned().unwrap_or(Cell::Unchanged),
            Cell::Null | Cell::Text(_) => cell.clone(),
        })
        .collect()
}

/// What became of each key in the end.
type LastByKey = BTreeMap<Vec<Option<Bytes>>, Last>;

/// Folds changes in their order. None: they must be written one by one.
#[must_use]
pub fn fold<'c>(changes: impl Iterator<Item = &'c Change>) -> Option<Vec<TableWindow>> {
    let mut tables: BTreeMap<TableName, (Arc<TableShape>, LastByKey)> = BTreeMap::new();
    for change in changes {
        let (shape, key, last) = match change {
            Change::Insert { shape, new } => (shape, key_of(shape, new), Last::There(new.clone())),
            Change::Update { old_key: Some(_), .. } => return None,
            Change::Update { shape, old_key: None, new } => {
                (shape, key_of(shape, new), Last::There(new.clone()))
            }
            Change::Delete { shape, key } => (shape, key.clone(), Last::Gone(key.clone())),
        };
        let rows =
            &mut tables.entry(shape.table.clone()).or_insert_with(|| (Arc::clone(shape), BTreeMap::new())).1;
        let place = ordered(&key);
        let folded = match (rows.get(&place), last) {
            (Some(Last::Gone(_)), Last::There(_)) if matches!(change, Change::Update { .. }) => return None,
            (Some(Last::There(earlier)), Last::There(new)) => Last::There(completed(&new, earlier)),
            (_, last) => last,
        };
        rows.insert(place, folded);
    }
    Some(tables.into_values().map(|(shape, rows)| window(shape, rows.into_values())).collect())
}

fn window(shape: Arc<TableShape>, rows: impl Iterator<Item = Last>) -> TableWindow {
    let mut window =
        TableWindow { shape, deletes: Vec::new(), upserts: Vec::new(), updates: BTreeMap::new() };
    for row in rows {
        match row {
            Last::Gone(key) => window.deletes.push(key),
            Last::There(row) if row.contains(&Cell::Unchanged) => {
                let present = row.iter().map(|cell| *cell != Cell::Unchanged).collect();
                window.updates.entry(present).or_default().push(row);
            }
            Last::There(row) => window.upserts.push(row),
        }
    }
    window
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shape() -> Arc<TableShape> {
        Arc::new(TableShape {
            table: "s.t".parse().unwrap(),
            columns: vec!["k".to_owned(), "a".to_owned(), "b".to_owned()],
            types: vec!["int".to_owned(), "text".to_owned(), "text".to_owned()],
            inputs: Vec::new(),
            key: vec![0],
            key_equals: Vec::new(),
            overrides_identity: false,
            always: Vec::new(),
        })
    }

    fn text(value: u8) -> Cell {
        Cell::Text(Bytes::from(value.to_string()))
    }

    type Table = BTreeMap<Vec<Option<Bytes>>, Row>;

    fn one_by_one(table: &mut Table, change: &Change) {
        match change {
            Change::Insert { shape, new } => {
                table.insert(ordered(&key_of(shape, new)), new.clone());
            }
            Change::Update { shape, new, .. } => {
                let key = ordered(&key_of(shape, new));
                let row = completed(new, &table[&key]);
                table.insert(key, row);
            }
            Change::Delete { key, .. } => {
                table.remove(&ordered(key));
            }
        }
    }

    fn as_sets(table: &mut Table, windows: &[TableWindow]) {
        for window in windows {
            for key in &window.deletes {
                table.remove(&ordered(key));
            }
            for row in &window.upserts {
                table.insert(ordered(&key_of(&window.shape, row)), row.clone());
            }
            for row in window.updates.values().flatten() {
                let key = ordered(&key_of(&window.shape, row));
                let row = completed(row, &table[&key]);
                table.insert(key, row);
            }
        }
    }

    proptest! {
        #[test]
        fn a_folded_window_is_as_its_changes_one_by_one(moves in prop::collection::vec((0u8..3, 0u8..6, any::<u8>(), any::<bool>()), 0..60)) {
            let shape = shape();
            let mut before = Table::new();
            for key in 0..4u8 {
                before.insert(vec![Some(Bytes::from(key.to_string()))], vec![text(key), text(0), text(0)]);
            }
            // A true stream updates and deletes only what is there, and inserts only what is not.
            let mut plain = before.clone();
            let mut changes = Vec::new();
            for (kind, key, value, unchanged) in moves {
                let there = plain.contains_key(&vec![Some(Bytes::from(key.to_string()))]);
                let change = match kind {
                    0 if !there => Change::Insert { shape: Arc::clone(&shape), new: vec![text(key), text(value), Cell::Null] },
                    1 if there => {
                        let b = if unchanged { Cell::Unchanged } else { text(value) };
                        Change::Update { shape: Arc::clone(&shape), old_key: None, new: vec![text(key), text(value), b] }
                    }
                    2 if there => Change::Delete { shape: Arc::clone(&shape), key: vec![text(key)] },
                    _ => continue,
                };
                one_by_one(&mut plain, &change);
                changes.push(change);
            }
            let mut folded = before;
            as_sets(&mut folded, &fold(changes.iter()).expect("no key changes"));
            prop_assert_eq!(folded, plain);
        }
    }

    #[test]
    fn a_changed_key_and_a_change_after_a_delete_are_written_one_by_one() {
        let shape = shape();
        let moved = Change::Update {
            shape: Arc::clone(&shape),
            old_key: Some(vec![text(1)]),
            new: vec![text(2), text(0), text(0)],
        };
        assert!(fold([&moved].into_iter()).is_none());
        let gone = Change::Delete { shape: Arc::clone(&shape), key: vec![text(1)] };
        let late = Change::Update { shape, old_key: None, new: vec![text(1), text(0), text(0)] };
        assert!(fold([&gone, &late].into_iter()).is_none());
    }
}
