//! A predicate's shape, and its canonical text.

use std::fmt;

use super::decimal::Finite;
use super::words;

/// The longest identifier that PostgreSQL keeps, in bytes; it cuts longer ones off.
pub(super) const LONGEST_NAME: usize = 63;

/// Tests joined by AND, OR and NOT. `L` is what a column is compared with: a literal as it was written, or a value of
/// the column's type.
#[derive(Debug, Clone)]
pub(super) enum Expression<L> {
    /// All of at least two, none of which is an `All`.
    All(Vec<Self>),
    /// At least one of at least two, none of which is an `Any`.
    Any(Vec<Self>),
    /// Not this.
    Not(Box<Self>),
    /// One column's test.
    Test(Test<L>),
}

/// What is asked of one column.
#[derive(Debug, Clone)]
pub(super) struct Test<L> {
    pub(super) column: String,
    /// Where the column stands in the text that was parsed, in bytes.
    pub(super) at: usize,
    pub(super) condition: Condition<L>,
}

#[derive(Debug, Clone)]
pub(super) enum Condition<L> {
    Compare(Comparison, L),
    /// `IN`, or `NOT IN` where `within` is false.
    List {
        within: bool,
        items: Vec<L>,
    },
    /// `BETWEEN`, or `NOT BETWEEN` where `within` is false.
    Range {
        within: bool,
        low: L,
        high: L,
    },
    Null(bool),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    Unequal,
    Less,
    AtMost,
    Greater,
    AtLeast,
}

impl Comparison {
    pub(super) const fn symbol(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::Unequal => "<>",
            Self::Less => "<",
            Self::AtMost => "<=",
            Self::Greater => ">",
            Self::AtLeast => ">=",
        }
    }

    /// The same with its sides swapped: `5 < a` is `a > 5`.
    pub(super) const fn swapped(self) -> Self {
        match self {
            Self::Less => Self::Greater,
            Self::AtMost => Self::AtLeast,
            Self::Greater => Self::Less,
            Self::AtLeast => Self::AtMost,
            Self::Equal | Self::Unequal => self,
        }
    }

    /// What is true where this is false.
    pub(super) const fn negated(self) -> Self {
        match self {
            Self::Equal => Self::Unequal,
            Self::Unequal => Self::Equal,
            Self::Less => Self::AtLeast,
            Self::AtMost => Self::Greater,
            Self::Greater => Self::AtMost,
            Self::AtLeast => Self::Less,
        }
    }

    /// Whether it asks for an order, not only for equality.
    pub(super) const fn orders(self) -> bool {
        !matches!(self, Self::Equal | Self::Unequal)
    }
}

/// A literal as it was written; what it means depends on its column.
#[derive(Debug, Clone)]
pub(super) struct Literal {
    /// Where it stands in the text that was parsed, in bytes.
    pub(super) at: usize,
    pub(super) value: LiteralValue,
}

#[derive(Debug, Clone)]
pub(super) enum LiteralValue {
    Number(Finite),
    Text(String),
    Boolean(bool),
}

impl<L> Expression<L> {
    /// Calls `each` with every test, in the order of the text.
    pub(super) fn each_test<'e>(&'e self, each: &mut impl FnMut(&'e Test<L>)) {
        match self {
            Self::All(parts) | Self::Any(parts) => parts.iter().for_each(|part| part.each_test(each)),
            Self::Not(inner) => inner.each_test(each),
            Self::Test(test) => each(test),
        }
    }
}

impl<L> Condition<L> {
    /// Every literal, in the order of the text.
    pub(super) fn literals(&self) -> Vec<&L> {
        match self {
            Self::Compare(_, literal) => vec![literal],
            Self::List { items, .. } => items.iter().collect(),
            Self::Range { low, high, .. } => vec![low, high],
            Self::Null(_) => Vec::new(),
        }
    }

    /// Whether it asks for an order, not only for equality.
    pub(super) const fn orders(&self) -> bool {
        match self {
            Self::Compare(comparison, _) => comparison.orders(),
            Self::Range { .. } => true,
            Self::List { .. } | Self::Null(_) => false,
        }
    }
}

impl fmt::Display for Expression<Literal> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All(parts) => join(f, parts, " AND ", |part| matches!(part, Self::Any(_))),
            Self::Any(parts) => join(f, parts, " OR ", |part| matches!(part, Self::All(_))),
            Self::Not(inner) => write!(f, "NOT ({inner})"),
            Self::Test(test) => test.fmt(f),
        }
    }
}

fn join(
    f: &mut fmt::Formatter<'_>,
    parts: &[Expression<Literal>],
    between: &str,
    nested: impl Fn(&Expression<Literal>) -> bool,
) -> fmt::Result {
    for (index, part) in parts.iter().enumerate() {
        if index > 0 {
            f.write_str(between)?;
        }
        if nested(part) { write!(f, "({part})")? } else { write!(f, "{part}")? }
    }
    Ok(())
}

impl fmt::Display for Test<Literal> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&words::name(&self.column))?;
        match &self.condition {
            Condition::Compare(comparison, literal) => write!(f, " {} {literal}", comparison.symbol()),
            Condition::List { within, items } => {
                f.write_str(if *within { " IN (" } else { " NOT IN (" })?;
                for (index, item) in items.iter().enumerate() {
                    if index > 0 {
                        f.write_str(", ")?;
                    }
                    item.fmt(f)?;
                }
                f.write_str(")")
            }
            Condition::Range { within, low, high } => {
                let not = if *within { "" } else { "NOT " };
                write!(f, " {not}BETWEEN {low} AND {high}")
            }
            Condition::Null(true) => f.write_str(" IS NULL"),
            Condition::Null(false) => f.write_str(" IS NOT NULL"),
        }
    }
}

impl fmt::Display for Literal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            LiteralValue::Number(number) => number.fmt(f),
            LiteralValue::Text(text) => write!(f, "'{}'", text.replace('\'', "''")),
            LiteralValue::Boolean(true) => f.write_str("TRUE"),
            LiteralValue::Boolean(false) => f.write_str("FALSE"),
        }
    }
}
