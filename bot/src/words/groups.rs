//! Groups that stand for roles.

use std::collections::BTreeSet;

use journal::plan::Platform;
use journal::{Group, Membership, Person, PersonId, Plan, Position, Request, Role};

use super::{list, named, place};

/// A group as people name it.
pub(crate) fn group(group: &Group) -> String {
    by_name(group.platform, group.name.as_deref().unwrap_or(&group.id))
}

fn by_name(platform: Platform, name: &str) -> String {
    match platform {
        Platform::Github => format!("GitHub's team {name}"),
        Platform::Slack => format!("Slack's user group {name}"),
        Platform::Discord => name.to_owned(),
    }
}

/// The groups that a request rests on were asked again.
pub(crate) fn asked_again(request: Position, lost: &[Membership]) -> String {
    let gone = lost.iter().map(|one| {
        format!("{} (account {} of {})", by_name(one.platform, &one.group), one.account, place(one.platform))
    });
    match lost {
        [] => format!("the groups that request #{request} rests on were asked again"),
        _ => format!("request #{request} lost words: not in {} any more", list(gone)),
    }
}

/// A person who may have a role: by the plan's word, or if a group has them.
pub(crate) fn holder(plan: &Plan, person: &Person, role: Role) -> String {
    let asked: Vec<String> = plan.asked_of(person).filter(|each| each.role == role).map(group).collect();
    if asked.is_empty() {
        person.id.to_string()
    } else {
        format!("{} (if in {})", person.id, asked.join(" or "))
    }
}

/// What stands behind a refusal for want of a role, where groups that may give it could not be asked.
#[must_use]
pub fn groups_unread(role: Role, unread: &[(Group, String)]) -> String {
    let told: Vec<String> = unread
        .iter()
        .filter(|(unread, _)| unread.role == role)
        .map(|(unread, why)| format!(" {} may give it and could not be asked: {why}.", group(unread)))
        .collect();
    if told.is_empty() { String::new() } else { told.concat() + " Say it again when that is put right." }
}

/// What stands behind a want of a role at a terminal, where nobody has the account that a group could hold.
#[must_use]
pub fn groups_elsewhere(plan: &Plan, person: &PersonId, role: Role) -> String {
    let Some(person) = plan.people.get(person) else { return String::new() };
    let asked: Vec<&Group> = plan.asked_of(person).filter(|each| each.role == role).collect();
    if asked.is_empty() {
        return String::new();
    }
    let places: BTreeSet<&str> = asked.iter().map(|each| place(each.platform)).collect();
    format!(
        " At a terminal only the plan's own roles count. {} may give it: say it on {}.",
        list(asked.into_iter().map(group)),
        places.into_iter().collect::<Vec<_>>().join(" or ")
    )
}

/// Words that rested on a group count no more.
pub(crate) fn called_roles(plan: &Plan, request: &Request, lost: &[Membership]) -> String {
    let persons = lost.iter().map(|one| {
        let theirs = |person: &&Person| person.accounts.get(&one.platform) == Some(&one.account);
        let id =
            plan.people.values().find(theirs).map_or_else(|| one.account.clone(), |one| one.id.to_string());
        let found = plan.groups.iter().find(|each| each.platform == one.platform && each.id == one.group);
        format!("{id} is not in {} any more", found.map_or_else(|| one.group.clone(), group))
    });
    format!("Request {}: {}, and what they said with its role counts no more.", named(request), list(persons))
}
