//! A scene for conversations: the product with its plan, its people and their accounts, and the bot, but no databases.
//! Executors cannot reach them and wait, so whatever people ask for stays where they put it.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use crate::events::Journal;
use crate::process::free_port;
use crate::switchyard::{Product, Serve, token};
use crate::wait::{Seen, wait_until};

/// A person of the plan.
#[derive(Debug, Clone, Copy)]
pub struct Person {
    /// Their name.
    pub id: &'static str,
    /// Their roles, as the plan writes them.
    pub roles: &'static str,
    /// Their accounts: lines of the plan.
    pub accounts: &'static str,
}

/// What a conversation's plan and bot say.
#[derive(Debug, Clone)]
pub struct Setting {
    /// The people.
    pub people: Vec<Person>,
    /// More of the plan: `[approvals.…]` and the like.
    pub plan: String,
    /// The platforms' sections of the bot's file.
    pub bot: String,
    /// What the bot's file points at.
    pub environment: Vec<(String, String)>,
}

/// A conversation's scene. What it started is stopped when it is dropped.
#[derive(Debug)]
pub struct Talk {
    /// The product.
    pub product: Product,
    setting: Setting,
    port: u16,
    dir: TempDir,
}

/// The phases of every conversation.
pub const PHASES: [&str; 2] = ["region-a", "region-b"];

/// Holds what the sender of a word saw of a crash, by the status of the answer, against the failpoint that it fell in. Whether the
/// word has to be said again.
///
/// # Errors
/// It was acknowledged and not kept, or kept and refused.
pub fn is_said_again(failpoint: &str, status: u16) -> Result<bool> {
    let (expected, is_said_again) = match failpoint {
        // Nothing was kept, so nothing was acknowledged: the person sees that.
        "mail.before_receipt" => (0, true),
        // Kept, but the acknowledgement was lost: it is done all the same.
        "mail.after_receipt" => (0, false),
        _ => (200, false),
    };
    ensure!(status == expected, "a crash in {failpoint} was answered with {status}");
    Ok(is_said_again)
}

impl Talk {
    /// Sets it up; `serve` does not run yet.
    ///
    /// # Errors
    /// Something is missing.
    pub async fn set(setting: Setting) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("switchyard-talk-").tempdir()?;
        // Nobody listens there: port 9 is for nothing.
        let nowhere = "postgres://nobody:secret-LEAK@127.0.0.1:9/shop".to_owned();
        let mut environment =
            vec![("SHOP_SOURCE".to_owned(), nowhere.clone()), ("SHOP_TARGET".to_owned(), nowhere)];
        environment.extend(setting.environment.iter().cloned());
        let product = Product::new(dir.path(), environment)?;
        product.make_key().await?;
        let talk = Self { product, setting, port: free_port()?, dir };
        std::fs::write(talk.product.plan(), talk.plan_text(""))?;
        talk.write_bot("a", &talk.setting.bot)?;
        Ok(talk)
    }

    fn plan_text(&self, more: &str) -> String {
        let mut people = String::new();
        for Person { id, roles, accounts } in &self.setting.people {
            let digest = hex::encode(Sha256::digest(token(id)));
            // Writing to a string cannot fail.
            let _done = write!(
                people,
                "[[person]]\nid = \"{id}\"\nroles = [{roles}]\nlocal_token_sha256 = \"{digest}\"\n{accounts}\n\n"
            );
        }
        let phases: String = PHASES
            .iter()
            .map(|name| {
                let table = name.replace('-', "_");
                format!(
                    "[[phase]]\nname = \"{name}\"\ntables = [\"shop.{table}\"]\nmax_downtime = \"60s\"\n\
                     [phase.lever]\nkind = \"command\"\nstop = [\"true\"]\nobserve = [\"true\"]\nroute = [\"true\"]\n\
                     resume = [\"true\"]\n\n"
                )
            })
            .collect();
        format!(
            "[migration]\nname = \"shop\"\nsource = \"env:SHOP_SOURCE\"\ntarget = \"env:SHOP_TARGET\"\n\n\
             [journal]\nurl = \"sqlite:{dir}/journal.db\"\nsigning_key = \"file:journal.key\"\nwitness = \"witness.txt\"\n\n\
             [serve]\nsocket = \"{dir}/switchyard.sock\"\n\n{people}{plan}\n{more}\n{phases}",
            dir = self.dir.path().display(),
            plan = self.setting.plan,
        )
    }

    /// Writes the plan anew with something more in it, and adopts it.
    ///
    /// # Errors
    /// It is refused.
    pub async fn revise_plan(&self, person: &str, more: &str) -> Result<()> {
        std::fs::write(self.product.plan(), self.plan_text(more))?;
        self.product.adopt_plan(person).await
    }

    /// A file of the scene's own directory, which is where the product runs.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn bot_file(&self, instance: &str) -> PathBuf {
        self.dir.path().join(format!("bot-{instance}.toml"))
    }

    /// Writes an instance's bot file.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write_bot(&self, instance: &str, sections: &str) -> Result<()> {
        let port = self.port_of(instance);
        let text = format!("[http]\nlisten = \"127.0.0.1:{port}\"\n\n{sections}");
        Ok(std::fs::write(self.bot_file(instance), text)?)
    }

    /// The first instance has the scene's port, others the ones behind it.
    fn port_of(&self, instance: &str) -> u16 {
        let offset = instance.bytes().next().map_or(0, |letter| u16::from(letter.saturating_sub(b'a')));
        self.port.saturating_add(offset)
    }

    /// Where an instance's endpoints are.
    #[must_use]
    pub fn origin(&self, instance: &str) -> String {
        format!("http://127.0.0.1:{}", self.port_of(instance))
    }

    /// Starts an instance, armed with a failpoint or not.
    ///
    /// # Errors
    /// It cannot be started at all.
    pub fn start(&self, instance: &str, failpoint: Option<&str>) -> Result<Serve> {
        if !self.bot_file(instance).is_file() {
            self.write_bot(instance, &self.setting.bot)?;
        }
        let bot = self.bot_file(instance).display().to_string();
        self.product.serve_with(instance, failpoint, &["--bot", &bot])
    }

    /// Starts an instance and waits until it listens.
    ///
    /// # Errors
    /// It does not in time.
    pub async fn serve(&self, instance: &str) -> Result<Serve> {
        let mut serve = self.start(instance, None)?;
        self.listens(instance, &mut serve).await?;
        Ok(serve)
    }

    /// Waits until an instance listens, at the terminal's socket and at the endpoints.
    ///
    /// # Errors
    /// It does not in time.
    pub async fn listens(&self, instance: &str, serve: &mut Serve) -> Result<()> {
        serve.ready().await?;
        wait_until(Duration::from_secs(30), "the endpoints", async || {
            Ok(match self.waiting(instance).await {
                Ok(_) => Seen::Done(()),
                Err(error) => Seen::NotYet(format!("{error:#}; {}", serve.log_tail(5))),
            })
        })
        .await
    }

    /// Waits until the journal has so many events of a kind, and gives it.
    ///
    /// # Errors
    /// It has not in time.
    pub async fn journal_with(&self, kind: &str, count: usize) -> Result<Journal> {
        wait_until(Duration::from_secs(30), &format!("{count} events `{kind}`"), async || {
            let journal = self.product.journal().await?;
            Ok(if journal.of(kind).count() >= count {
                Seen::Done(journal)
            } else {
                Seen::NotYet(journal.tail(10))
            })
        })
        .await
    }

    /// How many rows of inbox and outbox wait, as `/healthz` says.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn waiting(&self, instance: &str) -> Result<(u64, u64)> {
        let answer = reqwest::get(format!("{}/healthz", self.origin(instance))).await?;
        let value: serde_json::Value = answer.json().await?;
        let number = |key: &str| value.get(key).and_then(serde_json::Value::as_u64).context("no number");
        Ok((number("inbox")?, number("outbox")?))
    }

    /// Waits until nothing waits: whatever was to be said has been said.
    ///
    /// # Errors
    /// Something waits for too long.
    pub async fn settled(&self, instance: &str) -> Result<()> {
        wait_until(Duration::from_secs(60), "inbox and outbox to be empty", async || {
            let waiting = self.waiting(instance).await?;
            Ok(if waiting == (0, 0) { Seen::Done(()) } else { Seen::NotYet(format!("{waiting:?} wait")) })
        })
        .await
    }

    /// No secret stands in anything that was written.
    ///
    /// # Errors
    /// One does.
    pub async fn kept_its_secrets(&self) -> Result<()> {
        let written = self.product.everything_written().await?;
        let line = written.lines().find(|line| line.contains("LEAK"));
        ensure!(line.is_none(), "a secret was written: {line:?}");
        Ok(())
    }
}
