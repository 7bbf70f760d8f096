//! A connection that says nothing: the server tells one that is dead from one that is busy.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::{Duration, Instant};

use bytes::Bytes;
use executors::postgres::database::{Database, Session};
use futures::SinkExt as _;
use journal::{MigrationName, Side};
use product::cluster::{Cluster, Role};
use product::link::Link;
use runtime::{Clock as _, Scrubber, Secret, SystemClock};

fn database(url: &str) -> Database {
    let migration = MigrationName::new("move").unwrap();
    Database::new(Side::Source, migration, &Secret::new(url), &Scrubber::default()).unwrap()
}

/// Asks for something that takes three seconds; the link is dead as soon as the server has it.
async fn strand(asks: &Session, link: &Link, session: &Session) -> Result<(), tokio_postgres::Error> {
    let cut = async {
        loop {
            let sql = "select count(*) from pg_stat_activity where query = 'select pg_sleep(3)' and state = 'active'";
            if asks.query_one(sql, &[]).await.unwrap().get::<_, i64>(0) == 1 {
                return link.die();
            }
            SystemClock.sleep(Duration::from_millis(20)).await;
        }
    };
    let (answer, ()) = tokio::join!(session.batch_execute("select pg_sleep(3)"), async {
        cut.await;
        link.revive();
    });
    answer
}

/// What a connection over a link meets whose answers do not arrive, while new ones do.
async fn is_noticed(cluster: &Cluster, link: &Link, wanted: &str) {
    let direct = database(&format!("{}{wanted}", cluster.url(Role::Mover)));
    let database = database(&format!("{}{wanted}", cluster.url_at(Role::Mover, link.port())));
    let asks = direct.session().await.unwrap();
    let (session, rested) = (database.session().await.unwrap(), database.session().await.unwrap());
    // A statement's end and the beginning of the next cross on the way.
    drop(session.prepare("select 1").await.unwrap());
    rested.done();
    let began = Instant::now();
    let named = async {
        loop {
            if let Some(said) = database.waits() {
                return said;
            }
            SystemClock.sleep(Duration::from_millis(100)).await;
        }
    };
    let (stranded, said) = tokio::join!(strand(&asks, link, &session), named);
    stranded.unwrap_err();
    let place = format!("the source (127.0.0.1:{}, database ", link.port());
    assert!(said.contains(&place) && !said.contains(Role::Mover.password()), "{said}");
    assert!(database.waits().is_none(), "nothing is waited for any more");
    assert!(began.elapsed() > Duration::from_secs(10), "it was given up in haste");
    // What rested is dead too, and is not used.
    let next = database.session().await.unwrap();
    assert_eq!(next.query_one("select 1", &[]).await.unwrap().get::<_, i32>(0), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_does_not_arrive_is_not_waited_for_for_ever() {
    let cluster = Cluster::start("plain").await.unwrap();
    let link = Link::to(cluster.port()).await.unwrap();
    is_noticed(&cluster, &link, "?sslmode=disable").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nor_inside_tls() {
    let cluster = Cluster::start("secret").await.unwrap();
    let authority = cluster.speak_tls("127.0.0.1").await.unwrap();
    let link = Link::to(cluster.port()).await.unwrap();
    let wanted = format!("?sslmode=verify-full&sslrootcert={}", authority.display());
    is_noticed(&cluster, &link, &wanted).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_answers_nobody_is_named_and_given_up() {
    let cluster = Cluster::start("dead").await.unwrap();
    let link = Link::to(cluster.port()).await.unwrap();
    let database = database(&cluster.url_at(Role::Mover, link.port()));
    let session = database.session().await.unwrap();
    link.die();
    let began = Instant::now();
    session.batch_execute("select 1").await.unwrap_err();
    assert!(began.elapsed() > Duration::from_secs(30), "a server may be busy");
    let refused = database.session().await.unwrap_err().to_string();
    let place = format!("the source (127.0.0.1:{}, database ", link.port());
    assert!(refused.contains(&place) && !refused.contains(Role::Mover.password()), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_busy_is_not_dead() {
    let cluster = Cluster::start("busy").await.unwrap();
    let database = database(&cluster.url(Role::Mover));
    let session = database.session().await.unwrap();
    session
        .batch_execute(
            "create table public.slow (n int, filler text);
             create function public.slow() returns trigger language plpgsql as
               'begin perform pg_sleep(14); return new; end';
             create trigger slow before insert on public.slow for each row when (new.n = 0)
               execute function public.slow()",
        )
        .await
        .unwrap();
    // One that works without a word; one that does not read what it is sent; one that waits for us.
    let works = async {
        let session = database.session().await.unwrap();
        session.batch_execute("select pg_sleep(14)").await.unwrap();
    };
    let full = async {
        let session = database.session().await.unwrap();
        let mut rows = Box::pin(session.copy_in::<_, Bytes>("copy public.slow from stdin").await.unwrap());
        let filler = "x".repeat(10_000);
        for n in 0..4_000 {
            rows.send(format!("{n}\t{filler}\n").into()).await.unwrap();
        }
        assert_eq!(rows.as_mut().finish().await.unwrap(), 4_000);
    };
    let hungry = async {
        let session = database.session().await.unwrap();
        let mut rows = Box::pin(session.copy_in::<_, Bytes>("copy public.slow from stdin").await.unwrap());
        rows.send("1\tx\n".into()).await.unwrap();
        SystemClock.sleep(Duration::from_secs(70)).await;
        rows.send("2\ty\n".into()).await.unwrap();
        assert_eq!(rows.as_mut().finish().await.unwrap(), 2);
    };
    tokio::join!(works, full, hungry);
}
