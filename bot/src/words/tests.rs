use std::collections::BTreeMap;

use journal::{
    Actor, CommandId, Envelope, EventId, Fact, Operation, PersonId, PhaseName, PhaseStatus, Plan, PlanHash,
    PlanProblem, PlanProblems, Position, Recorded, Refusal, Role, State, Step, Timestamp,
};

use super::*;
use crate::language::{Command, Dialect, Verb, read};
use crate::preflight::Outlook;
use crate::status::Report;

const PLAN: &str = include_str!("../../../config/plan.example.toml");
const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

fn name<T>(made: Result<T, journal::NameError>) -> T {
    made.unwrap()
}

fn phase() -> PhaseName {
    name(PhaseName::new("region-a"))
}

/// The example plan, an open cutover request #2 of ana with ben's approval.
fn state() -> State {
    let plan = Plan::parse(PLAN).unwrap();
    let plan_hash = plan.hash_for(&phase());
    let expires_at = NOW.plus(std::time::Duration::from_secs(4 * 3600));
    let by = |person: &str| Actor::Person(name(PersonId::new(person)));
    let facts = [
        (
            Actor::Operator,
            None,
            Fact::PlanAdopted { text: PLAN.to_owned(), plan_hash: plan.hash(), authors: Vec::new() },
        ),
        (
            by("ana"),
            Some(phase()),
            Fact::Requested {
                operation: Operation::Cutover,
                plan_hash,
                expires_at,
                confirmed_loss: None,
                not_before: None,
                not_after: None,
                reason: None,
            },
        ),
        (by("ben"), Some(phase()), Fact::Approved { request: Position::new(2), plan_hash, reason: None }),
    ];
    let mut state = State::default();
    for (index, (actor, phase, body)) in (1..).zip(facts) {
        let envelope = Envelope {
            position: Position::new(index),
            migration: plan.migration.clone(),
            phase,
            event_id: name(EventId::new("0")),
            schema_version: "1".to_owned(),
            actor,
            recorded_at: NOW,
            command_id: name(CommandId::new("c")),
            epoch: None,
            origin: None,
        };
        journal::evolve(&mut state, &Recorded { envelope, body });
    }
    state.phases.get_mut(&phase()).unwrap().status = PhaseStatus::Replicating;
    state
}

fn loss() -> journal::KnownLoss {
    journal::KnownLoss {
        word: "loss-3fa9c1".to_owned(),
        checkpoint: journal::Lsn::new(0x16b_3748),
        newest_change_at: Some(journal::Timestamp::from_millis(NOW.millis() - 90_000)),
        down: journal::Down::Away("the target (db2:5432) cannot be reached: Connection refused".to_owned()),
    }
}

fn truncated() -> journal::Finding {
    journal::Finding {
        code: "SW-0310".to_owned(),
        what: "TRUNCATE of shop.orders came.".to_owned(),
        remedy: "Retire the phase, then start it again.".to_owned(),
    }
}

/// Every refusal, with a command that may meet it.
fn refusals() -> Vec<(&'static str, Refusal)> {
    let (request, effect, step) = (Position::new(2), journal::EffectId::of(b"e"), Step::Drain);
    let person = name(PersonId::new("cy"));
    let later = NOW.plus(std::time::Duration::from_secs(7200));
    let problem = PlanProblem { line: 3, column: 8, what: "expected a name".to_owned(), suggestion: None };
    vec![
        ("status", Refusal::NoPlan),
        ("", Refusal::BadPlan(PlanProblems(vec![problem]))),
        ("", Refusal::OtherMigration),
        ("", Refusal::PhaseFrozen { phase: phase() }),
        ("", Refusal::PhasesLive { phases: vec![phase()] }),
        ("", Refusal::SamePlan),
        ("region-a cutover --plan 00000000", Refusal::OtherPlan { current: PlanHash::of(b"p") }),
        (
            "regoin-a start",
            Refusal::NoPhase { phase: name(PhaseName::new("regoin-a")), known: vec![phase()] },
        ),
        ("status", Refusal::UnknownPerson { person: person.clone() }),
        ("region-a start", Refusal::LacksRole { person: person.clone(), role: Role::Operator }),
        ("approve #2", Refusal::LacksRole { person, role: Role::Approver }),
        ("region-a start", Refusal::NotAPerson),
        ("region-a start", Refusal::NotAnExecutor),
        (
            "region-a start",
            Refusal::WrongStatus { operation: Operation::Start, status: PhaseStatus::Replicating },
        ),
        ("region-a failback", Refusal::Busy { operation: Operation::Cutover, request }),
        ("region-a cutover", Refusal::AskedAlready { request }),
        ("region-a cutover", Refusal::Held { reason: "freeze".to_owned() }),
        (
            "region-a cutover",
            Refusal::StreamDown { direction: journal::Direction::Forward, finding: truncated() },
        ),
        ("approve #7", Refusal::NoRequest { request: Position::new(7) }),
        ("approve #2", Refusal::RequestClosed { request }),
        ("approve #2", Refusal::RequestExpired { request }),
        ("approve #2", Refusal::RequesterExcluded),
        ("approve #2", Refusal::SaidAlready),
        ("revoke #2", Refusal::NothingToRevoke),
        ("approve #2", Refusal::NoApprovalNeeded { request }),
        ("approve #2", Refusal::NoQuorum { have: 1, need: 2 }),
        ("approve #2", Refusal::BindingChanged { request }),
        ("region-a pause", Refusal::NothingRuns { phase: phase() }),
        ("region-a pause", Refusal::InTheWindow),
        ("region-a abort --reason x", Refusal::PointOfNoReturn),
        ("region-a resume", Refusal::NotPaused),
        ("region-a pause", Refusal::PausedAlready),
        ("region-a retry", Refusal::NotBlocked),
        ("release", Refusal::NotHeld),
        ("hold --reason x", Refusal::HeldAlready),
        ("region-a pause", Refusal::Undoing),
        ("", Refusal::StepNotDue { step }),
        ("", Refusal::StepOpen { step }),
        ("", Refusal::EffectNotOpen { effect }),
        ("", Refusal::EffectOpen { effect }),
        ("", Refusal::ForeignEffect { label: "open_gate:target".to_owned(), step }),
        ("", Refusal::OpeningUnproven { lacks: "the stream is not drained" }),
        ("region-a failback --target-lost", Refusal::LossUnconfirmed { loss: loss(), given: None }),
        (
            "region-a failback --target-lost --confirm loss-000000",
            Refusal::LossUnconfirmed { loss: loss(), given: Some("loss-000000".to_owned()) },
        ),
        (
            "region-a failback --target-lost --confirm yes",
            Refusal::LossUnconfirmed { loss: loss(), given: Some("yes".to_owned()) },
        ),
        ("region-a failback --target-lost", Refusal::TargetNotLost),
        ("region-a failback --target-lost", Refusal::LossUnknown),
        ("region-a complete --source-lost", Refusal::SourceNotLost),
        ("", Refusal::OldEpoch { given: journal::Epoch::new(3), newest: journal::Epoch::new(4) }),
        ("deny #2", Refusal::ReasonNeeded),
        ("break-glass #2 --reason fire", Refusal::ReasonTooShort { least: 20 }),
        ("", Refusal::TooEarly { request, at: later }),
        ("", Refusal::OutsideWindow { request, until: Some(later) }),
        ("", Refusal::OutsideWindow { request, until: None }),
        ("region-a cutover", Refusal::PhasesFirst { phases: vec![name(PhaseName::new("region-b"))] }),
        ("region-a verify", Refusal::GlassUnreviewed { request }),
        ("break-glass #2", Refusal::GlassBroken { request }),
        ("break-glass #2", Refusal::GlassNotNeeded { request }),
        ("approve #2", Refusal::OwnReview { request }),
        ("approve #2", Refusal::ReviewTooEarly { request }),
        ("region-a cutover --at 2023-11-14T20:00Z", Refusal::SchedulePast { at: NOW }),
        ("region-a cutover --within 366d", Refusal::ScheduleTooFar { latest: later }),
        ("region-a cutover --within 30m", Refusal::NeverInWindow { not_after: later, until: Some(later) }),
        ("approve #2", Refusal::BeginMissed { request }),
        ("region-a cutover", Refusal::NoTimeToBegin),
        ("", Refusal::NotThePublisher),
        ("", Refusal::NotTheBot),
        ("region-a cutover", Refusal::CommitNeeded { operation: Operation::Cutover }),
        ("approve #2", Refusal::AuthorExcluded),
        ("approve #2", Refusal::OtherCommit { request, bound: "0f1e2d3c4b5a".to_owned() }),
        ("", Refusal::Unconfirmed { request }),
        ("", Refusal::RolesUnconfirmed { request }),
        ("", Refusal::CheckpointAhead { size: Position::new(9), head: Position::new(8) }),
        ("", Refusal::CheckpointDiffers { size: Position::new(9) }),
        ("", Refusal::LeftNowhere),
    ]
}

fn command(line: &str) -> Option<Command> {
    read(line, Dialect::Terminal).pop().map(|heard| heard.said.unwrap())
}

/// Compares with a kept text, in which the example plan's hash stands as `12345678`. On a difference the new text is left beside it, to be looked at and renamed.
fn keeps(file: &str, text: &str) {
    let hash = Plan::parse(PLAN).unwrap().hash_for(&phase()).short();
    let text = text.replace(&hash, "12345678");
    let kept = format!("{}/src/words/{file}", env!("CARGO_MANIFEST_DIR"));
    let expected = std::fs::read_to_string(&kept).unwrap_or_default();
    if expected != text {
        std::fs::write(format!("{kept}.new"), &text).unwrap();
        panic!("the sentences changed: compare {kept}.new with {file}, and rename it if it is right");
    }
}

#[test]
fn every_refusal_has_its_sentence_with_its_code_and_what_to_do() {
    let state = state();
    let world = World { state: &state, now: NOW };
    let mut text = String::new();
    let refusals = refusals();
    for (line, why) in &refusals {
        let told = refusal(why, command(line).as_ref(), world);
        assert!(told.ends_with(&format!("({})", why.code())) && told.len() > 40, "{why:?}: {told}");
        text.push_str(&format!("> {line}\n{told}\n\n"));
    }
    let codes: std::collections::BTreeSet<String> = refusals.iter().map(|(_, why)| why.code()).collect();
    let source = include_str!("../../../journal/src/refusal.rs");
    for (at, _) in source.match_indices("SW-01") {
        let code: String = source.get(at..).unwrap().chars().take(7).collect();
        assert!(codes.contains(&code), "no sample of {code}");
    }
    keeps("refusals.txt", &text);
}

#[test]
fn every_line_that_is_no_command_is_told_the_line_to_say() {
    let state = state();
    let world = World { state: &state, now: NOW };
    let mut text = String::new();
    for line in [
        "cutvoer",
        "region-a cutvoer",
        "region-a",
        "frobnicate the database",
        "cutover",
        "cutover region-a",
        "approve",
        "deny",
        "approve #x",
        "region-a approve",
        "Région start",
        "region-a cutover now",
        "region-a cutover --paln 1",
        "region-a cutover --frob",
        "region-a pause --reason x",
        "region-a cutover --plan",
        "hold --reason a --reason b",
        "region-a failback --target-lost=yes",
        "region-a cutover --plan xyz",
        "hold --reason \"a",
        "region-a cutover --at 22:00",
        "region-a cutover --at soon",
        "region-a cutover --within 2",
        "region-a failback --confirm x",
        "abort",
        "help frob",
    ] {
        let said = read(line, Dialect::Terminal).pop().unwrap().said.unwrap_err();
        text.push_str(&format!("> {line}\n{}\n\n", problem(&said, world)));
    }
    keeps("problems.txt", &text);
}

#[test]
fn every_verb_has_its_help() {
    let mut text = overview();
    for verb in Verb::ALL {
        text.push_str(&format!("\n\n{}", about(*verb)));
        let example = about(*verb).lines().last().unwrap().strip_prefix("Example: ").unwrap().to_owned();
        assert_eq!(command(&example).unwrap().verb(), *verb, "{example}");
    }
    text.push('\n');
    keeps("help.txt", &text);
}

#[test]
fn plan_says_what_preflight_finds_beside_the_start_that_it_would_refuse() {
    let mut state = state();
    state.phases.get_mut(&phase()).unwrap().status = PhaseStatus::New;
    let plan = Plan::parse(PLAN).unwrap();
    let world = World { state: &state, now: NOW };
    let told = |outlook: Outlook| plan_next(&plan, None, &BTreeMap::from([(phase(), outlook)]), world);
    let seen = |problems: &[&str], warnings: &[&str]| {
        let owned = |lines: &[&str]| lines.iter().map(|line| (*line).to_owned()).collect();
        told(Outlook::Seen { problems: owned(problems), warnings: owned(warnings) })
    };
    let clear = seen(&[], &[]);
    assert!(clear.contains("replicate\n    now    preflight finds nothing in the way"), "{clear}");
    let text = seen(&["[SW-0231] shop.orders is there. Drop it."], &["the target is older"]);
    let block = "    now    preflight finds 1 thing in the way\n           [SW-0231] shop.orders is there. Drop it.\n           \
                 the target is older";
    assert!(text.contains(block), "{text}");
    let text = told(Outlook::Unseen("no answer within 4 s".to_owned()));
    assert!(text.contains("    now    preflight cannot look: no answer within 4 s"), "{text}");
}

#[test]
fn replies_say_what_is_next_and_who_has_to_do_it() {
    let mut state = state();
    let mut text = String::new();
    let mut tell = |state: &State, person: &str, line: &str| {
        let person = name(PersonId::new(person));
        let (world, said) = (World { state, now: NOW }, command(line).unwrap());
        let told = aloud(done(&person, &said, Position::new(2), world), &said, world);
        text.push_str(&format!("{person}> {line}\n{told}\n\n"));
    };
    tell(&state, "ana", "region-a cutover");
    tell(&state, "ben", "approve #2");
    tell(&state, "ben", "revoke #2");
    tell(&state, "ana", "hold --reason freeze");
    tell(&state, "ana", "hold region-a --reason freeze");
    tell(&state, "ana", "release");
    tell(&state, "ana", "region-a abort --reason \"too slow\"");
    tell(&state, "ana", "region-a pause");
    tell(&state, "ana", "region-a resume");
    tell(&state, "ana", "region-a retry");
    let request = state.requests.get_mut(&Position::new(2)).unwrap();
    request.not_before = Some(NOW.plus(std::time::Duration::from_secs(3600)));
    request.not_after = Some(NOW.plus(std::time::Duration::from_secs(7200)));
    tell(&state, "ana", "region-a cutover --at 2023-11-14T23:13:20Z");
    let request = state.requests.get_mut(&Position::new(2)).unwrap();
    let word = request.words.values().next().unwrap().clone();
    request.words.insert(name(PersonId::new("cy")), word);
    tell(&state, "cy", "approve #2");
    let request = state.requests.get_mut(&Position::new(2)).unwrap();
    (request.not_before, request.not_after) = (None, None);
    request.words.clear();
    request.glass = Some(journal::Glass {
        person: name(PersonId::new("ben")),
        position: Position::new(4),
        plan_hash: request.plan_hash,
        reason: "the source is failing".to_owned(),
        review_by: NOW.plus(std::time::Duration::from_secs(86_400)),
        groups: Vec::new(),
        withdrawn: false,
        used: false,
        review: None,
    });
    tell(&state, "ben", "break-glass #2 --reason \"the source is failing\"");
    let request = state.requests.get_mut(&Position::new(2)).unwrap();
    request.status = RequestStatus::Finished(journal::Outcome::Completed);
    request.glass.as_mut().unwrap().used = true;
    tell(&state, "ben", "region-a pause");
    let request = state.requests.get_mut(&Position::new(2)).unwrap();
    request.glass.as_mut().unwrap().review_by = NOW;
    let review =
        |approved| journal::GlassReview { person: name(PersonId::new("cy")), approved, reason: None };
    request.glass.as_mut().unwrap().review = Some(review(true));
    tell(&state, "cy", "approve #2");
    let request = state.requests.get_mut(&Position::new(2)).unwrap();
    request.glass.as_mut().unwrap().review = Some(review(false));
    tell(&state, "cy", "deny #2 --reason \"it did not burn\"");
    state.requests.get_mut(&Position::new(2)).unwrap().glass = None;
    let denied = VoidReason::Denied { person: name(PersonId::new("cy")) };
    state.requests.get_mut(&Position::new(2)).unwrap().status = RequestStatus::Void(denied);
    tell(&state, "cy", "deny #2 --reason \"not on a Friday\"");
    keeps("replies.txt", &text);
}

#[test]
fn the_status_table_tells_the_night_what_it_must() {
    let state = state();
    let mut reported = std::collections::BTreeMap::new();
    let progress = journal_store::Progress {
        lag_ms: Some(1200),
        doing: None,
        observed: [("lever".to_owned(), "source".to_owned())].into(),
    };
    reported.insert(phase(), journal_store::Reported { at: NOW, progress });
    let report = Report::new(&state, &reported, NOW, None).unwrap();
    keeps("status.txt", &format!("{}\n", status(&report)));
    let later = NOW.plus(std::time::Duration::from_secs(60));
    let report = Report::new(&state, &reported, later, None).unwrap();
    assert_eq!(report.phases[0].lag_ms, None, "an old lag is not shown as the present one");
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["v"], 1);
    assert_eq!(json["position"], 3);
    let shown = &json["phases"][0];
    assert_eq!(shown["name"], "region-a");
    assert_eq!(shown["status"], "replicating");
    assert_eq!(shown["writer"], "source");
    assert!(shown["operation"].is_null() && shown["step"].is_null() && shown["lag_ms"].is_null());
    let request = &shown["requests"][0];
    assert_eq!(request["number"], 2);
    assert_eq!(request["operation"], "cutover");
    assert_eq!(request["approvals"], 1);
    assert_eq!(request["required"], 2);
    assert_eq!(request["status"], "open");
    assert_eq!(request["expires_at"], "2023-11-15T02:13:20.000Z");
}

#[test]
fn a_moment_of_another_day_has_its_date() {
    assert_eq!(moment(NOW, NOW), "22:13 UTC");
    assert_eq!(moment(NOW.plus(std::time::Duration::from_secs(7200)), NOW), "2023-11-15 00:13 UTC");
    assert_eq!(instant(NOW), "2023-11-14 22:13:20 UTC");
}
