//! The steps: each only says which effects it is made of.
//!
//! A plan is the step's whole list as far as it is known. It is asked for again after each outcome, so it may grow with
//! the evidence of what is done: what comes later and needs that evidence is left out until it is there.
//!
//! Every list is a pure function of the journal, so whoever resumes a step plans the very same effects under the very
//! same names. Markers take their nonces from the operation's position and the step: no two are ever alike.

pub(crate) mod catch_up;
pub(crate) mod clean_up;
pub(crate) mod declare_loss;
pub(crate) mod drain;
pub(crate) mod drain_available;
pub(crate) mod drain_failback;
pub(crate) mod fence_source;
pub(crate) mod fence_target;
pub(crate) mod finalize_schema;
pub(crate) mod load;
pub(crate) mod preflight;
pub(crate) mod prepare_source;
pub(crate) mod prepare_switch;
pub(crate) mod prepare_target;
pub(crate) mod probe_anew;
pub(crate) mod replicate;
pub(crate) mod stop_failback;
pub(crate) mod stop_traffic;
pub(crate) mod switch_traffic;
pub(crate) mod switch_traffic_back;
pub(crate) mod undo;
pub(crate) mod verify_delta;
pub(crate) mod verify_full;
pub(crate) mod verify_load;

use journal::{
    DISPLACED, Direction, Effect, EffectStatus, Evidence, Finding, Lsn, MigrationName, Operation,
    OperationRun, PhaseName, PhasePlan, PhaseState, PhaseStatus, Side, State, Step, StreamHealth, StreamMode,
    StreamName, TableName, origin_name, publication_name, slot_name,
};

use crate::seams::Observed;

/// What a step plans from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StepContext<'a> {
    /// The phase's name.
    pub(crate) phase: &'a PhaseName,
    /// Everything, as journalled.
    pub(crate) whole: &'a State,
    /// The phase, as journalled.
    pub(crate) state: &'a PhaseState,
    /// The operation that runs.
    pub(crate) run: &'a OperationRun,
    /// The phase in the plan that the operation began with.
    pub(crate) plan: &'a PhasePlan,
    /// The migration's name.
    pub(crate) migration: &'a MigrationName,
    /// What was seen just before planning.
    pub(crate) seen: &'a Observed,
}

impl<'a> StepContext<'a> {
    /// The context of a phase whose operation runs.
    pub(crate) fn new(phase: &'a PhaseName, state: &'a State, seen: &'a Observed) -> Result<Self, Finding> {
        let lacks = |what: &str| Finding {
            code: "SW-0290".to_owned(),
            what: format!("phase {phase} cannot be planned: the journal has no {what} for it"),
            remedy: "Compare the plan with `switchyard journal show`, then say `retry`.".to_owned(),
        };
        let phase_state = state.phases.get(phase).ok_or_else(|| lacks("state"))?;
        let run = phase_state.operation.as_ref().ok_or_else(|| lacks("running operation"))?;
        let plan = run.plan.phase(phase).ok_or_else(|| lacks("section of the operation's plan"))?;
        let migration = state.migration.as_ref().ok_or_else(|| lacks("migration"))?;
        Ok(Self { phase, whole: state, state: phase_state, run, plan, migration, seen })
    }

    /// The phase's tables, as `start` found them.
    pub(crate) fn tables(&self) -> Vec<TableName> {
        let found = if self.state.tables.is_empty() { &self.plan.tables } else { &self.state.tables };
        found.clone()
    }

    /// The phase that has a table besides this one: by its section of the plan, or since its own `start`.
    pub(crate) fn elsewhere(&self, table: &TableName) -> Option<&'a PhaseName> {
        let named = self.run.plan.phases.iter().filter(|phase| phase.tables.contains(table));
        let begun = self.whole.phases.iter().filter(|(_, phase)| {
            let is_idle = matches!(phase.status, PhaseStatus::New | PhaseStatus::Retired);
            (phase.operation.is_some() || !is_idle) && phase.tables.contains(table)
        });
        named.map(|phase| &phase.name).chain(begun.map(|(name, _)| name)).find(|name| *name != self.phase)
    }

    /// The same, or the phase whose patterns will match it.
    pub(crate) fn meant_elsewhere(&self, table: &TableName) -> Option<&'a PhaseName> {
        let by_pattern = self.run.plan.phases.iter().filter(|phase| phase.name != *self.phase);
        let mut by_pattern =
            by_pattern.filter(|phase| phase.patterns.iter().any(|pattern| pattern.matches(table)));
        self.elsewhere(table).or_else(|| by_pattern.next().map(|phase| &phase.name))
    }

    /// One of the phase's streams.
    pub(crate) fn stream(&self, direction: Direction) -> StreamName {
        StreamName { phase: self.phase.clone(), direction }
    }

    /// A direction's slot, on the side it reads.
    pub(crate) fn slot(&self, direction: Direction) -> String {
        slot_name(self.migration, self.phase, self.state.generation, direction)
    }

    /// A direction's publication, on the side it reads.
    pub(crate) fn publication(&self, direction: Direction) -> String {
        publication_name(self.migration, self.phase, self.state.generation, direction)
    }

    /// A direction's origin, on the side it writes.
    pub(crate) fn origin(&self, direction: Direction) -> String {
        origin_name(self.migration, self.phase, direction, 0)
    }

    /// The direction that applies while the operation begins.
    pub(crate) fn applying(&self) -> Direction {
        match self.run.operation {
            Operation::Start | Operation::Cutover | Operation::Retire => Direction::Forward,
            Operation::Failback
            | Operation::Complete
            | Operation::FailbackTargetLost
            | Operation::CompleteSourceLost => Direction::Failback,
            Operation::Verify => self.state.applying(),
        }
    }

    /// The direction that guards while the operation begins.
    pub(crate) fn guarding(&self) -> Direction {
        self.applying().opposite()
    }

    /// The writer's side that a switch leaves.
    pub(crate) fn leaving(&self) -> Side {
        self.applying().from()
    }

    /// The side that a switch opens.
    pub(crate) fn opening(&self) -> Side {
        self.applying().to()
    }

    /// A marker into a stream, and its wait on the other side.
    pub(crate) fn marker(&self, step: Step, direction: Direction) -> [Effect; 2] {
        let side = direction.from();
        let nonce = format!("{}-{step}-{side}", self.run.position);
        [
            Effect::EmitMarker { side, nonce: nonce.clone() },
            Effect::AwaitMarker { stream: self.stream(direction), nonce },
        ]
    }

    /// A marker through the stream that guards. One that has stopped for good is left out on the way back to the source:
    /// without it there is no way forth again, which is no reason not to go back.
    pub(crate) fn guard_marker(&self, step: Step) -> Vec<Effect> {
        let proof = self.marker(step, self.guarding());
        let is_left_out = self.opening() == Side::Source
            && self.has_stopped(self.guarding())
            && !proof.iter().any(|one| self.is_intended(one));
        if is_left_out { Vec::new() } else { proof.to_vec() }
    }

    /// Whether a stream is known to need a person: it said so, or its side, probed anew, has lost what it needs.
    pub(crate) fn has_stopped(&self, direction: Direction) -> bool {
        let health = self.state.streams.get(&direction).and_then(|stream| stream.health.as_ref());
        let has_stopped =
            matches!(health, Some(StreamHealth::Stopped { finding }) if finding.code != DISPLACED);
        let probed = self.run.effects.iter().filter_map(|record| match (&record.effect, &record.status) {
            (Effect::ProbeAnew { .. }, EffectStatus::Succeeded(evidence)) => Some(evidence),
            _ => None,
        });
        let is_lost =
            |evidence: &Evidence| evidence.get(direction.word()).is_some_and(|told| told.starts_with("lost"));
        has_stopped || probed.into_iter().any(is_lost)
    }

    /// Whether the operation has written an effect down: then it is planned again, whatever was learnt since.
    pub(crate) fn is_intended(&self, effect: &Effect) -> bool {
        self.run.effects.iter().any(|record| record.effect == *effect)
    }

    /// Comparisons of all tables at a place of the applying stream.
    pub(crate) fn verify_tables(&self, moment: &str) -> impl Iterator<Item = Effect> {
        let stream = self.stream(self.applying());
        self.tables().into_iter().map(move |table| Effect::VerifyTable {
            table,
            stream: stream.clone(),
            moment: moment.to_owned(),
        })
    }

    /// A stream from the place where its slot begins; none while the slot's place is not known yet.
    ///
    /// # Errors
    /// The slot was made, and its place cannot be read.
    pub(crate) fn start_stream(
        &self,
        direction: Direction,
        mode: StreamMode,
    ) -> Result<Option<Effect>, Finding> {
        let side = direction.from();
        let made = self
            .run
            .evidence(|record| matches!(&record.effect, Effect::CreateSlot { side: at, .. } if *at == side));
        let Some(evidence) = made else { return Ok(None) };
        Ok(Some(Effect::StartStream {
            stream: self.stream(direction),
            mode,
            slot: self.slot(direction),
            publication: self.publication(direction),
            origin: self.origin(direction),
            from: lsn(evidence, "lsn", &format!("the slot on the {side}"))?,
        }))
    }
}

/// A place that evidence holds.
pub(crate) fn lsn(evidence: &Evidence, key: &str, of: &str) -> Result<Lsn, Finding> {
    evidence.get(key).and_then(|text| text.parse().ok()).ok_or_else(|| Finding {
        code: "SW-0291".to_owned(),
        what: format!("the evidence of {of} holds no LSN under `{key}`"),
        remedy: "Say `abort`, then begin the operation anew.".to_owned(),
    })
}
