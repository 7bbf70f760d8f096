//! Answers that change nothing, and the sentences of the terminal's server and its client.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;

use journal::{
    Finding, Operation, Outcome, PersonId, PhaseName, Plan, PlanHash, Request, RequestStatus, Role, Step,
};
use journal_store::StoreError;

use super::{list, named, standing, successor, voided};
use crate::language::{MOST_COMMANDS, Verb};

/// Nothing in a text was a command.
pub const NOTHING_SAID_CODE: &str = "SW-0613";
/// What was sent cannot be read.
pub const MALFORMED: &str = "SW-0620";
/// Unknown person or wrong token.
pub const NOT_KNOWN: &str = "SW-0621";
/// A command id used before for something else.
pub const ID_REUSED: &str = "SW-0622";
/// The journal did not do its part.
pub const STORE_FAILED: &str = "SW-0623";

/// The reply to a text without a command.
pub const NOTHING_SAID: &str =
    "Nothing was said. `/migrate help` lists everything that can be said. (SW-0613)";

/// The reply to somebody who is not known; the same for an unknown person and a wrong token.
#[must_use]
pub fn not_known() -> String {
    format!(
        "This person and token are not known here, so nothing was done. The plan must name the person, with \
         local_token_sha256 as `switchyard token new` prints it; SWITCHYARD_TOKEN must hold the token. ({NOT_KNOWN})"
    )
}

/// The reply to a request that is no request.
#[must_use]
pub fn malformed(why: &str) -> String {
    format!("What was sent cannot be read: {why}. Use `switchyard chat` of this version. ({MALFORMED})")
}

/// The reply when a command id was used for something else.
#[must_use]
pub fn id_reused(error: &str) -> String {
    format!("Nothing was done: {error}. Say it again, which makes a new id. ({ID_REUSED})")
}

/// The reply when the journal failed.
#[must_use]
pub fn store_failed(error: &StoreError) -> String {
    format!(
        "It is not known whether it was done: {error}. `switchyard status` tells; see to the journal's database and say \
         it again. ({STORE_FAILED})"
    )
}

/// A text that stopped at one of its commands.
#[must_use]
pub fn stopped_at(line: usize, why: &str, after: usize) -> String {
    let rest = match after {
        0 => String::new(),
        1 => "\nThe command after it was not done.".to_owned(),
        many if many >= MOST_COMMANDS => "\nThe commands after it were not done.".to_owned(),
        many => format!("\nThe {many} commands after it were not done."),
    };
    format!("Line {line}: {why}{rest}")
}

/// The reply to `whoami`.
#[must_use]
pub fn whoami(person: &PersonId, roles: &BTreeSet<Role>, plan: &Plan) -> String {
    let words: Vec<&str> = roles.iter().map(|role| crate::conversation::role_word(*role)).collect();
    let has = if words.is_empty() { "no role".to_owned() } else { words.join(", ") };
    let approves: Vec<&str> = Operation::ALL
        .into_iter()
        .filter(|operation| {
            let policy = plan.policy(*operation);
            policy.required > 0 && roles.contains(&policy.role)
        })
        .map(Operation::word)
        .collect();
    let mut text = format!("You are {person} ({has}).");
    if roles.contains(&Role::Operator) {
        let asks = Verb::ALL.iter().filter_map(|verb| verb.operation()).map(Operation::word);
        text.push_str(&format!(
            "\nYou may ask for {}, and say abort, pause, resume, retry, hold, release.",
            list(asks)
        ));
    }
    if roles.contains(&plan.break_glass.role) {
        text.push_str("\nYou may break the glass in an emergency: /migrate break-glass #N --reason \"…\"");
    }
    if !approves.is_empty() {
        text.push_str(&format!("\nYou may approve or deny {}.", list(approves)));
    }
    text
}

/// The reply to `history`.
#[must_use]
pub fn history(phase: &PhaseName, lines: &[String], older: usize) -> String {
    if lines.is_empty() {
        return format!("Nothing has happened to {phase} yet.");
    }
    let more = if older == 0 {
        String::new()
    } else {
        format!("({older} older ones: switchyard journal show --phase {phase})\n")
    };
    format!("{more}{}", lines.join("\n"))
}

/// The reply to `audit`.
#[must_use]
pub fn audit(size: u64, root: &str) -> String {
    format!(
        "The journal has {size} events; the root of their RFC 6962 tree is\n{root}\nWho keeps this line elsewhere can tell \
         later whether any of these events was changed: the leaves are the lines of `switchyard journal export -`, each \
         without its line's end."
    )
}

/// The server is up.
#[must_use]
pub fn serving(plan: &Plan, socket: &Path, bot: Option<SocketAddr>) -> String {
    let http = bot.map(|address| format!("http {address}, ")).unwrap_or_default();
    format!("serving {}, socket {}, {http}pid {}", plan.migration, socket.display(), std::process::id())
}

/// The file that `serve` was given is not the adopted plan.
#[must_use]
pub fn not_the_adopted(file: &Path, given: &PlanHash, adopted: &PlanHash) -> String {
    format!(
        "{} is plan {}, and the adopted plan is {}: what people approved is not what this file says. Serve the file \
         that was adopted, or make this one the plan: switchyard plan adopt {0} --as PERSON (SW-0627)",
        file.display(),
        given.short(),
        adopted.short()
    )
}

/// The instance runs already.
#[must_use]
pub fn runs_already(instance: &str, lock: &Path) -> String {
    format!(
        "The instance {instance} of this journal runs already: it holds {}. Stop that one first, or give this one another \
         name with --instance. (SW-0626)",
        lock.display()
    )
}

/// The instance runs already, as the journal's database knows.
#[must_use]
pub fn runs_elsewhere(instance: &str) -> String {
    format!(
        "The instance {instance} of this journal runs already: another process holds its lock in the journal's database. \
         Stop that one first, or give this one another name with --instance. (SW-0626)"
    )
}

/// Another server listens.
#[must_use]
pub fn socket_taken(socket: &Path) -> String {
    format!(
        "Another server listens on {}. Stop that one first, or give this one another socket with --socket. (SW-0628)",
        socket.display()
    )
}

/// The socket cannot be made.
#[must_use]
pub fn socket_failed(socket: &Path, error: &dyn std::error::Error) -> String {
    format!("The socket {} cannot be made: {error}. Give another with --socket. (SW-0628)", socket.display())
}

/// No server listens.
#[must_use]
pub fn not_reachable(socket: &Path, error: &dyn std::error::Error) -> String {
    format!(
        "No server answers on {}: {error}. Start it with `switchyard serve --plan FILE`, or name its socket with --socket. \
         `switchyard status` works without it. (SW-0625)",
        socket.display()
    )
}

/// The connection was lost in the middle.
#[must_use]
pub fn answer_lost(socket: &Path) -> String {
    format!(
        "The server on {} went away before it answered, so it is not known whether it was done. `switchyard status` \
         tells. (SW-0625)",
        socket.display()
    )
}

/// A plan cannot be read.
#[must_use]
pub fn no_plan_file(file: &Path, error: &std::io::Error) -> String {
    format!(
        "The plan {} cannot be read: {error}. Name it with --plan FILE or SWITCHYARD_PLAN; config/plan.example.toml is one \
         to begin with. (SW-0629)",
        file.display()
    )
}

/// The journal has no plan.
#[must_use]
pub fn no_plan_yet() -> String {
    "The journal has no plan yet. `switchyard serve --plan FILE` adopts the file. (SW-0101)".to_owned()
}

/// A new token.
#[must_use]
pub fn new_token(token: &str, digest: &str) -> String {
    format!(
        "token   {token}\nGive it to its person, who keeps it as SWITCHYARD_TOKEN. It is shown this once.\n\n\
         local_token_sha256 = \"{digest}\"\nPut this line into the person's [[person]] section of the plan."
    )
}

/// The last line for somebody who waited.
#[must_use]
pub fn ended(request: &Request) -> String {
    let next = match &request.status {
        RequestStatus::Finished(Outcome::Completed) => "completed.".to_owned(),
        RequestStatus::Finished(Outcome::Undone) => format!(
            "undone. `/migrate {} history` tells why; to try again, ask anew: /migrate {0} {}",
            request.phase, request.operation
        ),
        RequestStatus::Finished(Outcome::Replaced) => format!(
            "replaced: a `{}` goes on from where it stood. /migrate status {}",
            successor(request.operation),
            request.phase
        ),
        RequestStatus::Void(reason) => format!("void, because {}.", voided(reason)),
        RequestStatus::Open | RequestStatus::Running | RequestStatus::Consumed => {
            format!("{}.", standing(request))
        }
    };
    format!("Request {}: {next}", named(request))
}

/// The last line for somebody who waited, when a person is needed.
#[must_use]
pub fn ended_blocked(request: &Request, finding: &Finding, step: Step) -> String {
    let phase = &request.phase;
    let then = match step {
        Step::Undo => "The undo goes on by itself as soon as that is mended.".to_owned(),
        // Something was dropped for good.
        Step::StopFailback | Step::CleanUp => format!("Then: /migrate {phase} retry"),
        _ => format!("Then: {}", super::then(phase.as_str(), request.operation.word())),
    };
    format!("Request {} is blocked: {finding}\n{then}", named(request))
}

/// The plan says where the journal's connection string is kept, and it is not there.
#[must_use]
pub fn no_journal_secret(error: &runtime::SecretError) -> String {
    format!("The journal cannot be reached: {error}. Its place is the plan's [journal] url. ({STORE_FAILED})")
}

/// A verb that could not read the journal.
#[must_use]
pub fn journal_failed(error: &StoreError) -> String {
    format!("{error}\nThe journal is the one that the plan names in [journal] url. ({STORE_FAILED})")
}

/// No token was given, and none can be asked for.
#[must_use]
pub fn no_token(variable: &str) -> String {
    format!("There is no token: set {variable}, or call it from a terminal to be asked.")
}

/// The prompt's first line.
#[must_use]
pub fn greeting(person: &str) -> String {
    format!("You speak as {person}. `help` lists everything that can be said; Ctrl-D ends.")
}

/// `plan adopt` without a person.
#[must_use]
pub fn adopt_needs_a_person(file: &Path) -> String {
    format!(
        "A plan is adopted already, so an operator of it must adopt the next: switchyard plan adopt {} --as PERSON",
        file.display()
    )
}

/// An export that could not be written.
#[must_use]
pub fn export_failed(to: &Path, error: &std::io::Error) -> String {
    format!("{} cannot be written: {error}. An export never replaces a file.", to.display())
}

/// An export that was written.
#[must_use]
pub fn exported(to: &Path, head: journal::Position) -> String {
    format!("{} holds the journal up to #{head}.", to.display())
}

/// A connection string is not where the plan says.
#[must_use]
pub fn no_secret(side: journal::Side, error: &runtime::SecretError) -> String {
    format!("The {side} cannot be reached: {error}. (SW-0630)")
}

/// A connection string is of no use.
#[must_use]
pub fn no_database(side: journal::Side, cause: &str) -> String {
    format!("The {side} cannot be reached: {cause}. (SW-0630)")
}

/// An instance's name is no name.
#[must_use]
pub fn bad_instance(given: &str) -> String {
    format!("`{given}` is not an instance's name: expected 1 to 40 of a-z, A-Z, 0-9, -, _ and .")
}

/// The lock cannot be taken.
#[must_use]
pub fn no_lock(path: &Path, error: &std::io::Error) -> String {
    format!(
        "The lock {} cannot be taken: {error}. It stands beside the journal, whose folder must be there and writable. \
         (SW-0626)",
        path.display()
    )
}

/// The executors ended by themselves.
#[must_use]
pub fn executors_failed(error: &anyhow::Error) -> String {
    format!(
        "The executors ended: {error:#}. Nothing is lost; see to the cause and start `serve` again. (SW-0631)"
    )
}
