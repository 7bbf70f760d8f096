//! The command line: one file a verb; only `output` prints.

mod bot_check;
mod chat;
mod discord;
mod doctor;
mod exit;
mod instance;
mod journal;
mod key;
mod logging;
mod open;
mod output;
mod people;
mod plan;
mod plan_init;
mod plan_live;
mod serve;
mod status;
mod token;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

pub use exit::{Exit, Failure};

/// Moves a live PostgreSQL database phase by phase, with a way back at every moment.
#[derive(Debug, Parser)]
#[command(name = "switchyard", version, propagate_version = true, after_help = AFTER_HELP)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

const AFTER_HELP: &str = "\
A first migration:
  switchyard token new                        a token for each person of the plan
  switchyard plan check switchyard.toml
  switchyard serve --plan switchyard.toml     keep it running; start it again after any interruption
  switchyard chat --as ana '/migrate region-a start' --wait
  switchyard chat --as ana '/migrate region-a cutover'
  switchyard chat --as ben '/migrate approve #41'
  switchyard status

Exit codes: 0 done, 1 refused or failed, 2 wrong usage, 3 the server or the journal cannot be reached.";

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run the executors of a plan, and answer `switchyard chat`, until SIGTERM or SIGINT
    Serve(serve::Args),
    /// Say a command to the server as a person of the plan
    Chat(chat::Args),
    /// Show where the migration is, from the journal, without the server
    Status(status::Args),
    /// Ask both databases and the lever how they are, without the journal
    Doctor(doctor::Args),
    /// Read the journal, and hold it against what left it
    #[command(subcommand)]
    Journal(journal::What),
    /// Check, show or adopt a plan
    #[command(subcommand)]
    Plan(plan::What),
    /// What the platforms grant the bot
    #[command(subcommand)]
    Bot(bot_check::What),
    /// Discord's own: its command
    #[command(subcommand)]
    Discord(discord::What),
    /// Who can be known where, and who may approve what
    #[command(subcommand)]
    People(people::What),
    /// Tokens that people show at the terminal
    #[command(subcommand)]
    Token(token::What),
}

/// Runs the program.
#[must_use]
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let printed = error.print();
            return if error.use_stderr() || printed.is_err() {
                Exit::Usage.into()
            } else {
                Exit::Done.into()
            };
        }
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            output::complain(&format!("switchyard: no runtime: {error}"));
            return Exit::Refused.into();
        }
    };
    let ended = runtime.block_on(async {
        match cli.verb {
            Verb::Serve(args) => serve::run(args).await,
            Verb::Chat(args) => chat::run(args).await,
            Verb::Status(args) => status::run(args).await,
            Verb::Doctor(args) => doctor::run(args).await,
            Verb::Journal(what) => journal::run(what).await,
            Verb::Plan(what) => plan::run(what).await,
            Verb::Bot(what) => bot_check::run(what).await,
            Verb::Discord(what) => discord::run(what).await,
            Verb::People(what) => people::run(what),
            Verb::Token(what) => token::run(what),
        }
    });
    // A prompt may still block a thread of the runtime; nothing of it is worth waiting for.
    runtime.shutdown_background();
    match ended {
        Ok(exit) => exit.into(),
        Err(failure) => {
            output::complain(&failure.text);
            failure.exit.into()
        }
    }
}
