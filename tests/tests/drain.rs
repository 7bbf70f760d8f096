//! "Quiet" is never "drained": with the applier unable to commit, the drain never succeeds and the deadline undoes.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use product::cluster::let_go;
use product::scene::{Scene, Setting, Side};
use product::workload::Pace;

const LONG: Duration = Duration::from_secs(120);

#[tokio::test]
async fn a_drain_that_cannot_apply_is_undone_at_the_deadline() -> Result<()> {
    let setting = Setting { max_downtime: "8s", undo_reserve: Some("3s"), lease: "5s", ..Setting::default() };
    let scene = Scene::set(setting).await?;
    let workload = scene.workload(Pace::GENTLE);
    let serve = scene.product.serve("a", None)?;
    scene.complete("start", LONG).await?;
    serve.end().await?;

    let mut serve = scene.product.serve("a", Some("stop:cutover/stop_traffic/hold_traffic/before_intent"))?;
    serve.ready().await?;
    let request = scene.order("cutover").await?;
    serve.stopped_itself(Duration::from_secs(60)).await?;
    // From here on nothing is applied: every insert into this table waits.
    let holder = scene.on_target().await?;
    let_go(&holder, "shop.events").await?;
    holder.batch_execute("begin; lock table shop.events in share row exclusive mode").await?;
    workload.acknowledged(20, LONG).await?;
    let stopped = Instant::now();
    serve.thaw()?;
    scene.reached(request, "drain", "await_marker", Duration::from_secs(20)).await?;
    // The application is back although the target is still locked.
    scene.reached(request, "undo", "resume_traffic", Duration::from_secs(20)).await?;
    workload.acknowledged(40, LONG).await?;
    let pause = workload.records().longest_pause(stopped, Instant::now());
    ensure!(pause < Duration::from_millis(9_500), "the application waited {pause:?} under max_downtime = 8s");
    let journal = scene.product.journal().await?;
    let drained = journal.of("step_finished").any(|event| event.text("step") == "drain");
    ensure!(!drained, "the drain was called finished: {}", journal.tail(20));

    holder.batch_execute("rollback").await?;
    let outcome = scene.over(request, LONG).await?;
    ensure!(outcome == "undone", "the cutover ended as {outcome}");
    let journal = scene.product.journal().await?;
    let cause = journal.of("undo_started").next_back().map(|event| event.field("cause").to_string());
    ensure!(cause.as_deref().is_some_and(|cause| cause.contains("deadline")), "undone because of {cause:?}");
    scene.sound(&workload, Side::Source).await?;

    scene.complete("cutover", LONG).await?;
    workload.acknowledged(40, LONG).await?;
    scene.sound(&workload, Side::Target).await?;
    scene.product.journal().await?.check()?;
    workload.stop().await;
    serve.end().await
}
