//! `switchyard chat`.

use std::path::PathBuf;

use super::exit::{Exit, Failure};
use super::open::PlanFile;

/// Arguments of `chat`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct Args {
    /// The person of the plan who speaks
    #[arg(long = "as", value_name = "PERSON", env = "SWITCHYARD_AS")]
    person: String,
    #[command(flatten)]
    plan: PlanFile,
    /// The server's socket, instead of the plan's
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// Follow the operation until it rests, is blocked, or is undone, and print each step
    #[arg(long)]
    wait: bool,
    /// The command, best in single quotes; without one, a prompt
    #[arg(value_name = "COMMAND")]
    words: Vec<String>,
}

const AFTER_HELP: &str = "\
The person's token is read from SWITCHYARD_TOKEN, or asked for.

Examples:
  switchyard chat --as ana '/migrate region-a cutover' --wait
  switchyard chat --as ben '/migrate approve #41'
  switchyard chat --as ben 'deny #41 --reason \"release freeze\"'
  switchyard chat --as ana help

Exit codes: 0 done (with --wait: completed), 1 refused (with --wait: undone, void or blocked), 2 wrong usage,
3 the server cannot be reached.";

/// Runs it.
///
/// # Errors
/// The server cannot be reached.
pub async fn run(_args: Args) -> Result<Exit, Failure> {
    Err(Failure::refused("`switchyard chat` is not built yet"))
}
