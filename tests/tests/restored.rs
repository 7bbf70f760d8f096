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

#[tokio::test]
async fn an_older_copy_of_the_journal_neither_begins_anything_nor_drops_what_the_application_writes()
-> Result<()> {
    let scene = Scene::set(Setting::default()).await?;
    let workload = scene.workload(Pace::GENTLE);
    let mut serve = scene.product.serve("a", None)?;
    serve.ready().await?;
    scene.complete("start", LONG).await?;
    serve.end().await?;
    let (journal, copy) = (scene.file("journal.db"), scene.file("copy.db"));
    put(&journal, &copy)?;

    let mut serve = scene.product.serve("a", None)?;
    serve.ready().await?;
    scene.complete("cutover", LONG).await?;
    let true_head = scene.head().await;
    serve.end().await?;
    put(&copy, &journal)?;

    // What was signed contradicts it: that is said, and nothing is begun.
    let mut serve = scene.product.serve("a", None)?;
    serve.ready().await?;
    wait_until(LONG, "status to say that the journal is contradicted", async || {
        let said = scene.product.chat("anna", "/migrate status").await?.text;
        Ok(if said.contains("SW-0655") { Seen::Done(()) } else { Seen::NotYet(said) })
    })
    .await?;
    for begins in [format!("/migrate {PHASE} retire"), format!("/migrate {PHASE} cutover")] {
        let refused = scene.product.chat("anna", &begins).await?;
        ensure!(!refused.accepted && refused.text.contains("SW-0655"), "`{begins}`: {}", refused.text);
    }
    scene.say("anna", "/migrate hold --reason 'the journal is an old copy'").await?;
    serve.end().await?;

    // With the witness lost as well nothing contradicts it; then the gate does, once the journal is as long as the true one.
    std::fs::remove_file(scene.file("witness.txt"))?;
    let mut serve = scene.product.serve("a", None)?;
    serve.ready().await?;
    scene.say("anna", "/migrate release").await?;
    while scene.head().await < true_head + 10 {
        scene.say("anna", "/migrate hold --reason 'to pass the time'").await?;
        scene.say("anna", "/migrate release").await?;
    }
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
    workload.acknowledged(40, LONG).await?;
    workload.rest(LONG).await?;
    scene.kept(&workload, Side::Target).await?;
    workload.stop().await;
    serve.end().await
}
