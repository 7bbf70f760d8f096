//! A phase that is named by patterns is what they matched when it was started, and stays that.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use product::scene::{Scene, Setting};
use product::wait::{Seen, wait_until};
use serde_json::Value;

const LONG: Duration = Duration::from_secs(120);

/// Replaces the tables of the scene's only phase.
fn name_tables(scene: &Scene, lines: &str) -> Result<()> {
    let plan = std::fs::read_to_string(scene.product.plan())?;
    let changed: Vec<&str> =
        plan.lines().map(|line| if line.starts_with("tables = ") { lines } else { line }).collect();
    Ok(std::fs::write(scene.product.plan(), changed.join("\n"))?)
}

/// Waits until the phase is blocked, and gives the code and the words.
async fn blocked(scene: &Scene) -> Result<(String, String)> {
    wait_until(LONG, "the phase to be blocked", async || {
        let (_, _, phase) = scene.phase_status().await?;
        let text = |key: &str| phase.pointer(key).and_then(Value::as_str).map(str::to_owned);
        Ok(match (text("/blocked/code"), text("/blocked/what")) {
            (Some(code), Some(what)) => Seen::Done((code, what)),
            _ => Seen::NotYet(phase.to_string()),
        })
    })
    .await
}

async fn tables(scene: &Scene) -> Result<Vec<String>> {
    let (_, _, phase) = scene.phase_status().await?;
    let tables = phase.get("tables").and_then(Value::as_array).context("no tables in the status")?;
    Ok(tables.iter().filter_map(Value::as_str).map(str::to_owned).collect())
}

#[tokio::test]
async fn a_pattern_is_expanded_once_and_what_comes_later_blocks_the_cutover() -> Result<()> {
    let scene = Scene::set(Setting::default()).await?;
    name_tables(&scene, "tables = [\"shop.events\", \"shop.*\"]")?;
    let source = scene.on_source().await?;
    let expected: Vec<String> = source
        .query("select 'shop.' || relname from pg_class where relnamespace = 'shop'::regnamespace and relkind = 'r'", &[])
        .await?
        .iter()
        .map(|row| row.get(0))
        .collect();
    let mut serve = scene.product.serve("a", None)?;
    serve.ready().await?;
    scene.complete("start", LONG).await?;
    let mut found = tables(&scene).await?;
    ensure!(found.first().is_some_and(|first| first == "shop.events"), "{found:?}");
    let by_name = |tables: &mut Vec<String>| {
        tables.sort();
        tables.clone()
    };
    ensure!(by_name(&mut found) == by_name(&mut expected.clone()), "{found:?} instead of {expected:?}");

    source.batch_execute("create table shop.latecomer (id bigint primary key)").await?;
    let request = scene.order("cutover").await?;
    let (code, what) = blocked(&scene).await?;
    ensure!(code == "SW-0314" && what.contains("shop.latecomer"), "{code}: {what}");
    ensure!(by_name(&mut tables(&scene).await?) == found, "the phase has grown");
    source.batch_execute("drop table shop.latecomer").await?;
    scene.say("anna", &format!("/migrate {} retry", product::scene::PHASE)).await?;
    let outcome = scene.over(request, LONG).await?;
    ensure!(outcome == "completed", "{outcome}");
    scene.equal(product::scene::Side::Target).await?;
    serve.end().await?;
    scene.product.journal().await?.check()?;
    Ok(())
}

#[tokio::test]
async fn a_pattern_of_nothing_is_found_before_anything_is_touched() -> Result<()> {
    let scene = Scene::set(Setting::default()).await?;
    name_tables(&scene, "tables = [\"shop.events\", \"shop.evnets_*\"]")?;
    let mut serve = scene.product.serve("a", None)?;
    serve.ready().await?;
    scene.ask("start").await?;
    let (code, what) = blocked(&scene).await?;
    ensure!(code == "SW-0313", "{code}: {what}");
    for client in [scene.on_source().await?, scene.on_target().await?] {
        let ours = "select to_regnamespace('_switchyard') is null and not exists (select from pg_publication) \
                      and not exists (select from pg_replication_slots)";
        ensure!(client.query_one(ours, &[]).await?.get::<_, bool>(0), "something was touched");
    }
    serve.end().await
}
