//! The statements.

use std::fmt;
use std::sync::Arc;

use journal::{Epoch, PhaseName, Position, Timestamp, merkle};
use runtime::Clock;
use sqlx::SqliteConnection;

use crate::StoreError;
use crate::backend::{CommandRow, LeaseRow, Seen, Trouble, Wanted, Writer, Written};
use crate::record::{PAGE, Page, command_row, number, plain};

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

/// The events after a position, in order.
pub(super) async fn events_after(
    connection: &mut SqliteConnection,
    after: Position,
    limit: u32,
) -> Result<Page, Trouble> {
    // As text, which is put together without a look at what it is; blobs cannot be.
    let (bytes, leaves, numbers): (Option<Vec<u8>>, Option<Vec<u8>>, Option<String>) = sqlx::query_as(
        "select group_concat(cast(bytes as text), ''), group_concat(cast(leaf as text), ''),
                group_concat(format('%d %d %d', position, octet_length(bytes), octet_length(leaf)), ' ')
         from (select position, bytes, leaf
               from event
               where position > ?1
               order by position
               limit ?2)",
    )
    .bind(number(after.get())?)
    .bind(i64::from(limit))
    .fetch_one(connection)
    .await?;
    let numbers = numbers.unwrap_or_default();
    let mut numbers = numbers.split(' ').map_while(|text| text.parse::<i64>().ok());
    let mut rows = Vec::new();
    while let (Some(position), Some(length), Some(leaf_length)) =
        (numbers.next(), numbers.next(), numbers.next())
    {
        rows.push((position, length, leaf_length));
    }
    Ok(Page::unpack((bytes, leaves, rows))?)
}

/// The connection that writes.
pub struct SqliteWriter {
    connection: SqliteConnection,
    clock: Arc<dyn Clock>,
}

impl fmt::Debug for SqliteWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SqliteWriter")
    }
}

impl SqliteWriter {
    pub(super) const fn new(connection: SqliteConnection, clock: Arc<dyn Clock>) -> Self {
        Self { connection, clock }
    }

    async fn command(&mut self, id: &str) -> Result<Option<CommandRow>, Trouble> {
        let row: Option<(Vec<u8>, i64, i64)> =
            sqlx::query_as("select digest, first_position, last_position from command where id = ?1")
                .bind(id)
                .fetch_optional(&mut self.connection)
                .await?;
        row.map(|(digest, first, last)| command_row(&digest, first, last)).transpose().map_err(Trouble::from)
    }

    async fn lease(&mut self, phase: &PhaseName) -> Result<Option<LeaseRow>, Trouble> {
        let row: Option<(i64, String, i64)> =
            sqlx::query_as("select epoch, holder, expires_at from lease where phase = ?1")
                .bind(phase.as_str())
                .fetch_optional(&mut self.connection)
                .await?;
        let Some((epoch, holder, expires_at)) = row else { return Ok(None) };
        Ok(Some(LeaseRow { epoch: Epoch::new(plain(epoch)?), holder, expires_at }))
    }
}

impl Writer for SqliteWriter {
    async fn enter(&mut self, wanted: &Wanted) -> Result<Seen, Trouble> {
        sqlx::query("begin immediate").execute(&mut self.connection).await?;
        let mut seen = Seen { now: Timestamp::from_millis(self.clock.now_millis()), ..Seen::default() };
        seen.events = events_after(&mut self.connection, wanted.after, PAGE).await?;
        for id in &wanted.commands {
            if let Some(row) = self.command(id.as_str()).await? {
                seen.commands.insert(id.clone(), row);
            }
        }
        for phase in &wanted.phases {
            if let Some(row) = self.lease(phase).await? {
                seen.leases.insert(phase.clone(), row);
            }
        }
        Ok(seen)
    }

    async fn events_after(&mut self, after: Position, limit: u32) -> Result<Page, Trouble> {
        events_after(&mut self.connection, after, limit).await
    }

    async fn write(&mut self, written: &Written) -> Result<(), Trouble> {
        let mut position = written.head;
        let mut events = written.events.iter().peekable();
        for (id, row) in &written.commands {
            sqlx::query(
                "insert into command (id, digest, first_position, last_position) values (?1, ?2, ?3, ?4)",
            )
            .bind(id.as_str())
            .bind(row.digest.as_slice())
            .bind(number(row.first.get())?)
            .bind(number(row.last.get())?)
            .execute(&mut self.connection)
            .await?;
            while let Some(event) = events.next_if(|event| event.command_id == *id) {
                position = position.next();
                sqlx::query(
                    "insert into event (position, bytes, leaf, event_id, command_id, kind, phase, recorded_at)
                     values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
                )
                .bind(number(position.get())?)
                .bind(event.bytes.as_slice())
                .bind(merkle::leaf(&event.bytes).as_slice())
                .bind(event.event_id.as_str())
                .bind(event.command_id.as_str())
                .bind(event.kind)
                .bind(event.phase.as_ref().map(PhaseName::as_str))
                .bind(event.recorded_at)
                .execute(&mut self.connection)
                .await?;
            }
        }
        for (phase, row) in &written.leases {
            sqlx::query("update lease set epoch = ?2, holder = ?3, expires_at = ?4 where phase = ?1")
                .bind(phase.as_str())
                .bind(number(row.epoch.get())?)
                .bind(row.holder.as_str())
                .bind(row.expires_at)
                .execute(&mut self.connection)
                .await?;
            sqlx::query(
                "insert into lease (phase, epoch, holder, expires_at)
                 select ?1, ?2, ?3, ?4
                 where not exists (select 1 from lease where phase = ?1)",
            )
            .bind(phase.as_str())
            .bind(number(row.epoch.get())?)
            .bind(row.holder.as_str())
            .bind(row.expires_at)
            .execute(&mut self.connection)
            .await?;
        }
        for (phase, body) in &written.reports {
            sqlx::query(
                "insert into progress (phase, at, body)
                 values (?1, ?2, ?3)
                 on conflict (phase) do update set at = excluded.at, body = excluded.body",
            )
            .bind(phase.as_str())
            .bind(written.now.millis())
            .bind(body.as_str())
            .execute(&mut self.connection)
            .await?;
        }
        Ok(())
    }

    async fn commit(&mut self) -> Result<(), Trouble> {
        sqlx::query("commit").execute(&mut self.connection).await?;
        Ok(())
    }
}
