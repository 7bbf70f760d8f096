//! The right to be an instance: a lock that the database keeps for one session.
//!
//! A holder's name is held by one process at a time, so a restarted instance may take its own leases at once: that is
//! only so because of this lock. It dies with its connection, and with the process; where the connection alone
//! died, the lock is taken again at once, and if another process has it by then, this one is told to stop. For
//! that short time two processes may have had one name: leases and epochs keep them apart as they do any two.

use std::sync::Arc;
use std::time::Duration;

use journal::MigrationName;
use runtime::{Clock, Secret};
use sha2::{Digest as _, Sha256};
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions as _, PgConnection};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::sql::from_database;
use crate::StoreError;

/// How often the connection is tried.
const LOOK: Duration = Duration::from_secs(2);

/// How long the lock may be another session's before that session is somebody else: the server may not have noticed
/// yet that this process's own old connection is gone.
const PATIENCE: u32 = 15;

/// The right to be an instance of a journal's servers, held as long as this value lives.
#[derive(Debug)]
pub struct Instance {
    lost: watch::Receiver<bool>,
    watcher: JoinHandle<()>,
}

impl Drop for Instance {
    fn drop(&mut self) {
        self.watcher.abort();
    }
}

impl Instance {
    /// Takes it. `None`: another process has it.
    ///
    /// # Errors
    /// The database cannot be reached.
    pub async fn take(
        url: &Secret,
        migration: &MigrationName,
        name: &str,
        clock: Arc<dyn Clock>,
    ) -> Result<Option<Self>, StoreError> {
        let options = super::options(url)?;
        let key = key(migration, name);
        let Some(connection) = try_take(&options, key).await.map_err(|error| from_database(&error))? else {
            return Ok(None);
        };
        let (tell, lost) = watch::channel(false);
        let watcher = tokio::spawn(async move {
            keep(connection, &options, key, clock.as_ref()).await;
            // Nobody listens any more if the value was dropped.
            let _heard = tell.send(true).is_ok();
        });
        Ok(Some(Self { lost, watcher }))
    }

    /// Returns when another process has the name.
    pub async fn lost(&mut self) {
        if self.lost.wait_for(|is_lost| *is_lost).await.is_err() {
            // The watcher ends only by telling so.
            std::future::pending::<()>().await;
        }
    }
}

/// A name's lock: 64 bits of its SHA-256.
fn key(migration: &MigrationName, name: &str) -> i64 {
    let digest = Sha256::digest(format!("switchyard instance\n{migration}\n{name}"));
    let mut bytes = [0; 8];
    for (to, from) in bytes.iter_mut().zip(digest) {
        *to = from;
    }
    i64::from_be_bytes(bytes)
}

async fn try_take(options: &PgConnectOptions, key: i64) -> Result<Option<PgConnection>, sqlx::Error> {
    let mut connection = options.connect().await?;
    let is_ours: bool =
        sqlx::query_scalar("select pg_try_advisory_lock($1)").bind(key).fetch_one(&mut connection).await?;
    Ok(is_ours.then_some(connection))
}

/// Keeps the lock; returns when another has it.
async fn keep(mut connection: PgConnection, options: &PgConnectOptions, key: i64, clock: &dyn Clock) {
    let mut refused = 0;
    loop {
        clock.sleep(LOOK).await;
        if refused == 0 && sqlx::query("select 1").execute(&mut connection).await.is_ok() {
            continue;
        }
        match try_take(options, key).await {
            Ok(Some(again)) => {
                tracing::warn!("the connection that holds this instance's name was lost, and is there again");
                connection = again;
                refused = 0;
            }
            Ok(None) if refused == PATIENCE => return,
            Ok(None) => refused += 1,
            // Unreachable: leases end by themselves meanwhile.
            Err(error) => tracing::warn!(%error, "the connection that holds this instance's name is lost"),
        }
    }
}
