//! Inbox and outbox: what they do, in every database.
#![allow(
    missing_docs,
    missing_debug_implementations,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests"
)]

#[macro_use]
mod post;
mod server;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use journal::MigrationName;
use journal_store::{Mailroom, PostgresMailroom, PostgresStore, SqliteMailroom, SqliteStore};
use post::{HandClock, Office};
use runtime::{Clock, SystemClock};
use server::OnServer;
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

#[async_trait]
impl Office for OnServer {
    async fn new() -> Self {
        let server = Self::start().await;
        let migration = MigrationName::new("shop").unwrap();
        drop(PostgresStore::open(&server.url(), &migration, Arc::new(SystemClock)).await.unwrap());
        server
    }

    async fn open(&self, _clock: Arc<dyn Clock>) -> Arc<dyn Mailroom> {
        Arc::new(PostgresMailroom::open(&self.url()).await.unwrap())
    }

    async fn advance(&self, _clock: &HandClock, by: Duration) {
        self.let_pass(by).await;
    }
}

mod sqlite {
    mail_conformance!(crate::InFile);
}

mod postgres {
    mail_conformance!(crate::OnServer);
}
