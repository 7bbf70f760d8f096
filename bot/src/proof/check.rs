//! The journal held against itself and against the log checkpoints that left it.

use std::path::{Path, PathBuf};

use journal::merkle::{History, leaf};
use journal::note::VerifierKey;
use journal::{Fact, LeftCheckpoint, LogCheckpoint, MigrationName, Position, Recorded};

use super::witness::{WitnessFile, Witnessed};

/// Something that an auditor has to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Disagreement {
    /// Positions are missing.
    Missing {
        /// The first of them.
        from: Position,
        /// The event that follows.
        next: Position,
    },
    /// An event cannot be read, or is not written as events are.
    Unreadable {
        /// Where.
        position: Position,
        /// Why.
        why: String,
    },
    /// An event says that it stands elsewhere, or is another migration's.
    Misplaced {
        /// Where it stands.
        position: Position,
        /// Where it says that it stands.
        says: Position,
        /// Whose it says that it is.
        migration: MigrationName,
    },
    /// An event does not hash to the leaf that is stored beside it.
    Altered {
        /// Where.
        position: Position,
    },
    /// The journal itself tells of a log checkpoint over other events than it has.
    Untrue {
        /// The event that tells.
        position: Position,
        /// How many events it covers.
        size: Position,
    },
    /// The journal tells of a log checkpoint in the witness file, and no note there reaches so far.
    Lost {
        /// The event that tells.
        position: Position,
        /// How many events it covers.
        size: Position,
        /// The witness file.
        witness: PathBuf,
    },
    /// A log checkpoint's note is not signed by the key, or falsely.
    Unproven {
        /// What it claims.
        checkpoint: LogCheckpoint,
        /// Why it proves nothing.
        why: String,
    },
    /// The journal has other events than those signed.
    Forked {
        /// What was signed.
        checkpoint: LogCheckpoint,
    },
    /// The journal has fewer events than were signed.
    Cut {
        /// What was signed.
        checkpoint: LogCheckpoint,
        /// What is there.
        head: Position,
    },
}

/// What an examination came to.
#[derive(Debug, Clone)]
pub struct Checked {
    /// How many events there are.
    pub size: u64,
    /// The root of their tree.
    pub root: String,
    /// The sizes of the log checkpoints that the journal agrees with.
    pub agreed: Vec<u64>,
    /// What it does not agree with.
    pub findings: Vec<Disagreement>,
}

/// Takes the stored events in their order, then the log checkpoints.
#[derive(Debug)]
pub struct Examiner {
    migration: MigrationName,
    tree: History,
    last: Position,
    /// The log checkpoints that the journal itself says have left it.
    left: Vec<LeftCheckpoint>,
    findings: Vec<Disagreement>,
}

impl Examiner {
    /// An examiner of a migration's journal.
    #[must_use]
    pub fn new(migration: MigrationName) -> Self {
        let (tree, last) = (History::default(), Position::default());
        Self { migration, tree, last, left: Vec::new(), findings: Vec::new() }
    }

    /// Takes the next row.
    pub fn event(&mut self, position: Position, bytes: &[u8]) {
        if position != self.last.next() {
            self.findings.push(Disagreement::Missing { from: self.last.next(), next: position });
        }
        self.last = position;
        self.tree.push(leaf(bytes));
        match Recorded::from_bytes(bytes) {
            Err(error) => {
                self.findings.push(Disagreement::Unreadable { position, why: error.to_string() });
            }
            Ok(event) => {
                let envelope = &event.envelope;
                if envelope.position != position || envelope.migration != self.migration {
                    let (says, migration) = (envelope.position, envelope.migration.clone());
                    self.findings.push(Disagreement::Misplaced { position, says, migration });
                }
                if let Fact::LogCheckpointLeft { size, root, left_to } = event.body {
                    self.left.push(LeftCheckpoint { position, size, root, left_to });
                }
            }
        }
    }

    /// Holds the plan's own witness file against what the journal says of it. A copy that was kept elsewhere may be older.
    pub fn expect(&mut self, witness: &[Witnessed], file: &WitnessFile) {
        // By its last part: the rest of the name is from where `serve` was started.
        let named = |place: &String| {
            let path = place.strip_prefix("file:").map(Path::new);
            path.is_some_and(|path| path.file_name() == file.path().file_name())
        };
        let newest = self.left.iter().rev().find(|left| left.left_to.iter().any(named));
        let Some(LeftCheckpoint { position, size, .. }) = newest else { return };
        if !witness.iter().any(|one| one.checkpoint.covers(*size)) {
            let (position, size, witness) = (*position, *size, file.path().to_owned());
            self.findings.push(Disagreement::Lost { position, size, witness });
        }
    }

    /// Takes the word of the store that an event does not hash to the leaf beside it.
    pub fn altered(&mut self, position: Position) {
        self.findings.push(Disagreement::Altered { position });
    }

    /// Holds the log checkpoints of a witness against the journal, and those that it tells of itself.
    #[must_use]
    pub fn finish(mut self, witness: &[Witnessed], keys: &[VerifierKey]) -> Checked {
        for LeftCheckpoint { position, size, root, .. } in &self.left {
            if self.tree.root_at(size.get()).is_none_or(|found| found != *root.hash()) {
                self.findings.push(Disagreement::Untrue { position: *position, size: *size });
            }
        }
        let mut agreed = Vec::new();
        for Witnessed { checkpoint, note } in witness {
            if let Err(error) = LogCheckpoint::verify(note, keys) {
                let (checkpoint, why) = (checkpoint.clone(), error.to_string());
                self.findings.push(Disagreement::Unproven { checkpoint, why });
                continue;
            }
            match self.tree.root_at(checkpoint.size) {
                Some(root) if root == checkpoint.root => agreed.push(checkpoint.size),
                Some(_) => self.findings.push(Disagreement::Forked { checkpoint: checkpoint.clone() }),
                None => {
                    let (checkpoint, head) = (checkpoint.clone(), self.last);
                    self.findings.push(Disagreement::Cut { checkpoint, head });
                }
            }
        }
        let size = self.tree.size();
        let root = self.tree.root_at(size).map(hex::encode).unwrap_or_default();
        Checked { size, root, agreed, findings: self.findings }
    }
}
