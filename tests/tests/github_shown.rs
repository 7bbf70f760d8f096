//! What GitHub shows of operations, and that it is shown once, whole, slowly enough, and does nothing to anybody.
#![allow(
    clippy::allow_attributes,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::Result;
use product::doubles::github::scene::{ANNA, BEN, CHRIS, NEW_SECRET, PLAN, Scene, section};
use product::doubles::github::{Delivering, ReviewState, Thread, deliver};

/// Anna asks for the start of a phase, and ben and chris approve it; gives its number and its living comment.
async fn starts(scene: &Scene, phase: &str) -> Result<(u64, u64)> {
    let (request, shown) = scene.asks(&format!("{phase} start")).await?;
    for (person, name) in [(BEN, "ben"), (CHRIS, "chris")] {
        scene.approves(person, request, &[&format!("{name} approved request"), phase]).await?;
    }
    scene.github.comment_says(shown, &["runs"]).await?;
    Ok((request, shown))
}

/// A start is aborted and asked for again: the older comment is minimised then.
async fn starts_again(scene: &Scene) -> Result<()> {
    let (_, shown) = starts(scene, "region-a").await?;
    scene.says(ANNA, "/migrate region-a abort --reason \"enough\"").await;
    scene.answered(&["will be undone", "enough"]).await?;
    scene.answered(&["is being undone"]).await?;
    scene.github.comment_says(shown, &["was undone"]).await?;
    starts(scene, "region-a").await?;
    let minimised = "the older comment to be minimised";
    scene.github.until(minimised, |world| world.comments.get(&shown)?.minimized.clone()).await?;
    Ok(())
}

#[tokio::test]
async fn an_operation_shows_itself_as_a_comment_a_check_run_and_a_deployment() -> Result<()> {
    let scene = Scene::set().await?;
    let (request, shown) = starts(&scene, "region-a").await?;
    let name = format!("region-a start #{request}");
    let check = scene.github.check(&scene.head(), &name, "in_progress").await?;
    assert!(check.title.contains("preflight, 1 of"), "{}", check.title);
    assert!(check.actions.is_empty(), "{:?}", check.actions);
    let deployment = scene
        .github
        .until("a deployment", |world| {
            let found = world.deployments.values().next()?;
            (!found.statuses.is_empty()).then(|| found.clone())
        })
        .await?;
    assert_eq!((deployment.environment.as_str(), deployment.task.as_str()), ("region-a", "start"));
    assert_eq!(deployment.sha, scene.head());
    assert_eq!(deployment.statuses[0].0, "in_progress");
    scene.says(ANNA, "/migrate region-a abort --reason \"enough\"").await;
    scene.answered(&["will be undone", "enough"]).await?;
    scene.answered(&["is being undone"]).await?;
    scene.github.check(&scene.head(), &name, "failure").await?;
    scene.github.comment_says(shown, &["was undone"]).await?;
    scene
        .github
        .until("the deployment to have failed", |world| {
            let found = world.deployments.get(&deployment.id)?;
            (found.statuses.last()?.0 == "failure").then_some(())
        })
        .await?;
    // The next operation of the phase takes its place; that of another phase does not.
    let (_, other) = starts(&scene, "region-b").await?;
    let (_, newer) = starts(&scene, "region-a").await?;
    scene
        .github
        .until("the older comment to be minimised", |world| world.comments.get(&shown)?.minimized.clone())
        .await?;
    scene.settled().await?;
    let minimized = scene.github.world(|world| {
        let is = |id: u64| world.comments[&id].minimized.is_some();
        (is(other), is(newer))
    });
    assert_eq!(minimized, (false, false));
    scene.ends().await?;
    Ok(())
}

#[tokio::test]
async fn case_17_a_living_comment_that_was_deleted_is_written_anew() -> Result<()> {
    let scene = Scene::set().await?;
    let (request, shown) = scene.asks("region-a start").await?;
    scene.settled().await?;
    scene.github.world(|world| world.comments.remove(&shown));
    scene.approves(BEN, request, &["ben approved request"]).await?;
    let anew = scene.answered(&["waits for approvals", "Approved by ben"]).await?;
    assert_ne!(anew, shown);
    scene.says(CHRIS, &format!("/migrate deny #{request} --reason \"no\"")).await;
    scene.answered(&["chris denied request"]).await?;
    scene.github.comment_says(anew, &["is void"]).await?;
    scene.ends().await?;
    Ok(())
}

#[tokio::test]
async fn case_18_states_of_one_comment_leave_seconds_apart_and_the_latest_wins() -> Result<()> {
    let scene = Scene::set().await?;
    let (request, shown) = scene.asks("region-a start").await?;
    // Many changes, faster than anybody reads.
    for _ in 0..3 {
        scene.approves(BEN, request, &["ben approved request"]).await?;
        scene.says(BEN, &format!("/migrate revoke #{request}")).await;
        scene.answered(&["ben took back"]).await?;
    }
    scene.approves(BEN, request, &["ben approved request"]).await?;
    let comment = scene.github.comment_says(shown, &["Approved by ben"]).await?;
    for pair in comment.versions.windows(2) {
        let apart = pair[1].0 - pair[0].0;
        assert!(apart >= Duration::from_millis(2500), "{apart:?} between {} and {}", pair[0].1, pair[1].1);
    }
    scene.ends().await?;
    Ok(())
}

#[tokio::test]
async fn case_19_a_check_run_and_a_deployment_whose_making_nobody_knows_of_are_there_once() -> Result<()> {
    let scene = Scene::set().await?;
    scene.github.swallow_answer("/check-runs");
    let (request, _) = scene.asks("region-a start").await?;
    scene.github.check(&scene.head(), &format!("region-a start #{request}"), "queued").await?;
    scene.settled().await?;
    scene.github.swallow_answer("/deployments");
    for (person, name) in [(BEN, "ben"), (CHRIS, "chris")] {
        scene.approves(person, request, &[&format!("{name} approved request")]).await?;
    }
    scene
        .github
        .until("a status of the deployment", |world| {
            world.deployments.values().any(|found| !found.statuses.is_empty()).then_some(())
        })
        .await?;
    scene.settled().await?;
    let counts = scene.github.world(|world| (world.checks.len(), world.deployments.len()));
    assert_eq!(counts, (1, 1));
    scene.ends().await?;
    Ok(())
}

#[tokio::test]
async fn case_28_a_plan_that_is_too_long_is_shown_by_its_beginning_with_a_link_to_all_of_it() -> Result<()> {
    let scene = Scene::set().await?;
    let mut long = std::fs::read_to_string(scene.talk.product.plan())?;
    for number in 0..700 {
        write!(
            long,
            "[[phase]]\nname = \"more-{number}\"\ntables = [\"shop.more_{number}\"]\nmax_downtime = \"60s\"\n\
             [phase.lever]\nkind = \"command\"\nstop = [\"true\"]\nobserve = [\"true\"]\nroute = [\"true\"]\n\
             resume = [\"true\"]\n\n"
        )?;
    }
    let pull = scene.github.open_pull(ANNA, "All of it", &[(PLAN, Some(&long))]).await;
    let comment = scene.github.answer(pull, &["is right: migration shop", "… cut here"]).await?;
    let head = scene.github.world(|world| world.pulls[&pull].head.clone());
    let link = format!("https://github.test/acme/shop/blob/{head}/switchyard.toml");
    assert!(comment.body.contains(&link), "{}", comment.body.lines().rev().take(5).collect::<String>());
    assert!(comment.body.chars().count() <= 65_536);
    scene.ends().await?;
    Ok(())
}

#[tokio::test]
async fn case_29_nothing_that_people_wrote_pings_or_links_anybody() -> Result<()> {
    let scene = Scene::set().await?;
    let reason = "@acme/dba see [here](https://evil.example) <img src=x> #1 acme/shop#2 ```";
    scene.says(ANNA, &format!("/migrate region-a start --reason \"{reason}\"")).await;
    let answer = scene.github.answer(scene.pull, &["Request `#"]).await?;
    let shown = scene.github.comment_says(answer.id, &["evil.example"]).await?.body;
    for raw in ["@acme", "[here](", " <img", "acme/shop#2"] {
        assert!(!shown.contains(raw), "{raw} in {shown}");
    }
    assert!(shown.contains("\\<img src=x\\>"), "{shown}");
    scene.ends().await?;
    Ok(())
}

#[tokio::test]
async fn case_4_one_person_is_one_vote_however_they_say_it() -> Result<()> {
    let scene = Scene::set().await?;
    let (request, _) = scene.asks("region-a start").await?;
    scene.github.review(BEN, scene.pull, ReviewState::Approved, "").await?;
    scene.answered(&["ben approved request", "1 more"]).await?;
    scene.approves(BEN, request, &["already", "SW-0120"]).await?;
    let said = scene.talk.product.chat("ben", &format!("/migrate approve #{request}")).await?;
    assert!(!said.accepted && said.text.contains("SW-0120"), "{}", said.text);
    let journal = scene.ends().await?;
    assert_eq!(journal.of("approved").count(), 1);
    assert_eq!(journal.of("operation_started").count(), 0);
    Ok(())
}

#[tokio::test]
async fn case_20_a_verb_in_the_wrong_state_is_answered_with_the_state() -> Result<()> {
    let scene = Scene::set().await?;
    scene.says(ANNA, "/migrate region-a resume").await;
    scene.answered(&["region-a", "SW-01"]).await?;
    scene.says(ANNA, "/migrate region-a cutover").await;
    scene.answered(&["region-a is new", "SW-0112"]).await?;
    starts(&scene, "region-a").await?;
    scene.says(ANNA, "/migrate region-a start").await;
    scene.answered(&["runs", "SW-0113"]).await?;
    scene.ends().await?;
    Ok(())
}

#[tokio::test]
async fn case_21_of_words_in_the_same_second_the_denial_wins() -> Result<()> {
    let scene = Scene::set().await?;
    let (request, shown) = scene.asks("region-a start").await?;
    scene.approves(BEN, request, &["ben approved request"]).await?;
    let deny = format!("/migrate deny #{request} --reason \"not now\"");
    let (_, denied) = tokio::join!(
        scene.github.review(CHRIS, scene.pull, ReviewState::Approved, ""),
        scene.talk.product.chat("anna", &deny)
    );
    assert!(denied?.accepted);
    scene
        .github
        .until("it to be void or undone", |world| {
            let body = &world.comments.get(&shown)?.body;
            (body.contains("is void") || body.contains("was undone")).then_some(())
        })
        .await?;
    // Whichever came first: chris's word is answered if the request was open when it was read.
    scene.settled().await?;
    scene.github.world(|world| {
        let is_one =
            |body: &str| ["undone", "chris", "anna denied it"].iter().any(|text| body.contains(text));
        let said = world.comments.values_mut().filter(|comment| is_one(&comment.body));
        said.for_each(|comment| comment.is_expected = true);
    });
    let journal = scene.ends().await?;
    assert_eq!(journal.of("denied").count(), 1);
    assert_eq!(
        journal.of("operation_finished").filter(|event| event.text("outcome") == "completed").count(),
        0
    );
    Ok(())
}

#[tokio::test]
async fn case_22_an_approval_that_comes_too_late_is_refused() -> Result<()> {
    let scene = Scene::set().await?;
    let (request, _) = starts(&scene, "region-a").await?;
    scene.approves(ANNA, request, &["SW-0117"]).await?;
    let journal = scene.ends().await?;
    assert_eq!(journal.of("approved").count(), 2);
    Ok(())
}

#[tokio::test]
async fn case_25_two_webhook_secrets_are_good_while_one_takes_the_others_place() -> Result<()> {
    let mut scene = Scene::set().await?;
    scene.serve.take().unwrap().end().await?;
    let bot = section(&scene.github, 3600);
    let both = bot.replace("[\"env:GITHUB_SECRET\"]", "[\"env:GITHUB_NEW_SECRET\", \"env:GITHUB_SECRET\"]");
    scene.talk.write_bot("a", &both)?;
    scene.serve = Some(scene.talk.serve("a").await?);
    scene.says(ANNA, "/migrate whoami").await;
    scene.answered(&["You are anna"]).await?;
    // The next one is signed with the new secret.
    scene.github.delivering(Delivering::Held);
    scene.says(BEN, "/migrate whoami").await;
    let hook = scene.github.held().pop().unwrap();
    let url = format!("{}/github", scene.talk.origin("a"));
    let client = reqwest::Client::new();
    assert_eq!(deliver(&client, &url, "a third secret", &hook).await, Some(401));
    assert_eq!(deliver(&client, &url, NEW_SECRET, &hook).await, Some(200));
    scene.answered(&["You are ben"]).await?;
    scene.github.delivering(Delivering::AtOnce);
    scene.ends().await?;
    Ok(())
}

#[tokio::test]
async fn on_an_enterprise_server_the_same_is_shown() -> Result<()> {
    let mut scene = Scene::set().await?;
    scene.serve.take().unwrap().end().await?;
    let bot = section(&scene.github, 3600).replace(&scene.github.url(), &scene.github.enterprise_url());
    scene.talk.write_bot("a", &bot)?;
    scene.serve = Some(scene.talk.serve("a").await?);
    starts_again(&scene).await?;
    scene.ends().await?;
    Ok(())
}

#[tokio::test]
async fn the_app_asks_for_the_permissions_that_it_needs_and_no_others() -> Result<()> {
    let team = "[[group]]\nrole = \"operator\"\ngithub_team = \"acme/ops\"\ngithub_team_id = 4712\n";
    let scene = Scene::with(1, team).await?;
    scene.github.world(|world| world.teams.insert("ops".to_owned(), (4712, [BEN].into())));
    starts_again(&scene).await?;
    scene.github.comment(BEN, Thread::Diff(scene.pull), "/migrate whoami").await;
    scene.answered(&["You are ben", "operator"]).await?;
    let other = scene.other_plan()?;
    let pull = scene.github.open_pull(ANNA, "Longer windows", &[(PLAN, Some(&other))]).await;
    scene.github.answer(pull, &["is right"]).await?;
    scene.swept().await?;
    let (asked, mut needed) = scene.github.permissions();
    // Every App has it.
    needed.insert("metadata".to_owned(), "read".to_owned());
    assert_eq!(asked, needed);
    scene.ends().await?;
    Ok(())
}
