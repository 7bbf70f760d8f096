//! Keys, log checkpoints, and what an examination of the journal finds.

use std::path::Path;

use journal::LogCheckpoint;
use journal::note::VerifierKey;

use super::list;
use crate::proof::{Checked, DeskError, Disagreement, KeyFileError, Proof, WitnessError, Witnessed};

/// A log checkpoint in a message.
#[must_use]
pub fn checkpoint_line(checkpoint: &LogCheckpoint) -> String {
    format!("Log checkpoint {}.", checkpoint.short())
}

/// The signing key is of no use.
#[must_use]
pub fn no_key(error: &KeyFileError) -> String {
    match error {
        KeyFileError::Missing(cause) => format!(
            "The signing key cannot be read: {cause}. `switchyard journal key new -o FILE` makes one, and the plan names \
             it: [journal] signing_key = \"file:FILE\". (SW-0650)"
        ),
        KeyFileError::Open { path, .. } => format!(
            "The signing key is not used: {error}. Take it from them with `chmod 600 {}`; if somebody may have read it, \
             make another with `switchyard journal key new`. (SW-0651)",
            path.display()
        ),
        KeyFileError::NoKey { .. } => format!(
            "The signing key cannot be used: {error}. It is the one line that `switchyard journal key new` writes. (SW-0652)"
        ),
        KeyFileError::OtherLog { expected, .. } => format!(
            "The signing key is another log's: {error}. Make this one's with `switchyard journal key new --name \
             {expected} -o FILE`. (SW-0653)"
        ),
    }
}

/// A new key was written.
#[must_use]
pub fn new_key(file: &Path, key: &VerifierKey) -> String {
    format!(
        "{key}\n\nThis line is for auditors: they verify the journal's log checkpoints by it. The key itself is in {}; keep \
         it where the journal's administrator does not reach, and name it in the plan:\n\n\
         [journal]\nsigning_key = \"file:{0}\"\nwitness = \"witness.txt\"",
        file.display()
    )
}

/// A new key could not be written.
#[must_use]
pub fn key_not_written(file: &Path, error: &std::io::Error) -> String {
    format!(
        "The key was not written to {}: {error}. A key never replaces a file: choose another name. (SW-0650)",
        file.display()
    )
}

/// A key's name is no name.
#[must_use]
pub fn bad_key_name(given: &str) -> String {
    format!(
        "`{given}` is no name of a log: expected 1 to 255 bytes without spaces, control characters and +, as in \
         shop.switchyard. (SW-0652)"
    )
}

/// A verifier key given on the command line is none.
#[must_use]
pub fn bad_verifier_key(error: &journal::note::KeyError) -> String {
    format!(
        "--key is no verifier key: {error}. It is the line that `switchyard journal key show` prints. (SW-0652)"
    )
}

/// The plan names no signing key.
#[must_use]
pub fn no_signing_key() -> String {
    "The plan names no signing key, so this journal cannot prove itself. `switchyard journal key new -o FILE` makes one; \
     then [journal] signing_key = \"file:FILE\" and witness = \"FILE\". (SW-0650)"
        .to_owned()
}

/// The plan names a signing key and no witness.
#[must_use]
pub fn no_witness() -> String {
    "The plan names a signing key and no witness file, so no log checkpoint could leave the journal and nothing would ever \
     open. Name one: [journal] witness = \"FILE\". (SW-0654)"
        .to_owned()
}

/// The witness file is of no use.
#[must_use]
pub fn witness_failed(error: &WitnessError) -> String {
    let remedy = match error {
        WitnessError::Malformed { .. } => {
            "It holds nothing but the notes that `serve` appends, with an empty line between two. Keep a copy of it as it is, \
             and take out what is no note; `switchyard journal check` then tells whether the rest agrees with the journal"
        }
        WitnessError::Io { .. } => "It must be readable and writable by whoever runs `serve`",
    };
    format!("The witness file cannot be used: {error}. {remedy}. (SW-0654)")
}

/// No log checkpoint stands anywhere yet.
#[must_use]
pub fn nothing_witnessed(file: &Path) -> String {
    format!(
        "{} holds no log checkpoint, so nothing can be held against the journal. Name a witness with --witness FILE. (SW-0654)",
        file.display()
    )
}

/// The code of [`publisher_refuses`] where what was signed contradicts the journal.
pub const CONTRADICTED: &str = "SW-0655";

/// Why the publisher signs nothing.
#[must_use]
pub fn publisher_refuses(error: &DeskError) -> String {
    match error {
        DeskError::Witness(error) => witness_failed(error),
        DeskError::Gap { .. }
        | DeskError::Behind { .. }
        | DeskError::Forked { .. }
        | DeskError::False { .. }
        | DeskError::Unsigned(_) => format!(
            "Nothing is signed, nothing opens, and nothing is begun or approved: {error}. The journal was cut, rewritten or \
             restored, or the witness is of another one. Find out which with `switchyard journal check` before anything goes on. \
             ({CONTRADICTED})"
        ),
    }
}

/// The code of [`journal_is_behind`].
pub const BEHIND: &str = "SW-0660";

/// Why nothing is asked of a journal that a database shows to be an old copy.
#[must_use]
pub fn journal_is_behind(seen: &str) -> String {
    format!("Nothing is begun or approved, and nothing goes on: {seen}")
}

/// The reply to `audit`.
#[must_use]
pub fn audit_proven(proof: &Proof, newest: &Witnessed) -> String {
    format!(
        "The newest log checkpoint, {}, stands in {}:\n\n{}\nIt covers the events up to #{}. Who keeps it elsewhere can tell \
         later whether any of them was changed:\n  switchyard journal check --witness FILE --key {}",
        newest.checkpoint.short(),
        proof.stands_in(),
        newest.note,
        newest.checkpoint.size,
        proof.key()
    )
}

/// What an examination came to, one line a finding.
#[must_use]
pub fn checked(checked: &Checked) -> String {
    let mut lines: Vec<String> = checked.findings.iter().map(disagreement).collect();
    let sizes = match checked.agreed.as_slice() {
        [] => "no log checkpoint was held against it".to_owned(),
        [one] => format!("the log checkpoint of {one} events agrees"),
        few if few.len() <= 12 => format!("the log checkpoints of {} events agree", list(few)),
        [first, .., last] => {
            format!("{} log checkpoints of {first} to {last} events agree", checked.agreed.len())
        }
    };
    lines.push(format!("{} events, root {}: {sizes}.", checked.size, checked.root));
    lines.join("\n")
}

fn disagreement(found: &Disagreement) -> String {
    match found {
        Disagreement::Missing { from, next } => {
            format!("event {from} is missing: event {next} follows. Rows were deleted. (SW-0657)")
        }
        Disagreement::Unreadable { position, why } => {
            format!("event {position} cannot be read: {why}. Its bytes were edited. (SW-0656)")
        }
        Disagreement::Misplaced { position, says, migration } => format!(
            "event {position} says that it is event {says} of {migration}. Rows were reordered, or their bytes edited. (SW-0656)"
        ),
        Disagreement::Altered { position } => format!(
            "event {position} does not hash to the leaf stored beside it: one of the two was changed. (SW-0656)"
        ),
        Disagreement::Untrue { position, size } => format!(
            "event {position} tells of a log checkpoint over {size} events, and the first {size} of this journal have another root. \
             Rows were edited, reordered or deleted, or that event was. (SW-0659)"
        ),
        Disagreement::Lost { position, size, witness } => format!(
            "event {position} says that a log checkpoint over {size} events stands in {}, and none there reaches so far. The \
             file was lost, cut or replaced: look for a copy of it. (SW-0661)",
            witness.display()
        ),
        Disagreement::Unproven { checkpoint, why } => {
            format!("the log checkpoint {} proves nothing: {why}. (SW-0658)", checkpoint.short())
        }
        Disagreement::Forked { checkpoint } => format!(
            "the log checkpoint {} was signed over other events than the first {} of this journal. Rows were edited, reordered \
             or deleted, or this is a fork of the history. (SW-0659)",
            checkpoint.short(),
            checkpoint.size
        ),
        Disagreement::Cut { checkpoint, head } => format!(
            "the log checkpoint {} covers {} events, and the journal ends at #{head}. Its end was cut off, or an older copy was \
             put back. (SW-0659)",
            checkpoint.short(),
            checkpoint.size
        ),
    }
}
