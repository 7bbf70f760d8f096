//! Folding one window of changes by key, so that it can be written as sets.
//!
//! Two changes of one key in one set would be refused (21000), so each key keeps its last state. A row whose key changes
//! leaves one key and comes to another; what of it was not sent is on the side written under the key that it had when the
//! window began, so that key goes with it. Deletes come first, of every key whose row went, also where another row has its
//! place now: a unique value may move from a deleted row to a new one. Then rows move, by which they leave the keys that
//! others take, then come updates, then upserts.
//!
//! What sets cannot say in any order sends the whole window down the other way, one by one: a row that is changed after its
//! delete, a row that comes to a key that is taken, rows that take each other's keys of which other columns were sent.

use std::collections::{BTreeMap, BTreeSet};
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
    /// Rows with unchanged cells that come to another key, by which columns are present.
    pub moves: BTreeMap<Vec<bool>, Moves>,
    /// Rows with unchanged cells, which must be there already, by which columns are present.
    pub updates: BTreeMap<Vec<bool>, Vec<Row>>,
    /// Whole rows that are there afterwards.
    pub upserts: Vec<Row>,
}

/// Rows of which the same columns are present, that come to another key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Moves {
    /// The key that each is under before, cells in key order, and the row.
    pub rows: Vec<(Row, Row)>,
    /// Whether one comes to a key that another leaves: all must leave before any comes.
    pub meet: bool,
}

/// A row as it is at some place of the window.
struct Held {
    row: Row,
    /// The key under which it was when the window began, if it was there.
    since: Option<Row>,
}

/// What became of one key.
struct Place {
    key: Row,
    holds: Option<Held>,
    /// Whether the row that was under it when the window began, if any, was deleted or has another key.
    was_left: bool,
}

impl Place {
    /// Takes the row out.
    fn leave(&mut self) -> Option<Held> {
        let held = self.holds.take()?;
        self.was_left |= held.since.as_ref() == Some(&self.key);
        Some(held)
    }
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
#[derive(Default)]
struct Places(BTreeMap<Vec<Option<Bytes>>, Place>);

impl Places {
    /// A key that no change has named yet holds the row that was there.
    fn of(&mut self, key: Row, row: &Row) -> &mut Place {
        self.0.entry(ordered(&key)).or_insert_with(|| Place {
            holds: Some(Held { row: row.clone(), since: Some(key.clone()) }),
            key,
            was_left: false,
        })
    }

    /// None: it cannot be said in sets.
    fn change(&mut self, change: &Change) -> Option<()> {
        match change {
            Change::Insert { shape, new } => {
                let key = key_of(shape, new);
                let place =
                    self.0.entry(ordered(&key)).or_insert(Place { key, holds: None, was_left: false });
                place.holds = Some(Held { row: new.clone(), since: None });
            }
            Change::Delete { key, .. } => {
                self.of(key.clone(), key).leave();
            }
            Change::Update { shape, old_key: None, new } => {
                let held = self.of(key_of(shape, new), new).holds.as_mut()?;
                held.row = completed(new, &held.row);
            }
            Change::Update { shape, old_key: Some(old), new } => {
                let held = self.of(old.clone(), new).leave()?;
                let held = Held { row: completed(new, &held.row), since: held.since };
                let key = key_of(shape, new);
                let place =
                    self.0.entry(ordered(&key)).or_insert(Place { key, holds: None, was_left: false });
                if place.holds.is_some() {
                    return None;
                }
                place.was_left &= held.since.as_ref() != Some(&place.key);
                place.holds = Some(held);
            }
        }
        Some(())
    }

    /// None: it cannot be said in sets.
    fn window(self, shape: Arc<TableShape>) -> Option<TableWindow> {
        let (deletes, moves, updates, upserts) = Default::default();
        let mut window = TableWindow { shape, deletes, moves, updates, upserts };
        let mut left = Vec::new();
        for Place { key, holds, was_left } in self.0.into_values() {
            let is_empty = holds.is_none();
            let is_whole = |held: &Held| !held.row.contains(&Cell::Unchanged);
            match holds {
                None => {}
                Some(held) if is_whole(&held) => window.upserts.push(held.row),
                Some(Held { row, since }) => {
                    let present: Vec<bool> = row.iter().map(|cell| *cell != Cell::Unchanged).collect();
                    // A row that came in the window came whole.
                    let since = since?;
                    if since == key {
                        window.updates.entry(present).or_default().push(row);
                    } else {
                        window.moves.entry(present).or_default().rows.push((since, row));
                    }
                }
            }
            if is_empty || was_left {
                left.push(key);
            }
        }
        let meet = window.leave_together()?;
        for (present, moves) in &mut window.moves {
            moves.meet = meet.contains(present);
        }
        // A row that moves is not deleted.
        let moved: BTreeSet<_> =
            window.moves.values().flat_map(|moves| &moves.rows).map(|(since, _)| ordered(since)).collect();
        window.deletes = left;
        window.deletes.retain(|key| !moved.contains(&ordered(key)));
        Some(window)
    }
}

impl TableWindow {
    /// In which moves one row comes to a key that another leaves. None: the two are not moves of the same columns.
    fn leave_together(&self) -> Option<BTreeSet<Vec<bool>>> {
        let leaving: BTreeMap<_, _> = self
            .moves
            .iter()
            .flat_map(|(present, moves)| moves.rows.iter().map(move |(since, _)| (ordered(since), present)))
            .collect();
        let mut meet = BTreeSet::new();
        for (present, moves) in &self.moves {
            for (_, row) in &moves.rows {
                match leaving.get(&ordered(&key_of(&self.shape, row))) {
                    None => {}
                    Some(other) if *other == present => {
                        meet.insert(present.clone());
                    }
                    Some(_) => return None,
                }
            }
        }
        Some(meet)
    }
}

/// Folds changes in their order. None: they must be written one by one.
#[must_use]
pub fn fold<'c>(changes: impl Iterator<Item = &'c Change>) -> Option<Vec<TableWindow>> {
    let mut tables: BTreeMap<TableName, (Arc<TableShape>, Places)> = BTreeMap::new();
    for change in changes {
        let (Change::Insert { shape, .. } | Change::Update { shape, .. } | Change::Delete { shape, .. }) =
            change;
        let (_, places) =
            tables.entry(shape.table.clone()).or_insert_with(|| (Arc::clone(shape), Places::default()));
        places.change(change)?;
    }
    tables.into_values().map(|(shape, places)| places.window(shape)).collect()
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
            Change::Update { shape, old_key, new } => {
                let key = ordered(&key_of(shape, new));
                let earlier = table.remove(&old_key.as_ref().map_or_else(|| key.clone(), ordered)).unwrap();
                table.insert(key, completed(new, &earlier));
            }
            Change::Delete { key, .. } => {
                table.remove(&ordered(key));
            }
        }
    }

    /// As the server does it, whichever row of a set it takes first; what it would refuse fails.
    fn as_sets(table: &mut Table, windows: &[TableWindow], backwards: bool) {
        let turned = |mut rows: Vec<(Row, Row)>| {
            if backwards {
                rows.reverse();
            }
            rows
        };
        for TableWindow { shape, deletes, moves, updates, upserts } in windows {
            for key in deletes {
                table.remove(&ordered(key));
            }
            for Moves { rows, meet } in moves.values() {
                let put = |table: &mut Table, row: &Row, earlier: &Row| {
                    let there = table.insert(ordered(&key_of(shape, row)), completed(row, earlier));
                    assert_eq!(there, None, "a key is taken");
                };
                let rows = turned(rows.clone());
                if *meet {
                    let taken: Vec<Row> =
                        rows.iter().map(|(since, _)| table.remove(&ordered(since)).unwrap()).collect();
                    for ((_, row), earlier) in rows.iter().zip(&taken) {
                        put(table, row, earlier);
                    }
                } else {
                    for (since, row) in &rows {
                        let earlier = table.remove(&ordered(since)).unwrap();
                        put(table, row, &earlier);
                    }
                }
            }
            for row in updates.values().flatten() {
                let key = ordered(&key_of(shape, row));
                let row = completed(row, &table[&key]);
                table.insert(key, row);
            }
            for row in upserts {
                table.insert(ordered(&key_of(shape, row)), row.clone());
            }
        }
    }

    /// What one by one would be the same, of a table with these keys.
    fn same(moves: Vec<(u8, u8, u8, u8, u8)>, keys: u8) -> Result<bool, TestCaseError> {
        let shape = shape();
        let mut before = Table::new();
        for key in 0..keys / 2 {
            before.insert(ordered(&vec![text(key)]), vec![text(key), text(100 + key), text(200 + key)]);
        }
        // A true stream changes only what is there, and puts only where nothing is.
        let mut plain = before.clone();
        let mut changes = Vec::new();
        for (kind, key, to, value, unchanged) in moves {
            let (key, to) = (key % keys, to % keys);
            let there = |key| plain.contains_key(&ordered(&vec![text(key)]));
            let cell = |bit, value| if unchanged & bit == 0 { text(value) } else { Cell::Unchanged };
            let rest = |key| vec![text(key), cell(1, value), cell(2, value / 2)];
            let change = match kind {
                0 if !there(key) => Change::Insert {
                    shape: Arc::clone(&shape),
                    new: vec![text(key), text(value), Cell::Null],
                },
                1 if there(key) => {
                    Change::Update { shape: Arc::clone(&shape), old_key: None, new: rest(key) }
                }
                2 if there(key) => Change::Delete { shape: Arc::clone(&shape), key: vec![text(key)] },
                3.. if there(key) && !there(to) => Change::Update {
                    shape: Arc::clone(&shape),
                    old_key: Some(vec![text(key)]),
                    new: rest(to),
                },
                _ => continue,
            };
            one_by_one(&mut plain, &change);
            changes.push(change);
        }
        let Some(sets) = fold(changes.iter()) else { return Ok(false) };
        for backwards in [false, true] {
            let mut folded = before.clone();
            as_sets(&mut folded, &sets, backwards);
            prop_assert_eq!(&folded, &plain);
        }
        Ok(true)
    }

    fn some(most: usize) -> impl Strategy<Value = Vec<(u8, u8, u8, u8, u8)>> {
        prop::collection::vec((0u8..7, any::<u8>(), any::<u8>(), any::<u8>(), 0u8..4), 0..most)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn a_folded_window_is_as_its_changes_one_by_one(moves in some(60)) {
            same(moves, 8)?;
        }

        #[test]
        fn a_window_whose_moves_lack_the_same_columns_is_always_folded(moves in some(60), unchanged in 0u8..4) {
            let moves = moves.into_iter().map(|(kind, key, to, value, _)| (kind, key, to, value, unchanged)).collect();
            prop_assert!(same(moves, 8)?);
        }

        #[test]
        fn a_large_table_s_window_is_as_its_changes_one_by_one(moves in some(300)) {
            same(moves, 60)?;
        }
    }

    fn moved(from: u8, to: u8, rest: [Cell; 2]) -> Change {
        let new = [text(to)].into_iter().chain(rest).collect();
        Change::Update { shape: shape(), old_key: Some(vec![text(from)]), new }
    }

    #[test]
    fn a_row_that_moves_takes_along_what_was_not_sent_from_where_it_was_first() {
        let kept = [text(0), Cell::Unchanged];
        let changes = [moved(1, 2, kept.clone()), moved(2, 3, kept.clone()), moved(4, 1, kept.clone())];
        let [window] = <[TableWindow; 1]>::try_from(fold(changes.iter()).unwrap()).unwrap();
        let row = |key| vec![text(key), text(0), Cell::Unchanged];
        let rows = vec![(vec![text(4)], row(1)), (vec![text(1)], row(3))];
        assert_eq!(window.moves.into_values().collect::<Vec<_>>(), [Moves { rows, meet: true }]);
        // Nothing is known of a row at 2, where none is now.
        assert_eq!((window.deletes, window.upserts), (vec![vec![text(2)]], vec![]));
    }

    #[test]
    fn what_sets_cannot_say_is_written_one_by_one() {
        let gone = Change::Delete { shape: shape(), key: vec![text(1)] };
        let late = Change::Update { shape: shape(), old_key: None, new: vec![text(1), text(0), text(0)] };
        assert!(fold([&gone, &late].into_iter()).is_none());
        let whole = [text(0), text(0)];
        assert!(fold([&gone, &moved(1, 2, whole.clone())].into_iter()).is_none());
        assert!(fold([&late, &moved(2, 1, whole)].into_iter()).is_none());
        let (one, other) = ([text(0), Cell::Unchanged], [Cell::Unchanged, Cell::Unchanged]);
        assert!(fold([&moved(1, 2, one), &moved(3, 1, other)].into_iter()).is_none());
    }
}
