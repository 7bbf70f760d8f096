//! Repeats of what was heard once do nothing, however many there are and in whatever way they come.

use anyhow::{Result, ensure};
use product::doubles::github::scene::{ANNA, Scene};
use product::webhooks::repeats;

/// How many repeats.
const REPEATS: usize = 10_000;

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_redeliveries_and_replays_have_no_second_effect() -> Result<()> {
    let scene = Scene::set().await?;
    for text in ["hold region-a --reason \"first\"", "release region-a", "hold region-b --reason \"second\""]
    {
        scene.says(ANNA, &format!("/migrate {text}")).await;
        scene.settled().await?;
    }
    let before = scene.journal().await?;
    ensure!(before.of("hold_placed").count() == 2 && before.of("hold_released").count() == 1);
    let hooks: Vec<_> = scene
        .github
        .attempts()
        .into_iter()
        .map(|attempt| attempt.hook)
        .filter(|hook| {
            // The bot's own comments make webhooks too, which it has nothing to do with.
            let body: serde_json::Value = serde_json::from_str(&hook.body).unwrap_or_default();
            hook.event == "issue_comment" && body["sender"]["type"] == "User"
        })
        .collect();
    ensure!(hooks.len() >= 3, "{} webhooks", hooks.len());
    repeats(&format!("{}/github", scene.talk.origin("a")), &hooks, REPEATS).await?;
    scene.settled().await?;
    let after = scene.journal().await?;
    ensure!(after.head() == before.head(), "the journal grew:\n{}", after.tail(5));
    let replies = scene.github.world(|world| world.comments.values().filter(|one| !one.is_expected).count());
    ensure!(replies == 3, "{replies} replies to three commands");
    for containing in ["first", "is over", "second"] {
        scene.answered(&[containing]).await?;
    }
    scene.ends().await?;
    Ok(())
}
