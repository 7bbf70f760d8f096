//! The numbers of a running bot, with the real binary.
#![allow(
    clippy::allow_attributes,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;
use product::doubles::github::{Github, SECRET, Thread, deliver};
use product::talk::{Person, Setting, Talk};
use product::wait::{Seen, wait_until};

async fn page(talk: &Talk) -> Result<String> {
    let answer = reqwest::get(format!("{}/metrics", talk.origin("a"))).await?;
    assert_eq!(answer.headers()["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    Ok(answer.text().await?)
}

/// A sample's number; none if there is no such sample.
fn number(page: &str, sample: &str) -> Option<f64> {
    page.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' ')?.parse().ok())
}

#[tokio::test]
async fn what_was_refused_received_done_and_sent_is_counted() -> Result<()> {
    let github = Github::start("acme/shop", BTreeMap::new()).await?;
    github.person("anna", 1001);
    let bot = format!(
        "[github]\napp_id = 123456\nprivate_key = \"env:GITHUB_KEY\"\nwebhook_secrets = [\"env:GITHUB_SECRET\"]\n\
         repository = \"acme/shop\"\nsweep_seconds = 3600\napi_url = \"{}\"\n\n\
         [slack]\nsigning_secrets = [\"env:GITHUB_SECRET\"]\nbot_token = \"env:GITHUB_SECRET\"\nteam = \"T0SHOP\"\n\
         api_url = \"http://127.0.0.1:9\"\n",
        github.url()
    );
    let talk = Talk::set(Setting {
        people: vec![
            Person { id: "anna", roles: "\"operator\", \"approver\"", accounts: "github = 1001" },
            Person { id: "ben", roles: "\"approver\"", accounts: "" },
        ],
        plan: String::new(),
        bot,
        environment: vec![
            ("GITHUB_KEY".to_owned(), github.private_key()),
            ("GITHUB_SECRET".to_owned(), SECRET.to_owned()),
        ],
    })
    .await?;
    let serve = talk.serve("a").await?;
    let begun = page(&talk).await?;
    for sample in [
        "switchyard_requests_refused_total{platform=\"github\",cause=\"bad_signature\"}",
        "switchyard_requests_refused_total{platform=\"slack\",cause=\"stale\"}",
        "switchyard_letters_total{platform=\"github\",receipt=\"duplicate\"}",
    ] {
        assert_eq!(number(&begun, sample), Some(0.0), "{sample} in {begun}");
    }
    assert_eq!(number(&begun, "switchyard_phase_status{phase=\"region-a\",status=\"new\"}"), Some(1.0));
    assert_eq!(number(&begun, "switchyard_letters_total{platform=\"discord\",receipt=\"new\"}"), None);

    github.deliver_to(&format!("{}/github", talk.origin("a")));
    let pull = github.open_pull(1001, "Move", &[("notes.md", Some("soon"))]).await;
    github.comment(1001, Thread::Pull(pull), "/migrate whoami").await;
    let asked =
        github.attempts().into_iter().find(|each| each.hook.body.contains("/migrate whoami")).unwrap();
    assert_eq!(github.redeliver(&asked).await?, 200);
    let url = format!("{}/github", talk.origin("a"));
    let client = reqwest::Client::new();
    assert_eq!(deliver(&client, &url, "another secret", &asked.hook).await, Some(401));
    let old = client
        .post(format!("{}/slack/commands", talk.origin("a")))
        .header("x-slack-request-timestamp", "1531420618")
        .header("x-slack-signature", format!("v0={}", "0".repeat(64)));
    assert_eq!(old.body("text=").send().await?.status(), 401);
    let counted = [
        ("switchyard_requests_refused_total{platform=\"github\",cause=\"bad_signature\"}", 1.0),
        ("switchyard_requests_refused_total{platform=\"slack\",cause=\"stale\"}", 1.0),
        // The pull request's opening is one, too.
        ("switchyard_letters_total{platform=\"github\",receipt=\"new\"}", 2.0),
        ("switchyard_letters_total{platform=\"github\",receipt=\"duplicate\"}", 1.0),
        ("switchyard_commands_total{platform=\"github\",verb=\"whoami\",outcome=\"done\"}", 1.0),
        ("switchyard_messages_total{platform=\"github\",outcome=\"sent\"}", 1.0),
        ("switchyard_inbox_waiting", 0.0),
        ("switchyard_outbox_waiting", 0.0),
    ];
    wait_until(Duration::from_secs(30), "the numbers", async || {
        let page = page(&talk).await?;
        let missing = counted.iter().find(|(sample, wanted)| number(&page, sample) != Some(*wanted));
        Ok(missing.map_or(Seen::Done(()), |missing| Seen::NotYet(format!("{missing:?} in {page}"))))
    })
    .await?;
    talk.kept_its_secrets().await?;
    serve.end().await?;
    Ok(())
}
