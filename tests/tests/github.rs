//! Conversations on GitHub, with the real binary and a double of GitHub that signs truly: every hard case that concerns
//! comments.
#![allow(
    clippy::allow_attributes,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

use anyhow::Result;
use product::doubles::github::scene::{ANNA, BEN, CHRIS, Scene, ZOE};
use product::doubles::github::{Delivering, Haste, SECRET, Thread, deliver, signature};

#[tokio::test]
async fn a_comment_is_answered_in_its_pull_request() -> Result<()> {
    let scene = Scene::set().await?;
    scene.says(ANNA, "Now then.\n\n/migrate region-a start").await;
    scene.answered(&["Request `#", "of region-a"]).await?;
    scene.says(BEN, "/migrate whoami").await;
    scene.answered(&["ben", "approver"]).await?;
    let journal = scene.ends().await?;
    assert_eq!(journal.of("requested").count(), 1);
    Ok(())
}

#[tokio::test]
async fn case_10_a_redelivered_and_a_replayed_webhook_do_nothing_again() -> Result<()> {
    let scene = Scene::set().await?;
    scene.says(ANNA, "/migrate region-a start").await;
    scene.answered(&["Request `#"]).await?;
    // Not the newest one: that is about the answer itself, once it is out.
    let asked =
        scene.github.attempts().into_iter().find(|attempt| attempt.hook.body.contains("region-a start"));
    let asked = asked.unwrap();
    for _ in 0..3 {
        assert_eq!(scene.github.redeliver(&asked).await?, 200);
    }
    // A captured body under a GUID of the thief's own.
    let mut replayed = asked.hook.clone();
    replayed.guid = "11111111-2222-4333-8444-555555555555".to_owned();
    let url = format!("{}/github", scene.talk.origin("a"));
    assert_eq!(deliver(&reqwest::Client::new(), &url, SECRET, &replayed).await, Some(200));
    let journal = scene.ends().await?;
    assert_eq!(journal.of("requested").count(), 1);
    Ok(())
}

#[tokio::test]
async fn case_5_a_comment_edited_into_a_command_never_acts_and_is_answered_once() -> Result<()> {
    let scene = Scene::set().await?;
    let comment = scene.says(ANNA, "Shall we?").await;
    scene.github.edit_comment(ANNA, comment, "/migrate region-a start").await?;
    scene.answered(&["Edits do nothing"]).await?;
    scene.github.edit_comment(BEN, comment, "/migrate region-b start").await?;
    let asked = scene.says(ANNA, "/migrate region-a start").await;
    scene.answered(&["Request `#"]).await?;
    scene.github.edit_comment(ANNA, asked, "/migrate region-b start").await?;
    scene.answered(&["Edits do nothing"]).await?;
    let journal = scene.ends().await?;
    assert_eq!(journal.of("requested").count(), 1);
    Ok(())
}

#[tokio::test]
async fn case_6_an_approving_comment_that_anybody_deletes_is_revoked_and_who_deleted_it_is_kept() -> Result<()>
{
    let scene = Scene::set().await?;
    let (request, _) = scene.asks("region-a start").await?;
    let approval = scene.approves(BEN, request, &["ben approved request", "1 more"]).await?;
    scene.github.delete_comment(CHRIS, approval).await?;
    scene.answered(&["The comment in which ben approved", "deleted"]).await?;
    let journal = scene.ends().await?;
    let revoked: Vec<_> = journal.of("revoked").collect();
    assert_eq!(revoked.len(), 1);
    assert!(revoked[0].value().to_string().contains("1003"), "who deleted it is kept: {:?}", revoked[0]);
    Ok(())
}

#[tokio::test]
async fn case_26_the_bot_hears_neither_itself_nor_other_bots_nor_issues() -> Result<()> {
    let scene = Scene::set().await?;
    let other = scene.github.other_bot("renovate[bot]", 2_001);
    scene.says(other, "/migrate region-a start").await;
    let issue = scene.github.open_issue();
    scene.github.comment(ANNA, Thread::Issue(issue), "/migrate region-a start").await;
    // The answer quotes commands, and is itself a comment of which a webhook tells.
    scene.says(ANNA, "/migrate help").await;
    scene.answered(&["cutover"]).await?;
    let journal = scene.ends().await?;
    assert_eq!(journal.of("requested").count(), 0);
    Ok(())
}

#[tokio::test]
async fn case_13_what_stands_in_code_quotes_or_html_comments_is_text() -> Result<()> {
    let scene = Scene::set().await?;
    for text in [
        "```\n/migrate region-a start\n```",
        "    /migrate region-a start",
        "`/migrate region-a start`",
        "> /migrate region-a start",
        "<!--\n/migrate region-a start\n-->",
        "# /migrate region-a start",
        "![/migrate region-a start](x.png)",
        "[/migrate region-a start](https://example.org)",
        "On Monday anna wrote:\n> /migrate region-a start\n\nfine",
    ] {
        scene.says(ANNA, text).await;
    }
    let journal = scene.ends().await?;
    assert_eq!(journal.of("requested").count(), 0);
    Ok(())
}

#[tokio::test]
async fn case_14_commands_of_one_comment_run_in_order_and_the_first_refusal_stops_the_rest() -> Result<()> {
    let scene = Scene::set().await?;
    scene.says(ANNA, "/migrate region-a start\n/migrate region-b cutover\n/migrate region-b start").await;
    scene.answered(&["Line 2", "The command after it was not done"]).await?;
    // What was made among several has its own living message.
    scene.answered(&["waits for approvals"]).await?;
    let journal = scene.ends().await?;
    assert_eq!(journal.of("requested").count(), 1);
    Ok(())
}

#[tokio::test]
async fn case_15_a_mistyped_verb_is_answered_with_the_nearest() -> Result<()> {
    let scene = Scene::set().await?;
    scene.says(ANNA, "/migrate region-a cutovr").await;
    scene.answered(&["cutover"]).await?;
    scene.ends().await?;
    Ok(())
}

#[tokio::test]
async fn an_account_of_nobody_has_no_word_and_is_told_how_to_get_one() -> Result<()> {
    let scene = Scene::set().await?;
    scene.says(ZOE, "/migrate region-a start").await;
    scene.answered(&["names no person", "github = 1099"]).await?;
    let journal = scene.ends().await?;
    assert_eq!(journal.of("requested").count(), 0);
    Ok(())
}

#[tokio::test]
async fn a_body_that_is_not_githubs_own_is_not_believed() -> Result<()> {
    let scene = Scene::set().await?;
    scene.says(ANNA, "/migrate help").await;
    scene.answered(&["cutover"]).await?;
    let real = scene.github.newest("issue_comment")?.hook;
    let url = format!("{}/github", scene.talk.origin("a"));
    let client = reqwest::Client::new();
    let status = async |signature: Option<String>, body: &str| {
        let mut request = client
            .post(&url)
            .header("x-github-event", "issue_comment")
            .header("x-github-delivery", "d")
            .body(body.to_owned());
        if let Some(signature) = signature {
            request = request.header("x-hub-signature-256", signature);
        }
        request.send().await.unwrap().status().as_u16()
    };
    let changed = real.body.replace("created", "edited");
    assert_eq!(status(None, &real.body).await, 401);
    assert_eq!(status(Some(signature("another", real.body.as_bytes())), &real.body).await, 401);
    assert_eq!(status(Some(signature(SECRET, real.body.as_bytes())), &changed).await, 401);
    assert_eq!(status(Some(signature(SECRET, b"{")), "{").await, 400);
    // The newest is anna's comment, which is known by now, or already the answer, which nobody hears.
    let believed = status(Some(signature(SECRET, real.body.as_bytes())), &real.body).await;
    assert!(matches!(believed, 200 | 204), "{believed}");
    scene.ends().await?;
    Ok(())
}

#[tokio::test]
async fn a_body_as_long_as_github_sends_is_read_and_a_longer_one_is_not() -> Result<()> {
    const LONGEST: usize = 25 * 1024 * 1024;
    let scene = Scene::set().await?;
    scene.says(ANNA, "/migrate help").await;
    scene.answered(&["cutover"]).await?;
    let real = scene.github.newest("issue_comment")?.hook.body;
    let url = format!("{}/github", scene.talk.origin("a"));
    let client = reqwest::Client::new();
    let sent = async |length: usize| {
        // Blanks behind JSON are JSON.
        let body = format!("{real}{}", " ".repeat(length - real.len()));
        let signature = signature(SECRET, body.as_bytes());
        let request = client
            .post(&url)
            .header("x-github-event", "issue_comment")
            .header("x-github-delivery", "long")
            .header("x-hub-signature-256", signature);
        request.body(body).send().await.map(|answer| answer.status().as_u16())
    };
    let read = sent(LONGEST).await?;
    assert!(matches!(read, 200 | 204), "{read}");
    // Who is still sending when it is refused may see no more of that than an end.
    let refused = sent(LONGEST + 1).await;
    assert!(refused.as_ref().map_or(true, |status| *status == 413), "{refused:?}");
    scene.ends().await?;
    Ok(())
}

#[tokio::test]
async fn case_19_an_answer_whose_posting_nobody_knows_of_is_there_once() -> Result<()> {
    let scene = Scene::set().await?;
    scene.github.swallow_answer("/comments");
    scene.says(ANNA, "/migrate help").await;
    scene.answered(&["cutover"]).await?;
    scene.ends().await?;
    Ok(())
}

#[tokio::test]
async fn case_18_a_limit_is_waited_out() -> Result<()> {
    for haste in [Haste::Secondary { retry_after: 2 }, Haste::Primary { reset_in: 2 }] {
        let scene = Scene::set().await?;
        scene.github.refuse_for_haste(haste);
        scene.says(ANNA, "/migrate help").await;
        scene.answered(&["cutover"]).await?;
        assert_eq!(scene.github.refused_for_haste(), 1);
        scene.ends().await?;
    }
    Ok(())
}

#[tokio::test]
async fn an_ended_token_is_renewed() -> Result<()> {
    let scene = Scene::set().await?;
    scene.says(ANNA, "/migrate help").await;
    scene.answered(&["cutover"]).await?;
    let before = scene.github.tokens_given();
    scene.github.expire_tokens();
    scene.says(ANNA, "/migrate whoami").await;
    scene.answered(&["anna"]).await?;
    assert!(scene.github.tokens_given() > before, "none was asked for");
    scene.ends().await?;
    Ok(())
}

#[tokio::test]
async fn a_deletion_that_overtakes_its_comment_takes_the_word_away_before_it_counts() -> Result<()> {
    let scene = Scene::set().await?;
    scene.github.delivering(Delivering::Held);
    let comment = scene.says(ANNA, "/migrate region-a start").await;
    scene.github.delete_comment(ANNA, comment).await?;
    scene.github.let_go(true).await;
    let journal = scene.ends().await?;
    assert_eq!(journal.of("requested").count(), 0);
    Ok(())
}
