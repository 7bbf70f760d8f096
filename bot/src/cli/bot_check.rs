//! `switchyard bot check`.

use std::path::PathBuf;

use clap::Subcommand;

use super::exit::{Exit, Failure};
use super::{open, output};
use crate::check::{self, Verdict};
use crate::words;

/// What to do with the bot.
#[derive(Debug, Subcommand)]
pub enum What {
    /// Try every credential of the bot's file, and tell what is missing, permission by permission
    Check(Check),
}

/// Arguments of `bot check`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct Check {
    /// The bot's file
    #[arg(long, value_name = "FILE", default_value = "bot.toml")]
    bot: PathBuf,
    /// A plan: its people's accounts are looked for on their platforms
    #[arg(long, value_name = "FILE")]
    plan: Option<PathBuf>,
    /// One JSON object instead of text
    #[arg(long)]
    json: bool,
}

const AFTER_HELP: &str = "\
Asks GitHub, Slack and Discord, as far as the file has a section for them, and writes nothing there. Needs neither the
journal nor a server. What only a platform can try, the secrets that it signs with, is said to be untried.

Examples:
  switchyard bot check --bot bot.toml
  switchyard bot check --bot bot.toml --plan switchyard.toml
  switchyard bot check --json | jq -r '.seen[] | select(.verdict != \"right\") | \"\\(.platform): \\(.told)\"'

Exit codes: 0 nothing is missing, 1 something is, or the file is wrong, 2 wrong usage, 3 a platform did not answer.";

/// Runs it.
///
/// # Errors
/// The bot's file or the plan is wrong.
pub async fn run(what: What) -> Result<Exit, Failure> {
    let What::Check(Check { bot, plan, json }) = what;
    let config = open::bot(&bot)?;
    let plan = plan.map(|file| open::read(&file)).transpose()?;
    let report = check::run(&config, plan.as_ref().map(|read| &read.plan)).await;
    if json {
        let printed = serde_json::to_string(&report).map_err(|error| Failure::refused(error.to_string()))?;
        output::say(&printed);
    } else {
        output::say(&words::check::report(&bot, &report));
    }
    Ok(if report.has(Verdict::Unreachable) {
        Exit::Unreachable
    } else if report.ok {
        Exit::Done
    } else {
        Exit::Refused
    })
}
