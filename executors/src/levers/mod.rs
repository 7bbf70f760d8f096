//! What stops, holds, routes and resumes application traffic: one file a lever.
//!
//! A lever has no row that could refuse a late executor; it is for a gentle stop, and the fences are for certainty. So
//! each of its effects is an absolute setting that is observed afterwards, and a request that a lever lets through to
//! the wrong side meets a closed gate: an error, never a loss.

pub mod command;
mod ini;
pub mod pgbouncer;

use std::sync::Arc;

use journal::{
    Effect, EffectSpec, Evidence, Finding, LeverSettings, MigrationName, PhaseName, SecretRef, Side,
};
use runtime::{Clock, Scrubber, Secret};

use crate::seams::{Cause, Lever, Probe, TrafficState};

/// The lever that the plan names for a phase. Nothing is connected or run yet.
///
/// # Errors
/// A secret it needs is not where the plan says, or the plan's connect strings cannot be read.
pub fn lever(
    settings: &LeverSettings,
    migration: &MigrationName,
    phase: &PhaseName,
    scrubber: &Scrubber,
    clock: Arc<dyn Clock>,
) -> Result<Arc<dyn Lever>, Cause> {
    Ok(match settings {
        LeverSettings::Command { stop, observe, route, resume, timeout } => {
            Arc::new(command::CommandLever::new(command::Settings {
                stop: stop.clone(),
                observe: observe.clone(),
                route: route.clone(),
                resume: resume.clone(),
                timeout: *timeout,
                migration: migration.clone(),
                phase: phase.clone(),
                scrubber: scrubber.clone(),
                clock,
            }))
        }
        LeverSettings::Pgbouncer { admin, ini, database, source, target, pause_limit } => {
            let read = match admin {
                SecretRef::Env(name) => Secret::from_env(name),
                SecretRef::File(path) => Secret::from_file(path),
            };
            let admin = read.map_err(|error| Cause(format!("pgbouncer's console: {error}")))?;
            Arc::new(pgbouncer::PgbouncerLever::new(pgbouncer::Settings {
                admin,
                ini: ini.into(),
                database: database.clone(),
                source: source.clone(),
                target: target.clone(),
                pause_limit: *pause_limit,
                phase: phase.clone(),
                scrubber: scrubber.clone(),
                clock,
            })?)
        }
    })
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
