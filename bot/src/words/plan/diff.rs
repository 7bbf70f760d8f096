//! What a revision of a plan changes, and what adopting it would do.

use std::fmt::Write as _;
use std::path::Path;

use journal::{PhaseName, Plan, PlanHash, RequestStatus, State};

use super::said::{self, Said};
use crate::words::{list, named, still};

/// Two plans and the files they stand in.
#[derive(Debug, Clone, Copy)]
pub struct Revision<'p> {
    /// The plan before, and its file.
    pub old: (&'p Path, &'p Plan),
    /// The plan after, and its file.
    pub new: (&'p Path, &'p Plan),
}

/// What a revision changes, phase by phase, and which requests it voids.
#[must_use]
pub fn diff(revision: Revision<'_>) -> String {
    let ((old_file, old), (new_file, new)) = (revision.old, revision.new);
    let mut text = format!(
        "{} is plan {}, {} is plan {}.\n",
        old_file.display(),
        old.hash().short(),
        new_file.display(),
        new.hash().short()
    );
    let places = changes(Some(&said::places(old)), Some(&said::places(new)));
    if old.hash() == new.hash() {
        text.push_str("They mean the same: no approval is void, and `serve` takes either.\n");
        text.push_str(&elsewhere(&places));
        return text.trim_end().to_owned();
    }
    let shared = shared(old, new);
    if !shared.is_empty() {
        text.push_str("\nshared sections, which every phase is bound to:\n");
        text.push_str(&shared);
    }
    for name in names(old, new) {
        phase(&mut text, name, old, new);
    }
    text.push_str(&elsewhere(&places));
    let (changed, same): (Vec<_>, Vec<_>) =
        old.phases.iter().map(|phase| &phase.name).partition(|name| old.hash_for(name) != new.hash_for(name));
    if !changed.is_empty() {
        let _written = writeln!(text, "\nAdopting it voids every open request of {}.", list(changed));
    }
    if !same.is_empty() {
        let _written = writeln!(text, "Requests of {} stay as they are.", list(same));
    }
    text.trim_end().to_owned()
}

/// What adopting the plan would do to the journal as it is now.
#[must_use]
pub fn adoption(revision: Revision<'_>, state: &State) -> String {
    let (_, new) = revision.new;
    let Some((adopted, hash)) = &state.plan else {
        return "The journal has no plan yet: adopting this one voids nothing.".to_owned();
    };
    let mut text = String::new();
    if *hash != revision.old.1.hash() {
        let _written = writeln!(
            text,
            "The journal's plan is {}, not {}: what follows is measured against the journal's.",
            hash.short(),
            revision.old.0.display()
        );
    }
    if state.migration.as_ref().is_some_and(|name| *name != new.migration)
        || adopted.migration != new.migration
    {
        let _written = writeln!(
            text,
            "The journal belongs to the migration {}: it refuses this plan.",
            adopted.migration
        );
        return text.trim_end().to_owned();
    }
    if *hash == new.hash() {
        text.push_str("The journal's plan means the same already: there is nothing to adopt.");
        return text;
    }
    let frozen = |name: &PhaseName| adopted.hash_for(name) != new.hash_for(name);
    let left_out = state.live_without(new);
    let mut refused = !left_out.is_empty();
    for name in &left_out {
        let _written = writeln!(
            text,
            "{}, and this plan leaves it out: the journal refuses it until {name} is retired or completed.",
            still(state, name)
        );
    }
    for name in state.phases.keys().filter(|name| !left_out.contains(name)) {
        let Some(run) = state.operation(name) else { continue };
        if frozen(name) {
            refused = true;
            let _written = writeln!(
                text,
                "{name} is in mid-operation ({}, request #{}, at {}), and this plan changes it: the journal refuses it until \
                 the operation ends, or is aborted.",
                run.operation, run.request, run.step
            );
        } else {
            let _written = writeln!(
                text,
                "{name} is in mid-operation ({}, request #{}): it ends by the plan it began with, which is the same for it.",
                run.operation, run.request
            );
        }
    }
    let void: Vec<String> = state
        .requests
        .values()
        .filter(|request| request.status == RequestStatus::Open)
        .filter(|request| new.hash_for(&request.phase) != request.plan_hash)
        .map(named)
        .collect();
    match (void.is_empty(), refused) {
        (true, _) => text.push_str("No open request would be void."),
        (false, false) => {
            let _written = write!(text, "Void as soon as it is adopted: {}.", void.join(", "));
        }
        (false, true) => {
            let _written = write!(text, "Void as soon as it can be adopted: {}.", void.join(", "));
        }
    }
    text
}

/// The phases of both, the old one's first.
fn names<'p>(old: &'p Plan, new: &'p Plan) -> Vec<&'p PhaseName> {
    let mut names: Vec<&PhaseName> = old.phases.iter().map(|phase| &phase.name).collect();
    names.extend(new.phases.iter().map(|phase| &phase.name).filter(|name| old.phase(name).is_none()));
    names
}

fn phase(text: &mut String, name: &PhaseName, old: &Plan, new: &Plan) {
    let bound = |plan: &Plan| plan.hash_for(name).short();
    let _written = match (old.phase(name), new.phase(name)) {
        (Some(before), Some(after)) => {
            let changed = changes(Some(&said::phase(before)), Some(&said::phase(after)));
            if old.hash_for(name) == new.hash_for(name) {
                writeln!(text, "\nphase {name}: unchanged, bound to {}", bound(new))
            } else if changed.is_empty() {
                writeln!(
                    text,
                    "\nphase {name}: itself unchanged; bound to {} → {} by the shared sections",
                    bound(old),
                    bound(new)
                )
            } else {
                write!(
                    text,
                    "\nphase {name}: bound to {} → {}\n{}",
                    bound(old),
                    bound(new),
                    indented(&changed)
                )
            }
        }
        (None, Some(after)) => write!(
            text,
            "\nphase {name}: new, bound to {}\n{}",
            bound(new),
            indented(&changes(None, Some(&said::phase(after))))
        ),
        (Some(_), None) => writeln!(text, "\nphase {name}: no more in the plan; was bound to {}", bound(old)),
        (None, None) => Ok(()),
    };
}

fn shared(old: &Plan, new: &Plan) -> String {
    let mut text = String::new();
    let (before, after) = (said::shared(old), said::shared(new));
    let mut titles: Vec<&str> = before.iter().map(|said| said.title.as_str()).collect();
    titles.extend(
        after
            .iter()
            .map(|said| said.title.as_str())
            .filter(|title| !before.iter().any(|said| said.title == *title)),
    );
    for title in titles {
        let of = |all: &'_ [Said]| all.iter().find(|said| said.title == title).cloned();
        let (one, two) = (of(&before), of(&after));
        let word = match (&one, &two) {
            (None, Some(_)) => " is new",
            (Some(_), None) => " is gone",
            _ => "",
        };
        let changed = changes(one.as_ref(), two.as_ref());
        if !changed.is_empty() {
            let _written = write!(text, "  {title}{word}\n{}", indented(&changed).replace("  ", "    "));
        }
    }
    for (word, windows, others) in [("gone", &old.windows, &new.windows), ("new", &new.windows, &old.windows)]
    {
        for window in windows.iter().filter(|window| !others.contains(window)) {
            let _written = writeln!(text, "  [[window]] is {word}\n    {}", said::window(window));
        }
    }
    text
}

/// Each key whose value changed: `key: old → new`.
fn changes(old: Option<&Said>, new: Option<&Said>) -> Vec<String> {
    let empty = Vec::new();
    let (before, after) =
        (old.map_or(&empty, |said| &said.settings), new.map_or(&empty, |said| &said.settings));
    let mut keys: Vec<&String> = before.iter().map(|(key, _)| key).collect();
    keys.extend(
        after.iter().map(|(key, _)| key).filter(|key| !before.iter().any(|(other, _)| other == *key)),
    );
    let line = |key: &String| {
        let (one, two) = (old.and_then(|said| said.get(key)), new.and_then(|said| said.get(key)));
        match (one, two) {
            (Some(one), Some(two)) if one == two => None,
            (Some(one), Some(two)) => Some(format!("{key}: {one} → {two}")),
            (None, Some(two)) if old.is_none() => Some(format!("{key}: {two}")),
            (None, Some(two)) => Some(format!("{key}: none → {two}")),
            (Some(one), None) if new.is_none() => Some(format!("{key}: {one}")),
            (Some(one), None) => Some(format!("{key}: {one} → none")),
            (None, None) => None,
        }
    };
    keys.into_iter().filter_map(line).collect()
}

fn indented(lines: &[String]) -> String {
    lines.iter().map(|line| format!("  {line}\n")).collect()
}

fn elsewhere(places: &[String]) -> String {
    if places.is_empty() {
        return String::new();
    }
    format!("\nno part of the meaning, and bound to nothing:\n{}", indented(places))
}

/// A plan that is now the current one.
#[must_use]
pub fn adopted(hash: &PlanHash, state: &State, void: &[String]) -> String {
    let mut text = format!("Plan {} is adopted.", hash.short());
    match void {
        [] => text.push_str(" No open request was bound to another plan."),
        [one] => {
            let _written = write!(text, " One open request was bound to another plan and is void: {one}.");
        }
        many => {
            let _written = write!(
                text,
                " {} open requests were bound to another plan and are void: {}.",
                many.len(),
                many.join(", ")
            );
        }
    }
    for name in state.phases.keys() {
        if let Some(run) = state.operation(name) {
            let _written = write!(
                text,
                " The {} of {name} (request #{}) goes on and ends by the plan it began with, which is the same for it.",
                run.operation, run.request
            );
        }
    }
    text.push_str(" A running `switchyard serve` goes on under it; start the next one with this file.");
    text
}
