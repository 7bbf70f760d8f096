//! `switchyard serve`.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::ValueEnum;
use executors::Settings;
use executors::postgres::database::Database;
use futures::StreamExt as _;
use journal::{Actor, Command, CommandBody, CommandId, Holder, Plan, Side};
use journal_store::{ExecuteError, Store, StoreError};
use runtime::retry::Backoff;
use runtime::{Scrubber, SystemClock, Tasks};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::exit::{Exit, Failure};
use super::instance::Mine;
use super::open::{self, Place, PlanFile, Read};
use super::{logging, output};
use crate::conversation::Conversation;
use crate::local::{Server, SocketError};
use crate::preflight::{Preflight, database};
use crate::proof::{Desk, Proof, Publisher};
use crate::service::{Parts, Service};
use crate::words;

/// How log lines look.
#[derive(Debug, Clone, Copy, Default, ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Arguments of `serve`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct Args {
    #[command(flatten)]
    plan: PlanFile,
    /// Tells this process from others that serve the same journal; each instance runs once
    #[arg(long, value_name = "NAME", default_value = "main")]
    instance: String,
    /// The socket to listen on, instead of the plan's
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// The directory of files for people, as the rest of a lost target's stream: beside the journal's file or the plan, if
    /// not given
    #[arg(long, value_name = "DIR")]
    people_files: Option<PathBuf>,
    /// The bot's file: GitHub, Slack, Discord. Without it only the terminal is heard
    #[arg(long, value_name = "FILE")]
    bot: Option<PathBuf>,
    /// How log lines look; SWITCHYARD_LOG chooses which are written (info, debug, executors=debug,…)
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    log_format: LogFormat,
}

const AFTER_HELP: &str = "\
The plan's text is adopted if the journal is empty; a file that is not the adopted plan is refused (see
`switchyard plan adopt`). One line on standard output says when it is ready; logs go to standard error.
After any interruption, start it again: it goes on exactly where it was.

Examples:
  switchyard serve --plan switchyard.toml
  switchyard serve --plan switchyard.toml --bot bot.toml
  switchyard serve --plan switchyard.toml --instance spare --socket /run/switchyard/spare.sock

Exit codes: 0 stopped by a signal, 1 refused or failed, 2 wrong usage, 3 the journal cannot be reached.";

/// Runs it.
///
/// # Errors
/// The plan is wrong or not the adopted one, the instance runs already, the journal cannot be opened.
pub async fn run(args: Args) -> Result<Exit, Failure> {
    let scrubber = Scrubber::default();
    logging::start(args.log_format, &scrubber);
    let read = open::read(&args.plan.plan)?;
    let holder = holder(&args.instance)?;
    let place = read.place()?;
    if let Place::Database(url) = &place {
        scrubber.learn(url);
    }
    // Held until the process ends, however it ends.
    let mut mine = Mine::take(&place, &holder, &args.instance, &read.plan.migration).await?;
    let store = read.open_or_make().await?;
    let plan = adopted(&read, store.as_ref()).await?;
    let side = |side| database(side, (&plan, &read.folder()), &scrubber).map_err(Failure::refused);
    let (source, target) = (side(Side::Source)?, side(Side::Target)?);
    let socket = args.socket.unwrap_or_else(|| read.socket());
    let server = Server::bind(&socket).await.map_err(|error| {
        Failure::refused(match error {
            SocketError::Taken(path) => words::socket_taken(&path),
            error => words::socket_failed(&socket, &error),
        })
    })?;
    let signal = Signals::new()?;
    let publishing = publishing(&read, &plan, &store, &scrubber)?;
    let proof = publishing.as_ref().map(|(_, proof)| proof.clone());
    let preflight = Arc::new(Preflight::new(read.folder(), scrubber.clone()));
    let conversation = Conversation::new(Arc::clone(&store)).proven_by(proof).looking(preflight);
    let bot = match &args.bot {
        Some(file) => {
            let parts = Parts {
                store: Arc::clone(&store),
                mailroom: read.open_mailroom().await?,
                holder: holder.clone(),
                clock: Arc::new(SystemClock),
                conversation: conversation.clone(),
                scrubber: scrubber.clone(),
            };
            Some(bot(file, parts).await?)
        }
        None => None,
    };
    output::say(&words::serving(&plan, server.path(), bot.as_ref().map(Service::address)));
    tracing::info!(migration = %plan.migration, plan = %plan.hash().short(), %holder, "serving");

    let settings = Settings {
        store: Arc::clone(&store),
        plan,
        source,
        target,
        holder,
        clock: Arc::new(SystemClock),
        tasks: Tasks::default(),
        scrubber: scrubber.clone(),
        people_files: args.people_files.unwrap_or_else(|| beside(&place, &args.plan.plan)),
        folder: read.folder(),
    };
    let publisher = publishing.map(|(publisher, _)| tokio::spawn(publisher.run()));
    let server = tokio::spawn(server.run(store, conversation));
    let ended = execute(settings, signal, &mut mine).await;
    if let Some(bot) = bot {
        bot.stop().await;
    }
    if let Some(publisher) = publisher {
        publisher.abort();
        let _aborted = publisher.await.is_err();
    }
    server.abort();
    // Its file goes with it.
    let _aborted = server.await.is_err();
    match ended {
        Ok(()) => {
            tracing::info!("stopped");
            Ok(Exit::Done)
        }
        Err(error) => Err(Failure::refused(scrubber.scrub(&words::executors_failed(&error)))),
    }
}

/// Where files for people go unless it is said: beside the journal, or beside the plan where the journal is in a database.
fn beside(place: &Place, plan: &Path) -> PathBuf {
    let file = match place {
        Place::File(file) => file.as_path(),
        Place::Database(_) => plan,
    };
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    folder.unwrap_or_else(|| Path::new(".")).to_owned()
}

/// Starts what hears GitHub, Slack and Discord.
async fn bot(file: &Path, parts: Parts) -> Result<Service, Failure> {
    let config = open::bot(file)?;
    let scrubber = parts.scrubber.clone();
    Service::start(config, parts).await.map_err(|why| Failure::refused(scrubber.scrub(&why)))
}

/// What lets log checkpoints leave the journal, if the plan names a key to sign them with.
fn publishing(
    read: &Read,
    plan: &Plan,
    store: &Arc<dyn Store>,
    scrubber: &Scrubber,
) -> Result<Option<(Publisher, Proof)>, Failure> {
    if plan.journal.signing_key.is_none() {
        tracing::warn!("the plan names no signing key: this journal cannot prove itself");
        return Ok(None);
    }
    let key = read.signing_key(scrubber)?;
    let witness = read.witness().ok_or_else(|| Failure::refused(words::no_witness()))?;
    let stands_in = format!("file:{}", witness.path().display());
    Ok(Some(Publisher::new(Arc::clone(store), Arc::new(SystemClock), Desk::new(key, witness), stands_in)))
}

/// Runs the executors until a signal comes; under each newly adopted plan anew.
async fn execute(mut settings: Settings, mut signal: Signals, mine: &mut Mine) -> anyhow::Result<()> {
    loop {
        let tasks = settings.tasks.clone();
        let mut running = tokio::spawn(executors::run(settings.clone()));
        let next = tokio::select! {
            ended = &mut running => return ended?,
            name = signal.wait() => {
                tracing::info!(signal = name, "stopping");
                None
            }
            plan = newer_plan(&settings) => Some(plan?),
            () = mine.lost() => {
                // Not one effect more: whoever has the name now may take this one's leases at any time.
                running.abort();
                anyhow::bail!("another process runs as this instance by now");
            }
        };
        tasks.stop().await;
        running.await??;
        match next {
            None => return Ok(()),
            Some(plan) => {
                tracing::info!(plan = %plan.hash().short(), "another plan was adopted: going on under it");
                if plan.journal.signing_key != settings.plan.journal.signing_key {
                    tracing::error!(
                        "the adopted plan names another signing key: start serve again to sign with it"
                    );
                }
                settings.source = rebuilt(&settings, &settings.source, &plan);
                settings.target = rebuilt(&settings, &settings.target, &plan);
                settings.plan = plan;
                settings.tasks = Tasks::default();
            }
        }
    }
}

/// A side as the adopted plan reaches it. If the secret is not there, as it was reached: another phase may be in its window,
/// and a connection that leads to another database is refused in any case.
fn rebuilt(settings: &Settings, current: &Database, plan: &Plan) -> Database {
    let side = current.side();
    database(side, (plan, &settings.folder), &settings.scrubber).unwrap_or_else(|why| {
        tracing::error!(
            "SW-0552 the {side} cannot be reached as the adopted plan says: {why}. It is reached as before; start serve again \
             once the secret is there"
        );
        current.clone()
    })
}

/// Waits for a plan of another meaning than this one. A journal that is away is waited for; what it is unfit for is an error.
async fn newer_plan(settings: &Settings) -> anyhow::Result<Arc<Plan>> {
    let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(2));
    loop {
        match plan_after(settings.store.as_ref(), &settings.plan).await {
            Err(StoreError::Unavailable(why)) => {
                tracing::warn!(%why, "the journal is away, so no newer plan is seen");
                settings.clock.sleep(backoff.wait()).await;
            }
            found => return Ok(found?),
        }
    }
}

async fn plan_after(store: &dyn Store, current: &Plan) -> Result<Arc<Plan>, StoreError> {
    let mut after = store.state().await?.head;
    let mut events = store.tail(after);
    loop {
        let state = store.state().await?;
        if let Some((plan, hash)) = &state.plan
            && *hash != current.hash()
        {
            return Ok(Arc::clone(plan));
        }
        match events.next().await {
            Some(event) => after = event?.envelope.position,
            None => events = store.tail(after),
        }
    }
}

/// The adopted plan: this file's, which is adopted if the journal is empty.
async fn adopted(read: &Read, store: &dyn Store) -> Result<Arc<Plan>, Failure> {
    let failed = |error: StoreError| open::no_journal(&error);
    if store.state().await.map_err(failed)?.plan.is_none() {
        let id = CommandId::new(format!("serve-adopt:{}", uuid::Uuid::now_v7()));
        let id = id.map_err(|error| Failure::refused(error.to_string()))?;
        let command = Command::new(
            Actor::Operator,
            CommandBody::AdoptPlan { text: read.text.clone(), authors: Vec::new() },
        );
        match store.execute(id, None, command).await {
            // Another instance may have adopted one meanwhile; what it is, is looked at below.
            Ok(_) | Err(ExecuteError::Refused(_)) => {}
            Err(ExecuteError::Store(error)) => return Err(failed(error)),
            Err(error) => return Err(Failure::refused(error.to_string())),
        }
    }
    let state = store.state().await.map_err(failed)?;
    let given = read.plan.hash();
    match &state.plan {
        Some((plan, hash)) if *hash == given => Ok(Arc::clone(plan)),
        Some((_, hash)) => Err(Failure::refused(words::not_the_adopted(&read.file, &given, hash))),
        None => Err(Failure::refused(words::no_plan_yet())),
    }
}

/// This process, as leases and the journal name it.
fn holder(instance: &str) -> Result<Holder, Failure> {
    let is_name =
        |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'));
    if instance.is_empty() || instance.len() > 40 || !is_name(instance) {
        return Err(Failure::usage(words::bad_instance(instance)));
    }
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let host: String = host.chars().filter(|c| is_name(&c.to_string())).take(100).collect();
    Holder::new(format!("{host}/{instance}")).map_err(|error| Failure::usage(error.to_string()))
}

/// The signals that end it.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> Result<Self, Failure> {
        let listen = |kind| {
            signal(kind).map_err(|error| Failure::refused(format!("Signals cannot be awaited: {error}.")))
        };
        Ok(Self { terminate: listen(SignalKind::terminate())?, interrupt: listen(SignalKind::interrupt())? })
    }

    async fn wait(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
