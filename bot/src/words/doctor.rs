//! What `switchyard doctor` says.

use std::fmt::Write as _;
use std::time::Duration;

use executors::postgres::doctor::SideSeen;
use journal::{Direction, Finding, Side};

use super::length;
use crate::doctor::{Accepts, Report, Wrong};

/// What is wrong, and what to do.
#[must_use]
pub fn wrong(wrong: &Wrong) -> Finding {
    let finding = |code: &str, what: String, remedy: &str| Finding {
        code: code.to_owned(),
        what,
        remedy: remedy.to_owned(),
    };
    match wrong {
        Wrong::Unseen { what, why } => finding(
            "SW-0542",
            format!("{what} cannot be seen: {why}"),
            "Bring it back, or correct its secret, then look again. Until then nothing said here of it counts.",
        ),
        Wrong::Lever(found) | Wrong::Behind(found) => found.clone(),
        Wrong::Standby(side) => {
            finding("SW-0551", format!("the {side} is a standby"), "Point the plan's secret at the primary.")
        }
        Wrong::BothAccept => finding(
            "SW-0543",
            "both sides accept writes to the phase".to_owned(),
            "Stop the application's writes now. See which gate was set last, and let `switchyard serve` go on: it closes \
             one side before it opens the other. Then compare with `verify`.",
        ),
        Wrong::ClosedAndPassing(side) => finding(
            "SW-0544",
            format!("the gate of the {side} is closed, and writes pass: its fence is not there"),
            "Do not let the application reach it. Find out who dropped the triggers; the next operation makes them anew.",
        ),
        Wrong::OpenAndRefusing(side) => finding(
            "SW-0545",
            format!("the gate of the {side} is open, and its fence refuses writes"),
            "Somebody changed the row or the function by hand. Put back what was changed; the one that was set last is \
             in the journal.",
        ),
        Wrong::Fence { side, defect } => finding(
            "SW-0545",
            format!("the fence of the {side} is not whole: {defect}"),
            "Find out who changed it; the next operation makes it anew.",
        ),
        Wrong::NobodyAccepts => finding(
            "SW-0548",
            "no side accepts writes to the phase".to_owned(),
            "In a switch this lasts for a moment. If it lasts longer, see that `switchyard serve` runs: it ends the \
             switch or undoes it. `switchyard status` says which.",
        ),
        Wrong::SlotLost(direction) => finding(
            "SW-0546",
            format!("the slot of the {direction} stream is lost: the server has removed its log"),
            lost(direction.to()),
        ),
        Wrong::SlotMissing(direction) => finding(
            "SW-0546",
            format!("the slot of the {direction} stream is not there, and its checkpoint is"),
            lost(direction.to()),
        ),
        Wrong::SlotUnread { slot, direction, why: Some(why), retained_bytes } => finding(
            "SW-0547",
            format!("{why}, so {}", unread(slot, *direction, *retained_bytes)),
            "Mend that, and see that `switchyard serve` runs: `switchyard status` says why the stream is down, whether it goes \
             on by itself, and what to do if not.",
        ),
        Wrong::SlotUnread { slot, direction, why: None, retained_bytes } => finding(
            "SW-0547",
            unread(slot, *direction, *retained_bytes),
            "If no `switchyard serve` runs, start it. If one runs, the stream is down: `switchyard status` says why, and whether \
             it goes on by itself; one that has stopped for good, as by a TRUNCATE, needs `retire` and `start`, and goes on by \
             no restart.",
        ),
        Wrong::LeverElsewhere(side) => finding(
            "SW-0549",
            format!("the lever leads to the {side}, which refuses writes"),
            "In a switch this lasts for a moment. Else let `switchyard serve` go on, or route the traffic to the side \
             that accepts writes.",
        ),
        Wrong::LeverHolds(side) => finding(
            "SW-0550",
            format!("the lever holds the traffic, at the {side}"),
            "In a switch this lasts for a moment. Else see that `switchyard serve` runs, and what it waits for.",
        ),
    }
}

fn unread(slot: &str, direction: Direction, retained_bytes: i64) -> String {
    format!(
        "nobody reads the slot {slot} of the {}; it keeps {retained_bytes} bytes of log",
        direction.from()
    )
}

/// A side cannot be seen, as the reason of something else.
#[must_use]
pub fn side_is_away(side: Side) -> String {
    format!("the {side} cannot be seen, SW-0542")
}

/// Why a stream is down, by the journal's last word.
#[must_use]
pub fn stream_is_down(direction: Direction, why: &str) -> String {
    format!("the {direction} stream is down, by the journal's last word of it: {why}")
}

const fn lost(writes: Side) -> &'static str {
    match writes {
        Side::Target => "While the source is the writer: `retire`, then `start`, which loads the phase anew.",
        Side::Source => {
            "There is no way back by it. While the source is the writer: `retire`, then `start`. While the \
                         target is: go on, and `complete`."
        }
    }
}

/// How long the way back is.
#[must_use]
pub fn way_back(seconds: i64, bytes: i64) -> String {
    format!("about {seconds} s ({bytes} bytes of log to carry over, at 5 MiB a second)")
}

/// Nobody answered.
#[must_use]
pub fn no_answer(within: Duration) -> String {
    format!("no answer within {}", length(within))
}

/// Nobody reads the slot of the way back.
#[must_use]
pub fn way_back_unread(bytes: i64) -> String {
    format!(
        "not certain: nobody reads its slot now ({bytes} bytes behind); if its stream has stopped for good, which \
         `switchyard status` says, there is none"
    )
}

/// The target was not seen.
#[must_use]
pub fn way_back_unknown() -> String {
    "not known: the target cannot be seen".to_owned()
}

/// The source is the writer.
#[must_use]
pub fn way_back_not_needed() -> String {
    "not needed: the source is the writer".to_owned()
}

const fn accepting(accepts: Accepts) -> &'static str {
    match accepts {
        Accepts::Yes => "ACCEPTS writes",
        Accepts::No => "refuses writes",
        Accepts::Perhaps => "MAY ACCEPT writes: its fence is not whole",
        Accepts::NoTables => "has no table of the phase",
        Accepts::Unknown => "cannot be seen",
    }
}

fn row(text: &mut String, name: &str, value: &str) {
    // A name that is longer than its column is still divided from what follows.
    let _written = writeln!(text, "  {name:<11} {value}");
}

/// A phase, for a person in the night: what is wrong comes first.
#[must_use]
pub fn doctor(report: &Report) -> String {
    let mut text = format!("{}\n", report.phase);
    for finding in &report.findings {
        row(&mut text, "WRONG", &format!("{} ({})", finding.what, finding.code));
        row(&mut text, "  remedy", &finding.remedy);
    }
    if report.findings.is_empty() {
        row(&mut text, "in order", "nothing disagrees");
    }
    row(&mut text, "way back", &report.way_back);
    row(&mut text, "lever", report.lever.as_deref().unwrap_or("cannot be seen"));
    for warning in &report.lever_warnings {
        row(&mut text, "  not known", warning);
    }
    let sides = [
        ("source", report.source_accepts, &report.source),
        ("target", report.target_accepts, &report.target),
    ];
    for (name, accepts, seen) in sides {
        row(&mut text, name, accepting(accepts));
        if let Some(seen) = seen {
            side(&mut text, seen);
        }
    }
    text.trim_end().to_owned()
}

fn side(text: &mut String, seen: &SideSeen) {
    let identity: Vec<String> = seen.identity.iter().map(|(key, value)| format!("{key} {value}")).collect();
    row(text, "  server", &identity.join(", "));
    let gate = seen.gate.as_ref().map_or_else(
        || "none".to_owned(),
        |gate| {
            format!(
                "{}, epoch {}, position {}, since {}",
                gate.mode, gate.epoch, gate.position, gate.changed_at
            )
        },
    );
    row(text, "  gate", &gate);
    let fence = match (seen.fence.triggers, &seen.fence.function) {
        (0, _) => "none".to_owned(),
        (triggers, function) => {
            format!(
                "{triggers} triggers, its function is {}",
                function.as_deref().unwrap_or("of another making")
            )
        }
    };
    row(text, "  fence", &fence);
    for slot in &seen.slots {
        let read = if slot.is_active { "read now" } else { "NOT read" };
        let told = format!(
            "{} ({}), {read}, {}, keeps {} bytes, its reader is {} bytes behind",
            slot.name, slot.direction, slot.wal_status, slot.retained_bytes, slot.behind_bytes
        );
        row(text, "  slot", &told);
    }
    for stream in &seen.streams {
        let told = format!(
            "{}, {}, at {}, epoch {}, written {} s ago",
            stream.direction, stream.mode, stream.lsn, stream.epoch, stream.age_s
        );
        row(text, "  stream", &told);
    }
    for lacking in &seen.not_permitted {
        row(text, "  not known", lacking);
    }
    for (name, at) in &seen.origins {
        row(text, "  origin", &format!("{name} at {at}"));
    }
    let lists = [
        ("  breach", &seen.breaches),
        ("  writer", &seen.writers),
        ("  long", &seen.long_transactions),
        ("  receipt", &seen.receipts),
    ];
    for (name, list) in lists {
        for each in list {
            row(text, name, each);
        }
    }
}
