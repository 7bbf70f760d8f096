//! `switchyard people check`.

use std::path::PathBuf;

use clap::Subcommand;

use super::exit::{Exit, Failure};
use super::open::{self, PlanFile};
use super::output;
use crate::config::Heard;
use crate::{people, words};

/// What to do with people.
#[derive(Debug, Subcommand)]
pub enum What {
    /// Tell who can be known where, who may ask for and approve what, and what of it is odd
    Check(Check),
}

/// Arguments of `people check`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct Check {
    #[command(flatten)]
    plan: PlanFile,
    /// The bot's file, for the platforms that are heard; its secrets are not read
    #[arg(long, value_name = "FILE")]
    bot: Option<PathBuf>,
    /// One JSON object instead of text
    #[arg(long)]
    json: bool,
}

const AFTER_HELP: &str = "\
Nothing is connected to. A problem is what cannot work, or two persons who may be one; a warning is what works otherwise
than it reads. Without --bot every platform is taken to be heard.

Examples:
  switchyard people check --plan switchyard.toml --bot bot.toml
  switchyard people check --json | jq -r '.findings[] | \"\\(.level) \\(.line): \\(.what)\"'

Exit codes: 0 no problem, 1 a problem, or the plan or the bot's file is wrong, 2 wrong usage.";

/// Runs it.
///
/// # Errors
/// The plan or the bot's file is wrong.
pub fn run(what: What) -> Result<Exit, Failure> {
    let What::Check(Check { plan, bot, json }) = what;
    let read = open::read(&plan.plan)?;
    let heard = match &bot {
        Some(file) => {
            let text = open::bot_text(file)?;
            let bad = |problems: Vec<_>| Failure::refused(words::bad_bot_file(file, &problems));
            Some(Heard::read(&text).map_err(bad)?)
        }
        None => None,
    };
    let report = people::check(&read.plan, &read.text, heard.as_ref());
    if json {
        let printed = serde_json::to_string(&report).map_err(|error| Failure::refused(error.to_string()))?;
        output::say(&printed);
    } else {
        output::say(&words::people(&read.file, &read.text, &report));
    }
    Ok(if report.ok { Exit::Done } else { Exit::Refused })
}
