//! Connections to one side of the migration.
//!
//! A session goes back to the idle ones only when its user says that it is [`Session::done`]. A future that is dropped
//! in mid-query so closes its connection instead of handing a busy one to the next user, who may be the undo.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use journal::{Evidence, MigrationName, Side};
use runtime::{Scrubber, Secret};
use tokio_postgres::Client;

use crate::postgres::address::Address;
use crate::seams::Cause;

/// How long one connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How many idle connections are kept.
const MAX_IDLE: usize = 6;

/// What every connection of ours is pinned to, so that text is the same on both sides and nothing of the role's own
/// settings ends a long read.
const PINS: &str = "set timezone = 'UTC'; set datestyle = 'ISO, YMD'; set intervalstyle = 'postgres'; \
     set extra_float_digits = 3; set bytea_output = 'hex'; set client_encoding = 'UTF8'; \
     set statement_timeout = 0; set idle_in_transaction_session_timeout = 0; set search_path = pg_catalog; \
     set default_transaction_isolation = 'read committed'; set default_transaction_read_only = off; \
     set standard_conforming_strings = on; set xmloption = 'content'";

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
    idle: Mutex<Vec<Client>>,
    /// `system_identifier`, `database_oid`: what first contact saw; every later connection is held against it.
    identity: Mutex<Option<Evidence>>,
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Database({})", self.shared.side)
    }
}

/// A connection in use.
pub struct Session {
    client: Option<Client>,
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
        let config = address.config_mut();
        config.connect_timeout(CONNECT_TIMEOUT);
        // A server that is silently gone must not hang an undo: the kernel tells within some seconds.
        config
            .keepalives(true)
            .keepalives_idle(Duration::from_secs(5))
            .keepalives_interval(Duration::from_secs(2));
        config.keepalives_retries(3).tcp_user_timeout(Duration::from_secs(10));
        config.application_name(format!("switchyard {migration}"));
        let shared = Shared {
            side,
            migration,
            address,
            scrubber: scrubber.clone(),
            idle: Mutex::default(),
            identity: Mutex::default(),
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
            match idle {
                Some(client) if client.is_closed() => {}
                Some(client) => return Ok(Session { client: Some(client), home: self.clone() }),
                None => return Ok(Session { client: Some(self.connect().await?), home: self.clone() }),
            }
        }
    }

    /// A pinned connection of one's own, never shared.
    ///
    /// # Errors
    /// As [`Database::session`].
    pub async fn connect(&self) -> Result<Client, Cause> {
        let connecting = self.shared.address.connect();
        let (client, connection) = tokio::time::timeout(CONNECT_TIMEOUT * 2, connecting)
            .await
            .map_err(|_| Cause(format!("the {} does not answer within {CONNECT_TIMEOUT:?}", self.side())))?
            .map_err(|error| self.cause("cannot be reached", &error))?;
        // The driver's own task ends when the client is dropped.
        let scrubber = self.shared.scrubber.clone();
        let side = self.side();
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%side, error = %scrubber.scrub(&chain(&error)), "connection ended");
            }
        });
        client.batch_execute(PINS).await.map_err(|error| self.cause("refuses a setting", &error))?;
        self.check_identity(&client).await?;
        Ok(client)
    }

    /// What this server is: `system_identifier`, `database_oid`, `timeline`.
    ///
    /// # Errors
    /// The server cannot be asked.
    pub async fn identity(&self, client: &Client) -> Result<Evidence, Cause> {
        let sql = "select (select system_identifier::text from pg_control_system()), \
                   (select oid::text from pg_database where datname = current_database()), \
                   (select timeline_id::text from pg_control_checkpoint())";
        let row =
            client.query_one(sql, &[]).await.map_err(|error| self.cause("does not say who it is", &error))?;
        let names = ["system_identifier", "database_oid", "timeline"];
        Ok(names
            .iter()
            .enumerate()
            .map(|(at, name)| ((*name).to_owned(), row.get::<_, String>(at)))
            .collect())
    }

    /// Holds all later connections against what first contact journalled.
    pub fn expect_identity(&self, seen: Evidence) {
        *self.shared.identity.lock().unwrap_or_else(PoisonError::into_inner) = Some(seen);
    }

    async fn check_identity(&self, client: &Client) -> Result<(), Cause> {
        let expected = self.shared.identity.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(expected) = expected else { return Ok(()) };
        let seen = self.identity(client).await?;
        for key in ["system_identifier", "database_oid"] {
            if expected.get(key) != seen.get(key) {
                return Err(Cause(format!(
                    "the {} is another database than the one this migration began with: {key} was {}, is {}",
                    self.side(),
                    expected.get(key).map_or("unknown", String::as_str),
                    seen.get(key).map_or("unknown", String::as_str),
                )));
            }
        }
        Ok(())
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
        if let Some(client) = self.client.take() {
            let mut idle = self.home.shared.idle.lock().unwrap_or_else(PoisonError::into_inner);
            if idle.len() < MAX_IDLE && !client.is_closed() {
                idle.push(client);
            }
        }
    }
}

impl Deref for Session {
    type Target = Client;

    #[expect(clippy::expect_used, reason = "the client is only taken by done, which takes the session")]
    fn deref(&self) -> &Client {
        self.client.as_ref().expect("a session in use has its client")
    }
}

impl DerefMut for Session {
    #[expect(clippy::expect_used, reason = "the client is only taken by done, which takes the session")]
    fn deref_mut(&mut self) -> &mut Client {
        self.client.as_mut().expect("a session in use has its client")
    }
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
