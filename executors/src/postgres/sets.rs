//! Statements that write many rows at once: each column of a set travels as one array of text, and is cast to the table's
//! own type on the side written.

use crate::native::{Cell, Row, StreamError, TableShape};
use crate::postgres::quote::{self, ident};
use crate::seams::Cause;

/// The columns of a set as arrays of text.
pub(crate) type Columns<'c> = Vec<Vec<Option<&'c str>>>;

/// Rows turned into columns; `which` picks the cells, by place.
pub(crate) fn columns<'r>(rows: &[&'r Row], which: &[usize]) -> Result<Columns<'r>, StreamError> {
    which.iter().map(|at| rows.iter().map(|row| text(row.get(*at))).collect()).collect()
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

/// `unnest($1::text[], …) as u(c0, …)`.
pub(crate) fn unnested(count: usize) -> String {
    let arrays: Vec<String> = (1..=count).map(|at| format!("${at}::text[]")).collect();
    let names: Vec<String> = (0..count).map(|at| format!("c{at}")).collect();
    format!("unnest({}) as u({})", arrays.join(", "), names.join(", "))
}

pub(crate) fn named(shape: &TableShape, at: usize) -> String {
    shape.columns.get(at).map(|name| ident(name)).unwrap_or_default()
}

/// `u.c2::numeric(10,2)`: the text of a set's column as the table's own type.
pub(crate) fn cast(shape: &TableShape, at: usize, place: usize) -> String {
    let kind = shape.types.get(at).map_or("text", String::as_str);
    format!("u.c{place}::{kind}")
}

/// `t.k1 = u.c0::int4 and …` over the key, whose cells stand at `places`.
pub(crate) fn key_matches(shape: &TableShape, places: impl Iterator<Item = usize>) -> String {
    let parts: Vec<String> = shape
        .key
        .iter()
        .zip(places)
        .map(|(at, place)| format!("t.{} = {}", named(shape, *at), cast(shape, *at, place)))
        .collect();
    parts.join(" and ")
}

pub(crate) fn upsert_sql(shape: &TableShape) -> String {
    let all: Vec<usize> = (0..shape.columns.len()).collect();
    let names: Vec<String> = all.iter().map(|at| named(shape, *at)).collect();
    let values: Vec<String> = all.iter().map(|at| cast(shape, *at, *at)).collect();
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
        unnested(all.len()),
        key.join(", "),
    )
}

pub(crate) fn delete_sql(shape: &TableShape) -> String {
    let table = quote::table(&shape.table);
    let count = shape.key.len();
    format!("delete from {table} t using {} where {}", unnested(count), key_matches(shape, 0..count))
}

/// Sets the present columns of rows found by key, whose cells come after them. Identity columns that are generated
/// always are left as they are: no update may set them.
pub(crate) fn update_sql(shape: &TableShape, present: &[usize]) -> String {
    let sets: Vec<String> = present
        .iter()
        .enumerate()
        .filter(|(_, at)| !shape.always.contains(at))
        .map(|(place, at)| format!("{} = {}", named(shape, *at), cast(shape, *at, place)))
        .collect();
    let count = present.len() + shape.key.len();
    let (table, from, found) =
        (quote::table(&shape.table), unnested(count), key_matches(shape, present.len()..count));
    let keys = (present.len()..count).map(|place| format!("u.c{place}")).collect::<Vec<_>>().join(", ");
    if sets.is_empty() {
        return format!("select {keys} from {table} t, {from} where {found}");
    }
    format!("update {table} t set {} from {from} where {found} returning {keys}", sets.join(", "))
}

/// The same by taking the rows out and putting them in again, where an identity column that is generated always may
/// have another value: an insert alone can write it.
pub(crate) fn move_sql(shape: &TableShape, present: &[usize]) -> String {
    let count = present.len() + shape.key.len();
    let all = 0..shape.columns.len();
    let olds: Vec<String> = all.clone().map(|at| format!("t.{} as o{at}", named(shape, at))).collect();
    let sent: Vec<String> = (0..count).map(|place| format!("u.c{place}")).collect();
    let values: Vec<String> = all
        .clone()
        .map(|at| match present.iter().position(|there| *there == at) {
            Some(place) => {
                let kind = shape.types.get(at).map_or("text", String::as_str);
                format!("c{place}::{kind}")
            }
            None => format!("o{at}"),
        })
        .collect();
    let names: Vec<String> = all.map(|at| named(shape, at)).collect();
    let keys: Vec<String> = (present.len()..count).map(|place| format!("c{place}")).collect();
    format!(
        "with moved as (delete from {table} t using {from} where {found} returning {olds}, {sent}), \
         put as (insert into {table} ({names}) overriding system value select {values} from moved) \
         select {keys} from moved",
        table = quote::table(&shape.table),
        from = unnested(count),
        found = key_matches(shape, present.len()..count),
        olds = olds.join(", "),
        sent = sent.join(", "),
        names = names.join(", "),
        values = values.join(", "),
        keys = keys.join(", "),
    )
}
