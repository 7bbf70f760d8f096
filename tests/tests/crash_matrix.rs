//! Every place of every effect of every operation, each with a SIGKILL of its own.
//!
//! `serve` runs in a loop. It kills itself once at each place it passes, is started again, and so on until the life is
//! over: then each (operation × step × effect × point) has been died at, once, in one life of one phase.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use product::events::{Journal, POINTS};
use product::scene::{LeverKind, PHASE, Scene, Setting, Side};
use product::supervise::Supervised;
use product::wait::{Seen, wait_until};
use product::watch::Watcher;
use product::workload::Pace;
use serde_json::Value;
use tokio_postgres::Client;

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

/// Every effect that the journal intends in these steps was died at, at all four points, and nothing else was.
fn all_places_were_died_at(
    deaths: &Deaths,
    journal: &Journal,
    armed: impl Fn(u64, &str) -> bool,
) -> Result<usize> {
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
        if !armed(*operation, step) {
            continue;
        }
        let name = journal.operation_name(*operation);
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
    scene.product.check_journal().await?;
    let journal = scene.product.journal().await?;
    journal.check()?;
    ensure!(journal.of("fence_breached").count() == 0, "a fence was breached");
    let listed = std::fs::read_to_string(&file)?;
    let places = all_places_were_died_at(&deaths(&listed)?, &journal, |operation, _| {
        armed.contains(&journal.operation_name(operation).as_str())
    })?;
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
    let undone = undo_was_died_at(&scene, request, &file).await?;
    ensure!(undone >= 12, "the undo was killed at {undone} places only");
    ensure!(u64::try_from(undone)? == kills, "{undone} places, {kills} deaths");

    let mut serve = scene.product.serve("a", None)?;
    serve.ready().await?;
    workload.acknowledged(40, LONG).await?;
    scene.sound(&workload, Side::Source).await?;
    scene.product.journal().await?.check()?;
    scene.product.check_journal().await?;
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

/// What keeps a start from going on, so that it is certain where it is when it is aborted.
enum Held {
    /// A transaction of the source is open, and the slot waits for it, half made.
    Writer,
    /// Somebody has a table of the target, and the copy waits for it with a chunk in its hands.
    Table(&'static str),
    /// The target does not answer.
    Target,
}

/// Begins a start and aborts it at an effect, which was never done or half done. From then on the undo alone is died in.
async fn aborted(scene: &Arc<Scene>, effect: &str, held: Held) -> Result<usize> {
    let mut serve = scene.product.serve("a", Some(&format!("stop:start/{effect}/before_intent")))?;
    serve.ready().await?;
    let request = scene.order("start").await?;
    serve.stopped_itself(LONG).await?;
    let (source, target) = (scene.on_source().await?, scene.on_target().await?);
    match held {
        Held::Writer => source.batch_execute("begin; select pg_current_xact_id()").await?,
        Held::Table(table) => {
            target.batch_execute(&format!("begin; lock table {table} in share mode")).await?;
        }
        Held::Target => scene.target.freeze()?,
    }
    serve.kill9().await?;

    let file = scene.file(&format!("undone-{request}.txt"));
    std::fs::write(&file, "")?;
    let killed = Supervised::start(scene, format!("each:{}:start/undo/", file.display()));
    match held {
        Held::Writer => {
            let slot = "select count(*) from pg_locks join pg_stat_activity using (pid) \
                        where not granted and backend_type = 'walsender'";
            is_held(&scene.on_source().await?, slot).await?;
        }
        Held::Table(table) => {
            let copy = "select count(*) from pg_locks where not granted and relation";
            is_held(&target, &format!("{copy} = '{table}'::regclass")).await?;
        }
        Held::Target => {}
    }
    let aborts = |journal: &Journal| journal.of("abort_requested").count();
    let before = aborts(&scene.product.journal().await?);
    let words = format!("/migrate {PHASE} abort --reason \"not today\"");
    scene.say_until("anna", &words, |journal| aborts(journal) > before).await?;
    match held {
        Held::Writer => {}
        Held::Table(_) => target.batch_execute("rollback").await?,
        Held::Target => scene.target.thaw()?,
    }
    let outcome = scene.over(request, LONG).await?;
    ensure!(outcome == "undone", "an aborted start ended as {outcome}");
    let kills = killed.finish().await?;
    let undone = undo_was_died_at(scene, request, &file).await?;
    ensure!(u64::try_from(undone)? == kills, "{undone} places, {kills} deaths");
    scene.shows("new", "source").await?;
    if let Held::Writer = held {
        // What waited for it, and was given up since, does not come after all.
        nothing_is_left(scene).await?;
        source.batch_execute("rollback").await?;
    }
    nothing_is_left(scene).await?;
    Ok(undone)
}

/// Waits until what was left to be done waits for what holds it.
async fn is_held(side: &Client, waiting: &str) -> Result<()> {
    wait_until(LONG, "the start to be held up", async || {
        Ok(match side.query_one(waiting, &[]).await?.get::<_, i64>(0) {
            0 => Seen::NotYet("nothing waits".to_owned()),
            _ => Seen::Done(()),
        })
    })
    .await
}

/// How many places of the undo of a request's operation were died at: all that there are.
async fn undo_was_died_at(scene: &Scene, request: u64, file: &Path) -> Result<usize> {
    let journal = scene.product.journal().await?;
    let aborted = journal.operation_of(request).context("it never began")?;
    all_places_were_died_at(&deaths(&std::fs::read_to_string(file)?)?, &journal, |operation, step| {
        operation == aborted && step == "undo"
    })
}

/// Nothing that was made for the phase stands on either side: what would keep the source's log, what would meet the
/// application's writes, and no copy that could be taken for the truth.
async fn nothing_is_left(scene: &Scene) -> Result<()> {
    let made = "
        select 'slot ' || slot_name from pg_replication_slots
        union all select 'publication ' || pubname from pg_publication
        union all select 'origin ' || roname from pg_replication_origin
        union all select 'trigger ' || tgname || ' of ' || tgrelid::regclass from pg_trigger
                  where tgfoid in (select oid from pg_proc where pronamespace = '_switchyard'::regnamespace)";
    let copies = "select 'table ' || relname from pg_class where relnamespace = to_regnamespace('shop') and relkind = 'r'";
    for (side, query) in [
        (scene.on_source().await?, made.to_owned()),
        (scene.on_target().await?, format!("{made} union all {copies}")),
    ] {
        let left: Vec<String> =
            side.query(&query, &[]).await?.iter().map(|row| row.get::<_, String>(0)).collect();
        ensure!(left.is_empty(), "left behind: {left:?}");
    }
    Ok(())
}

/// What the life of a phase that is moved does not come by: an abort of its start, early and late, a comparison on
/// request, and that it is given up.
#[tokio::test]
async fn an_aborted_start_a_verify_and_a_retire_killed_at_every_place_end_as_undisturbed_ones() -> Result<()>
{
    let scene = Arc::new(Scene::set(setting()).await?);
    let workload = scene.workload(Pace::GENTLE);
    let watcher = Watcher::start(&scene);
    let slot = aborted(&scene, "load/create_slot:source", Held::Writer).await?;
    ensure!(slot >= 24, "the undo of a slot was killed at {slot} places only");
    let early = aborted(&scene, "load/copy_table:shop.notes", Held::Table("shop.notes")).await?;
    ensure!(early >= 28, "the undo of a load was killed at {early} places only");
    let late = aborted(&scene, "replicate/emit_marker:target", Held::Target).await?;
    ensure!(late >= 40, "the undo of the whole was killed at {late} places only");
    workload.acknowledged(20, LONG).await?;

    // What was undone is in nobody's way: the same start again, and every row arrives.
    let serve = scene.product.serve("a", None)?;
    scene.complete("start", LONG).await?;
    serve.end().await?;
    let file = scene.file("places.txt");
    std::fs::write(&file, "")?;
    let killed = Supervised::start(&scene, format!("each:{}", file.display()));
    finished(&scene, &killed, "verify").await?;
    workload.acknowledged(20, LONG).await?;
    scene.sound(&workload, Side::Source).await?;
    finished(&scene, &killed, "retire").await?;
    let kills = killed.finish().await?;
    watcher.finish().await?;
    scene.shows("retired", "source").await?;
    nothing_is_left(&scene).await?;
    workload.acknowledged(20, LONG).await?;
    workload.rest(LONG).await?;
    scene.kept(&workload, Side::Source).await?;
    workload.stop().await;

    let journal = scene.product.journal().await?;
    journal.check()?;
    ensure!(journal.of("fence_breached").count() == 0, "a fence was breached");
    scene.product.check_journal().await?;
    let listed = std::fs::read_to_string(&file)?;
    let places = all_places_were_died_at(&deaths(&listed)?, &journal, |operation, _| {
        matches!(journal.operation_name(operation).as_str(), "verify" | "retire")
    })?;
    ensure!(u64::try_from(listed.lines().count())? == kills, "{places} places, {kills} deaths:\n{listed}");
    ensure!(places >= 72, "only {places} places in verify and retire");
    Ok(())
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
    armed.killed_itself(Duration::from_secs(180)).await.with_context(|| format!("at {place}"))?;
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
