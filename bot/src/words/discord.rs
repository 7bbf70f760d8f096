//! Sentences for Discord alone: what stands in its command's form, and what registering the command changed.

use std::path::Path;

use journal::Request;

use crate::discord::{Change, Failed};
use crate::language::Opt;

/// The command could not be registered.
pub const NOT_REGISTERED: &str = "SW-0683";

/// What the command is for.
#[must_use]
pub const fn migrate_command() -> &'static str {
    "Ask for, approve and watch the phases of the migration"
}

/// The field of the phase.
#[must_use]
pub const fn option_phase() -> &'static str {
    "The phase, as the plan names it"
}

/// The field of the request.
#[must_use]
pub const fn option_request() -> &'static str {
    "The request's number"
}

/// The field of the command that help is wanted for.
#[must_use]
pub const fn option_topic() -> &'static str {
    "The command that you want to know more of"
}

/// The field of an option.
#[must_use]
pub const fn option(option: Opt) -> &'static str {
    match option {
        Opt::Reason => "Why; everybody reads it, and the journal keeps it",
        Opt::Plan => "The hash of the plan that you saw: with another one nothing happens",
        Opt::TargetLost => "The target cannot be reached any more: open the source at the loss that is shown",
        Opt::SourceLost => "The source cannot be reached any more: nothing is asked of it",
        Opt::Confirm => "The loss, as it was shown",
        Opt::At => "Not before, as in 2026-12-01T22:00+01:00",
        Opt::Within => "No later than this after that, as in 30m",
    }
}

/// A request among the choices of its field.
#[must_use]
pub fn choice(request: &Request) -> String {
    format!(
        "#{} {} of {}, asked for by {}",
        request.position, request.operation, request.phase, request.requester
    )
}

/// One thing that a registration changes.
fn change(change: &Change) -> String {
    match change {
        Change::New => "  new      /migrate".to_owned(),
        Change::Added(name) => format!("  added    /migrate {name}"),
        Change::Changed(name) => format!("  changed  /migrate {name}"),
        Change::Removed(name) => format!("  removed  /migrate {name}"),
        Change::Whole => "  changed  /migrate: its description or the order of its subcommands".to_owned(),
        Change::Foreign(name) => format!("  removed  /{name}, which is no command of Switchyard"),
    }
}

/// What registering changed, or would change.
#[must_use]
pub fn registered(guild: u64, changes: &[Change], is_dry: bool) -> String {
    if changes.is_empty() {
        return format!("/migrate is registered in the server {guild} as it must be. Nothing was written.");
    }
    let lines: Vec<String> = changes.iter().map(change).collect();
    let lines = lines.join("\n");
    if is_dry {
        format!(
            "To be written in the server {guild}:\n{lines}\nNothing was written: say it without --dry-run."
        )
    } else {
        format!(
            "Written in the server {guild}:\n{lines}\nIt is there at once; Discord's window may have to be opened anew."
        )
    }
}

/// The bot's file has no Discord.
#[must_use]
pub fn no_discord(file: &Path) -> String {
    format!(
        "{} has no [discord]: there is nowhere to register the command. docs/discord.md leads through it. ({NOT_REGISTERED})",
        file.display()
    )
}

/// Discord did not register the command.
#[must_use]
pub fn not_registered(failed: &Failed) -> String {
    let why = match failed {
        Failed::Refused { status: 401, .. } => {
            "it does not take the bot's token: see to `bot_token`".to_owned()
        }
        Failed::Refused { code: 50_001, .. } => {
            "the application is not in the server, or was invited without the scope applications.commands"
                .to_owned()
        }
        Failed::Refused { status, code, message } => format!("{status} {code} {message}"),
        Failed::Limited(wait) => format!("it takes no more for {} s", wait.as_secs().max(1)),
        Failed::Unknown(why) => why.clone(),
    };
    format!(
        "Discord did not register the command: {why}. `switchyard bot check` tells what is missing. ({NOT_REGISTERED})"
    )
}
