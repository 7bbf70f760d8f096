//! What a request waits for, and what everybody is told until it is seen to.

use journal::{Glass, PhaseName, Plan, Request, State, Timestamp, Wait, WindowKind, approvers, waits};

use super::{World, holder, list, moment};
use crate::language::Command;

/// The persons who could still approve a request.
pub(crate) fn able(plan: &Plan, request: &Request) -> Vec<String> {
    let policy = plan.policy(request.operation);
    let said = approvers(plan, request);
    plan.people
        .values()
        .filter(|person| plan.may_have_role(person, policy.role) && !said.contains(&person.id))
        .filter(|person| !(policy.exclude_requester && person.id == request.requester))
        .filter(|person| !(policy.exclude_author && request.authors.contains(&person.id)))
        .map(|person| holder(plan, person, policy.role))
        .collect()
}

/// What a request still waits for, and who can give it.
pub(crate) fn waiting(world: World<'_>, request: &Request) -> String {
    let Some((plan, _)) = &world.state.plan else { return String::new() };
    let required = plan.policy(request.operation).required;
    let approved = !waits(world.state, request, world.now).iter().any(Wait::is_approvals);
    let has = if approved { standing(plan, request, required) + " " } else { String::new() };
    has + &begins(world, request)
}

/// When a request begins, or what keeps it from that; approvals last, since they end with the line to say.
pub(crate) fn begins(world: World<'_>, request: &Request) -> String {
    let Some((plan, _)) = &world.state.plan else { return String::new() };
    let (approvals, others): (Vec<Wait>, Vec<Wait>) =
        waits(world.state, request, world.now).into_iter().partition(Wait::is_approvals);
    let tell = |wait: &Wait| sentence(world, plan, request, wait);
    let mut told: Vec<String> = others.iter().map(tell).collect();
    if let Some(not_after) = request.not_after.filter(|_| approvals.is_empty()) {
        told.push(format!("If it has not begun by {}, it is void.", moment(not_after, world.now)));
    }
    told.extend(approvals.iter().map(tell));
    if others.is_empty() && approvals.is_empty() {
        told.insert(0, "It begins as soon as an executor is free.".to_owned());
    }
    told.join(" ")
}

/// The approvals that a request lacks, and who can give them.
pub(super) fn lacking(world: World<'_>, request: &Request) -> String {
    let Some((plan, _)) = &world.state.plan else { return String::new() };
    let lacks = waits(world.state, request, world.now).into_iter().find(Wait::is_approvals);
    lacks.map_or_else(String::new, |wait| sentence(world, plan, request, &wait))
}

fn standing(plan: &Plan, request: &Request, required: u8) -> String {
    if required == 0 {
        return "It needs no approval.".to_owned();
    }
    let have = approvers(plan, request).len();
    if have >= usize::from(required) {
        format!("It has its {required} approvals.")
    } else {
        "It has its quorum by broken glass.".to_owned()
    }
}

fn sentence(world: World<'_>, plan: &Plan, request: &Request, wait: &Wait) -> String {
    let phase = &request.phase;
    match wait {
        Wait::Hold { reason } => {
            let of = world.state.phases.get(phase).and_then(|phase| phase.hold.as_ref());
            let line =
                of.map_or_else(|| "/migrate release".to_owned(), |_| format!("/migrate release {phase}"));
            format!("It is held: “{reason}” ({line}).")
        }
        Wait::Stream { direction, finding } => {
            format!("The {direction} stream is down: {finding}")
        }
        Wait::Approvals { have, need } => {
            let plural = if *need == 1 { "approval" } else { "approvals" };
            let needs = match have {
                0 => format!("{need} {plural} (0 so far)"),
                some => format!("{} more of {need} {plural}", need.saturating_sub(*some)),
            };
            let last = request.not_after.map_or(request.expires_at, |last| last.min(request.expires_at));
            format!(
                "It needs {needs} from {} before {}: /migrate approve #{}",
                list(able(plan, request)),
                moment(last, world.now),
                request.position,
            )
        }
        Wait::Review { request } => {
            format!(
                "The broken glass of request #{request} must be reviewed first: /migrate approve #{request}"
            )
        }
        Wait::Phases { phases } => format!("{} must be on the target first.", list(phases)),
        Wait::Time { at } => format!("It begins at {}.", moment(*at, world.now)),
        Wait::Window(closed) => window(closed, world.now),
        Wait::Roles => {
            "Just before it begins, the bot asks the groups that it rests on once more.".to_owned()
        }
        Wait::Confirmation => {
            "Just before it begins, the bot looks once more at its pull request.".to_owned()
        }
    }
}

/// Why a window keeps an operation from beginning, and until when.
pub(super) fn window(closed: &journal::Closed, now: Timestamp) -> String {
    let what = match closed.kind {
        WindowKind::Frozen => "The plan keeps it from beginning now",
        WindowKind::Allowed => "It begins inside the plan's windows only",
    };
    let why = closed.why.as_ref().map_or_else(String::new, |why| format!(" (“{why}”)"));
    match closed.until {
        Some(until) => format!("{what}{why}: it may begin at {}.", moment(until, now)),
        None => format!("{what}{why}, and none opens within a year: change the plan."),
    }
}

/// A reply, and behind it the broken glass of the phase it is about, until that is reviewed.
#[must_use]
pub fn aloud(text: String, command: &Command, world: World<'_>) -> String {
    if matches!(command, Command::Help { .. } | Command::Whoami | Command::Audit) {
        return text;
    }
    let phase = command.phase(world.state);
    let mut text = text;
    for (request, glass) in broken(world.state, phase.as_ref()) {
        text.push('\n');
        text.push_str(&glass_told(request, glass, world.now));
    }
    text
}

/// The requests of a phase, or of all, whose broken glass everybody has to be told of.
pub(crate) fn broken<'s>(
    state: &'s State,
    phase: Option<&PhaseName>,
) -> impl Iterator<Item = (&'s Request, &'s Glass)> {
    let phase = phase.cloned();
    state
        .requests
        .values()
        .filter(move |request| phase.as_ref().is_none_or(|phase| request.phase == *phase))
        .filter_map(|request| Some((request, request.unreviewed_glass()?)))
}

/// What is said of broken glass.
pub(crate) fn glass_told(request: &Request, glass: &Glass, now: Timestamp) -> String {
    let Glass { person, reason, review_by, .. } = glass;
    let asked = format!("{} of {} (request #{})", request.operation, request.phase, request.position);
    if !glass.used {
        return format!("GLASS BROKEN by {person}: {asked} may begin on one person's word: “{reason}”.");
    }
    let review = if *review_by < now {
        format!("Its review is OVERDUE since {}", moment(*review_by, now))
    } else {
        format!("It must be reviewed before {}", moment(*review_by, now))
    };
    let number = request.position;
    format!(
        "GLASS BROKEN by {person}: {asked} ran on one person's word: “{reason}”. {review}, by somebody else: /migrate approve \
         #{number}, or /migrate deny #{number} --reason \"…\""
    )
}
