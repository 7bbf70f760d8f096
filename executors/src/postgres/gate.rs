//! The gate of one phase on one side: closing and opening it.
//!
//! # The race
//!
//! The gate row is the record, the fence's function is what application writes meet. If one could change without the
//! other, a crash between them would leave a record that lies. So both change in one transaction, which locks the row
//! first: two that replace the function at once would otherwise fail with "tuple concurrently updated", and an opening
//! held back at its COMMIT would not stand in the way of the undo. The row then refuses whatever comes late
//! ([`crate::postgres::receipt`]). The commit is under the strongest `synchronous_commit` there is, so that a failover
//! does not bring the other mode back.
//!
//! An opening also looks at the other side's row, without locking it: if that can be read and says open, the effect is
//! refused. The order of the steps already closes there first, under a higher position; this is a last look that costs
//! one short read, and is let go where the other side does not answer, since the source must open beside a dead target.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use journal::{
    Effect, EffectSpec, Epoch, Evidence, Finding, GateMode, GateRow, PhaseName, Position, TableName,
};
use runtime::Clock;
use tokio_postgres::{Client, GenericClient};

use crate::native::{Barrier, Checkpoint, Fenced, Gatekeeper};
use crate::postgres::database::Database;
use crate::postgres::receipt::{self, STRONGEST_COMMIT, acted, admit, leave, lock_gate};
use crate::postgres::writers::{WaitOut, Waits};
use crate::postgres::{fence, marker};
use crate::seams::{Acted, Authority, Cause, EffectError, Probe};

/// How long the other side may take to say what its gate says.
const OTHER_SIDE: Duration = Duration::from_millis(500);

/// `CloseGate`, `OpenGate`: receipt, row and function agree under the row's lock.
pub async fn probe(database: &Database, spec: &EffectSpec, mode: GateMode) -> Probe {
    let mut session = match database.session().await {
        Ok(session) => session,
        Err(cause) => return Probe::Unreachable(cause),
    };
    match look(&mut session, database, spec, mode).await {
        Ok(probe) => {
            session.done();
            probe
        }
        Err(error) if receipt::is_missing(&error) => Probe::Absent,
        Err(error) => {
            Probe::Unreachable(receipt::held_up(database, &spec.phase, "cannot be probed", &error).await)
        }
    }
}

async fn look(
    client: &mut Client,
    database: &Database,
    spec: &EffectSpec,
    mode: GateMode,
) -> Result<Probe, tokio_postgres::Error> {
    let tx = client.transaction().await?;
    let row = lock_gate(&tx, database.migration(), &spec.phase).await?;
    let found = receipt::receipt(&tx, spec).await?;
    let (Some(row), Some(evidence)) = (row, found) else { return Ok(Probe::Absent) };
    let follows = fence::function_follows(&tx, database, &spec.phase, mode).await?;
    tx.commit().await?;
    if row.mode == mode && follows {
        return Ok(Probe::Ours(evidence));
    }
    let (what, remedy) = if row.mode == mode {
        (
            "its fence's function does not follow it",
            "Somebody replaced the function by hand. Find out who; the next operation makes the fence anew.",
        )
    } else {
        ("a later intent changed it", "Look at the journal for the later intent: this one is over.")
    };
    Ok(Probe::Differs(Finding {
        code: "SW-0501".to_owned(),
        what: format!(
            "the gate of phase {} on the {} was set {} at position {} and is {} now: {what}",
            spec.phase,
            database.side(),
            mode.word(),
            evidence.get("position").map_or("unknown", String::as_str),
            row.mode.word()
        ),
        remedy: remedy.to_owned(),
    }))
}

/// `CloseGate`, `OpenGate`: row and function in one transaction. `other` is looked at before an opening.
pub async fn act(
    (database, other): (&Database, &Database),
    spec: &EffectSpec,
    mode: GateMode,
    under: Authority,
) -> Acted {
    if mode == GateMode::Open
        && let Some(refused) = beside_an_open_gate(other, spec).await
    {
        return Acted::Definite(refused);
    }
    let mut session = match database.session().await {
        Ok(session) => session,
        Err(cause) => return Acted::Unknown(EffectError(cause.0)),
    };
    match turn(&mut session, database, (spec, under), mode).await {
        Ok(ended) => {
            session.done();
            ended
        }
        Err(error) => acted(database, &error),
    }
}

async fn turn(
    client: &mut Client,
    database: &Database,
    (spec, under): (&EffectSpec, Authority),
    mode: GateMode,
) -> Result<Acted, tokio_postgres::Error> {
    let migration = database.migration();
    let tx = client.transaction().await?;
    if let Some(ended) = admit(&tx, migration, spec, under).await?.ended() {
        return Ok(ended);
    }
    let set = "update _switchyard.gate set mode = $3, effect = $4, changed_at = clock_timestamp() \
               where migration = $1 and phase = $2 returning changed_at::text";
    let values: [&(dyn tokio_postgres::types::ToSql + Sync); 4] =
        [&migration.as_str(), &spec.phase.as_str(), &mode.word(), &spec.id.to_string()];
    let changed_at: String = tx.query_one(set, &values).await?.get(0);
    fence::replace_function(&tx, database, &spec.phase, mode).await?;
    let commit: String = tx.query_one(STRONGEST_COMMIT, &[]).await?.get(0);
    let evidence = Evidence::from([
        ("mode".to_owned(), mode.word().to_owned()),
        ("epoch".to_owned(), under.epoch.to_string()),
        ("position".to_owned(), under.position.to_string()),
        ("changed_at".to_owned(), changed_at),
        ("synchronous_commit".to_owned(), commit),
    ]);
    leave(&tx, migration, spec, under, &evidence).await?;
    tx.commit().await?;
    Ok(Acted::Done(evidence))
}

/// The gate's row as it stands, without locking it. None: there is none.
///
/// # Errors
/// The database cannot be asked.
pub async fn row(database: &Database, phase: &PhaseName) -> Result<Option<GateRow>, Cause> {
    let session = database.session().await?;
    let sql = "select mode, epoch, position from _switchyard.gate where migration = $1 and phase = $2";
    let row = match session.query_opt(sql, &[&database.migration().as_str(), &phase.as_str()]).await {
        Ok(row) => row,
        Err(error) if receipt::is_missing(&error) => None,
        Err(error) => return Err(database.cause("does not show its gate", &error)),
    };
    session.done();
    Ok(row.map(|row| row_of(row.get(0), row.get(1), row.get(2))))
}

/// A gate's row of its columns.
pub(crate) fn row_of(mode: &str, epoch: i64, position: i64) -> GateRow {
    let number = |value: i64| u64::try_from(value).unwrap_or_default();
    GateRow {
        mode: GateMode::of_word(mode),
        epoch: Epoch::new(number(epoch)),
        position: Position::new(number(position)),
    }
}

/// The gate's mode as its row says now, without locking it. None: there is no row, which means closed.
///
/// # Errors
/// The database cannot be asked.
pub async fn mode(database: &Database, phase: &PhaseName) -> Result<Option<GateMode>, Cause> {
    let session = database.session().await?;
    let mode = match mode_within(&*session, database, phase).await {
        Ok(mode) => mode,
        Err(error) if receipt::is_missing(&error) => None,
        Err(error) => return Err(database.cause("does not show its gate", &error)),
    };
    session.done();
    Ok(mode)
}

/// The same in a transaction that may have locked the row.
///
/// # Errors
/// The database's own.
pub async fn mode_within(
    client: &(impl GenericClient + Sync),
    database: &Database,
    phase: &PhaseName,
) -> Result<Option<GateMode>, tokio_postgres::Error> {
    let sql = "select mode from _switchyard.gate where migration = $1 and phase = $2";
    let row = client.query_opt(sql, &[&database.migration().as_str(), &phase.as_str()]).await?;
    Ok(row.map(|row| GateMode::of_word(row.get(0))))
}

/// Why a gate must not open now: the other side's says open.
async fn beside_an_open_gate(other: &Database, spec: &EffectSpec) -> Option<EffectError> {
    let reading = async {
        mode(other, &spec.phase)
            .await
            .inspect_err(
                |cause| tracing::warn!(side = %other.side(), %cause, "opening without the other side's word"),
            )
            .ok()
    };
    let mode = tokio::time::timeout(OTHER_SIDE, reading).await.ok().flatten().flatten()?;
    (mode == GateMode::Open).then(|| {
        EffectError(format!(
            "the gate of phase {} on the {} is open: two sides would accept writes. Close that one first",
            spec.phase,
            other.side()
        ))
    })
}

/// One side's gate for one phase, kept for a data plane that demands the proof: closes and waits the writers out.
#[derive(Debug)]
pub struct PhaseGate {
    /// The side.
    pub database: Database,
    /// The other side.
    pub other: Database,
    /// The phase's tables.
    pub tables: Vec<TableName>,
    /// How long open writers are waited for.
    pub patience: Duration,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

impl PhaseGate {
    async fn turned(&self, spec: &EffectSpec, mode: GateMode, under: Authority) -> Result<Evidence, Cause> {
        if let Probe::Ours(evidence) = probe(&self.database, spec, mode).await {
            return Ok(evidence);
        }
        match act((&self.database, &self.other), spec, mode, under).await {
            Acted::Done(_) => {}
            Acted::Definite(error) | Acted::Unknown(error) => return Err(Cause(error.0)),
        }
        match probe(&self.database, spec, mode).await {
            Probe::Ours(evidence) => Ok(evidence),
            other => Err(said(&other)),
        }
    }
}

fn said(probe: &Probe) -> Cause {
    match probe {
        Probe::Absent => Cause("it is not there".to_owned()),
        Probe::Ours(_) => Cause("it is there".to_owned()),
        Probe::Differs(finding) => Cause(finding.to_string()),
        Probe::Foreign(owner) => Cause(format!("it is {}'s", owner.0)),
        Probe::Unreachable(cause) => cause.clone(),
    }
}

#[async_trait]
impl Gatekeeper for PhaseGate {
    async fn close(&self, spec: &EffectSpec, under: Authority) -> Result<Fenced, Cause> {
        self.turned(spec, GateMode::Closed, under).await?;
        let waits = Waits::default();
        let asked = WaitOut { tables: &self.tables, patience: self.patience, terminate: false };
        loop {
            match waits.probe_writers(&self.database, spec, asked, &*self.clock).await {
                Probe::Ours(_) => return Ok(Fenced { by: spec.id }),
                Probe::Absent => {
                    waits.act_writers(&self.database, (spec, under), asked, &*self.clock).await;
                }
                other => return Err(said(&other)),
            }
        }
    }

    async fn open(&self, spec: &EffectSpec, under: Authority) -> Result<Evidence, Cause> {
        self.turned(spec, GateMode::Open, under).await
    }

    async fn mark(&self, fenced: &Fenced, spec: &EffectSpec, under: Authority) -> Result<Barrier, Cause> {
        let Effect::EmitMarker { nonce, .. } = &spec.effect else {
            return Err(Cause(format!("{} is no marker", spec.effect.label())));
        };
        tracing::debug!(closed_by = %fenced.by, "marking the barrier");
        let evidence = match marker::act(&self.database, spec, nonce, under).await {
            Acted::Done(evidence) => evidence,
            Acted::Definite(error) | Acted::Unknown(error) => return Err(Cause(error.0)),
        };
        let lsn = evidence.get("lsn").and_then(|lsn| lsn.parse().ok());
        let lsn = lsn.ok_or_else(|| Cause("the marker's receipt names no LSN".to_owned()))?;
        Ok(Barrier { checkpoint: Checkpoint::Lsn(lsn), nonce: nonce.clone() })
    }
}
