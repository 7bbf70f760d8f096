//! What a database has: looked at for people, and to know what a pattern means. Nothing is changed.

use journal::TableName;
use journal::plan::TablePattern;
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
