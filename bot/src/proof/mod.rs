//! How the journal proves itself: log checkpoints, signed and put where the journal's own administrator does not reach.
//!
//! A log must never sign two histories. What can happen at once, and what decides it:
//!
//! - *Two processes publish for one journal.* Both append to one witness file, under its lock, and each looks at every
//!   note that the other has put there since: it must be a root that its own tree has had. The file is written and
//!   synced before anybody is told, so what is known to have left is in the file.
//! - *A crash between the file and the fact.* The next publisher finds a note in the file that covers the word which the
//!   journal still thinks uncovered, and appends the fact for that note; nothing is signed twice.
//! - *A crash in the middle of a note.* The unfinished note ends the file; it proves nothing, and is cut off by the next
//!   append. Anything else that cannot be read there stops the publisher: somebody was at the file.
//! - *The journal was cut, restored from a copy or rewritten.* Its tree no longer has the roots that were signed.
//!   Nothing is signed any more, and so nothing opens, until a person has found out why.
//!
//! Hashing is done here, from the stored bytes, after the commit: an append never waits for it.

mod check;
mod desk;
mod key;
mod publisher;
mod witness;

pub use check::{Checked, Disagreement, Examiner};
pub use desk::{Desk, DeskError};
pub use key::{KeyFileError, read_key};
pub use publisher::{Proof, Publisher};
pub use witness::{WitnessError, WitnessFile, Witnessed};
