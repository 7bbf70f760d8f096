//! A pgbouncer in transaction pooling before the clusters.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use rustix::process::Signal;
use tempfile::TempDir;
use tokio_postgres::{Client, SimpleQueryMessage};

use crate::cluster::{Cluster, DATABASE, Role, open};
use crate::process::{Process, find_program, free_port, give, server_command, server_dir};

const ADMIN_PASSWORD: &str = "pw-admin-LEAK";

/// A pgbouncer with one entry, stopped when dropped.
#[derive(Debug)]
pub struct Pgbouncer {
    port: u16,
    server: Process,
    dir: TempDir,
}

/// The entry's connect string for a cluster.
#[must_use]
pub fn connect_string(cluster: &Cluster) -> String {
    format!("host=127.0.0.1 port={} dbname={DATABASE}", cluster.port())
}

impl Pgbouncer {
    /// Starts one whose entry reaches a cluster.
    ///
    /// # Errors
    /// The program is missing, or it does not come up.
    pub async fn start(source: &Cluster) -> Result<Self> {
        let dir = server_dir("pgbouncer")?;
        let users = dir.path().join("users.txt");
        std::fs::write(
            &users,
            format!(
                "\"{}\" \"{}\"\n\"admin\" \"{ADMIN_PASSWORD}\"\n",
                Role::App.name(),
                Role::App.password()
            ),
        )?;
        give(&users)?;
        let mut server = None;
        let mut port = 0;
        for _ in 0..5 {
            port = free_port()?;
            let ini = dir.path().join("pgbouncer.ini");
            std::fs::write(&ini, Self::configuration(dir.path(), port, source))?;
            give(&ini)?;
            let process = Self::run(dir.path())?;
            if Self::come_up(port, process).await.map(|up| server = Some(up)).is_ok() {
                break;
            }
        }
        match server {
            Some(server) => Ok(Self { port, server, dir }),
            None => bail!("pgbouncer does not start: {}", crate::process::tail(&dir.path().join("log"), 20)),
        }
    }

    fn run(dir: &Path) -> Result<Process> {
        let mut command = server_command(&find_program("pgbouncer")?, "KILL", dir);
        command.arg(dir.join("pgbouncer.ini"));
        Process::spawn(command, "pgbouncer", &dir.join("log"), Signal::INT)
    }

    async fn come_up(port: u16, mut process: Process) -> Result<Process> {
        let until = Instant::now() + Duration::from_secs(10);
        loop {
            if open(&Self::url_on(port)).await.is_ok() {
                return Ok(process);
            }
            if process.exited()?.is_some() || Instant::now() > until {
                bail!("pgbouncer did not come up");
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn configuration(dir: &Path, port: u16, source: &Cluster) -> String {
        format!(
            "; The application's way to its database.\n\
             [databases]\n\
             {DATABASE} = {}\n\
             \n\
             [pgbouncer]\n\
             listen_addr = 127.0.0.1\n\
             listen_port = {port}\n\
             unix_socket_dir =\n\
             auth_type = scram-sha-256\n\
             auth_file = {}\n\
             admin_users = admin\n\
             pool_mode = transaction\n\
             default_pool_size = 16\n\
             max_client_conn = 200\n\
             server_login_retry = 1\n\
             log_connections = 0\n\
             log_disconnections = 0\n",
            connect_string(source),
            dir.join("users.txt").display(),
        )
    }

    /// Ends it by SIGKILL and starts it again on the same port with the configuration as it now stands. It forgets
    /// a PAUSE.
    ///
    /// # Errors
    /// It does not come up.
    pub async fn restart(&mut self) -> Result<()> {
        self.server.signal(Signal::KILL)?;
        self.server.ended(Duration::from_secs(5)).await?;
        self.server = Self::come_up(self.port, Self::run(self.dir.path())?).await?;
        Ok(())
    }

    fn url_on(port: u16) -> String {
        format!("postgres://admin:{ADMIN_PASSWORD}@127.0.0.1:{port}/pgbouncer")
    }

    /// The admin console's connection string.
    #[must_use]
    pub fn admin_url(&self) -> String {
        Self::url_on(self.port)
    }

    /// What the application connects to.
    #[must_use]
    pub fn app_url(&self) -> String {
        format!("postgres://{}:{}@127.0.0.1:{}/{DATABASE}", Role::App.name(), Role::App.password(), self.port)
    }

    /// Its configuration file.
    #[must_use]
    pub fn ini(&self) -> PathBuf {
        self.dir.path().join("pgbouncer.ini")
    }

    /// The port of the server that the entry points at, and whether the entry is paused.
    ///
    /// # Errors
    /// The console does not answer.
    pub async fn entry(&self) -> Result<(u16, bool)> {
        let console: Client = open(&self.admin_url()).await?;
        for message in console.simple_query("show databases").await? {
            if let SimpleQueryMessage::Row(row) = message
                && row.get("name") == Some(DATABASE)
            {
                let port = row.get("port").unwrap_or_default().parse()?;
                return Ok((port, row.get("paused") == Some("1")));
            }
        }
        bail!("pgbouncer has no entry {DATABASE}")
    }

    /// The last lines of its log.
    #[must_use]
    pub fn log_tail(&self, lines: usize) -> String {
        self.server.log_tail(lines)
    }
}
