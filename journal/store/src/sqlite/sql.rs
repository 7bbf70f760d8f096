//! The statements.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use journal::{Epoch, PhaseName, Position, Timestamp, merkle};
use runtime::Clock;
use sqlx::sqlite::{Sqlite, SqliteArguments};
use sqlx::{Arguments as _, AssertSqlSafe, SqliteConnection};

use crate::StoreError;
use crate::backend::{CommandRow, LeaseRow, NewEvent, Seen, Trouble, Wanted, Writer, Written};
use crate::record::{PAGE, Packed, Page, command_row, number, plain};

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
    Some(code(error)? & 0xFF)
}

fn code(error: &sqlx::Error) -> Option<u32> {
    error.as_database_error()?.code()?.parse().ok()
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
    let after = number(after.get())?;
    // As text, which is put together without a look at what it is; blobs cannot be.
    let packed: Packed = sqlx::query_as(
        "select group_concat(cast(bytes as text), char(10)), group_concat(cast(leaf as text), ''), max(position)
         from (select position, bytes, leaf
               from event
               where position > ?1
               order by position
               limit ?2)",
    )
    .bind(after)
    .bind(i64::from(limit))
    .fetch_one(&mut *connection)
    .await?;
    if let Some(page) = Page::unpacked(after, vec![packed]) {
        return Ok(page);
    }
    row_by_row(connection, after, limit).await
}

/// The same, of a table that somebody was at: what is missing or changed is found at its place.
async fn row_by_row(connection: &mut SqliteConnection, after: i64, limit: u32) -> Result<Page, Trouble> {
    let rows: Vec<(i64, Vec<u8>, Vec<u8>)> = sqlx::query_as(
        "select position, cast(coalesce(bytes, '') as blob), cast(coalesce(leaf, '') as blob)
         from event
         where position > ?1
         order by position
         limit ?2",
    )
    .bind(after)
    .bind(i64::from(limit))
    .fetch_all(connection)
    .await?;
    Ok(Page::of_rows(rows))
}

/// How long after its decision a batch may get the lock that it did not wait for, in milliseconds.
const SLACK: i64 = 250;

/// No batch that was decided without the lock is on its way.
const UNDER_THE_LOCK: i64 = i64::MIN;

/// SQLITE_CONSTRAINT, and the one of a commit that its hook refused: that transaction is rolled back already.
const CONSTRAINT: u32 = 19;
const COMMIT_HOOK: u32 = CONSTRAINT | 2 << 8;

/// What is written there fails unless the phase is held under that epoch, beyond that instant.
const FENCE: &str = "
create temp view fence as select '' as phase, 0 as epoch, 0 as until;
create temp trigger fence_holds instead of insert on fence
when not exists (
    select 1 from lease
    where phase = new.phase and epoch = new.epoch and expires_at > new.until
)
begin
    select raise(abort, 'the lease is not as it was taken to be');
end;
";

/// The connection that writes.
pub struct SqliteWriter {
    connection: SqliteConnection,
    clock: Arc<dyn Clock>,
    /// When the batch that is being written was decided: its commit looks, under the lock, whether that is long ago.
    decided_at: Arc<AtomicI64>,
}

impl fmt::Debug for SqliteWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SqliteWriter")
    }
}

/// Statements that SQLite's thread does in one turn: to wake it takes longer than most of them. What is done often has
/// the same text, and is prepared once.
#[derive(Default)]
struct Script {
    text: String,
    arguments: SqliteArguments,
    statements: usize,
}

impl Script {
    /// Statements of one turn, about: all of them are kept prepared.
    const FULL: usize = 32;

    const fn is_full(&self) -> bool {
        self.statements >= Self::FULL
    }

    fn add(&mut self, statement: &'static str) {
        self.text.push_str(statement);
        self.statements += 1;
    }

    fn bind<'v>(
        &mut self,
        value: impl sqlx::Encode<'v, Sqlite> + sqlx::Type<Sqlite> + 'v,
    ) -> Result<(), Trouble> {
        self.arguments.add(value).map_err(|error| sqlx::Error::Encode(error).into())
    }

    fn event(&mut self, position: Position, event: &NewEvent) -> Result<(), Trouble> {
        self.add(
            "insert into event (position, bytes, leaf, event_id, command_id, digest, kind, phase, recorded_at)
             values (?, ?, ?, ?, ?, ?, ?, ?, ?);",
        );
        self.bind(number(position.get())?)?;
        self.bind(event.bytes.as_slice())?;
        self.bind(merkle::leaf(&event.bytes).as_slice())?;
        self.bind(event.event_id.as_str())?;
        self.bind(event.command_id.as_str())?;
        self.bind(event.digest.as_ref().map(<[u8; 32]>::as_slice))?;
        self.bind(event.kind)?;
        self.bind(event.phase.as_ref().map(PhaseName::as_str))?;
        self.bind(event.recorded_at)
    }

    fn lease(&mut self, phase: &PhaseName, row: &LeaseRow) -> Result<(), Trouble> {
        self.add("update lease set epoch = ?, holder = ?, expires_at = ? where phase = ?;");
        self.bind(number(row.epoch.get())?)?;
        self.bind(row.holder.as_str())?;
        self.bind(row.expires_at)?;
        self.bind(phase.as_str())?;
        self.add(
            "insert into lease (epoch, holder, expires_at, phase)
             select ?, ?, ?, ?
             where not exists (select 1 from lease where phase = ?);",
        );
        self.bind(number(row.epoch.get())?)?;
        self.bind(row.holder.as_str())?;
        self.bind(row.expires_at)?;
        self.bind(phase.as_str())?;
        self.bind(phase.as_str())
    }

    async fn run(self, connection: &mut SqliteConnection) -> Result<(), Trouble> {
        if self.statements > 0 {
            sqlx::query_with(AssertSqlSafe(self.text), self.arguments).execute(connection).await?;
        }
        Ok(())
    }
}

impl SqliteWriter {
    pub(super) async fn new(
        mut connection: SqliteConnection,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, sqlx::Error> {
        sqlx::raw_sql(FENCE).execute(&mut connection).await?;
        let decided_at = Arc::new(AtomicI64::new(UNDER_THE_LOCK));
        let (decided, now) = (Arc::clone(&decided_at), Arc::clone(&clock));
        connection.lock_handle().await?.set_commit_hook(move || match decided.load(Ordering::SeqCst) {
            UNDER_THE_LOCK => true,
            decided => now.now_millis().abs_diff(decided) <= SLACK.unsigned_abs(),
        });
        Ok(Self { connection, clock, decided_at })
    }

    /// Everything in one transaction, decided before it began.
    async fn try_at_once(&mut self, written: &Written) -> Result<(), Trouble> {
        let mut script = Script::default();
        script.add("begin immediate;");
        for fence in &written.fences {
            script.add("insert into fence values (?, ?, ?);");
            script.bind(fence.phase.as_str())?;
            script.bind(number(fence.epoch.get())?)?;
            script.bind(written.now.millis().saturating_add(SLACK))?;
        }
        let mut script = self.rows(script, written).await?;
        script.add("commit;");
        script.run(&mut self.connection).await
    }

    /// Adds all rows to what has to go before them, and sends what is too much for one turn.
    async fn rows(&mut self, mut script: Script, written: &Written) -> Result<Script, Trouble> {
        let mut position = written.head;
        for event in &written.events {
            if script.is_full() {
                std::mem::take(&mut script).run(&mut self.connection).await?;
            }
            position = position.next();
            script.event(position, event)?;
        }
        for (phase, row) in &written.leases {
            script.lease(phase, row)?;
        }
        for (phase, body) in &written.reports {
            script.add(
                "insert into progress (phase, at, body)
                 values (?, ?, ?)
                 on conflict (phase) do update set at = excluded.at, body = excluded.body;",
            );
            script.bind(phase.as_str())?;
            script.bind(written.now.millis())?;
            script.bind(body.as_str())?;
        }
        Ok(script)
    }

    async fn command(&mut self, id: &str) -> Result<Option<CommandRow>, Trouble> {
        let row: Option<(Vec<u8>, i64)> =
            sqlx::query_as("select digest, position from event where command_id = ?1 and digest is not null")
                .bind(id)
                .fetch_optional(&mut self.connection)
                .await?;
        row.map(|(digest, first)| command_row(&digest, first)).transpose().map_err(Trouble::from)
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
        self.rows(Script::default(), written).await?.run(&mut self.connection).await
    }

    async fn commit(&mut self) -> Result<(), Trouble> {
        sqlx::query("commit").execute(&mut self.connection).await?;
        Ok(())
    }

    fn reckoned(&self) -> Option<Timestamp> {
        Some(Timestamp::from_millis(self.clock.now_millis()))
    }

    async fn write_at_once(&mut self, written: &Written) -> Result<bool, Trouble> {
        self.decided_at.store(written.now.millis(), Ordering::SeqCst);
        let done = self.try_at_once(written).await;
        self.decided_at.store(UNDER_THE_LOCK, Ordering::SeqCst);
        match done {
            Ok(()) => Ok(true),
            Err(Trouble::Database(error)) if primary_code(&error) == Some(CONSTRAINT) => {
                if code(&error) != Some(COMMIT_HOOK) {
                    sqlx::query("rollback").execute(&mut self.connection).await?;
                }
                Ok(false)
            }
            Err(trouble) => Err(trouble),
        }
    }
}

#[cfg(test)]
mod tests {
    use journal::{CommandId, MigrationName};
    use runtime::SystemClock;
    use sqlx::ConnectOptions as _;

    use super::super::file::JournalFile;
    use super::*;
    use crate::backend::Fence;

    fn batch(number: u64, decided_at: Timestamp, fences: Vec<Fence>) -> Written {
        let event = NewEvent {
            bytes: b"{}".to_vec(),
            event_id: format!("e{number}"),
            command_id: CommandId::new(format!("c{number}")).unwrap(),
            digest: Some([7; 32]),
            kind: "x",
            phase: None,
            recorded_at: 0,
        };
        let head = Position::new(number - 1);
        Written { head, now: decided_at, fences, events: vec![event], ..Written::default() }
    }

    #[tokio::test]
    async fn what_was_decided_without_the_lock_is_written_only_while_it_is_so() {
        let directory = tempfile::TempDir::new().unwrap();
        let file =
            JournalFile::of(&format!("sqlite:{}", directory.path().join("journal.db").display())).unwrap();
        file.prepare(&MigrationName::new("shop").unwrap(), &SystemClock).await.unwrap();
        let connection = file.writing().connect().await.unwrap();
        let mut writer = SqliteWriter::new(connection, Arc::new(SystemClock)).await.unwrap();
        let now = || Timestamp::from_millis(SystemClock.now_millis());
        let fence = |epoch| vec![Fence { phase: PhaseName::new("a").unwrap(), epoch: Epoch::new(epoch) }];
        let long_ago = Timestamp::from_millis(now().millis() - 2 * SLACK);
        assert!(!writer.write_at_once(&batch(1, long_ago, Vec::new())).await.unwrap(), "the clock");
        assert!(!writer.write_at_once(&batch(1, now(), fence(1))).await.unwrap(), "no lease");
        assert!(!writer.write_at_once(&batch(2, now(), Vec::new())).await.unwrap(), "the head");

        for (epoch, lasts, claimed, is_good) in
            [(1, SLACK / 2, 1, false), (2, 60_000, 1, false), (2, 60_000, 2, true)]
        {
            sqlx::query(
                "insert into lease select 'a', 1, 'h', 0 where not exists (select 1 from lease);
                 update lease set epoch = ?, expires_at = ?",
            )
            .bind(epoch)
            .bind(now().millis() + lasts)
            .execute(&mut writer.connection)
            .await
            .unwrap();
            let done = writer.write_at_once(&batch(1, now(), fence(claimed))).await.unwrap();
            assert_eq!(done, is_good, "{claimed} is claimed, it is {epoch} for {lasts} ms");
        }
        assert!(!writer.write_at_once(&batch(1, now(), Vec::new())).await.unwrap(), "the command is there");
        let events: i64 =
            sqlx::query_scalar("select count(*) from event").fetch_one(&mut writer.connection).await.unwrap();
        assert_eq!(events, 1);
        assert!(writer.write_at_once(&batch(2, now(), fence(2))).await.unwrap(), "and the next one follows");
    }
}
