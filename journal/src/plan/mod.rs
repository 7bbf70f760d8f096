//! The plan: the TOML file that people review, and the hash of its meaning.

mod model;
mod read;

use serde::Serialize;
use std::time::Duration;

pub use model::{
    ApprovalPolicy, BreakGlass, Existing, FailbackDeadline, JournalPlace, JournalSettings, LeverSettings,
    LoadSettings, Person, PhasePlan, Plan, PlanProblem, PlanProblems, Platform, Role, SecretRef,
    TablePattern, Window, WindowKind,
};
pub use read::{Reading, keys};

use crate::canonical::to_canonical;
use crate::ids::{MigrationName, PhaseName, PlanHash};
use crate::operation::Operation;

/// The operation's key in `[approvals.…]`, and its word in `operations`.
#[must_use]
pub const fn key(operation: Operation) -> &'static str {
    match operation {
        Operation::Start => "start",
        Operation::Cutover => "cutover",
        Operation::Failback => "failback",
        Operation::Complete => "complete",
        Operation::Verify => "verify",
        Operation::Retire => "retire",
        Operation::FailbackTargetLost => "failback_target_lost",
    }
}

impl Plan {
    /// The phase of this name.
    #[must_use]
    pub fn phase(&self, name: &PhaseName) -> Option<&PhasePlan> {
        self.phases.iter().find(|phase| &phase.name == name)
    }

    /// The policy of an operation.
    #[must_use]
    pub fn policy(&self, operation: Operation) -> ApprovalPolicy {
        self.approvals.get(&operation).cloned().unwrap_or(ApprovalPolicy {
            required: operation.default_approvals().max(2),
            role: Role::Approver,
            expires: Duration::from_secs(4 * 3600),
            exclude_requester: false,
            exclude_author: false,
            bind_commit: false,
        })
    }

    /// The hash of the whole plan's meaning. Where the journal, its witness and the socket are is not part of it.
    #[must_use]
    pub fn hash(&self) -> PlanHash {
        self.hash_of(self.phases.iter().collect())
    }

    /// The hash that requests of a phase are bound to: of its section and the shared ones.
    #[must_use]
    pub fn hash_for(&self, phase: &PhaseName) -> PlanHash {
        self.hash_of(self.phases.iter().filter(|each| &each.name == phase).collect())
    }

    /// The hash of the shared sections alone.
    #[must_use]
    pub fn hash_shared(&self) -> PlanHash {
        self.hash_of(Vec::new())
    }

    fn hash_of(&self, mut phases: Vec<&PhasePlan>) -> PlanHash {
        #[derive(Serialize)]
        struct Meaning<'p> {
            migration: &'p MigrationName,
            source: &'p SecretRef,
            target: &'p SecretRef,
            people: Vec<&'p Person>,
            approvals: Vec<(&'static str, &'p ApprovalPolicy)>,
            break_glass: &'p BreakGlass,
            windows: Vec<&'p Window>,
            lease_ms: String,
            signing_key: Option<&'p SecretRef>,
            load: &'p LoadSettings,
            phases: Vec<PhasePlan>,
        }
        let mut windows: Vec<&Window> = self.windows.iter().collect();
        windows.sort();
        phases.sort_by(|one, other| one.name.cmp(&other.name));
        let meaning = Meaning {
            migration: &self.migration,
            source: &self.source,
            target: &self.target,
            people: self.people.values().collect(),
            approvals: self.approvals.iter().map(|(operation, policy)| (key(*operation), policy)).collect(),
            break_glass: &self.break_glass,
            windows,
            lease_ms: self.journal.lease_term.as_millis().to_string(),
            signing_key: self.journal.signing_key.as_ref(),
            load: &self.load,
            phases: phases.into_iter().map(in_order).collect(),
        };
        // All of it is strings and lists, so there are always canonical bytes; the rendering is as exact.
        PlanHash::of(&to_canonical(&meaning).unwrap_or_else(|_| format!("{self:?}").into_bytes()))
    }
}

/// A phase whose lists, which are sets, stand in one order.
fn in_order(phase: &PhasePlan) -> PhasePlan {
    let mut phase = phase.clone();
    phase.tables.sort();
    phase.patterns.sort();
    phase.after.sort();
    phase
}
