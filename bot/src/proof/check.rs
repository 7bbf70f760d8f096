//! The journal held against itself and against the log checkpoints that left it.

use journal::merkle::{History, leaf};
use journal::note::VerifierKey;
use journal::{LogCheckpoint, MigrationName, Position, Recorded};

use super::witness::Witnessed;

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
    findings: Vec<Disagreement>,
}

impl Examiner {
    /// An examiner of a migration's journal.
    #[must_use]
    pub fn new(migration: MigrationName) -> Self {
        Self { migration, tree: History::default(), last: Position::default(), findings: Vec::new() }
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
            }
        }
    }

    /// Holds the log checkpoints of a witness against the journal.
    #[must_use]
    pub fn finish(mut self, witness: &[Witnessed], keys: &[VerifierKey]) -> Checked {
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
