//! Canonical JSON (RFC 8785): the bytes that are stored are the bytes that are hashed.

use serde::Serialize;
use serde_json::Value;

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

/// The canonical bytes of a value.
///
/// # Errors
/// The value has a number, or does not serialise.
pub fn to_canonical<T: Serialize>(value: &T) -> Result<Vec<u8>, CanonicalError> {
    let value = serde_json::to_value(value)?;
    check(&value, "")?;
    Ok(serde_json_canonicalizer::to_vec(&value)?)
}

fn check(value: &Value, path: &str) -> Result<(), CanonicalError> {
    match value {
        Value::Number(_) => Err(CanonicalError::Number(path.to_owned())),
        Value::Array(items) => {
            items.iter().enumerate().try_for_each(|(index, item)| check(item, &format!("{path}/{index}")))
        }
        Value::Object(fields) => {
            fields.iter().try_for_each(|(key, item)| check(item, &format!("{path}/{key}")))
        }
        Value::Null | Value::Bool(_) | Value::String(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_sorted_and_numbers_are_refused() {
        let value = serde_json::json!({"b": "1", "a": {"d": null, "c": true}});
        assert_eq!(to_canonical(&value).unwrap(), br#"{"a":{"c":true,"d":null},"b":"1"}"#);
        let error = to_canonical(&serde_json::json!({"a": [1]})).unwrap_err();
        assert_eq!(error.to_string(), "a number at `/a/0`: numbers travel as strings");
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
