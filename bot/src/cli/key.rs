//! `switchyard journal key new | show`.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use clap::Subcommand;
use journal::log_checkpoint::origin;
use journal::note::{KeyName, SignerKey};
use runtime::Scrubber;

use super::exit::{Exit, Failure};
use super::open::{self, PlanFile};
use super::output;
use crate::words;

/// What to do with the key that signs log checkpoints.
#[derive(Debug, Subcommand)]
pub enum What {
    /// Make a key, and print the line by which auditors verify what it signs
    #[command(after_help = AFTER_NEW)]
    New {
        #[command(flatten)]
        plan: PlanFile,
        /// The log's name, instead of the plan's: MIGRATION.switchyard
        #[arg(long, value_name = "ORIGIN")]
        name: Option<String>,
        /// The file to write, for its owner alone; it must not exist
        #[arg(short, value_name = "FILE")]
        output: PathBuf,
    },
    /// Print the line by which auditors verify what the plan's key signs
    Show {
        #[command(flatten)]
        plan: PlanFile,
    },
}

const AFTER_NEW: &str = "\
The plan is read for the log's name alone, and not at all with --name.

Examples:
  switchyard journal key new -o journal.key
  switchyard journal key new --name shop.switchyard -o /etc/switchyard/journal.key";

/// Runs it.
///
/// # Errors
/// The key cannot be made, written or read.
pub fn run(what: What) -> Result<Exit, Failure> {
    match what {
        What::New { plan, name, output } => {
            let name = match name {
                Some(name) => KeyName::new(&name).map_err(|_| Failure::usage(words::bad_key_name(&name)))?,
                None => {
                    let migration = open::read(&plan.plan)?.plan.migration;
                    origin(&migration).map_err(|_| Failure::usage(words::bad_key_name(migration.as_str())))?
                }
            };
            let mut seed = [0; 32];
            getrandom::fill(&mut seed)
                .map_err(|error| Failure::refused(format!("The system gives no randomness: {error}.")))?;
            let key = SignerKey::from_seed(name, &seed);
            write(&output, &key)
                .map_err(|error| Failure::refused(words::key_not_written(&output, &error)))?;
            output::say(&words::new_key(&output, key.verifier()));
        }
        What::Show { plan } => {
            let read = open::read(&plan.plan)?;
            output::say(&read.signing_key(&Scrubber::default())?.verifier().to_string());
        }
    }
    Ok(Exit::Done)
}

fn write(file: &Path, key: &SignerKey) -> std::io::Result<()> {
    let mut opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file)?;
    opened.write_all(format!("{}\n", key.to_secret()).as_bytes())?;
    opened.sync_all()
}
