//! What a database shows of a phase at this moment, for people: never decided upon.

use std::collections::BTreeMap;

use journal::{PhaseName, TableName};

use crate::postgres::database::Database;
use crate::postgres::receipt;
use crate::postgres::writers::{self, WriteHolder};

/// From this age on, in milliseconds, a writing transaction is shown: a fence would wait for it.
const LONG_MS: i64 = 1_000;

/// The gate's mode with its epoch and position, each slot of ours named here with what it retains, and the application's
/// writers that a fence would wait for. A side that does not answer says so.
pub async fn seen(
    database: &Database,
    phase: &PhaseName,
    (slots, tables): (&[(String, String)], &[TableName]),
) -> BTreeMap<String, String> {
    let side = database.side();
    let mut facts = BTreeMap::new();
    let session = match database.session().await {
        Ok(session) => session,
        Err(cause) => {
            facts.insert(format!("gate.{side}"), format!("unreachable: {cause}"));
            return facts;
        }
    };
    let gate = "select mode || ', epoch ' || epoch || ', position ' || position \
                from _switchyard.gate where migration = $1 and phase = $2";
    let said = match session.query_opt(gate, &[&database.migration().as_str(), &phase.as_str()]).await {
        Ok(row) => row.map_or_else(|| "none".to_owned(), |row| row.get(0)),
        Err(error) if receipt::is_missing(&error) => "none".to_owned(),
        Err(error) => database.cause("does not show its gate", &error).0,
    };
    facts.insert(format!("gate.{side}"), said);
    let retained = "select coalesce(wal_status, 'unknown'), \
                           coalesce(pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn), 0)::bigint::text \
                    from pg_replication_slots where slot_name::text = $1 and database = current_database()";
    for (direction, slot) in slots {
        if let Ok(Some(row)) = session.query_opt(retained, &[slot]).await {
            facts.insert(format!("slot.{direction}.wal_status"), row.get(0));
            facts.insert(format!("slot.{direction}.retained_bytes"), row.get(1));
        }
    }
    // Most of the time there is none, and who they are is dear to ask.
    if let Ok(true) = writers::may_be_old(&*session, LONG_MS).await
        && let Ok(holders) = writers::holders(&*session, tables).await
    {
        let long = |who: &&WriteHolder| {
            who.age_ms.is_none_or(|age| age >= LONG_MS) && !who.application.starts_with("switchyard")
        };
        let named: Vec<String> = holders.values().filter(long).map(ToString::to_string).collect();
        if !named.is_empty() {
            facts.insert(format!("writers.{side}"), named.join("; "));
        }
    }
    session.done();
    facts
}
