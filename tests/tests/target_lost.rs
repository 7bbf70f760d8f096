//! `failback --target-lost` against real servers: the target dies, is given up at the loss that was shown, and comes back.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};
use product::cluster::{Role, open};
use product::scene::{PHASE, Scene, Setting, Side};
use product::switchyard::Serve;
use product::wait::{Seen, wait_until};
use product::workload::Workload;
use serde_json::Value;
use tokio_postgres::Client;

const LONG: Duration = Duration::from_secs(120);

/// The worker whose writes are watched one by one.
const WATCHED: i32 = -77;

/// When each watched write was acknowledged, in milliseconds since 1970.
type Acknowledged = BTreeMap<i64, i64>;

fn now_ms() -> Result<i64> {
    Ok(i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?)
}

async fn write(client: &Client, acknowledged: &mut Acknowledged, count: i64) -> Result<()> {
    let from = acknowledged.keys().next_back().copied().unwrap_or(0);
    for seq in from + 1..=from + count {
        let sql = format!("insert into shop.events (worker, seq, kind) values ({WATCHED}, {seq}, 'watched')");
        client.batch_execute(&sql).await?;
        acknowledged.insert(seq, now_ms()?);
    }
    Ok(())
}

/// The watched writes that a database holds.
async fn held(client: &Client) -> Result<BTreeSet<i64>> {
    let sql = "select seq::bigint from shop.events where worker = $1";
    Ok(client.query(sql, &[&WATCHED]).await?.iter().map(|row| row.get(0)).collect())
}

async fn on_target() -> Result<(Scene, Workload)> {
    Scene::cut_over(Setting::short_window("12s", "4s")).await
}

/// Waits until the loss is known, and gives it as `status --json` has it.
async fn known_loss(scene: &Scene) -> Result<Value> {
    wait_until(LONG, "the loss to be known", async || {
        let (_, _, phase) = scene.phase_status().await?;
        Ok(match phase.get("loss") {
            Some(loss) => Seen::Done(loss.clone()),
            None => Seen::NotYet(format!("{phase}\n{}", scene.product.log_tail("a", 8))),
        })
    })
    .await
}

/// Is shown the loss, confirms it by its word, and has it approved.
async fn give_up(scene: &Scene) -> Result<u64> {
    let loss = known_loss(scene).await?;
    let word = loss.get("word").and_then(Value::as_str).context("no word")?.to_owned();
    let line = format!("/migrate {PHASE} failback --target-lost");
    let shown = scene.product.chat("anna", &line).await?;
    ensure!(
        !shown.accepted && shown.text.contains("SW-0140") && shown.text.contains(&word),
        "{}",
        shown.text
    );
    let wrong = scene.product.chat("anna", &format!("{line} --confirm loss-00zz00")).await?;
    ensure!(!wrong.accepted && wrong.text.contains("SW-0140"), "{}", wrong.text);
    scene.say("anna", &format!("{line} --confirm {word}")).await?;
    let request = scene.product.journal().await?.request("failback_target_lost").context("no request")?;
    scene.approve("ben", request).await?;
    scene.approve("chris", request).await?;
    Ok(request)
}

async fn completed(scene: &Scene, request: u64) -> Result<()> {
    let outcome = scene.over(request, LONG).await?;
    ensure!(outcome == "completed", "{outcome}: {}", scene.product.journal().await?.tail(40));
    Ok(())
}

async fn event(scene: &Scene, kind: &str) -> Result<Value> {
    wait_until(LONG, &format!("a {kind}"), async || {
        let journal = scene.product.journal().await?;
        let found = journal.of(kind).next_back().map(|event| {
            let fields =
                ["checkpoint", "newest_change_at", "drained", "closed", "file", "changes", "what", "finding"];
            Value::Object(fields.iter().map(|name| ((*name).to_owned(), event.field(name).clone())).collect())
        });
        Ok(match found {
            Some(found) => Seen::Done(found),
            None => Seen::NotYet(format!("{}\n{}", journal.tail(5), scene.product.log_tail("a", 12))),
        })
    })
    .await
}

fn millis(text: &str) -> Result<i64> {
    let at: journal::Timestamp = text.parse().map_err(|error| anyhow::anyhow!("{text}: {error}"))?;
    Ok(at.millis())
}

/// The target dies with writes that nobody has carried over yet.
async fn die(scene: &mut Scene, serve: Serve) -> Result<Acknowledged> {
    let app = open(&scene.pgbouncer.app_url()).await?;
    let mut acknowledged = Acknowledged::new();
    write(&app, &mut acknowledged, 60).await?;
    serve.kill9().await?;
    write(&app, &mut acknowledged, 30).await?;
    scene.target.kill9().await?;
    Ok(acknowledged)
}

/// What is missing on the source was acknowledged after the bound that the journal names.
async fn bound_holds(scene: &Scene, acknowledged: &Acknowledged) -> Result<BTreeSet<i64>> {
    let declared = event(scene, "loss_declared").await?;
    let bound = millis(declared.get("newest_change_at").and_then(Value::as_str).context("no bound")?)?;
    let kept = held(&scene.on_source().await?).await?;
    let missing: BTreeSet<i64> = acknowledged.keys().copied().filter(|seq| !kept.contains(seq)).collect();
    for seq in &missing {
        let at = acknowledged.get(seq).copied().unwrap_or(0);
        ensure!(at >= bound, "write {seq} was acknowledged at {at}, before the bound {bound}, and is lost");
    }
    Ok(missing)
}

#[tokio::test]
async fn a_target_that_dies_under_load_is_given_up_at_the_shown_loss_and_quarantined_when_it_comes_back()
-> Result<()> {
    let (mut scene, workload) = on_target().await?;
    let mut serve = scene.product.serve("a", None)?;
    serve.ready().await?;
    // While it is there it is not given up.
    let healthy = scene.product.chat("anna", &format!("/migrate {PHASE} failback --target-lost")).await?;
    ensure!(!healthy.accepted && healthy.text.contains("SW-0157"), "{}", healthy.text);
    let acknowledged = die(&mut scene, serve).await?;
    let serve = scene.product.serve("a", None)?;
    let request = give_up(&scene).await?;
    completed(&scene, request).await?;
    scene.shows("quarantined", "source").await?;
    workload.acknowledged(40, LONG).await?;
    let missing = bound_holds(&scene, &acknowledged).await?;
    ensure!(!missing.is_empty(), "nothing was lost, so nothing is shown by this");
    ensure!(scene.order_anyway("cutover").await?.is_none(), "a cutover on the old data was taken");

    // It comes back with its gate open, and is closed before anything else.
    scene.target.start_again().await?;
    event(&scene, "quarantine_closed").await?;
    let app = scene.target.connect(Role::App).await?;
    let late = "insert into shop.events (worker, seq, kind) values (-78, 1, 'late')";
    ensure!(app.batch_execute(late).await.is_err(), "the quarantined target takes a write");
    let read = event(&scene, "quarantine_read").await?;
    let file = read.get("file").and_then(Value::as_str).with_context(|| read.to_string())?.to_owned();
    ensure!(std::fs::metadata(&file)?.permissions().mode() & 0o777 == 0o600, "others may read {file}");
    let lines: Vec<Value> =
        std::fs::read_to_string(&file)?.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    ensure!(read.get("changes").and_then(Value::as_str) == Some(&lines.len().to_string()), "{read}");
    let text = |line: &Value, name: &str| {
        line.pointer(&format!("/row/{name}")).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let in_file: BTreeSet<i64> = lines
        .iter()
        .filter(|line| text(line, "worker") == WATCHED.to_string())
        .filter_map(|line| text(line, "seq").parse().ok())
        .collect();
    ensure!(missing.is_subset(&in_file), "not in the file: {:?}", missing.difference(&in_file));
    // None of it is applied by itself.
    let kept = held(&scene.on_source().await?).await?;
    ensure!(missing.is_disjoint(&kept), "the rest was applied");
    workload.acknowledged(40, LONG).await?;

    // Then it is given up whole, and loaded anew.
    scene.complete("retire", LONG).await?;
    ensure!(scene.product.journal().await?.of("left_behind").count() == 0, "something was left behind");
    scene.complete("start", LONG).await?;
    workload.rest(LONG).await?;
    scene.equal(Side::Source).await?;
    scene.shows("replicating", "source").await?;
    scene.product.journal().await?.check()?;
    workload.stop().await;
    serve.end().await
}

#[tokio::test]
async fn a_target_that_comes_back_in_the_midst_of_it_is_closed_and_drained_and_nothing_is_lost() -> Result<()>
{
    let (mut scene, workload) = on_target().await?;
    let mut serve = scene.product.serve("a", None)?;
    serve.ready().await?;
    let acknowledged = die(&mut scene, serve).await?;
    let mut serve =
        scene.product.serve("a", Some("stop:failback_target_lost/stop_traffic/hold_traffic/after_effect"))?;
    serve.ready().await?;
    let request = give_up(&scene).await?;
    serve.stopped_itself(LONG).await?;
    scene.target.start_again().await?;
    serve.thaw()?;
    completed(&scene, request).await?;
    scene.shows("quarantined", "source").await?;
    let declared = event(&scene, "loss_declared").await?;
    let says = |name: &str| declared.get(name).and_then(Value::as_bool);
    ensure!(says("drained") == Some(true) && says("closed") == Some(true), "{declared}");
    let missing = bound_holds(&scene, &acknowledged).await?;
    ensure!(missing.is_empty(), "what could be had was not drained: {missing:?}");
    let app = scene.target.connect(Role::App).await?;
    let late = "insert into shop.events (worker, seq, kind) values (-78, 1, 'late')";
    ensure!(app.batch_execute(late).await.is_err(), "the quarantined target takes a write");
    let read = event(&scene, "quarantine_read").await?;
    ensure!(read.get("changes").and_then(Value::as_str) == Some("0"), "{read}");
    workload.acknowledged(40, LONG).await?;
    workload.rest(LONG).await?;
    let found = workload.judge(&scene.on_source().await?).await?;
    ensure!(found.lost.is_empty(), "of the application's writes are lost: {:?}", found.lost);
    scene.product.journal().await?.check()?;
    workload.stop().await;
    serve.end().await
}

#[tokio::test]
async fn killed_in_the_midst_of_it_the_product_carries_through_what_was_confirmed() -> Result<()> {
    let (mut scene, workload) = on_target().await?;
    let mut serve = scene.product.serve("a", None)?;
    serve.ready().await?;
    let acknowledged = die(&mut scene, serve).await?;
    let places = [
        "stop_traffic/hold_traffic/after_effect",
        "drain_available/close_lost:target:drain/after_intent",
        "declare_loss/drop_stream:failback/after_effect",
        "switch_traffic_back/open_gate:source/after_effect",
    ];
    let mut request = None;
    for place in places {
        let kill = format!("failback_target_lost/{place}");
        let mut serve = scene.product.serve("a", Some(&kill))?;
        serve.ready().await?;
        if request.is_none() {
            request = Some(give_up(&scene).await?);
        }
        serve.killed_itself(LONG).await.with_context(|| format!("at {place}"))?;
    }
    let serve = scene.product.serve("a", None)?;
    completed(&scene, request.context("no request")?).await?;
    scene.shows("quarantined", "source").await?;
    workload.acknowledged(40, LONG).await?;
    bound_holds(&scene, &acknowledged).await?;
    scene.product.journal().await?.check()?;
    workload.stop().await;
    serve.end().await
}

#[tokio::test]
async fn a_failback_that_is_stuck_before_a_dead_target_gives_way_and_the_phase_is_retired_without_it()
-> Result<()> {
    let (mut scene, workload) = on_target().await?;
    let mut serve =
        scene.product.serve("a", Some("stop:failback/fence_target/close_gate:target/before_intent"))?;
    serve.ready().await?;
    let stuck = scene.order("failback").await?;
    serve.stopped_itself(LONG).await?;
    scene.target.kill9().await?;
    serve.thaw()?;
    wait_until(LONG, "a person to be called", async || {
        let (status, writer, phase) = scene.phase_status().await?;
        let is_called = status == "blocked" && writer != "source";
        Ok(if is_called { Seen::Done(()) } else { Seen::NotYet(phase.to_string()) })
    })
    .await?;
    let request = give_up(&scene).await?;
    completed(&scene, request).await?;
    ensure!(scene.over(stuck, LONG).await? == "replaced", "the failback that was stuck has another end");
    scene.shows("quarantined", "source").await?;
    workload.acknowledged(40, LONG).await?;
    // Dead for ever: nothing waits for it, and what it keeps is named.
    scene.complete("retire", LONG).await?;
    let left = event(&scene, "left_behind").await?.to_string();
    ensure!(left.contains("slot switchyard_") && left.contains("table shop.orders"), "{left}");
    scene.shows("retired", "source").await?;
    let slots = "select count(*) from pg_replication_slots where slot_name like 'switchyard%'";
    let count: i64 = scene.on_source().await?.query_one(slots, &[]).await?.get(0);
    ensure!(count == 0, "{count} slots are left on the source");
    workload.acknowledged(40, LONG).await?;
    scene.product.journal().await?.check()?;
    workload.stop().await;
    serve.end().await
}
