//! GitHub's teams and Slack's user groups that stand for roles: asked when a role is used, kept as evidence, asked again just
//! before an operation begins, and worth nothing where they cannot be asked.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use product::doubles::github::scene::{ANNA, Scene};
use product::doubles::slack::{BOT_TOKEN, SIGNING_SECRET, Slack};
use product::events::Journal;
use product::switchyard::token;
use product::talk::{Person, Setting, Talk};
use product::wait::{Seen, wait_until};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

const DORA: u64 = 1004;
const TEAM: u64 = 4711;
const OPS: &str = "C0OPS";

/// Dora has no role of her own; ben, whom a request would do without, is not asked.
const PLAN: &str = "[[person]]\nid = \"dora\"\ngithub = 1004\n\n\
    [[group]]\nrole = \"approver\"\ngithub_team = \"acme/dba\"\ngithub_team_id = 4711\n";

fn team(scene: &Scene, number: u64, members: &[u64]) {
    let members = members.iter().copied().collect();
    scene.github.world(|world| world.teams.insert("dba".to_owned(), (number, members)));
}

/// The groups in the origins of a kind's events.
fn evidence(journal: &Journal, kind: &str) -> Vec<Value> {
    let groups = |event: &Value| event.pointer("/origin/groups").cloned().unwrap_or_default();
    journal.of(kind).map(|event| groups(event.value())).collect()
}

async fn begun(talk: &Talk, times: usize) -> Result<Journal> {
    wait_until(Duration::from_secs(60), "the operation to begin", async || {
        let journal = talk.product.journal().await?;
        let begun = journal.of("operation_started").count();
        Ok(if begun == times { Seen::Done(journal) } else { Seen::NotYet(journal.tail(10)) })
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_team_gives_its_members_a_role_as_long_as_they_are_in_it() -> Result<()> {
    let scene = Scene::with(3600, PLAN).await?;
    scene.github.person("dora", DORA);
    team(&scene, TEAM, &[]);
    let (request, _) = scene.asks("region-a start").await?;
    scene.says(DORA, &format!("/migrate approve #{request}")).await;
    scene.answered(&["dora does not have the role approver"]).await?;

    team(&scene, TEAM, &[DORA]);
    scene.approves(DORA, request, &["dora approved request", "1 more"]).await?;
    let journal = scene.journal_with("approved", 1).await?;
    let seen = evidence(&journal, "approved");
    ensure!(seen[0][0]["platform"] == "github" && seen[0][0]["group"] == "4711", "{seen:?}");
    ensure!(seen[0][0]["account"] == "1004", "{seen:?}");

    // She leaves before the operation can begin: the look just before it finds that, and says so.
    team(&scene, TEAM, &[]);
    scene.approves(ANNA, request, &["anna approved request"]).await?;
    scene.answered(&["dora is not in GitHub's team acme/dba any more"]).await?;
    let journal = scene.journal_with("roles_confirmed", 1).await?;
    ensure!(journal.of("operation_started").count() == 0, "{}", journal.tail(10));

    // Back in it she says it again, and what stands is that.
    team(&scene, TEAM, &[DORA]);
    scene.approves(DORA, request, &["dora approved request"]).await?;
    let journal = begun(&scene.talk, 1).await?;
    let started = journal.of("operation_started").next().context("no beginning")?;
    ensure!(started.value()["body"]["reserved"] == serde_json::json!(["anna", "dora"]), "{started:?}");
    scene.ends().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_team_that_cannot_be_asked_gives_no_role_and_the_answer_says_why() -> Result<()> {
    let scene = Scene::with(3600, PLAN).await?;
    scene.github.person("dora", DORA);
    let (request, _) = scene.asks("region-a start").await?;
    for (number, permitted, why) in [
        (TEAM, None, "lacks the organization permission members: read"),
        // Its name has changed hands.
        (4799, Some("read"), "another team has its name now: 4799"),
    ] {
        team(&scene, number, &[DORA]);
        scene.github.permit("members", permitted);
        scene.says(DORA, &format!("/migrate approve #{request}")).await;
        scene
            .answered(&["dora does not have the role approver", "GitHub's team acme/dba may give it", why])
            .await?;
    }
    scene.github.world(|world| world.violations.retain(|told| !told.contains("403")));
    let journal = scene.ends().await?;
    ensure!(journal.of("approved").count() == 0, "{}", journal.tail(10));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_group_of_slack_gives_its_members_a_role_and_whoever_asked_by_one_and_left_has_asked_for_nothing()
-> Result<()> {
    let slack = Slack::start().await?;
    let person = |id, roles, accounts| Person { id, roles, accounts };
    for user in ["U0ANNA", "U0BEN", "U0DORA"] {
        slack.member(user, |_| {});
    }
    let groups = "[[group]]\nrole = \"operator\"\nslack_group = \"T0SHOP/S0OPS\"\n";
    let talk = Talk::set(Setting {
        people: vec![
            person("anna", "\"operator\", \"approver\"", "slack = \"T0SHOP/U0ANNA\""),
            person("ben", "\"approver\"", "slack = \"T0SHOP/U0BEN\""),
            person("dora", "", "slack = \"T0SHOP/U0DORA\""),
        ],
        plan: format!("[approvals.start]\nrequired = 1\n\n{groups}"),
        bot: format!(
            "[slack]\nsigning_secrets = [\"env:SLACK_SIGNING\"]\nbot_token = \"env:SLACK_BOT\"\nteam = \"{}\"\n\
             channels = [\"{OPS}\"]\napi_url = \"{}\"\n",
            slack.team(),
            slack.api()
        ),
        environment: [("SLACK_SIGNING", SIGNING_SECRET), ("SLACK_BOT", BOT_TOKEN)]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .to_vec(),
    })
    .await?;
    slack.aim(&talk.origin("a"));
    let serve = talk.serve("a").await?;
    let says = async |user: &str, text: &str, heard: &str| -> Result<String> {
        slack.command(OPS, user, text).await?.taken()?;
        Ok(slack.ledger().hear(OPS, heard).await?.text)
    };

    slack.take_scope("usergroups:read");
    says("U0DORA", "region-a start", "the app lacks the scope usergroups:read").await?;
    slack.give_scope("usergroups:read");
    says("U0DORA", "region-a start", "Slack has no such user group").await?;
    slack.user_group("S0OPS", &["U0DORA"]);
    says("U0DORA", "whoami", "You are dora (operator)").await?;
    says("U0DORA", "region-a start", "start of region-a").await?;
    let journal = talk.journal_with("requested", 1).await?;
    let seen = evidence(&journal, "requested");
    ensure!(seen[0][0]["group"] == "T0SHOP/S0OPS" && seen[0][0]["account"] == "T0SHOP/U0DORA", "{seen:?}");
    let request = journal.of("requested").next().context("no request")?.position();

    // At a terminal nobody has an account that a group could hold.
    let there = talk.product.chat("dora", "region-b start").await?;
    ensure!(there.text.contains("dora does not have the role operator"), "{}", there.text);

    slack.user_group("S0OPS", &[]);
    says("U0BEN", &format!("approve #{request}"), "ben approved request").await?;
    let journal = talk.journal_with("request_voided", 1).await?;
    ensure!(journal.of("operation_started").count() == 0, "{}", journal.tail(10));
    slack
        .ledger()
        .hear(OPS, "dora asked for it by a group's role, and is not in that group any more")
        .await?;
    talk.settled("a").await?;
    serve.end().await?;
    talk.kept_its_secrets().await
}

#[tokio::test(flavor = "multi_thread")]
async fn at_a_terminal_a_team_gives_no_role_and_the_answer_says_where_it_does() -> Result<()> {
    let digest = hex::encode(Sha256::digest(token("dora")));
    let with_token =
        PLAN.replace("github = 1004\n", &format!("github = 1004\nlocal_token_sha256 = \"{digest}\"\n"));
    let scene = Scene::with(3600, &with_token).await?;
    scene.github.person("dora", DORA);
    team(&scene, TEAM, &[DORA]);
    let (request, _) = scene.asks("region-a start").await?;
    let elsewhere = "At a terminal only the plan's own roles count. GitHub's team acme/dba may give it: say it on GitHub.";
    let refused = scene.talk.product.chat("dora", &format!("approve #{request}")).await?;
    ensure!(!refused.accepted && refused.text.contains(elsewhere), "{}", refused.text);
    let whoami = scene.talk.product.chat("dora", "whoami").await?;
    ensure!(
        whoami.text.starts_with("You are dora (no role).") && whoami.text.contains(elsewhere),
        "{}",
        whoami.text
    );
    scene.approves(DORA, request, &["dora approved request", "1 more"]).await?;
    scene.ends().await?;
    Ok(())
}
