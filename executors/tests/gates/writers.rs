//! Writers that were open when the gate closed: none commits after the barrier unseen.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use executors::{Probe, Receiver};
use futures::SinkExt;
use journal::{Effect, EffectSpec, GateMode};

use crate::fixture::{Fixture, refused, tables, wait};

const LONG: Duration = Duration::from_secs(30);

/// Waits until the receiver has captured the open writers, and shows that it waits for them.
async fn is_waiting(fixture: &Fixture, spec: &EffectSpec, under: executors::Authority) {
    for _ in 0..3 {
        let probe = fixture.receiver.probe(spec, under).await;
        assert_eq!(probe, Probe::Absent);
    }
}

#[tokio::test]
async fn a_late_writer_is_waited_out_and_a_writer_after_the_close_is_not() {
    let fixture = Fixture::alone().await;
    fixture.prepare(GateMode::Open).await;
    let late = fixture.app().await;
    late.batch_execute("begin; insert into t values (100, 'late')").await.unwrap();
    fixture.done(fixture.close()).await.unwrap();
    let (spec, under) = fixture.next(fixture.writers(LONG, false));
    is_waiting(&fixture, &spec, under).await;
    // Another executor after a crash captures anew, and waits for the same.
    assert_eq!(fixture.another().probe(&spec, under).await, Probe::Absent);
    // An application that goes on trying holds locks at every moment, and is not waited for.
    let (app, stop) = (fixture.app().await, Arc::new(AtomicBool::new(false)));
    let stopped = Arc::clone(&stop);
    let trying = tokio::spawn(async move {
        while !stopped.load(Ordering::SeqCst) {
            let sql = "begin; update t set v = 'z' where id = -1; select pg_sleep(0.05); insert into t values (500)";
            assert_eq!(refused(&app, sql).await.as_deref(), Some("55000"));
            app.batch_execute("rollback").await.unwrap();
        }
    });
    late.batch_execute("commit").await.unwrap();
    let evidence = fixture.finish(&spec, under).await.unwrap();
    assert!(evidence["writer_1"].contains("user app"), "{evidence:?}");
    stop.store(true, Ordering::SeqCst);
    trying.await.unwrap();
    assert_eq!(fixture.count().await, 11, "the late writer's row, and no other");
}

#[tokio::test]
async fn an_older_snapshot_and_an_open_transactions_next_write_are_refused() {
    let fixture = Fixture::alone().await;
    fixture.prepare(GateMode::Open).await;
    let (old, open) = (fixture.app().await, fixture.app().await);
    old.batch_execute("begin isolation level repeatable read; select count(*) from t").await.unwrap();
    // The session has run the open body before, so it has it cached.
    open.batch_execute("insert into t values (50); begin; insert into t values (100)").await.unwrap();
    fixture.done(fixture.close()).await.unwrap();
    assert_eq!(refused(&old, "insert into t values (101)").await.as_deref(), Some("55000"));
    assert_eq!(refused(&open, "insert into t values (102)").await.as_deref(), Some("55000"));
}

#[tokio::test]
async fn a_prepared_transaction_is_waited_out_and_named_even_if_it_was_prepared_meanwhile() {
    let fixture = Fixture::alone().await;
    fixture.prepare(GateMode::Open).await;
    let writer = fixture.app().await;
    writer.batch_execute("begin; insert into t values (100); prepare transaction 'early'").await.unwrap();
    writer.batch_execute("begin; insert into t values (101)").await.unwrap();
    fixture.done(fixture.close()).await.unwrap();
    let (spec, under) = fixture.next(fixture.writers(LONG, false));
    is_waiting(&fixture, &spec, under).await;
    // It changes its virtual id, and has no session any more.
    writer.batch_execute("prepare transaction 'later'").await.unwrap();
    is_waiting(&fixture, &spec, under).await;
    let (impatient, at) = fixture.next(fixture.writers(Duration::from_millis(100), true));
    let finding = fixture.finish(&impatient, at).await.unwrap_err();
    assert_eq!(finding.code, "SW-0503");
    assert!(finding.what.contains("early") && finding.what.contains("later"), "{finding}");
    writer.batch_execute("commit prepared 'early'").await.unwrap();
    is_waiting(&fixture, &spec, under).await;
    writer.batch_execute("commit prepared 'later'").await.unwrap();
    fixture.finish(&spec, under).await.unwrap();
    assert_eq!(fixture.count().await, 12);
}

#[tokio::test]
async fn when_the_patience_is_over_the_writer_is_named_or_ended_as_the_plan_says() {
    let fixture = Fixture::alone().await;
    fixture.prepare(GateMode::Open).await;
    let writer = fixture.app().await;
    writer
        .batch_execute("set application_name = 'nightly'; begin; insert into t values (100)")
        .await
        .unwrap();
    fixture.done(fixture.close()).await.unwrap();
    let patience = Duration::from_millis(200);
    let finding = fixture.done(fixture.writers(patience, false)).await.unwrap_err();
    assert_eq!(finding.code, "SW-0503");
    for word in ["nightly", "user app", "public.t", "pid "] {
        assert!(finding.what.contains(word), "{word}: {finding}");
    }
    let evidence = fixture.done(fixture.writers(patience, true)).await.unwrap();
    assert!(evidence["ended_1"].contains("nightly"), "{evidence:?}");
    assert!(refused(&writer, "commit").await.is_some());
    assert_eq!(fixture.count().await, 10);
}

#[tokio::test]
async fn a_copy_and_a_long_statement_across_the_flip_end_before_the_wait_does() {
    let fixture = Fixture::alone().await;
    fixture.prepare(GateMode::Open).await;
    let (copier, long) = (fixture.app().await, fixture.app().await);
    let sink = copier.copy_in("copy t from stdin").await.unwrap();
    let mut sink = Box::pin(sink);
    for n in 0..5000 {
        sink.send(bytes::Bytes::from(format!("{}\tcopied\n", 10_000 + n))).await.unwrap();
    }
    sink.flush().await.unwrap();
    let statement = tokio::spawn(async move {
        long.batch_execute(
            "insert into t select 100000 + n, pg_sleep(0.005)::text || 'long' from generate_series(1, 200) n",
        )
        .await
    });
    let mover = fixture.mover().await;
    wait("both hold their locks", || async {
        let sql = "select count(distinct pid) = 2 from pg_locks where relation = 't'::regclass and mode = 'RowExclusiveLock'";
        mover.query_one(sql, &[]).await.unwrap().get(0)
    })
    .await;
    fixture.done(fixture.close()).await.unwrap();
    let (spec, under) = fixture.next(fixture.writers(LONG, false));
    is_waiting(&fixture, &spec, under).await;
    sink.send(bytes::Bytes::from_static(b"99999\tlast\n")).await.unwrap();
    let copied = sink.as_mut().finish().await;
    let inserted = statement.await.unwrap();
    fixture.finish(&spec, under).await.unwrap();
    // Whether they were still let through or refused, it is decided before the barrier, and whole.
    let expected = 10 + if copied.is_ok() { 5001 } else { 0 } + if inserted.is_ok() { 200 } else { 0 };
    assert_eq!(fixture.count().await, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_write_of_many_sessions_commits_after_the_wait_in_any_of_many_flips() {
    let fixture = Fixture::alone().await;
    fixture.prepare(GateMode::Open).await;
    let stop = Arc::new(AtomicBool::new(false));
    let mut sessions = Vec::new();
    for n in 0..24_i64 {
        let (app, stop) = (fixture.app().await, Arc::clone(&stop));
        sessions.push(tokio::spawn(async move {
            let (mut acked, mut id) = (0_i64, (n + 1) * 1_000_000);
            let insert = app.prepare("insert into t values ($1)").await.unwrap();
            while !stop.load(Ordering::SeqCst) {
                id += 1;
                match app.execute(&insert, &[&id]).await {
                    Ok(_) => acked += 1,
                    Err(error) => {
                        assert_eq!(error.code().unwrap().code(), "55000");
                        tokio::time::sleep(Duration::from_millis(1)).await;
                    }
                }
            }
            acked
        }));
    }
    for _ in 0..15 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        fixture.done(fixture.close()).await.unwrap();
        fixture.done(fixture.writers(LONG, false)).await.unwrap();
        let at_barrier = fixture.count().await;
        tokio::time::sleep(Duration::from_millis(60)).await;
        assert_eq!(fixture.count().await, at_barrier, "a write came after the barrier");
        fixture.done(fixture.open()).await.unwrap();
    }
    stop.store(true, Ordering::SeqCst);
    let mut acked = 0;
    for session in sessions {
        acked += session.await.unwrap();
    }
    assert!(acked > 1000, "{acked}");
    assert_eq!(fixture.count().await, acked + 10, "no acknowledged write was lost");
}

#[tokio::test]
async fn quiet_is_when_no_old_transaction_holds_a_write_lock() {
    let fixture = Fixture::alone().await;
    fixture.prepare(GateMode::Open).await;
    let quiet = |older_than_ms| Effect::AwaitQuiet { side: fixture.side, tables: tables(), older_than_ms };
    fixture.done(quiet(100)).await.unwrap();
    let writer = fixture.app().await;
    writer.batch_execute("begin; insert into t values (100)").await.unwrap();
    // A vacuum writes no row.
    fixture.done(quiet(60_000)).await.unwrap();
    let (spec, under) = fixture.next(quiet(100));
    wait("the writer is old enough to be in the way", || async {
        fixture.receiver.probe(&spec, under).await == Probe::Absent
    })
    .await;
    writer.batch_execute("commit").await.unwrap();
    fixture.finish(&spec, under).await.unwrap();
}

#[tokio::test]
async fn nobody_is_waited_out_while_the_gate_is_open() {
    let fixture = Fixture::alone().await;
    fixture.prepare(GateMode::Open).await;
    let finding = fixture.done(fixture.writers(LONG, false)).await.unwrap_err();
    assert_eq!(finding.code, "SW-0502");
}
