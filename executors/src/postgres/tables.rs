//! Tables on the target: made behind the closed gate, in one transaction with their receipt. What belongs to them and may
//! take long is made by [`build`].

use journal::{Effect, EffectSpec, Evidence, GateMode, PhaseName, TableDefinition, TableName};
use tokio_postgres::{Client, Transaction};

use crate::postgres::build;
use crate::postgres::chunk::end_older_lanes;
use crate::postgres::database::Database;
use crate::postgres::fence;
use crate::postgres::gate;
use crate::postgres::quote::{literal, table as quoted};
use crate::postgres::receipt::{Admission, acted, admit, leave, probe_receipt};
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
    let sql = "select r.rolname::text from pg_class c join pg_namespace n on n.oid = c.relnamespace \
               join pg_roles r on r.oid = c.relowner where n.nspname = $1 and c.relname = $2";
    let mut found = Vec::new();
    for definition in tables {
        let table = &definition.table;
        if let Some(row) = client.query_opt(sql, &[&table.schema, &table.table]).await? {
            found.push(format!("{table} (owned by {})", row.get::<_, &str>(0)));
        }
    }
    Ok(found)
}

/// Makes or drops, with the receipt in the same transaction.
pub async fn act(database: &Database, spec: &EffectSpec, under: Authority) -> Acted {
    if let Effect::AddSchemaObject { object } = &spec.effect {
        return build::act(database, (spec, under), object).await;
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
    match try_act(&mut session, database, spec, under).await {
        Ok(Acted::Done(evidence)) => {
            session.done();
            Acted::Done(evidence)
        }
        Ok(other) => other,
        Err(error) => acted(database, &error),
    }
}

async fn try_act(
    client: &mut Client,
    database: &Database,
    spec: &EffectSpec,
    under: Authority,
) -> Result<Acted, tokio_postgres::Error> {
    let tx = client.transaction().await?;
    match admit(&tx, database.migration(), spec, under).await? {
        Admission::Admitted => {}
        Admission::Already(evidence) => return Ok(Acted::Done(evidence)),
        Admission::Refused(error) => return Ok(Acted::Definite(error)),
    }
    if matches!(spec.effect, Effect::DropTables { .. })
        && gate::mode_within(&tx, database, &spec.phase).await? == Some(GateMode::Open)
    {
        return Ok(Acted::Definite(open_to_writes(database, &spec.phase)));
    }
    let evidence = match &spec.effect {
        Effect::CreateTables { tables } => {
            let evidence = create(&tx, tables).await?;
            // The gate is closed from the first moment in which there is something to write.
            let names = tables.iter().map(|definition| &definition.table);
            fence::stand_closed(&tx, database, &spec.phase, names).await?;
            evidence
        }
        Effect::DropTables { tables } => drop_ours(&tx, database, spec, tables).await?,
        _ => {
            let label = spec.effect.label();
            return Ok(Acted::Definite(EffectError(format!("{label} is not about tables"))));
        }
    };
    leave(&tx, database.migration(), spec, under, &evidence).await?;
    tx.commit().await?;
    Ok(Acted::Done(evidence))
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

/// The gate row is locked by now; waits for other locks are not to be cut short by its timeout.
pub(super) const PATIENCE: &str = "set local lock_timeout = '30s'";

async fn create(tx: &Transaction<'_>, tables: &[TableDefinition]) -> Result<Evidence, tokio_postgres::Error> {
    tx.batch_execute(PATIENCE).await?;
    let mut evidence = Evidence::from([("tables".to_owned(), tables.len().to_string())]);
    for definition in tables {
        for statement in &definition.statements {
            tx.batch_execute(statement).await?;
        }
        let oid = oid(tx, &definition.table).await?.unwrap_or(0);
        evidence.insert(format!("oid:{}", definition.table), oid.to_string());
    }
    Ok(evidence)
}

async fn oid(tx: &Transaction<'_>, table: &TableName) -> Result<Option<u32>, tokio_postgres::Error> {
    let sql = format!("select to_regclass({})::oid", literal(&quoted(table)));
    Ok(tx.query_one(&sql, &[]).await?.get(0))
}

/// Drops those of the tables that a receipt of this phase names with this very oid: a table of the same name that
/// somebody made later, or had before, is not ours: it is left alone and named.
async fn drop_ours(
    tx: &Transaction<'_>,
    database: &Database,
    spec: &EffectSpec,
    tables: &[TableName],
) -> Result<Evidence, tokio_postgres::Error> {
    tx.batch_execute(PATIENCE).await?;
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
    for table in tables {
        let Some(oid) = oid(tx, table).await? else { continue };
        let key = format!("oid:{table}");
        if !receipts.iter().any(|receipt| receipt.get(&key) == Some(&oid.to_string())) {
            tracing::warn!(side = %database.side(), %table, "not made by this phase, so it is not dropped");
            kept.push(table.to_string());
        } else {
            ours.push(quoted(table));
        }
    }
    if !ours.is_empty() {
        // All at once, since their foreign keys may form a cycle.
        tx.batch_execute(&format!("drop table {}", ours.join(", "))).await?;
    }
    // With the tables goes what was loaded into them: a late chunk finds no row of its plan.
    let forget =
        "delete from _switchyard.chunk where migration = $1 and phase = $2 and table_name = any ($3)";
    let names: Vec<String> = tables.iter().map(ToString::to_string).collect();
    tx.execute(forget, &[&migration, &phase, &names]).await?;
    let mut evidence = Evidence::from([("dropped".to_owned(), ours.len().to_string())]);
    if !kept.is_empty() {
        evidence.insert("not_ours_so_kept".to_owned(), kept.join(", "));
    }
    Ok(evidence)
}
