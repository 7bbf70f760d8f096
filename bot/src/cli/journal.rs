//! `switchyard journal show | tail | export | checkpoint | check`.

use std::fs::OpenOptions;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};

use clap::Subcommand;
use futures::StreamExt as _;
use journal::note::VerifierKey;
use journal::{PhaseName, Position, Recorded, State};
use journal_store::{StoreError, each_stored};
use runtime::Scrubber;

use super::exit::{Exit, Failure};
use super::open::{self, PlanFile};
use super::{key, output};
use crate::proof::{Desk, DeskError, Examiner, WitnessFile};
use crate::words::{self, Narrator};

/// What to do with the journal.
#[derive(Debug, Subcommand)]
pub enum What {
    /// Print the events so far
    Show(Filter),
    /// Print events as they are appended, until interrupted
    Tail(Filter),
    /// Write the stored bytes of every event, one a line, as they were hashed
    Export {
        /// Which migration's.
        #[command(flatten)]
        plan: PlanFile,
        /// The file to write; it must not exist. `-` is standard output
        #[arg(value_name = "FILE")]
        to: PathBuf,
    },
    /// Print the newest log checkpoint; signs one, as `serve` does, if there are newer events
    Checkpoint {
        /// Which migration's.
        #[command(flatten)]
        plan: PlanFile,
    },
    /// Hold the stored events against themselves and against every log checkpoint of a witness
    #[command(after_help = AFTER_CHECK)]
    Check(Check),
    /// The key that signs log checkpoints
    #[command(subcommand)]
    Key(key::What),
}

/// What is held against the journal.
#[derive(Debug, clap::Args)]
pub struct Check {
    #[command(flatten)]
    plan: PlanFile,
    /// A file of log checkpoints, instead of the plan's
    #[arg(long, value_name = "FILE")]
    witness: Option<PathBuf>,
    /// A verifier key that the log checkpoints may be signed by, instead of the plan's; may be said several times
    #[arg(long, value_name = "VKEY")]
    key: Vec<String>,
}

const AFTER_CHECK: &str = "\
Reads the journal without the server, and changes nothing. A witness that the journal's administrator could have written
proves little: give one that was kept elsewhere, with the verifier key as it was handed out.

Examples:
  switchyard journal check
  switchyard journal check --witness kept-elsewhere.txt --key shop.switchyard+5c2b6d1a+AZ…

Exit codes: 0 all agrees, 1 one line a finding, 2 wrong usage, 3 the journal cannot be reached.";

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
pub async fn run(what: What) -> Result<Exit, Failure> {
    match what {
        What::Show(filter) => {
            let store = open::read(&filter.plan.plan)?.open().await?;
            let state = store.state().await.map_err(|error| open::no_journal(&error))?;
            let mut shown = Shown::new(&filter, &state)?;
            each_stored(store.as_ref(), Position::default(), |position, bytes| shown.event(position, bytes))
                .await?;
        }
        What::Tail(filter) => tail(&filter).await?,
        What::Export { plan, to } => export(&plan, &to).await?,
        What::Checkpoint { plan } => checkpoint(&plan).await?,
        What::Check(asked) => return check(&asked).await,
        What::Key(what) => return key::run(what),
    }
    Ok(Exit::Done)
}

/// Signs what is there as `serve` would, under the same lock and the same rules, and prints the note.
async fn checkpoint(plan: &PlanFile) -> Result<(), Failure> {
    let read = open::read(&plan.plan)?;
    let key = read.signing_key(&Scrubber::default())?;
    let witness = read.witness().ok_or_else(|| Failure::refused(words::no_witness()))?;
    let store = read.open().await?;
    let refused = |error: DeskError| Failure::refused(words::publisher_refuses(&error));
    let mut desk = Desk::new(key, witness);
    each_stored(store.as_ref(), Position::default(), |position, bytes| {
        desk.take(position, bytes).map_err(refused)
    })
    .await?;
    let state = store.state().await.map_err(|error| open::no_journal(&error))?;
    if let Some(left) = &state.left {
        desk.compare(left.size.get(), left.root.hash()).map_err(refused)?;
    }
    let published = desk.publish().map_err(refused)?;
    output::write(published.note.to_string().as_bytes())
        .map_err(|error| Failure::refused(words::export_failed(Path::new("-"), &error)))
}

async fn check(asked: &Check) -> Result<Exit, Failure> {
    let read = open::read(&asked.plan.plan)?;
    let witness = asked.witness.clone().map(WitnessFile::new).or_else(|| read.witness());
    let notes = match &witness {
        Some(file) => file.read().map_err(|error| Failure::refused(words::witness_failed(&error)))?,
        None => Vec::new(),
    };
    if let (Some(file), true) = (&asked.witness, notes.is_empty()) {
        return Err(Failure::refused(words::nothing_witnessed(file)));
    }
    let keys = if !asked.key.is_empty() || notes.is_empty() {
        // Read here and not with the command line, whose errors repeat what was given: it may be the other half.
        let keys: Result<Vec<VerifierKey>, _> = asked.key.iter().map(|text| text.parse()).collect();
        keys.map_err(|error| Failure::usage(words::bad_verifier_key(&error)))?
    } else {
        vec![read.signing_key(&Scrubber::default())?.verifier().clone()]
    };
    let store = read.open_unread().await?;
    let mut examiner = Examiner::new(read.plan.migration.clone());
    each_stored(store.as_ref(), Position::default(), |position, bytes| {
        examiner.event(position, bytes);
        Ok::<_, Failure>(())
    })
    .await?;
    for position in store.altered().await? {
        examiner.altered(position);
    }
    if let (Some(file), None) = (&witness, &asked.witness) {
        examiner.expect(&notes, file);
    }
    let checked = examiner.finish(&notes, &keys);
    output::say(&words::journal_checked(&checked));
    Ok(if checked.findings.is_empty() { Exit::Done } else { Exit::Refused })
}

/// Prints what a filter lets through.
struct Shown {
    phase: Option<PhaseName>,
    from: Position,
    json: bool,
    narrator: Narrator,
}

impl Shown {
    fn new(filter: &Filter, state: &State) -> Result<Self, Failure> {
        let phase = filter.phase.as_deref().map(PhaseName::new).transpose();
        let phase = phase.map_err(|error| Failure::usage(error.to_string()))?;
        // A phase that a later plan dropped has its events still.
        if let Some(phase) = phase.as_ref().filter(|phase| !state.phases.contains_key(*phase)) {
            let known: Vec<PhaseName> = state.phases.keys().cloned().collect();
            return Err(Failure::usage(words::no_phase_in_the_journal(phase, &known)));
        }
        Ok(Self {
            phase,
            from: Position::new(filter.from.unwrap_or(1)),
            json: filter.json,
            narrator: Narrator::default(),
        })
    }

    fn event(&mut self, position: Position, bytes: &[u8]) -> Result<(), Failure> {
        let unreadable = |source| open::no_journal(&StoreError::Unreadable { position, source });
        let event = Recorded::from_bytes(bytes).map_err(unreadable)?;
        // Told even if it is not shown: later events name its effect by id alone.
        let line = self.narrator.line(&event);
        let is_asked = position >= self.from
            && self.phase.as_ref().is_none_or(|phase| event.envelope.phase.as_ref() == Some(phase));
        if is_asked && self.json {
            output::say(&String::from_utf8_lossy(bytes));
        } else if is_asked {
            output::say(&line);
        }
        Ok(())
    }
}

async fn tail(filter: &Filter) -> Result<(), Failure> {
    let store = open::read(&filter.plan.plan)?.open().await?;
    let state = store.state().await.map_err(|error| open::no_journal(&error))?;
    let mut shown = Shown::new(filter, &state)?;
    if filter.from.is_none() {
        shown.from = state.head.next();
    }
    let read =
        each_stored(store.as_ref(), Position::default(), |position, bytes| shown.event(position, bytes))
            .await?;
    let mut events = store.tail(read);
    loop {
        tokio::select! {
            event = events.next() => match event {
                Some(Ok(event)) => {
                    let bytes = event.to_bytes().map_err(|error| Failure::refused(error.to_string()))?;
                    shown.event(event.envelope.position, &bytes)?;
                }
                Some(Err(error)) => return Err(open::no_journal(&error)),
                None => return Ok(()),
            },
            _interrupted = tokio::signal::ctrl_c() => return Ok(()),
        }
    }
}

async fn export(plan: &PlanFile, to: &Path) -> Result<(), Failure> {
    let store = open::read(&plan.plan)?.open().await?;
    let failed = |error: std::io::Error| Failure::refused(words::export_failed(to, &error));
    if to == Path::new("-") {
        each_stored(store.as_ref(), Position::default(), |_, bytes| {
            let mut line = bytes.to_vec();
            line.push(b'\n');
            output::write(&line).map_err(failed)
        })
        .await?;
        return Ok(());
    }
    let mut file =
        OpenOptions::new().write(true).create_new(true).open(to).map(BufWriter::new).map_err(failed)?;
    let head = each_stored(store.as_ref(), Position::default(), |_, bytes| {
        file.write_all(bytes).and_then(|()| file.write_all(b"\n")).map_err(failed)
    })
    .await?;
    let written = file.into_inner().map_err(|error| failed(error.into_error()))?;
    written.sync_all().map_err(failed)?;
    output::complain(&words::exported(to, head));
    Ok(())
}
