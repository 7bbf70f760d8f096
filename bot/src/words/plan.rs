//! Plans in words.

use std::fmt::Write as _;
use std::path::Path;

use journal::{
    LeverSettings, Operation, PhaseName, PhasePlan, PhaseStatus, Plan, PlanHash, PlanProblems, Role,
};

use super::{World, length, list, possible, resting};

/// Everything wrong in a plan's file, each with its place.
#[must_use]
pub fn problems(file: &Path, problems: &PlanProblems) -> String {
    let lines: Vec<String> = problems
        .0
        .iter()
        .map(|problem| format!("{}:{}:{}: {}", file.display(), problem.line, problem.column, problem.what))
        .collect();
    lines.join("\n")
}

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

/// A plan that is now the current one.
#[must_use]
pub fn adopted(hash: &PlanHash, voided: usize) -> String {
    let void = match voided {
        0 => "No open request was bound to another plan.".to_owned(),
        1 => "One open request was bound to the plan before and is void.".to_owned(),
        many => format!("{many} open requests were bound to the plan before and are void."),
    };
    format!(
        "Plan {} is adopted. {void} A running `switchyard serve` goes on under it; start the next one with this file.",
        hash.short()
    )
}

/// A plan without its journal.
#[must_use]
pub fn full(plan: &Plan) -> String {
    let mut text = format!(
        "migration  {}\nplan       {}\nsource     {}\ntarget     {}\njournal    {}\nsocket     {}\n",
        plan.migration,
        plan.hash(),
        plan.source,
        plan.target,
        plan.journal.place,
        plan.socket
    );
    people(&mut text, plan);
    approvals(&mut text, plan);
    for phase in &plan.phases {
        let _written =
            writeln!(text, "\nphase {}, bound to {}", phase.name, plan.hash_for(&phase.name).short());
        settings(&mut text, phase);
    }
    text.trim_end().to_owned()
}

fn people(text: &mut String, plan: &Plan) {
    for person in plan.people.values() {
        let roles: Vec<&str> = person
            .roles
            .iter()
            .map(|role| match role {
                Role::Operator => "operator",
                Role::Approver => "approver",
            })
            .collect();
        let token = if person.local_token_sha256.is_some() { "" } else { ", no terminal token" };
        let _written = writeln!(text, "person     {} ({}{token})", person.id, roles.join(", "));
    }
}

fn approvals(text: &mut String, plan: &Plan) {
    for operation in Operation::ALL {
        let policy = plan.policy(operation);
        if policy.required > 0 {
            let mut who =
                plan.people.values().filter(|person| person.roles.contains(&policy.role)).peekable();
            let who = if who.peek().is_some() {
                list(who.map(|person| person.id.clone()))
            } else {
                "nobody".to_owned()
            };
            let _written = writeln!(
                text,
                "approvals  {operation}: {} of {who}, within {}{}",
                policy.required,
                length(policy.expires),
                if policy.exclude_requester { ", the requester's own does not count" } else { "" }
            );
        }
    }
}

fn settings(text: &mut String, phase: &PhasePlan) {
    let lever = match &phase.lever {
        LeverSettings::Command { .. } => "commands of the team's own".to_owned(),
        LeverSettings::Pgbouncer { database, .. } => format!("pgbouncer, entry {database}"),
    };
    let _written = writeln!(
        text,
        "  tables   {}\n  downtime at most {}, of which {} are kept for the undo\n  lever    {lever}",
        list(&phase.tables),
        length(phase.max_downtime),
        length(phase.undo_reserve)
    );
}

/// An operation that could be asked for: who approves it, when it could begin, and its steps in their order.
fn could_be(text: &mut String, phase: &PhaseName, operation: Operation, plan: &Plan, world: World<'_>) {
    let policy = plan.policy(operation);
    let who = plan.people.values().filter(|person| person.roles.contains(&policy.role));
    let approvals = match policy.required {
        0 => "no approvals".to_owned(),
        some => format!(
            "{some} of {}{}, within {}",
            list(who.map(|person| person.id.clone())),
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

/// The reply to `plan`: the plan, and what could be done next, in which steps.
#[must_use]
pub fn next(plan: &Plan, only: Option<&PhaseName>, world: World<'_>) -> String {
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
        }
    }
    text.trim_end().to_owned()
}
