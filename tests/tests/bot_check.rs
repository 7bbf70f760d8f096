//! `switchyard bot check`, with the real binary against doubles of the three platforms.
#![allow(
    clippy::allow_attributes,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

use std::collections::BTreeMap;

use anyhow::Result;
use product::doubles::discord::{APPLICATION, Discord, GUILD, OPS};
use product::doubles::github::{Github, SECRET, Thread};
use product::doubles::slack::Slack;
use product::doubles::{discord, slack};
use product::switchyard::binary;
use serde_json::{Value, json};

/// The three platforms, all as they should be, and a bot's file that speaks to them.
struct Scene {
    github: Github,
    slack: Slack,
    discord: Discord,
    dir: tempfile::TempDir,
    environment: Vec<(&'static str, String)>,
}

/// What a check said.
struct Checked {
    code: i32,
    json: Value,
}

impl Checked {
    /// What was told of this.
    fn of(&self, platform: &str, about: &str) -> (&str, &str) {
        let seen = self.json["seen"].as_array().unwrap();
        let found = seen.iter().find(|each| each["platform"] == platform && each["about"] == about);
        let found = found.unwrap_or_else(|| panic!("nothing of {platform} {about}: {:#}", self.json));
        (found["verdict"].as_str().unwrap(), found["told"].as_str().unwrap())
    }

    /// What is not right, by platform and name.
    fn wrong(&self) -> Vec<String> {
        let seen = self.json["seen"].as_array().unwrap().iter();
        seen.filter(|each| each["verdict"] == "missing" || each["verdict"] == "unreachable")
            .map(|each| format!("{} {}", each["platform"].as_str().unwrap(), each["about"].as_str().unwrap()))
            .collect()
    }
}

impl Scene {
    async fn set() -> Result<Self> {
        let files = BTreeMap::from([("switchyard.toml".to_owned(), "# a plan\n".to_owned())]);
        let github = Github::start("acme/shop", files).await?;
        github.deliver_to("https://bot.test/github");
        let (slack, discord) = (Slack::start().await?, Discord::start().await?);
        discord.endpoint("https://bot.test/discord");
        let environment = vec![
            ("GITHUB_KEY", github.private_key()),
            ("GITHUB_SECRET", SECRET.to_owned()),
            ("SLACK_SECRET", "slack-LEAK-signing".to_owned()),
            ("SLACK_TOKEN", slack::BOT_TOKEN.to_owned()),
            ("DISCORD_TOKEN", discord::TOKEN.to_owned()),
        ];
        let scene = Self { github, slack, discord, dir: tempfile::tempdir()?, environment };
        scene.write(&scene.file())?;
        let (code, said) = scene.verb(&["discord", "register"]).await?;
        assert_eq!(code, 0, "{said}");
        Ok(scene)
    }

    fn file(&self) -> String {
        format!(
            "[http]\nlisten = \"127.0.0.1:0\"\npublic_url = \"https://bot.test\"\n\n\
             [github]\napp_id = 123456\nprivate_key = \"env:GITHUB_KEY\"\nwebhook_secrets = [\"env:GITHUB_SECRET\"]\n\
             repository = \"acme/shop\"\napi_url = \"{}\"\n\n\
             [slack]\nsigning_secrets = [\"env:SLACK_SECRET\"]\nbot_token = \"env:SLACK_TOKEN\"\nteam = \"{}\"\n\
             channels = [\"C0OPS\"]\napi_url = \"{}\"\n\n\
             [discord]\npublic_key = \"{}\"\napplication_id = \"{APPLICATION}\"\nbot_token = \"env:DISCORD_TOKEN\"\n\
             guild = \"{GUILD}\"\nchannel = \"{OPS}\"\napi_url = \"{}\"\n",
            self.github.url(),
            self.slack.team(),
            self.slack.api(),
            self.discord.public_key(),
            self.discord.api(),
        )
    }

    fn write(&self, text: &str) -> Result<()> {
        Ok(std::fs::write(self.dir.path().join("bot.toml"), text)?)
    }

    async fn run(&self, arguments: &[&str]) -> Result<(i32, String)> {
        self.verb(&[&["bot", "check"], arguments].concat()).await
    }

    async fn verb(&self, words: &[&str]) -> Result<(i32, String)> {
        let mut command = tokio::process::Command::new(binary()?);
        command.current_dir(self.dir.path()).env_clear().args(words);
        let out = command.envs(self.environment.iter().cloned()).output().await?;
        let text = format!("{}{}", String::from_utf8(out.stdout)?, String::from_utf8(out.stderr)?);
        assert!(!text.contains("LEAK") && !text.contains("PRIVATE KEY"), "a secret was said: {text}");
        Ok((out.status.code().unwrap(), text))
    }

    async fn check(&self) -> Result<Checked> {
        let (code, text) = self.run(&["--json"]).await?;
        let json: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
        assert_eq!(json["ok"] == true, code == 0, "{text}");
        Ok(Checked { code, json })
    }
}

#[tokio::test]
async fn what_is_right_is_said_platform_by_platform_and_nothing_is_written() -> Result<()> {
    let scene = Scene::set().await?;
    // A delivery that was believed, for the newest one is looked at.
    scene.github.person("anna", 1001);
    let checked = scene.check().await?;
    assert_eq!((checked.code, checked.wrong()), (0, Vec::new()), "{:#}", checked.json);
    for (platform, about) in [
        ("github", "app"),
        ("github", "webhook"),
        ("github", "installation"),
        ("github", "permission:issues"),
        ("github", "event:issue_comment"),
        ("github", "plan"),
        ("slack", "bot_token"),
        ("slack", "team"),
        ("slack", "scope:chat:write"),
        ("slack", "channel:C0OPS"),
        ("slack", "channel:C0OPS"),
        ("discord", "application_id"),
        ("discord", "public_key"),
        ("discord", "endpoint"),
        ("discord", "guild"),
        ("discord", "permission:Send Messages"),
        ("discord", "command"),
    ] {
        assert_eq!(checked.of(platform, about).0, "right", "{platform} {about}");
    }
    let (code, text) = scene.run(&[]).await?;
    assert_eq!(code, 0, "{text}");
    for part in ["GitHub\n  right    App 123456 is switchyard", "\nSlack\n  right", "\nDiscord\n  right"] {
        assert!(text.contains(part), "{part} in {text}");
    }
    assert!(text.ends_with("bot.toml: nothing is missing.\n"), "{text}");
    scene.github.nothing_else()?;
    scene.slack.ledger().close()?;
    scene.discord.ledger().close()?;
    Ok(())
}

#[tokio::test]
async fn each_missing_permission_event_scope_and_right_is_named() -> Result<()> {
    let scene = Scene::set().await?;
    scene.github.permit("issues", Some("read"));
    scene.github.permit("checks", None);
    scene.github.unsubscribe("pull_request_review");
    scene.github.deliver_to("https://elsewhere.test/github");
    scene.slack.take_scope("chat:write");
    // Send Messages is taken by the channel, Read Message History is not the role's.
    scene.discord.rights(1 << 10 | 1 << 11 | 1 << 14, OPS, 1 << 11);
    scene.discord.endpoint("https://elsewhere.test/discord");
    let checked = scene.check().await?;
    assert_eq!(checked.code, 1);
    assert_eq!(
        checked.wrong(),
        [
            "github webhook",
            "github permission:checks",
            "github permission:issues",
            "github event:pull_request_review",
            "slack scope:chat:write",
            "discord endpoint",
            "discord permission:Send Messages",
            "discord permission:Read Message History",
        ]
    );
    let (_, told) = checked.of("github", "permission:issues");
    assert!(told.contains("issues: write") && told.contains("granted is read"), "{told}");
    let (_, told) = checked.of("github", "webhook");
    assert!(told.contains("elsewhere.test") && told.contains("https://bot.test/github"), "{told}");
    let (code, text) = scene.run(&[]).await?;
    assert!(code == 1 && text.ends_with("bot.toml: 8 missing.\n"), "{text}");
    Ok(())
}

#[tokio::test]
async fn a_credential_that_is_not_taken_is_named_and_nothing_behind_it_is_asked() -> Result<()> {
    let mut scene = Scene::set().await?;
    for (name, value) in &mut scene.environment {
        if name.ends_with("_TOKEN") {
            *value = "another-LEAK".to_owned();
        }
    }
    scene.write(&scene.file().replace("app_id = 123456", "app_id = 654321"))?;
    let checked = scene.check().await?;
    assert_eq!(checked.code, 1);
    assert_eq!(checked.wrong(), ["github app", "slack bot_token", "discord bot_token"]);
    assert!(checked.of("slack", "bot_token").1.contains("invalid_auth"), "{:#}", checked.json);
    Ok(())
}

#[tokio::test]
async fn what_the_file_names_otherwise_than_the_platform_is_told() -> Result<()> {
    let scene = Scene::set().await?;
    let other = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
    let text = scene
        .file()
        .replace(&scene.discord.public_key(), other)
        .replace(&format!("application_id = \"{APPLICATION}\""), "application_id = \"77\"")
        .replace(scene.slack.team(), "T0OTHER")
        .replace("channels = [\"C0OPS\"]", "channels = [\"C0NONE\"]")
        .replace("repository = \"acme/shop\"", "repository = \"acme/other\"");
    scene.write(&text)?;
    let checked = scene.check().await?;
    assert_eq!(
        checked.wrong(),
        [
            "github installation",
            "slack team",
            "slack channel:C0NONE",
            "discord application_id",
            "discord public_key",
            "discord command",
        ]
    );
    scene.write(&scene.file().replace("acme/shop\"\n", "acme/shop\"\nplan_path = \"absent.toml\"\n"))?;
    let checked = scene.check().await?;
    assert_eq!(checked.wrong(), ["github plan"]);
    scene.write(&scene.file())?;
    scene.github.rename("acme/store");
    let checked = scene.check().await?;
    assert_eq!(checked.wrong(), ["github repository"]);
    let (_, told) = checked.of("github", "repository");
    assert!(told.contains("is called acme/store by now"), "{told}");
    Ok(())
}

#[tokio::test]
async fn a_command_of_another_version_is_told_apart_from_one_that_is_not_registered() -> Result<()> {
    let scene = Scene::set().await?;
    for (commands, told) in [
        (json!([]), "is not registered"),
        (json!([{"name": "migrate", "type": 1, "description": "Moves a database"}]), "another version"),
    ] {
        let put = reqwest::Client::new()
            .put(format!(
                "{}/api/v10/applications/{APPLICATION}/guilds/{GUILD}/commands",
                scene.discord.api()
            ))
            .header("authorization", format!("Bot {}", discord::TOKEN))
            .header("user-agent", "DiscordBot (https://switchyard.test, 1)");
        assert!(put.json(&commands).send().await?.status().is_success());
        let checked = scene.check().await?;
        assert_eq!(checked.wrong(), ["discord command"]);
        let (_, said) = checked.of("discord", "command");
        assert!(said.contains(told) && said.contains("switchyard discord register"), "{said}");
    }
    Ok(())
}

#[tokio::test]
async fn with_the_gateway_no_interactions_endpoint_may_be_set_and_no_key_is_needed() -> Result<()> {
    let scene = Scene::set().await?;
    let key = format!("public_key = \"{}\"", scene.discord.public_key());
    scene.write(&scene.file().replace(&key, "gateway = true"))?;
    let checked = scene.check().await?;
    assert_eq!(checked.wrong(), ["discord endpoint"]);
    assert!(checked.of("discord", "endpoint").1.contains("none comes through the gateway"));
    scene.discord.endpoint("");
    let checked = scene.check().await?;
    assert_eq!((checked.code, checked.wrong()), (0, Vec::new()), "{:#}", checked.json);
    Ok(())
}

#[tokio::test]
async fn deliveries_that_were_refused_tell_that_the_secret_differs() -> Result<()> {
    let scene = Scene::set().await?;
    // Somebody who believes nothing.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}/github", listener.local_addr()?);
    let refusing = axum::Router::new().fallback(|| async { axum::http::StatusCode::UNAUTHORIZED });
    let serving = tokio::spawn(async move { axum::serve(listener, refusing).await });
    scene.github.deliver_to(&url);
    scene.write(
        &scene.file().replace("https://bot.test\"", &format!("{}\"", url.trim_end_matches("/github"))),
    )?;
    scene.github.person("anna", 1001);
    let pull = scene.github.open_pull(1001, "Move", &[("notes.md", Some("soon"))]).await;
    scene.github.comment(1001, Thread::Pull(pull), "hello").await;
    let checked = scene.check().await?;
    serving.abort();
    assert_eq!(checked.wrong(), ["github webhook:deliveries", "discord endpoint"]);
    let (_, told) = checked.of("github", "webhook:deliveries");
    assert!(told.contains("answered with 401"), "{told}");
    Ok(())
}

#[tokio::test]
async fn a_platform_that_does_not_answer_is_told_apart_and_ends_with_3() -> Result<()> {
    let scene = Scene::set().await?;
    scene.github.set_down(true);
    let nowhere = scene.file().replace(&scene.slack.api(), "http://127.0.0.1:9");
    scene.write(&nowhere)?;
    let checked = scene.check().await?;
    assert_eq!(checked.code, 3);
    assert_eq!(checked.wrong(), ["github reach", "slack reach"]);
    assert_eq!(checked.of("discord", "bot_token").0, "right");
    let (_, told) = checked.of("slack", "reach");
    assert!(told.contains("refused"), "{told}");
    let (code, text) = scene.run(&[]).await?;
    assert!(code == 3 && text.contains("0 missing, 2 did not answer"), "{text}");
    Ok(())
}

#[tokio::test]
async fn the_accounts_of_a_plans_people_are_looked_for() -> Result<()> {
    let scene = Scene::set().await?;
    scene.github.person("anna-1", 1001);
    scene.github.world(|world| {
        world.main =
            world.commit(1001, None, BTreeMap::from([("switchyard.toml".to_owned(), String::new())]));
    });
    scene.slack.member("U0ANNA", |_| {});
    scene.slack.member("U0GONE", |user| user.is_deleted = true);
    scene.discord.member("80351110224678912", "anna", false);
    let example = include_str!("../../config/plan.example.toml");
    let plan = example
        .replacen(
            "id = \"ana\"",
            "id = \"ana\"\ngithub = 1001\nslack = \"T0SHOP/U0ANNA\"\ndiscord = \"80351110224678912\"",
            1,
        )
        .replacen(
            "id = \"ben\"",
            "id = \"ben\"\ngithub = 1002\nslack = \"T0SHOP/U0GONE\"\ndiscord = \"5\"",
            1,
        );
    std::fs::write(scene.dir.path().join("plan.toml"), plan)?;
    let (code, text) = scene.run(&["--plan", "plan.toml", "--json"]).await?;
    let checked = Checked { code, json: serde_json::from_str(&text)? };
    assert_eq!(checked.code, 1);
    assert_eq!(checked.wrong(), ["github person:ben", "slack person:ben", "discord person:ben"]);
    assert_eq!(checked.of("github", "person:ana").1, "ana's account 1001 is called anna-1 there");
    let (_, told) = checked.of("slack", "person:ben");
    assert!(told.contains("correct `slack` in their [[person]]"), "{told}");
    Ok(())
}
