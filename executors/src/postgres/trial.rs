//! `TrialWrite`: a write as the application would make it, always rolled back.
//!
//! A closed gate is believed when a write is refused by it, not when a row says so. Where a table has a row that nobody
//! holds, a column of it is set to its own value. Where it has none, an `insert default values` is tried; it often fails
//! on a `not null` before the fence is asked, and then the catalog has to do: every trigger as it should be, and the
//! function as the mode demands. The catalog is held against the expectation in any case, TRUNCATE's trigger included.

use journal::{EffectSpec, Evidence, Expectation, Finding, GateMode, TableName};
use tokio_postgres::{Client, Transaction};

use crate::postgres::database::{Database, chain};
use crate::postgres::fence;
use crate::postgres::quote::{self, ident};
use crate::postgres::receipt::is_missing;
use crate::seams::Probe;

/// How a table's trial ended.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Met {
    /// The write passed.
    Passed,
    /// Our fence refused it.
    Refused,
    /// The write was not tried to its end: no free row, and an insert fails on something else.
    Untried(String),
    /// A lock was not had in time.
    Busy,
}

/// Tries a write on each table. Evidence: a word a table.
pub async fn probe(
    database: &Database,
    spec: &EffectSpec,
    tables: &[TableName],
    expect: Expectation,
) -> Probe {
    let mut session = match database.session().await {
        Ok(session) => session,
        Err(cause) => return Probe::Unreachable(cause),
    };
    let mode = match expect {
        Expectation::Passes => GateMode::Open,
        Expectation::Refused => GateMode::Closed,
    };
    match fence::defect(&*session, database, &spec.phase, (tables, mode)).await {
        Ok(None) => {}
        // Without its fence a side that should pass may still pass; the trial tells.
        Ok(Some(_)) if expect == Expectation::Passes => {}
        Ok(Some(what)) => return differs(database, spec, expect, &what),
        Err(error) => return Probe::Unreachable(database.cause("does not show its fence", &error)),
    }
    if expect == Expectation::Refused {
        match row_says_open(&session, database, spec).await {
            Ok(false) => {}
            Ok(true) => return differs(database, spec, expect, "its gate row says open"),
            Err(error) => return Probe::Unreachable(database.cause("does not show its gate", &error)),
        }
    }
    let mut evidence = Evidence::new();
    for table in tables {
        let met = match attempt(&mut session, database, spec, table).await {
            Ok(met) => met,
            Err(error) if is_missing(&error) => Met::Untried(chain(&error)),
            Err(error) => return Probe::Unreachable(database.cause("does not answer a trial write", &error)),
        };
        let said = match (&met, expect) {
            (Met::Busy, _) => return Probe::Absent,
            (Met::Passed, Expectation::Passes) => "passed".to_owned(),
            (Met::Refused, Expectation::Refused) => "refused".to_owned(),
            (Met::Untried(why), _) => format!("by the catalog alone: {why}"),
            (Met::Passed, Expectation::Refused) => {
                return differs(database, spec, expect, &format!("a write to {table} passed"));
            }
            (Met::Refused, Expectation::Passes) => {
                return differs(database, spec, expect, &format!("a write to {table} was refused"));
            }
        };
        evidence.insert(table.to_string(), database.scrub(&said));
    }
    session.done();
    Probe::Ours(evidence)
}

/// Row and function change together, so a row that says open beside a fence that refuses was changed by hand; the other
/// side would then be refused its opening, an undo's too.
async fn row_says_open(
    client: &Client,
    database: &Database,
    spec: &EffectSpec,
) -> Result<bool, tokio_postgres::Error> {
    let sql = "select mode = 'open' from _switchyard.gate where migration = $1 and phase = $2";
    let row = client.query_opt(sql, &[&database.migration().as_str(), &spec.phase.as_str()]).await?;
    Ok(row.is_some_and(|row| row.get(0)))
}

fn differs(database: &Database, spec: &EffectSpec, expect: Expectation, what: &str) -> Probe {
    let (side, phase) = (database.side(), &spec.phase);
    Probe::Differs(match expect {
        Expectation::Refused => Finding {
            code: "SW-0504".to_owned(),
            what: format!("phase {phase} should be fenced on the {side}, and is not: {what}"),
            remedy: "Do not let the application reach this side. Find out who changed the triggers or the function, \
                     then `retry`."
                .to_owned(),
        },
        Expectation::Passes => Finding {
            code: "SW-0505".to_owned(),
            what: format!("phase {phase} should accept writes on the {side}, and does not: {what}"),
            remedy: "Look at the gate rows of both sides (`switchyard status`) and at the journal for who closed it."
                .to_owned(),
        },
    })
}

async fn attempt(
    client: &mut Client,
    database: &Database,
    spec: &EffectSpec,
    table: &TableName,
) -> Result<Met, tokio_postgres::Error> {
    let refusal = fence::refusal(&spec.phase, database.side());
    let tx = client.transaction().await?;
    // A role may have its own default; the application's is origin.
    let role: String = tx.query_one("select current_setting('session_replication_role')", &[]).await?.get(0);
    if role != "origin" {
        tx.batch_execute("set local session_replication_role = origin").await?;
    }
    tx.batch_execute("set local lock_timeout = '500ms'").await?;
    let tried = touch(&tx, table).await;
    let met = match tried {
        Ok(0) => {
            match tx.execute(&format!("insert into {} default values", quote::table(table)), &[]).await {
                Ok(_) => Met::Passed,
                Err(error) => judged(&error, &refusal)
                    .unwrap_or_else(|| Met::Untried("no row, and no default row".to_owned())),
            }
        }
        Ok(_) => Met::Passed,
        Err(error) => match judged(&error, &refusal) {
            Some(met) => met,
            None if error.as_db_error().is_some() => {
                Met::Untried(format!("another error came first: {}", chain(&error)))
            }
            None => return Err(error),
        },
    };
    tx.rollback().await?;
    Ok(met)
}

/// What an error says of the fence; none if it is about something else.
fn judged(error: &tokio_postgres::Error, refusal: &str) -> Option<Met> {
    let db = error.as_db_error()?;
    match db.code().code() {
        fence::REFUSED if db.message() == refusal => Some(Met::Refused),
        "55P03" | "40P01" => Some(Met::Busy),
        _ => None,
    }
}

/// Sets a column of one free row to its own value. Nought: there is no free row, or no column that may be set.
async fn touch(tx: &Transaction<'_>, table: &TableName) -> Result<u64, tokio_postgres::Error> {
    let name = quote::table(table);
    let find = format!(
        "select n.nspname::text, c.relname::text, f.ctid::text, \
                (select a.attname::text from pg_attribute a \
                 where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped and a.attgenerated = '' \
                   and a.attidentity <> 'a' order by a.attnum limit 1) \
         from (select tableoid, ctid from {name} limit 1 for update skip locked) f \
         join pg_class c on c.oid = f.tableoid join pg_namespace n on n.oid = c.relnamespace"
    );
    let Some(row) = tx.query_opt(&find, &[]).await? else { return Ok(0) };
    let leaf = TableName { schema: row.get(0), table: row.get(1) };
    let Some(column) = row.get::<_, Option<&str>>(3) else { return Ok(0) };
    let update = format!(
        "update only {} set {column} = {column} where ctid = {}::tid",
        quote::table(&leaf),
        quote::literal(row.get(2)),
        column = ident(column)
    );
    tx.execute(&update, &[]).await
}
