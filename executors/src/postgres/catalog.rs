//! What the catalog says of tables: their shape, and the statements that make them again elsewhere.
//!
//! Every name that a `pg_get_*def` or `format_type` prints is qualified, since sessions are pinned to
//! `search_path = pg_catalog`.

use journal::TableName;
use tokio_postgres::GenericClient;

use crate::native::TableShape;
use crate::postgres::database::chain;
use crate::seams::Cause;

pub use crate::postgres::definitions::{definitions, objects};

/// A catalog query's failure, in words.
pub(crate) fn unread(what: &str, error: &tokio_postgres::Error) -> Cause {
    Cause(format!("the catalog does not give {what}: {}", chain(error)))
}

/// The shapes of tables, in the order in which they are named. Generated columns are left out.
///
/// # Errors
/// The catalog cannot be read, or a table is not there, or has no primary key; each is named.
pub async fn shapes(client: &impl GenericClient, tables: &[TableName]) -> Result<Vec<TableShape>, Cause> {
    let mut shapes = Vec::with_capacity(tables.len());
    for table in tables {
        shapes.push(shape(client, table).await?);
    }
    Ok(shapes)
}

async fn shape(client: &impl GenericClient, table: &TableName) -> Result<TableShape, Cause> {
    let sql = "select a.attname::text, format_type(a.atttypid, a.atttypmod), a.attidentity = 'a', \
                      (select k.place::int4 from unnest(i.indkey::int2[]) with ordinality as k (attnum, place) \
                       where k.attnum = a.attnum and k.place <= i.indnkeyatts), i.indnkeyatts::int4 \
               from pg_class c \
               join pg_namespace n on n.oid = c.relnamespace \
               join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped \
               left join pg_index i on i.indrelid = c.oid and i.indisprimary \
               where n.nspname = $1 and c.relname = $2 and c.relkind in ('r', 'p') and a.attgenerated = '' \
               order by a.attnum";
    let rows = client
        .query(sql, &[&table.schema, &table.table])
        .await
        .map_err(|error| unread(&format!("the columns of {table}"), &error))?;
    if rows.is_empty() {
        return Err(Cause(format!("the table {table} is not there")));
    }
    let mut shape = TableShape {
        table: table.clone(),
        columns: Vec::with_capacity(rows.len()),
        types: Vec::with_capacity(rows.len()),
        key: Vec::new(),
        overrides_identity: false,
        always: Vec::new(),
    };
    let mut key = Vec::new();
    let mut key_columns = 0;
    for (at, row) in rows.iter().enumerate() {
        shape.columns.push(row.get(0));
        shape.types.push(row.get(1));
        if row.get(2) {
            shape.overrides_identity = true;
            shape.always.push(at);
        }
        if let Some(place) = row.get::<_, Option<i32>>(3) {
            key.push((place, at));
        }
        key_columns = row.get::<_, Option<i32>>(4).and_then(|count| usize::try_from(count).ok()).unwrap_or(0);
    }
    key.sort_unstable();
    shape.key = key.into_iter().map(|(_, at)| at).collect();
    if key_columns == 0 {
        return Err(Cause(format!("the table {table} has no primary key")));
    }
    // A part of a key identifies nothing.
    if shape.key.len() != key_columns {
        return Err(Cause(format!("the primary key of {table} holds a generated column")));
    }
    Ok(shape)
}
