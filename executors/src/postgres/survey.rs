//! What a database has: looked at for people, and to know what a pattern means. Nothing is changed.

use std::collections::{BTreeMap, BTreeSet};

use journal::TableName;
use journal::plan::TablePattern;
use journal::predicate::{CatalogType, Collation, ColumnType};
use tokio_postgres::{Client, Error};

/// The tables, ordinary and partitioned ones, that any of the patterns matches, by name. Our own schema is never meant.
///
/// # Errors
/// The catalog cannot be read.
pub async fn matching(client: &Client, patterns: &[TablePattern]) -> Result<Vec<TableName>, Error> {
    let mut tables = every_table(client).await?;
    tables.retain(|table| patterns.iter().any(|pattern| pattern.matches(table)));
    Ok(tables)
}

/// The names of all tables outside the system's schemas and ours.
///
/// # Errors
/// The catalog cannot be read.
pub async fn every_table(client: &Client) -> Result<Vec<TableName>, Error> {
    let sql = "select n.nspname::text, c.relname::text \
               from pg_class c join pg_namespace n on n.oid = c.relnamespace \
               where c.relkind in ('r', 'p') and c.relpersistence <> 't' \
                 and n.nspname not in ('information_schema', '_switchyard') and n.nspname not like 'pg\\_%' \
               order by n.nspname collate \"C\", c.relname collate \"C\"";
    let rows = client.query(sql, &[]).await?;
    Ok(rows.iter().map(|row| TableName { schema: row.get(0), table: row.get(1) }).collect())
}

/// The table whose name is nearest to one that is not there.
///
/// # Errors
/// The catalog cannot be read.
pub async fn nearest(client: &Client, table: &TableName) -> Result<Option<TableName>, Error> {
    let meant = table.to_string();
    let far = (meant.chars().count() / 4).max(2);
    let tables = every_table(client).await?;
    let near = tables.into_iter().map(|other| (strsim::osa_distance(&meant, &other.to_string()), other));
    let nearest = near.filter(|(distance, other)| *distance <= far || other.table == table.table).min();
    Ok(nearest.map(|(_, other)| other))
}

/// What filters need to know of a table.
#[derive(Debug, Clone, Default)]
pub struct Columns {
    /// Each column's type, its domains resolved.
    pub types: BTreeMap<String, ColumnType>,
    /// The columns that a deletion carries in the change stream.
    pub identity: BTreeSet<String>,
    /// The columns of an enum's or a domain's type, which no publication's filter may name.
    pub own: BTreeSet<String>,
}

/// A table's columns; none if it is not there.
///
/// # Errors
/// The catalog cannot be read.
pub async fn columns(client: &Client, table: &TableName) -> Result<Columns, Error> {
    let sql = "with recursive below (attnum, typid) as ( \
                 select a.attnum, a.atttypid from pg_attribute a \
                 join pg_class c on c.oid = a.attrelid join pg_namespace n on n.oid = c.relnamespace \
                 where n.nspname = $1 and c.relname = $2 and a.attnum > 0 and not a.attisdropped \
                 union all \
                 select b.attnum, t.typbasetype from below b join pg_type t on t.oid = b.typid where t.typtype = 'd') \
               select a.attname::text, tn.nspname::text, t.typname::text, t.typtype::text, \
                 array(select e.enumlabel::text from pg_enum e where e.enumtypid = t.oid order by e.enumsortorder), \
                 case when a.attcollation = 0 then 'C' \
                      when l.collprovider = 'd' then (select datcollate::text from pg_database \
                        where datname = current_database() and to_jsonb(pg_database) ->> 'datlocprovider' is distinct from 'i') \
                      when l.collprovider = 'c' then l.collcollate::text end, \
                 coalesce(l.collisdeterministic, true), a.atttypid <> t.oid or t.typtype = 'e', \
                 c.relreplident = 'f' or exists (select from pg_index i where i.indrelid = c.oid \
                   and a.attnum = any (i.indkey) \
                   and (c.relreplident = 'd' and i.indisprimary or c.relreplident = 'i' and i.indisreplident)) \
               from below b join pg_type t on t.oid = b.typid and t.typtype <> 'd' \
               join pg_namespace tn on tn.oid = t.typnamespace \
               join pg_namespace n on n.nspname = $1 \
               join pg_class c on c.relnamespace = n.oid and c.relname = $2 \
               join pg_attribute a on a.attrelid = c.oid and a.attnum = b.attnum \
               left join pg_collation l on l.oid = a.attcollation";
    let mut columns = Columns::default();
    for row in client.query(sql, &[&table.schema, &table.table]).await? {
        let name: String = row.get(0);
        let by_bytes = matches!(row.get::<_, Option<&str>>(5), Some("C" | "POSIX"));
        let collation = match (row.get::<_, bool>(6), by_bytes) {
            (false, _) => Collation::Nondeterministic,
            (true, true) => Collation::Bytes,
            (true, false) => Collation::Deterministic,
        };
        let catalog = CatalogType {
            schema: row.get(1),
            name: row.get(2),
            kind: row.get::<_, &str>(3).chars().next().unwrap_or('b'),
            labels: row.get(4),
            collation,
        };
        columns.types.insert(name.clone(), ColumnType::from(catalog));
        if row.get(7) {
            columns.own.insert(name.clone());
        }
        if row.get(8) {
            columns.identity.insert(name);
        }
    }
    Ok(columns)
}
