//! `failback --target-lost`: the loss is shown and confirmed, and what was confirmed is carried through.

use crate::support::{Journal, executor, person, phase};
use journal::*;

const LOST: Operation = Operation::FailbackTargetLost;

fn on_target() -> Journal {
    let mut journal = Journal::adopted();
    journal.live(Operation::Start);
    journal.live(Operation::Cutover);
    journal
}

fn approved(journal: &mut Journal, request: Position) {
    journal.approve("ana", request).unwrap();
    journal.approve("ben", request).unwrap();
}

/// A failback that has stopped the traffic.
fn in_the_window() -> (Journal, Position) {
    let mut journal = on_target();
    let request = journal.ask("ana", Operation::Failback).unwrap();
    approved(&mut journal, request);
    while journal.state.operation(&phase()).is_none_or(|run| run.stopped.is_none()) {
        journal.tick(&|_| false).unwrap();
    }
    (journal, request)
}

fn word(journal: &mut Journal) -> KnownLoss {
    match journal.ask("ana", LOST) {
        Err(Refusal::LossUnconfirmed { loss, given: None }) => loss,
        other => panic!("the loss was not shown: {other:?}"),
    }
}

fn confirm(word: &str) -> RequestOptions {
    RequestOptions { confirmed_loss: Some(word.to_owned()), ..RequestOptions::default() }
}

#[test]
fn a_target_whose_stream_follows_is_not_given_up() {
    let mut journal = on_target();
    assert_eq!(journal.ask("ana", LOST), Err(Refusal::TargetNotLost));
    for health in [StreamHealth::CaughtUp, StreamHealth::Lagging] {
        journal.back(health, None);
        assert_eq!(journal.ask_with("ana", LOST, confirm("loss-000000")), Err(Refusal::TargetNotLost));
    }
    journal.back(StreamHealth::Broken { error: "gone".to_owned() }, None);
    assert_eq!(journal.ask("ana", LOST), Err(Refusal::LossUnknown));
}

#[test]
fn a_target_that_waits_to_be_probed_anew_is_not_given_up() {
    let mut journal = on_target();
    let finding = Finding { code: DISPLACED.to_owned(), what: String::new(), remedy: String::new() };
    journal.back(StreamHealth::Stopped { finding }, Some("0/10"));
    assert_eq!(journal.ask("ana", LOST), Err(Refusal::TargetNotLost));
}

#[test]
fn the_loss_is_shown_and_only_its_own_word_confirms_it() {
    let mut journal = on_target();
    journal.target_dies("0/10");
    let shown = word(&mut journal);
    assert_eq!(shown.checkpoint.to_string(), "0/10");
    assert!(shown.newest_change_at.is_some());
    let wrong = journal.ask_with("ana", LOST, confirm("loss-000000"));
    assert!(matches!(wrong, Err(Refusal::LossUnconfirmed { given: Some(_), .. })), "{wrong:?}");
    let request = journal.ask_with("ana", LOST, confirm(&shown.word.to_uppercase())).unwrap();
    assert_eq!(journal.state.requests[&request].confirmed_loss, Some(shown.to_string()));
}

#[test]
fn approvals_for_one_loss_are_none_for_another() {
    let mut journal = on_target();
    journal.target_dies("0/10");
    let first = word(&mut journal);
    let request = journal.give_up("ana").unwrap();
    journal.approve("ana", request).unwrap();
    journal.back(StreamHealth::CaughtUp, None);
    journal.target_dies("0/20");
    assert!(matches!(journal.approve("ben", request), Err(Refusal::RequestClosed { .. })));
    assert_eq!(journal.due(), Due::VoidStale);
    journal.run().unwrap();
    assert_eq!(journal.state.requests[&request].status, RequestStatus::Void(VoidReason::LossChanged));
    let second = word(&mut journal);
    assert_ne!(first.word, second.word);
    let old = journal.ask_with("ana", LOST, confirm(&first.word));
    assert!(matches!(old, Err(Refusal::LossUnconfirmed { .. })), "{old:?}");
}

#[test]
fn a_target_that_comes_back_voids_the_request() {
    let mut journal = on_target();
    journal.target_dies("0/10");
    let request = journal.give_up("ana").unwrap();
    journal.back(StreamHealth::CaughtUp, None);
    journal.run().unwrap();
    assert_eq!(journal.state.requests[&request].status, RequestStatus::Void(VoidReason::LossChanged));
    assert_eq!(journal.phase().status, PhaseStatus::OnTarget);
}

#[test]
fn two_persons_approve_it_and_the_source_opens_beside_a_quarantined_target() {
    let mut journal = on_target();
    journal.target_dies("0/10");
    let request = journal.give_up("ana").unwrap();
    journal.approve("ana", request).unwrap();
    journal.run().unwrap();
    assert_eq!(journal.phase().operation.as_ref().map(|run| run.operation), None);
    journal.approve("ben", request).unwrap();
    journal.run().unwrap();
    let state = journal.phase();
    assert_eq!((state.status, state.writer()), (PhaseStatus::Quarantined, Writer::Source));
    assert!(state.streams.is_empty() && desired_streams(&journal.state).is_empty());
    let quarantine = state.quarantine.as_ref().unwrap();
    assert!(!quarantine.is_closed && quarantine.stream.is_some());
    let declared = journal.events.iter().find_map(|event| match &event.body {
        Fact::LossDeclared { checkpoint, newest_change_at, drained, closed, confirmed, .. } => {
            Some((checkpoint.clone(), *newest_change_at, *drained, *closed, confirmed.clone()))
        }
        _ => None,
    });
    let (checkpoint, newest, drained, closed, confirmed) = declared.unwrap();
    assert_eq!((checkpoint.as_str(), newest.is_some(), drained, closed), ("0/16B3748", true, false, false));
    assert!(confirmed.starts_with("loss-"));
}

#[test]
fn the_source_does_not_open_before_the_loss_is_declared() {
    let mut journal = on_target();
    journal.target_dies("0/10");
    let request = journal.give_up("ana").unwrap();
    approved(&mut journal, request);
    let effect = Effect::OpenGate { side: Side::Source };
    while journal.phase().quarantine.is_none() {
        let step = journal.state.operation(&phase()).map_or(Step::StopTraffic, |run| run.step);
        let (phase, effect) = (phase(), effect.clone());
        let body = CommandBody::Intend { phase, step, effect, undo: Vec::new() };
        assert!(journal.give(executor(), body).is_err());
        journal.tick(&|_| false).unwrap();
    }
}

#[test]
fn what_was_confirmed_is_carried_through_once_the_traffic_is_stopped() {
    let mut journal = on_target();
    journal.target_dies("0/10");
    let request = journal.give_up("ana").unwrap();
    approved(&mut journal, request);
    while journal.state.operation(&phase()).is_none_or(|run| run.stopped.is_none()) {
        journal.tick(&|_| false).unwrap();
    }
    let abort = CommandBody::Abort { phase: phase(), reason: "no".to_owned() };
    assert_eq!(journal.give(person("ana"), abort), Err(Refusal::PointOfNoReturn));
    assert_eq!(journal.deny("ben", request), Err(Refusal::PointOfNoReturn));
    assert_eq!(journal.revoke("ben", request), Err(Refusal::PointOfNoReturn));
    // Neither its deadline nor a failure returns the traffic to where nothing is.
    journal.wait(3600);
    assert!(!matches!(journal.due(), Due::BeginUndo(_) | Due::CallPerson(_)), "{:?}", journal.due());
    let fails = |effect: &Effect| matches!(effect, Effect::RouteTraffic { .. });
    while journal.tick(&fails).unwrap() {}
    assert!(matches!(journal.due(), Due::Blocked(_)), "{:?}", journal.due());
    journal.give(person("ana"), CommandBody::Retry { phase: phase() }).unwrap();
    journal.run().unwrap();
    assert_eq!(journal.phase().status, PhaseStatus::Quarantined);
}

#[test]
fn it_takes_the_place_of_a_failback_that_is_stuck_in_its_window() {
    let (mut journal, stuck) = in_the_window();
    journal.target_dies("0/10");
    let other = journal.ask("ana", Operation::Verify);
    assert!(matches!(other, Err(Refusal::Busy { .. })), "{other:?}");
    let request = journal.give_up("ana").unwrap();
    assert!(!matches!(journal.due(), Due::Begin(_)));
    approved(&mut journal, request);
    assert_eq!(journal.due(), Due::Begin(request));
    journal.run().unwrap();
    assert_eq!(journal.state.requests[&stuck].status, RequestStatus::Finished(Outcome::Replaced));
    assert_eq!(journal.state.requests[&request].status, RequestStatus::Finished(Outcome::Completed));
    assert_eq!(
        (journal.phase().status, journal.phase().writer()),
        (PhaseStatus::Quarantined, Writer::Source)
    );
}

#[test]
fn it_takes_the_place_of_a_failback_whose_undo_waits_for_the_target() {
    let (mut journal, stuck) = in_the_window();
    let abort = CommandBody::Abort { phase: phase(), reason: "no".to_owned() };
    journal.give(person("ana"), abort).unwrap();
    journal.tick(&|_| false).unwrap();
    assert!(journal.state.operation(&phase()).unwrap().undo.is_some());
    journal.target_dies("0/10");
    let request = journal.give_up("ana").unwrap();
    approved(&mut journal, request);
    journal.run().unwrap();
    assert_eq!(journal.state.requests[&stuck].status, RequestStatus::Finished(Outcome::Replaced));
    assert_eq!(journal.phase().status, PhaseStatus::Quarantined);
}

#[test]
fn it_takes_the_place_of_nothing_that_has_not_stopped_the_traffic() {
    let mut journal = on_target();
    let request = journal.ask("ana", Operation::Failback).unwrap();
    approved(&mut journal, request);
    journal.tick(&|_| false).unwrap();
    journal.target_dies("0/10");
    assert!(matches!(journal.ask("ana", LOST), Err(Refusal::Busy { .. })));
}

#[test]
fn a_quarantined_phase_can_only_be_retired_and_is_then_loaded_anew() {
    let mut journal = on_target();
    journal.target_dies("0/10");
    let request = journal.give_up("ana").unwrap();
    approved(&mut journal, request);
    journal.run().unwrap();
    for operation in Operation::ALL {
        if operation != Operation::Retire {
            let asked = journal.ask("ana", operation);
            assert!(asked.is_err(), "{operation} was taken");
        }
    }
    journal.live(Operation::Retire);
    let left = journal.events.iter().find_map(|event| match &event.body {
        Fact::LeftBehind { side, what, .. } => Some((*side, what.join(", "))),
        _ => None,
    });
    let (side, what) = left.unwrap();
    assert_eq!(side, Side::Target);
    assert!(what.contains("slot switchyard_shop_a") && what.contains("table shop.orders"), "{what}");
    let state = journal.phase();
    assert_eq!((state.status, state.writer()), (PhaseStatus::Retired, Writer::Source));
    assert!(state.quarantine.is_none() && !state.identities.contains_key(&Side::Target));
    journal.live(Operation::Start);
    assert_eq!(journal.phase().status, PhaseStatus::Replicating);
}

#[test]
fn a_target_that_comes_back_is_closed_before_its_rest_is_read_and_leaves_nothing_behind() {
    let mut journal = on_target();
    journal.target_dies("0/10");
    let request = journal.give_up("ana").unwrap();
    approved(&mut journal, request);
    journal.run().unwrap();
    let loss = journal.phase().quarantine.as_ref().unwrap().position;
    let mut report = |found: Found| {
        let body = CommandBody::ReportQuarantine { phase: phase(), loss, found };
        journal.give(executor(), body).unwrap().len()
    };
    let read = || Found::Read { file: "f.jsonl".to_owned(), changes: 3 };
    assert_eq!(report(read()), 0, "nothing is read while somebody may write");
    assert_eq!(report(Found::Closed { evidence: Evidence::new() }), 1);
    assert_eq!(report(Found::Closed { evidence: Evidence::new() }), 0, "said again it is no news");
    assert_eq!(report(read()), 1);
    assert_eq!(report(read()), 0);
    assert!(journal.phase().quarantine.as_ref().unwrap().is_done());
    journal.live(Operation::Retire);
    assert!(!journal.events.iter().any(|event| matches!(event.body, Fact::LeftBehind { .. })));
}
