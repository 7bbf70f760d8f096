//! What the catalog says of tables: their shape, and the statements that make them again elsewhere.
//!
//! Every name that a `pg_get_*def` or `format_type` prints is qualified, since sessions are pinned to
//! `search_path = pg_catalog`.

use journal::TableName;
use tokio_postgres::{GenericClient, Row};

use crate::native::{Equality, Input, InputWay, TableShape};
use crate::postgres::database::chain;
use crate::postgres::writers;
use crate::seams::Cause;

pub use crate::postgres::definitions::{definitions, objects};

/// A catalog query's failure, in words.
pub(crate) fn unread(what: &str, error: &tokio_postgres::Error) -> Cause {
    Cause(format!("the catalog does not give {what}: {}", chain(error)))
}

/// The columns of the tables `$1` (schemas), `$2` (names), each table by its place in them from 1 on. Types are looked at once
/// each, however many columns are of them.
const SHAPES: &str = "with recursive columns as materialized ( \
       select w.place, c.oid as heap, a.attnum, a.attname, a.atttypid, a.atttypmod, a.attidentity \
       from unnest($1::text[], $2::text[]) with ordinality as w (schema, name, place) \
       join pg_namespace n on n.nspname = w.schema \
       join pg_class c on c.relnamespace = n.oid and c.relname = w.name and c.relkind in ('r', 'p') \
       join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped and a.attgenerated = ''), \
     based (type, depth, oid, kind, base) as ( \
       select y.oid, 0, y.oid, y.typtype, y.typbasetype \
       from (select distinct atttypid from columns) u join pg_type y on y.oid = u.atttypid \
       union all \
       select based.type, depth + 1, b.oid, b.typtype, b.typbasetype from based join pg_type b on b.oid = based.base), \
     types as materialized ( \
       select y.oid, format_type(y.oid, -1) as name, \
              case when y.typarray <> 0 and not b.is_composite then y.typdelim::text end as delimiter, \
              f.name as input, f.rest, format_type(b.last, -1) as base \
       from (select type, bool_or(kind = 'c') as is_composite, \
                    (array_agg(oid order by depth desc) filter (where depth > 0))[1] as last from based group by type) b \
       join pg_type y on y.oid = b.type \
       left join lateral ( \
         select format('%I.%I', s.nspname, p.proname) as name, \
                case p.pronargs when 1 then '' when 2 then ', 0' else ', 0, -1' end as rest \
         from pg_proc p join pg_namespace s on s.oid = p.pronamespace \
         where p.oid = y.typinput and p.prorettype = y.oid and (p.pronargs = 1 or y.oid < 16384)) f on true) \
     select a.attname::text, format_type(a.atttypid, a.atttypmod), a.attidentity = 'a', \
            k.place, i.indnkeyatts::int4, t.name, t.delimiter, \
            case when k.place is not null then \
              (select format('operator(%I.%s)', s.nspname, o.oprname) \
               from pg_opclass p join pg_amop m on m.amopfamily = p.opcfamily and m.amopstrategy = 3 \
                 and m.amoplefttype = p.opcintype and m.amoprighttype = p.opcintype \
               join pg_operator o on o.oid = m.amopopr join pg_namespace s on s.oid = o.oprnamespace \
               where p.oid = k.opclass) end, \
            t.input, t.rest, t.base, a.place \
     from columns a join types t on t.oid = a.atttypid \
     left join pg_index i on i.indrelid = a.heap and i.indisprimary \
     left join lateral ( \
       select place::int4, opclass from unnest(i.indkey::int2[], i.indclass::oid[]) \
         with ordinality as u (attnum, opclass, place) \
       where u.attnum = a.attnum and u.place <= i.indnkeyatts) k on true \
     order by a.place, a.attnum";

/// The shapes of tables, in the order in which they are named. Generated columns are left out.
///
/// # Errors
/// The catalog cannot be read, or a table is not there, or has no primary key; each is named.
pub async fn shapes(client: &impl GenericClient, tables: &[TableName]) -> Result<Vec<TableShape>, Cause> {
    let (schemas, names) = writers::columns(tables);
    let rows = client
        .query(SHAPES, &[&schemas, &names])
        .await
        .map_err(|error| unread(&format!("the columns of {}", few(tables)), &error))?;
    let shaped = |(at, table): (usize, &TableName)| shape(table, of_place(&rows, at));
    tables.iter().enumerate().map(shaped).collect()
}

/// The relations `$1` (schemas), `$2` (names), each with its place among them from 1 on, as `listed (oid, place)`.
pub(crate) const LISTED: &str = "listed (oid, place) as materialized ( \
     select c.oid, w.place from unnest($1::text[], $2::text[]) with ordinality as w (schema, name, place) \
     join pg_namespace n on n.nspname = w.schema join pg_class c on c.relnamespace = n.oid and c.relname = w.name)";

/// Those of the rows, which are in the order of their tables' places from 1 on, their last column, that are of the table at
/// this index.
pub(crate) fn of_place(rows: &[Row], index: usize) -> &[Row] {
    let before = |row: &Row| usize::try_from(row.get::<_, i64>(row.len() - 1)).unwrap_or(usize::MAX);
    let begin = rows.partition_point(|row| before(row) <= index);
    let end = rows.partition_point(|row| before(row) <= index + 1);
    rows.get(begin..end).unwrap_or_default()
}

/// One table by its name, or how many they are.
pub(crate) fn few(tables: &[TableName]) -> String {
    match tables {
        [table] => table.to_string(),
        _ => format!("{} tables", tables.len()),
    }
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

/// A table's shape, of its columns in their order.
fn shape(table: &TableName, rows: &[Row]) -> Result<TableShape, Cause> {
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
