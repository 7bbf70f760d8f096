//! Publications, origins and slots: made and dropped by name.
//!
//! A publication is made and dropped in one transaction with its receipt. A slot is not transactional at all, and an
//! origin is dropped in shared memory before its catalog row goes: for these what is there has the last word, and the
//! gate row is held meanwhile, so that a probe waits for an attempt in flight.

use std::time::Duration;

use journal::{EffectSpec, Evidence, Finding, TableName};
use runtime::Clock;
use tokio_postgres::{Client, GenericClient, Transaction};

use crate::postgres::database::Database;
use crate::postgres::quote::{self, ident};
use crate::postgres::receipt::{self, acted, admit, is_missing, leave, lock_gate};
use crate::seams::{Acted, Authority, EffectError, Owner, Probe};

/// How long a session of ours that holds a slot or an origin may take to go.
const ENDING: Duration = Duration::from_secs(5);

/// How often it is looked whether it has gone.
const LOOK: Duration = Duration::from_millis(50);

/// An object of a database.
#[derive(Debug, Clone, Copy)]
pub enum Object<'e> {
    /// A publication of these very tables.
    Publication(&'e str, &'e [TableName]),
    /// A replication origin.
    Origin(&'e str),
    /// A replication slot.
    Slot(&'e str),
}

/// `CreatePublication`, `CreateOrigin`.
pub async fn probe_created(database: &Database, spec: &EffectSpec, object: Object<'_>) -> Probe {
    let mut session = match database.session().await {
        Ok(session) => session,
        Err(cause) => return Probe::Unreachable(cause),
    };
    match look_created(&mut session, database, spec, object).await {
        Ok(probe) => {
            session.done();
            probe
        }
        Err(error) => Probe::Unreachable(database.cause("cannot be probed", &error)),
    }
}

async fn look_created(
    client: &mut Client,
    database: &Database,
    spec: &EffectSpec,
    object: Object<'_>,
) -> Result<Probe, tokio_postgres::Error> {
    let tx = client.transaction().await?;
    let found = locked_receipt(&tx, database, spec).await?;
    let probe = match object {
        Object::Origin(name) if origin_exists(&tx, name).await? => {
            // Create or adopt by name: the name is made of the migration, the phase and the direction.
            Probe::Ours(found.unwrap_or_else(|| named("origin", name)))
        }
        Object::Slot(name) if slot(&tx, name).await?.is_some() => Probe::Ours(named("slot", name)),
        Object::Origin(_) | Object::Slot(_) => Probe::Absent,
        Object::Publication(name, tables) => {
            let there = publication(&tx, name).await?;
            match (found, there) {
                (None, None) => Probe::Absent,
                (None, Some(there)) => Probe::Foreign(Owner(format!(
                    "role {}, who made a publication of the name {name} on the {} without us",
                    there.owner,
                    database.side()
                ))),
                (Some(evidence), Some(there)) if there.is_of(tables) => Probe::Ours(evidence),
                (Some(_), there) => Probe::Differs(Finding {
                    code: "SW-0510".to_owned(),
                    what: format!(
                        "the publication {name} on the {} {}",
                        database.side(),
                        there.map_or_else(
                            || "is gone".to_owned(),
                            |there| format!("was changed: it publishes {}", there.words())
                        )
                    ),
                    remedy: "Changes may be missing from the stream. Abort this operation and start the phase again."
                        .to_owned(),
                }),
            }
        }
    };
    tx.commit().await?;
    Ok(probe)
}

/// `CreatePublication`, `CreateOrigin`.
pub async fn create(database: &Database, spec: &EffectSpec, object: Object<'_>, under: Authority) -> Acted {
    let mut session = match database.session().await {
        Ok(session) => session,
        Err(cause) => return Acted::Unknown(EffectError(cause.0)),
    };
    match try_create(&mut session, database, (spec, under), object).await {
        Ok(ended) => {
            session.done();
            ended
        }
        // Without our schema there is no receipt; an origin is adopted by its name.
        Err(error) if is_missing(&error) => match object {
            Object::Origin(name) => match create_origin(&*session, name).await {
                Ok(()) => Acted::Done(named("origin", name)),
                Err(error) => acted(database, &error),
            },
            Object::Publication(..) | Object::Slot(_) => acted(database, &error),
        },
        Err(error) => acted(database, &error),
    }
}

async fn try_create(
    client: &mut Client,
    database: &Database,
    (spec, under): (&EffectSpec, Authority),
    object: Object<'_>,
) -> Result<Acted, tokio_postgres::Error> {
    let migration = database.migration();
    let tx = client.transaction().await?;
    if let Some(ended) = admit(&tx, migration, spec, under).await?.ended() {
        return Ok(ended);
    }
    let evidence = match object {
        Object::Publication(name, tables) => {
            let listed: Vec<String> = tables.iter().map(quote::table).collect();
            tx.batch_execute(&format!(
                "create publication {} for table {} with (publish = 'insert, update, delete, truncate')",
                ident(name),
                listed.join(", ")
            ))
            .await?;
            let mut evidence = named("publication", name);
            let words: Vec<String> = tables.iter().map(ToString::to_string).collect();
            evidence.insert("tables".to_owned(), words.join(", "));
            evidence
        }
        Object::Origin(name) => {
            if !origin_exists(&tx, name).await? {
                create_origin(&tx, name).await?;
            }
            named("origin", name)
        }
        Object::Slot(name) => {
            return Ok(Acted::Definite(EffectError(format!(
                "the slot {name} is made with its snapshot, not here"
            ))));
        }
    };
    leave(&tx, migration, spec, under, &evidence).await?;
    tx.commit().await?;
    Ok(Acted::Done(evidence))
}

/// `DropPublication`, `DropOrigin`, `DropSlot`: what is there has the last word.
pub async fn probe_dropped(database: &Database, spec: &EffectSpec, object: Object<'_>) -> Probe {
    let mut session = match database.session().await {
        Ok(session) => session,
        Err(cause) => return Probe::Unreachable(cause),
    };
    match look_dropped(&mut session, database, spec, object).await {
        Ok(probe) => {
            session.done();
            probe
        }
        Err(error) => Probe::Unreachable(database.cause("cannot be probed", &error)),
    }
}

async fn look_dropped(
    client: &mut Client,
    database: &Database,
    spec: &EffectSpec,
    object: Object<'_>,
) -> Result<Probe, tokio_postgres::Error> {
    let tx = client.transaction().await?;
    let found = locked_receipt(&tx, database, spec).await?;
    let (is_there, gone) = match object {
        Object::Publication(name, _) => (publication(&tx, name).await?.is_some(), named("gone", name)),
        Object::Origin(name) => (origin_exists(&tx, name).await?, named("gone", name)),
        Object::Slot(name) => match slot(&tx, name).await? {
            Some(slot) if !slot.is_ours => {
                return Ok(Probe::Foreign(Owner(format!(
                    "the slot {name} on the {} reads the database {} with {}, which is not how we make one",
                    database.side(),
                    slot.database,
                    slot.plugin
                ))));
            }
            there => (there.is_some(), named("gone", name)),
        },
    };
    tx.commit().await?;
    Ok(if is_there { Probe::Absent } else { Probe::Ours(found.unwrap_or(gone)) })
}

/// `DropPublication`, `DropOrigin`, `DropSlot`. A session of ours that still uses it is ended first.
pub async fn drop(
    database: &Database,
    (spec, under): (&EffectSpec, Authority),
    object: Object<'_>,
    clock: &dyn Clock,
) -> Acted {
    let mut session = match database.session().await {
        Ok(session) => session,
        Err(cause) => return Acted::Unknown(EffectError(cause.0)),
    };
    match try_drop(&mut session, database, (spec, under), (object, clock)).await {
        Ok(ended) => {
            session.done();
            ended
        }
        Err(error) => acted(database, &error),
    }
}

async fn try_drop(
    client: &mut Client,
    database: &Database,
    (spec, under): (&EffectSpec, Authority),
    (object, clock): (Object<'_>, &dyn Clock),
) -> Result<Acted, tokio_postgres::Error> {
    let migration = database.migration();
    let mut tx = client.transaction().await?;
    if let Some(ended) = admit(&tx, migration, spec, under).await?.ended() {
        return Ok(ended);
    }
    let (evidence, ended) = match object {
        Object::Publication(name, _) => {
            tx.batch_execute(&format!("drop publication if exists {}", ident(name))).await?;
            (named("publication", name), None)
        }
        Object::Origin(name) => (named("origin", name), drop_origin(&mut tx, name, clock).await?),
        Object::Slot(name) => {
            let mut evidence = named("slot", name);
            if let Some(slot) = slot(&tx, name).await? {
                evidence.insert("confirmed_flush_lsn".to_owned(), slot.confirmed);
            }
            (evidence, drop_slot(&tx, name, clock).await?)
        }
    };
    if let Some(ended) = ended {
        return Ok(ended);
    }
    leave(&tx, migration, spec, under, &evidence).await?;
    tx.commit().await?;
    Ok(Acted::Done(evidence))
}

fn named(what: &str, name: &str) -> Evidence {
    Evidence::from([(what.to_owned(), name.to_owned())])
}

/// The receipt under the gate row's lock; none where our schema is not there.
async fn locked_receipt(
    tx: &Transaction<'_>,
    database: &Database,
    spec: &EffectSpec,
) -> Result<Option<Evidence>, tokio_postgres::Error> {
    let home = "select to_regclass('_switchyard.gate') is not null and to_regclass('_switchyard.receipt') is not null";
    if !tx.query_one(home, &[]).await?.get::<_, bool>(0) {
        return Ok(None);
    }
    lock_gate(tx, database.migration(), &spec.phase).await?;
    receipt::receipt(tx, spec).await
}

/// A publication as the catalog has it.
struct Publication {
    owner: String,
    publishes_all: bool,
    tables: Vec<String>,
}

impl Publication {
    fn is_of(&self, tables: &[TableName]) -> bool {
        let mut wanted: Vec<String> = tables.iter().map(quote::table).collect();
        wanted.sort();
        self.publishes_all && self.tables == wanted
    }

    fn words(&self) -> String {
        let tables = if self.tables.is_empty() { "no table".to_owned() } else { self.tables.join(", ") };
        if self.publishes_all { tables } else { format!("{tables}, and not every kind of change or row") }
    }
}

async fn publication(
    client: &impl GenericClient,
    name: &str,
) -> Result<Option<Publication>, tokio_postgres::Error> {
    let sql = "select r.rolname::text, \
                      p.pubinsert and p.pubupdate and p.pubdelete and p.pubtruncate and not p.puballtables \
                      and not exists (select from pg_publication_rel f where f.prpubid = p.oid \
                                      and (f.prqual is not null or f.prattrs is not null)) \
                      and not exists (select from pg_publication_namespace s where s.pnpubid = p.oid), \
                      array(select '\"' || replace(n.nspname, '\"', '\"\"') || '\".\"' || \
                                   replace(c.relname, '\"', '\"\"') || '\"' \
                            from pg_publication_rel f join pg_class c on c.oid = f.prrelid \
                            join pg_namespace n on n.oid = c.relnamespace where f.prpubid = p.oid) \
               from pg_publication p join pg_roles r on r.oid = p.pubowner where p.pubname = $1";
    let row = client.query_opt(sql, &[&name]).await?;
    Ok(row.map(|row| {
        let mut tables: Vec<String> = row.get(2);
        tables.sort();
        Publication { owner: row.get(0), publishes_all: row.get(1), tables }
    }))
}

async fn origin_exists(client: &impl GenericClient, name: &str) -> Result<bool, tokio_postgres::Error> {
    let sql = "select exists (select from pg_replication_origin where roname = $1)";
    Ok(client.query_one(sql, &[&name]).await?.get(0))
}

async fn create_origin(client: &impl GenericClient, name: &str) -> Result<(), tokio_postgres::Error> {
    client.execute("select pg_replication_origin_create($1)", &[&name]).await?;
    Ok(())
}

struct Slot {
    plugin: String,
    database: String,
    confirmed: String,
    is_ours: bool,
    active_pid: Option<i32>,
}

async fn slot(client: &impl GenericClient, name: &str) -> Result<Option<Slot>, tokio_postgres::Error> {
    let sql = "select coalesce(plugin::text, 'none'), coalesce(database::text, 'none'), \
                      coalesce(confirmed_flush_lsn::text, 'none'), \
                      coalesce(plugin = 'pgoutput' and database = current_database(), false), active_pid \
               from pg_replication_slots where slot_name = $1";
    let row = client.query_opt(sql, &[&name]).await?;
    Ok(row.map(|row| Slot {
        plugin: row.get(0),
        database: row.get(1),
        confirmed: row.get(2),
        is_ours: row.get(3),
        active_pid: row.get(4),
    }))
}

/// Ends a session if it is one of ours. An error names whose it is.
async fn end_ours(
    client: &impl GenericClient,
    (what, name): (&str, &str),
    pid: i32,
) -> Result<Option<Acted>, tokio_postgres::Error> {
    let sql = "select coalesce(usename::text, 'unknown'), coalesce(application_name, ''), \
                      starts_with(application_name, 'switchyard') \
               from pg_stat_activity where pid = $1";
    let Some(row) = client.query_opt(sql, &[&pid]).await? else { return Ok(None) };
    if !row.get::<_, Option<bool>>(2).unwrap_or(false) {
        let (user, application): (&str, &str) = (row.get(0), row.get(1));
        return Ok(Some(Acted::Definite(EffectError(format!(
            "the {what} {name} is in use by pid {pid} (user {user}, application {application}), which is not ours: \
             end it, then retry"
        )))));
    }
    client.execute("select pg_terminate_backend($1)", &[&pid]).await?;
    Ok(None)
}

async fn drop_slot(
    tx: &Transaction<'_>,
    name: &str,
    clock: &dyn Clock,
) -> Result<Option<Acted>, tokio_postgres::Error> {
    let began = clock.monotonic();
    loop {
        let Some(slot) = slot(tx, name).await? else { return Ok(None) };
        if !slot.is_ours {
            return Ok(Some(Acted::Definite(EffectError(format!("the slot {name} is not one of ours")))));
        }
        let Some(pid) = slot.active_pid else { break };
        if clock.monotonic() - began > ENDING {
            let what =
                format!("the slot {name} is still read by pid {pid}, {ENDING:?} after it was told to end");
            return Ok(Some(Acted::Unknown(EffectError(what))));
        }
        if let Some(ended) = end_ours(tx, ("slot", name), pid).await? {
            return Ok(Some(ended));
        }
        clock.sleep(LOOK).await;
    }
    // Taken again in between: 55006, which is not definite, so that the loop tries again.
    tx.execute("select pg_drop_replication_slot($1)", &[&name]).await?;
    Ok(None)
}

async fn drop_origin(
    tx: &mut Transaction<'_>,
    name: &str,
    clock: &dyn Clock,
) -> Result<Option<Acted>, tokio_postgres::Error> {
    let began = clock.monotonic();
    loop {
        if !origin_exists(tx, name).await? {
            return Ok(None);
        }
        let attempt = tx.transaction().await?;
        let Err(error) = attempt.execute("select pg_replication_origin_drop($1)", &[&name]).await else {
            attempt.commit().await?;
            return Ok(None);
        };
        attempt.rollback().await?;
        // No view says who uses an origin; the error does, in whatever language: the last number in it is the pid.
        let user = error
            .as_db_error()
            .filter(|db| db.code().code() == "55006")
            .and_then(|db| last_number(db.message()));
        let Some(pid) = user.filter(|_| clock.monotonic() - began <= ENDING) else { return Err(error) };
        if let Some(ended) = end_ours(tx, ("origin", name), pid).await? {
            return Ok(Some(ended));
        }
        clock.sleep(LOOK).await;
    }
}

fn last_number(text: &str) -> Option<i32> {
    text.split(|c: char| !c.is_ascii_digit()).rfind(|part| !part.is_empty())?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pid_is_the_last_number_of_the_message() {
        assert_eq!(
            last_number("could not drop replication origin with ID 3, in use by PID 4711"),
            Some(4711)
        );
        assert_eq!(last_number("nothing"), None);
    }
}
