//! One database as the receiver of effects: who probes and does what in it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use journal::{Effect, EffectId, EffectSpec, Evidence, Finding, GateMode, Party};
use runtime::{Clock, SystemClock};

use crate::postgres::database::Database;
use crate::postgres::objects::{self, Object};
use crate::postgres::writers::{self, WaitOut, Waits};
use crate::postgres::{columns, fence, gate, home, marker, sequences, tables, trial};
use crate::seams::{Acted, Authority, Cause, EffectError, Probe, Receiver};

/// How long a side that may be lost may take to answer.
const LOST_ANSWER: Duration = Duration::from_secs(3);

/// One side's receiver. It knows the other side too, since sequences are moved past both sides' values, and since a
/// gate does not open beside an open one.
#[derive(Debug)]
pub struct DatabaseReceiver {
    database: Database,
    other: Database,
    clock: Arc<dyn Clock>,
    waits: Waits,
    /// Since when a side that may be lost was tried to be reached, by effect; it may all be lost.
    tried: Mutex<BTreeMap<EffectId, Instant>>,
}

impl DatabaseReceiver {
    /// A receiver of the effects on `database`; `other` is only read.
    #[must_use]
    pub fn new(database: Database, other: Database) -> Self {
        Self {
            database,
            other,
            clock: Arc::new(SystemClock),
            waits: Waits::default(),
            tried: Mutex::default(),
        }
    }

    /// The same, under this clock.
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// `CloseLost`: closed, or not reached for as long as it was to be tried.
    async fn probe_lost(&self, spec: &EffectSpec, patience: Duration) -> Probe {
        let probing = gate::probe(&self.database, spec, GateMode::Closed);
        let seen = tokio::time::timeout(LOST_ANSWER, probing).await.unwrap_or_else(|_| {
            Probe::Unreachable(Cause(format!("the {} does not answer", self.database.side())))
        });
        match seen {
            Probe::Ours(mut evidence) => {
                evidence.insert("reached".to_owned(), "yes".to_owned());
                Probe::Ours(evidence)
            }
            Probe::Unreachable(cause) => {
                let now = self.clock.monotonic();
                let mut tried = self.tried.lock().unwrap_or_else(PoisonError::into_inner);
                let since = *tried.entry(spec.id).or_insert(now);
                if now.duration_since(since) < patience {
                    return Probe::Unreachable(cause);
                }
                tried.remove(&spec.id);
                Probe::Ours(Evidence::from([
                    ("reached".to_owned(), "no".to_owned()),
                    ("why".to_owned(), cause.0),
                ]))
            }
            other => other,
        }
    }

    fn is_mine(&self, spec: &EffectSpec) -> bool {
        spec.effect.party() == Party::Database(self.database.side())
    }

    fn misplaced(&self, spec: &EffectSpec) -> String {
        format!("{} came to the {}, which does not receive it", spec.effect.label(), self.database.side())
    }
}

#[async_trait]
impl Receiver for DatabaseReceiver {
    async fn probe(&self, spec: &EffectSpec, under: Authority) -> Probe {
        let (database, clock) = (&self.database, &*self.clock);
        if !self.is_mine(spec) {
            return misplaced(self.misplaced(spec));
        }
        match &spec.effect {
            Effect::InstallHome { .. } => home::probe(database, spec).await,
            Effect::CreatePublication { publication, tables, .. } => {
                objects::probe_created(database, spec, Object::Publication(publication, tables)).await
            }
            Effect::CreateOrigin { origin, .. } => {
                objects::probe_created(database, spec, Object::Origin(origin)).await
            }
            Effect::InstallFence { tables, .. } => fence::probe(database, spec, tables).await,
            Effect::TrialWrite { tables, expect, .. } => trial::probe(database, spec, tables, *expect).await,
            Effect::CompareColumns { tables, .. } => columns::probe(database, &self.other, tables).await,
            Effect::EmitMarker { .. } => marker::probe(database, spec).await,
            Effect::AwaitQuiet { tables, older_than_ms, .. } => {
                let older_than = Duration::from_millis(*older_than_ms);
                self.waits.probe_quiet(database, spec, (tables, older_than), clock).await
            }
            Effect::CloseGate { .. } => gate::probe(database, spec, GateMode::Closed).await,
            Effect::CloseLost { patience_ms, .. } => {
                self.probe_lost(spec, Duration::from_millis(*patience_ms)).await
            }
            Effect::OpenGate { .. } => gate::probe(database, spec, GateMode::Open).await,
            Effect::AwaitWriters { tables, patience_ms, terminate, .. } => {
                let patience = Duration::from_millis(*patience_ms);
                let asked = WaitOut { tables, patience, terminate: *terminate };
                self.waits.probe_writers(database, spec, asked, clock).await
            }
            Effect::AdvanceSequences { .. } => sequences::probe(database, spec).await,
            Effect::DropSlot { slot, .. } => objects::probe_dropped(database, spec, Object::Slot(slot)).await,
            Effect::DropPublication { publication, .. } => {
                objects::probe_dropped(database, spec, Object::Publication(publication, &[])).await
            }
            Effect::DropOrigin { origin, .. } => {
                objects::probe_dropped(database, spec, Object::Origin(origin)).await
            }
            Effect::RemoveFence { tables, .. } => fence::probe_removed(database, spec, (tables, under)).await,
            Effect::CreateTables { .. } | Effect::AddSchemaObject { .. } | Effect::DropTables { .. } => {
                tables::probe(database, spec, under).await
            }
            _ => misplaced(self.misplaced(spec)),
        }
    }

    async fn act(&self, spec: &EffectSpec, under: Authority) -> Acted {
        let (database, clock) = (&self.database, &*self.clock);
        if !self.is_mine(spec) {
            return Acted::Definite(EffectError(self.misplaced(spec)));
        }
        let (sides, authorised) = ((database, &self.other), (spec, under));
        match &spec.effect {
            Effect::InstallHome { mode, .. } => home::act(database, spec, *mode, under).await,
            Effect::CreatePublication { publication, tables, .. } => {
                objects::create(database, spec, Object::Publication(publication, tables), under).await
            }
            Effect::CreateOrigin { origin, .. } => {
                objects::create(database, spec, Object::Origin(origin), under).await
            }
            Effect::InstallFence { tables, .. } => {
                fence::install(database, spec, (tables, under), clock).await
            }
            Effect::TrialWrite { .. } | Effect::AwaitQuiet { .. } | Effect::CompareColumns { .. } => {
                writers::moment(clock).await
            }
            Effect::EmitMarker { nonce, .. } => marker::act(database, spec, nonce, under).await,
            Effect::CloseGate { .. } => gate::act(sides, spec, GateMode::Closed, under).await,
            Effect::CloseLost { .. } => {
                let closing = gate::act(sides, spec, GateMode::Closed, under);
                tokio::time::timeout(LOST_ANSWER, closing)
                    .await
                    .unwrap_or_else(|_| Acted::Unknown(EffectError("no answer".to_owned())))
            }
            Effect::OpenGate { .. } => gate::act(sides, spec, GateMode::Open, under).await,
            Effect::AwaitWriters { tables, patience_ms, terminate, .. } => {
                let patience = Duration::from_millis(*patience_ms);
                let asked = WaitOut { tables, patience, terminate: *terminate };
                self.waits.act_writers(database, authorised, asked, clock).await
            }
            Effect::AdvanceSequences { tables, alone, .. } => {
                let other = (!alone).then_some(&self.other);
                sequences::act((database, other), spec, tables, under).await
            }
            Effect::DropSlot { slot, .. } => {
                objects::drop(database, authorised, Object::Slot(slot), clock).await
            }
            Effect::DropPublication { publication, .. } => {
                objects::drop(database, authorised, Object::Publication(publication, &[]), clock).await
            }
            Effect::DropOrigin { origin, .. } => {
                objects::drop(database, authorised, Object::Origin(origin), clock).await
            }
            Effect::RemoveFence { tables, .. } => fence::remove(database, spec, (tables, under), clock).await,
            Effect::CreateTables { .. } | Effect::AddSchemaObject { .. } | Effect::DropTables { .. } => {
                tables::act(database, spec, under, clock).await
            }
            _ => Acted::Definite(EffectError(self.misplaced(spec))),
        }
    }
}

fn misplaced(what: String) -> Probe {
    Probe::Differs(Finding {
        code: "SW-0500".to_owned(),
        what,
        remedy: "This is a fault of Switchyard: report it with the journal's export.".to_owned(),
    })
}
