//! One cell that differs blocks the cutover, and is named.

use std::time::Duration;

use anyhow::{Result, ensure};
use product::scene::{PHASE, Scene, Setting, Side};
use product::wait::{Seen, wait_until};
use product::workload::Pace;

const LONG: Duration = Duration::from_secs(120);

#[tokio::test]
async fn one_spoiled_cell_on_the_target_blocks_the_cutover_by_name() -> Result<()> {
    let scene = Scene::set(Setting::default()).await?;
    let workload = scene.workload(Pace::GENTLE);
    let mut serve = scene.product.serve("a", None)?;
    serve.ready().await?;
    scene.complete("start", LONG).await?;

    let target = scene.on_target().await?;
    target.batch_execute("set session_replication_role = replica").await?;
    let name: String = target.query_one("select name from shop.customers where id = 123", &[]).await?.get(0);
    target.batch_execute("update shop.customers set name = 'SPOILED' where id = 123").await?;
    let breached = async || {
        let journal = scene.product.journal().await?;
        Ok(match journal.of("fence_breached").count() {
            0 => Seen::NotYet(journal.tail(5)),
            count => Seen::Done(count),
        })
    };
    wait_until(Duration::from_secs(20), "the guard to see what it must not see", breached).await?;

    // Whatever a person says, this does not become the writer before it is mended.
    scene.say("anna", &format!("/migrate release {PHASE}")).await?;
    let request = scene.order_anyway("cutover").await?;
    let named = |journal: &product::events::Journal| {
        journal.events().iter().rev().find_map(|event| {
            let text = event.value().to_string();
            let names = ["shop.customers", "123", "name"].iter().all(|part| text.contains(part));
            (names && matches!(event.kind(), "step_blocked" | "undo_started" | "effect_failed"))
                .then_some(text)
        })
    };
    let found = wait_until(LONG, "the cell to be named", async || {
        let journal = scene.product.journal().await?;
        Ok(match named(&journal) {
            Some(found) => Seen::Done(found),
            None => Seen::NotYet(journal.tail(10)),
        })
    })
    .await?;
    ensure!(!found.contains("SPOILED"), "the journal holds a cell's value: {found}");
    let finished = scene.product.journal().await?;
    if let Some(request) = request {
        ensure!(finished.outcome_of(request).as_deref() != Some("completed"), "the cutover was completed");
    }
    let source_open: bool =
        scene.on_source().await?.query_one("select mode = 'open' from _switchyard.gate", &[]).await?.get(0);
    ensure!(source_open || finished.outcome_of(request.unwrap_or(0)).is_none(), "nobody is the writer");
    workload.acknowledged(40, LONG).await?;

    target.execute("update shop.customers set name = $1 where id = 123", &[&name]).await?;
    scene.product.chat("anna", &format!("/migrate {PHASE} retry")).await?;
    // The mending passed the fence too. Nothing opens in an operation in which that happened: it is undone, the phase is held
    // until a person has looked, and the cutover is ordered anew.
    let outcome = match request {
        Some(request) => scene.over(request, LONG).await?,
        None => String::new(),
    };
    ensure!(outcome != "completed", "a side opened although a write had passed its fence");
    scene.say("anna", &format!("/migrate release {PHASE}")).await?;
    scene.complete("cutover", LONG).await?;
    workload.acknowledged(40, LONG).await?;
    scene.sound(&workload, Side::Target).await?;
    workload.stop().await;
    serve.end().await
}
