//! Checkpoint rows of streams, on the side each stream writes.
//!
//! The race: a stream's mode changes while a batch is under way, of this executor or of one that lost its lease. The row
//! decides: a batch commits only if it finds the row's epoch, mode and checkpoint as it left them, in its own
//! transaction, and the change of mode takes the gate row and this row in the same order as a batch does. So from the
//! commit of the change on, no batch of the other mode commits.

use journal::{EffectSpec, Evidence, Lsn, StreamMode, StreamName, Timestamp};
use tokio_postgres::{Client, Transaction};

use crate::native::{Breach, Checkpoint};
use crate::postgres::database::Database;
use crate::postgres::receipt::{acted, admit, is_missing, leave, signed};
use crate::seams::{Acted, Authority, Cause, EffectError, Probe};

/// A stream's row as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamRow {
    /// Everything up to here is committed on this side.
    pub lsn: Lsn,
    /// What the stream does.
    pub mode: StreamMode,
}

/// What an effect does with a row.
#[derive(Debug, Clone, Copy)]
pub enum Change {
    /// A new row, from this place on. A row that is there keeps its place: the stream is adopted.
    Start(Lsn, StreamMode),
    /// Another mode.
    Mode(StreamMode),
    /// The row goes.
    Drop,
}

/// Reads a stream's row; none if it is not there.
///
/// # Errors
/// The side cannot be reached.
pub async fn read(database: &Database, stream: &StreamName) -> Result<Option<StreamRow>, Cause> {
    let session = database.session().await?;
    let sql = "select lsn::text, mode from _switchyard.stream \
               where migration = $1 and phase = $2 and direction = $3 and lane = 0";
    let values: [&(dyn tokio_postgres::types::ToSql + Sync); 3] =
        [&database.migration().as_str(), &stream.phase.as_str(), &stream.direction.word()];
    let found = match session.query_opt(sql, &values).await {
        Ok(found) => found,
        Err(error) if is_missing(&error) => None,
        Err(error) => return Err(database.cause("does not show a stream's checkpoint", &error)),
    };
    session.done();
    let Some(row) = found else { return Ok(None) };
    let lsn: String = row.get(0);
    let lsn =
        lsn.parse().map_err(|error| Cause(format!("the checkpoint of {stream} cannot be read: {error}")))?;
    let mode = if row.get::<_, String>(1) == "apply" { StreamMode::Apply } else { StreamMode::Guard };
    Ok(Some(StreamRow { lsn, mode }))
}

fn said(checkpoint: String, mode: &str) -> Evidence {
    Evidence::from([("checkpoint".to_owned(), checkpoint), ("mode".to_owned(), mode.to_owned())])
}

/// With when the newest change that was written was committed, in milliseconds since 1970, by the clock of the side read.
fn with_newest(mut evidence: Evidence, committed_ms: Option<i64>) -> Evidence {
    if let Some(millis) = committed_ms {
        evidence.insert("newest_change_at".to_owned(), Timestamp::from_millis(millis).to_string());
    }
    evidence
}

/// Where a stream has come to, for the journal: `checkpoint`, `newest_change_at`. Empty where it has no row.
///
/// # Errors
/// The side cannot be reached.
pub async fn stands_at(database: &Database, stream: &StreamName) -> Result<Evidence, Cause> {
    let session = database.session().await?;
    let sql = "select lsn::text, (extract(epoch from source_committed_at) * 1000)::bigint from _switchyard.stream \
               where migration = $1 and phase = $2 and direction = $3 and lane = 0";
    let values: [&(dyn tokio_postgres::types::ToSql + Sync); 3] =
        [&database.migration().as_str(), &stream.phase.as_str(), &stream.direction.word()];
    let row = session
        .query_opt(sql, &values)
        .await
        .map_err(|error| database.cause("does not show a stream's checkpoint", &error))?;
    session.done();
    Ok(row.map_or_else(Evidence::new, |row| {
        with_newest(Evidence::from([("checkpoint".to_owned(), row.get(0))]), row.get(1))
    }))
}

/// Where the stream has committed a marker; none if it has not.
///
/// # Errors
/// The side cannot be reached.
pub async fn marker(database: &Database, stream: &StreamName, nonce: &str) -> Result<Option<String>, Cause> {
    let session = database.session().await?;
    let sql = "select lsn::text from _switchyard.marker \
               where migration = $1 and phase = $2 and direction = $3 and nonce = $4";
    let values: [&(dyn tokio_postgres::types::ToSql + Sync); 4] =
        [&database.migration().as_str(), &stream.phase.as_str(), &stream.direction.word(), &nonce];
    match session.query_opt(sql, &values).await {
        Ok(row) => {
            session.done();
            Ok(row.map(|row| row.get(0)))
        }
        Err(error) if is_missing(&error) => Ok(None),
        Err(error) => Err(database.cause("does not show a stream's markers", &error)),
    }
}

/// The breaches that the stream has committed, in its order.
///
/// # Errors
/// The side cannot be reached.
pub async fn breaches(database: &Database, stream: &StreamName) -> Result<Vec<Breach>, Cause> {
    let session = database.session().await?;
    let sql = "select table_name, lsn::text, changes from _switchyard.breach \
               where migration = $1 and phase = $2 and direction = $3 order by lsn";
    let rows = session
        .query(sql, &[&database.migration().as_str(), &stream.phase.as_str(), &stream.direction.word()])
        .await
        .map_err(|error| database.cause("does not show the breaches that a stream has seen", &error))?;
    session.done();
    let breach = |row: &tokio_postgres::Row| {
        Some(Breach {
            table: row.get::<_, &str>(0).parse().ok()?,
            at: Checkpoint::Lsn(row.get::<_, &str>(1).parse().ok()?),
            changes: u64::try_from(row.get::<_, i64>(2)).ok()?,
        })
    };
    Ok(rows.iter().filter_map(breach).collect())
}

/// Whether a row that was started or set still says so.
pub async fn probe_standing(database: &Database, stream: &StreamName, evidence: Evidence) -> Probe {
    match read(database, stream).await {
        Ok(Some(_)) => Probe::Ours(evidence),
        Ok(None) => Probe::Differs(journal::Finding {
            code: "SW-0305".to_owned(),
            what: format!("the checkpoint row of {stream} is gone from the {}", database.side()),
            remedy: "Somebody removed it. Say `abort`; once the phase replicates, `retire`, then `start`."
                .to_owned(),
        }),
        Err(cause) => Probe::Unreachable(cause),
    }
}

/// Changes a row, with its receipt. Evidence: `checkpoint`, `mode`.
pub async fn act(
    database: &Database,
    stream: &StreamName,
    (spec, under): (&EffectSpec, Authority),
    change: Change,
) -> Acted {
    let mut session = match database.session().await {
        Ok(session) => session,
        Err(cause) => return Acted::Unknown(EffectError(cause.0)),
    };
    match write(&mut session, database, stream, (spec, under), change).await {
        Ok(ended) => {
            session.done();
            ended
        }
        Err(error) => acted(database, &error),
    }
}

async fn write(
    client: &mut Client,
    database: &Database,
    stream: &StreamName,
    (spec, under): (&EffectSpec, Authority),
    change: Change,
) -> Result<Acted, tokio_postgres::Error> {
    let migration = database.migration();
    let tx = client.transaction().await?;
    if let Some(ended) = admit(&tx, migration, spec, under).await?.ended() {
        return Ok(ended);
    }
    let Some(evidence) = changed(&tx, database, stream, (spec, under), change).await? else {
        return Ok(Acted::Definite(EffectError(format!(
            "the {} has no checkpoint row of {stream}, so its mode cannot be set",
            database.side()
        ))));
    };
    leave(&tx, migration, spec, under, &evidence).await?;
    tx.commit().await?;
    Ok(Acted::Done(evidence))
}

async fn changed(
    tx: &Transaction<'_>,
    database: &Database,
    stream: &StreamName,
    (spec, under): (&EffectSpec, Authority),
    change: Change,
) -> Result<Option<Evidence>, tokio_postgres::Error> {
    let migration = database.migration().as_str();
    let (phase, direction) = (stream.phase.as_str(), stream.direction.word());
    let (epoch, position) = (signed(under.epoch.get()), signed(under.position.get()));
    let effect = spec.id.to_string();
    let row = match change {
        Change::Start(from, mode) => {
            let sql = "insert into _switchyard.stream \
                         (migration, phase, direction, lane, mode, epoch, position, effect, lsn) \
                       values ($1, $2, $3, 0, $4, $5, $6, $7, $8::text::pg_lsn) \
                       on conflict (migration, phase, direction, lane) do update \
                         set epoch = excluded.epoch, position = excluded.position, effect = excluded.effect \
                       returning lsn::text, mode";
            let (mode, from) = (mode.word(), from.to_string());
            tx.query_opt(sql, &[&migration, &phase, &direction, &mode, &epoch, &position, &effect, &from])
                .await?
        }
        Change::Mode(mode) => {
            // The epoch stays: the stream that runs under it goes on, by the new mode.
            let sql = "update _switchyard.stream \
                       set mode = $4, epoch = greatest(epoch, $5), position = $6, effect = $7 \
                       where migration = $1 and phase = $2 and direction = $3 and lane = 0 \
                       returning lsn::text, mode";
            tx.query_opt(sql, &[&migration, &phase, &direction, &mode.word(), &epoch, &position, &effect])
                .await?
        }
        Change::Drop => {
            let sql = "delete from _switchyard.stream \
                       where migration = $1 and phase = $2 and direction = $3 \
                       returning lsn::text, 'gone', (extract(epoch from source_committed_at) * 1000)::bigint";
            let gone = tx.query_opt(sql, &[&migration, &phase, &direction]).await?;
            // What this stream reported is told and in the journal; the next one of this name begins with a clean sheet.
            let told =
                "delete from _switchyard.breach where migration = $1 and phase = $2 and direction = $3";
            tx.execute(told, &[&migration, &phase, &direction]).await?;
            return Ok(Some(gone.map_or_else(
                || said("none".to_owned(), "gone"),
                |row| with_newest(said(row.get(0), row.get(1)), row.get(2)),
            )));
        }
    };
    Ok(row.map(|row| said(row.get(0), row.get(1))))
}

/// Ends the backend that a refusal names by its PID, provided that it is one of this migration's: a reader or an applier
/// that an earlier process left behind.
///
/// # Errors
/// The side cannot be reached.
pub async fn end_ours(database: &Database, refusal: &str) -> Result<(), Cause> {
    // In whatever language, the last number of the message is the pid.
    let last = refusal.split(|c: char| !c.is_ascii_digit()).rfind(|part| !part.is_empty());
    let Some(pid) = last.and_then(|digits| digits.parse::<i32>().ok()) else { return Ok(()) };
    let session = database.session().await?;
    let sql =
        "select pg_terminate_backend(pid) from pg_stat_activity where pid = $1 and application_name = $2";
    let name = format!("switchyard {}", database.migration());
    session
        .query(sql, &[&pid, &name])
        .await
        .map_err(|error| database.cause("does not end a session that was left behind", &error))?;
    session.done();
    Ok(())
}
