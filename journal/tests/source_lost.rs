//! `complete --source-lost`: nothing is asked of a source that is gone, and what stays on it is named.

use crate::support::{Journal, phase};
use journal::*;

const LOST: Operation = Operation::CompleteSourceLost;

fn on_target() -> Journal {
    let mut journal = Journal::adopted();
    journal.live(Operation::Start);
    journal.live(Operation::Cutover);
    journal
}

fn source_dies(journal: &mut Journal) {
    journal.back(StreamHealth::Broken { error: "connection refused".to_owned() }, None);
}

fn approved(journal: &mut Journal, request: Position) {
    journal.approve("ana", request).unwrap();
    journal.approve("ben", request).unwrap();
}

#[test]
fn a_source_whose_stream_follows_is_not_given_up() {
    let mut journal = on_target();
    assert_eq!(journal.ask("ana", LOST), Err(Refusal::SourceNotLost));
    journal.back(StreamHealth::CaughtUp, None);
    assert_eq!(journal.ask("ana", LOST), Err(Refusal::SourceNotLost));
    source_dies(&mut journal);
    journal.ask("ana", LOST).unwrap();
}

#[test]
fn a_source_that_comes_back_voids_the_request() {
    let mut journal = on_target();
    source_dies(&mut journal);
    let request = journal.ask("ana", LOST).unwrap();
    journal.approve("ana", request).unwrap();
    journal.back(StreamHealth::CaughtUp, None);
    assert!(matches!(journal.approve("ben", request), Err(Refusal::RequestClosed { .. })));
    journal.run().unwrap();
    assert_eq!(journal.state.requests[&request].status, RequestStatus::Void(VoidReason::SourceIsBack));
}

#[test]
fn two_persons_approve_it_and_what_stays_on_the_source_is_named() {
    let mut journal = on_target();
    source_dies(&mut journal);
    let request = journal.ask("ana", LOST).unwrap();
    journal.approve("ana", request).unwrap();
    journal.run().unwrap();
    assert!(journal.phase().operation.is_none(), "one person was enough");
    journal.approve("ben", request).unwrap();
    while journal.phase().operation.is_none() {
        journal.tick(&|_| false).unwrap();
    }
    assert!(desired_streams(&journal.state).is_empty(), "a stream still reads the slot that goes");
    journal.run().unwrap();
    let state = journal.phase();
    assert_eq!((state.status, state.writer()), (PhaseStatus::Completed, Writer::Target));
    assert!(state.streams.is_empty() && state.gates[&Side::Source] == GateMode::Closed);
    let left = journal.events.iter().find_map(|event| match &event.body {
        Fact::LeftBehind { side, what, .. } => Some((*side, what.join(", "))),
        _ => None,
    });
    let (side, what) = left.unwrap();
    assert_eq!(side, Side::Source);
    assert!(what.contains("slot switchyard_shop_a") && !what.contains("table"), "{what}");
}

#[test]
fn it_takes_the_place_of_a_complete_that_waits_for_the_source_and_of_nothing_else() {
    let mut journal = on_target();
    let stuck = journal.ask("ana", Operation::Complete).unwrap();
    approved(&mut journal, stuck);
    journal.tick(&|_| false).unwrap();
    assert!(journal.phase().operation.is_some());
    source_dies(&mut journal);
    let request = journal.ask("ana", LOST).unwrap();
    approved(&mut journal, request);
    journal.run().unwrap();
    assert_eq!(journal.state.requests[&stuck].status, RequestStatus::Finished(Outcome::Replaced));
    assert_eq!(journal.phase().status, PhaseStatus::Completed);

    let mut journal = on_target();
    let back = journal.ask("ana", Operation::Failback).unwrap();
    approved(&mut journal, back);
    journal.tick(&|_| false).unwrap();
    source_dies(&mut journal);
    assert!(matches!(journal.ask("ana", LOST), Err(Refusal::Busy { .. })));
    assert!(journal.state.operation(&phase()).is_some());
}
