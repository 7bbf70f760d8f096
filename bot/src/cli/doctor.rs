//! `switchyard doctor`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use executors::Examined;
use executors::levers::{Served, lever};
use executors::postgres::{database::Database, doctor as seen};
use futures::future::join3;
use journal::{Direction, Finding, PhaseName, PhasePlan, Side, State, StreamHealth, TableName, behind};
use journal_store::Store;
use runtime::{Scrubber, SystemClock};

use super::exit::{Exit, Failure};
use super::open::{self, PlanFile};
use super::output;
use crate::doctor::{LeverSeen, Report, Seen};
use crate::preflight::database;
use crate::words;

/// How long one side, or the lever, may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long the journal may take.
const JOURNAL: Duration = Duration::from_secs(3);

/// Arguments of `doctor`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct Args {
    #[command(flatten)]
    plan: PlanFile,
    /// One JSON object instead of a table
    #[arg(long)]
    json: bool,
}

const AFTER_HELP: &str = "\
Asks both databases and the lever, needs neither the journal nor a server, and changes nothing: gates, fences, slots,
origins, checkpoints, who can write where, what disagrees, and what to do. Where the journal can be read, it is asked
why a stream is down, and held against the gates: an old copy of it is found.

Examples:
  switchyard doctor --plan switchyard.toml
  switchyard doctor --json | jq '.phases[].findings[]'

Exit codes: 0 nothing disagrees, 1 something does, 2 wrong usage, 3 neither database can be reached.";

/// Runs it.
///
/// # Errors
/// The plan is wrong.
pub async fn run(args: Args) -> Result<Exit, Failure> {
    let read = open::read(&args.plan.plan)?;
    let scrubber = Scrubber::default();
    let folder = read.folder();
    let side_of = |side| database(side, (&read.plan, &folder), &scrubber);
    let (source, target) = (side_of(Side::Source), side_of(Side::Target));
    let journal = tokio::time::timeout(JOURNAL, read.open()).await.ok().and_then(Result::ok);
    let before = journalled(journal.as_deref()).await;
    let mut looked = Vec::new();
    for phase in &read.plan.phases {
        // Another database than the journal's shows nothing of this migration.
        let known =
            before.as_deref().and_then(|state| state.phases.get(&phase.name)).map(|phase| &phase.identities);
        for (at, seen) in known.into_iter().flatten().filter(|(_, seen)| !seen.is_empty()) {
            let database = if *at == Side::Source { &source } else { &target };
            if let Ok(database) = database {
                database.expect_identity(seen.clone());
            }
        }
        let served = Served {
            migration: read.plan.migration.clone(),
            phase: phase.name.clone(),
            folder: folder.clone(),
            source: source.as_ref().ok().cloned(),
            target: target.as_ref().ok().cloned(),
            scrubber: scrubber.clone(),
            clock: Arc::new(SystemClock),
        };
        let lever = async {
            let lever = lever(&phase.lever, served).map_err(|cause| scrubber.scrub(&cause.to_string()))?;
            let looked = tokio::time::timeout(PATIENCE, lever.examine()).await;
            looked.map_err(|_| words::no_answer(PATIENCE))
        };
        // Where the source does not say what its patterns match, the journal knows what they matched, or else the
        // tables that are named are looked at.
        let tables = match &source {
            Ok(source) => tokio::time::timeout(PATIENCE, seen::tables(source, phase)).await.ok(),
            Err(_) => None,
        };
        let tables = tables.and_then(Result::ok).unwrap_or_else(|| known_tables(before.as_deref(), phase));
        let look = |database| side(database, &phase.name, &tables);
        let (source, target, lever) = join3(look(&source), look(&target), lever).await;
        let lever = lever.map(examined);
        let (down, behind) = (BTreeMap::new(), Vec::new());
        let seen = Seen { phase: phase.name.to_string(), source, target, lever, down, behind };
        looked.push((&phase.name, seen, tables.len()));
    }
    // After the gates, so that it has all that they can name.
    let state = journalled(journal.as_deref()).await;
    let report = |(phase, mut seen, tables): (&PhaseName, Seen, usize)| {
        if let Some(state) = &state {
            seen.down = down(state, phase);
            seen.behind = old_copy(state, phase, &seen);
        }
        seen.report(tables)
    };
    let phases: Vec<Report> = looked.into_iter().map(report).collect();
    if args.json {
        let json = serde_json::json!({ "v": 1, "migration": read.plan.migration, "phases": phases });
        output::say(&json.to_string());
    } else {
        let told: Vec<String> = phases.iter().map(words::doctor).collect();
        output::say(&told.join("\n\n"));
    }
    Ok(if phases.iter().all(|phase| phase.source.is_none() && phase.target.is_none()) {
        Exit::Unreachable
    } else if phases.iter().all(|phase| phase.findings.is_empty()) {
        Exit::Done
    } else {
        Exit::Refused
    })
}

/// What the journal says. Nothing where it cannot be read: all else is looked at without it.
async fn journalled(journal: Option<&dyn Store>) -> Option<Arc<State>> {
    tokio::time::timeout(JOURNAL, journal?.state()).await.ok()?.ok()
}

/// The phase's tables without the source: as the journal has them since `start`, or as the plan names them.
fn known_tables(state: Option<&State>, phase: &PhasePlan) -> Vec<TableName> {
    let known = state.and_then(|state| state.phases.get(&phase.name)).map(|phase| phase.tables.clone());
    known.filter(|tables| !tables.is_empty()).unwrap_or_else(|| phase.tables.clone())
}

/// Where a gate shows the journal to be an old copy.
fn old_copy(state: &State, phase: &PhaseName, seen: &Seen) -> Vec<Finding> {
    let shows = |(side, seen): (Side, &Result<seen::SideSeen, String>)| {
        behind(state, phase, side, seen.as_ref().ok()?.gate.as_ref()?.row())
    };
    [(Side::Source, &seen.source), (Side::Target, &seen.target)].into_iter().filter_map(shows).collect()
}

/// Why streams are down, by the journal's last word of them.
fn down(state: &State, phase: &PhaseName) -> BTreeMap<Direction, String> {
    let why = |direction: Direction, health: Option<&StreamHealth>| match health? {
        StreamHealth::Stopped { finding } => {
            Some(words::stream_is_down(direction, &format!("[{}] {}", finding.code, finding.what)))
        }
        StreamHealth::Broken { error } => Some(words::stream_is_down(direction, error)),
        StreamHealth::CaughtUp | StreamHealth::Lagging => None,
    };
    let streams = state.phases.get(phase).map(|phase| &phase.streams);
    streams
        .into_iter()
        .flatten()
        .filter_map(|(direction, stream)| Some((*direction, why(*direction, stream.health.as_ref())?)))
        .collect()
}

/// A lever's own words count twice where it does not say how it stands: they are why.
fn examined(mut found: Examined) -> LeverSeen {
    let state = found.state.ok_or_else(|| {
        let silent = found
            .problems
            .iter()
            .position(|(_, finding)| ["SW-0516", "SW-0511"].contains(&finding.code.as_str()));
        silent.map_or_else(String::new, |at| found.problems.remove(at).1.what)
    });
    LeverSeen {
        state,
        problems: found.problems.into_iter().map(|(_, finding)| finding).collect(),
        warnings: found.warnings,
    }
}

async fn side(
    database: &Result<Database, String>,
    phase: &PhaseName,
    tables: &[TableName],
) -> Result<seen::SideSeen, String> {
    let database = database.as_ref().map_err(Clone::clone)?;
    let looking = seen::look(database, phase, tables);
    let looked = tokio::time::timeout(PATIENCE, looking).await.map_err(|_| words::no_answer(PATIENCE))?;
    looked.map_err(|cause| cause.to_string())
}
