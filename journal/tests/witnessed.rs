//! Nothing opens before the last word of its approvals has left the journal.

use crate::support::{Journal, PLAN, executor, person, phase, plan};
use journal::*;

fn keyed() -> String {
    PLAN.replace("[journal]\n", "[journal]\nsigning_key = \"file:journal.key\"\nwitness = \"witness.txt\"\n")
}

/// A phase that may be cut over, under a plan that can prove itself.
fn started() -> Journal {
    let mut journal = Journal { now: Timestamp::from_millis(1_000_000), ..Journal::default() };
    journal.give(Actor::Operator, CommandBody::AdoptPlan { text: keyed(), authors: Vec::new() }).unwrap();
    journal.live(Operation::Start);
    journal
}

fn approved(journal: &mut Journal) -> Position {
    let request = journal.ask("ana", Operation::Cutover).unwrap();
    journal.approve("ana", request).unwrap();
    journal.approve("ben", request).unwrap();
    request
}

fn report(size: Position) -> CommandBody {
    let root = Root::new([u8::try_from(size.get()).unwrap(); 32]);
    CommandBody::ReportCheckpoint { size, root, left_to: vec!["file:witness.txt".to_owned()] }
}

fn publish(journal: &mut Journal, size: Position) -> usize {
    journal.give(Actor::Operator, report(size)).unwrap().len()
}

#[test]
fn a_cutover_waits_before_the_stop_until_its_last_approval_has_left() {
    let mut journal = started();
    assert_eq!(unwitnessed(&journal.state), None, "a start without approvals needs no witness");
    approved(&mut journal);
    let word = journal.state.head;
    journal.run().unwrap();
    assert_eq!(journal.due(), Due::AwaitWitness);
    assert!(journal.state.operation(&phase()).unwrap().stopped.is_none());
    assert_eq!(unwitnessed(&journal.state), Some(word));
    let early = Position::new(word.get() - 1);
    assert_eq!(publish(&mut journal, early), 0, "the last word is not covered");
    assert_eq!(journal.due(), Due::AwaitWitness);
    assert_eq!(publish(&mut journal, word), 1);
    assert_eq!(publish(&mut journal, word), 0, "told once");
    let head = journal.state.head;
    assert_eq!(publish(&mut journal, head), 0, "a newer one is no news");
    journal.run().unwrap();
    assert_eq!((journal.phase().status, journal.phase().writer()), (PhaseStatus::OnTarget, Writer::Target));
}

#[test]
fn neither_the_stop_nor_the_opening_is_decided_without_it() {
    let mut journal = started();
    approved(&mut journal);
    journal.run().unwrap();
    let stop = CommandBody::Intend {
        phase: phase(),
        step: Step::StopTraffic,
        effect: Effect::HoldTraffic { at: Side::Source },
        undo: vec![],
    };
    let refused = journal.give(executor(), stop);
    assert!(matches!(refused, Err(Refusal::OpeningUnproven { .. })), "{refused:?}");
    let word =
        journal.state.requests.values().last().unwrap().words.values().map(|w| w.position).max().unwrap();
    publish(&mut journal, word);
    let opening = plan(Operation::Cutover, Step::SwitchTraffic)
        .into_iter()
        .find(|effect| matches!(effect, Effect::OpenGate { .. }))
        .unwrap();
    for _ in 0..200 {
        let routed = journal.state.operation(&phase()).unwrap().effects.iter().any(|record| {
            matches!(record.effect, Effect::RouteTraffic { .. })
                && matches!(record.status, EffectStatus::Succeeded(_))
        });
        if routed {
            break;
        }
        assert!(journal.tick(&|_| false).unwrap());
    }
    // As if nothing had ever left.
    let left = journal.state.left.take();
    let open = || CommandBody::Intend {
        phase: phase(),
        step: Step::SwitchTraffic,
        effect: opening.clone(),
        undo: vec![],
    };
    let refused = journal.give(executor(), open());
    assert!(matches!(refused, Err(Refusal::OpeningUnproven { lacks }) if lacks.contains("log checkpoint")));
    journal.state.left = left;
    assert_eq!(journal.give(executor(), open()).unwrap().len(), 1);
}

#[test]
fn only_the_program_tells_and_only_what_can_be() {
    let mut journal = started();
    approved(&mut journal);
    let head = journal.state.head;
    for actor in [person("ana"), executor()] {
        assert_eq!(journal.give(actor, report(head)), Err(Refusal::NotThePublisher));
    }
    let ahead = journal.give(Actor::Operator, report(head.next()));
    assert_eq!(ahead, Err(Refusal::CheckpointAhead { size: head.next(), head }));
    let nowhere = CommandBody::ReportCheckpoint { size: head, root: Root::new([0; 32]), left_to: vec![] };
    assert_eq!(journal.give(Actor::Operator, nowhere), Err(Refusal::LeftNowhere));
    assert_eq!(publish(&mut journal, head), 1);
    let left_to = vec!["file:other".to_owned()];
    let other = CommandBody::ReportCheckpoint { size: head, root: Root::new([0xFF; 32]), left_to };
    assert_eq!(journal.give(Actor::Operator, other), Err(Refusal::CheckpointDiffers { size: head }));
}

#[test]
fn a_plan_without_a_key_demands_nothing() {
    let mut journal = Journal::adopted();
    journal.live(Operation::Start);
    journal.live(Operation::Cutover);
    assert_eq!(journal.phase().writer(), Writer::Target);
}
