//! What stops, holds, routes and resumes application traffic: one file a lever.
//!
//! A lever has no row that could refuse a late executor; it is for a gentle stop, and the fences are for certainty. So
//! each of its effects is an absolute setting that is observed afterwards, and a request that a lever lets through to
//! the wrong side meets a closed gate: an error, never a loss.

pub mod command;
mod ini;
pub mod pgbouncer;
pub(crate) mod unmade;

use std::path::PathBuf;
use std::sync::Arc;

use journal::{Effect, EffectSpec, Evidence, Finding, LeverSettings, MigrationName, PhaseName, Side};
use runtime::{Clock, Scrubber};

use crate::kept;
use crate::postgres::database::Database;
use crate::seams::{Cause, Lever, Probe, TrafficState};

/// What a lever serves.
#[derive(Debug, Clone)]
pub struct Served {
    /// The migration.
    pub migration: MigrationName,
    /// The phase.
    pub phase: PhaseName,
    /// The plan's folder, which its relative paths are relative to.
    pub folder: PathBuf,
    /// The database being left, where it can be named: what the lever leads to is held against it.
    pub source: Option<Database>,
    /// The database being moved to, likewise.
    pub target: Option<Database>,
    /// What keeps secrets out of messages.
    pub scrubber: Scrubber,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

impl Served {
    const fn side(&self, side: Side) -> Option<&Database> {
        match side {
            Side::Source => self.source.as_ref(),
            Side::Target => self.target.as_ref(),
        }
    }
}

/// The lever that the plan names for a phase. Nothing is connected or run yet.
///
/// # Errors
/// A secret it needs is not where the plan says, or the plan's connect strings cannot be read.
pub fn lever(settings: &LeverSettings, served: Served) -> Result<Arc<dyn Lever>, Cause> {
    Ok(match settings {
        LeverSettings::Command { stop, observe, route, resume, timeout } => {
            Arc::new(command::CommandLever::new(command::Settings {
                stop: stop.clone(),
                observe: observe.clone(),
                route: route.clone(),
                resume: resume.clone(),
                timeout: *timeout,
                served,
            }))
        }
        LeverSettings::Pgbouncer { admin, ini, database, source, target, pause_limit } => {
            let admin = kept::secret(admin, &served.folder)
                .map_err(|error| Cause(format!("pgbouncer's console: {error}")))?;
            Arc::new(pgbouncer::PgbouncerLever::new(pgbouncer::Settings {
                admin,
                ini: served.folder.join(ini),
                database: database.clone(),
                source: source.clone(),
                target: target.clone(),
                pause_limit: *pause_limit,
                served,
            })?)
        }
    })
}

/// Why a lever does not say how it stands.
#[derive(Debug, Clone)]
enum Trouble {
    /// It does not answer now; it may by itself.
    Away(Cause),
    /// It answers, and is not as the plan means it: the plan's key, and what is wrong. Waiting does not help.
    Wrong(&'static str, Finding),
}

impl From<Cause> for Trouble {
    fn from(cause: Cause) -> Self {
        Self::Away(cause)
    }
}

impl Trouble {
    fn cause(self) -> Cause {
        match self {
            Self::Away(cause) => cause,
            Self::Wrong(_, finding) => Cause(finding.what),
        }
    }

    fn probe(self) -> Probe {
        match self {
            Self::Away(cause) => Probe::Unreachable(cause),
            Self::Wrong(_, finding) => Probe::Differs(finding),
        }
    }
}

/// The finding of a lever that does not do what a switch needs.
#[must_use]
pub fn does_not_answer(phase: &PhaseName, why: &str) -> Finding {
    Finding {
        code: "SW-0516".to_owned(),
        what: format!("the lever of phase {phase} does not answer: {why}"),
        remedy: "See that it runs, that the secret and the address in the plan's [phase.lever] are right, and that this \
                 machine reaches it; then `retry`. The traffic was not touched."
            .to_owned(),
    }
}

/// Several findings as one: a person who mends one only to meet the next has been told too little.
fn as_one(problems: Vec<(&'static str, Finding)>) -> Option<Finding> {
    let mut found = problems.into_iter().map(|(_, finding)| finding);
    let first = found.next()?;
    Some(found.fold(first, |one, next| Finding {
        code: one.code,
        what: format!("{}; and [{}] {}", one.what, next.code, next.what),
        remedy: format!("{} {}", one.remedy, next.remedy),
    }))
}

/// A lever as one look found it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Standing {
    /// The side that requests reach, or will reach once resumed.
    at: Side,
    /// Whether new transactions wait.
    is_held: bool,
    /// Whether transactions that began before are still open.
    is_busy: bool,
}

impl Standing {
    const fn of(state: TrafficState) -> Self {
        match state {
            TrafficState::Source => Self { at: Side::Source, is_held: false, is_busy: false },
            TrafficState::Target => Self { at: Side::Target, is_held: false, is_busy: false },
            TrafficState::Held(at) => Self { at, is_held: true, is_busy: false },
        }
    }

    /// Held only when no transaction is open any more.
    const fn state(self) -> TrafficState {
        match (self.is_held && !self.is_busy, self.at) {
            (true, at) => TrafficState::Held(at),
            (false, Side::Source) => TrafficState::Source,
            (false, Side::Target) => TrafficState::Target,
        }
    }

    fn words(self) -> String {
        let at = self.at;
        match (self.is_held, self.is_busy) {
            (true, false) => format!("held {at}"),
            (true, true) => format!("held {at}, with open transactions"),
            (false, _) => at.to_string(),
        }
    }

    /// What a lever's effect means in view of this.
    fn probe(self, spec: &EffectSpec) -> Probe {
        let ours = || Probe::Ours(Evidence::from([("traffic".to_owned(), self.words())]));
        let done = match &spec.effect {
            Effect::HoldTraffic { .. } => self.is_held && !self.is_busy,
            Effect::RouteTraffic { to } => self.at == *to,
            Effect::ResumeTraffic { to } => self.at == *to && !self.is_held,
            Effect::ObserveTraffic { at } if self.at == *at && !self.is_held => true,
            Effect::ObserveTraffic { at } => {
                return Probe::Differs(Finding {
                    code: "SW-0511".to_owned(),
                    what: format!(
                        "the traffic of phase {} should reach the {at}, and the lever is: {}",
                        spec.phase,
                        self.words()
                    ),
                    remedy: if self.at == *at {
                        "Somebody holds it, or an earlier attempt left it so: resume it (pgbouncer: RESUME in its \
                         console; your own lever: its `resume`), then `retry`."
                    } else {
                        "Route it there by hand, or correct the lever's entries in the plan, then `retry`."
                    }
                    .to_owned(),
                });
            }
            _ => return misplaced(spec),
        };
        if done { ours() } else { Probe::Absent }
    }
}

fn misplaced(spec: &EffectSpec) -> Probe {
    Probe::Differs(Finding {
        code: "SW-0500".to_owned(),
        what: format!("{} came to a lever, which does not receive it", spec.effect.label()),
        remedy: "This is a fault of Switchyard: report it with the journal's export.".to_owned(),
    })
}
