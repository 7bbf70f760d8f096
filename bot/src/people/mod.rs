//! Who can be known where, who may ask for and approve what, and what of it is odd: the plan's people held against its own
//! policies, and against the platforms that the bot hears. Pure.
//!
//! The plan's reader refuses what could never work with the people that it names. Here they are counted as far as they can
//! be known: a person without a token, whose only account is on a platform that no bot hears, has no word.

mod places;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use journal::plan::{Platform, key};
use journal::{ApprovalPolicy, Group, Operation, Person, PersonId, Plan, Role};
use serde::{Serialize, Serializer};

use crate::config::Heard;
use crate::words;
use places::Places;

/// How much something matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Something cannot work, or two persons may be one.
    Problem,
    /// Something works otherwise than it reads.
    Warning,
    /// Good to know.
    Note,
}

/// Why one person is enough for an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Alone {
    /// It needs no approval: whoever asks for it begins it.
    NoApproval,
    /// It needs one, and whoever asks may give it.
    OwnApproval,
}

/// What lacks where nobody can ask for an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unasked {
    /// An operator who can be known somewhere.
    Operator,
    /// A bot that hears GitHub: it is asked for in a pull request alone.
    Github,
    /// An operator's account of GitHub: it is asked for in a pull request alone.
    GithubAccount,
}

/// Something about the people that a reader of the plan should know.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Odd {
    /// A person with a role can be known nowhere.
    Unknowable(PersonId),
    /// A person is known, and at none of the platforms that are heard.
    Unmapped(PersonId),
    /// A person's account is on a platform that is not heard.
    Unheard(PersonId, Platform),
    /// A person's Slack account is of another workspace than the bot's.
    OtherTeam(PersonId),
    /// Two persons have one Slack user's id, under two teams.
    OneUser(PersonId, PersonId),
    /// Nobody has a role, or nobody who has it can be known.
    Unfilled(Role),
    /// One operator only.
    OneOperator(PersonId),
    /// Operations nobody can ask for.
    Unasked(Vec<Operation>, Unasked),
    /// Operations whose approvals cannot be had from those who can be known.
    Unapproved {
        /// Which.
        operations: Vec<Operation>,
        /// How many are there.
        have: usize,
        /// How many are needed.
        need: u8,
        /// With which role.
        role: Role,
        /// Whether it is the requester's exclusion that makes them too few.
        without_requester: bool,
    },
    /// Operations for which one person is enough.
    Alone(Vec<Operation>, Alone, Vec<PersonId>),
    /// The authors of a plan are never known, so that excluding them does nothing.
    NoAuthors(Vec<Operation>),
    /// As soon as an approver has written the plan, too few are left.
    AuthorsTight(Vec<Operation>),
    /// `bind_commit` or `exclude_author`, and no bot's file to hold them against.
    NeedsBot(Vec<Operation>),
    /// Nobody who can be known may break the glass.
    GlassWhole(Role),
    /// Who breaks the glass for these could be reviewed by nobody.
    Unreviewable(Vec<Operation>, PersonId),
    /// Who may break the glass: alone, and loudly.
    Glass(Vec<PersonId>),
    /// A group is on a platform that is not heard, and gives its role to nobody.
    GroupUnheard(Group),
    /// Persons who have a role if a group has them: counted here as if it had.
    ByGroup(Role, Vec<PersonId>),
}

impl Odd {
    /// How much it matters.
    #[must_use]
    pub const fn level(&self) -> Level {
        match self {
            Self::Unknowable(_)
            | Self::OneUser(..)
            | Self::Unasked(..)
            | Self::Unapproved { .. }
            | Self::NoAuthors(_)
            | Self::Unreviewable(..) => Level::Problem,
            Self::Unmapped(_)
            | Self::Unheard(..)
            | Self::Unfilled(_)
            | Self::Alone(_, Alone::OwnApproval, _)
            | Self::AuthorsTight(_)
            | Self::NeedsBot(_)
            | Self::GroupUnheard(_)
            | Self::GlassWhole(_) => Level::Warning,
            Self::OtherTeam(_)
            | Self::OneOperator(_)
            | Self::Alone(_, Alone::NoApproval, _)
            | Self::ByGroup(..)
            | Self::Glass(_) => Level::Note,
        }
    }

    /// Its name in the JSON, which never changes.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Unknowable(_) => "known_nowhere",
            Self::Unmapped(_) => "unmapped",
            Self::Unheard(..) => "platform_not_heard",
            Self::OtherTeam(_) => "other_workspace",
            Self::OneUser(..) => "one_user_two_persons",
            Self::Unfilled(_) => "role_unfilled",
            Self::OneOperator(_) => "one_operator",
            Self::Unasked(..) => "nobody_can_ask",
            Self::Unapproved { .. } => "nobody_can_approve",
            Self::Alone(..) => "alone",
            Self::NoAuthors(_) => "authors_unknown",
            Self::AuthorsTight(_) => "authors_block",
            Self::NeedsBot(_) => "bot_unknown",
            Self::GlassWhole(_) => "nobody_can_break_glass",
            Self::Unreviewable(..) => "nobody_can_review",
            Self::Glass(_) => "glass",
            Self::GroupUnheard(_) => "group_not_heard",
            Self::ByGroup(..) => "role_by_group",
        }
    }
}

/// Something odd, at its place in the plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How much it matters.
    pub level: Level,
    /// What, for programs.
    pub kind: &'static str,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// What, for people, and what to do.
    pub what: String,
}

/// One person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PersonReport {
    /// Their id.
    pub id: PersonId,
    /// What they may do.
    pub roles: BTreeSet<Role>,
    /// What they may do if a group of the plan has them, which nobody has asked.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub roles_by_groups: BTreeSet<Role>,
    /// Where they can be known: `terminal` and platforms.
    pub known_at: Vec<&'static str>,
}

/// One operation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OperationReport {
    /// Its key in `[approvals]`.
    #[serde(serialize_with = "as_key")]
    pub operation: Operation,
    /// How many approvals it needs.
    pub required: u8,
    /// The role that makes one count.
    pub role: Role,
    /// Whether whoever asks may not be one of them.
    pub exclude_requester: bool,
    /// Whether it is asked for in a pull request alone.
    pub bind_commit: bool,
    /// Who may ask, of those who can be known.
    pub may_ask: Vec<PersonId>,
    /// Who may approve, of those who can be known.
    pub may_approve: Vec<PersonId>,
}

/// Everything.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The version of this shape.
    pub v: u8,
    /// Whether there is no problem.
    pub ok: bool,
    /// The platforms that the bot hears; none if no bot's file was given.
    pub platforms: Option<Vec<Platform>>,
    /// The people.
    pub persons: Vec<PersonReport>,
    /// The operations.
    pub operations: Vec<OperationReport>,
    /// What is odd, what matters most first.
    pub findings: Vec<Finding>,
}

fn as_key<S: Serializer>(operation: &Operation, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(key(*operation))
}

/// The people of a plan as far as they can be known.
struct Ground<'g> {
    plan: &'g Plan,
    /// What the bot hears; none: not known, and every platform is taken to be heard.
    heard: Option<&'g Heard>,
}

/// Looks at the people of a plan. `text` is the plan's, for the places.
#[must_use]
pub fn check(plan: &Plan, text: &str, heard: Option<&Heard>) -> Report {
    let ground = Ground { plan, heard };
    let places = Places::of(text);
    let mut odd = ground.persons();
    odd.extend(ground.roles());
    odd.extend(ground.operations());
    odd.extend(ground.glass());
    odd.extend(ground.groups());
    let mut findings: Vec<Finding> = odd
        .iter()
        .map(|odd| {
            let (line, column) = places.at(odd);
            Finding { level: odd.level(), kind: odd.kind(), line, column, what: words::people_odd(odd) }
        })
        .collect();
    findings.sort_by_key(|finding| (finding.level, finding.line, finding.column));
    Report {
        v: 1,
        ok: findings.iter().all(|finding| finding.level != Level::Problem),
        platforms: heard.map(Heard::platforms),
        persons: plan
            .people
            .values()
            .map(|person| PersonReport {
                id: person.id.clone(),
                roles: person.roles.clone(),
                roles_by_groups: ground.by_group(person),
                known_at: ground.known_at(person),
            })
            .collect(),
        operations: Operation::ALL.into_iter().map(|operation| ground.operation(operation)).collect(),
        findings,
    }
}

impl<'g> Ground<'g> {
    fn hears(&self, platform: Platform) -> bool {
        self.heard.is_none_or(|heard| heard.hears(platform))
    }

    fn known_at(&self, person: &Person) -> Vec<&'static str> {
        let terminal = person.local_token_sha256.is_some().then_some("terminal");
        let accounts = person.accounts.keys().filter(|platform| self.hears(**platform));
        terminal.into_iter().chain(accounts.map(|platform| platform_key(*platform))).collect()
    }

    /// Those who have a role, or may have it by a group, and can be known somewhere.
    fn with(&self, role: Role) -> Vec<&'g Person> {
        let people = self.plan.people.values();
        let may = |person: &Person| person.roles.contains(&role) || self.by_group(person).contains(&role);
        people.filter(|person| may(person) && !self.known_at(person).is_empty()).collect()
    }

    /// The roles that a person has if a group has them: not known until it is asked.
    fn by_group(&self, person: &'g Person) -> BTreeSet<Role> {
        let groups = self.plan.asked_of(person).filter(|group| self.hears(group.platform));
        groups.map(|group| group.role).collect()
    }

    fn groups(&self) -> Vec<Odd> {
        let deaf = self.plan.groups.iter().filter(|group| !self.hears(group.platform));
        let mut odd: Vec<Odd> = deaf.map(|group| Odd::GroupUnheard(group.clone())).collect();
        for role in [Role::Operator, Role::Approver] {
            let people = self.plan.people.values().filter(|person| self.by_group(person).contains(&role));
            let people: Vec<&Person> = people.collect();
            if !people.is_empty() {
                odd.push(Odd::ByGroup(role, ids(&people)));
            }
        }
        odd
    }

    /// Who may ask for an operation under a policy.
    fn askers(&self, policy: &ApprovalPolicy) -> Vec<&'g Person> {
        let mut askers = self.with(Role::Operator);
        if policy.bind_commit {
            let is_there = |person: &&Person| {
                person.accounts.contains_key(&Platform::Github) && self.hears(Platform::Github)
            };
            askers.retain(is_there);
        }
        askers
    }

    fn operation(&self, operation: Operation) -> OperationReport {
        let policy = self.plan.policy(operation);
        OperationReport {
            operation,
            required: policy.required,
            role: policy.role,
            exclude_requester: policy.exclude_requester,
            bind_commit: policy.bind_commit,
            may_ask: ids(&self.askers(&policy)),
            may_approve: if policy.required == 0 { Vec::new() } else { ids(&self.with(policy.role)) },
        }
    }

    fn persons(&self) -> Vec<Odd> {
        let mut odd = Vec::new();
        let mut users: BTreeMap<&str, &PersonId> = BTreeMap::new();
        for person in self.plan.people.values() {
            let id = &person.id;
            let known = self.known_at(person);
            if known.is_empty() && !(person.roles.is_empty() && self.by_group(person).is_empty()) {
                odd.push(Odd::Unknowable(id.clone()));
            } else if self.heard.is_some() && known == ["terminal"] {
                odd.push(Odd::Unmapped(id.clone()));
            }
            for platform in person.accounts.keys().filter(|platform| !self.hears(**platform)) {
                odd.push(Odd::Unheard(id.clone(), *platform));
            }
            let slack = person.accounts.get(&Platform::Slack).and_then(|account| account.split_once('/'));
            let Some((team, user)) = slack else { continue };
            if self.heard.and_then(Heard::slack_team).is_some_and(|ours| ours != team) {
                odd.push(Odd::OtherTeam(id.clone()));
            }
            if let Some(other) = users.insert(user, id) {
                odd.push(Odd::OneUser(other.clone(), id.clone()));
            }
        }
        odd
    }

    fn roles(&self) -> Vec<Odd> {
        let unfilled =
            [Role::Operator, Role::Approver].into_iter().filter(|role| self.with(*role).is_empty());
        let mut odd: Vec<Odd> = unfilled.map(Odd::Unfilled).collect();
        if let [only] = self.with(Role::Operator).as_slice() {
            odd.push(Odd::OneOperator(only.id.clone()));
        }
        odd
    }

    /// What is odd about the operations; those that are odd in one way are told together.
    fn operations(&self) -> Vec<Odd> {
        let mut gathered: BTreeMap<Odd, Vec<Operation>> = BTreeMap::new();
        for operation in Operation::ALL {
            for odd in self.policy(&self.plan.policy(operation)) {
                gathered.entry(odd).or_default().push(operation);
            }
        }
        gathered.into_iter().map(|(odd, operations)| of(odd, operations)).collect()
    }

    /// What is odd about a policy, with no operation named yet.
    fn policy(&self, policy: &ApprovalPolicy) -> Vec<Odd> {
        let mut odd = Vec::new();
        let askers = self.askers(policy);
        let able = self.with(policy.role);
        let need = usize::from(policy.required);
        let without = |asking: &Person| able.iter().filter(|person| person.id != asking.id).count();
        if askers.is_empty() {
            let why = if !policy.bind_commit || self.with(Role::Operator).is_empty() {
                Unasked::Operator
            } else if self.hears(Platform::Github) {
                Unasked::GithubAccount
            } else {
                Unasked::Github
            };
            odd.push(Odd::Unasked(Vec::new(), why));
        }
        let hopeless = policy.exclude_requester
            && !askers.is_empty()
            && askers.iter().all(|asking| without(asking) < need);
        if able.len() < need || (need > 0 && hopeless) {
            odd.push(Odd::Unapproved {
                operations: Vec::new(),
                have: able.len(),
                need: policy.required,
                role: policy.role,
                without_requester: able.len() >= need,
            });
        }
        match need {
            0 if !askers.is_empty() => odd.push(Odd::Alone(Vec::new(), Alone::NoApproval, ids(&askers))),
            1 if !policy.exclude_requester => {
                let both: Vec<&Person> = askers
                    .iter()
                    .copied()
                    .filter(|one| able.iter().any(|other| other.id == one.id))
                    .collect();
                if !both.is_empty() {
                    odd.push(Odd::Alone(Vec::new(), Alone::OwnApproval, ids(&both)));
                }
            }
            _ => {}
        }
        if policy.exclude_author && need > 0 {
            if !self.hears(Platform::Github) {
                odd.push(Odd::NoAuthors(Vec::new()));
            } else if able.len() == need {
                odd.push(Odd::AuthorsTight(Vec::new()));
            }
        }
        if self.heard.is_none() && (policy.bind_commit || policy.exclude_author) {
            odd.push(Odd::NeedsBot(Vec::new()));
        }
        odd
    }

    fn glass(&self) -> Vec<Odd> {
        let role = self.plan.break_glass.role;
        let able = self.with(role);
        if able.is_empty() {
            return vec![Odd::GlassWhole(role)];
        }
        let mut odd = vec![Odd::Glass(ids(&able))];
        // Another person with the operation's role reviews it.
        let reviewers = |person: &Person, operation| {
            let able = self.with(self.plan.policy(operation).role);
            able.iter().filter(|other| other.id != person.id).count()
        };
        let stuck = |person: &Person| -> Vec<Operation> {
            let needing = Operation::ALL.into_iter().filter(|each| self.plan.policy(*each).required > 0);
            needing.filter(|operation| reviewers(person, *operation) == 0).collect()
        };
        for person in able {
            let operations = stuck(person);
            if !operations.is_empty() {
                odd.push(Odd::Unreviewable(operations, person.id.clone()));
            }
        }
        odd
    }
}

/// The same, of these operations.
fn of(odd: Odd, these: Vec<Operation>) -> Odd {
    match odd {
        Odd::Unasked(_, why) => Odd::Unasked(these, why),
        Odd::Unapproved { have, need, role, without_requester, .. } => {
            Odd::Unapproved { operations: these, have, need, role, without_requester }
        }
        Odd::Alone(_, how, who) => Odd::Alone(these, how, who),
        Odd::NoAuthors(_) => Odd::NoAuthors(these),
        Odd::AuthorsTight(_) => Odd::AuthorsTight(these),
        Odd::NeedsBot(_) => Odd::NeedsBot(these),
        other => other,
    }
}

fn ids(people: &[&Person]) -> Vec<PersonId> {
    people.iter().map(|person| person.id.clone()).collect()
}

/// A platform's key in the plan.
const fn platform_key(platform: Platform) -> &'static str {
    match platform {
        Platform::Github => "github",
        Platform::Slack => "slack",
        Platform::Discord => "discord",
    }
}
