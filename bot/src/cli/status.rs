//! `switchyard status`.

use journal::{PhaseName, Position, Refusal, State};
use journal_store::{Store, StoreError, each_stored};
use runtime::Scrubber;

use super::exit::{Exit, Failure};
use super::open::{self, PlanFile, Read};
use super::output;
use crate::proof::{Desk, DeskError};
use crate::status::Report;
use crate::words::{self, World};

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
pub async fn run(args: Args) -> Result<Exit, Failure> {
    let read = open::read(&args.plan.plan)?;
    let store = read.open().await?;
    let failed = |error: StoreError| open::no_journal(&error);
    let state = store.state().await.map_err(failed)?;
    let reported = store.reported().await.map_err(failed)?;
    let now = store.now().await.map_err(failed)?;
    let only =
        args.phase.as_deref().map(PhaseName::new).transpose().map_err(|e| Failure::usage(e.to_string()))?;
    let contradicted = contradiction(&read, store.as_ref(), &state).await?;
    let Some(report) = Report::new(&state, &reported, now, only.as_ref()) else {
        return Err(Failure::refused(words::no_plan_yet()));
    };
    let report = Report { contradicted, ..report };
    if let (Some(phase), true) = (&only, report.phases.is_empty()) {
        let known = read.plan.phases.iter().map(|phase| phase.name.clone()).collect();
        let refusal = Refusal::NoPhase { phase: phase.clone(), known };
        return Err(Failure::refused(words::refusal(&refusal, None, World { state: &state, now })));
    }
    if args.json {
        let json = serde_json::to_string(&report).map_err(|error| Failure::refused(error.to_string()))?;
        output::say(&json);
    } else {
        output::say(&words::status(&report));
    }
    Ok(Exit::Done)
}

/// Why the journal cannot be believed, as far as its key and its witness file can be read here.
async fn contradiction(read: &Read, store: &dyn Store, state: &State) -> Result<Option<String>, Failure> {
    let (Some(witness), Ok(key)) = (read.witness(), read.signing_key(&Scrubber::default())) else {
        return Ok(None);
    };
    // Before the journal: what is signed from here on is of events that may not be read.
    let Ok(notes) = witness.read() else { return Ok(None) };
    let mut desk = Desk::new(key, witness);
    let read = each_stored(store, Position::default(), |position, bytes| {
        desk.take(position, bytes).map_err(Doubt::Desk)
    });
    let found = match read.await {
        Ok(_) => Ok(()),
        Err(Doubt::Desk(error)) => Err(error),
        Err(Doubt::Store(error)) => return Err(open::no_journal(&error)),
    };
    let left = |desk: &Desk| match &state.left {
        Some(left) => desk.compare(left.size.get(), left.root.hash()),
        None => Ok(()),
    };
    let found = found.and_then(|()| left(&desk)).and_then(|()| desk.weigh(notes));
    Ok(found.err().filter(DeskError::is_contradiction).map(|error| words::publisher_refuses(&error)))
}

/// Why the journal was not read to its end.
enum Doubt {
    Store(StoreError),
    Desk(DeskError),
}

impl From<StoreError> for Doubt {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}
