//! Log checkpoints: the signed size and root of the journal's Merkle tree, in the form of the C2SP specification
//! `tlog-checkpoint`.
//!
//! The origin names the log and is the name of the key that signs for it. Extension lines are never written, and not
//! read either: a checkpoint of this log that has some was not made by this program.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::ids::{MigrationName, Position};
use crate::merkle::Hash;
use crate::note::{KeyError, KeyName, Note, NoteError, SignerKey, Verified, VerifierKey};

/// Why a note is no log checkpoint that can be trusted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// The note.
    #[error(transparent)]
    Note(#[from] NoteError),
    /// The text is not that of a log checkpoint.
    #[error("it is not a log checkpoint: {0}")]
    Malformed(&'static str),
    /// A known key signed it that is not the log's own.
    #[error("it is of the log {origin}, whose own key is not among those that signed it")]
    Foreign {
        /// The log it names.
        origin: KeyName,
    },
}

/// A size and the root that the journal's tree has at it. By itself it says nothing about who claims so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogCheckpoint {
    /// The log's name.
    pub origin: KeyName,
    /// How many events it covers: the position of the last of them.
    pub size: u64,
    /// The tree's root at that size.
    pub root: Hash,
}

/// The name of a migration's log, and of its key.
///
/// # Errors
/// Never: a migration's name fits.
pub fn origin(migration: &MigrationName) -> Result<KeyName, KeyError> {
    KeyName::new(&format!("{migration}.switchyard"))
}

impl LogCheckpoint {
    /// Reads a note's text.
    ///
    /// # Errors
    /// [`CheckpointError::Malformed`].
    pub fn parse(text: &str) -> Result<Self, CheckpointError> {
        let malformed = CheckpointError::Malformed;
        let mut lines =
            text.strip_suffix('\n').ok_or_else(|| malformed("its last line has no end"))?.split('\n');
        let mut line = || lines.next().ok_or_else(|| malformed("it has fewer than three lines"));
        let (origin, size, root) = (line()?, line()?, line()?);
        if lines.next().is_some() {
            return Err(malformed("it has more than three lines"));
        }
        let origin = KeyName::new(origin).map_err(|_| malformed("its origin is not a log's name"))?;
        let is_plain =
            size.bytes().all(|digit| digit.is_ascii_digit()) && (size == "0" || !size.starts_with('0'));
        let size = size.parse().ok().filter(|_| is_plain);
        let size = size.ok_or_else(|| malformed("its size is not a decimal number without leading zeros"))?;
        let root = STANDARD.decode(root).ok().and_then(|bytes| bytes.try_into().ok());
        let root = root.ok_or_else(|| malformed("its root is not the base64 of 32 bytes"))?;
        Ok(Self { origin, size, root })
    }

    /// Reads a note and verifies that the log it names has signed it.
    ///
    /// # Errors
    /// Whatever keeps it from being trusted.
    pub fn verify(note: &Note, known: &[VerifierKey]) -> Result<Verified<Self>, CheckpointError> {
        let verified = note.verify(known)?.try_map(|text| Self::parse(&text))?;
        let origin = &verified.get().origin;
        if verified.by().contains(origin) {
            Ok(verified)
        } else {
            Err(CheckpointError::Foreign { origin: origin.clone() })
        }
    }

    /// Signs it. Whoever calls this has made sure that it contradicts nothing signed before.
    ///
    /// # Errors
    /// The key is not this log's.
    pub fn sign(&self, key: &SignerKey) -> Result<Note, CheckpointError> {
        if *key.verifier().name() != self.origin {
            return Err(CheckpointError::Foreign { origin: self.origin.clone() });
        }
        Ok(key.sign(&self.to_string())?)
    }

    /// Whether it covers the event at a position.
    #[must_use]
    pub const fn covers(&self, position: Position) -> bool {
        self.size >= position.get()
    }

    /// Its size and the root's first eight hexadecimal digits, for people.
    #[must_use]
    pub fn short(&self) -> String {
        let mut root = hex::encode(self.root);
        root.truncate(8);
        format!("{} {root}", self.size)
    }
}

impl fmt::Display for LogCheckpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n{}\n{}", self.origin, self.size, STANDARD.encode(self.root))
    }
}

/// Splits a witness file into its notes: one after another, an empty line between two.
///
/// A text that ends in the middle of a note gives its whole notes, and then what is left over.
pub fn notes(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text.trim_start_matches('\n');
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        // A note is its text, an empty line, its signatures; the next empty line ends it.
        let end = rest.match_indices("\n\n").nth(1).map_or(rest.len(), |(at, _)| at + 1);
        let (note, after) = rest.split_at_checked(end)?;
        rest = after.trim_start_matches('\n');
        Some(note)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(seed: u8) -> SignerKey {
        SignerKey::from_seed(KeyName::new("shop.switchyard").unwrap(), &[seed; 32])
    }

    fn checkpoint(size: u64) -> LogCheckpoint {
        LogCheckpoint { origin: KeyName::new("shop.switchyard").unwrap(), size, root: [5; 32] }
    }

    #[test]
    fn a_checkpoint_has_three_lines() {
        let root = "BQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQU=";
        assert_eq!(checkpoint(41).to_string(), format!("shop.switchyard\n41\n{root}\n"));
        assert_eq!(checkpoint(41).short(), "41 05050505");
        assert!(checkpoint(41).covers(Position::new(41)) && !checkpoint(41).covers(Position::new(42)));
        for wrong in [
            format!("shop.switchyard\n041\n{root}\n"),
            format!("shop.switchyard\n+41\n{root}\n"),
            format!("shop.switchyard\n-1\n{root}\n"),
            format!("shop.switchyard\n\n{root}\n"),
            format!("shop.switchyard\n18446744073709551616\n{root}\n"),
            format!("\n41\n{root}\n"),
            format!("shop switchyard\n41\n{root}\n"),
            format!("shop.switchyard\n41\n{root}\nmore\n"),
            format!("shop.switchyard\n41\n{root}"),
            "shop.switchyard\n41\nBQUF\n".to_owned(),
            "shop.switchyard\n41\n".to_owned(),
            String::new(),
        ] {
            assert!(LogCheckpoint::parse(&wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn only_the_logs_own_key_proves_a_checkpoint() {
        let note = checkpoint(41).sign(&key(1)).unwrap();
        let own = key(1).verifier().clone();
        assert_eq!(LogCheckpoint::verify(&note, &[own]).unwrap().get(), &checkpoint(41));
        let other = SignerKey::from_seed(KeyName::new("other.switchyard").unwrap(), &[1; 32]);
        assert!(checkpoint(41).sign(&other).is_err());
        let forged = other.sign(&checkpoint(41).to_string()).unwrap();
        let error = LogCheckpoint::verify(&forged, &[other.verifier().clone()]).unwrap_err();
        assert!(matches!(error, CheckpointError::Foreign { .. }), "{error}");
    }

    #[test]
    fn a_witness_file_is_split_into_its_notes() {
        let one = checkpoint(1).sign(&key(1)).unwrap().to_string();
        let two = checkpoint(2).sign(&key(1)).unwrap().to_string();
        let file = format!("{one}\n{two}\n");
        assert_eq!(notes(&file).collect::<Vec<_>>(), [one.as_str(), two.as_str()]);
        let torn = format!("{one}\n{}", two.get(..20).unwrap());
        let read: Vec<bool> = notes(&torn).map(|note| Note::parse(note.as_bytes()).is_ok()).collect();
        assert_eq!(read, [true, false]);
        assert_eq!(notes("\n\n").count(), 0);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_as_it_was(size: u64, root: [u8; 32], name in "[a-z0-9._/-]{1,40}") {
            let written = LogCheckpoint { origin: KeyName::new(&name).unwrap(), size, root };
            prop_assert_eq!(LogCheckpoint::parse(&written.to_string()).unwrap(), written);
        }
    }
}
