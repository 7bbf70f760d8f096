//! Events as they are stored, and the ids that the store gives.

use std::time::Duration;

use journal::{
    Actor, CanonicalError, Command, CommandBody, CommandId, EventId, MigrationName, PhaseName, Position,
    Recorded, Timestamp, merkle, to_canonical_texts,
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

/// Events as they are stored, in the order of positions, packed: a driver takes longer to hand a row over than an event
/// takes to be read, so a database gives many as one.
#[derive(Debug, Default)]
pub struct Page {
    bytes: Vec<u8>,
    leaves: Vec<u8>,
    /// Positions, and how many bytes of the two are each event's.
    rows: Vec<(i64, usize, usize)>,
}

/// What a database packed together: all bytes, all leaves, and of each event its position and both lengths.
pub type Packed = (Option<Vec<u8>>, Option<Vec<u8>>, Vec<(i64, i64, i64)>);

impl Page {
    /// A page as a database packed it.
    pub fn unpack((bytes, leaves, rows): Packed) -> Result<Self, StoreError> {
        let length = |of: i64| {
            usize::try_from(of).map_err(|_| StoreError::Foreign(format!("an event is {of} bytes long")))
        };
        let rows = rows.into_iter().map(|(at, bytes, leaf)| Ok((at, length(bytes)?, length(leaf)?)));
        let rows: Vec<_> = rows.collect::<Result<_, StoreError>>()?;
        let page = Self { bytes: bytes.unwrap_or_default(), leaves: leaves.unwrap_or_default(), rows };
        let (bytes, leaves) = page.rows.iter().fold((0, 0), |(b, l), row| (b + row.1, l + row.2));
        let is_sorted = page.rows.is_sorted_by_key(|row| row.0);
        if (bytes, leaves) != (page.bytes.len(), page.leaves.len()) || !is_sorted {
            return Err(StoreError::Foreign(
                "the rows of events are not what their lengths say: the table was changed".to_owned(),
            ));
        }
        Ok(page)
    }

    /// Adds the event that follows.
    pub fn push(&mut self, position: i64, bytes: &[u8], leaf: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        self.leaves.extend_from_slice(leaf);
        self.rows.push((position, bytes.len(), leaf.len()));
    }

    /// How many events there are.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// The events.
    pub fn rows(&self) -> impl Iterator<Item = EventRow<'_>> {
        let (mut bytes, mut leaves) = (self.bytes.as_slice(), self.leaves.as_slice());
        self.rows.iter().map_while(move |(position, length, leaf_length)| {
            let (these, rest) = bytes.split_at_checked(*length)?;
            let (leaf, rest_of_leaves) = leaves.split_at_checked(*leaf_length)?;
            (bytes, leaves) = (rest, rest_of_leaves);
            Some(EventRow { position: *position, bytes: these, leaf })
        })
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
        let position = Position::new(plain(self.position)?);
        if position != expected {
            return Err(StoreError::Foreign(format!(
                "event {expected} is missing, event {position} follows. Compare the file with a copy of it"
            )));
        }
        if merkle::leaf(self.bytes).as_slice() != self.leaf {
            return Err(StoreError::Foreign(format!(
                "event {position} does not hash to the leaf stored with it: it was changed. Compare the file with a copy of it"
            )));
        }
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
        Ok((Position::new(plain(self.position)?), self.bytes.to_vec()))
    }
}

/// A command's row as the store's.
pub fn command_row(digest: &[u8], first: i64, last: i64) -> Result<CommandRow, StoreError> {
    let digest: Digest = digest
        .try_into()
        .map_err(|_| StoreError::Foreign("a command's digest is not 32 bytes long".to_owned()))?;
    Ok(CommandRow { digest, first: Position::new(plain(first)?), last: Position::new(plain(last)?) })
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
