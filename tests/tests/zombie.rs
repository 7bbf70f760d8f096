//! An executor that was thought dead comes back.

use std::time::Duration;

use anyhow::{Result, ensure};
use product::scene::{Scene, Setting, Side};
use product::watch::Watcher;
use product::workload::Pace;

const LONG: Duration = Duration::from_secs(120);

/// Stops the first executor at a place, lets another finish the operation and, if it is said, order one more; then
/// lets the first go on and demands that nothing comes of it.
async fn comes_back(operation: &str, place: &str, one_more: Option<&str>) -> Result<()> {
    let scene = Scene::set(Setting { lease: "1s", max_downtime: "60s", ..Setting::default() }).await?;
    let workload = scene.workload(Pace::GENTLE);
    let watcher = Watcher::start(&scene);
    let serve = scene.product.serve("a", None)?;
    scene.complete("start", LONG).await?;
    serve.end().await?;

    let mut first = scene.product.serve("a", Some(&format!("stop:{place}")))?;
    first.ready().await?;
    let request = scene.order(operation).await?;
    first.stopped_itself(Duration::from_secs(60)).await?;
    // The first one's socket is the plan's: the other listens elsewhere, and people are told to speak to it.
    let mut other = scene.product.serve("b", None)?;
    other.ready().await?;
    scene.product.speak_to("b");
    let outcome = scene.over(request, LONG).await?;
    ensure!(
        outcome == "completed",
        "{operation} ended as {outcome}: {}",
        scene.product.journal().await?.tail(20)
    );
    let mut writer = Side::Target;
    if let Some(operation) = one_more {
        scene.complete(operation, LONG).await?;
        writer = Side::Source;
    }
    workload.acknowledged(40, LONG).await?;
    let before = scene.product.journal().await?.head();
    let epoch = scene.product.journal().await?.of("lease_taken").map(|event| event.number("epoch")).max();

    first.thaw()?;
    workload.acknowledged(100, LONG).await?;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let journal = scene.product.journal().await?;
    for event in journal.events().iter().filter(|event| event.position() > before) {
        ensure!(
            event.epoch().is_none_or(|now| Some(now) >= epoch),
            "under an old epoch: {:?}",
            event.value()
        );
        ensure!(event.kind() != "effect_succeeded", "an effect after the end: {:?}", event.value());
    }
    journal.check()?;
    scene.sound(&workload, writer).await?;
    watcher.finish().await?;
    ensure!(scene.pgbouncer.entry().await?.1.eq(&false), "the traffic is held");
    workload.stop().await;
    other.end().await?;
    drop(first);
    Ok(())
}

#[tokio::test]
async fn an_opening_of_an_old_executor_opens_nothing_after_a_failback() -> Result<()> {
    comes_back("cutover", "cutover/switch_traffic/open_gate:target/after_intent", Some("failback")).await
}

#[tokio::test]
async fn a_lever_stop_of_an_old_executor_holds_nothing() -> Result<()> {
    comes_back("cutover", "cutover/stop_traffic/hold_traffic/after_intent", None).await
}
