//! Canonical JSON (RFC 8785): the bytes that are stored are the bytes that are hashed.

use std::fmt;

use serde::Serialize;
use serde_json::{Number, Value};

/// A value that has no canonical form here.
#[derive(Debug, thiserror::Error)]
pub enum CanonicalError {
    /// Canonical JSON numbers are doubles, so the journal has none: numbers travel as strings.
    #[error("a number at `{0}`: numbers travel as strings")]
    Number(String),
    /// The value does not serialise.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
}

impl CanonicalError {
    /// The same, told from one level further up.
    fn within(self, step: &impl fmt::Display) -> Self {
        match self {
            Self::Number(path) => Self::Number(format!("/{step}{path}")),
            Self::Json(error) => Self::Json(error),
        }
    }
}

/// The canonical bytes of a value.
///
/// # Errors
/// The value has a number, or does not serialise.
pub fn to_canonical<T: Serialize>(value: &T) -> Result<Vec<u8>, CanonicalError> {
    canonical(value, |_number| Err(CanonicalError::Number(String::new())))
}

/// The canonical bytes of a value whose numbers are taken as their decimal texts: to be hashed, not to be read again.
///
/// # Errors
/// The value does not serialise.
pub fn to_canonical_texts<T: Serialize>(value: &T) -> Result<Vec<u8>, CanonicalError> {
    canonical(value, |number| Ok(number.to_string()))
}

fn canonical<T: Serialize>(
    value: &T,
    as_text: impl Fn(&Number) -> Result<String, CanonicalError>,
) -> Result<Vec<u8>, CanonicalError> {
    // As large as most events are.
    let mut out = Vec::with_capacity(512);
    write(&mut out, &serde_json::to_value(value)?, &as_text)?;
    Ok(out)
}

fn write(
    out: &mut Vec<u8>,
    value: &Value,
    as_text: &impl Fn(&Number) -> Result<String, CanonicalError>,
) -> Result<(), CanonicalError> {
    match value {
        Value::Number(number) => text(out, &as_text(number)?),
        Value::String(string) => text(out, string),
        Value::Null => word(out, "null"),
        Value::Bool(true) => word(out, "true"),
        Value::Bool(false) => word(out, "false"),
        Value::Array(items) => {
            let mut between = b'[';
            for (index, item) in items.iter().enumerate() {
                out.push(between);
                between = b',';
                write(out, item, as_text).map_err(|error| error.within(&index))?;
            }
            close(out, between, *b"[]")
        }
        Value::Object(fields) => {
            let mut fields: Vec<_> = fields.iter().collect();
            // Section 3.2.3: by UTF-16 code units. The map has its own order.
            fields.sort_by(|(one, _), (other, _)| one.encode_utf16().cmp(other.encode_utf16()));
            let mut between = b'{';
            for (key, item) in fields {
                out.push(between);
                between = b',';
                text(out, key)?;
                out.push(b':');
                write(out, item, as_text).map_err(|error| error.within(key))?;
            }
            close(out, between, *b"{}")
        }
    }
}

/// Section 3.2.2.2: what serde_json escapes, it escapes as that section asks.
fn text(out: &mut Vec<u8>, text: &str) -> Result<(), CanonicalError> {
    Ok(serde_json::to_writer(out, text)?)
}

fn word(out: &mut Vec<u8>, word: &str) -> Result<(), CanonicalError> {
    out.extend_from_slice(word.as_bytes());
    Ok(())
}

/// Ends a list that nothing was written of yet if what comes next is its opening.
fn close(out: &mut Vec<u8>, next: u8, [open, close]: [u8; 2]) -> Result<(), CanonicalError> {
    if next == open {
        out.push(open);
    }
    out.push(close);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_sorted_and_numbers_are_refused() {
        let value = serde_json::json!({"b": "1", "a": {"d": null, "c": true}});
        assert_eq!(to_canonical(&value).unwrap(), br#"{"a":{"c":true,"d":null},"b":"1"}"#);
        let empty = serde_json::json!({"b": {}, "a": [], "c": "\u{8}\u{1f}\u{7f}/\"\\"});
        let written = "{\"a\":[],\"b\":{},\"c\":\"\\b\\u001f\u{7f}/\\\"\\\\\"}";
        assert_eq!(String::from_utf8(to_canonical(&empty).unwrap()).unwrap(), written);
        let error = to_canonical(&serde_json::json!({"a": [1]})).unwrap_err();
        assert_eq!(error.to_string(), "a number at `/a/0`: numbers travel as strings");
        let texts = serde_json::json!({"a": [1, -2, "3"]});
        assert_eq!(to_canonical_texts(&texts).unwrap(), br#"{"a":["1","-2","3"]}"#);
    }

    /// RFC 8785, section 3.2.3: by UTF-16 code units, in which U+1F600 comes before U+FB33.
    #[test]
    fn keys_outside_ascii_are_sorted_by_their_utf16_units() {
        let keys = ["\u{20ac}", "\r", "\u{fb33}", "1", "\u{1f600}", "\u{80}", "\u{f6}"];
        let value: Value = keys.iter().map(|key| ((*key).to_owned(), Value::Null)).collect();
        let bytes = to_canonical(&value).unwrap();
        let sorted = "{\"\\r\":null,\"1\":null,\"\u{80}\":null,\"\u{f6}\":null,\"\u{20ac}\":null,\
                      \"\u{1f600}\":null,\"\u{fb33}\":null}";
        assert_eq!(String::from_utf8(bytes).unwrap(), sorted);
    }
}
