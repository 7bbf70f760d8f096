//! Events of every released schema version are read for ever.
//!
//! `golden/vN.jsonl` is a journal as version N wrote it, with every kind of fact; `golden/vN.shapes.jsonl` has one event
//! for each shape that facts carry. What they were read as when they were written stands in `golden/vN.state.json`. A
//! released version's files never change. `GOLDEN=write cargo test --workspace --test journal golden::` writes the newest version's
//! anew: that is right only until it is released; afterwards a change needs a version, an upcast and files of its own.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use crate::support::{Journal, PLAN, executor, person, phase, stream, table};
use journal::*;
use serde_json::{Map, Value, json};

fn golden(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

fn lines(name: &str) -> Vec<Vec<u8>> {
    let text = std::fs::read_to_string(golden(name)).unwrap();
    text.lines().map(|line| line.as_bytes().to_vec()).collect()
}

fn read(name: &str) -> Vec<Recorded> {
    lines(name).iter().map(|line| Recorded::from_bytes(line).unwrap()).collect()
}

/// The variants that a type knows, as its reader lists them when it is given another.
fn variants<T: serde::de::DeserializeOwned>(of: Value) -> BTreeSet<String> {
    let Err(error) = serde_json::from_value::<T>(of) else { panic!("there is such a variant") };
    let said = error.to_string();
    let (_, list) = said.split_once("expected one of ").unwrap_or_else(|| panic!("{said}"));
    list.split(", ").map(|name| name.trim_matches('`').to_owned()).collect()
}

fn is_writing() -> bool {
    std::env::var("GOLDEN").is_ok_and(|word| word == "write")
}

/// A journal in which everything happens that may.
fn life() -> Journal {
    let plan = PLAN
        .replace("[journal]\n", "[journal]\nsigning_key = \"file:journal.key\"\nwitness = \"witness.txt\"\n")
        .replace(
            "[[phase]]",
            "[approvals.cutover]\nrequired = 2\nrole = \"approver\"\nexpires = \"4h\"\n\n[[phase]]",
        );
    let mut journal = Journal::under(&plan);
    let give = |journal: &mut Journal, actor: Actor, body: CommandBody| journal.give(actor, body).unwrap();
    let by = |journal: &mut Journal, who: &str, body: CommandBody| journal.give(person(who), body).unwrap();
    let holder = Holder::new("host/main").unwrap();
    give(&mut journal, executor(), CommandBody::TakeLease { phase: phase(), epoch: Epoch::new(1), holder });

    // A start that fails, is tried again, is paused and goes on.
    journal.ask("cy", Operation::Start).unwrap();
    let fails = |effect: &Effect| matches!(effect, Effect::StartStream { .. });
    while journal.tick(&fails).unwrap() {}
    by(&mut journal, "ana", CommandBody::Retry { phase: phase() });
    by(&mut journal, "ana", CommandBody::Pause { phase: phase() });
    journal.wait(5);
    by(&mut journal, "ana", CommandBody::Resume { phase: phase() });
    journal.run().unwrap();
    assert_eq!(journal.phase().status, PhaseStatus::Replicating);
    for health in [StreamHealth::Lagging, StreamHealth::CaughtUp] {
        let (direction, mode) = (Direction::Forward, StreamMode::Apply);
        let body =
            CommandBody::ReportStream { phase: phase(), direction, mode, health, seen: Evidence::new() };
        give(&mut journal, executor(), body);
    }

    // A request that is denied, one that expires, one that a plan voids.
    let denied = journal.ask("ana", Operation::Cutover).unwrap();
    journal.deny("ben", denied).unwrap();
    journal.ask_with("ana", Operation::Cutover, scheduled(&journal)).unwrap();
    journal.wait(40 * 3600);
    give(&mut journal, executor(), CommandBody::VoidStale { phase: phase() });
    journal.ask("ana", Operation::Cutover).unwrap();
    let revised = plan.replace("max_downtime = \"60s\"", "max_downtime = \"50s\"");
    let authors = vec![PersonId::new("cy").unwrap()];
    by(&mut journal, "ana", CommandBody::AdoptPlan { text: revised, authors });

    // A request made in a pull request, looked at again, and void when its head is another.
    let body = CommandBody::Request {
        phase: phase(),
        operation: Operation::Cutover,
        options: RequestOptions::default(),
    };
    let asked = journal.give_from(Command { origin: Some(origin()), ..Command::new(person("ana"), body) });
    let request = asked.unwrap()[0].envelope.position;
    for seen in
        [SeenBinding::Stands { head: "c0ffee".to_owned() }, SeenBinding::Moved { head: "decaf0".to_owned() }]
    {
        give(&mut journal, Actor::Operator, CommandBody::ReportBinding { request, seen });
    }

    // A cutover whose effect nobody knows of for a while, and that is aborted in the window.
    let aborted = journal.ask("ana", Operation::Cutover).unwrap();
    journal.approve("ana", aborted).unwrap();
    journal.revoke("ana", aborted).unwrap();
    journal.approve("ana", aborted).unwrap();
    journal.approve("ben", aborted).unwrap();
    publish(&mut journal);
    while !matches!(journal.due(), Due::Effect(_)) {
        journal.tick(&|_| false).unwrap();
    }
    let Due::Effect(effect) = journal.due() else { panic!("an effect is due") };
    let outcome = EffectOutcome::Unknown { error: "no answer in 5 s".to_owned() };
    give(&mut journal, executor(), CommandBody::Conclude { phase: phase(), effect, outcome });
    while journal.state.operation(&phase()).unwrap().stopped.is_none() {
        assert!(journal.tick(&|_| false).unwrap());
    }
    by(&mut journal, "cy", CommandBody::Abort { phase: phase(), reason: "it is raining".to_owned() });
    journal.run().unwrap();
    assert_eq!(journal.phase().status, PhaseStatus::Replicating);

    // A cutover under broken glass, a breach, a hold, a review, and back.
    let broken = journal.ask("ana", Operation::Cutover).unwrap();
    journal.break_glass("ana", broken).unwrap();
    publish(&mut journal);
    journal.run().unwrap();
    assert_eq!(journal.phase().status, PhaseStatus::OnTarget);
    let (direction, at) = (Direction::Forward, "0/1A2B3C".to_owned());
    let body = CommandBody::ReportBreach { phase: phase(), direction, table: table(), at, changes: 2 };
    give(&mut journal, executor(), body);
    by(&mut journal, "ana", CommandBody::Hold { phase: None, reason: "two rows passed".to_owned() });
    journal.wait(60);
    by(&mut journal, "ana", CommandBody::Release { phase: None });
    by(&mut journal, "ana", CommandBody::Release { phase: Some(phase()) });
    journal.approve("ben", broken).unwrap();
    assert_eq!(journal.meet(Side::Source, 2), 1);
    let back = journal.ask("ana", Operation::Failback).unwrap();
    journal.approve("ana", back).unwrap();
    journal.approve("ben", back).unwrap();
    publish(&mut journal);
    journal.run().unwrap();
    assert_eq!(journal.phase().status, PhaseStatus::Replicating);
    lost(&mut journal);
    journal
}

/// The target dies in a failback's window, twice: it is given up, met again and read; then it stays away.
fn lost(journal: &mut Journal) {
    for comes_back in [true, false] {
        if !comes_back {
            let retired = journal.ask("ana", Operation::Retire).unwrap();
            journal.approve("ana", retired).unwrap();
            journal.approve("ben", retired).unwrap();
            journal.run().unwrap();
            journal.ask("cy", Operation::Start).unwrap();
            journal.run().unwrap();
        }
        for operation in [Operation::Cutover, Operation::Failback] {
            let asked = journal.ask("ana", operation).unwrap();
            journal.approve("ana", asked).unwrap();
            journal.approve("ben", asked).unwrap();
            publish(journal);
            while journal.phase().status == PhaseStatus::Replicating
                || journal.state.operation(&phase()).is_none_or(|run| run.stopped.is_none())
            {
                assert!(journal.tick(&|_| false).unwrap() || operation == Operation::Cutover);
                if operation == Operation::Cutover && journal.phase().status == PhaseStatus::OnTarget {
                    break;
                }
            }
        }
        journal.target_dies("0/16B3748");
        let asked = journal.give_up("ana").unwrap();
        journal.approve("ana", asked).unwrap();
        journal.approve("ben", asked).unwrap();
        publish(journal);
        journal.run().unwrap();
        assert_eq!(journal.phase().status, PhaseStatus::Quarantined);
        if comes_back {
            for found in [
                Found::Closed { evidence: Evidence::from([("mode".to_owned(), "closed".to_owned())]) },
                Found::Read { file: "shop-a.lost.jsonl".to_owned(), changes: 7 },
            ] {
                let loss = journal.phase().quarantine.as_ref().unwrap().position;
                let body = CommandBody::ReportQuarantine { phase: phase(), loss, found };
                journal.give(executor(), body).unwrap();
            }
        }
    }
    let retired = journal.ask("ana", Operation::Retire).unwrap();
    journal.approve("ana", retired).unwrap();
    journal.approve("ben", retired).unwrap();
    journal.run().unwrap();
    assert_eq!(journal.phase().status, PhaseStatus::Retired);
}

fn membership() -> Membership {
    Membership { platform: plan::Platform::Github, group: "4711".to_owned(), account: "583231".to_owned() }
}

fn origin() -> Origin {
    Origin {
        platform: plan::Platform::Github,
        account: "583231".to_owned(),
        place: "acme/shop#7".to_owned(),
        message: Some("99".to_owned()),
        bound: Some(Bound {
            repository: "acme/shop".to_owned(),
            pull_request: "7".to_owned(),
            head: "c0ffee".to_owned(),
        }),
        groups: vec![membership()],
    }
}

fn scheduled(journal: &Journal) -> RequestOptions {
    RequestOptions {
        not_before: Some(journal.now.plus(Duration::from_secs(3600))),
        within: Some(Duration::from_secs(7200)),
        reason: Some("at night".to_owned()),
        ..RequestOptions::default()
    }
}

/// A log checkpoint over all that was said leaves the journal.
fn publish(journal: &mut Journal) {
    let leaves = journal.events.iter().map(|event| merkle::leaf(&event.to_bytes().unwrap()));
    let mut tree = merkle::History::default();
    leaves.for_each(|leaf| tree.push(leaf));
    let size = journal.state.head;
    let root = Root::new(tree.root_at(size.get()).unwrap());
    let left_to = vec!["file:witness.txt".to_owned()];
    journal.give(Actor::Operator, CommandBody::ReportCheckpoint { size, root, left_to }).unwrap();
}

/// One of each effect.
fn effects() -> Vec<Effect> {
    let (side, tables) = (Side::Source, vec![table()]);
    let text = |of: &str| of.to_owned();
    let forward = || stream(Direction::Forward);
    vec![
        Effect::Preflight { tables: tables.clone() },
        Effect::ProbeAnew {
            side,
            was: Timeline::new(1),
            timeline: Timeline::new(2),
            mode: GateMode::Closed,
            gate: Some(Position::new(7)),
            fenced: tables.clone(),
            streams: vec![StreamCheck {
                direction: Direction::Forward,
                slot: text("s"),
                mode: StreamMode::Apply,
                is_needed: true,
            }],
        },
        Effect::InstallHome { side, mode: GateMode::Open },
        Effect::CreatePublication { side, publication: text("p"), tables: tables.clone() },
        Effect::CreateOrigin { side, origin: text("o") },
        Effect::CreateTables {
            tables: vec![TableDefinition { table: table(), statements: vec![text("create table x ()")] }],
        },
        Effect::InstallFence { side, tables: tables.clone() },
        Effect::TrialWrite { side, tables: tables.clone(), expect: Expectation::Passes, moment: text("m") },
        Effect::CreateSlot { side, slot: text("s") },
        Effect::CopyTable { table: table(), slot: text("s") },
        Effect::StartStream {
            stream: forward(),
            mode: StreamMode::Guard,
            slot: text("s"),
            publication: text("p"),
            origin: text("o"),
            from: "16/B374D848".parse().unwrap(),
        },
        Effect::SetStreamMode { stream: stream(Direction::Failback), mode: StreamMode::Apply },
        Effect::AwaitApplied { stream: forward(), lsn: Lsn::new(u64::MAX) },
        Effect::AwaitLag { stream: forward(), limit_ms: u64::MAX },
        Effect::VerifyTable { table: table(), stream: forward(), moment: text("m") },
        Effect::VerifyChanged { tables: tables.clone(), stream: forward() },
        Effect::CompareColumns { side: Side::Target, tables: tables.clone() },
        Effect::SweepChanged { tables: tables.clone(), stream: forward(), limit_ms: u64::MAX },
        Effect::AddSchemaObject {
            object: SchemaObject {
                table: table(),
                name: text("i"),
                kind: text("index"),
                statement: text("…"),
            },
        },
        Effect::EmitMarker { side, nonce: text("n") },
        Effect::AwaitMarker { stream: forward(), nonce: text("n") },
        Effect::AwaitQuiet { side, tables: tables.clone(), older_than_ms: 5 },
        Effect::ObserveTraffic { at: side },
        Effect::HoldTraffic { at: side },
        Effect::RouteTraffic { to: Side::Target },
        Effect::ResumeTraffic { to: Side::Target },
        Effect::CloseGate { side },
        Effect::AwaitWriters { side, tables: tables.clone(), patience_ms: 5, terminate: true },
        Effect::OpenGate { side: Side::Target },
        Effect::CloseLost { side, patience_ms: 5, moment: text("m") },
        Effect::DrainAvailable {
            stream: stream(Direction::Failback),
            tables: tables.clone(),
            patience_ms: 5,
        },
        Effect::AdvanceSequences { side, tables: tables.clone(), alone: false },
        Effect::AdvanceSequences { side, tables: tables.clone(), alone: true },
        Effect::DropStream { stream: forward() },
        Effect::DropSlot { side, slot: text("s") },
        Effect::DropPublication { side, publication: text("p") },
        Effect::DropOrigin { side, origin: text("o") },
        Effect::RemoveFence { side, tables: tables.clone() },
        Effect::DropTables { tables },
    ]
}

/// One event for each shape that facts carry, beside those of a life.
fn shapes() -> Vec<Recorded> {
    let text = |of: &str| of.to_owned();
    let (operation, hash) = (Position::new(41), Plan::parse(PLAN).unwrap().hash());
    let finding = Finding { code: text("SW-0000"), what: text("“what”"), remedy: text("look") };
    let ana = PersonId::new("ana").unwrap();
    let mut facts = Vec::new();
    for spec in effects() {
        let id = EffectSpec::new(hash, &phase(), operation, Step::Load, spec.clone()).id;
        let undo = UndoPlan { at: Timestamp::from_millis(2_000_000), effects: vec![spec.clone()] };
        facts.push(Fact::EffectIntended {
            operation,
            step: Step::Load,
            effect: id,
            spec,
            undo: Some(undo),
            consumes: vec![ana.clone()],
        });
    }
    for reason in [
        VoidReason::Expired,
        VoidReason::PlanChanged { plan_hash: hash },
        VoidReason::CommitMoved { head: text("decaf0") },
        VoidReason::PullRequestClosed,
        VoidReason::OtherPlanAtHead,
        VoidReason::PhaseMoved { status: PhaseStatus::OnTarget },
        VoidReason::NotBegun { not_after: Timestamp::from_millis(1) },
        VoidReason::Denied { person: ana.clone() },
        VoidReason::RoleLost { person: ana.clone() },
        VoidReason::Undone,
        VoidReason::LossChanged,
        VoidReason::SourceIsBack,
    ] {
        facts.push(Fact::RequestVoided { request: operation, reason });
    }
    facts.push(Fact::RolesConfirmed { request: operation, lost: vec![membership()] });
    for cause in [
        UndoCause::Deadline,
        UndoCause::StepFailed { step: Step::Drain, finding: finding.clone() },
        UndoCause::Aborted { person: ana.clone(), reason: text("no") },
        UndoCause::ApprovalLost { person: ana },
    ] {
        facts.push(Fact::UndoStarted { operation, cause, answered: Evidence::new() });
    }
    let answered = Evidence::from([(text("side"), text("target"))]);
    facts.push(Fact::UndoStarted { operation, cause: UndoCause::Deadline, answered });
    for health in [
        StreamHealth::CaughtUp,
        StreamHealth::Lagging,
        StreamHealth::Broken { error: text("gone") },
        StreamHealth::Stopped { finding },
    ] {
        let seen = Evidence::from([(text("checkpoint"), text("0/16B3748"))]);
        facts.push(Fact::StreamChanged {
            direction: Direction::Failback,
            mode: StreamMode::Guard,
            health,
            seen,
        });
    }
    facts.push(Fact::QuarantineRead {
        loss: operation,
        file: None,
        changes: text("0"),
        finding: Some(Finding { code: text("SW-0000"), what: text("gone"), remedy: text("look") }),
    });
    facts.push(Fact::OperationFinished { operation, outcome: Outcome::Replaced });
    let enveloped = |(position, body): (u64, Fact)| Recorded {
        envelope: Envelope {
            position: Position::new(position),
            migration: MigrationName::new("shop").unwrap(),
            phase: Some(phase()),
            event_id: EventId::new(format!("{position:032}")).unwrap(),
            schema_version: SCHEMA_VERSION.to_string(),
            actor: executor(),
            recorded_at: Timestamp::from_millis(1_000_000),
            command_id: CommandId::new(format!("c{position}")).unwrap(),
            epoch: Some(Epoch::new(u64::MAX)),
            origin: Some(origin()),
        },
        body,
    };
    (1..).zip(facts).map(enveloped).collect()
}

/// What a state says, in what a person would ask about. Not all of it: that grows.
fn held(state: &State) -> Value {
    let debug = |of: &dyn std::fmt::Debug| format!("{of:?}");
    let phases = state.phases.iter().map(|(name, phase)| {
        let streams = phase.streams.iter().map(|(direction, stream)| {
            let said =
                json!([debug(&stream.mode), stream.slot, stream.from.to_string(), debug(&stream.health)]);
            (direction.to_string(), said)
        });
        let operation = phase.operation.as_ref().map(|run| {
            let effects = run.effects.iter().map(|record| {
                json!([record.id.to_string(), record.intent.get().to_string(), debug(&record.status)])
            });
            json!({
                "at": run.position.to_string(),
                "request": run.request.to_string(),
                "operation": run.operation.to_string(),
                "plan": run.plan_hash.to_string(),
                "reserved": debug(&run.reserved),
                "glass": debug(&run.broken_glass),
                "step": run.step.to_string(),
                "finished": debug(&run.finished_steps),
                "effects": effects.collect::<Vec<_>>(),
                "blocked": debug(&run.blocked),
                "paused": run.paused,
                "stopped": debug(&run.stopped.as_ref().map(|(at, undo)| (at, undo.at, undo.effects.len()))),
                "opening": debug(&run.opening),
                "undo": debug(&run.undo),
            })
        });
        let said = json!({
            "status": phase.status.to_string(),
            "writer": debug(&phase.writer()),
            "generation": phase.generation.to_string(),
            "epoch": phase.epoch.to_string(),
            "holder": debug(&phase.holder),
            "gates": debug(&phase.gates),
            "streams": streams.collect::<Map<_, _>>(),
            "hold": debug(&phase.hold),
            "breaches": phase.breaches.iter().map(|breach| debug(breach)).collect::<Vec<_>>(),
            "tables": debug(&phase.tables),
            "operation": operation,
        });
        (name.to_string(), said)
    });
    let requests = state.requests.iter().map(|(position, request)| {
        let said = json!([
            request.phase.to_string(),
            request.operation.to_string(),
            request.requester.to_string(),
            request.plan_hash.to_string(),
            request.expires_at.to_string(),
            debug(&(&request.not_before, &request.not_after, &request.reason)),
            debug(&request.words),
            debug(&request.glass),
            debug(&request.status),
        ]);
        (position.to_string(), said)
    });
    json!({
        "head": state.head.to_string(),
        "schema": state.schema_version().to_string(),
        "plan": state.plan.as_ref().map(|(_, hash)| hash.to_string()),
        "bindings": debug(&state.bindings),
        "hold": debug(&state.hold),
        "left": debug(&state.left),
        "phases": phases.collect::<Map<_, _>>(),
        "requests": requests.collect::<Map<_, _>>(),
    })
}

/// What was said after each event that ends, blocks or undoes something, and after the last.
fn told(events: &[Recorded]) -> Value {
    let mut state = State::default();
    let mut told = Map::new();
    for event in events {
        evolve(&mut state, event);
        let is_told = matches!(
            event.body,
            Fact::OperationFinished { .. }
                | Fact::StepBlocked { .. }
                | Fact::UndoStarted { .. }
                | Fact::EffectUnknown { .. }
                | Fact::RequestVoided { .. }
                | Fact::FenceBreached { .. }
        );
        if is_told || event.envelope.position.get() == events.len() as u64 {
            told.insert(format!("{:06}", event.envelope.position.get()), held(&state));
        }
    }
    Value::Object(told)
}

fn write(name: &str, text: &str) {
    std::fs::create_dir_all(golden("")).unwrap();
    std::fs::write(golden(name), text).unwrap();
}

fn jsonl(events: &[Recorded]) -> String {
    events.iter().fold(String::new(), |text, event| {
        text + &String::from_utf8(event.to_bytes().unwrap()).unwrap() + "\n"
    })
}

#[test]
fn a_journal_of_every_released_version_is_replayed_to_the_state_it_was_replayed_to_then() {
    if is_writing() {
        let events = life().events;
        write(&format!("v{SCHEMA_VERSION}.jsonl"), &jsonl(&events));
        write(&format!("v{SCHEMA_VERSION}.shapes.jsonl"), &jsonl(&shapes()));
        let text = serde_json::to_string_pretty(&told(&events)).unwrap();
        write(&format!("v{SCHEMA_VERSION}.state.json"), &(text + "\n"));
    }
    for version in 1..=SCHEMA_VERSION {
        let events = read(&format!("v{version}.jsonl"));
        let text = std::fs::read_to_string(golden(&format!("v{version}.state.json"))).unwrap();
        let then: Value = serde_json::from_str(&text).unwrap();
        let now = told(&events);
        for (position, then) in then.as_object().unwrap() {
            assert_eq!(&now[position], then, "version {version}, after event {position}");
        }
        assert_eq!(now.as_object().unwrap().len(), then.as_object().unwrap().len());
    }
}

#[test]
fn every_kind_of_fact_and_every_shape_that_one_carries_is_in_the_newest_golden_journal() {
    let name = format!("v{SCHEMA_VERSION}");
    let events: Vec<Value> = [lines(&format!("{name}.jsonl")), lines(&format!("{name}.shapes.jsonl"))]
        .concat()
        .iter()
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect();
    let found = |path: &str| -> BTreeSet<String> {
        let at = |event: &Value| Some(event.pointer(path)?.as_str()?.to_owned());
        events.iter().filter_map(at).collect()
    };
    let mut facts = variants::<Fact>(json!({ "kind": "?" }));
    // The first version follows none: a barrier before it would be a lie.
    assert_eq!(facts.remove("version_barrier"), SCHEMA_VERSION == 1);
    assert_eq!(found("/body/kind"), facts);
    assert_eq!(found("/body/spec/kind"), variants::<Effect>(json!({ "kind": "?" })));
    assert_eq!(found("/body/reason/why"), variants::<VoidReason>(json!({ "why": "?" })));
    assert_eq!(found("/body/cause/why"), variants::<UndoCause>(json!({ "why": "?" })));
    assert_eq!(found("/body/health/is"), variants::<StreamHealth>(json!({ "is": "?" })));
    assert_eq!(found("/actor/by"), BTreeSet::from(["person", "executor", "operator"].map(str::to_owned)));
}

#[test]
fn what_this_version_wrote_is_read_and_written_again_byte_for_byte() {
    for name in [format!("v{SCHEMA_VERSION}.jsonl"), format!("v{SCHEMA_VERSION}.shapes.jsonl")] {
        for line in lines(&name) {
            let again = Recorded::from_bytes(&line).unwrap().to_bytes().unwrap();
            assert_eq!(String::from_utf8(again).unwrap(), String::from_utf8(line).unwrap());
        }
    }
    // And it is what this program writes today.
    assert_eq!(
        jsonl(&shapes()),
        std::fs::read_to_string(golden(&format!("v{SCHEMA_VERSION}.shapes.jsonl"))).unwrap()
    );
}

#[test]
fn an_executor_goes_on_from_wherever_a_golden_journal_is_cut() {
    let events = read("v1.jsonl");
    let mut state = State::default();
    for (index, event) in events.iter().enumerate() {
        evolve(&mut state, event);
        let id = |event: &Recorded| event.envelope.command_id.clone();
        if events.get(index + 1).is_some_and(|next| id(next) == id(event)) {
            // The events of one command are appended in one transaction.
            continue;
        }
        let now = event.envelope.recorded_at;
        let mut journal = Journal { events: events[..=index].to_vec(), state: state.clone(), now };
        journal.run().unwrap_or_else(|refusal| panic!("after event {}: {refusal:?}", index + 1));
        assert!(
            !matches!(journal.due(), Due::Plan(_) | Due::Effect(_) | Due::Begin(_)),
            "{:?}",
            journal.due()
        );
    }
}
