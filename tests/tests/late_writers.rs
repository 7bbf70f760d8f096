//! Writers that were open before the fence: none commits after it unseen.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use futures::SinkExt as _;
use product::cluster::Role;
use product::scene::{Scene, Setting, Side};
use product::wait::{Seen, wait_until};
use product::workload::Pace;
use tokio_postgres::Client;

const LONG: Duration = Duration::from_secs(120);

fn insert(worker: i32, seq: i64) -> String {
    format!("insert into shop.events (worker, seq, kind) values ({worker}, {seq}, 'late')")
}

async fn refused(client: &Client, what: &str, sql: &str) -> Result<()> {
    let answer = client.batch_execute(sql).await;
    let code = answer.as_ref().err().and_then(|error| error.code()).map(|code| code.code().to_owned());
    ensure!(code.as_deref() == Some("55000"), "{what}: expected 55000, got {answer:?}");
    Ok(())
}

async fn has(scene: &Scene, worker: i32) -> Result<(i64, i64)> {
    let query = format!("select count(*) from shop.events where worker = {worker}");
    let source = scene.on_source().await?.query_one(query.as_str(), &[]).await?.get(0);
    let target = scene.on_target().await?.query_one(query.as_str(), &[]).await?.get(0);
    Ok((source, target))
}

#[tokio::test]
async fn writers_open_before_the_fence_are_waited_out_or_refused_and_never_lost() -> Result<()> {
    let setting = Setting { fence_patience: "20s", lease: "5s", ..Setting::default() };
    let scene = Scene::set(setting).await?;
    let workload = scene.workload(Pace::GENTLE);
    let serve = scene.product.serve("a", None)?;
    scene.complete("start", LONG).await?;
    serve.end().await?;

    let mut serve =
        scene.product.serve("a", Some("stop:cutover/fence_source/close_gate:source/before_intent"))?;
    serve.ready().await?;
    let request = scene.order("cutover").await?;
    serve.stopped_itself(Duration::from_secs(60)).await?;

    // Stragglers that no lever reaches.
    let open = scene.source.connect(Role::App).await?;
    open.batch_execute(&format!("begin; {}", insert(-11, 1))).await?;
    let second = scene.source.connect(Role::App).await?;
    second.batch_execute(&format!("begin; {}", insert(-12, 1))).await?;
    let repeatable = scene.source.connect(Role::App).await?;
    repeatable
        .batch_execute("begin isolation level repeatable read; select count(*) from shop.events")
        .await?;
    let prepared = scene.source.connect(Role::App).await?;
    prepared.batch_execute(&format!("begin; {}; prepare transaction 'late'", insert(-14, 1))).await?;
    let copying = scene.source.connect(Role::App).await?;
    let sink = copying.copy_in("copy shop.events (worker, seq, kind) from stdin").await?;
    let mut sink = std::pin::pin!(sink);
    sink.send(Bytes::from_static(b"-15\t1\tlate\n")).await?;
    sink.flush().await?;

    serve.thaw()?;
    scene.reached(request, "fence_source", "await_writers", Duration::from_secs(30)).await?;
    // The closing has returned; what was open is waited for.
    let waiting = async || -> Result<bool> {
        let journal = scene.product.journal().await?;
        Ok(!journal.of("step_finished").any(|event| {
            event.text("step") == "fence_source"
                && Some(event.number("operation")) == journal.operation_of(request)
        }))
    };
    refused(&repeatable, "a REPEATABLE READ writer from before the fence", &insert(-13, 1)).await?;
    repeatable.batch_execute("rollback").await?;
    refused(&second, "an open writer's next write", &insert(-12, 2)).await?;
    second.batch_execute("rollback").await?;
    refused(&scene.source.connect(Role::App).await?, "a new writer", &insert(-16, 1)).await?;
    refused(&scene.source.connect(Role::App).await?, "TRUNCATE", "truncate shop.notes").await?;
    sink.send(Bytes::from_static(b"-15\t2\tlate\n")).await.ok();
    let copied = sink.finish().await;
    let code = copied.as_ref().err().and_then(|error| error.code()).map(|code| code.code().to_owned());
    ensure!(code.as_deref() == Some("55000"), "a COPY across the fence: {copied:?}");
    ensure!(waiting().await?, "the fence was called closed with an open writer and a prepared one");
    open.batch_execute("commit").await.context("the writer that was open before the fence")?;
    tokio::time::sleep(Duration::from_millis(500)).await;
    ensure!(waiting().await?, "the fence was called closed with a prepared transaction");
    prepared.batch_execute("commit prepared 'late'").await.context("the prepared one")?;

    ensure!(scene.over(request, LONG).await? == "completed", "{}", scene.product.journal().await?.tail(20));
    for (worker, count) in [(-11, 1), (-12, 0), (-13, 0), (-14, 1), (-15, 0), (-16, 0)] {
        let (source, target) = has(&scene, worker).await?;
        ensure!(source == count && target == count, "writer {worker}: source {source}, target {target}");
    }
    workload.acknowledged(40, LONG).await?;
    workload.rest(LONG).await?;
    scene.equal(Side::Target).await?;
    scene.product.journal().await?.check()?;
    workload.stop().await;
    serve.end().await
}

#[tokio::test]
async fn status_says_whose_transaction_a_comparison_waits_for() -> Result<()> {
    let scene = Scene::set(Setting::default()).await?;
    let mut serve = scene.product.serve("a", None)?;
    serve.ready().await?;
    scene.complete("start", LONG).await?;
    // It holds no lock of the phase's tables, so nothing but a new snapshot waits for it.
    let writer = scene.on_source().await?;
    writer.batch_execute("begin; select pg_current_xact_id()").await?;
    let pid: i32 = writer.query_one("select pg_backend_pid()", &[]).await?.get(0);
    let request = scene.order("cutover").await?;
    wait_until(LONG, "status to name the transaction", async || {
        let (_, table) = scene.product.verb(&["status"], &[]).await?;
        let is_said = table.contains(&format!("waits on the source for the transaction of pid {pid} (user "))
            && table.contains("open since 20");
        Ok(if is_said { Seen::Done(()) } else { Seen::NotYet(table) })
    })
    .await?;
    writer.batch_execute("commit").await?;
    let outcome = scene.over(request, LONG).await?;
    ensure!(outcome == "completed", "the cutover ended as {outcome}");
    serve.end().await
}
