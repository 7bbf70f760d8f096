//! What the catalog says of tables: their shape, and the statements that make them again elsewhere.
//!
//! Every name that a `pg_get_*def` or `format_type` prints is qualified, since sessions are pinned to
//! `search_path = pg_catalog`.

use journal::TableName;
use tokio_postgres::{GenericClient, Row};

use crate::native::{Equality, Input, InputWay, TableShape};
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

fn input(row: &Row) -> Input {
    let kind: String = row.get(5);
    let delimiter = row.get::<_, Option<&str>>(6).and_then(|text| text.chars().next());
    let way = match (row.get::<_, Option<String>>(8), delimiter) {
        _ if kind == "text" => InputWay::Text,
        (Some(function), _) => InputWay::Function(function, row.get(9)),
        (None, Some(delimiter)) => InputWay::Array(delimiter),
        (None, None) => InputWay::Json,
    };
    Input { kind, way }
}

async fn shape(client: &impl GenericClient, table: &TableName) -> Result<TableShape, Cause> {
    let sql = "select a.attname::text, format_type(a.atttypid, a.atttypmod), a.attidentity = 'a', \
                      k.place, i.indnkeyatts::int4, format_type(a.atttypid, -1), \
                      (with recursive based (kind, base) as ( \
                         select y.typtype, y.typbasetype union all \
                         select b.typtype, b.typbasetype from based join pg_type b on b.oid = based.base) \
                       select case when y.typarray <> 0 and not bool_or(kind = 'c') then y.typdelim::text end from based), \
                      (select format('operator(%I.%s)', s.nspname, o.oprname) \
                       from pg_opclass p join pg_amop m on m.amopfamily = p.opcfamily and m.amopstrategy = 3 \
                         and m.amoplefttype = p.opcintype and m.amoprighttype = p.opcintype \
                       join pg_operator o on o.oid = m.amopopr join pg_namespace s on s.oid = o.oprnamespace \
                       where p.oid = k.opclass), \
                      f.name, f.rest, \
                      (with recursive based (depth, kind, base) as ( \
                         select 0, y.typbasetype, y.typbasetype union all \
                         select depth + 1, b.oid, b.typbasetype from based join pg_type b on b.oid = based.base) \
                       select format_type(kind, -1) from based where kind <> 0 order by depth desc limit 1) \
               from pg_class c \
               join pg_namespace n on n.oid = c.relnamespace \
               join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped \
               join pg_type y on y.oid = a.atttypid \
               left join lateral ( \
                 select format('%I.%I', s.nspname, p.proname) as name, \
                        case p.pronargs when 1 then '' when 2 then ', 0' else ', 0, -1' end as rest \
                 from pg_proc p join pg_namespace s on s.oid = p.pronamespace \
                 where p.oid = y.typinput and p.prorettype = y.oid and (p.pronargs = 1 or y.oid < 16384)) f on true \
               left join pg_index i on i.indrelid = c.oid and i.indisprimary \
               left join lateral ( \
                 select place::int4, opclass from unnest(i.indkey::int2[], i.indclass::oid[]) \
                   with ordinality as u (attnum, opclass, place) \
                 where u.attnum = a.attnum and u.place <= i.indnkeyatts) k on true \
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
        inputs: Vec::with_capacity(rows.len()),
        key: Vec::new(),
        key_equals: Vec::new(),
        overrides_identity: false,
        always: Vec::new(),
    };
    let mut key = Vec::new();
    let mut key_columns = 0;
    for (at, row) in rows.iter().enumerate() {
        shape.columns.push(row.get(0));
        shape.types.push(row.get(1));
        shape.inputs.push(input(row));
        if row.get(2) {
            shape.overrides_identity = true;
            shape.always.push(at);
        }
        if let Some(place) = row.get::<_, Option<i32>>(3) {
            let operator = row.get::<_, Option<String>>(7).unwrap_or_else(|| "=".to_owned());
            key.push((place, at, Equality { operator, base: row.get(10) }));
        }
        key_columns = row.get::<_, Option<i32>>(4).and_then(|count| usize::try_from(count).ok()).unwrap_or(0);
    }
    key.sort_unstable_by_key(|(place, ..)| *place);
    (shape.key, shape.key_equals) = key.into_iter().map(|(_, at, equals)| (at, equals)).unzip();
    if key_columns == 0 {
        return Err(Cause(format!("the table {table} has no primary key")));
    }
    // A part of a key identifies nothing.
    if shape.key.len() != key_columns {
        return Err(Cause(format!("the primary key of {table} holds a generated column")));
    }
    Ok(shape)
}
