//! Reads what is nearly always there: canonical JSON with nothing in it that is written in another way than it is meant.
//!
//! A journal is read by the million of events, of which hardly any has an escaped character in it and none has a number or
//! a space between its words. What has is left to serde_json, and so is whatever is wrong, since it can say why. So what is
//! read here is what serde_json reads, and this reader may give up wherever it likes. The tests of `schema.rs` change events at
//! every fifth byte and hold it to the first.

use std::fmt::Display;

use serde::de::value::BorrowedStrDeserializer;
use serde::de::{self, Deserialize, DeserializeSeed, Deserializer, EnumAccess, VariantAccess, Visitor};
use serde::forward_to_deserialize_any;

/// Objects and lists in one another; far above what an event has.
const DEPTH: u32 = 32;

/// It is not read here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not plain canonical JSON of that shape")]
pub struct NotPlain;

impl de::Error for NotPlain {
    fn custom<T: Display>(_what: T) -> Self {
        Self
    }
}

/// Reads one value, which has to be all of the text.
///
/// # Errors
/// The text is not plain, or not such a value: which of them, another reader has to say.
pub fn from_plain<'de, T: Deserialize<'de>>(text: &'de str) -> Result<T, NotPlain> {
    let mut reader = Reader { text, at: 0, depth: 0 };
    let value = T::deserialize(&mut reader)?;
    if reader.at == text.len() { Ok(value) } else { Err(NotPlain) }
}

struct Reader<'de> {
    text: &'de str,
    at: usize,
    depth: u32,
}

impl<'de> Reader<'de> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn take(&mut self, byte: u8) -> Result<(), NotPlain> {
        if self.peek() != Some(byte) {
            return Err(NotPlain);
        }
        self.at += 1;
        Ok(())
    }

    fn word(&mut self, word: &str) -> Result<(), NotPlain> {
        let rest = self.text.get(self.at..).ok_or(NotPlain)?;
        if !rest.starts_with(word) {
            return Err(NotPlain);
        }
        self.at += word.len();
        Ok(())
    }

    /// A text without an escaped character.
    fn text(&mut self) -> Result<&'de str, NotPlain> {
        self.take(b'"')?;
        let rest = self.text.as_bytes().get(self.at..).ok_or(NotPlain)?;
        let length = plain(rest);
        let text = self.text.get(self.at..self.at + length).ok_or(NotPlain)?;
        self.at += length;
        self.take(b'"')?;
        Ok(text)
    }

    fn enter(&mut self, open: u8) -> Result<(), NotPlain> {
        self.take(open)?;
        self.depth += 1;
        if self.depth > DEPTH { Err(NotPlain) } else { Ok(()) }
    }

    fn leave(&mut self, close: u8) -> Result<(), NotPlain> {
        self.depth -= 1;
        self.take(close)
    }

    /// Whether another part follows; the comma before it is taken.
    fn goes_on(&mut self, close: u8, is_first: bool) -> Result<bool, NotPlain> {
        if self.peek() == Some(close) {
            return Ok(false);
        }
        if !is_first {
            self.take(b',')?;
        }
        Ok(true)
    }
}

impl<'de> Deserializer<'de> for &mut Reader<'de> {
    type Error = NotPlain;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, NotPlain> {
        match self.peek() {
            Some(b'"') => visitor.visit_borrowed_str(self.text()?),
            Some(b'{') => {
                self.enter(b'{')?;
                let value = visitor.visit_map(Parts { reader: self, close: b'}', is_first: true })?;
                self.leave(b'}')?;
                Ok(value)
            }
            Some(b'[') => {
                self.enter(b'[')?;
                let value = visitor.visit_seq(Parts { reader: self, close: b']', is_first: true })?;
                self.leave(b']')?;
                Ok(value)
            }
            Some(b't') => {
                self.word("true")?;
                visitor.visit_bool(true)
            }
            Some(b'f') => {
                self.word("false")?;
                visitor.visit_bool(false)
            }
            Some(b'n') => {
                self.word("null")?;
                visitor.visit_unit()
            }
            _ => Err(NotPlain),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, NotPlain> {
        if self.peek() == Some(b'n') {
            self.word("null")?;
            return visitor.visit_none();
        }
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, NotPlain> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, NotPlain> {
        visitor.visit_enum(Word(self.text()?))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map struct identifier ignored_any
    }
}

/// How many bytes at the beginning are written as they are; eight at once, as long as there are so many.
fn plain(bytes: &[u8]) -> usize {
    const LOW: u64 = u64::MAX / 0xFF;
    const HIGH: u64 = LOW * 0x80;
    let (eights, _rest) = bytes.as_chunks::<8>();
    for (place, eight) in eights.iter().enumerate() {
        let word = u64::from_le_bytes(*eight);
        let (quote, slash) = (word ^ (LOW * 0x22), word ^ (LOW * 0x5C));
        // The high bit of each byte that is zero, or below a space. A borrow may set more, but none before the first.
        let found = (quote.wrapping_sub(LOW) & !quote)
            | (slash.wrapping_sub(LOW) & !slash)
            | (word.wrapping_sub(LOW * 0x20) & !word);
        if found & HIGH != 0 {
            return place * 8 + (found & HIGH).trailing_zeros() as usize / 8;
        }
    }
    let done = eights.len() * 8;
    let rest = bytes.get(done..).unwrap_or_default();
    done + rest.iter().position(|byte| !super::is_plain(*byte)).unwrap_or(rest.len())
}

/// The parts of an object or of a list.
struct Parts<'r, 'de> {
    reader: &'r mut Reader<'de>,
    close: u8,
    is_first: bool,
}

impl<'de> de::MapAccess<'de> for Parts<'_, 'de> {
    type Error = NotPlain;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, NotPlain> {
        if !self.reader.goes_on(self.close, self.is_first)? {
            return Ok(None);
        }
        self.is_first = false;
        let key = seed.deserialize(BorrowedStrDeserializer::new(self.reader.text()?))?;
        self.reader.take(b':')?;
        Ok(Some(key))
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, NotPlain> {
        seed.deserialize(&mut *self.reader)
    }
}

impl<'de> de::SeqAccess<'de> for Parts<'_, 'de> {
    type Error = NotPlain;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, NotPlain> {
        if !self.reader.goes_on(self.close, self.is_first)? {
            return Ok(None);
        }
        self.is_first = false;
        seed.deserialize(&mut *self.reader).map(Some)
    }
}

/// An enum's variant that has nothing in it.
struct Word<'de>(&'de str);

impl<'de> EnumAccess<'de> for Word<'de> {
    type Error = NotPlain;
    type Variant = Self;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self), NotPlain> {
        Ok((seed.deserialize(BorrowedStrDeserializer::new(self.0))?, self))
    }
}

impl<'de> VariantAccess<'de> for Word<'de> {
    type Error = NotPlain;

    fn unit_variant(self) -> Result<(), NotPlain> {
        Ok(())
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, _seed: S) -> Result<S::Value, NotPlain> {
        Err(NotPlain)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _length: usize, _visitor: V) -> Result<V::Value, NotPlain> {
        Err(NotPlain)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _fields: &'static [&'static str],
        _visitor: V,
    ) -> Result<V::Value, NotPlain> {
        Err(NotPlain)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_plain_text_ends_before_the_first_byte_that_is_none() {
        for length in 0..20 {
            assert_eq!(plain(&vec![b'x'; length]), length);
            for place in 0..length {
                for byte in 0..=u8::MAX {
                    let mut bytes = vec![b'!'; length];
                    *bytes.get_mut(place).unwrap() = byte;
                    let naive =
                        bytes.iter().position(|byte| !super::super::is_plain(*byte)).unwrap_or(length);
                    assert_eq!(plain(&bytes), naive, "{byte:#x} at {place} of {length}");
                }
            }
        }
    }

    #[test]
    fn plain_json_is_read_and_all_else_is_left_to_others() {
        let text = "{\"a\":[true,false,null,\"\u{fc}\"],\"b\":{\"c\":[],\"d\":{}}}";
        let value = json!({"a": [true, false, null, "\u{fc}"], "b": {"c": [], "d": {}}});
        assert_eq!(from_plain::<Value>(text), Ok(value));
        let not = [
            "",
            "1",
            "-1",
            "[1]",
            "{\"a\":1}",
            " \"\"",
            "\"\" ",
            "[ ]",
            "[\"a\" ]",
            "{\"a\": \"b\"}",
            "\"\\n\"",
            "\"\n\"",
            "[,]",
            "[\"a\",]",
            "{,}",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":\"b\",}",
            "[",
            "{",
            "\"",
            "[}",
            "{]",
            "tru",
            "nul",
            "x",
            "[][]",
            "{a:\"b\"}",
        ];
        for text in not {
            assert_eq!(from_plain::<Value>(text), Err(NotPlain), "{text}");
        }
        let deep = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert!(from_plain::<Value>(&deep(32)).is_ok());
        assert_eq!(from_plain::<Value>(&deep(33)), Err(NotPlain));
        assert_eq!(from_plain::<de::IgnoredAny>(&"[".repeat(1_000_000)).unwrap_err(), NotPlain);
    }

    #[test]
    fn shapes_are_what_serde_knows() {
        #[derive(Debug, PartialEq, serde::Deserialize)]
        enum Word {
            One,
            #[serde(untagged)]
            Other(BTreeMap<String, Option<bool>>),
        }
        #[derive(Debug, PartialEq, serde::Deserialize)]
        struct Shape {
            word: Vec<Word>,
            #[serde(default)]
            maybe: Option<String>,
        }
        let read = from_plain::<Shape>("{\"unknown\":[{}],\"word\":[\"One\",{\"a\":null,\"b\":true}]}");
        let other = Word::Other([("a".to_owned(), None), ("b".to_owned(), Some(true))].into());
        assert_eq!(read, Ok(Shape { word: vec![Word::One, other], maybe: None }));
        assert_eq!(from_plain::<Shape>("{\"word\":[\"Two\"]}"), Err(NotPlain));
        assert_eq!(from_plain::<Shape>("{\"word\":[],\"word\":[]}"), Err(NotPlain));
    }
}
