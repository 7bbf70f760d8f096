//! Random commands of people and executors, in any order, at any time: the invariants hold after every event.

use std::collections::BTreeSet;

use crate::support::{Journal, executor, person, phase};
use journal::*;
use proptest::prelude::*;

#[derive(Debug, Clone)]
enum Move {
    /// The executor does what is due; effects picked by the number fail.
    Tick {
        fails: u8,
    },
    Many,
    Ask(u8, u8),
    Approve(u8, u8),
    Deny(u8, u8),
    Revoke(u8, u8),
    Abort,
    Pause,
    Resume,
    Retry,
    Hold,
    Release,
    Wait(u16),
    /// Asks for something to begin later, and not too late.
    AskLater(u8, u8, u8),
    BreakGlass(u8, u8),
    /// Tries to begin a request that nobody said is due.
    BeginWrongly(u8),
    OpenWrongly(bool),
    UndoWrongly,
    Breach,
    /// The stream back breaks at this place, or follows again.
    Back(Option<u8>),
    /// Somebody gives the target up, with the word that is shown; if all agree, after it died and with their approvals.
    GiveUp(u8, bool),
    /// What an executor may find of a quarantined target.
    Contact(u8),
    /// A side comes back on the timeline of this number.
    Failover(bool, u8),
}

fn moves() -> impl Strategy<Value = Move> {
    prop_oneof![
        8 => (0u8..20).prop_map(|fails| Move::Tick { fails }),
        6 => Just(Move::Many),
        4 => (0u8..3, 0u8..6).prop_map(|(who, what)| Move::Ask(who, what)),
        8 => (0u8..3, 0u8..4).prop_map(|(who, back)| Move::Approve(who, back)),
        1 => (0u8..3, 0u8..4).prop_map(|(who, back)| Move::Deny(who, back)),
        1 => (0u8..3, 0u8..4).prop_map(|(who, back)| Move::Revoke(who, back)),
        1 => Just(Move::Abort),
        1 => Just(Move::Pause),
        2 => Just(Move::Resume),
        2 => Just(Move::Retry),
        1 => Just(Move::Hold),
        2 => Just(Move::Release),
        2 => any::<u16>().prop_map(Move::Wait),
        2 => (0u8..6, 1u8..60, 1u8..60).prop_map(|(what, at, within)| Move::AskLater(what, at, within)),
        2 => (0u8..3, 0u8..4).prop_map(|(who, back)| Move::BreakGlass(who, back)),
        1 => (0u8..4).prop_map(Move::BeginWrongly),
        2 => any::<bool>().prop_map(Move::OpenWrongly),
        1 => Just(Move::UndoWrongly),
        1 => Just(Move::Breach),
        2 => proptest::option::weighted(0.3, 1u8..3).prop_map(Move::Back),
        1 => (0u8..3, any::<bool>()).prop_map(|(who, agreed)| Move::GiveUp(who, agreed)),
        1 => (0u8..3).prop_map(Move::Contact),
        1 => (any::<bool>(), 1u8..4).prop_map(|(target, timeline)| Move::Failover(target, timeline)),
    ]
}

fn who(number: u8) -> &'static str {
    ["ana", "ben", "cy"][usize::from(number) % 3]
}

fn request(journal: &Journal, back: u8) -> Option<Position> {
    journal.state.requests.keys().rev().nth(usize::from(back)).copied()
}

fn breach(journal: &mut Journal) {
    let body = CommandBody::ReportBreach {
        phase: phase(),
        direction: Direction::Failback,
        table: crate::support::table(),
        at: journal.state.head.to_string(),
        changes: 1,
    };
    let _ = journal.give(executor(), body);
}

/// A target that dies, is given up, comes back.
fn lose(journal: &mut Journal, step: &Move) {
    match step {
        Move::Back(at) => match at {
            Some(at) => journal.target_dies(&format!("0/{at}")),
            None => journal.back(StreamHealth::CaughtUp, None),
        },
        Move::GiveUp(person, agreed) => {
            if *agreed {
                journal.target_dies("0/1");
            }
            if let (Ok(request), true) = (journal.give_up(who(*person)), *agreed) {
                let _ = (journal.approve("ana", request), journal.approve("ben", request));
            }
        }
        Move::Contact(what) => {
            let Some(loss) = journal.phase().quarantine.as_ref().map(|known| known.position) else { return };
            let finding = Finding { code: "SW-0301".to_owned(), what: String::new(), remedy: String::new() };
            let found = match what {
                0 => Found::Closed { evidence: Evidence::new() },
                1 => Found::Read { file: "f".to_owned(), changes: 1 },
                _ => Found::Unread { finding },
            };
            let _ = journal.give(executor(), CommandBody::ReportQuarantine { phase: phase(), loss, found });
        }
        _ => {}
    }
}

fn play(journal: &mut Journal, step: &Move) {
    let phase = phase();
    let reason = "a reason".to_owned();
    let body = match step {
        Move::Tick { fails } => {
            let fails = *fails;
            let _ = journal.tick(&|effect| effect.label().len() % 20 == usize::from(fails));
            return;
        }
        Move::Many => {
            for _ in 0..12 {
                if !journal.tick(&|_| false).unwrap_or(false) {
                    break;
                }
            }
            return;
        }
        Move::Wait(seconds) => {
            journal.now = journal.now.plus(std::time::Duration::from_secs(u64::from(*seconds) / 64));
            return;
        }
        Move::AskLater(what, at, within) => {
            let minutes = |many: u8| std::time::Duration::from_secs(u64::from(many) * 60);
            let options = RequestOptions {
                not_before: Some(journal.now.plus(minutes(*at))),
                within: Some(minutes(*within)),
                ..RequestOptions::default()
            };
            let _ =
                journal.ask_with("ana", Operation::ALL[usize::from(*what) % Operation::ALL.len()], options);
            return;
        }
        Move::BreakGlass(who_, back) => {
            let Some(request) = request(journal, *back) else { return };
            let _ = journal.break_glass(who(*who_), request);
            return;
        }
        Move::BeginWrongly(back) => {
            let Some(request) = request(journal, *back) else { return };
            let _ = journal.give(executor(), CommandBody::Begin { phase, request });
            return;
        }
        Move::OpenWrongly(target) => {
            let side = if *target { Side::Target } else { Side::Source };
            let step = journal.state.operation(&phase).map_or(Step::Undo, |run| run.step);
            let body = CommandBody::Intend { phase, step, effect: Effect::OpenGate { side }, undo: vec![] };
            let _ = journal.give(executor(), body);
            return;
        }
        Move::UndoWrongly => {
            let _ = journal.give(
                executor(),
                CommandBody::BeginUndo { phase, cause: UndoCause::Deadline, answered: Evidence::new() },
            );
            return;
        }
        Move::Breach => return breach(journal),
        lost @ (Move::Back(_) | Move::GiveUp(..) | Move::Contact(_)) => return lose(journal, lost),
        Move::Failover(target, timeline) => {
            let side = if *target { Side::Target } else { Side::Source };
            journal.meet(side, u64::from(*timeline));
            return;
        }
        Move::Ask(person, what) => {
            let _ = journal.ask(who(*person), Operation::ALL[usize::from(*what) % Operation::ALL.len()]);
            return;
        }
        Move::Approve(person_, back) => {
            let Some(request) = request(journal, *back) else { return };
            let _ = journal.approve(who(*person_), request);
            return;
        }
        Move::Deny(person_, back) => {
            let Some(request) = request(journal, *back) else { return };
            let _ = journal.give(person(who(*person_)), CommandBody::Deny { request, reason });
            return;
        }
        Move::Revoke(person_, back) => {
            let Some(request) = request(journal, *back) else { return };
            let _ = journal.give(person(who(*person_)), CommandBody::Revoke { request });
            return;
        }
        Move::Abort => CommandBody::Abort { phase, reason },
        Move::Pause => CommandBody::Pause { phase },
        Move::Resume => CommandBody::Resume { phase },
        Move::Retry => CommandBody::Retry { phase },
        Move::Hold => CommandBody::Hold { phase: Some(phase), reason },
        Move::Release => CommandBody::Release { phase: Some(phase) },
    };
    let _ = journal.give(person("ana"), body);
}

/// The invariants of the design that the journal alone can show, over the whole log.
fn check(journal: &Journal) {
    let mut state = State::default();
    let mut consumed = BTreeSet::new();
    let mut succeeded = BTreeSet::new();
    let mut intended = BTreeSet::new();
    for event in &journal.events {
        let before = state.clone();
        evolve(&mut state, event);
        let gates = &state.phases[&phase()].gates;
        let open = |side| gates.get(&side) == Some(&GateMode::Open);
        let is_lost = state.phases[&phase()].quarantine.is_some();
        assert!(
            !(open(Side::Source) && open(Side::Target)) || is_lost,
            "both sides are open after {event:?}"
        );
        match &event.body {
            Fact::EffectIntended { spec: Effect::OpenGate { side }, consumes, step, effect, .. } => {
                let run = before.operation(&phase()).expect("an effect belongs to an operation");
                if *step != Step::Undo {
                    assert_eq!(run.operation.opens(), Some(*side));
                    let distinct: BTreeSet<_> = consumes.iter().collect();
                    assert!(
                        distinct.len() >= 2 || run.broken_glass.is_some(),
                        "two distinct persons open a side, or one under broken glass"
                    );
                    assert!(consumed.insert(run.request), "a request opens once");
                    let asked = &before.requests[&run.request];
                    let mut displaced = before.phases[&phase()].timelines.clone();
                    if run.operation == Operation::FailbackTargetLost {
                        displaced.remove(&Side::Target);
                        let known = before.phases[&phase()].quarantine.as_ref();
                        assert_eq!(known.map(|known| known.operation), Some(run.position));
                        assert!(before.phases[&phase()].streams.is_empty(), "nothing is applied any more");
                        assert!(asked.confirmed_loss.is_some(), "its loss was confirmed");
                    }
                    assert!(displaced.is_empty(), "nothing opens beside a side on an unknown timeline");
                }
                intended.insert(*effect);
            }
            Fact::EffectIntended { effect, .. } => {
                intended.insert(*effect);
            }
            Fact::OperationStarted { request, operation, broken_glass, .. } => {
                let (asked, at) = (&before.requests[request], event.envelope.recorded_at);
                assert!(at < asked.expires_at, "nothing expired begins");
                assert!(asked.not_before.is_none_or(|first| first <= at), "it begins no earlier");
                assert!(asked.not_after.is_none_or(|last| at <= last), "and no later");
                assert!(
                    before.hold.is_none()
                        && (before.phases[&phase()].hold.is_none() || *operation == Operation::Verify)
                );
                let denied = asked.words.values().any(|word| word.word == ApprovalWord::Denied);
                assert!(!denied, "nothing begins against a denial");
                if let Some(person) = broken_glass {
                    let glass = asked.glass.as_ref().expect("somebody broke it");
                    assert!(glass.person == *person && !glass.withdrawn && !glass.reason.is_empty());
                }
                let unreviewed = before.requests.values().any(|other| {
                    other.glass.as_ref().is_some_and(|glass| glass.used && glass.review.is_none())
                });
                let leads_back = matches!(operation, Operation::Failback | Operation::FailbackTargetLost);
                assert!(!unreviewed || leads_back, "the review comes first");
                if *operation == Operation::FailbackTargetLost {
                    let known = known_loss(&phase(), &before.phases[&phase()]).expect("the target is lost");
                    assert_eq!(asked.confirmed_loss, Some(known.to_string()), "the known loss was confirmed");
                    assert_eq!(before.phases[&phase()].status, PhaseStatus::OnTarget);
                }
                assert!(before.operation(&phase()).is_none(), "an operation began beside another");
            }
            Fact::GlassReviewed { request, .. } => {
                let glass = before.requests[request].glass.as_ref().expect("it was broken");
                assert!(
                    event.envelope.actor != Actor::Person(glass.person.clone()),
                    "another person reviews"
                );
            }
            Fact::EffectSucceeded { effect, .. } => {
                assert!(intended.contains(effect), "no effect without an intent");
                assert!(succeeded.insert(*effect), "each effect succeeds once");
            }
            _ => {}
        }
    }
    assert_eq!(format!("{state:?}"), format!("{:?}", journal.state), "replay gives the live state");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, max_shrink_iters: 20_000, ..ProptestConfig::default() })]

    #[test]
    fn the_invariants_hold_whatever_anybody_does(played in proptest::collection::vec(moves(), 1..160)) {
        let mut journal = Journal::adopted();
        for step in &played {
            play(&mut journal, step);
        }
        if let Err(why) = std::panic::catch_unwind(|| check(&journal)) {
            eprintln!("the journal that breaks an invariant is in {}", keep(&journal));
            std::panic::resume_unwind(why);
        }
    }
}

/// Writes a journal down, an event a line, as an export has them: what fails can be replayed and looked at.
fn keep(journal: &Journal) -> String {
    let file = std::env::temp_dir().join(format!("switchyard-invariants-{}.jsonl", std::process::id()));
    let lines: Vec<u8> = journal
        .events
        .iter()
        .flat_map(|event| [event.to_bytes().unwrap(), b"\n".to_vec()].concat())
        .collect();
    std::fs::write(&file, lines).unwrap();
    file.display().to_string()
}

/// The journal of a kept file, checked again: `REPLAY=FILE cargo test --workspace --test journal invariants::kept`.
fn replayed(bytes: &[u8]) -> Journal {
    let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let events: Vec<Recorded> = lines.map(|line| Recorded::from_bytes(line).unwrap()).collect();
    Journal { state: replay(&events), events, now: Timestamp::default() }
}

#[test]
fn a_kept_journal_replays_to_the_same_state() {
    if let Ok(file) = std::env::var("REPLAY") {
        check(&replayed(&std::fs::read(file).unwrap()));
        return;
    }
    let mut journal = Journal::adopted();
    journal.live(Operation::Start);
    journal.live(Operation::Cutover);
    let kept = keep(&journal);
    let again = replayed(&std::fs::read(&kept).unwrap());
    std::fs::remove_file(&kept).unwrap();
    assert_eq!(again.events, journal.events);
    assert_eq!(format!("{:?}", again.state), format!("{:?}", journal.state));
    check(&again);
}

/// A model that can do nothing would pass the above: the good ends must be reachable by the same moves.
#[test]
fn random_people_do_reach_the_good_ends() {
    let mut reached = BTreeSet::new();
    let mut was_undone = false;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let strategy = proptest::collection::vec(moves(), 100..400);
    for _ in 0..3_000 {
        if reached.len() == 6 && was_undone {
            break;
        }
        let played = proptest::strategy::Strategy::new_tree(&strategy, &mut runner).unwrap().current();
        let mut journal = Journal::adopted();
        for step in &played {
            play(&mut journal, step);
            reached.insert(journal.phase().status);
        }
        if journal.events.iter().any(|event| matches!(event.body, Fact::UndoStarted { .. })) {
            was_undone = true;
        }
    }
    for status in [
        PhaseStatus::Replicating,
        PhaseStatus::OnTarget,
        PhaseStatus::Completed,
        PhaseStatus::Retired,
        PhaseStatus::Quarantined,
    ] {
        assert!(reached.contains(&status), "{status} was never reached");
    }
    assert!(was_undone, "nothing was ever undone");
}

use proptest::strategy::ValueTree;
