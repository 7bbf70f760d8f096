//! Inbox and outbox in SQLite: what all of them do.
#![allow(
    missing_docs,
    missing_debug_implementations,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests"
)]

#[macro_use]
mod post;

use std::sync::Arc;

use async_trait::async_trait;
use journal::MigrationName;
use journal_store::{Mailroom, SqliteMailroom, SqliteStore};
use post::Office;
use runtime::Clock;
use tempfile::TempDir;

struct InFile {
    directory: TempDir,
}

#[async_trait]
impl Office for InFile {
    async fn new() -> Self {
        Self { directory: TempDir::new().unwrap() }
    }

    async fn open(&self, clock: Arc<dyn Clock>) -> Arc<dyn Mailroom> {
        let url = format!("sqlite:{}", self.directory.path().join("journal.db").display());
        let migration = MigrationName::new("shop").unwrap();
        drop(SqliteStore::open(&url, &migration, Arc::clone(&clock)).await.unwrap());
        Arc::new(SqliteMailroom::open(&url, clock).await.unwrap())
    }
}

mail_conformance!(InFile);
