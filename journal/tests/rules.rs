//! The rules, from outside: commands in, events or refusals out.

use crate::support::{Journal, PLAN, executor, person, phase, plan};
use journal::*;

fn started() -> Journal {
    let mut journal = Journal::adopted();
    journal.live(Operation::Start);
    assert_eq!(journal.phase().status, PhaseStatus::Replicating);
    journal
}

/// Runs a cutover until the effect of this label is due to be intended.
fn cutover_until(label: &str) -> (Journal, Position) {
    let mut journal = started();
    let request = journal.ask("ana", Operation::Cutover).unwrap();
    journal.approve("ana", request).unwrap();
    journal.approve("ben", request).unwrap();
    for _ in 0..200 {
        if let Due::Plan(step) = journal.due() {
            let run = journal.state.operation(&phase()).unwrap();
            let next = plan(run.operation, step).into_iter().find(|effect| {
                !run.effects.iter().any(|record| record.effect == *effect && record.step == step)
            });
            if next.is_some_and(|next| next.label() == label) {
                return (journal, request);
            }
        }
        assert!(journal.tick(&|_| false).unwrap());
    }
    panic!("{label} never came");
}

#[test]
fn a_phase_lives_from_start_to_complete() {
    let mut journal = started();
    assert_eq!(journal.phase().writer(), Writer::Source);
    journal.live(Operation::Cutover);
    assert_eq!((journal.phase().status, journal.phase().writer()), (PhaseStatus::OnTarget, Writer::Target));
    assert_eq!(journal.phase().streams[&Direction::Failback].mode, StreamMode::Apply);
    journal.live(Operation::Failback);
    assert_eq!(
        (journal.phase().status, journal.phase().writer()),
        (PhaseStatus::Replicating, Writer::Source)
    );
    journal.live(Operation::Cutover);
    journal.live(Operation::Complete);
    assert_eq!((journal.phase().status, journal.phase().writer()), (PhaseStatus::Completed, Writer::Target));
    assert!(desired_streams(&journal.state).is_empty());
}

#[test]
fn replaying_the_stored_bytes_gives_the_same_state() {
    let mut journal = started();
    journal.live(Operation::Cutover);
    let stored: Vec<_> = journal.events.iter().map(|event| event.to_bytes().unwrap()).collect();
    let read: Vec<_> = stored.iter().map(|bytes| Recorded::from_bytes(bytes).unwrap()).collect();
    assert_eq!(format!("{:?}", replay(&read)), format!("{:?}", journal.state));
}

#[test]
fn a_cutover_waits_for_two_distinct_persons() {
    let mut journal = started();
    let request = journal.ask("ana", Operation::Cutover).unwrap();
    assert_eq!(journal.due(), Due::Idle);
    journal.approve("ana", request).unwrap();
    assert_eq!(journal.approve("ana", request), Err(Refusal::SaidAlready));
    assert_eq!(journal.due(), Due::Idle);
    let begun = journal.give(executor(), CommandBody::Begin { phase: phase(), request });
    assert_eq!(begun, Err(Refusal::NoQuorum { have: 1, need: 2 }));
    let cy = PersonId::new("cy").unwrap();
    assert_eq!(journal.approve("cy", request), Err(Refusal::LacksRole { person: cy, role: Role::Approver }));
    journal.approve("ben", request).unwrap();
    assert_eq!(journal.due(), Due::Begin(request));
}

#[test]
fn a_revocation_before_the_start_counts_and_a_denial_voids() {
    let mut journal = started();
    let request = journal.ask("ana", Operation::Cutover).unwrap();
    journal.approve("ana", request).unwrap();
    journal.approve("ben", request).unwrap();
    journal.give(person("ben"), CommandBody::Revoke { request }).unwrap();
    assert_eq!(journal.due(), Due::Idle);
    let deny = CommandBody::Deny { request, reason: "not on a Friday".to_owned() };
    journal.give(person("ben"), deny).unwrap();
    assert_eq!(journal.approve("ben", request), Err(Refusal::RequestClosed { request }));
}

#[test]
fn a_request_expires_and_is_voided_once() {
    let mut journal = started();
    let request = journal.ask("ana", Operation::Cutover).unwrap();
    journal.approve("ana", request).unwrap();
    journal.now = journal.now.plus(std::time::Duration::from_secs(4 * 3600));
    assert_eq!(journal.approve("ben", request), Err(Refusal::RequestExpired { request }));
    assert_eq!(journal.due(), Due::VoidStale);
    journal.run().unwrap();
    assert_eq!(journal.state.requests[&request].status, RequestStatus::Void(VoidReason::Expired));
    assert_eq!(journal.due(), Due::Idle);
}

#[test]
fn a_changed_plan_voids_open_requests_and_cannot_touch_a_running_phase() {
    let mut journal = started();
    let request = journal.ask("ana", Operation::Cutover).unwrap();
    let changed = PLAN.replace("max_downtime = \"60s\"", "max_downtime = \"61s\"");
    let adopt = CommandBody::AdoptPlan { text: changed.clone(), authors: Vec::new() };
    assert!(matches!(journal.give(person("ben"), adopt.clone()), Err(Refusal::LacksRole { .. })));
    journal.give(person("ana"), adopt).unwrap();
    assert!(matches!(
        journal.state.requests[&request].status,
        RequestStatus::Void(VoidReason::PlanChanged { .. })
    ));
    let (mut journal, _) = cutover_until("close_gate:source");
    let refused = journal.give(person("ana"), CommandBody::AdoptPlan { text: changed, authors: Vec::new() });
    assert_eq!(refused, Err(Refusal::PhaseFrozen { phase: phase() }));
}

#[test]
fn a_revision_may_leave_out_only_a_phase_of_which_nothing_is_live() {
    let other =
        PLAN.replace("name = \"a\"\ntables = [\"shop.orders\"]", "name = \"b\"\ntables = [\"shop.other\"]");
    let leave_out = |journal: &mut Journal| {
        let text = other.clone();
        journal.give(person("ana"), CommandBody::AdoptPlan { text, authors: Vec::new() }).map(drop)
    };
    let refused = || Err(Refusal::PhasesLive { phases: vec![phase()] });
    assert_eq!(leave_out(&mut Journal::adopted()), Ok(()), "new");

    let mut journal = Journal::adopted();
    journal.ask("ana", Operation::Start).unwrap();
    while journal.phase().operation.is_none() {
        journal.tick(&|_| false).unwrap();
    }
    assert_eq!(leave_out(&mut journal), refused(), "in mid-operation");
    journal.run().unwrap();
    assert_eq!(leave_out(&mut journal), refused(), "replicating");
    let mut retired = journal.clone();
    retired.live(Operation::Retire);
    assert_eq!(leave_out(&mut retired), Ok(()), "retired");

    journal.live(Operation::Cutover);
    assert_eq!(leave_out(&mut journal), refused(), "on the target");
    let mut lost = journal.clone();
    lost.target_dies("0/10");
    let request = lost.give_up("ana").unwrap();
    lost.approve("ana", request).unwrap();
    lost.approve("ben", request).unwrap();
    lost.run().unwrap();
    assert_eq!(lost.phase().status, PhaseStatus::Quarantined);
    assert_eq!(leave_out(&mut lost), refused(), "quarantined");
    journal.live(Operation::Complete);
    assert_eq!(leave_out(&mut journal), Ok(()), "completed");
}

#[test]
fn a_revocation_in_the_window_undoes_the_attempt_and_spends_its_approvals() {
    let (mut journal, request) = cutover_until("await_marker:forward");
    journal.give(person("ben"), CommandBody::Revoke { request }).unwrap();
    let ben = PersonId::new("ben").unwrap();
    assert_eq!(journal.due(), Due::BeginUndo(UndoCause::ApprovalLost { person: ben }));
    journal.run().unwrap();
    assert_eq!(
        (journal.phase().status, journal.phase().writer()),
        (PhaseStatus::Replicating, Writer::Source)
    );
    assert_eq!(journal.state.requests[&request].status, RequestStatus::Finished(Outcome::Undone));
    assert_eq!(journal.due(), Due::Idle);
}

#[test]
fn from_the_openings_intent_on_nothing_is_undone() {
    let (mut journal, request) = cutover_until("open_gate:target");
    assert!(journal.tick(&|_| false).unwrap());
    assert_eq!(journal.state.requests[&request].status, RequestStatus::Consumed);
    let late = journal.now.plus(std::time::Duration::from_secs(600));
    journal.now = late;
    assert!(matches!(journal.due(), Due::Effect(_)));
    let refused = |journal: &mut Journal, actor, body| journal.give(actor, body).unwrap_err();
    let abort = CommandBody::Abort { phase: phase(), reason: "no".to_owned() };
    assert_eq!(refused(&mut journal, person("ana"), abort), Refusal::PointOfNoReturn);
    assert_eq!(
        refused(&mut journal, person("ben"), CommandBody::Revoke { request }),
        Refusal::PointOfNoReturn
    );
    let undo =
        CommandBody::BeginUndo { phase: phase(), cause: UndoCause::Deadline, answered: Evidence::new() };
    assert_eq!(refused(&mut journal, executor(), undo), Refusal::PointOfNoReturn);
    journal.run().unwrap();
    assert_eq!(journal.phase().status, PhaseStatus::OnTarget);
}

#[test]
fn the_deadline_undoes_from_the_stop_on() {
    let (mut journal, _) = cutover_until("await_writers:source");
    journal.now = journal.now.plus(std::time::Duration::from_secs(49));
    assert!(!matches!(journal.due(), Due::BeginUndo(_)));
    let early =
        CommandBody::BeginUndo { phase: phase(), cause: UndoCause::Deadline, answered: Evidence::new() };
    assert!(journal.give(executor(), early).is_err());
    journal.now = journal.now.plus(std::time::Duration::from_secs(1));
    assert_eq!(journal.due(), Due::BeginUndo(UndoCause::Deadline));
    journal.run().unwrap();
    assert_eq!(
        (journal.phase().status, journal.phase().writer()),
        (PhaseStatus::Replicating, Writer::Source)
    );
    journal.live(Operation::Cutover);
    assert_eq!(journal.phase().status, PhaseStatus::OnTarget);
}

#[test]
fn a_failure_in_the_window_undoes_and_one_before_it_blocks_nobody() {
    let (mut journal, _) = cutover_until("verify_changed");
    while journal.tick(&|effect| matches!(effect, Effect::VerifyChanged { .. })).unwrap() {}
    assert_eq!(
        (journal.phase().status, journal.phase().writer()),
        (PhaseStatus::Replicating, Writer::Source)
    );
    let undone = journal.events.iter().any(|event| {
        matches!(
            &event.body,
            Fact::UndoStarted { cause: UndoCause::StepFailed { step: Step::VerifyDelta, .. }, .. }
        )
    });
    assert!(undone);
}

#[test]
fn an_opening_that_is_proven_absent_is_undone_and_its_approvals_are_spent() {
    let (mut journal, request) = cutover_until("open_gate:target");
    while journal.tick(&|effect| matches!(effect, Effect::OpenGate { side: Side::Target })).unwrap() {}
    assert_eq!(
        (journal.phase().status, journal.phase().writer()),
        (PhaseStatus::Replicating, Writer::Source)
    );
    assert_eq!(journal.state.requests[&request].status, RequestStatus::Finished(Outcome::Undone));
}

#[test]
fn a_failback_at_its_deadline_holds_and_calls_a_person() {
    let mut journal = started();
    journal.live(Operation::Cutover);
    let request = journal.ask("ana", Operation::Failback).unwrap();
    journal.approve("ana", request).unwrap();
    journal.approve("ben", request).unwrap();
    while journal.state.operation(&phase()).is_none_or(|run| run.stopped.is_none()) {
        journal.tick(&|_| false).unwrap();
    }
    journal.now = journal.now.plus(std::time::Duration::from_secs(55));
    let mut retried = journal.clone();
    journal.run().unwrap();
    assert!(matches!(journal.due(), Due::Blocked(finding) if finding.code == "SW-0522"));
    journal.give(person("ana"), CommandBody::Abort { phase: phase(), reason: "back".to_owned() }).unwrap();
    journal.run().unwrap();
    assert_eq!((journal.phase().status, journal.phase().writer()), (PhaseStatus::OnTarget, Writer::Target));
    retried.run().unwrap();
    retried.give(person("ana"), CommandBody::Retry { phase: phase() }).unwrap();
    retried.run().unwrap();
    assert_eq!(
        (retried.phase().status, retried.phase().writer()),
        (PhaseStatus::Replicating, Writer::Source)
    );
}

/// Leaves each of the opening's conditions out in turn: each is missed, by name.
#[test]
fn the_gate_does_not_open_unless_everything_is_proven() {
    let labels = [
        "hold_traffic",
        "close_gate:source",
        "await_writers:source",
        "await_marker:forward",
        "verify_changed",
        "set_stream_mode:forward:guard",
        "set_stream_mode:failback:apply",
        "advance_sequences:target",
        "route_traffic:target",
        "trial_write:target:before",
    ];
    for left_out in labels {
        let (mut journal, _) = cutover_until("open_gate:target");
        let run = journal.state.phases.get_mut(&phase()).unwrap().operation.as_mut().unwrap();
        run.effects.retain(|record| record.effect.label() != left_out);
        let open = CommandBody::Intend {
            phase: phase(),
            step: Step::SwitchTraffic,
            effect: Effect::OpenGate { side: Side::Target },
            undo: vec![],
        };
        let refused = journal.give(executor(), open);
        assert!(matches!(refused, Err(Refusal::OpeningUnproven { .. })), "{left_out}: {refused:?}");
    }
}

#[test]
fn a_gate_opens_in_its_own_step_alone() {
    let (mut journal, _) = cutover_until("close_gate:source");
    for side in Side::ALL {
        let open = CommandBody::Intend {
            phase: phase(),
            step: Step::FenceSource,
            effect: Effect::OpenGate { side },
            undo: vec![],
        };
        assert!(matches!(journal.give(executor(), open), Err(Refusal::ForeignEffect { .. })));
    }
}

#[test]
fn a_pause_stops_between_steps_and_is_refused_in_the_window() {
    let mut journal = Journal::adopted();
    journal.ask("cy", Operation::Start).unwrap();
    assert!(journal.tick(&|_| false).unwrap());
    journal.give(person("cy"), CommandBody::Pause { phase: phase() }).unwrap();
    assert_eq!(journal.due(), Due::Paused);
    journal.give(person("cy"), CommandBody::Resume { phase: phase() }).unwrap();
    journal.run().unwrap();
    let (mut journal, _) = cutover_until("close_gate:source");
    assert_eq!(journal.give(person("cy"), CommandBody::Pause { phase: phase() }), Err(Refusal::InTheWindow));
}

#[test]
fn a_hold_lets_nothing_begin() {
    let mut journal = started();
    let request = journal.ask("ana", Operation::Cutover).unwrap();
    journal.approve("ana", request).unwrap();
    let hold = CommandBody::Hold { phase: Some(phase()), reason: "freeze".to_owned() };
    journal.give(person("cy"), hold).unwrap();
    journal.approve("ben", request).unwrap();
    assert_eq!(journal.due(), Due::Idle);
    let begin = CommandBody::Begin { phase: phase(), request };
    assert!(matches!(journal.give(executor(), begin), Err(Refusal::Held { .. })));
    journal.give(person("cy"), CommandBody::Release { phase: Some(phase()) }).unwrap();
    assert_eq!(journal.due(), Due::Begin(request));
}

#[test]
fn an_abort_of_start_begins_a_new_generation() {
    let mut journal = Journal::adopted();
    journal.ask("cy", Operation::Start).unwrap();
    for _ in 0..8 {
        journal.tick(&|_| false).unwrap();
    }
    journal.give(person("cy"), CommandBody::Abort { phase: phase(), reason: "later".to_owned() }).unwrap();
    journal.run().unwrap();
    assert_eq!((journal.phase().status, journal.phase().generation.get()), (PhaseStatus::New, 2));
    journal.live(Operation::Start);
    assert_eq!(journal.phase().status, PhaseStatus::Replicating);
}

#[test]
fn a_breach_holds_the_phase() {
    let mut journal = started();
    let breach = CommandBody::ReportBreach {
        phase: phase(),
        direction: Direction::Failback,
        table: crate::support::table(),
        at: "0/1".to_owned(),
        changes: 1,
    };
    assert_eq!(journal.give(executor(), breach.clone()).unwrap().len(), 1);
    assert_eq!(journal.give(executor(), breach).unwrap().len(), 0, "the same breach is said once");
    assert!(matches!(journal.ask("ana", Operation::Cutover), Err(Refusal::Held { .. })));
}

#[test]
fn a_breach_is_compared_while_it_holds_and_acknowledged_by_the_release() {
    let mut journal = started();
    let breach = |at: &str| CommandBody::ReportBreach {
        phase: phase(),
        direction: Direction::Failback,
        table: crate::support::table(),
        at: at.to_owned(),
        changes: 3,
    };
    journal.give(executor(), breach("0/1")).unwrap();
    journal.live(Operation::Verify);
    assert!(matches!(journal.ask("ana", Operation::Cutover), Err(Refusal::Held { .. })));
    journal.give(person("cy"), CommandBody::Release { phase: Some(phase()) }).unwrap();
    assert!(journal.phase().breaches.iter().all(|breach| breach.is_acknowledged && breach.changes == "3"));
    journal.live(Operation::Cutover);
    assert_eq!(journal.phase().status, PhaseStatus::OnTarget);
    journal.give(executor(), breach("0/2")).unwrap();
    assert!(
        matches!(journal.ask("ana", Operation::Failback), Err(Refusal::Held { .. })),
        "the next one holds again"
    );
}

fn stops(journal: &mut Journal, direction: Direction, health: StreamHealth) {
    let body = CommandBody::ReportStream {
        phase: phase(),
        direction,
        mode: StreamMode::Apply,
        health,
        seen: Evidence::new(),
    };
    journal.give(executor(), body).unwrap();
}

fn stopped() -> StreamHealth {
    let text = |text: &str| text.to_owned();
    StreamHealth::Stopped {
        finding: Finding { code: text("SW-0310"), what: text("TRUNCATE."), remedy: text("Retire it.") },
    }
}

#[test]
fn a_switch_does_not_begin_without_the_streams_that_it_needs() {
    use Direction::{Failback, Forward};
    let mut journal = started();
    let request = journal.ask("ana", Operation::Cutover).unwrap();
    journal.approve("ana", request).unwrap();
    for direction in [Forward, Failback] {
        stops(&mut journal, direction, stopped());
        assert!(matches!(journal.ask("ana", Operation::Cutover), Err(Refusal::StreamDown { .. })));
        stops(&mut journal, direction, StreamHealth::CaughtUp);
    }
    stops(&mut journal, Forward, StreamHealth::Broken { error: "away".to_owned() });
    journal.approve("ben", request).unwrap();
    assert_eq!(journal.due(), Due::Idle, "what was approved before waits for the stream");
    let begin = CommandBody::Begin { phase: phase(), request };
    assert!(matches!(journal.give(executor(), begin), Err(Refusal::StreamDown { .. })));
    stops(&mut journal, Forward, StreamHealth::CaughtUp);
    journal.run().unwrap();
    assert_eq!(journal.phase().status, PhaseStatus::OnTarget);

    // The stream that would lead forth again does not keep anybody from going back; the one that leads back does.
    stops(&mut journal, Forward, stopped());
    stops(&mut journal, Failback, stopped());
    assert!(matches!(journal.ask("ana", Operation::Failback), Err(Refusal::StreamDown { .. })));
    journal.ask("ana", Operation::Complete).unwrap();
    stops(&mut journal, Failback, StreamHealth::CaughtUp);
    journal.live(Operation::Failback);
    assert_eq!(journal.phase().status, PhaseStatus::Replicating);
}

#[test]
fn a_comparison_does_not_begin_without_the_stream_whose_place_it_is_made_at() {
    let mut journal = started();
    stops(&mut journal, Direction::Failback, stopped());
    journal.ask("ana", Operation::Verify).unwrap();
    let mut journal = started();
    stops(&mut journal, Direction::Forward, StreamHealth::Broken { error: "away".to_owned() });
    journal.live(Operation::Verify);
    stops(&mut journal, Direction::Forward, stopped());
    let refused = journal.ask("ana", Operation::Verify);
    assert!(matches!(refused, Err(Refusal::StreamDown { direction: Direction::Forward, .. })), "{refused:?}");
}

#[test]
fn what_was_retired_can_be_started_again_under_new_names() {
    let mut journal = started();
    stops(&mut journal, Direction::Forward, stopped());
    journal.live(Operation::Retire);
    let phase = journal.phase();
    assert_eq!(
        (phase.status, phase.generation.get(), phase.writer()),
        (PhaseStatus::Retired, 2, Writer::Source)
    );
    journal.live(Operation::Start);
    assert_eq!(journal.phase().status, PhaseStatus::Replicating);
}

#[test]
fn executors_and_persons_cannot_do_each_others_work() {
    let mut journal = started();
    let request = journal.ask("ana", Operation::Cutover).unwrap();
    let approve = CommandBody::Approve { request, reason: None };
    assert_eq!(journal.give(executor(), approve), Err(Refusal::NotAPerson));
    let begin = CommandBody::Begin { phase: phase(), request };
    assert_eq!(journal.give(person("ana"), begin), Err(Refusal::NotAnExecutor));
    let stranger = PersonId::new("eve").unwrap();
    assert_eq!(journal.approve("eve", request), Err(Refusal::UnknownPerson { person: stranger }));
}

#[test]
fn the_diagram_in_the_documentation_is_the_table() {
    let page = include_str!("../../docs/transitions.md");
    let drawn = page.split("```mermaid\n").nth(1).unwrap().split("```").next().unwrap();
    assert_eq!(drawn, diagram(), "put the table's diagram into docs/transitions.md");
}

/// A failback of a plan that returns by itself, in its window.
fn failing_back() -> Journal {
    let plan = PLAN.replace("[phase.lever]", "failback_deadline = \"return\"\n[phase.lever]");
    let mut journal = Journal::under(&plan);
    journal.live(Operation::Start);
    journal.live(Operation::Cutover);
    let request = journal.ask("ana", Operation::Failback).unwrap();
    journal.approve("ana", request).unwrap();
    journal.approve("ben", request).unwrap();
    while journal.state.operation(&phase()).is_none_or(|run| run.step != Step::DrainFailback) {
        assert!(journal.tick(&|_| false).unwrap());
    }
    journal
}

#[test]
fn a_failback_returns_by_itself_only_to_a_target_that_answered_a_write() {
    let mut journal = failing_back();
    journal.wait(50);
    assert_eq!(journal.due(), Due::BeginUndo(UndoCause::Deadline));
    let undo = |answered| CommandBody::BeginUndo { phase: phase(), cause: UndoCause::Deadline, answered };
    let refused = journal.give(executor(), undo(Evidence::new()));
    assert!(matches!(refused, Err(Refusal::OpeningUnproven { .. })), "{refused:?}");
    let answered = Evidence::from([("target".to_owned(), "answered a write".to_owned())]);
    journal.give(executor(), undo(answered)).unwrap();
    journal.run().unwrap();
    assert_eq!((journal.phase().status, journal.phase().writer()), (PhaseStatus::OnTarget, Writer::Target));
}

#[test]
fn a_failback_whose_target_does_not_answer_is_ended_by_a_person_alone() {
    let mut journal = failing_back();
    journal.wait(50);
    let run = journal.state.operation(&phase()).unwrap();
    let finding = unanswered(run, "no answer");
    let block = CommandBody::Block { phase: phase(), step: Step::DrainFailback, finding };
    journal.give(executor(), block).unwrap();
    journal.wait(600);
    assert!(matches!(journal.due(), Due::Blocked(finding) if finding.code == UNANSWERED));
    let answered = Evidence::from([("target".to_owned(), "answered a write".to_owned())]);
    let undo = CommandBody::BeginUndo { phase: phase(), cause: UndoCause::Deadline, answered };
    assert_eq!(journal.give(executor(), undo), Err(Refusal::StepNotDue { step: Step::Undo }));

    let mut returned = journal.clone();
    let abort = CommandBody::Abort { phase: phase(), reason: "it is back".to_owned() };
    returned.give(person("ana"), abort).unwrap();
    returned.run().unwrap();
    assert_eq!(returned.phase().writer(), Writer::Target);

    journal.give(person("ana"), CommandBody::Retry { phase: phase() }).unwrap();
    // From here on a failure calls a person again, and no deadline returns it.
    journal.tick(&|_| false).unwrap();
    journal.tick(&|effect| matches!(effect, Effect::AwaitMarker { .. })).unwrap();
    journal.run().unwrap();
    assert!(matches!(journal.due(), Due::Blocked(_)), "{:?}", journal.due());
    journal.give(person("ana"), CommandBody::Retry { phase: phase() }).unwrap();
    journal.run().unwrap();
    assert_eq!(
        (journal.phase().status, journal.phase().writer()),
        (PhaseStatus::Replicating, Writer::Source)
    );
}
