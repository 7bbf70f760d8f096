//! The rules across the plan: who can approve, in which order phases move, what they share.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use super::super::may_have_role;
use super::super::model::{Group, LeverSettings, Person, Role, SecretRef, TablePattern};
use super::Reader;
use super::people::Policies;
use super::phase::{Draft, filter_of};
use crate::ids::{PersonId, PhaseName, TableName};
use crate::operation::Operation;

const fn role_word(role: Role) -> &'static str {
    match role {
        Role::Operator => "operator",
        Role::Approver => "approver",
    }
}

fn list<T: ToString>(items: impl IntoIterator<Item = T>) -> String {
    items.into_iter().map(|item| item.to_string()).collect::<Vec<_>>().join(", ")
}

/// What two phases could both move.
enum Shared<'d> {
    Table(&'d TableName),
    Patterns(&'d TablePattern, &'d TablePattern),
}

impl Reader<'_> {
    /// Refuses a plan under which nobody could ask, or an operation could never get its approvals.
    pub(super) fn check_quorum(
        &mut self,
        (people, groups): (&BTreeMap<PersonId, Person>, &[Group]),
        approvals: &Policies,
        place: &Range<usize>,
    ) {
        let with = |role: Role| people.values().filter(move |person| may_have_role(person, groups, role));
        if with(Role::Operator).next().is_none() {
            self.problems.add(place, "nobody has the role operator, so nobody could start a phase");
        }
        // Operations that fail for one reason are one problem.
        let mut failing: BTreeMap<(u8, Role, bool), Vec<Operation>> = BTreeMap::new();
        for (operation, policy) in &approvals.policies {
            let able = with(policy.role).count();
            let required = usize::from(policy.required);
            // Whoever asks for it is an operator; without their own word the others must be enough.
            let left = |asking: &Person| with(policy.role).filter(|person| person.id != asking.id).count();
            let excluded = policy.exclude_requester && required > 0;
            let hopeless = excluded && !with(Role::Operator).any(|asking| left(asking) >= required);
            if able < required || hopeless {
                failing.entry((policy.required, policy.role, able >= required)).or_default().push(*operation);
            }
        }
        for ((required, role, excluded), operations) in failing {
            let able = with(role).count();
            let said = operations.iter().find_map(|operation| approvals.places.get(operation));
            let names = list(operations.iter().copied().map(super::super::key));
            let needs = if operations.len() == 1 { "needs" } else { "need" };
            let role = role_word(role);
            let mut what =
                format!("{names} {needs} {required} persons with the role {role}, the plan has {able}");
            if excluded {
                what.push_str(", and with `exclude_requester` whoever asks is not one of them");
            }
            self.problems.add(said.unwrap_or(place), what);
        }
    }

    /// Refuses phases that wait for each other, or for themselves.
    pub(super) fn check_order(&mut self, drafts: &[Draft]) {
        let mut told: BTreeSet<Vec<&PhaseName>> = BTreeSet::new();
        for draft in drafts {
            for first in &draft.after {
                if first.value == draft.name.value {
                    self.problems
                        .add(&first.span, format!("the phase {} cannot come after itself", first.value));
                    continue;
                }
                let Some(mut way) = way(drafts, &first.value, &draft.name.value, &mut BTreeSet::new()) else {
                    continue;
                };
                way.insert(0, &draft.name.value);
                let mut members: Vec<&PhaseName> = way.clone();
                members.sort();
                members.dedup();
                if told.insert(members) {
                    let way: Vec<&str> = way.iter().map(|name| name.as_str()).collect();
                    self.problems.add(
                        &first.span,
                        format!(
                            "phases wait for each other: {}, and none of them could be cut over",
                            way.join(" after ")
                        ),
                    );
                }
            }
        }
    }

    /// Refuses phases of one name, and phases that could move the same row.
    pub(super) fn check_phases(&mut self, drafts: &[Draft]) {
        for (index, draft) in drafts.iter().enumerate() {
            for other in drafts.iter().take(index) {
                if other.name.value == draft.name.value {
                    self.problems
                        .add(&draft.name.span, format!("the phase {} is named twice", draft.name.value));
                    continue;
                }
                if other.unread || draft.unread || !self.is_whole {
                    continue;
                }
                self.check_shared(other, draft);
            }
        }
    }

    /// Refuses phases that one entry of a pgbouncer would move: it leads one way for all who use it.
    pub(super) fn check_entries(&mut self, drafts: &[Draft]) {
        for (index, draft) in drafts.iter().enumerate() {
            let Some((entry, of)) = entry(draft) else { continue };
            let same = drafts.iter().take(index).find(|other| {
                let Some((name, theirs)) = self::entry(other) else { return false };
                name == entry && (of.0 == theirs.0 || of.1 == theirs.1)
            });
            if let Some(other) = same {
                let line = 1 + self.text.get(..other.entry.start).unwrap_or_default().matches('\n').count();
                self.problems.add(
                    &draft.entry,
                    format!(
                        "the phases {} (line {line}) and {} would both be moved by the entry {entry} of one pgbouncer, and it \
                         leads one way for all: put their tables into one phase, or give each phase an entry of its own",
                        other.name.value, draft.name.value
                    ),
                );
            }
        }
    }

    fn check_shared(&mut self, one: &Draft, two: &Draft) {
        let (first, second) = (&one.name.value, &two.name.value);
        for (span, shared) in shared(one, two) {
            let (what, apart) = match &shared {
                Shared::Table(table) => (format!("the table {table} is"), apart(one, two, table)),
                Shared::Patterns(pattern, other) => {
                    let what = if pattern == other {
                        format!("tables like {pattern} are")
                    } else {
                        format!("tables like both {pattern} and {other} would be")
                    };
                    (what, patterns_apart(one, two, (pattern, other)))
                }
            };
            match apart {
                Apart::Proven => {}
                Apart::NoFilter => self.problems.add(
                    &span,
                    format!("{what} in the phases {first} and {second}: without filters phases cannot share a table"),
                ),
                Apart::Unproven => self.problems.add(
                    &span,
                    format!(
                        "{what} in the phases {first} and {second}, and nothing proves that no row is in both: filter \
                         both on one column, by values that exclude each other"
                    ),
                ),
            }
        }
    }
}

/// The entry that moves a phase's traffic, and by what its pgbouncer is known: its console and its file.
fn entry(draft: &Draft) -> Option<(&str, (&SecretRef, &str))> {
    match draft.lever.as_ref()? {
        LeverSettings::Pgbouncer { admin, ini, database, .. } => Some((database, (admin, ini))),
        LeverSettings::Command { .. } => None,
    }
}

/// Whether no row of a table can be in two phases.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Apart {
    Proven,
    NoFilter,
    Unproven,
}

fn apart(one: &Draft, two: &Draft, table: &TableName) -> Apart {
    match (filter_of(one, table), filter_of(two, table)) {
        (Some(first), Some(second)) if first.disjoint(second) => Apart::Proven,
        (Some(_), Some(_)) => Apart::Unproven,
        _ => Apart::NoFilter,
    }
}

/// The same for every table that two patterns could both name: by the phases' filters, and by each that one of these
/// tables has of its own.
fn patterns_apart(one: &Draft, two: &Draft, (first, second): (&TablePattern, &TablePattern)) -> Apart {
    let own = one.filters.keys().chain(two.filters.keys());
    let own: Vec<Apart> = own
        .filter(|table| first.matches(table) && second.matches(table))
        .map(|table| apart(one, two, table))
        .collect();
    let rest = match (&one.filter, &two.filter) {
        (Some(first), Some(second)) if first.disjoint(second) => Apart::Proven,
        (Some(_), Some(_)) => Apart::Unproven,
        _ => Apart::NoFilter,
    };
    [rest].into_iter().chain(own).find(|each| *each != Apart::Proven).unwrap_or(Apart::Proven)
}

/// What two phases could both move, each at its place in the second.
fn shared<'d>(one: &'d Draft, two: &'d Draft) -> Vec<(Range<usize>, Shared<'d>)> {
    let mut found = Vec::new();
    for table in &two.tables {
        let outright = one.tables.iter().any(|other| other.value == table.value);
        if outright || one.patterns.iter().any(|pattern| pattern.value.matches(&table.value)) {
            found.push((table.span.clone(), Shared::Table(&table.value)));
        }
    }
    for pattern in &two.patterns {
        for table in &one.tables {
            if pattern.value.matches(&table.value) && !two.tables.iter().any(|own| own.value == table.value) {
                found.push((pattern.span.clone(), Shared::Table(&table.value)));
            }
        }
        for other in &one.patterns {
            if meet(&other.value.to_string(), &pattern.value.to_string()) {
                found.push((pattern.span.clone(), Shared::Patterns(&other.value, &pattern.value)));
            }
        }
    }
    found
}

/// Whether a text exists that two patterns both match.
fn meet(one: &str, two: &str) -> bool {
    let (one, two): (Vec<char>, Vec<char>) = (one.chars().collect(), two.chars().collect());
    // Whether what is left of both after so many letters can still meet; from the ends.
    let mut meets = vec![vec![false; two.len() + 1]; one.len() + 1];
    for at in (0..=one.len()).rev() {
        for other in (0..=two.len()).rev() {
            let known = |at: usize, other: usize| {
                meets.get(at).and_then(|row: &Vec<bool>| row.get(other)).copied().unwrap_or(false)
            };
            let can = match (one.get(at), two.get(other)) {
                (None, None) => true,
                (Some('*'), Some('*')) => known(at + 1, other) || known(at, other + 1),
                (Some('*'), Some(_)) => known(at + 1, other) || known(at, other + 1),
                (Some(_), Some('*')) => known(at, other + 1) || known(at + 1, other),
                (Some('*'), None) => known(at + 1, other),
                (None, Some('*')) => known(at, other + 1),
                (Some(a), Some(b)) => a == b && known(at + 1, other + 1),
                _ => false,
            };
            if let Some(cell) = meets.get_mut(at).and_then(|row| row.get_mut(other)) {
                *cell = can;
            }
        }
    }
    meets.first().and_then(|row| row.first()).copied().unwrap_or(false)
}

/// The phases from one back to another along `after`, both named.
fn way<'d>(
    drafts: &'d [Draft],
    from: &'d PhaseName,
    to: &'d PhaseName,
    seen: &mut BTreeSet<&'d PhaseName>,
) -> Option<Vec<&'d PhaseName>> {
    if from == to {
        return Some(vec![from]);
    }
    if !seen.insert(from) {
        return None;
    }
    let draft = drafts.iter().find(|draft| draft.name.value == *from)?;
    draft.after.iter().find_map(|next| {
        let mut rest = way(drafts, &next.value, to, seen)?;
        rest.insert(0, from);
        Some(rest)
    })
}
