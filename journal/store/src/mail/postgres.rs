//! Inbox and outbox in the journal's PostgreSQL database.
//!
//! What SQLite's one write lock gives for nothing has to be asked for here:
//!
//! * **Numbers come before commits.** A row with a lower number could appear after one with a higher number, and then
//!   two letters would be in two hands at once. So whoever puts a row into a box locks that box's row in `box` first,
//!   until the commit: the order of numbers is the order of commits.
//! * **Two write states of one living message.** The same lock: what the newest row says is read under it.
//! * **Two take.** A row that another is taking is locked. The outbox gives the next one instead (`skip locked`); the
//!   inbox gives nothing, as what comes after it has to wait for it.
//! * **Terms go by the database's clock**, as leases do: instances may stand on several machines.

use std::time::Duration;

use async_trait::async_trait;
use journal::plan::Platform;
use journal::{Holder, Position, Timestamp};
use runtime::{Secret, failpoint};
use sqlx::postgres::{PgArguments, PgPoolOptions};
use sqlx::query::Query;
use sqlx::{PgConnection, PgPool, Postgres, Transaction};

use super::row::{InboxRow, OutboxRow, json, millis, word};
use super::{Draft, Letter, Mailroom, Outgoing, Receipt, Taken};
use crate::StoreError;
use crate::postgres::{PATIENCE, from_database, options};
use crate::record::{number, plain};

/// Statements at once: arrivals, the worker, a sender for each platform.
const CONNECTIONS: u32 = 4;

/// Inbox and outbox in the journal's database.
#[derive(Debug)]
pub struct PostgresMailroom {
    pool: PgPool,
}

/// Which box a row goes into.
#[derive(Debug, Clone, Copy)]
enum Pile {
    Inbox,
    Outbox,
}

impl PostgresMailroom {
    /// Opens those of the journal of a database, which [`crate::PostgresStore::open`] has made.
    ///
    /// # Errors
    /// The database cannot be reached, or holds no journal of this version.
    pub async fn open(url: &Secret) -> Result<Self, StoreError> {
        let pool = PgPoolOptions::new()
            .max_connections(CONNECTIONS)
            .acquire_timeout(PATIENCE)
            .connect_with(options(url)?)
            .await
            .map_err(failed)?;
        sqlx::query("select from switchyard_journal.box").execute(&pool).await.map_err(failed)?;
        Ok(Self { pool })
    }

    async fn begin(&self) -> Result<Transaction<'static, Postgres>, StoreError> {
        self.pool.begin().await.map_err(failed)
    }

    /// Makes a change of one row; `false`: the row is not as the change wants it.
    async fn changes_one(&self, change: Query<'_, Postgres, PgArguments>) -> Result<bool, StoreError> {
        let done = change.execute(&self.pool).await.map_err(failed)?;
        Ok(done.rows_affected() == 1)
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it is what map_err gives")]
fn failed(error: sqlx::Error) -> StoreError {
    from_database(&error)
}

/// The database's clock.
async fn now(tx: &mut Transaction<'static, Postgres>) -> Result<i64, StoreError> {
    sqlx::query_scalar("select switchyard_journal.now_ms()").fetch_one(&mut **tx).await.map_err(failed)
}

/// Lets nobody else put a row into the box until this transaction ends, and gives the clock then.
async fn lock(tx: &mut Transaction<'static, Postgres>, which: Pile) -> Result<i64, StoreError> {
    let name = match which {
        Pile::Inbox => "inbox",
        Pile::Outbox => "outbox",
    };
    sqlx::query("select 1 from switchyard_journal.box where name = $1 for update")
        .bind(name)
        .execute(&mut **tx)
        .await
        .map_err(failed)?;
    now(tx).await
}

/// The platform's id of a living message: as its newest state was sent under it.
async fn message_id(
    connection: &mut PgConnection,
    destination: &str,
    living: Option<&str>,
) -> Result<Option<String>, StoreError> {
    sqlx::query_scalar(
        "select message_id from switchyard_journal.outbox
         where destination = $1 and living = $2 and sent_at is not null
         order by id desc
         limit 1",
    )
    .bind(destination)
    .bind(living)
    .fetch_optional(connection)
    .await
    .map_err(failed)
}

/// Writes drafts; each a new row, or in the place of an older state of the same message that nobody is sending.
async fn write_all(tx: &mut Transaction<'static, Postgres>, drafts: &[Draft]) -> Result<(), StoreError> {
    if drafts.is_empty() {
        return Ok(());
    }
    let now = lock(tx, Pile::Outbox).await?;
    for draft in drafts {
        if let Some(living) = &draft.living
            && is_said(tx, draft, living, now).await?
        {
            continue;
        }
        sqlx::query(
            "insert into switchyard_journal.outbox
                 (platform, destination, living, priority, body, written_at, due_at)
             values ($1, $2, $3, $4, $5, $6, $7)",
        )
        .bind(word(draft.platform))
        .bind(&draft.destination)
        .bind(&draft.living)
        .bind(draft.priority)
        .bind(draft.body.to_string())
        .bind(now)
        .bind(now.saturating_add(millis(draft.wait)))
        .execute(&mut **tx)
        .await
        .map_err(failed)?;
    }
    Ok(())
}

/// Whether a state of a living message needs no row: the newest says the same, or one that waits now says it.
async fn is_said(
    tx: &mut Transaction<'static, Postgres>,
    draft: &Draft,
    living: &str,
    now: i64,
) -> Result<bool, StoreError> {
    let newest: Option<String> = sqlx::query_scalar(
        "select body from switchyard_journal.outbox
         where destination = $1 and living = $2
         order by id desc
         limit 1",
    )
    .bind(&draft.destination)
    .bind(living)
    .fetch_optional(&mut **tx)
    .await
    .map_err(failed)?;
    if newest.map(|text| json(&text)).transpose()?.as_ref() == Some(&draft.body) {
        return Ok(true);
    }
    let replaced = sqlx::query(
        "update switchyard_journal.outbox
         set body = $1, priority = $2,
             due_at = case when attempts = 0 then least(due_at, $7) else due_at end
         where destination = $3 and living = $4 and platform = $5
           and sent_at is null and given_up_at is null and taken_until <= $6",
    )
    .bind(draft.body.to_string())
    .bind(draft.priority)
    .bind(&draft.destination)
    .bind(living)
    .bind(word(draft.platform))
    .bind(now)
    .bind(now.saturating_add(millis(draft.wait)))
    .execute(&mut **tx)
    .await
    .map_err(failed)?;
    Ok(replaced.rows_affected() > 0)
}

#[async_trait]
impl Mailroom for PostgresMailroom {
    async fn receive(&self, letter: &Letter) -> Result<Receipt, StoreError> {
        let mut tx = self.begin().await?;
        let now = lock(&mut tx, Pile::Inbox).await?;
        let kept = sqlx::query(
            "insert into switchyard_journal.inbox
                 (transport_key, meaning_key, platform, kind, body, received_at)
             values ($1, $2, $3, $4, $5, $6)
             on conflict do nothing",
        )
        .bind(&letter.transport)
        .bind(&letter.meaning)
        .bind(word(letter.platform))
        .bind(&letter.kind)
        .bind(letter.body.to_string())
        .bind(now)
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
        // Found first and locked then: a lock that skips would give the next one while this one is being taken.
        let row: Option<InboxRow> = sqlx::query_as(
            "select id, transport_key, meaning_key, platform, kind, body, taken_by, taken_until, tries
             from switchyard_journal.inbox
             where id = (select min(id) from switchyard_journal.inbox where finished_at is null)
               and finished_at is null
             for update skip locked",
        )
        .fetch_optional(&mut *tx)
        .await
        .map_err(failed)?;
        let Some(row) = row else { return Ok(None) };
        let now = now(&mut tx).await?;
        if row.is_in_another_hand(by.as_str(), now) {
            return Ok(None);
        }
        sqlx::query(
            "update switchyard_journal.inbox set taken_by = $1, taken_until = $2, tries = tries + 1
             where id = $3",
        )
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
        let finished = sqlx::query(
            "update switchyard_journal.inbox set finished_at = switchyard_journal.now_ms(), taken_by = null
             where id = $1 and tries = $2 and finished_at is null",
        )
        .bind(taken.id)
        .bind(taken.tries)
        .execute(&mut *tx)
        .await
        .map_err(failed)?;
        if finished.rows_affected() == 0 {
            return Ok(false);
        }
        write_all(&mut tx, replies).await?;
        failpoint::hit("mail.before_finish");
        tx.commit().await.map_err(failed)?;
        failpoint::hit("mail.after_finish");
        Ok(true)
    }

    async fn put_back(&self, taken: &Taken, wait: Duration) -> Result<bool, StoreError> {
        let change = sqlx::query(
            "update switchyard_journal.inbox
             set taken_by = null, taken_until = switchyard_journal.now_ms() + $1
             where id = $2 and tries = $3 and finished_at is null",
        )
        .bind(millis(wait))
        .bind(taken.id)
        .bind(taken.tries);
        self.changes_one(change).await
    }

    async fn write(&self, drafts: &[Draft]) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        write_all(&mut tx, drafts).await?;
        tx.commit().await.map_err(failed)
    }

    async fn publish(&self, reader: &str, upto: Position, drafts: &[Draft]) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        sqlx::query(
            "insert into switchyard_journal.watermark as w (reader, position) values ($1, $2)
             on conflict (reader) do update set position = excluded.position
             where excluded.position > w.position",
        )
        .bind(reader)
        .bind(number(upto.get())?)
        .execute(&mut *tx)
        .await
        .map_err(failed)?;
        write_all(&mut tx, drafts).await?;
        failpoint::hit("mail.before_publish");
        tx.commit().await.map_err(failed)?;
        failpoint::hit("mail.after_publish");
        Ok(())
    }

    async fn published(&self, reader: &str) -> Result<Position, StoreError> {
        let position: Option<i64> =
            sqlx::query_scalar("select position from switchyard_journal.watermark where reader = $1")
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
        let now = now(&mut tx).await?;
        let next: Option<OutboxRow> = sqlx::query_as(
            "select id, platform, destination, living, priority, body, written_at, attempts
             from switchyard_journal.outbox as this
             where platform = $1 and sent_at is null and given_up_at is null
               and due_at <= $2 and (taken_until <= $2 or taken_by = $3)
               and not exists (
                   select 1 from switchyard_journal.outbox as before
                   where before.destination = this.destination and before.living = this.living
                     and before.id < this.id and before.sent_at is null and before.given_up_at is null)
             order by priority desc, id
             limit 1
             for update skip locked",
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
            "update switchyard_journal.outbox set taken_by = $1, taken_until = $2, attempts = attempts + 1
             where id = $3",
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
            "update switchyard_journal.outbox
             set sent_at = switchyard_journal.now_ms(), message_id = $1, taken_by = null, taken_until = 0
             where id = $2 and attempts = $3 and sent_at is null and given_up_at is null",
        )
        .bind(message)
        .bind(outgoing.id)
        .bind(outgoing.attempts);
        self.changes_one(change).await
    }

    async fn postpone(&self, outgoing: &Outgoing, wait: Duration, why: &str) -> Result<bool, StoreError> {
        let change = sqlx::query(
            "update switchyard_journal.outbox
             set due_at = switchyard_journal.now_ms() + $1, last_error = $2, taken_by = null, taken_until = 0
             where id = $3 and attempts = $4 and sent_at is null and given_up_at is null",
        )
        .bind(millis(wait))
        .bind(why)
        .bind(outgoing.id)
        .bind(outgoing.attempts);
        self.changes_one(change).await
    }

    async fn give_up(&self, outgoing: &Outgoing, why: &str) -> Result<bool, StoreError> {
        let change = sqlx::query(
            "update switchyard_journal.outbox
             set given_up_at = switchyard_journal.now_ms(), last_error = $1, taken_by = null, taken_until = 0
             where id = $2 and attempts = $3 and sent_at is null and given_up_at is null",
        )
        .bind(why)
        .bind(outgoing.id)
        .bind(outgoing.attempts);
        self.changes_one(change).await
    }

    async fn waiting(&self) -> Result<(u64, u64), StoreError> {
        let (inbox, outbox): (i64, i64) = sqlx::query_as(
            "select (select count(*) from switchyard_journal.inbox where finished_at is null),
                    (select count(*) from switchyard_journal.outbox
                     where sent_at is null and given_up_at is null)",
        )
        .fetch_one(&self.pool)
        .await
        .map_err(failed)?;
        Ok((u64::try_from(inbox).unwrap_or(0), u64::try_from(outbox).unwrap_or(0)))
    }

    async fn oldest(&self) -> Result<(Option<Timestamp>, Option<Timestamp>), StoreError> {
        let (inbox, outbox): (Option<i64>, Option<i64>) = sqlx::query_as(
            "select (select min(received_at) from switchyard_journal.inbox where finished_at is null),
                    (select min(written_at) from switchyard_journal.outbox
                     where sent_at is null and given_up_at is null)",
        )
        .fetch_one(&self.pool)
        .await
        .map_err(failed)?;
        Ok((inbox.map(Timestamp::from_millis), outbox.map(Timestamp::from_millis)))
    }
}
