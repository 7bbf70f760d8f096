//! What a database gives to every session that begins in it is looked at before an application is led there.

use std::time::Duration;

use anyhow::{Result, ensure};
use product::scene::{PHASE, Scene, Setting, Side};
use product::wait::{Seen, wait_until};
use product::workload::Pace;

const LONG: Duration = Duration::from_secs(120);
const READ_ONLY: &str = "alter database shop set default_transaction_read_only = on";
const WRITABLE: &str = "alter database shop reset default_transaction_read_only";

/// Orders an operation, which is to be blocked under a code, and says `retry` once what is wrong is mended.
async fn blocked_until(
    scene: &Scene,
    operation: &str,
    code: &str,
    mend: impl AsyncFn() -> Result<()>,
) -> Result<()> {
    let request = scene.order(operation).await?;
    wait_until(LONG, "the step to be blocked", async || {
        let journal = scene.product.journal().await?;
        let said = journal
            .of("step_blocked")
            .any(|event| event.position() > request && event.value().to_string().contains(code));
        Ok(if said { Seen::Done(()) } else { Seen::NotYet(journal.tail(10)) })
    })
    .await?;
    mend().await?;
    scene.say("anna", &format!("/migrate {PHASE} retry")).await?;
    let outcome = scene.over(request, LONG).await?;
    ensure!(outcome == "completed", "{operation} came to {outcome}");
    Ok(())
}

#[tokio::test]
async fn a_database_that_begins_its_sessions_read_only_is_named_before_anybody_is_led_there() -> Result<()> {
    let scene = Scene::set(Setting::default()).await?;
    let (source, target) = (scene.on_source().await?, scene.on_target().await?);
    source.batch_execute("alter database shop set timezone = 'Asia/Tokyo'").await?;
    target.batch_execute(READ_ONLY).await?;
    let workload = scene.workload(Pace::GENTLE);
    let mut serve = scene.product.serve("a", None)?;
    serve.ready().await?;
    let mend = async || Ok(target.batch_execute(WRITABLE).await?);
    blocked_until(&scene, "start", "SW-0233", mend).await?;
    let warned = "TimeZone: `Asia/Tokyo` at the source, none at the target";
    let journal = scene.product.journal().await?;
    let is_warned = journal.of("effect_succeeded").any(|event| event.value().to_string().contains(warned));
    ensure!(is_warned, "nobody is warned of the time zone");
    target.batch_execute(READ_ONLY).await?;
    blocked_until(&scene, "cutover", "SW-0407", mend).await?;
    source.batch_execute(READ_ONLY).await?;
    blocked_until(&scene, "failback", "SW-0407", async || Ok(source.batch_execute(WRITABLE).await?)).await?;
    workload.acknowledged(40, LONG).await?;
    workload.rest(LONG).await?;
    scene.kept(&workload, Side::Source).await?;
    workload.stop().await;
    serve.end().await
}
