//! `switchyard plan init`: a plan to begin with, from what a source has.

use std::io::Write as _;
use std::path::PathBuf;

use clap::Args;
use executors::kept;
use executors::postgres::database::Database;
use executors::postgres::survey;
use journal::{MigrationName, SecretRef, Side};
use runtime::Scrubber;

use super::exit::{Exit, Failure};
use super::{open, output};
use crate::words;

/// Arguments of `plan init`.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub struct Init {
    /// Where the source's connection string is kept: env:NAME or file:PATH, which is relative to the plan's folder
    #[arg(long, value_name = "SECRET")]
    source: String,
    /// The same for the target; it is not connected to
    #[arg(long, value_name = "SECRET", default_value = "env:SWITCHYARD_TARGET_URL")]
    target: String,
    /// The migration's name; without it the source database's
    #[arg(long, value_name = "NAME")]
    migration: Option<String>,
    /// The file to write, which must not be there yet; without it the plan is printed
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

const HELP: &str = "\
The source is only read. Tables that foreign keys, a sequence, or a trigger that writes from one into another tie together
become a phase.

Examples:
  switchyard plan init --source env:SHOP_SOURCE_URL --target env:SHOP_TARGET_URL -o switchyard.toml
  switchyard plan init --source file:/run/secrets/source --migration shop

Exit codes: 0 written, 1 the file is there already, 2 wrong usage, 3 the source cannot be reached.";

/// Runs it.
///
/// # Errors
/// The source cannot be read, or the file is there.
pub async fn run(args: Init) -> Result<Exit, Failure> {
    let kept = |text: &str, option: &str| {
        SecretRef::parse(text).ok_or_else(|| Failure::usage(words::no_place(option)))
    };
    let (source, target) = (kept(&args.source, "--source")?, kept(&args.target, "--target")?);
    let name = |text: &str| MigrationName::new(text).map_err(|error| Failure::usage(error.to_string()));
    let given = args.migration.as_deref().map(name).transpose()?;
    // What the plan will say is read as the plan will be.
    let folder = args.output.as_deref().map(open::folder).unwrap_or_default();
    let url = kept::secret(&source, &folder)
        .map_err(|error| Failure::unreachable(words::no_secret(Side::Source, &error)))?;
    let scrubber = Scrubber::default();
    let away = |cause: String| Failure::unreachable(words::not_checked(&scrubber.scrub(&cause)));
    let database = Database::new(Side::Source, name("plan-init")?, &url, &scrubber)
        .map_err(|cause| Failure::unreachable(words::no_database(Side::Source, &cause.to_string())))?;
    let session = database.session().await.map_err(|cause| away(cause.to_string()))?;
    let failed = |error| away(database.cause("does not list its tables", &error).to_string());
    let tables = survey::inventory(&session).await.map_err(failed)?;
    let readers = survey::readers(&session).await.map_err(failed)?;
    let migration = match given {
        Some(given) => given,
        None => name(&slug(&survey::database_name(&session).await.map_err(failed)?))?,
    };
    let plan = words::plan_begun(&migration, (&source, &target), (&tables, &readers));
    let Some(file) = args.output else {
        output::say(plan.trim_end());
        return Ok(Exit::Done);
    };
    // Made anew or not at all, in one step: a file that appears meanwhile is not overwritten either.
    let made = std::fs::File::create_new(&file).and_then(|mut made| made.write_all(plan.as_bytes()));
    made.map_err(|error| Failure::refused(words::plan_not_written(&file, &error)))?;
    output::say(&words::plan_written(&file, tables.len()));
    Ok(Exit::Done)
}

/// A database's name as a migration's.
fn slug(name: &str) -> String {
    let plain = |letter: char| if letter.is_ascii_alphanumeric() { letter.to_ascii_lowercase() } else { '-' };
    name.chars().take(40).map(plain).collect()
}
