//! `doctor` tells what two databases and a lever are like, without the journal and without a server.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use product::scene::{Scene, Setting};
use product::wait::{Seen, wait_until};
use rustix::process::Signal;
use serde_json::Value;

const LONG: Duration = Duration::from_secs(120);

fn codes(report: &Value) -> Vec<String> {
    let findings =
        report.pointer("/phases/0/findings").and_then(Value::as_array).cloned().unwrap_or_default();
    findings.iter().filter_map(|finding| Some(finding.get("code")?.as_str()?.to_owned())).collect()
}

fn said<'r>(report: &'r Value, key: &str) -> &'r str {
    report.pointer(&format!("/phases/0/{key}")).and_then(Value::as_str).unwrap_or_default()
}

async fn finds(scene: &Scene, expected: &[&str]) -> Result<Value> {
    let (in_order, report) = scene.product.doctor().await?;
    let found = codes(&report);
    ensure!(in_order == found.is_empty(), "its exit code is not what it found: {report}");
    ensure!(found == expected, "expected {expected:?}: {report}");
    Ok(report)
}

#[tokio::test]
async fn it_says_who_can_write_where_and_what_disagrees() -> Result<()> {
    let scene = Scene::set(Setting::default()).await?;
    let report = finds(&scene, &[]).await?;
    ensure!(
        said(&report, "source_accepts") == "yes" && said(&report, "target_accepts") == "no_tables",
        "{report}"
    );

    let mut serve = scene.product.serve("a", None)?;
    serve.ready().await?;
    scene.complete("start", LONG).await?;
    let report = finds(&scene, &[]).await?;
    ensure!(said(&report, "source_accepts") == "yes" && said(&report, "target_accepts") == "no", "{report}");
    scene.complete("cutover", LONG).await?;
    let report = finds(&scene, &[]).await?;
    ensure!(said(&report, "source_accepts") == "no" && said(&report, "target_accepts") == "yes", "{report}");
    ensure!(
        said(&report, "lever") == "target" && said(&report, "way_back").starts_with("about "),
        "{report}"
    );

    serve.end().await?;
    let away = [("SHOP_TARGET", "postgres://nobody@127.0.0.1:1/shop")];
    let (_, text) = scene.product.verb(&["doctor"], &away).await?;
    let (cause, follows) =
        (text.find("SW-0542"), text.find("the target cannot be seen, SW-0542, so nobody reads"));
    ensure!(cause.is_some() && cause < follows, "the cause does not come first: {text}");
    std::fs::rename(scene.file("journal.db"), scene.file("elsewhere.db"))?;
    finds(&scene, &["SW-0547", "SW-0547"]).await?;
    std::fs::rename(scene.file("elsewhere.db"), scene.file("journal.db"))?;
    let (_, _, before) = scene.phase_status().await?;
    ensure!(before.get("is_stale") != Some(&Value::Bool(true)), "stale at once: {before}");
    wait_until(Duration::from_secs(10), "status to say that nobody serves", async || {
        let (_, _, phase) = scene.phase_status().await?;
        let stale = phase.get("is_stale") == Some(&Value::Bool(true));
        Ok(if stale { Seen::Done(()) } else { Seen::NotYet(phase.to_string()) })
    })
    .await?;

    // A fence taken away by hand, a slot dropped, a server gone.
    let source = scene.on_source().await?;
    source
        .batch_execute(
            "do $$ declare t record; begin
               for t in select tgrelid::regclass as on_table, tgname from pg_trigger g join pg_proc p on p.oid = g.tgfoid
                         where not tgisinternal and pronamespace = '_switchyard'::regnamespace
               loop execute format('drop trigger %I on %s', t.tgname, t.on_table); end loop; end $$",
        )
        .await?;
    let report = finds(&scene, &["SW-0544", "SW-0543", "SW-0547", "SW-0547"]).await?;
    let first = report.pointer("/phases/0/findings/0/remedy").and_then(Value::as_str).context("no remedy")?;
    ensure!(!first.is_empty(), "{report}");
    scene
        .on_target()
        .await?
        .batch_execute("select pg_drop_replication_slot(slot_name) from pg_replication_slots")
        .await?;
    let report = finds(&scene, &["SW-0544", "SW-0543", "SW-0547", "SW-0546"]).await?;
    ensure!(said(&report, "way_back") == "one-way", "{report}");
    drop(source);
    scene.source.process().signal(Signal::QUIT)?;
    wait_until(LONG, "the source to be gone", async || {
        let (_, report) = scene.product.doctor().await?;
        let found = codes(&report);
        Ok(if found.first().is_some_and(|code| code == "SW-0542") {
            Seen::Done(())
        } else {
            Seen::NotYet(report.to_string())
        })
    })
    .await
}
