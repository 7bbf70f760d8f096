//! What an application meets at the fence, and what passes.

use std::time::{Duration, Instant};

use executors::{Acted, Probe, Receiver};
use futures::SinkExt;
use journal::{Effect, Expectation, GateMode};

use crate::fixture::{Fixture, refused, tables};

/// Every way of writing, as the application's role.
const WRITES: [&str; 6] = [
    "insert into t values (100, 'new')",
    "update t set v = 'changed' where id = 1",
    "delete from t where id = 2",
    "insert into t values (3, 'conflict') on conflict (id) do update set v = excluded.v",
    "with gone as (delete from t where id = 4 returning *) select * from gone",
    "truncate t",
];

#[tokio::test]
async fn every_kind_of_write_of_a_plain_role_is_refused_with_55000_when_closed_and_passes_when_open() {
    let fixture = Fixture::alone().await;
    fixture.prepare(GateMode::Open).await;
    let app = fixture.app().await;
    for write in WRITES {
        app.batch_execute("begin").await.unwrap();
        assert_eq!(refused(&app, write).await, None, "{write}");
        app.batch_execute("rollback").await.unwrap();
    }
    fixture.done(fixture.close()).await.unwrap();
    for write in WRITES {
        assert_eq!(refused(&app, write).await.as_deref(), Some("55000"), "{write}");
    }
    let sink = app.copy_in("copy t from stdin").await.unwrap();
    futures::pin_mut!(sink);
    sink.send(&b"200\tcopied\n"[..]).await.unwrap();
    let error = sink.finish().await.unwrap_err();
    let said = error.as_db_error().unwrap();
    assert_eq!(
        (said.code().code(), said.message()),
        ("55000", "phase region-a does not accept writes on the source")
    );
    assert!(said.detail().unwrap().contains("move") && said.hint().unwrap().contains("target"));
    // Reading, and a write that touches no row, are nobody's business.
    assert_eq!(refused(&app, "select * from t; update t set v = 'y' where id = -1").await, None);
    // The application cannot take replication's way; replication can.
    assert_eq!(refused(&app, "set session_replication_role = replica").await.as_deref(), Some("42501"));
    let replica = fixture.mover().await;
    replica
        .batch_execute("set session_replication_role = replica; insert into t values (300, 'replicated')")
        .await
        .unwrap();
    assert_eq!(fixture.count().await, 11);
    fixture.done(fixture.open()).await.unwrap();
    assert_eq!(refused(&app, WRITES[0]).await, None);
}

#[tokio::test]
async fn a_trial_write_tells_an_open_fence_from_a_closed_one_and_leaves_nothing() {
    let fixture = Fixture::alone().await;
    fixture.prepare(GateMode::Open).await;
    fixture.done(fixture.trial(Expectation::Passes)).await.unwrap();
    let finding = fixture.done(fixture.trial(Expectation::Refused)).await.unwrap_err();
    assert_eq!(finding.code, "SW-0504");
    fixture.done(fixture.close()).await.unwrap();
    let met = fixture.done(fixture.trial(Expectation::Refused)).await.unwrap();
    assert_eq!(met["public.t"], "refused");
    let finding = fixture.done(fixture.trial(Expectation::Passes)).await.unwrap_err();
    assert_eq!(finding.code, "SW-0505");
    // Every row held by somebody, then no row at all: the catalog has to do, and a hole in it is found.
    let mover = fixture.mover().await;
    let holder = fixture.mover().await;
    holder.batch_execute("begin; select * from t for update").await.unwrap();
    let met = fixture.done(fixture.trial(Expectation::Refused)).await.unwrap();
    assert!(met["public.t"].contains("catalog"), "{met:?}");
    holder.batch_execute("rollback").await.unwrap();
    mover.batch_execute("alter table t disable trigger all").await.unwrap();
    let finding = fixture.done(fixture.trial(Expectation::Refused)).await.unwrap_err();
    assert!(finding.what.contains("disabled"), "{finding}");
    // The fence made again is whole again.
    fixture.done(Effect::InstallFence { side: fixture.side, tables: tables() }).await.unwrap();
    fixture.done(fixture.trial(Expectation::Refused)).await.unwrap();
    let rows = mover.query("select v from t order by id", &[]).await.unwrap();
    assert_eq!((rows.len(), rows[0].get::<_, &str>(0)), (10, "row 1"));
}

#[tokio::test]
async fn the_leaves_of_a_partitioned_table_are_fenced_too() {
    let fixture = Fixture::alone().await;
    let mover = fixture.mover().await;
    mover
        .batch_execute(
            "drop table t; create table t (id bigint, v text default 'x') partition by range (id);
             create table t_low partition of t for values from (0) to (100);
             create table t_high partition of t for values from (100) to (200);
             grant all on t, t_low, t_high to app; insert into t values (1), (150)",
        )
        .await
        .unwrap();
    fixture.prepare(GateMode::Open).await;
    fixture.done(fixture.close()).await.unwrap();
    fixture.done(fixture.trial(Expectation::Refused)).await.unwrap();
    let app = fixture.app().await;
    for write in
        ["insert into t_low values (2)", "truncate t_high", "truncate t", "delete from t where id = 150"]
    {
        assert_eq!(refused(&app, write).await.as_deref(), Some("55000"), "{write}");
    }
}

#[tokio::test]
async fn installing_waits_for_a_writer_without_stalling_the_others_and_names_him_at_last() {
    let fixture = Fixture::alone().await;
    fixture.done(Effect::InstallHome { side: fixture.side, mode: GateMode::Open }).await.unwrap();
    let writer = fixture.app().await;
    writer.batch_execute("begin; update t set v = 'open' where id = 1").await.unwrap();
    let (spec, under) = fixture.next(Effect::InstallFence { side: fixture.side, tables: tables() });
    let other = fixture.app().await;
    let writing = tokio::spawn(async move {
        let mut longest = Duration::ZERO;
        for n in 1000..1200 {
            let began = Instant::now();
            other.batch_execute(&format!("insert into t values ({n})")).await.unwrap();
            longest = longest.max(began.elapsed());
            tokio::time::sleep(Duration::from_millis(40)).await;
        }
        longest
    });
    let Acted::Unknown(error) = fixture.receiver.act(&spec, under).await else {
        panic!("it should not be done")
    };
    let pid: i32 = {
        let row = fixture.mover().await;
        let sql = "select pid from pg_stat_activity where usename = 'app' and state = 'idle in transaction'";
        row.query_one(sql, &[]).await.unwrap().get(0)
    };
    assert!(error.to_string().contains(&format!("pid {pid}")), "{error}");
    writer.batch_execute("commit").await.unwrap();
    fixture.finish(&spec, under).await.unwrap();
    assert!(matches!(fixture.receiver.probe(&spec, under).await, Probe::Ours(_)));
    let longest = writing.await.unwrap();
    assert!(longest < Duration::from_secs(2), "a writer was stalled for {longest:?}");
}

#[tokio::test]
async fn removing_a_fence_leaves_the_gate_row_and_no_trigger() {
    let fixture = Fixture::alone().await;
    fixture.prepare(GateMode::Open).await;
    let (spec, under) = fixture.next(Effect::RemoveFence { side: fixture.side, tables: tables() });
    fixture.finish(&spec, under).await.unwrap();
    let mover = fixture.mover().await;
    let left: i64 = mover
        .query_one("select count(*) from pg_trigger where tgname like 'switchyard%'", &[])
        .await
        .unwrap()
        .get(0);
    assert_eq!((left, fixture.gate().await.as_str()), (0, "open"));
    assert_eq!(refused(&fixture.app().await, "insert into t values (100)").await, None);
}

#[tokio::test]
async fn executors_that_make_our_schema_at_once_do_not_hurt_each_other() {
    let fixture = Fixture::alone().await;
    let home = |mode| Effect::InstallHome { side: fixture.side, mode };
    let all = (0..6).map(|_| {
        let (spec, under) = fixture.next(home(GateMode::Closed));
        let receiver = fixture.another();
        async move {
            // Done, or definitely not: then a later position was faster, which is the gate's own order.
            while matches!(receiver.act(&spec, under).await, Acted::Unknown(_)) {}
        }
    });
    futures::future::join_all(all).await;
    assert_eq!(fixture.gate().await, "closed");
    fixture.done(home(GateMode::Open)).await.unwrap();
    assert_eq!(fixture.gate().await, "closed", "a row that is there keeps its mode");
}
