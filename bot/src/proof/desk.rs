//! Where log checkpoints are signed: the tree of the stored bytes, the key, and the witness file, held together.

use journal::merkle::{History, leaf};
use journal::note::SignerKey;
use journal::{LogCheckpoint, Position};

use super::witness::{Held, WitnessError, WitnessFile, Witnessed};

/// Why nothing was signed.
#[derive(Debug, thiserror::Error)]
pub enum DeskError {
    /// The witness file.
    #[error(transparent)]
    Witness(#[from] WitnessError),
    /// A position is missing in the journal.
    #[error("event {expected} is missing, event {found} follows")]
    Gap {
        /// The position that should come.
        expected: Position,
        /// The one that does.
        found: Position,
    },
    /// More was signed than has been read: there may be more to read, or the journal was cut.
    #[error("a log checkpoint of {signed} events was signed, and the journal has {read}")]
    Behind {
        /// What was signed.
        signed: u64,
        /// What was read.
        read: u64,
    },
    /// The journal's tree does not have a root that was signed.
    #[error("the journal's first {size} events are not those that a log checkpoint was signed over")]
    Forked {
        /// Its size.
        size: u64,
    },
    /// A note of the witness file bears this log's name and a false signature.
    #[error("the log checkpoint of {size} events bears a false signature of this log's key")]
    False {
        /// Its size.
        size: u64,
    },
    /// The key cannot sign for this log.
    #[error("it cannot be signed: {0}")]
    Unsigned(String),
}

impl DeskError {
    /// Whether what was signed and what the journal holds cannot both be right.
    #[must_use]
    pub const fn is_contradiction(&self) -> bool {
        matches!(self, Self::Gap { .. } | Self::Behind { .. } | Self::Forked { .. } | Self::False { .. })
    }
}

/// What signs. It has looked at everything in the witness file up to `seen`.
#[derive(Debug)]
pub struct Desk {
    tree: History,
    key: SignerKey,
    witness: WitnessFile,
    seen: u64,
    newest: Option<Witnessed>,
}

impl Desk {
    /// A desk that has read nothing yet.
    #[must_use]
    pub fn new(key: SignerKey, witness: WitnessFile) -> Self {
        Self { tree: History::default(), key, witness, seen: 0, newest: None }
    }

    /// Forgets what it has read: the next reading begins at the first event and the first note.
    #[must_use]
    pub fn anew(self) -> Self {
        Self::new(self.key, self.witness)
    }

    /// The last event that was read.
    #[must_use]
    pub fn read(&self) -> Position {
        Position::new(self.tree.size())
    }

    /// The newest log checkpoint of the witness file that was looked at.
    #[must_use]
    pub const fn newest(&self) -> Option<&Witnessed> {
        self.newest.as_ref()
    }

    /// Where log checkpoints go.
    #[must_use]
    pub const fn witness(&self) -> &WitnessFile {
        &self.witness
    }

    /// The public half of the key.
    #[must_use]
    pub const fn key(&self) -> &SignerKey {
        &self.key
    }

    /// Takes the stored bytes of the next event.
    ///
    /// # Errors
    /// It is not the next.
    pub fn take(&mut self, position: Position, bytes: &[u8]) -> Result<(), DeskError> {
        let expected = self.read().next();
        if position != expected {
            return Err(DeskError::Gap { expected, found: position });
        }
        self.tree.push(leaf(bytes));
        Ok(())
    }

    /// Holds a root that is known to have left the journal against the tree.
    ///
    /// # Errors
    /// The tree does not have it.
    pub fn compare(&self, size: u64, root: &journal::merkle::Hash) -> Result<(), DeskError> {
        match self.tree.root_at(size) {
            None => Err(DeskError::Behind { signed: size, read: self.tree.size() }),
            Some(here) if here == *root => Ok(()),
            Some(_) => Err(DeskError::Forked { size }),
        }
    }

    /// Looks at what the witness file has, without signing anything.
    ///
    /// # Errors
    /// Something there contradicts the journal.
    pub fn look(&mut self) -> Result<(), DeskError> {
        let witness = self.witness.clone();
        let mut held = witness.hold()?;
        self.look_into(&mut held)
    }

    fn look_into(&mut self, held: &mut Held<'_>) -> Result<(), DeskError> {
        let (notes, end) = held.since(self.seen)?;
        self.weigh(notes)?;
        self.seen = end;
        Ok(())
    }

    /// Holds notes against what was read.
    ///
    /// # Errors
    /// One of this log contradicts the journal.
    pub fn weigh(&mut self, notes: Vec<Witnessed>) -> Result<(), DeskError> {
        for found in notes {
            let Witnessed { checkpoint, note } = &found;
            if checkpoint.origin != *self.key.verifier().name() {
                continue;
            }
            // A note by an older key of this log proves nothing here, but what it claims must be so all the same.
            match note.verify(std::slice::from_ref(self.key.verifier())) {
                Ok(_) | Err(journal::note::NoteError::Unsigned) => {}
                Err(_) => return Err(DeskError::False { size: checkpoint.size }),
            }
            self.compare(checkpoint.size, &checkpoint.root)?;
            if self.newest.as_ref().is_none_or(|newest| newest.checkpoint.size <= checkpoint.size) {
                self.newest = Some(found);
            }
        }
        Ok(())
    }

    /// Signs what was read, if nobody has yet, and gives the newest log checkpoint once it is on the disk.
    ///
    /// # Errors
    /// What was signed before contradicts the journal, or the file cannot be written: nothing new was signed.
    pub fn publish(&mut self) -> Result<Witnessed, DeskError> {
        let witness = self.witness.clone();
        let mut held = witness.hold()?;
        self.look_into(&mut held)?;
        let size = self.tree.size();
        if let Some(newest) = self.newest.as_ref().filter(|newest| newest.checkpoint.size >= size) {
            return Ok(newest.clone());
        }
        let root = self.tree.root_at(size).ok_or(DeskError::Forked { size })?;
        let checkpoint = LogCheckpoint { origin: self.key.verifier().name().clone(), size, root };
        let note = checkpoint.sign(&self.key).map_err(|error| DeskError::Unsigned(error.to_string()))?;
        runtime::failpoint::hit("witness.before_write");
        self.seen = held.append(&note, self.seen)?;
        runtime::failpoint::hit("witness.after_write");
        let published = Witnessed { checkpoint, note };
        self.newest = Some(published.clone());
        Ok(published)
    }
}
