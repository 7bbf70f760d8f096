//! `switchyard journal show | tail | export`.

use std::fs::OpenOptions;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};

use clap::Subcommand;
use futures::StreamExt as _;
use journal::{PhaseName, Position, Recorded};
use journal_store::{Store, StoreError};

use super::exit::{Exit, Failure};
use super::open::{self, PlanFile};
use super::output;
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

/// How many events are read at once.
const PAGE: u32 = 1000;

/// Runs it.
///
/// # Errors
/// The journal cannot be read.
pub async fn run(what: What) -> Result<Exit, Failure> {
    match what {
        What::Show(filter) => {
            let store = open::read(&filter.plan.plan)?.open().await?;
            let mut shown = Shown::new(&filter)?;
            each(store.as_ref(), |position, bytes| shown.event(position, bytes)).await?;
        }
        What::Tail(filter) => tail(&filter).await?,
        What::Export { plan, to } => export(&plan, &to).await?,
    }
    Ok(Exit::Done)
}

/// Calls for every stored event.
async fn each(
    store: &dyn Store,
    mut event: impl FnMut(Position, &[u8]) -> Result<(), Failure>,
) -> Result<Position, Failure> {
    let mut after = Position::default();
    loop {
        let page = store.stored(after, PAGE).await.map_err(|error| open::no_journal(&error))?;
        let Some((last, _)) = page.last() else { return Ok(after) };
        after = *last;
        for (position, bytes) in &page {
            event(*position, bytes)?;
        }
    }
}

/// Prints what a filter lets through.
struct Shown {
    phase: Option<PhaseName>,
    from: Position,
    json: bool,
    narrator: Narrator,
}

impl Shown {
    fn new(filter: &Filter) -> Result<Self, Failure> {
        let phase = filter.phase.as_deref().map(PhaseName::new).transpose();
        Ok(Self {
            phase: phase.map_err(|error| Failure::usage(error.to_string()))?,
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
    let mut shown = Shown::new(filter)?;
    if filter.from.is_none() {
        let head = store.state().await.map_err(|error| open::no_journal(&error))?.head;
        shown.from = head.next();
    }
    let read = each(store.as_ref(), |position, bytes| shown.event(position, bytes)).await?;
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
        each(store.as_ref(), |_, bytes| {
            let mut line = bytes.to_vec();
            line.push(b'\n');
            output::write(&line).map_err(failed)
        })
        .await?;
        return Ok(());
    }
    let mut file =
        OpenOptions::new().write(true).create_new(true).open(to).map(BufWriter::new).map_err(failed)?;
    let head = each(store.as_ref(), |_, bytes| {
        file.write_all(bytes).and_then(|()| file.write_all(b"\n")).map_err(failed)
    })
    .await?;
    let written = file.into_inner().map_err(|error| failed(error.into_error()))?;
    written.sync_all().map_err(failed)?;
    output::complain(&words::exported(to, head));
    Ok(())
}
