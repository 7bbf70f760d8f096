//! `AddSchemaObject`: indexes and constraints of the target, made while the stream is applied.
//!
//! # The race
//!
//! A build may take hours, and every batch of the stream shares the gate row. An effect that locked the row for as long
//! as that would have the stream wait, and the source keep its log. An effect that let go of it would build on when its
//! lease is another's: into tables that were dropped and made again meanwhile.
//!
//! So it comes in two transactions. The first is admitted as any effect is: the row is locked, and raised to this intent.
//! The second shares the row, as a batch does, only if it is still as the first one left it, and leaves the receipt with
//! what it built. As long as it goes on nobody passes the gate: who takes the phase over, or undoes, waits for it or ends
//! it (`receipt::held_up`), and then finds the receipt or nothing. What comes later than that is refused by the row. A
//! crash between the two leaves a row that was raised by this very intent, which its next attempt goes on from.
//!
//! A foreign key and a check lock what they look at against writers only until they are there; so the first transaction
//! makes them unproven, beside no batch, and the second proves them, beside all. What a foreign key refers to may be another
//! phase's, and live: that lock is waited for briefly ([`crate::postgres::brief`]). The proof's own locks are in no
//! writer's way. That proof is the one of rule 13: what is
//! applied is applied without foreign keys, so rows without their parent are possible until it has looked.

use journal::{EffectSpec, Evidence, SchemaObject, TableName};
use runtime::Clock;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, GenericClient, Transaction};

use crate::postgres::brief::{PATIENCE, Tries, be_brief, had, is_in_the_way};
use crate::postgres::database::Database;
use crate::postgres::quote::{ident, literal, table as quoted};
use crate::postgres::receipt::{acted, admit_in_parts, leave, share_gate};
use crate::postgres::writers::{BESIDE_NOBODY, BESIDE_READERS};
use crate::seams::{Acted, Authority, EffectError};

/// The catalog's end of a constraint's definition that was not proven.
const UNPROVEN: &str = "NOT VALID";

/// A server that has lost its client ends the build within this time, where its system can tell it.
const NOTICE_A_LOST_CLIENT: &str = "do $$ begin perform set_config('client_connection_check_interval', '2s', true); \
                                    exception when others then null; end $$";

/// How long what is the phase's own is waited for. The application writes to none of it on this side.
const PATIENCE_WITH_OURS: &str = "set local lock_timeout = '30s'";

/// Builds the object, with its receipt.
pub(super) async fn act(
    database: &Database,
    (spec, under): (&EffectSpec, Authority),
    object: &SchemaObject,
    clock: &dyn Clock,
) -> Acted {
    let mut session = match database.session().await {
        Ok(session) => session,
        Err(cause) => return Acted::Unknown(EffectError(cause.0)),
    };
    match build(&mut session, database, (spec, under), (object, clock)).await {
        Ok(ended) => {
            session.done();
            ended
        }
        Err(error) if is_orphaned(&error, object) => match orphans(&*session, object).await {
            Ok(Some(found)) => Acted::Definite(EffectError(found)),
            Ok(None) | Err(_) => acted(database, &error),
        },
        Err(error) => acted(database, &error),
    }
}

async fn build(
    client: &mut Client,
    database: &Database,
    (spec, under): (&EffectSpec, Authority),
    (object, clock): (&SchemaObject, &dyn Clock),
) -> Result<Acted, tokio_postgres::Error> {
    let mut tries = Tries::new(clock, PATIENCE);
    loop {
        if let Some(ended) = try_build(client, database, (spec, under), object).await? {
            return Ok(ended);
        }
        if tries.are_over(clock) {
            let modes = if is_foreign_key(object) { BESIDE_READERS } else { BESIDE_NOBODY };
            let told = tries.told(client, (&both_ends(client, object).await?, modes)).await?;
            return Ok(Acted::Definite(EffectError(told)));
        }
        tries.pause(clock).await;
    }
}

/// None: a lock was not had in time, and nothing was done.
async fn try_build(
    client: &mut Client,
    database: &Database,
    (spec, under): (&EffectSpec, Authority),
    object: &SchemaObject,
) -> Result<Option<Acted>, tokio_postgres::Error> {
    let tx = client.transaction().await?;
    if let Some(ended) = admit_in_parts(&tx, database.migration(), spec, under).await?.ended() {
        return Ok(Some(ended));
    }
    let proof = proof(object);
    if proof.is_some() && !exists(&tx, object).await? {
        be_brief(&tx).await?;
        if !had(tx.batch_execute(&format!("{} {UNPROVEN}", object.statement)).await)? {
            return Ok(None);
        }
    }
    tx.commit().await?;

    let tx = client.transaction().await?;
    if let Some(refused) = share_gate(&tx, database.migration(), spec, under).await? {
        return Ok(Some(Acted::Definite(refused)));
    }
    tx.batch_execute(&format!("{PATIENCE_WITH_OURS}; {NOTICE_A_LOST_CLIENT}")).await?;
    // A foreign key that nobody proves is made here, and meets who uses its other end.
    let is_made_here = is_foreign_key(object) && proof.is_none();
    if is_made_here {
        be_brief(&tx).await?;
    }
    let statement = proof.as_deref().unwrap_or(&object.statement);
    let evidence = match built(&tx, object, statement).await {
        Err(error) if is_made_here && is_in_the_way(&error) => return Ok(None),
        other => other?,
    };
    leave(&tx, database.migration(), spec, under, &evidence).await?;
    tx.commit().await?;
    Ok(Some(Acted::Done(evidence)))
}

/// The object's table and, of a foreign key, what it refers to.
async fn both_ends(
    client: &impl GenericClient,
    object: &SchemaObject,
) -> Result<Vec<TableName>, tokio_postgres::Error> {
    let mut ends = vec![object.table.clone()];
    if let Some(parent) = referred(&object.statement).filter(|_| is_foreign_key(object)) {
        let sql = "select n.nspname::text, c.relname::text from pg_class c join pg_namespace n on n.oid = c.relnamespace \
                   where c.oid = to_regclass($1)";
        if let Some(row) = client.query_opt(sql, &[&parent]).await? {
            ends.push(TableName { schema: row.get(0), table: row.get(1) });
        }
    }
    Ok(ends)
}

/// The table that a foreign key's definition refers to, as it is written there.
fn referred(statement: &str) -> Option<&str> {
    let outside = |text: &str, word: &str| {
        text.match_indices(word)
            .map(|(at, _)| at)
            .find(|at| text.get(..*at).is_some_and(|before| before.matches('"').count() % 2 == 0))
    };
    const WORD: &str = " REFERENCES ";
    let rest = statement.get(outside(statement, WORD)? + WORD.len()..)?;
    rest.get(..outside(rest, "(")?)
}

async fn built(
    tx: &Transaction<'_>,
    object: &SchemaObject,
    statement: &str,
) -> Result<Evidence, tokio_postgres::Error> {
    let clock = "select (extract(epoch from clock_timestamp()) * 1000)::int8";
    let began: i64 = tx.query_one(clock, &[]).await?.get(0);
    tx.batch_execute(statement).await?;
    let ended: i64 = tx.query_one(clock, &[]).await?.get(0);
    Ok(Evidence::from([
        ("name".to_owned(), object.name.clone()),
        ("kind".to_owned(), object.kind.clone()),
        ("duration_ms".to_owned(), (ended - began).to_string()),
    ]))
}

fn is_foreign_key(object: &SchemaObject) -> bool {
    object.kind == "foreign key"
}

/// The statement that proves a constraint which can be made without its proof. One that the source has unproven stays so.
fn proof(object: &SchemaObject) -> Option<String> {
    let can_wait = is_foreign_key(object) || object.kind == "check constraint";
    (can_wait && !object.statement.ends_with(UNPROVEN))
        .then(|| format!("alter table {} validate constraint {}", quoted(&object.table), ident(&object.name)))
}

/// Whether an earlier attempt made it. What has its name and is another one is met by the statement that makes it.
async fn exists(tx: &Transaction<'_>, object: &SchemaObject) -> Result<bool, tokio_postgres::Error> {
    let sql = format!(
        "select right($2, length(definition)) = definition \
         from (select replace(pg_get_constraintdef(oid), ' {UNPROVEN}', '') as definition from pg_constraint \
               where conrelid = {}::regclass and conname = $1) made",
        literal(&quoted(&object.table))
    );
    let found = tx.query_opt(&sql, &[&object.name, &object.statement]).await?;
    Ok(found.is_some_and(|row| row.get(0)))
}

/// Whether rows without their parent are why a foreign key was not proven.
fn is_orphaned(error: &tokio_postgres::Error, object: &SchemaObject) -> bool {
    is_foreign_key(object) && error.code() == Some(&SqlState::FOREIGN_KEY_VIOLATION)
}

/// Rows whose parent is missing, told: how many, and one of them by its key.
async fn orphans(
    client: &impl GenericClient,
    object: &SchemaObject,
) -> Result<Option<String>, tokio_postgres::Error> {
    let sql = "select array(select a.attname::text from unnest(k.conkey) with ordinality u(n, at) \
                            join pg_attribute a on a.attrelid = k.conrelid and a.attnum = u.n order by u.at), \
                      array(select a.attname::text from unnest(k.confkey) with ordinality u(n, at) \
                            join pg_attribute a on a.attrelid = k.confrelid and a.attnum = u.n order by u.at), \
                      array(select a.attname::text from pg_index i, unnest(i.indkey::int2[]) with ordinality u(n, at) \
                            join pg_attribute a on a.attnum = u.n \
                            where i.indrelid = k.conrelid and i.indisprimary and a.attrelid = k.conrelid \
                              and u.at <= i.indnkeyatts order by u.at), \
                      n.nspname::text, p.relname::text \
               from pg_constraint k join pg_class p on p.oid = k.confrelid join pg_namespace n on n.oid = p.relnamespace \
               where k.conname = $1 and k.conrelid = ";
    let sql = format!("{sql}{}::regclass", literal(&quoted(&object.table)));
    let Some(row) = client.query_opt(&sql, &[&object.name]).await? else { return Ok(None) };
    let (columns, referred, key): (Vec<String>, Vec<String>, Vec<String>) =
        (row.get(0), row.get(1), row.get(2));
    let parent = TableName { schema: row.get(3), table: row.get(4) };
    let of = |alias: &str, names: &[String]| -> Vec<String> {
        names.iter().map(|name| format!("{alias}.{}", ident(name))).collect()
    };
    let text = |names: &[String]| format!("concat_ws(', ', {})", of("c", names).join(", "));
    let (children, parents) = (of("c", &columns), of("p", &referred));
    let pairs: Vec<String> = children.iter().zip(&parents).map(|(c, p)| format!("{p} = {c}")).collect();
    let sql = format!(
        "select count(*) over (), {}, {} from {} c where {} is not null \
         and not exists (select from {} p where {}) limit 1",
        text(&key),
        text(&columns),
        quoted(&object.table),
        children.join(" is not null and "),
        quoted(&parent),
        pairs.join(" and ")
    );
    Ok(client.query_opt(&sql, &[]).await?.map(|row| {
        let (count, key_is, refers_to): (i64, &str, &str) = (row.get(0), row.get(1), row.get(2));
        format!(
            "{count} row(s) of {} have no parent in {parent}, which the foreign key {} demands: as the one with {} = \
             {key_is}, whose {} = {refers_to} (SW-0404). Put the parents there, or take the rows away, on the source, \
             where foreign keys were not looked at either",
            object.table,
            object.name,
            key.join(", "),
            columns.join(", "),
        )
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_made_without_its_proof_is_proven_afterwards() {
        let object = |kind: &str, end: &str| SchemaObject {
            table: "shop.orders".parse().unwrap(),
            name: "by day".to_owned(),
            kind: kind.to_owned(),
            statement: format!("alter table shop.orders add constraint \"by day\" {end}"),
        };
        let proven = proof(&object("foreign key", "foreign key (a) references shop.a(id)")).unwrap();
        assert_eq!(proven, "alter table \"shop\".\"orders\" validate constraint \"by day\"");
        assert!(proof(&object("check constraint", "check (a > 0)")).is_some());
        assert_eq!(proof(&object("check constraint", "check (a > 0) NOT VALID")), None);
        assert_eq!(proof(&object("unique constraint", "unique (a)")), None);
    }

    #[test]
    fn what_a_foreign_key_refers_to_is_read_whatever_the_names_are() {
        let plain = "alter table \"b\".\"c\" add constraint \"k\" FOREIGN KEY (pid) REFERENCES a.parent(id) ON DELETE CASCADE";
        assert_eq!(referred(plain), Some("a.parent"));
        let odd = "alter table t add constraint \" REFERENCES x(\" FOREIGN KEY (\"a\"\"(\") REFERENCES \"A (b)\".\"\"\"p\"(id)";
        assert_eq!(referred(odd), Some("\"A (b)\".\"\"\"p\""));
        assert_eq!(referred("create index on t (a)"), None);
    }
}
