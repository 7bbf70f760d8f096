//! A table is what was compared, or nothing opens: another one under its name, other columns and rewritten rows, between the
//! comparison of the whole table and the closed gate. And what is not replicated is named while nothing switches.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use product::scene::{PHASE, Scene, Setting, Side};
use product::switchyard::Serve;
use product::wait::{Seen, wait_until};
use product::workload::{Pace, Workload};
use tokio_postgres::Client;

const LONG: Duration = Duration::from_secs(120);

/// A usual deployment: the rows go into a new table, which takes the old one's name.
const REPLACE: &str = "begin;
    lock table shop.events in access exclusive mode;
    create table shop.events_new (like shop.events including all);
    insert into shop.events_new select * from shop.events;
    grant all on shop.events_new to app;
    alter table shop.events rename to events_old;
    alter index shop.events_pkey rename to events_old_pkey;
    alter index shop.events_worker_seq_key rename to events_old_worker_seq_key;
    alter table shop.events_new rename to events;
    alter index shop.events_new_pkey rename to events_pkey;
    alter index shop.events_new_worker_seq_key rename to events_worker_seq_key;
    commit";

async fn side(scene: &Scene, side: Side) -> Result<Client> {
    match side {
        Side::Source => scene.on_source().await,
        Side::Target => scene.on_target().await,
    }
}

/// An operation that has compared everything and is about to stop the traffic.
async fn compared(scene: &Scene, operation: &str) -> Result<(u64, Serve)> {
    let place = format!("stop:{operation}/stop_traffic/hold_traffic/before_intent");
    let mut serve = scene.product.serve("a", Some(&place))?;
    serve.ready().await?;
    let request = scene.order(operation).await?;
    serve.stopped_itself(LONG).await?;
    Ok((request, serve))
}

async fn undone(scene: &Scene, request: u64, told: [&str; 2]) -> Result<()> {
    let outcome = scene.over(request, LONG).await?;
    let journal = scene.product.journal().await?;
    ensure!(outcome == "undone", "it ended as {outcome}:\n{}", journal.tail(30));
    let cause = journal.of("undo_started").next_back().map(|event| event.field("cause").to_string());
    let cause = cause.context("no undo was begun")?;
    ensure!(told.iter().all(|word| cause.contains(word)), "undone because of {cause}");
    Ok(())
}

async fn on(writer: Side) -> Result<(Scene, Workload)> {
    let setting = Setting { lease: "5s", failback_deadline: "return", ..Setting::default() };
    let scene = Scene::set(setting).await?;
    let workload = scene.workload(Pace::GENTLE);
    let serve = scene.product.serve("a", None)?;
    scene.complete("start", LONG).await?;
    if writer == Side::Target {
        scene.complete("cutover", LONG).await?;
    }
    serve.end().await?;
    Ok((scene, workload))
}

/// The writer's side gets another table under a name; its fence and its publication know nothing of that.
async fn is_replaced(operation: &str, writer: Side) -> Result<()> {
    let (scene, workload) = on(writer).await?;
    let (request, serve) = compared(&scene, operation).await?;
    side(&scene, writer).await?.batch_execute(REPLACE).await?;
    workload.acknowledged(40, LONG).await?;
    serve.thaw()?;
    undone(&scene, request, ["SW-0411", "shop.events"]).await?;
    workload.acknowledged(40, LONG).await?;
    workload.rest(LONG).await?;
    scene.kept(&workload, writer).await?;
    let left = if writer == Side::Source { Side::Target } else { Side::Source };
    let answer = side(&scene, left).await?.batch_execute("delete from shop.events where worker = -1").await;
    let code = answer.as_ref().err().and_then(|error| error.code()).map(|code| code.code().to_owned());
    ensure!(code.as_deref() == Some("55000"), "the side that stayed closed answers {answer:?}");
    workload.stop().await;
    serve.end().await
}

#[tokio::test]
async fn a_table_replaced_after_its_comparison_undoes_a_cutover_and_no_write_is_lost() -> Result<()> {
    is_replaced("cutover", Side::Source).await
}

#[tokio::test]
async fn a_table_replaced_after_its_comparison_undoes_a_failback_and_no_write_is_lost() -> Result<()> {
    is_replaced("failback", Side::Target).await
}

#[tokio::test]
async fn what_may_give_rows_other_values_undoes_a_switch_and_what_does_not_is_let_pass() -> Result<()> {
    let (scene, workload) = on(Side::Source).await?;
    workload.stop().await;
    for (operation, writer) in [("cutover", Side::Source), ("failback", Side::Target)] {
        let (request, serve) = compared(&scene, operation).await?;
        for at in [Side::Source, Side::Target] {
            let client = side(&scene, at).await?;
            client.batch_execute("vacuum full shop.notes").await?;
            client.batch_execute("vacuum shop.events").await?;
            client.batch_execute("cluster shop.prices using prices_pkey").await?;
            client.batch_execute("reindex table shop.orders").await?;
            client.batch_execute("analyze").await?;
            client
                .batch_execute(&format!(
                    "create index notes_{operation} on shop.notes (pinned);
                     comment on table shop.notes is '{operation}';
                     alter table shop.events alter column kind set statistics 200"
                ))
                .await?;
        }
        serve.thaw()?;
        let outcome = scene.over(request, LONG).await?;
        let journal = scene.product.journal().await?;
        ensure!(
            outcome == "completed",
            "a {operation} of {writer:?} ended as {outcome}:\n{}",
            journal.tail(30)
        );
        serve.end().await?;
    }
    let (request, serve) = compared(&scene, "cutover").await?;
    for at in [Side::Source, Side::Target] {
        let rewrite = "alter table shop.notes alter column stamp type text using random()::text";
        side(&scene, at).await?.batch_execute(rewrite).await?;
    }
    serve.thaw()?;
    undone(&scene, request, ["SW-0410", "shop.notes on the source was rewritten"]).await?;
    serve.end().await?;
    // The rows differ now, which only the comparison that comes first can tell.
    side(&scene, Side::Source).await?.batch_execute("update shop.notes set stamp = 'seed'").await?;
    let mut serve = scene.product.serve("a", None)?;
    serve.ready().await?;
    scene.equal(Side::Source).await?;
    serve.end().await?;
    let (request, serve) = compared(&scene, "cutover").await?;
    for at in [Side::Source, Side::Target] {
        let column = "alter table shop.products add column token uuid default gen_random_uuid()";
        side(&scene, at).await?.batch_execute(column).await?;
    }
    serve.thaw()?;
    undone(&scene, request, ["SW-0410", "shop.products on the source has other columns"]).await?;
    scene.shows("replicating", "source").await?;
    serve.end().await
}

/// Waits until status names the table and the code, and gives the phase as it shows it.
async fn named(scene: &Scene, direction: &str) -> Result<String> {
    wait_until(LONG, "status to name the table that is not replicated", async || {
        let (_, _, phase) = scene.phase_status().await?;
        let text = phase.to_string();
        let is_named = text.contains("SW-0411") && text.contains("shop.events");
        Ok(if is_named { Seen::Done(()) } else { Seen::NotYet(text) })
    })
    .await?;
    // Doctor has it from the journal.
    wait_until(LONG, "doctor to name it", async || {
        let (_, report) = scene.product.doctor().await?;
        let text = report.to_string();
        let is_named =
            text.contains(&format!("the {direction} stream is down")) && text.contains("[SW-0411]");
        Ok(if is_named && text.contains("shop.events") { Seen::Done(()) } else { Seen::NotYet(text) })
    })
    .await?;
    let (_, _, phase) = scene.phase_status().await?;
    Ok(phase.to_string())
}

#[tokio::test]
async fn a_table_replaced_while_it_is_replicated_is_named_and_refuses_a_cutover() -> Result<()> {
    let (scene, workload) = on(Side::Source).await?;
    workload.stop().await;
    let mut serve = scene.product.serve("a", None)?;
    serve.ready().await?;
    scene.on_source().await?.batch_execute(REPLACE).await?;
    let status = named(&scene, "forward").await?;
    let answer = scene.product.chat("anna", &format!("/migrate {PHASE} cutover")).await?;
    ensure!(!answer.accepted && answer.text.contains("SW-0540"), "{}", answer.text);
    ensure!(answer.text.contains("SW-0411") && answer.text.contains("shop.events"), "{}", answer.text);
    ensure!(scene.product.journal().await?.request("cutover").is_none(), "the cutover was taken");

    // The remedy that is named leads on.
    let publication: String = scene
        .on_source()
        .await?
        .query_one("select pubname::text from pg_publication where pubname like 'switchyard%'", &[])
        .await?
        .get(0);
    let statement = format!("alter publication \"{publication}\" add table \"shop\".\"events\"");
    ensure!(answer.text.contains(&statement) || status.contains("alter publication"), "{}", answer.text);
    scene.on_source().await?.batch_execute(&statement).await?;
    wait_until(LONG, "the stream to go on", async || {
        let (_, _, phase) = scene.phase_status().await?;
        let text = phase.to_string();
        Ok(if text.contains("SW-0411") { Seen::NotYet(text) } else { Seen::Done(()) })
    })
    .await?;
    scene.complete("verify", LONG).await?;
    scene.complete("cutover", LONG).await?;
    scene.equal(Side::Target).await?;
    serve.end().await
}

#[tokio::test]
async fn a_lost_target_is_not_said_to_have_given_what_was_not_replicated() -> Result<()> {
    let (mut scene, workload) = on(Side::Target).await?;
    let mut serve = scene.product.serve("a", None)?;
    serve.ready().await?;
    scene.on_target().await?.batch_execute(REPLACE).await?;
    workload.acknowledged(40, LONG).await?;
    named(&scene, "failback").await?;
    let failback = scene.product.chat("anna", &format!("/migrate {PHASE} failback")).await?;
    ensure!(!failback.accepted && failback.text.contains("SW-0411"), "{}", failback.text);
    workload.stop().await;
    scene.target.kill9().await?;
    let asked = format!("/migrate {PHASE} failback --target-lost");
    let shown = wait_until(LONG, "the loss to be shown", async || {
        let answer = scene.product.chat("anna", &asked).await?;
        let is_shown = answer.text.contains("--confirm loss-");
        Ok(if is_shown { Seen::Done(answer.text) } else { Seen::NotYet(answer.text) })
    })
    .await?;
    ensure!(shown.contains("shop.events") && !shown.contains("is on the source"), "{shown}");
    serve.end().await
}
