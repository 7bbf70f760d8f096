//! Preflight's look at the phase's tables.

use journal::TableName;
use tokio_postgres::{Client, Error, Row};

use crate::postgres::definitions::types_to_bring;
use crate::postgres::preflight::{Found, Sides, Subject};
use crate::postgres::quote::{ident, literal, table as quoted};
use crate::postgres::sequences::few_left;
use crate::postgres::{replicated, survey};

/// Looks at each table, and at what they need at the target.
pub(crate) async fn look(sides: &Sides<'_>, found: &mut Found) -> Result<(), Error> {
    let mut oids = Vec::with_capacity(sides.tables.len());
    let acting = replicated::acting(sides.source, sides.tables).await?;
    for table in sides.tables {
        found.about(Subject::Table(sides.phase.clone(), table.clone()));
        let Some(oid) = one(sides.source, table, found).await? else { continue };
        oids.push(oid);
        in_the_way(sides.target, table, found).await?;
        foreign_keys(sides, table, oid, found).await?;
        large_objects(sides.source, table, oid, found).await?;
        for (_, one) in acting.iter().filter(|(on, _)| on == table) {
            found.block("SW-0216", one.what(table), one.remedy(table));
        }
    }
    found.about(Subject::Phase(sides.phase.clone()));
    needs(sides, &oids, found).await?;
    row_security(sides, &oids, found).await?;
    readers(sides, found).await?;
    for (sequence, left) in few_left(sides.source, sides.tables).await? {
        found.warn(format!(
            "the sequence {sequence} has {left} values left; a switch may skip a hundredth of them"
        ));
    }
    roles(sides, &oids, found).await
}

const TABLE: &str = "select c.oid, c.relkind::text, c.relpersistence::text, c.relreplident::text, c.relispartition, \
       exists (select from pg_inherits i where i.inhrelid = c.oid or i.inhparent = c.oid), \
       c.relrowsecurity, c.reltuples::int8, pg_total_relation_size(c.oid), \
       (select i.indimmediate and i.indisvalid from pg_index i where i.indrelid = c.oid and i.indisprimary), \
       has_table_privilege(c.oid, 'SELECT'), pg_has_role(c.relowner, 'USAGE'), \
       has_table_privilege(c.oid, 'INSERT') and has_table_privilege(c.oid, 'UPDATE') \
         and has_table_privilege(c.oid, 'DELETE'), \
       (select rolsuper or rolbypassrls from pg_roles where rolname = current_user), \
       coalesce((select i.indisprimary from pg_index i where i.indrelid = c.oid and i.indisreplident), false), \
       current_user::text, pg_get_userbyid(c.relowner)::text, \
       (select quote_ident(a.attname) from pg_index i join pg_attribute a on a.attrelid = c.oid \
           and a.attnum = any ((i.indkey::int2[])[0:i.indnkeyatts - 1]) \
         where i.indrelid = c.oid and i.indisprimary and a.attgenerated <> '' limit 1) \
     from pg_class c join pg_namespace n on n.oid = c.relnamespace where n.nspname = $1 and c.relname = $2";

/// The table itself, at the source. Its oid if there is such a relation.
async fn one(source: &Client, table: &TableName, found: &mut Found) -> Result<Option<u32>, Error> {
    let Some(row) = source.query_opt(TABLE, &[&table.schema, &table.table]).await? else {
        found.block(
            "SW-0210",
            format!("the source has no table {table}"),
            match survey::nearest(source, table).await? {
                Some(near) => format!("Is {near} meant? Correct its name in the plan, or take it out."),
                None => "Correct its name in the plan, or take it out.".to_owned(),
            },
        );
        return Ok(None);
    };
    let name = quoted(table);
    let kind = match row.get::<_, &str>(1) {
        "r" if row.get(4) => "a partition",
        "r" if row.get::<_, bool>(5) => "part of an inheritance tree",
        "r" => "",
        "p" => "a partitioned table",
        "f" => "a foreign table",
        "v" => "a view",
        "m" => "a materialized view",
        _ => "no table",
    };
    if !kind.is_empty() {
        found.block(
            "SW-0211",
            format!("{table} is {kind}"),
            "This version moves ordinary tables only: take it out of the phase.",
        );
        return Ok(None);
    }
    if row.get::<_, &str>(2) != "p" {
        found.block(
            "SW-0212",
            format!("{table} is unlogged, so its changes are not in the stream"),
            format!("alter table {name} set logged."),
        );
    }
    identity(&row, table, found);
    privileges(&row, table, found);
    found.count(row.get(7), row.get(8));
    Ok(Some(row.get(0)))
}

fn identity(row: &Row, table: &TableName, found: &mut Found) {
    let name = quoted(table);
    match row.get::<_, Option<bool>>(9) {
        None => found.block(
            "SW-0213",
            format!("{table} has no primary key"),
            format!("Give it one (alter table {name} add primary key …), or take it out of the phase."),
        ),
        Some(false) => found.block(
            "SW-0213",
            format!(
                "the primary key of {table} is deferrable or invalid, so it identifies no row in the stream"
            ),
            "Make it anew, not deferrable.",
        ),
        Some(true) => {}
    }
    if let Some(column) = row.get::<_, Option<&str>>(17) {
        found.block(
            "SW-0213",
            format!("the primary key of {table} holds the generated column {column}, which the stream does not carry"),
            "Make it anew over columns that are written.",
        );
    }
    let other = match row.get::<_, &str>(3) {
        "n" => Some("NOTHING"),
        "i" if !row.get::<_, bool>(14) => Some("another index than the primary key"),
        _ => None,
    };
    if let Some(other) = other {
        found.block(
            "SW-0214",
            format!("the replica identity of {table} is {other}"),
            format!("alter table {name} replica identity default."),
        );
    }
}

fn privileges(row: &Row, table: &TableName, found: &mut Found) {
    let (name, user) = (quoted(table), ident(row.get(15)));
    if !row.get::<_, bool>(10) || !row.get::<_, bool>(12) {
        found.block(
            "SW-0207",
            format!("{user} may not read and write {table} at the source"),
            format!("At the source: grant select, insert, update, delete on {name} to {user};"),
        );
    }
    if !row.get::<_, bool>(11) {
        let owner = ident(row.get(16));
        found.block(
            "SW-0207",
            format!("{user} does not own {table} at the source, and can neither publish nor fence it"),
            format!("At the source: grant {owner} to {user};"),
        );
    }
    if row.get::<_, bool>(6) && !row.get::<_, bool>(13) {
        found.block(
            "SW-0207",
            format!("row security hides rows of {table} from {user}"),
            format!("At the source, as a superuser: alter role {user} bypassrls;"),
        );
    }
}

async fn in_the_way(target: &Client, table: &TableName, found: &mut Found) -> Result<(), Error> {
    let sql = format!("select to_regclass({}) is not null", literal(&quoted(table)));
    if target.query_one(&sql, &[]).await?.get(0) {
        found.block(
            "SW-0231",
            format!("the target has {table} already"),
            "Drop or rename it there, or take the table out of the phase.",
        );
    }
    Ok(())
}

async fn foreign_keys(
    sides: &Sides<'_>,
    table: &TableName,
    oid: u32,
    found: &mut Found,
) -> Result<(), Error> {
    let sql = "select k.conname::text, k.conrelid = $1, n.nspname::text, o.relname::text \
               from pg_constraint k \
               join pg_class o on o.oid = case when k.conrelid = $1 then k.confrelid else k.conrelid end \
               join pg_namespace n on n.oid = o.relnamespace \
               where k.contype = 'f' and (k.conrelid = $1 or k.confrelid = $1) order by 2 desc, 1";
    for row in sides.source.query(sql, &[&oid]).await? {
        let other = TableName { schema: row.get(2), table: row.get(3) };
        if sides.tables.contains(&other) || sides.before.contains(&other) {
            continue;
        }
        let name: &str = row.get(0);
        if !row.get::<_, bool>(1) {
            found.warn(format!(
                "{other} outside the phase references {table} ({name}): once the target is the writer, the source \
                 checks it against rows that arrive late, and nobody enforces the reference between the sides: cascade, \
                 set null and restrict do not act there, and orphans can come; move both as one phase"
            ));
            continue;
        }
        let there = format!("select to_regclass({}) is not null", literal(&quoted(&other)));
        if !sides.target.query_one(&there, &[]).await?.get::<_, bool>(0) {
            found.block(
                "SW-0215",
                format!(
                    "the foreign key {name} of {table} leads to {other}, which is in no table of this phase"
                ),
                format!(
                    "Put {other} into the phase, or move it in one before. If it cannot be moved: make it at the target \
                     with its rows, or drop the foreign key."
                ),
            );
        }
    }
    Ok(())
}

/// Large objects stand in no table and in no stream: a row that moves without them would point at nothing.
async fn large_objects(source: &Client, table: &TableName, oid: u32, found: &mut Found) -> Result<(), Error> {
    let sql = "select attname::text from pg_attribute a join pg_type t on t.oid = a.atttypid \
               where a.attrelid = $1 and a.attnum > 0 and not a.attisdropped \
                 and (t.oid = 'oid'::regtype or t.typbasetype = 'oid'::regtype) \
                 and exists (select from pg_largeobject_metadata) order by a.attnum";
    for row in source.query(sql, &[&oid]).await? {
        let column: &str = row.get(0);
        let points = format!(
            "select exists (select from {} t join pg_largeobject_metadata m on m.oid = t.{})",
            quoted(table),
            ident(column)
        );
        if source.query_one(&points, &[]).await?.get(0) {
            found.block(
                "SW-0330",
                format!("{column} of {table} points at large objects, which are not moved"),
                "Turn it into bytea (lo_get), or take the table out of the phase.",
            );
        }
    }
    Ok(())
}

/// Views over the phase's tables and rules of them, which nobody makes at the target. One that is there is its owner's.
async fn readers(sides: &Sides<'_>, found: &mut Found) -> Result<(), Error> {
    let mut absent = Vec::new();
    for reader in survey::readers(sides.source).await? {
        if reader.over.is_disjoint(&sides.tables.iter().cloned().collect()) {
            continue;
        }
        let there = format!("select to_regclass({}) is not null", literal(&quoted(&reader.name)));
        let is_view = !reader.kind.starts_with("rule");
        if !(is_view && sides.target.query_one(&there, &[]).await?.get::<_, bool>(0)) {
            absent.push(reader.to_string());
        }
    }
    if !absent.is_empty() {
        found.warn(format!(
            "not made at the target, where the application may look for them: {}",
            absent.join(", ")
        ));
    }
    Ok(())
}

/// Types, functions and the like that the definitions name and that are not made with them.
async fn needs(sides: &Sides<'_>, oids: &[u32], found: &mut Found) -> Result<(), Error> {
    let oids = oids.to_vec();
    for name in types_to_bring(sides.source, &oids).await? {
        let there = format!("select to_regtype({}) is not null", literal(&name));
        if !sides.target.query_one(&there, &[]).await?.get::<_, bool>(0) {
            found.block(
                "SW-0217",
                format!("the type {name} is missing at the target"),
                "Make it there (an extension's by `create extension`).",
            );
        }
    }
    for row in sides.source.query(NEEDED, &[&oids]).await? {
        let there = sides
            .target
            .query_one(
                "select classid from pg_get_object_address($1, $2, $3)",
                &[&row.get::<_, &str>(1), &row.get::<_, Vec<String>>(2), &row.get::<_, Vec<String>>(3)],
            )
            .await;
        match there {
            Ok(_) => {}
            Err(error) if error.as_db_error().is_some() => found.block(
                "SW-0218",
                format!(
                    "the {}, which columns, defaults, constraints, indexes, triggers or policies use, is missing at the target",
                    row.get::<_, &str>(0)
                ),
                "Make it there (an extension's by `create extension`).",
            ),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Functions, operators, operator classes, collations and text search configurations outside the system's schema that
/// tables of these oids, their triggers and policies depend on, as an address that can be looked up elsewhere.
const NEEDED: &str = "select distinct pg_describe_object(d.refclassid, d.refobjid, 0), a.type, a.object_names, a.object_args \
   from pg_depend d, pg_identify_object_as_address(d.refclassid, d.refobjid, 0) a, \
        pg_identify_object(d.refclassid, d.refobjid, 0) i \
   where d.refclassid in ('pg_proc'::regclass, 'pg_operator'::regclass, 'pg_opclass'::regclass, \
                          'pg_collation'::regclass, 'pg_ts_config'::regclass, 'pg_ts_dict'::regclass) \
     and i.schema is distinct from 'pg_catalog' \
     and (d.classid = 'pg_trigger'::regclass and d.objid in \
            (select oid from pg_trigger where tgrelid = any ($1) and not tgisinternal and tgname not like 'switchyard%' \
                                          and tgname not like '\\_switchyard%') \
       or d.classid = 'pg_policy'::regclass and d.objid in (select oid from pg_policy where polrelid = any ($1)) \
       or d.classid = 'pg_attrdef'::regclass and d.objid in (select oid from pg_attrdef where adrelid = any ($1)) \
       or d.classid = 'pg_constraint'::regclass and d.objid in (select oid from pg_constraint where conrelid = any ($1)) \
       or d.classid = 'pg_class'::regclass and d.objid = any ($1) \
       or d.classid = 'pg_class'::regclass and d.objid in (select indexrelid from pg_index where indrelid = any ($1))) \
   order by 1";

/// Row security is made at the target, too: who copies and compares there must see every row.
async fn row_security(sides: &Sides<'_>, oids: &[u32], found: &mut Found) -> Result<(), Error> {
    let used = "select exists (select from pg_class where oid = any ($1) and relrowsecurity)";
    let bypasses =
        "select rolsuper or rolbypassrls, current_user::text from pg_roles where rolname = current_user";
    if !sides.source.query_one(used, &[&oids.to_vec()]).await?.get::<_, bool>(0) {
        return Ok(());
    }
    let row = sides.target.query_one(bypasses, &[]).await?;
    if !row.get::<_, bool>(0) {
        let user = ident(row.get(1));
        found.block(
            "SW-0207",
            format!("tables of the phase have row security, which would hide rows of them from {user} at the target"),
            format!("At the target: alter role {user} bypassrls;"),
        );
    }
    Ok(())
}

/// Roles that own or use the tables and that the target lacks.
async fn roles(sides: &Sides<'_>, oids: &[u32], found: &mut Found) -> Result<(), Error> {
    let sql = "select distinct r.rolname::text from pg_class c, \
                 lateral (select c.relowner as role union select grantee from aclexplode(c.relacl) \
                          union select unnest(polroles) from pg_policy where polrelid = c.oid) used \
               join pg_roles r on r.oid = used.role where c.oid = any ($1) order by 1";
    let used: Vec<String> =
        sides.source.query(sql, &[&oids.to_vec()]).await?.iter().map(|row| row.get(0)).collect();
    let sql = "select u from unnest($1::text[]) u where not exists (select from pg_roles where rolname = u)";
    let missing: Vec<String> =
        sides.target.query(sql, &[&used]).await?.iter().map(|row| row.get(0)).collect();
    if !missing.is_empty() {
        found.warn(format!(
            "the target lacks the roles {}: what they own or may do here is not given to them there",
            missing.join(", ")
        ));
    }
    Ok(())
}
