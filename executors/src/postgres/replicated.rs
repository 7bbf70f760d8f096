//! What acts on rows that a stream or a load writes, and what keeps them from being written.
//!
//! Both write with `session_replication_role = replica`. A trigger or a rule that is `ENABLE ALWAYS` or `ENABLE REPLICA` acts
//! there a second time, or swallows rows in silence. Where a rule on update stands, the server refuses every
//! `insert … on conflict` into the table, whoever writes and even if the rule is disabled.

use journal::TableName;
use tokio_postgres::{GenericClient, Row};

use crate::postgres::catalog::{LISTED, of_place};
use crate::postgres::quote::{ident, table as quoted};
use crate::postgres::writers;

/// The tables' triggers and rules, our own left out: name, kind, whether it acts on replicated rows; behind [`LISTED`].
const ACTING: &str = "select t.tgname::text, 'trigger', true, h.place from listed h join pg_trigger t on t.tgrelid = h.oid \
       join pg_proc f on f.oid = t.tgfoid join pg_namespace o on o.oid = f.pronamespace \
     where not t.tgisinternal and o.nspname <> '_switchyard' and t.tgname not like 'switchyard%' \
       and t.tgname not like '\\_switchyard%' and t.tgenabled in ('A', 'R') \
     union all \
     select r.rulename::text, 'rule', r.ev_enabled in ('A', 'R'), h.place \
     from listed h join pg_rewrite r on r.ev_class = h.oid \
     where r.ev_enabled in ('A', 'R') or r.ev_type = '2' \
     order by 4, 2 desc, 1";

/// One of them.
#[derive(Debug)]
pub(crate) struct Acting {
    name: String,
    kind: &'static str,
    fires: bool,
}

impl Acting {
    /// What is in the way.
    pub(crate) fn what(&self, table: &TableName) -> String {
        let Self { name, kind, fires } = self;
        if *fires {
            format!("the {kind} {name} of {table} fires on replicated rows too (ENABLE ALWAYS or REPLICA)")
        } else {
            format!(
                "the rule {name} of {table} is on update: beside one, even a disabled one, the server lets no stream write \
                 the table (`insert … on conflict`)"
            )
        }
    }

    /// What to do about it.
    pub(crate) fn remedy(&self, table: &TableName) -> String {
        let (name, table) = (ident(&self.name), quoted(table));
        if self.fires && self.kind == "trigger" {
            format!("alter table {table} enable trigger {name}.")
        } else if self.fires {
            format!("alter table {table} enable rule {name}, or drop it if it is on update.")
        } else {
            format!("drop rule {name} on {table}; a trigger can do the same.")
        }
    }
}

/// Those of these tables, in the tables' order.
pub(crate) async fn acting(
    client: &impl GenericClient,
    tables: &[TableName],
) -> Result<Vec<(TableName, Acting)>, tokio_postgres::Error> {
    let (schemas, names) = writers::columns(tables);
    let rows = client.query(&format!("with {LISTED} {ACTING}"), &[&schemas, &names]).await?;
    let kind = |row: &Row| if row.get::<_, &str>(1) == "rule" { "rule" } else { "trigger" };
    let one = |row: &Row| Acting { name: row.get(0), kind: kind(row), fires: row.get(2) };
    let of = |(at, table): (usize, &TableName)| -> Vec<_> {
        of_place(&rows, at).iter().map(|row| (table.clone(), one(row))).collect()
    };
    Ok(tables.iter().enumerate().flat_map(of).collect())
}
