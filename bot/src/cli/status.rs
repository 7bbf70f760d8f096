//! `switchyard status`.

use super::exit::{Exit, Failure};
use super::open::PlanFile;

/// Arguments of `status`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct Args {
    #[command(flatten)]
    plan: PlanFile,
    /// One JSON object instead of a table
    #[arg(long)]
    json: bool,
    /// This phase alone
    #[arg(long, value_name = "PHASE")]
    phase: Option<String>,
}

const AFTER_HELP: &str = "\
Reads the journal without the server, and changes nothing.

Examples:
  switchyard status
  switchyard status --json | jq '.phases[] | {name, status, writer, lag_ms}'

Exit codes: 0 shown, 1 no plan or no such phase, 2 wrong usage, 3 the journal cannot be reached.";

/// Runs it.
///
/// # Errors
/// The journal cannot be read.
pub async fn run(_args: Args) -> Result<Exit, Failure> {
    Err(Failure::refused("`switchyard status` is not built yet"))
}
