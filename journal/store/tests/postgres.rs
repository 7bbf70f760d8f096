//! The store in PostgreSQL: what every store does, and what is peculiar to a server.
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::wildcard_imports,
    clippy::too_many_lines,
    reason = "tests"
)]

#[macro_use]
mod suite;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt as _;
use journal::{MigrationName, Position};
use journal_store::{Instance, PostgresStore, Store, StoreError};
use product::cluster::{Cluster, Role, open};
use runtime::{Clock, Secret, SystemClock};
use suite::{Backend, TERM, TestClock, adopt, assert_sound, clock, id, migration, phase, planned, request};

/// A cluster with a role that may make roles, and no more.
struct OnServer {
    cluster: Cluster,
    ahead: AtomicI64,
}

const KEEPER: &str = "keeper";

impl OnServer {
    fn url_as(&self, role: &str, database: &str) -> Secret {
        Secret::new(format!("postgres://{role}:pw-{role}@127.0.0.1:{}/{database}", self.cluster.port()))
    }

    fn url(&self) -> Secret {
        self.url_as(KEEPER, "journal")
    }

    /// A superuser's connection to the journal's database.
    async fn superuser(&self) -> tokio_postgres::Client {
        let url = self.cluster.url(Role::Mover).replace("/shop", "/journal");
        open(&url).await.unwrap()
    }

    /// Makes a login role with these attributes.
    async fn role(&self, name: &str, attributes: &str) {
        let sql = format!("create role {name} login password 'pw-{name}' {attributes}");
        self.superuser().await.batch_execute(&sql).await.unwrap();
    }
}

#[async_trait]
impl Backend for OnServer {
    async fn new() -> Self {
        let cluster = Cluster::start("journal").await.unwrap();
        let mover = cluster.connect(Role::Mover).await.unwrap();
        mover.batch_execute("create database journal").await.unwrap();
        let backend = Self { cluster, ahead: AtomicI64::new(0) };
        backend.role(KEEPER, "createrole").await;
        let sql = format!("grant create on database journal to {KEEPER}");
        backend.superuser().await.batch_execute(&sql).await.unwrap();
        backend
    }

    async fn open(&self, clock: Arc<dyn Clock>) -> Arc<dyn Store> {
        Arc::new(PostgresStore::open(&self.url(), &migration(), clock).await.unwrap())
    }

    async fn advance(&self, _clock: &TestClock, by: Duration) {
        let by = i64::try_from(by.as_millis()).unwrap();
        let ahead = self.ahead.fetch_add(by, Ordering::SeqCst) + by;
        let sql = format!(
            "create or replace function switchyard_journal.now_ms() returns bigint language sql volatile
             as $$ select (extract(epoch from clock_timestamp()) * 1000)::bigint + {ahead} $$"
        );
        self.superuser().await.batch_execute(&sql).await.unwrap();
    }

    async fn leaves(&self) -> Vec<Vec<u8>> {
        let rows = self
            .superuser()
            .await
            .query("select leaf from switchyard_journal.event order by position", &[])
            .await
            .unwrap();
        rows.iter().map(|row| row.get(0)).collect()
    }

    fn forgeries(&self) -> Vec<&'static str> {
        vec![
            "update switchyard_journal.event set bytes = '{}' where position = 2",
            "delete from switchyard_journal.event where position = 2",
            "delete from switchyard_journal.event",
            "truncate switchyard_journal.event",
            "truncate switchyard_journal.event, switchyard_journal.command cascade",
            "insert into switchyard_journal.event select {next}, bytes, leaf, 'aa', command_id, kind, phase, recorded_at from switchyard_journal.event where position = 2",
            "insert into switchyard_journal.event select * from switchyard_journal.event where position = 2 on conflict (position) do update set bytes = '{}'",
            "update switchyard_journal.command set digest = sha256('')",
            "delete from switchyard_journal.command where id = 'ask'",
            "update switchyard_journal.head set position = 1",
            "update switchyard_journal.head set position = 9",
            "delete from switchyard_journal.head",
            "update switchyard_journal.lease set epoch = 0",
            "update switchyard_journal.lease set holder = 'thief'",
            "delete from switchyard_journal.lease",
            // Even by the function that writes leases: hands change under a higher epoch alone.
            "select switchyard_journal.write_leases('{a}', '{1}', '{thief}', '{0}')",
            "update switchyard_journal.journal set migration = 'bank'",
            "delete from switchyard_journal.journal",
            "alter table switchyard_journal.event disable trigger all",
            "set session_replication_role = replica",
            "create or replace function switchyard_journal.refuse() returns trigger language plpgsql as 'begin return old; end'",
            "set role switchyard_journal_owner",
        ]
    }

    async fn attempt(&self, statement: String) -> Result<(), String> {
        let client = open(self.url().expose()).await.unwrap();
        client.batch_execute(&statement).await.map_err(|error| format!("{error:?}"))
    }
}

conformance!(OnServer);

fn foreign(result: Result<PostgresStore, StoreError>) -> String {
    match result {
        Err(error @ StoreError::Foreign(_)) => error.to_string(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn opening_an_existing_journal_never_makes_one() {
    let backend = OnServer::new().await;
    let existing = async || PostgresStore::open_existing(&backend.url(), &migration(), clock()).await;
    assert!(foreign(existing().await).contains("holds no journal"));
    let store = backend.open(clock()).await;
    planned(&*store).await;
    let opened = existing().await.unwrap();
    opened.execute(id("ask"), None, request("a")).await.unwrap();
    assert_eq!(store.state().await.unwrap().head, Position::new(2));

    let bank = MigrationName::new("bank").unwrap();
    let said = foreign(PostgresStore::open(&backend.url(), &bank, clock()).await);
    assert!(said.contains("journal of the migration shop, not of bank"), "{said}");
    let newer = "insert into switchyard_journal.migration values (9999, '')";
    backend.superuser().await.batch_execute(newer).await.unwrap();
    assert!(foreign(existing().await).contains("another version"));
    assert!(
        foreign(PostgresStore::open(&backend.url(), &migration(), clock()).await).contains("another version")
    );
}

#[tokio::test]
async fn a_password_is_in_no_error() {
    let backend = OnServer::new().await;
    let nowhere = Secret::new("postgres://keeper:pw-SECRET@127.0.0.1:1/journal");
    let wrong =
        Secret::new(format!("postgres://keeper:pw-SECRET@127.0.0.1:{}/journal", backend.cluster.port()));
    for url in [nowhere, wrong, Secret::new("postgres:pw-SECRET"), Secret::new("host=x password=pw-SECRET")] {
        let error = PostgresStore::open(&url, &migration(), clock()).await.unwrap_err();
        assert!(!format!("{error} {error:?}").contains("SECRET"), "{error:?}");
    }
}

#[tokio::test]
async fn a_plain_member_of_the_writers_serves_and_a_stranger_does_not() {
    let backend = OnServer::new().await;
    planned(&*backend.open(clock()).await).await;
    backend.role("server", "").await;
    backend.role("stranger", "").await;
    let server = backend.url_as("server", "journal");
    assert!(
        foreign(PostgresStore::open(&server, &migration(), clock()).await)
            .contains("switchyard_journal_writer")
    );
    backend.superuser().await.batch_execute("grant switchyard_journal_writer to server").await.unwrap();
    let store = PostgresStore::open(&server, &migration(), clock()).await.unwrap();
    store.execute(id("ask"), None, request("a")).await.unwrap();
    let lease = store.claim(&phase("a"), &suite::holder("one"), TERM).await.unwrap().unwrap();
    assert!(store.renew(&lease).await.unwrap());
    assert_sound(&store).await;
    let stranger = backend.url_as("stranger", "journal");
    assert!(
        foreign(PostgresStore::open_existing(&stranger, &migration(), clock()).await)
            .contains("switchyard_journal_writer")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn openings_of_a_new_database_at_the_same_instant_all_succeed() {
    let backend = OnServer::new().await;
    let opened = futures::future::join_all((0..6).map(|_| {
        let url = backend.url();
        tokio::spawn(async move { PostgresStore::open(&url, &migration(), clock()).await.unwrap() })
    }))
    .await;
    planned(opened[0].as_ref().unwrap()).await;
    for store in opened {
        assert_eq!(store.unwrap().state().await.unwrap().head, Position::new(1));
    }
}

/// Ends all of the journal's sessions but the one that asks.
const END_SESSIONS: &str = "select count(pg_terminate_backend(pid)) from pg_stat_activity
     where application_name = 'switchyard journal'";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn appends_tails_and_leases_survive_the_loss_of_every_connection() {
    let backend = OnServer::new().await;
    let store = backend.open(clock()).await;
    planned(&*store).await;
    let lease = store.claim(&phase("a"), &suite::holder("one"), TERM).await.unwrap().unwrap();
    let mut tail = store.tail(Position::default());
    let seen = tokio::spawn(async move {
        let mut next = Position::new(1);
        while next <= Position::new(202) {
            match tail.next().await.unwrap() {
                Ok(event) => {
                    assert_eq!(event.envelope.position, next);
                    next = next.next();
                }
                Err(StoreError::Unavailable(_)) => {}
                Err(error) => panic!("{error}"),
            }
        }
    });
    let superuser = backend.superuser().await;
    let ending = tokio::spawn(async move {
        let mut ended = 0;
        for _ in 0..10 {
            SystemClock.sleep(Duration::from_millis(30)).await;
            ended += superuser.query_one(END_SESSIONS, &[]).await.unwrap().get::<_, i64>(0);
        }
        ended
    });
    for number in 1..=200u64 {
        // What is not known to be done is asked again under the same id, as every caller does.
        let mut tries = 0;
        while let Err(error) = store.execute(id(format!("c{number}")), None, adopt(number)).await {
            assert!(tries < 5, "{error}");
            tries += 1;
        }
    }
    assert!(ending.await.unwrap() > 0, "no session was ended");
    assert_eq!(store.state().await.unwrap().head, Position::new(202), "each once");
    assert!(store.renew(&lease).await.unwrap());
    tokio::time::timeout(Duration::from_secs(20), seen).await.expect("all 202 events").unwrap();
    assert_sound(&*store).await;
}

#[tokio::test]
async fn an_instance_is_one_process_and_keeps_its_name_when_its_connection_ends() {
    let backend = OnServer::new().await;
    planned(&*backend.open(clock()).await).await;
    let take = async |name: &str| {
        Instance::take(&backend.url(), &migration(), name, Arc::new(SystemClock)).await.unwrap()
    };
    let first = take("main").await.unwrap();
    assert!(take("main").await.is_none());
    assert!(take("spare").await.is_some());
    let superuser = backend.superuser().await;
    // The sessions that end may hold their locks for a moment more: another session is waited for.
    let old = "select array_agg(pid) from pg_locks where locktype = 'advisory' and granted";
    let old: Vec<i32> = superuser.query_one(old, &[]).await.unwrap().get(0);
    superuser.query_one(END_SESSIONS, &[]).await.unwrap();
    // It takes its name again by itself.
    let held = "select count(*) from pg_locks where locktype = 'advisory' and granted and pid <> all ($1)";
    let back = async {
        while superuser.query_one(held, &[&old]).await.unwrap().get::<_, i64>(0) == 0 {
            SystemClock.sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), back).await.expect("the name is held again");
    assert!(take("main").await.is_none());
    drop(first);
    let free = async {
        while take("main").await.is_none() {
            SystemClock.sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), free).await.expect("the name is free");
}
