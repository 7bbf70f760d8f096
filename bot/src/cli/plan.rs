//! `switchyard plan check | show | adopt`.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use journal::{Actor, Command, CommandBody, CommandId, Fact};
use journal_store::{ExecuteError, Store as _, StoreError};

use super::exit::{Exit, Failure};
use super::{chat, open, output};
use crate::local;
use crate::words::{self, World};

/// What to do with a plan.
#[derive(Debug, Subcommand)]
pub enum What {
    /// Check a plan, and print everything that is wrong as FILE:LINE:COLUMN
    Check {
        /// The plan
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Print a plan's hash, its phases, and who may approve what
    Show {
        /// The plan
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Make a file the migration's current plan; open requests that were bound to another one are void
    ///
    /// The journal's first plan needs nobody. Later ones need an operator of the current plan, with SWITCHYARD_TOKEN.
    Adopt {
        /// The plan
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// The operator who adopts it
        #[arg(long = "as", value_name = "PERSON", env = "SWITCHYARD_AS")]
        person: Option<String>,
    },
}

/// Runs it.
///
/// # Errors
/// The plan is wrong, or the journal refuses it.
pub async fn run(what: What) -> Result<Exit, Failure> {
    match what {
        What::Check { file } => output::say(&words::checked(&file, &open::read(&file)?.plan)),
        What::Show { file } => output::say(&words::plan_shown(&open::read(&file)?.plan)),
        What::Adopt { file, person } => output::say(&adopt(&file, person.as_deref()).await?),
    }
    Ok(Exit::Done)
}

async fn adopt(file: &Path, person: Option<&str>) -> Result<String, Failure> {
    let read = open::read(file)?;
    let store = read.open_or_make().await?;
    let failed = |error: StoreError| open::no_journal(&error);
    let state = store.state().await.map_err(failed)?;
    let actor = match (&state.plan, person) {
        // The first plan makes the first persons, so nobody can be asked who they are yet.
        (None, _) => Actor::Operator,
        (Some(_), None) => return Err(Failure::usage(words::adopt_needs_a_person(file))),
        (Some(_), Some(person)) => {
            let token = chat::token(person)?;
            match local::known(&state, person, token.expose()) {
                Some(person) => Actor::Person(person),
                None => return Err(Failure::refused(words::not_known())),
            }
        }
    };
    let id = CommandId::new(format!("plan-adopt:{}", uuid::Uuid::now_v7()));
    let id = id.map_err(|error| Failure::refused(error.to_string()))?;
    let command = Command { actor, body: CommandBody::AdoptPlan { text: read.text } };
    match store.execute(id, None, command).await {
        Ok(events) => {
            let voided =
                events.iter().filter(|event| matches!(event.body, Fact::RequestVoided { .. })).count();
            Ok(words::adopted(&read.plan.hash(), voided))
        }
        Err(ExecuteError::Refused(refusal)) => {
            let now = store.now().await.map_err(failed)?;
            Err(Failure::refused(words::refusal(&refusal, None, World { state: &state, now })))
        }
        Err(ExecuteError::Store(error)) => Err(failed(error)),
        Err(error) => Err(Failure::refused(error.to_string())),
    }
}
