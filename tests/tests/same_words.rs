//! One command, one bot, four places: a terminal, a pull request, Slack and Discord. Everybody reads the same words.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use product::doubles::discord::{APPLICATION, Discord, GUILD, OPS, TOKEN};
use product::doubles::github::scene::{ANNA, PLAN, section};
use product::doubles::github::{Github, SECRET, Thread};
use product::doubles::ledger::plain;
use product::doubles::slack::{BOT_TOKEN, SIGNING_SECRET, Slack};
use product::talk::{Person, Setting, Talk};
use product::town::on_discord;
use serde_json::{Value, json};

const CHANNEL: &str = "C0OPS";
const SLACK_ANNA: &str = "U0ANNA";

/// What is said, as Discord's form has it, and words by which the answer is known.
struct Said {
    typed: &'static str,
    verb: &'static str,
    options: &'static [(&'static str, &'static str)],
    some: &'static str,
}

const ALL: [Said; 8] = [
    Said { typed: "help", verb: "help", options: &[], some: "what happened to a phase" },
    Said {
        typed: "help cutover",
        verb: "help",
        options: &[("command", "cutover")],
        some: "make the target the writer",
    },
    Said { typed: "whoami", verb: "whoami", options: &[], some: "You are anna" },
    Said { typed: "status", verb: "status", options: &[], some: "region-b" },
    Said { typed: "plan region-a", verb: "plan", options: &[("phase", "region-a")], some: "preflight" },
    Said { typed: "region-a pause", verb: "pause", options: &[("phase", "region-a")], some: "(SW-" },
    Said { typed: "region-a cutover", verb: "cutover", options: &[("phase", "region-a")], some: "(SW-" },
    Said { typed: "audit", verb: "audit", options: &[], some: "switchyard journal check" },
];

struct Town {
    github: Github,
    pull: u64,
    slack: Slack,
    discord: Discord,
    talk: Talk,
}

async fn town() -> Result<Town> {
    let github = Github::start("acme/shop", BTreeMap::new()).await?;
    github.person("anna", ANNA);
    let slack = Slack::start().await?;
    slack.member(SLACK_ANNA, |_| {});
    let discord = Discord::start().await?;
    discord.member(&on_discord(ANNA), "anna", false);
    let bot = format!(
        "{}\n[slack]\nsigning_secrets = [\"env:SLACK_SIGNING\"]\nbot_token = \"env:SLACK_BOT\"\nteam = \"{}\"\n\
         channels = [\"{CHANNEL}\"]\napi_url = \"{}\"\n\n\
         [discord]\npublic_key = \"{}\"\napplication_id = \"{APPLICATION}\"\nbot_token = \"env:DISCORD_BOT\"\n\
         guild = \"{GUILD}\"\nchannel = \"{OPS}\"\napi_url = \"{}\"\n",
        section(&github, 3600),
        slack.team(),
        slack.api(),
        discord.public_key(),
        discord.api()
    );
    let environment = [
        ("GITHUB_KEY", github.private_key()),
        ("GITHUB_SECRET", SECRET.to_owned()),
        ("SLACK_SIGNING", SIGNING_SECRET.to_owned()),
        ("SLACK_BOT", BOT_TOKEN.to_owned()),
        ("DISCORD_BOT", TOKEN.to_owned()),
    ];
    let accounts = "github = 1001\nslack = \"T0SHOP/U0ANNA\"\ndiscord = \"100000000000001001\"";
    let people = vec![
        Person { id: "anna", roles: "\"operator\", \"approver\"", accounts },
        Person { id: "ben", roles: "\"approver\"", accounts: "" },
    ];
    let talk = Talk::set(Setting {
        people,
        plan: "[approvals.start]\nrequired = 2\n".to_owned(),
        bot,
        environment: environment.map(|(name, value)| (name.to_owned(), value)).to_vec(),
    })
    .await?;
    github.deliver_to(&format!("{}/github", talk.origin("a")));
    slack.aim(&talk.origin("a"));
    discord.aim(&format!("{}/discord", talk.origin("a")));
    Ok(Town { github, pull: 0, slack, discord, talk })
}

impl Town {
    /// The answers of the three platforms, each without its way of writing.
    async fn answers(&self, said: &Said) -> Result<[(&'static str, String); 3]> {
        self.github.comment(ANNA, Thread::Pull(self.pull), &format!("/migrate {}", said.typed)).await;
        let pull = self.github.answer(self.pull, &[said.some]).await?.body;
        // What the bot finds its own comments by, which nobody sees.
        let pull = pull.lines().filter(|line| !line.starts_with("<!--")).collect::<Vec<_>>().join("\n");
        self.slack.command(CHANNEL, SLACK_ANNA, said.typed).await?.taken()?;
        let slack = self.slack.ledger().hear(CHANNEL, said.some).await?.text;
        let options: Vec<Value> = said
            .options
            .iter()
            .map(|(name, value)| json!({"name": name, "type": 3, "value": value}))
            .collect();
        let form = json!([{"name": said.verb, "type": 1, "options": options}]);
        self.discord.command(OPS, &on_discord(ANNA), form).await?.taken()?;
        let discord = self.discord.ledger().hear(OPS, said.some).await?.text;
        Ok([("in the pull request", pull), ("in Slack", slack), ("in Discord", discord)])
    }
}

/// Figures may have gone on between two answers: a clock's minute, how long ago an executor was heard of.
fn without_figures(text: &str) -> String {
    let lines = text.lines().map(|line| line.split_once("heard of").map_or(line, |(before, _)| before));
    let text = lines.collect::<Vec<_>>().join("\n");
    text.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_command_has_the_same_words_in_the_terminal_a_pull_request_slack_and_discord() -> Result<()> {
    let mut town = town().await?;
    let serve = town.talk.serve("a").await?;
    let adopted = std::fs::read_to_string(town.talk.product.plan())?;
    town.github.world(|world| {
        world.main = world.commit(ANNA, None, BTreeMap::from([(PLAN.to_owned(), adopted)]));
    });
    town.pull = town.github.open_pull(ANNA, "Move region a", &[("notes.md", Some("soon"))]).await;
    for said in &ALL {
        let typed = said.typed;
        let terminal = without_figures(&plain(&town.talk.product.chat("anna", typed).await?.text));
        ensure!(terminal.contains(said.some), "the terminal says of {typed}: {terminal}");
        for (place, text) in town.answers(said).await? {
            let text = without_figures(&plain(&text));
            ensure!(
                text == terminal,
                "not the same words for {typed} {place}:\n{text}\n--- at the terminal\n{terminal}"
            );
        }
    }
    town.talk.settled("a").await?;
    serve.end().await.context("the server")?;
    town.talk.kept_its_secrets().await?;
    town.slack.ledger().close()?;
    town.discord.ledger().close()
}

#[tokio::test(flavor = "multi_thread")]
async fn case_23_broken_glass_needs_more_than_a_word_and_is_said_in_every_channel() -> Result<()> {
    let town = town().await?;
    let serve = town.talk.serve("a").await?;
    let asked = town.talk.product.chat("anna", "region-a start").await?;
    ensure!(asked.accepted, "{}", asked.text);
    let journal = town.talk.journal_with("requested", 1).await?;
    let request = journal.of("requested").next().context("no request")?.position();
    for (place, ledger) in [(CHANNEL, town.slack.ledger()), (OPS, town.discord.ledger())] {
        ledger.hear(place, "start of region-a").await?;
    }
    let curt = town.talk.product.chat("anna", &format!("break-glass #{request} --reason fire")).await?;
    ensure!(!curt.accepted && curt.text.contains("20 characters or more"), "{}", curt.text);
    let said = format!("break-glass #{request} --reason \"the source is failing and nobody answers\"");
    let broken = town.talk.product.chat("anna", &said).await?;
    ensure!(broken.accepted, "{}", broken.text);
    for (place, ledger) in [(CHANNEL, town.slack.ledger()), (OPS, town.discord.ledger())] {
        let told = plain(&ledger.hear(place, "GLASS BROKEN: anna alone").await?.text);
        ensure!(told.contains("the source is failing and nobody answers"), "{told}");
        ensure!(told.contains("another person reviews it"), "{told}");
    }
    let journal = town.talk.product.journal().await?;
    ensure!(journal.of("glass_broken").count() == 1, "{}", journal.tail(5));
    let own = town.talk.product.chat("anna", &format!("approve #{request}")).await?;
    ensure!(!own.accepted, "who broke the glass reviewed it: {}", own.text);
    town.talk.settled("a").await?;
    serve.end().await.context("the server")?;
    town.talk.kept_its_secrets().await?;
    for ledger in [town.slack.ledger(), town.discord.ledger()] {
        ledger.follow_living();
        ledger.close()?;
    }
    Ok(())
}
