//! Rows, and what they hold.

use std::time::Duration;

use journal::{
    CanonicalError, Command, CommandId, EventId, MigrationName, PhaseName, Position, Recorded, Timestamp,
    merkle, to_canonical,
};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use sqlx::SqliteConnection;
use uuid::Uuid;

use crate::StoreError;

/// Rows read at once.
pub(super) const PAGE: usize = 512;

/// A command's identity beside its id.
pub(super) type Digest = [u8; 32];

/// An event as it is stored.
#[derive(Debug, sqlx::FromRow)]
pub(super) struct EventRow {
    position: i64,
    bytes: Vec<u8>,
    leaf: Vec<u8>,
}

/// What the database said, kept apart from what it holds: the first may be tried again.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The database did not do it, or nobody knows whether it did.
    Database(sqlx::Error),
    /// It holds what it must not.
    Store(StoreError),
}

impl From<sqlx::Error> for Trouble {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error)
    }
}

impl From<StoreError> for Trouble {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<Trouble> for StoreError {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Database(error) => from_database(&error),
            Trouble::Store(error) => error,
        }
    }
}

/// A driver's error as the store's.
pub(super) fn from_database(error: &sqlx::Error) -> StoreError {
    match primary_code(error) {
        // SQLITE_CORRUPT and SQLITE_NOTADB.
        Some(11) => StoreError::Foreign(
            "the file is damaged (SQLite: database disk image is malformed). Keep it, and go on from a copy"
                .to_owned(),
        ),
        Some(26) => StoreError::Foreign("the file is not a SQLite database".to_owned()),
        _ => StoreError::Unavailable(error.to_string()),
    }
}

/// SQLite's primary result code; an extended one carries it in its low byte.
pub(super) fn primary_code(error: &sqlx::Error) -> Option<u32> {
    let code = error.as_database_error()?.code()?.parse::<u32>().ok()?;
    Some(code & 0xFF)
}

/// Whether another process held the file for too long: SQLITE_BUSY or SQLITE_LOCKED.
pub(super) fn is_busy(error: &sqlx::Error) -> bool {
    matches!(primary_code(error), Some(5 | 6))
}

/// The events after a position, at most a page of them.
pub(super) async fn events_after(
    connection: &mut SqliteConnection,
    after: Position,
) -> Result<Vec<EventRow>, Trouble> {
    let rows = sqlx::query_as(
        "select position, bytes, leaf
         from event
         where position > ?1
         order by position
         limit ?2",
    )
    .bind(number(after.get())?)
    .bind(number(PAGE as u64)?)
    .fetch_all(connection)
    .await?;
    Ok(rows)
}

/// The events that a command made, if its id was used, and its digest.
pub(super) async fn events_of(
    connection: &mut SqliteConnection,
    id: &CommandId,
    migration: &MigrationName,
) -> Result<Option<(Vec<u8>, Vec<Recorded>)>, Trouble> {
    let command: Option<(Vec<u8>, i64, i64)> =
        sqlx::query_as("select digest, first_position, last_position from command where id = ?1")
            .bind(id.as_str())
            .fetch_optional(&mut *connection)
            .await?;
    let Some((digest, first, last)) = command else { return Ok(None) };
    let rows: Vec<EventRow> = sqlx::query_as(
        "select position, bytes, leaf
         from event
         where position between ?1 and ?2
         order by position",
    )
    .bind(first)
    .bind(last)
    .fetch_all(connection)
    .await?;
    let mut next = plain(first)?;
    let mut events = Vec::with_capacity(rows.len());
    for row in rows {
        let event = row.decode(Position::new(next), migration)?;
        if event.envelope.command_id != *id {
            return Err(StoreError::Foreign(format!("event {next} is not of the command {id}")).into());
        }
        events.push(event);
        next += 1;
    }
    if number(next)? != last + 1 {
        return Err(StoreError::Foreign(format!("event {next} of the command {id} is missing")).into());
    }
    Ok(Some((digest, events)))
}

impl EventRow {
    /// The event, checked: it stands where it is expected, hashes to the leaf beside it, and says so itself.
    pub(super) fn decode(
        &self,
        expected: Position,
        migration: &MigrationName,
    ) -> Result<Recorded, StoreError> {
        let position = Position::new(plain(self.position)?);
        if position != expected {
            return Err(StoreError::Foreign(format!(
                "event {expected} is missing, event {position} follows. Compare the file with a copy of it"
            )));
        }
        if merkle::leaf(&self.bytes).as_slice() != self.leaf {
            return Err(StoreError::Foreign(format!(
                "event {position} does not hash to the leaf stored with it: it was changed. Compare the file with a copy of it"
            )));
        }
        let event = Recorded::from_bytes(&self.bytes)
            .map_err(|source| StoreError::Unreadable { position, source })?;
        if event.envelope.position != position || event.envelope.migration != *migration {
            return Err(StoreError::Foreign(format!(
                "event {position} says that it is event {} of the migration {}",
                event.envelope.position, event.envelope.migration
            )));
        }
        Ok(event)
    }

    /// Its place and its bytes, unchecked, as an auditor wants them.
    pub(super) fn into_stored(self) -> Result<(Position, Vec<u8>), StoreError> {
        Ok((Position::new(plain(self.position)?), self.bytes))
    }
}

/// A command's digest: SHA-256 of its canonical form, numbers as strings, without claim or id.
pub(super) fn digest(command: &Command) -> Result<Digest, CanonicalError> {
    let value = without_numbers(serde_json::to_value(command)?);
    Ok(Sha256::digest(to_canonical(&value)?).into())
}

fn without_numbers(value: Value) -> Value {
    match value {
        Value::Number(number) => Value::String(number.to_string()),
        Value::Array(items) => items.into_iter().map(without_numbers).collect(),
        Value::Object(fields) => {
            fields.into_iter().map(|(key, value)| (key, without_numbers(value))).collect()
        }
        Value::Null | Value::Bool(_) | Value::String(_) => value,
    }
}

/// A number as SQLite keeps it.
pub(super) fn number(value: u64) -> Result<i64, StoreError> {
    i64::try_from(value).map_err(|_| StoreError::Foreign(format!("the number {value} is out of range")))
}

/// A number as SQLite kept it.
pub(super) fn plain(value: i64) -> Result<u64, StoreError> {
    u64::try_from(value).map_err(|_| StoreError::Foreign(format!("the number {value} is out of range")))
}

/// A new event's id.
pub(super) fn event_id(now: Timestamp) -> Result<EventId, StoreError> {
    EventId::new(uuid(now).to_string()).map_err(|error| StoreError::Foreign(error.to_string()))
}

/// The id of the command that takes a lease: given before its first try, so that a repeat is known as one.
pub(super) fn lease_command_id(phase: &PhaseName, now: Timestamp) -> Result<CommandId, StoreError> {
    CommandId::new(format!("lease/{phase}/{}", uuid(now)))
        .map_err(|error| StoreError::Foreign(error.to_string()))
}

/// A UUIDv7 (RFC 9562) of the journal's own time: 48 bits of milliseconds, the rest random.
fn uuid(now: Timestamp) -> Uuid {
    let since = Duration::from_millis(u64::try_from(now.millis()).unwrap_or(0));
    Uuid::new_v7(uuid::Timestamp::from_unix(uuid::NoContext, since.as_secs(), since.subsec_nanos()))
}
