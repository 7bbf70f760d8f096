//! A plan, its people and its journal, in a directory of the test's own.
#![allow(
    clippy::allow_attributes,
    dead_code,
    missing_docs,
    missing_debug_implementations,
    reason = "each test uses a part of it"
)]

use std::path::PathBuf;
use std::sync::Arc;

use bot::conversation::{Conversation, Reply, Utterance};
use bot::language::Dialect;
use journal::{Actor, Command, CommandBody, CommandId, PersonId, Plan};
use journal_store::{SqliteStore, Store as _};
use runtime::SystemClock;
use sha2::{Digest as _, Sha256};

/// The example plan, with tokens that the tests know.
pub fn plan_text() -> String {
    let example = include_str!("../../../config/plan.example.toml");
    let mut people = ["ana", "ben", "cy"].into_iter();
    let lines = example.lines().map(|line| match line.starts_with("local_token_sha256") {
        true => {
            let digest = hex::encode(Sha256::digest(token(people.next().unwrap())));
            format!("local_token_sha256 = \"{digest}\"")
        }
        false => line.to_owned(),
    });
    lines.collect::<Vec<_>>().join("\n") + "\n"
}

/// A person's token.
pub fn token(person: &str) -> String {
    format!("the token of {person}")
}

/// A directory with a plan.
pub struct Place {
    pub dir: tempfile::TempDir,
}

impl Place {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("plan.toml"), plan_text()).unwrap();
        Self { dir }
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The journal, with the plan adopted.
    pub async fn store(&self) -> Arc<SqliteStore> {
        let plan = Plan::parse(&plan_text()).unwrap();
        let url = format!("sqlite:{}", self.file("shop.journal").display());
        let store = SqliteStore::open(&url, &plan.migration, Arc::new(SystemClock)).await.unwrap();
        let body = CommandBody::AdoptPlan { text: plan_text(), authors: Vec::new() };
        store
            .execute(CommandId::new("adopt").unwrap(), None, Command::new(Actor::Operator, body))
            .await
            .unwrap();
        Arc::new(store)
    }
}

/// Says something in a conversation.
pub async fn say(conversation: &Conversation, person: &str, id: &str, text: &str) -> Reply {
    let person = PersonId::new(person).unwrap();
    let dialect = Dialect::Terminal;
    conversation.hear(&Utterance { person: &person, id, text, dialect, origin: None }).await
}
