//! `switchyard token new`.

use clap::Subcommand;

use super::exit::{Exit, Failure};

/// What to do with tokens.
#[derive(Debug, Subcommand)]
pub enum What {
    /// Print a new token for a person, and the line that the plan needs to know it
    New,
}

/// Runs it.
///
/// # Errors
/// The system gives no randomness.
pub fn run(_what: What) -> Result<Exit, Failure> {
    Err(Failure::refused("`switchyard token` is not built yet"))
}
