//! Statements that write many rows at once, whose texts the table's own types read on the side written.

use crate::native::{Cell, Row, StreamError, TableShape};
use crate::postgres::inputs::{self, Sent};
use crate::postgres::quote::{self, ident};
use crate::seams::Cause;

/// Columns of rows, each as one parameter; `which` picks them, by place.
pub(crate) fn columns<'r>(
    shape: &TableShape,
    rows: &[&'r Row],
    which: &[usize],
) -> Result<Vec<Sent<'r>>, StreamError> {
    which.iter().map(|at| column(shape, rows, (*at, *at))).collect()
}

/// The same of keys, cells in key order.
pub(crate) fn key_columns<'r>(shape: &TableShape, keys: &[&'r Row]) -> Result<Vec<Sent<'r>>, StreamError> {
    shape.key.iter().enumerate().map(|(place, at)| column(shape, keys, (place, *at))).collect()
}

fn column<'r>(
    shape: &TableShape,
    rows: &[&'r Row],
    (place, at): (usize, usize),
) -> Result<Sent<'r>, StreamError> {
    let texts = rows.iter().map(|row| text(row.get(place))).collect::<Result<Vec<_>, _>>()?;
    let input = shape.inputs.get(at).ok_or_else(|| {
        StreamError::Lost(Cause(format!("a column of {} whose type is not known", shape.table)))
    })?;
    Ok(Sent::of(input, texts))
}

pub(crate) fn text(cell: Option<&Cell>) -> Result<Option<&str>, StreamError> {
    match cell {
        Some(Cell::Text(bytes)) => std::str::from_utf8(bytes).map(Some).map_err(|_| {
            StreamError::Lost(Cause("a value that is not UTF-8 came in a UTF-8 stream".to_owned()))
        }),
        Some(Cell::Null) => Ok(None),
        Some(Cell::Unchanged) | None => {
            Err(StreamError::Lost(Cause("a value that was not sent was about to be written".to_owned())))
        }
    }
}

/// A set whose columns are these of the table.
fn set(shape: &TableShape, which: impl IntoIterator<Item = usize>) -> String {
    let inputs = which.into_iter().filter_map(|at| shape.inputs.get(at));
    inputs::from(inputs, "u", |at| format!("${}", at + 1))
}

fn named(shape: &TableShape, at: usize) -> String {
    shape.columns.get(at).map(|name| ident(name)).unwrap_or_default()
}

/// The value of a set's column by its name, for the table's column at a place.
fn value(shape: &TableShape, at: usize, column: &str) -> String {
    shape.inputs.get(at).map(|input| inputs::value(input, column)).unwrap_or_default()
}

fn sent(place: usize) -> String {
    format!("u.{}", inputs::column(place))
}

/// `t.k1 operator(pg_catalog.=) u.c0 and …` over the key, whose cells stand from a place on.
fn key_matches(shape: &TableShape, from: usize) -> String {
    let parts: Vec<String> = shape
        .key
        .iter()
        .zip(&shape.key_equals)
        .enumerate()
        .map(|(place, (at, equals))| {
            equals.of(&format!("t.{}", named(shape, *at)), &value(shape, *at, &sent(from + place)))
        })
        .collect();
    parts.join(" and ")
}

pub(crate) fn upsert_sql(shape: &TableShape) -> String {
    let all: Vec<usize> = (0..shape.columns.len()).collect();
    let names: Vec<String> = all.iter().map(|at| named(shape, *at)).collect();
    let values: Vec<String> = all.iter().map(|at| value(shape, *at, &sent(*at))).collect();
    let key: Vec<String> = shape.key.iter().map(|at| named(shape, *at)).collect();
    let sets: Vec<String> = all
        .iter()
        .filter(|at| !shape.key.contains(at) && !shape.always.contains(at))
        .map(|at| format!("{0} = excluded.{0}", named(shape, *at)))
        .collect();
    let overriding = if shape.overrides_identity { " overriding system value" } else { "" };
    let conflict =
        if sets.is_empty() { "do nothing".to_owned() } else { format!("do update set {}", sets.join(", ")) };
    format!(
        "insert into {} ({}){overriding} select {} from {} on conflict ({}) {conflict}",
        quote::table(&shape.table),
        names.join(", "),
        values.join(", "),
        set(shape, all),
        key.join(", "),
    )
}

pub(crate) fn delete_sql(shape: &TableShape) -> String {
    let table = quote::table(&shape.table);
    let keys = set(shape, shape.key.iter().copied());
    format!("delete from {table} t using {keys} where {}", key_matches(shape, 0))
}

/// Which of the keys are there, a row each.
pub(crate) fn found_sql(shape: &TableShape) -> String {
    let table = quote::table(&shape.table);
    let keys = set(shape, shape.key.iter().copied());
    format!("select u.place from {table} t, {keys} where {}", key_matches(shape, 0))
}

/// Sets the present columns of rows found by key, whose cells come after them. Identity columns that are generated
/// always are left as they are: no update may set them. Gives which of the set, counted from 1, were there.
pub(crate) fn update_sql(shape: &TableShape, present: &[usize]) -> String {
    let sets: Vec<String> = present
        .iter()
        .enumerate()
        .filter(|(_, at)| !shape.always.contains(at))
        .map(|(place, at)| format!("{} = {}", named(shape, *at), value(shape, *at, &sent(place))))
        .collect();
    let table = quote::table(&shape.table);
    let from = set(shape, present.iter().chain(&shape.key).copied());
    let found = key_matches(shape, present.len());
    if sets.is_empty() {
        return format!("select u.place from {table} t, {from} where {found}");
    }
    format!("update {table} t set {} from {from} where {found} returning u.place", sets.join(", "))
}

/// The same by taking the rows out, all of them, and putting them in again. Where an identity column that is generated
/// always may have another value an insert alone can write it; and no row meets another that is yet to leave its key,
/// since what is in order was read to its end before.
pub(crate) fn move_sql(shape: &TableShape, present: &[usize]) -> String {
    let all = 0..shape.columns.len();
    let olds: Vec<String> = all.clone().map(|at| format!("t.{} as o{at}", named(shape, at))).collect();
    let values: Vec<String> = all
        .clone()
        .map(|at| match present.iter().position(|there| *there == at) {
            Some(place) => value(shape, at, &inputs::column(place)),
            None => format!("o{at}"),
        })
        .collect();
    let names: Vec<String> = all.map(|at| named(shape, at)).collect();
    let returned: Vec<String> = olds.into_iter().chain((0..present.len()).map(sent)).collect();
    format!(
        "with moved as (delete from {table} t using {from} where {found} returning {returned}, u.place), \
         put as (insert into {table} ({names}) overriding system value select {values} from moved order by place returning 1) \
         select place from moved where (select count(*) from put) = (select count(*) from moved)",
        table = quote::table(&shape.table),
        from = set(shape, present.iter().chain(&shape.key).copied()),
        found = key_matches(shape, present.len()),
        returned = returned.join(", "),
        names = names.join(", "),
        values = values.join(", "),
    )
}
