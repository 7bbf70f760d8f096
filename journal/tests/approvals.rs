//! The rules of requests and approvals: each test is named as its rule, and `docs/rules.md` lists them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::support::{Journal, PLAN, executor, person, phase, plan};
use journal::*;

const HOUR: u64 = 3600;

fn id(name: &str) -> PersonId {
    PersonId::new(name).unwrap()
}

fn started_under(text: &str) -> Journal {
    let mut journal = Journal::under(text);
    journal.live(Operation::Start);
    assert_eq!(journal.phase().status, PhaseStatus::Replicating);
    journal
}

fn started() -> Journal {
    started_under(PLAN)
}

/// The plan with more sections behind it.
fn with(more: &str) -> String {
    format!("{PLAN}\n{more}")
}

/// The plan with more people, before its first phase.
fn with_people(more: &str) -> String {
    PLAN.replace("[[phase]]", &format!("{more}\n[[phase]]"))
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn scheduled(not_before: Timestamp) -> RequestOptions {
    RequestOptions { not_before: Some(not_before), ..RequestOptions::default() }
}

fn begin(journal: &mut Journal, request: Position) -> Result<(), Refusal> {
    journal.give(executor(), CommandBody::Begin { phase: phase(), request }).map(drop)
}

/// Two approvals of a cutover, not begun.
fn approved(journal: &mut Journal) -> Position {
    let request = journal.ask("ana", Operation::Cutover).unwrap();
    journal.approve("ana", request).unwrap();
    journal.approve("ben", request).unwrap();
    request
}

/// Ticks until an effect of this label is the next to be intended.
fn until(journal: &mut Journal, label: &str) {
    for _ in 0..300 {
        if let Due::Plan(step) = journal.due() {
            let run = journal.state.operation(&phase()).unwrap();
            let is_done = |effect: &Effect| {
                run.effects.iter().any(|record| record.effect == *effect && record.step == step)
            };
            let next = plan(run.operation, step).into_iter().find(|effect| !is_done(effect));
            if next.is_some_and(|next| next.label() == label) {
                return;
            }
        }
        assert!(journal.tick(&|_| false).unwrap(), "{label} never came");
    }
    panic!("{label} never came");
}

fn status(journal: &Journal, request: Position) -> &RequestStatus {
    &journal.state.requests[&request].status
}

// ---- who ----

#[test]
fn a_role_decides_who_may_ask_and_who_may_approve() {
    let mut journal = started();
    let operator = Refusal::LacksRole { person: id("ben"), role: Role::Operator };
    assert_eq!(journal.ask("ben", Operation::Cutover), Err(operator));
    let request = journal.ask("cy", Operation::Cutover).unwrap();
    let approver = Refusal::LacksRole { person: id("cy"), role: Role::Approver };
    assert_eq!(journal.approve("cy", request), Err(approver.clone()));
    assert_eq!(journal.deny("cy", request), Err(approver));
}

#[test]
fn who_is_no_person_of_the_plan_has_no_vote() {
    let mut journal = started();
    let request = journal.ask("ana", Operation::Cutover).unwrap();
    let unknown = Refusal::UnknownPerson { person: id("eve") };
    assert_eq!(journal.approve("eve", request), Err(unknown.clone()));
    assert_eq!(journal.deny("eve", request), Err(unknown.clone()));
    assert_eq!(journal.break_glass("eve", request), Err(unknown));
    let approve = CommandBody::Approve { request, reason: None };
    assert_eq!(journal.give(executor(), approve.clone()).unwrap_err(), Refusal::NotAPerson);
    assert_eq!(journal.give(Actor::Operator, approve).unwrap_err(), Refusal::NotAPerson);
}

#[test]
fn one_person_counts_once_however_often_they_say_it() {
    let mut journal = started();
    let request = journal.ask("ana", Operation::Cutover).unwrap();
    journal.approve("ben", request).unwrap();
    assert_eq!(journal.approve("ben", request), Err(Refusal::SaidAlready));
    journal.revoke("ben", request).unwrap();
    journal.approve("ben", request).unwrap();
    assert_eq!(begin(&mut journal, request), Err(Refusal::NoQuorum { have: 1, need: 2 }));
}

#[test]
fn the_requesters_own_approval_counts_unless_the_plan_excludes_it() {
    let mut journal = started();
    let request = approved(&mut journal);
    assert_eq!(journal.due(), Due::Begin(request));
    let excluded = PLAN.replace(
        "[[phase]]",
        "[approvals.cutover]\nexclude_requester = true\n[[person]]\nid = \"dee\"\nroles = [\"approver\"]\n[[phase]]",
    );
    let mut journal = started_under(&excluded);
    let request = journal.ask("ana", Operation::Cutover).unwrap();
    assert_eq!(journal.approve("ana", request), Err(Refusal::RequesterExcluded));
    journal.approve("ben", request).unwrap();
    assert_eq!(journal.due(), Due::Idle);
    journal.approve("dee", request).unwrap();
    assert_eq!(journal.due(), Due::Begin(request));
}

#[test]
fn a_plan_with_fewer_than_two_approvals_of_a_switch_is_refused() {
    for operation in ["cutover", "failback", "complete", "retire"] {
        for required in [0, 1] {
            let text = PLAN
                .replace("[[phase]]", &format!("[approvals.{operation}]\nrequired = {required}\n[[phase]]"));
            assert!(Plan::parse(&text).is_err(), "{operation} with {required}");
        }
    }
}

// ---- what counts ----

#[test]
fn the_latest_decisive_word_of_a_person_counts() {
    let mut journal = started();
    let request = approved(&mut journal);
    journal.revoke("ben", request).unwrap();
    assert_eq!(journal.due(), Due::Idle);
    journal.approve("ben", request).unwrap();
    assert_eq!(journal.due(), Due::Begin(request));
}

#[test]
fn a_revocation_before_the_beginning_takes_the_approval_away() {
    let mut journal = started();
    let request = approved(&mut journal);
    journal.revoke("ana", request).unwrap();
    assert_eq!(begin(&mut journal, request), Err(Refusal::NoQuorum { have: 1, need: 2 }));
    assert_eq!(journal.revoke("ana", request), Err(Refusal::NothingToRevoke));
}

#[test]
fn a_denial_voids_a_request_that_waits() {
    let mut journal = started();
    let request = approved(&mut journal);
    let silent = CommandBody::Deny { request, reason: "  ".to_owned() };
    assert_eq!(journal.give(person("ben"), silent).unwrap_err(), Refusal::ReasonNeeded);
    journal.deny("ben", request).unwrap();
    assert_eq!(*status(&journal, request), RequestStatus::Void(VoidReason::Denied { person: id("ben") }));
    assert_eq!(begin(&mut journal, request), Err(Refusal::RequestClosed { request }));
}

#[test]
fn an_approval_is_for_one_request_and_is_used_once() {
    let mut journal = started();
    let first = approved(&mut journal);
    journal.run().unwrap();
    assert_eq!(*status(&journal, first), RequestStatus::Finished(Outcome::Completed));
    let back = journal.ask("ana", Operation::Failback).unwrap();
    assert_eq!(begin(&mut journal, back), Err(Refusal::NoQuorum { have: 0, need: 2 }));
    assert_eq!(begin(&mut journal, first), Err(Refusal::RequestClosed { request: first }));
    assert_eq!(journal.approve("ben", first), Err(Refusal::RequestClosed { request: first }));
}

#[test]
fn an_undone_attempt_has_spent_its_approvals() {
    let mut journal = started();
    let request = approved(&mut journal);
    until(&mut journal, "close_gate:source");
    let abort = CommandBody::Abort { phase: phase(), reason: "no".to_owned() };
    journal.give(person("cy"), abort).unwrap();
    journal.run().unwrap();
    assert_eq!(*status(&journal, request), RequestStatus::Finished(Outcome::Undone));
    let again = journal.ask("ana", Operation::Cutover).unwrap();
    assert_eq!(begin(&mut journal, again), Err(Refusal::NoQuorum { have: 0, need: 2 }));
}

// ---- binding ----

#[test]
fn a_request_expires_before_and_after_it_has_its_approvals() {
    for approvals in [1, 2] {
        let mut journal = started();
        let request = journal.ask("ana", Operation::Cutover).unwrap();
        for who in ["ana", "ben"].into_iter().take(approvals) {
            journal.approve(who, request).unwrap();
        }
        journal.wait(4 * HOUR);
        assert_eq!(journal.due(), Due::VoidStale);
        assert_eq!(begin(&mut journal, request), Err(Refusal::RequestExpired { request }));
        journal.run().unwrap();
        assert_eq!(*status(&journal, request), RequestStatus::Void(VoidReason::Expired));
    }
}

#[test]
fn what_has_begun_does_not_expire() {
    // Before the window, where it would wait for ever, and inside it, where it would undo what is about to be done.
    for label in ["hold_traffic", "await_marker:forward", "open_gate:target"] {
        let mut journal = started();
        let request = approved(&mut journal);
        journal.wait(4 * HOUR - 5);
        until(&mut journal, label);
        journal.wait(10);
        journal.run().unwrap();
        assert_eq!(*status(&journal, request), RequestStatus::Finished(Outcome::Completed), "past {label}");
        assert_eq!(journal.phase().writer(), Writer::Target);
    }
}

#[test]
fn what_gives_up_for_good_does_not_expire_once_begun() {
    let mut journal = started();
    let request = journal.ask("ana", Operation::Retire).unwrap();
    for who in ["ana", "ben"] {
        journal.approve(who, request).unwrap();
    }
    journal.tick(&|_| false).unwrap();
    journal.wait(48 * HOUR);
    journal.run().unwrap();
    assert_eq!(*status(&journal, request), RequestStatus::Finished(Outcome::Completed));
}

#[test]
fn a_denial_past_the_expiry_still_undoes_what_runs() {
    let mut journal = started();
    let request = approved(&mut journal);
    until(&mut journal, "hold_traffic");
    journal.wait(48 * HOUR);
    journal.deny("ben", request).unwrap();
    journal.run().unwrap();
    assert_eq!(*status(&journal, request), RequestStatus::Finished(Outcome::Undone));
    assert_eq!(journal.phase().writer(), Writer::Source);
}

#[test]
fn a_changed_plan_voids_the_requests_it_is_about() {
    let mut journal = started();
    let request = approved(&mut journal);
    let changed = PLAN.replace("max_downtime = \"60s\"", "max_downtime = \"61s\"");
    journal.give(person("ana"), CommandBody::AdoptPlan { text: changed, authors: Vec::new() }).unwrap();
    assert!(matches!(status(&journal, request), RequestStatus::Void(VoidReason::PlanChanged { .. })));
    assert_eq!(journal.due(), Due::Idle);
}

#[test]
fn a_plan_that_changes_another_phase_alone_voids_nothing() {
    let other = |downtime: u32| {
        let b = PLAN.split_once("[[phase]]").unwrap().1;
        let b = b.replace("name = \"a\"", "name = \"b\"").replace("shop.orders", "shop.items");
        with(&format!("[[phase]]{}", b.replace("60s", &format!("{downtime}s"))))
    };
    let mut journal = started_under(&other(60));
    let request = approved(&mut journal);
    journal.give(person("ana"), CommandBody::AdoptPlan { text: other(61), authors: Vec::new() }).unwrap();
    assert_eq!(journal.due(), Due::Begin(request));
}

#[test]
fn a_phase_that_moves_on_voids_what_can_no_longer_begin() {
    let mut journal = started();
    let retire = journal.ask("ana", Operation::Retire).unwrap();
    journal.live(Operation::Cutover);
    journal.run().unwrap();
    let moved = VoidReason::PhaseMoved { status: PhaseStatus::OnTarget };
    assert_eq!(*status(&journal, retire), RequestStatus::Void(moved));
}

#[test]
fn the_first_event_reserves_and_the_openings_intent_consumes() {
    let mut journal = started();
    let request = approved(&mut journal);
    journal.tick(&|_| false).unwrap();
    let run = journal.state.operation(&phase()).unwrap();
    assert_eq!((&run.reserved, &run.broken_glass), (&vec![id("ana"), id("ben")], &None));
    assert_eq!(*status(&journal, request), RequestStatus::Running);
    until(&mut journal, "open_gate:target");
    journal.tick(&|_| false).unwrap();
    assert_eq!(*status(&journal, request), RequestStatus::Consumed);
    let consumes = journal.events.iter().find_map(|event| match &event.body {
        Fact::EffectIntended { consumes, .. } if !consumes.is_empty() => Some(consumes.clone()),
        _ => None,
    });
    assert_eq!(consumes, Some(vec![id("ana"), id("ben")]));
}

#[test]
fn a_denial_before_the_opening_undoes_the_attempt_and_none_after_it_does() {
    let mut journal = started();
    let request = approved(&mut journal);
    until(&mut journal, "open_gate:target");
    let mut late = journal.clone();
    journal.deny("ben", request).unwrap();
    assert!(matches!(journal.due(), Due::BeginUndo(UndoCause::ApprovalLost { .. })));
    let open = CommandBody::Intend {
        phase: phase(),
        step: Step::SwitchTraffic,
        effect: Effect::OpenGate { side: Side::Target },
        undo: vec![],
    };
    assert_eq!(journal.give(executor(), open).unwrap_err(), Refusal::Undoing);
    late.tick(&|_| false).unwrap();
    assert_eq!(late.deny("ben", request), Err(Refusal::PointOfNoReturn));
    assert_eq!(late.revoke("ben", request), Err(Refusal::PointOfNoReturn));
}

// ---- holding ----

#[test]
fn a_hold_lets_nothing_begin_until_it_is_released() {
    let mut journal = started();
    let request = approved(&mut journal);
    let hold = |phase| CommandBody::Hold { phase, reason: "freeze".to_owned() };
    for held in [None, Some(phase())] {
        journal.give(person("cy"), hold(held.clone())).unwrap();
        assert_eq!(journal.due(), Due::Idle);
        assert!(matches!(begin(&mut journal, request), Err(Refusal::Held { .. })));
        assert!(matches!(journal.ask("cy", Operation::Retire), Err(Refusal::Held { .. })));
        journal.give(person("cy"), CommandBody::Release { phase: held }).unwrap();
    }
    assert_eq!(journal.due(), Due::Begin(request));
}

#[test]
fn a_pause_stops_between_two_steps_and_a_resume_goes_on() {
    let mut journal = started();
    approved(&mut journal);
    until(&mut journal, "trial_write:target:before");
    journal.tick(&|_| false).unwrap();
    journal.give(person("cy"), CommandBody::Pause { phase: phase() }).unwrap();
    journal.run().unwrap();
    assert_eq!(journal.due(), Due::Paused);
    assert!(journal.state.operation(&phase()).unwrap().stopped.is_none());
    journal.give(person("cy"), CommandBody::Resume { phase: phase() }).unwrap();
    journal.run().unwrap();
    assert_eq!(journal.phase().status, PhaseStatus::OnTarget);
}

#[test]
fn a_blocked_step_waits_for_retry() {
    let mut journal = started();
    approved(&mut journal);
    while !matches!(journal.due(), Due::Blocked(_)) {
        assert!(journal.tick(&|effect| effect.label().starts_with("trial_write")).unwrap());
    }
    journal.give(person("cy"), CommandBody::Retry { phase: phase() }).unwrap();
    journal.run().unwrap();
    assert_eq!(journal.phase().status, PhaseStatus::OnTarget);
}

#[test]
fn a_cutover_waits_for_the_phases_it_comes_after() {
    let text = {
        let b = PLAN.split_once("[[phase]]").unwrap().1;
        let b = b.replace("name = \"a\"", "name = \"b\"").replace("shop.orders", "shop.items");
        PLAN.replace("name = \"a\"", "name = \"a\"\nafter = [\"b\"]") + &format!("[[phase]]{b}")
    };
    let mut journal = started_under(&text);
    let first = PhaseName::new("b").unwrap();
    let refused = Refusal::PhasesFirst { phases: vec![first.clone()] };
    assert_eq!(journal.ask("ana", Operation::Cutover), Err(refused.clone()));
    journal.state.phases.get_mut(&first).unwrap().status = PhaseStatus::OnTarget;
    let request = approved(&mut journal);
    assert_eq!(journal.due(), Due::Begin(request));
    // It went back in between: the cutover waits for it again.
    journal.state.phases.get_mut(&first).unwrap().status = PhaseStatus::Replicating;
    assert_eq!((journal.due(), begin(&mut journal, request)), (Due::Idle, Err(refused)));
    journal.state.phases.get_mut(&first).unwrap().status = PhaseStatus::Completed;
    assert_eq!(journal.due(), Due::Begin(request));
    journal.run().unwrap();
    // The way back waits for nobody.
    journal.state.phases.get_mut(&first).unwrap().status = PhaseStatus::Replicating;
    journal.live(Operation::Failback);
    assert_eq!(journal.phase().status, PhaseStatus::Replicating);
}

// ---- time ----

#[test]
fn a_scheduled_operation_begins_at_its_time_and_not_before() {
    let mut journal = started();
    let not_before = journal.now.plus(Duration::from_secs(10 * HOUR));
    let request = journal.ask_with("ana", Operation::Cutover, scheduled(not_before)).unwrap();
    journal.approve("ana", request).unwrap();
    journal.wait(9 * HOUR);
    journal.approve("ben", request).unwrap();
    assert_eq!(journal.due(), Due::Idle);
    assert_eq!(begin(&mut journal, request), Err(Refusal::TooEarly { request, at: not_before }));
    journal.now = not_before;
    assert_eq!(journal.due(), Due::Begin(request));
    journal.run().unwrap();
    assert_eq!(journal.phase().status, PhaseStatus::OnTarget);
}

#[test]
fn a_scheduled_operation_looks_at_everything_again_when_it_begins() {
    let mut journal = started();
    let not_before = journal.now.plus(Duration::from_secs(HOUR));
    let request = journal.ask_with("ana", Operation::Cutover, scheduled(not_before)).unwrap();
    journal.approve("ana", request).unwrap();
    journal.approve("ben", request).unwrap();
    let hold = CommandBody::Hold { phase: None, reason: "freeze".to_owned() };
    journal.give(person("cy"), hold).unwrap();
    journal.now = not_before;
    assert_eq!(journal.due(), Due::Idle);
    journal.give(person("cy"), CommandBody::Release { phase: None }).unwrap();
    journal.revoke("ben", request).unwrap();
    assert_eq!(journal.due(), Due::Idle);
    journal.approve("ben", request).unwrap();
    assert_eq!(journal.due(), Due::Begin(request));
}

#[test]
fn a_scheduled_operation_that_did_not_begin_in_time_is_void() {
    let mut journal = started();
    let not_before = journal.now.plus(Duration::from_secs(HOUR));
    let within = Some(Duration::from_secs(1800));
    let options = RequestOptions { within, ..scheduled(not_before) };
    let request = journal.ask_with("ana", Operation::Cutover, options).unwrap();
    let not_after = not_before.plus(Duration::from_secs(1800));
    assert_eq!(journal.state.requests[&request].not_after, Some(not_after));
    journal.approve("ana", request).unwrap();
    journal.now = not_after;
    assert_eq!(journal.due(), Due::Idle);
    journal.wait(1);
    assert_eq!(journal.approve("ben", request), Err(Refusal::BeginMissed { request }));
    journal.run().unwrap();
    assert_eq!(*status(&journal, request), RequestStatus::Void(VoidReason::NotBegun { not_after }));
}

#[test]
fn what_began_in_time_may_end_after_its_last_moment() {
    let mut journal = started();
    let options = RequestOptions { within: Some(Duration::from_secs(60)), ..RequestOptions::default() };
    let request = journal.ask_with("ana", Operation::Cutover, options).unwrap();
    journal.approve("ana", request).unwrap();
    journal.approve("ben", request).unwrap();
    until(&mut journal, "hold_traffic");
    journal.wait(600);
    journal.run().unwrap();
    assert_eq!(journal.phase().status, PhaseStatus::OnTarget);
}

#[test]
fn a_schedule_counts_its_expiry_from_its_last_moment() {
    let mut journal = started();
    let asked = journal.now;
    let request = journal
        .ask_with("ana", Operation::Cutover, scheduled(asked.plus(Duration::from_secs(HOUR))))
        .unwrap();
    let known = &journal.state.requests[&request];
    assert_eq!(known.not_after, Some(asked.plus(Duration::from_secs(2 * HOUR))), "an hour's margin");
    assert_eq!(known.expires_at, asked.plus(Duration::from_secs(6 * HOUR)));
}

#[test]
fn a_schedule_that_cannot_come_true_is_refused() {
    let mut journal = started();
    let now = journal.now;
    let past = journal.ask_with("ana", Operation::Cutover, scheduled(now));
    assert_eq!(past, Err(Refusal::SchedulePast { at: now }));
    let far = scheduled(now.plus(Duration::from_secs(400 * 24 * HOUR)));
    assert!(matches!(journal.ask_with("ana", Operation::Cutover, far), Err(Refusal::ScheduleTooFar { .. })));
    let none = RequestOptions { within: Some(Duration::ZERO), ..RequestOptions::default() };
    assert_eq!(journal.ask_with("ana", Operation::Cutover, none), Err(Refusal::NoTimeToBegin));
}

const ALLOWED: &str = r#"
[[window]]
kind = "allowed"
cron = "0 22 * * *"
lasts = "2h"
time_zone = "UTC"
operations = ["cutover"]
"#;

const FROZEN: &str = r#"
[[window]]
kind = "frozen"
cron = "0 9 * * MON-FRI"
lasts = "8h"
time_zone = "UTC"
operations = ["cutover", "complete"]
why = "office hours"
"#;

#[test]
fn outside_its_windows_a_request_is_accepted_and_waits() {
    let mut journal = started_under(&with(ALLOWED));
    journal.now = at("2026-03-02T12:00:00Z");
    let request = approved(&mut journal);
    let until = Some(at("2026-03-02T22:00:00Z"));
    assert_eq!(journal.due(), Due::Idle);
    assert_eq!(begin(&mut journal, request), Err(Refusal::OutsideWindow { request, until }));
    let asked = &journal.state.requests[&request];
    let closed = Closed { until, kind: WindowKind::Allowed, why: None };
    assert_eq!(waits(&journal.state, asked, journal.now), vec![Wait::Window(closed)]);
    assert_eq!(asked.expires_at, at("2026-03-03T02:00:00Z"), "the wait for the window does not count");
    journal.now = at("2026-03-02T22:00:00Z");
    assert_eq!(journal.due(), Due::Begin(request));
    journal.now = at("2026-03-03T00:00:00Z");
    assert_eq!(journal.due(), Due::Idle, "a window's end is not in it");
}

#[test]
fn inside_a_frozen_window_nothing_it_names_begins_and_the_way_back_may_be_left_out() {
    let mut journal = started_under(&with(FROZEN));
    journal.now = at("2026-03-02T10:00:00Z");
    let request = approved(&mut journal);
    let until = Some(at("2026-03-02T17:00:00Z"));
    assert_eq!(begin(&mut journal, request), Err(Refusal::OutsideWindow { request, until }));
    journal.live(Operation::Verify);
    journal.now = at("2026-03-02T08:59:00Z").plus(Duration::from_secs(9 * HOUR));
    journal.run().unwrap();
    assert_eq!(journal.phase().status, PhaseStatus::OnTarget);
    journal.now = at("2026-03-03T10:00:00Z");
    journal.live(Operation::Failback);
    assert_eq!(journal.phase().status, PhaseStatus::Replicating);
}

#[test]
fn a_window_is_looked_at_when_an_operation_begins_and_not_after() {
    let mut journal = started_under(&with(ALLOWED));
    journal.now = at("2026-03-02T23:59:59Z");
    approved(&mut journal);
    journal.tick(&|_| false).unwrap();
    journal.wait(HOUR);
    journal.run().unwrap();
    assert_eq!(journal.phase().status, PhaseStatus::OnTarget);
}

#[test]
fn a_schedule_that_no_window_meets_is_refused() {
    let mut journal = started_under(&with(ALLOWED));
    journal.now = at("2026-03-02T12:00:00Z");
    let until = Some(at("2026-03-02T22:00:00Z"));
    let refused = journal.ask_with("ana", Operation::Cutover, scheduled(at("2026-03-02T14:00:00Z")));
    assert_eq!(refused, Err(Refusal::NeverInWindow { not_after: at("2026-03-02T15:00:00Z"), until }));
    journal.ask_with("ana", Operation::Cutover, scheduled(at("2026-03-02T21:30:00Z"))).unwrap();
}

#[test]
fn what_is_scheduled_asks_the_windows_about_its_own_time() {
    let told = |time: &str| {
        let mut journal = started_under(&with(ALLOWED));
        // A window is open now, and another one opens a day later.
        journal.now = at("2026-03-02T23:00:00Z");
        let request = journal.ask_with("ana", Operation::Cutover, scheduled(at(time))).unwrap();
        let asked = &journal.state.requests[&request];
        let of_time = |wait: &Wait| matches!(wait, Wait::Time { .. } | Wait::Window(_));
        waits(&journal.state, asked, journal.now).into_iter().filter(of_time).collect::<Vec<_>>()
    };
    let inside = at("2026-03-03T22:30:00Z");
    assert_eq!(told("2026-03-03T22:30:00Z"), [Wait::Time { at: inside }]);
    let before = at("2026-03-03T21:30:00Z");
    let closed = Closed { until: Some(at("2026-03-03T22:00:00Z")), kind: WindowKind::Allowed, why: None };
    assert_eq!(told("2026-03-03T21:30:00Z"), [Wait::Time { at: before }, Wait::Window(closed)]);
}

#[test]
fn frozen_and_allowed_windows_together_leave_what_is_in_one_and_not_in_the_other() {
    let text =
        with(&format!("{ALLOWED}{}", FROZEN.replace("0 9 * * MON-FRI", "0 21 2 3 *").replace("8h", "90m")));
    let plan = Plan::parse(&text).unwrap();
    let opens = next_open(&plan, &phase(), Operation::Cutover, at("2026-03-02T12:00:00Z"));
    assert_eq!(opens, Some(at("2026-03-02T22:30:00Z")));
    assert_eq!(closed(&plan, &phase(), Operation::Failback, at("2026-03-02T12:00:00Z")), None);
    let never = with(&FROZEN.replace("0 9 * * MON-FRI", "* * * * *"));
    let plan = Plan::parse(&never).unwrap();
    assert_eq!(next_open(&plan, &phase(), Operation::Cutover, at("2026-03-02T12:00:00Z")), None);
}

/// A window at a local time of Berlin, where 2026-03-29 has no 02:30 and 2026-10-25 has two.
fn berlin(cron: &str, lasts: &str) -> Plan {
    let text = ALLOWED.replace("UTC", "Europe/Berlin").replace("0 22 * * *", cron).replace("2h", lasts);
    Plan::parse(&with(&text)).unwrap()
}

fn opens(plan: &Plan, from: &str) -> Timestamp {
    next_open(plan, &phase(), Operation::Cutover, at(from)).unwrap()
}

fn is_open(plan: &Plan, moment: &str) -> bool {
    closed(plan, &phase(), Operation::Cutover, at(moment)).is_none()
}

#[test]
fn a_window_follows_its_zone_through_the_year() {
    let plan = berlin("0 22 * * *", "2h");
    assert_eq!(opens(&plan, "2026-01-10T12:00:00Z"), at("2026-01-10T21:00:00Z"));
    assert_eq!(opens(&plan, "2026-07-10T12:00:00Z"), at("2026-07-10T20:00:00Z"));
}

#[test]
fn a_window_whose_time_the_clock_jumps_over_opens_after_the_gap() {
    let plan = berlin("30 2 * * *", "1h");
    assert_eq!(opens(&plan, "2026-03-28T20:00:00Z"), at("2026-03-29T01:00:00Z"));
    assert!(is_open(&plan, "2026-03-29T01:00:00Z") && is_open(&plan, "2026-03-29T01:59:59Z"));
    assert!(!is_open(&plan, "2026-03-29T02:00:00Z"));
    // Whatever the expression looks like.
    for cron in ["0,30 2 * * *", "*/30 2 * * *", "15-45/15 2 * * *", "* 2 * * *", "30 2,5 * * *"] {
        let plan = berlin(cron, "10m");
        assert_eq!(opens(&plan, "2026-03-28T20:00:00Z"), at("2026-03-29T01:00:00Z"), "{cron}");
        assert!(!is_open(&plan, "2026-03-29T00:59:59Z") && is_open(&plan, "2026-03-29T01:09:59Z"), "{cron}");
        assert!(!is_open(&plan, "2026-03-29T01:10:00Z"), "{cron}");
    }
}

#[test]
fn a_window_whose_time_comes_twice_opens_once_and_lasts_its_real_length() {
    let plan = berlin("30 2 * * *", "1h");
    assert_eq!(opens(&plan, "2026-10-24T20:00:00Z"), at("2026-10-25T00:30:00Z"));
    assert!(is_open(&plan, "2026-10-25T01:29:59Z"));
    assert!(!is_open(&plan, "2026-10-25T01:30:00Z"), "the second pass of 02:30 is none of its");
    for cron in ["0,30 2 * * *", "*/30 2 * * *", "30 2,3 * * *", "30 1-3 * * *", "30 * * * *"] {
        let plan = berlin(cron, "10m");
        assert!(is_open(&plan, "2026-10-25T00:30:00Z"), "{cron}");
        assert!(!is_open(&plan, "2026-10-25T01:00:00Z") && !is_open(&plan, "2026-10-25T01:30:00Z"), "{cron}");
        assert!(opens(&plan, "2026-10-25T00:45:00Z") >= at("2026-10-25T02:30:00Z"), "{cron}");
        assert!(opens(&plan, "2026-10-25T01:15:00Z") >= at("2026-10-25T02:30:00Z"), "{cron}");
    }
    // What the first pass began lasts into the second, also where it began in its last minute.
    let plan = berlin("59 2 * * *", "30m");
    assert!(is_open(&plan, "2026-10-25T01:28:59Z") && !is_open(&plan, "2026-10-25T01:29:00Z"));
    // One that is open over the change lasts its length, whatever the clock on the wall shows.
    let plan = berlin("0 1 * * *", "3h");
    assert!(is_open(&plan, "2026-10-24T23:00:00Z") && is_open(&plan, "2026-10-25T01:59:59Z"));
    assert!(!is_open(&plan, "2026-10-25T02:00:00Z"));
    let spring = "2026-03-29T02:59:59Z";
    assert!(is_open(&plan, spring) && !is_open(&plan, "2026-03-29T03:00:00Z"));
}

// ---- broken glass ----

#[test]
fn broken_glass_gives_one_persons_word_the_quorum_and_says_so_in_the_first_event() {
    for operation in [Operation::Cutover, Operation::Retire] {
        let mut journal = started();
        let request = journal.ask("ana", operation).unwrap();
        let silent = CommandBody::BreakGlass { request, reason: " ".to_owned() };
        assert_eq!(journal.give(person("ben"), silent).unwrap_err(), Refusal::ReasonNeeded);
        let curt = CommandBody::BreakGlass { request, reason: " nineteen letters is  ".to_owned() };
        let too_short = Refusal::ReasonTooShort { least: 20 };
        assert_eq!(journal.give(person("ben"), curt).unwrap_err(), too_short);
        journal.break_glass("ben", request).unwrap();
        journal.run().unwrap();
        let first = journal.events.iter().find_map(|event| match &event.body {
            Fact::OperationStarted { request: of, broken_glass, reserved, .. } if *of == request => {
                Some((broken_glass.clone(), reserved.clone()))
            }
            _ => None,
        });
        assert_eq!(first, Some((Some(id("ben")), vec![id("ben")])), "{operation}");
        assert_eq!(*status(&journal, request), RequestStatus::Finished(Outcome::Completed), "{operation}");
    }
}

#[test]
fn broken_glass_needs_its_role_and_an_operation_that_needs_approvals() {
    let mut journal = started();
    let request = journal.ask("ana", Operation::Cutover).unwrap();
    let role = Plan::parse(PLAN).unwrap().break_glass.role;
    let without = if role == Role::Approver { "cy" } else { "ben" };
    assert_eq!(journal.break_glass(without, request), Err(Refusal::LacksRole { person: id(without), role }));
    let verify = journal.ask("ana", Operation::Verify).unwrap();
    assert_eq!(journal.break_glass("ana", verify), Err(Refusal::NoApprovalNeeded { request: verify }));
    journal.break_glass("ana", request).unwrap();
    assert_eq!(journal.break_glass("ana", request), Err(Refusal::GlassBroken { request }));
}

#[test]
fn broken_glass_that_is_not_needed_is_refused_and_stays_unused() {
    let mut journal = started();
    let request = approved(&mut journal);
    assert_eq!(journal.break_glass("ben", request), Err(Refusal::GlassNotNeeded { request }));
    journal.revoke("ana", request).unwrap();
    journal.break_glass("ben", request).unwrap();
    journal.approve("ana", request).unwrap();
    journal.run().unwrap();
    let glass = journal.state.requests[&request].glass.clone().unwrap();
    assert!(!glass.used && journal.state.requests[&request].unreviewed_glass().is_none());
}

#[test]
fn broken_glass_does_not_overrule_a_denial_a_hold_the_plan_the_expiry_or_a_schedule() {
    let mut journal = started();
    let not_before = journal.now.plus(Duration::from_secs(HOUR));
    let request = journal.ask_with("ana", Operation::Cutover, scheduled(not_before)).unwrap();
    journal.break_glass("ana", request).unwrap();
    assert_eq!(begin(&mut journal, request), Err(Refusal::TooEarly { request, at: not_before }));
    journal.now = not_before;
    let hold = CommandBody::Hold { phase: None, reason: "freeze".to_owned() };
    journal.give(person("cy"), hold).unwrap();
    assert!(matches!(begin(&mut journal, request), Err(Refusal::Held { .. })));
    let mut other = journal.clone();
    let changed = PLAN.replace("max_downtime = \"60s\"", "max_downtime = \"61s\"");
    other.give(person("ana"), CommandBody::AdoptPlan { text: changed, authors: Vec::new() }).unwrap();
    assert_eq!(begin(&mut other, request), Err(Refusal::RequestClosed { request }));
    let mut late = journal.clone();
    late.wait(24 * HOUR);
    assert_eq!(begin(&mut late, request), Err(Refusal::RequestExpired { request }));
    journal.deny("ben", request).unwrap();
    assert_eq!(begin(&mut journal, request), Err(Refusal::RequestClosed { request }));
}

#[test]
fn broken_glass_does_not_open_a_side_that_is_not_proven() {
    let mut journal = started();
    let request = journal.ask("ana", Operation::Cutover).unwrap();
    journal.break_glass("ana", request).unwrap();
    until(&mut journal, "hold_traffic");
    let open = CommandBody::Intend {
        phase: phase(),
        step: Step::StopTraffic,
        effect: Effect::OpenGate { side: Side::Target },
        undo: vec![],
    };
    assert!(matches!(journal.give(executor(), open).unwrap_err(), Refusal::ForeignEffect { .. }));
    until(&mut journal, "open_gate:target");
    journal.wait(HOUR);
    let open = CommandBody::Intend {
        phase: phase(),
        step: Step::SwitchTraffic,
        effect: Effect::OpenGate { side: Side::Target },
        undo: vec![],
    };
    assert!(matches!(journal.give(executor(), open).unwrap_err(), Refusal::OpeningUnproven { .. }));
}

#[test]
fn broken_glass_overrules_a_window() {
    let mut journal = started_under(&with(FROZEN));
    journal.now = at("2026-03-02T10:00:00Z");
    let request = approved(&mut journal);
    journal.break_glass("ben", request).unwrap();
    assert_eq!(journal.due(), Due::Begin(request));
    journal.tick(&|_| false).unwrap();
    let run = journal.state.operation(&phase()).unwrap();
    assert_eq!(run.broken_glass, Some(id("ben")));
    assert_eq!(run.reserved.len(), 2);
}

#[test]
fn who_broke_the_glass_may_take_it_back_before_the_opening() {
    let mut journal = started();
    let request = journal.ask("ana", Operation::Cutover).unwrap();
    journal.break_glass("ana", request).unwrap();
    journal.revoke("ana", request).unwrap();
    assert_eq!(journal.due(), Due::Idle);
    assert!(journal.state.requests[&request].unreviewed_glass().is_none());
    journal.break_glass("ana", request).unwrap();
    until(&mut journal, "close_gate:source");
    journal.revoke("ana", request).unwrap();
    journal.run().unwrap();
    assert_eq!(*status(&journal, request), RequestStatus::Finished(Outcome::Undone));
    assert!(journal.state.requests[&request].unreviewed_glass().is_some(), "it was used all the same");
}

#[test]
fn a_denial_before_the_opening_undoes_what_runs_under_broken_glass() {
    let mut journal = started();
    let request = journal.ask("ana", Operation::Cutover).unwrap();
    journal.break_glass("ana", request).unwrap();
    until(&mut journal, "open_gate:target");
    assert_eq!(journal.approve("ben", request), Err(Refusal::ReviewTooEarly { request }));
    journal.deny("ben", request).unwrap();
    journal.run().unwrap();
    assert_eq!(journal.phase().writer(), Writer::Source);
    assert_eq!(*status(&journal, request), RequestStatus::Finished(Outcome::Undone));
}

#[test]
fn until_another_person_reviews_broken_glass_only_a_failback_is_asked_for_and_begins() {
    let mut journal = started();
    let verify = journal.ask("ana", Operation::Verify).unwrap();
    journal.give(person("cy"), CommandBody::Hold { phase: None, reason: "x".to_owned() }).unwrap();
    let cutover = {
        journal.give(person("cy"), CommandBody::Release { phase: None }).unwrap();
        journal.run().unwrap();
        assert_eq!(*status(&journal, verify), RequestStatus::Finished(Outcome::Completed));
        journal.ask("ana", Operation::Cutover).unwrap()
    };
    journal.break_glass("ana", cutover).unwrap();
    journal.run().unwrap();
    let refused = Refusal::GlassUnreviewed { request: cutover };
    for operation in [Operation::Verify, Operation::Complete] {
        assert_eq!(journal.ask("ana", operation), Err(refused.clone()));
    }
    assert_eq!(journal.approve("ana", cutover), Err(Refusal::OwnReview { request: cutover }));
    let cy = Refusal::LacksRole { person: id("cy"), role: Role::Approver };
    assert_eq!(journal.approve("cy", cutover), Err(cy));
    journal.live(Operation::Failback);
    assert_eq!(journal.ask("ana", Operation::Cutover), Err(refused));
    journal.approve("ben", cutover).unwrap();
    let review = journal.state.requests[&cutover].glass.clone().unwrap().review.unwrap();
    assert_eq!((review.person, review.approved), (id("ben"), true));
    assert_eq!(journal.approve("ben", cutover), Err(Refusal::RequestClosed { request: cutover }));
    journal.ask("ana", Operation::Cutover).unwrap();
}

#[test]
fn an_open_request_waits_for_the_review_too() {
    let mut journal = started();
    let retire = journal.ask("ana", Operation::Retire).unwrap();
    let cutover = journal.ask("ana", Operation::Cutover).unwrap();
    journal.break_glass("ana", cutover).unwrap();
    until(&mut journal, "close_gate:source");
    journal.deny("ben", cutover).unwrap();
    journal.run().unwrap();
    journal.approve("ana", retire).unwrap();
    journal.approve("ben", retire).unwrap();
    assert_eq!(begin(&mut journal, retire), Err(Refusal::GlassUnreviewed { request: cutover }));
    journal.approve("ben", cutover).unwrap();
    assert_eq!(journal.due(), Due::Begin(retire));
}

#[test]
fn a_review_may_disapprove_and_is_a_review() {
    let mut journal = started();
    let request = journal.ask("ana", Operation::Cutover).unwrap();
    journal.break_glass("ana", request).unwrap();
    journal.run().unwrap();
    journal.deny("ben", request).unwrap();
    let known = &journal.state.requests[&request];
    let review = known.glass.clone().unwrap().review.unwrap();
    assert_eq!((review.approved, review.reason.as_deref()), (false, Some("no")));
    assert!(known.unreviewed_glass().is_none());
    assert_eq!(journal.phase().status, PhaseStatus::OnTarget, "what was done is not undone by it");
    journal.ask("ana", Operation::Verify).unwrap();
}

#[test]
fn a_person_who_lost_the_role_has_no_quorum_to_give() {
    let mut journal = started_under(&with_people("[[person]]\nid = \"dee\"\nroles = [\"approver\"]"));
    let request = journal.ask("ana", Operation::Cutover).unwrap();
    journal.break_glass("dee", request).unwrap();
    journal
        .give(person("ana"), CommandBody::AdoptPlan { text: PLAN.to_owned(), authors: Vec::new() })
        .unwrap();
    assert!(matches!(status(&journal, request), RequestStatus::Void(VoidReason::PlanChanged { .. })));
    assert_eq!(journal.due(), Due::Idle);
}

// ---- the table ----

fn sources(folder: &Path, found: &mut String) {
    let mut entries: Vec<PathBuf> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && name != "target" && !name.starts_with('.') {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push_str(&std::fs::read_to_string(&path).unwrap());
        }
    }
}

#[test]
fn every_rule_in_the_documentation_has_its_test() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let table = std::fs::read_to_string(root.join("docs/rules.md")).unwrap();
    let mut text = String::new();
    sources(root, &mut text);
    let mut named = Vec::new();
    for row in table.lines().filter(|line| line.starts_with("| ") && line.contains('`')) {
        let test = row.rsplit('`').nth(1).unwrap();
        let is_there = ["(", "<"].iter().any(|next| text.contains(&format!("fn {test}{next}")));
        assert!(is_there, "no test is called {test}");
        named.push(test.to_owned());
    }
    let here = include_str!("approvals.rs").split("#[test]\nfn ").skip(1);
    let suite = include_str!("../store/tests/suite/mod.rs").split("pub async fn ").skip(1);
    let suite = suite.filter(|test| test.split('(').next().unwrap().ends_with("<B: Backend>"));
    for test in here.chain(suite) {
        let test: String = test.chars().take_while(|c| !"(<".contains(*c)).collect();
        let is_listed = named.contains(&test) || test == "every_rule_in_the_documentation_has_its_test";
        assert!(is_listed, "docs/rules.md does not list {test}");
    }
    assert!(named.len() > 100);
}
