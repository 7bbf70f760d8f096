//! Events in one line each.

use std::collections::BTreeMap;

use journal::{Actor, EffectId, Fact, Outcome, PhaseName, Recorded, StreamHealth, UndoCause};

use super::{asked_again, commit, instant, list, voided};

/// Tells events one after another. It remembers what effects were called, since their outcomes name them by id alone.
#[derive(Debug, Default)]
pub struct Narrator {
    labels: BTreeMap<EffectId, String>,
}

impl Narrator {
    /// An event with its position, time, phase and actor.
    pub fn line(&mut self, event: &Recorded) -> String {
        let what = self.tell(&event.body);
        let envelope = &event.envelope;
        let phase = envelope.phase.as_ref().map_or("-", PhaseName::as_str);
        format!(
            "#{:<5} {}  {phase:<12} {what} · {}",
            envelope.position.to_string(),
            instant(envelope.recorded_at),
            actor(&envelope.actor)
        )
    }

    /// The same, for events above the level of single effects; the others are remembered and not told.
    pub fn headline(&mut self, event: &Recorded) -> Option<String> {
        let line = self.line(event);
        is_headline(&event.body).then_some(line)
    }

    /// An event that somebody who waits for an operation wants to read.
    pub fn progress(&mut self, event: &Recorded) -> Option<String> {
        let what = self.tell(&event.body);
        is_headline(&event.body)
            .then(|| format!("#{} {} {what}", event.envelope.position, instant(event.envelope.recorded_at)))
    }

    fn label(&self, effect: EffectId) -> String {
        self.labels.get(&effect).cloned().unwrap_or_else(|| format!("effect {effect}"))
    }

    fn tell(&mut self, fact: &Fact) -> String {
        match fact {
            Fact::PlanAdopted { plan_hash, .. } => format!("plan {} was adopted", plan_hash.short()),
            Fact::Requested { operation, plan_hash, not_before, not_after, reason, .. } => {
                let mut text = format!("{operation} was asked for, under plan {}", plan_hash.short());
                if let Some(at) = not_before {
                    text.push_str(&format!(", to begin at {}", instant(*at)));
                }
                if let Some(at) = not_after {
                    text.push_str(&format!(", not after {}", instant(*at)));
                }
                if let Some(reason) = reason {
                    text.push_str(&format!(": “{reason}”"));
                }
                text
            }
            Fact::GlassBroken { request, reason, review_by, .. } => format!(
                "GLASS BROKEN: request #{request} has its quorum from one person alone: “{reason}”. To be reviewed by \
                 another until {}",
                instant(*review_by)
            ),
            Fact::GlassReviewed { request, approved, reason } => {
                let how = if *approved { "approved of" } else { "DISAPPROVED of" };
                let why = reason.as_ref().map_or_else(String::new, |reason| format!(": “{reason}”"));
                format!("the broken glass of request #{request} was reviewed and {how}{why}")
            }
            Fact::Approved { request, reason, .. } => {
                let why = reason.as_ref().map_or_else(String::new, |reason| format!(": “{reason}”"));
                format!("request #{request} was approved{why}")
            }
            Fact::Denied { request, reason } => format!("request #{request} was denied: “{reason}”"),
            Fact::Revoked { request } => format!("an approval of request #{request} was taken back"),
            Fact::BindingConfirmed { request, head } => format!(
                "the pull request of request #{request} was looked at again: its head is still {}",
                commit(head)
            ),
            Fact::RolesConfirmed { request, lost } => asked_again(*request, lost),
            Fact::RequestVoided { request, reason } => {
                format!("request #{request} is void: {}", voided(reason))
            }
            Fact::HoldPlaced { reason } => format!("held: “{reason}”"),
            Fact::HoldReleased {} => "the hold was released".to_owned(),
            Fact::Paused {} => "paused".to_owned(),
            Fact::Resumed {} => "goes on".to_owned(),
            Fact::Retried { step } => format!("{step} is tried again"),
            Fact::AbortRequested { reason } => format!("abort: “{reason}”"),
            Fact::LeaseTaken { epoch, holder } => format!("{holder} took the phase, epoch {epoch}"),
            Fact::OperationStarted { request, operation, reserved, broken_glass: Some(person), .. } => {
                format!(
                    "{operation} began (request #{request}) UNDER BROKEN GLASS of {person}, by the word of {}",
                    list(reserved)
                )
            }
            Fact::OperationStarted { request, operation, reserved, .. } if reserved.is_empty() => {
                format!("{operation} began (request #{request})")
            }
            Fact::OperationStarted { request, operation, reserved, .. } => {
                format!("{operation} began (request #{request}), approved by {}", list(reserved))
            }
            Fact::EffectIntended { step, effect, spec, consumes, .. } => {
                self.labels.insert(*effect, format!("{step}: {}", spec.label()));
                if consumes.is_empty() {
                    format!("{step}: {} is to be done", spec.label())
                } else {
                    format!("{step}: {} is to be done, by the approvals of {}", spec.label(), list(consumes))
                }
            }
            Fact::EffectSucceeded { effect, adopted, evidence } => {
                let found = if *adopted { "was there already" } else { "is done" };
                let shown: Vec<String> =
                    evidence.iter().map(|(key, value)| format!("{key} {value}")).collect();
                let shown = if shown.is_empty() { String::new() } else { format!(" ({})", shown.join(", ")) };
                format!("{} {found}{shown}", self.label(*effect))
            }
            Fact::EffectFailed { effect, error } => format!("{} failed: {error}", self.label(*effect)),
            Fact::EffectUnknown { effect, error } => {
                format!("{} may or may not be done: {error}", self.label(*effect))
            }
            Fact::StepFinished { step, .. } => format!("{step} is done"),
            Fact::StepBlocked { step, finding, .. } => format!("{step} needs a person: {finding}"),
            Fact::UndoStarted { cause, .. } => format!("it is being undone: {}", because(cause)),
            Fact::OperationFinished { outcome: Outcome::Completed, .. } => "completed".to_owned(),
            Fact::OperationFinished { outcome: Outcome::Undone, .. } => "undone".to_owned(),
            Fact::OperationFinished { outcome: Outcome::Replaced, .. } => {
                "it gives way to what was asked for in its place, which goes on from where it stands"
                    .to_owned()
            }
            Fact::LossDeclared { .. }
            | Fact::QuarantineClosed { .. }
            | Fact::QuarantineRead { .. }
            | Fact::LeftBehind { .. } => of_a_lost_target(fact),
            Fact::FenceBreached { .. }
            | Fact::TimelineChanged { .. }
            | Fact::LogCheckpointLeft { .. }
            | Fact::VersionBarrier { .. } => from_outside(fact),
            Fact::StreamChanged { direction, mode, health, .. } => {
                format!("the {direction} stream ({}) {}", mode.word(), stream_health(health))
            }
        }
    }
}

/// What no command of a person and no step brought about.
fn from_outside(fact: &Fact) -> String {
    match fact {
        Fact::FenceBreached { direction, table, at, changes } => format!(
            "ALARM: {changes} changes of {table} at {at} that no fence should have let through ({direction} guard)"
        ),
        Fact::TimelineChanged { side, was, timeline } => format!(
            "ALARM: the {side} came back on timeline {timeline}, it was on {was}: nothing opens before it is probed anew"
        ),
        Fact::LogCheckpointLeft { size, root, left_to } => {
            let root: String = root.to_string().chars().take(8).collect();
            format!("log checkpoint {size} {root} stands in {}", list(left_to))
        }
        Fact::VersionBarrier { to } => {
            format!("from here on the journal is written by schema version {to}; older programs stop here")
        }
        _ => String::new(),
    }
}

fn of_a_lost_target(fact: &Fact) -> String {
    match fact {
        Fact::LossDeclared { checkpoint, newest_change_at, drained, closed, .. } => {
            let newest = newest_change_at
                .map_or_else(|| "of unknown time".to_owned(), |at| format!("of {}", instant(at)));
            let bound = if *drained {
                "everything that the target had was applied".to_owned()
            } else {
                format!("what the target acknowledged after the newest applied change, {newest}, is lost")
            };
            let gate = if *closed { "its gate is closed" } else { "it was not reached" };
            format!("LOSS DECLARED: applied up to {checkpoint}; {bound}; the target is quarantined, {gate}")
        }
        Fact::QuarantineClosed { .. } => {
            "the quarantined target was met again, and its gate is closed".to_owned()
        }
        Fact::QuarantineRead { file: Some(file), changes, .. } => {
            format!(
                "the rest of the quarantined target's stream, {changes} changes, is in {file}; none of it is applied"
            )
        }
        Fact::QuarantineRead { finding, .. } => {
            let why = finding.as_ref().map_or_else(String::new, |finding| format!(": {finding}"));
            format!("ALARM: the rest of the quarantined target's stream cannot be read{why}")
        }
        Fact::LeftBehind { side, what, .. } => {
            format!(
                "left behind on the {side}, which did not come back: {}. If it does: drop the slot first, it keeps the log",
                list(what)
            )
        }
        _ => String::new(),
    }
}

const fn is_headline(fact: &Fact) -> bool {
    match fact {
        Fact::PlanAdopted { .. }
        | Fact::Requested { .. }
        | Fact::Approved { .. }
        | Fact::Denied { .. }
        | Fact::Revoked { .. }
        | Fact::GlassBroken { .. }
        | Fact::GlassReviewed { .. }
        | Fact::RequestVoided { .. }
        | Fact::HoldPlaced { .. }
        | Fact::HoldReleased {}
        | Fact::Paused {}
        | Fact::Resumed {}
        | Fact::Retried { .. }
        | Fact::AbortRequested { .. }
        | Fact::OperationStarted { .. }
        | Fact::EffectFailed { .. }
        | Fact::StepFinished { .. }
        | Fact::StepBlocked { .. }
        | Fact::UndoStarted { .. }
        | Fact::OperationFinished { .. }
        | Fact::FenceBreached { .. }
        | Fact::VersionBarrier { .. }
        | Fact::LossDeclared { .. }
        | Fact::QuarantineClosed { .. }
        | Fact::QuarantineRead { .. }
        | Fact::LeftBehind { .. }
        | Fact::TimelineChanged { .. } => true,
        Fact::RolesConfirmed { lost, .. } => !lost.is_empty(),
        Fact::LeaseTaken { .. }
        | Fact::BindingConfirmed { .. }
        | Fact::EffectIntended { .. }
        | Fact::EffectSucceeded { .. }
        | Fact::EffectUnknown { .. }
        | Fact::StreamChanged { .. }
        | Fact::LogCheckpointLeft { .. } => false,
    }
}

fn actor(actor: &Actor) -> String {
    match actor {
        Actor::Person(person) => person.to_string(),
        Actor::Executor(holder) => format!("executor {holder}"),
        Actor::Operator => "the operator of serve".to_owned(),
    }
}

pub(crate) fn because(cause: &UndoCause) -> String {
    match cause {
        UndoCause::Deadline => "the downtime that the plan allows is nearly over".to_owned(),
        UndoCause::StepFailed { step, finding } => format!("{step} failed: {finding}"),
        UndoCause::Aborted { person, reason } => format!("{person} aborted it: “{reason}”"),
        UndoCause::ApprovalLost { person } => format!("{person} took the approval back, or denied it"),
    }
}

pub(crate) fn stream_health(health: &StreamHealth) -> String {
    match health {
        StreamHealth::CaughtUp => "follows".to_owned(),
        StreamHealth::Lagging => "lags".to_owned(),
        StreamHealth::Broken { error } => format!("is broken and being restarted: {error}"),
        StreamHealth::Stopped { finding } => format!("has stopped and needs a person: {finding}"),
    }
}
