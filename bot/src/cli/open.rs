//! Finding the plan, and the journal and the socket that it names.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use executors::kept;
use journal::Plan;
use journal::note::SignerKey;
use journal::plan::JournalPlace;
use journal_store::{
    Mailroom, PostgresMailroom, PostgresStore, SqliteMailroom, SqliteStore, Store, StoreError,
};
use runtime::{Scrubber, Secret, SystemClock};

use super::exit::{Exit, Failure};
use crate::config::Config;
use crate::proof::{WitnessFile, read_key};
use crate::words;

/// Where the plan is.
#[derive(Debug, Clone, Args)]
pub struct PlanFile {
    /// The plan
    #[arg(long, value_name = "FILE", env = "SWITCHYARD_PLAN", default_value = "switchyard.toml")]
    pub plan: PathBuf,
}

/// A plan, its text, and where it stands.
#[derive(Debug)]
pub struct Read {
    /// The plan.
    pub plan: Plan,
    /// Its text.
    pub text: String,
    /// Its file.
    pub file: PathBuf,
}

/// Reads and checks a plan.
///
/// # Errors
/// It cannot be read, or is wrong: every problem with its place.
pub fn read(file: &Path) -> Result<Read, Failure> {
    let text =
        std::fs::read_to_string(file).map_err(|error| Failure::refused(words::no_plan_file(file, &error)))?;
    let plan =
        Plan::parse(&text).map_err(|problems| Failure::refused(words::problems(file, &text, &problems)))?;
    Ok(Read { plan, text, file: file.to_owned() })
}

/// Reads the bot's file.
///
/// # Errors
/// It cannot be read, or is wrong: every problem with its line.
pub fn bot(file: &Path) -> Result<Config, Failure> {
    let text = bot_text(file)?;
    Config::read(&text, &folder(file))
        .map_err(|problems| Failure::refused(words::bad_bot_file(file, &problems)))
}

/// The text of the bot's file, for whoever has no use for what it points at.
///
/// # Errors
/// It cannot be read.
pub fn bot_text(file: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(file).map_err(|error| Failure::refused(words::no_bot_file(file, &error)))
}

/// Where a journal is, with what it takes to get there.
#[derive(Debug, Clone)]
pub enum Place {
    /// In a file.
    File(PathBuf),
    /// In a database, by its connection string.
    Database(Secret),
}

impl Place {
    fn sqlite(file: &Path) -> String {
        format!("sqlite:{}", file.display())
    }
}

impl Read {
    /// Where the journal is.
    ///
    /// # Errors
    /// The plan names a secret that is not there.
    pub fn place(&self) -> Result<Place, Failure> {
        let secret = match &self.plan.journal.place {
            JournalPlace::Sqlite(file) => return Ok(Place::File(self.folder().join(file))),
            JournalPlace::Postgres(kept) => kept::secret(kept, &self.folder()),
        };
        secret
            .map(Place::Database)
            .map_err(|error| Failure { exit: Exit::Unreachable, text: words::no_journal_secret(&error) })
    }

    /// The plan's own folder, which its relative paths are relative to.
    #[must_use]
    pub fn folder(&self) -> PathBuf {
        folder(&self.file)
    }

    /// The key that signs log checkpoints.
    ///
    /// # Errors
    /// The plan names none, or it is of no use.
    pub fn signing_key(&self, scrubber: &Scrubber) -> Result<SignerKey, Failure> {
        let kept = self.plan.journal.signing_key.as_ref();
        let kept = kept.ok_or_else(|| Failure::refused(words::no_signing_key()))?;
        read_key(kept, &self.folder(), &self.plan.migration, scrubber)
            .map_err(|error| Failure::refused(words::no_key(&error)))
    }

    /// The witness file that the plan names.
    #[must_use]
    pub fn witness(&self) -> Option<WitnessFile> {
        self.plan.journal.witness_file.as_ref().map(|file| WitnessFile::new(self.folder().join(file)))
    }

    /// The socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.folder().join(&self.plan.socket)
    }

    /// Opens the journal, and makes it if it is not there.
    ///
    /// # Errors
    /// It cannot be opened.
    pub async fn open_or_make(&self) -> Result<Arc<dyn Store>, Failure> {
        let (migration, clock) = (&self.plan.migration, Arc::new(SystemClock));
        match self.place()? {
            Place::File(file) => shared(SqliteStore::open(&Place::sqlite(&file), migration, clock).await),
            Place::Database(url) => shared(PostgresStore::open(&url, migration, clock).await),
        }
    }

    /// Opens the inbox and the outbox of the journal that was opened.
    ///
    /// # Errors
    /// They cannot be opened.
    pub async fn open_mailroom(&self) -> Result<Arc<dyn Mailroom>, Failure> {
        let opened: Result<Arc<dyn Mailroom>, StoreError> = match self.place()? {
            Place::File(file) => SqliteMailroom::open(&Place::sqlite(&file), Arc::new(SystemClock))
                .await
                .map(|room| Arc::new(room) as _),
            Place::Database(url) => PostgresMailroom::open(&url).await.map(|room| Arc::new(room) as _),
        };
        opened.map_err(|error| no_journal(&error))
    }

    /// Opens the journal that is there without replaying it, for whoever has to look at one that cannot be.
    ///
    /// # Errors
    /// It is not there, or cannot be opened.
    pub async fn open_unread(&self) -> Result<Arc<dyn Store>, Failure> {
        let (migration, clock) = (&self.plan.migration, Arc::new(SystemClock));
        match self.place()? {
            Place::File(file) => {
                shared(SqliteStore::open_unread(&Place::sqlite(&file), migration, clock).await)
            }
            Place::Database(url) => shared(PostgresStore::open_unread(&url, migration, clock).await),
        }
    }

    /// Opens the journal that is there.
    ///
    /// # Errors
    /// It is not there, or cannot be opened.
    pub async fn open(&self) -> Result<Arc<dyn Store>, Failure> {
        let (migration, clock) = (&self.plan.migration, Arc::new(SystemClock));
        match self.place()? {
            Place::File(file) => {
                shared(SqliteStore::open_existing(&Place::sqlite(&file), migration, clock).await)
            }
            Place::Database(url) => shared(PostgresStore::open_existing(&url, migration, clock).await),
        }
    }
}

fn shared<S: Store>(opened: Result<S, StoreError>) -> Result<Arc<dyn Store>, Failure> {
    match opened {
        Ok(store) => Ok(Arc::new(store)),
        Err(error) => Err(no_journal(&error)),
    }
}

/// The journal did not do its part.
#[must_use]
pub fn no_journal(error: &StoreError) -> Failure {
    Failure { exit: Exit::Unreachable, text: words::journal_failed(error) }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        no_journal(&error)
    }
}

/// A plan's own folder: its relative paths are relative to it, so that every verb finds the same files from wherever it is
/// called.
pub(super) fn folder(plan: &Path) -> PathBuf {
    plan.parent().map_or_else(PathBuf::new, Path::to_owned)
}
