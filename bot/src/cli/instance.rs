//! The right to be an instance: one process at a time.
//!
//! A holder's name is held by one process at a time, so a restarted instance may take its own leases at once: that is
//! only so because of this right. Where the journal is a file, it is a lock on a file beside it, given up by the kernel
//! when the process ends; where it is in a database, a lock of a session there, given up when its connection ends.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use journal::{Holder, MigrationName};
use journal_store::Instance;
use runtime::SystemClock;
use rustix::fs::FlockOperation;
use rustix::io::Errno;

use super::exit::Failure;
use super::open::{self, Place};
use crate::words;

/// This process's right, as long as the value lives.
#[derive(Debug)]
pub(super) enum Mine {
    /// A locked file. It stays when the process ends: to remove it would let two processes lock two files of one name.
    File(#[expect(dead_code, reason = "it is held, not used")] File),
    /// A lock in the journal's database.
    Database(Instance),
}

impl Mine {
    /// Takes it.
    pub(super) async fn take(
        place: &Place,
        holder: &Holder,
        instance: &str,
        migration: &MigrationName,
    ) -> Result<Self, Failure> {
        match place {
            Place::File(journal) => lock(journal, instance).map(Self::File),
            Place::Database(url) => {
                let taken = Instance::take(url, migration, holder.as_str(), Arc::new(SystemClock)).await;
                match taken.map_err(|error| open::no_journal(&error))? {
                    Some(mine) => Ok(Self::Database(mine)),
                    None => Err(Failure::refused(words::runs_elsewhere(instance))),
                }
            }
        }
    }

    /// Returns when another process has it, which a file's lock does not let happen.
    pub(super) async fn lost(&mut self) {
        match self {
            Self::File(_) => std::future::pending().await,
            Self::Database(instance) => instance.lost().await,
        }
    }
}

fn lock(journal: &Path, instance: &str) -> Result<File, Failure> {
    let mut path = journal.as_os_str().to_owned();
    path.push(format!(".{instance}.lock"));
    let path = PathBuf::from(path);
    let file = OpenOptions::new().create(true).append(true).open(&path);
    let file = file.map_err(|error| Failure::refused(words::no_lock(&path, &error)))?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(Errno::WOULDBLOCK) => Err(Failure::refused(words::runs_already(instance, &path))),
        Err(error) => Err(Failure::refused(words::no_lock(&path, &error.into()))),
    }
}
