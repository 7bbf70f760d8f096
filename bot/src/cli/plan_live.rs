//! `switchyard plan check --connect`: the plan held against its databases and its levers.

use std::path::Path;
use std::time::Duration;

use executors::levers::does_not_answer;
use executors::postgres::live::{self, Seen};
use executors::postgres::preflight::Subject;
use journal::{Plan, PlanProblem, Side};
use runtime::Scrubber;

use super::exit::Failure;
use crate::preflight::{database, look_at_lever, served};
use crate::words;

/// How long a lever may take to be looked at where a plan is adopted.
const LOOK: Duration = Duration::from_secs(10);

/// What the databases say of a plan.
#[derive(Debug)]
pub(super) struct Live {
    /// What `start` would refuse, each at its place in the plan.
    pub(super) problems: Vec<PlanProblem>,
    /// What is good to know.
    pub(super) warnings: Vec<PlanProblem>,
    /// What was seen besides, for people.
    pub(super) told: String,
}

/// Connects to both sides and to each lever, and looks. Nothing is changed.
///
/// # Errors
/// A connection string is missing, or a side cannot be reached.
pub(super) async fn look(text: &str, (plan, folder): (&Plan, &Path)) -> Result<Live, Failure> {
    let scrubber = Scrubber::default();
    let side = |side| database(side, (plan, folder), &scrubber).map_err(Failure::unreachable);
    let (source, target) = (side(Side::Source)?, side(Side::Target)?);
    let seen = live::check(&source, &target, plan).await;
    let mut seen = seen.map_err(|cause| Failure::unreachable(words::not_checked(&cause.to_string())))?;
    for phase in &plan.phases {
        let sides = (Some(source.clone()), Some(target.clone()));
        look_at_lever(phase, served((plan, folder), phase, sides, &scrubber), &mut seen).await;
    }
    let (problems, warnings) = placed(text, &seen);
    Ok(Live { problems, warnings, told: words::live(&seen) })
}

/// Looks at each lever as [`look`] does, for whoever adopts the plan: what is found is good to know there, and refuses
/// nothing, since the levers may be worked from another machine than this one, and a plan may be what mends one. A side
/// that cannot be reached is not held against a lever.
pub(super) async fn levers(text: &str, (plan, folder): (&Plan, &Path)) -> Vec<PlanProblem> {
    let scrubber = Scrubber::default();
    let side = |side| database(side, (plan, folder), &scrubber).ok();
    let (source, target) = (side(Side::Source), side(Side::Target));
    let looks = plan.phases.iter().map(|phase| {
        let served = served((plan, folder), phase, (source.clone(), target.clone()), &scrubber);
        async move {
            let mut seen = Seen::default();
            // Where a phase stands is the journal's to say, so where its lever leads is no surprise here.
            seen.begun.push(phase.name.clone());
            if tokio::time::timeout(LOOK, look_at_lever(phase, served, &mut seen)).await.is_err() {
                let silent = does_not_answer(&phase.name, &words::no_answer(LOOK));
                seen.problems.push((Subject::Lever(phase.name.clone(), "kind".to_owned()), silent));
            }
            seen
        }
    });
    let mut told = Vec::new();
    for seen in futures::future::join_all(looks).await {
        let (problems, warnings) = placed(text, &seen);
        told.extend(problems.into_iter().chain(warnings));
    }
    told
}

/// What was seen, each at its place in the plan: what stands in the way, and what is good to know.
fn placed(text: &str, seen: &Seen) -> (Vec<PlanProblem>, Vec<PlanProblem>) {
    let at = |subject: &Subject, what: String| {
        let (line, column) = place(text, subject);
        PlanProblem { line, column, what, suggestion: None }
    };
    let problems = seen.problems.iter();
    let problems = problems.map(|(subject, finding)| at(subject, words::live_problem(finding))).collect();
    let warnings = seen.warnings.iter().map(|warning| at(&Subject::Whole, warning.clone())).collect();
    (problems, warnings)
}

/// Where the plan speaks of it: line and column, from 1. The file was read as a plan, so what is looked for is there;
/// where it is written in another way than expected, the section's first line serves.
fn place(text: &str, subject: &Subject) -> (usize, usize) {
    let migration = section(text, "[migration]", None);
    match subject {
        Subject::Whole => first(&migration, ""),
        Subject::Side(side) => first(&migration, &side.to_string()),
        Subject::Lever(phase, key) => {
            let lines = section(text, "[[phase]]", Some(phase.as_str()));
            let own = lines.iter().position(|(_, line)| line.trim_start().starts_with("[phase.lever]"));
            match own.and_then(|at| lines.get(at..)) {
                Some(own) => key_of(own, key).unwrap_or_else(|| first(own, "")),
                None => first(&lines, "lever"),
            }
        }
        Subject::Phase(phase) => first(&section(text, "[[phase]]", Some(phase.as_str())), "name"),
        Subject::Table(phase, table) => {
            name(&section(text, "[[phase]]", Some(phase.as_str())), &table.to_string())
        }
        Subject::Pattern(phase, pattern) => {
            name(&section(text, "[[phase]]", Some(phase.as_str())), &pattern.to_string())
        }
        Subject::Filter(phase, table) => {
            let lines = section(text, "[[phase]]", Some(phase.as_str()));
            let own = lines.iter().position(|(_, line)| line.trim_start().starts_with("[phase.filters]"));
            let own = own.and_then(|at| lines.get(at..)).map(|rest| found(rest, &table.to_string()));
            own.flatten().unwrap_or_else(|| first(&lines, "filter"))
        }
    }
}

/// The numbered lines of a section: up to the next one of its rank.
fn section<'t>(text: &'t str, head: &str, name: Option<&str>) -> Vec<(usize, &'t str)> {
    let lines: Vec<(usize, &str)> = text.lines().enumerate().map(|(at, line)| (at + 1, line)).collect();
    let rank = |line: &str| {
        let line = line.trim_start();
        line.starts_with("[[") || (line.starts_with('[') && !line.starts_with("[phase."))
    };
    let named = |lines: &[(usize, &str)]| {
        name.is_none_or(|name| {
            lines.iter().any(|(_, line)| {
                let (key, value) = line.split_once('=').unwrap_or_default();
                let quoted = [format!("\"{name}\""), format!("'{name}'")];
                key.trim() == "name" && quoted.iter().any(|quoted| value.trim_start().starts_with(quoted))
            })
        })
    };
    let mut rest = lines.as_slice();
    while let Some(start) = rest.iter().position(|(_, line)| line.trim_start().starts_with(head)) {
        let from = rest.get(start..).unwrap_or_default();
        let end = from.iter().skip(1).position(|(_, line)| rank(line)).map_or(from.len(), |at| at + 1);
        let (section, after) = from.split_at(end);
        if named(section) {
            return section.to_vec();
        }
        rest = after;
    }
    lines.first().map(|line| vec![*line]).unwrap_or_default()
}

fn found(lines: &[(usize, &str)], needle: &str) -> Option<(usize, usize)> {
    lines.iter().find_map(|(number, line)| {
        let at = line.find(needle).filter(|_| !line.trim_start().starts_with('#'))?;
        Some((*number, line.get(..at).unwrap_or_default().chars().count() + 1))
    })
}

/// Where a key is given its value.
fn key_of(lines: &[(usize, &str)], key: &str) -> Option<(usize, usize)> {
    lines.iter().find_map(|(number, line)| {
        let given = line.split_once('=').is_some_and(|(given, _)| given.trim() == key);
        given.then(|| (*number, line.len() - line.trim_start().len() + 1))
    })
}

/// Where a whole name stands in quotes; its section where it does not, as a table does not that a pattern matches.
fn name(lines: &[(usize, &str)], name: &str) -> (usize, usize) {
    let quoted = [format!("\"{name}\""), format!("'{name}'")];
    let place = quoted.iter().find_map(|quoted| found(lines, quoted));
    place.map_or_else(|| first(lines, "tables"), |(line, column)| (line, column + 1))
}

fn first(lines: &[(usize, &str)], needle: &str) -> (usize, usize) {
    found(lines, needle).unwrap_or_else(|| (lines.first().map_or(1, |(number, _)| *number), 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_has_its_place_in_the_plan() {
        let plan = "[migration]\nname = \"shop\"\nsource = \"env:A\"\n\n[[phase]]\nname = \"a\"\ntables = [\"s.t\"]\n\
                    [phase.lever]\nkind = \"command\"\n[[phase]]\nname = \"b\"\ntables = [\n  \"s.t\", # s.u\n  \"s.u_*\",\n]\n\
                    filter = \"x = 1\"\n[phase.filters]\n\"s.t\" = \"y = 1\"\n";
        let (a, b): (journal::PhaseName, journal::PhaseName) = ("a".parse().unwrap(), "b".parse().unwrap());
        let table = |name: &str| name.parse::<journal::TableName>().unwrap();
        assert_eq!(place(plan, &Subject::Side(Side::Source)), (3, 1));
        assert_eq!(place(plan, &Subject::Phase(b.clone())), (11, 1));
        assert_eq!(place(plan, &Subject::Table(a.clone(), table("s.t"))), (7, 12));
        assert_eq!(place(plan, &Subject::Lever(a.clone(), "kind".to_owned())), (9, 1));
        assert_eq!(place(plan, &Subject::Lever(a, "ini".to_owned())), (8, 1));
        assert_eq!(place(plan, &Subject::Table(b.clone(), table("s.t"))), (13, 4));
        assert_eq!(place(plan, &Subject::Filter(b.clone(), table("s.t"))), (18, 2));
        assert_eq!(place(plan, &Subject::Filter(b, table("s.u"))), (16, 1));
    }
}
