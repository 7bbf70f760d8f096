//! Finding the plan, and the journal and the socket that it names.

use std::path::{Path, PathBuf};

use clap::Args;

/// Where the plan is.
#[derive(Debug, Clone, Args)]
pub struct PlanFile {
    /// The plan
    #[arg(long, value_name = "FILE", env = "SWITCHYARD_PLAN", default_value = "switchyard.toml")]
    pub plan: PathBuf,
}

/// A path of the plan: relative ones are relative to the plan's own folder, so that every verb finds the same
/// file from wherever it is called.
#[must_use]
pub fn beside(plan: &Path, path: &str) -> PathBuf {
    match plan.parent() {
        Some(folder) => folder.join(path),
        None => PathBuf::from(path),
    }
}
