//! Each guard switched off from outside: what it guards against then happens, and is noticed.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use product::cluster::Role;
use product::compare::compare;
use product::scene::{PHASE, Scene, Setting, Side};
use product::switchyard::Serve;
use product::wait::{Seen, wait_until};
use product::workload::Pace;

const LONG: Duration = Duration::from_secs(120);
const WRITE: &str = "insert into shop.events (id, worker, seq, kind) values (-21, -21, 1, 'straggler')";

/// A phase whose writer is the target; the application rests.
async fn on_target() -> Result<(Scene, Serve)> {
    let scene = Scene::set(Setting::default()).await?;
    let mut serve = scene.product.serve("a", None)?;
    serve.ready().await?;
    scene.complete("start", LONG).await?;
    scene.complete("cutover", LONG).await?;
    Ok((scene, serve))
}

/// A straggler's write on the closed source passes, is the loss that the fence prevents, and is reported.
async fn breach_is_noticed(scene: &Scene) -> Result<()> {
    let app = scene.source.connect(Role::App).await?;
    app.batch_execute(WRITE).await?;
    let lost = compare(&scene.on_source().await?, &scene.on_target().await?).await?;
    ensure!(
        lost.missing_or_different.len() == 1,
        "the comparison does not show the loss: {}",
        lost.summary()
    );
    reported(scene, "shop.events").await?;
    let status = scene.product.status().await?.to_string();
    ensure!(
        status.contains("breach") || status.contains("hold"),
        "status says nothing of the breach: {status}"
    );
    Ok(())
}

async fn reported(scene: &Scene, table: &str) -> Result<()> {
    wait_until(Duration::from_secs(20), "the guard to report the breach", async || {
        let journal = scene.product.journal().await?;
        let reported = journal.of("fence_breached").any(|event| event.text("table") == table);
        Ok(if reported { Seen::Done(()) } else { Seen::NotYet(journal.tail(5)) })
    })
    .await
}

async fn source_refuses(scene: &Scene) -> Result<()> {
    let app = scene.source.connect(Role::App).await?;
    let answer = app.batch_execute(WRITE).await;
    let code = answer.as_ref().err().and_then(|error| error.code()).map(|code| code.code().to_owned());
    ensure!(code.as_deref() == Some("55000"), "with its guard in place the source answers {answer:?}");
    Ok(())
}

#[tokio::test]
async fn with_the_fences_triggers_dropped_a_straggler_is_noticed() -> Result<()> {
    let (scene, serve) = on_target().await?;
    source_refuses(&scene).await?;
    let source = scene.on_source().await?;
    source
        .batch_execute(
            "do $$ declare t record; begin
               for t in select tgrelid::regclass as table_name, tgname from pg_trigger g join pg_proc p on p.oid = g.tgfoid
                         where not tgisinternal and pronamespace = '_switchyard'::regnamespace
               loop execute format('drop trigger %I on %s', t.tgname, t.table_name); end loop; end $$",
        )
        .await?;
    breach_is_noticed(&scene).await?;
    serve.end().await
}

#[tokio::test]
async fn with_the_fences_function_replaced_a_straggler_is_noticed() -> Result<()> {
    let (scene, serve) = on_target().await?;
    source_refuses(&scene).await?;
    let source = scene.on_source().await?;
    source
        .batch_execute(
            "do $$ declare f record; begin
               for f in select distinct p.oid::regprocedure as name from pg_trigger g join pg_proc p on p.oid = g.tgfoid
                         where not tgisinternal and pronamespace = '_switchyard'::regnamespace
               loop execute format('create or replace function %s returns trigger language plpgsql as $f$ begin return null; end $f$', f.name);
               end loop; end $$",
        )
        .await?;
    breach_is_noticed(&scene).await?;
    serve.end().await
}

#[tokio::test]
async fn a_gate_row_opened_by_hand_is_noticed_before_the_next_window() -> Result<()> {
    let (scene, serve) = on_target().await?;
    // The row says open, the fence still refuses: row and fence disagree, and the next switch must not trust either.
    scene.on_source().await?.batch_execute("update _switchyard.gate set mode = 'open'").await?;
    source_refuses(&scene).await?;
    let watcher = product::watch::Watcher::start(&scene);
    tokio::time::sleep(Duration::from_secs(1)).await;
    ensure!(watcher.finish().await.is_err(), "the rig's own watcher does not see two open gate rows");
    let request = scene.order("failback").await?;
    wait_until(LONG, "the opened gate to be found", async || {
        let journal = scene.product.journal().await?;
        let found = journal.events().iter().any(|event| {
            event.position() > request
                && matches!(event.kind(), "step_blocked" | "effect_failed" | "undo_started")
                && event.value().to_string().contains("gate")
        });
        Ok(if found { Seen::Done(()) } else { Seen::NotYet(journal.tail(10)) })
    })
    .await?;
    ensure!(
        scene.product.journal().await?.outcome_of(request).as_deref() != Some("completed"),
        "the failback went through an opened gate"
    );
    serve.end().await
}

#[tokio::test]
async fn a_lost_guard_slot_is_reported_and_blocks_the_way_back() -> Result<()> {
    let scene = Scene::set(Setting::default()).await?;
    let mut serve = scene.product.serve("a", None)?;
    serve.ready().await?;
    scene.complete("start", LONG).await?;
    let target = scene.on_target().await?;
    wait_until(Duration::from_secs(20), "the guard's slot to be dropped", async || {
        target
            .batch_execute("select pg_terminate_backend(active_pid) from pg_replication_slots where active")
            .await?;
        let dropped = target
            .batch_execute(
                "select pg_drop_replication_slot(slot_name) from pg_replication_slots where not active",
            )
            .await;
        let left: i64 = target.query_one("select count(*) from pg_replication_slots", &[]).await?.get(0);
        Ok(if left == 0 { Seen::Done(()) } else { Seen::NotYet(format!("{left} slots left, {dropped:?}")) })
    })
    .await?;
    wait_until(Duration::from_secs(30), "the lost slot to be reported", async || {
        let journal = scene.product.journal().await?;
        let reported = journal.of("stream_changed").any(|event| {
            event.text("direction") == "failback" && event.field("health").to_string().contains("stopped")
        });
        Ok(if reported { Seen::Done(()) } else { Seen::NotYet(journal.tail(5)) })
    })
    .await?;
    // Without a stream that is certain to see the target's writes there is no cutover.
    let request = scene.order_anyway("cutover").await?;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let journal = scene.product.journal().await?;
    let outcome = request.and_then(|request| journal.outcome_of(request));
    ensure!(outcome.as_deref() != Some("completed"), "cut over without a way back: {}", journal.tail(20));
    serve.end().await
}

#[tokio::test]
async fn without_verification_a_spoiled_row_would_have_passed() -> Result<()> {
    let scene = Scene::set(Setting::default()).await?;
    let workload = scene.workload(Pace::GENTLE);
    let mut serve = scene.product.serve("a", None)?;
    serve.ready().await?;
    scene.complete("start", LONG).await?;
    let target = scene.on_target().await?;
    target
        .batch_execute("set session_replication_role = replica; delete from shop.order_items where order_id = 3 and line = 1")
        .await?;
    // The streams say nothing is behind: only a comparison can find this, and the rig's does.
    workload.rest(LONG).await?;
    let found = compare(&scene.on_source().await?, &target).await?;
    ensure!(found.missing_or_different.iter().any(|row| row.contains("3/1")), "{}", found.summary());
    // The guard saw a change without our mark, and nothing begins until somebody has looked.
    reported(&scene, "shop.order_items").await?;
    let answer = scene.product.chat("anna", &format!("/migrate {PHASE} cutover")).await?;
    ensure!(!answer.accepted && answer.text.contains("verify"), "held, and then: {}", answer.text);
    let request = scene.order_anyway("verify").await?;
    wait_until(LONG, "`verify` to name the row", async || {
        let journal = scene.product.journal().await?;
        let named = journal.events().iter().any(|event| {
            let text = event.value().to_string();
            matches!(event.kind(), "step_blocked" | "effect_failed") && text.contains("shop.order_items")
        });
        Ok(if named { Seen::Done(()) } else { Seen::NotYet(format!("#{request:?} {}", journal.tail(10))) })
    })
    .await?;
    // Mended as it was broken, past the fence, which is seen too; then everything is equal, and a person says so.
    let lost = scene.on_source().await?;
    let row: String = lost
        .query_one(
            "select format('(%L, %L, %L, %L, %L)', order_id, line, product_id, quantity, stamp) from shop.order_items \
             where order_id = 3 and line = 1",
            &[],
        )
        .await?
        .get(0);
    target
        .batch_execute(&format!(
            "insert into shop.order_items (order_id, line, product_id, quantity, stamp) values {row}"
        ))
        .await?;
    wait_until(Duration::from_secs(20), "the mending to be seen", async || {
        let seen = scene.product.journal().await?.of("fence_breached").count();
        Ok(if seen >= 2 { Seen::Done(()) } else { Seen::NotYet(format!("{seen} breaches")) })
    })
    .await?;
    let (_, _, phase) = scene.phase_status().await?;
    let breaches = phase.get("breaches").map(ToString::to_string).unwrap_or_default();
    ensure!(breaches.contains("shop.order_items") && breaches.contains("\"changes\":2"), "{phase}");
    scene.say("anna", &format!("/migrate {PHASE} retry")).await?;
    let request = request.context("verify was refused while the phase was held")?;
    ensure!(scene.over(request, LONG).await? == "completed", "still different");
    scene.say("anna", &format!("/migrate release {PHASE}")).await?;
    scene.complete("cutover", LONG).await?;
    workload.stop().await;
    serve.end().await
}

#[tokio::test]
async fn the_side_that_is_not_the_writer_refuses_in_both_directions() -> Result<()> {
    let scene = Scene::set(Setting::default()).await?;
    let mut serve = scene.product.serve("a", None)?;
    serve.ready().await?;
    scene.complete("start", LONG).await?;
    let app = scene.target.connect(Role::App).await?;
    let answer = app.batch_execute(WRITE).await;
    let code = answer.as_ref().err().and_then(|error| error.code()).map(|code| code.code().to_owned());
    ensure!(code.as_deref() == Some("55000"), "before the cutover the target answers {answer:?}");
    let truncated = app.batch_execute("truncate shop.notes").await;
    ensure!(truncated.is_err(), "TRUNCATE passes the closed target");
    scene.equal(Side::Source).await?;
    serve.end().await
}
