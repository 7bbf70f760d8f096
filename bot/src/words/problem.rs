//! Why a line is not a command, and the line to say instead.

use journal::{PhaseName, RequestStatus};

use super::{World, list};
use crate::language::{MOST_COMMANDS, Object, Opt, Problem, Verb};

/// The sentence for a line that could not be read.
#[must_use]
pub fn problem(problem: &Problem, world: World<'_>) -> String {
    format!("{} ({})", sentence(problem, world), problem.code())
}

fn phases(world: World<'_>) -> Vec<PhaseName> {
    world
        .state
        .plan
        .as_ref()
        .map(|(plan, _)| plan.phases.iter().map(|phase| phase.name.clone()).collect())
        .unwrap_or_default()
}

/// Full lines for a verb, ready to paste: one a phase, or one a request.
fn lines(verb: Verb, phase: Option<&str>, world: World<'_>) -> String {
    let reason = if matches!(verb, Verb::Abort | Verb::Deny | Verb::Hold) { " --reason \"…\"" } else { "" };
    let word = verb.word();
    let lines: Vec<String> = match verb.object() {
        Object::Phase => {
            let known: Vec<String> = match phase {
                Some(phase) => vec![phase.to_owned()],
                None => phases(world).iter().map(ToString::to_string).collect(),
            };
            known.iter().map(|phase| format!("`/migrate {phase} {word}{reason}`")).collect()
        }
        Object::Request => world
            .state
            .requests
            .values()
            .filter(|asked| matches!(asked.status, RequestStatus::Open | RequestStatus::Running))
            .map(|asked| {
                format!(
                    "`/migrate {word} #{}{reason}` ({} of {})",
                    asked.position, asked.operation, asked.phase
                )
            })
            .collect(),
        Object::MaybePhase => vec![match phase {
            Some(phase) => format!("`/migrate {word} {phase}{reason}`"),
            None => format!("`/migrate {word}{reason}`"),
        }],
        Object::MaybeVerb | Object::Nothing => vec![format!("`/migrate {word}`")],
    };
    match (lines.is_empty(), verb.object()) {
        (true, Object::Request) => "No request is open.".to_owned(),
        (true, _) => format!("Say `/migrate PHASE {word}{reason}`."),
        (false, _) => format!("Say {}.", lines.join(" or ")),
    }
}

const HELP: &str = "`/migrate help` lists everything that can be said.";

#[expect(clippy::too_many_lines, reason = "a table: one sentence a problem")]
fn sentence(problem: &Problem, world: World<'_>) -> String {
    match problem {
        Problem::UnknownWord { given, phase, near: Some(near) } => {
            let known =
                phase.as_deref().filter(|name| phases(world).iter().any(|phase| phase.as_str() == *name));
            format!("`{given}` is no command. Did you mean {}? {}", near.word(), lines(*near, known, world))
        }
        Problem::UnknownWord { given, phase, near: None } => {
            let unknown =
                phase.as_deref().filter(|name| phases(world).iter().all(|phase| phase.as_str() != *name));
            match unknown {
                Some(phase) => format!("`{phase} {given}` is no command. {HELP}"),
                None => format!("`{given}` is no command. {HELP}"),
            }
        }
        Problem::NeedsVerb { given, near } => {
            let is_phase = phases(world).iter().any(|phase| phase.as_str() == given);
            match (is_phase, near) {
                (true, _) => format!(
                    "What about {given}? Say `/migrate status {given}`, or one of: {}.",
                    list(
                        Verb::ALL
                            .iter()
                            .filter(|verb| verb.object() == Object::Phase)
                            .map(|verb| verb.word())
                    )
                ),
                (false, Some(near)) => {
                    format!(
                        "`{given}` is no command. Did you mean {}? {}",
                        near.word(),
                        lines(*near, None, world)
                    )
                }
                (false, None) => format!("`{given}` is no command. {HELP}"),
            }
        }
        Problem::NeedsPhase { verb } => {
            format!(
                "{} needs the phase it is meant for, before it. {}",
                verb.word(),
                lines(*verb, None, world)
            )
        }
        Problem::PhaseFirst { verb, phase } => {
            format!("The phase comes first. {}", lines(*verb, Some(phase.as_str()), world))
        }
        Problem::NotOfAPhase { verb } => {
            let of = if verb.object() == Object::Request { "a request" } else { "no phase" };
            format!("{} is said of {of}. {}", verb.word(), lines(*verb, None, world))
        }
        Problem::BadPhase { given } => format!(
            "`{given}` cannot be a phase's name: those are written with a-z, 0-9, - and _. The plan's: {}.",
            list(phases(world))
        ),
        Problem::NeedsRequest { verb } => {
            format!("{} needs the number of a request. {}", verb.word(), lines(*verb, None, world))
        }
        Problem::BadRequest { verb, given } => {
            format!("`{given}` is no request's number, as in #41. {}", lines(*verb, None, world))
        }
        Problem::UnknownOption { given, near: Some(near) } => {
            format!("There is no option `{given}`. Did you mean {}? Nothing was done.", near.word())
        }
        Problem::UnknownOption { given, near: None } => {
            format!("There is no option `{given}`. {HELP} Nothing was done.")
        }
        Problem::ForeignOption { verb, option } => {
            let takes: Vec<&str> = verb.options().iter().map(|each| each.word()).collect();
            if *option == Opt::Confirm {
                return "`--confirm` confirms the loss of a `failback --target-lost`, and goes with it alone.".to_owned();
            }
            if takes.is_empty() {
                return format!("{} takes no option. Nothing was done; say it without.", verb.word());
            }
            format!(
                "{} takes {}, not {}. Nothing was done; say it without.",
                verb.word(),
                takes.join(", "),
                option.word()
            )
        }
        Problem::NeedsValue { option } => {
            let value = match option {
                Opt::Reason | Opt::Confirm => "\"…\"",
                Opt::Plan => "HASH",
                Opt::At => "2026-12-01T22:00+01:00",
                Opt::Within => "30m",
                Opt::TargetLost | Opt::SourceLost => "",
            };
            format!("{} needs its value: `{} {value}`.", option.word(), option.word())
        }
        Problem::TakesNoValue { option } => format!("{} takes no value. Say it alone.", option.word()),
        Problem::GivenTwice { option } => format!("{} was given twice. Say it once.", option.word()),
        Problem::BadHash { given } => format!(
            "`{given}` is not the hash of a plan: 8 to 64 hexadecimal digits, as `/migrate plan` shows them."
        ),
        Problem::ExtraWords { verb, given } => format!(
            "After {} there is more than it takes: `{given}`. Nothing was done. A text of several words goes in quotes; \
             `/migrate help {0}` shows how it is said.",
            verb.word()
        ),
        Problem::OpenQuote => {
            "A quote is not closed. Nothing was done; close it and say it again.".to_owned()
        }
        Problem::BadTime { given } => format!(
            "`{given}` is no moment. Nothing was done; say the date, the time and the zone: \
             `--at 2026-12-01T22:00+01:00`, or with Z for UTC."
        ),
        Problem::NoZone { given } => format!(
            "`{given}` is read differently in different places. Nothing was done; say the date, the time and the zone: \
             `--at 2026-12-01T22:00+01:00`, or with Z for UTC."
        ),
        Problem::BadDuration { given } => format!(
            "`{given}` is no length of time up to a year. Nothing was done; say it with its unit: `--within 90s`, 30m, 2h \
             or 1h30m."
        ),
        Problem::TooMany => {
            format!(
                "A text holds at most {MOST_COMMANDS} commands. This one and those after it were not done."
            )
        }
    }
}
