//! The seams between the loop, the steps and what they touch.
//!
//! Effects are data. One loop does intent, probe, act, probe, outcome; a step only plans effects; a receiver only
//! probes and acts. So no step writes the protocol again, and recovery is the normal path.

use std::fmt::Debug;

use async_trait::async_trait;
use journal::{
    EffectSpec, Epoch, Evidence, Finding, Position, SchemaObject, Side, State, Step, TableDefinition,
    TableName,
};

use crate::postgres::survey::SharedSequence;

/// Under what an effect is done. A receiver refuses an epoch lower than it has seen, and a position not higher than
/// it has seen, unless the receipt there is this very effect's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Authority {
    /// The lease's epoch.
    pub epoch: Epoch,
    /// The position of the effect's intent.
    pub position: Position,
}

/// Why something could not be reached; scrubbed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Cause(pub String);

/// How what is there differs from what was meant, and what to do about it.
pub type Difference = Finding;

/// Whose it is, if not ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner(pub String);

/// What a receiver said; scrubbed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct EffectError(pub String);

/// What a probe saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Probe {
    /// It is not there: act. For a pure observation: not yet.
    Absent,
    /// It is there, and ours: adopt.
    Ours(Evidence),
    /// It is there, ours, and different: stop and say so. For a pure observation: it will never hold by waiting.
    Differs(Difference),
    /// It is there and another's: stop and name the owner.
    Foreign(Owner),
    /// Nobody can tell: wait. Never taken for absent.
    Unreachable(Cause),
}

/// How an act ended. Three ways, never two.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Acted {
    /// It was done; the probe that follows has the last word.
    Done(Evidence),
    /// The receiver said definitely no, and nothing is there.
    Definite(EffectError),
    /// A timeout, a lost connection, a lost COMMIT: only a probe can tell.
    Unknown(EffectError),
}

/// Who probes and does effects. Both calls may be dropped at any await: a dropped act is an unknown one.
///
/// For pure observations (`EffectClass::Observation`) the probe observes; `act` merely waits a moment for it (at most
/// about half a second, by a condition where there is one) and returns `Done`.
#[async_trait]
pub trait Receiver: Debug + Send + Sync {
    /// Looks, without changing anything. Probing a gate or a receipt locks its row, under a lock timeout.
    async fn probe(&self, spec: &EffectSpec, under: Authority) -> Probe;

    /// Does the effect.
    async fn act(&self, spec: &EffectSpec, under: Authority) -> Acted;

    /// What a person can do by hand where an undo cannot give the traffic back, if there is something.
    fn by_hand(&self, _spec: &EffectSpec) -> Option<String> {
        None
    }
}

/// Where the application's traffic is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TrafficState {
    /// It reaches the source.
    Source,
    /// It is held; when resumed it reaches the side named.
    Held(Side),
    /// It reaches the target.
    Target,
}

/// All that a switch will need of a lever, as one look found it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Examined {
    /// Where the traffic is, if the lever says so.
    pub state: Option<TrafficState>,
    /// What would make a switch fail, with the plan's key that it is about.
    pub problems: Vec<(&'static str, Finding)>,
    /// What cannot be told from here, and is worth knowing.
    pub warnings: Vec<String>,
}

/// What stops, holds, routes and resumes application traffic.
#[async_trait]
pub trait Lever: Receiver {
    /// The lever as it stands.
    async fn observe(&self) -> Result<TrafficState, Cause>;

    /// Looks at everything that a switch will need of it, in both directions. Nothing is changed.
    async fn examine(&self) -> Examined;
}

/// What a step needs to have seen to plan its effects; gathered before it plans them first, and again before it ends.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Observed {
    /// The source's tables as they are to be made on the target, parents first (for `prepare_target`).
    pub tables: Vec<TableDefinition>,
    /// Indexes and constraints in the order in which they can be made (for `finalize_schema`).
    pub objects: Vec<SchemaObject>,
    /// The source's tables that the phase's patterns match, by name (for `preflight`, and a cutover's `prepare_switch`).
    pub matching: Vec<TableName>,
    /// The source's sequences that several tables take values from (for `preflight`).
    pub sequences: Vec<SharedSequence>,
}

/// What plans a step's effects. Called again after each outcome: the answer is the step's whole list as far as it is
/// known by then; those that have succeeded are skipped, and a list with nothing left ends the step.
pub trait Engine: Debug + Send + Sync {
    /// Plans.
    ///
    /// # Errors
    /// A finding that needs a person.
    fn plan(
        &self,
        phase: &journal::PhaseName,
        step: Step,
        state: &State,
        seen: &Observed,
    ) -> Result<Vec<journal::Effect>, Finding>;

    /// The whole undo of the running operation, as it is written down with the intent that stops the traffic.
    ///
    /// # Errors
    /// A finding that needs a person.
    fn undo(&self, phase: &journal::PhaseName, state: &State) -> Result<Vec<journal::Effect>, Finding>;
}
