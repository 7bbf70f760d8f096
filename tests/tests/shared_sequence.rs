//! A sequence that tables of two phases take values from stops the start before anything is touched.

use std::time::Duration;

use anyhow::{Result, ensure};
use product::scene::{PHASE, Scene, Setting};
use product::wait::{Seen, wait_until};

#[tokio::test]
async fn a_phase_that_would_share_a_sequence_with_another_is_not_begun() -> Result<()> {
    let scene = Scene::set(Setting::default()).await?;
    let source = scene.on_source().await?;
    source
        .batch_execute(
            "create table shop.imports (id bigint primary key default nextval('shop.orders_id_seq'), line text)",
        )
        .await?;
    scene.add_phase("imports", "tables = [\"shop.imp*\"]")?;
    let mut serve = scene.product.serve("a", None)?;
    serve.ready().await?;
    let request = scene.ask("start").await?;
    wait_until(Duration::from_secs(60), "the shared sequence to be found", async || {
        let (_, _, phase) = scene.phase_status().await?;
        let found = phase.pointer("/blocked/code").is_some_and(|code| code == "SW-0320");
        let named = ["orders_id_seq", "shop.imports", "phase imports"];
        Ok(if found && named.iter().all(|name| phase.to_string().contains(name)) {
            Seen::Done(())
        } else {
            Seen::NotYet(phase.to_string())
        })
    })
    .await?;
    let touched =
        scene.on_target().await?.query_one("select to_regnamespace('_switchyard') is not null", &[]).await?;
    ensure!(!touched.get::<_, bool>(0), "the target was touched");
    // Each table with a sequence of its own, it goes on.
    source
        .batch_execute(
            "create sequence shop.imports_id_seq owned by shop.imports.id start 1000000;
             alter table shop.imports alter id set default nextval('shop.imports_id_seq')",
        )
        .await?;
    scene.say("anna", &format!("/migrate {PHASE} retry")).await?;
    ensure!(scene.over(request, Duration::from_secs(120)).await? == "completed", "not mended");
    serve.end().await
}
