//! Tables on the target: made behind the closed gate, in one transaction with their receipt. What belongs to them and may
//! take long is made by [`build`].
//!
//! Their other ends may be live: no lock is waited for longer than a moment ([`crate::postgres::brief`]), and before the
//! tables are dropped, what ties them to others is cut, one foreign key a transaction. Cut twice is cut once, and who cut
//! them holds the intent to drop the tables; so the receipt comes with the last part alone.

use journal::{Effect, EffectSpec, Evidence, GateMode, PhaseName, TableDefinition, TableName};
use runtime::Clock;
use tokio_postgres::{Client, Transaction};

use crate::postgres::brief::{PATIENCE, Tries, be_brief, had, is_in_the_way};
use crate::postgres::build;
use crate::postgres::catalog::{LISTED, of_place};
use crate::postgres::chunk::end_older_lanes;
use crate::postgres::database::Database;
use crate::postgres::fence;
use crate::postgres::gate;
use crate::postgres::quote::{ident, table as quoted};
use crate::postgres::receipt::{acted, admit, admit_in_parts, leave, probe_receipt};
use crate::postgres::writers::{self, BESIDE_NOBODY};
use crate::seams::{Acted, Authority, EffectError, Owner, Probe};

/// Looks for the receipt; where there is none, for what is in the way.
pub async fn probe(database: &Database, spec: &EffectSpec, _under: Authority) -> Probe {
    let seen = probe_receipt(database, spec).await;
    let (Probe::Absent, Effect::CreateTables { tables }) = (&seen, &spec.effect) else { return seen };
    let session = match database.session().await {
        Ok(session) => session,
        Err(cause) => return Probe::Unreachable(cause),
    };
    match in_the_way(&session, tables).await {
        Ok(owners) => {
            session.done();
            if owners.is_empty() {
                return Probe::Absent;
            }
            Probe::Foreign(Owner(format!(
                "the {} has {} already, not made by this operation (SW-0231): drop or rename there what is not \
                 needed, or take the table out of the phase, and `retry`",
                database.side(),
                owners.join(", ")
            )))
        }
        Err(error) => Probe::Unreachable(database.cause("does not show its tables", &error)),
    }
}

async fn in_the_way(
    client: &Client,
    tables: &[TableDefinition],
) -> Result<Vec<String>, tokio_postgres::Error> {
    let sql = "select r.rolname::text, h.place from listed h join pg_class c on c.oid = h.oid \
               join pg_roles r on r.oid = c.relowner order by h.place";
    let tables: Vec<TableName> = tables.iter().map(|definition| definition.table.clone()).collect();
    let (schemas, names) = writers::columns(&tables);
    let rows = client.query(&format!("with {LISTED} {sql}"), &[&schemas, &names]).await?;
    let owned = |(at, table): (usize, &TableName)| {
        of_place(&rows, at).first().map(|row| format!("{table} (owned by {})", row.get::<_, &str>(0)))
    };
    Ok(tables.iter().enumerate().filter_map(owned).collect())
}

/// Makes or drops, with the receipt in the same transaction.
pub async fn act(database: &Database, spec: &EffectSpec, under: Authority, clock: &dyn Clock) -> Acted {
    if let Effect::AddSchemaObject { object } = &spec.effect {
        return build::act(database, (spec, under), object, clock).await;
    }
    if let Effect::DropTables { .. } = spec.effect
        && let Err(cause) = end_older_lanes(database, &spec.phase, under.epoch).await
    {
        return Acted::Unknown(EffectError(cause.to_string()));
    }
    let mut session = match database.session().await {
        Ok(session) => session,
        Err(cause) => return Acted::Unknown(EffectError(cause.to_string())),
    };
    match keep_trying(&mut session, database, (spec, under), clock).await {
        Ok(Acted::Done(evidence)) => {
            session.done();
            Acted::Done(evidence)
        }
        Ok(other) => other,
        Err(error) => acted(database, &error),
    }
}

/// How a try ended.
enum Tried {
    Ended(Acted),
    /// A part of it is done, and committed.
    Further,
    /// A lock on one of these tables was not had in time, and nothing was done.
    Waited(Vec<TableName>),
}

async fn keep_trying(
    client: &mut Client,
    database: &Database,
    (spec, under): (&EffectSpec, Authority),
    clock: &dyn Clock,
) -> Result<Acted, tokio_postgres::Error> {
    let mut tries = Tries::new(clock, PATIENCE);
    loop {
        let on = match try_act(client, database, spec, under).await? {
            Tried::Ended(ended) => return Ok(ended),
            Tried::Further => {
                tries = Tries::new(clock, PATIENCE);
                continue;
            }
            Tried::Waited(on) => on,
        };
        if tries.are_over(clock) {
            return Ok(Acted::Definite(EffectError(tries.told(client, (&on, BESIDE_NOBODY)).await?)));
        }
        tries.pause(clock).await;
    }
}

async fn try_act(
    client: &mut Client,
    database: &Database,
    spec: &EffectSpec,
    under: Authority,
) -> Result<Tried, tokio_postgres::Error> {
    let tx = client.transaction().await?;
    // A dropping comes in parts: what its earlier ones raised does not refuse the later ones.
    let admission = match &spec.effect {
        Effect::DropTables { .. } => admit_in_parts(&tx, database.migration(), spec, under).await?,
        _ => admit(&tx, database.migration(), spec, under).await?,
    };
    if let Some(ended) = admission.ended() {
        return Ok(Tried::Ended(ended));
    }
    if matches!(spec.effect, Effect::DropTables { .. })
        && gate::mode_within(&tx, database, &spec.phase).await? == Some(GateMode::Open)
    {
        return Ok(Tried::Ended(Acted::Definite(open_to_writes(database, &spec.phase))));
    }
    be_brief(&tx).await?;
    let evidence = match &spec.effect {
        Effect::CreateTables { tables } => match create(&tx, database, spec, tables).await {
            Err(error) if is_in_the_way(&error) => {
                return Ok(Tried::Waited(tables.iter().map(|made| made.table.clone()).collect()));
            }
            other => other?,
        },
        Effect::DropTables { tables } => {
            let (ours, kept) = ours(&tx, database, spec, tables).await?;
            if let Some(tie) = first_tie(&tx, &ours).await? {
                if !had(tx.batch_execute(&tie.cut()).await)? {
                    return Ok(Tried::Waited(vec![tie.child, tie.parent]));
                }
                tx.commit().await?;
                return Ok(Tried::Further);
            }
            if !ours.is_empty() {
                // All at once, since their foreign keys may form a cycle.
                let names: Vec<String> = ours.iter().map(|(table, _)| quoted(table)).collect();
                if !had(tx.batch_execute(&format!("drop table {}", names.join(", "))).await)? {
                    return Ok(Tried::Waited(ours.into_iter().map(|(table, _)| table).collect()));
                }
            }
            forget(&tx, database, spec, tables).await?;
            let mut evidence = Evidence::from([("dropped".to_owned(), ours.len().to_string())]);
            if !kept.is_empty() {
                evidence.insert("not_ours_so_kept".to_owned(), kept.join(", "));
            }
            evidence
        }
        _ => {
            let label = spec.effect.label();
            return Ok(Tried::Ended(Acted::Definite(EffectError(format!("{label} is not about tables")))));
        }
    };
    leave(&tx, database.migration(), spec, under, &evidence).await?;
    tx.commit().await?;
    Ok(Tried::Ended(Acted::Done(evidence)))
}

/// Whatever the journal says: rows that the application may be writing are never dropped.
fn open_to_writes(database: &Database, phase: &PhaseName) -> EffectError {
    EffectError(format!(
        "the {side} is the open side of {phase}: its gate admits writes, so its tables are not dropped, although by the \
         journal it is closed (SW-0232). The journal is older than the databases, or somebody opened the gate by hand: see \
         `switchyard journal check`, and bring the newest journal back",
        side = database.side()
    ))
}

async fn create(
    tx: &Transaction<'_>,
    database: &Database,
    spec: &EffectSpec,
    tables: &[TableDefinition],
) -> Result<Evidence, tokio_postgres::Error> {
    let mut evidence = Evidence::from([("tables".to_owned(), tables.len().to_string())]);
    for definition in tables {
        tx.batch_execute(&definition.statements.join(";\n")).await?;
    }
    let names: Vec<TableName> = tables.iter().map(|definition| definition.table.clone()).collect();
    for (table, oid) in names.iter().zip(oids(tx, &names).await?) {
        evidence.insert(format!("oid:{table}"), oid.unwrap_or(0).to_string());
    }
    // The gate is closed from the first moment in which there is something to write.
    let names = tables.iter().map(|definition| &definition.table);
    fence::stand_closed(tx, database, &spec.phase, names).await?;
    Ok(evidence)
}

/// The tables' oids, in their order; none of those that are not there.
async fn oids(tx: &Transaction<'_>, tables: &[TableName]) -> Result<Vec<Option<u32>>, tokio_postgres::Error> {
    let (schemas, names) = writers::columns(tables);
    let rows = tx
        .query(
            &format!("with {LISTED} select h.oid, h.place from listed h order by h.place"),
            &[&schemas, &names],
        )
        .await?;
    Ok((0..tables.len()).map(|at| of_place(&rows, at).first().map(|row| row.get(0))).collect())
}

/// Those of the tables that a receipt of this phase names with this very oid, and the names of the others: a table of the
/// same name that somebody made later, or had before, is not ours: it is left alone and named.
async fn ours(
    tx: &Transaction<'_>,
    database: &Database,
    spec: &EffectSpec,
    tables: &[TableName],
) -> Result<(Vec<(TableName, u32)>, Vec<String>), tokio_postgres::Error> {
    let made = "select evidence from _switchyard.receipt \
                where migration = $1 and phase = $2 and label = 'create_tables'";
    let (migration, phase) = (database.migration().as_str(), spec.phase.as_str());
    let receipts: Vec<Evidence> = tx
        .query(made, &[&migration, &phase])
        .await?
        .iter()
        .map(|row| serde_json::from_str(row.get(0)).unwrap_or_default())
        .collect();
    let (mut ours, mut kept) = (Vec::new(), Vec::new());
    for (table, oid) in tables.iter().zip(oids(tx, tables).await?) {
        let Some(oid) = oid else { continue };
        let key = format!("oid:{table}");
        if receipts.iter().any(|receipt| receipt.get(&key) == Some(&oid.to_string())) {
            ours.push((table.clone(), oid));
        } else {
            tracing::warn!(side = %database.side(), %table, "not made by this phase, so it is not dropped");
            kept.push(table.to_string());
        }
    }
    Ok((ours, kept))
}

/// A foreign key of a table of ours to one that stays.
struct Tie {
    child: TableName,
    name: String,
    parent: TableName,
}

impl Tie {
    fn cut(&self) -> String {
        format!("alter table {} drop constraint {}", quoted(&self.child), ident(&self.name))
    }
}

/// The first of the foreign keys to tables that stay. Dropped with its table it would lock its other end, which may be
/// live, for as long as the rest of the drop takes and waits; so each goes by itself, before.
async fn first_tie(
    tx: &Transaction<'_>,
    ours: &[(TableName, u32)],
) -> Result<Option<Tie>, tokio_postgres::Error> {
    let sql = "select cn.nspname::text, c.relname::text, k.conname::text, pn.nspname::text, p.relname::text \
               from pg_constraint k \
               join pg_class c on c.oid = k.conrelid join pg_namespace cn on cn.oid = c.relnamespace \
               join pg_class p on p.oid = k.confrelid join pg_namespace pn on pn.oid = p.relnamespace \
               where k.contype = 'f' and k.conparentid = 0 and k.conrelid = any ($1) and k.confrelid <> all ($1) \
               order by 1, 2, 3 limit 1";
    let oids: Vec<u32> = ours.iter().map(|(_, oid)| *oid).collect();
    Ok(tx.query_opt(sql, &[&oids]).await?.map(|row| Tie {
        child: TableName { schema: row.get(0), table: row.get(1) },
        name: row.get(2),
        parent: TableName { schema: row.get(3), table: row.get(4) },
    }))
}

/// With the tables goes what was loaded into them: a late chunk finds no row of its plan.
async fn forget(
    tx: &Transaction<'_>,
    database: &Database,
    spec: &EffectSpec,
    tables: &[TableName],
) -> Result<(), tokio_postgres::Error> {
    let sql = "delete from _switchyard.chunk where migration = $1 and phase = $2 and table_name = any ($3)";
    let names: Vec<String> = tables.iter().map(ToString::to_string).collect();
    tx.execute(sql, &[&database.migration().as_str(), &spec.phase.as_str(), &names]).await?;
    Ok(())
}
