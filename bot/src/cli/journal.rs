//! `switchyard journal show | tail | export`.

use std::path::PathBuf;

use clap::Subcommand;

use super::exit::{Exit, Failure};
use super::open::PlanFile;

/// What to do with the journal.
#[derive(Debug, Subcommand)]
pub enum What {
    /// Print the events so far
    Show(Filter),
    /// Print events as they are appended, until interrupted
    Tail(Filter),
    /// Write the stored bytes of every event, one a line, as they were hashed
    Export {
        #[command(flatten)]
        plan: PlanFile,
        /// The file to write; it must not exist. `-` is standard output
        #[arg(value_name = "FILE")]
        to: PathBuf,
    },
}

/// Which events, and how.
#[derive(Debug, clap::Args)]
pub struct Filter {
    #[command(flatten)]
    plan: PlanFile,
    /// One JSON object a line instead of sentences
    #[arg(long)]
    json: bool,
    /// Events of this phase alone
    #[arg(long, value_name = "PHASE")]
    phase: Option<String>,
    /// From this position on
    #[arg(long, value_name = "POSITION")]
    from: Option<u64>,
}

/// Runs it.
///
/// # Errors
/// The journal cannot be read.
pub async fn run(_what: What) -> Result<Exit, Failure> {
    Err(Failure::refused("`switchyard journal` is not built yet"))
}
