//! The executor: one loop for each phase of the plan, until the tasks stop.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use async_trait::async_trait;
use journal::plan::TablePattern;
use journal::{
    Actor, Command, CommandBody, Direction, Epoch, Evidence, Found, GateRow, Holder, Party, PhaseName,
    PhasePlan, Plan, Quarantine, Side, Step, StreamHealth, StreamMode, StreamName, StreamSpec, TableName,
    Timeline,
};
use journal_store::{ExecuteError, Store};
use runtime::retry::Backoff;
use runtime::{Clock, Scrubber, Tasks};
use tokio::task::JoinSet;

use crate::engine::NativeEngine;
use crate::hands::Hands;
use crate::levers::unmade::Unmade;
use crate::levers::{Served, does_not_answer, lever};
use crate::native::Breach;
use crate::native::mover::Mover;
use crate::native::plane::Plane;
use crate::native::quarantine::Contact;
use crate::native::streams::{StreamReports, Streams};
use crate::phase::{Leases, PhaseLoop, command_id};
use crate::postgres::database::Database;
use crate::postgres::receipt::{answers, raise_epoch};
use crate::postgres::receiver::DatabaseReceiver;
use crate::postgres::survey::SharedSequence;
use crate::postgres::{definitions, facts, gate, stream_row, survey};
use crate::seams::{Authority, Cause, Lever, Observed, Receiver};

/// How long the source may take to say where a stream stands.
const STANDS_AT: Duration = Duration::from_secs(5);

/// What an executor works with.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The journal.
    pub store: Arc<dyn Store>,
    /// The plan that was adopted: its phases, its lease term, its levers.
    pub plan: Arc<Plan>,
    /// The database being left.
    pub source: Database,
    /// The database being moved to.
    pub target: Database,
    /// This process, as leases name it.
    pub holder: Holder,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// What ends everything. [`run`] must not itself be one of these tasks: it gives leases up after the stop.
    pub tasks: Tasks,
    /// What keeps secrets out of events and logs.
    pub scrubber: Scrubber,
    /// The directory of files for people: the rest of a quarantined target's stream.
    pub people_files: PathBuf,
    /// The plan's folder, which its relative paths are relative to.
    pub folder: PathBuf,
}

/// Runs every phase of the plan until the tasks stop. Leases are given up on the way out. Dropped, it stops at once, and
/// the leases end with their terms.
///
/// # Errors
/// A phase's loop dies.
pub async fn run(settings: Settings) -> anyhow::Result<()> {
    let leases = Leases::default();
    let reports = Reports {
        store: Arc::clone(&settings.store),
        holder: settings.holder.clone(),
        clock: Arc::clone(&settings.clock),
        leases: leases.clone(),
        sides: [settings.source.clone(), settings.target.clone()],
    };
    let streams = Streams::new(
        settings.source.clone(),
        settings.target.clone(),
        Arc::new(reports),
        Arc::clone(&settings.clock),
        settings.tasks.clone(),
    );
    let plane = Plane::new(
        settings.source.clone(),
        settings.target.clone(),
        streams,
        settings.plan.load.clone(),
        Arc::clone(&settings.clock),
    );
    let mut loops = JoinSet::new();
    for phase in &settings.plan.phases {
        let hands = PhaseHands::new(&settings, &plane, phase);
        let one = PhaseLoop {
            name: phase.name.clone(),
            plan_hash: settings.plan.hash_for(&phase.name),
            store: Arc::clone(&settings.store),
            holder: settings.holder.clone(),
            term: settings.plan.journal.lease_term,
            clock: Arc::clone(&settings.clock),
            tasks: settings.tasks.clone(),
            engine: Arc::new(NativeEngine),
            hands: Arc::new(hands),
            leases: leases.clone(),
        };
        loops.spawn(one.run());
    }
    while let Some(ended) = loops.join_next().await {
        ended.context("a phase's loop died")?;
    }
    Ok(())
}

/// The receivers of one phase, against real databases and a real lever.
#[derive(Debug)]
struct PhaseHands {
    phase: PhaseName,
    plane: Plane,
    mover: Mover,
    source: DatabaseReceiver,
    target: DatabaseReceiver,
    lever: Arc<dyn Lever>,
    /// The slots that serve the phase now, by direction, for the facts.
    slots: Mutex<Vec<(Direction, String)>>,
    /// The tables that the plan names, for the facts.
    tables: Vec<TableName>,
    /// Where files for people go.
    people_files: PathBuf,
}

impl PhaseHands {
    fn new(settings: &Settings, plane: &Plane, phase: &PhasePlan) -> Self {
        let receiver = |one: &Database, other: &Database| {
            DatabaseReceiver::new(one.clone(), other.clone()).with_clock(Arc::clone(&settings.clock))
        };
        let served = Served {
            migration: settings.plan.migration.clone(),
            phase: phase.name.clone(),
            folder: settings.folder.clone(),
            source: Some(settings.source.clone()),
            target: Some(settings.target.clone()),
            scrubber: settings.scrubber.clone(),
            clock: Arc::clone(&settings.clock),
        };
        let lever = lever(&phase.lever, served).unwrap_or_else(|why| {
            let finding = does_not_answer(&phase.name, &settings.scrubber.scrub(&why.to_string()));
            tracing::error!(phase = %phase.name, %finding, "no switch of this phase can begin");
            Arc::new(Unmade { phase: phase.name.clone(), why })
        });
        Self {
            phase: phase.name.clone(),
            plane: plane.clone(),
            mover: Mover::new(plane.clone()),
            source: receiver(&settings.source, &settings.target),
            target: receiver(&settings.target, &settings.source),
            lever,
            slots: Mutex::default(),
            tables: phase.tables.clone(),
            people_files: settings.people_files.clone(),
        }
    }

    fn stream(&self, direction: Direction) -> StreamName {
        StreamName { phase: self.phase.clone(), direction }
    }

    async fn facts_at(&self, side: Side) -> BTreeMap<String, String> {
        let slots: Vec<(String, String)> = self
            .slots
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
            .filter(|(direction, _)| direction.from() == side)
            .map(|(direction, slot)| (direction.to_string(), slot.clone()))
            .collect();
        facts::seen(self.plane.side(side), &self.phase, (&slots, &self.tables)).await
    }
}

#[async_trait]
impl Hands for PhaseHands {
    fn receiver(&self, party: Party) -> &dyn Receiver {
        match party {
            Party::Database(Side::Source) => &self.source,
            Party::Database(Side::Target) => &self.target,
            Party::Mover => &self.mover,
            Party::Lever => &*self.lever,
        }
    }

    async fn observe(&self, step: Step, tables: &[TableName]) -> Result<Observed, Cause> {
        let session = self.plane.source.session().await?;
        let mut seen = Observed::default();
        if step == Step::PrepareTarget {
            seen.tables = definitions::definitions(&*session, tables).await?;
        } else if step == Step::FinalizeSchema {
            seen.objects = definitions::objects(&*session, tables).await?;
        }
        session.done();
        Ok(seen)
    }

    async fn matching(&self, patterns: &[TablePattern]) -> Result<Vec<TableName>, Cause> {
        let session = self.plane.source.session().await?;
        let matching = survey::matching(&session, patterns).await;
        let matching =
            matching.map_err(|error| self.plane.source.cause("does not list its tables", &error))?;
        session.done();
        Ok(matching)
    }

    async fn sequences(&self) -> Result<Vec<SharedSequence>, Cause> {
        let session = self.plane.source.session().await?;
        let shared = survey::shared_sequences(&session).await;
        let shared =
            shared.map_err(|error| self.plane.source.cause("does not list its sequences", &error))?;
        session.done();
        Ok(shared)
    }

    async fn gate(&self, side: Side) -> Result<Option<GateRow>, Cause> {
        gate::row(self.plane.side(side), &self.phase).await
    }

    async fn raise_epoch(&self, side: Side, epoch: Epoch) -> Result<bool, Cause> {
        raise_epoch(self.plane.side(side), &self.phase, epoch).await
    }

    async fn answers(&self, side: Side, epoch: Epoch) -> Result<bool, Cause> {
        answers(self.plane.side(side), &self.phase, epoch).await
    }

    fn expect_identity(&self, side: Side, seen: &Evidence) {
        self.plane.side(side).expect_identity(seen.clone());
        let timeline = seen.get("timeline").and_then(|timeline| timeline.parse().ok());
        self.plane.timelines.set(&self.phase, side, timeline);
    }

    fn timeline(&self, side: Side) -> Option<Timeline> {
        self.plane.side(side).timeline()
    }

    async fn meet(&self, sides: &[Side]) -> Result<(), Cause> {
        futures::future::try_join_all(sides.iter().map(|side| self.plane.side(*side).connect()))
            .await
            .map(drop)
    }

    async fn first_contact(
        &self,
        (known, tables): (&Quarantine, &[TableName]),
        under: Authority,
    ) -> Result<Found, Cause> {
        let phase = &self.phase;
        let (plane, directory) = (&self.plane, self.people_files.as_path());
        Contact { plane, receiver: &self.target, phase, tables, directory }.make(known, under).await
    }

    fn set_streams(&self, epoch: Epoch, specs: Vec<StreamSpec>, lag_limit: Duration) {
        *self.slots.lock().unwrap_or_else(PoisonError::into_inner) =
            specs.iter().map(|spec| (spec.name.direction, spec.slot.clone())).collect();
        self.plane.streams.set_desired(&self.phase, epoch, specs, lag_limit);
    }

    fn stop_streams(&self) {
        self.plane.streams.stop_phase(&self.phase);
        self.plane.snapshots.release(&self.phase);
        self.plane.doing.clear(&self.phase);
    }

    fn lag_ms(&self, direction: Direction) -> Option<u64> {
        let seen = *self.plane.streams.handle(&self.stream(direction))?.progress().borrow();
        seen.lag_at(self.plane.clock.now_millis())
    }

    fn doing(&self) -> Option<String> {
        let waits = Side::ALL.into_iter().filter_map(|side| self.plane.side(side).waits());
        let said: Vec<String> = self.plane.doing.of(&self.phase).into_iter().chain(waits).collect();
        (!said.is_empty()).then(|| said.join("; "))
    }

    async fn facts(&self) -> BTreeMap<String, String> {
        let (mut facts, target) =
            futures::future::join(self.facts_at(Side::Source), self.facts_at(Side::Target)).await;
        facts.extend(target);
        facts
    }
}

/// Writes what becomes of the streams into the journal, under the phase's lease.
#[derive(Debug)]
struct Reports {
    store: Arc<dyn Store>,
    holder: Holder,
    clock: Arc<dyn Clock>,
    leases: Leases,
    sides: [Database; 2],
}

impl Reports {
    /// Where a way back that is down had come to: what is known of the loss, should the target be given up.
    async fn stands_at(&self, name: &StreamName, health: &StreamHealth) -> Evidence {
        let is_down = matches!(health, StreamHealth::Broken { .. } | StreamHealth::Stopped { .. });
        if !is_down || name.direction != Direction::Failback {
            return Evidence::new();
        }
        let [source, _] = &self.sides;
        match tokio::time::timeout(STANDS_AT, stream_row::stands_at(source, name)).await {
            Ok(Ok(seen)) => seen,
            came_to => {
                tracing::warn!(stream = %name, ?came_to, "where it stands is not known");
                Evidence::new()
            }
        }
    }

    /// Appends until the journal has it or refuses it, or the lease is another's.
    async fn append(&self, phase: &PhaseName, epoch: Epoch, body: CommandBody) {
        let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(1));
        let Some(lease) = self.leases.of(phase).filter(|lease| lease.epoch == epoch) else { return };
        let Ok(id) = command_id(&self.holder, &lease) else { return };
        loop {
            let command = Command::new(Actor::Executor(self.holder.clone()), body.clone());
            match self.store.execute(id.clone(), Some(lease.claim()), command).await {
                Ok(_) => return,
                Err(ExecuteError::Store(error)) => {
                    tracing::warn!(%phase, %error, "a stream's report waits for the journal");
                }
                Err(error) => {
                    tracing::debug!(%phase, %error, "a stream's report was not taken");
                    return;
                }
            }
            self.clock.sleep(backoff.wait()).await;
            if self.leases.of(phase).is_none_or(|held| held.epoch != epoch) {
                return;
            }
        }
    }
}

#[async_trait]
impl StreamReports for Reports {
    async fn stream(&self, name: &StreamName, epoch: Epoch, mode: StreamMode, health: StreamHealth) {
        let (phase, direction) = (name.phase.clone(), name.direction);
        let seen = self.stands_at(name, &health).await;
        self.append(&name.phase, epoch, CommandBody::ReportStream { phase, direction, mode, health, seen })
            .await;
    }

    async fn breach(&self, name: &StreamName, epoch: Epoch, breach: &Breach) {
        let crate::native::Checkpoint::Lsn(at) = breach.at;
        let body = CommandBody::ReportBreach {
            phase: name.phase.clone(),
            direction: name.direction,
            table: breach.table.clone(),
            at: at.to_string(),
            changes: breach.changes,
        };
        self.append(&name.phase, epoch, body).await;
    }
}
