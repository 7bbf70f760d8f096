//! A target that is lost: what is known of the loss, what confirms it, and what became of the target.

use journal::{Down, KnownLoss, Quarantine, Timestamp};

use super::{instant, length};

/// What is known of a loss, and what cannot be known.
pub(crate) fn loss(loss: &KnownLoss, now: Timestamp) -> String {
    let (down, unknown) = match &loss.down {
        Down::Uncarried(what) => {
            return format!(
                "The failback stream has stopped at checkpoint {}: {what}. Nothing says since when: whatever the target \
                 acknowledged for these tables since they left their publication is lost with it, however long ago that \
                 was, and so is what it acknowledged for the others after the stream stopped. While the target answers, \
                 put that right and compare with `verify` instead.",
                loss.checkpoint
            );
        }
        Down::Away(why) => {
            (format!("is down: {}", why.trim_end_matches('.')), "cannot be known while the target is away")
        }
        Down::Stopped(why) => (
            format!("has stopped: {}", why.trim_end_matches('.')),
            "can be counted on the target alone, as long as it is there",
        ),
    };
    match loss.newest_change_at {
        Some(at) => format!(
            "The failback stream {down}. Its last applied checkpoint is {}, and the newest change known to the source was \
             committed on the target at {} ({} ago, if the clocks agree). Every write that the target acknowledged before \
             that is on the source. What it acknowledged since then is lost if the target is given up, as far as it cannot \
             still be drained; how much that is {unknown}.",
            loss.checkpoint,
            instant(at),
            length(now.since(at))
        ),
        None => format!(
            "The failback stream {down}. Its last applied checkpoint is {}, and no change with a time was ever applied: how \
             old the newest known change is, and how much is lost if the target is given up, {unknown}.",
            loss.checkpoint
        ),
    }
}

/// What leads on from there.
pub(crate) fn loss_remedy(phase: &str, loss: &KnownLoss) -> String {
    let give_up = format!("/migrate {phase} failback --target-lost, to give the target up at this loss");
    match loss.down {
        Down::Away(_) => give_up,
        Down::Stopped(_) | Down::Uncarried(_) => format!(
            "mend why it stopped, if it can be mended; or /migrate {phase} complete, to stay with the target; or {give_up}"
        ),
    }
}

/// A loss that was not confirmed, or by another word.
pub(crate) fn unconfirmed(phase: &str, known: &KnownLoss, given: Option<&str>, now: Timestamp) -> String {
    let wrong = given.map_or_else(String::new, |given| {
        let near = given.len() == known.word.len() && given.starts_with("loss-");
        let why = if near {
            "it confirms another loss than the one known now, or is misspelt"
        } else {
            "it is no such word"
        };
        format!("`{given}` does not confirm it: {why}. ")
    });
    let other = match known.down {
        Down::Away(_) => {
            format!("If the target comes back, `/migrate {phase} failback` leads back without a loss.")
        }
        Down::Stopped(_) | Down::Uncarried(_) => {
            format!(
                "As long as the target is there, `/migrate {phase} complete` stays with it and loses nothing."
            )
        }
    };
    format!(
        "{wrong}{} {other} To accept this very loss \
         and open the source: `/migrate {phase} failback --target-lost --confirm {}`; two persons then approve it.",
        loss(known, now),
        known.word
    )
}

/// What became of a target that was given up.
#[must_use]
pub fn quarantine(known: &Quarantine) -> String {
    let bound = known.newest_change_at.map_or_else(
        || format!("applied up to {}", known.checkpoint),
        |at| format!("applied up to {}, newest change {}", known.checkpoint, instant(at)),
    );
    let gate = if known.is_closed { "its gate is closed" } else { "its gate is closed at its first contact" };
    let rest = match &known.rest {
        None if known.is_closed => "the rest of its stream is being read into a file".to_owned(),
        None => "the rest of its stream is read into a file then".to_owned(),
        Some(rest) => match (&rest.file, &rest.finding) {
            (Some(file), _) => format!("the rest of its stream, {} changes, is in {file}", rest.changes),
            (None, Some(finding)) => format!("the rest of its stream cannot be read: {finding}"),
            (None, None) => "the rest of its stream cannot be read".to_owned(),
        },
    };
    format!("event #{}: {bound}; {gate}; {rest}; nothing of it is applied", known.position)
}
