//! A conversation's scene on GitHub: the double, the product that listens to it, and a pull request.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::told::number_in;
use super::{APP, Github, ReviewState, SECRET, Thread};
use crate::events::Journal;
use crate::switchyard::Serve;
use crate::talk::{Person, Setting, Talk};
use crate::wait::{Seen, wait_until};

/// Operator and approver.
pub const ANNA: u64 = 1001;
/// Approver.
pub const BEN: u64 = 1002;
/// Approver and operator.
pub const CHRIS: u64 = 1003;
/// Nobody in the plan.
pub const ZOE: u64 = 1099;

/// A secret that may take the other's place: `env:GITHUB_NEW_SECRET`.
pub const NEW_SECRET: &str = "another github secret LEAK";

/// Where the plan is in the repository.
pub const PLAN: &str = "switchyard.toml";

/// GitHub, the product that listens to it, and a pull request of anna's that carries the adopted plan.
#[derive(Debug)]
pub struct Scene {
    /// The double.
    pub github: Github,
    /// The product.
    pub talk: Talk,
    /// Its process; none while it is down.
    pub serve: Option<Serve>,
    /// The pull request.
    pub pull: u64,
}

impl Scene {
    /// Sets it up: a start needs two approvals, so that it waits for them, and nothing is swept.
    ///
    /// # Errors
    /// Something is missing or does not start.
    pub async fn set() -> Result<Self> {
        Self::with(3600, "").await
    }

    /// The same with a sweep every so many seconds, and more lines in the plan.
    ///
    /// # Errors
    /// Something is missing or does not start.
    pub async fn with(sweep_seconds: u64, plan: &str) -> Result<Self> {
        let github = Github::start("acme/shop", BTreeMap::new()).await?;
        for (login, id) in [("anna", ANNA), ("ben", BEN), ("chris", CHRIS), ("zoe", ZOE)] {
            github.person(login, id);
        }
        let bot = section(&github, sweep_seconds);
        let plan = format!("[approvals.start]\nrequired = 2\n\n{plan}");
        let both = "\"operator\", \"approver\"";
        let people = vec![
            Person { id: "anna", roles: both, accounts: "github = 1001" },
            Person { id: "ben", roles: "\"approver\"", accounts: "github = 1002" },
            Person { id: "chris", roles: both, accounts: "github = 1003" },
        ];
        let environment = vec![
            ("GITHUB_KEY".to_owned(), github.private_key()),
            ("GITHUB_SECRET".to_owned(), SECRET.to_owned()),
            ("GITHUB_NEW_SECRET".to_owned(), NEW_SECRET.to_owned()),
        ];
        let talk = Talk::set(Setting { people, plan, bot, environment }).await?;
        let serve = Some(talk.serve("a").await?);
        github.deliver_to(&format!("{}/github", talk.origin("a")));
        let adopted = std::fs::read_to_string(talk.product.plan())?;
        github.world(|world| {
            let files =
                BTreeMap::from([(PLAN.to_owned(), adopted), ("README.md".to_owned(), "a shop\n".to_owned())]);
            world.main = world.commit(ANNA, None, files);
        });
        let pull = github.open_pull(ANNA, "Move region a", &[("notes.md", Some("soon"))]).await;
        Ok(Self { github, talk, serve, pull })
    }

    /// The plan's text with another length of the window, which is another meaning.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn other_plan(&self) -> Result<String> {
        let text = std::fs::read_to_string(self.talk.product.plan())?;
        Ok(text.replace("max_downtime = \"60s\"", "max_downtime = \"90s\""))
    }

    /// A person comments in the pull request.
    pub async fn says(&self, person: u64, text: &str) -> u64 {
        self.github.comment(person, Thread::Pull(self.pull), text).await
    }

    /// Waits for an answer in the pull request that holds all of these; gives the comment's number.
    ///
    /// # Errors
    /// There is none.
    pub async fn answered(&self, containing: &[&str]) -> Result<u64> {
        Ok(self.github.answer(self.pull, containing).await?.id)
    }

    /// Anna asks for an operation; gives the request's number and the comment that shows it.
    ///
    /// # Errors
    /// It is not answered.
    pub async fn asks(&self, operation: &str) -> Result<(u64, u64)> {
        self.says(ANNA, &format!("/migrate {operation}")).await;
        let answer = self.github.answer(self.pull, &["Request `#"]).await?;
        let number = number_in(&answer.body).with_context(|| format!("no number in {}", answer.body))?;
        Ok((number, answer.id))
    }

    /// A person approves a request in a comment, and is answered with all of these; gives the number of their comment.
    ///
    /// # Errors
    /// It is not answered so.
    pub async fn approves(&self, person: u64, request: u64, containing: &[&str]) -> Result<u64> {
        let comment = self.says(person, &format!("/migrate approve #{request}")).await;
        self.answered(containing).await?;
        Ok(comment)
    }

    /// A person reviews the pull request at its head.
    ///
    /// # Errors
    /// GitHub refuses it.
    pub async fn reviews(&self, person: u64, state: ReviewState, text: &str) -> Result<u64> {
        self.github.review(person, self.pull, state, text).await
    }

    /// The pull request's newest commit.
    #[must_use]
    pub fn head(&self) -> String {
        self.github
            .world(|world| world.pulls.get(&self.pull).map(|pull| pull.head.clone()))
            .unwrap_or_default()
    }

    /// The journal as it is.
    ///
    /// # Errors
    /// It cannot be exported.
    pub async fn journal(&self) -> Result<Journal> {
        self.talk.product.journal().await
    }

    /// Waits until the journal has so many events of a kind.
    ///
    /// # Errors
    /// It does not come to have them.
    pub async fn journal_with(&self, kind: &str, count: usize) -> Result<Journal> {
        self.talk.journal_with(kind, count).await
    }

    /// Waits until the product has swept once more from now on.
    ///
    /// # Errors
    /// It does not.
    pub async fn swept(&self) -> Result<()> {
        const LIST: &str = "GET /app/hook/deliveries";
        // One that is under way may have read a list before now; the next one reads them all.
        let before = self.github.requests(LIST);
        wait_until(Duration::from_secs(60), "two more sweeps", async || {
            let made = self.github.requests(LIST) - before;
            Ok(if made >= 2 { Seen::Done(()) } else { Seen::NotYet(format!("{made} so far")) })
        })
        .await
    }

    /// Kills the product with SIGKILL, and starts it again.
    ///
    /// # Errors
    /// It does not die or does not start.
    pub async fn dies_and_returns(&mut self) -> Result<()> {
        if let Some(serve) = self.serve.take() {
            serve.kill9().await?;
        }
        self.serve = Some(self.talk.serve("a").await?);
        Ok(())
    }

    /// Waits until all that was said has been heard, and all that was to be said has been said.
    ///
    /// # Errors
    /// Something waits for too long.
    pub async fn settled(&self) -> Result<()> {
        self.talk.settled("a").await
    }

    /// Ends it: everything has been said, it was all expected, no secret was written; gives the journal.
    ///
    /// # Errors
    /// One of these is not so.
    pub async fn ends(mut self) -> Result<Journal> {
        self.settled().await?;
        self.github.nothing_else()?;
        self.talk.kept_its_secrets().await?;
        let journal = self.journal().await?;
        if let Some(serve) = self.serve.take() {
            serve.end().await?;
        }
        Ok(journal)
    }
}

/// The bot's section for the double.
#[must_use]
pub fn section(github: &Github, sweep_seconds: u64) -> String {
    format!(
        "[github]\napp_id = {APP}\nprivate_key = \"env:GITHUB_KEY\"\nwebhook_secrets = [\"env:GITHUB_SECRET\"]\n\
         repository = \"acme/shop\"\nsweep_seconds = {sweep_seconds}\napi_url = \"{}\"\n",
        github.url()
    )
}
