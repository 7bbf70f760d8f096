//! The statements.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use journal::{CommandId, Epoch, PhaseName, Position, Timestamp};
use runtime::Clock;
use sqlx::PgConnection;

use crate::StoreError;
use crate::backend::{LeaseRow, Seen, Trouble, Wanted, Writer, Written};
use crate::record::{LARGE_PAGE, PAGE, Packed, Page, command_row, number, plain};

/// The events after a position, in order.
pub(super) async fn events_after(
    connection: &mut PgConnection,
    after: Position,
    limit: u32,
) -> Result<Page, Trouble> {
    let after = number(after.get())?;
    if limit > LARGE_PAGE {
        return row_by_row(connection, after, limit).await;
    }
    // A value for 128 of them, which costs the server half of what a row each would. Memory for larger ones it would fetch
    // from the system and give back each time. The number is written out, since a limit that is not known is planned as a
    // tenth of the table.
    let packed: Vec<Packed> = sqlx::query_as(
        "select packed.*
         from generate_series($1, $1 + $2 - 1, 128) before,
         lateral (
             select string_agg(bytes, '\\x0a'), string_agg(leaf, ''), max(position)
             from (select position::bigint, bytes::bytea, leaf::bytea
                   from switchyard_journal.event
                   where position > before
                   order by position
                   limit 128) page
         ) packed",
    )
    .bind(after)
    .bind(i64::from(limit))
    .fetch_all(&mut *connection)
    .await?;
    if let Some(mut page) = Page::unpacked(after, packed) {
        page.truncate(limit);
        return Ok(page);
    }
    row_by_row(connection, after, limit).await
}

/// The same, of very many, or of a table that somebody was at: what is missing or changed is found at its place.
async fn row_by_row(connection: &mut PgConnection, after: i64, limit: u32) -> Result<Page, Trouble> {
    let rows: Vec<(i64, Vec<u8>, Vec<u8>)> = sqlx::query_as(
        "select position::bigint, coalesce(bytes, ''), coalesce(leaf, '')
         from switchyard_journal.event
         where position > $1
         order by position
         limit $2",
    )
    .bind(after)
    .bind(i64::from(limit))
    .fetch_all(connection)
    .await?;
    Ok(Page::of_rows(rows))
}

/// How far the clock that a batch was decided by may be from the database's, in milliseconds. Events are stamped to
/// the millisecond for people, and nothing is decided by less than a second.
const SLACK: i64 = 250;

/// How `append` says that what it rests on does not hold: serialization_failure, and unique_violation.
const STALE: [&str; 2] = ["40001", "23505"];

/// A driver's error as the store's. The driver never repeats the connection string.
pub(crate) fn from_database(error: &sqlx::Error) -> StoreError {
    match code(error).as_deref() {
        Some("42501") => StoreError::Foreign(format!(
            "{error}. The role of the journal's connection string must be a member of switchyard_journal_writer"
        )),
        Some("3F000" | "42P01" | "42883") => {
            StoreError::Foreign(format!("{error}. The database holds no journal of this version"))
        }
        _ => StoreError::Unavailable(error.to_string()),
    }
}

fn code(error: &sqlx::Error) -> Option<String> {
    Some(error.as_database_error()?.code()?.into_owned())
}

/// Whether it may go by itself: a lost connection, a server that restarts, a conflict, a lock that others hold.
pub(super) fn is_passing(error: &sqlx::Error) -> bool {
    match code(error) {
        // Classes: connection, conflict with another transaction, resources, an operator's doing; and a lock's timeout.
        Some(code) => {
            ["08", "40", "53", "57"].iter().any(|class| code.starts_with(class))
                || ["55P03", "25P03", "25P02"].contains(&code.as_str())
        }
        None => matches!(
            error,
            sqlx::Error::Io(_)
                | sqlx::Error::Tls(_)
                | sqlx::Error::Protocol(_)
                | sqlx::Error::PoolTimedOut
                | sqlx::Error::WorkerCrashed
        ),
    }
}

/// The connection that writes.
pub struct PostgresWriter {
    connection: PgConnection,
    clock: Arc<dyn Clock>,
    /// The database's clock when it last told it, and this process's then.
    told: Option<(i64, Instant)>,
}

impl fmt::Debug for PostgresWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PostgresWriter")
    }
}

/// A row of `enter`: what it is, name, holder, two numbers, bytes, hash.
type EnterRow =
    (i32, Option<String>, Option<String>, Option<i64>, Option<i64>, Option<Vec<u8>>, Option<Vec<u8>>);

impl PostgresWriter {
    pub(super) const fn new(connection: PgConnection, clock: Arc<dyn Clock>) -> Self {
        Self { connection, clock, told: None }
    }

    /// Calls `append`; gives whether what it rests on holds.
    async fn append(&mut self, written: &Written, slack: Option<i64>) -> Result<bool, Trouble> {
        let fence_phases: Vec<&str> = written.fences.iter().map(|fence| fence.phase.as_str()).collect();
        let fence_epochs = written.fences.iter().map(|fence| number(fence.epoch.get()));
        let fence_epochs: Vec<i64> = fence_epochs.collect::<Result<_, _>>()?;
        let bodies: Vec<&[u8]> = written.events.iter().map(|event| event.bytes.as_slice()).collect();
        let event_ids: Vec<&str> = written.events.iter().map(|event| event.event_id.as_str()).collect();
        let command_ids: Vec<&str> = written.events.iter().map(|event| event.command_id.as_str()).collect();
        let digests: Vec<Option<&[u8]>> =
            written.events.iter().map(|event| event.digest.as_ref().map(<[u8; 32]>::as_slice)).collect();
        let kinds: Vec<&str> = written.events.iter().map(|event| event.kind).collect();
        let phases: Vec<Option<&str>> =
            written.events.iter().map(|event| event.phase.as_ref().map(PhaseName::as_str)).collect();
        let times: Vec<i64> = written.events.iter().map(|event| event.recorded_at).collect();
        let done = sqlx::query_scalar(
            "select switchyard_journal.append($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
        )
        .bind(number(written.head.get())?)
        .bind(written.now.millis())
        .bind(slack)
        .bind(fence_phases)
        .bind(fence_epochs)
        .bind(bodies)
        .bind(event_ids)
        .bind(command_ids)
        .bind(digests)
        .bind(kinds)
        .bind(phases)
        .bind(times)
        .fetch_one(&mut self.connection)
        .await;
        self.hear(done.as_ref().ok().copied());
        match done {
            Ok(_clock) => Ok(true),
            Err(error) if code(&error).is_some_and(|code| STALE.contains(&code.as_str())) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn hear(&mut self, clock: Option<i64>) {
        self.told = clock.map(|clock| (clock, self.clock.monotonic()));
    }
}

fn missing() -> StoreError {
    StoreError::Foreign("a row of the journal lacks a part".to_owned())
}

impl Writer for PostgresWriter {
    async fn enter(&mut self, wanted: &Wanted) -> Result<Seen, Trouble> {
        sqlx::raw_sql("begin isolation level read committed").execute(&mut self.connection).await?;
        let ids: Vec<&str> = wanted.commands.iter().map(CommandId::as_str).collect();
        let phases: Vec<&str> = wanted.phases.iter().map(PhaseName::as_str).collect();
        let rows: Vec<EnterRow> = sqlx::query_as("select * from switchyard_journal.enter($1, $2, $3, $4)")
            .bind(number(wanted.after.get())?)
            .bind(ids)
            .bind(phases)
            .bind(i32::try_from(PAGE).unwrap_or(i32::MAX))
            .fetch_all(&mut self.connection)
            .await?;
        let mut seen = Seen::default();
        for (what, name, holder, low, high, bytes, hash) in rows {
            let low = low.ok_or_else(missing)?;
            match what {
                0 => {
                    seen.now = Timestamp::from_millis(low);
                    self.hear(Some(low));
                }
                1 => seen.events.push(low, &bytes.ok_or_else(missing)?, &hash.ok_or_else(missing)?),
                2 => {
                    let id = CommandId::new(name.ok_or_else(missing)?)
                        .map_err(|error| StoreError::Foreign(error.to_string()))?;
                    let row = command_row(&bytes.ok_or_else(missing)?, low)?;
                    seen.commands.insert(id, row);
                }
                _ => {
                    let phase = PhaseName::new(name.ok_or_else(missing)?)
                        .map_err(|error| StoreError::Foreign(error.to_string()))?;
                    let row = LeaseRow {
                        epoch: Epoch::new(plain(low)?),
                        holder: holder.ok_or_else(missing)?,
                        expires_at: high.ok_or_else(missing)?,
                    };
                    seen.leases.insert(phase, row);
                }
            }
        }
        Ok(seen)
    }

    async fn events_after(&mut self, after: Position, limit: u32) -> Result<Page, Trouble> {
        events_after(&mut self.connection, after, limit).await
    }

    async fn write(&mut self, written: &Written) -> Result<(), Trouble> {
        if !written.events.is_empty() && !self.append(written, None).await? {
            // Under the lock since it was read, so this is no race.
            let what =
                "the head's row does not agree with the events, or a command of the batch is there already";
            return Err(StoreError::Foreign(what.to_owned()).into());
        }
        if !written.leases.is_empty() {
            let phases: Vec<&str> = written.leases.keys().map(PhaseName::as_str).collect();
            let rows = written.leases.values();
            let epochs = rows.clone().map(|row| number(row.epoch.get())).collect::<Result<Vec<i64>, _>>()?;
            let holders: Vec<&str> = rows.clone().map(|row| row.holder.as_str()).collect();
            let ends: Vec<i64> = rows.map(|row| row.expires_at).collect();
            sqlx::query("select switchyard_journal.write_leases($1, $2, $3, $4)")
                .bind(phases)
                .bind(epochs)
                .bind(holders)
                .bind(ends)
                .execute(&mut self.connection)
                .await?;
        }
        if !written.reports.is_empty() {
            let phases: Vec<&str> = written.reports.keys().map(PhaseName::as_str).collect();
            let bodies: Vec<&str> = written.reports.values().map(String::as_str).collect();
            sqlx::query("select switchyard_journal.write_reports($1, $2, $3)")
                .bind(phases)
                .bind(bodies)
                .bind(written.now.millis())
                .execute(&mut self.connection)
                .await?;
        }
        Ok(())
    }

    async fn commit(&mut self) -> Result<(), Trouble> {
        sqlx::raw_sql("commit").execute(&mut self.connection).await?;
        Ok(())
    }

    fn reckoned(&self) -> Option<Timestamp> {
        let (clock, then) = self.told?;
        let since = self.clock.monotonic().saturating_duration_since(then);
        Some(Timestamp::from_millis(clock).plus(since))
    }

    async fn write_at_once(&mut self, written: &Written) -> Result<bool, Trouble> {
        self.append(written, Some(SLACK)).await
    }
}
