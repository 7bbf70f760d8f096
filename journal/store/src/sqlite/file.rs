//! The file: where it is, whether it is a journal, and its tables.
//!
//! Two processes may open a file that is not there at the same instant. Each makes an empty file or finds the other's,
//! then takes the write lock and looks again within it: the tables, the file's mark and the migration's name appear in
//! one transaction, so the second finds either nothing or all of it. The change to write-ahead logging cannot be
//! within a transaction and is refused while another connection does it, without SQLite's own waiting; it is tried again.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::Duration;

use journal::MigrationName;
use runtime::Clock;
use runtime::retry::Backoff;
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::sqlite::{SqliteConnectOptions, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Connection as _, SqliteConnection};

use super::sql::{is_busy, primary_code};
use crate::backend::Trouble;
use crate::{StoreError, schema};

static TABLES: LazyLock<Migrator> = LazyLock::new(|| {
    schema::versions(&[
        ("journal", include_str!("../../../../migrations/sqlite/0001_journal.sql")),
        ("mail", include_str!("../../../../migrations/sqlite/0002_mail.sql")),
        ("watermark", include_str!("../../../../migrations/sqlite/0003_watermark.sql")),
    ])
});

/// `SWYD`, as the schema sets it.
const APPLICATION_ID: i64 = 1_398_233_412;

/// How long SQLite waits by itself for another process's transaction. Well below the shortest sensible lease term,
/// so that a holder learns in time that it cannot renew.
const BUSY: Duration = Duration::from_secs(2);

/// Times that opening is tried while others hold the file.
const TRIES: u32 = 10;

/// Where a journal is.
#[derive(Debug, Clone)]
pub(super) struct JournalFile {
    path: PathBuf,
}

impl JournalFile {
    /// The file that a URL names.
    pub(super) fn of(url: &str) -> Result<Self, StoreError> {
        let named = url.strip_prefix("sqlite:").map(|rest| rest.strip_prefix("//").unwrap_or(rest));
        match named {
            Some(path) if !path.is_empty() && !path.starts_with(":memory:") && !path.contains('?') => {
                let path = std::path::absolute(path)
                    .map_err(|error| StoreError::Unavailable(format!("{path}: {error}")))?;
                Ok(Self { path })
            }
            Some(_) | None => Err(StoreError::Foreign(format!(
                "`{url}` does not name a file: write sqlite:FILE, as in sqlite:switchyard.db"
            ))),
        }
    }

    /// How the appender opens it.
    pub(super) fn writing(&self) -> SqliteConnectOptions {
        self.plain().synchronous(SqliteSynchronous::Full)
    }

    /// How readers open it: SQLite itself refuses what would write.
    pub(super) fn reading(&self) -> SqliteConnectOptions {
        self.plain().pragma("query_only", "on")
    }

    fn plain(&self) -> SqliteConnectOptions {
        SqliteConnectOptions::new()
            .filename(&self.path)
            .create_if_missing(false)
            .busy_timeout(BUSY)
            .disable_statement_logging()
    }

    /// Makes the file and its tables where they are missing.
    pub(super) async fn prepare(
        &self,
        migration: &MigrationName,
        clock: &dyn Clock,
    ) -> Result<(), StoreError> {
        let mut backoff = Backoff::new(Duration::from_millis(5), Duration::from_millis(200));
        let mut tries = 1;
        loop {
            match self.try_prepare(migration).await {
                Err(Trouble::Database(error)) if is_busy(&error) && tries < TRIES => {
                    tries += 1;
                    clock.sleep(backoff.wait()).await;
                }
                done => return done.map_err(|trouble| self.named(trouble)),
            }
        }
    }

    async fn try_prepare(&self, migration: &MigrationName) -> Result<(), Trouble> {
        let options = self.writing().create_if_missing(true);
        let mut connection = options.connect().await?;
        // Before anything is changed: another program's database must stay as it is.
        self.is_ours_or_empty(&mut connection).await?;
        let mode: String = sqlx::query_scalar("pragma journal_mode = wal").fetch_one(&mut connection).await?;
        if !mode.eq_ignore_ascii_case("wal") {
            return Err(StoreError::Foreign(format!(
                "{} lies where SQLite cannot keep a write-ahead log. Put it on a local disk",
                self.path.display()
            ))
            .into());
        }
        let mut tx = connection.begin_with("begin immediate").await?;
        self.is_ours_or_empty(&mut tx).await?;
        match TABLES.run_direct(None, &mut *tx, false).await {
            Ok(()) => {}
            Err(MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _)) => {
                return Err(error.into());
            }
            Err(MigrateError::VersionMissing(_) | MigrateError::VersionMismatch(_)) => {
                return Err(self.newer().into());
            }
            Err(other) => {
                return Err(StoreError::Foreign(format!("{}: {other}", self.path.display())).into());
            }
        }
        sqlx::query(
            "insert into journal (only_row, migration) select 1, ?1 where not exists (select 1 from journal)",
        )
        .bind(migration.as_str())
        .execute(&mut *tx)
        .await?;
        self.belongs_to(migration, &mut tx).await?;
        tx.commit().await?;
        connection.close().await?;
        Ok(())
    }

    /// Looks whether the file is this migration's journal, of this version; changes nothing.
    pub(super) async fn inspect(&self, migration: &MigrationName) -> Result<(), StoreError> {
        if !self.path.is_file() {
            return Err(StoreError::Foreign(format!(
                "there is no file {}. `switchyard serve` makes the journal; is this its directory, and the plan's name for it right?",
                self.path.display()
            )));
        }
        self.try_inspect(migration).await.map_err(|trouble| self.named(trouble))
    }

    async fn try_inspect(&self, migration: &MigrationName) -> Result<(), Trouble> {
        let mut connection = self.reading().connect().await?;
        if application_id(&mut connection).await? != APPLICATION_ID {
            return Err(self.no_journal().into());
        }
        let applied: Vec<(i64, Vec<u8>)> =
            sqlx::query_as("select version, checksum from _sqlx_migrations order by version")
                .fetch_all(&mut connection)
                .await?;
        let known: Vec<(i64, &[u8])> = TABLES.iter().map(|one| (one.version, &*one.checksum)).collect();
        let agree = applied.iter().zip(&known).all(|(a, k)| a.0 == k.0 && a.1 == k.1);
        if !agree || applied.len() > known.len() {
            return Err(self.newer().into());
        }
        if applied.len() < known.len() {
            return Err(StoreError::Foreign(format!(
                "{} was written by an older version. `switchyard serve` of this version brings it up to date",
                self.path.display()
            ))
            .into());
        }
        self.belongs_to(migration, &mut connection).await?;
        connection.close().await?;
        Ok(())
    }

    async fn is_ours_or_empty(&self, connection: &mut SqliteConnection) -> Result<(), Trouble> {
        // In this order: tables and mark appear together, so tables that were seen without the mark are another's.
        // The other way round, both could appear between the two reads.
        let objects: i64 =
            sqlx::query_scalar("select count(*) from sqlite_schema").fetch_one(&mut *connection).await?;
        if objects == 0 || application_id(connection).await? == APPLICATION_ID {
            Ok(())
        } else {
            Err(self.no_journal().into())
        }
    }

    async fn belongs_to(
        &self,
        migration: &MigrationName,
        connection: &mut SqliteConnection,
    ) -> Result<(), Trouble> {
        let found: Option<String> =
            sqlx::query_scalar("select migration from journal").fetch_optional(connection).await?;
        match found {
            Some(found) if found == migration.as_str() => Ok(()),
            Some(found) => Err(StoreError::Foreign(format!(
                "{} is the journal of the migration {found}, not of {migration}. Each migration has its own",
                self.path.display()
            ))
            .into()),
            None => Err(self.no_journal().into()),
        }
    }

    fn no_journal(&self) -> StoreError {
        StoreError::Foreign(format!("{} is not a journal. Name another file", self.path.display()))
    }

    fn newer(&self) -> StoreError {
        StoreError::Foreign(format!(
            "{} was written by another, newer version. Use a newer switchyard",
            self.path.display()
        ))
    }

    /// What opening met, with the file's name and what to do.
    fn named(&self, trouble: Trouble) -> StoreError {
        let path = self.path.display();
        match trouble {
            Trouble::Database(error) => match primary_code(&error) {
                // SQLITE_NOTADB.
                Some(26) => self.no_journal(),
                // SQLITE_CANTOPEN: SQLite does not say why, the usual causes are these.
                Some(14) => StoreError::Unavailable(format!(
                    "{path} cannot be opened. Is {} a directory that this user may write?",
                    self.path.parent().unwrap_or_else(|| Path::new("/")).display()
                )),
                _ if is_busy(&error) => {
                    StoreError::Unavailable(format!("{path} is held by another process. Try again"))
                }
                _ => StoreError::Unavailable(format!("{path}: {error}")),
            },
            Trouble::Store(error) => error,
        }
    }
}

async fn application_id(connection: &mut SqliteConnection) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar("pragma application_id").fetch_one(connection).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_commit_of_the_appender_is_on_the_disk_and_a_reader_cannot_write() {
        let directory = tempfile::TempDir::new().unwrap();
        let url = format!("sqlite:{}", directory.path().join("journal.db").display());
        let file = JournalFile::of(&url).unwrap();
        file.prepare(&MigrationName::new("shop").unwrap(), &runtime::SystemClock).await.unwrap();
        let mut writer = file.writing().connect().await.unwrap();
        let full: i64 = sqlx::query_scalar("pragma synchronous").fetch_one(&mut writer).await.unwrap();
        assert_eq!(full, 2, "SQLite's number for FULL");
        let mut reader = file.reading().connect().await.unwrap();
        let refused = sqlx::query("delete from progress").execute(&mut reader).await.unwrap_err();
        // SQLITE_READONLY.
        assert_eq!(primary_code(&refused), Some(8), "{refused}");
    }

    #[tokio::test]
    async fn every_file_of_the_folder_is_a_version() {
        crate::schema::tests::holds(&TABLES, "sqlite").await;
    }
}
