//! The table for the night.

use std::fmt::Write as _;

use journal::{Finding, Timestamp, Writer};

use super::{instant, length, list, moment};
use crate::status::{Next, PhaseReport, Report};

/// What happens next by itself, and when.
#[must_use]
pub fn next(next: &Next) -> String {
    match next {
        Next::Nothing => "nothing by itself".to_owned(),
        Next::NeedsPerson => "nothing until a person says retry or abort".to_owned(),
        Next::NeedsResume => "nothing until a person says resume".to_owned(),
        Next::NeedsStream { direction } => {
            format!("nothing until the {direction} stream follows again")
        }
        Next::NeedsWitness => {
            "stop_traffic, as soon as a log checkpoint over the approvals stands in the witness file"
                .to_owned()
        }
        Next::NeedsRelease => "nothing until the hold is released".to_owned(),
        Next::NeedsApprovals { request, expires_at } => {
            format!("request #{request} waits for approvals and is void at {}", instant(*expires_at))
        }
        Next::Waits { told } => told.clone(),
        Next::Begins { request } => format!("request #{request} begins as soon as an executor has the phase"),
        Next::Voids => "a request that counts no more is made void".to_owned(),
        Next::Runs { step } => format!("{step} goes on"),
        Next::RunsUntil { step, at } => {
            format!(
                "{step} goes on; at {} it undoes by itself, if the other side is not opening by then",
                instant(*at)
            )
        }
        Next::HoldsAt { step, at } => {
            format!(
                "{step} goes on; at {} a person is called, the traffic held, if the other side is not opening by then",
                instant(*at)
            )
        }
        Next::Undoes => "the undo goes on".to_owned(),
        Next::BeginsUndo => "the undo begins".to_owned(),
        Next::CallsPerson => "a person is called".to_owned(),
    }
}

/// The whole report as a table.
#[must_use]
pub fn status(report: &Report) -> String {
    let mut text = report.contradicted.as_ref().map_or_else(String::new, |why| format!("{why}\n\n"));
    let _written = writeln!(
        text,
        "{}, plan {}, journal at #{}, {}",
        report.migration,
        report.plan_hash.get(..8).unwrap_or(&report.plan_hash),
        report.position,
        instant(report.now)
    );
    if let Some(hold) = &report.hold {
        let _written = writeln!(text, "HELD: no new operation begins anywhere: “{hold}”");
    }
    let _written = match (&report.log_checkpoint, report.is_provable) {
        (Some(left), _) => writeln!(
            text,
            "log checkpoint {} {} stands in {}",
            left.size,
            left.root.get(..8).unwrap_or(&left.root),
            list(&left.left_to)
        ),
        (None, true) => {
            writeln!(text, "no log checkpoint over an approval has left this journal yet")
        }
        (None, false) => writeln!(text, "this journal cannot prove itself: the plan names no signing_key"),
    };
    for phase in &report.phases {
        text.push('\n');
        phase_table(&mut text, phase, report.now);
    }
    text.trim_end().to_owned()
}

fn row(text: &mut String, name: &str, value: &str) {
    // A name that is longer than its column is still divided from what follows.
    let _written = writeln!(text, "  {name:<11} {value}");
}

/// What passed the fence and no person has acknowledged, and how one does.
fn breaches(text: &mut String, phase: &PhaseReport, now: Timestamp) {
    let mut is_open = false;
    for breach in phase.breaches.iter().filter(|breach| !breach.acknowledged) {
        is_open = true;
        let changes = if breach.changes == 1 { "change" } else { "changes" };
        row(
            text,
            "BREACH",
            &format!(
                "{} {changes} of {} passed the fence since {} (event #{}; the {} guard, the last at {})",
                breach.changes,
                breach.table,
                moment(breach.since, now),
                breach.position,
                breach.stream,
                breach.at
            ),
        );
    }
    if is_open {
        let told = format!(
            "find out who wrote past the fence; /migrate {0} verify compares both sides; mend what differs; when they \
             are equal: /migrate release {0}",
            phase.name
        );
        row(text, "  remedy", &told);
    }
}

/// What a person has to look at.
fn trouble(text: &mut String, phase: &PhaseReport, now: Timestamp) {
    if let Some(behind) = &phase.behind {
        row(text, "WRONG", behind);
    }
    if let Some(blocked) = &phase.blocked {
        row(text, "BLOCKED", &format!("{} ({})", blocked.what, blocked.code));
        row(text, "  remedy", &blocked.remedy);
        let then = if phase.undoing.is_some() {
            "nothing has to be said: the undo goes on by itself as soon as that is mended".to_owned()
        } else if phase.point_of_no_return_passed {
            format!("/migrate {} retry", phase.name)
        } else {
            super::then(&phase.name, phase.operation.unwrap_or_default())
        };
        row(text, "  then", &then);
    }
    breaches(text, phase, now);
    if let Some(loss) = &phase.loss {
        row(text, "LOST?", &loss.told);
        row(text, "  remedy", &loss.remedy);
    }
    if let Some(quarantine) = &phase.quarantine {
        row(text, "QUARANTINE", quarantine);
    }
    for changed in &phase.timelines {
        let Finding { code, what, remedy } = &changed.finding;
        let since = moment(changed.since, now);
        row(text, "TIMELINE", &format!("{what}. Since {since}, event #{} ({code})", changed.position));
        row(text, "  remedy", remedy);
    }
    for glass in &phase.broken_glass {
        row(text, "GLASS", &glass.told);
    }
    if let Some(warning) = &phase.warning {
        row(text, "warning", warning);
    }
    if let Some(hold) = &phase.hold {
        row(text, "held", &format!("“{hold}”"));
    }
    if let Some(undoing) = &phase.undoing {
        row(text, "undoing", undoing);
    }
}

fn phase_table(text: &mut String, phase: &PhaseReport, now: Timestamp) {
    let doing = match (&phase.operation, phase.step) {
        (Some(operation), Some(step)) => format!("  {operation}, at {step}"),
        _ => String::new(),
    };
    let _written = writeln!(text, "{}  {}{doing}", phase.name, phase.status);
    let writer = match phase.writer {
        Writer::Source => "the source",
        Writer::Target => "the target",
        Writer::None => "NOBODY",
    };
    row(text, "writer", writer);
    if !phase.tables.is_empty() {
        row(text, "tables", &format!("{}: {}", phase.tables.len(), phase.tables.join(", ")));
    }
    trouble(text, phase, now);
    row(text, "next", &phase.next);
    if phase.operation.is_some() {
        let passed =
            if phase.point_of_no_return_passed { "PASSED: nothing is undone any more" } else { "not passed" };
        row(text, "no return", passed);
    }
    if let Some(doing) = &phase.doing {
        row(text, "doing", doing);
    }
    for (side, gate) in &phase.gates {
        let seen = gate.seen.as_deref().zip(phase.reported_at).map_or_else(
            || "not probed since".to_owned(),
            |(seen, at)| format!("{seen}, probed at {}", instant(at)),
        );
        row(text, &format!("gate {side}"), &format!("{} by the journal; {seen}", gate.mode));
    }
    for stream in &phase.streams {
        let mut told = format!("{}, {}", stream.mode, stream.health);
        if let Some(retained) = &stream.retained_bytes {
            let _written = write!(told, "; slot {} retains {retained} bytes", stream.slot);
        }
        if let Some(status) = stream.wal_status.as_deref().filter(|status| *status != "reserved") {
            let _written = write!(told, "; its WAL is {status}");
        }
        row(text, &stream.direction, &told);
    }
    if let Some(lag) = phase.lag_ms {
        row(text, "lag", &format!("{lag} ms"));
    }
    for (name, value) in &phase.observed {
        row(text, name, value);
    }
    for request in phase.requests.iter().filter(|request| request.is_live) {
        let who = if request.approved_by.is_empty() {
            String::new()
        } else {
            format!(" ({})", request.approved_by.join(", "))
        };
        row(
            text,
            "request",
            &format!(
                "#{} {} by {}: {}, {} of {} approvals{who}, until {}",
                request.number,
                request.operation,
                request.requester,
                request.status,
                request.approvals,
                request.required,
                moment(request.expires, now)
            ),
        );
    }
    row(text, "way back", phase.way_back.as_deref().unwrap_or("not needed: the source is the writer"));
    match (&phase.holder, phase.reported_at) {
        (Some(holder), Some(at)) => {
            let age = now.since(at);
            let told = if phase.is_stale {
                format!(
                    "NOBODY SERVES: no executor has reported since {}; start `switchyard serve --plan …` (the last was \
                     {holder}, epoch {})",
                    instant(at),
                    phase.epoch
                )
            } else {
                format!("{holder}, epoch {}, heard of {} ago", phase.epoch, length(age))
            };
            row(text, "executor", &told);
        }
        (Some(holder), None) => row(text, "executor", &format!("{holder}, epoch {}", phase.epoch)),
        (None, _) => row(text, "executor", "none has taken the phase yet"),
    }
}
