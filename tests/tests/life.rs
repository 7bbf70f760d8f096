//! The whole life of a phase under an application's writes, nothing going wrong.

use std::time::Duration;

use anyhow::{Result, ensure};
use product::scene::{LeverKind, PHASE, Scene, Setting, Side};
use product::watch::Watcher;
use product::workload::Pace;

const LONG: Duration = Duration::from_secs(120);

async fn live(lever: LeverKind) -> Result<()> {
    let scene = Scene::set(Setting { lever, ..Setting::default() }).await?;
    let workload = scene.workload(Pace::GENTLE);
    workload.acknowledged(50, LONG).await?;
    let mut serve = scene.product.serve("a", None)?;
    serve.ready().await?;
    let watcher = Watcher::start(&scene);

    scene.complete("start", LONG).await?;
    scene.same_schema().await?;
    scene.sound(&workload, Side::Source).await?;
    scene.shows("replicating", "source").await?;

    scene.complete("cutover", LONG).await?;
    workload.acknowledged(100, LONG).await?;
    ensure!(scene.pgbouncer.entry().await? == (scene.target.port(), false), "the entry is not at the target");
    scene.sound(&workload, Side::Target).await?;
    scene.shows("on_target", "target").await?;

    scene.complete("verify", LONG).await?;
    scene.complete("failback", LONG).await?;
    workload.acknowledged(100, LONG).await?;
    ensure!(scene.pgbouncer.entry().await? == (scene.source.port(), false), "the entry is not at the source");
    scene.sound(&workload, Side::Source).await?;

    scene.complete("cutover", LONG).await?;
    workload.acknowledged(100, LONG).await?;
    // The failback stream ends with `complete`: what is written after it is the target's alone.
    scene.sound(&workload, Side::Target).await?;
    workload.rest(LONG).await?;
    scene.complete("complete", LONG).await?;
    scene.equal(Side::Target).await?;
    workload.go_on();
    workload.acknowledged(100, LONG).await?;
    workload.rest(LONG).await?;
    scene.kept(&workload, Side::Target).await?;

    // The source stays closed for ever, with its fence.
    let app = scene.source.connect(product::cluster::Role::App).await?;
    let refused =
        app.batch_execute("insert into shop.events (worker, seq, kind) values (-9, 1, 'late')").await;
    let code = refused.as_ref().err().and_then(|error| error.code()).map(|code| code.code().to_owned());
    ensure!(code.as_deref() == Some("55000"), "after complete the source answers a write with {refused:?}");
    scene.shows("completed", "target").await?;

    watcher.finish().await?;
    let journal = scene.product.journal().await?;
    journal.check()?;
    ensure!(journal.of("operation_finished").count() == 6, "{}", journal.tail(20));
    ensure!(journal.of("fence_breached").count() == 0, "a fence was breached: {}", journal.tail(20));
    let checked = scene.product.check_journal().await?;
    ensure!(checked.contains("agree") && journal.of("log_checkpoint_left").count() >= 4, "{checked}");
    let leaks = scene.product.everything_written().await?;
    ensure!(!leaks.contains("LEAK"), "a password or token stands in a log or in the journal");
    let slots =
        scene.on_source().await?.query("select slot_name::text from pg_replication_slots", &[]).await?;
    ensure!(slots.is_empty(), "slots are left on the source: {slots:?}");
    let slots =
        scene.on_target().await?.query("select slot_name::text from pg_replication_slots", &[]).await?;
    ensure!(slots.is_empty(), "slots are left on the target: {slots:?}");
    ensure!(
        scene.say("anna", &format!("/migrate {PHASE} failback")).await.is_err(),
        "failback after complete"
    );
    workload.stop().await;
    serve.end().await
}

#[tokio::test]
async fn a_life_with_pgbouncer_loses_nothing() -> Result<()> {
    live(LeverKind::Pgbouncer).await
}

#[tokio::test]
async fn a_life_with_the_teams_own_commands_loses_nothing() -> Result<()> {
    live(LeverKind::Command).await
}
