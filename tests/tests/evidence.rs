//! The thread under an operation's living message, in Slack and in Discord: what each step left as evidence on real
//! databases, once each, whatever becomes of the bot meanwhile.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use product::doubles::discord::{APPLICATION, Discord, GUILD, OPS, TOKEN};
use product::doubles::ledger::plain;
use product::doubles::slack::{BOT_TOKEN, SIGNING_SECRET, Slack};
use product::events::Journal;
use product::scene::{Scene, Setting};
use product::wait::{Seen, wait_until};
use serde_json::Value;

const CHANNEL: &str = "C0OPS";
const LONG: Duration = Duration::from_secs(180);

fn free_port() -> Result<u16> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

struct Both {
    slack: Slack,
    discord: Discord,
}

impl Both {
    /// The texts in the thread under a request's living message in Slack.
    fn in_slack(&self, request: u64) -> Vec<String> {
        let messages = self.slack.messages(CHANNEL);
        let named = format!("#{request} (");
        let parent =
            messages.iter().find(|(_, thread, text)| thread.is_none() && plain(text).contains(&named));
        let Some((parent, ..)) = parent else { return Vec::new() };
        let under = messages.iter().filter(|(_, thread, _)| thread.as_ref() == Some(parent));
        under.map(|(.., text)| plain(text)).collect()
    }

    /// The same in Discord, whose thread is a channel with its message's id.
    fn in_discord(&self, request: u64) -> Vec<String> {
        let text = |body: &Value| {
            let long = body.pointer("/embeds/0/description").and_then(Value::as_str);
            plain(long.or_else(|| body["content"].as_str()).unwrap_or_default())
        };
        let named = format!("#{request} (");
        let messages = self.discord.messages(OPS);
        let parent = messages.iter().find(|(_, body)| text(body).contains(&named));
        let Some((parent, _)) = parent else { return Vec::new() };
        self.discord.messages(&parent.to_string()).values().map(text).collect()
    }
}

/// What the steps of a request's operation left, as the journal has it: the step's word, and each key with its value.
fn left(journal: &Journal, request: u64) -> Result<BTreeMap<String, Vec<String>>> {
    let started = journal.of("operation_started").find(|event| event.number("request") == request);
    let operation = started.context("it did not begin")?.position();
    let intended: BTreeMap<&str, &str> = journal
        .of("effect_intended")
        .filter(|event| event.number("operation") == operation)
        .map(|event| (event.text("effect"), event.text("step")))
        .collect();
    let mut left: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for event in journal.of("effect_succeeded") {
        let (Some(step), Some(seen)) =
            (intended.get(event.text("effect")), event.field("evidence").as_object())
        else {
            continue;
        };
        let said = seen.iter().map(|(key, value)| format!("{key} {}", value.as_str().unwrap_or_default()));
        if !seen.is_empty() {
            left.entry((*step).to_owned()).or_default().extend(said);
        }
    }
    Ok(left)
}

/// Waits until a thread has each step's evidence, and holds it against the journal's.
async fn holds(thread: impl Fn() -> Vec<String>, left: &BTreeMap<String, Vec<String>>) -> Result<()> {
    let of = |step: &str| -> Vec<String> {
        let head = format!("Evidence of {step}:");
        thread().into_iter().filter(|text| text.starts_with(&head)).collect()
    };
    wait_until(LONG, "each step's evidence in the thread", async || {
        let lacks = left.iter().find_map(|(step, seen)| {
            let told = of(step).concat();
            seen.iter()
                .find(|one| !told.contains(plain(one).as_str()))
                .map(|one| format!("{step}: {one}\n{told}"))
        });
        Ok(lacks.map_or(Seen::Done(()), Seen::NotYet))
    })
    .await?;
    for step in left.keys() {
        let told = of(step);
        ensure!(
            told.len() == 1,
            "the evidence of {step} stands there {} times:\n{}",
            told.len(),
            told.join("\n")
        );
    }
    ensure!(thread().len() == left.len(), "more than the steps' evidence:\n{}", thread().join("\n"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_evidence_of_each_step_stands_in_the_thread_once_also_after_a_sigkill_of_the_bot() -> Result<()> {
    let both = Both { slack: Slack::start().await?, discord: Discord::start().await? };
    let mut scene = Scene::set(Setting::default()).await?;
    let secret = |name: &str, value: &str| -> Result<String> {
        std::fs::write(scene.file(name), value)?;
        Ok(format!("file:{}", scene.file(name).display()))
    };
    let bot = format!(
        "[http]\nlisten = \"127.0.0.1:{}\"\n\n\
         [slack]\nsigning_secrets = [\"{}\"]\nbot_token = \"{}\"\nteam = \"{}\"\nchannels = [\"{CHANNEL}\"]\napi_url = \"{}\"\n\n\
         [discord]\npublic_key = \"{}\"\napplication_id = \"{APPLICATION}\"\nbot_token = \"{}\"\nguild = \"{GUILD}\"\n\
         channel = \"{OPS}\"\napi_url = \"{}\"\n",
        free_port()?,
        secret("slack-signing", SIGNING_SECRET)?,
        secret("slack-token", BOT_TOKEN)?,
        both.slack.team(),
        both.slack.api(),
        both.discord.public_key(),
        secret("discord-token", TOKEN)?,
        both.discord.api(),
    );
    std::fs::write(scene.file("bot.toml"), bot)?;
    scene.product.hear_with(scene.file("bot.toml"));
    let mut serve = scene.product.serve("a", None)?;
    serve.ready().await?;
    let request = scene.ask("start").await?;
    wait_until(LONG, "the first evidence in both threads", async || {
        let (slack, discord) = (both.in_slack(request), both.in_discord(request));
        let is_there = !slack.is_empty() && !discord.is_empty();
        Ok(if is_there { Seen::Done(()) } else { Seen::NotYet(format!("{slack:?}\n{discord:?}")) })
    })
    .await?;
    serve.kill9().await?;
    // Once more, between a message that was sent and the row that says so.
    scene.product.serve("a", Some("mail.before_sent"))?.killed_itself(LONG).await?;
    let mut serve = scene.product.serve("a", None)?;
    serve.ready().await?;
    ensure!(scene.over(request, LONG).await? == "completed", "the start did not end");

    let journal = scene.product.journal().await?;
    let left = left(&journal, request)?;
    let all = left.values().flatten().cloned().collect::<Vec<_>>().join("\n");
    for part in ["rows ", "lsn"] {
        ensure!(all.contains(part), "no {part} in the evidence:\n{all}");
    }
    holds(|| both.in_slack(request), &left).await?;
    holds(|| both.in_discord(request), &left).await?;
    serve.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_right_to_begin_threads_discord_shows_the_operation_and_not_its_evidence() -> Result<()> {
    let discord = Discord::start().await?;
    discord.rights(1 << 10 | 1 << 11 | 1 << 14 | 1 << 16, OPS, 0);
    let mut scene = Scene::set(Setting::default()).await?;
    std::fs::write(scene.file("discord-token"), TOKEN)?;
    let bot = format!(
        "[http]\nlisten = \"127.0.0.1:{}\"\n\n[discord]\npublic_key = \"{}\"\napplication_id = \"{APPLICATION}\"\n\
         bot_token = \"file:{}\"\nguild = \"{GUILD}\"\nchannel = \"{OPS}\"\napi_url = \"{}\"\n",
        free_port()?,
        discord.public_key(),
        scene.file("discord-token").display(),
        discord.api(),
    );
    std::fs::write(scene.file("bot.toml"), bot)?;
    scene.product.hear_with(scene.file("bot.toml"));
    let mut serve = scene.product.serve("a", None)?;
    serve.ready().await?;
    scene.complete("start", LONG).await?;
    discord.ledger().hear(OPS, "is completed").await?;
    ensure!(discord.ledger().said().iter().all(|said| said.place == OPS), "said elsewhere");
    serve.end().await
}
