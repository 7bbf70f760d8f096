//! Pull requests: what a request in one is bound to, what voids it, reviews as words, plans that are merged.
#![allow(
    clippy::allow_attributes,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

use anyhow::Result;
use product::doubles::github::scene::{ANNA, BEN, CHRIS, PLAN, Scene, ZOE};
use product::doubles::github::{Delivering, ReviewState, Thread};

use ReviewState::{Approved, ChangesRequested, Commented};

#[tokio::test]
async fn case_1_a_request_binds_the_head_that_is_read_while_it_is_processed_and_shows_it() -> Result<()> {
    let scene = Scene::set().await?;
    scene.github.delivering(Delivering::Held);
    scene.says(ANNA, "/migrate region-a start").await;
    let pushed = scene.github.push(ANNA, scene.pull, &[("notes.md", Some("later"))]).await?;
    scene.github.let_go(false).await;
    let short: String = pushed.chars().take(8).collect();
    let shown = scene.answered(&["Request `#", &short]).await?;
    scene.github.comment_says(shown, &["Plan", &short]).await?;
    let journal = scene.ends().await?;
    let requested = journal.of("requested").next().unwrap().value().to_string();
    assert!(requested.contains(&pushed), "{requested}");
    Ok(())
}

#[tokio::test]
async fn case_2_a_push_voids_the_request_in_place_and_says_so_once() -> Result<()> {
    let scene = Scene::set().await?;
    let (request, shown) = scene.asks("region-a start").await?;
    scene.approves(BEN, request, &["ben approved request", "1 more"]).await?;
    let before = scene.head();
    scene.github.push(CHRIS, scene.pull, &[("notes.md", Some("later"))]).await?;
    scene.answered(&["void", "commit"]).await?;
    scene.github.comment_says(shown, &["is void"]).await?;
    // Restored to the old commit, it stays void.
    scene.github.force_push(CHRIS, scene.pull, &before).await?;
    scene.approves(CHRIS, request, &["void", "SW-0117"]).await?;
    let journal = scene.ends().await?;
    assert_eq!(journal.of("request_voided").count(), 1);
    assert_eq!(journal.of("operation_started").count(), 0);
    Ok(())
}

#[tokio::test]
async fn case_2_a_push_whose_webhook_is_lost_is_seen_before_the_operation_begins() -> Result<()> {
    let scene = Scene::set().await?;
    let (request, shown) = scene.asks("region-a start").await?;
    scene.approves(BEN, request, &["ben approved request"]).await?;
    scene.github.delivering(Delivering::Held);
    scene.says(CHRIS, &format!("/migrate approve #{request}")).await;
    // The approval's webhook is on its way when the push comes; the push's own never does.
    scene.github.let_go(false).await;
    scene.answered(&["chris approved request"]).await?;
    let journal = scene.journal_with("operation_started", 1).await?;
    let confirmed = journal.of("binding_confirmed").next().unwrap();
    assert!(confirmed.position() < journal.operation_of(request).unwrap());
    scene.github.comment_says(shown, &["runs"]).await?;
    scene
        .github
        .until("its check run in progress", |world| {
            world.checks.values().any(|check| check.status == "in_progress").then_some(())
        })
        .await?;
    scene.ends().await?;
    Ok(())
}

#[tokio::test]
async fn case_2_at_the_second_look_another_head_voids_what_has_all_its_approvals() -> Result<()> {
    let scene = Scene::set().await?;
    let (request, shown) = scene.asks("region-a start").await?;
    scene.approves(BEN, request, &["ben approved request"]).await?;
    scene.says(ANNA, "/migrate hold region-a --reason \"wait\"").await;
    scene.answered(&["hold"]).await?;
    scene.approves(CHRIS, request, &["chris approved request"]).await?;
    scene.github.delivering(Delivering::Never);
    scene.github.push(CHRIS, scene.pull, &[("notes.md", Some("later"))]).await?;
    scene.github.delivering(Delivering::AtOnce);
    scene.says(ANNA, "/migrate release region-a").await;
    scene.answered(&["void", "commit"]).await?;
    scene.answered(&["region-a"]).await?;
    scene.github.comment_says(shown, &["is void"]).await?;
    let journal = scene.ends().await?;
    assert_eq!(journal.of("operation_started").count(), 0);
    assert_eq!(journal.of("request_voided").count(), 1);
    Ok(())
}

#[tokio::test]
async fn case_3_nothing_can_be_asked_for_where_the_plan_is_another_one() -> Result<()> {
    let scene = Scene::set().await?;
    let other = scene.other_plan()?;
    scene.github.push(ANNA, scene.pull, &[(PLAN, Some(&other))]).await?;
    scene.answered(&["is right: migration shop", "Merging this pull request adopts it"]).await?;
    scene.says(ANNA, "/migrate region-a start").await;
    scene.answered(&["Merge this pull request", "switchyard plan adopt", "SW-0691"]).await?;
    scene.github.push(ANNA, scene.pull, &[(PLAN, None)]).await?;
    scene.says(ANNA, "/migrate region-a start").await;
    scene.answered(&["There is no switchyard.toml", "SW-0690"]).await?;
    let journal = scene.ends().await?;
    assert_eq!(journal.of("requested").count(), 0);
    Ok(())
}

#[tokio::test]
async fn a_pull_request_that_was_closed_takes_its_requests_with_it() -> Result<()> {
    let scene = Scene::set().await?;
    let (_, shown) = scene.asks("region-a start").await?;
    scene.github.close(ANNA, scene.pull).await?;
    scene.answered(&["void", "closed"]).await?;
    scene.github.comment_says(shown, &["is void"]).await?;
    scene.says(ANNA, "/migrate region-a start").await;
    scene.answered(&["closed without being merged", "SW-0693"]).await?;
    scene.ends().await?;
    Ok(())
}

#[tokio::test]
async fn a_new_title_and_a_comment_leave_a_request_as_it_is() -> Result<()> {
    let scene = Scene::set().await?;
    scene.asks("region-a start").await?;
    scene.github.retitle(ANNA, scene.pull, "Another title").await?;
    scene.says(ZOE, "looks good").await;
    let journal = scene.ends().await?;
    assert_eq!(journal.of("request_voided").count(), 0);
    Ok(())
}

#[tokio::test]
async fn an_approving_review_at_the_very_commit_approves_the_one_open_request() -> Result<()> {
    let scene = Scene::set().await?;
    let (request, shown) = scene.asks("region-a start").await?;
    scene.reviews(BEN, Approved, "").await?;
    scene.answered(&["ben approved request", "1 more"]).await?;
    scene.reviews(CHRIS, Approved, "fine by me").await?;
    scene.answered(&["chris approved request"]).await?;
    let journal = scene.journal_with("operation_started", 1).await?;
    assert!(journal.operation_of(request).is_some());
    scene.github.comment_says(shown, &["Approved by ben, chris"]).await?;
    let journal = scene.ends().await?;
    let approved = journal.of("approved").next().unwrap().value().to_string();
    assert!(approved.contains("github:review:"), "{approved}");
    Ok(())
}

#[tokio::test]
async fn a_review_that_does_not_say_what_it_means_is_answered_with_the_line_to_paste() -> Result<()> {
    let scene = Scene::set().await?;
    // Nothing is open: an ordinary review of an ordinary pull request.
    scene.reviews(BEN, Approved, "").await?;
    scene.settled().await?;
    let old = scene.head();
    let (one, _) = scene.asks("region-a start").await?;
    let (other, _) = scene.asks("region-b start").await?;
    scene.reviews(BEN, Approved, "").await?;
    let lines = [format!("/migrate approve #{one}"), format!("/migrate approve #{other}")];
    scene.answered(&["More than one request", &lines[0], &lines[1]]).await?;
    // Nobody of the plan, where something waits.
    scene.reviews(ZOE, Approved, "").await?;
    scene.answered(&["names no person", "github = 1099"]).await?;
    // A review that names its request means it.
    scene.reviews(CHRIS, Commented, &format!("ok\n\n/migrate approve #{other}")).await?;
    scene.answered(&["chris approved request"]).await?;
    scene.says(ANNA, &format!("/migrate deny #{other} --reason \"not yet\"")).await;
    scene.answered(&["denied"]).await?;
    // An old page: the review is about a commit that is not the head any more.
    scene.github.push(ANNA, scene.pull, &[("notes.md", Some("later"))]).await?;
    scene.answered(&["void"]).await?;
    let (third, _) = scene.asks("region-a start").await?;
    scene.github.review_at(BEN, scene.pull, Approved, "", &old).await?;
    scene.answered(&["another commit", &format!("/migrate approve #{third}")]).await?;
    let journal = scene.ends().await?;
    assert_eq!(journal.of("approved").count(), 1);
    Ok(())
}

#[tokio::test]
async fn case_7_requesting_changes_denies_and_a_comment_changes_nothing() -> Result<()> {
    let scene = Scene::set().await?;
    let (_, shown) = scene.asks("region-a start").await?;
    scene.reviews(BEN, Approved, "").await?;
    scene.answered(&["ben approved request"]).await?;
    scene.reviews(BEN, Commented, "hm").await?;
    scene.reviews(BEN, ChangesRequested, "The \"window\" is too short").await?;
    scene.answered(&["ben denied request"]).await?;
    scene.reviews(BEN, Commented, "really").await?;
    scene.github.comment_says(shown, &["is void"]).await?;
    let journal = scene.ends().await?;
    let denied = journal.of("denied").next().unwrap();
    assert_eq!(denied.text("reason"), "in a review: The 'window' is too short");
    assert_eq!(journal.of("approved").count(), 1);
    Ok(())
}

#[tokio::test]
async fn case_7_reviews_that_overtake_each_other_count_in_githubs_order() -> Result<()> {
    let scene = Scene::set().await?;
    scene.asks("region-a start").await?;
    scene.settled().await?;
    scene.github.delivering(Delivering::Held);
    scene.reviews(BEN, Approved, "").await?;
    scene.reviews(BEN, ChangesRequested, "no").await?;
    scene.github.let_go(true).await;
    scene.answered(&["ben denied request"]).await?;
    let journal = scene.ends().await?;
    assert_eq!(journal.of("approved").count(), 0);
    Ok(())
}

#[tokio::test]
async fn case_8_a_dismissed_review_is_revoked_and_both_are_named() -> Result<()> {
    let scene = Scene::set().await?;
    let (_, shown) = scene.asks("region-a start").await?;
    let review = scene.reviews(BEN, Approved, "").await?;
    scene.answered(&["ben approved request"]).await?;
    scene.github.dismiss(CHRIS, review).await?;
    scene.answered(&["ben", "chris dismissed ben's review"]).await?;
    scene
        .github
        .until("the approval to go from the living comment", |world| {
            let body = &world.comments.get(&shown)?.body;
            (!body.contains("Approved by")).then_some(())
        })
        .await?;
    let journal = scene.ends().await?;
    let revoked = journal.of("revoked").next().unwrap().value().to_string();
    assert!(revoked.contains("ben") && revoked.contains("1003"), "{revoked}");
    Ok(())
}

#[tokio::test]
async fn case_8_a_dismissal_whose_webhook_is_lost_is_seen_at_the_second_look() -> Result<()> {
    let scene = Scene::set().await?;
    let (request, _) = scene.asks("region-a start").await?;
    let review = scene.reviews(BEN, Approved, "").await?;
    scene.answered(&["ben approved request"]).await?;
    scene.github.delivering(Delivering::Never);
    scene.github.dismiss(CHRIS, review).await?;
    scene.github.delivering(Delivering::AtOnce);
    scene.approves(CHRIS, request, &["chris approved request"]).await?;
    scene.answered(&["What ben approved request", "does not count any more"]).await?;
    let journal = scene.ends().await?;
    assert_eq!(journal.of("operation_started").count(), 0);
    assert_eq!(journal.of("revoked").count(), 1);
    Ok(())
}

#[tokio::test]
async fn case_5_an_edited_review_says_nothing_more() -> Result<()> {
    let scene = Scene::set().await?;
    let (request, _) = scene.asks("region-a start").await?;
    let review = scene.reviews(BEN, Commented, "let me see").await?;
    scene.github.edit_review(BEN, review, &format!("/migrate approve #{request}")).await?;
    scene.answered(&["Edits do nothing"]).await?;
    let journal = scene.ends().await?;
    assert_eq!(journal.of("approved").count(), 0);
    Ok(())
}

#[tokio::test]
async fn a_plan_in_a_pull_request_gets_one_living_comment() -> Result<()> {
    let scene = Scene::set().await?;
    let other = scene.other_plan()?;
    let pull = scene.github.open_pull(ANNA, "Longer windows", &[(PLAN, Some(&other))]).await;
    let comment = scene.github.answer(pull, &["is right: migration shop", "max_downtime"]).await?;
    assert!(comment.body.contains("/blob/"), "{}", comment.body);
    // A request that it would void is named.
    let (request, _) = scene.asks("region-a start").await?;
    let bad = other.replace("max_downtime", "max_downtimes");
    scene.github.push(ANNA, pull, &[(PLAN, Some(&bad))]).await?;
    scene.github.comment_says(comment.id, &["switchyard.toml:", "max_downtimes", "SW-0692"]).await?;
    scene.github.push(ANNA, pull, &[(PLAN, Some(&other))]).await?;
    scene.github.comment_says(comment.id, &[&format!("#{request}"), "Void as soon as it is adopted"]).await?;
    scene.ends().await?;
    Ok(())
}

#[tokio::test]
async fn a_merged_plan_is_adopted_in_the_name_of_who_merged_it_with_its_authors() -> Result<()> {
    let scene = Scene::set().await?;
    let (request, _) = scene.asks("region-a start").await?;
    let other = scene.other_plan()?;
    let pull = scene.github.open_pull(CHRIS, "Longer windows", &[(PLAN, Some(&other))]).await;
    scene.github.answer(pull, &["is right: migration shop"]).await?;
    scene.github.merge(ANNA, pull).await?;
    scene.github.answer(pull, &["Merged by anna", "is the one that the migration runs by"]).await?;
    scene.answered(&["void", &format!("#{request}")]).await?;
    // What was merged is what is asked for in it.
    scene.github.comment(ANNA, Thread::Pull(pull), "/migrate region-a start").await;
    scene.github.answer(pull, &["Request `#"]).await?;
    let journal = scene.ends().await?;
    let adopted = journal.of("plan_adopted").last().unwrap().value().to_string();
    assert!(adopted.contains("\"anna\"") && adopted.contains("\"authors\":[\"chris\"]"), "{adopted}");
    Ok(())
}

#[tokio::test]
async fn a_plan_merged_by_somebody_without_the_right_is_not_adopted_and_it_is_said() -> Result<()> {
    let scene = Scene::set().await?;
    let other = scene.other_plan()?;
    for (merger, told) in [(ZOE, "names no person with this GitHub account"), (BEN, "not adopted")] {
        let text = other.replace("90s", if merger == ZOE { "91s" } else { "92s" });
        let pull = scene.github.open_pull(CHRIS, "Longer windows", &[(PLAN, Some(&text))]).await;
        scene.github.answer(pull, &["is right: migration shop"]).await?;
        scene.github.merge(merger, pull).await?;
        scene.github.answer(pull, &["not adopted", told, "SW-0695"]).await?;
    }
    let journal = scene.ends().await?;
    assert_eq!(journal.of("plan_adopted").count(), 1);
    Ok(())
}

#[tokio::test]
async fn of_two_merges_told_in_the_wrong_order_the_newer_plan_stays() -> Result<()> {
    let scene = Scene::set().await?;
    let other = scene.other_plan()?;
    let first = scene.github.open_pull(CHRIS, "First", &[(PLAN, Some(&other.replace("90s", "91s")))]).await;
    scene.github.answer(first, &["is right"]).await?;
    let second = scene.github.open_pull(CHRIS, "Second", &[(PLAN, Some(&other.replace("90s", "92s")))]).await;
    scene.github.answer(second, &["is right"]).await?;
    scene.github.delivering(Delivering::Held);
    scene.github.merge(ANNA, first).await?;
    scene.github.merge(ANNA, second).await?;
    scene.github.let_go(true).await;
    scene.github.answer(second, &["Merged by anna", "runs by"]).await?;
    let journal = scene.ends().await?;
    assert_eq!(journal.of("plan_adopted").count(), 2);
    assert!(journal.of("plan_adopted").last().unwrap().text("text").contains("92s"));
    Ok(())
}

#[tokio::test]
async fn case_27_a_fork_whose_repository_is_gone_is_read_from_the_base_repository() -> Result<()> {
    let scene = Scene::set().await?;
    scene.github.lose_head_repository(scene.pull)?;
    scene.asks("region-a start").await?;
    scene.ends().await?;
    Ok(())
}

#[tokio::test]
async fn a_check_run_shows_the_request_and_its_buttons_are_words() -> Result<()> {
    let scene = Scene::set().await?;
    let (request, shown) = scene.asks("region-a start").await?;
    let name = format!("region-a start #{request}");
    let check = scene.github.check(&scene.head(), &name, "queued").await?;
    let labels: Vec<_> = check.actions.iter().map(|action| action.label.clone()).collect();
    assert_eq!(labels, [format!("Approve #{request}"), format!("Deny #{request}")]);
    scene.github.press(BEN, check.id, &format!("approve-{request}")).await?;
    scene.answered(&["ben approved request", "1 more"]).await?;
    // A second press is the same word.
    scene.github.press(BEN, check.id, &format!("approve-{request}")).await?;
    scene.github.press(ZOE, check.id, &format!("approve-{request}")).await?;
    scene.answered(&["names no person"]).await?;
    scene.github.press(CHRIS, check.id, &format!("deny-{request}")).await?;
    scene.answered(&["chris denied request"]).await?;
    scene.github.check(&scene.head(), &name, "cancelled").await?;
    scene.github.comment_says(shown, &["is void"]).await?;
    let journal = scene.ends().await?;
    assert_eq!((journal.of("approved").count(), journal.of("denied").count()), (1, 1));
    Ok(())
}
