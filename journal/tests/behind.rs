//! Whether a gate shows that the journal is older than what was done under it.

use crate::support::{Journal, phase};
use journal::*;

fn on_target() -> Journal {
    let mut journal = Journal::adopted();
    journal.live(Operation::Start);
    journal.live(Operation::Cutover);
    journal
}

/// A gate's row as the journal has left it.
fn row(journal: &Journal, side: Side) -> GateRow {
    let known = journal.phase();
    GateRow { mode: known.gates[&side], epoch: known.epoch, position: journal.state.head }
}

fn code(journal: &Journal, side: Side, row: GateRow) -> Option<String> {
    behind(&journal.state, &phase(), side, row).map(|finding| finding.code)
}

const OLD: Option<&str> = Some("SW-0660");

#[test]
fn what_the_journal_has_itself_said_is_believed() {
    let journal = on_target();
    for side in Side::ALL {
        assert_eq!(code(&journal, side, row(&journal, side)), None, "{side}");
    }
}

#[test]
fn an_event_or_an_epoch_that_the_journal_has_not_got_shows_it_to_be_old() {
    let journal = on_target();
    for side in Side::ALL {
        let seen = row(&journal, side);
        let later = GateRow { position: journal.state.head.next(), ..seen };
        assert_eq!(code(&journal, side, later).as_deref(), OLD);
        assert_eq!(code(&journal, side, GateRow { epoch: seen.epoch.next(), ..seen }).as_deref(), OLD);
    }
}

#[test]
fn a_journal_that_has_grown_past_the_gates_events_is_still_told_by_what_they_say() {
    let mut journal = on_target();
    let seen = row(&journal, Side::Source);
    let open = GateRow { mode: GateMode::Open, ..seen };
    assert_eq!(code(&journal, Side::Source, open).as_deref(), OLD);
    // A gate that is behind the journal is the database's own loss, and its timeline tells.
    let known = journal.state.phases.get_mut(&phase()).unwrap();
    known.gate_positions.insert(Side::Source, Position::new(2));
    let lost = GateRow { position: Position::new(1), ..open };
    assert_eq!(code(&journal, Side::Source, lost), None);
}

#[test]
fn an_undo_that_was_done_without_the_journal_is_no_newer_copy() {
    let mut journal = on_target();
    let request = journal.ask("ana", Operation::Failback).unwrap();
    journal.approve("ana", request).unwrap();
    journal.approve("ben", request).unwrap();
    let ahead = |journal: &Journal, by: u64| {
        let seen = row(journal, Side::Target);
        GateRow { position: Position::new(journal.state.head.get() + by), ..seen }
    };
    assert_eq!(code(&journal, Side::Target, ahead(&journal, 3)).as_deref(), OLD, "before the window");
    while journal.state.operation(&phase()).is_none_or(|run| run.stopped.is_none()) {
        journal.tick(&|_| false).unwrap();
    }
    assert_eq!(code(&journal, Side::Target, ahead(&journal, 3)), None, "in the window");
    assert_eq!(code(&journal, Side::Target, ahead(&journal, 30)).as_deref(), OLD);
}
