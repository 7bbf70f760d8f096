//! Where a scene's people talk: a repository with a pull request, and a channel, on doubles that sign truly.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::doubles::github::scene::{ANNA, BEN, CHRIS, PLAN, section};
use crate::doubles::github::{Github, ReviewState, SECRET, Thread};
use crate::doubles::slack::{BOT_TOKEN, SIGNING_SECRET, Slack};
use crate::process::free_port;
use crate::wait::{Seen, wait_until};

/// The repository that carries the plan.
const REPOSITORY: &str = "acme/shop";

/// Between two sweeps: the bot's own default.
const SWEEP_SECONDS: u64 = 60;

/// The channel of the migration.
pub const CHANNEL: &str = "C0OPS";

/// People, their accounts' numbers on GitHub and ids in Slack.
const PEOPLE: [(&str, u64, &str); 4] =
    [("anna", ANNA, "U0ANNA"), ("ben", BEN, "U0BEN"), ("chris", CHRIS, "U0CHRIS"), ("dora", 1004, "U0DORA")];

/// GitHub and Slack, and where the product hears them.
#[derive(Debug)]
pub struct Town {
    /// GitHub.
    pub github: Github,
    /// Slack.
    pub slack: Slack,
    /// The pull request that carries the plan, once it is open.
    pull: u64,
    port: u16,
}

/// A person's accounts, as lines of the plan. They are there in every scene, whether anybody uses them or not.
#[must_use]
pub fn accounts(person: &str) -> String {
    PEOPLE.iter().find(|(id, _, _)| *id == person).map_or_else(String::new, |(_, github, slack)| {
        format!("github = {github}\nslack = \"T0SHOP/{slack}\"\ndiscord = \"{}\"\n", on_discord(*github))
    })
}

/// A person's account on Discord, by their number on GitHub.
#[must_use]
pub fn on_discord(number: u64) -> String {
    format!("10000000000000{number}")
}

fn known(person: &str) -> Result<(u64, &'static str)> {
    let found = PEOPLE.iter().find(|(id, _, _)| *id == person);
    found.map(|(_, github, slack)| (*github, *slack)).with_context(|| format!("nobody is called {person}"))
}

impl Town {
    /// Starts both, with everybody in them.
    ///
    /// # Errors
    /// They cannot listen.
    pub async fn start() -> Result<Self> {
        let files = BTreeMap::from([("README.md".to_owned(), "a shop\n".to_owned())]);
        let github = Github::start(REPOSITORY, files).await?;
        let slack = Slack::start().await?;
        for (login, number, user) in PEOPLE {
            github.person(login, number);
            slack.member(user, |_| {});
        }
        let port = free_port()?;
        github.deliver_to(&format!("http://127.0.0.1:{port}/github"));
        slack.aim(&format!("http://127.0.0.1:{port}"));
        Ok(Self { github, slack, pull: 0, port })
    }

    /// What the bot's file points at.
    #[must_use]
    pub fn environment(&self) -> Vec<(String, String)> {
        vec![
            ("GITHUB_KEY".to_owned(), self.github.private_key()),
            ("GITHUB_SECRET".to_owned(), SECRET.to_owned()),
            ("SLACK_SIGNING".to_owned(), SIGNING_SECRET.to_owned()),
            ("SLACK_BOT".to_owned(), BOT_TOKEN.to_owned()),
        ]
    }

    /// Writes the bot's file.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write_bot(&self, file: &Path) -> Result<()> {
        let text = format!(
            "[http]\nlisten = \"127.0.0.1:{port}\"\n\n\
             {github}\n\
             [slack]\nsigning_secrets = [\"env:SLACK_SIGNING\"]\nbot_token = \"env:SLACK_BOT\"\nteam = \"{team}\"\n\
             channels = [\"{CHANNEL}\"]\napi_url = \"{slack}\"\n",
            port = self.port,
            github = section(&self.github, SWEEP_SECONDS),
            team = self.slack.team(),
            slack = self.slack.api(),
        );
        Ok(std::fs::write(file, text)?)
    }

    /// Anna opens the pull request that carries the plan.
    pub async fn open_pull(&mut self, plan: &str) {
        self.pull = self.github.open_pull(ANNA, "Move region-a", &[(PLAN, Some(plan))]).await;
    }

    /// Waits until the bot hears what both deliver.
    ///
    /// # Errors
    /// It does not in time.
    pub async fn is_heard(&self) -> Result<()> {
        wait_until(Duration::from_secs(30), "the bot to listen", async || {
            Ok(match tokio::net::TcpStream::connect(("127.0.0.1", self.port)).await {
                Ok(_) => Seen::Done(()),
                Err(error) => Seen::NotYet(error.to_string()),
            })
        })
        .await
    }

    /// The pull request's number.
    #[must_use]
    pub const fn pull(&self) -> u64 {
        self.pull
    }

    /// A person comments in the pull request.
    ///
    /// # Errors
    /// Nobody is called so.
    pub async fn comment(&self, person: &str, text: &str) -> Result<()> {
        let (account, _) = known(person)?;
        self.github.comment(account, Thread::Pull(self.pull), text).await;
        Ok(())
    }

    /// A person approves the pull request at its head.
    ///
    /// # Errors
    /// GitHub does not let them.
    pub async fn review(&self, person: &str) -> Result<()> {
        let (account, _) = known(person)?;
        self.github.review(account, self.pull, ReviewState::Approved, "").await.map(drop)
    }

    /// A person sends the slash command in the channel.
    ///
    /// # Errors
    /// It is not taken.
    pub async fn slash(&self, person: &str, text: &str) -> Result<()> {
        let (_, user) = known(person)?;
        self.slack.command(CHANNEL, user, text).await?.taken().map(drop)
    }

    /// A person presses the button that approves a request, and says yes to what is shown.
    ///
    /// # Errors
    /// There is no such button in time, or it is not taken.
    pub async fn press_approve(&self, person: &str, request: u64) -> Result<()> {
        let (_, user) = known(person)?;
        let value = format!("approve:{request}:");
        let message = wait_until(Duration::from_secs(60), "the button", async || {
            let messages = self.slack.messages(CHANNEL);
            let found = messages.iter().find(|(ts, _, _)| {
                self.slack.pressed(CHANNEL, user, ts, "switchyard_approve").is_ok_and(|pressed| {
                    pressed
                        .pointer("/actions/0/value")
                        .and_then(serde_json::Value::as_str)
                        .is_some_and(|found| found.starts_with(&value))
                })
            });
            Ok(match found {
                Some((ts, _, _)) => Seen::Done(ts.clone()),
                None => Seen::NotYet(format!("{messages:?}")),
            })
        })
        .await?;
        self.slack.press(CHANNEL, user, &message, "switchyard_approve").await?.taken()?;
        let title = format!("Approve #{request}");
        let window = self.slack.ledger().hear(&format!("window/{user}"), &title).await?;
        self.slack.submit(user, &window.message, &[]).await?.taken().map(drop)
    }

    /// Both doubles were treated as the real ones want to be.
    ///
    /// # Errors
    /// What was refused.
    pub fn is_content(&self) -> Result<()> {
        let violations = self.github.world(|world| world.violations.clone());
        ensure!(violations.is_empty(), "GitHub refused: {}", violations.join("; "));
        Ok(())
    }
}
