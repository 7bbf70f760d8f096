//! A PostgreSQL server for a journal.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use product::cluster::{Cluster, Role, open};
use runtime::Secret;

/// A cluster with a role that may make roles, and no more.
pub struct OnServer {
    pub cluster: Cluster,
    ahead: AtomicI64,
}

/// The role that opens the journal.
const KEEPER: &str = "keeper";

impl OnServer {
    pub async fn start() -> Self {
        let cluster = Cluster::start("journal").await.unwrap();
        let mover = cluster.connect(Role::Mover).await.unwrap();
        mover.batch_execute("create database journal").await.unwrap();
        let server = Self { cluster, ahead: AtomicI64::new(0) };
        server.role(KEEPER, "createrole").await;
        let sql = format!("grant create on database journal to {KEEPER}");
        server.superuser().await.batch_execute(&sql).await.unwrap();
        server
    }

    pub fn url_as(&self, role: &str, database: &str) -> Secret {
        Secret::new(format!("postgres://{role}:pw-{role}@127.0.0.1:{}/{database}", self.cluster.port()))
    }

    pub fn url(&self) -> Secret {
        self.url_as(KEEPER, "journal")
    }

    /// A superuser's connection to the journal's database.
    pub async fn superuser(&self) -> tokio_postgres::Client {
        let url = self.cluster.url(Role::Mover).replace("/shop", "/journal");
        open(&url).await.unwrap()
    }

    /// Makes a login role with these attributes.
    pub async fn role(&self, name: &str, attributes: &str) {
        let sql = format!("create role {name} login password 'pw-{name}' {attributes}");
        self.superuser().await.batch_execute(&sql).await.unwrap();
    }

    /// Moves the clock on that the journal goes by.
    pub async fn let_pass(&self, by: Duration) {
        let by = i64::try_from(by.as_millis()).unwrap();
        let ahead = self.ahead.fetch_add(by, Ordering::SeqCst) + by;
        let sql = format!(
            "create or replace function switchyard_journal.now_ms() returns bigint language sql volatile
             as $$ select (extract(epoch from clock_timestamp()) * 1000)::bigint + {ahead} $$"
        );
        self.superuser().await.batch_execute(&sql).await.unwrap();
    }
}
