//! Signed notes, as the C2SP specification `signed-note` has them: a text, an empty line, and a line for each signature.
//!
//! A verifier knows some keys and ignores all others, so a note may gather signatures of witnesses that it has never
//! heard of. A signature that claims to be a known key's and is not one spoils the whole note.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signer as _, VerifyingKey};
use sha2::{Digest as _, Sha256};

/// The algorithm's byte in keys and key ids: Ed25519.
const ED25519: u8 = 1;

/// What a signature line begins with: an em dash and a space.
const DASH: &str = "\u{2014} ";

/// What the text form of a private key begins with.
const PRIVATE: &str = "PRIVATE+KEY+";

/// The longest note that is read. Room for far more than a checkpoint with a hundred signatures.
pub const MOST_BYTES: usize = 256 * 1024;

/// The most signatures that are read; the specification asks for 16 at least.
pub const MOST_SIGNATURES: usize = 100;

/// The longest name of a key, in bytes.
const LONGEST_NAME: usize = 255;

/// Why bytes are no note that can be trusted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// It is too long, not UTF-8, has control characters, or is not built as a note is.
    #[error("it is not a signed note: {0}")]
    Malformed(&'static str),
    /// A key that is known did not make the signature that bears its name.
    #[error("the signature of {0} is false")]
    False(KeyName),
    /// No known key has signed it.
    #[error("no known key has signed it")]
    Unsigned,
}

/// A text is no key, or no name of one. The text is not repeated: it may be a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct KeyError(&'static str);

/// A key's name: not empty, without spaces, control characters and `+`. A log's key is named as the log's origin.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyName(String);

impl KeyName {
    /// Checks and wraps a text.
    ///
    /// # Errors
    /// The text breaks the rule.
    pub fn new(text: &str) -> Result<Self, KeyError> {
        let is_good = |c: char| c != '+' && !c.is_whitespace() && !c.is_control();
        if text.is_empty() || text.len() > LONGEST_NAME || !text.chars().all(is_good) {
            return Err(KeyError("a key's name is 1 to 255 bytes without spaces, control characters and +"));
        }
        Ok(Self(text.to_owned()))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The first four bytes of SHA-256 over a key's name, a line feed, the algorithm's byte and the public key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyId([u8; 4]);

impl KeyId {
    fn of(name: &KeyName, key: &VerifyingKey) -> Self {
        let digest = Sha256::new()
            .chain_update(name.as_str())
            .chain_update([b'\n', ED25519])
            .chain_update(key.as_bytes())
            .finalize();
        let mut id = [0; 4];
        for (to, from) in id.iter_mut().zip(digest) {
            *to = from;
        }
        Self(id)
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

/// What a verifier knows of a signer. In text: `<name>+<key id>+<base64 of type and public key>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifierKey {
    name: KeyName,
    id: KeyId,
    key: VerifyingKey,
}

impl VerifierKey {
    /// Its name.
    #[must_use]
    pub const fn name(&self) -> &KeyName {
        &self.name
    }

    /// Whether the signature is this key's, by name and id, and what it is worth.
    fn judge(&self, text: &str, signature: &Signature) -> Option<bool> {
        (signature.name == self.name && signature.id == self.id).then(|| {
            ed25519_dalek::Signature::from_slice(&signature.bytes)
                .is_ok_and(|bytes| self.key.verify_strict(text.as_bytes(), &bytes).is_ok())
        })
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut key = vec![ED25519];
        key.extend_from_slice(self.key.as_bytes());
        write!(f, "{}+{}+{}", self.name, self.id, STANDARD.encode(key))
    }
}

/// The three parts of a key's text, and the 32 bytes after the algorithm's.
fn parts(text: &str) -> Result<(KeyName, &str, [u8; 32]), KeyError> {
    let shape = KeyError("a key is <name>+<8 hexadecimal digits>+<base64>");
    // The base64 may hold a `+`, so only the first two part the text.
    let (name, rest) = text.split_once('+').ok_or_else(|| shape.clone())?;
    let (id, key) = rest.split_once('+').ok_or_else(|| shape.clone())?;
    let bytes = STANDARD.decode(key).map_err(|_| shape)?;
    let (kind, bytes) = bytes.split_first().ok_or(KeyError("the key is empty"))?;
    if *kind != ED25519 {
        return Err(KeyError("the key is not an Ed25519 key"));
    }
    let bytes = bytes.try_into().map_err(|_| KeyError("an Ed25519 key has 32 bytes"))?;
    Ok((KeyName::new(name)?, id, bytes))
}

impl FromStr for VerifierKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, id, bytes) = parts(text.trim())?;
        let key = VerifyingKey::from_bytes(&bytes).map_err(|_| KeyError("it is no point of the curve"))?;
        let known = Self { id: KeyId::of(&name, &key), name, key };
        if known.id.to_string() != id {
            return Err(KeyError("the key's id is not that of its name and bytes"));
        }
        Ok(known)
    }
}

/// What signs. Its `Debug` shows the public half alone; the bytes are wiped when it is dropped.
#[derive(Clone)]
pub struct SignerKey {
    verifier: VerifierKey,
    key: ed25519_dalek::SigningKey,
}

impl fmt::Debug for SignerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SignerKey({})", self.verifier)
    }
}

impl SignerKey {
    /// The key of a name and 32 random bytes.
    #[must_use]
    pub fn from_seed(name: KeyName, seed: &[u8; 32]) -> Self {
        let key = ed25519_dalek::SigningKey::from_bytes(seed);
        let public = key.verifying_key();
        Self { verifier: VerifierKey { id: KeyId::of(&name, &public), name, key: public }, key }
    }

    /// Reads `PRIVATE+KEY+<name>+<key id>+<base64 of type and seed>`.
    ///
    /// # Errors
    /// It is no such text, or its id does not fit.
    pub fn from_secret(text: &str) -> Result<Self, KeyError> {
        let rest = text.trim().strip_prefix(PRIVATE);
        let (name, id, seed) = parts(rest.ok_or(KeyError("it does not begin with PRIVATE+KEY+"))?)?;
        let key = Self::from_seed(name, &seed);
        if key.verifier.id.to_string() != id {
            return Err(KeyError("the key's id is not that of its name and bytes"));
        }
        Ok(key)
    }

    /// Its text form: a secret.
    #[must_use]
    pub fn to_secret(&self) -> String {
        let mut seed = vec![ED25519];
        seed.extend_from_slice(self.key.as_bytes());
        format!("{PRIVATE}{}+{}+{}", self.verifier.name, self.verifier.id, STANDARD.encode(seed))
    }

    /// What auditors need to know of it.
    #[must_use]
    pub const fn verifier(&self) -> &VerifierKey {
        &self.verifier
    }

    /// Signs a text.
    ///
    /// # Errors
    /// The text cannot be a note's.
    pub fn sign(&self, text: &str) -> Result<Note, NoteError> {
        check_text(text)?;
        let signature = Signature {
            name: self.verifier.name.clone(),
            id: self.verifier.id,
            bytes: self.key.sign(text.as_bytes()).to_bytes().to_vec(),
        };
        Ok(Note { text: text.to_owned(), signatures: vec![signature] })
    }
}

/// One signature of a note.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    /// Whose it claims to be.
    pub name: KeyName,
    /// Of which key.
    pub id: KeyId,
    /// What follows the key id: 64 bytes for Ed25519, other lengths for others.
    pub bytes: Vec<u8>,
}

/// A text with signatures that nobody has looked at yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    text: String,
    signatures: Vec<Signature>,
}

/// What was signed by a known key. Only [`Note::verify`] makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified<T> {
    what: T,
    by: Vec<KeyName>,
}

impl<T> Verified<T> {
    /// What was signed.
    pub const fn get(&self) -> &T {
        &self.what
    }

    /// The known keys that signed it.
    pub fn by(&self) -> &[KeyName] {
        &self.by
    }

    /// What the signed thing says, if it can be read. What was signed stays signed however it is read.
    pub(crate) fn try_map<U, E>(self, read: impl FnOnce(T) -> Result<U, E>) -> Result<Verified<U>, E> {
        Ok(Verified { what: read(self.what)?, by: self.by })
    }
}

fn check_text(text: &str) -> Result<(), NoteError> {
    if text.len() > MOST_BYTES {
        return Err(NoteError::Malformed("it is too long"));
    }
    if text.chars().any(|c| c.is_control() && c != '\n') {
        return Err(NoteError::Malformed("it has a control character"));
    }
    if !text.ends_with('\n') {
        return Err(NoteError::Malformed("the text does not end with a line feed"));
    }
    Ok(())
}

impl Note {
    /// Reads a note; nothing is verified yet.
    ///
    /// # Errors
    /// [`NoteError::Malformed`].
    pub fn parse(bytes: &[u8]) -> Result<Self, NoteError> {
        if bytes.len() > MOST_BYTES {
            return Err(NoteError::Malformed("it is too long"));
        }
        let whole = std::str::from_utf8(bytes).map_err(|_| NoteError::Malformed("it is not UTF-8"))?;
        // The last empty line parts the two: a text may have some of its own, signatures have none.
        let parted = whole.rsplit_once("\n\n").and_then(|(text, rest)| {
            let with_its_end = whole.get(..text.len() + 1)?;
            Some((with_its_end, rest))
        });
        let (text, lines) = parted.ok_or(NoteError::Malformed("no empty line before the signatures"))?;
        check_text(text)?;
        check_text(lines)?;
        let mut signatures = Vec::new();
        for line in lines.trim_end_matches('\n').split('\n') {
            if signatures.len() == MOST_SIGNATURES {
                return Err(NoteError::Malformed("it has too many signatures"));
            }
            signatures.push(Self::signature(line).ok_or(NoteError::Malformed("a signature line is wrong"))?);
        }
        let note = Self { text: text.to_owned(), signatures };
        // Whatever reads otherwise than it was written is not accepted.
        if note.to_string() == whole {
            Ok(note)
        } else {
            Err(NoteError::Malformed("it is not written as notes are"))
        }
    }

    fn signature(line: &str) -> Option<Signature> {
        let (name, encoded) = line.strip_prefix(DASH)?.split_once(' ')?;
        let decoded = STANDARD.decode(encoded).ok()?;
        let (id, bytes) = decoded.split_first_chunk::<4>()?;
        let signature = Signature { name: KeyName::new(name).ok()?, id: KeyId(*id), bytes: bytes.to_vec() };
        (!bytes.is_empty()).then_some(signature)
    }

    /// The text, unverified.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The signatures, unverified.
    #[must_use]
    pub fn signatures(&self) -> &[Signature] {
        &self.signatures
    }

    /// The text, if a known key has signed it and none that is known did so falsely.
    ///
    /// # Errors
    /// [`NoteError::False`], [`NoteError::Unsigned`].
    pub fn verify(&self, known: &[VerifierKey]) -> Result<Verified<String>, NoteError> {
        let mut by = Vec::new();
        for signature in &self.signatures {
            // Keys of one name and id may yet differ: four bytes are soon found twice. One of them must have made it.
            let mut verdicts = known.iter().filter_map(|key| key.judge(&self.text, signature)).peekable();
            if verdicts.peek().is_none() {
                continue;
            }
            if !verdicts.any(|good| good) {
                return Err(NoteError::False(signature.name.clone()));
            }
            by.push(signature.name.clone());
        }
        if by.is_empty() { Err(NoteError::Unsigned) } else { Ok(Verified { what: self.text.clone(), by }) }
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.text)?;
        for Signature { name, id, bytes } in &self.signatures {
            let whole: Vec<u8> = id.0.iter().chain(bytes).copied().collect();
            writeln!(f, "{DASH}{name} {}", STANDARD.encode(whole))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
