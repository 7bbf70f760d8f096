//! Where a plan keeps its secrets.

use std::path::Path;

use journal::SecretRef;
use runtime::{Secret, SecretError};

/// Reads a secret where the plan says that it is kept. A relative file is relative to the plan's folder, so that every verb
/// finds the same one from wherever it is called.
///
/// # Errors
/// It is not there.
pub fn secret(kept: &SecretRef, folder: &Path) -> Result<Secret, SecretError> {
    match kept {
        SecretRef::Env(name) => Secret::from_env(name),
        SecretRef::File(path) => Secret::from_file(&folder.join(path)),
    }
}
