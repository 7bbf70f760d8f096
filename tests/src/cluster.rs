//! One throwaway PostgreSQL cluster.

mod standby;
mod template;

pub use standby::Standby;

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::process::Signal;
use tempfile::TempDir;
use tokio_postgres::{Client, NoTls};

use crate::process::{Process, find_program, free_port, give, server_command, server_dir, tail};
use crate::wait::{Seen, wait_until};

/// The database that every cluster holds.
pub const DATABASE: &str = "shop";

/// A role of the rig.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// What Switchyard connects as: a superuser.
    Mover,
    /// What the application connects as: a plain role.
    App,
}

impl Role {
    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Mover => "mover",
            Self::App => "app",
        }
    }

    /// Its password. Marked, so that it is found wherever it leaks to.
    #[must_use]
    pub const fn password(self) -> &'static str {
        match self {
            Self::Mover => "pw-mover-LEAK",
            Self::App => "pw-app-LEAK",
        }
    }
}

/// A PostgreSQL server with its own directory and port, stopped when dropped.
#[derive(Debug)]
pub struct Cluster {
    name: String,
    port: u16,
    // The process before the directory: fields drop in this order.
    server: Process,
    dir: TempDir,
}

/// The machine does not fall in these tests, processes do; and a disk would be the ceiling.
const HASTY: [(&str, &str); 2] = [("fsync", "off"), ("full_page_writes", "off")];

impl Cluster {
    /// Makes and starts a cluster with the rig's roles and an empty database.
    ///
    /// # Errors
    /// A program is missing, or the server does not come up; the message ends with its log.
    pub async fn start(name: &str) -> Result<Self> {
        Self::start_with(name, &HASTY).await
    }

    /// The same, with commits that reach the disk.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn start_durable(name: &str) -> Result<Self> {
        Self::start_with(name, &[("shared_buffers", "256MB")]).await
    }

    async fn start_with(name: &str, more: &[(&str, &str)]) -> Result<Self> {
        let dir = server_dir(name)?;
        template::fill(&dir.path().join("data"), name).await?;
        Self::launch(name, dir, more).await
    }

    /// Starts the cluster that a directory holds.
    async fn launch(name: &str, mut dir: TempDir, more: &[(&str, &str)]) -> Result<Self> {
        let log = dir.path().join("server.log");
        let mut last = String::new();
        // Another process may take the port between its choice and its use.
        for _ in 0..5 {
            let port = free_port()?;
            let server = Self::run(name, dir.path(), port, more)?;
            let mut cluster = Self { name: name.to_owned(), port, server, dir };
            match cluster.come_up().await {
                Ok(()) => return Ok(cluster),
                Err(error) => last = format!("{error:#}\n{}", tail(&log, 20)),
            }
            let Self { server, dir: kept, .. } = cluster;
            drop(server);
            dir = kept;
        }
        bail!("the cluster {name} does not start: {last}")
    }

    fn run(name: &str, dir: &Path, port: u16, more: &[(&str, &str)]) -> Result<Process> {
        let mut command = server_command(&find_program("postgres")?, "QUIT", dir);
        command.arg("-D").arg(dir.join("data"));
        let settings = [
            ("listen_addresses", "127.0.0.1".to_owned()),
            ("port", port.to_string()),
            ("unix_socket_directories", String::new()),
            ("wal_level", "logical".to_owned()),
            ("max_replication_slots", "20".to_owned()),
            ("max_wal_senders", "20".to_owned()),
            ("max_prepared_transactions", "10".to_owned()),
            ("max_connections", "120".to_owned()),
            // What a promoted standby's slots may still have to read.
            ("wal_keep_size", "256MB".to_owned()),
            ("shared_buffers", "64MB".to_owned()),
            ("log_line_prefix", "%m [%p] %q%u@%d %a ".to_owned()),
        ];
        for (key, value) in settings {
            command.arg("-c").arg(format!("{key}={value}"));
        }
        for (key, value) in more {
            command.arg("-c").arg(format!("{key}={value}"));
        }
        Process::spawn(command, &format!("cluster {name}"), &dir.join("server.log"), Signal::QUIT)
    }

    async fn come_up(&mut self) -> Result<()> {
        let until = Instant::now() + Duration::from_secs(30);
        loop {
            match self.open(Role::Mover, "postgres").await {
                Ok(_client) => return Ok(()),
                Err(error) if Instant::now() > until => return Err(error),
                Err(_) => tokio::time::sleep(Duration::from_millis(30)).await,
            }
            if let Some(status) = self.server.exited()? {
                bail!("the server ended with {status}");
            }
        }
    }

    async fn open(&self, role: Role, database: &str) -> Result<Client> {
        let client = open(&self.url_of(role, database)).await?;
        // What waits for a lock that nobody gives back fails by name instead of waiting for ever.
        client.batch_execute("set lock_timeout = '120s'").await?;
        Ok(client)
    }

    /// Connects to its database.
    ///
    /// # Errors
    /// The server refuses or is away.
    pub async fn connect(&self, role: Role) -> Result<Client> {
        self.open(role, DATABASE).await.with_context(|| format!("connecting to {}", self.name))
    }

    fn url_of(&self, role: Role, database: &str) -> String {
        format!("postgres://{}:{}@127.0.0.1:{}/{database}", role.name(), role.password(), self.port)
    }

    /// Its connection string for a role.
    #[must_use]
    pub fn url(&self, role: Role) -> String {
        self.url_of(role, DATABASE)
    }

    /// The same over another port that leads to it.
    #[must_use]
    pub fn url_at(&self, role: Role, port: u16) -> String {
        format!("postgres://{}:{}@127.0.0.1:{port}/{DATABASE}", role.name(), role.password())
    }

    /// Its port on 127.0.0.1.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Makes it take encrypted connections alone, with a certificate for a host that a new authority has signed.
    /// Answers with the authority's file.
    ///
    /// # Errors
    /// The certificate cannot be made, or the server does not take it.
    pub async fn speak_tls(&self, host: &str) -> Result<PathBuf> {
        let authority_key = rcgen::KeyPair::generate()?;
        let mut authority = rcgen::CertificateParams::new(Vec::new())?;
        authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let authority_pem = authority.self_signed(&authority_key)?.pem();
        let key = rcgen::KeyPair::generate()?;
        let issuer = rcgen::Issuer::new(authority, authority_key);
        let certificate = rcgen::CertificateParams::new(vec![host.to_owned()])?.signed_by(&key, &issuer)?;
        let data = self.dir.path().join("data");
        let hba = "hostssl all all all scram-sha-256\nhostssl replication all all scram-sha-256\n";
        for (name, text) in [
            ("server.crt", certificate.pem()),
            ("server.key", key.serialize_pem()),
            ("pg_hba.conf", hba.to_owned()),
        ] {
            let file = data.join(name);
            std::fs::write(&file, text)?;
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600))?;
            give(&file)?;
        }
        let client = self.connect(Role::Mover).await?;
        client.batch_execute("alter system set ssl = on").await?;
        client.batch_execute("select pg_reload_conf()").await?;
        let until = Instant::now() + Duration::from_secs(10);
        // Once it is in force, this rig's own connections, which are in the clear, are refused.
        while self.connect(Role::Mover).await.is_ok() {
            if Instant::now() > until {
                bail!("the server does not begin to speak TLS:\n{}", self.log_tail(5));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let file = self.dir.path().join("authority.pem");
        std::fs::write(&file, authority_pem)?;
        Ok(file)
    }

    /// Where its files are.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// Kills it as a power cut would: every process of it, at once.
    ///
    /// # Errors
    /// It had ended already.
    pub async fn kill9(&mut self) -> Result<()> {
        self.server.signal_all(Signal::KILL)?;
        self.server.ended(Duration::from_secs(10)).await.map(drop)
    }

    /// Freezes every process of it, as a paused machine would: its connections stay, and nobody answers.
    ///
    /// # Errors
    /// It has ended.
    pub fn freeze(&self) -> Result<()> {
        self.server.signal_all(Signal::STOP)
    }

    /// Lets it go on.
    ///
    /// # Errors
    /// It has ended.
    pub fn thaw(&self) -> Result<()> {
        self.server.signal_all(Signal::CONT)
    }

    /// Starts it again, where it was, behind its port.
    ///
    /// # Errors
    /// It does not come up.
    pub async fn start_again(&mut self) -> Result<()> {
        self.server = Self::run(&self.name, self.dir.path(), self.port, &HASTY)?;
        self.come_up().await.with_context(|| self.log_tail(20))
    }

    /// The last lines of its log.
    #[must_use]
    pub fn log_tail(&self, lines: usize) -> String {
        tail(&self.dir.path().join("server.log"), lines)
    }

    /// The postmaster, to be signalled.
    #[must_use]
    pub const fn process(&self) -> &Process {
        &self.server
    }
}

/// Connects and drives the connection in a task of its own.
///
/// # Errors
/// The server refuses or is away.
pub async fn open(url: &str) -> Result<Client> {
    let (client, connection) =
        tokio::time::timeout(Duration::from_secs(20), tokio_postgres::connect(url, NoTls))
            .await
            .context("no answer to a connection in 20 s")??;
    tokio::spawn(connection);
    Ok(client)
}

/// Ends every other session that has a lock on a table: a process that was stopped may hold one for as long as it is.
///
/// # Errors
/// They do not end.
pub async fn let_go(client: &Client, table: &str) -> Result<()> {
    let sql = "select count(pg_terminate_backend(pid)) from pg_locks \
               where locktype = 'relation' and relation = $1::text::regclass and pid <> pg_backend_pid()";
    wait_until(Duration::from_secs(20), &format!("the locks on {table} to be given back"), async || {
        Ok(match client.query_one(sql, &[&table]).await?.get::<_, i64>(0) {
            0 => Seen::Done(()),
            left => Seen::NotYet(format!("{left} are held")),
        })
    })
    .await
}
