//! Every place of every effect of every operation, each with a SIGKILL of its own.
//!
//! `serve` runs in a loop. It kills itself once at each place it passes, is started again, and so on until the life is
//! over: then each (operation × step × effect × point) has been died at, once, in one life of one phase.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use product::events::{Journal, POINTS};
use product::scene::{LeverKind, Scene, Setting, Side};
use product::supervise::Supervised;
use product::watch::Watcher;
use product::workload::Pace;
use serde_json::Value;

/// Hundreds of deaths. A restarted instance takes its own lease over at once, so a long one costs nothing, and a short one
/// would be lost under load between an intent and its place.
const LONG: Duration = Duration::from_secs(900);

fn setting() -> Setting {
    Setting { max_downtime: "10m", undo_reserve: Some("10s"), lease: "5s", ..Setting::default() }
}

/// The places died at: (operation, step, label) to points.
type Deaths = BTreeMap<(String, String, String), BTreeSet<String>>;

/// Deaths elsewhere, inside an effect or an append, have names without a slash: they count, and are no places of an effect.
fn deaths(text: &str) -> Result<Deaths> {
    let mut deaths = Deaths::new();
    for line in text.lines().filter(|line| line.contains('/')) {
        let (rest, point) = line.rsplit_once('/').context("a place without a point")?;
        let mut parts = rest.splitn(3, '/');
        let mut part = || parts.next().unwrap_or_default().to_owned();
        deaths.entry((part(), part(), part())).or_default().insert(point.to_owned());
    }
    Ok(deaths)
}

/// Every effect that the journal intends was died at, at all four points.
fn all_places_were_died_at(deaths: &Deaths, journal: &Journal, operations: &[&str]) -> Result<usize> {
    for (place, points) in deaths {
        let missing: Vec<_> = POINTS.iter().filter(|point| !points.contains(**point)).collect();
        ensure!(missing.is_empty(), "{place:?} was never died at {missing:?}");
    }
    // Kinds of the effects of each (operation, step) of the journal, against those died at. An operation that
    // was done twice has the same places.
    let mut intended: BTreeMap<(u64, String), BTreeMap<String, String>> = BTreeMap::new();
    for event in journal.of("effect_intended") {
        let kind = event.field("spec").get("kind").and_then(Value::as_str).unwrap_or_default().to_owned();
        let place = (event.number("operation"), event.text("step").to_owned());
        intended.entry(place).or_default().insert(event.text("effect").to_owned(), kind);
    }
    for ((operation, step), effects) in &intended {
        let name = journal.operation_name(*operation);
        if !operations.contains(&name.as_str()) {
            continue;
        }
        let mut want: Vec<&str> = effects.values().map(String::as_str).collect();
        let mut have: Vec<&str> = deaths
            .keys()
            .filter(|(op, at, _)| *op == name && at == step)
            .map(|(_, _, label)| label.split(':').next().unwrap_or_default())
            .collect();
        want.sort_unstable();
        have.sort_unstable();
        ensure!(want == have, "{name}/{step}: intended {want:?}, died at {have:?}");
    }
    Ok(deaths.values().map(BTreeSet::len).sum())
}

async fn finished(scene: &Scene, kills: &Supervised, operation: &str) -> Result<()> {
    let request = scene.order(operation).await?;
    let outcome =
        scene.over(request, LONG).await.with_context(|| format!("after {} deaths", kills.kills()))?;
    ensure!(
        outcome == "completed",
        "{operation} ended as {outcome}: {}",
        scene.product.journal().await?.tail(30)
    );
    Ok(())
}

/// One life with a death at every place of these operations; the others run undisturbed.
async fn life(armed: &[&str]) -> Result<()> {
    let scene = Arc::new(Scene::set(setting()).await?);
    let workload = scene.workload(Pace::GENTLE);
    workload.acknowledged(20, LONG).await?;
    let file = scene.file("places.txt");
    std::fs::write(&file, "")?;
    let mut undisturbed = None;
    let mut killed = None;
    let watcher = Watcher::start(&scene);
    let mut writer = Side::Source;
    let mut total = 0;
    for operation in ["start", "cutover", "failback", "cutover", "complete"] {
        if armed.contains(&operation) {
            undisturbed.take();
            if killed.is_none() {
                let failpoint = format!("each:{}", file.display());
                killed = Some(Supervised::start(&scene, failpoint));
            }
        } else {
            if let Some(supervised) = killed.take() {
                total += Supervised::finish(supervised).await?;
            }
            if undisturbed.is_none() {
                undisturbed = Some(scene.product.serve("a", None)?);
            }
        }
        if operation == "complete" {
            workload.rest(LONG).await?;
        }
        match &killed {
            Some(supervised) => finished(&scene, supervised, operation).await?,
            None => scene.complete(operation, LONG).await.map(drop)?,
        }
        scene.product.journal().await?.check()?;
        match operation {
            "cutover" => writer = Side::Target,
            "failback" => writer = Side::Source,
            _ => {}
        }
        if operation == "complete" {
            scene.equal(writer).await?;
            workload.go_on();
            workload.acknowledged(20, LONG).await?;
            workload.rest(LONG).await?;
            scene.kept(&workload, writer).await?;
        } else {
            workload.acknowledged(20, LONG).await?;
            scene.sound(&workload, writer).await?;
        }
    }
    if let Some(supervised) = killed.take() {
        total += supervised.finish().await?;
    }
    watcher.finish().await?;
    let journal = scene.product.journal().await?;
    journal.check()?;
    ensure!(journal.of("fence_breached").count() == 0, "a fence was breached");
    let listed = std::fs::read_to_string(&file)?;
    let places = all_places_were_died_at(&deaths(&listed)?, &journal, armed)?;
    ensure!(u64::try_from(listed.lines().count())? == total, "{places} places, {total} deaths:\n{listed}");
    ensure!(places >= 40 * armed.len(), "only {places} places in {armed:?}");
    workload.stop().await;
    Ok(())
}

#[tokio::test]
async fn a_start_killed_at_every_place_ends_as_an_undisturbed_one() -> Result<()> {
    life(&["start"]).await
}

#[tokio::test]
async fn a_cutover_killed_at_every_place_ends_as_an_undisturbed_one() -> Result<()> {
    life(&["cutover"]).await
}

#[tokio::test]
async fn a_failback_and_a_complete_killed_at_every_place_end_as_undisturbed_ones() -> Result<()> {
    life(&["failback", "complete"]).await
}

#[tokio::test]
async fn an_undo_killed_at_every_place_gives_the_source_back() -> Result<()> {
    let scene = Arc::new(Scene::set(Setting { lever: LeverKind::Command, ..setting() }).await?);
    let workload = scene.workload(Pace::GENTLE);
    let serve = scene.product.serve("a", None)?;
    scene.complete("start", LONG).await?;
    serve.end().await?;

    // The team's own lever does not route any more: the step fails, the cutover is undone.
    let script = scene.file("lever.sh");
    let good = std::fs::read_to_string(&script)?;
    std::fs::write(&script, good.replace("  route)\n", "  route)\n    echo 'no route today' >&2; exit 3\n"))?;
    let file = scene.file("places.txt");
    std::fs::write(&file, "")?;
    let watcher = Watcher::start(&scene);
    let killed = Supervised::start(&scene, format!("each:{}:cutover/undo/", file.display()));
    let request = scene.order("cutover").await?;
    let outcome = scene.over(request, LONG).await?;
    ensure!(outcome == "undone", "a cutover with a broken lever ended as {outcome}");
    let kills = killed.finish().await?;
    watcher.finish().await?;
    let places = deaths(&std::fs::read_to_string(&file)?)?;
    let undone: usize = places.values().map(BTreeSet::len).sum();
    ensure!(undone >= 12, "the undo was killed at {undone} places only: {places:?}");
    ensure!(u64::try_from(undone)? == kills, "{undone} places, {kills} deaths");

    let mut serve = scene.product.serve("a", None)?;
    serve.ready().await?;
    workload.acknowledged(40, LONG).await?;
    scene.sound(&workload, Side::Source).await?;
    scene.product.journal().await?.check()?;
    // And the next attempt, with the lever mended, needs no new load.
    std::fs::write(&script, good)?;
    let loads = |journal: &Journal| {
        journal.of("effect_intended").filter(|event| event.text("step") == "load").count()
    };
    let before = loads(&scene.product.journal().await?);
    scene.complete("cutover", LONG).await?;
    ensure!(loads(&scene.product.journal().await?) == before, "the next cutover loaded again");
    workload.acknowledged(40, LONG).await?;
    scene.sound(&workload, Side::Target).await?;
    workload.stop().await;
    serve.end().await
}

/// One death at one of the most delicate places, then the whole proof.
async fn single(operation: &str, place: &str) -> Result<()> {
    let scene = Scene::set(Setting { lease: "1s", ..Setting::default() }).await?;
    let workload = scene.workload(Pace::BRISK);
    let watcher = Watcher::start(&scene);
    let serve = scene.product.serve("a", None)?;
    scene.complete("start", LONG).await?;
    let mut writer = Side::Source;
    if operation == "failback" {
        scene.complete("cutover", LONG).await?;
        writer = Side::Target;
    }
    serve.end().await?;
    let armed = scene.product.serve("a", Some(place))?;
    let request = scene.order(operation).await?;
    armed.killed_itself(Duration::from_secs(60)).await.with_context(|| format!("at {place}"))?;
    let mut serve = scene.product.serve("a", None)?;
    serve.ready().await?;
    let outcome = scene.over(request, LONG).await?;
    ensure!(outcome == "completed", "{operation} ended as {outcome}");
    writer = if writer == Side::Source { Side::Target } else { Side::Source };
    workload.acknowledged(100, LONG).await?;
    scene.sound(&workload, writer).await?;
    watcher.finish().await?;
    scene.product.journal().await?.check()?;
    workload.stop().await;
    serve.end().await
}

#[tokio::test]
async fn a_death_between_the_opening_and_its_outcome_opens_once() -> Result<()> {
    single("cutover", "cutover/switch_traffic/open_gate:target/after_effect").await
}

#[tokio::test]
async fn a_death_with_the_traffic_held_and_routed_goes_on() -> Result<()> {
    single("cutover", "cutover/switch_traffic/route_traffic:target/after_effect").await
}

#[tokio::test]
async fn a_death_just_after_the_fence_closed_goes_on() -> Result<()> {
    single("failback", "failback/fence_target/close_gate:target/after_effect").await
}
