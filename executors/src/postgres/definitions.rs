//! The statements that make a phase's tables again on the target: columns and primary keys before the load, indexes
//! and constraints after it.
//!
//! What another phase may have made before (schemas, types, collations, shared sequences) is made only where it is
//! missing; the tables themselves never are, so that a table of someone else's stops the step. Owners and grants follow
//! for those roles that the target has: a role that is missing there is skipped, since roles are the operator's.

use std::collections::BTreeSet;

use journal::{SchemaObject, TableDefinition, TableName};
use tokio_postgres::{GenericClient, Row};

use crate::postgres::behaviour::behaviour;
use crate::postgres::catalog::unread;
use crate::postgres::quote::{ident, literal, table as quoted};
use crate::seams::Cause;

/// A statement that runs only where the condition holds.
fn only_if(condition: &str, statement: &str) -> String {
    format!("do {}", literal(&format!("begin if {condition} then {statement}; end if; end")))
}

fn role_exists(role: &str) -> String {
    format!("exists (select from pg_roles where rolname = {})", literal(role))
}

fn qualified(schema: &str, name: &str) -> String {
    format!("{}.{}", ident(schema), ident(name))
}

/// The tables as they are to be made on the target: parents first.
///
/// # Errors
/// The catalog cannot be read, or a table is not there.
pub async fn definitions(
    client: &impl GenericClient,
    tables: &[TableName],
) -> Result<Vec<TableDefinition>, Cause> {
    let mut made = Vec::with_capacity(tables.len());
    for table in parents_first(client, tables).await? {
        let statements = table_statements(client, &table).await?;
        made.push(TableDefinition { table, statements });
    }
    Ok(made)
}

/// The tables in an order in which each parent comes before its children, as far as cycles allow.
async fn parents_first(client: &impl GenericClient, tables: &[TableName]) -> Result<Vec<TableName>, Cause> {
    let sql = "select pn.nspname::text, p.relname::text \
               from pg_constraint k \
               join pg_class c on c.oid = k.conrelid join pg_namespace n on n.oid = c.relnamespace \
               join pg_class p on p.oid = k.confrelid join pg_namespace pn on pn.oid = p.relnamespace \
               where k.contype = 'f' and n.nspname = $1 and c.relname = $2 and p.oid <> c.oid";
    let mut waiting = Vec::with_capacity(tables.len());
    for table in tables {
        let rows = client
            .query(sql, &[&table.schema, &table.table])
            .await
            .map_err(|error| unread(&format!("the foreign keys of {table}"), &error))?;
        let parents: BTreeSet<TableName> = rows
            .iter()
            .map(|row| TableName { schema: row.get(0), table: row.get(1) })
            .filter(|parent| tables.contains(parent))
            .collect();
        waiting.push((table.clone(), parents));
    }
    let mut ordered: Vec<TableName> = Vec::with_capacity(tables.len());
    while !waiting.is_empty() {
        let ready = waiting.iter().position(|(_, parents)| parents.iter().all(|p| ordered.contains(p)));
        // In a cycle any order serves: foreign keys are added after the load.
        ordered.push(waiting.remove(ready.unwrap_or(0)).0);
    }
    Ok(ordered)
}

/// What is needed of `pg_class` to write a table down.
struct Heap {
    oid: u32,
    owner: String,
    options: Option<String>,
    schema_acl: bool,
    comment: Option<String>,
}

async fn heap(client: &impl GenericClient, table: &TableName) -> Result<Heap, Cause> {
    let sql = "select c.oid, r.rolname::text, array_to_string(c.reloptions, ', '), n.nspacl is not null, \
                      obj_description(c.oid, 'pg_class') \
               from pg_class c join pg_namespace n on n.oid = c.relnamespace join pg_roles r on r.oid = c.relowner \
               where n.nspname = $1 and c.relname = $2 and c.relkind = 'r'";
    let row = client
        .query_opt(sql, &[&table.schema, &table.table])
        .await
        .map_err(|error| unread(&table.to_string(), &error))?
        .ok_or_else(|| Cause(format!("the table {table} is not there, or is not an ordinary table")))?;
    Ok(Heap {
        oid: row.get(0),
        owner: row.get(1),
        options: row.get(2),
        schema_acl: row.get(3),
        comment: row.get(4),
    })
}

async fn table_statements(client: &impl GenericClient, table: &TableName) -> Result<Vec<String>, Cause> {
    let fault = |error: tokio_postgres::Error| unread(&format!("the definition of {table}"), &error);
    let heap = heap(client, table).await?;
    let mut statements = vec![format!("create schema if not exists {}", ident(&table.schema))];
    statements.extend(types(client, heap.oid).await.map_err(fault)?);
    let sequences = sequences(client, heap.oid).await.map_err(fault)?;
    statements.extend(sequences.iter().filter_map(Sequence::create));
    statements.push(create_table(client, table, &heap, &sequences).await.map_err(fault)?);
    statements.extend(sequences.iter().filter_map(|sequence| sequence.owned_by(table)));
    statements.extend(storage(client, table, heap.oid).await.map_err(fault)?);
    if heap.schema_acl && table.schema != "public" {
        let sql = "select privilege_type, grantee, is_grantable from pg_namespace, aclexplode(nspacl) \
                   where oid = (select relnamespace from pg_class where oid = $1)";
        statements.extend(
            grants(client, sql, heap.oid, &format!("schema {}", ident(&table.schema)))
                .await
                .map_err(fault)?,
        );
    }
    let sql = "select privilege_type, grantee, is_grantable from pg_class, aclexplode(relacl) where oid = $1";
    let object = format!("table {}", quoted(table));
    statements.extend(grants(client, sql, heap.oid, &object).await.map_err(fault)?);
    for sequence in &sequences {
        let object = format!("sequence {}", sequence.name());
        statements.extend(grants(client, sql, sequence.oid, &object).await.map_err(fault)?);
    }
    statements.extend(column_grants(client, table, heap.oid).await.map_err(fault)?);
    statements.extend(comments(client, table, &heap).await.map_err(fault)?);
    statements.push(ownership(table, &heap.owner));
    Ok(statements)
}

/// The owner, where the target has the role and lets us; else every right on the table.
fn ownership(table: &TableName, owner: &str) -> String {
    let role = ident(owner);
    let body = format!(
        "begin if {exists} then \
           if pg_has_role(current_user, {name}, 'member') then \
             begin alter table {table} owner to {role}; \
             exception when insufficient_privilege then grant all on table {table} to {role}; end; \
           else grant all on table {table} to {role}; end if; \
         end if; end",
        exists = role_exists(owner),
        name = literal(owner),
        table = quoted(table),
    );
    format!("do {}", literal(&body))
}

/// A sequence that a table owns or draws from.
struct Sequence {
    oid: u32,
    schema: String,
    name: String,
    options: String,
    /// The column that owns it, and whether it is an identity's.
    column: Option<String>,
    is_identity: bool,
}

impl Sequence {
    fn name(&self) -> String {
        qualified(&self.schema, &self.name)
    }

    fn create(&self) -> Option<String> {
        let kind = self.options.split_once(' ').map_or("", |(kind, _)| kind);
        let rest = self.options.split_once(' ').map_or("", |(_, rest)| rest);
        (!self.is_identity).then(|| format!("create sequence if not exists {} as {kind} {rest}", self.name()))
    }

    fn owned_by(&self, table: &TableName) -> Option<String> {
        let column = self.column.as_ref().filter(|_| !self.is_identity)?;
        Some(format!("alter sequence {} owned by {}.{}", self.name(), quoted(table), ident(column)))
    }
}

async fn sequences(client: &impl GenericClient, oid: u32) -> Result<Vec<Sequence>, tokio_postgres::Error> {
    let sql = "select s.oid, n.nspname::text, s.relname::text, \
                 format('%s increment by %s minvalue %s maxvalue %s start with %s cache %s%s', \
                   format_type(q.seqtypid, null), q.seqincrement, q.seqmin, q.seqmax, q.seqstart, q.seqcache, \
                   case when q.seqcycle then ' cycle' else '' end), \
                 max(a.attname::text), coalesce(bool_or(u.deptype = 'i'), false) \
               from ( \
                 select objid as sequence, deptype, refobjsubid as owner from pg_depend \
                 where classid = 'pg_class'::regclass and refclassid = 'pg_class'::regclass and refobjid = $1 \
                   and refobjsubid > 0 and deptype in ('a', 'i') \
                 union all \
                 select d.refobjid, null, null from pg_depend d join pg_attrdef f on f.oid = d.objid \
                 where d.classid = 'pg_attrdef'::regclass and d.refclassid = 'pg_class'::regclass and f.adrelid = $1 \
               ) u \
               join pg_class s on s.oid = u.sequence and s.relkind = 'S' \
               join pg_namespace n on n.oid = s.relnamespace \
               join pg_sequence q on q.seqrelid = s.oid \
               left join pg_attribute a on a.attrelid = $1 and a.attnum = u.owner \
               group by s.oid, n.nspname, s.relname, q.seqtypid, q.seqincrement, q.seqmin, q.seqmax, q.seqstart, \
                 q.seqcache, q.seqcycle \
               order by 2, 3";
    let rows = client.query(sql, &[&oid]).await?;
    Ok(rows
        .iter()
        .map(|row| Sequence {
            oid: row.get(0),
            schema: row.get(1),
            name: row.get(2),
            options: row.get(3),
            column: row.get(4),
            is_identity: row.get(5),
        })
        .collect())
}

async fn create_table(
    client: &impl GenericClient,
    table: &TableName,
    heap: &Heap,
    sequences: &[Sequence],
) -> Result<String, tokio_postgres::Error> {
    let sql = "select a.attname::text, format_type(a.atttypid, a.atttypmod), a.attnotnull, \
                 a.attidentity::text, a.attgenerated::text, pg_get_expr(d.adbin, d.adrelid), \
                 n.nspname::text, l.collname::text \
               from pg_attribute a \
               join pg_type t on t.oid = a.atttypid \
               left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum \
               left join pg_collation l on l.oid = a.attcollation and a.attcollation <> t.typcollation \
               left join pg_namespace n on n.oid = l.collnamespace \
               where a.attrelid = $1 and a.attnum > 0 and not a.attisdropped \
               order by a.attnum";
    let mut parts: Vec<String> =
        client.query(sql, &[&heap.oid]).await?.iter().map(|row| column(row, sequences)).collect();
    let key = "select conname::text, pg_get_constraintdef(oid) from pg_constraint \
               where conrelid = $1 and contype = 'p'";
    if let Some(row) = client.query_opt(key, &[&heap.oid]).await? {
        parts.push(format!("constraint {} {}", ident(row.get(0)), row.get::<_, &str>(1)));
    }
    let options = heap.options.as_ref().map(|text| format!(" with ({text})")).unwrap_or_default();
    Ok(format!("create table {} ({}){options}", quoted(table), parts.join(", ")))
}

fn column(row: &Row, sequences: &[Sequence]) -> String {
    let name: &str = row.get(0);
    let mut text = format!("{} {}", ident(name), row.get::<_, &str>(1));
    if let (Some(schema), Some(collation)) = (row.get::<_, Option<&str>>(6), row.get::<_, Option<&str>>(7)) {
        text.push_str(&format!(" collate {}", qualified(schema, collation)));
    }
    let expression = row.get::<_, Option<&str>>(5);
    match (row.get::<_, &str>(3), row.get::<_, &str>(4), expression) {
        (_, "s", Some(expression)) => text.push_str(&format!(" generated always as ({expression}) stored")),
        ("", _, Some(expression)) => text.push_str(&format!(" default {expression}")),
        ("", _, None) => {}
        (identity, _, _) => {
            let word = if identity == "a" { "always" } else { "by default" };
            text.push_str(&format!(" generated {word} as identity"));
            let own = |sequence: &&Sequence| sequence.is_identity && sequence.column.as_deref() == Some(name);
            if let Some(sequence) = sequences.iter().find(own) {
                let options = sequence.options.split_once(' ').map_or("", |(_, rest)| rest);
                text.push_str(&format!(" (sequence name {} {options})", sequence.name()));
            }
        }
    }
    if row.get::<_, bool>(2) {
        text.push_str(" not null");
    }
    text
}

/// Column storage and compression where they are not the type's own.
async fn storage(
    client: &impl GenericClient,
    table: &TableName,
    oid: u32,
) -> Result<Vec<String>, tokio_postgres::Error> {
    let sql = "select a.attname::text, a.attstorage::text, t.typstorage::text, a.attcompression::text \
               from pg_attribute a join pg_type t on t.oid = a.atttypid \
               where a.attrelid = $1 and a.attnum > 0 and not a.attisdropped \
                 and (a.attstorage <> t.typstorage or a.attcompression <> '') \
               order by a.attnum";
    let mut statements = Vec::new();
    for row in client.query(sql, &[&oid]).await? {
        let alter = format!("alter table {} alter column {}", quoted(table), ident(row.get(0)));
        let (own, of_type) = (row.get::<_, &str>(1), row.get::<_, &str>(2));
        let word = match own {
            "p" => "plain",
            "e" => "external",
            "m" => "main",
            _ => "extended",
        };
        if own != of_type {
            statements.push(format!("{alter} set storage {word}"));
        }
        match row.get::<_, &str>(3) {
            "p" => statements.push(format!("{alter} set compression pglz")),
            "l" => statements.push(format!("{alter} set compression lz4")),
            _ => {}
        }
    }
    Ok(statements)
}

/// Grants to roles that the target has; roles of ours that it lacks are skipped there.
async fn grants(
    client: &impl GenericClient,
    sql: &str,
    oid: u32,
    object: &str,
) -> Result<Vec<String>, tokio_postgres::Error> {
    let sql = format!(
        "select g.privilege_type, r.rolname::text, g.is_grantable from ({sql}) g \
         left join pg_roles r on r.oid = g.grantee where g.grantee = 0 or r.oid is not null order by 2, 1"
    );
    let rows = client.query(&sql, &[&oid]).await?;
    Ok(rows.iter().map(|row| grant(row.get(0), "", object, row.get(1), row.get(2))).collect())
}

fn grant(privilege: &str, columns: &str, object: &str, role: Option<&str>, grantable: bool) -> String {
    let to = role.map_or_else(|| "public".to_owned(), ident);
    let tail = if grantable { " with grant option" } else { "" };
    let statement = format!("grant {privilege}{columns} on {object} to {to}{tail}");
    role.map_or(statement.clone(), |role| only_if(&role_exists(role), &statement))
}

async fn column_grants(
    client: &impl GenericClient,
    table: &TableName,
    oid: u32,
) -> Result<Vec<String>, tokio_postgres::Error> {
    let sql = "select g.privilege_type, r.rolname::text, g.is_grantable, a.attname::text \
               from pg_attribute a, aclexplode(a.attacl) g left join pg_roles r on r.oid = g.grantee \
               where a.attrelid = $1 and a.attacl is not null and not a.attisdropped \
                 and (g.grantee = 0 or r.oid is not null) \
               order by a.attnum, 2, 1";
    let object = format!("table {}", quoted(table));
    let rows = client.query(sql, &[&oid]).await?;
    Ok(rows
        .iter()
        .map(|row| {
            let columns = format!(" ({})", ident(row.get(3)));
            grant(row.get(0), &columns, &object, row.get(1), row.get(2))
        })
        .collect())
}

async fn comments(
    client: &impl GenericClient,
    table: &TableName,
    heap: &Heap,
) -> Result<Vec<String>, tokio_postgres::Error> {
    let mut statements = Vec::new();
    if let Some(text) = &heap.comment {
        statements.push(format!("comment on table {} is {}", quoted(table), literal(text)));
    }
    let sql = "select attname::text, col_description(attrelid, attnum) from pg_attribute \
               where attrelid = $1 and attnum > 0 and not attisdropped \
                 and col_description(attrelid, attnum) is not null order by attnum";
    for row in client.query(sql, &[&heap.oid]).await? {
        let column = ident(row.get(0));
        let text = literal(row.get(1));
        statements.push(format!("comment on column {}.{column} is {text}", quoted(table)));
    }
    Ok(statements)
}

/// Every type that a table's columns are made of, and whether it is ours to make: neither built in nor an extension's.
const USED_TYPES: &str = "with recursive used (oid, depth) as ( \
      select atttypid, 0 from pg_attribute where attrelid = any ($1) and attnum > 0 and not attisdropped \
      union all \
      select x.oid, used.depth + 1 from used join pg_type t on t.oid = used.oid cross join lateral ( \
        select t.typelem as oid where t.typelem <> 0 and t.typcategory = 'A' \
        union all select t.typbasetype where t.typtype = 'd' \
        union all select r.rngsubtype from pg_range r where r.rngtypid = t.oid \
        union all select r.rngtypid from pg_range r where r.rngmultitypid = t.oid \
        union all select a.atttypid from pg_attribute a \
                  where t.typtype = 'c' and a.attrelid = t.typrelid and a.attnum > 0 and not a.attisdropped \
      ) x where used.depth < 32 \
    ) \
    select t.oid, t.typtype::text, n.nspname::text, t.typname::text, t.typrelid, \
           exists (select from pg_depend d where d.classid = 'pg_type'::regclass and d.objid = t.oid \
                   and d.deptype = 'e') \
    from (select oid, max(depth) as depth from used group by oid) u \
    join pg_type t on t.oid = u.oid join pg_namespace n on n.oid = t.typnamespace \
    where n.nspname not in ('pg_catalog', 'information_schema') and not (t.typelem <> 0 and t.typcategory = 'A') \
    order by u.depth desc, n.nspname, t.typname";

/// The types that these tables use and that must be on the target beforehand: an extension's, ranges, base types.
///
/// # Errors
/// The catalog cannot be read.
pub async fn types_to_bring(
    client: &impl GenericClient,
    tables: &[u32],
) -> Result<Vec<String>, tokio_postgres::Error> {
    let rows = client.query(USED_TYPES, &[&tables]).await?;
    Ok(rows
        .iter()
        .filter(|row| row.get::<_, bool>(5) || !matches!(row.get::<_, &str>(1), "e" | "d" | "c"))
        .map(|row| qualified(row.get(2), row.get(3)))
        .collect())
}

async fn types(client: &impl GenericClient, table: u32) -> Result<Vec<String>, tokio_postgres::Error> {
    let mut statements = collations(client, table).await?;
    for row in client.query(USED_TYPES, &[&vec![table]]).await? {
        if row.get::<_, bool>(5) {
            continue;
        }
        let (oid, schema, name): (u32, &str, &str) = (row.get(0), row.get(2), row.get(3));
        let made = match row.get::<_, &str>(1) {
            "e" => enumeration(client, oid).await?,
            "d" => domain(client, oid).await?,
            "c" => composite(client, row.get(4)).await?,
            _ => continue,
        };
        let (kind, body) = made;
        let qualified = qualified(schema, name);
        statements.push(format!("create schema if not exists {}", ident(schema)));
        let missing = format!("to_regtype({}) is null", literal(&qualified));
        statements.push(only_if(&missing, &format!("create {kind} {qualified} as {body}")));
    }
    Ok(statements)
}

async fn enumeration(
    client: &impl GenericClient,
    oid: u32,
) -> Result<(&'static str, String), tokio_postgres::Error> {
    let sql = "select enumlabel::text from pg_enum where enumtypid = $1 order by enumsortorder";
    let rows = client.query(sql, &[&oid]).await?;
    let labels: Vec<String> = rows.iter().map(|row| literal(row.get(0))).collect();
    Ok(("type", format!("enum ({})", labels.join(", "))))
}

async fn domain(
    client: &impl GenericClient,
    oid: u32,
) -> Result<(&'static str, String), tokio_postgres::Error> {
    let sql = "select format_type(t.typbasetype, t.typtypmod), pg_get_expr(t.typdefaultbin, 0), t.typnotnull, \
                 n.nspname::text, l.collname::text \
               from pg_type t join pg_type b on b.oid = t.typbasetype \
               left join pg_collation l on l.oid = t.typcollation and t.typcollation <> b.typcollation \
               left join pg_namespace n on n.oid = l.collnamespace where t.oid = $1";
    let row = client.query_one(sql, &[&oid]).await?;
    let mut body: String = row.get(0);
    if let (Some(schema), Some(collation)) = (row.get::<_, Option<&str>>(3), row.get::<_, Option<&str>>(4)) {
        body.push_str(&format!(" collate {}", qualified(schema, collation)));
    }
    if let Some(default) = row.get::<_, Option<&str>>(1) {
        body.push_str(&format!(" default {default}"));
    }
    if row.get(2) {
        body.push_str(" not null");
    }
    let sql = "select conname::text, pg_get_constraintdef(oid) from pg_constraint \
               where contypid = $1 and contype = 'c' order by conname";
    for row in client.query(sql, &[&oid]).await? {
        body.push_str(&format!(" constraint {} {}", ident(row.get(0)), row.get::<_, &str>(1)));
    }
    Ok(("domain", body))
}

async fn composite(
    client: &impl GenericClient,
    relation: u32,
) -> Result<(&'static str, String), tokio_postgres::Error> {
    let sql = "select attname::text, format_type(atttypid, atttypmod) from pg_attribute \
               where attrelid = $1 and attnum > 0 and not attisdropped order by attnum";
    let rows = client.query(sql, &[&relation]).await?;
    let fields: Vec<String> =
        rows.iter().map(|row| format!("{} {}", ident(row.get(0)), row.get::<_, &str>(1))).collect();
    Ok(("type", format!("({})", fields.join(", "))))
}

/// Collations of the table's columns and of their domains that someone made.
async fn collations(client: &impl GenericClient, table: u32) -> Result<Vec<String>, tokio_postgres::Error> {
    // As JSON, since the locale's column has another name in each major version.
    let sql = "select n.nspname::text, l.collname::text, l.collprovider::text, l.collisdeterministic, \
                 l.collcollate::text, l.collctype::text, \
                 coalesce(j.c ->> 'colllocale', j.c ->> 'colliculocale', l.collcollate::text) \
               from pg_collation l join pg_namespace n on n.oid = l.collnamespace \
               cross join lateral (select to_jsonb(l) as c) j \
               where n.nspname not in ('pg_catalog', 'information_schema') and l.oid in ( \
                 select attcollation from pg_attribute where attrelid = $1 \
                 union select t.typcollation from pg_attribute a join pg_type t on t.oid = a.atttypid \
                 where a.attrelid = $1)";
    let mut statements = Vec::new();
    for row in client.query(sql, &[&table]).await? {
        let (schema, name): (&str, &str) = (row.get(0), row.get(1));
        let text = |at: usize| literal(row.get::<_, Option<&str>>(at).unwrap_or_default());
        let options = if row.get::<_, &str>(2) == "i" {
            format!("provider = icu, locale = {}, deterministic = {}", text(6), row.get::<_, bool>(3))
        } else {
            format!("lc_collate = {}, lc_ctype = {}", text(4), text(5))
        };
        statements.push(format!("create schema if not exists {}", ident(schema)));
        statements.push(format!("create collation if not exists {} ({options})", qualified(schema, name)));
    }
    Ok(statements)
}

/// What is made after the load, in an order in which it can be made: indexes, then constraints, foreign keys after those,
/// and last what acts by itself.
///
/// # Errors
/// The catalog cannot be read.
pub async fn objects(client: &impl GenericClient, tables: &[TableName]) -> Result<Vec<SchemaObject>, Cause> {
    let indexes = "select x.relname::text, 'index', pg_get_indexdef(i.indexrelid) \
                   from pg_index i join pg_class x on x.oid = i.indexrelid \
                   where i.indrelid = $1 and i.indisvalid \
                     and not exists (select from pg_constraint k where k.conindid = i.indexrelid \
                                     and k.contype in ('p', 'u', 'x')) \
                   order by 1";
    let constraints = "select conname::text, \
                         case contype when 'u' then 'unique constraint' when 'x' then 'exclusion constraint' \
                           else 'check constraint' end, pg_get_constraintdef(oid) \
                       from pg_constraint where conrelid = $1 and contype in ('u', 'x', 'c') order by contype, conname";
    let foreign = "select conname::text, 'foreign key', pg_get_constraintdef(oid) \
                   from pg_constraint where conrelid = $1 and contype = 'f' order by conname";
    let statistics = "select stxname::text, 'statistics', pg_get_statisticsobjdef(oid) \
                      from pg_statistic_ext where stxrelid = $1 order by stxname";
    let mut objects = Vec::new();
    for (sql, is_constraint) in [(indexes, false), (constraints, true), (statistics, false), (foreign, true)]
    {
        for table in tables {
            let fault = |error| unread(&format!("the indexes and constraints of {table}"), &error);
            let oid = heap(client, table).await?.oid;
            for row in client.query(sql, &[&oid]).await.map_err(fault)? {
                let name: String = row.get(0);
                let definition: String = row.get(2);
                let statement = if is_constraint {
                    format!("alter table {} add constraint {} {definition}", quoted(table), ident(&name))
                } else {
                    definition
                };
                let kind = row.get::<_, &str>(1).to_owned();
                objects.push(SchemaObject { table: table.clone(), name, kind, statement });
            }
        }
    }
    for table in tables {
        objects.extend(behaviour(client, table, heap(client, table).await?.oid).await?);
    }
    Ok(objects)
}
