//! What the databases and a phase's lever say of a plan before anybody asks for anything. Nothing is changed.
//!
//! `plan check --connect` tells all of it with its place in the file; `/migrate plan` tells of the phases that could be started what
//! their `start` would refuse. It is asked of the adopted plan alone, or of a file that is at hand here: a plan that somebody only
//! proposes names secrets to read and commands to run that nobody has agreed to.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use executors::levers::{Served, does_not_answer, lever};
use executors::postgres::database::Database;
use executors::postgres::live::{self, Seen};
use executors::postgres::preflight::Subject;
use executors::{TrafficState, kept};
use journal::{Operation, PhaseName, PhasePlan, PhaseStatus, Plan, Side, State};
use runtime::{Scrubber, SystemClock};

use crate::words;

/// How long whoever asks `/migrate plan` waits for both databases and the levers; others' words may wait behind it.
const PATIENCE: Duration = Duration::from_secs(4);

/// What a phase's preflight would find now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outlook {
    /// It was looked at.
    Seen {
        /// What `start` would refuse, a line each.
        problems: Vec<String>,
        /// What is good to know, a line each.
        warnings: Vec<String>,
    },
    /// It could not be looked at, and why.
    Unseen(String),
}

/// Looks, for whoever asks what would happen.
#[derive(Debug)]
pub struct Preflight {
    folder: PathBuf,
    scrubber: Scrubber,
}

impl Preflight {
    /// For the plan of a folder, which its relative paths are relative to.
    #[must_use]
    pub const fn new(folder: PathBuf, scrubber: Scrubber) -> Self {
        Self { folder, scrubber }
    }

    /// The outlook of those of these phases whose `start` could be asked for.
    pub async fn outlook(
        &self,
        plan: &Plan,
        state: &State,
        only: Option<&PhaseName>,
    ) -> BTreeMap<PhaseName, Outlook> {
        let could_start = |phase: &&PhasePlan| {
            let status = state.phases.get(&phase.name).map_or(PhaseStatus::New, |known| known.status);
            only.is_none_or(|only| phase.name == *only)
                && state.operation(&phase.name).is_none()
                && words::possible(status).contains(&Operation::Start)
        };
        let phases: Vec<&PhasePlan> = plan.phases.iter().filter(could_start).collect();
        if phases.is_empty() {
            return BTreeMap::new();
        }
        let seen = match tokio::time::timeout(PATIENCE, self.look(plan, &phases)).await {
            Ok(seen) => seen.map_err(|why| self.scrubber.scrub(&why)),
            Err(_) => Err(words::no_answer(PATIENCE)),
        };
        let of = |phase: &PhasePlan| match &seen {
            Ok(seen) => self.of_phase(seen, &phase.name),
            Err(why) => Outlook::Unseen(why.clone()),
        };
        phases.into_iter().map(|phase| (phase.name.clone(), of(phase))).collect()
    }

    async fn look(&self, plan: &Plan, phases: &[&PhasePlan]) -> Result<Seen, String> {
        let at = (plan, self.folder.as_path());
        let side = |side| database(side, at, &self.scrubber);
        let (source, target) = (side(Side::Source)?, side(Side::Target)?);
        let mut seen = live::check(&source, &target, plan).await.map_err(|cause| cause.to_string())?;
        for phase in phases {
            let sides = (Some(source.clone()), Some(target.clone()));
            look_at_lever(phase, served(at, phase, sides, &self.scrubber), &mut seen).await;
        }
        Ok(seen)
    }

    /// What of it concerns a phase.
    fn of_phase(&self, seen: &Seen, phase: &PhaseName) -> Outlook {
        let concerns = |subject: &Subject| match subject {
            Subject::Whole | Subject::Side(_) => true,
            Subject::Phase(name)
            | Subject::Table(name, _)
            | Subject::Pattern(name, _)
            | Subject::Filter(name, _)
            | Subject::Lever(name, _) => name == phase,
        };
        let problems = seen.problems.iter().filter(|(subject, _)| concerns(subject));
        let told = |text: &str| self.scrubber.scrub(text);
        Outlook::Seen {
            problems: problems.map(|(_, finding)| told(&words::live_problem(finding))).collect(),
            warnings: seen.warnings.iter().map(|warning| told(warning)).collect(),
        }
    }
}

/// A side, by the connection string that the plan points at. Nothing is connected yet.
///
/// # Errors
/// The secret is not there, or is no connection string: the sentence for it.
pub fn database(side: Side, (plan, folder): (&Plan, &Path), scrubber: &Scrubber) -> Result<Database, String> {
    let kept = match side {
        Side::Source => &plan.source,
        Side::Target => &plan.target,
    };
    let url = kept::secret(kept, folder).map_err(|error| words::no_secret(side, &error))?;
    Database::new(side, plan.migration.clone(), &url, scrubber)
        .map_err(|cause| words::no_database(side, &scrubber.scrub(&cause.to_string())))
}

/// What a phase's lever serves.
pub(crate) fn served(
    (plan, folder): (&Plan, &Path),
    phase: &PhasePlan,
    (source, target): (Option<Database>, Option<Database>),
    scrubber: &Scrubber,
) -> Served {
    let (migration, phase) = (plan.migration.clone(), phase.name.clone());
    let (folder, scrubber, clock) = (folder.to_owned(), scrubber.clone(), Arc::new(SystemClock));
    Served { migration, phase, folder, source, target, scrubber, clock }
}

/// What a switch would need of a phase's lever.
pub(crate) async fn look_at_lever(phase: &PhasePlan, served: Served, seen: &mut Seen) {
    let about = |key: &str| Subject::Lever(phase.name.clone(), key.to_owned());
    let lever = match lever(&phase.lever, served) {
        Ok(lever) => lever,
        Err(cause) => {
            let finding = does_not_answer(&phase.name, &cause.to_string());
            seen.problems.push((about("admin"), finding));
            return;
        }
    };
    let found = lever.examine().await;
    seen.problems.extend(found.problems.into_iter().map(|(key, finding)| (about(key), finding)));
    seen.warnings.extend(found.warnings.into_iter().map(|warning| words::of_phase(&phase.name, &warning)));
    let is_elsewhere = match found.state {
        Some(TrafficState::Target | TrafficState::Held(Side::Target)) => !seen.begun.contains(&phase.name),
        Some(TrafficState::Held(Side::Source)) => true,
        Some(TrafficState::Source) | None => false,
    };
    if is_elsewhere && let Some(state) = found.state {
        seen.warnings.push(words::lever_elsewhere(&phase.name, state));
    }
}
