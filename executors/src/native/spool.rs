//! The changes of one transaction, however many they are.
//!
//! A stream hands a transaction over at its commit, whole, and it must be written whole. Its changes stay in memory while
//! they are few; beyond that they go, a window at a time, to a file that has no name and ends with the process. What is
//! lost with it is read again from the stream. A window is also what is written at once: sets of bounded size, in the
//! order in which they happened.

use std::borrow::Cow;
use std::fmt;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

use crate::native::{Cell, Change, Row, TableShape};

/// How many changes one window has at most.
const WINDOW_CHANGES: usize = 20_000;

/// How many bytes, roughly.
const WINDOW_BYTES: usize = 16 << 20;

/// What one change takes beside its values' bytes, roughly.
const CHANGE_BYTES: usize = 64;

/// Changes in their order.
#[derive(Default)]
pub struct Changes {
    len: usize,
    /// What was put away, oldest first.
    windows: Vec<Stored>,
    file: Option<Arc<File>>,
    written: u64,
    /// The tables of what was put away; a stored change names its by place.
    shapes: Vec<Arc<TableShape>>,
    /// The newest ones, not put away.
    rest: Vec<Change>,
    rest_bytes: usize,
}

#[derive(Debug, Clone, Copy)]
struct Stored {
    at: u64,
    length: usize,
    changes: usize,
}

impl fmt::Debug for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Changes({}, {} windows put away)", self.len, self.windows.len())
    }
}

impl Changes {
    /// How many there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// All of them, if none were put away.
    #[must_use]
    pub fn as_slice(&self) -> Option<&[Change]> {
        self.windows.is_empty().then_some(self.rest.as_slice())
    }

    /// Adds one.
    ///
    /// # Errors
    /// The window that became full could not be put away: the disk of the temporary folder.
    pub fn push(&mut self, change: Change) -> io::Result<()> {
        self.rest_bytes += weight(&change);
        self.rest.push(change);
        self.len += 1;
        if self.rest.len() >= WINDOW_CHANGES || self.rest_bytes >= WINDOW_BYTES {
            self.put_away()?;
        }
        Ok(())
    }

    fn put_away(&mut self) -> io::Result<()> {
        let mut bytes = BytesMut::with_capacity(self.rest_bytes);
        for change in &self.rest {
            write(&mut self.shapes, change, &mut bytes)?;
        }
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(Arc::new(tempfile::tempfile()?)),
        };
        // One write a window, to the page cache: shorter than the reading of its bytes was.
        (&**file).write_all(&bytes)?;
        self.windows.push(Stored { at: self.written, length: bytes.len(), changes: self.rest.len() });
        self.written += u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        self.rest.clear();
        self.rest_bytes = 0;
        Ok(())
    }

    /// The changes, a window at a time.
    pub fn windows(&self) -> impl Iterator<Item = io::Result<Cow<'_, [Change]>>> {
        let stored = self.windows.iter().map(|window| self.read(*window).map(Cow::Owned));
        stored.chain((!self.rest.is_empty()).then(|| Ok(Cow::Borrowed(self.rest.as_slice()))))
    }

    fn read(&self, window: Stored) -> io::Result<Vec<Change>> {
        let file = self.file.as_ref().ok_or(io::ErrorKind::NotFound)?;
        let mut bytes = vec![0; window.length];
        file.read_exact_at(&mut bytes, window.at)?;
        let mut bytes = Bytes::from(bytes);
        (0..window.changes).map(|_| read(&self.shapes, &mut bytes)).collect()
    }
}

impl FromIterator<Change> for Changes {
    /// In memory, all of them.
    fn from_iter<I: IntoIterator<Item = Change>>(changes: I) -> Self {
        let rest: Vec<Change> = changes.into_iter().collect();
        let rest_bytes = rest.iter().map(weight).sum();
        Self { len: rest.len(), rest, rest_bytes, ..Self::default() }
    }
}

fn weight(change: &Change) -> usize {
    let cells = |row: &Row| -> usize {
        row.iter()
            .map(|cell| match cell {
                Cell::Text(text) => text.len() + 40,
                Cell::Null | Cell::Unchanged => 40,
            })
            .sum()
    };
    CHANGE_BYTES
        + match change {
            Change::Insert { new, .. } => cells(new),
            Change::Update { old_key, new, .. } => cells(new) + old_key.as_ref().map_or(0, cells),
            Change::Delete { key, .. } => cells(key),
        }
}

// ---- as bytes ----

const INSERT: u8 = 0;
const UPDATE: u8 = 1;
const UPDATE_OF_KEY: u8 = 2;
const DELETE: u8 = 3;
const NULL: u8 = 0;
const TEXT: u8 = 1;
const UNCHANGED: u8 = 2;

fn too_long<E>(_: E) -> io::Error {
    io::Error::other("a change is too long to be put away")
}

fn write(shapes: &mut Vec<Arc<TableShape>>, change: &Change, to: &mut BytesMut) -> io::Result<()> {
    let (kind, shape, rows) = match change {
        Change::Insert { shape, new } => (INSERT, shape, [Some(new), None]),
        Change::Update { shape, old_key: None, new } => (UPDATE, shape, [Some(new), None]),
        Change::Update { shape, old_key: Some(old), new } => (UPDATE_OF_KEY, shape, [Some(new), Some(old)]),
        Change::Delete { shape, key } => (DELETE, shape, [Some(key), None]),
    };
    let known = shapes.iter().position(|known| Arc::ptr_eq(known, shape));
    let place = known.unwrap_or_else(|| {
        shapes.push(Arc::clone(shape));
        shapes.len() - 1
    });
    to.put_u8(kind);
    to.put_u32(u32::try_from(place).map_err(too_long)?);
    for row in rows.into_iter().flatten() {
        to.put_u32(u32::try_from(row.len()).map_err(too_long)?);
        for cell in row {
            match cell {
                Cell::Null => to.put_u8(NULL),
                Cell::Unchanged => to.put_u8(UNCHANGED),
                Cell::Text(text) => {
                    to.put_u8(TEXT);
                    to.put_u32(u32::try_from(text.len()).map_err(too_long)?);
                    to.put_slice(text);
                }
            }
        }
    }
    Ok(())
}

fn read(shapes: &[Arc<TableShape>], from: &mut Bytes) -> io::Result<Change> {
    let kind = from.try_get_u8().map_err(io::Error::other)?;
    let shape = shapes.get(length(from)?).map(Arc::clone).ok_or(io::ErrorKind::InvalidData)?;
    Ok(match kind {
        INSERT => Change::Insert { shape, new: read_row(from)? },
        UPDATE => Change::Update { shape, old_key: None, new: read_row(from)? },
        UPDATE_OF_KEY => {
            let new = read_row(from)?;
            Change::Update { shape, old_key: Some(read_row(from)?), new }
        }
        DELETE => Change::Delete { shape, key: read_row(from)? },
        _ => return Err(io::ErrorKind::InvalidData.into()),
    })
}

fn length(from: &mut Bytes) -> io::Result<usize> {
    let length = from.try_get_u32().map_err(io::Error::other)?;
    usize::try_from(length).map_err(io::Error::other)
}

fn read_row(from: &mut Bytes) -> io::Result<Row> {
    (0..length(from)?)
        .map(|_| match from.try_get_u8().map_err(io::Error::other)? {
            NULL => Ok(Cell::Null),
            UNCHANGED => Ok(Cell::Unchanged),
            TEXT => {
                let length = length(from)?;
                if length > from.len() {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                // Shares the window's own bytes.
                Ok(Cell::Text(from.split_to(length)))
            }
            _ => Err(io::ErrorKind::InvalidData.into()),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shape(name: &str) -> Arc<TableShape> {
        Arc::new(TableShape {
            table: name.parse().unwrap(),
            columns: vec!["k".to_owned(), "a".to_owned()],
            types: vec!["int".to_owned(), "text".to_owned()],
            inputs: Vec::new(),
            key: vec![0],
            key_equals: Vec::new(),
            overrides_identity: false,
            always: Vec::new(),
        })
    }

    fn cell() -> impl Strategy<Value = Cell> {
        prop_oneof![
            Just(Cell::Null),
            Just(Cell::Unchanged),
            prop::collection::vec(any::<u8>(), 0..20).prop_map(|bytes| Cell::Text(Bytes::from(bytes))),
        ]
    }

    fn change(shapes: [Arc<TableShape>; 2]) -> impl Strategy<Value = Change> {
        let row = || prop::collection::vec(cell(), 0..4);
        (0..4u8, 0..2usize, row(), row()).prop_map(move |(kind, table, new, old)| {
            let shape = Arc::clone(&shapes[table]);
            match kind {
                0 => Change::Insert { shape, new },
                1 => Change::Update { shape, old_key: None, new },
                2 => Change::Update { shape, old_key: Some(old), new },
                _ => Change::Delete { shape, key: old },
            }
        })
    }

    proptest! {
        #[test]
        fn what_is_put_away_comes_back_as_it_was(
            changes in prop::collection::vec(change([shape("s.t"), shape("s.u")]), 0..60),
            cuts in prop::collection::btree_set(0..60usize, 0..4),
        ) {
            let mut spool = Changes::default();
            for (at, change) in changes.iter().enumerate() {
                spool.push(change.clone()).unwrap();
                if cuts.contains(&at) {
                    spool.put_away().unwrap();
                }
            }
            prop_assert_eq!(spool.len(), changes.len());
            let mut back = Vec::new();
            for window in spool.windows() {
                back.extend(window.unwrap().into_owned());
            }
            prop_assert_eq!(back, changes);
        }
    }

    #[test]
    fn a_large_transaction_does_not_stay_in_memory() {
        let shape = shape("s.t");
        let mut spool = Changes::default();
        for key in 0..50_000_u32 {
            let new = vec![Cell::Text(Bytes::from(key.to_string())), Cell::Null];
            spool.push(Change::Insert { shape: Arc::clone(&shape), new }).unwrap();
        }
        assert!(spool.as_slice().is_none());
        assert!(spool.rest.len() < WINDOW_CHANGES);
        let sizes: Vec<usize> = spool.windows().map(|window| window.unwrap().len()).collect();
        assert_eq!(sizes, [20_000, 20_000, 10_000]);
    }
}
