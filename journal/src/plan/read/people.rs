//! The people, what they may do, and who must approve what.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::time::Duration;

use super::super::model::{ApprovalPolicy, BreakGlass, Group, Person, Platform, Role};
use super::Reader;
use super::schema::ROLES;
use super::table::{At, Table};
use crate::ids::PersonId;
use crate::operation::Operation;

/// Four hours: a request outlives a lunch, and no night.
const EXPIRES: Duration = Duration::from_secs(4 * 3600);
/// How the ids of Slack's users and user groups begin.
const USERS: &[char] = &['U', 'W'];
const GROUPS: &[char] = &['S'];

/// A day.
const REVIEW_WITHIN: Duration = Duration::from_secs(24 * 3600);

/// The policies, and where what they say stands.
#[derive(Debug)]
pub(super) struct Policies {
    pub(super) policies: BTreeMap<Operation, ApprovalPolicy>,
    /// The place of what a policy demands, where it says it.
    pub(super) places: BTreeMap<Operation, std::ops::Range<usize>>,
}

fn role(word: &str) -> Role {
    if word == "operator" { Role::Operator } else { Role::Approver }
}

/// `TEAM/USER` or `TEAM/GROUP`, as Slack gives its ids: a letter that tells the kind, then capitals and digits.
fn is_slack(account: &str, kinds: &[char]) -> bool {
    let id = |text: &str, kinds: &[char]| {
        text.len() >= 2
            && text.starts_with(kinds)
            && text.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit())
    };
    account.split_once('/').is_some_and(|(team, user)| id(team, &['T', 'E']) && id(user, kinds))
}

/// `org/slug`, as they stand in a team's address.
fn is_team(name: &str) -> bool {
    let is_plain = |part: &str| {
        !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
    };
    name.split_once('/').is_some_and(|(org, slug)| is_plain(org) && is_plain(slug))
}

impl Reader<'_> {
    /// `asked` are the platforms whose groups stand for roles.
    pub(super) fn people(
        &mut self,
        tables: &[Table<'_>],
        asked: &BTreeSet<Platform>,
    ) -> BTreeMap<PersonId, Person> {
        let mut people = BTreeMap::new();
        let mut tokens: BTreeMap<String, PersonId> = BTreeMap::new();
        let mut accounts: BTreeMap<(Platform, String), PersonId> = BTreeMap::new();
        for table in tables {
            let Some(id) = self.name(table.text("id"), PersonId::new) else { continue };
            let roles: BTreeSet<Role> = table
                .texts("roles")
                .map(|list| list.value)
                .unwrap_or_default()
                .iter()
                .filter_map(|given| super::shape::word(given.value, ROLES))
                .map(role)
                .collect();
            let local_token_sha256 = table.text("local_token_sha256").and_then(|token| self.token(&token));
            if let Some(token) = &local_token_sha256
                && let Some(other) = tokens.insert(token.clone(), id.clone())
                && let Some(at) = table.text("local_token_sha256")
            {
                self.problems.add(
                    &at.span,
                    format!("{other} and {id} have the same token: one of them could approve as both"),
                );
            }
            let theirs = self.accounts(table);
            for (platform, At { value, span }) in &theirs {
                if let Some(other) = accounts.insert((*platform, value.clone()), id.clone()) {
                    self.problems.add(
                        span,
                        format!(
                            "{other} and {id} have the same account: whoever has it could approve as both"
                        ),
                    );
                }
            }
            let place = table.text("id").map_or_else(|| table.span.clone(), |at| at.span);
            let may_by_group = theirs.keys().any(|platform| asked.contains(platform));
            if roles.is_empty() && !may_by_group {
                self.problems
                    .warn(&place, format!("{id} has no roles, and may ask for nothing and approve nothing"));
            } else if local_token_sha256.is_none() && theirs.is_empty() {
                self.problems.warn(
                    &place,
                    format!("{id} has no account and no token, and can be known nowhere (see `switchyard token new`)"),
                );
            }
            let person = Person {
                id: id.clone(),
                roles,
                local_token_sha256,
                accounts: theirs.into_iter().map(|(platform, at)| (platform, at.value)).collect(),
            };
            match people.entry(id) {
                Entry::Occupied(other) => {
                    self.problems.add(&place, format!("the person {} is named twice", other.key()));
                }
                Entry::Vacant(free) => {
                    free.insert(person);
                }
            }
        }
        people
    }

    fn token(&mut self, At { value, span }: &At<&str>) -> Option<String> {
        let right =
            value.len() == 64 && value.chars().all(|c| c.is_ascii_digit() || ('a'..='f').contains(&c));
        if right {
            return Some((*value).to_owned());
        }
        // It may be the token itself, so nothing of it is repeated.
        self.problems.add(
            span,
            "expected the SHA-256 of the token: 64 lower-case hexadecimal digits, as `switchyard token new` prints them",
        );
        None
    }

    fn accounts(&mut self, table: &Table<'_>) -> BTreeMap<Platform, At<String>> {
        let mut accounts = BTreeMap::new();
        if let Some(At { value, span }) = table.number("github") {
            if value == 0 {
                self.problems.add(
                    &span,
                    "`github` is the account's number, from 1; never its login, which can change hands",
                );
            } else {
                accounts.insert(Platform::Github, At { value: value.to_string(), span });
            }
        }
        if let Some(At { value, span }) = table.text("slack") {
            if is_slack(value, USERS) {
                accounts.insert(Platform::Slack, At { value: value.to_owned(), span });
            } else {
                let upper = value.trim().to_uppercase();
                self.problems.suggest(
                    &span,
                    format!("`{value}` is no Slack account: expected the ids of its team and user, as in T01ABCDEF/U02ABCDEF"),
                    is_slack(&upper, USERS).then_some(upper),
                );
            }
        }
        if let Some(At { value, span }) = table.text("discord") {
            if !value.is_empty() && value.len() <= 20 && value.chars().all(|c| c.is_ascii_digit()) {
                accounts.insert(Platform::Discord, At { value: value.to_owned(), span });
            } else {
                self.problems.add(
                    &span,
                    format!("`{value}` is no Discord account: expected its id, digits alone, as in \"80351110224678912\""),
                );
            }
        }
        accounts
    }

    /// The groups that stand for roles.
    pub(super) fn groups(&mut self, tables: &[Table<'_>]) -> Vec<Group> {
        let mut groups: Vec<Group> = Vec::new();
        for table in tables {
            let (Some(given), Some((platform, id, name, span))) =
                (table.word("role", ROLES), self.group(table))
            else {
                continue;
            };
            let group = Group { role: role(given.value), platform, id, name };
            if groups.iter().any(|other| other.role == group.role && other.id == group.id) {
                self.problems.add(&span, "this group is named twice for one role");
            }
            groups.push(group);
        }
        groups
    }

    /// Which group a table names, by the platform's immutable id.
    fn group(&mut self, table: &Table<'_>) -> Option<(Platform, String, Option<String>, Range<usize>)> {
        let (team, number) = (table.text("github_team"), table.number("github_team_id"));
        match (team, number, table.text("slack_group")) {
            (Some(At { value, span }), Some(At { value: number, .. }), None) => {
                if !is_team(value) || number == 0 {
                    self.problems.add(
                        &span,
                        format!("`{value}` and `github_team_id` name no team: expected \"org/slug\" and the team's number, from 1"),
                    );
                    return None;
                }
                Some((Platform::Github, number.to_string(), Some(value.to_owned()), span))
            }
            (None, None, Some(At { value, span })) => {
                if !is_slack(value, GROUPS) {
                    let upper = value.trim().to_uppercase();
                    self.problems.suggest(
                        &span,
                        format!("`{value}` is no user group of Slack: expected the ids of its team and group, as in T01ABCDEF/S02ABCDEF"),
                        is_slack(&upper, GROUPS).then_some(upper),
                    );
                    return None;
                }
                Some((Platform::Slack, value.to_owned(), None, span))
            }
            _ => {
                self.problems.add(
                    &table.span,
                    "a group is `github_team` with `github_team_id`, since a name can change hands, or `slack_group`",
                );
                None
            }
        }
    }

    pub(super) fn approvals(&mut self, table: Option<&Table<'_>>) -> Policies {
        let mut policies = BTreeMap::new();
        let mut places = BTreeMap::new();
        for operation in Operation::ALL {
            let mut policy = ApprovalPolicy {
                required: operation.default_approvals(),
                role: Role::Approver,
                expires: EXPIRES,
                exclude_requester: false,
                exclude_author: false,
                bind_commit: false,
            };
            let said = table.and_then(|table| table.table(super::super::key(operation)));
            // It came later than the first plans: one that says nothing of it keeps its meaning, and so its hash.
            if said.is_none() && operation == Operation::CompleteSourceLost {
                continue;
            }
            if let Some(said) = said {
                policy.expires = self.length(said.text("expires"), EXPIRES);
                policy.exclude_requester = said.flag("exclude_requester").unwrap_or(false);
                policy.exclude_author = said.flag("exclude_author").unwrap_or(false);
                policy.bind_commit = said.flag("bind_commit").unwrap_or(false);
                places.insert(operation, said.span.clone());
                if let Some(at) = said.word("role", ROLES) {
                    policy.role = role(at.value);
                }
                if let Some(At { value, span }) = said.number("required") {
                    let least = operation.default_approvals();
                    match u8::try_from(value) {
                        Ok(required) if required >= least => policy.required = required,
                        Ok(_) => self.problems.suggest(
                            &span,
                            format!("{operation} needs at least {least} distinct persons"),
                            Some(least.to_string()),
                        ),
                        Err(_) => self.problems.add(&span, "`required` must be from 0 to 255"),
                    }
                    places.insert(operation, span);
                }
            }
            policies.insert(operation, policy);
        }
        Policies { policies, places }
    }

    pub(super) fn break_glass(&mut self, table: Option<&Table<'_>>) -> BreakGlass {
        let said = table.and_then(|table| table.word("role", ROLES));
        BreakGlass {
            role: said.map_or(Role::Approver, |at| role(at.value)),
            review_within: self.length(table.and_then(|table| table.text("review_within")), REVIEW_WITHIN),
        }
    }
}
