//! Serde's side: a value's JSON is written as serde tells it, each object's fields one after the other, and put in order
//! when the object ends. No tree is built in between: every append writes two such values.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt::Display;
use std::io::Write as _;
use std::ops::Range;

use serde::ser::{self, Error as _, Serialize, Serializer};
use serde_json::Number;

use super::{CanonicalError, is_plain};

/// What becomes of a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Numbers {
    /// It is refused.
    Refused,
    /// Its decimal text stands for it.
    AsTexts,
}

type Done = Result<(), CanonicalError>;

impl ser::Error for CanonicalError {
    fn custom<T: Display>(what: T) -> Self {
        Self::Json(serde_json::Error::custom(what))
    }
}

/// Writes one value.
pub(super) struct Writer<'o> {
    pub(super) out: &'o mut Vec<u8>,
    pub(super) numbers: Numbers,
}

impl<'o> Writer<'o> {
    const fn again(&mut self) -> Writer<'_> {
        Writer { out: self.out, numbers: self.numbers }
    }

    fn word(self, word: &str) -> Done {
        self.out.extend_from_slice(word.as_bytes());
        Ok(())
    }

    fn number(self, number: &Number) -> Done {
        match self.numbers {
            Numbers::Refused => Err(CanonicalError::Number(String::new())),
            Numbers::AsTexts => self.collect_str(number),
        }
    }

    fn items(self, variant: Option<&'static str>) -> Items<'o> {
        self.out.push(b'[');
        Items { writer: self, count: 0, variant }
    }

    fn fields(self, variant: Option<&'static str>) -> Fields<'o> {
        self.out.push(b'{');
        let begin = self.out.len();
        Fields { writer: self, begin, fields: Vec::new(), key: None, variant }
    }

    /// Opens an object whose only field is an enum's variant.
    fn variant(self, variant: &'static str) -> Result<Self, CanonicalError> {
        self.out.push(b'{');
        text(self.out, variant)?;
        self.out.push(b':');
        Ok(self)
    }
}

/// Section 3.2.2.2: what serde_json escapes, it escapes as that section asks.
fn text(out: &mut Vec<u8>, text: &str) -> Done {
    Ok(serde_json::to_writer(out, text)?)
}

/// What went wrong in an item or field, from outside of what it is in.
fn within(error: CanonicalError, step: &impl Display, variant: Option<&'static str>) -> CanonicalError {
    let error = error.within(step);
    match variant {
        Some(variant) => error.within(&variant),
        None => error,
    }
}

impl<'o> Serializer for Writer<'o> {
    type Ok = ();
    type Error = CanonicalError;
    type SerializeSeq = Items<'o>;
    type SerializeTuple = Items<'o>;
    type SerializeTupleStruct = Items<'o>;
    type SerializeTupleVariant = Items<'o>;
    type SerializeMap = Fields<'o>;
    type SerializeStruct = Fields<'o>;
    type SerializeStructVariant = Fields<'o>;

    fn serialize_bool(self, value: bool) -> Done {
        self.word(if value { "true" } else { "false" })
    }

    fn serialize_i8(self, value: i8) -> Done {
        self.number(&value.into())
    }

    fn serialize_i16(self, value: i16) -> Done {
        self.number(&value.into())
    }

    fn serialize_i32(self, value: i32) -> Done {
        self.number(&value.into())
    }

    fn serialize_i64(self, value: i64) -> Done {
        self.number(&value.into())
    }

    fn serialize_u8(self, value: u8) -> Done {
        self.number(&value.into())
    }

    fn serialize_u16(self, value: u16) -> Done {
        self.number(&value.into())
    }

    fn serialize_u32(self, value: u32) -> Done {
        self.number(&value.into())
    }

    fn serialize_u64(self, value: u64) -> Done {
        self.number(&value.into())
    }

    fn serialize_f32(self, value: f32) -> Done {
        self.serialize_f64(value.into())
    }

    fn serialize_f64(self, value: f64) -> Done {
        match Number::from_f64(value) {
            Some(number) => self.number(&number),
            None => self.serialize_unit(),
        }
    }

    fn serialize_char(self, value: char) -> Done {
        self.collect_str(&value)
    }

    fn serialize_str(self, value: &str) -> Done {
        text(self.out, value)
    }

    fn serialize_bytes(self, value: &[u8]) -> Done {
        self.collect_seq(value)
    }

    fn serialize_none(self) -> Done {
        self.serialize_unit()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Done {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Done {
        self.word("null")
    }

    fn serialize_unit_struct(self, _name: &'static str) -> Done {
        self.serialize_unit()
    }

    fn serialize_unit_variant(self, _name: &'static str, _index: u32, variant: &'static str) -> Done {
        self.serialize_str(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _name: &'static str, value: &T) -> Done {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        value: &T,
    ) -> Done {
        let mut writer = self.variant(variant)?;
        value.serialize(writer.again()).map_err(|error| error.within(&variant))?;
        writer.word("}")
    }

    fn serialize_seq(self, _length: Option<usize>) -> Result<Items<'o>, CanonicalError> {
        Ok(self.items(None))
    }

    fn serialize_tuple(self, _length: usize) -> Result<Items<'o>, CanonicalError> {
        Ok(self.items(None))
    }

    fn serialize_tuple_struct(
        self,
        _name: &'static str,
        _length: usize,
    ) -> Result<Items<'o>, CanonicalError> {
        Ok(self.items(None))
    }

    fn serialize_tuple_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        _length: usize,
    ) -> Result<Items<'o>, CanonicalError> {
        Ok(self.variant(variant)?.items(Some(variant)))
    }

    fn serialize_map(self, _length: Option<usize>) -> Result<Fields<'o>, CanonicalError> {
        Ok(self.fields(None))
    }

    fn serialize_struct(self, _name: &'static str, _length: usize) -> Result<Fields<'o>, CanonicalError> {
        Ok(self.fields(None))
    }

    fn serialize_struct_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        _length: usize,
    ) -> Result<Fields<'o>, CanonicalError> {
        Ok(self.variant(variant)?.fields(Some(variant)))
    }

    fn collect_str<T: Display + ?Sized>(self, value: &T) -> Done {
        let begin = self.out.len();
        self.out.push(b'"');
        write!(self.out, "{value}").map_err(serde_json::Error::io)?;
        if self.out.iter().skip(begin + 1).copied().all(is_plain) {
            return self.word("\"");
        }
        let written = self.out.split_off(begin);
        let written = written.get(1..).unwrap_or_default();
        text(self.out, std::str::from_utf8(written).map_err(Self::Error::custom)?)
    }
}

/// A list.
pub(super) struct Items<'o> {
    writer: Writer<'o>,
    count: usize,
    /// The enum's variant that it is the only field's value for.
    variant: Option<&'static str>,
}

impl Items<'_> {
    fn item<T: Serialize + ?Sized>(&mut self, item: &T) -> Done {
        if self.count > 0 {
            self.writer.out.push(b',');
        }
        item.serialize(self.writer.again()).map_err(|error| within(error, &self.count, self.variant))?;
        self.count += 1;
        Ok(())
    }

    fn close(self) -> Done {
        self.writer.word(if self.variant.is_some() { "]}" } else { "]" })
    }
}

/// Serde tells four kinds of lists apart. In JSON they are one.
macro_rules! list {
    ($($kind:ident::$told:ident),+) => {$(
        impl ser::$kind for Items<'_> {
            type Ok = ();
            type Error = CanonicalError;

            fn $told<T: Serialize + ?Sized>(&mut self, item: &T) -> Done {
                self.item(item)
            }

            fn end(self) -> Done {
                self.close()
            }
        }
    )+};
}

list!(
    SerializeSeq::serialize_element,
    SerializeTuple::serialize_element,
    SerializeTupleStruct::serialize_field,
    SerializeTupleVariant::serialize_field
);

/// A field: its key, and where key and value stand in what is written.
type Field = (Cow<'static, str>, Range<usize>);

/// An object.
pub(super) struct Fields<'o> {
    writer: Writer<'o>,
    /// Where the first field begins.
    begin: usize,
    fields: Vec<Field>,
    /// A map tells keys and values apart: the key that was told last, and where it begins.
    key: Option<(String, usize)>,
    /// The enum's variant that it is the only field's value for.
    variant: Option<&'static str>,
}

impl Fields<'_> {
    /// Gives the place of the next key.
    fn next(&mut self) -> usize {
        if !self.fields.is_empty() {
            self.writer.out.push(b',');
        }
        self.writer.out.len()
    }

    fn known<T: Serialize + ?Sized>(&mut self, key: &'static str, value: &T) -> Done {
        let begin = self.next();
        text(self.writer.out, key)?;
        self.value(Cow::Borrowed(key), begin, value)
    }

    fn value<T: Serialize + ?Sized>(&mut self, key: Cow<'static, str>, begin: usize, value: &T) -> Done {
        self.writer.out.push(b':');
        value.serialize(self.writer.again()).map_err(|error| within(error, &key, self.variant))?;
        self.fields.push((key, begin..self.writer.out.len()));
        Ok(())
    }

    fn close(mut self) -> Done {
        if !self.fields.is_sorted_by(|(one, _), (other, _)| by_units(one, other).is_lt()) {
            self.sort()?;
        }
        self.writer.word(if self.variant.is_some() { "}}" } else { "}" })
    }

    fn sort(&mut self) -> Done {
        self.fields.sort_by(|(one, _), (other, _)| by_units(one, other));
        let mut sorted = Vec::with_capacity(self.writer.out.len() - self.begin);
        let mut before: Option<&str> = None;
        for (key, place) in &self.fields {
            if before == Some(key) {
                return Err(CanonicalError::custom(format_args!("the key `{key}` stands there twice")));
            }
            if before.is_some() {
                sorted.push(b',');
            }
            before = Some(key);
            sorted.extend_from_slice(self.writer.out.get(place.clone()).unwrap_or_default());
        }
        self.writer.out.truncate(self.begin);
        self.writer.out.append(&mut sorted);
        Ok(())
    }
}

/// Section 3.2.3: the order of UTF-16 code units. It is the bytes' as long as no character is beyond U+D7FF.
fn by_units(one: &str, other: &str) -> Ordering {
    if one.is_ascii() && other.is_ascii() {
        return one.cmp(other);
    }
    one.encode_utf16().cmp(other.encode_utf16())
}

/// And two of objects whose keys are known.
macro_rules! object {
    ($($kind:ident),+) => {$(
        impl ser::$kind for Fields<'_> {
            type Ok = ();
            type Error = CanonicalError;

            fn serialize_field<T: Serialize + ?Sized>(&mut self, key: &'static str, value: &T) -> Done {
                self.known(key, value)
            }

            fn end(self) -> Done {
                self.close()
            }
        }
    )+};
}

object!(SerializeStruct, SerializeStructVariant);

impl ser::SerializeMap for Fields<'_> {
    type Ok = ();
    type Error = CanonicalError;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Done {
        let begin = self.next();
        key.serialize(Writer { out: self.writer.out, numbers: Numbers::AsTexts })?;
        let written = self.writer.out.get(begin..).unwrap_or_default();
        self.key = Some((serde_json::from_slice(written)?, begin));
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Done {
        let (key, begin) = self.key.take().ok_or_else(|| CanonicalError::custom("a value without a key"))?;
        self.value(Cow::Owned(key), begin, value)
    }

    fn end(self) -> Done {
        self.close()
    }
}
