//! What the program itself ran into. People meet these in logs alone.

use journal::Refusal;

/// What the publisher of log checkpoints ran into.
pub(super) fn of_the_publisher(refusal: &Refusal) -> String {
    match refusal {
        Refusal::NotThePublisher => {
            "Only the program itself tells which log checkpoint has left the journal. Nothing has \
             to be said: `serve` does it by itself."
                .to_owned()
        }
        Refusal::CheckpointAhead { size, head } => format!(
            "The log checkpoint covers {size} events, and the journal has {head}: its end was cut off, or an older copy \
             was put back. Find out who did, before anything goes on: `switchyard journal check`."
        ),
        Refusal::CheckpointDiffers { size } => format!(
            "Another log checkpoint of {size} events has left the journal: one of the two is of another history. Find \
             out which, before anything goes on: `switchyard journal check`."
        ),
        Refusal::LeftNowhere => {
            "A log checkpoint that stands nowhere proves nothing. Name a witness file in the plan: \
             [journal] witness = \"FILE\"."
                .to_owned()
        }
        _ => String::new(),
    }
}

/// What executors ran into.
pub(super) fn of_executors(refusal: &Refusal) -> String {
    let why = match refusal {
        Refusal::StepNotDue { step } => format!("The step {step} is not due."),
        Refusal::StepOpen { step } => format!("The step {step} cannot end: an effect of it has no outcome."),
        Refusal::EffectNotOpen { effect } => format!("The effect {effect} is not open."),
        Refusal::EffectOpen { effect } => format!("The effect {effect} is open, and only one may be."),
        Refusal::ForeignEffect { label, step } => {
            format!("The effect {label} does not belong to the step {step}.")
        }
        Refusal::OpeningUnproven { lacks } => format!("The gate may not open: {lacks}."),
        Refusal::OldEpoch { given, newest } => {
            format!("The epoch {given} is not newer than {newest}: another executor has the phase.")
        }
        _ => String::new(),
    };
    format!("{why} The executor looks again by itself; `switchyard journal show` tells what came before.")
}
