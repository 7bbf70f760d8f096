//! Events as they are stored, and the ids that the store gives.

use std::ops::Range;
use std::time::Duration;

use journal::{
    Actor, CanonicalError, Command, CommandBody, CommandId, EventId, MigrationName, PhaseName, Position,
    Recorded, State, Timestamp, evolve, merkle, to_canonical_texts,
};
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::StoreError;
use crate::backend::CommandRow;

/// Events read at once.
pub const PAGE: u32 = 512;

/// The same where there are very many.
pub const LARGE_PAGE: u32 = 4096;

/// A command's identity beside its id.
pub type Digest = [u8; 32];

/// Events packed by a database: their bytes with a line feed between them, their leaves, the last position.
pub type Packed = (Option<Vec<u8>>, Option<Vec<u8>>, Option<i64>);

/// Events as they are stored, in the order of positions, packed: a driver takes longer to hand a row over than an event
/// takes to be read, so a database gives many as one.
#[derive(Debug, Default)]
pub struct Page {
    data: Vec<u8>,
    rows: Vec<Row>,
}

/// An event, and where its bytes and its leaf are in the page's data.
#[derive(Debug)]
struct Row {
    position: i64,
    leaf: Range<usize>,
    bytes: Range<usize>,
}

/// The bytes of a leaf: SHA-256.
const LEAF: usize = 32;

impl Page {
    /// A page of the events after a position, whose bytes stand in lines and whose leaves follow one another. Canonical
    /// JSON has no line feed in it. `None`: it is not so; somebody was at them.
    pub fn unpacked(after: i64, packed: Vec<Packed>) -> Option<Self> {
        let mut page = Self::default();
        let mut position = after;
        for (lines, leaves, last) in packed {
            let Some(last) = last else { break };
            let (lines, leaves) = (lines?, leaves?);
            let begin = page.data.len();
            let (mut at, mut leaf) = (begin, begin + lines.len());
            for end in memchr::memchr_iter(b'\n', &lines).chain([lines.len()]) {
                position += 1;
                page.rows.push(Row { position, leaf: leaf..leaf + LEAF, bytes: at..begin + end });
                (at, leaf) = (begin + end + 1, leaf + LEAF);
            }
            if page.data.is_empty() {
                page.data = lines;
            } else {
                page.data.extend_from_slice(&lines);
            }
            page.data.extend_from_slice(&leaves);
            if position != last || leaf != page.data.len() {
                return None;
            }
        }
        Some(page)
    }

    /// A page of rows as they are: position, bytes, leaf.
    pub fn of_rows(rows: Vec<(i64, Vec<u8>, Vec<u8>)>) -> Self {
        let mut page = Self::default();
        for (position, bytes, leaf) in rows {
            page.push(position, &bytes, &leaf);
        }
        page
    }

    /// Adds the event that follows.
    pub fn push(&mut self, position: i64, bytes: &[u8], leaf: &[u8]) {
        let at = self.data.len();
        self.data.extend_from_slice(leaf);
        self.data.extend_from_slice(bytes);
        let middle = at + leaf.len();
        self.rows.push(Row { position, leaf: at..middle, bytes: middle..self.data.len() });
    }

    /// Leaves out what is more than so many.
    pub fn truncate(&mut self, limit: u32) {
        self.rows.truncate(limit as usize);
    }

    /// How many events there are.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// The events.
    pub fn rows(&self) -> impl Iterator<Item = EventRow<'_>> {
        let part = |range: &Range<usize>| self.data.get(range.clone()).unwrap_or_default();
        self.rows.iter().map(move |row| EventRow {
            position: row.position,
            bytes: part(&row.bytes),
            leaf: part(&row.leaf),
        })
    }

    /// Checks the rows as far as it can be told without reading the events, of which the first is expected at a position.
    pub fn check(self, first: Position) -> Result<CheckedPage, StoreError> {
        let mut expected = first;
        for row in self.rows() {
            row.check(expected)?;
            expected = expected.next();
        }
        Ok(CheckedPage(self))
    }

    /// The events, each checked as [`EventRow::decode`] does, the first of which is expected at a position.
    pub fn decode(&self, first: Position, migration: &MigrationName) -> Result<Vec<Recorded>, StoreError> {
        let mut expected = first;
        let mut events = Vec::with_capacity(self.rows.len());
        for row in self.rows() {
            events.push(row.decode(expected, migration)?);
            expected = expected.next();
        }
        Ok(events)
    }
}

/// A page whose rows stand where they are expected and hash to the leaves beside them.
#[derive(Debug)]
pub struct CheckedPage(Page);

impl CheckedPage {
    /// Whether there are as many events as were asked for: then more may follow.
    pub fn is_full(&self, asked: u32) -> bool {
        self.0.len() >= asked as usize
    }

    /// Replays the events. Each is read when its turn comes: what is read and used at once costs half of what is read
    /// ahead, by the thousand, and fetched from memory again.
    pub fn replay(&self, migration: &MigrationName, state: &mut State) -> Result<(), StoreError> {
        for row in self.0.rows() {
            evolve(state, &row.read(migration)?);
        }
        Ok(())
    }
}

/// An event as it is stored.
#[derive(Debug)]
pub struct EventRow<'p> {
    position: i64,
    bytes: &'p [u8],
    leaf: &'p [u8],
}

impl EventRow<'_> {
    /// The event, checked: it stands where it is expected, hashes to the leaf beside it, and says so itself.
    pub fn decode(&self, expected: Position, migration: &MigrationName) -> Result<Recorded, StoreError> {
        self.check(expected)?;
        self.read(migration)
    }

    /// Its place.
    pub fn position(&self) -> Result<Position, StoreError> {
        Ok(Position::new(plain(self.position)?))
    }

    /// Whether it hashes to the leaf beside it.
    pub fn is_whole(&self) -> bool {
        merkle::leaf(self.bytes).as_slice() == self.leaf
    }

    /// Whether it stands where it is expected and hashes to the leaf beside it.
    fn check(&self, expected: Position) -> Result<(), StoreError> {
        let position = self.position()?;
        if position != expected {
            return Err(StoreError::Foreign(format!(
                "event {expected} is missing, event {position} follows. Compare the file with a copy of it"
            )));
        }
        if !self.is_whole() {
            return Err(StoreError::Foreign(format!(
                "event {position} does not hash to the leaf stored with it: it was changed. Compare the file with a copy of it"
            )));
        }
        Ok(())
    }

    /// The event of a row that was checked: it says itself that it is of that place and that migration.
    fn read(&self, migration: &MigrationName) -> Result<Recorded, StoreError> {
        let position = self.position()?;
        let event =
            Recorded::from_bytes(self.bytes).map_err(|source| StoreError::Unreadable { position, source })?;
        if event.envelope.position != position || event.envelope.migration != *migration {
            return Err(StoreError::Foreign(format!(
                "event {position} says that it is event {} of the migration {}",
                event.envelope.position, event.envelope.migration
            )));
        }
        Ok(event)
    }

    /// Its place and its bytes, unchecked, as an auditor wants them.
    pub fn stored(&self) -> Result<(Position, Vec<u8>), StoreError> {
        Ok((self.position()?, self.bytes.to_vec()))
    }
}

/// A command's row as the store's.
pub fn command_row(digest: &[u8], first: i64) -> Result<CommandRow, StoreError> {
    let digest: Digest = digest
        .try_into()
        .map_err(|_| StoreError::Foreign("a command's digest is not 32 bytes long".to_owned()))?;
    Ok(CommandRow { digest, first: Position::new(plain(first)?) })
}

/// A command's digest: SHA-256 of the canonical form of who asks and what, numbers as strings. Id, claim and origin are
/// not in it: the same word may come again by another way.
pub fn digest(command: &Command) -> Result<Digest, CanonicalError> {
    #[derive(Serialize)]
    struct Asked<'c> {
        actor: &'c Actor,
        body: &'c CommandBody,
    }
    let Command { actor, body, origin: _ } = command;
    Ok(Sha256::digest(to_canonical_texts(&Asked { actor, body })?).into())
}

/// A number as SQLite keeps it.
pub fn number(value: u64) -> Result<i64, StoreError> {
    i64::try_from(value).map_err(|_| StoreError::Foreign(format!("the number {value} is out of range")))
}

/// A number as SQLite kept it.
pub fn plain(value: i64) -> Result<u64, StoreError> {
    u64::try_from(value).map_err(|_| StoreError::Foreign(format!("the number {value} is out of range")))
}

/// A new event's id.
pub fn event_id(now: Timestamp) -> Result<EventId, StoreError> {
    EventId::new(uuid(now).to_string()).map_err(|error| StoreError::Foreign(error.to_string()))
}

/// The id of the command that takes a lease: given before its first try, so that a repeat is known as one.
pub fn lease_command_id(phase: &PhaseName, now: Timestamp) -> Result<CommandId, StoreError> {
    CommandId::new(format!("lease/{phase}/{}", uuid(now)))
        .map_err(|error| StoreError::Foreign(error.to_string()))
}

/// A UUIDv7 (RFC 9562) of the journal's own time: 48 bits of milliseconds, the rest random.
fn uuid(now: Timestamp) -> Uuid {
    let since = Duration::from_millis(u64::try_from(now.millis()).unwrap_or(0));
    Uuid::new_v7(uuid::Timestamp::from_unix(uuid::NoContext, since.as_secs(), since.subsec_nanos()))
}
