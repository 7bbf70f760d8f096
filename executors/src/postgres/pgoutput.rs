//! The decoder of pgoutput, protocol version 1 (PostgreSQL documentation, "Logical Replication Message Formats").
//!
//! Whatever the bytes are, the answer is a message or [`Malformed`], never a panic: they come from the network.

use bytes::{Buf, Bytes};
use journal::Lsn;

/// PostgreSQL counts microseconds from 2000-01-01; this is that instant in milliseconds since 1970-01-01.
const EPOCH_2000_MS: i64 = 946_684_800_000;

/// The bytes are no message of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed replication message: {0}")]
pub struct Malformed(pub &'static str);

/// A column as a relation message has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelationColumn {
    /// Whether it is part of the replica identity.
    pub in_identity: bool,
    /// Its name.
    pub name: String,
}

/// A table as the stream describes it before its first change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relation {
    /// Its oid on the sending side, by which changes name it.
    pub oid: u32,
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub table: String,
    /// Its columns in the order of tuples; generated ones are not sent.
    pub columns: Vec<RelationColumn>,
}

/// One column of a tuple.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Field {
    /// NULL.
    Null,
    /// Text.
    Text(Bytes),
    /// The type's binary form, sent only to who asked for it.
    Binary(Bytes),
    /// Unchanged TOAST.
    Unchanged,
}

/// The old image of a changed row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Old {
    /// Columns of the replica identity alone; the others are null.
    Key(Vec<Field>),
    /// The whole row (replica identity full).
    Row(Vec<Field>),
}

/// One message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// A transaction begins.
    Begin {
        /// Where its commit record begins.
        commit: Lsn,
        /// When it committed, in milliseconds since 1970-01-01 UTC.
        committed_ms: i64,
    },
    /// It ends.
    Commit {
        /// Where its commit record ends.
        end: Lsn,
    },
    /// It was itself replicated.
    Origin {
        /// The origin's name.
        name: String,
    },
    /// A table's description.
    Relation(Relation),
    /// A type's description, which text does not need.
    Type,
    /// A new row.
    Insert {
        /// The table.
        oid: u32,
        /// The row.
        new: Vec<Field>,
    },
    /// A changed row.
    Update {
        /// The table.
        oid: u32,
        /// The old image, if the identity changed or is full.
        old: Option<Old>,
        /// The new row.
        new: Vec<Field>,
    },
    /// A deleted row.
    Delete {
        /// The table.
        oid: u32,
        /// The old image.
        old: Old,
    },
    /// Emptied tables.
    Truncate {
        /// The tables.
        oids: Vec<u32>,
    },
    /// `pg_logical_emit_message`.
    Logical {
        /// Whether it belongs to the transaction around it.
        transactional: bool,
        /// Its prefix.
        prefix: String,
        /// Its content.
        content: Bytes,
    },
}

/// Reads network-order values, each of which may not be there.
#[derive(Debug)]
pub(crate) struct Reader(pub(crate) Bytes);

impl Reader {
    pub(crate) fn byte(&mut self) -> Result<u8, Malformed> {
        self.room(1)?;
        Ok(self.0.get_u8())
    }

    pub(crate) fn short(&mut self) -> Result<u16, Malformed> {
        self.room(2)?;
        Ok(self.0.get_u16())
    }

    pub(crate) fn word(&mut self) -> Result<u32, Malformed> {
        self.room(4)?;
        Ok(self.0.get_u32())
    }

    pub(crate) fn long(&mut self) -> Result<u64, Malformed> {
        self.room(8)?;
        Ok(self.0.get_u64())
    }

    pub(crate) fn bytes(&mut self, len: usize) -> Result<Bytes, Malformed> {
        self.room(len)?;
        Ok(self.0.split_to(len))
    }

    /// A text that ends with a zero byte.
    pub(crate) fn text(&mut self) -> Result<String, Malformed> {
        let len = self.0.iter().position(|byte| *byte == 0).ok_or(Malformed("a text without its end"))?;
        let text = self.0.split_to(len);
        self.0.advance(1);
        String::from_utf8(text.to_vec()).map_err(|_| Malformed("a name that is not UTF-8"))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn room(&self, len: usize) -> Result<(), Malformed> {
        if self.0.len() < len { Err(Malformed("it ends too early")) } else { Ok(()) }
    }

    fn lsn(&mut self) -> Result<Lsn, Malformed> {
        self.long().map(Lsn::new)
    }

    fn millis(&mut self) -> Result<i64, Malformed> {
        self.room(8)?;
        Ok(self.0.get_i64().div_euclid(1000).saturating_add(EPOCH_2000_MS))
    }

    fn tuple(&mut self) -> Result<Vec<Field>, Malformed> {
        let count = self.short()?;
        let mut fields = Vec::with_capacity(usize::from(count).min(self.0.len()));
        for _ in 0..count {
            fields.push(match self.byte()? {
                b'n' => Field::Null,
                b'u' => Field::Unchanged,
                kind @ (b't' | b'b') => {
                    let len =
                        usize::try_from(self.word()?).map_err(|_| Malformed("a length beyond memory"))?;
                    let value = self.bytes(len)?;
                    if kind == b't' { Field::Text(value) } else { Field::Binary(value) }
                }
                _ => return Err(Malformed("an unknown kind of column")),
            });
        }
        Ok(fields)
    }

    fn old(&mut self, kind: u8) -> Result<Old, Malformed> {
        match kind {
            b'K' => Ok(Old::Key(self.tuple()?)),
            b'O' => Ok(Old::Row(self.tuple()?)),
            _ => Err(Malformed("an old row that is neither key nor row")),
        }
    }

    fn new_row(&mut self) -> Result<Vec<Field>, Malformed> {
        match self.byte()? {
            b'N' => self.tuple(),
            _ => Err(Malformed("a new row without its mark")),
        }
    }
}

/// Decodes one message. Values share the given bytes.
///
/// # Errors
/// The bytes are no message of protocol version 1.
pub fn decode(bytes: Bytes) -> Result<Message, Malformed> {
    let mut reader = Reader(bytes);
    let message = match reader.byte()? {
        b'B' => {
            let (commit, committed_ms) = (reader.lsn()?, reader.millis()?);
            let _xid = reader.word()?;
            Message::Begin { commit, committed_ms }
        }
        b'C' => {
            let (_flags, _commit) = (reader.byte()?, reader.lsn()?);
            let end = reader.lsn()?;
            let _committed = reader.millis()?;
            Message::Commit { end }
        }
        b'O' => {
            let _lsn = reader.lsn()?;
            Message::Origin { name: reader.text()? }
        }
        b'R' => Message::Relation(relation(&mut reader)?),
        b'Y' => {
            let (_oid, _schema, _name) = (reader.word()?, reader.text()?, reader.text()?);
            Message::Type
        }
        b'I' => Message::Insert { oid: reader.word()?, new: reader.new_row()? },
        b'U' => {
            let oid = reader.word()?;
            match reader.byte()? {
                b'N' => Message::Update { oid, old: None, new: reader.tuple()? },
                kind => Message::Update { oid, old: Some(reader.old(kind)?), new: reader.new_row()? },
            }
        }
        b'D' => {
            let (oid, kind) = (reader.word()?, reader.byte()?);
            Message::Delete { oid, old: reader.old(kind)? }
        }
        b'T' => {
            let (count, _options) = (reader.word()?, reader.byte()?);
            let mut oids = Vec::new();
            for _ in 0..count {
                oids.push(reader.word()?);
            }
            Message::Truncate { oids }
        }
        b'M' => {
            let (flags, _lsn, prefix) = (reader.byte()?, reader.lsn()?, reader.text()?);
            let len = usize::try_from(reader.word()?).map_err(|_| Malformed("a length beyond memory"))?;
            Message::Logical { transactional: flags & 1 == 1, prefix, content: reader.bytes(len)? }
        }
        _ => return Err(Malformed("an unknown kind of message")),
    };
    if reader.is_empty() { Ok(message) } else { Err(Malformed("bytes after its end")) }
}

fn relation(reader: &mut Reader) -> Result<Relation, Malformed> {
    let (oid, schema, table) = (reader.word()?, reader.text()?, reader.text()?);
    let _identity = reader.byte()?;
    let count = reader.short()?;
    let mut columns = Vec::new();
    for _ in 0..count {
        let (flags, name) = (reader.byte()?, reader.text()?);
        let (_type, _modifier) = (reader.word()?, reader.word()?);
        columns.push(RelationColumn { in_identity: flags & 1 == 1, name });
    }
    // The protocol leaves the name of pg_catalog empty.
    let schema = if schema.is_empty() { "pg_catalog".to_owned() } else { schema };
    Ok(Relation { oid, schema, table, columns })
}

#[cfg(test)]
mod tests {
    use bytes::{BufMut, BytesMut};
    use proptest::prelude::*;

    use super::*;

    fn tuple(buf: &mut BytesMut, fields: &[(u8, &[u8])]) {
        buf.put_u16(u16::try_from(fields.len()).unwrap());
        for (kind, value) in fields {
            buf.put_u8(*kind);
            if matches!(kind, b't' | b'b') {
                buf.put_u32(u32::try_from(value.len()).unwrap());
                buf.put_slice(value);
            }
        }
    }

    #[test]
    fn an_update_with_old_key_null_and_unchanged_columns_is_read() {
        let mut buf = BytesMut::new();
        buf.put_u8(b'U');
        buf.put_u32(77);
        buf.put_u8(b'K');
        tuple(&mut buf, &[(b't', b"1"), (b'n', b"")]);
        buf.put_u8(b'N');
        tuple(&mut buf, &[(b't', b"2"), (b'u', b"")]);
        let new = vec![Field::Text(Bytes::from_static(b"2")), Field::Unchanged];
        let old = Some(Old::Key(vec![Field::Text(Bytes::from_static(b"1")), Field::Null]));
        assert_eq!(decode(buf.freeze()), Ok(Message::Update { oid: 77, old, new }));
    }

    #[test]
    fn begin_tells_the_time_since_1970() {
        let mut buf = BytesMut::new();
        buf.put_u8(b'B');
        buf.put_u64(0x16_0000_0001);
        buf.put_i64(1_500_000);
        buf.put_u32(5);
        let commit = Lsn::new(0x16_0000_0001);
        let message = Message::Begin { commit, committed_ms: EPOCH_2000_MS + 1500 };
        assert_eq!(decode(buf.freeze()), Ok(message));
    }

    #[test]
    fn truncate_and_markers_are_read() {
        let mut buf = BytesMut::new();
        buf.put_u8(b'T');
        buf.put_u32(2);
        buf.put_u8(1);
        buf.put_u32(7);
        buf.put_u32(8);
        assert_eq!(decode(buf.freeze()), Ok(Message::Truncate { oids: vec![7, 8] }));
        let mut buf = BytesMut::new();
        buf.put_u8(b'M');
        buf.put_u8(1);
        buf.put_u64(9);
        buf.put_slice(b"switchyard\0");
        buf.put_u32(3);
        buf.put_slice(b"abc");
        let content = Bytes::from_static(b"abc");
        let message = Message::Logical { transactional: true, prefix: "switchyard".to_owned(), content };
        assert_eq!(decode(buf.freeze()), Ok(message));
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(kind in prop::sample::select(b"BCORYIUDTMx".to_vec()), rest: Vec<u8>) {
            let mut bytes = vec![kind];
            bytes.extend(rest);
            let _outcome = decode(Bytes::from(bytes)).is_ok();
        }

        #[test]
        fn a_message_that_is_cut_is_malformed(cut in 0_usize..40) {
            let mut buf = BytesMut::new();
            buf.put_u8(b'I');
            buf.put_u32(1);
            buf.put_u8(b'N');
            tuple(&mut buf, &[(b't', b"some text here"), (b'b', b"\x00\x01"), (b'n', b"")]);
            let whole = buf.freeze();
            prop_assume!(cut < whole.len());
            prop_assert!(decode(whole.slice(..cut)).is_err());
        }
    }
}
