//! What webhooks do not bring, processes that die, and two of them at once: nothing is lost and nothing done twice.
#![allow(
    clippy::allow_attributes,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

use std::time::Duration;

use anyhow::Result;
use product::doubles::github::scene::{ANNA, BEN, CHRIS, PLAN, Scene, section};
use product::doubles::github::{Delivering, ReviewState, SECRET, Thread, deliver};
use product::switchyard::Serve;
use product::wait::{Seen, wait_until};

#[tokio::test]
async fn case_9_a_comment_whose_webhook_was_never_made_is_found() -> Result<()> {
    let scene = Scene::with(1, "").await?;
    scene.swept().await?;
    scene.github.delivering(Delivering::Never);
    scene.says(ANNA, "/migrate region-a start").await;
    scene.answered(&["Request `#"]).await?;
    scene.github.comment(ANNA, Thread::Diff(scene.pull), "/migrate region-b start").await;
    scene.answered(&["of region-b"]).await?;
    // What was found is not found again, and a webhook that comes after all is known.
    scene.swept().await?;
    let journal = scene.ends().await?;
    assert_eq!(journal.of("requested").count(), 2);
    Ok(())
}

#[tokio::test]
async fn case_9_a_review_and_a_push_whose_webhooks_were_never_made_are_found() -> Result<()> {
    let scene = Scene::with(1, "").await?;
    scene.swept().await?;
    scene.asks("region-a start").await?;
    scene.github.delivering(Delivering::Never);
    scene.github.review(BEN, scene.pull, ReviewState::Approved, "").await?;
    scene.answered(&["ben approved request"]).await?;
    let other = scene.other_plan()?;
    scene.github.push(CHRIS, scene.pull, &[(PLAN, Some(&other))]).await?;
    scene.answered(&["is right: migration shop"]).await?;
    scene.answered(&["void", "commit"]).await?;
    scene.github.merge(ANNA, scene.pull).await?;
    scene.answered(&["Merged by anna", "runs by"]).await?;
    let journal = scene.ends().await?;
    assert_eq!(journal.of("approved").count(), 1);
    assert_eq!(journal.of("plan_adopted").count(), 2);
    Ok(())
}

#[tokio::test]
async fn case_9_a_press_whose_delivery_failed_is_asked_for_again() -> Result<()> {
    let scene = Scene::with(1, "").await?;
    let (request, _) = scene.asks("region-a start").await?;
    let name = format!("region-a start #{request}");
    let check = scene.github.check(&scene.head(), &name, "queued").await?;
    scene.github.delivering(Delivering::Failing);
    scene.github.press(BEN, check.id, &format!("approve-{request}")).await?;
    scene.github.delivering(Delivering::AtOnce);
    scene.answered(&["ben approved request"]).await?;
    let attempts = scene.github.attempts();
    let press = attempts.iter().find(|attempt| attempt.hook.action == "requested_action").unwrap();
    let again = attempts.iter().rfind(|attempt| attempt.hook.guid == press.hook.guid).unwrap();
    assert!(again.is_redelivery && again.status == Some(200), "{again:?}");
    scene.swept().await?;
    let made = scene.github.attempts().iter().filter(|attempt| attempt.hook.guid == press.hook.guid).count();
    assert_eq!(made, 2, "what came through is not asked for again");
    scene.ends().await?;
    Ok(())
}

#[tokio::test]
async fn case_9_what_is_found_hours_late_is_said_and_not_done() -> Result<()> {
    let scene = Scene::with(1, "").await?;
    scene.swept().await?;
    scene.github.delivering(Delivering::Never);
    let comment = scene.says(ANNA, "hello").await;
    scene.github.world(|world| {
        let comment = world.comments.get_mut(&comment).unwrap();
        "/migrate region-a start".clone_into(&mut comment.body);
        comment.created_at = "2020-01-01T00:00:00Z".to_owned();
        comment.updated_at.clone_from(&comment.created_at);
        world.listed_late.insert(comment.id);
    });
    scene.answered(&["2020-01-01", "has reached Switchyard only now", "SW-0696"]).await?;
    let journal = scene.ends().await?;
    assert_eq!(journal.of("requested").count(), 0);
    Ok(())
}

#[tokio::test]
async fn a_bot_that_is_new_to_a_repository_does_not_do_what_stands_there() -> Result<()> {
    let mut scene = Scene::with(1, "").await?;
    scene.serve.take().unwrap().kill9().await?;
    scene.github.delivering(Delivering::Never);
    let old = scene.says(ANNA, "/migrate region-a start").await;
    scene.github.world(|world| {
        let comment = world.comments.get_mut(&old).unwrap();
        comment.created_at = "2020-01-01T00:00:00Z".to_owned();
        comment.updated_at = comment.created_at.clone();
    });
    scene.serve = Some(scene.talk.serve("a").await?);
    scene.swept().await?;
    let journal = scene.ends().await?;
    assert_eq!(journal.of("requested").count(), 0);
    Ok(())
}

/// Starts the product armed with a failpoint that its first sweep does not meet: GitHub does not answer it.
async fn started(scene: &Scene, failpoint: &str) -> Result<Serve> {
    const FIRST: &str = "GET /repos/acme/shop/installation";
    let before = scene.github.requests(FIRST);
    scene.github.set_down(true);
    let mut serve = scene.talk.start("a", Some(failpoint))?;
    scene.talk.listens("a", &mut serve).await?;
    wait_until(Duration::from_secs(30), "the first sweep to fail", async || {
        let is_over = scene.github.requests(FIRST) > before;
        Ok(if is_over { Seen::Done(()) } else { Seen::NotYet("it has not begun".to_owned()) })
    })
    .await?;
    scene.github.set_down(false);
    Ok(serve)
}

#[tokio::test]
async fn case_11_a_death_after_the_acknowledgement_loses_nothing_and_repeats_nothing() -> Result<()> {
    for failpoint in ["mail.after_receipt", "mail.before_finish", "mail.after_finish", "mail.before_sent"] {
        let mut scene = Scene::set().await?;
        scene.serve.take().unwrap().end().await?;
        let serve = started(&scene, failpoint).await?;
        scene.says(ANNA, "/migrate region-a start").await;
        serve.killed_itself(Duration::from_secs(30)).await?;
        scene.serve = Some(scene.talk.serve("a").await?);
        scene.answered(&["of region-a"]).await?;
        let journal = scene.ends().await?;
        assert_eq!(journal.of("requested").count(), 1, "{failpoint}");
    }
    Ok(())
}

#[tokio::test]
async fn case_11_what_was_not_kept_is_not_acknowledged() -> Result<()> {
    let mut scene = Scene::set().await?;
    scene.serve.take().unwrap().end().await?;
    let serve = started(&scene, "mail.before_receipt").await?;
    scene.says(ANNA, "/migrate region-a start").await;
    serve.killed_itself(Duration::from_secs(30)).await?;
    let lost = scene.github.newest("issue_comment")?;
    assert_eq!(lost.status, None);
    scene.serve = Some(scene.talk.serve("a").await?);
    scene.answered(&["of region-a"]).await?;
    let journal = scene.ends().await?;
    assert_eq!(journal.of("requested").count(), 1);
    Ok(())
}

#[tokio::test]
async fn case_12_two_instances_do_each_thing_once() -> Result<()> {
    let mut scene = Scene::with(1, "").await?;
    let mut other = scene.talk.serve("b").await?;
    let b = format!("{}/github", scene.talk.origin("b"));
    let client = reqwest::Client::new();
    for phase in ["region-a", "region-b"] {
        scene.says(ANNA, &format!("/migrate {phase} start")).await;
        // GitHub delivers again, to the other instance.
        let all = scene.github.attempts();
        let asked = format!("{phase} start");
        let made = all.iter().rev().find(|attempt| attempt.hook.body.contains(&asked));
        let hook = made.unwrap().hook.clone();
        assert_eq!(deliver(&client, &b, SECRET, &hook).await, Some(200));
        scene.answered(&["Request `#", phase]).await?;
    }
    // The other one goes on alone.
    assert!(other.exited()?.is_none());
    scene.serve.take().unwrap().kill9().await?;
    scene.github.deliver_to(&b);
    scene.says(BEN, "/migrate status").await;
    scene.answered(&["region-a", "region-b"]).await?;
    scene.talk.settled("b").await?;
    scene.github.nothing_else()?;
    assert_eq!(scene.github.world(|world| world.checks.len()), 2);
    assert_eq!(scene.journal().await?.of("requested").count(), 2);
    Ok(())
}

#[tokio::test]
async fn case_30_a_stop_finishes_what_is_in_hand_and_the_rest_goes_on_at_the_next_start() -> Result<()> {
    let mut scene = Scene::with(1, "").await?;
    scene.swept().await?;
    scene.says(ANNA, "/migrate region-a start").await;
    scene.says(BEN, "/migrate whoami").await;
    scene.says(CHRIS, "/migrate whoami").await;
    scene.serve.take().unwrap().end().await?;
    // Nobody listens: the connection is refused, and the sweep has it afterwards.
    scene.says(BEN, "/migrate status").await;
    scene.serve = Some(scene.talk.serve("a").await?);
    scene.answered(&["of region-a"]).await?;
    scene.answered(&["You are ben"]).await?;
    scene.answered(&["You are chris"]).await?;
    scene.answered(&["region-b"]).await?;
    let journal = scene.ends().await?;
    assert_eq!(journal.of("requested").count(), 1);
    Ok(())
}

#[tokio::test]
async fn what_is_said_in_a_renamed_repository_is_found_once_the_bot_knows_its_name() -> Result<()> {
    let mut scene = Scene::with(1, "").await?;
    scene.swept().await?;
    scene.github.rename("acme/store");
    scene.says(ANNA, "/migrate region-a start").await;
    let renamed = section(&scene.github, 1).replace("acme/shop", "acme/store");
    scene.talk.write_bot("a", &renamed)?;
    scene.dies_and_returns().await?;
    scene.answered(&["of region-a"]).await?;
    scene.says(BEN, "/migrate whoami").await;
    scene.answered(&["You are ben"]).await?;
    let journal = scene.ends().await?;
    assert_eq!(journal.of("requested").count(), 1);
    Ok(())
}

#[tokio::test]
async fn while_github_is_down_answers_wait_and_what_must_be_checked_is_refused() -> Result<()> {
    let scene = Scene::set().await?;
    let (request, _) = scene.asks("region-a start").await?;
    scene.settled().await?;
    scene.github.set_down(true);
    scene.says(BEN, &format!("/migrate approve #{request}")).await;
    scene.says(CHRIS, "/migrate hold region-b --reason \"GitHub is down\"").await;
    scene.journal_with("hold_placed", 1).await?;
    scene.github.set_down(false);
    scene.answered(&["GitHub could not be read", "SW-0697"]).await?;
    scene.answered(&["region-b"]).await?;
    let journal = scene.ends().await?;
    assert_eq!(journal.of("approved").count(), 0);
    Ok(())
}
