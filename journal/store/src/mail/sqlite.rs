//! Inbox and outbox in the journal's SQLite file.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use journal::plan::Platform;
use journal::{Holder, Position, Timestamp};
use runtime::{Clock, failpoint};
use sqlx::query::Query;
use sqlx::sqlite::{SqliteArguments, SqliteConnectOptions, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Sqlite, SqliteConnection, SqlitePool, Transaction};

use super::row::{InboxRow, OutboxRow, json, millis, word};
use super::{Draft, Letter, Mailroom, Outgoing, Receipt, Taken};
use crate::StoreError;
use crate::record::{number, plain};

/// How long SQLite waits for another's transaction. Above what an append takes, below what a platform waits.
const BUSY: Duration = Duration::from_millis(2500);

/// Inbox and outbox in the journal's file.
#[derive(Debug)]
pub struct SqliteMailroom {
    pool: SqlitePool,
    clock: Arc<dyn Clock>,
}

impl SqliteMailroom {
    /// Opens those of the journal at `sqlite:FILE`, which [`crate::SqliteStore::open`] has made. Terms and times are the
    /// clock's.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub async fn open(url: &str, clock: Arc<dyn Clock>) -> Result<Self, StoreError> {
        let file = url.strip_prefix("sqlite:").unwrap_or(url);
        let options = SqliteConnectOptions::new()
            .filename(file)
            .create_if_missing(false)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(BUSY)
            .disable_statement_logging();
        // One connection: a process never waits for a lock of its own.
        let pool = SqlitePoolOptions::new()
            .max_connections(1)
            .test_before_acquire(false)
            .connect_with(options)
            .await
            .map_err(failed)?;
        Ok(Self { pool, clock })
    }

    fn now(&self) -> i64 {
        self.clock.now_millis()
    }

    /// A transaction that holds the file's write lock from its beginning.
    async fn begin(&self) -> Result<Transaction<'static, Sqlite>, StoreError> {
        self.pool.begin_with("begin immediate").await.map_err(failed)
    }

    /// Makes a change of one row; `false`: the row is not as the change wants it.
    async fn changes_one(&self, change: Query<'_, Sqlite, SqliteArguments>) -> Result<bool, StoreError> {
        let done = change.execute(&self.pool).await.map_err(failed)?;
        Ok(done.rows_affected() == 1)
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it is what map_err gives")]
fn failed(error: sqlx::Error) -> StoreError {
    StoreError::Unavailable(error.to_string())
}

/// The platform's id of a living message: as its newest state was sent under it.
async fn message_id(
    connection: &mut SqliteConnection,
    destination: &str,
    living: Option<&str>,
) -> Result<Option<String>, StoreError> {
    sqlx::query_scalar(
        "select message_id from outbox
         where destination = ?1 and living = ?2 and sent_at is not null
         order by id desc
         limit 1",
    )
    .bind(destination)
    .bind(living)
    .fetch_optional(connection)
    .await
    .map_err(failed)
}

/// Writes a draft, or puts it in the place of an older state of the same message that nobody is sending.
async fn write(tx: &mut Transaction<'static, Sqlite>, draft: &Draft, now: i64) -> Result<(), StoreError> {
    let body = draft.body.to_string();
    if let Some(living) = &draft.living {
        let newest: Option<String> = sqlx::query_scalar(
            "select body from outbox where destination = ?1 and living = ?2 order by id desc limit 1",
        )
        .bind(&draft.destination)
        .bind(living)
        .fetch_optional(&mut **tx)
        .await
        .map_err(failed)?;
        if newest.map(|text| json(&text)).transpose()?.as_ref() == Some(&draft.body) {
            return Ok(());
        }
        let replaced = sqlx::query(
            "update outbox
             set body = ?1, priority = ?2,
                 due_at = case when attempts = 0 then min(due_at, ?7) else due_at end
             where destination = ?3 and living = ?4 and platform = ?5
               and sent_at is null and given_up_at is null and taken_until <= ?6",
        )
        .bind(&body)
        .bind(draft.priority)
        .bind(&draft.destination)
        .bind(living)
        .bind(word(draft.platform))
        .bind(now)
        .bind(now.saturating_add(millis(draft.wait)))
        .execute(&mut **tx)
        .await
        .map_err(failed)?;
        if replaced.rows_affected() > 0 {
            return Ok(());
        }
    }
    sqlx::query(
        "insert into outbox (platform, destination, living, priority, body, written_at, due_at)
         values (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )
    .bind(word(draft.platform))
    .bind(&draft.destination)
    .bind(&draft.living)
    .bind(draft.priority)
    .bind(body)
    .bind(now)
    .bind(now.saturating_add(millis(draft.wait)))
    .execute(&mut **tx)
    .await
    .map_err(failed)?;
    Ok(())
}

#[async_trait]
impl Mailroom for SqliteMailroom {
    async fn receive(&self, letter: &Letter) -> Result<Receipt, StoreError> {
        let mut tx = self.begin().await?;
        let kept = sqlx::query(
            "insert into inbox (transport_key, meaning_key, platform, kind, body, received_at)
             values (?1, ?2, ?3, ?4, ?5, ?6)
             on conflict do nothing",
        )
        .bind(&letter.transport)
        .bind(&letter.meaning)
        .bind(word(letter.platform))
        .bind(&letter.kind)
        .bind(letter.body.to_string())
        .bind(self.now())
        .execute(&mut *tx)
        .await
        .map_err(failed)?;
        failpoint::hit("mail.before_receipt");
        tx.commit().await.map_err(failed)?;
        failpoint::hit("mail.after_receipt");
        Ok(if kept.rows_affected() == 1 { Receipt::New } else { Receipt::Duplicate })
    }

    async fn take(&self, by: &Holder, term: Duration) -> Result<Option<Taken>, StoreError> {
        let mut tx = self.begin().await?;
        let now = self.now();
        let oldest: Option<InboxRow> = sqlx::query_as(
            "select id, transport_key, meaning_key, platform, kind, body, taken_by, taken_until, tries
             from inbox
             where finished_at is null
             order by id
             limit 1",
        )
        .fetch_optional(&mut *tx)
        .await
        .map_err(failed)?;
        let Some(row) = oldest else { return Ok(None) };
        if row.is_in_another_hand(by.as_str(), now) {
            return Ok(None);
        }
        sqlx::query("update inbox set taken_by = ?1, taken_until = ?2, tries = tries + 1 where id = ?3")
            .bind(by.as_str())
            .bind(now.saturating_add(millis(term)))
            .bind(row.id)
            .execute(&mut *tx)
            .await
            .map_err(failed)?;
        tx.commit().await.map_err(failed)?;
        row.taken().map(Some)
    }

    async fn finish(&self, taken: &Taken, replies: &[Draft]) -> Result<bool, StoreError> {
        let mut tx = self.begin().await?;
        let now = self.now();
        let finished = sqlx::query(
            "update inbox set finished_at = ?1, taken_by = null
             where id = ?2 and tries = ?3 and finished_at is null",
        )
        .bind(now)
        .bind(taken.id)
        .bind(taken.tries)
        .execute(&mut *tx)
        .await
        .map_err(failed)?;
        if finished.rows_affected() == 0 {
            return Ok(false);
        }
        for reply in replies {
            write(&mut tx, reply, now).await?;
        }
        failpoint::hit("mail.before_finish");
        tx.commit().await.map_err(failed)?;
        failpoint::hit("mail.after_finish");
        Ok(true)
    }

    async fn put_back(&self, taken: &Taken, wait: Duration) -> Result<bool, StoreError> {
        let change = sqlx::query(
            "update inbox set taken_by = null, taken_until = ?1
             where id = ?2 and tries = ?3 and finished_at is null",
        )
        .bind(self.now().saturating_add(millis(wait)))
        .bind(taken.id)
        .bind(taken.tries);
        self.changes_one(change).await
    }

    async fn write(&self, drafts: &[Draft]) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        let now = self.now();
        for draft in drafts {
            write(&mut tx, draft, now).await?;
        }
        tx.commit().await.map_err(failed)
    }

    async fn publish(&self, reader: &str, upto: Position, drafts: &[Draft]) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        let now = self.now();
        sqlx::query(
            "insert into watermark (reader, position) values (?1, ?2)
             on conflict (reader) do update set position = excluded.position
             where excluded.position > position",
        )
        .bind(reader)
        .bind(number(upto.get())?)
        .execute(&mut *tx)
        .await
        .map_err(failed)?;
        for draft in drafts {
            write(&mut tx, draft, now).await?;
        }
        failpoint::hit("mail.before_publish");
        tx.commit().await.map_err(failed)?;
        failpoint::hit("mail.after_publish");
        Ok(())
    }

    async fn published(&self, reader: &str) -> Result<Position, StoreError> {
        let position: Option<i64> = sqlx::query_scalar("select position from watermark where reader = ?1")
            .bind(reader)
            .fetch_optional(&self.pool)
            .await
            .map_err(failed)?;
        Ok(Position::new(plain(position.unwrap_or(0))?))
    }

    async fn living(&self, destination: &str, key: &str) -> Result<Option<String>, StoreError> {
        let mut connection = self.pool.acquire().await.map_err(failed)?;
        message_id(&mut connection, destination, Some(key)).await
    }

    async fn take_outgoing(
        &self,
        by_platform: Platform,
        by: &Holder,
        term: Duration,
    ) -> Result<Option<Outgoing>, StoreError> {
        let mut tx = self.begin().await?;
        let now = self.now();
        let next: Option<OutboxRow> = sqlx::query_as(
            "select id, platform, destination, living, priority, body, written_at, attempts
             from outbox as this
             where platform = ?1 and sent_at is null and given_up_at is null
               and due_at <= ?2 and (taken_until <= ?2 or taken_by = ?3)
               and not exists (
                   select 1 from outbox as before
                   where before.destination = this.destination and before.living = this.living
                     and before.id < this.id and before.sent_at is null and before.given_up_at is null)
             order by priority desc, id
             limit 1",
        )
        .bind(word(by_platform))
        .bind(now)
        .bind(by.as_str())
        .fetch_optional(&mut *tx)
        .await
        .map_err(failed)?;
        let Some(row) = next else { return Ok(None) };
        let edits = message_id(&mut tx, &row.destination, row.living.as_deref()).await?;
        sqlx::query(
            "update outbox set taken_by = ?1, taken_until = ?2, attempts = attempts + 1 where id = ?3",
        )
        .bind(by.as_str())
        .bind(now.saturating_add(millis(term)))
        .bind(row.id)
        .execute(&mut *tx)
        .await
        .map_err(failed)?;
        tx.commit().await.map_err(failed)?;
        row.taken(edits).map(Some)
    }

    async fn sent(&self, outgoing: &Outgoing, message: &str) -> Result<bool, StoreError> {
        let change = sqlx::query(
            "update outbox set sent_at = ?1, message_id = ?2, taken_by = null, taken_until = 0
             where id = ?3 and attempts = ?4 and sent_at is null and given_up_at is null",
        )
        .bind(self.now())
        .bind(message)
        .bind(outgoing.id)
        .bind(outgoing.attempts);
        self.changes_one(change).await
    }

    async fn postpone(&self, outgoing: &Outgoing, wait: Duration, why: &str) -> Result<bool, StoreError> {
        let change = sqlx::query(
            "update outbox set due_at = ?1, last_error = ?2, taken_by = null, taken_until = 0
             where id = ?3 and attempts = ?4 and sent_at is null and given_up_at is null",
        )
        .bind(self.now().saturating_add(millis(wait)))
        .bind(why)
        .bind(outgoing.id)
        .bind(outgoing.attempts);
        self.changes_one(change).await
    }

    async fn give_up(&self, outgoing: &Outgoing, why: &str) -> Result<bool, StoreError> {
        let change = sqlx::query(
            "update outbox set given_up_at = ?1, last_error = ?2, taken_by = null, taken_until = 0
             where id = ?3 and attempts = ?4 and sent_at is null and given_up_at is null",
        )
        .bind(self.now())
        .bind(why)
        .bind(outgoing.id)
        .bind(outgoing.attempts);
        self.changes_one(change).await
    }

    async fn waiting(&self) -> Result<(u64, u64), StoreError> {
        let (inbox, outbox): (i64, i64) = sqlx::query_as(
            "select (select count(*) from inbox where finished_at is null),
                    (select count(*) from outbox where sent_at is null and given_up_at is null)",
        )
        .fetch_one(&self.pool)
        .await
        .map_err(failed)?;
        Ok((u64::try_from(inbox).unwrap_or(0), u64::try_from(outbox).unwrap_or(0)))
    }

    async fn oldest(&self) -> Result<(Option<Timestamp>, Option<Timestamp>), StoreError> {
        let (inbox, outbox): (Option<i64>, Option<i64>) = sqlx::query_as(
            "select (select min(received_at) from inbox where finished_at is null),
                    (select min(written_at) from outbox
                     where sent_at is null and given_up_at is null)",
        )
        .fetch_one(&self.pool)
        .await
        .map_err(failed)?;
        Ok((inbox.map(Timestamp::from_millis), outbox.map(Timestamp::from_millis)))
    }
}
