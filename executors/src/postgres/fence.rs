//! The fence: triggers that stand open, and one function that closes them all.
//!
//! # The race
//!
//! Making or enabling a trigger waits for every open writer of the table and lets new ones queue behind it; a trigger
//! that reads a mode row lets a writer through that read it before the flip. So neither is done inside a window. The
//! triggers stand from `prepare_switch` (on the target from `prepare_target`), and their plpgsql function has one of two
//! bodies: one that returns, one that raises. Closing and opening replace the body, in one transaction with the gate row
//! (see [`crate::postgres::gate`]); both lock the row first, since two replacements at once fail with "tuple
//! concurrently updated". This module replaces it too, and locks the row first too.
//!
//! The body has no name to resolve and reads nothing, so no snapshot is too old for it: a session looks its function up
//! in the catalog caches, which follow commits and not snapshots. When a session learns of the replacement, and why
//! waiting for lock holders covers those that have not learned, is argued in [`crate::postgres::writers`].
//!
//! # Which triggers
//!
//! AFTER ROW for INSERT, UPDATE and DELETE: a BEFORE trigger is passed by a later BEFORE trigger that changes the row.
//! They sort among other AFTER triggers by name, which does not matter: whichever comes first, the statement fails as a
//! whole. BEFORE TRUNCATE, since row triggers do not see it, on every leaf too. All are enabled `origin`, so a session
//! with `session_replication_role = replica` passes: that is how replication writes a closed side, and an application
//! role cannot set it. Nobody needs a right on the function or its schema: triggers fire without asking.

use std::collections::BTreeSet;
use std::time::Duration;

use journal::{EffectSpec, Evidence, Finding, GateMode, MigrationName, PhaseName, PlanHash, Side, TableName};
use runtime::Clock;
use tokio_postgres::{Client, GenericClient, Transaction};

use crate::postgres::brief::{Tries, be_brief, is_in_the_way};
use crate::postgres::database::Database;
use crate::postgres::quote::{self, ident, literal};
use crate::postgres::receipt::{self, acted, admit, leave, lock_gate};
use crate::postgres::writers::{self, BESIDE_NOBODY, BESIDE_READERS};
use crate::seams::{Acted, Authority, EffectError, Probe};

/// What the fence raises: `object_not_in_prerequisite_state`.
pub const REFUSED: &str = "55000";

/// How long one act goes on trying before it names who is in the way.
const PATIENCE: Duration = Duration::from_secs(8);

/// The row triggers and the truncate trigger: suffix, events, and `pg_trigger.tgtype`.
const TRIGGERS: [(&str, &str, i16); 4] = [
    ("ins", "after insert", 5),
    ("upd", "after update", 17),
    ("del", "after delete", 9),
    ("trn", "before truncate", 34),
];

/// The longest part of a phase's name that a trigger's name has room for.
const PHASE_ROOM: usize = 32;

/// Tells two migrations and two cut names apart.
fn hash(migration: &MigrationName, phase: &PhaseName) -> String {
    PlanHash::of(format!("{migration}/{phase}").as_bytes()).short()
}

/// The phase's fence function, in `_switchyard`: at most 55 bytes.
#[must_use]
pub fn function_name(migration: &MigrationName, phase: &PhaseName) -> String {
    format!("fence_{phase}_{}", hash(migration, phase))
}

/// A trigger of the phase: at most 62 bytes.
fn trigger_name(migration: &MigrationName, phase: &PhaseName, suffix: &str) -> String {
    let kept: String = phase.as_str().chars().take(PHASE_ROOM).collect();
    format!("switchyard_fence_{kept}_{}_{suffix}", hash(migration, phase))
}

/// What an application reads when it is refused.
#[must_use]
pub fn refusal(phase: &PhaseName, side: Side) -> String {
    format!("phase {phase} does not accept writes on the {side}")
}

/// The function's body under a mode. Everything in it is a constant.
#[must_use]
pub fn body(migration: &MigrationName, phase: &PhaseName, side: Side, mode: GateMode) -> String {
    match mode {
        GateMode::Open => "begin return null; end".to_owned(),
        GateMode::Closed => format!(
            "begin raise exception using errcode = '{REFUSED}', message = {}, detail = {}, hint = {}; end",
            literal(&refusal(phase, side)),
            literal(&format!("The gate is closed: the migration {migration} moves this phase's writer.")),
            literal(&format!(
                "Nothing was written. Write to the {}, or try again in a moment.",
                side.other()
            )),
        ),
    }
}

/// Gives the function its body under a mode. The caller holds the lock on the gate row.
///
/// # Errors
/// The database's own.
pub async fn replace_function(
    tx: &Transaction<'_>,
    database: &Database,
    phase: &PhaseName,
    mode: GateMode,
) -> Result<(), tokio_postgres::Error> {
    let name = ident(&function_name(database.migration(), phase));
    let body = body(database.migration(), phase, database.side(), mode);
    // Names are slugs and the rest is ours, so nothing in the body can end the quoting.
    let sql = format!(
        "create or replace function _switchyard.{name}() returns trigger language plpgsql as $switchyard${body}$switchyard$"
    );
    tx.batch_execute(&sql).await
}

/// One trigger's statement.
fn trigger_sql(
    (migration, phase): (&MigrationName, &PhaseName),
    on: &TableName,
    (suffix, events): (&str, &str),
) -> String {
    let each = if suffix == "trn" { "statement" } else { "row" };
    let (name, on) = (ident(&trigger_name(migration, phase, suffix)), quote::table(on));
    let function = ident(&function_name(migration, phase));
    format!(
        "create or replace trigger {name} {events} on {on} for each {each} \
         execute function _switchyard.{function}(); "
    )
}

/// Fences tables in the transaction that makes them, closed: there is no moment in which they could be written. The
/// caller holds the lock on the gate row.
///
/// # Errors
/// The database's own.
pub async fn stand_closed(
    tx: &Transaction<'_>,
    database: &Database,
    phase: &PhaseName,
    tables: impl Iterator<Item = &TableName>,
) -> Result<(), tokio_postgres::Error> {
    replace_function(tx, database, phase, GateMode::Closed).await?;
    let named = (database.migration(), phase);
    let statements: String = tables
        .flat_map(|on| {
            TRIGGERS.iter().map(move |(suffix, events, _)| trigger_sql(named, on, (suffix, events)))
        })
        .collect();
    tx.batch_execute(&statements).await
}

/// Whether the function has its body under a mode.
///
/// # Errors
/// The database's own.
pub async fn function_follows(
    client: &impl GenericClient,
    database: &Database,
    phase: &PhaseName,
    mode: GateMode,
) -> Result<bool, tokio_postgres::Error> {
    let sql = "select p.prosrc from pg_proc p join pg_namespace n on n.oid = p.pronamespace \
               where n.nspname = '_switchyard' and p.proname = $1";
    let row = client.query_opt(sql, &[&function_name(database.migration(), phase)]).await?;
    let expected = body(database.migration(), phase, database.side(), mode);
    Ok(row.is_some_and(|row| row.get::<_, &str>(0) == expected))
}

/// A trigger that should stand on a table and does not, or not as it should.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Gap {
    /// Where: the table itself, a partition or a child.
    on: TableName,
    /// Whether the row triggers come from a partitioned parent.
    is_partition: bool,
    /// Which of [`TRIGGERS`].
    suffix: String,
}

/// The triggers that do not stand as they should, parents first. A table that is not there has none to miss.
async fn gaps(
    client: &impl GenericClient,
    database: &Database,
    phase: &PhaseName,
    tables: &[TableName],
) -> Result<Vec<Gap>, tokio_postgres::Error> {
    let sql = format!(
        "{}, wanted as (select * from unnest($3::text[], $4::text[], $5::int2[]) as w (suffix, name, type)) \
         select n.nspname::text, c.relname::text, c.relispartition, w.suffix \
         from tree join pg_class c on c.oid = tree.oid join pg_namespace n on n.oid = c.relnamespace \
         cross join wanted w \
         where not exists ( \
           select from pg_trigger t join pg_proc p on p.oid = t.tgfoid \
           join pg_namespace f on f.oid = p.pronamespace \
           where t.tgrelid = c.oid and t.tgname = w.name and t.tgtype = w.type and t.tgenabled = 'O' \
             and t.tgqual is null and t.tgnargs = 0 and t.tgattr::text = '' \
             and f.nspname = '_switchyard' and p.proname = $6) \
         order by tree.depth, 1, 2, 4",
        writers::TREE
    );
    let (schemas, names) = writers::columns(tables);
    let suffixes: Vec<&str> = TRIGGERS.iter().map(|(suffix, ..)| *suffix).collect();
    let triggers: Vec<String> =
        suffixes.iter().map(|suffix| trigger_name(database.migration(), phase, suffix)).collect();
    let types: Vec<i16> = TRIGGERS.iter().map(|(.., kind)| *kind).collect();
    let function = function_name(database.migration(), phase);
    let rows = client.query(&sql, &[&schemas, &names, &suffixes, &triggers, &types, &function]).await?;
    Ok(rows
        .iter()
        .map(|row| Gap {
            on: TableName { schema: row.get(0), table: row.get(1) },
            is_partition: row.get(2),
            suffix: row.get(3),
        })
        .collect())
}

/// What is wrong with the fence as it stands, in words; none if it is whole and follows this mode.
///
/// # Errors
/// The database's own.
pub async fn defect(
    client: &impl GenericClient,
    database: &Database,
    phase: &PhaseName,
    (tables, mode): (&[TableName], GateMode),
) -> Result<Option<String>, tokio_postgres::Error> {
    let missing = writers::missing(client, tables).await?;
    if !missing.is_empty() {
        return Ok(Some(format!("no table {} is there", missing.join(", "))));
    }
    let gaps = gaps(client, database, phase, tables).await?;
    if let Some(gap) = gaps.first() {
        let name = trigger_name(database.migration(), phase, &gap.suffix);
        return Ok(Some(format!("the trigger {name} on {} is missing, disabled or another", gap.on)));
    }
    if !function_follows(client, database, phase, mode).await? {
        let name = function_name(database.migration(), phase);
        return Ok(Some(format!("the function _switchyard.{name} does not follow the gate")));
    }
    Ok(None)
}

/// What a person is told of a fence with a [`defect`].
#[must_use]
pub fn not_whole(database: &Database, phase: &PhaseName, defect: &str) -> Finding {
    Finding {
        code: "SW-0508".to_owned(),
        what: format!("the fence of phase {phase} on the {} is not whole: {defect}", database.side()),
        remedy: "Somebody changed it after it was made. Find out who, then start the operation again: \
                 it makes the fence anew."
            .to_owned(),
    }
}

/// `InstallFence`: its receipt, and the catalog.
pub async fn probe(database: &Database, spec: &EffectSpec, tables: &[TableName]) -> Probe {
    let mut session = match database.session().await {
        Ok(session) => session,
        Err(cause) => return Probe::Unreachable(cause),
    };
    match look(&mut session, database, spec, tables).await {
        Ok(probe) => {
            session.done();
            probe
        }
        Err(error) if receipt::is_missing(&error) => Probe::Absent,
        Err(error) => Probe::Unreachable(database.cause("cannot be probed", &error)),
    }
}

async fn look(
    client: &mut Client,
    database: &Database,
    spec: &EffectSpec,
    tables: &[TableName],
) -> Result<Probe, tokio_postgres::Error> {
    let tx = client.transaction().await?;
    let row = lock_gate(&tx, database.migration(), &spec.phase).await?;
    let found = receipt::receipt(&tx, spec).await?;
    let (Some(row), Some(evidence)) = (row, found) else { return Ok(Probe::Absent) };
    let defect = defect(&tx, database, &spec.phase, (tables, row.mode)).await?;
    tx.commit().await?;
    Ok(match defect {
        None => Probe::Ours(evidence),
        Some(what) => Probe::Differs(not_whole(database, &spec.phase, &what)),
    })
}

/// `InstallFence`: the function after the gate row's mode, then each trigger that is not there yet.
pub async fn install(
    database: &Database,
    spec: &EffectSpec,
    (tables, under): (&[TableName], Authority),
    clock: &dyn Clock,
) -> Acted {
    let mut session = match database.session().await {
        Ok(session) => session,
        Err(cause) => return Acted::Unknown(EffectError(cause.0)),
    };
    let work = Work { database, spec, tables, under };
    let ended = match work.install(&mut session, clock).await {
        Ok(ended) => ended,
        Err(error) => return acted(database, &error),
    };
    session.done();
    ended
}

/// `RemoveFence`: its receipt, and no trigger left.
pub async fn probe_removed(
    database: &Database,
    spec: &EffectSpec,
    (tables, under): (&[TableName], Authority),
) -> Probe {
    let evidence = match receipt::probe_receipt(database, spec).await {
        Probe::Ours(evidence) => evidence,
        other => return other,
    };
    let session = match database.session().await {
        Ok(session) => session,
        Err(cause) => return Probe::Unreachable(cause),
    };
    let work = Work { database, spec, tables, under };
    match work.standing(&*session).await {
        Ok(standing) => {
            session.done();
            match standing.first() {
                None => Probe::Ours(evidence),
                Some((table, trigger)) => Probe::Differs(Finding {
                    code: "SW-0509".to_owned(),
                    what: format!("the trigger {trigger} stands on {table} although the fence was removed"),
                    remedy: "Drop it by hand after making sure that no operation of this phase runs."
                        .to_owned(),
                }),
            }
        }
        Err(error) => Probe::Unreachable(database.cause("cannot be probed", &error)),
    }
}

/// `RemoveFence`: each trigger goes under a short lock timeout, then the function.
pub async fn remove(
    database: &Database,
    spec: &EffectSpec,
    (tables, under): (&[TableName], Authority),
    clock: &dyn Clock,
) -> Acted {
    let mut session = match database.session().await {
        Ok(session) => session,
        Err(cause) => return Acted::Unknown(EffectError(cause.0)),
    };
    let work = Work { database, spec, tables, under };
    let ended = match work.remove(&mut session, clock).await {
        Ok(ended) => ended,
        Err(error) => return acted(database, &error),
    };
    session.done();
    ended
}

/// Lets the application through; once the patience is over, names who holds the table. Unknown, so that the loop probes and
/// tries again, which it does at once.
async fn wait(
    client: &Client,
    (tries, clock): (&mut Tries, &dyn Clock),
    (on, modes): (&TableName, &[&str]),
) -> Result<Option<Acted>, tokio_postgres::Error> {
    let mut told = None;
    if tries.are_over(clock) {
        told = Some(tries.told(client, (std::slice::from_ref(on), modes)).await?);
    }
    tries.pause(clock).await;
    Ok(told.map(|told| Acted::Unknown(EffectError(told))))
}

/// Each table once, as it comes first.
fn each_once<'t>(tables: impl Iterator<Item = &'t TableName>) -> Vec<&'t TableName> {
    let mut seen = BTreeSet::new();
    tables.filter(|on| seen.insert(*on)).collect()
}

struct Work<'w> {
    database: &'w Database,
    spec: &'w EffectSpec,
    tables: &'w [TableName],
    under: Authority,
}

impl Work<'_> {
    fn trigger(&self, suffix: &str) -> String {
        trigger_name(self.database.migration(), &self.spec.phase, suffix)
    }

    async fn install(&self, client: &mut Client, clock: &dyn Clock) -> Result<Acted, tokio_postgres::Error> {
        let missing = writers::missing(client, self.tables).await?;
        if !missing.is_empty() {
            return Ok(Acted::Definite(EffectError(format!(
                "the {} has no table {}",
                self.database.side(),
                missing.join(", ")
            ))));
        }
        if let Some(ended) = self.follow(client).await? {
            return Ok(ended);
        }
        let mut tries = Tries::new(clock, PATIENCE);
        loop {
            let gaps = gaps(client, self.database, &self.spec.phase, self.tables).await?;
            let lacking = gaps.iter().filter(|gap| !gap.is_partition || gap.suffix == "trn");
            let lacking = each_once(lacking.map(|gap| &gap.on));
            if lacking.is_empty() {
                if let Some(gap) = gaps.first() {
                    // The parent has its triggers, and this partition not its copies.
                    let what = format!("{} lacks the trigger {}", gap.on, self.trigger(&gap.suffix));
                    return Ok(Acted::Definite(EffectError(what)));
                }
                break;
            }
            let work: Vec<_> = lacking.into_iter().map(|on| (on, self.creation(on, &gaps))).collect();
            if let Some(ended) = self.work_off(client, (&work, BESIDE_READERS), (&mut tries, clock)).await? {
                return Ok(ended);
            }
        }
        self.record(client).await
    }

    /// All that a table lacks, so that its lock is taken once. `create or replace` enables an old one of the name too,
    /// and takes a lock that readers do not wait for, which a `drop` would.
    fn creation(&self, on: &TableName, gaps: &[Gap]) -> String {
        TRIGGERS
            .iter()
            .filter(|(suffix, ..)| {
                gaps.iter().any(|gap| {
                    gap.on == *on && gap.suffix == *suffix && (!gap.is_partition || *suffix == "trn")
                })
            })
            .map(|(suffix, events, _)| {
                trigger_sql((self.database.migration(), &self.spec.phase), on, (suffix, events))
            })
            .collect()
    }

    /// The function exists before any trigger names it, and follows the row.
    async fn follow(&self, client: &mut Client) -> Result<Option<Acted>, tokio_postgres::Error> {
        let tx = client.transaction().await?;
        let row = match self.current(&tx).await? {
            Ok(row) => row,
            Err(ended) => return Ok(Some(ended)),
        };
        if !function_follows(&tx, self.database, &self.spec.phase, row).await? {
            replace_function(&tx, self.database, &self.spec.phase, row).await?;
        }
        tx.commit().await?;
        Ok(None)
    }

    /// Locks the row and says whether this effect may still work, without raising anything.
    async fn current(&self, tx: &Transaction<'_>) -> Result<Result<GateMode, Acted>, tokio_postgres::Error> {
        let row = lock_gate(tx, self.database.migration(), &self.spec.phase).await?;
        if let Some(evidence) = receipt::receipt(tx, self.spec).await? {
            return Ok(Err(Acted::Done(evidence)));
        }
        let refused = |why: String| Ok(Err(Acted::Definite(EffectError(why))));
        let Some(row) = row else {
            return refused(format!("phase {} has no gate row here: make our schema first", self.spec.phase));
        };
        let (epoch, position) =
            (receipt::signed(self.under.epoch.get()), receipt::signed(self.under.position.get()));
        if epoch < row.epoch || position <= row.position {
            return refused(format!(
                "refused at the gate: it has seen epoch {} and position {}, and epoch {epoch} and position {position} are \
                 not after that",
                row.epoch, row.position
            ));
        }
        Ok(Ok(row.mode))
    }

    /// Each table's statements, one table after the other; up to the first whose lock is not had. What is left is to be looked at
    /// anew. Some: how the act ends.
    async fn work_off(
        &self,
        client: &mut Client,
        (work, modes): (&[(&TableName, String)], &[&str]),
        (tries, clock): (&mut Tries, &dyn Clock),
    ) -> Result<Option<Acted>, tokio_postgres::Error> {
        for (on, sql) in work {
            match self.statements(sql, client).await {
                Ok(None) => {}
                Ok(Some(ended)) => return Ok(Some(ended)),
                Err(error) if is_in_the_way(&error) => {
                    return wait(client, (tries, clock), (on, modes)).await;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// One table's statements in one transaction, admitted by the row and under the short lock timeout.
    async fn statements(
        &self,
        sql: &str,
        client: &mut Client,
    ) -> Result<Option<Acted>, tokio_postgres::Error> {
        let tx = client.transaction().await?;
        if let Err(ended) = self.current(&tx).await? {
            return Ok(Some(ended));
        }
        be_brief(&tx).await?;
        tx.batch_execute(sql).await?;
        tx.commit().await?;
        Ok(None)
    }

    async fn record(&self, client: &mut Client) -> Result<Acted, tokio_postgres::Error> {
        let (database, phase) = (self.database, &self.spec.phase);
        let tx = client.transaction().await?;
        if let Some(ended) = admit(&tx, database.migration(), self.spec, self.under).await?.ended() {
            return Ok(ended);
        }
        // Admission holds the row, so its mode cannot change until our commit.
        let Some(row) = lock_gate(&tx, database.migration(), phase).await? else {
            return Ok(Acted::Unknown(EffectError("the gate row went away".to_owned())));
        };
        if let Some(what) = defect(&tx, database, phase, (self.tables, row.mode)).await? {
            return Ok(Acted::Unknown(EffectError(what)));
        }
        let evidence = Evidence::from([
            ("tables".to_owned(), self.tables.len().to_string()),
            ("function".to_owned(), format!("_switchyard.{}", function_name(database.migration(), phase))),
            ("mode".to_owned(), row.mode.word().to_owned()),
        ]);
        leave(&tx, database.migration(), self.spec, self.under, &evidence).await?;
        tx.commit().await?;
        Ok(Acted::Done(evidence))
    }

    /// The phase's triggers that stand, parents first: a partition's copies go with its parent's.
    async fn standing(
        &self,
        client: &impl GenericClient,
    ) -> Result<Vec<(TableName, String)>, tokio_postgres::Error> {
        let sql = format!(
            "{} select n.nspname::text, c.relname::text, t.tgname::text \
             from tree join pg_class c on c.oid = tree.oid join pg_namespace n on n.oid = c.relnamespace \
             join pg_trigger t on t.tgrelid = c.oid and t.tgparentid = 0 and t.tgname = any ($3::text[]) \
             order by tree.depth, 1, 2, 3",
            writers::TREE
        );
        let (schemas, names) = writers::columns(self.tables);
        let triggers: Vec<String> = TRIGGERS.iter().map(|(suffix, ..)| self.trigger(suffix)).collect();
        let rows = client.query(&sql, &[&schemas, &names, &triggers]).await?;
        Ok(rows.iter().map(|row| (TableName { schema: row.get(0), table: row.get(1) }, row.get(2))).collect())
    }

    async fn remove(&self, client: &mut Client, clock: &dyn Clock) -> Result<Acted, tokio_postgres::Error> {
        let mut tries = Tries::new(clock, PATIENCE);
        loop {
            let standing = self.standing(client).await?;
            if standing.is_empty() {
                break;
            }
            let dropping = |on| {
                let of_it = standing.iter().filter(|(table, _)| table == on);
                let each = |(table, trigger): &(TableName, String)| {
                    format!("drop trigger if exists {} on {}; ", ident(trigger), quote::table(table))
                };
                (on, of_it.map(each).collect())
            };
            let work: Vec<(&TableName, String)> =
                each_once(standing.iter().map(|(on, _)| on)).into_iter().map(dropping).collect();
            if let Some(ended) = self.work_off(client, (&work, BESIDE_NOBODY), (&mut tries, clock)).await? {
                return Ok(ended);
            }
        }
        let database = self.database;
        let tx = client.transaction().await?;
        if let Some(ended) = admit(&tx, database.migration(), self.spec, self.under).await?.ended() {
            return Ok(ended);
        }
        let function = function_name(database.migration(), &self.spec.phase);
        tx.batch_execute(&format!("drop function if exists _switchyard.{}()", ident(&function))).await?;
        let evidence = Evidence::from([("function".to_owned(), format!("_switchyard.{function}"))]);
        leave(&tx, database.migration(), self.spec, self.under, &evidence).await?;
        tx.commit().await?;
        Ok(Acted::Done(evidence))
    }
}
