//! Secrets, and the scrubber that keeps them out of logs, events, errors and messages.

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

/// A text that must not be shown. Its `Debug` and `Display` are stars.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a text.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text, for the one call that needs it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Reads an environment variable.
    ///
    /// # Errors
    /// It is not set, empty, or not UTF-8.
    pub fn from_env(name: &str) -> Result<Self, SecretError> {
        match std::env::var(name) {
            Ok(text) if !text.trim().is_empty() => Ok(Self(text.trim().to_owned())),
            Ok(_) | Err(_) => Err(SecretError::NoVariable { name: name.to_owned() }),
        }
    }

    /// Reads a file, without its last line break.
    ///
    /// # Errors
    /// It cannot be read, or is empty.
    pub fn from_file(path: &Path) -> Result<Self, SecretError> {
        let named = path.display().to_string();
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) => return Err(SecretError::NoFile { path: named, error }),
        };
        if text.trim().is_empty() {
            return Err(SecretError::EmptyFile { path: named });
        }
        Ok(Self(text.trim().to_owned()))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(***)")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// A secret is not where the plan says.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The variable is missing.
    #[error("the environment variable {name} is not set or empty: set it to the connection string")]
    NoVariable {
        /// Its name.
        name: String,
    },
    /// The file cannot be read.
    #[error("the file {path} cannot be read: {error}")]
    NoFile {
        /// Its path.
        path: String,
        /// Why.
        #[source]
        error: std::io::Error,
    },
    /// The file is empty.
    #[error("the file {path} is empty: it should hold the connection string")]
    EmptyFile {
        /// Its path.
        path: String,
    },
}

/// Replaces every secret it knows by `***`. Cheap to clone; all clones know the same.
#[derive(Clone, Default)]
pub struct Scrubber {
    known: Arc<RwLock<BTreeSet<String>>>,
}

impl fmt::Debug for Scrubber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Scrubber")
    }
}

impl Scrubber {
    /// Learns a secret: a whole connection string, and the password within it. An empty one is none: it stands between any
    /// two letters.
    pub fn learn(&self, secret: &Secret) {
        let text = secret.expose();
        if text.is_empty() {
            return;
        }
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.insert(text.to_owned());
        for password in passwords(text) {
            known.insert(password);
        }
    }

    /// The text without any secret known so far, and without the password of any URL in it.
    #[must_use]
    pub fn scrub(&self, text: &str) -> String {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let mut clean = text.to_owned();
        let mut longest_first: Vec<&String> = known.iter().collect();
        longest_first.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        for secret in longest_first {
            clean = clean.replace(secret.as_str(), "***");
        }
        for password in passwords(&clean) {
            clean = clean.replace(&password, "***");
        }
        clean
    }
}

/// The passwords in URLs (`scheme://user:password@`) and in `password=…` pairs, as they are written and as they are meant.
fn passwords(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices("://") {
        let rest = text.get(at + 3..).unwrap_or_default();
        let authority = rest.split(['/', '?', ' ', '"', '\'', '\n']).next().unwrap_or_default();
        // A password with a slash that nobody escaped ends the authority too early.
        for within in [authority, rest.split([' ', '"', '\n']).next().unwrap_or_default()] {
            if let Some((user, _host)) = within.rsplit_once('@')
                && let Some((_name, password)) = user.split_once(':')
            {
                found.push(password.to_owned());
            }
        }
    }
    for (at, word) in text.match_indices("password") {
        let rest = text.get(at + word.len()..).unwrap_or_default().trim_start();
        let Some(value) = rest.strip_prefix('=').map(str::trim_start) else { continue };
        match value.strip_prefix('\'') {
            Some(quoted) => found.extend(quoted_value(quoted)),
            None => {
                let whole = value.split(char::is_whitespace).next().unwrap_or_default();
                let cut = whole.split(['&', '"', ',', ';']).next().unwrap_or_default();
                found.extend([whole.to_owned(), cut.to_owned()]);
            }
        }
    }
    let meant: Vec<String> = found.iter().filter_map(|password| percent_decoded(password)).collect();
    found.extend(meant);
    found.retain(|password| password.len() > 2 && !password.contains("***"));
    found
}

/// A value after its opening quote: as it is written, and as it is meant, with `\'` and `''` read as a quote. To the end
/// if no quote closes it.
fn quoted_value(text: &str) -> [String; 2] {
    let (mut written, mut meant) = (String::new(), String::new());
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        let escapes = letter == '\\' || (letter == '\'' && letters.peek() == Some(&'\''));
        if letter == '\'' && !escapes {
            break;
        }
        written.push(letter);
        if let Some(next) = escapes.then(|| letters.next()).flatten() {
            written.push(next);
            meant.push(next);
        } else {
            meant.push(letter);
        }
    }
    [written, meant]
}

/// What a URL's text means, if it has escapes and they are right.
fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(if byte == b'%' {
            let high = char::from(rest.next()?).to_digit(16)?;
            let low = char::from(rest.next()?).to_digit(16)?;
            u8::try_from(high * 16 + low).ok()?
        } else {
            byte
        });
    }
    String::from_utf8(bytes).ok().filter(|decoded| decoded != text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_known_secret_and_its_password_are_replaced_wherever_they_stand() {
        let scrubber = Scrubber::default();
        scrubber.learn(&Secret::new("postgres://mover:hunter22@db:5432/shop"));
        assert_eq!(scrubber.scrub("cannot reach postgres://mover:hunter22@db:5432/shop"), "cannot reach ***");
        assert_eq!(scrubber.scrub("password hunter22 refused"), "password *** refused");
        assert_eq!(scrubber.scrub("host=a password='s3cret x' dbname=b"), "host=a password='***' dbname=b");
        assert_eq!(format!("{:?} {}", Secret::new("abc"), Secret::new("abc")), "Secret(***) ***");
    }

    #[test]
    fn an_empty_secret_takes_nothing_out() {
        let scrubber = Scrubber::default();
        for written in ["", "postgres://mover:@db/shop", "host=a password='' dbname=b"] {
            scrubber.learn(&Secret::new(written));
        }
        assert_eq!(scrubber.scrub("the stream is down"), "the stream is down");
    }

    #[test]
    fn a_password_is_known_however_it_is_written() {
        for (written, meant) in [
            ("postgres://mover:hunt%40er%2022@db/shop", "hunt@er 22"),
            ("postgres://mover:hunt/er22@db/shop", "hunt/er22"),
            ("host=a password = hunter22 dbname=b", "hunter22"),
            (r"host=a password='hunt\'er 22' dbname=b", "hunt'er 22"),
            ("host=a password='hunt''er 22' dbname=b", "hunt'er 22"),
            ("host=a password='hunter 22", "hunter 22"),
            ("postgres://db/shop?user=a&password=hunt%26er22&sslmode=disable", "hunt&er22"),
            ("postgres://db/shop?password=hunter22", "hunter22"),
        ] {
            let scrubber = Scrubber::default();
            scrubber.learn(&Secret::new(written));
            let said = scrubber.scrub(&format!("the server said: {meant} is wrong, in {written}"));
            assert!(!said.contains("hunt") && !said.contains("22"), "{written}: {said}");
        }
    }
}
