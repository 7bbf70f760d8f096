//! The signing key, where the plan says it is kept.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use executors::kept;
use journal::note::{KeyError, KeyName, SignerKey};
use journal::{MigrationName, SecretRef, log_checkpoint};
use runtime::{Scrubber, Secret, SecretError};

/// Bits of a file's mode that let others than its owner at it.
const OTHERS: u32 = 0o077;

/// Why there is no signing key.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// It is not where the plan says.
    #[error(transparent)]
    Missing(#[from] SecretError),
    /// Others may read it.
    #[error("the file {} may be read by others (mode {mode:03o})", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// It is no key.
    #[error("{place} holds no signing key: {error}")]
    NoKey {
        /// Where it was looked for.
        place: String,
        /// Why, without the text.
        #[source]
        error: KeyError,
    },
    /// It is another log's.
    #[error("{place} holds the key of {found}, and this log is {expected}")]
    OtherLog {
        /// Where it was looked for.
        place: String,
        /// The key's name.
        found: KeyName,
        /// The name it should have.
        expected: KeyName,
    },
}

/// Reads the key of a migration's log and makes it known as a secret. A relative file is relative to the plan's folder.
///
/// # Errors
/// It is missing, open to others, no key, or another log's.
pub fn read_key(
    kept: &SecretRef,
    folder: &Path,
    migration: &MigrationName,
    scrubber: &Scrubber,
) -> Result<SignerKey, KeyFileError> {
    let place = kept.to_string();
    let no_key = |error| KeyFileError::NoKey { place: place.clone(), error };
    if let SecretRef::File(path) = kept {
        for_its_owner_alone(&folder.join(path))?;
    }
    let secret = kept::secret(kept, folder)?;
    scrubber.learn(&secret);
    if let Some(seed) = seed(secret.expose()) {
        scrubber.learn(&Secret::new(seed));
    }
    let key = SignerKey::from_secret(secret.expose()).map_err(no_key)?;
    let expected = log_checkpoint::origin(migration).map_err(no_key)?;
    if *key.verifier().name() == expected {
        Ok(key)
    } else {
        Err(KeyFileError::OtherLog { found: key.verifier().name().clone(), place, expected })
    }
}

/// What is secret of `PRIVATE+KEY+<name>+<hash>+<base64>`. Base64 has a `+` of its own.
fn seed(key: &str) -> Option<&str> {
    key.splitn(5, '+').nth(4)
}

fn for_its_owner_alone(path: &Path) -> Result<(), KeyFileError> {
    let found = std::fs::metadata(path)
        .map_err(|error| SecretError::NoFile { path: path.display().to_string(), error })?;
    let mode = found.permissions().mode() & 0o777;
    if mode & OTHERS != 0 {
        return Err(KeyFileError::Open { path: path.to_owned(), mode });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seed_is_known_whole_whatever_letters_it_has() {
        for data in ["AbC/dEf+", "+", "A+b", "+/+/", "AAAA"] {
            assert_eq!(seed(&format!("PRIVATE+KEY+switchyard/shop+0a1b2c3d+{data}")), Some(data));
        }
        assert_eq!(seed("PRIVATE+KEY+switchyard/shop"), None);
    }
}
