//! Connections to one side of the migration.
//!
//! A session goes back to the idle ones only when its user says that it is [`Session::done`]. A future that is dropped
//! in mid-query so closes its connection instead of handing a busy one to the next user, who may be the undo.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use journal::{Evidence, MigrationName, Side, Timeline};
use runtime::{Scrubber, Secret};
use tokio_postgres::Client;

use crate::postgres::address::{Address, ConnectError, Lined};
use crate::postgres::line::Pulse;
use crate::postgres::watch::{Silences, watch};
use crate::seams::Cause;

/// How long a connection may take to be made, until the server has said who it is.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(12);

/// After this long without use a connection is asked whether it lives before it is used, and it has as long to answer.
const RESTED: Duration = Duration::from_secs(2);

/// How many idle connections are kept.
const MAX_IDLE: usize = 6;

/// What every connection of ours is pinned to, so that text is the same on both sides and nothing of the role's own
/// settings ends a long read.
const PINS: &str = "set timezone = 'UTC'; set datestyle = 'ISO, YMD'; set intervalstyle = 'postgres'; \
     set extra_float_digits = 3; set bytea_output = 'hex'; set client_encoding = 'UTF8'; \
     set statement_timeout = 0; set idle_in_transaction_session_timeout = 0; set search_path = pg_catalog; \
     set default_transaction_isolation = 'read committed'; set default_transaction_read_only = off; \
     set standard_conforming_strings = on; set xmloption = 'content'; set array_nulls = on; \
     set quote_all_identifiers = off; set transform_null_equals = off; set lock_timeout = 0; \
     select set_config('idle_session_timeout', '0', false) where current_setting('server_version_num')::int >= 140000";

/// What a server is: `system_identifier`, `database_oid`, `timeline`, whether it is a standby, and which of its processes
/// this is. The timeline is the one that it writes: that of its newest checkpoint lags behind a promotion.
pub(crate) const IDENTITY_SQL: &str = "select (select system_identifier::text from pg_control_system()), \
     (select oid::text from pg_database where datname = current_database()), \
     case when pg_is_in_recovery() then (select timeline_id::text from pg_control_checkpoint()) \
          else ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int::text end, \
     pg_is_in_recovery()::text, pg_backend_pid()::text";

const IDENTITY: [&str; 3] = ["system_identifier", "database_oid", "timeline"];

/// What of it no failover changes.
const PLACE: [&str; 2] = ["system_identifier", "database_oid"];

/// One of the two databases, as the mover reaches it. Cheap to clone.
#[derive(Clone)]
pub struct Database {
    shared: Arc<Shared>,
}

struct Shared {
    side: Side,
    migration: MigrationName,
    address: Address,
    scrubber: Scrubber,
    idle: Mutex<Vec<(Client, Pulse)>>,
    /// What is waited for in silence.
    pub(super) silences: Silences,
    /// `system_identifier`, `database_oid`: what first contact saw; every later connection is held against it.
    identity: Mutex<Option<Evidence>>,
    /// The timeline that the newest connection met.
    timeline: Mutex<Option<Timeline>>,
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Database({})", self.shared.side)
    }
}

/// A connection in use.
pub struct Session {
    client: Option<(Client, Pulse)>,
    home: Database,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Session({})", self.home.side())
    }
}

impl Database {
    /// A side that is reached by this connection string. Nothing is connected yet.
    ///
    /// # Errors
    /// The string cannot be read, or a certificate that it names.
    pub fn new(
        side: Side,
        migration: MigrationName,
        url: &Secret,
        scrubber: &Scrubber,
    ) -> Result<Self, Cause> {
        scrubber.learn(url);
        let mut address = Address::parse(url.expose()).map_err(|why| {
            Cause(scrubber.scrub(&format!("the {side}'s connection string cannot be read: {why}")))
        })?;
        address.config_mut().application_name(format!("switchyard {migration}"));
        let shared = Shared {
            side,
            migration,
            address,
            scrubber: scrubber.clone(),
            idle: Mutex::default(),
            silences: Silences::default(),
            identity: Mutex::default(),
            timeline: Mutex::default(),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Which side it is.
    #[must_use]
    pub fn side(&self) -> Side {
        self.shared.side
    }

    /// The migration, as it stands in our tables.
    #[must_use]
    pub fn migration(&self) -> &MigrationName {
        &self.shared.migration
    }

    /// How it is reached: for the replication connection, which this crate's driver cannot make.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.shared.address
    }

    /// A pinned session: an idle one, or a new one.
    ///
    /// # Errors
    /// The server cannot be reached, or is not the one seen on first contact.
    pub async fn session(&self) -> Result<Session, Cause> {
        loop {
            let idle = self.shared.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let client = match idle {
                Some((client, _)) if client.is_closed() => continue,
                Some((client, pulse)) if pulse.idle() > RESTED => {
                    let asked = tokio::time::timeout(RESTED, client.simple_query("")).await;
                    if !matches!(asked, Ok(Ok(_))) {
                        // What this one has met, the others have too.
                        self.shared.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
                        continue;
                    }
                    (client, pulse)
                }
                Some(idle) => idle,
                None => {
                    let (client, pulse, _) = self.connect_lined().await?;
                    (client, pulse)
                }
            };
            return Ok(Session { client: Some(client), home: self.clone() });
        }
    }

    /// A pinned connection of one's own, never shared.
    ///
    /// # Errors
    /// As [`Database::session`].
    pub async fn connect(&self) -> Result<Client, Cause> {
        Ok(self.connect_seen().await?.0)
    }

    /// The same, with the timeline that it met.
    ///
    /// # Errors
    /// As [`Database::session`].
    pub async fn connect_seen(&self) -> Result<(Client, Option<Timeline>), Cause> {
        let (client, _, timeline) = self.connect_lined().await?;
        Ok((client, timeline))
    }

    async fn connect_lined(&self) -> Result<(Client, Pulse, Option<Timeline>), Cause> {
        let silent = || Cause(format!("{} does not answer within {CONNECT_TIMEOUT:?}", self.named()));
        tokio::time::timeout(CONNECT_TIMEOUT, self.connect_at_last()).await.map_err(|_| silent())?
    }

    async fn connect_at_last(&self) -> Result<(Client, Pulse, Option<Timeline>), Cause> {
        let (client, connection, pulse) = self.line().await.map_err(|error| Cause(self.unreached(&error)))?;
        let (home, watched) = (self.clone(), pulse.clone());
        let pid = Arc::new(OnceLock::new());
        let known = Arc::clone(&pid);
        // The driver's own task ends when the client is dropped, or when the connection is found to be dead.
        tokio::spawn(async move {
            let side = home.side();
            tokio::select! {
                ended = connection => if let Err(error) = ended {
                    tracing::debug!(%side, error = %home.scrub(&chain(&error)), "connection ended");
                },
                why = watch(home.clone(), watched, known) => {
                    tracing::warn!(%side, %why, "a connection is given up");
                }
            }
        });
        client.batch_execute(PINS).await.map_err(|error| self.cause("refuses a setting", &error))?;
        let row = self.ask(&client).await?;
        if let Some(process) = backend(&row) {
            let _first = pid.set(process).is_ok();
        }
        let timeline = self.meet(&row)?;
        Ok((client, pulse, timeline))
    }

    /// A connection as it comes, that somebody has to drive.
    pub(super) async fn line(&self) -> Result<(Client, Lined, Pulse), ConnectError> {
        self.shared.address.line().await
    }

    /// Why no connection was made, for people.
    pub(super) fn unreached(&self, error: &ConnectError) -> String {
        self.shared.scrubber.scrub(&format!("{} cannot be reached: {error}", self.named()))
    }

    /// This side and its place, for people.
    #[must_use]
    pub fn named(&self) -> String {
        self.shared.scrubber.scrub(&format!("the {} ({})", self.side(), self.shared.address.place()))
    }

    /// For whom something waits in silence, and since when, for people.
    #[must_use]
    pub fn waits(&self) -> Option<String> {
        self.shared.silences.longest()
    }

    pub(super) fn silences(&self) -> &Silences {
        &self.shared.silences
    }

    async fn ask(&self, client: &Client) -> Result<Vec<Option<String>>, Cause> {
        let row = client
            .query_one(IDENTITY_SQL, &[])
            .await
            .map_err(|error| self.cause("does not say who it is", &error))?;
        Ok((0..row.len()).map(|at| row.get(at)).collect())
    }

    /// What this server is: `system_identifier`, `database_oid`, `timeline`.
    ///
    /// # Errors
    /// The server cannot be asked.
    pub async fn identity(&self, client: &Client) -> Result<Evidence, Cause> {
        Ok(identity(&self.ask(client).await?))
    }

    /// Holds all later connections against what first contact journalled. What was connected before is not used again.
    pub fn expect_identity(&self, seen: Evidence) {
        let mut expected = self.shared.identity.lock().unwrap_or_else(PoisonError::into_inner);
        let is_news = !expected.as_ref().is_some_and(|known| is_one(known, &seen));
        *expected = Some(seen);
        if is_news {
            self.shared.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
        }
    }

    /// The timeline that the newest connection met; none before the first.
    #[must_use]
    pub fn timeline(&self) -> Option<Timeline> {
        *self.shared.timeline.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Holds what a new connection met, the columns of [`IDENTITY_SQL`], against what first contact journalled, and
    /// remembers its timeline.
    pub(crate) fn meet(&self, row: &[Option<String>]) -> Result<Option<Timeline>, Cause> {
        let seen = identity(row);
        let expected = self.shared.identity.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(expected) = expected {
            for key in PLACE {
                if expected.get(key) != seen.get(key) {
                    return Err(Cause(format!(
                        "the {} is another database than the one this migration began with, as if the plan's secret led \
                         elsewhere, or source and target had changed places: {key} was {}, is {}",
                        self.side(),
                        expected.get(key).map_or("unknown", String::as_str),
                        seen.get(key).map_or("unknown", String::as_str),
                    )));
                }
            }
            // In the midst of a failover: what is waited for is its promotion, or the address of another.
            if row.get(3).is_some_and(|is_standby| is_standby.as_deref() == Some("true")) {
                return Err(Cause(format!("the {} is a standby, which takes no writes", self.side())));
            }
        }
        let timeline = seen.get("timeline").and_then(|timeline| timeline.parse().ok());
        *self.shared.timeline.lock().unwrap_or_else(PoisonError::into_inner) = timeline;
        Ok(timeline)
    }

    /// A scrubbed cause that names this side.
    #[must_use]
    pub fn cause(&self, what: &str, error: &tokio_postgres::Error) -> Cause {
        Cause(self.shared.scrubber.scrub(&format!("the {} {what}: {}", self.side(), chain(error))))
    }

    /// Removes what this program knows as secret from a text.
    #[must_use]
    pub fn scrub(&self, text: &str) -> String {
        self.shared.scrubber.scrub(text)
    }
}

impl Session {
    /// Gives the connection back for the next user. Not called, it is closed.
    pub fn done(mut self) {
        if let Some((client, pulse)) = self.client.take() {
            let mut idle = self.home.shared.idle.lock().unwrap_or_else(PoisonError::into_inner);
            if idle.len() < MAX_IDLE && !client.is_closed() {
                idle.push((client, pulse));
            }
        }
    }
}

impl Deref for Session {
    type Target = Client;

    #[expect(clippy::expect_used, reason = "the client is only taken by done, which takes the session")]
    fn deref(&self) -> &Client {
        self.client.as_ref().map(|(client, _)| client).expect("a session in use has its client")
    }
}

impl DerefMut for Session {
    #[expect(clippy::expect_used, reason = "the client is only taken by done, which takes the session")]
    fn deref_mut(&mut self) -> &mut Client {
        self.client.as_mut().map(|(client, _)| client).expect("a session in use has its client")
    }
}

/// The server's process, of the columns of [`IDENTITY_SQL`].
pub(crate) fn backend(row: &[Option<String>]) -> Option<i32> {
    row.get(4)?.as_ref()?.parse().ok()
}

/// Whether both are of one database.
fn is_one(one: &Evidence, other: &Evidence) -> bool {
    PLACE.iter().all(|key| one.get(*key) == other.get(*key))
}

fn identity(row: &[Option<String>]) -> Evidence {
    let named = IDENTITY.iter().zip(row);
    named.filter_map(|(name, value)| Some(((*name).to_owned(), value.clone()?))).collect()
}

/// An error with its causes: the server's own words, its code and its detail, not merely "db error".
#[must_use]
pub fn chain(error: &tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(db) => {
            let mut text = format!("{} ({})", db.message(), db.code().code());
            // The detail of a data or constraint error quotes the row.
            let quotes = ["22", "23"].iter().any(|class| db.code().code().starts_with(class));
            for more in [db.detail().filter(|_| !quotes), db.hint()].into_iter().flatten() {
                text.push_str("; ");
                text.push_str(more);
            }
            text
        }
        None => {
            let mut text = error.to_string();
            let mut source = std::error::Error::source(error);
            while let Some(cause) = source {
                let said = cause.to_string();
                if !text.contains(&said) {
                    text.push_str(": ");
                    text.push_str(&said);
                }
                source = cause.source();
            }
            text
        }
    }
}
