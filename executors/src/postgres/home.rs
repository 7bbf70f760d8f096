//! `InstallHome`: our schema and the phase's gate row.
//!
//! Two executors may run it at once: `create … if not exists` looks first and inserts later, so one of them may meet a
//! duplicate in the catalog. That one has done nothing and tries again.

use journal::{EffectSpec, Evidence, GateMode};
use tokio_postgres::Client;

use crate::postgres::HOME_SQL;
use crate::postgres::database::{Database, chain};
use crate::postgres::receipt::{self, acted, admit, leave};
use crate::seams::{Acted, Authority, EffectError, Probe};

/// What concurrent creations of one object end with: unique violation, duplicate schema, object, table.
const CREATED_MEANWHILE: [&str; 4] = ["23505", "42P06", "42710", "42P07"];

/// Whether the effect's receipt is there; the row itself keeps its mode whatever the effect says.
pub async fn probe(database: &Database, spec: &EffectSpec) -> Probe {
    receipt::probe_receipt(database, spec).await
}

/// Makes the schema and, where there is none, the gate row in this mode; raises an old row's epoch and position.
pub async fn act(database: &Database, spec: &EffectSpec, mode: GateMode, under: Authority) -> Acted {
    let mut session = match database.session().await {
        Ok(session) => session,
        Err(cause) => return Acted::Unknown(EffectError(cause.0)),
    };
    let seen = match database.identity(&session).await {
        Ok(seen) => seen,
        Err(cause) => return Acted::Unknown(EffectError(cause.0)),
    };
    match install(&mut session, database, (spec, under), (mode, seen)).await {
        Ok(ended) => {
            session.done();
            ended
        }
        Err(error) if error.code().is_some_and(|code| CREATED_MEANWHILE.contains(&code.code())) => {
            let text = format!("another executor made it at the same time: {}", chain(&error));
            Acted::Unknown(EffectError(database.scrub(&text)))
        }
        Err(error) => acted(database, &error),
    }
}

async fn install(
    client: &mut Client,
    database: &Database,
    (spec, under): (&EffectSpec, Authority),
    (mode, seen): (GateMode, Evidence),
) -> Result<Acted, tokio_postgres::Error> {
    let migration = database.migration();
    let tx = client.transaction().await?;
    tx.batch_execute(receipt::GATE_LOCK_TIMEOUT).await?;
    tx.batch_execute(HOME_SQL).await?;
    let insert = "insert into _switchyard.gate (migration, phase, mode, epoch, position, effect) \
                  values ($1, $2, $3, 0, 0, $4) on conflict do nothing";
    let values: [&(dyn tokio_postgres::types::ToSql + Sync); 4] =
        [&migration.as_str(), &spec.phase.as_str(), &mode.word(), &spec.id.to_string()];
    tx.execute(insert, &values).await?;
    if let Some(ended) = admit(&tx, migration, spec, under).await?.ended() {
        return Ok(ended);
    }
    let row = tx
        .query_one(
            "select g.mode, current_setting('server_version') from _switchyard.gate g \
             where g.migration = $1 and g.phase = $2",
            &[&migration.as_str(), &spec.phase.as_str()],
        )
        .await?;
    let mut evidence = seen;
    evidence.insert("mode".to_owned(), row.get(0));
    evidence.insert("server_version".to_owned(), row.get(1));
    leave(&tx, migration, spec, under, &evidence).await?;
    tx.commit().await?;
    Ok(Acted::Done(evidence))
}
