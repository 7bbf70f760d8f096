//! `complete --source-lost` against real servers: the source dies for good while the target is the writer.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use product::cluster::{Role, open};
use product::scene::{PHASE, Scene, Setting};
use product::wait::{Seen, wait_until};
use product::workload::Workload;

const LONG: Duration = Duration::from_secs(120);

async fn on_target() -> Result<(Scene, Workload)> {
    Scene::cut_over(Setting::default()).await
}

/// Asks until the source is known to be lost; one of two persons approves.
async fn ask(scene: &Scene) -> Result<u64> {
    let line = format!("/migrate {PHASE} complete --source-lost");
    wait_until(LONG, "the source to be known to be lost", async || {
        let answer = scene.product.chat("anna", &line).await?;
        ensure!(answer.accepted || answer.text.contains("SW-0159"), "{}", answer.text);
        Ok(if answer.accepted { Seen::Done(()) } else { Seen::NotYet(answer.text) })
    })
    .await?;
    let request = scene.product.journal().await?.request("complete_source_lost").context("no request")?;
    scene.approve("ben", request).await?;
    Ok(request)
}

/// The target has nothing of the move left, and its application goes on; so does the source's refusal, should it come back.
async fn is_done(scene: &mut Scene, workload: &Workload, request: u64) -> Result<()> {
    let outcome = scene.over(request, LONG).await?;
    ensure!(outcome == "completed", "{outcome}: {}", scene.product.journal().await?.tail(40));
    scene.shows("completed", "target").await?;
    let left = "select (select count(*) from pg_replication_slots) + (select count(*) from pg_publication) \
                  + (select count(*) from pg_replication_origin) \
                  + (select count(*) from pg_trigger where tgname like '%switchyard%')";
    let left: i64 = scene.on_target().await?.query_one(left, &[]).await?.get(0);
    ensure!(left == 0, "{left} things are left on the target");
    let journal = scene.product.journal().await?;
    let named = journal.of("left_behind").next_back().map(|event| event.field("what").to_string());
    ensure!(named.as_deref().is_some_and(|what| what.contains("slot switchyard_")), "{named:?}");
    journal.check()?;
    workload.acknowledged(40, LONG).await?;
    scene.source.start_again().await?;
    let app = open(&scene.source.url(Role::App)).await?;
    let written =
        app.batch_execute("insert into shop.events (worker, seq, kind) values (-5, 1, 'late')").await;
    ensure!(written.is_err(), "the source that came back takes writes");
    Ok(())
}

#[tokio::test]
async fn a_phase_is_completed_without_a_source_that_died_for_good() -> Result<()> {
    let (mut scene, workload) = on_target().await?;
    let mut serve = scene.product.serve("a", None)?;
    serve.ready().await?;
    let answer = scene.product.chat("anna", &format!("/migrate {PHASE} complete --source-lost")).await?;
    ensure!(!answer.accepted && answer.text.contains("SW-0159"), "{}", answer.text);
    scene.source.kill9().await?;
    wait_until(LONG, "a plain complete to name the way on", async || {
        let answer = scene.product.chat("anna", &format!("/migrate {PHASE} complete")).await?;
        let is_named = !answer.accepted && answer.text.contains("complete --source-lost");
        if answer.accepted {
            let request = scene.product.journal().await?.request("complete").context("no request")?;
            scene.say("anna", &format!("/migrate deny #{request} --reason \"too early\"")).await?;
        }
        Ok(if is_named { Seen::Done(()) } else { Seen::NotYet(answer.text) })
    })
    .await?;
    let request = ask(&scene).await?;
    scene.approve("chris", request).await?;
    is_done(&mut scene, &workload, request).await?;
    workload.stop().await;
    serve.end().await
}

#[tokio::test]
async fn a_complete_that_waits_for_a_dead_source_gives_way_through_sigkills() -> Result<()> {
    let (mut scene, workload) = on_target().await?;
    let mut serve =
        scene.product.serve("a", Some("stop:complete/stop_failback/drop_slot:target/after_effect"))?;
    serve.ready().await?;
    let stuck = scene.order("complete").await?;
    serve.stopped_itself(LONG).await?;
    scene.source.kill9().await?;
    serve.thaw()?;
    let request = ask(&scene).await?;
    serve.kill9().await?;
    let places =
        ["stop_failback/drop_publication:target/after_intent", "clean_up/remove_fence:target/after_effect"];
    for (at, place) in places.iter().enumerate() {
        let mut serve = scene.product.serve("a", Some(&format!("complete_source_lost/{place}")))?;
        if at == 0 {
            serve.ready().await?;
            scene.approve("chris", request).await?;
        }
        serve.killed_itself(LONG).await.with_context(|| format!("at {place}"))?;
    }
    let serve = scene.product.serve("a", None)?;
    is_done(&mut scene, &workload, request).await?;
    ensure!(scene.over(stuck, LONG).await? == "replaced", "the complete that was stuck has another end");
    workload.stop().await;
    serve.end().await
}
