//! Whether two predicates can never be TRUE of the same row.
//!
//! Both are brought into a disjunction of clauses, each a conjunction of one column's bounds; NOT is pushed down to the
//! tests, which in three-valued logic changes nothing about where the whole is TRUE. They are disjoint if every pair
//! of clauses contradicts itself in at least one column. What cannot be shown so, or only in too many clauses, is not
//! proven: the answer is then no.
//!
//! While a column's type is unknown, its literals are read under every type that takes all of them, and the
//! contradiction has to stand under each. So `'a'` and `'b'` differ everywhere, but `'x'` and `'x '` are one value of a
//! `character` column, and two spellings of a UUID are one UUID: none of these is taken for two.

use std::collections::BTreeMap;

use super::column_type::{CANDIDATES, ColumnType, Datum};
use super::expression::{Comparison, Condition, Expression, Literal};

/// The most clauses of one predicate: pairs of them are looked at, so the work is bounded by the square.
const MOST_CLAUSES: usize = 256;

/// One column's bound in a clause; the column is not NULL wherever it holds, but for `Null`.
#[derive(Debug, Clone)]
enum Bound<'e> {
    Compare(Comparison, &'e Literal),
    Among(&'e [Literal]),
    NotAmong(&'e [Literal]),
    Null,
    NotNull,
}

type Clause<'e> = Vec<(&'e str, Bound<'e>)>;

/// Whether it is proven that no row is TRUE under both. `types` gives a column's type where it is known.
pub(super) fn disjoint<'t>(
    one: &Expression<Literal>,
    other: &Expression<Literal>,
    types: impl Fn(&str) -> Option<&'t ColumnType>,
) -> bool {
    let (Some(ones), Some(others)) = (clauses(one, true), clauses(other, true)) else {
        return false;
    };
    let readings = readings(one, other, types);
    ones.iter().all(|one| others.iter().all(|other| contradicts(one, other, &readings)))
}

/// For each column, the types under which all its literals can be read.
fn readings<'t>(
    one: &Expression<Literal>,
    other: &Expression<Literal>,
    types: impl Fn(&str) -> Option<&'t ColumnType>,
) -> BTreeMap<String, Vec<&'t ColumnType>> {
    let mut readings = BTreeMap::new();
    for expression in [one, other] {
        expression.each_test(&mut |test| {
            let known: &mut Vec<&ColumnType> = readings.entry(test.column.clone()).or_insert_with(|| {
                types(&test.column).map_or_else(|| CANDIDATES.iter().collect(), |known| vec![known])
            });
            for literal in test.condition.literals() {
                known.retain(|each| each.literal(literal).is_some());
            }
        });
    }
    readings
}

/// The clauses of an expression where it is TRUE, or of its negation; `None` if there are too many.
fn clauses(expression: &Expression<Literal>, as_it_is: bool) -> Option<Vec<Clause<'_>>> {
    match (expression, as_it_is) {
        (Expression::Not(inner), _) => clauses(inner, !as_it_is),
        (Expression::All(parts), true) | (Expression::Any(parts), false) => {
            let mut product: Vec<Clause<'_>> = vec![Vec::new()];
            for part in parts {
                let part = clauses(part, as_it_is)?;
                if product.len().saturating_mul(part.len()) > MOST_CLAUSES {
                    return None;
                }
                product = product
                    .iter()
                    .flat_map(|left| part.iter().map(|right| [left.as_slice(), right].concat()))
                    .collect();
            }
            Some(product)
        }
        (Expression::Any(parts), true) | (Expression::All(parts), false) => {
            let mut sum = Vec::new();
            for part in parts {
                sum.extend(clauses(part, as_it_is)?);
                if sum.len() > MOST_CLAUSES {
                    return None;
                }
            }
            Some(sum)
        }
        (Expression::Test(test), _) => {
            let bounds = bounds(&test.condition, as_it_is);
            Some(
                bounds
                    .into_iter()
                    .map(|clause| clause.into_iter().map(|bound| (test.column.as_str(), bound)).collect())
                    .collect(),
            )
        }
    }
}

/// A condition, or its negation, as a disjunction of conjunctions.
fn bounds(condition: &Condition<Literal>, as_it_is: bool) -> Vec<Vec<Bound<'_>>> {
    match condition {
        Condition::Compare(comparison, literal) => {
            let comparison = if as_it_is { *comparison } else { comparison.negated() };
            vec![vec![Bound::Compare(comparison, literal)]]
        }
        Condition::List { within, items } => {
            vec![vec![if *within == as_it_is { Bound::Among(items) } else { Bound::NotAmong(items) }]]
        }
        Condition::Range { within, low, high } if *within == as_it_is => {
            vec![vec![Bound::Compare(Comparison::AtLeast, low), Bound::Compare(Comparison::AtMost, high)]]
        }
        Condition::Range { low, high, .. } => {
            vec![vec![Bound::Compare(Comparison::Less, low)], vec![Bound::Compare(Comparison::Greater, high)]]
        }
        Condition::Null(is) => vec![vec![if *is == as_it_is { Bound::Null } else { Bound::NotNull }]],
    }
}

fn contradicts(one: &Clause<'_>, other: &Clause<'_>, readings: &BTreeMap<String, Vec<&ColumnType>>) -> bool {
    let mut columns: BTreeMap<&str, Vec<&Bound<'_>>> = BTreeMap::new();
    for (column, bound) in one.iter().chain(other) {
        columns.entry(column).or_default().push(bound);
    }
    columns.into_iter().any(|(column, bounds)| {
        let nulls = bounds.iter().filter(|bound| matches!(bound, Bound::Null)).count();
        if nulls > 0 {
            // NULL and anything else: every other bound is unknown or FALSE of NULL.
            return nulls < bounds.len();
        }
        let readings = readings.get(column).map(Vec::as_slice).unwrap_or_default();
        // No reading at all means that no type takes the filter; that is a problem of its own, and no proof.
        !readings.is_empty() && readings.iter().all(|reading| empty(&bounds, reading))
    })
}

/// Whether no value of the type lies within all the bounds.
fn empty(bounds: &[&Bound<'_>], reading: &ColumnType) -> bool {
    let mut range = Range::default();
    let mut among: Option<Vec<Datum>> = match reading {
        ColumnType::Boolean => Some(vec![Datum::Boolean(false), Datum::Boolean(true)]),
        ColumnType::Enum { labels, .. } => Some(labels.iter().cloned().map(Datum::Text).collect()),
        _ => None,
    };
    let mut excluded = Vec::new();
    let mut narrow = |values: Vec<Datum>| match &mut among {
        Some(among) => among.retain(|value| values.contains(value)),
        None => among = Some(values),
    };
    for bound in bounds {
        let read = |literals: &[Literal]| literals.iter().filter_map(|each| reading.literal(each)).collect();
        match bound {
            Bound::Compare(comparison, literal) => {
                let Some(value) = reading.literal(literal) else { return false };
                match comparison {
                    Comparison::Equal => narrow(vec![value]),
                    Comparison::Unequal => excluded.push(value),
                    ordered => range.narrow(*ordered, value),
                }
            }
            Bound::Among(items) => narrow(read(items)),
            Bound::NotAmong(items) => excluded.extend::<Vec<Datum>>(read(items)),
            Bound::Null | Bound::NotNull => {}
        }
    }
    match among {
        Some(among) => among.iter().all(|value| excluded.contains(value) || !range.holds(value)),
        None => range.is_empty(&excluded),
    }
}

/// What lies between two ends, each in it or not.
#[derive(Debug, Default)]
struct Range {
    low: Option<(Datum, bool)>,
    high: Option<(Datum, bool)>,
}

impl Range {
    fn narrow(&mut self, comparison: Comparison, value: Datum) {
        // Where a type has neighbours, an open end is the closed one beside it: nothing lies between 1 and 2.
        let (value, closed) = match comparison {
            Comparison::Greater => value.next().map_or((value, false), |next| (next, true)),
            Comparison::Less => value.previous().map_or((value, false), |previous| (previous, true)),
            _ => (value, true),
        };
        match comparison {
            Comparison::Greater | Comparison::AtLeast => {
                let tighter =
                    self.low.as_ref().is_none_or(|(low, was)| value > *low || (value == *low && *was));
                if tighter {
                    self.low = Some((value, closed));
                }
            }
            Comparison::Less | Comparison::AtMost => {
                let tighter =
                    self.high.as_ref().is_none_or(|(high, was)| value < *high || (value == *high && *was));
                if tighter {
                    self.high = Some((value, closed));
                }
            }
            Comparison::Equal | Comparison::Unequal => {}
        }
    }

    fn holds(&self, value: &Datum) -> bool {
        let above = self.low.as_ref().is_none_or(|(low, closed)| value > low || (*closed && value == low));
        let below =
            self.high.as_ref().is_none_or(|(high, closed)| value < high || (*closed && value == high));
        above && below
    }

    fn is_empty(&self, excluded: &[Datum]) -> bool {
        match (&self.low, &self.high) {
            (Some((low, low_closed)), Some((high, high_closed))) => {
                low > high || (low == high && (!(*low_closed && *high_closed) || excluded.contains(low)))
            }
            _ => false,
        }
    }
}
