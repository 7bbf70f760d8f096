//! Plans in words.

mod diff;
mod problems;
mod said;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use journal::{ApprovalPolicy, LeverSettings, Operation, PhaseName, PhasePlan, PhaseStatus, Plan, Role};

pub use diff::{Revision, adopted, adoption, diff};
pub(super) use problems::block;
pub use problems::{in_the_way, problems, warnings};
pub(super) use said::role;

use super::{World, length, list, possible, resting};
use crate::preflight::Outlook;

/// A plan that is right.
#[must_use]
pub fn checked(file: &Path, plan: &Plan) -> String {
    let phases = plan.phases.len();
    format!(
        "{} is right: migration {}, {phases} phase{}, plan {}.",
        file.display(),
        plan.migration,
        if phases == 1 { "" } else { "s" },
        plan.hash()
    )
}

/// A plan without its journal.
#[must_use]
pub fn full(plan: &Plan) -> String {
    let mut text = String::new();
    let mut line = |key: &str, value: &dyn std::fmt::Display| {
        let _written = writeln!(text, "{key:<10} {value}");
    };
    line("migration", &plan.migration);
    line("plan", &plan.hash());
    line("source", &plan.source);
    line("target", &plan.target);
    line("journal", &format!("{}, lease {}", plan.journal.place, said::exact(plan.journal.lease_term)));
    match &plan.journal.signing_key {
        Some(key) => line("signed by", key),
        None => line("signed by", &"no key: the journal cannot prove itself"),
    }
    if let Some(file) = &plan.journal.witness_file {
        line("witness", file);
    }
    line("socket", &plan.socket);
    line("load", &format!("{} lanes, chunks of {} bytes", plan.load.lanes, plan.load.chunk_bytes));
    people(&mut text, plan);
    approvals(&mut text, plan);
    for window in &plan.windows {
        let _written = writeln!(text, "window     {}", said::window(window));
    }
    for phase in &plan.phases {
        let _written =
            writeln!(text, "\nphase {}, bound to {}", phase.name, plan.hash_for(&phase.name).short());
        for (key, value) in said::phase(phase).settings {
            let _written = writeln!(text, "  {key:<19} {value}");
        }
    }
    text.trim_end().to_owned()
}

fn people(text: &mut String, plan: &Plan) {
    for person in plan.people.values() {
        let mut known: Vec<String> = person.roles.iter().map(|role| said::role(*role).to_owned()).collect();
        if known.is_empty() {
            known.push("no role".to_owned());
        }
        known.extend(said::accounts(person));
        if person.local_token_sha256.is_none() {
            known.push("no terminal token".to_owned());
        }
        let _written = writeln!(text, "person     {} ({})", person.id, known.join(", "));
    }
    for group in &plan.groups {
        let _written = writeln!(text, "group      {} ({})", super::group(group), said::role(group.role));
    }
}

fn with_role(plan: &Plan, role: Role) -> String {
    let who = plan.people.values().filter(|person| plan.may_have_role(person, role));
    list(who.map(|person| super::holder(plan, person, role)))
}

fn approvals(text: &mut String, plan: &Plan) {
    for operation in Operation::ALL {
        let policy = plan.policy(operation);
        if policy.required > 0 {
            let _written = writeln!(
                text,
                "approvals  {operation}: {} of {}, within {}{}",
                policy.required,
                with_role(plan, policy.role),
                length(policy.expires),
                conditions(&policy)
            );
        }
    }
    let glass = &plan.break_glass;
    let _written = writeln!(
        text,
        "glass      {}, reviewed by another within {}",
        with_role(plan, glass.role),
        length(glass.review_within)
    );
}

/// What a policy says beside its numbers.
fn conditions(policy: &ApprovalPolicy) -> String {
    let mut said = String::new();
    for (is_said, words) in [
        (policy.exclude_requester, ", the requester's own does not count"),
        (policy.exclude_author, ", nor that of who wrote the plan"),
        (policy.bind_commit, ", asked for in a pull request alone"),
    ] {
        if is_said {
            said.push_str(words);
        }
    }
    said
}

fn settings(text: &mut String, phase: &PhasePlan) {
    let lever = match &phase.lever {
        LeverSettings::Command { .. } => "commands of the team's own".to_owned(),
        LeverSettings::Pgbouncer { database, .. } => format!("pgbouncer, entry {database}"),
    };
    let mut tables: Vec<String> = phase.tables.iter().map(ToString::to_string).collect();
    tables.extend(phase.patterns.iter().map(ToString::to_string));
    let _written = writeln!(text, "  tables   {}", list(tables));
    if let Some(filter) = &phase.filter {
        let _written = writeln!(text, "  filter   {filter}");
    }
    for (table, filter) in &phase.filters {
        let _written = writeln!(text, "  filter   {filter}, of {table}");
    }
    let _written = writeln!(
        text,
        "  downtime at most {}, of which {} are kept for the undo\n  lever    {lever}",
        length(phase.max_downtime),
        length(phase.undo_reserve)
    );
}

/// An operation that could be asked for: who approves it, when it could begin, and its steps in their order.
fn could_be(text: &mut String, phase: &PhaseName, operation: Operation, plan: &Plan, world: World<'_>) {
    let policy = plan.policy(operation);
    let approvals = match policy.required {
        0 => "no approvals".to_owned(),
        some => format!(
            "{some} of {}{}, within {}",
            with_role(plan, policy.role),
            if policy.exclude_requester { " but the requester" } else { "" },
            length(policy.expires)
        ),
    };
    let steps: Vec<&str> = operation.steps().iter().map(|step| step.word()).collect();
    let _written = writeln!(text, "  next     /migrate {phase} {operation}");
    let _written = writeln!(text, "    needs  {approvals}");
    if let Some(closed) = journal::closed(plan, phase, operation, world.now) {
        let _written = writeln!(text, "    when   {}", super::waiting::window(&closed, world.now));
    }
    let _written = writeln!(text, "    steps  {}", steps.join(", "));
}

/// What a phase's preflight would find now, beside its `start`.
fn outlook(text: &mut String, outlook: &Outlook) {
    let (problems, warnings) = match outlook {
        Outlook::Seen { problems, warnings } => (problems, warnings),
        Outlook::Unseen(why) => {
            let _written = writeln!(text, "    now    preflight cannot look: {}", why.trim_end_matches('.'));
            return;
        }
    };
    let _written = match problems.len() {
        0 => writeln!(text, "    now    preflight finds nothing in the way"),
        1 => writeln!(text, "    now    preflight finds 1 thing in the way"),
        some => writeln!(text, "    now    preflight finds {some} things in the way"),
    };
    for line in problems.iter().chain(warnings) {
        let _written = writeln!(text, "           {line}");
    }
}

/// The reply to `plan`: the plan, what could be done next, in which steps, and what would refuse it now.
#[must_use]
pub fn next(
    plan: &Plan,
    only: Option<&PhaseName>,
    outlooks: &BTreeMap<PhaseName, Outlook>,
    world: World<'_>,
) -> String {
    let mut text = format!("Plan {} of {}.\n", plan.hash().short(), plan.migration);
    for phase in plan.phases.iter().filter(|phase| only.is_none_or(|only| phase.name == *only)) {
        let status = world.state.phases.get(&phase.name).map_or(PhaseStatus::New, |phase| phase.status);
        let _written = writeln!(
            text,
            "\n{}: {}. Bound to {}.",
            phase.name,
            resting(status),
            plan.hash_for(&phase.name).short()
        );
        settings(&mut text, phase);
        if !phase.after.is_empty() {
            let _written =
                writeln!(text, "  after    {} (on the target before this cutover)", list(&phase.after));
        }
        if let Some(run) = world.state.operation(&phase.name) {
            let _written =
                writeln!(text, "  now      {} (request #{}), at {}", run.operation, run.request, run.step);
            continue;
        }
        for operation in possible(status) {
            could_be(&mut text, &phase.name, operation, plan, world);
            if operation == Operation::Start
                && let Some(seen) = outlooks.get(&phase.name)
            {
                outlook(&mut text, seen);
            }
        }
    }
    text.trim_end().to_owned()
}
