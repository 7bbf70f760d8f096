//! The store in PostgreSQL: what every store does, and what is peculiar to a server.

use std::sync::Arc;
use std::time::Duration;

use crate::server::OnServer;
use crate::suite::{
    Backend, TERM, TestClock, adopt, assert_sound, clock, holder, id, migration, phase, planned, request,
};
use async_trait::async_trait;
use futures::StreamExt as _;
use journal::{MigrationName, Position};
use journal_store::{Instance, Mailroom as _, PostgresMailroom, PostgresStore, Store, StoreError};
use product::cluster::{Role, open};
use runtime::{Clock, Secret, SystemClock};

#[async_trait]
impl Backend for OnServer {
    async fn new() -> Self {
        Self::start().await
    }

    async fn open(&self, clock: Arc<dyn Clock>) -> Arc<dyn Store> {
        Arc::new(PostgresStore::open(&self.url(), &migration(), clock).await.unwrap())
    }

    async fn advance(&self, _clock: &TestClock, by: Duration) {
        self.let_pass(by).await;
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
            "truncate switchyard_journal.event, switchyard_journal.head cascade",
            "insert into switchyard_journal.event select {next}, bytes, leaf, 'aa', command_id, digest, kind, phase, recorded_at from switchyard_journal.event where position = 2",
            "insert into switchyard_journal.event select * from switchyard_journal.event where position = 2 on conflict (position) do update set bytes = '{}'",
            "update switchyard_journal.event set digest = sha256('')",
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

/// Takes the schema back to its first version.
const OLDER: &str =
    "drop table switchyard_journal.inbox, switchyard_journal.outbox, switchyard_journal.watermark,
         switchyard_journal.box;
     delete from switchyard_journal.migration where version > 1";

#[tokio::test]
async fn an_older_schema_is_brought_up_to_date_by_who_may_and_by_opening_it_to_write_alone() {
    let backend = OnServer::new().await;
    let existing = async || PostgresStore::open_existing(&backend.url(), &migration(), clock()).await;
    planned(&*backend.open(clock()).await).await;
    backend.superuser().await.batch_execute(OLDER).await.unwrap();
    assert!(foreign(existing().await).contains("older version"));
    // Another migration's is not touched, and a role that may not make roles cannot.
    let bank = MigrationName::new("bank").unwrap();
    assert!(foreign(PostgresStore::open(&backend.url(), &bank, clock()).await).contains("not of bank"));
    backend.role("server", "").await;
    backend.superuser().await.batch_execute("grant switchyard_journal_writer to server").await.unwrap();
    let server = backend.url_as("server", "journal");
    let said = foreign(PostgresStore::open(&server, &migration(), clock()).await);
    assert!(said.contains("only a role that made it or may make roles"), "{said}");
    let store = backend.open(clock()).await;
    assert_eq!(store.state().await.unwrap().head, Position::new(1));
    PostgresMailroom::open(&server).await.unwrap().write(&[]).await.unwrap();
    let guarded = "select pg_has_role('keeper', 'switchyard_journal_owner', 'member')";
    let is_owner: bool = backend.superuser().await.query_one(guarded, &[]).await.unwrap().get(0);
    assert!(!is_owner, "the right to change the past was given back");
}

#[tokio::test]
async fn an_older_schema_under_a_guard_is_brought_up_to_date_by_a_superuser_alone() {
    let backend = OnServer::new().await;
    let root = Secret::new(backend.cluster.url(Role::Mover).replace("/shop", "/journal"));
    planned(&PostgresStore::open(&root, &migration(), clock()).await.unwrap()).await;
    let superuser = backend.superuser().await;
    let refused = superuser.batch_execute(OLDER).await.unwrap_err();
    assert!(format!("{refused:?}").contains("is refused"), "{refused:?}");
    let down = "alter event trigger switchyard_journal_changes disable;
        alter event trigger switchyard_journal_drops disable;";
    let up = "alter event trigger switchyard_journal_changes enable always;
        alter event trigger switchyard_journal_drops enable always;";
    superuser.batch_execute(&format!("{down} {OLDER}; {up}")).await.unwrap();
    superuser.batch_execute("grant switchyard_journal_writer to keeper").await.unwrap();
    let said = foreign(PostgresStore::open(&backend.url(), &migration(), clock()).await);
    assert!(said.contains("only a superuser"), "{said}");
    PostgresStore::open(&root, &migration(), clock()).await.unwrap();
    PostgresStore::open(&backend.url(), &migration(), clock()).await.unwrap();
    let refused = superuser.batch_execute("drop table switchyard_journal.outbox").await.unwrap_err();
    assert!(format!("{refused:?}").contains("is refused"), "the guard stands again: {refused:?}");
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
    let lease = store.claim(&phase("a"), &crate::suite::holder("one"), TERM).await.unwrap().unwrap();
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
    let lease = store.claim(&phase("a"), &crate::suite::holder("one"), TERM).await.unwrap().unwrap();
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

/// Operators and functions that stand before the system's on the path of whoever calls, and do something else.
const TRAPS: &str = "
    create schema trap;
    grant usage on schema trap to public;
    create function trap.spring(bigint, bigint) returns boolean language plpgsql
        as $$ begin raise exception 'trapped'; end $$;
    create function trap.spring_sum(bigint, integer) returns bigint language plpgsql
        as $$ begin raise exception 'trapped'; end $$;
    create function trap.spring_text(text, text) returns boolean language plpgsql
        as $$ begin raise exception 'trapped'; end $$;
    create function trap.spring_bytes(bytea, bytea) returns bytea language plpgsql
        as $$ begin raise exception 'trapped'; end $$;
    create operator trap.= (leftarg = bigint, rightarg = bigint, function = trap.spring);
    create operator trap.> (leftarg = bigint, rightarg = bigint, function = trap.spring);
    create operator trap.= (leftarg = text, rightarg = text, function = trap.spring_text);
    create operator trap.+ (leftarg = bigint, rightarg = integer, function = trap.spring_sum);
    create operator trap.|| (leftarg = bytea, rightarg = bytea, function = trap.spring_bytes);
    create function trap.cardinality(anyarray) returns integer language plpgsql
        as $$ begin raise exception 'trapped'; end $$;
    create function trap.sha256(bytea) returns bytea language plpgsql
        as $$ begin raise exception 'trapped'; end $$;
    create function trap.clock_timestamp() returns timestamptz language plpgsql
        as $$ begin raise exception 'trapped'; end $$;
    create function trap.unnest(anyarray) returns setof anyelement language plpgsql
        as $$ begin raise exception 'trapped'; end $$;
";

/// One event, then two, of a phase that is held.
const APPENDS: &str = "
    set search_path = trap, pg_catalog;
    select switchyard_journal.append(
        (select position from switchyard_journal.head), switchyard_journal.now_ms(), 250, '{a}', '{1}',
        '{\"\\\\x7b7d\"}', '{e}', '{one}', '{null}', '{x}', '{a}', '{0}');
    select switchyard_journal.append(
        (select position from switchyard_journal.head), switchyard_journal.now_ms(), null, '{a,a}', '{1,1}',
        '{\"\\\\x7b7d\",\"\\\\x7b7d\"}', '{e,f}', '{two,two}', '{null,null}', '{x,x}', '{a,a}', '{0,0}');
";

#[tokio::test]
async fn whose_path_the_caller_has_means_nothing_to_what_appends() {
    let backend = OnServer::new().await;
    let store = backend.open(clock()).await;
    planned(&*store).await;
    store.claim(&phase("a"), &holder("one"), TERM).await.unwrap().expect("the lease is free");
    let head = store.state().await.unwrap().head;
    backend.superuser().await.batch_execute(TRAPS).await.unwrap();
    let caller = open(backend.url().expose()).await.unwrap();
    caller.batch_execute(APPENDS).await.unwrap();
    let trapped = caller.batch_execute("select 1::bigint + 1").await.unwrap_err();
    assert!(format!("{trapped:?}").contains("trapped"), "the traps are set: {trapped:?}");
    let count = "select count(*) from switchyard_journal.event";
    let events: i64 = backend.superuser().await.query_one(count, &[]).await.unwrap().get(0);
    assert_eq!(events, i64::try_from(head.get()).unwrap() + 3);
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
