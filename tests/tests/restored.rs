//! An older copy of the journal put back: it does not know that the target is the writer, and must not be believed.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, ensure};
use product::scene::{PHASE, Scene, Setting, Side};
use product::wait::{Seen, wait_until};
use product::workload::Pace;

const LONG: Duration = Duration::from_secs(120);

/// Copies a journal that nobody has open, with the end of it that still stands in its write-ahead log.
fn put(journal: &Path, copy: &Path) -> Result<()> {
    std::fs::copy(journal, copy)?;
    for of_wal in ["-wal", "-shm"] {
        let beside = |path: &Path| PathBuf::from(format!("{}{of_wal}", path.display()));
        let (from, to) = (beside(journal), beside(copy));
        if to.exists() {
            std::fs::remove_file(&to)?;
        }
        if from.exists() {
            std::fs::copy(from, to)?;
        }
    }
    Ok(())
}

/// The slots of ours on both sides.
async fn slots(scene: &Scene) -> Result<(i64, i64)> {
    let sql = "select count(*) from pg_replication_slots where slot_name like 'switchyard%'";
    let source = scene.on_source().await?.query_one(sql, &[]).await?.get(0);
    let target = scene.on_target().await?.query_one(sql, &[]).await?.get(0);
    Ok((source, target))
}

/// Status says so, and nothing is begun, approved or released.
async fn refused_with(scene: &Scene, code: &str) -> Result<()> {
    wait_until(LONG, "status to say that the journal cannot be believed", async || {
        let said = scene.product.chat("anna", "/migrate status").await?.text;
        Ok(if said.contains(code) { Seen::Done(()) } else { Seen::NotYet(said) })
    })
    .await?;
    let said = ["retire", "cutover", "verify"].map(|word| format!("/migrate {PHASE} {word}"));
    for begins in said.into_iter().chain(["/migrate release".to_owned()]) {
        let refused = scene.product.chat("anna", &begins).await?;
        ensure!(!refused.accepted && refused.text.contains(code), "`{begins}`: {}", refused.text);
    }
    Ok(())
}

#[tokio::test]
async fn an_older_copy_of_the_journal_begins_nothing_and_the_newest_goes_on() -> Result<()> {
    let scene = Scene::set(Setting::default()).await?;
    let workload = scene.workload(Pace::GENTLE);
    let mut serve = scene.product.serve("a", None)?;
    serve.ready().await?;
    scene.complete("start", LONG).await?;
    serve.end().await?;
    let (journal, old, newest) = (scene.file("journal.db"), scene.file("old.db"), scene.file("newest.db"));
    put(&journal, &old)?;

    let mut serve = scene.product.serve("a", None)?;
    serve.ready().await?;
    scene.complete("cutover", LONG).await?;
    let kept = slots(&scene).await?;
    serve.end().await?;
    put(&journal, &newest)?;
    put(&old, &journal)?;

    // What was signed contradicts it: that is said, and nothing is begun.
    let mut serve = scene.product.serve("a", None)?;
    serve.ready().await?;
    refused_with(&scene, "SW-0655").await?;
    let (_, said) = scene.product.verb(&["status"], &[]).await?;
    ensure!(said.contains("SW-0655"), "the command line's status does not say it: {said}");
    serve.end().await?;

    // With the witness lost as well the gates contradict it.
    let witness = scene.file("witness.txt");
    std::fs::rename(&witness, scene.file("witness.kept"))?;
    let told = || scene.product.log_tail("a", 100_000).matches("nothing is done by this journal").count();
    let told_before = told();
    let mut serve = scene.product.serve("a", None)?;
    serve.ready().await?;
    refused_with(&scene, "SW-0660").await?;
    let status = scene.product.status().await?.to_string();
    ensure!(status.contains("SW-0660"), "{status}");
    let (in_order, doctor) = scene.product.doctor().await?;
    ensure!(!in_order && doctor.to_string().contains("SW-0660"), "{doctor}");
    serve.end().await?;
    // The log has it once a side.
    let told = told().checked_sub(told_before);
    ensure!(told.is_some_and(|times| (1..=2).contains(&times)), "the log says it {told:?} times");
    ensure!(slots(&scene).await? == kept, "a way was dropped: {kept:?}, {:?}", slots(&scene).await?);

    // The newest copy goes on, and has lost nothing.
    put(&newest, &journal)?;
    std::fs::rename(scene.file("witness.kept"), &witness)?;
    let mut serve = scene.product.serve("a", None)?;
    serve.ready().await?;
    scene.complete("failback", LONG).await?;
    let status = scene.product.status().await?.to_string();
    ensure!(!status.contains("SW-0660"), "{status}");
    workload.acknowledged(40, LONG).await?;
    workload.rest(LONG).await?;
    scene.kept(&workload, Side::Source).await?;
    workload.stop().await;
    serve.end().await
}

#[tokio::test]
async fn what_the_application_writes_is_not_dropped_whatever_the_journal_says() -> Result<()> {
    let scene = Scene::set(Setting::default()).await?;
    let mut serve = scene.product.serve("a", None)?;
    serve.ready().await?;
    scene.complete("start", LONG).await?;
    // As a newer copy of the journal would have left it, after this one was looked at.
    let open = "update _switchyard.gate set mode = 'open'";
    scene.on_target().await?.execute(open, &[]).await?;
    let request = scene.order("retire").await?;
    let found = wait_until(LONG, "the dropping to be refused", async || {
        let journal = scene.product.journal().await?;
        let refused = journal.events().iter().find_map(|event| {
            let text = event.value().to_string();
            (event.kind() == "effect_failed" && text.contains("SW-0232")).then_some(text)
        });
        Ok(refused.map_or_else(|| Seen::NotYet(journal.tail(10)), Seen::Done))
    })
    .await?;
    ensure!(found.contains("the target is the open side"), "{found}");
    let outcome = scene.product.journal().await?.outcome_of(request);
    ensure!(outcome.as_deref() != Some("completed"), "the retire was completed");
    serve.end().await
}

#[tokio::test]
async fn databases_that_changed_places_are_not_taken_for_an_older_journal() -> Result<()> {
    let mut scene = Scene::set(Setting::default()).await?;
    let mut serve = scene.product.serve("a", None)?;
    serve.ready().await?;
    scene.complete("start", LONG).await?;
    serve.end().await?;

    scene.product.swap("SHOP_SOURCE", "SHOP_TARGET");
    let (in_order, doctor) = scene.product.doctor().await?;
    let told = doctor.to_string();
    ensure!(!in_order && told.contains("had changed places"), "{told}");
    for code in ["SW-0660", "SW-0543", "SW-0545"] {
        ensure!(!told.contains(code), "doctor says {code}: {told}");
    }
    let mut serve = scene.product.serve("a", None)?;
    serve.ready().await?;
    let status = wait_until(LONG, "status to say what the sides are", async || {
        let (_, said) = scene.product.verb(&["status"], &[]).await?;
        Ok(if said.contains("had changed places") { Seen::Done(said) } else { Seen::NotYet(said) })
    })
    .await?;
    ensure!(!status.contains("SW-0660"), "{status}");
    serve.end().await?;

    scene.product.swap("SHOP_SOURCE", "SHOP_TARGET");
    let mut serve = scene.product.serve("a", None)?;
    serve.ready().await?;
    scene.complete("cutover", LONG).await?;
    serve.end().await
}
