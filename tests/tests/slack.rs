//! Slack, spoken to through the real binary: every conversation ends with nothing broken and nothing unexpected.
#![allow(clippy::allow_attributes, clippy::indexing_slicing, reason = "tests")]

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use product::doubles::http::Fault;
use product::doubles::ledger::{SOON, plain};
use product::doubles::slack::{APP_TOKEN, BOT_TOKEN, SIGNING_SECRET, Slack};
use product::switchyard::Serve;
use product::talk::{Person, Setting, Talk, is_said_again};
use product::wait::{Seen, wait_until};

const OPS: &str = "C0OPS";

fn people() -> Vec<Person> {
    let person = |id, roles, accounts| Person { id, roles, accounts };
    vec![
        person("anna", "\"operator\", \"approver\"", "slack = \"T0SHOP/U0ANNA\""),
        person("ben", "\"approver\"", "slack = \"T0SHOP/U0BEN\""),
        // From another workspace, in a shared channel.
        person("chris", "\"approver\"", "slack = \"T0ALLY/U0CHRIS\""),
        person("dora", "\"operator\"", ""),
    ]
}

fn sections(slack: &Slack) -> String {
    format!(
        "[slack]\nsigning_secrets = [\"env:SLACK_SIGNING\"]\nbot_token = \"env:SLACK_BOT\"\nteam = \"{}\"\n\
         channels = [\"{OPS}\"]\napi_url = \"{}\"\n",
        slack.team(),
        slack.api()
    )
}

fn environment() -> Vec<(String, String)> {
    [("SLACK_SIGNING", SIGNING_SECRET), ("SLACK_BOT", BOT_TOKEN), ("SLACK_APP", APP_TOKEN)]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec()
}

async fn scene() -> Result<(Slack, Talk)> {
    let slack = Slack::start().await?;
    for user in ["U0ANNA", "U0BEN", "U0EVE"] {
        slack.member(user, |_| {});
    }
    slack.member("U0CHRIS", |user| user.team = "T0ALLY".to_owned());
    let talk = Talk::set(Setting {
        people: people(),
        // A start needs two, so that it stays where people can be heard about it.
        plan: "[approvals.start]\nrequired = 2\n".to_owned(),
        bot: sections(&slack),
        environment: environment(),
    })
    .await?;
    slack.aim(&talk.origin("a"));
    Ok((slack, talk))
}

/// Anna asks for a start; gives the living message and the request's number.
async fn asks(slack: &Slack, talk: &Talk, phase: &str) -> Result<(String, u64)> {
    slack.command(OPS, "U0ANNA", &format!("{phase} start")).await?.taken()?;
    let asked = slack.ledger().hear(OPS, &format!("start of {phase}")).await?;
    Ok((asked.message, request(talk).await?))
}

/// Waits until a living message says something now.
async fn shows(slack: &Slack, message: &str, needle: &str) -> Result<()> {
    wait_until(SOON, &format!("“{needle}” in {message}"), async || {
        let messages = slack.messages(OPS);
        let found = messages.iter().find(|(id, ..)| id == message).map(|(.., text)| plain(text));
        Ok(match found {
            Some(text) if text.contains(needle) => Seen::Done(()),
            other => Seen::NotYet(format!("{other:?}")),
        })
    })
    .await?;
    slack.ledger().follow(message);
    Ok(())
}

/// Nothing waits, nothing was broken, nothing was said beyond what was heard, no secret was written. Living messages may
/// have gone on.
async fn close(slack: &Slack, talk: &Talk, serve: Serve) -> Result<()> {
    talk.settled("a").await?;
    serve.end().await?;
    ended(slack, talk).await
}

async fn ended(slack: &Slack, talk: &Talk) -> Result<()> {
    slack.ledger().follow_living();
    talk.kept_its_secrets().await?;
    ensure!(slack.faults().are_spent(), "a fault did not happen");
    slack.ledger().close()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slash_command_is_answered_in_the_channel_with_the_terminals_words() -> Result<()> {
    let (slack, talk) = scene().await?;
    let serve = talk.serve("a").await?;
    slack.verify_url().await?;
    for (words, some) in
        [("help", "what happened to a phase"), ("status", "region-a"), ("whoami", "You are anna")]
    {
        let here = talk.product.chat("anna", words).await?;
        slack.command(OPS, "U0ANNA", words).await?.taken()?;
        let there = slack.ledger().hear(OPS, some).await?;
        if words != "status" {
            ensure!(
                plain(&there.text) == plain(&here.text),
                "not the same words:\n{}\n---\n{}",
                there.text,
                here.text
            );
        }
    }
    close(&slack, &talk, serve).await
}

/// The number of the newest request for a start.
async fn request(talk: &Talk) -> Result<u64> {
    talk.product.journal().await?.request("start").ok_or_else(|| anyhow::anyhow!("nothing was asked for"))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_acknowledgement_comes_within_three_seconds_and_the_answer_by_the_bots_token() -> Result<()> {
    let (slack, talk) = scene().await?;
    let serve = talk.serve("a").await?;
    let ack = slack.command(OPS, "U0ANNA", "region-a start").await?.taken()?;
    ensure!(ack.took < Duration::from_secs(3), "{ack:?}");
    ensure!(
        ack.body == r#"{"response_type":"in_channel"}"#,
        "the command is not shown to the channel: {ack:?}"
    );
    slack.ledger().hear(OPS, "start of region-a").await?;
    ensure!(slack.calls("chat.postMessage") == 1, "more than one message");
    close(&slack, &talk, serve).await
}

#[tokio::test(flavor = "multi_thread")]
async fn case_4_one_human_with_two_accounts_is_one_vote() -> Result<()> {
    let (slack, talk) = scene().await?;
    let serve = talk.serve("a").await?;
    let (_, number) = asks(&slack, &talk, "region-a").await?;
    slack.command(OPS, "U0BEN", &format!("approve #{number}")).await?.taken()?;
    slack.ledger().hear(OPS, "1 of 2 approvals").await?;
    // The terminal is another way for the same person.
    let again = talk.product.chat("ben", &format!("approve #{number}")).await?;
    ensure!(!again.text.contains("2 of 2"), "ben counts twice: {}", again.text);
    let journal = talk.product.journal().await?;
    ensure!(journal.words().len() == 1, "{:?}", journal.words());
    close(&slack, &talk, serve).await
}

#[tokio::test(flavor = "multi_thread")]
async fn two_persons_approve_from_windows_and_one_message_tells_it() -> Result<()> {
    let (slack, talk) = scene().await?;
    let serve = talk.serve("a").await?;
    let (message, number) = asks(&slack, &talk, "region-a").await?;
    shows(&slack, &message, "waits for approvals").await?;
    // The press opens a window that shows what is approved; it is no word yet.
    slack.press(OPS, "U0BEN", &message, "switchyard_approve").await?.taken()?;
    let window = slack.ledger().hear("window/U0BEN", &format!("Approve #{number}")).await?;
    for shown in ["start of region-a", "anna", "The whole plan's hash: ", "region-a"] {
        ensure!(plain(&window.text).contains(shown), "the window does not show {shown}: {}", window.text);
    }
    ensure!(talk.product.journal().await?.words().is_empty(), "a press alone was a word");
    slack.submit("U0BEN", &window.message, &[("reason", "read it, twice")]).await?.taken()?;
    let told = slack.ledger().hear(OPS, "ben approved request").await?;
    ensure!(told.text.contains("1 of 2 approvals") && told.text.contains("read it, twice"), "{}", told.text);
    shows(&slack, &message, "Approved by ben").await?;
    // Another workspace's member, who is chris in the plan; without a reason.
    slack.press(OPS, "U0CHRIS", &message, "switchyard_approve").await?.taken()?;
    let window = slack.ledger().hear("window/U0CHRIS", "Approve #").await?;
    slack.submit("U0CHRIS", &window.message, &[]).await?.taken()?;
    slack.ledger().hear(OPS, "2 of 2 approvals").await?;
    let journal = talk.journal_with("approved", 2).await?;
    ensure!(
        journal.words()
            == [
                ("approved".to_owned(), "ben".to_owned(), number),
                ("approved".to_owned(), "chris".to_owned(), number)
            ],
        "{:?}",
        journal.words()
    );
    let approved = journal.of("approved").next().map(|event| event.value().to_string()).unwrap_or_default();
    for kept in ["read it, twice", "T0SHOP/U0BEN", OPS] {
        ensure!(approved.contains(kept), "the journal does not keep {kept}: {approved}");
    }
    // Answers to words stand in the thread of the living message.
    let thread = slack
        .messages(OPS)
        .into_iter()
        .find(|(id, ..)| *id == told.message)
        .and_then(|(_, thread, _)| thread);
    ensure!(thread.as_deref() == Some(message.as_str()), "not in the thread: {thread:?}");
    close(&slack, &talk, serve).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_denial_needs_its_reason_and_voids_the_request() -> Result<()> {
    let (slack, talk) = scene().await?;
    let serve = talk.serve("a").await?;
    let (message, number) = asks(&slack, &talk, "region-a").await?;
    slack.press(OPS, "U0BEN", &message, "switchyard_deny").await?.taken()?;
    let window = slack.ledger().hear("window/U0BEN", &format!("Deny #{number}")).await?;
    ensure!(
        slack.submit("U0BEN", &window.message, &[]).await.is_err(),
        "Slack lets a denial without a reason through"
    );
    slack.submit("U0BEN", &window.message, &[("reason", "not on a <!channel> Friday")]).await?.taken()?;
    slack.ledger().hear(OPS, "ben denied request").await?;
    shows(&slack, &message, "is void").await?;
    let journal = talk.journal_with("denied", 1).await?;
    ensure!(
        journal.of("denied").all(|event| event.text("reason") == "not on a <!channel> Friday"),
        "{}",
        journal.tail(3)
    );
    // Its buttons are gone.
    ensure!(
        slack.pressed(OPS, "U0CHRIS", &message, "switchyard_approve").is_err(),
        "a void request has buttons"
    );
    close(&slack, &talk, serve).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_window_that_came_too_late_says_how_to_go_on() -> Result<()> {
    let (slack, talk) = scene().await?;
    let serve = talk.serve("a").await?;
    let (message, number) = asks(&slack, &talk, "region-a").await?;
    slack.let_triggers_live(Duration::ZERO);
    slack.press(OPS, "U0BEN", &message, "switchyard_approve").await?.taken()?;
    slack.ledger().hear(&format!("{OPS}/U0BEN"), &format!("/migrate approve #{number}")).await?;
    ensure!(talk.product.journal().await?.words().is_empty(), "a press alone was a word");
    close(&slack, &talk, serve).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_window_sent_twice_and_a_captured_one_are_one_word() -> Result<()> {
    let (slack, talk) = scene().await?;
    let serve = talk.serve("a").await?;
    let (message, number) = asks(&slack, &talk, "region-a").await?;
    slack.press(OPS, "U0BEN", &message, "switchyard_approve").await?.taken()?;
    let window = slack.ledger().hear("window/U0BEN", "Approve #").await?;
    let sent = slack.submitted("U0BEN", &window.message, &[])?;
    for _ in 0..3 {
        slack.interact(&sent).await?.taken()?;
    }
    let captured = slack.last_request()?;
    slack.replay(&captured).await?.taken()?;
    slack.ledger().hear(OPS, "ben approved request").await?;
    talk.settled("a").await?;
    ensure!(
        talk.product.journal().await?.words() == [("approved".to_owned(), "ben".to_owned(), number)],
        "not once"
    );
    close(&slack, &talk, serve).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_button_of_another_plan_opens_nothing() -> Result<()> {
    let (slack, talk) = scene().await?;
    let serve = talk.serve("a").await?;
    let (message, _) = asks(&slack, &talk, "region-a").await?;
    let mut press = slack.pressed(OPS, "U0BEN", &message, "switchyard_approve")?;
    let value = press["actions"][0]["value"].as_str().unwrap_or_default().to_owned();
    let (front, _) = value.rsplit_once(':').unwrap_or_default();
    press["actions"][0]["value"] = serde_json::json!(format!("{front}:00000000"));
    slack.interact(&press).await?.taken()?;
    slack.ledger().hear(&format!("{OPS}/U0BEN"), "is not for request").await?;
    close(&slack, &talk, serve).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_is_looked_at_when_its_word_is_used() -> Result<()> {
    let (slack, talk) = scene().await?;
    let serve = talk.serve("a").await?;
    let (message, number) = asks(&slack, &talk, "region-a").await?;
    slack.press(OPS, "U0BEN", &message, "switchyard_approve").await?.taken()?;
    let window = slack.ledger().hear("window/U0BEN", "Approve #").await?;
    // Between the press and the word ben leaves the company.
    slack.member("U0BEN", |user| user.is_deleted = true);
    slack.submit("U0BEN", &window.message, &[]).await?.taken()?;
    slack.ledger().hear(OPS, "this account was deactivated").await?;
    slack.member("U0BEN", |user| user.is_restricted = true);
    slack.command(OPS, "U0BEN", &format!("approve #{number}")).await?.taken()?;
    slack.ledger().hear(OPS, "guests of the workspace have no word").await?;
    slack.member("U0BEN", |user| user.is_bot = true);
    slack.command(OPS, "U0BEN", &format!("approve #{number}")).await?.taken()?;
    slack.ledger().hear(OPS, "this account is a program's").await?;
    // Slack cannot be asked for a moment: the word waits, and is not lost.
    slack.member("U0BEN", |_| {});
    slack.faults().next("users.info", Fault::Status(503));
    slack.command(OPS, "U0BEN", &format!("approve #{number}")).await?.taken()?;
    slack.ledger().hear(OPS, "ben approved request").await?;
    ensure!(talk.product.journal().await?.words().len() == 1, "a word counted that must not");
    slack.take_scope("users:read");
    slack.command(OPS, "U0ANNA", &format!("approve #{number}")).await?.taken()?;
    slack.ledger().hear(OPS, "users:read").await?;
    close(&slack, &talk, serve).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_of_another_workspace_with_the_same_id_is_nobody() -> Result<()> {
    let (slack, talk) = scene().await?;
    let serve = talk.serve("a").await?;
    let (message, _) = asks(&slack, &talk, "region-a").await?;
    slack.member("U0BEN", |user| user.team = "T0EVIL".to_owned());
    slack.press(OPS, "U0BEN", &message, "switchyard_approve").await?.taken()?;
    let window = slack.ledger().hear("window/U0BEN", "Approve #").await?;
    slack.submit("U0BEN", &window.message, &[]).await?.taken()?;
    slack.ledger().hear(OPS, "slack = \"T0EVIL/U0BEN\"").await?;
    ensure!(talk.product.journal().await?.words().is_empty(), "another team's member was heard");
    close(&slack, &talk, serve).await
}

#[tokio::test(flavor = "multi_thread")]
async fn case_16_the_living_message_goes_on_after_the_interactions_token_has_run_out() -> Result<()> {
    let (slack, talk) = scene().await?;
    let serve = talk.serve("a").await?;
    let (message, number) = asks(&slack, &talk, "region-a").await?;
    slack.command(OPS, "U0BEN", &format!("approve #{number}")).await?.taken()?;
    slack.ledger().hear(OPS, "ben approved request").await?;
    slack.tokens_run_out();
    shows(&slack, &message, "Approved by ben").await?;
    talk.product.chat("chris", &format!("deny #{number} --reason \"half an hour later\"")).await?;
    shows(&slack, &message, "is void").await?;
    talk.settled("a").await?;
    close(&slack, &talk, serve).await
}

#[tokio::test(flavor = "multi_thread")]
async fn case_17_a_deleted_living_message_is_posted_anew_and_goes_on() -> Result<()> {
    let (slack, talk) = scene().await?;
    let serve = talk.serve("a").await?;
    let (message, number) = asks(&slack, &talk, "region-a").await?;
    shows(&slack, &message, "waits for approvals").await?;
    slack.delete(OPS, &message);
    slack.command(OPS, "U0BEN", &format!("approve #{number}")).await?.taken()?;
    slack.ledger().hear(OPS, "ben approved request").await?;
    let anew = slack.ledger().hear(OPS, "Approved by ben").await?;
    ensure!(anew.message != message && !anew.is_edit, "it was not posted anew: {anew:?}");
    slack.press(OPS, "U0CHRIS", &anew.message, "switchyard_deny").await?.taken()?;
    let window = slack.ledger().hear("window/U0CHRIS", "Deny #").await?;
    slack.submit("U0CHRIS", &window.message, &[("reason", "no")]).await?.taken()?;
    slack.ledger().hear(OPS, "chris denied request").await?;
    shows(&slack, &anew.message, "is void").await?;
    close(&slack, &talk, serve).await
}

#[tokio::test(flavor = "multi_thread")]
async fn case_18_states_of_a_living_message_are_three_seconds_apart() -> Result<()> {
    let (slack, talk) = scene().await?;
    let serve = talk.serve("a").await?;
    let (message, number) = asks(&slack, &talk, "region-a").await?;
    for (person, word) in [("ben", "approve"), ("ben", "revoke"), ("ben", "approve"), ("ben", "revoke")] {
        talk.product.chat(person, &format!("{word} #{number}")).await?;
    }
    talk.product.chat("chris", &format!("deny #{number} --reason enough")).await?;
    shows(&slack, &message, "is void").await?;
    talk.settled("a").await?;
    let states: Vec<Instant> = slack
        .ledger()
        .said()
        .iter()
        .filter(|said| said.message == message && said.is_edit)
        .map(|said| said.at)
        .collect();
    ensure!(states.len() <= 3, "{} states of five words", states.len());
    let last_is_free = states.len().saturating_sub(1);
    for pair in states.get(..last_is_free).unwrap_or_default().windows(2) {
        ensure!(pair[1].duration_since(pair[0]) >= Duration::from_millis(2900), "too soon: {states:?}");
    }
    close(&slack, &talk, serve).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_home_tab_shows_the_migration_and_follows_it() -> Result<()> {
    let (slack, talk) = scene().await?;
    let serve = talk.serve("a").await?;
    slack.open_home("U0EVE").await?.taken()?;
    let home = slack.ledger().hear("home/U0EVE", "region-b").await?;
    ensure!(!home.is_edit, "published before it was opened");
    asks(&slack, &talk, "region-a").await?;
    slack.ledger().hear("home/U0EVE", "start").await?;
    close(&slack, &talk, serve).await
}

#[tokio::test(flavor = "multi_thread")]
async fn socket_mode_hears_the_same_and_survives_its_sockets() -> Result<()> {
    let (slack, talk) = scene().await?;
    let by_socket = sections(&slack)
        .replace("signing_secrets = [\"env:SLACK_SIGNING\"]", "app_token = \"env:SLACK_APP\"");
    talk.write_bot("a", &by_socket)?;
    slack.use_sockets();
    let serve = talk.serve("a").await?;
    slack.connected(1).await?;
    let (message, number) = asks(&slack, &talk, "region-a").await?;
    slack.press(OPS, "U0BEN", &message, "switchyard_approve").await?.taken()?;
    let window = slack.ledger().hear("window/U0BEN", "Approve #").await?;
    slack.submit("U0BEN", &window.message, &[]).await?.taken()?;
    slack.ledger().hear(OPS, "ben approved request").await?;
    // Slack closes sockets now and then; the app opens another first.
    slack.refresh_socket();
    slack.connected(1).await?;
    let (_, event) = slack.mentioned(OPS, "U0ANNA", "whoami", Some(&message))?;
    for _ in 0..3 {
        slack.event(&event).await?.taken()?;
    }
    slack.ledger().hear(OPS, "You are anna").await?;
    // The network breaks.
    slack.cut_socket();
    slack.connected(0).await?;
    slack.connected(1).await?;
    slack.command(OPS, "U0ANNA", &format!("approve #{number}")).await?.taken()?;
    slack.ledger().hear(OPS, "2 of 2 approvals").await?;
    slack.command("C0ELSE", "U0ANNA", "status").await?.taken()?;
    slack.ledger().hear("C0ELSE/U0ANNA", "does not listen here").await?;
    // Nothing is served that nothing could be signed for.
    let ack =
        reqwest::Client::new().post(format!("{}/slack/commands", talk.origin("a"))).body("x").send().await?;
    ensure!(ack.status() == 404, "{ack:?}");
    close(&slack, &talk, serve).await
}

#[tokio::test(flavor = "multi_thread")]
async fn case_20_and_22_a_word_that_comes_too_late_says_where_things_stand() -> Result<()> {
    let (slack, talk) = scene().await?;
    let serve = talk.serve("a").await?;
    let (message, number) = asks(&slack, &talk, "region-a").await?;
    talk.product.chat("ben", &format!("deny #{number} --reason no")).await?;
    shows(&slack, &message, "is void").await?;
    slack.command(OPS, "U0ANNA", &format!("approve #{number}")).await?.taken()?;
    slack.ledger().hear(OPS, "ben denied it").await?;
    slack.command(OPS, "U0ANNA", "region-a resume").await?.taken()?;
    slack.ledger().hear(OPS, "(SW-").await?;
    ensure!(talk.product.journal().await?.words().len() == 1, "a late word counted");
    close(&slack, &talk, serve).await
}

#[tokio::test(flavor = "multi_thread")]
async fn case_5_an_edited_mention_does_nothing_and_is_told_so_once() -> Result<()> {
    let (slack, talk) = scene().await?;
    let serve = talk.serve("a").await?;
    let (_, event) = slack.mentioned(OPS, "U0ANNA", "good morning", None)?;
    slack.event(&event).await?.taken()?;
    slack.ledger().hear(OPS, "good morning is no command").await?;
    slack.edit(&event, "region-a start").await?.taken()?;
    slack.ledger().hear(OPS, "Edits do nothing").await?;
    slack.edit(&event, "region-b start").await?.taken()?;
    talk.settled("a").await?;
    ensure!(talk.product.journal().await?.request("start").is_none(), "an edit asked for something");
    close(&slack, &talk, serve).await
}

#[tokio::test(flavor = "multi_thread")]
async fn case_10_a_replay_a_double_click_and_a_retry_are_one_event_and_one_reply() -> Result<()> {
    let (slack, talk) = scene().await?;
    let serve = talk.serve("a").await?;
    slack.command(OPS, "U0ANNA", "region-a start").await?.taken()?;
    let captured = slack.last_request()?;
    let asked = slack.ledger().hear(OPS, "start of region-a").await?;
    for _ in 0..5 {
        slack.replay(&captured).await?.taken()?;
    }
    // An event that Slack retries, since it was not acknowledged in time.
    let (_, event) = slack.mentioned(OPS, "U0ANNA", "whoami", Some(&asked.message))?;
    for _ in 0..4 {
        slack.event(&event).await?.taken()?;
    }
    slack.ledger().hear(OPS, "You are anna").await?;
    talk.settled("a").await?;
    ensure!(talk.product.journal().await?.of("requested").count() == 1, "asked for twice");
    close(&slack, &talk, serve).await
}

/// Kills the bot at a place of its way from an acknowledged command to its answer, and lets another process go on.
async fn survives(failpoint: &str) -> Result<()> {
    let (slack, talk) = scene().await?;
    let mut serve = talk.start("a", Some(failpoint))?;
    talk.listens("a", &mut serve).await?;
    let ack = slack.command(OPS, "U0ANNA", "region-a start").await?;
    serve.killed_itself(Duration::from_secs(30)).await?;
    let serve = talk.serve("a").await?;
    if is_said_again(failpoint, ack.status)? {
        slack.command(OPS, "U0ANNA", "region-a start").await?.taken()?;
    }
    slack.ledger().hear(OPS, "start of region-a").await?;
    ensure!(talk.product.journal().await?.of("requested").count() == 1, "asked for twice");
    close(&slack, &talk, serve).await
}

#[tokio::test(flavor = "multi_thread")]
async fn case_11_a_crash_before_the_receipt_is_seen_by_the_person() -> Result<()> {
    survives("mail.before_receipt").await
}

#[tokio::test(flavor = "multi_thread")]
async fn case_11_a_crash_after_the_receipt_loses_nothing() -> Result<()> {
    survives("mail.after_receipt").await
}

#[tokio::test(flavor = "multi_thread")]
async fn case_11_a_crash_between_the_event_and_the_reply_repeats_nothing() -> Result<()> {
    survives("mail.before_finish").await
}

#[tokio::test(flavor = "multi_thread")]
async fn case_11_a_crash_before_the_reply_is_sent_loses_nothing() -> Result<()> {
    survives("mail.after_finish").await
}

#[tokio::test(flavor = "multi_thread")]
async fn case_11_and_19_a_crash_after_the_reply_was_sent_does_not_send_it_again() -> Result<()> {
    survives("mail.before_sent").await
}

#[tokio::test(flavor = "multi_thread")]
async fn case_12_two_instances_do_each_word_once() -> Result<()> {
    let (slack, talk) = scene().await?;
    let one = talk.serve("a").await?;
    let other = talk.serve("b").await?;
    slack.command(OPS, "U0ANNA", "region-a start").await?.taken()?;
    let captured = slack.last_request()?;
    slack.aim(&talk.origin("b"));
    slack.replay(&captured).await?.taken()?;
    let asked = slack.ledger().hear(OPS, "start of region-a").await?;
    // The same event at both, at once.
    let (_, event) = slack.mentioned(OPS, "U0ANNA", "whoami", Some(&asked.message))?;
    for instance in ["a", "b", "a", "b"] {
        slack.aim(&talk.origin(instance));
        slack.event(&event).await?.taken()?;
    }
    slack.ledger().hear(OPS, "You are anna").await?;
    slack.command(OPS, "U0ANNA", "region-b start").await?.taken()?;
    slack.ledger().hear(OPS, "start of region-b").await?;
    // One of the two dies for good with something in its hand.
    one.kill9().await?;
    slack.command(OPS, "U0ANNA", "whoami").await?.taken()?;
    slack.ledger().hear(OPS, "You are anna").await?;
    ensure!(talk.product.journal().await?.of("requested").count() == 2, "a word was done twice");
    talk.settled("b").await?;
    other.end().await?;
    ended(&slack, &talk).await
}

#[tokio::test(flavor = "multi_thread")]
async fn case_13_what_stands_in_code_or_a_quote_is_text() -> Result<()> {
    let (slack, talk) = scene().await?;
    let serve = talk.serve("a").await?;
    for text in [
        "`/migrate region-a start`",
        "```\n/migrate region-a start\n```",
        "> /migrate region-a start",
        "<!-- /migrate region-a start -->",
    ] {
        let (_, ack) = slack.mention(OPS, "U0ANNA", text, None).await?;
        ensure!(ack.status == 200 || ack.status == 204, "{ack:?}");
    }
    talk.settled("a").await?;
    ensure!(talk.product.journal().await?.of("requested").count() == 0, "a text was taken for a command");
    close(&slack, &talk, serve).await
}

#[tokio::test(flavor = "multi_thread")]
async fn case_14_several_commands_of_one_mention_run_in_order_and_an_error_stops_the_rest() -> Result<()> {
    let (slack, talk) = scene().await?;
    let serve = talk.serve("a").await?;
    let text = "\n/migrate region-a start\n/migrate region-c start\n/migrate region-b start";
    let (ts, ack) = slack.mention(OPS, "U0ANNA", text, None).await?;
    ack.taken()?;
    let answer = slack.ledger().hear(OPS, "region-c").await?;
    ensure!(answer.text.contains("region-c"), "it does not say where it stopped: {}", answer.text);
    // What was asked for has its living message in the same thread.
    slack.ledger().hear(OPS, "waits for approvals").await?;
    ensure!(talk.product.journal().await?.of("requested").count() == 1, "it went on behind the error");
    let thread = slack
        .messages(OPS)
        .into_iter()
        .find(|(id, ..)| *id == answer.message)
        .and_then(|(_, thread, _)| thread);
    ensure!(thread.as_deref() == Some(ts.as_str()), "the answer is not in the mention's thread: {thread:?}");
    close(&slack, &talk, serve).await
}

#[tokio::test(flavor = "multi_thread")]
async fn case_15_a_mistyped_verb_gets_the_nearest_one() -> Result<()> {
    let (slack, talk) = scene().await?;
    let serve = talk.serve("a").await?;
    slack.command(OPS, "U0ANNA", "region-a cutovr").await?.taken()?;
    slack.ledger().hear(OPS, "cutover").await?;
    slack.command(OPS, "U0ANNA", "cutover").await?.taken()?;
    slack.ledger().hear(OPS, "/migrate PHASE cutover").await.or(slack.ledger().hear(OPS, "phase").await)?;
    close(&slack, &talk, serve).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_slack_makes_of_typed_text_is_read_as_it_was_typed() -> Result<()> {
    let (slack, talk) = scene().await?;
    let serve = talk.serve("a").await?;
    // An em dash for two hyphens, curly quotes, and a sign that is passed on as an entity.
    slack.command(OPS, "U0ANNA", "hold \u{2014}reason \u{201c}a < b & c\u{201d}").await?.taken()?;
    slack.ledger().hear(OPS, "a < b & c").await?;
    let journal = talk.product.journal().await?;
    let held = journal.events().iter().find(|event| event.text("reason") == "a < b & c");
    ensure!(held.is_some(), "{}", journal.tail(3));
    close(&slack, &talk, serve).await
}

#[tokio::test(flavor = "multi_thread")]
async fn case_18_a_limit_in_slacks_answer_is_waited_out_and_nothing_is_lost() -> Result<()> {
    let (slack, talk) = scene().await?;
    let serve = talk.serve("a").await?;
    slack.faults().next("chat.postMessage", Fault::Limit(2));
    let begun = Instant::now();
    slack.command(OPS, "U0ANNA", "whoami").await?.taken()?;
    slack.ledger().hear(OPS, "You are anna").await?;
    ensure!(begun.elapsed() >= Duration::from_secs(2), "Retry-After was not waited out");
    // Its method's own trouble, then none.
    slack.faults().next("chat.postMessage", Fault::Status(503));
    slack.command(OPS, "U0ANNA", "whoami").await?.taken()?;
    slack.ledger().hear(OPS, "You are anna").await?;
    close(&slack, &talk, serve).await
}

#[tokio::test(flavor = "multi_thread")]
async fn case_19_an_answer_that_was_lost_is_looked_for_before_it_is_posted_again() -> Result<()> {
    let (slack, talk) = scene().await?;
    let serve = talk.serve("a").await?;
    slack.faults().next("chat.postMessage", Fault::LoseAnswer);
    slack.command(OPS, "U0ANNA", "region-a start").await?.taken()?;
    let asked = slack.ledger().hear(OPS, "start of region-a").await?;
    talk.settled("a").await?;
    ensure!(slack.calls("conversations.history") > 0, "it was not looked for");
    ensure!(slack.messages(OPS).len() == 1, "posted twice: {:?}", slack.messages(OPS));
    // In a thread too.
    slack.ledger().follow(&asked.message);
    slack.faults().next("chat.postMessage", Fault::LoseAnswer);
    slack.mention(OPS, "U0ANNA", "whoami", Some(&asked.message)).await?.1.taken()?;
    let answer = slack.ledger().hear(OPS, "You are anna").await?;
    talk.settled("a").await?;
    slack.ledger().follow(&answer.message);
    ensure!(slack.messages(OPS).len() == 3, "posted twice: {:?}", slack.messages(OPS));
    close(&slack, &talk, serve).await
}

#[tokio::test(flavor = "multi_thread")]
async fn case_17_an_archived_channel_blocks_nothing() -> Result<()> {
    let (slack, talk) = scene().await?;
    let serve = talk.serve("a").await?;
    slack.archive(OPS);
    slack.command(OPS, "U0ANNA", "region-a start").await?.taken()?;
    talk.journal_with("requested", 1).await?;
    talk.settled("a").await?;
    close(&slack, &talk, serve).await
}

#[tokio::test(flavor = "multi_thread")]
async fn case_24_a_skewed_clock_is_refused_and_its_difference_logged() -> Result<()> {
    let (slack, talk) = scene().await?;
    let serve = talk.serve("a").await?;
    for skew in [-301, 302] {
        slack.skew(skew);
        let ack = slack.command(OPS, "U0ANNA", "region-a start").await?;
        ensure!(ack.status == 401 && ack.body.is_empty(), "{ack:?}");
    }
    ensure!(serve.log_tail(20).contains("s from ours"), "the log does not say it: {}", serve.log_tail(5));
    slack.skew(-290);
    slack.command(OPS, "U0ANNA", "whoami").await?.taken()?;
    slack.ledger().hear(OPS, "You are anna").await?;
    ensure!(talk.product.journal().await?.of("requested").count() == 0, "an old request was done");
    close(&slack, &talk, serve).await
}

#[tokio::test(flavor = "multi_thread")]
async fn case_25_old_and_new_secrets_are_good_together_and_strange_ones_never() -> Result<()> {
    let (slack, talk) = scene().await?;
    std::fs::write(talk.file("new-secret"), "another-LEAK-secret\n")?;
    let both =
        sections(&slack).replace("[\"env:SLACK_SIGNING\"]", "[\"env:SLACK_SIGNING\", \"file:new-secret\"]");
    talk.write_bot("a", &both)?;
    let serve = talk.serve("a").await?;
    for secret in [SIGNING_SECRET, "another-LEAK-secret"] {
        slack.sign_with(secret);
        slack.command(OPS, "U0ANNA", "whoami").await?.taken()?;
        slack.ledger().hear(OPS, "You are anna").await?;
    }
    slack.sign_with("a thief's");
    let ack = slack.command(OPS, "U0ANNA", "region-a start").await?;
    ensure!(ack.status == 401 && ack.body.is_empty(), "{ack:?}");
    close(&slack, &talk, serve).await
}

#[tokio::test(flavor = "multi_thread")]
async fn case_26_its_own_words_and_those_of_bots_are_not_heard() -> Result<()> {
    let (slack, talk) = scene().await?;
    let serve = talk.serve("a").await?;
    let (_, mut event) = slack.mentioned(OPS, "U0SWITCH", "/migrate region-a start", None)?;
    event["event"]["bot_id"] = serde_json::json!("B0SWITCH");
    let ack = slack.event(&event).await?;
    ensure!(ack.status / 100 == 2, "{ack:?}");
    talk.settled("a").await?;
    ensure!(talk.product.journal().await?.of("requested").count() == 0, "a bot was heard");
    close(&slack, &talk, serve).await
}

#[tokio::test(flavor = "multi_thread")]
async fn case_29_nothing_that_people_write_calls_anybody() -> Result<()> {
    let (slack, talk) = scene().await?;
    let serve = talk.serve("a").await?;
    let reason = "<!channel> <@U0BEN> @here *bold* <https://evil.example|click>";
    slack.command(OPS, "U0ANNA", &format!("hold --reason \"{reason}\"")).await?.taken()?;
    // The double refuses what calls people.
    slack.ledger().hear(OPS, "No new operation begins").await?;
    close(&slack, &talk, serve).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_of_nobody_is_told_the_line_that_the_plan_lacks() -> Result<()> {
    let (slack, talk) = scene().await?;
    let serve = talk.serve("a").await?;
    slack.command(OPS, "U0EVE", "region-a start").await?.taken()?;
    slack.ledger().hear(OPS, "slack = \"T0SHOP/U0EVE\"").await?;
    ensure!(talk.product.journal().await?.of("requested").count() == 0, "eve was heard");
    close(&slack, &talk, serve).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_that_is_not_configured_is_not_listened_to() -> Result<()> {
    let (slack, talk) = scene().await?;
    slack.channel("C0RANDOM");
    let serve = talk.serve("a").await?;
    slack.command("C0RANDOM", "U0ANNA", "region-a start").await?.taken()?;
    slack.ledger().hear("C0RANDOM/U0ANNA", "does not listen here").await?;
    let (_, ack) = slack.mention("C0RANDOM", "U0ANNA", "region-a start", None).await?;
    ensure!(ack.status / 100 == 2, "{ack:?}");
    ensure!(talk.product.journal().await?.of("requested").count() == 0, "it listens everywhere");
    close(&slack, &talk, serve).await
}

#[tokio::test(flavor = "multi_thread")]
async fn case_30_what_was_acknowledged_before_a_shutdown_is_answered_after_the_next_start() -> Result<()> {
    let (slack, talk) = scene().await?;
    let serve = talk.serve("a").await?;
    for _ in 0..3 {
        slack.command(OPS, "U0ANNA", "whoami").await?.taken()?;
    }
    serve.end().await?;
    let gone = slack.command(OPS, "U0ANNA", "whoami").await?;
    ensure!(gone.status == 0 || gone.status == 503, "{gone:?}");
    let serve = talk.serve("a").await?;
    for _ in 0..3 {
        slack.ledger().hear(OPS, "You are anna").await?;
    }
    close(&slack, &talk, serve).await
}
