//! What of a table acts by itself: its triggers and its row security, as they are made again on the target.
//!
//! Triggers do not fire on replicated rows, and row security does not bind who replicates, so both stand there before the
//! application comes, and act on what it writes from then on. Rules and views are not moved: preflight names them.

use journal::{SchemaObject, TableName};
use tokio_postgres::{GenericClient, Row};

use crate::postgres::catalog::{few, of_place, unread};
use crate::postgres::definitions::BY_OID;
use crate::postgres::quote::{ident, literal, table as quoted};
use crate::seams::Cause;

/// The application's own triggers of the tables: name, whether it is disabled, definition; behind [`BY_OID`].
const TRIGGERS: &str = "select t.tgname::text, t.tgenabled = 'D', pg_get_triggerdef(t.oid), h.place \
     from listed h join pg_trigger t on t.tgrelid = h.oid \
     where not t.tgisinternal and t.tgname not like 'switchyard%' and t.tgname not like '\\_switchyard%' \
     order by h.place, t.tgname";

/// The policies of the tables: name, whether it is permissive, its command, its roles (`public` for everybody), both
/// conditions; behind [`BY_OID`].
const POLICIES: &str = "select p.polname::text, p.polpermissive, \
       case p.polcmd when 'r' then 'select' when 'a' then 'insert' when 'w' then 'update' when 'd' then 'delete' else 'all' end, \
       array(select coalesce(r.rolname::text, 'public') from unnest(p.polroles) with ordinality as w (role, place) \
             left join pg_roles r on r.oid = w.role order by w.place), \
       pg_get_expr(p.polqual, p.polrelid), pg_get_expr(p.polwithcheck, p.polrelid), h.place \
     from listed h join pg_policy p on p.polrelid = h.oid order by h.place, p.polname";

/// Whether row security is enabled and forced; behind [`BY_OID`].
const SECURED: &str = "select c.relrowsecurity, c.relforcerowsecurity, h.place \
     from listed h join pg_class c on c.oid = h.oid order by h.place";

/// What is made last, of the tables with these oids.
///
/// # Errors
/// The catalog cannot be read.
pub async fn behaviour(
    client: &impl GenericClient,
    tables: &[TableName],
    oids: &[u32],
) -> Result<Vec<SchemaObject>, Cause> {
    let fault = |error| unread(&format!("the triggers and policies of {}", few(tables)), &error);
    let ask = async |sql: &str| client.query(&format!("with {BY_OID} {sql}"), &[&oids]).await.map_err(fault);
    let (triggers, policies, secured) = (ask(TRIGGERS).await?, ask(POLICIES).await?, ask(SECURED).await?);
    let of = |(at, table): (usize, &TableName)| {
        let [triggers, policies, secured] = [&triggers, &policies, &secured].map(|rows| of_place(rows, at));
        objects(table, (triggers, policies, secured))
    };
    Ok(tables.iter().enumerate().flat_map(of).collect())
}

/// One table's, of its rows of [`TRIGGERS`], [`POLICIES`] and [`SECURED`].
fn objects(table: &TableName, (triggers, policies, secured): (&[Row], &[Row], &[Row])) -> Vec<SchemaObject> {
    let object = |name: &str, kind: &str, statement| SchemaObject {
        table: table.clone(),
        name: name.to_owned(),
        kind: kind.to_owned(),
        statement,
    };
    let mut objects = Vec::new();
    for row in triggers {
        let (name, definition): (&str, &str) = (row.get(0), row.get(2));
        let disable = if row.get(1) {
            format!("; alter table {} disable trigger {}", quoted(table), ident(name))
        } else {
            String::new()
        };
        objects.push(object(name, "trigger", format!("{definition}{disable}")));
    }
    for row in policies {
        let name: &str = row.get(0);
        let roles: Vec<String> = row.get(3);
        let statement = policy(
            table,
            (name, row.get(1), row.get(2)),
            &roles,
            [("using", row.get(4)), ("with check", row.get(5))],
        );
        objects.push(object(name, "policy", statement));
    }
    for row in secured {
        for (word, is_set) in [("enable", row.get::<_, bool>(0)), ("force", row.get(1))] {
            if is_set {
                let statement = format!("alter table {} {word} row level security", quoted(table));
                objects.push(object(&format!("{word} row security"), "row security", statement));
            }
        }
    }
    objects
}

/// A policy; for those of its roles that the target has. Without any of them it is left out: row security then denies.
fn policy(
    table: &TableName,
    (name, is_permissive, command): (&str, bool, &str),
    roles: &[String],
    conditions: [(&str, Option<&str>); 2],
) -> String {
    let mut head = format!("create policy {} on {}", ident(name), quoted(table));
    head.push_str(if is_permissive { " as permissive for " } else { " as restrictive for " });
    head.push_str(command);
    let tail: String = conditions
        .iter()
        .filter_map(|(word, condition)| condition.map(|condition| format!(" {word} ({condition})")))
        .collect();
    if roles.iter().any(|role| role == "public") {
        return format!("{head} to public{tail}");
    }
    let wanted: Vec<String> = roles.iter().map(|role| literal(role)).collect();
    let block = format!(
        "declare given text; begin \
           select string_agg(quote_ident(rolname), ', ') into given from pg_roles where rolname = any (array[{}]::text[]); \
           if given is not null then execute {} || given || {}; end if; end",
        wanted.join(", "),
        literal(&format!("{head} to ")),
        literal(&tail)
    );
    format!("do {}", literal(&block))
}
