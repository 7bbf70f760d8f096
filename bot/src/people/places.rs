//! Where the plan speaks of a person or a policy. The text was read as a plan, so it is TOML, and what is looked for is there
//! or has its default.

use std::collections::BTreeMap;
use std::ops::Range;

use journal::plan::{Platform, key};
use journal::{Operation, PersonId};
use serde::Deserialize;
use toml::Spanned;

use super::Odd;

#[derive(Debug, Default, Deserialize)]
struct Raw {
    #[serde(default)]
    person: Vec<RawPerson>,
    #[serde(default)]
    group: Vec<Spanned<RawGroup>>,
    #[serde(default)]
    approvals: BTreeMap<String, Spanned<RawPolicy>>,
    break_glass: Option<Spanned<RawGlass>>,
}

#[derive(Debug, Deserialize)]
struct RawPerson {
    id: Spanned<String>,
    github: Option<Spanned<u64>>,
    slack: Option<Spanned<String>>,
    discord: Option<Spanned<String>>,
}

#[derive(Debug, Deserialize)]
struct RawGroup {
    role: String,
    github_team_id: Option<u64>,
    slack_group: Option<String>,
}

#[derive(Debug, Deserialize)]
struct RawPolicy {
    required: Option<Spanned<u64>>,
    role: Option<Spanned<String>>,
    exclude_requester: Option<Spanned<bool>>,
    exclude_author: Option<Spanned<bool>>,
    bind_commit: Option<Spanned<bool>>,
}

#[derive(Debug, Deserialize)]
struct RawGlass {
    role: Option<Spanned<String>>,
}

/// The places of a plan's text.
#[derive(Debug)]
pub(super) struct Places<'t> {
    text: &'t str,
    raw: Raw,
}

/// A policy's key that a reader should look at.
#[derive(Clone, Copy)]
enum Said {
    Required,
    Role,
    Requester,
    Author,
    Commit,
}

impl<'t> Places<'t> {
    pub(super) fn of(text: &'t str) -> Self {
        Self { text, raw: toml::from_str(text).unwrap_or_default() }
    }

    /// Line and column, from 1.
    pub(super) fn at(&self, odd: &Odd) -> (usize, usize) {
        let span = match odd {
            Odd::Unknowable(person)
            | Odd::Unmapped(person)
            | Odd::OneOperator(person)
            | Odd::Unreviewable(_, person) => self.person(person, None),
            Odd::Unheard(person, platform) => self.person(person, Some(*platform)),
            Odd::OtherTeam(person) | Odd::OneUser(_, person) => self.person(person, Some(Platform::Slack)),
            Odd::Unasked(operations, _) => self.policy(operations, Said::Commit),
            Odd::Unapproved { operations, without_requester, .. } => {
                let said = if *without_requester { Said::Requester } else { Said::Role };
                self.policy(operations, said)
            }
            Odd::Alone(operations, ..) => self.policy(operations, Said::Required),
            Odd::NoAuthors(operations) | Odd::AuthorsTight(operations) => {
                self.policy(operations, Said::Author)
            }
            Odd::NeedsBot(operations) => {
                self.policy(operations, Said::Commit).or_else(|| self.policy(operations, Said::Author))
            }
            Odd::GlassWhole(_) | Odd::Glass(_) => self
                .raw
                .break_glass
                .as_ref()
                .map(|glass| glass.get_ref().role.as_ref().map_or_else(|| glass.span(), Spanned::span)),
            Odd::GroupUnheard(group) => self.group(|given| {
                given.github_team_id.is_some_and(|id| id.to_string() == group.id)
                    || given.slack_group.as_deref() == Some(group.id.as_str())
            }),
            Odd::ByGroup(role, _) => self.group(|given| given.role == crate::conversation::role_word(*role)),
            Odd::Unfilled(_) => None,
        };
        // What is not said is a default: it stands with the people.
        let first = || self.raw.person.first().map(|person| person.id.span());
        self.line(&span.or_else(first).unwrap_or(0..0))
    }

    fn person(&self, id: &PersonId, platform: Option<Platform>) -> Option<Range<usize>> {
        let found = self.raw.person.iter().find(|person| person.id.get_ref() == id.as_str())?;
        let account = platform.and_then(|platform| match platform {
            Platform::Github => found.github.as_ref().map(Spanned::span),
            Platform::Slack => found.slack.as_ref().map(Spanned::span),
            Platform::Discord => found.discord.as_ref().map(Spanned::span),
        });
        Some(account.unwrap_or_else(|| found.id.span()))
    }

    /// The first group that is as the test wants it.
    fn group(&self, wanted: impl Fn(&RawGroup) -> bool) -> Option<Range<usize>> {
        self.raw.group.iter().find(|group| wanted(group.get_ref())).map(Spanned::span)
    }

    /// The first of these policies that says it, or else that has a section.
    fn policy(&self, operations: &[Operation], said: Said) -> Option<Range<usize>> {
        let sections: Vec<&Spanned<RawPolicy>> =
            operations.iter().filter_map(|operation| self.raw.approvals.get(key(*operation))).collect();
        let place = |section: &&Spanned<RawPolicy>| {
            let policy = section.get_ref();
            let flag = |flag: &Option<Spanned<bool>>| flag.as_ref().map(Spanned::span);
            match said {
                Said::Required => policy.required.as_ref().map(Spanned::span),
                Said::Role => {
                    let role = policy.role.as_ref().map(Spanned::span);
                    role.or_else(|| policy.required.as_ref().map(Spanned::span))
                }
                Said::Requester => flag(&policy.exclude_requester),
                Said::Author => flag(&policy.exclude_author),
                Said::Commit => flag(&policy.bind_commit),
            }
        };
        let exact = sections.iter().find_map(place);
        exact.or_else(|| sections.first().map(|section| section.span()))
    }

    fn line(&self, span: &Range<usize>) -> (usize, usize) {
        let before = self.text.get(..span.start).unwrap_or_default();
        let start = before.rfind('\n').map_or(0, |at| at + 1);
        let column = before.get(start..).unwrap_or_default().chars().count() + 1;
        (before.matches('\n').count() + 1, column)
    }
}
