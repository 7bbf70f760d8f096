//! A link that takes bytes and brings none: it is said for whom is waited, and it holds nothing for ever.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use product::scene::{Scene, Setting, Side};
use product::wait::{Seen, wait_until};
use product::workload::Pace;

const LONG: Duration = Duration::from_secs(120);

/// What `status` says is being done.
async fn doing(scene: &Scene) -> Result<String> {
    let status = scene.product.status().await?;
    let doing = status.pointer("/phases/0/doing").and_then(serde_json::Value::as_str);
    Ok(doing.unwrap_or_default().to_owned())
}

#[tokio::test]
async fn a_start_over_a_link_that_dies_by_halves_says_for_whom_it_waits_and_goes_on_over_another()
-> Result<()> {
    let scene = Scene::set(Setting { has_link: true, ..Setting::default() }).await?;
    let link = scene.link.as_ref().context("the scene has no link")?;
    let workload = scene.workload(Pace::GENTLE);
    let mut serve = scene.product.serve("a", None)?;
    serve.ready().await?;
    let request = scene.order("start").await?;
    scene.reached(request, "load", "copy_table", LONG).await?;
    link.die();
    let place = format!("the source (127.0.0.1:{}, database ", link.port());
    wait_until(Duration::from_secs(40), "the source to be named", async || {
        let said = doing(&scene).await?;
        Ok(if said.contains(&place) { Seen::Done(()) } else { Seen::NotYet(said) })
    })
    .await?;
    // The old connections stay as dead as they are; the server takes new ones.
    link.revive();
    ensure!(scene.over(request, LONG).await? == "completed", "the start did not go on");
    scene.sound(&workload, Side::Source).await?;
    let password = product::cluster::Role::Mover.password();
    ensure!(!scene.product.everything_written().await?.contains(password), "a password was written");
    workload.stop().await;
    serve.end().await
}

#[tokio::test]
async fn connections_that_stay_and_are_dead_hold_a_start_for_no_longer_than_it_takes_to_ask_the_server()
-> Result<()> {
    let scene = Scene::set(Setting { has_link: true, ..Setting::default() }).await?;
    let link = scene.link.as_ref().context("the scene has no link")?;
    let mut serve = scene.product.serve("a", None)?;
    serve.ready().await?;
    let request = scene.order("start").await?;
    scene.reached(request, "load", "copy_table", LONG).await?;
    // What is open is dead from here on, and nothing tells; a new connection passes.
    link.die();
    link.revive();
    ensure!(scene.over(request, LONG).await? == "completed", "the start did not go on");
    scene.equal(Side::Source).await?;
    serve.end().await
}
