//! A plan that is adopted while the phases of the one before are live.

use std::time::Duration;

use anyhow::{Result, ensure};
use product::cluster::Role;
use product::scene::{PHASE, Scene, Setting};
use product::switchyard::binary;

const LONG: Duration = Duration::from_secs(120);

#[tokio::test]
async fn a_phase_that_is_live_cannot_be_left_out_of_the_plan() -> Result<()> {
    let scene = Scene::set(Setting::default()).await?;
    scene.on_source().await?.batch_execute("create table shop.letters (id bigint primary key)").await?;
    scene.add_phase("letters", "tables = [\"shop.letters\"]")?;
    let whole = std::fs::read_to_string(scene.product.plan())?;
    let serve = scene.product.serve("a", None)?;
    scene.complete("start", LONG).await?;

    let from = whole.find("[[phase]]").unwrap_or_default();
    let to = whole.rfind("[[phase]]").unwrap_or_default();
    let without = format!("{}{}", whole.get(..from).unwrap_or_default(), whole.get(to..).unwrap_or_default());
    let revised = scene.file("revised.toml");
    std::fs::write(&revised, without)?;
    let diff = ["plan", "diff", "plan.toml", "revised.toml", "--journal"];
    let told = std::process::Command::new(binary()?).args(diff).current_dir(scene.file("")).output()?;
    let told = String::from_utf8_lossy(&told.stdout).into_owned();
    ensure!(told.contains(&format!("refuses it until {PHASE} is retired or completed")), "{told}");
    std::fs::copy(&revised, scene.product.plan())?;
    let refused =
        scene.product.adopt_plan("anna").await.err().map(|error| error.to_string()).unwrap_or_default();
    let is_told = refused.contains("SW-0160") && refused.contains(&format!("{PHASE} is replicating"));
    ensure!(is_told && refused.contains("`retire`"), "{refused:?}");
    scene.shows("replicating", "source").await?;

    scene.complete("retire", LONG).await?;
    scene.product.adopt_plan("anna").await?;
    serve.end().await
}

#[tokio::test]
async fn a_lever_that_cannot_be_made_ends_nothing_of_another_phase() -> Result<()> {
    let scene = Scene::set(Setting { lease: "5s", ..Setting::short_window("12s", "3s") }).await?;
    scene.on_source().await?.batch_execute("create table shop.letters (id bigint primary key)").await?;
    scene.add_phase("letters", "tables = [\"shop.letters\"]")?;
    let text = std::fs::read_to_string(scene.product.plan())?;
    let mut serve =
        scene.product.serve("a", Some("stop:cutover/fence_source/close_gate:source/before_intent"))?;
    serve.ready().await?;
    scene.complete("start", LONG).await?;
    let request = scene.order("cutover").await?;
    serve.stopped_itself(Duration::from_secs(60)).await?;
    let writer = scene.source.connect(Role::App).await?;
    writer
        .batch_execute("begin; insert into shop.events (worker, seq, kind) values (-11, 1, 'late')")
        .await?;

    // The other phase's lever alone is another, and cannot be made.
    let at = text.rfind("kind = \"command\"").unwrap_or_default();
    let lever = "kind = \"pgbouncer\"\nadmin = \"env:NOT_SET\"\nini = \"x.ini\"\ndatabase = \"letters\"\n\
                 source = \"host=a dbname=a\"\ntarget = \"host=b dbname=b\"\n";
    std::fs::write(scene.product.plan(), format!("{}{lever}", text.get(..at).unwrap_or_default()))?;
    scene.product.adopt_plan("anna").await?;
    serve.thaw()?;

    ensure!(scene.over(request, LONG).await? == "undone", "{}", scene.product.journal().await?.tail(20));
    ensure!(serve.exited()?.is_none(), "{}", serve.log_tail(20));
    scene.shows("replicating", "source").await?;
    let log = serve.log_tail(400);
    ensure!(log.contains("SW-0516") && log.contains("letters") && log.contains("NOT_SET"), "{log}");
    writer.batch_execute("rollback").await?;
    serve.end().await?;

    let mut serve = scene.product.serve("a", None)?;
    serve.ready().await?;
    scene.complete("cutover", LONG).await?;
    serve.end().await
}

#[tokio::test]
async fn a_secret_that_is_not_there_ends_nothing_that_runs() -> Result<()> {
    let scene = Scene::set(Setting::default()).await?;
    let mut serve = scene.product.serve("a", None)?;
    serve.ready().await?;
    scene.complete("start", LONG).await?;
    let text = std::fs::read_to_string(scene.product.plan())?;
    let side = text.lines().find(|line| line.starts_with("target = ")).unwrap_or_default();
    ensure!(!side.is_empty(), "{text}");
    std::fs::write(scene.product.plan(), text.replacen(side, "target = \"env:NOT_SET\"", 1))?;
    scene.product.adopt_plan("anna").await?;
    scene.complete("cutover", LONG).await?;
    let log = serve.log_tail(400);
    ensure!(log.contains("SW-0552") && log.contains("target") && log.contains("NOT_SET"), "{log}");
    ensure!(serve.exited()?.is_none(), "{log}");
    serve.end().await
}
