//! Repeats of what was heard once do nothing, however many there are and in whatever way they come.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use product::doubles::github::{Github, SECRET, Thread};
use product::talk::{Person, Setting, Talk};
use product::webhooks::repeats;

/// How many repeats.
const REPEATS: usize = 10_000;

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_redeliveries_and_replays_have_no_second_effect() -> Result<()> {
    let files = BTreeMap::from([("README.md".to_owned(), "a shop\n".to_owned())]);
    let github = Github::start("acme/shop", files).await?;
    github.person("anna", 1001);
    let bot = format!(
        "[github]\napp_id = 123456\nprivate_key = \"env:GITHUB_KEY\"\nwebhook_secrets = [\"env:GITHUB_SECRET\"]\n\
         repository = \"acme/shop\"\napi_url = \"{}\"\n",
        github.url()
    );
    let anna = Person { id: "anna", roles: "\"operator\", \"approver\"", accounts: "github = 1001" };
    let ben = Person { id: "ben", roles: "\"approver\"", accounts: "" };
    let environment = vec![
        ("GITHUB_KEY".to_owned(), github.private_key()),
        ("GITHUB_SECRET".to_owned(), SECRET.to_owned()),
    ];
    let setting = Setting { people: vec![anna, ben], plan: String::new(), bot, environment };
    let talk = Talk::set(setting).await?;
    let serve = talk.serve("a").await?;
    let url = format!("{}/github", talk.origin("a"));
    github.deliver_to(&url);
    let pull = github.open_pull(1001, "Hold and release", &[("notes.md", Some("soon"))]).await;
    for text in ["hold region-a --reason \"first\"", "release region-a", "hold region-b --reason \"second\""]
    {
        github.comment(1001, Thread::Pull(pull), &format!("/migrate {text}")).await;
        talk.settled("a").await?;
    }
    let before = talk.product.journal().await?;
    ensure!(before.of("hold_placed").count() == 2 && before.of("hold_released").count() == 1);
    let hooks: Vec<_> = github
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
    repeats(&url, &hooks, REPEATS).await?;
    talk.settled("a").await?;
    let after = talk.product.journal().await?;
    ensure!(after.head() == before.head(), "the journal grew:\n{}", after.tail(5));
    let replies = github.world(|world| world.comments.values().filter(|one| !one.is_expected).count());
    ensure!(replies == 3, "{replies} replies to three commands");
    serve.end().await
}
