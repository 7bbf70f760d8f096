//! Canonical JSON (RFC 8785): the bytes that are stored are the bytes that are hashed.

mod reader;
mod writer;

use std::fmt;

use serde::Serialize;

pub(crate) use reader::from_plain;
use writer::{Numbers, Writer};

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
    canonical(value, Numbers::Refused)
}

/// The canonical bytes of a value whose numbers are taken as their decimal texts: to be hashed, not to be read again.
///
/// # Errors
/// The value does not serialise.
pub fn to_canonical_texts<T: Serialize>(value: &T) -> Result<Vec<u8>, CanonicalError> {
    canonical(value, Numbers::AsTexts)
}

/// Whether a character of a text is written as it is.
const fn is_plain(byte: u8) -> bool {
    byte >= b' ' && byte != b'"' && byte != b'\\'
}

fn canonical<T: Serialize>(value: &T, numbers: Numbers) -> Result<Vec<u8>, CanonicalError> {
    // As large as most events are.
    let mut out = Vec::with_capacity(512);
    value.serialize(Writer { out: &mut out, numbers })?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::Value;

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

    /// What serde tells in other ways than a [`Value`] does comes out as serde_json writes it, in order.
    #[test]
    fn every_shape_that_serde_knows_has_its_form() {
        #[derive(Serialize)]
        enum Shape {
            Unit,
            Newtype(char),
            Tuple(Option<bool>, ()),
            Struct { z: Pair, a: Text },
        }
        #[derive(Serialize)]
        struct Pair(&'static str, u8);
        struct Text;
        impl Serialize for Text {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(&format_args!("a\n{}", '"'))
            }
        }
        let shapes = [
            Shape::Unit,
            Shape::Newtype('\\'),
            Shape::Tuple(None, ()),
            Shape::Struct { z: Pair("\u{7f}", 7), a: Text },
        ];
        let keyed: BTreeMap<u32, &[Shape]> = [(2, &shapes[..]), (10, &[])].into();
        let bytes = to_canonical_texts(&keyed).unwrap();
        let written = "{\"10\":[],\"2\":[\"Unit\",{\"Newtype\":\"\\\\\"},{\"Tuple\":[null,null]},\
                       {\"Struct\":{\"a\":\"a\\n\\\"\",\"z\":[\"\u{7f}\",\"7\"]}}]}";
        assert_eq!(String::from_utf8(bytes).unwrap(), written);
        let error = to_canonical(&keyed).unwrap_err();
        assert_eq!(error.to_string(), "a number at `/2/3/Struct/z/1`: numbers travel as strings");
    }

    #[test]
    fn a_key_that_would_stand_there_twice_is_refused() {
        struct Twice;
        impl Serialize for Twice {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_map([("a", "1"), ("b", "2"), ("a", "3")])
            }
        }
        let error = to_canonical(&Twice).unwrap_err();
        assert_eq!(error.to_string(), "the key `a` stands there twice");
    }
}
