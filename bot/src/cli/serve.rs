//! `switchyard serve`.

use std::path::PathBuf;

use clap::ValueEnum;

use super::exit::{Exit, Failure};
use super::open::PlanFile;

/// How log lines look.
#[derive(Debug, Clone, Copy, Default, ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Arguments of `serve`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct Args {
    #[command(flatten)]
    plan: PlanFile,
    /// Tells this process from others that serve the same journal; each instance runs once
    #[arg(long, value_name = "NAME", default_value = "main")]
    instance: String,
    /// The socket to listen on, instead of the plan's
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// How log lines look; SWITCHYARD_LOG chooses which are written (info, debug, executors=debug,…)
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    log_format: LogFormat,
}

const AFTER_HELP: &str = "\
The plan's text is adopted if the journal is empty; a file that is not the adopted plan is refused (see
`switchyard plan adopt`). One line on standard output says when it is ready; logs go to standard error.
After any interruption, start it again: it goes on exactly where it was.

Examples:
  switchyard serve --plan switchyard.toml
  switchyard serve --plan switchyard.toml --instance spare --socket /run/switchyard/spare.sock

Exit codes: 0 stopped by a signal, 1 refused or failed, 2 wrong usage, 3 the journal cannot be reached.";

/// Runs it.
///
/// # Errors
/// The plan is wrong or not the adopted one, the instance runs already, the journal cannot be opened.
pub async fn run(_args: Args) -> Result<Exit, Failure> {
    Err(Failure::refused("`switchyard serve` is not built yet"))
}
