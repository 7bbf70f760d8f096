//! Discord, spoken to through the real binary: every conversation ends with nothing broken and nothing unexpected.
#![allow(clippy::allow_attributes, clippy::indexing_slicing, reason = "tests")]

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use product::doubles::discord::{APPLICATION, Discord, GUILD, Interacted, OPS, TOKEN};
use product::doubles::http::Fault;
use product::doubles::ledger::{SOON, Said, plain};
use product::switchyard::{Serve, binary};
use product::talk::{Person, Setting, Talk, is_said_again};
use product::wait::{Seen, wait_until};
use serde_json::{Value, json};

const ANNA: &str = "100000000000001001";
const BEN: &str = "100000000000001002";
const CHRIS: &str = "100000000000001003";
const EVE: &str = "100000000000001099";

fn people() -> Vec<Person> {
    let person = |id, roles, accounts| Person { id, roles, accounts };
    vec![
        person("anna", "\"operator\", \"approver\"", "discord = \"100000000000001001\""),
        person("ben", "\"approver\"", "discord = \"100000000000001002\""),
        person("chris", "\"approver\"", "discord = \"100000000000001003\""),
        person("dora", "\"operator\"", ""),
    ]
}

fn sections(discord: &Discord) -> String {
    format!(
        "[discord]\npublic_key = \"{}\"\napplication_id = \"{APPLICATION}\"\nbot_token = \"env:DISCORD_BOT\"\n\
         guild = \"{GUILD}\"\nchannel = \"{OPS}\"\napi_url = \"{}\"\n",
        discord.public_key(),
        discord.api()
    )
}

async fn scene() -> Result<(Discord, Talk)> {
    let discord = Discord::start().await?;
    for (user, name) in [(ANNA, "anna"), (BEN, "ben"), (CHRIS, "chris"), (EVE, "eve")] {
        discord.member(user, name, false);
    }
    let talk = Talk::set(Setting {
        people: people(),
        // A start needs two, so that it stays where people can be heard about it.
        plan: "[approvals.start]\nrequired = 2\n".to_owned(),
        bot: sections(&discord),
        environment: vec![("DISCORD_BOT".to_owned(), TOKEN.to_owned())],
    })
    .await?;
    discord.aim(&format!("{}/discord", talk.origin("a")));
    Ok((discord, talk))
}

/// What a person fills into the form of a subcommand.
fn filled(verb: &str, options: &[(&str, &str)]) -> Value {
    let options: Vec<Value> =
        options.iter().map(|(name, value)| json!({"name": name, "type": 3, "value": value})).collect();
    json!([{"name": verb, "type": 1, "options": options}])
}

/// A person says something, and it is taken.
async fn says(discord: &Discord, user: &str, verb: &str, options: &[(&str, &str)]) -> Result<Interacted> {
    discord.command(OPS, user, filled(verb, options)).await?.taken()
}

/// Anna asks for a start; gives the living message and the request's number.
async fn asks(discord: &Discord, talk: &Talk, phase: &str) -> Result<(String, u64)> {
    says(discord, ANNA, "start", &[("phase", phase)]).await?;
    let asked = discord.ledger().hear(OPS, &format!("start of {phase}")).await?;
    Ok((asked.message, request(talk).await?))
}

/// A person presses a button; gives what they see in the window.
async fn opens(discord: &Discord, user: &str, message: &str, word: &str) -> Result<Said> {
    discord.press(OPS, user, message, &format!("{word}:")).await?.taken()?;
    discord.ledger().hear(&format!("window/{user}"), "#").await
}

/// Waits until a living message says something now.
async fn shows(discord: &Discord, message: &str, needle: &str) -> Result<()> {
    let number: u64 = message.parse()?;
    wait_until(SOON, &format!("“{needle}” in {message}"), async || {
        let found =
            discord.messages(OPS).get(&number).and_then(|body| Some(plain(body["content"].as_str()?)));
        Ok(match found {
            Some(text) if text.contains(needle) => Seen::Done(()),
            other => Seen::NotYet(format!("{other:?}")),
        })
    })
    .await?;
    discord.ledger().follow(message);
    Ok(())
}

/// Nothing waits, nothing was broken, nothing was said beyond what was heard, nobody looks at "thinking", no secret was
/// written. Living messages may have gone on.
async fn close(discord: &Discord, talk: &Talk, serve: Serve) -> Result<()> {
    talk.settled("a").await?;
    serve.end().await?;
    ended(discord, talk).await
}

async fn ended(discord: &Discord, talk: &Talk) -> Result<()> {
    discord.ledger().follow_living();
    talk.kept_its_secrets().await?;
    ensure!(discord.faults().are_spent(), "a fault did not happen");
    ensure!(discord.thinking() == 0, "{} persons see no answer", discord.thinking());
    discord.ledger().close()
}

/// The number of the newest request for a start.
async fn request(talk: &Talk) -> Result<u64> {
    talk.product.journal().await?.request("start").context("nothing was asked for")
}

fn word(kind: &str, person: &str, request: u64) -> (String, String, u64) {
    (kind.to_owned(), person.to_owned(), request)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slash_command_is_answered_in_the_channel_with_the_terminals_words() -> Result<()> {
    let (discord, talk) = scene().await?;
    let serve = talk.serve("a").await?;
    // What Discord does when the endpoint is entered.
    discord.probe().await?;
    for (verb, options, typed, some) in [
        ("help", vec![], "help", "what happened to a phase"),
        ("help", vec![("command", "cutover")], "help cutover", "make the target the writer"),
        ("whoami", vec![], "whoami", "You are anna"),
        ("plan", vec![("phase", "region-a")], "plan region-a", "region-a"),
        ("pause", vec![("phase", "region-a")], "region-a pause", "(SW-"),
    ] {
        let here = talk.product.chat("anna", typed).await?;
        says(&discord, ANNA, verb, &options).await?;
        let there = discord.ledger().hear(OPS, some).await?;
        ensure!(
            plain(&there.text) == plain(&here.text),
            "not the same words for {typed}:\n{}\n---\n{}",
            there.text,
            here.text
        );
    }
    close(&discord, &talk, serve).await
}

#[tokio::test(flavor = "multi_thread")]
async fn case_16_the_answer_is_deferred_and_the_living_message_is_the_bots_own() -> Result<()> {
    let (discord, talk) = scene().await?;
    let serve = talk.serve("a").await?;
    let ack = says(&discord, ANNA, "start", &[("phase", "region-a")]).await?;
    ensure!(ack.took < Duration::from_secs(3) && ack.answer == json!({"type": 5}), "{ack:?}");
    let asked = discord.ledger().hear(OPS, "start of region-a").await?;
    talk.settled("a").await?;
    ensure!(discord.calls("POST channels/messages") == 1, "more than one message");
    ensure!(discord.thinking() == 0, "what stood for the answer was left");
    // Hours later, with the token long dead, it goes on.
    discord.age_tokens(Duration::from_secs(7200));
    let number = request(&talk).await?;
    talk.product.chat("ben", &format!("approve #{number}")).await?;
    shows(&discord, &asked.message, "Approved by ben").await?;
    close(&discord, &talk, serve).await
}

#[tokio::test(flavor = "multi_thread")]
async fn case_16_an_answer_after_the_tokens_quarter_of_an_hour_is_a_message_of_its_own() -> Result<()> {
    let (discord, talk) = scene().await?;
    let serve = talk.serve("a").await?;
    for _ in 0..2 {
        discord.faults().next("PATCH webhooks/messages/@original", Fault::Status(503));
    }
    says(&discord, ANNA, "whoami", &[]).await?;
    discord.age_tokens(Duration::from_secs(901));
    discord.ledger().hear(OPS, "You are anna").await?;
    ensure!(discord.calls("POST channels/messages") == 1, "it is no message of its own");
    close(&discord, &talk, serve).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_typed_is_completed_with_phases_and_requests() -> Result<()> {
    let (discord, talk) = scene().await?;
    let serve = talk.serve("a").await?;
    let typed = |verb: &str, option: &str, text: &str| {
        json!([{"name": verb, "type": 1, "options": [
            {"name": option, "type": 3, "value": text, "focused": true},
        ]}])
    };
    let choices = discord.type_on(OPS, ANNA, typed("cutover", "phase", "")).await?.choices()?;
    ensure!(choices == ["region-a", "region-b"], "{choices:?}");
    let choices = discord.type_on(OPS, ANNA, typed("status", "phase", "N-B")).await?.choices()?;
    ensure!(choices == ["region-b"], "{choices:?}");
    let choices = discord.type_on(OPS, ANNA, typed("approve", "request", "")).await?.choices()?;
    ensure!(choices.is_empty(), "{choices:?}");
    let (_, first) = asks(&discord, &talk, "region-a").await?;
    let (_, second) = asks(&discord, &talk, "region-b").await?;
    let given = discord.type_on(OPS, BEN, typed("approve", "request", "#")).await?;
    ensure!(given.choices()? == [second.to_string(), first.to_string()], "{given:?}");
    ensure!(
        given.answer.to_string().contains(&format!("#{first} start of region-a, asked for by anna")),
        "{given:?}"
    );
    let choices = discord.type_on(OPS, BEN, typed("deny", "request", "region-a")).await?.choices()?;
    ensure!(choices == [first.to_string()], "{choices:?}");
    let choices = discord.type_on(OPS, BEN, typed("help", "command", "over")).await?.choices()?;
    ensure!(choices == ["cutover"], "{choices:?}");
    close(&discord, &talk, serve).await
}

#[tokio::test(flavor = "multi_thread")]
async fn case_4_one_human_with_two_accounts_is_one_vote() -> Result<()> {
    let (discord, talk) = scene().await?;
    let serve = talk.serve("a").await?;
    let (_, number) = asks(&discord, &talk, "region-a").await?;
    says(&discord, BEN, "approve", &[("request", &number.to_string())]).await?;
    discord.ledger().hear(OPS, "1 of 2 approvals").await?;
    // The terminal is another way for the same person.
    let again = talk.product.chat("ben", &format!("approve #{number}")).await?;
    ensure!(!again.text.contains("2 of 2"), "ben counts twice: {}", again.text);
    let journal = talk.product.journal().await?;
    ensure!(journal.words().len() == 1, "{:?}", journal.words());
    close(&discord, &talk, serve).await
}

#[tokio::test(flavor = "multi_thread")]
async fn two_persons_approve_from_windows_and_one_message_tells_it() -> Result<()> {
    let (discord, talk) = scene().await?;
    let serve = talk.serve("a").await?;
    let (message, number) = asks(&discord, &talk, "region-a").await?;
    shows(&discord, &message, "waits for approvals").await?;
    // The press opens a window that shows what is approved; it is no word yet.
    let window = opens(&discord, BEN, &message, "approve").await?;
    for shown in [&format!("Approve #{number}"), "start of region-a", "anna", "The whole plan's hash: "] {
        ensure!(plain(&window.text).contains(shown), "the window does not show {shown}: {}", window.text);
    }
    ensure!(talk.product.journal().await?.words().is_empty(), "a press alone was a word");
    discord.submit(OPS, BEN, &window.message, &[("reason", "read it, twice")]).await?.taken()?;
    let told = discord.ledger().hear(OPS, "ben approved request").await?;
    ensure!(told.text.contains("1 of 2 approvals") && told.text.contains("read it, twice"), "{}", told.text);
    shows(&discord, &message, "Approved by ben").await?;
    // Without a reason.
    let window = opens(&discord, CHRIS, &message, "approve").await?;
    discord.submit(OPS, CHRIS, &window.message, &[]).await?.taken()?;
    discord.ledger().hear(OPS, "2 of 2 approvals").await?;
    let journal = talk.journal_with("approved", 2).await?;
    ensure!(
        journal.words() == [word("approved", "ben", number), word("approved", "chris", number)],
        "{:?}",
        journal.words()
    );
    let approved = journal.of("approved").next().map(|event| event.value().to_string()).unwrap_or_default();
    for kept in ["read it, twice", BEN, OPS] {
        ensure!(approved.contains(kept), "the journal does not keep {kept}: {approved}");
    }
    close(&discord, &talk, serve).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_denial_needs_its_reason_and_voids_the_request() -> Result<()> {
    let (discord, talk) = scene().await?;
    let serve = talk.serve("a").await?;
    let (message, number) = asks(&discord, &talk, "region-a").await?;
    let window = opens(&discord, BEN, &message, "deny").await?;
    ensure!(plain(&window.text).contains(&format!("Deny #{number}")), "{}", window.text);
    ensure!(
        discord.submit(OPS, BEN, &window.message, &[]).await.is_err(),
        "Discord lets a denial without a reason through"
    );
    discord.submit(OPS, BEN, &window.message, &[("reason", "not on a @here\nFriday")]).await?.taken()?;
    discord.ledger().hear(OPS, "ben denied request").await?;
    shows(&discord, &message, "is void").await?;
    let journal = talk.journal_with("denied", 1).await?;
    ensure!(
        journal.of("denied").all(|event| event.text("reason") == "not on a @here Friday"),
        "{}",
        journal.tail(3)
    );
    // Its buttons are gone.
    ensure!(discord.pressed(OPS, CHRIS, &message, "approve:").is_err(), "a void request has buttons");
    close(&discord, &talk, serve).await
}

#[tokio::test(flavor = "multi_thread")]
async fn case_10_a_window_sent_twice_and_a_captured_one_are_one_word() -> Result<()> {
    let (discord, talk) = scene().await?;
    let serve = talk.serve("a").await?;
    let (message, number) = asks(&discord, &talk, "region-a").await?;
    // A double click opens two windows; both are sent.
    let (one, other) =
        (opens(&discord, BEN, &message, "approve").await?, opens(&discord, BEN, &message, "approve").await?);
    discord.submit(OPS, BEN, &one.message, &[]).await?.taken()?;
    let captured = discord.last_request()?;
    for _ in 0..3 {
        let (status, ..) = discord.send(&captured).await?;
        ensure!(status == 200, "a replay was answered with {status}");
    }
    discord.ledger().hear(OPS, "ben approved request").await?;
    talk.settled("a").await?;
    ensure!(talk.product.journal().await?.words() == [word("approved", "ben", number)], "not once");
    discord.submit(OPS, BEN, &other.message, &[]).await?.taken()?;
    discord.ledger().hear(OPS, "approved this already").await?;
    talk.settled("a").await?;
    ensure!(talk.product.journal().await?.words().len() == 1, "a double click counted twice");
    close(&discord, &talk, serve).await
}

#[tokio::test(flavor = "multi_thread")]
async fn case_10_a_replayed_command_is_one_event_and_one_reply() -> Result<()> {
    let (discord, talk) = scene().await?;
    let serve = talk.serve("a").await?;
    asks(&discord, &talk, "region-a").await?;
    let captured = discord.last_request()?;
    for _ in 0..5 {
        let (status, ..) = discord.send(&captured).await?;
        ensure!(status == 200, "a replay was answered with {status}");
    }
    talk.settled("a").await?;
    ensure!(talk.product.journal().await?.of("requested").count() == 1, "asked for twice");
    close(&discord, &talk, serve).await
}

#[tokio::test(flavor = "multi_thread")]
async fn case_3_a_button_of_another_plan_opens_nothing() -> Result<()> {
    let (discord, talk) = scene().await?;
    let serve = talk.serve("a").await?;
    let (message, number) = asks(&discord, &talk, "region-a").await?;
    let mut press = discord.pressed(OPS, BEN, &message, "approve:")?;
    press["data"]["custom_id"] = json!(format!("approve:{number}:00000000"));
    discord.interact(&press).await?.taken()?;
    discord.ledger().hear(&format!("{OPS}/{BEN}"), "is not for request").await?;
    // A window that was made up.
    let forged = json!({"custom_id": format!("approve:{number}:00000000"), "components": []});
    discord.interact(&discord.interaction(5, OPS, BEN, forged)).await?.taken()?;
    discord.ledger().hear(OPS, "is not for request").await?;
    ensure!(talk.product.journal().await?.words().is_empty(), "a word for another plan counted");
    close(&discord, &talk, serve).await
}

#[tokio::test(flavor = "multi_thread")]
async fn case_17_a_deleted_living_message_is_posted_anew_and_goes_on() -> Result<()> {
    let (discord, talk) = scene().await?;
    let serve = talk.serve("a").await?;
    let (message, number) = asks(&discord, &talk, "region-a").await?;
    shows(&discord, &message, "waits for approvals").await?;
    discord.delete(OPS, &message);
    says(&discord, BEN, "approve", &[("request", &number.to_string())]).await?;
    discord.ledger().hear(OPS, "ben approved request").await?;
    let anew = discord.ledger().hear(OPS, "Approved by ben").await?;
    ensure!(anew.message != message && !anew.is_edit, "it was not posted anew: {anew:?}");
    let window = opens(&discord, CHRIS, &anew.message, "deny").await?;
    discord.submit(OPS, CHRIS, &window.message, &[("reason", "no")]).await?.taken()?;
    discord.ledger().hear(OPS, "chris denied request").await?;
    shows(&discord, &anew.message, "is void").await?;
    close(&discord, &talk, serve).await
}

#[tokio::test(flavor = "multi_thread")]
async fn case_17_a_living_message_that_discord_lets_nobody_edit_any_more_goes_on_in_a_new_one() -> Result<()>
{
    let (discord, talk) = scene().await?;
    let serve = talk.serve("a").await?;
    let (message, number) = asks(&discord, &talk, "region-a").await?;
    shows(&discord, &message, "waits for approvals").await?;
    discord.faults().next("PATCH channels/messages", Fault::Refuse("30046".to_owned()));
    talk.product.chat("ben", &format!("approve #{number}")).await?;
    let anew = discord.ledger().hear(OPS, "Approved by ben").await?;
    ensure!(anew.message != message && !anew.is_edit, "it was not posted anew: {anew:?}");
    talk.product.chat("chris", &format!("deny #{number} --reason no")).await?;
    shows(&discord, &anew.message, "is void").await?;
    close(&discord, &talk, serve).await
}

#[tokio::test(flavor = "multi_thread")]
async fn case_17_a_channel_that_is_closed_to_the_bot_blocks_nothing() -> Result<()> {
    let (discord, talk) = scene().await?;
    discord.channel("100000000000000701");
    let serve = talk.serve("a").await?;
    // In another channel than its own: it is said in its own instead.
    discord.close_channel("100000000000000701", true);
    let options = filled("start", &[("phase", "region-a")]);
    discord.command("100000000000000701", ANNA, options).await?.taken()?;
    discord.ledger().hear(OPS, "start of region-a").await?;
    // In its own there is nowhere else, and the word counts all the same.
    discord.close_channel(OPS, true);
    says(&discord, ANNA, "start", &[("phase", "region-b")]).await?;
    talk.journal_with("requested", 2).await?;
    talk.settled("a").await?;
    close(&discord, &talk, serve).await
}

#[tokio::test(flavor = "multi_thread")]
async fn case_18_states_of_a_living_message_are_three_seconds_apart() -> Result<()> {
    let (discord, talk) = scene().await?;
    let serve = talk.serve("a").await?;
    let (message, number) = asks(&discord, &talk, "region-a").await?;
    for (person, word) in [("ben", "approve"), ("ben", "revoke"), ("ben", "approve"), ("ben", "revoke")] {
        talk.product.chat(person, &format!("{word} #{number}")).await?;
    }
    talk.product.chat("chris", &format!("deny #{number} --reason enough")).await?;
    shows(&discord, &message, "is void").await?;
    talk.settled("a").await?;
    let said = discord.ledger().said();
    let states: Vec<Instant> =
        said.iter().filter(|said| said.message == message && said.is_edit).map(|said| said.at).collect();
    ensure!(states.len() <= 3, "{} states of five words", states.len());
    // The last one, which ends it, need not wait.
    for pair in states.get(..states.len().saturating_sub(1)).unwrap_or_default().windows(2) {
        ensure!(pair[1].duration_since(pair[0]) >= Duration::from_millis(2900), "too soon: {states:?}");
    }
    close(&discord, &talk, serve).await
}

#[tokio::test(flavor = "multi_thread")]
async fn case_18_a_limit_in_discords_answer_is_waited_out_and_nothing_is_lost() -> Result<()> {
    let (discord, talk) = scene().await?;
    let serve = talk.serve("a").await?;
    discord.faults().next("POST channels/messages", Fault::Limit(3));
    let begun = Instant::now();
    asks(&discord, &talk, "region-a").await?;
    ensure!(begun.elapsed() >= Duration::from_secs(3), "Retry-After was not waited out");
    ensure!(discord.calls("POST channels/messages") == 2, "it was called in the meantime");
    discord.faults().next("PATCH webhooks/messages/@original", Fault::Status(503));
    says(&discord, ANNA, "whoami", &[]).await?;
    discord.ledger().hear(OPS, "You are anna").await?;
    close(&discord, &talk, serve).await
}

#[tokio::test(flavor = "multi_thread")]
async fn case_19_an_answer_that_was_lost_is_not_posted_twice() -> Result<()> {
    let (discord, talk) = scene().await?;
    let serve = talk.serve("a").await?;
    discord.faults().next("POST channels/messages", Fault::LoseAnswer);
    asks(&discord, &talk, "region-a").await?;
    talk.settled("a").await?;
    ensure!(discord.calls("POST channels/messages") == 2, "it was not tried again");
    ensure!(discord.messages(OPS).len() == 1, "posted twice: {:?}", discord.messages(OPS));
    // Written twice in the place of "thinking", it is there once.
    discord.faults().next("PATCH webhooks/messages/@original", Fault::LoseAnswer);
    says(&discord, ANNA, "whoami", &[]).await?;
    let answer = discord.ledger().hear(OPS, "You are anna").await?;
    talk.settled("a").await?;
    discord.ledger().follow(&answer.message);
    ensure!(discord.messages(OPS).len() == 2, "posted twice: {:?}", discord.messages(OPS));
    close(&discord, &talk, serve).await
}

#[tokio::test(flavor = "multi_thread")]
async fn case_20_and_22_a_word_that_comes_too_late_says_where_things_stand() -> Result<()> {
    let (discord, talk) = scene().await?;
    let serve = talk.serve("a").await?;
    let (message, number) = asks(&discord, &talk, "region-a").await?;
    // A window that is open while somebody else denies.
    let window = opens(&discord, CHRIS, &message, "approve").await?;
    talk.product.chat("ben", &format!("deny #{number} --reason no")).await?;
    shows(&discord, &message, "is void").await?;
    discord.submit(OPS, CHRIS, &window.message, &[]).await?.taken()?;
    discord.ledger().hear(OPS, "ben denied it").await?;
    says(&discord, ANNA, "resume", &[("phase", "region-a")]).await?;
    discord.ledger().hear(OPS, "(SW-").await?;
    ensure!(talk.product.journal().await?.words().len() == 1, "a late word counted");
    close(&discord, &talk, serve).await
}

/// Kills the bot at a place of its way from an acknowledged command to its answer, and lets another process go on.
async fn survives(failpoint: &str) -> Result<()> {
    let (discord, talk) = scene().await?;
    let mut serve = talk.start("a", Some(failpoint))?;
    talk.listens("a", &mut serve).await?;
    let ack = discord.command(OPS, ANNA, filled("start", &[("phase", "region-a")])).await?;
    serve.killed_itself(Duration::from_secs(30)).await?;
    let serve = talk.serve("a").await?;
    if is_said_again(failpoint, ack.status)? {
        says(&discord, ANNA, "start", &[("phase", "region-a")]).await?;
    }
    discord.ledger().hear(OPS, "start of region-a").await?;
    ensure!(talk.product.journal().await?.of("requested").count() == 1, "asked for twice");
    close(&discord, &talk, serve).await
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
    let (discord, talk) = scene().await?;
    let one = talk.serve("a").await?;
    let other = talk.serve("b").await?;
    asks(&discord, &talk, "region-a").await?;
    let captured = discord.last_request()?;
    discord.aim(&format!("{}/discord", talk.origin("b")));
    let (status, ..) = discord.send(&captured).await?;
    ensure!(status == 200, "a replay was answered with {status}");
    asks(&discord, &talk, "region-b").await?;
    // One of the two dies for good. What it had in its hand would be sent when its term is over, which is long.
    talk.settled("a").await?;
    one.kill9().await?;
    says(&discord, ANNA, "whoami", &[]).await?;
    discord.ledger().hear(OPS, "You are anna").await?;
    ensure!(talk.product.journal().await?.of("requested").count() == 2, "a word was done twice");
    talk.settled("b").await?;
    other.end().await?;
    ended(&discord, &talk).await
}

#[tokio::test(flavor = "multi_thread")]
async fn case_13_what_is_filled_into_one_field_is_no_other_word_of_the_command() -> Result<()> {
    let (discord, talk) = scene().await?;
    let serve = talk.serve("a").await?;
    for phase in ["region-a start", "region-a\n/migrate region-b start", "region-a --reason x"] {
        says(&discord, ANNA, "status", &[("phase", phase)]).await?;
        discord.ledger().hear(OPS, "(SW-").await?;
    }
    let reason = "because\" region-b start\n/migrate region-b start";
    says(&discord, ANNA, "hold", &[("reason", reason)]).await?;
    discord.ledger().hear(OPS, "No new operation begins").await?;
    talk.settled("a").await?;
    let journal = talk.product.journal().await?;
    ensure!(journal.of("requested").count() == 0, "a field was taken for a command");
    let kept = "because\" region-b start /migrate region-b start";
    ensure!(journal.events().iter().any(|event| event.text("reason") == kept), "{}", journal.tail(3));
    close(&discord, &talk, serve).await
}

#[tokio::test(flavor = "multi_thread")]
async fn case_15_a_mistyped_word_gets_the_nearest_one() -> Result<()> {
    let (discord, talk) = scene().await?;
    let serve = talk.serve("a").await?;
    says(&discord, ANNA, "help", &[("command", "cutovr")]).await?;
    discord.ledger().hear(OPS, "cutover").await?;
    close(&discord, &talk, serve).await
}

#[tokio::test(flavor = "multi_thread")]
async fn case_24_a_skewed_clock_is_refused_and_its_difference_logged() -> Result<()> {
    let (discord, talk) = scene().await?;
    let serve = talk.serve("a").await?;
    for skew in [-301, 302] {
        discord.skew(skew);
        let ack = discord.command(OPS, ANNA, filled("start", &[("phase", "region-a")])).await?;
        ensure!(ack.status == 401 && ack.answer.is_null(), "{ack:?}");
    }
    ensure!(serve.log_tail(20).contains("s from ours"), "the log does not say it: {}", serve.log_tail(5));
    discord.skew(-290);
    says(&discord, ANNA, "whoami", &[]).await?;
    discord.ledger().hear(OPS, "You are anna").await?;
    ensure!(talk.product.journal().await?.of("requested").count() == 0, "an old request was done");
    close(&discord, &talk, serve).await
}

#[tokio::test(flavor = "multi_thread")]
async fn case_26_bots_other_servers_and_direct_messages_are_not_heard() -> Result<()> {
    let (discord, talk) = scene().await?;
    let serve = talk.serve("a").await?;
    let start =
        || json!({"name": "migrate", "type": 1, "options": filled("start", &[("phase", "region-a")])});
    discord.member(ANNA, "anna", true);
    let ack = discord.interact(&discord.interaction(2, OPS, ANNA, start())).await?;
    ensure!(ack.status == 204, "{ack:?}");
    discord.member(ANNA, "anna", false);
    let mut elsewhere = discord.interaction(2, OPS, ANNA, start());
    elsewhere["guild_id"] = json!("100000000000000801");
    discord.interact(&elsewhere).await?.taken()?;
    discord.ledger().hear(&format!("{OPS}/{ANNA}"), "does not listen here").await?;
    let mut direct = discord.interaction(2, OPS, ANNA, start());
    direct["guild_id"] = Value::Null;
    direct["user"] = direct["member"]["user"].take();
    direct["member"] = Value::Null;
    discord.interact(&direct).await?.taken()?;
    discord.ledger().hear(&format!("{OPS}/{ANNA}"), "does not listen here").await?;
    talk.settled("a").await?;
    ensure!(talk.product.journal().await?.of("requested").count() == 0, "it listens everywhere");
    close(&discord, &talk, serve).await
}

#[tokio::test(flavor = "multi_thread")]
async fn case_29_nothing_that_people_write_calls_anybody() -> Result<()> {
    let (discord, talk) = scene().await?;
    let serve = talk.serve("a").await?;
    let reason = "@everyone <@100000000000001002> <@&1> **bold** [x](https://evil.example)";
    says(&discord, ANNA, "hold", &[("reason", reason)]).await?;
    // The double refuses what could call people.
    let told = discord.ledger().hear(OPS, "No new operation begins").await?;
    ensure!(!told.text.contains("@everyone") && !told.text.contains("<@1"), "{}", told.text);
    close(&discord, &talk, serve).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_of_nobody_is_told_the_line_that_the_plan_lacks() -> Result<()> {
    let (discord, talk) = scene().await?;
    let serve = talk.serve("a").await?;
    let (message, _) = asks(&discord, &talk, "region-a").await?;
    let window = opens(&discord, EVE, &message, "approve").await?;
    discord.submit(OPS, EVE, &window.message, &[]).await?.taken()?;
    discord.ledger().hear(OPS, &format!("discord = \"{EVE}\"")).await?;
    ensure!(talk.product.journal().await?.words().is_empty(), "eve was heard");
    close(&discord, &talk, serve).await
}

#[tokio::test(flavor = "multi_thread")]
async fn case_30_what_was_acknowledged_before_a_shutdown_is_answered_after_the_next_start() -> Result<()> {
    let (discord, talk) = scene().await?;
    let serve = talk.serve("a").await?;
    for _ in 0..3 {
        says(&discord, ANNA, "whoami", &[]).await?;
    }
    serve.end().await?;
    let gone = discord.command(OPS, ANNA, filled("whoami", &[])).await?;
    ensure!(gone.status == 0 || gone.status == 503, "{gone:?}");
    let serve = talk.serve("a").await?;
    for _ in 0..3 {
        discord.ledger().hear(OPS, "You are anna").await?;
    }
    close(&discord, &talk, serve).await
}

/// A scene whose bot hears through the gateway alone.
async fn by_gateway() -> Result<(Discord, Talk, Serve)> {
    let (discord, talk) = scene().await?;
    let key = format!("public_key = \"{}\"", discord.public_key());
    talk.write_bot("a", &sections(&discord).replace(&key, "gateway = true"))?;
    discord.use_gateway();
    let serve = talk.serve("a").await?;
    discord.identified(1).await?;
    Ok((discord, talk, serve))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_gateway_hears_the_same() -> Result<()> {
    let (discord, talk, serve) = by_gateway().await?;
    let (message, number) = asks(&discord, &talk, "region-a").await?;
    let window = opens(&discord, BEN, &message, "approve").await?;
    discord.submit(OPS, BEN, &window.message, &[("reason", "fine")]).await?.taken()?;
    discord.ledger().hear(OPS, "ben approved request").await?;
    says(&discord, ANNA, "approve", &[("request", &number.to_string())]).await?;
    discord.ledger().hear(OPS, "2 of 2 approvals").await?;
    let typed = json!([{"name": "status", "type": 1, "options": [
        {"name": "phase", "type": 3, "value": "b", "focused": true},
    ]}]);
    ensure!(discord.type_on(OPS, ANNA, typed).await?.choices()? == ["region-b"], "no choices");
    // Nothing is served that nothing could be signed for.
    let answer =
        reqwest::Client::new().post(format!("{}/discord", talk.origin("a"))).body("x").send().await?;
    ensure!(answer.status() == 404, "{answer:?}");
    discord.beaten(2).await?;
    close(&discord, &talk, serve).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_outlives_its_sockets_and_what_was_said_meanwhile_comes_then() -> Result<()> {
    let (discord, talk, serve) = by_gateway().await?;
    // The network breaks, and anna speaks before it is mended.
    discord.cut_gateway();
    says(&discord, ANNA, "whoami", &[]).await?;
    discord.ledger().hear(OPS, "You are anna").await?;
    discord.resumed(1).await?;
    // Discord asks for another connection.
    discord.ask_to_reconnect();
    discord.resumed(2).await?;
    says(&discord, ANNA, "whoami", &[]).await?;
    discord.ledger().hear(OPS, "You are anna").await?;
    // Nobody answers its beats.
    discord.stop_answering_beats();
    discord.resumed(3).await?;
    says(&discord, ANNA, "whoami", &[]).await?;
    discord.ledger().hear(OPS, "You are anna").await?;
    // The session is over for good.
    discord.invalidate_session();
    discord.identified(2).await?;
    says(&discord, ANNA, "whoami", &[]).await?;
    discord.ledger().hear(OPS, "You are anna").await?;
    close(&discord, &talk, serve).await
}

#[tokio::test(flavor = "multi_thread")]
async fn case_10_what_the_gateway_brings_again_after_a_resumption_has_no_second_effect() -> Result<()> {
    let (discord, talk, serve) = by_gateway().await?;
    let (message, number) = asks(&discord, &talk, "region-a").await?;
    let window = opens(&discord, BEN, &message, "approve").await?;
    discord.submit(OPS, BEN, &window.message, &[]).await?.taken()?;
    discord.ledger().hear(OPS, "ben approved request").await?;
    talk.settled("a").await?;
    let callbacks = discord.calls("POST interactions/callback");
    discord.forget_what_was_seen();
    discord.cut_gateway();
    discord.resumed(1).await?;
    wait_until(SOON, "all of it to come again", async || {
        let seen = discord.calls("POST interactions/callback");
        Ok(if seen >= callbacks * 2 { Seen::Done(()) } else { Seen::NotYet(seen.to_string()) })
    })
    .await?;
    talk.settled("a").await?;
    discord.ledger().follow(&message);
    let journal = talk.product.journal().await?;
    ensure!(journal.of("requested").count() == 1, "asked for twice");
    ensure!(journal.words() == [word("approved", "ben", number)], "{:?}", journal.words());
    // The answers that came too late are no fault of ours.
    discord.ledger().forgive("40060");
    close(&discord, &talk, serve).await
}

/// Runs `switchyard discord register`; gives whether it was done, and what it said.
async fn registers(talk: &Talk, token: &str, more: &[&str]) -> Result<(bool, String)> {
    let mut command = tokio::process::Command::new(binary()?);
    command.args(["discord", "register", "--bot"]).arg(talk.file("bot-a.toml")).args(more);
    let out = command.env_clear().env("DISCORD_BOT", token).output().await?;
    let said = format!("{}{}", String::from_utf8(out.stdout)?, String::from_utf8(out.stderr)?);
    ensure!(!said.contains("LEAK"), "a secret was said: {said}");
    Ok((out.status.success(), said))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_is_registered_once_and_says_what_changed() -> Result<()> {
    let (discord, talk) = scene().await?;
    let (ok, said) = registers(&talk, TOKEN, &["--dry-run"]).await?;
    ensure!(ok && said.contains("new      /migrate") && said.contains("Nothing was written"), "{said}");
    ensure!(discord.registrations() == 0, "a dry run wrote");
    let (ok, said) = registers(&talk, TOKEN, &[]).await?;
    ensure!(ok && said.contains("new      /migrate"), "{said}");
    let commands = discord.commands(GUILD);
    let subcommands = commands[0]["options"].as_array().context("no subcommands")?;
    for verb in ["start", "cutover", "failback", "approve", "deny", "hold", "break-glass", "audit", "history"]
    {
        ensure!(subcommands.iter().any(|each| each["name"] == verb), "no {verb}");
    }
    let (ok, said) = registers(&talk, TOKEN, &[]).await?;
    ensure!(ok && said.contains("as it must be"), "{said}");
    ensure!(discord.registrations() == 1, "it wrote what was there");
    // What another version registered is told apart, and replaced.
    let mut older = commands[0].clone();
    older["options"].as_array_mut().context("no subcommands")?.retain(|each| each["name"] != "audit");
    older["options"][0]["description"] = json!("something else");
    let foreign = json!({"name": "ping", "type": 1, "description": "Answers"});
    let put = reqwest::Client::new()
        .put(format!("{}/api/v10/applications/{APPLICATION}/guilds/{GUILD}/commands", discord.api()))
        .header("authorization", format!("Bot {TOKEN}"))
        .header("user-agent", "DiscordBot (https://switchyard.test, 1)");
    ensure!(put.json(&json!([older, foreign])).send().await?.status().is_success(), "the double refuses");
    let (ok, said) = registers(&talk, TOKEN, &[]).await?;
    for told in ["changed  /migrate start", "added    /migrate audit", "removed  /ping"] {
        ensure!(ok && said.contains(told), "{told}: {said}");
    }
    ensure!(discord.commands(GUILD).len() == 1, "{:?}", discord.commands(GUILD));
    discord.ledger().close()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registration_that_discord_refuses_says_why() -> Result<()> {
    let (discord, talk) = scene().await?;
    let (ok, said) = registers(&talk, "another-LEAK-token", &[]).await?;
    ensure!(!ok && said.contains("does not take the bot's token"), "{said}");
    ensure!(discord.ledger().forgive("wrong token") > 0, "the token was taken");
    discord.ledger().forgive("401");
    talk.write_bot(
        "a",
        "[slack]\nsigning_secrets = [\"env:DISCORD_BOT\"]\nbot_token = \"env:DISCORD_BOT\"\nteam = \"T0\"\n",
    )?;
    let (ok, said) = registers(&talk, TOKEN, &[]).await?;
    ensure!(!ok && said.contains("no [discord]"), "{said}");
    discord.ledger().close()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cutover_that_two_persons_approve_in_discords_windows_makes_the_target_the_writer() -> Result<()> {
    const LONG: Duration = Duration::from_secs(120);
    let discord = Discord::start().await?;
    for (user, name) in [(ANNA, "anna"), (BEN, "ben"), (CHRIS, "chris")] {
        discord.member(user, name, false);
    }
    let mut scene = product::scene::Scene::set(product::scene::Setting::default()).await?;
    let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    std::fs::write(scene.file("discord-token"), TOKEN)?;
    let token = format!("file:{}", scene.file("discord-token").display());
    let sections = sections(&discord).replace("env:DISCORD_BOT", &token);
    std::fs::write(scene.file("bot.toml"), format!("[http]\nlisten = \"127.0.0.1:{port}\"\n\n{sections}"))?;
    scene.product.hear_with(scene.file("bot.toml"));
    discord.aim(&format!("http://127.0.0.1:{port}/discord"));
    let mut serve = scene.product.serve("a", None)?;
    serve.ready().await?;
    scene.complete("start", LONG).await?;
    let before = scene.head().await;
    says(&discord, ANNA, "cutover", &[("phase", "region-a")]).await?;
    let asked = discord.ledger().hear(OPS, "cutover of region-a").await?;
    let request = scene.asked("cutover", before).await?;
    for user in [BEN, CHRIS] {
        let window = opens(&discord, user, &asked.message, "approve").await?;
        ensure!(plain(&window.text).contains("The whole plan's hash: "), "{}", window.text);
        discord.submit(OPS, user, &window.message, &[("reason", "seen")]).await?.taken()?;
    }
    scene.over(request, LONG).await?;
    scene.shows("on_target", "target").await?;
    let journal = scene.product.journal().await?;
    let cutover: Vec<_> = journal.words().into_iter().filter(|(.., number)| *number == request).collect();
    ensure!(cutover == [word("approved", "ben", request), word("approved", "chris", request)], "{cutover:?}");
    shows(&discord, &asked.message, "is completed").await?;
    // The threads of evidence have a test of their own.
    discord.ledger().said().iter().for_each(|said| discord.ledger().pass_over(&said.place));
    serve.end().await?;
    discord.ledger().close()
}
