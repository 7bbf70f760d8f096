//! A predicate whose columns have their types: it can be written as SQL, and asked of a row, and both agree.

use std::collections::BTreeMap;

use super::column_type::{ColumnType, Datum};
use super::expression::{Comparison, Condition, Expression, Literal, LiteralValue, Test};
use super::{Collation, Predicate, PredicateProblem, disjoint, words};
use crate::quote;

/// A predicate over columns of known types.
#[derive(Debug, Clone)]
pub struct Typed {
    predicate: Predicate,
    expression: Expression<Known>,
    types: BTreeMap<String, ColumnType>,
}

/// A literal, and what it means under its column's type.
#[derive(Debug, Clone)]
struct Known {
    literal: Literal,
    datum: Datum,
}

/// A column's value in a row as PostgreSQL prints it, in `COPY` or in a change stream, under `DateStyle = ISO`,
/// `TimeZone = UTC` and `bytea_output = hex`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value<'v> {
    /// NULL.
    Null,
    /// Anything else.
    Text(&'v str),
}

/// Why a row's membership cannot be told. Not the same as unknown: such a row must stop whoever asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RowProblem {
    /// The row does not carry the column, as a deletion does not whose replica identity leaves it out.
    #[error("the row does not carry the column `{0}`, which the filter asks about")]
    Missing(String),
    /// The value is not what PostgreSQL prints for the column's type.
    #[error("the value of the column `{0}` cannot be read as its type")]
    Unreadable(String),
}

impl Predicate {
    /// Gives the columns their types.
    ///
    /// # Errors
    /// Every column that does not exist, comparison that its type does not have, and literal that its type does not take.
    pub fn typed(&self, columns: &BTreeMap<String, ColumnType>) -> Result<Typed, Vec<PredicateProblem>> {
        let mut problems = Vec::new();
        let expression = known(&self.expression, columns, &mut problems);
        let types = columns.iter().filter(|(name, _)| self.columns().contains(name.as_str()));
        let types = types.map(|(name, kind)| (name.clone(), kind.clone())).collect();
        match expression {
            Some(expression) if problems.is_empty() => {
                Ok(Typed { predicate: self.clone(), expression, types })
            }
            _ => Err(problems),
        }
    }
}

/// Types an expression. Every part is visited, so that all problems are told at once.
fn known(
    expression: &Expression<Literal>,
    columns: &BTreeMap<String, ColumnType>,
    problems: &mut Vec<PredicateProblem>,
) -> Option<Expression<Known>> {
    let all = |parts: &[Expression<Literal>], problems: &mut Vec<PredicateProblem>| {
        let typed: Vec<_> = parts.iter().map(|part| known(part, columns, problems)).collect();
        typed.into_iter().collect::<Option<Vec<_>>>()
    };
    match expression {
        Expression::All(parts) => all(parts, problems).map(Expression::All),
        Expression::Any(parts) => all(parts, problems).map(Expression::Any),
        Expression::Not(inner) => {
            known(inner, columns, problems).map(|inner| Expression::Not(Box::new(inner)))
        }
        Expression::Test(test) => {
            let Some(kind) = columns.get(&test.column) else {
                problems.push(PredicateProblem {
                    at: test.at,
                    what: format!("the table has no column `{}`", test.column),
                    suggestion: nearest(&test.column, columns).map(|name| words::name(name).into_owned()),
                });
                return None;
            };
            if let Some(problem) = incomparable(test, kind) {
                problems.push(problem);
                return None;
            }
            condition(test, kind, problems).map(|condition| {
                Expression::Test(Test { column: test.column.clone(), at: test.at, condition })
            })
        }
    }
}

fn nearest<'c>(name: &str, columns: &'c BTreeMap<String, ColumnType>) -> Option<&'c str> {
    let far = (name.chars().count() / 3).max(1);
    columns
        .keys()
        .map(|column| (strsim::osa_distance(&name.to_lowercase(), &column.to_lowercase()), column))
        .filter(|(distance, _)| *distance <= far)
        .min()
        .map(|(_, column)| column.as_str())
}

/// Why the column's type has no such test.
fn incomparable(test: &Test<Literal>, kind: &ColumnType) -> Option<PredicateProblem> {
    let refuse = |what: String, suggestion: Option<&str>| {
        Some(PredicateProblem { at: test.at, what, suggestion: suggestion.map(str::to_owned) })
    };
    let column = &test.column;
    if let Condition::Null(_) = test.condition {
        return match kind {
            ColumnType::Other { name, is_composite: true } => refuse(
                format!("`{column}` is of the composite type {name}: in SQL a row of NULLs is NULL, too"),
                None,
            ),
            _ => None,
        };
    }
    match kind {
        ColumnType::Other { name, .. } if name == "real" || name == "double precision" => refuse(
            format!("`{column}` is of type {name}, which is rounded: a filter only asks whether it is NULL"),
            Some("a numeric column"),
        ),
        ColumnType::Other { name, .. } => refuse(
            format!("`{column}` is of type {name}, of which a filter only asks whether it is NULL"),
            None,
        ),
        ColumnType::Text(Collation::Nondeterministic) | ColumnType::Char(Collation::Nondeterministic) => {
            refuse(
                format!(
                    "`{column}` has a nondeterministic collation, in which different letters may be equal"
                ),
                None,
            )
        }
        ColumnType::Text(_) | ColumnType::Char(_) if test.condition.orders() && !kind.is_ordered() => refuse(
            format!(
                "`{column}` is ordered by a language's rules, which only the server knows: no <, >, BETWEEN"
            ),
            Some("= or IN, or a column with the collation \"C\""),
        ),
        ColumnType::Enum { name, .. } if test.condition.orders() => refuse(
            format!(
                "`{column}` is of the enum {name}, whose order changes with its labels: no <, >, BETWEEN"
            ),
            Some("= or IN"),
        ),
        _ => None,
    }
}

fn condition(
    test: &Test<Literal>,
    kind: &ColumnType,
    problems: &mut Vec<PredicateProblem>,
) -> Option<Condition<Known>> {
    let mut read = |literal: &Literal| match kind.literal(literal) {
        Some(datum) => Some(Known { literal: literal.clone(), datum }),
        None => {
            problems.push(untaken(test, literal, kind));
            None
        }
    };
    match &test.condition {
        Condition::Compare(comparison, literal) => {
            read(literal).map(|known| Condition::Compare(*comparison, known))
        }
        Condition::List { within, items } => {
            let items: Vec<_> = items.iter().map(&mut read).collect();
            let items = items.into_iter().collect::<Option<Vec<_>>>()?;
            Some(Condition::List { within: *within, items })
        }
        Condition::Range { within, low, high } => {
            let (low, high) = (read(low), read(high));
            Some(Condition::Range { within: *within, low: low?, high: high? })
        }
        Condition::Null(is) => Some(Condition::Null(*is)),
    }
}

/// The problem of a literal that the column's type does not take.
fn untaken(test: &Test<Literal>, literal: &Literal, kind: &ColumnType) -> PredicateProblem {
    let (column, name) = (&test.column, kind.name());
    let suggestion = match (kind, &literal.value) {
        (ColumnType::Text(_) | ColumnType::Char(_), LiteralValue::Number(number)) => format!("'{number}'"),
        (ColumnType::Enum { labels, .. }, LiteralValue::Text(given)) => {
            let near = labels.iter().min_by_key(|label| strsim::osa_distance(label, given));
            near.map_or_else(String::new, |label| format!("'{}'", label.replace('\'', "''")))
        }
        _ => kind.example().to_owned(),
    };
    PredicateProblem {
        at: literal.at,
        what: format!("{literal} is no value of `{column}`, which is of type {name}"),
        suggestion: (!suggestion.is_empty()).then_some(suggestion),
    }
}

impl Typed {
    /// The predicate.
    #[must_use]
    pub const fn predicate(&self) -> &Predicate {
        &self.predicate
    }

    /// The columns it asks about, with their types.
    #[must_use]
    pub const fn columns(&self) -> &BTreeMap<String, ColumnType> {
        &self.types
    }

    /// Whether it is proven that no row belongs to both. A column has one type in both.
    #[must_use]
    pub fn disjoint(&self, other: &Self) -> bool {
        disjoint::disjoint(&self.predicate.expression, &other.predicate.expression, |column| {
            self.types.get(column).or_else(|| other.types.get(column))
        })
    }

    /// The predicate as a PostgreSQL expression: names quoted, with `alias` before them where there is one, and each
    /// literal with its type, so that no setting of a session changes what it means.
    #[must_use]
    pub fn sql(&self, alias: Option<&str>) -> String {
        let prefix = alias.map(|alias| format!("{}.", quote::ident(alias))).unwrap_or_default();
        self.written(&self.expression, &prefix)
    }

    fn written(&self, expression: &Expression<Known>, prefix: &str) -> String {
        let joined = |parts: &[Expression<Known>], between: &str| {
            parts.iter().map(|part| self.written(part, prefix)).collect::<Vec<_>>().join(between)
        };
        match expression {
            Expression::All(parts) => format!("({})", joined(parts, " and ")),
            Expression::Any(parts) => format!("({})", joined(parts, " or ")),
            Expression::Not(inner) => format!("(not {})", self.written(inner, prefix)),
            Expression::Test(test) => {
                let column = format!("{prefix}{}", quote::ident(&test.column));
                let kind = self.types.get(&test.column);
                let literal = |known: &Known| known.sql(kind);
                match &test.condition {
                    Condition::Compare(comparison, known) => {
                        format!("({column} {} {})", comparison.symbol(), literal(known))
                    }
                    // Not IN: of a `varchar` column it becomes an array's cast, which no publication's filter may hold.
                    Condition::List { within, items } => {
                        let test = if *within { "= any" } else { "<> all" };
                        let items = items.iter().map(literal).collect::<Vec<_>>().join(", ");
                        format!("({column} {test} (array[{items}]))")
                    }
                    Condition::Range { within, low, high } => {
                        let not = if *within { "" } else { "not " };
                        format!("({column} {not}between {} and {})", literal(low), literal(high))
                    }
                    Condition::Null(true) => format!("({column} is null)"),
                    Condition::Null(false) => format!("({column} is not null)"),
                }
            }
        }
    }

    /// Whether a row belongs: `row` gives a column's value, and `None` where it does not carry the column. The answer
    /// is `None` where SQL says unknown; such a row does not belong.
    ///
    /// # Errors
    /// The row does not carry a column that is asked about, or a value cannot be read.
    pub fn holds<'v>(&self, row: impl Fn(&str) -> Option<Value<'v>>) -> Result<Option<bool>, RowProblem> {
        let mut values = BTreeMap::new();
        for (column, kind) in &self.types {
            let value = match row(column) {
                None => return Err(RowProblem::Missing(column.clone())),
                Some(Value::Null) => Cell::Null,
                Some(Value::Text(text)) => match kind {
                    ColumnType::Other { .. } => Cell::Present,
                    _ => kind
                        .value(text)
                        .map(Cell::Datum)
                        .ok_or_else(|| RowProblem::Unreadable(column.clone()))?,
                },
            };
            values.insert(column.as_str(), value);
        }
        Ok(truth(&self.expression, &values))
    }
}

/// A row's value as far as it is asked about.
enum Cell {
    Null,
    Datum(Datum),
    /// Of a type that is only asked whether it is NULL.
    Present,
}

/// Kleene's logic, as SQL has it.
fn truth(expression: &Expression<Known>, row: &BTreeMap<&str, Cell>) -> Option<bool> {
    // AND ends at the first FALSE, OR at the first TRUE; else one unknown makes the whole unknown.
    let until = |parts: &[Expression<Known>], end: bool| {
        let mut so_far = Some(!end);
        for part in parts {
            match truth(part, row) {
                Some(value) if value == end => return Some(end),
                Some(_) => {}
                None => so_far = None,
            }
        }
        so_far
    };
    match expression {
        Expression::All(parts) => until(parts, false),
        Expression::Any(parts) => until(parts, true),
        Expression::Not(inner) => truth(inner, row).map(|value| !value),
        Expression::Test(test) => match (row.get(test.column.as_str()), &test.condition) {
            (Some(Cell::Null) | None, Condition::Null(is)) => Some(*is),
            (Some(_), Condition::Null(is)) => Some(!is),
            (Some(Cell::Datum(value)), condition) => Some(passes(value, condition)),
            (Some(Cell::Null | Cell::Present) | None, _) => None,
        },
    }
}

fn passes(value: &Datum, condition: &Condition<Known>) -> bool {
    match condition {
        Condition::Compare(comparison, known) => match comparison {
            Comparison::Equal => *value == known.datum,
            Comparison::Unequal => *value != known.datum,
            Comparison::Less => *value < known.datum,
            Comparison::AtMost => *value <= known.datum,
            Comparison::Greater => *value > known.datum,
            Comparison::AtLeast => *value >= known.datum,
        },
        Condition::List { within, items } => items.iter().any(|known| *value == known.datum) == *within,
        Condition::Range { within, low, high } => (low.datum <= *value && *value <= high.datum) == *within,
        Condition::Null(is) => !is,
    }
}

impl Known {
    fn sql(&self, kind: Option<&ColumnType>) -> String {
        let cast = kind.map_or("text", ColumnType::name);
        match &self.literal.value {
            LiteralValue::Boolean(value) => value.to_string(),
            LiteralValue::Number(number) => format!("'{number}'::{cast}"),
            LiteralValue::Text(text) => format!("{}::{cast}", quote::literal(text)),
        }
    }
}
