//! `switchyard plan check | init | show | diff | adopt`.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use journal::plan::Reading;
use journal::{
    Actor, Command, CommandBody, CommandId, Fact, Plan, PlanProblem, PlanProblems, Recorded, State,
};
use journal_store::{ExecuteError, StoreError};
use serde::Serialize;

use super::exit::{Exit, Failure};
use super::{chat, open, output, plan_init, plan_live};
use crate::local;
use crate::words::{self, Revision, World};

/// What to do with a plan.
#[derive(Debug, Subcommand)]
pub enum What {
    /// Check a plan, and print everything that is wrong as FILE:LINE:COLUMN, with the line and what was meant
    Check(Check),
    /// Write a plan to begin with, from what a source has: its tables, their sizes, phases, and places to fill in
    Init(plan_init::Init),
    /// Print a plan's hash, its people, who may approve what, and all that its phases are bound to
    Show {
        /// The plan
        #[arg(value_name = "FILE", env = "SWITCHYARD_PLAN", default_value = "switchyard.toml")]
        file: PathBuf,
    },
    /// Print what a revision of a plan changes, phase by phase, and which requests it voids
    #[command(after_help = DIFF_HELP)]
    Diff {
        /// The plan before
        #[arg(value_name = "OLD")]
        old: PathBuf,
        /// The plan after
        #[arg(value_name = "NEW")]
        new: PathBuf,
        /// Look into the journal that NEW names: which open requests would be void, and which operations stand against it
        #[arg(long)]
        journal: bool,
    },
    /// Make a file the migration's current plan; open requests that were bound to another one are void
    ///
    /// The journal's first plan needs nobody. Later ones need an operator of the current plan, with SWITCHYARD_TOKEN. Each
    /// lever is looked at as `plan check --connect` does; what would make a switch fail is a warning here.
    Adopt {
        /// The plan
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// The operator who adopts it
        #[arg(long = "as", value_name = "PERSON", env = "SWITCHYARD_AS")]
        person: Option<String>,
    },
}

/// Arguments of `plan check`.
#[derive(Debug, clap::Args)]
#[command(after_help = CHECK_HELP)]
pub struct Check {
    /// The plan
    #[arg(value_name = "FILE", env = "SWITCHYARD_PLAN", default_value = "switchyard.toml")]
    file: PathBuf,
    /// One JSON object instead of text: what is wrong, what is odd, and the plan's hash
    #[arg(long)]
    json: bool,
    /// Hold the plan against both databases and the levers, too: everything that a phase's `start` or its switch would refuse;
    /// nothing is changed
    #[arg(long)]
    connect: bool,
}

const CHECK_HELP: &str = "\
Without --connect nothing is connected to. Nothing is ever written.

Examples:
  switchyard plan check
  switchyard plan check --connect
  switchyard plan check --json | jq -r '.problems[] | \"\\(.line): \\(.what)\"'

Exit codes: 0 the plan is right, 1 something is wrong, or there is no such file, 2 wrong usage, 3 a database cannot be reached.";

const DIFF_HELP: &str = "\
Requests are bound to their phase's section and the shared ones. Without --journal nothing is connected to.

Examples:
  switchyard plan diff switchyard.toml revised.toml
  switchyard plan diff switchyard.toml revised.toml --journal

Exit codes: 0 shown, 1 a plan is wrong, 2 wrong usage, 3 the journal cannot be reached.";

/// Runs it.
///
/// # Errors
/// The plan is wrong, or the journal refuses it.
pub async fn run(what: What) -> Result<Exit, Failure> {
    match what {
        What::Check(args) => return check(args).await,
        What::Init(args) => return plan_init::run(args).await,
        What::Show { file } => output::say(&words::plan_shown(&open::read(&file)?.plan)),
        What::Diff { old, new, journal } => diff(&old, &new, journal).await?,
        What::Adopt { file, person } => output::say(&adopt(&file, person.as_deref()).await?),
    }
    Ok(Exit::Done)
}

/// What `plan check --json` prints. Keys are only ever added.
#[derive(Debug, Serialize)]
struct Checked<'c> {
    v: u32,
    ok: bool,
    problems: Vec<Told<'c>>,
    warnings: Vec<Told<'c>>,
    plan_hash: Option<String>,
}

#[derive(Debug, Serialize)]
struct Told<'c> {
    line: usize,
    column: usize,
    what: &'c str,
    suggestion: Option<&'c str>,
}

fn told(problems: &[PlanProblem]) -> Vec<Told<'_>> {
    let mut told = Vec::with_capacity(problems.len());
    for problem in problems {
        told.push(Told {
            line: problem.line,
            column: problem.column,
            what: &problem.what,
            suggestion: problem.suggestion.as_deref(),
        });
    }
    told
}

async fn check(Check { file, json, connect }: Check) -> Result<Exit, Failure> {
    let file = file.as_path();
    let text =
        std::fs::read_to_string(file).map_err(|error| Failure::refused(words::no_plan_file(file, &error)))?;
    let read = Plan::read(&text);
    let live = match &read {
        Ok(Reading { plan, .. }) if connect => {
            Some(plan_live::look(&text, (plan, &open::folder(file))).await?)
        }
        _ => None,
    };
    let (against, odd, seen) = live.map(|live| (live.problems, live.warnings, live.told)).unwrap_or_default();
    if json {
        let checked = match &read {
            Ok(Reading { plan, warnings }) => Checked {
                v: 1,
                ok: against.is_empty(),
                problems: told(&against),
                warnings: told(warnings).into_iter().chain(told(&odd)).collect(),
                plan_hash: Some(plan.hash().to_string()),
            },
            Err(PlanProblems(problems)) => {
                Checked { v: 1, ok: false, problems: told(problems), warnings: Vec::new(), plan_hash: None }
            }
        };
        let printed = serde_json::to_string(&checked).map_err(|error| Failure::refused(error.to_string()))?;
        output::say(&printed);
        return Ok(if checked.ok { Exit::Done } else { Exit::Refused });
    }
    match read {
        Ok(Reading { plan, warnings }) => {
            let warnings: Vec<PlanProblem> = warnings.into_iter().chain(odd).collect();
            if !warnings.is_empty() {
                output::complain(&words::warnings(file, &text, &warnings));
            }
            if connect {
                output::say(&seen);
            }
            if !against.is_empty() {
                return Err(Failure::refused(words::in_the_way(file, &text, &against)));
            }
            output::say(&words::checked(file, &plan));
            Ok(Exit::Done)
        }
        Err(problems) => Err(Failure::refused(words::problems(file, &text, &problems))),
    }
}

async fn diff(old: &Path, new: &Path, journal: bool) -> Result<(), Failure> {
    let (old, new) = (open::read(old)?, open::read(new)?);
    let revision = Revision { old: (&old.file, &old.plan), new: (&new.file, &new.plan) };
    output::say(&words::plan_diff(revision));
    if journal {
        let store = new.open().await?;
        let state = store.state().await.map_err(|error| open::no_journal(&error))?;
        output::say(&format!("\n{}", words::adoption(revision, &state)));
    }
    Ok(())
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
    let seen = plan_live::levers(&read.text, (&read.plan, &read.folder())).await;
    if !seen.is_empty() {
        output::complain(&words::warnings(file, &read.text, &seen));
    }
    let id = CommandId::new(format!("plan-adopt:{}", uuid::Uuid::now_v7()));
    let id = id.map_err(|error| Failure::refused(error.to_string()))?;
    let command = Command::new(actor, CommandBody::AdoptPlan { text: read.text, authors: Vec::new() });
    match store.execute(id, None, command).await {
        Ok(events) => {
            let state = store.state().await.map_err(failed)?;
            Ok(words::adopted(&read.plan.hash(), &state, &voided(&state, &events)))
        }
        Err(ExecuteError::Refused(refusal)) => {
            let now = store.now().await.map_err(failed)?;
            Err(Failure::refused(words::refusal(&refusal, None, World { state: &state, now })))
        }
        Err(ExecuteError::Store(error)) => Err(failed(error)),
        Err(error) => Err(Failure::refused(error.to_string())),
    }
}

/// The requests that these events made void, in words.
fn voided(state: &State, events: &[Recorded]) -> Vec<String> {
    let request = |event: &Recorded| match &event.body {
        Fact::RequestVoided { request, .. } => state.requests.get(request).map(words::named),
        _ => None,
    };
    events.iter().filter_map(request).collect()
}
