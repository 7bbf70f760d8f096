//! The types that the language compares, and what a literal or a row's text means under each.

use super::decimal::Decimal;
use super::expression::{Literal, LiteralValue};
use super::moment;
use crate::quote;

/// How a column's collation compares text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Collation {
    /// By its bytes, as `C` and `POSIX` do.
    Bytes,
    /// Equal only if the bytes are; the order is the language's.
    Deterministic,
    /// Different bytes may be equal.
    Nondeterministic,
}

/// A column's type, its domain resolved, as far as a filter needs to know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ColumnType {
    /// `smallint`
    SmallInt,
    /// `integer`
    Integer,
    /// `bigint`
    BigInt,
    /// `numeric`, of any precision
    Numeric,
    /// `boolean`
    Boolean,
    /// `text`, and `character varying` of any length
    Text(Collation),
    /// `character`, whose trailing blanks do not count
    Char(Collation),
    /// `uuid`
    Uuid,
    /// `date`
    Date,
    /// `timestamp without time zone`
    Timestamp,
    /// `timestamp with time zone`
    TimestampTz,
    /// `bytea`
    Bytea,
    /// An enum.
    Enum {
        /// Its name as SQL says it: quoted, with its schema.
        name: String,
        /// Its labels.
        labels: Vec<String>,
    },
    /// Any other: the language asks only whether it is NULL.
    Other {
        /// Its name.
        name: String,
        /// Whether it is composite: a row of NULLs is NULL in SQL without being absent.
        is_composite: bool,
    },
}

/// A type as the catalog has it, its domains resolved to the type below them.
#[derive(Debug, Clone)]
pub struct CatalogType<'c> {
    /// The schema that it is in.
    pub schema: &'c str,
    /// `pg_type.typname`.
    pub name: &'c str,
    /// `pg_type.typtype`: `e` is an enum, `c` a composite type.
    pub kind: char,
    /// An enum's labels.
    pub labels: Vec<String>,
    /// The column's collation, if it has one.
    pub collation: Collation,
}

/// A value whose order and equality are those of its column's type. Values of two types are never compared.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Datum {
    Integer(i64),
    Numeric(Decimal),
    Boolean(bool),
    Text(String),
    Uuid(u128),
    Days(i64),
    Micros(i128),
    Bytes(Vec<u8>),
}

impl Datum {
    /// The next greater value of a type that has one.
    pub(super) fn next(&self) -> Option<Self> {
        match self {
            Self::Integer(value) => value.checked_add(1).map(Self::Integer),
            Self::Days(value) => value.checked_add(1).map(Self::Days),
            _ => None,
        }
    }

    /// The next smaller value of a type that has one.
    pub(super) fn previous(&self) -> Option<Self> {
        match self {
            Self::Integer(value) => value.checked_sub(1).map(Self::Integer),
            Self::Days(value) => value.checked_sub(1).map(Self::Days),
            _ => None,
        }
    }
}

/// What a literal of each kind may mean while its column's type is unknown: whatever holds under all of these holds
/// under every type that takes the literal. (Integers are numbers, and enums know equality only, by their letters.)
pub(super) const CANDIDATES: &[ColumnType] = &[
    ColumnType::Numeric,
    ColumnType::Boolean,
    ColumnType::Text(Collation::Bytes),
    ColumnType::Char(Collation::Bytes),
    ColumnType::Uuid,
    ColumnType::Date,
    ColumnType::Timestamp,
    ColumnType::TimestampTz,
    ColumnType::Bytea,
];

impl From<CatalogType<'_>> for ColumnType {
    fn from(catalog: CatalogType<'_>) -> Self {
        let quoted = || format!("{}.{}", quote::ident(catalog.schema), quote::ident(catalog.name));
        if catalog.kind == 'e' {
            return Self::Enum { name: quoted(), labels: catalog.labels };
        }
        if catalog.schema != "pg_catalog" {
            return Self::Other { name: quoted(), is_composite: catalog.kind == 'c' };
        }
        match catalog.name {
            "int2" => Self::SmallInt,
            "int4" => Self::Integer,
            "int8" => Self::BigInt,
            "numeric" => Self::Numeric,
            "bool" => Self::Boolean,
            "text" | "varchar" => Self::Text(catalog.collation),
            "bpchar" => Self::Char(catalog.collation),
            "uuid" => Self::Uuid,
            "date" => Self::Date,
            "timestamp" => Self::Timestamp,
            "timestamptz" => Self::TimestampTz,
            "bytea" => Self::Bytea,
            "float4" => Self::Other { name: "real".to_owned(), is_composite: false },
            "float8" => Self::Other { name: "double precision".to_owned(), is_composite: false },
            other => Self::Other { name: other.to_owned(), is_composite: catalog.kind == 'c' },
        }
    }
}

impl ColumnType {
    /// What a literal means in a comparison with a column of this type, if the type takes it.
    pub(super) fn literal(&self, literal: &Literal) -> Option<Datum> {
        match &literal.value {
            LiteralValue::Number(number) => match self {
                Self::SmallInt => number.integer().filter(|i| i16::try_from(*i).is_ok()).map(Datum::Integer),
                Self::Integer => number.integer().filter(|i| i32::try_from(*i).is_ok()).map(Datum::Integer),
                Self::BigInt => number.integer().map(Datum::Integer),
                Self::Numeric => Some(Datum::Numeric(Decimal::Finite(number.clone()))),
                _ => None,
            },
            LiteralValue::Boolean(value) => {
                if *self == Self::Boolean {
                    Some(Datum::Boolean(*value))
                } else {
                    None
                }
            }
            LiteralValue::Text(text) => match self {
                Self::Text(_) => Some(Datum::Text(text.clone())),
                Self::Char(_) => Some(Datum::Text(text.trim_end_matches(' ').to_owned())),
                Self::Uuid => uuid(text).map(Datum::Uuid),
                Self::Date => moment::date_literal(text).map(Datum::Days),
                Self::Timestamp => moment::timestamp_literal(text).map(Datum::Micros),
                Self::TimestampTz => moment::timestamp_with_zone_literal(text).map(Datum::Micros),
                Self::Bytea => bytes(text).map(Datum::Bytes),
                Self::Enum { labels, .. } => labels.contains(text).then(|| Datum::Text(text.clone())),
                _ => None,
            },
        }
    }

    /// What a row's text means, as PostgreSQL prints a value of this type.
    pub(super) fn value(&self, text: &str) -> Option<Datum> {
        match self {
            Self::SmallInt | Self::Integer | Self::BigInt => text.parse().ok().map(Datum::Integer),
            Self::Numeric => Decimal::read(text).map(Datum::Numeric),
            Self::Boolean => match text {
                "t" => Some(Datum::Boolean(true)),
                "f" => Some(Datum::Boolean(false)),
                _ => None,
            },
            // A label that was added since the types were read is one more text that equals no literal.
            Self::Text(_) | Self::Enum { .. } => Some(Datum::Text(text.to_owned())),
            Self::Char(_) => Some(Datum::Text(text.trim_end_matches(' ').to_owned())),
            Self::Uuid => uuid(text).map(Datum::Uuid),
            Self::Date => moment::date(text).map(Datum::Days),
            Self::Timestamp => moment::timestamp(text).map(Datum::Micros),
            Self::TimestampTz => moment::timestamp_with_zone(text).map(Datum::Micros),
            Self::Bytea => bytes(text).map(Datum::Bytes),
            Self::Other { .. } => None,
        }
    }

    /// The type's name as SQL says it; without the length or precision, which would cut a literal off.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::SmallInt => "smallint",
            Self::Integer => "integer",
            Self::BigInt => "bigint",
            Self::Numeric => "numeric",
            Self::Boolean => "boolean",
            Self::Text(_) => "text",
            Self::Char(_) => "bpchar",
            Self::Uuid => "uuid",
            Self::Date => "date",
            Self::Timestamp => "timestamp",
            Self::TimestampTz => "timestamptz",
            Self::Bytea => "bytea",
            Self::Enum { name, .. } | Self::Other { name, .. } => name,
        }
    }

    /// A literal that the type takes.
    pub(super) const fn example(&self) -> &'static str {
        match self {
            Self::SmallInt | Self::Integer | Self::BigInt => "a whole number within its range: 42",
            Self::Numeric => "a number without quotes: 12.50",
            Self::Boolean => "TRUE or FALSE",
            Self::Text(_) | Self::Char(_) => "a string: 'text'",
            Self::Uuid => "'0e37df36-f698-11e6-8dd4-cb9ced3df976'",
            Self::Date => "'2024-01-31'",
            Self::Timestamp => "'2024-01-31 12:00:00'",
            Self::TimestampTz => "'2024-01-31 12:00:00+00', with its offset",
            Self::Bytea => "'\\x00ff'",
            Self::Enum { .. } => "one of its labels",
            Self::Other { .. } => "IS NULL",
        }
    }

    /// Whether the language knows the type's order, and not only its equality.
    pub(super) const fn is_ordered(&self) -> bool {
        match self {
            Self::Text(collation) | Self::Char(collation) => matches!(collation, Collation::Bytes),
            Self::Enum { .. } | Self::Other { .. } => false,
            _ => true,
        }
    }
}

/// A UUID in its usual form, in letters of any case.
fn uuid(text: &str) -> Option<u128> {
    let groups: Vec<&str> = text.split('-').collect();
    let hexadecimal = |group: &&str| group.bytes().all(|byte| byte.is_ascii_hexdigit());
    let lengths: Vec<usize> = groups.iter().map(|group| group.len()).collect();
    if lengths != [8, 4, 4, 4, 12] || !groups.iter().all(hexadecimal) {
        return None;
    }
    u128::from_str_radix(&groups.concat(), 16).ok()
}

/// Bytes in PostgreSQL's `hex` form: `\x00ff`.
fn bytes(text: &str) -> Option<Vec<u8>> {
    hex::decode(text.strip_prefix("\\x")?).ok()
}
