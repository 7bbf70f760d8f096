//! What ends a cutover before its opening gives the source back, bounded, and costs the next attempt nothing.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use product::cluster::Role;
use product::events::Journal;
use product::scene::{PHASE, Scene, Setting, Side};
use product::watch::Watcher;
use product::workload::{Pace, Workload};
use tokio_postgres::Client;

const LONG: Duration = Duration::from_secs(120);

fn loads(journal: &Journal) -> usize {
    journal.of("effect_intended").filter(|event| event.text("step") == "load").count()
}

/// Begins a cutover and keeps it in its window, by a writer that does not end.
async fn in_the_window(scene: &Scene) -> Result<(u64, Client, product::switchyard::Serve)> {
    let mut serve =
        scene.product.serve("a", Some("stop:cutover/fence_source/close_gate:source/before_intent"))?;
    serve.ready().await?;
    let request = scene.order("cutover").await?;
    serve.stopped_itself(Duration::from_secs(60)).await?;
    let writer = scene.source.connect(Role::App).await?;
    writer
        .batch_execute("begin; insert into shop.events (worker, seq, kind) values (-11, 1, 'late')")
        .await?;
    serve.thaw()?;
    scene.reached(request, "fence_source", "await_writers", Duration::from_secs(30)).await?;
    Ok((request, writer, serve))
}

async fn given_back(scene: &Scene, workload: &Workload, request: u64, cause: &str) -> Result<()> {
    ensure!(scene.over(request, LONG).await? == "undone", "{}", scene.product.journal().await?.tail(20));
    let journal = scene.product.journal().await?;
    let found = journal.of("undo_started").next_back().map(|event| event.field("cause").to_string());
    ensure!(found.as_deref().is_some_and(|found| found.contains(cause)), "undone because of {found:?}");
    workload.acknowledged(40, LONG).await?;
    scene.shows("replicating", "source").await?;
    Ok(())
}

async fn set() -> Result<(Scene, Workload)> {
    let setting = Setting { lease: "5s", ..Setting::short_window("8s", "3s") };
    let scene = Scene::set(setting).await?;
    let workload = scene.workload(Pace::GENTLE);
    let serve = scene.product.serve("a", None)?;
    scene.complete("start", LONG).await?;
    serve.end().await?;
    Ok((scene, workload))
}

#[tokio::test]
async fn the_deadline_undoes_by_itself_and_the_next_cutover_loads_nothing() -> Result<()> {
    let (scene, workload) = set().await?;
    let watcher = Watcher::start(&scene);
    let before = loads(&scene.product.journal().await?);
    let began = Instant::now();
    let (request, writer, serve) = in_the_window(&scene).await?;
    given_back(&scene, &workload, request, "deadline").await?;
    let pause = workload.records().longest_pause(began, Instant::now());
    ensure!(pause < Duration::from_millis(9_500), "the application waited {pause:?} under max_downtime = 8s");
    writer.batch_execute("rollback").await?;
    scene.sound(&workload, Side::Source).await?;

    scene.complete("cutover", LONG).await?;
    ensure!(loads(&scene.product.journal().await?) == before, "the next cutover loaded again");
    workload.acknowledged(40, LONG).await?;
    scene.sound(&workload, Side::Target).await?;
    watcher.finish().await?;
    scene.product.journal().await?.check()?;
    workload.stop().await;
    serve.end().await
}

#[tokio::test]
async fn a_denial_a_revocation_and_an_abort_in_the_window_undo_it() -> Result<()> {
    let (scene, workload) = set().await?;
    for (person, word, cause) in
        [("anna", "deny", "approval_lost"), ("ben", "revoke", "approval_lost"), ("anna", "abort", "aborted")]
    {
        let (request, writer, serve) = in_the_window(&scene).await?;
        let words = match word {
            "abort" => format!("/migrate {PHASE} abort --reason \"enough\""),
            "deny" => format!("/migrate deny #{request} --reason \"stop\""),
            _ => format!("/migrate revoke #{request}"),
        };
        scene.say(person, &words).await?;
        given_back(&scene, &workload, request, cause).await?;
        writer.batch_execute("rollback").await?;
        serve.end().await?;
    }
    // What was written since then is replicated only while somebody serves.
    let mut serve = scene.product.serve("a", None)?;
    serve.ready().await?;
    scene.sound(&workload, Side::Source).await?;
    scene.product.journal().await?.check()?;
    workload.stop().await;
    serve.end().await
}

#[tokio::test]
async fn a_target_that_froze_at_the_turn_of_the_streams_and_wakes_after_the_undo_misses_nothing() -> Result<()>
{
    let (scene, workload) = set().await?;
    let watcher = Watcher::start(&scene);
    let place = "stop:cutover/switch_traffic/set_stream_mode:forward:guard/after_intent";
    let mut serve = scene.product.serve("a", Some(place))?;
    serve.ready().await?;
    let request = scene.order("cutover").await?;
    serve.stopped_itself(Duration::from_secs(60)).await?;
    scene.target.freeze()?;
    serve.thaw()?;
    // The deadline gives the source back while the command is still under way to the target.
    scene.reached(request, "undo", "resume_traffic", Duration::from_secs(30)).await?;
    workload.acknowledged(100, LONG).await?;
    scene.target.thaw()?;
    given_back(&scene, &workload, request, "deadline").await?;
    let breaches = scene.product.journal().await?.of("fence_breached").count();
    ensure!(breaches == 0, "{breaches} writes that the application had every right to are called breaches");
    scene.sound(&workload, Side::Source).await?;
    watcher.finish().await?;
    workload.stop().await;
    serve.end().await
}
