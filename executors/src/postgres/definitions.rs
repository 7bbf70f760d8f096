//! The statements that make a phase's tables again on the target: columns and primary keys before the load, indexes
//! and constraints after it.
//!
//! What another phase may have made before (schemas, types, collations, shared sequences) is made only where it is
//! missing; the tables themselves never are, so that a table of someone else's stops the step. Owners and grants follow
//! for those roles that the target has: a role that is missing there is skipped, since roles are the operator's.

use std::collections::{BTreeMap, BTreeSet};

use journal::{SchemaObject, TableDefinition, TableName};
use tokio_postgres::{GenericClient, Row};

use crate::postgres::behaviour::behaviour;
use crate::postgres::catalog::{LISTED, few, of_place, unread};
use crate::postgres::quote::{ident, literal, table as quoted};
use crate::postgres::writers;
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
    let tables = parents_first(client, tables).await?;
    let heaps = heaps(client, &tables).await?;
    let read = Read::all(client, &heaps)
        .await
        .map_err(|error| unread(&format!("the definition of {}", few(&tables)), &error))?;
    let made = |(at, (table, heap)): (usize, (&TableName, &Heap))| TableDefinition {
        table: table.clone(),
        statements: read.statements(at, (table, heap)),
    };
    Ok(tables.iter().zip(&heaps).enumerate().map(made).collect())
}

/// The tables in an order in which each parent comes before its children, as far as cycles allow.
async fn parents_first(client: &impl GenericClient, tables: &[TableName]) -> Result<Vec<TableName>, Cause> {
    let sql = "select pn.nspname::text, p.relname::text, h.place \
               from listed h join pg_constraint k on k.conrelid = h.oid and k.contype = 'f' and k.confrelid <> h.oid \
               join pg_class p on p.oid = k.confrelid join pg_namespace pn on pn.oid = p.relnamespace \
               order by h.place";
    let (schemas, names) = writers::columns(tables);
    let rows = client
        .query(&format!("with {LISTED} {sql}"), &[&schemas, &names])
        .await
        .map_err(|error| unread(&format!("the foreign keys of {}", few(tables)), &error))?;
    let known: BTreeSet<&TableName> = tables.iter().collect();
    let parents = |(at, table): (usize, &TableName)| {
        let parents: BTreeSet<TableName> = of_place(&rows, at)
            .iter()
            .map(|row| TableName { schema: row.get(0), table: row.get(1) })
            .filter(|parent| known.contains(parent))
            .collect();
        (table.clone(), parents)
    };
    let mut waiting: Vec<_> = tables.iter().enumerate().map(parents).collect();
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

/// Those of the tables, in their order.
async fn heaps(client: &impl GenericClient, tables: &[TableName]) -> Result<Vec<Heap>, Cause> {
    let sql = "select c.oid, r.rolname::text, array_to_string(c.reloptions, ', '), n.nspacl is not null, \
                      obj_description(c.oid, 'pg_class'), h.place \
               from listed h join pg_class c on c.oid = h.oid and c.relkind = 'r' \
               join pg_namespace n on n.oid = c.relnamespace join pg_roles r on r.oid = c.relowner \
               order by h.place";
    let (schemas, names) = writers::columns(tables);
    let rows = client
        .query(&format!("with {LISTED} {sql}"), &[&schemas, &names])
        .await
        .map_err(|error| unread(&few(tables), &error))?;
    let heap = |(at, table): (usize, &TableName)| {
        let row = of_place(&rows, at).first();
        let row =
            row.ok_or_else(|| Cause(format!("the table {table} is not there, or is not an ordinary table")))?;
        Ok(Heap {
            oid: row.get(0),
            owner: row.get(1),
            options: row.get(2),
            schema_acl: row.get(3),
            comment: row.get(4),
        })
    };
    tables.iter().enumerate().map(heap).collect()
}

/// What the catalog has of tables, each list in the order of their places.
struct Read {
    collations: Vec<Row>,
    types: Vec<Row>,
    /// How each of the types is made that are ours to make.
    bodies: BTreeMap<u32, (&'static str, String)>,
    sequences: Vec<Vec<Sequence>>,
    columns: Vec<Row>,
    keys: Vec<Row>,
    storage: Vec<Row>,
    schema_grants: Vec<Row>,
    table_grants: Vec<Row>,
    column_grants: Vec<Row>,
    comments: Vec<Row>,
}

/// What is asked of the tables `$1` by their oids, behind [`BY_OID`].
async fn ask(
    client: &impl GenericClient,
    sql: &str,
    oids: &[u32],
) -> Result<Vec<Row>, tokio_postgres::Error> {
    client.query(&format!("with {BY_OID} {sql}"), &[&oids]).await
}

impl Read {
    async fn all(client: &impl GenericClient, heaps: &[Heap]) -> Result<Self, tokio_postgres::Error> {
        let oids: Vec<u32> = heaps.iter().map(|heap| heap.oid).collect();
        let types = client.query(USED_TYPES, &[&oids]).await?;
        Ok(Self {
            collations: ask(client, COLLATIONS, &oids).await?,
            bodies: bodies(client, &types).await?,
            types,
            sequences: sequences(client, &oids).await?,
            columns: ask(client, COLUMNS, &oids).await?,
            keys: ask(client, KEYS, &oids).await?,
            storage: ask(client, STORAGE, &oids).await?,
            schema_grants: grants(client, "pg_namespace", &oids).await?,
            table_grants: grants(client, "pg_class", &oids).await?,
            column_grants: ask(client, COLUMN_GRANTS, &oids).await?,
            comments: ask(client, COMMENTS, &oids).await?,
        })
    }

    /// The statements of the table at this place.
    fn statements(&self, at: usize, (table, heap): (&TableName, &Heap)) -> Vec<String> {
        let sequences = self.sequences.get(at).map(Vec::as_slice).unwrap_or_default();
        let mut statements = vec![format!("create schema if not exists {}", ident(&table.schema))];
        statements.extend(of_place(&self.collations, at).iter().flat_map(collation));
        statements.extend(of_place(&self.types, at).iter().filter_map(|row| self.made(row)).flatten());
        statements.extend(sequences.iter().filter_map(Sequence::create));
        statements.push(self.create_table(at, (table, heap), sequences));
        statements.extend(sequences.iter().filter_map(|sequence| sequence.owned_by(table)));
        statements.extend(of_place(&self.storage, at).iter().flat_map(|row| storage(table, row)));
        let granted = |rows: &[Row], object: &str| -> Vec<String> {
            rows.iter().map(|row| grant(row.get(0), "", object, row.get(1), row.get(2))).collect()
        };
        if heap.schema_acl && table.schema != "public" {
            let object = format!("schema {}", ident(&table.schema));
            statements.extend(granted(of_place(&self.schema_grants, at), &object));
        }
        statements.extend(granted(of_place(&self.table_grants, at), &format!("table {}", quoted(table))));
        for sequence in sequences {
            statements.extend(granted(&sequence.grants, &format!("sequence {}", sequence.name())));
        }
        statements.extend(of_place(&self.column_grants, at).iter().map(|row| column_grant(table, row)));
        if let Some(text) = &heap.comment {
            statements.push(format!("comment on table {} is {}", quoted(table), literal(text)));
        }
        statements.extend(of_place(&self.comments, at).iter().map(|row| comment(table, row)));
        statements.push(ownership(table, &heap.owner));
        statements
    }

    /// A type's statements, if it is ours to make.
    fn made(&self, row: &Row) -> Option<[String; 2]> {
        let (kind, body) = self.bodies.get(&row.get(0))?;
        let (schema, name): (&str, &str) = (row.get(2), row.get(3));
        let qualified = qualified(schema, name);
        let missing = format!("to_regtype({}) is null", literal(&qualified));
        Some([
            format!("create schema if not exists {}", ident(schema)),
            only_if(&missing, &format!("create {kind} {qualified} as {body}")),
        ])
    }

    fn create_table(&self, at: usize, (table, heap): (&TableName, &Heap), sequences: &[Sequence]) -> String {
        let mut parts: Vec<String> =
            of_place(&self.columns, at).iter().map(|row| column(row, sequences)).collect();
        if let Some(row) = of_place(&self.keys, at).first() {
            parts.push(format!("constraint {} {}", ident(row.get(0)), row.get::<_, &str>(1)));
        }
        let options = heap.options.as_ref().map(|text| format!(" with ({text})")).unwrap_or_default();
        format!("create table {} ({}){options}", quoted(table), parts.join(", "))
    }
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
    schema: String,
    name: String,
    options: String,
    /// The column that owns it, and whether it is an identity's.
    column: Option<String>,
    is_identity: bool,
    grants: Vec<Row>,
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

/// Each table's sequences.
async fn sequences(
    client: &impl GenericClient,
    oids: &[u32],
) -> Result<Vec<Vec<Sequence>>, tokio_postgres::Error> {
    let sql = "select s.oid, n.nspname::text, s.relname::text, \
                 format('%s increment by %s minvalue %s maxvalue %s start with %s cache %s%s', \
                   format_type(q.seqtypid, null), q.seqincrement, q.seqmin, q.seqmax, q.seqstart, q.seqcache, \
                   case when q.seqcycle then ' cycle' else '' end), \
                 max(a.attname::text), coalesce(bool_or(u.deptype = 'i'), false), u.place \
               from ( \
                 select h.place, h.oid as heap, d.objid as sequence, d.deptype, d.refobjsubid as owner \
                 from listed h join pg_depend d on d.refclassid = 'pg_class'::regclass and d.refobjid = h.oid \
                 where d.classid = 'pg_class'::regclass and d.refobjsubid > 0 and d.deptype in ('a', 'i') \
                 union all \
                 select h.place, h.oid, d.refobjid, null, null from listed h join pg_attrdef f on f.adrelid = h.oid \
                 join pg_depend d on d.classid = 'pg_attrdef'::regclass and d.objid = f.oid \
                 where d.refclassid = 'pg_class'::regclass \
               ) u \
               join pg_class s on s.oid = u.sequence and s.relkind = 'S' \
               join pg_namespace n on n.oid = s.relnamespace \
               join pg_sequence q on q.seqrelid = s.oid \
               left join pg_attribute a on a.attrelid = u.heap and a.attnum = u.owner \
               group by u.place, s.oid, n.nspname, s.relname, q.seqtypid, q.seqincrement, q.seqmin, q.seqmax, q.seqstart, \
                 q.seqcache, q.seqcycle \
               order by u.place, 2, 3";
    let rows = ask(client, sql, oids).await?;
    let own: Vec<u32> = rows.iter().map(|row| row.get(0)).collect();
    let granted = grants(client, "pg_class", &own).await?;
    let mut found: Vec<Vec<Sequence>> = oids.iter().map(|_| Vec::new()).collect();
    for (at, row) in rows.iter().enumerate() {
        let of = usize::try_from(row.get::<_, i64>(6) - 1).ok().and_then(|place| found.get_mut(place));
        if let Some(of) = of {
            of.push(Sequence {
                schema: row.get(1),
                name: row.get(2),
                options: row.get(3),
                column: row.get(4),
                is_identity: row.get(5),
                grants: of_place(&granted, at).to_vec(),
            });
        }
    }
    Ok(found)
}

/// Columns as they are made.
const COLUMNS: &str = "select a.attname::text, format_type(a.atttypid, a.atttypmod), a.attnotnull, \
       a.attidentity::text, a.attgenerated::text, pg_get_expr(d.adbin, d.adrelid), \
       n.nspname::text, l.collname::text, h.place \
     from listed h join pg_attribute a on a.attrelid = h.oid \
     join pg_type t on t.oid = a.atttypid \
     left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum \
     left join pg_collation l on l.oid = a.attcollation and a.attcollation <> t.typcollation \
     left join pg_namespace n on n.oid = l.collnamespace \
     where a.attnum > 0 and not a.attisdropped order by h.place, a.attnum";

/// Primary keys.
const KEYS: &str = "select k.conname::text, pg_get_constraintdef(k.oid), h.place \
     from listed h join pg_constraint k on k.conrelid = h.oid and k.contype = 'p' order by h.place";

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
const STORAGE: &str = "select a.attname::text, a.attstorage::text, t.typstorage::text, a.attcompression::text, h.place \
     from listed h join pg_attribute a on a.attrelid = h.oid join pg_type t on t.oid = a.atttypid \
     where a.attnum > 0 and not a.attisdropped and (a.attstorage <> t.typstorage or a.attcompression <> '') \
     order by h.place, a.attnum";

fn storage(table: &TableName, row: &Row) -> Vec<String> {
    let alter = format!("alter table {} alter column {}", quoted(table), ident(row.get(0)));
    let (own, of_type) = (row.get::<_, &str>(1), row.get::<_, &str>(2));
    let word = match own {
        "p" => "plain",
        "e" => "external",
        "m" => "main",
        _ => "extended",
    };
    let mut statements = Vec::new();
    if own != of_type {
        statements.push(format!("{alter} set storage {word}"));
    }
    match row.get::<_, &str>(3) {
        "p" => statements.push(format!("{alter} set compression pglz")),
        "l" => statements.push(format!("{alter} set compression lz4")),
        _ => {}
    }
    statements
}

/// Grants on relations of these oids, or (`pg_namespace`) on their schemas, to roles that the target has; roles of ours that
/// it lacks are skipped there.
async fn grants(
    client: &impl GenericClient,
    on: &str,
    oids: &[u32],
) -> Result<Vec<Row>, tokio_postgres::Error> {
    let acl = if on == "pg_class" { "c.relacl" } else { "n.nspacl" };
    let sql = format!(
        "select g.privilege_type, r.rolname::text, g.is_grantable, h.place \
         from listed h join pg_class c on c.oid = h.oid join pg_namespace n on n.oid = c.relnamespace, \
         lateral aclexplode({acl}) g left join pg_roles r on r.oid = g.grantee \
         where g.grantee = 0 or r.oid is not null order by h.place, 2, 1"
    );
    ask(client, &sql, oids).await
}

fn grant(privilege: &str, columns: &str, object: &str, role: Option<&str>, grantable: bool) -> String {
    let to = role.map_or_else(|| "public".to_owned(), ident);
    let tail = if grantable { " with grant option" } else { "" };
    let statement = format!("grant {privilege}{columns} on {object} to {to}{tail}");
    role.map_or(statement.clone(), |role| only_if(&role_exists(role), &statement))
}

const COLUMN_GRANTS: &str = "select g.privilege_type, r.rolname::text, g.is_grantable, a.attname::text, h.place \
     from listed h join pg_attribute a on a.attrelid = h.oid, \
     lateral aclexplode(a.attacl) g left join pg_roles r on r.oid = g.grantee \
     where a.attacl is not null and not a.attisdropped and (g.grantee = 0 or r.oid is not null) \
     order by h.place, a.attnum, 2, 1";

fn column_grant(table: &TableName, row: &Row) -> String {
    let columns = format!(" ({})", ident(row.get(3)));
    grant(row.get(0), &columns, &format!("table {}", quoted(table)), row.get(1), row.get(2))
}

const COMMENTS: &str = "select a.attname::text, col_description(a.attrelid, a.attnum), h.place \
     from listed h join pg_attribute a on a.attrelid = h.oid \
     where a.attnum > 0 and not a.attisdropped and col_description(a.attrelid, a.attnum) is not null \
     order by h.place, a.attnum";

fn comment(table: &TableName, row: &Row) -> String {
    format!("comment on column {}.{} is {}", quoted(table), ident(row.get(0)), literal(row.get(1)))
}

/// Every type that the columns of the tables `$1` are made of, table by table, and whether it is ours to make: neither built
/// in nor an extension's.
const USED_TYPES: &str = "with recursive used (place, oid, depth) as ( \
      select distinct h.place, a.atttypid, 0 from unnest($1::oid[]) with ordinality as h (oid, place) \
      join pg_attribute a on a.attrelid = h.oid and a.attnum > 0 and not a.attisdropped \
      union all \
      select used.place, x.oid, used.depth + 1 from used join pg_type t on t.oid = used.oid cross join lateral ( \
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
                   and d.deptype = 'e'), u.place \
    from (select place, oid, max(depth) as depth from used group by place, oid) u \
    join pg_type t on t.oid = u.oid join pg_namespace n on n.oid = t.typnamespace \
    where n.nspname not in ('pg_catalog', 'information_schema') and not (t.typelem <> 0 and t.typcategory = 'A') \
    order by u.place, u.depth desc, n.nspname, t.typname";

/// The types that these tables use and that must be on the target beforehand, each once: an extension's, ranges, base types.
///
/// # Errors
/// The catalog cannot be read.
pub async fn types_to_bring(
    client: &impl GenericClient,
    tables: &[u32],
) -> Result<BTreeSet<String>, tokio_postgres::Error> {
    let rows = client.query(USED_TYPES, &[&tables]).await?;
    Ok(rows
        .iter()
        .filter(|row| row.get::<_, bool>(5) || !matches!(row.get::<_, &str>(1), "e" | "d" | "c"))
        .map(|row| qualified(row.get(2), row.get(3)))
        .collect())
}

/// How the types are made that are ours to make, of rows of [`USED_TYPES`].
async fn bodies(
    client: &impl GenericClient,
    types: &[Row],
) -> Result<BTreeMap<u32, (&'static str, String)>, tokio_postgres::Error> {
    let mut bodies = BTreeMap::new();
    for row in types.iter().filter(|row| !row.get::<_, bool>(5)) {
        let oid: u32 = row.get(0);
        if bodies.contains_key(&oid) {
            continue;
        }
        let made = match row.get::<_, &str>(1) {
            "e" => enumeration(client, oid).await?,
            "d" => domain(client, oid).await?,
            "c" => composite(client, row.get(4)).await?,
            _ => continue,
        };
        bodies.insert(oid, made);
    }
    Ok(bodies)
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

/// Collations of the tables' columns and of their domains that someone made. As JSON, since the locale's column has another
/// name in each major version.
const COLLATIONS: &str = "select n.nspname::text, l.collname::text, l.collprovider::text, l.collisdeterministic, \
       l.collcollate::text, l.collctype::text, \
       coalesce(j.c ->> 'colllocale', j.c ->> 'colliculocale', l.collcollate::text), h.place \
     from listed h cross join lateral ( \
       select attcollation as oid from pg_attribute where attrelid = h.oid \
       union select t.typcollation from pg_attribute a join pg_type t on t.oid = a.atttypid where a.attrelid = h.oid) u \
     join pg_collation l on l.oid = u.oid join pg_namespace n on n.oid = l.collnamespace \
     cross join lateral (select to_jsonb(l) as c) j \
     where n.nspname not in ('pg_catalog', 'information_schema') order by h.place, 1, 2";

fn collation(row: &Row) -> [String; 2] {
    let (schema, name): (&str, &str) = (row.get(0), row.get(1));
    let text = |at: usize| literal(row.get::<_, Option<&str>>(at).unwrap_or_default());
    let options = if row.get::<_, &str>(2) == "i" {
        format!("provider = icu, locale = {}, deterministic = {}", text(6), row.get::<_, bool>(3))
    } else {
        format!("lc_collate = {}, lc_ctype = {}", text(4), text(5))
    };
    [
        format!("create schema if not exists {}", ident(schema)),
        format!("create collation if not exists {} ({options})", qualified(schema, name)),
    ]
}

/// The tables `$1` by their oids, each with its place among them from 1 on, as `listed (oid, place)`.
pub(super) const BY_OID: &str = "listed (oid, place) as materialized ( \
     select u.oid, u.place from unnest($1::oid[]) with ordinality as u (oid, place))";

/// What is made after the load, behind [`BY_OID`]: kind by kind, of each the tables in their order.
const OBJECTS: &str = "select x.relname::text, 'index', pg_get_indexdef(i.indexrelid), 1, ''::text, h.place \
     from listed h join pg_index i on i.indrelid = h.oid join pg_class x on x.oid = i.indexrelid \
     where i.indisvalid \
       and not exists (select from pg_constraint k where k.conindid = i.indexrelid and k.contype in ('p', 'u', 'x')) \
     union all \
     select k.conname::text, \
            case k.contype when 'u' then 'unique constraint' when 'x' then 'exclusion constraint' \
                           when 'f' then 'foreign key' else 'check constraint' end, \
            pg_get_constraintdef(k.oid), case k.contype when 'f' then 4 else 2 end, k.contype::text, h.place \
     from listed h join pg_constraint k on k.conrelid = h.oid where k.contype in ('u', 'x', 'c', 'f') \
     union all \
     select s.stxname::text, 'statistics', pg_get_statisticsobjdef(s.oid), 3, ''::text, h.place \
     from listed h join pg_statistic_ext s on s.stxrelid = h.oid \
     order by 4, 6, 5, 1";

/// What is made after the load, in an order in which it can be made: indexes, then constraints, foreign keys after those,
/// and last what acts by itself. It costs a few queries, however many tables there are.
///
/// # Errors
/// The catalog cannot be read.
pub async fn objects(client: &impl GenericClient, tables: &[TableName]) -> Result<Vec<SchemaObject>, Cause> {
    let oids: Vec<u32> = heaps(client, tables).await?.iter().map(|heap| heap.oid).collect();
    let rows = client
        .query(&format!("with {BY_OID} {OBJECTS}"), &[&oids])
        .await
        .map_err(|error| unread(&format!("the indexes and constraints of {}", few(tables)), &error))?;
    let object = |row: &Row| {
        let table = tables.get(usize::try_from(row.get::<_, i64>(5) - 1).ok()?)?;
        let (name, definition): (String, String) = (row.get(0), row.get(2));
        let is_constraint = matches!(row.get::<_, i32>(3), 2 | 4);
        let statement = if is_constraint {
            format!("alter table {} add constraint {} {definition}", quoted(table), ident(&name))
        } else {
            definition
        };
        Some(SchemaObject { table: table.clone(), name, kind: row.get(1), statement })
    };
    let mut objects: Vec<SchemaObject> = rows.iter().filter_map(object).collect();
    objects.extend(behaviour(client, tables, &oids).await?);
    Ok(objects)
}
