//! The plan: the TOML file that people review, and the hash of its meaning.

mod model;
mod read;
mod shown;

use serde::Serialize;
use std::time::Duration;

pub use model::{
    ApprovalPolicy, BreakGlass, Existing, FailbackDeadline, Group, JournalPlace, JournalSettings,
    LeverSettings, LoadSettings, Person, PhasePlan, Plan, PlanProblem, PlanProblems, Platform, Role,
    SecretRef, TablePattern, Window, WindowKind,
};
pub use read::{Reading, keys};
pub use shown::shown;

use crate::canonical::to_canonical;
use crate::ids::{MigrationName, PersonId, PhaseName, PlanHash};
use crate::operation::Operation;
use crate::origin::Membership;

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
        Operation::CompleteSourceLost => "complete_source_lost",
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

    /// Whether a person has a role: in the plan's own words, or by one of its groups that their own account was seen in.
    #[must_use]
    pub fn has_role(&self, person: &PersonId, role: Role, seen: &[Membership]) -> bool {
        let Some(known) = self.people.get(person) else { return false };
        let was_seen = |group: &Group| {
            seen.iter().any(|found| {
                found.platform == group.platform
                    && found.group == group.id
                    && known.accounts.get(&found.platform) == Some(&found.account)
            })
        };
        known.roles.contains(&role) || self.groups.iter().any(|group| group.role == role && was_seen(group))
    }

    /// Whether a person may have a role: they have it, or a group that gives it may hold one of their accounts.
    #[must_use]
    pub fn may_have_role(&self, person: &Person, role: Role) -> bool {
        may_have_role(person, &self.groups, role)
    }

    /// The groups that have to be asked whether they give a person a role that the plan does not.
    pub fn asked_of<'p>(&'p self, person: &'p Person) -> impl Iterator<Item = &'p Group> {
        self.groups.iter().filter(|group| is_asked(group, person))
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
            #[serde(skip_serializing_if = "Vec::is_empty")]
            groups: Vec<&'p Group>,
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
        let mut groups: Vec<&Group> = self.groups.iter().collect();
        groups.sort();
        phases.sort_by(|one, other| one.name.cmp(&other.name));
        let meaning = Meaning {
            migration: &self.migration,
            source: &self.source,
            target: &self.target,
            people: self.people.values().collect(),
            groups,
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

/// Whether a group may give a person a role that the plan does not give them itself.
fn is_asked(group: &Group, person: &Person) -> bool {
    person.accounts.contains_key(&group.platform) && !person.roles.contains(&group.role)
}

fn may_have_role(person: &Person, groups: &[Group], role: Role) -> bool {
    person.roles.contains(&role) || groups.iter().any(|group| group.role == role && is_asked(group, person))
}

/// A phase whose lists, which are sets, stand in one order.
fn in_order(phase: &PhasePlan) -> PhasePlan {
    let mut phase = phase.clone();
    phase.tables.sort();
    phase.patterns.sort();
    phase.after.sort();
    phase
}
