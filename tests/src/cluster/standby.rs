//! A real standby: copied by `pg_basebackup`, fed by streaming, promoted in its primary's place.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;
use tempfile::TempDir;

use super::{Cluster, Role};
use crate::process::{Process, find_program, give, server_command, server_dir, tail};
use crate::wait::{Seen, wait_until};

const LONG: Duration = Duration::from_secs(60);

/// A standby of a cluster. Stopped when dropped.
#[derive(Debug)]
pub struct Standby {
    server: Option<Process>,
    dir: TempDir,
    port: u16,
}

impl Cluster {
    /// Makes a standby of it and waits until it follows.
    ///
    /// # Errors
    /// It does not come to follow.
    pub async fn standby(&self) -> Result<Standby> {
        let dir = server_dir(&format!("{}-standby", self.name))?;
        let made = server_command(&find_program("pg_basebackup")?, "KILL", dir.path())
            .args(["--no-sync", "--checkpoint=fast", "--wal-method=stream", "--write-recovery-conf", "-D"])
            .arg(dir.path().join("data"))
            .args(["-h", "127.0.0.1", "-U", Role::Mover.name(), "-p", &self.port.to_string()])
            .env("PGPASSWORD", Role::Mover.password())
            .output()
            .context("pg_basebackup")?;
        ensure!(made.status.success(), "pg_basebackup failed: {}", String::from_utf8_lossy(&made.stderr));
        let port = crate::process::free_port()?;
        let server = Self::run(&format!("{} standby", self.name), dir.path(), port, &super::HASTY)?;
        let standby = Standby { server: Some(server), dir, port };
        self.followed(&standby).await?;
        Ok(standby)
    }

    /// Waits until the standby has replayed all that is written now.
    ///
    /// # Errors
    /// It does not in time.
    pub async fn followed(&self, standby: &Standby) -> Result<()> {
        let primary = self.connect(Role::Mover).await?;
        let place: String = primary.query_one("select pg_current_wal_flush_lsn()::text", &[]).await?.get(0);
        let sql = format!(
            "select count(*) from pg_stat_replication where application_name = 'walreceiver' \
             and replay_lsn >= '{place}'::pg_lsn"
        );
        wait_until(LONG, "the standby to follow", async || {
            let followed: i64 = primary.query_one(&sql, &[]).await?.get(0);
            Ok(if followed > 0 { Seen::Done(()) } else { Seen::NotYet(standby.log_tail(3)) })
        })
        .await
    }

    /// Keeps copies of the primary's replication slots in the standby, as tools for failover do; a standby of this
    /// version has none by itself. They stand where they are now.
    ///
    /// # Errors
    /// They cannot be copied, or do not advance to where the standby begins.
    pub async fn copy_slots(&self, standby: &Standby) -> Result<()> {
        let primary = self.connect(Role::Mover).await?;
        let began = std::fs::read_to_string(standby.data().join("backup_label.old"))?;
        let began = began.split_whitespace().nth(3).context("a backup label without its place")?.to_owned();
        let behind = format!(
            "select count(*) from pg_replication_slots where slot_type = 'logical' and restart_lsn < '{began}'::pg_lsn"
        );
        // A slot moves on from one list of running transactions to the next, which a checkpoint writes.
        wait_until(LONG, "the slots to come to where the standby begins", async || {
            primary.batch_execute("checkpoint").await?;
            let behind: i64 = primary.query_one(&behind, &[]).await?.get(0);
            Ok(if behind == 0 {
                Seen::Done(())
            } else {
                Seen::NotYet(format!("{behind} are before {began}"))
            })
        })
        .await?;
        primary.batch_execute("checkpoint").await?;
        self.followed(standby).await?;
        copy_tree(&self.dir.path().join("data/pg_replslot"), &standby.dir.path().join("slots"))
    }

    /// The primary dies, as by a power cut, and the standby is promoted in its place, behind its port.
    ///
    /// # Errors
    /// It is not promoted.
    pub async fn fail_over(&mut self, mut standby: Standby) -> Result<()> {
        self.server.signal(Signal::QUIT)?;
        self.server.ended(LONG).await?;
        standby.stop().await?;
        let (data, slots) = (standby.data(), standby.dir.path().join("slots"));
        if slots.is_dir() {
            copy_tree(&slots, &data.join("pg_replslot"))?;
        }
        self.server = Self::run(&self.name, standby.dir.path(), self.port, &super::HASTY)?;
        self.dir = standby.dir;
        wait_until(LONG, "the standby to answer in its primary's place", async || {
            Ok(match self.open(Role::Mover, "postgres").await {
                Ok(client) => Seen::Done(client),
                Err(error) => Seen::NotYet(format!("{error:#}\n{}", self.log_tail(5))),
            })
        })
        .await?
        .batch_execute("select pg_promote(true, 60)")
        .await
        .context("promoting")
    }
}

impl Standby {
    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    fn log_tail(&self, lines: usize) -> String {
        tail(&self.dir.path().join("server.log"), lines)
    }

    /// Its port on 127.0.0.1.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Stops it: what the primary writes from now on it does not have.
    ///
    /// # Errors
    /// It does not stop.
    pub async fn stop(&mut self) -> Result<()> {
        let Some(mut server) = self.server.take() else { return Ok(()) };
        server.signal(Signal::INT)?;
        server.ended(LONG).await.map(drop)
    }
}

fn copy_tree(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to)?;
    give(to)?;
    for entry in std::fs::read_dir(from).with_context(|| format!("{}", from.display()))? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_tree(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), &target)?;
            give(&target)?;
        }
    }
    Ok(())
}
