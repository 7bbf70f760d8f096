//! The witness file: every signed log checkpoint, one note after another, an empty line between two.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use journal::LogCheckpoint;
use journal::log_checkpoint::notes;
use journal::note::Note;
use rustix::fs::FlockOperation;

/// The most of a witness file that is read.
const MOST_BYTES: u64 = 1 << 30;

/// Why the witness file is of no use.
#[derive(Debug, thiserror::Error)]
pub enum WitnessError {
    /// The system refuses.
    #[error("{}: {error}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        error: io::Error,
    },
    /// Something in it is no note of a log checkpoint.
    #[error("{}: its note {number} is not the note of a log checkpoint: {why}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Which, from 1.
        number: usize,
        /// Why.
        why: String,
    },
}

/// A log checkpoint of the file, and the note it stands in. Whose signature it bears is not looked at here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Witnessed {
    /// What it claims.
    pub checkpoint: LogCheckpoint,
    /// The note.
    pub note: Note,
}

/// A place for log checkpoints beside the journal: the least of the witnesses.
#[derive(Debug, Clone)]
pub struct WitnessFile {
    path: PathBuf,
}

impl WitnessFile {
    /// The file at a path; nothing is opened yet.
    #[must_use]
    pub const fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn failed(&self, error: io::Error) -> WitnessError {
        WitnessError::Io { path: self.path.clone(), error }
    }

    /// Everything in it, in its order; nothing if it is not there. An unfinished last note is left out.
    ///
    /// # Errors
    /// It cannot be read, or holds something else.
    pub fn read(&self) -> Result<Vec<Witnessed>, WitnessError> {
        match File::open(&self.path) {
            Ok(mut file) => {
                self.lock(&file, FlockOperation::LockShared)?;
                self.read_from(&mut file, 0).map(|(read, _)| read)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(self.failed(error)),
        }
    }

    /// Opens it to append, alone, until what is returned is dropped.
    ///
    /// # Errors
    /// It cannot be opened.
    pub(super) fn hold(&self) -> Result<Held<'_>, WitnessError> {
        let opened = OpenOptions::new().read(true).append(true).create(true).open(&self.path);
        let file = opened.map_err(|error| self.failed(error))?;
        self.lock(&file, FlockOperation::LockExclusive)?;
        Ok(Held { home: self, file })
    }

    fn lock(&self, file: &File, how: FlockOperation) -> Result<(), WitnessError> {
        rustix::fs::flock(file, how).map_err(|error| self.failed(error.into()))
    }

    /// Reads from an offset on; gives what is there and where the last whole note ends.
    fn read_from(&self, file: &mut File, from: u64) -> Result<(Vec<Witnessed>, u64), WitnessError> {
        let malformed = |number, why| WitnessError::Malformed { path: self.path.clone(), number, why };
        let length = file.metadata().map_err(|error| self.failed(error))?.len();
        if length < from {
            return Err(malformed(1, "the file is shorter than it was".to_owned()));
        }
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(from)).map_err(|error| self.failed(error))?;
        file.take(MOST_BYTES).read_to_end(&mut bytes).map_err(|error| self.failed(error))?;
        let text = match str::from_utf8(&bytes) {
            Ok(text) => text,
            // A note that ends within a character is not finished.
            Err(error) if error.error_len().is_none() => bytes
                .get(..error.valid_up_to())
                .and_then(|whole| str::from_utf8(whole).ok())
                .unwrap_or_default(),
            Err(error) => return Err(malformed(1, error.to_string())),
        };
        let mut read = Vec::new();
        let mut end = from;
        let start = text.as_ptr().addr();
        for (index, piece) in notes(text).enumerate() {
            if !is_whole(piece) {
                break;
            }
            let parsed = Note::parse(piece.as_bytes()).map_err(|error| error.to_string()).and_then(|note| {
                let checkpoint = LogCheckpoint::parse(note.text()).map_err(|error| error.to_string())?;
                Ok(Witnessed { checkpoint, note })
            });
            read.push(parsed.map_err(|why| malformed(index + 1, why))?);
            let ends_at = piece.as_ptr().addr() - start + piece.len();
            end = from + u64::try_from(ends_at).unwrap_or(u64::MAX);
        }
        Ok((read, end))
    }
}

/// Whether a piece of the file is a note to its end. Only the last one may not be: its writer died.
fn is_whole(piece: &str) -> bool {
    piece.split_once("\n\n").is_some_and(|(_, signatures)| signatures.ends_with('\n'))
}

/// The file, while nobody else appends to it.
#[derive(Debug)]
pub(super) struct Held<'w> {
    home: &'w WitnessFile,
    file: File,
}

impl Held<'_> {
    /// What stands after an offset, and where the last whole note ends.
    pub(super) fn since(&mut self, offset: u64) -> Result<(Vec<Witnessed>, u64), WitnessError> {
        self.home.read_from(&mut self.file, offset)
    }

    /// Appends a note after the last whole one; gives where it ends, once it is on the disk.
    pub(super) fn append(&mut self, note: &Note, end: u64) -> Result<u64, WitnessError> {
        let text = if end == 0 { note.to_string() } else { format!("\n{note}") };
        let is_new = end == 0;
        let written = self
            .file
            .set_len(end)
            .and_then(|()| self.file.write_all(text.as_bytes()))
            .and_then(|()| self.file.sync_all())
            .and_then(|()| if is_new { sync_folder(&self.home.path) } else { Ok(()) });
        written.map_err(|error| self.home.failed(error))?;
        Ok(end + u64::try_from(text.len()).unwrap_or(u64::MAX))
    }
}

/// A new file's name is on the disk only when its folder is.
fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or_else(|| Path::new(".")))?.sync_all()
}
