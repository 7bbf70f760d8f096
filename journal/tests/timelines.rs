//! A side that comes back on another timeline, after a failover or a restore.

use crate::support::{Journal, PLAN, executor, person, phase};
use journal::*;

const WITH_HOLD: &str = "failback_deadline = \"hold\"\n[phase.lever]";

fn started() -> Journal {
    let mut journal = Journal::under(&PLAN.replace("[phase.lever]", WITH_HOLD));
    journal.live(Operation::Start);
    journal
}

fn begun(journal: &mut Journal, operation: Operation) {
    let request = journal.ask("ana", operation).unwrap();
    journal.approve("ana", request).unwrap();
    journal.approve("ben", request).unwrap();
    assert!(journal.tick(&|_| false).unwrap());
}

fn until(journal: &mut Journal, step: Step) {
    while journal.state.operation(&phase()).unwrap().step != step {
        assert!(journal.tick(&|_| false).unwrap());
    }
}

fn codes(journal: &Journal) -> Vec<String> {
    let blocks = journal.events.iter().filter_map(|event| match &event.body {
        Fact::StepBlocked { finding, .. } => Some(finding.code.clone()),
        _ => None,
    });
    blocks.collect()
}

fn retry(journal: &mut Journal) {
    journal.give(person("ana"), CommandBody::Retry { phase: phase() }).unwrap();
}

#[test]
fn another_timeline_is_told_once_and_by_executors_alone() {
    let mut journal = started();
    assert_eq!(journal.meet(Side::Source, 1), 0);
    assert_eq!(journal.meet(Side::Source, 2), 1);
    assert_eq!(journal.meet(Side::Source, 2), 0);
    assert_eq!(journal.meet(Side::Source, 3), 1);
    let known = &journal.phase().timelines[&Side::Source];
    assert_eq!((known.was, known.timeline), (Timeline::new(1), Timeline::new(3)));
    let told = CommandBody::ReportTimeline { phase: phase(), side: Side::Target, timeline: Timeline::new(2) };
    assert_eq!(journal.give(person("ana"), told), Err(Refusal::NotAnExecutor));
}

#[test]
fn before_first_contact_there_is_no_other_timeline() {
    let mut journal = Journal::adopted();
    assert_eq!(journal.meet(Side::Source, 7), 0);
}

#[test]
fn streams_know_the_timelines_on_which_their_sides_were_probed() {
    let mut journal = started();
    let timelines = |journal: &Journal| {
        desired_streams(&journal.state)
            .into_values()
            .map(|spec| (spec.timelines, spec.since))
            .collect::<Vec<_>>()
    };
    let known = Some(Timeline::new(1));
    assert!(timelines(&journal).iter().all(|seen| *seen == ([known; 2], None)));
    journal.meet(Side::Target, 2);
    let since = journal.phase().timeline_changed;
    assert!(since.is_some() && timelines(&journal).iter().all(|seen| *seen == ([known; 2], since)));
    journal.live(Operation::Verify);
    assert!(journal.phase().timelines.is_empty());
    let forward = desired_streams(&journal.state).into_values().next().unwrap();
    assert_eq!(forward.timelines, [known, Some(Timeline::new(2))]);
}

#[test]
fn what_was_failed_over_before_a_switch_is_probed_by_it() {
    let mut journal = started();
    journal.meet(Side::Source, 2);
    journal.live(Operation::Cutover);
    assert_eq!(journal.phase().status, PhaseStatus::OnTarget);
    assert_eq!(journal.phase().probed_timeline(Side::Source), Some(Timeline::new(2)));
    assert!(codes(&journal).is_empty());
}

#[test]
fn a_failover_before_the_window_waits_for_a_person_and_is_proven_anew() {
    let mut journal = started();
    begun(&mut journal, Operation::Cutover);
    until(&mut journal, Step::StopTraffic);
    journal.meet(Side::Target, 2);
    journal.run().unwrap();
    assert_eq!(codes(&journal), [DISPLACED]);
    assert!(matches!(journal.due(), Due::Blocked(_)));
    retry(&mut journal);
    journal.run().unwrap();
    assert_eq!(journal.phase().status, PhaseStatus::OnTarget);
    let compared = journal.events.iter().any(|event| {
        matches!(&event.body, Fact::EffectIntended { spec: Effect::VerifyTable { moment, .. }, .. }
            if moment.starts_with("anew-"))
    });
    assert!(compared, "the sweep from before the failover was taken for good");
}

#[test]
fn a_failover_in_a_cutovers_window_undoes_it() {
    let mut journal = started();
    begun(&mut journal, Operation::Cutover);
    until(&mut journal, Step::SwitchTraffic);
    journal.meet(Side::Source, 2);
    let Due::BeginUndo(UndoCause::StepFailed { finding, .. }) = journal.due() else { panic!("not undone") };
    assert_eq!(finding.code, DISPLACED);
    journal.run().unwrap();
    assert_eq!(
        (journal.phase().status, journal.phase().writer()),
        (PhaseStatus::Replicating, Writer::Source)
    );
    assert!(!journal.phase().timelines.is_empty(), "an undo probes nothing");
}

#[test]
fn a_failover_in_the_window_of_a_failback_that_holds_calls_a_person() {
    let mut journal = started();
    journal.live(Operation::Cutover);
    begun(&mut journal, Operation::Failback);
    until(&mut journal, Step::SwitchTrafficBack);
    journal.meet(Side::Target, 2);
    journal.run().unwrap();
    assert_eq!(codes(&journal), [DISPLACED]);
    assert!(matches!(journal.due(), Due::Blocked(_)));
    retry(&mut journal);
    journal.run().unwrap();
    assert_eq!(
        (journal.phase().status, journal.phase().writer()),
        (PhaseStatus::Replicating, Writer::Source)
    );
}

#[test]
fn nothing_opens_beside_a_side_on_another_timeline() {
    let mut journal = started();
    begun(&mut journal, Operation::Cutover);
    until(&mut journal, Step::SwitchTraffic);
    let effects = crate::support::plan(Operation::Cutover, Step::SwitchTraffic);
    let open = effects.iter().position(|effect| matches!(effect, Effect::OpenGate { .. })).unwrap();
    for _ in 0..2 * open {
        assert!(journal.tick(&|_| false).unwrap());
    }
    let intend = CommandBody::Intend {
        phase: phase(),
        step: Step::SwitchTraffic,
        effect: effects[open].clone(),
        undo: vec![],
    };
    let mut moved = journal.clone();
    moved.meet(Side::Source, 2);
    let refused = moved.give(executor(), intend.clone());
    assert!(
        matches!(refused, Err(Refusal::OpeningUnproven { lacks }) if lacks.contains("timeline")),
        "{refused:?}"
    );
    // Probed, and not compared: what the operation had proven is from before the failover.
    let (side, timelines) = (Side::Source, &moved.phase().timelines);
    let look = Effect::ProbeAnew {
        side,
        was: timelines[&side].was,
        timeline: timelines[&side].timeline,
        mode: GateMode::Closed,
        gate: None,
        fenced: vec![],
        streams: vec![],
    };
    let intended =
        CommandBody::Intend { phase: phase(), step: Step::SwitchTraffic, effect: look, undo: vec![] };
    moved.give(executor(), intended).unwrap();
    let effect = moved.state.operation(&phase()).unwrap().effects.last().unwrap().id;
    let outcome = EffectOutcome::Succeeded { adopted: false, evidence: Evidence::new() };
    moved.give(executor(), CommandBody::Conclude { phase: phase(), effect, outcome }).unwrap();
    assert!(moved.phase().timelines.is_empty());
    let refused = moved.give(executor(), intend.clone());
    assert!(
        matches!(refused, Err(Refusal::OpeningUnproven { lacks }) if lacks.contains("compared")),
        "{refused:?}"
    );
    journal.give(executor(), intend).unwrap();
}

#[test]
fn a_probe_that_another_failover_has_overtaken_does_not_keep_a_step_open() {
    let mut journal = started();
    journal.meet(Side::Source, 2);
    let request = journal.ask("ana", Operation::Verify).unwrap();
    assert!(journal.tick(&|_| false).unwrap(), "#{request} begins");
    assert!(journal.tick(&|_| false).unwrap());
    journal.meet(Side::Source, 3);
    while !matches!(journal.due(), Due::Blocked(_)) {
        journal.tick(&|effect| matches!(effect, Effect::ProbeAnew { .. })).unwrap();
    }
    retry(&mut journal);
    // The old one is open still, and fails; the new one is planned after another word.
    journal.tick(&|effect| matches!(effect, Effect::ProbeAnew { .. })).unwrap();
    retry(&mut journal);
    journal.run().unwrap();
    assert!(journal.phase().operation.is_none() && journal.phase().timelines.is_empty());
}
