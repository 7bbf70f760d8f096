//! `EmitMarker`: a place in a database's own change stream that a reader knows when it sees it.
//!
//! The race: a transaction acknowledged under `synchronous_commit = off` may not be in the write-ahead log up to
//! `pg_current_wal_lsn()` yet, so a barrier read from there can be too early. A transactional message is decoded in
//! commit order like any change: what committed before it is delivered before it, whatever its durability was. It
//! commits with `synchronous_commit = on`, which also flushes everything before it.

use journal::{EffectSpec, Evidence, Lsn};
use tokio_postgres::Client;

use crate::postgres::database::Database;
use crate::postgres::receipt::{self, acted, admit, leave};
use crate::seams::{Acted, Authority, Cause, EffectError, Probe};

/// The prefix of our messages in a database's stream.
pub const PREFIX: &str = "switchyard";

/// How far a database has written its log: what any reader of it has met before lies before this place. It is no barrier.
///
/// # Errors
/// The database cannot be asked.
pub async fn place(database: &Database) -> Result<Lsn, Cause> {
    let session = database.session().await?;
    let row = session
        .query_one("select pg_current_wal_lsn()::text", &[])
        .await
        .map_err(|error| database.cause("does not say where its log is", &error))?;
    let place = row.get::<_, &str>(0).parse();
    session.done();
    place.map_err(|_| Cause(format!("the {} says a place that is none", database.side())))
}

/// Whether the marker was committed.
pub async fn probe(database: &Database, spec: &EffectSpec) -> Probe {
    receipt::probe_receipt(database, spec).await
}

/// Writes the marker. Evidence: `lsn`, the end of the message; its commit follows.
pub async fn act(database: &Database, spec: &EffectSpec, nonce: &str, under: Authority) -> Acted {
    let mut session = match database.session().await {
        Ok(session) => session,
        Err(cause) => return Acted::Unknown(EffectError(cause.0)),
    };
    match emit(&mut session, database, (spec, under), nonce).await {
        Ok(ended) => {
            session.done();
            ended
        }
        Err(error) => acted(database, &error),
    }
}

async fn emit(
    client: &mut Client,
    database: &Database,
    (spec, under): (&EffectSpec, Authority),
    nonce: &str,
) -> Result<Acted, tokio_postgres::Error> {
    let migration = database.migration();
    let tx = client.transaction().await?;
    if let Some(ended) = admit(&tx, migration, spec, under).await?.ended() {
        return Ok(ended);
    }
    tx.batch_execute("set local synchronous_commit = on").await?;
    let sql = "select pg_logical_emit_message(true, $1::text, $2::text)::text";
    let lsn: String = tx.query_one(sql, &[&PREFIX, &nonce]).await?.get(0);
    let evidence = Evidence::from([("lsn".to_owned(), lsn), ("nonce".to_owned(), nonce.to_owned())]);
    leave(&tx, migration, spec, under, &evidence).await?;
    tx.commit().await?;
    Ok(Acted::Done(evidence))
}
