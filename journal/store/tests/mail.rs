//! Inbox and outbox: what they do, in every database.

use std::sync::Arc;
use std::time::Duration;

use crate::post::{HandClock, Office};
use crate::server::OnServer;
use async_trait::async_trait;
use journal::MigrationName;
use journal_store::{Mailroom, PostgresMailroom, PostgresStore, SqliteMailroom, SqliteStore};
use runtime::{Clock, SystemClock};
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
    mail_conformance!(crate::mail::InFile);
}

mod postgres {
    mail_conformance!(crate::server::OnServer);
}
