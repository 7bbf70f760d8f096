//! What of a table acts by itself: its triggers and its row security, as they are made again on the target.
//!
//! Triggers do not fire on replicated rows, and row security does not bind who replicates, so both stand there before the
//! application comes, and act on what it writes from then on. Rules and views are not moved: preflight names them.

use journal::{SchemaObject, TableName};
use tokio_postgres::GenericClient;

use crate::postgres::catalog::unread;
use crate::postgres::quote::{ident, literal, table as quoted};
use crate::seams::Cause;

/// The application's own triggers of the table `$1`: name, whether it is disabled, definition.
const TRIGGERS: &str = "select tgname::text, tgenabled = 'D', pg_get_triggerdef(oid) from pg_trigger \
     where tgrelid = $1 and not tgisinternal and tgname not like 'switchyard%' and tgname not like '\\_switchyard%' \
     order by tgname";

/// The policies of the table `$1`: name, whether it is permissive, its command, its roles (`public` for everybody),
/// both conditions.
const POLICIES: &str = "select polname::text, polpermissive, \
       case polcmd when 'r' then 'select' when 'a' then 'insert' when 'w' then 'update' when 'd' then 'delete' else 'all' end, \
       array(select coalesce(r.rolname::text, 'public') from unnest(polroles) with ordinality as w (role, place) \
             left join pg_roles r on r.oid = w.role order by w.place), \
       pg_get_expr(polqual, polrelid), pg_get_expr(polwithcheck, polrelid) \
     from pg_policy where polrelid = $1 order by polname";

/// What is made last, of the table with this oid.
///
/// # Errors
/// The catalog cannot be read.
pub async fn behaviour(
    client: &impl GenericClient,
    table: &TableName,
    oid: u32,
) -> Result<Vec<SchemaObject>, Cause> {
    let fault = |error| unread(&format!("the triggers and policies of {table}"), &error);
    let object = |name: &str, kind: &str, statement| SchemaObject {
        table: table.clone(),
        name: name.to_owned(),
        kind: kind.to_owned(),
        statement,
    };
    let mut objects = Vec::new();
    for row in client.query(TRIGGERS, &[&oid]).await.map_err(fault)? {
        let (name, definition): (&str, &str) = (row.get(0), row.get(2));
        let disable = if row.get(1) {
            format!("; alter table {} disable trigger {}", quoted(table), ident(name))
        } else {
            String::new()
        };
        objects.push(object(name, "trigger", format!("{definition}{disable}")));
    }
    for row in client.query(POLICIES, &[&oid]).await.map_err(fault)? {
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
    let sql = "select relrowsecurity, relforcerowsecurity from pg_class where oid = $1";
    let row = client.query_one(sql, &[&oid]).await.map_err(fault)?;
    for (word, is_set) in [("enable", row.get::<_, bool>(0)), ("force", row.get(1))] {
        if is_set {
            let statement = format!("alter table {} {word} row level security", quoted(table));
            objects.push(object(&format!("{word} row security"), "row security", statement));
        }
    }
    Ok(objects)
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
