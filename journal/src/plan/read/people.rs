//! The people, what they may do, and who must approve what.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::super::model::{ApprovalPolicy, BreakGlass, Person, Platform, Role};
use super::Reader;
use super::schema::ROLES;
use super::table::{At, Table};
use crate::ids::PersonId;
use crate::operation::Operation;

/// Four hours: a request outlives a lunch, and no night.
const EXPIRES: Duration = Duration::from_secs(4 * 3600);
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

/// `TEAM/USER`, as Slack gives its ids: a letter that tells the kind, then capitals and digits.
fn is_slack(account: &str) -> bool {
    let id = |text: &str, kinds: &[char]| {
        text.len() >= 2
            && text.starts_with(kinds)
            && text.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit())
    };
    account.split_once('/').is_some_and(|(team, user)| id(team, &['T', 'E']) && id(user, &['U', 'W']))
}

impl Reader<'_> {
    pub(super) fn people(&mut self, tables: &[Table<'_>]) -> BTreeMap<PersonId, Person> {
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
            if roles.is_empty() {
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
        let lower = value.trim().to_lowercase();
        let meant = (lower.len() == 64 && lower.chars().all(|c| c.is_ascii_hexdigit())).then_some(lower);
        self.problems.suggest(
            span,
            "expected the SHA-256 of the token: 64 lower-case hexadecimal digits, as `switchyard token new` prints them",
            meant,
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
            if is_slack(value) {
                accounts.insert(Platform::Slack, At { value: value.to_owned(), span });
            } else {
                let upper = value.trim().to_uppercase();
                self.problems.suggest(
                    &span,
                    format!("`{value}` is no Slack account: expected the ids of its team and user, as in T01ABCDEF/U02ABCDEF"),
                    is_slack(&upper).then_some(upper),
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
            if let Some(said) = table.and_then(|table| table.table(super::super::key(operation))) {
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
