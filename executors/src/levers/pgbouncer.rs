//! pgbouncer as a lever: PAUSE holds, a rewritten entry and RELOAD route, RESUME resumes.
//!
//! # The race
//!
//! PAUSE raises its flag at once and answers when the last transaction has ended. A console that is cut off meanwhile
//! leaves the flag up, with transactions still running: the flag alone proves nothing. Held means the flag *and* no
//! server connection in a transaction. A restarted pgbouncer forgets the flag and reads the file: so the flag is looked
//! at before each routing and PAUSE is repeated, and routed means that both the console and the file say so. What comes
//! through in such a gap meets a closed gate.
//!
//! The console cannot repoint an entry. RELOAD under PAUSE closes the connections to the old place; a waiting client goes
//! on with the new one and sees nothing, which is why transaction pooling is required: a session's state would be lost.
//!
//! A client that logs in between that RELOAD and RESUME has pgbouncer open a connection to the new place and close it at
//! once, for the PAUSE. It counts as a failed login, after which nothing is opened for `server_login_retry`, 15 s by
//! default: longer than many a window. So that time is made short before RESUME, and a RELOAD gives the file's back once
//! requests go through.

mod examine;

use std::fmt;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use journal::{Effect, EffectId, EffectSpec, Evidence, Finding, Side, Step};
use runtime::Secret;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, SimpleQueryMessage, SimpleQueryRow};

use super::{Served, Standing, Trouble, as_one, ini};
use crate::postgres::address::Address;
use crate::postgres::database::chain;
use crate::postgres::quote::ident;
use crate::seams::{Acted, Authority, Cause, EffectError, Examined, Lever, Probe, Receiver, TrafficState};

/// How long the console may take to connect, and to answer anything but PAUSE.
const CONSOLE: Duration = Duration::from_secs(2);

/// How long a RELOAD may take to show.
const RELOADED: Duration = Duration::from_secs(3);

/// How soon pgbouncer may open a connection again after one that failed, while requests are let through, in seconds.
const LOGIN_RETRY: &str = "0.1";

/// How long it is waited for the first request to go through. The traffic flows or it does not; nothing hangs on it.
const FLOWS: Duration = Duration::from_secs(3);

/// How often it is looked whether it shows.
const LOOK: Duration = Duration::from_millis(20);

/// What the lever is made of.
#[derive(Debug)]
pub struct Settings {
    /// The console's connection string.
    pub admin: Secret,
    /// The configuration file.
    pub ini: PathBuf,
    /// The entry's name.
    pub database: String,
    /// The entry's connect string for the source.
    pub source: String,
    /// The same for the target.
    pub target: String,
    /// How long PAUSE may wait.
    pub pause_limit: Duration,
    /// What it serves.
    pub served: Served,
}

/// One entry of a pgbouncer.
pub struct PgbouncerLever {
    settings: Settings,
    console: Address,
    source: ini::Pairs,
    target: ini::Pairs,
    /// What the newest rehearsal came to.
    rehearsed: Mutex<Option<(EffectId, Result<Evidence, Finding>)>>,
    /// Why the file could not be written when the console showed the wanted place already: in an undo that is no reason to
    /// hold the traffic.
    unwritten: Mutex<Option<(EffectId, String)>>,
}

impl fmt::Debug for PgbouncerLever {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PgbouncerLever({})", self.settings.database)
    }
}

/// Where an entry points, as SHOW DATABASES says it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    host: String,
    port: String,
    database: String,
}

impl Place {
    fn of(pairs: &ini::Pairs, entry: &str) -> Self {
        let value = |key: &str, default: &str| {
            pairs.iter().find(|(k, _)| k == key).map_or_else(|| default.to_owned(), |(_, v)| v.clone())
        };
        Self { host: value("host", ""), port: value("port", "5432"), database: value("dbname", entry) }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "host={} port={} dbname={}", self.host, self.port, self.database)
    }
}

/// The entry, as one look at the console found it.
struct Shown {
    place: Place,
    is_paused: bool,
    is_busy: bool,
    pool_mode: String,
    /// The file that it says it reads.
    conffile: Option<String>,
}

impl PgbouncerLever {
    /// A lever. Nothing is connected yet.
    ///
    /// # Errors
    /// A connect string cannot be read, or both sides' say the same place.
    pub fn new(settings: Settings) -> Result<Self, Cause> {
        settings.served.scrubber.learn(&settings.admin);
        let bad = |what: &str, why: String| {
            Cause(settings.served.scrubber.scrub(&format!("{what} cannot be read: {why}")))
        };
        let mut address = Address::parse(settings.admin.expose())
            .map_err(|why| bad("the connection string of pgbouncer's console", why))?;
        let console = address.config_mut();
        console.connect_timeout(CONSOLE).application_name("switchyard");
        if console.get_dbname().is_none() {
            console.dbname("pgbouncer");
        }
        let source = ini::pairs(&settings.source).map_err(|why| bad("the lever's `source`", why))?;
        let target = ini::pairs(&settings.target).map_err(|why| bad("the lever's `target`", why))?;
        let place = Place::of(&source, &settings.database);
        if place == Place::of(&target, &settings.database) {
            return Err(Cause(format!("the lever's `source` and `target` are the same place: {place}")));
        }
        let (rehearsed, unwritten) = (Mutex::default(), Mutex::default());
        Ok(Self { settings, console: address, source, target, rehearsed, unwritten })
    }

    fn cause(&self, what: &str, why: &str) -> Cause {
        let entry = &self.settings.database;
        Cause(self.settings.served.scrubber.scrub(&format!("pgbouncer (entry {entry}) {what}: {why}")))
    }

    const fn pairs(&self, side: Side) -> &ini::Pairs {
        match side {
            Side::Source => &self.source,
            Side::Target => &self.target,
        }
    }

    fn wrong(&self, (key, code): (&'static str, &str), (what, why): (&str, &str), remedy: &str) -> Trouble {
        let finding =
            Finding { code: code.to_owned(), what: self.cause(what, why).0, remedy: remedy.to_owned() };
        Trouble::Wrong(key, finding)
    }

    fn side_of(&self, place: &Place, said_by: &str) -> Result<Side, Trouble> {
        let is_at = |side: &Side| Place::of(self.pairs(*side), &self.settings.database) == *place;
        Side::ALL.into_iter().find(is_at).ok_or_else(|| {
            let [source, target] = Side::ALL.map(|side| Place::of(self.pairs(side), &self.settings.database));
            let why = format!(
                "{place} by {said_by}; the plan knows the source ({source}) and the target ({target})"
            );
            self.wrong(
                ("source", "SW-0511"),
                ("points at neither side", &why),
                "Where the entry in pgbouncer's file is wrong: correct it, RELOAD, then `retry`. Where the plan's [phase.lever] is: \
                 `abort`, adopt a plan with the right `source` and `target`, and ask again.",
            )
        })
    }

    async fn connect(&self) -> Result<Client, Cause> {
        self.reach().await.map_err(Trouble::cause)
    }

    /// Connects to the console. What it refuses, it refuses again.
    async fn reach(&self) -> Result<Client, Trouble> {
        let connecting = tokio::time::timeout(CONSOLE, self.console.connect()).await;
        let connected = connecting
            .map_err(|_| self.cause("has a console that does not answer", &format!("within {CONSOLE:?}")))?;
        let (client, connection) = connected.map_err(|error| {
            let refuses = [
                SqlState::PROTOCOL_VIOLATION,
                SqlState::INVALID_PASSWORD,
                SqlState::INVALID_AUTHORIZATION_SPECIFICATION,
                SqlState::INVALID_CATALOG_NAME,
            ];
            let why = chain(&error);
            if error.code().is_some_and(|code| refuses.contains(code)) {
                let remedy = "Correct the console's connection string, where the plan's `admin` says that it is kept: its user \
                              must be one of pgbouncer's admin_users; then `retry`.";
                return self.wrong(("admin", "SW-0516"), ("has a console that refuses us", &why), remedy);
            }
            self.cause("has a console that cannot be reached", &why).into()
        })?;
        // The driver's task ends when the client is dropped.
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(error = %chain(&error), "pgbouncer's console ended");
            }
        });
        Ok(client)
    }

    async fn ask(&self, console: &Client, command: &str) -> Result<Vec<SimpleQueryRow>, Cause> {
        let answer = tokio::time::timeout(CONSOLE, console.simple_query(command))
            .await
            .map_err(|_| self.cause(&format!("does not answer {command}"), &format!("within {CONSOLE:?}")))?
            .map_err(|error| self.cause(&format!("refuses {command}"), &chain(&error)))?;
        Ok(answer
            .into_iter()
            .filter_map(|message| match message {
                SimpleQueryMessage::Row(row) => Some(row),
                _ => None,
            })
            .collect())
    }

    async fn show(&self, console: &Client) -> Result<Shown, Trouble> {
        let entry = self.settings.database.as_str();
        let databases = self.ask(console, "SHOW DATABASES").await?;
        let Some(row) = databases.iter().find(|row| field(row, "name") == entry) else {
            let remedy = "Correct `database` in the plan's [phase.lever], or add the entry to pgbouncer's [databases]; then \
                          `retry`.";
            let what = ("is not there", "SHOW DATABASES does not list it");
            return Err(self.wrong(("database", "SW-0516"), what, remedy));
        };
        let pools = self.ask(console, "SHOW POOLS").await?;
        let is_busy = pools
            .iter()
            .filter(|pool| field(pool, "database") == entry)
            .any(|pool| !["", "0"].contains(&field(pool, "sv_active")));
        let config = self.ask(console, "SHOW CONFIG").await?;
        let setting = |name: &str| config.iter().find(|row| field(row, "key") == name);
        let mut pool_mode = field(row, "pool_mode").to_owned();
        if pool_mode.is_empty() {
            setting("pool_mode").map_or("unknown", |row| field(row, "value")).clone_into(&mut pool_mode);
        }
        let conffile = setting("conffile").map(|row| field(row, "value").to_owned());
        Ok(Shown {
            place: Place {
                host: field(row, "host").to_owned(),
                port: field(row, "port").to_owned(),
                database: field(row, "database").to_owned(),
            },
            is_paused: field(row, "paused") == "1",
            is_busy,
            pool_mode,
            conffile,
        })
    }

    async fn standing(&self) -> Result<(Standing, Shown), Trouble> {
        let console = self.reach().await?;
        let shown = self.show(&console).await?;
        let at = self.side_of(&shown.place, "SHOW DATABASES")?;
        Ok((Standing { at, is_held: shown.is_paused, is_busy: shown.is_busy }, shown))
    }

    /// Where the file says that the entry points: what a restart would read.
    async fn filed(&self) -> Result<Side, Cause> {
        let (path, name) = (self.settings.ini.clone(), self.settings.database.clone());
        let read = tokio::task::spawn_blocking(move || ini::entry(&path, &name)).await;
        let pairs = read
            .map_err(|error| self.cause("has a file that was not read", &error.to_string()))?
            .map_err(|why| self.cause("has a file that cannot be read", &why))?;
        self.side_of(&Place::of(&pairs, &self.settings.database), "the file").map_err(Trouble::cause)
    }

    /// Who is in a transaction: for a PAUSE that waits for them.
    async fn blockers(&self, console: &Client) -> Result<String, Cause> {
        let entry = self.settings.database.as_str();
        let (servers, clients) =
            (self.ask(console, "SHOW SERVERS").await?, self.ask(console, "SHOW CLIENTS").await?);
        let named: Vec<String> = servers
            .iter()
            .filter(|server| field(server, "database") == entry && field(server, "state") == "active")
            .map(|server| {
                let client = clients.iter().find(|client| field(client, "ptr") == field(server, "link"));
                let of = |name| client.map_or("unknown", |client| field(client, name));
                format!(
                    "client {}:{} (user {}, application {}) in server pid {} since {}",
                    of("addr"),
                    of("port"),
                    field(server, "user"),
                    of("application_name"),
                    field(server, "remote_pid"),
                    of("request_time")
                )
            })
            .collect();
        Ok(if named.is_empty() { "nobody that is seen now".to_owned() } else { named.join("; ") })
    }

    /// PAUSE, under its time limit; lets everybody through again when that is over.
    async fn hold(&self) -> Result<Acted, Cause> {
        let limit = self.settings.pause_limit;
        let console = self.connect().await?;
        let began = self.settings.served.clock.monotonic();
        let command = format!("PAUSE {}", ident(&self.settings.database));
        match tokio::time::timeout(limit, console.simple_query(&command)).await {
            Ok(Ok(_)) => {
                let waited = (self.settings.served.clock.monotonic() - began).as_millis().to_string();
                return Ok(Acted::Done(Evidence::from([("pause_ms".to_owned(), waited)])));
            }
            Ok(Err(error)) => return Err(self.cause("refuses PAUSE", &chain(&error))),
            // The flag is up and stays up, whatever becomes of this console.
            Err(_) => {}
        }
        let console = self.connect().await?;
        let who = self.blockers(&console).await?;
        self.resume(&console).await?;
        let why = format!("{who}; the traffic runs on");
        let what = format!("could not be paused within {limit:?}, since transactions were open");
        Ok(Acted::Definite(EffectError(self.cause(&what, &why).0)))
    }

    async fn resume(&self, console: &Client) -> Result<(), Cause> {
        // RESUME of what is not paused is an error; a look first makes it a setting.
        if self.show(console).await.map_err(Trouble::cause)?.is_paused {
            self.ask(console, &format!("RESUME {}", ident(&self.settings.database))).await?;
        }
        Ok(())
    }

    async fn route(&self, to: Side, spec: &EffectSpec) -> Result<Acted, Cause> {
        let (standing, _) = self.standing().await.map_err(Trouble::cause)?;
        // An undo never left this place as far as requests go: nothing has to be held for what only the file lacks.
        let is_back = spec.step == Step::Undo && standing.at == to;
        // A restart forgot the PAUSE, or a console was cut off in the middle of one.
        if !is_back && (!standing.is_held || standing.is_busy) {
            match self.hold().await? {
                Acted::Done(_) => {}
                ended => return Ok(ended),
            }
        }
        let (path, name) = (self.settings.ini.clone(), self.settings.database.clone());
        let (new, old) = (self.pairs(to).clone(), self.pairs(to.other()).clone());
        let written = tokio::task::spawn_blocking(move || ini::repoint(&path, &name, &new, &old)).await;
        match written {
            Ok(Ok(())) => {}
            Ok(Err(why)) if is_back => {
                let cause = self.cause("has a file that cannot be rewritten", &why);
                *self.unwritten.lock().unwrap_or_else(PoisonError::into_inner) =
                    Some((spec.id, cause.0.clone()));
                return Ok(Acted::Done(Evidence::from([("file".to_owned(), cause.0)])));
            }
            Ok(Err(why)) => {
                let cause = self.cause("has a file that cannot be rewritten", &why);
                return Ok(Acted::Definite(EffectError(cause.0)));
            }
            Err(error) => return Err(self.cause("has a file that was not rewritten", &error.to_string())),
        }
        let console = self.connect().await?;
        self.ask(&console, "RELOAD").await?;
        let wanted = Place::of(self.pairs(to), &self.settings.database);
        let began = self.settings.served.clock.monotonic();
        loop {
            let shown = self.show(&console).await.map_err(Trouble::cause)?;
            if shown.place == wanted {
                let evidence = [("place", wanted.to_string()), ("paused", shown.is_paused.to_string())];
                return Ok(Acted::Done(evidence.map(|(key, value)| (key.to_owned(), value)).into()));
            }
            if self.settings.served.clock.monotonic() - began > RELOADED {
                let why =
                    format!("SHOW DATABASES says {}, the file says {wanted}; its log says why", shown.place);
                return Err(self.cause("did not take the new entry at RELOAD", &why));
            }
            self.settings.served.clock.sleep(LOOK).await;
        }
    }

    async fn let_through(&self, to: Side) -> Result<Acted, Cause> {
        let (standing, _) = self.standing().await.map_err(Trouble::cause)?;
        if standing.at != to {
            let why = format!("it is {}; route it first", standing.words());
            return Ok(Acted::Definite(EffectError(
                self.cause(&format!("does not point at the {to}"), &why).0,
            )));
        }
        let console = self.connect().await?;
        let retry = self.ask(&console, &format!("SET server_login_retry = '{LOGIN_RETRY}'")).await;
        self.resume(&console).await?;
        match retry {
            Ok(_) => self.flow(&console).await,
            Err(cause) => tracing::warn!(%cause, "clients may wait for pgbouncer's server_login_retry"),
        }
        Ok(Acted::Done(Evidence::from([("traffic".to_owned(), to.to_string())])))
    }

    /// Waits a while until nobody waits for a first connection, and has pgbouncer read its file's settings again. Whether
    /// that succeeds changes nothing of what was done.
    async fn flow(&self, console: &Client) {
        let clock = &self.settings.served.clock;
        let began = clock.monotonic();
        while clock.monotonic() - began < FLOWS {
            match self.waits(console).await {
                Ok(true) => clock.sleep(LOOK).await,
                Ok(false) => break,
                Err(cause) => return tracing::warn!(%cause, "whether requests go through was not seen"),
            }
        }
        if let Err(cause) = self.ask(console, "RELOAD").await {
            tracing::warn!(%cause, "pgbouncer keeps a short server_login_retry until its next RELOAD");
        }
    }

    /// Whether a client of the entry waits, and there is no connection that could serve it.
    async fn waits(&self, console: &Client) -> Result<bool, Cause> {
        let pools = self.ask(console, "SHOW POOLS").await?;
        let has = |pool: &SimpleQueryRow, name: &str| !["", "0"].contains(&field(pool, name));
        Ok(pools.iter().filter(|pool| field(pool, "database") == self.settings.database).any(|pool| {
            has(pool, "cl_waiting") && !["sv_active", "sv_idle", "sv_used"].iter().any(|name| has(pool, name))
        }))
    }
}

fn field<'r>(row: &'r SimpleQueryRow, name: &str) -> &'r str {
    row.try_get(name).ok().flatten().unwrap_or_default()
}

#[async_trait]
impl Receiver for PgbouncerLever {
    async fn probe(&self, spec: &EffectSpec, _under: Authority) -> Probe {
        let (standing, shown) = match self.standing().await {
            Ok(seen) => seen,
            Err(trouble) => return trouble.probe(),
        };
        match &spec.effect {
            // What a switch will need is looked at, and tried, before anything is stopped. An undo only needs to know.
            Effect::ObserveTraffic { .. } if spec.step != Step::Undo => {
                self.probe_before(spec, standing, &shown).await
            }
            Effect::RouteTraffic { to } if standing.at == *to => self.probe_routed(spec, standing).await,
            _ => standing.probe(spec),
        }
    }

    fn by_hand(&self, spec: &EffectSpec) -> Option<String> {
        let (Effect::RouteTraffic { to } | Effect::ResumeTraffic { to }) = &spec.effect else { return None };
        let (file, entry) = (self.settings.ini.display(), &self.settings.database);
        Some(format!(
            "let the entry {entry} in pgbouncer's file ({file}) say {}; then, in pgbouncer's console: RELOAD; RESUME {}; what \
             you do is seen, and counts",
            Place::of(self.pairs(*to), entry),
            ident(entry)
        ))
    }

    async fn act(&self, spec: &EffectSpec, _under: Authority) -> Acted {
        let ended = match &spec.effect {
            Effect::HoldTraffic { .. } => self.hold().await,
            Effect::RouteTraffic { to } => self.route(*to, spec).await,
            Effect::ResumeTraffic { to } => self.let_through(*to).await,
            Effect::ObserveTraffic { .. } if spec.step == Step::PrepareSwitch => self.rehearse(spec).await,
            _ => {
                self.settings.served.clock.sleep(LOOK * 10).await;
                Ok(Acted::Done(Evidence::new()))
            }
        };
        ended.unwrap_or_else(|cause| Acted::Unknown(EffectError(cause.0)))
    }
}

#[async_trait]
impl Lever for PgbouncerLever {
    async fn observe(&self) -> Result<TrafficState, Cause> {
        self.standing().await.map(|(standing, _)| standing.state()).map_err(Trouble::cause)
    }

    async fn examine(&self) -> Examined {
        match self.standing().await {
            Ok((standing, shown)) => {
                let mut seen = self.look_around(&shown).await;
                seen.state = Some(standing.state());
                seen
            }
            Err(trouble) => self.look_without_console(trouble).await,
        }
    }
}
