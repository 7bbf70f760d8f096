//! Sentences for people on GitHub, Slack and Discord, and about the bot's own configuration.

use std::path::Path;

use journal::plan::Platform;
use journal::{PersonId, Request};

use super::named;
use crate::arrival::Word;
use crate::board::Card;
use crate::config::Problem;
use crate::slack::Standing;

/// An account of nobody in the plan.
pub const UNMAPPED: &str = "SW-0670";
/// An edited text.
pub const EDITED: &str = "SW-0671";
/// A button of another plan.
pub const OTHER_BUTTON: &str = "SW-0672";
/// Given up after many tries.
pub const GIVEN_UP: &str = "SW-0673";
/// Said where the bot does not listen.
pub const ELSEWHERE: &str = "SW-0674";
/// A window could not be opened.
pub const NO_WINDOW: &str = "SW-0675";
/// An account that counts for nobody now.
pub const NOT_VOUCHED: &str = "SW-0676";
/// The bot's file is wrong.
pub const BAD_FILE: &str = "SW-0680";
/// The endpoints cannot be served.
pub const NO_LISTENER: &str = "SW-0681";
/// A platform's client cannot be made.
pub const NO_CLIENT: &str = "SW-0682";

pub(super) const fn place(platform: Platform) -> &'static str {
    match platform {
        Platform::Github => "GitHub",
        Platform::Slack => "Slack",
        Platform::Discord => "Discord",
    }
}

/// The reply to an account that the plan does not name.
#[must_use]
pub fn unmapped(platform: Platform, name: &str, account: &str) -> String {
    let line = match platform {
        Platform::Github => format!("github = {account}"),
        Platform::Slack => format!("slack = \"{account}\""),
        Platform::Discord => format!("discord = \"{account}\""),
    };
    format!(
        "The plan names no person with this {} account ({name}), so nothing was done. If it is yours, ask for the line \
         `{line}` in your [[person]] section of the plan; when that plan is adopted, say it again. ({UNMAPPED})",
        place(platform)
    )
}

/// The reply to an edited text.
#[must_use]
pub fn edits_do_not_count() -> String {
    format!(
        "A text with a command was edited. Edits do nothing and take nothing back: write a new one. ({EDITED})"
    )
}

/// The reply to a button of a request that is bound to another plan, or that is not there.
#[must_use]
pub fn other_button(request: u64) -> String {
    format!(
        "This button is not for request #{request} as it is now, so nothing was done. Look at it with `/migrate status` \
         and say `/migrate approve #{request}` if it is what you mean. ({OTHER_BUTTON})"
    )
}

/// Why somebody denied who pressed a button, which takes no words.
#[must_use]
pub const fn denied_by_button() -> &'static str {
    "denied with the button"
}

/// The reply when the journal failed again and again.
#[must_use]
pub fn given_up() -> String {
    format!(
        "The journal could not be reached for too long, and it is not known whether this was done. `/migrate status` \
         tells. Say it again if it was not. ({GIVEN_UP})"
    )
}

/// The reply where the bot does not listen.
#[must_use]
pub fn not_heard_here() -> String {
    format!(
        "Switchyard does not listen here, so nothing was done. Say it where the others read it: in the channel that its \
         configuration names. ({ELSEWHERE})"
    )
}

/// The reply when an approval went with its comment.
#[must_use]
pub fn approval_deleted(person: &PersonId, request: &Request) -> String {
    format!(
        "The comment in which {person} approved request {} was deleted, so that approval does not count any more. To \
         approve again: /migrate approve #{}",
        named(request),
        request.position
    )
}

/// Everything that is wrong in the bot's file.
#[must_use]
pub fn bad_bot_file(file: &Path, problems: &[Problem]) -> String {
    let lines: Vec<String> = problems
        .iter()
        .map(|problem| format!("{}:{}: {}", file.display(), problem.line, problem.what))
        .collect();
    format!(
        "{}\nNothing was started. config/bot.example.toml explains every key. ({BAD_FILE})",
        lines.join("\n")
    )
}

/// The endpoints cannot be served.
#[must_use]
pub fn no_listener(listen: &str, error: &dyn std::error::Error) -> String {
    format!(
        "Nothing can listen on {listen}: {error}. Give another address under [http] in the bot's file. ({NO_LISTENER})"
    )
}

/// A platform's client cannot be made.
#[must_use]
pub fn no_client(platform: Platform, error: &dyn std::error::Error) -> String {
    format!(
        "{} cannot be spoken to: {error}. See to its section of the bot's file. ({NO_CLIENT})",
        place(platform)
    )
}

/// The bot's file cannot be read.
#[must_use]
pub fn no_bot_file(file: &Path, error: &std::io::Error) -> String {
    format!(
        "The bot's file {} cannot be read: {error}. config/bot.example.toml is one to begin with. ({BAD_FILE})",
        file.display()
    )
}

/// The button that approves.
#[must_use]
pub fn approve_button(request: u64) -> String {
    format!("Approve #{request}")
}

/// The button that denies.
#[must_use]
pub fn deny_button(request: u64) -> String {
    format!("Deny #{request}")
}

/// A window's button that gives the word.
#[must_use]
pub const fn word_button(word: Word) -> &'static str {
    match word {
        Word::Approve => "Approve",
        Word::Deny => "Deny",
    }
}

/// A window's button that does nothing.
#[must_use]
pub const fn cancel() -> &'static str {
    "Cancel"
}

/// Over a window's field for the reason.
#[must_use]
pub const fn reason_label(word: Word) -> &'static str {
    match word {
        Word::Approve => "Why, if there is something to say",
        Word::Deny => "Why",
    }
}

/// In a window whose denial has no reason.
#[must_use]
pub const fn denial_needs_reason() -> &'static str {
    "A denial needs its reason: whoever asked reads it."
}

/// What a window shows: the operation and how its phase is.
pub(crate) fn asked(card: &Card, status: &str) -> String {
    format!("{}\n\nThe whole plan's hash: {}\n\n{status}", card.text, card.plan)
}

/// A press whose window could not be opened.
#[must_use]
pub fn no_window(word: Word, request: u64) -> String {
    let line = match word {
        Word::Approve => format!("/migrate approve #{request}"),
        Word::Deny => format!("/migrate deny #{request} --reason \"…\""),
    };
    format!(
        "The window for request #{request} could not be opened, so nothing was done. Press again, or say `{line}`. \
         ({NO_WINDOW})"
    )
}

/// The reply to an account that the platform itself does not stand for.
#[must_use]
pub fn not_vouched(standing: Standing) -> String {
    let why = match standing {
        Standing::Deleted => "this account was deactivated",
        Standing::Bot => "this account is a program's",
        Standing::Guest => "guests of the workspace have no word",
        Standing::Unknown => "Slack knows no such account",
        Standing::Unseen => {
            "Slack does not let the app see accounts: whoever set it up gives it the scope users:read"
        }
    };
    format!("Nothing was done: {why}. ({NOT_VOUCHED})")
}

/// What a step left as evidence.
pub(crate) fn evidence(step: &str, lines: &[(&str, &str)]) -> String {
    let lines: Vec<String> = lines.iter().map(|(done, seen)| format!("{done}: {seen}")).collect();
    format!("Evidence of {step}:\n{}", lines.join("\n"))
}

/// What the thread is called that holds an operation's evidence: short enough for every platform.
pub(crate) fn evidence_title(card: &crate::board::Card) -> String {
    let title = format!("#{} {} of {}: evidence", card.request, card.operation, card.phase);
    title.chars().take(100).collect()
}

/// The end of a text that a platform takes no more of.
#[must_use]
pub const fn cut() -> &'static str {
    "\n… cut here: `switchyard chat` shows all of it."
}
