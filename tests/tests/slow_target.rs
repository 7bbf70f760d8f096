//! A side that takes each row slowly, and somebody who ends whoever holds the gate row for two seconds: every batch must be
//! through before that, or none ever is.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use product::cluster::Role;
use product::scene::{Scene, Setting, Side};
use product::switchyard::Serve;
use product::wait::{Seen, wait_until};
use tokio::task::JoinHandle;
use tokio_postgres::Client;

const LONG: Duration = Duration::from_secs(120);

/// How long the gate row is waited for.
const PATIENCE: Duration = Duration::from_secs(2);

/// One row of this takes the target 2 ms, so a batch of the largest size takes four seconds.
const SLOW: &str = "create function public.slow() returns trigger language plpgsql as
                      'begin perform pg_sleep(0.002); return null; end';
                    create trigger slow after insert on shop.events for each row when (new.kind = 'slow')
                      execute function public.slow();
                    alter table shop.events enable always trigger slow";

/// Transactions of one row each.
const ROWS: i64 = 6_000;

async fn write_slow_rows(source: &Client) -> Result<()> {
    let rows = format!(
        "do $$ begin for n in 1..{ROWS} loop
           insert into shop.events (worker, seq, kind) values (-77, n, 'slow'); commit; end loop; end $$"
    );
    Ok(source.batch_execute(&rows).await?)
}

/// Ends, for ever, whoever keeps it from the gate row for longer than its patience. Its task has to be aborted.
async fn prober(scene: &Scene) -> Result<JoinHandle<Result<()>>> {
    let (asks, ends) = (scene.target.connect(Role::Mover).await?, scene.target.connect(Role::Mover).await?);
    let pid: i32 = asks.query_one("select pg_backend_pid()", &[]).await?.get(0);
    Ok(tokio::spawn(async move {
        loop {
            let began = Instant::now();
            let mut asking =
                Box::pin(asks.batch_execute("begin; select 1 from _switchyard.gate for update; rollback"));
            loop {
                tokio::select! {
                    answer = &mut asking => { answer?; break; }
                    () = tokio::time::sleep(Duration::from_millis(20)) => {}
                }
                if began.elapsed() >= PATIENCE {
                    ends.query("select pg_terminate_backend(unnest(pg_blocking_pids($1)))", &[&pid]).await?;
                }
            }
            drop(asking);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }))
}

async fn arrived(scene: &Scene, within: Duration) -> Result<()> {
    let target = scene.on_target().await?;
    wait_until(within, "the slow rows to arrive", async || {
        let there: i64 =
            target.query_one("select count(*) from shop.events where worker = -77", &[]).await?.get(0);
        Ok(if there == ROWS { Seen::Done(()) } else { Seen::NotYet(format!("{there} of {ROWS}")) })
    })
    .await
}

/// Rows wait for a target that has become slow, and a server that begins then brings them all there beside the prober.
async fn comes_through(scene: &Scene) -> Result<Serve> {
    write_slow_rows(&scene.on_source().await?).await?;
    scene.on_target().await?.batch_execute(SLOW).await?;
    let prober = prober(scene).await?;
    let mut serve = scene.product.serve("a", None)?;
    serve.ready().await?;
    arrived(scene, LONG).await?;
    ensure!(!prober.is_finished(), "the prober ended: {:?}", prober.await);
    prober.abort();
    Ok(serve)
}

#[tokio::test]
async fn the_stream_comes_through_to_a_slow_side_beside_one_who_ends_what_holds_the_gate() -> Result<()> {
    let scene = Scene::set(Setting::default()).await?;
    let mut serve = scene.product.serve("a", None)?;
    serve.ready().await?;
    scene.complete("start", LONG).await?;
    // All of it waits when the stream begins.
    serve.end().await?;
    let serve = comes_through(&scene).await?;
    scene.equal(Side::Source).await?;
    serve.end().await
}

#[tokio::test]
async fn the_lag_grows_as_long_as_one_long_transaction_is_not_through_and_keeps_a_switch_waiting()
-> Result<()> {
    let scene = Scene::set(Setting::default()).await?;
    let mut serve = scene.product.serve("a", None)?;
    serve.ready().await?;
    scene.complete("start", LONG).await?;
    scene.on_target().await?.batch_execute(&SLOW.replace("0.002", "0.005")).await?;
    let rows = format!(
        "insert into shop.events (worker, seq, kind) select -77, n, 'slow' from generate_series(1, {ROWS}) n"
    );
    scene.on_source().await?.batch_execute(&rows).await?;
    let target = scene.on_target().await?;
    wait_until(LONG, "status to tell the transaction's age", async || {
        let status = scene.product.status().await?;
        let there = target.query_one("select count(*) from shop.events where worker = -77", &[]).await?;
        ensure!(there.get::<_, i64>(0) == 0, "it is through, and its age was never told: {status}");
        let lag = status.pointer("/phases/0/lag_ms").and_then(serde_json::Value::as_u64);
        Ok(if lag.is_some_and(|lag| lag >= 6_000) {
            Seen::Done(())
        } else {
            Seen::NotYet(status.to_string())
        })
    })
    .await?;
    // The limit is 5 s: a lag that stood as it was before the transaction would let it pass.
    let request = scene.order("cutover").await?;
    scene.reached(request, "prepare_switch", "install_fence", LONG).await?;
    let there: i64 =
        target.query_one("select count(*) from shop.events where worker = -77", &[]).await?.get(0);
    ensure!(there == ROWS, "a cutover went on within the transaction, with {there} rows there");
    scene.equal(Side::Source).await?;
    serve.end().await
}

#[tokio::test]
async fn the_fill_after_a_crash_comes_through_to_a_slow_side_beside_one_who_ends_what_holds_the_gate()
-> Result<()> {
    let scene = Scene::set(Setting::default()).await?;
    let mut serve = scene.product.serve("a", None)?;
    serve.ready().await?;
    let request = scene.order("start").await?;
    scene.reached(request, "load", "copy_table", LONG).await?;
    serve.kill9().await?;
    let serve = comes_through(&scene).await?;
    // Its own objects are all that the target is to have.
    scene
        .on_target()
        .await?
        .batch_execute("drop trigger slow on shop.events; drop function public.slow()")
        .await?;
    ensure!(scene.over(request, LONG).await? == "completed", "the start did not go on");
    scene.equal(Side::Source).await?;
    serve.end().await
}
