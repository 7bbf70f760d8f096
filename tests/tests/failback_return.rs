//! A failback whose plan returns it to the target: by itself if the target answers, by a person if not.

use std::time::Duration;

use anyhow::{Result, ensure};
use product::cluster::Role;
use product::scene::{PHASE, Scene, Setting, Side};
use product::switchyard::Serve;
use product::wait::{Seen, wait_until};
use product::workload::Workload;
use tokio_postgres::Client;

const LONG: Duration = Duration::from_secs(120);

async fn on_target() -> Result<(Scene, Workload)> {
    let setting = Setting { failback_deadline: "return", ..Setting::short_window("12s", "4s") };
    Scene::cut_over(setting).await
}

/// Begins a failback and keeps it in its window, by a writer that does not end.
async fn in_the_window(scene: &Scene) -> Result<(u64, Client, Serve)> {
    let mut serve =
        scene.product.serve("a", Some("stop:failback/fence_target/close_gate:target/before_intent"))?;
    serve.ready().await?;
    let request = scene.order("failback").await?;
    serve.stopped_itself(LONG).await?;
    let writer = scene.target.connect(Role::App).await?;
    writer
        .batch_execute("begin; insert into shop.events (worker, seq, kind) values (-12, 1, 'late')")
        .await?;
    serve.thaw()?;
    scene.reached(request, "fence_target", "await_writers", Duration::from_secs(30)).await?;
    Ok((request, writer, serve))
}

#[tokio::test]
async fn at_its_deadline_a_failback_returns_to_a_target_that_answers() -> Result<()> {
    let (scene, workload) = on_target().await?;
    let (request, writer, serve) = in_the_window(&scene).await?;
    ensure!(scene.over(request, LONG).await? == "undone", "{}", scene.product.journal().await?.tail(20));
    writer.batch_execute("rollback").await?;
    let journal = scene.product.journal().await?;
    let begun = journal.of("undo_started").next_back().map(|event| event.field("answered").to_string());
    ensure!(begun.as_deref().is_some_and(|said| said.contains("answered a write")), "{begun:?}");
    // It ends with its proof: a write passes, the lever is seen where it was, the stream is at a marker.
    let undo: Vec<String> = journal
        .of("effect_intended")
        .filter(|event| event.text("step") == "undo")
        .filter_map(|event| event.field("spec").get("kind").and_then(|kind| kind.as_str()).map(str::to_owned))
        .collect();
    ensure!(
        undo == [
            "open_gate",
            "resume_traffic",
            "trial_write",
            "observe_traffic",
            "emit_marker",
            "await_marker"
        ],
        "the undo was {undo:?}"
    );
    let trial = journal.of("effect_intended").rev().find(|event| {
        event.text("step") == "undo"
            && event.field("spec").get("kind").is_some_and(|kind| kind == "trial_write")
    });
    let trial = trial.map(|event| event.field("spec").to_string()).unwrap_or_default();
    ensure!(trial.contains("\"passes\"") && trial.contains("\"target\""), "{trial}");
    workload.acknowledged(40, LONG).await?;
    scene.sound(&workload, Side::Target).await?;
    scene.shows("on_target", "target").await?;
    journal.check()?;
    workload.stop().await;
    serve.end().await
}

#[tokio::test]
async fn a_failback_holds_before_a_target_that_died_until_a_person_says_what_to_do() -> Result<()> {
    let (mut scene, workload) = on_target().await?;
    let (request, writer, serve) = in_the_window(&scene).await?;
    scene.target.kill9().await?;
    drop(writer);
    wait_until(LONG, "a person to be called", async || {
        let (status, writer, phase) = scene.phase_status().await?;
        let is_called = status == "blocked" && writer == "none" && phase.to_string().contains("SW-0524");
        Ok(if is_called { Seen::Done(()) } else { Seen::NotYet(phase.to_string()) })
    })
    .await?;
    let journal = scene.product.journal().await?;
    ensure!(journal.of("undo_started").count() == 0, "{}", journal.tail(10));
    // The source stays closed: nobody writes while nobody knows.
    let app = scene.source.connect(Role::App).await?;
    let write = "insert into shop.events (worker, seq, kind) values (-13, 1, 'early')";
    ensure!(app.batch_execute(write).await.is_err(), "the source takes a write");
    scene.target.start_again().await?;
    scene.say("anna", &format!("/migrate {PHASE} abort --reason \"it is back\"")).await?;
    ensure!(scene.over(request, LONG).await? == "undone", "{}", scene.product.journal().await?.tail(20));
    workload.acknowledged(40, LONG).await?;
    scene.sound(&workload, Side::Target).await?;
    scene.shows("on_target", "target").await?;
    scene.product.journal().await?.check()?;
    workload.stop().await;
    serve.end().await
}
