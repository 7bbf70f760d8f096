//! `switchyard discord register`.

use std::path::PathBuf;

use clap::Subcommand;
use serde_json::{Value, json};

use super::exit::{Exit, Failure};
use super::{open, output};
use crate::discord::{Change, Client, Failed, NAME, changes, definition};
use crate::words;
use journal::plan::Platform;

/// What to do with Discord.
#[derive(Debug, Subcommand)]
pub enum What {
    /// Register the command /migrate in the server, with a subcommand for everything that can be said
    Register(Register),
}

/// Arguments of `discord register`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct Register {
    /// The bot's file
    #[arg(long, value_name = "FILE", default_value = "bot.toml")]
    bot: PathBuf,
    /// Tell what would change, and write nothing
    #[arg(long)]
    dry_run: bool,
}

const AFTER_HELP: &str = "\
Writes the commands of the application in its server as this version of Switchyard knows them, in the place of those that are
there, and tells what that changed; said again it writes nothing. To be said after each update. Needs neither the journal nor
a server. Phases and requests are no part of it: they are offered while a person types.

Examples:
  switchyard discord register --bot bot.toml --dry-run
  switchyard discord register --bot bot.toml

Exit codes: 0 done, 1 refused, or the file is wrong, 2 wrong usage, 3 Discord did not answer.";

/// Runs it.
///
/// # Errors
/// The bot's file is wrong, or Discord did not take the command.
pub async fn run(what: What) -> Result<Exit, Failure> {
    let What::Register(Register { bot, dry_run }) = what;
    let config = open::bot(&bot)?;
    let Some(discord) = config.discord else { return Err(Failure::refused(words::no_discord(&bot))) };
    let client = Client::new(discord.api_url.as_deref(), discord.bot_token)
        .map_err(|error| Failure::refused(words::no_client(Platform::Discord, &error)))?;
    let place = format!("/applications/{}/guilds/{}/commands", discord.application_id, discord.guild);
    let there = client.get(&place).await.map_err(failure)?;
    let changes = told(&there);
    if !changes.is_empty() && !dry_run {
        client.put(&place, &json!([definition()])).await.map_err(failure)?;
    }
    output::say(&words::registered(discord.guild, &changes, dry_run));
    Ok(Exit::Done)
}

/// What writing changes of what is there.
fn told(there: &Value) -> Vec<Change> {
    let name = |command: &Value| command.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
    let all = there.as_array().map(Vec::as_slice).unwrap_or_default();
    let ours = all.iter().find(|command| name(command) == NAME);
    let mut told = changes(ours, &definition());
    told.extend(all.iter().map(name).filter(|name| name != NAME).map(Change::Foreign));
    told
}

fn failure(failed: Failed) -> Failure {
    let text = words::not_registered(&failed);
    match failed {
        Failed::Refused { .. } => Failure::refused(text),
        Failed::Limited(_) | Failed::Unknown(_) => Failure::unreachable(text),
    }
}
