//! The opening's COMMIT held back past the deadline: one side opens, not two.

use std::time::Duration;

use anyhow::{Result, ensure};
use product::scene::{Scene, Setting, Side};
use product::wait::{Seen, wait_until};
use product::watch::Watcher;
use product::workload::Pace;

const LONG: Duration = Duration::from_secs(120);

#[tokio::test]
async fn an_opening_that_commits_after_the_deadline_opens_one_side() -> Result<()> {
    let setting = Setting { max_downtime: "6s", undo_reserve: Some("2s"), lease: "3s", ..Setting::default() };
    let scene = Scene::set(setting).await?;
    let workload = scene.workload(Pace::GENTLE);
    let watcher = Watcher::start(&scene);
    let serve = scene.product.serve("a", None)?;
    scene.complete("start", LONG).await?;
    serve.end().await?;

    let place = "stop:cutover/switch_traffic/open_gate:target/after_intent";
    let mut serve = scene.product.serve("a", Some(place))?;
    serve.ready().await?;
    let request = scene.order("cutover").await?;
    serve.stopped_itself(Duration::from_secs(60)).await?;
    // Another session holds the target's gate row: the opening's statement waits, and cannot be probed.
    let holder = scene.on_target().await?;
    holder.batch_execute("begin; select 1 from _switchyard.gate for update").await?;
    serve.thaw()?;
    let gates = async || -> Result<(bool, bool)> {
        let query = "select mode = 'open' from _switchyard.gate";
        let source = scene.on_source().await?.query_one(query, &[]).await?.get(0);
        let target = scene.on_target().await?.query_one(query, &[]).await?.get(0);
        Ok((source, target))
    };
    // Past the deadline and then some: while nobody can tell whether the target opens, nobody opens the source.
    let until = std::time::Instant::now() + Duration::from_secs(9);
    while std::time::Instant::now() < until {
        let (source, _) = gates().await?;
        ensure!(!source, "the source opened while the target's opening was unknown");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    holder.batch_execute("rollback").await?;
    let outcome = scene.over(request, LONG).await?;
    let (source, target) = gates().await?;
    ensure!(
        source != target,
        "after the cutover ended as {outcome}: source open {source}, target open {target}"
    );
    ensure!(target == (outcome == "completed"), "the cutover ended as {outcome}, target open {target}");
    let writer = if target { Side::Target } else { Side::Source };
    workload.acknowledged(40, LONG).await?;
    scene.sound(&workload, writer).await?;
    watcher.finish().await?;
    scene.product.journal().await?.check()?;
    workload.stop().await;
    serve.end().await
}

#[tokio::test]
async fn a_stopped_executors_opening_in_flight_and_anothers_undo_open_one_side() -> Result<()> {
    let setting = Setting { max_downtime: "8s", undo_reserve: Some("3s"), lease: "1s", ..Setting::default() };
    let scene = Scene::set(setting).await?;
    let workload = scene.workload(Pace::GENTLE);
    let watcher = Watcher::start(&scene);
    let serve = scene.product.serve("a", None)?;
    scene.complete("start", LONG).await?;
    serve.end().await?;

    let place = "stop:cutover/switch_traffic/open_gate:target/after_intent";
    let mut first = scene.product.serve("a", Some(place))?;
    first.ready().await?;
    let request = scene.order("cutover").await?;
    first.stopped_itself(Duration::from_secs(60)).await?;
    let holder = scene.on_target().await?;
    holder.batch_execute("begin; select 1 from _switchyard.gate for update").await?;
    first.thaw()?;
    // Its statement is in flight once somebody waits for the row; or its lease is over already, and it sends none.
    let waits =
        "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and query ilike '%gate%'";
    let sent = wait_until(Duration::from_secs(2), "the opening to be in flight", async || {
        let count: i64 = holder.query_one(waits, &[]).await?.get(0);
        Ok(if count > 0 { Seen::Done(()) } else { Seen::NotYet("nobody waits for the gate row".to_owned()) })
    })
    .await;
    first.freeze().await?;
    let mut other = scene.product.serve("b", None)?;
    other.ready().await?;
    scene.product.speak_to("b");
    // Time for the other to take over and to meet the locked row.
    tokio::time::sleep(Duration::from_secs(3)).await;
    holder.batch_execute("rollback").await?;
    let outcome = scene.over(request, LONG).await?;
    first.thaw()?;
    workload.acknowledged(40, LONG).await?;
    let writer = if outcome == "completed" { Side::Target } else { Side::Source };
    scene.sound(&workload, writer).await?;
    watcher.finish().await?;
    scene.product.journal().await?.check()?;
    ensure!(sent.is_ok() || outcome == "undone" || outcome == "completed", "{outcome}");
    workload.stop().await;
    other.end().await
}
