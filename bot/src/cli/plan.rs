//! `switchyard plan check | show | adopt`.

use std::path::PathBuf;

use clap::Subcommand;

use super::exit::{Exit, Failure};

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
    Adopt {
        /// The plan
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
}

/// Runs it.
///
/// # Errors
/// The plan is wrong, or the journal refuses it.
pub async fn run(_what: What) -> Result<Exit, Failure> {
    Err(Failure::refused("`switchyard plan` is not built yet"))
}
