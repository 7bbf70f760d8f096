//! Admission at the gate: what comes late is refused, and what is in flight is waited for.

use std::time::Duration;

use executors::{Acted, Probe, Receiver};
use journal::{Effect, Expectation, GateMode};

use crate::fixture::{Fixture, refused, spec, under, wait};

fn refusal(acted: Acted) -> String {
    match acted {
        Acted::Definite(error) => error.to_string(),
        other => panic!("it should be refused: {other:?}"),
    }
}

#[tokio::test]
async fn a_late_opening_under_a_lower_position_is_refused_and_so_is_an_old_epoch() {
    let fixture = Fixture::alone().await;
    fixture.prepare(GateMode::Closed).await;
    let open = spec(20, fixture.open());
    let close = spec(21, fixture.close());
    assert!(matches!(fixture.receiver.act(&close, under(1, 21)).await, Acted::Done(_)));
    assert!(refusal(fixture.receiver.act(&open, under(1, 20)).await).contains("refused at the gate"));
    // The same position again is another intent's.
    let same = spec(22, fixture.open());
    refusal(fixture.receiver.act(&same, under(1, 21)).await);
    // A newer holder was here: the older one's higher position does not help it.
    let newer = spec(30, fixture.close());
    assert!(matches!(fixture.receiver.act(&newer, under(3, 30)).await, Acted::Done(_)));
    refusal(fixture.receiver.act(&spec(31, fixture.open()), under(2, 31)).await);
    assert_eq!(fixture.gate().await, "closed");
    // Its own receipt is adopted, also by a second try.
    assert!(matches!(fixture.receiver.act(&newer, under(3, 30)).await, Acted::Done(_)));
    assert!(matches!(fixture.receiver.probe(&newer, under(3, 30)).await, Probe::Ours(_)));
    fixture.done(fixture.trial(Expectation::Refused)).await.unwrap();
}

#[tokio::test]
async fn a_receipt_whose_mode_a_later_intent_changed_is_not_taken_for_done() {
    let fixture = Fixture::alone().await;
    fixture.prepare(GateMode::Open).await;
    let (close, at) = fixture.next(fixture.close());
    fixture.finish(&close, at).await.unwrap();
    fixture.done(fixture.open()).await.unwrap();
    let Probe::Differs(finding) = fixture.receiver.probe(&close, at).await else { panic!("it was opened") };
    assert_eq!(finding.code, "SW-0501");
    assert!(finding.what.contains(&format!("position {}", at.position)), "{finding}");
}

#[tokio::test]
async fn an_opening_held_back_at_its_commit_is_never_probed_as_absent_and_the_undo_closes_after_it() {
    let fixture = Fixture::alone().await;
    fixture.prepare(GateMode::Closed).await;
    let mover = fixture.mover().await;
    // The opening's COMMIT takes three seconds.
    mover
        .batch_execute(
            "create function held() returns trigger language plpgsql as 'begin perform pg_sleep(3); return null; end';
             create constraint trigger held after insert on _switchyard.receipt deferrable initially deferred
             for each row when (new.label = 'open_gate:source') execute function held()",
        )
        .await
        .unwrap();
    let (open, at) = fixture.next(fixture.open());
    let lost = fixture.another();
    let cut = tokio::time::timeout(Duration::from_millis(400), lost.act(&open, at)).await;
    assert!(cut.is_err(), "the commit should hang");
    // The executor cannot know. A probe waits on the row, and says that nobody can tell.
    let probe = fixture.receiver.probe(&open, at).await;
    assert!(matches!(probe, Probe::Unreachable(_)), "{probe:?}");
    let (close, undo) = fixture.next(fixture.close());
    fixture.finish(&close, undo).await.unwrap();
    assert_eq!(fixture.gate().await, "closed");
    assert_eq!(refused(&fixture.app().await, "insert into t values (100)").await.as_deref(), Some("55000"));
    // Whether the lost one committed before or was rolled back, it does not open anything now.
    refusal_or_adopted(&fixture, &open, at).await;
    assert_eq!(fixture.gate().await, "closed");
}

async fn refusal_or_adopted(fixture: &Fixture, open: &journal::EffectSpec, at: executors::Authority) {
    match fixture.receiver.act(open, at).await {
        Acted::Definite(_) | Acted::Done(_) => {}
        Acted::Unknown(error) => panic!("{error}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn closings_and_openings_at_once_serialise_and_the_function_follows_the_row() {
    let fixture = Fixture::alone().await;
    fixture.prepare(GateMode::Open).await;
    let all = (0..40_u64).map(|n| {
        let effect = if n % 2 == 0 { fixture.close() } else { fixture.open() };
        let receiver = fixture.another();
        tokio::spawn(async move { receiver.act(&spec(100 + n, effect), under(1, 100 + n)).await })
    });
    let mut admitted = 0;
    for acted in all.collect::<Vec<_>>() {
        match acted.await.unwrap() {
            Acted::Done(_) => admitted += 1,
            Acted::Definite(error) => assert!(error.to_string().contains("refused at the gate"), "{error}"),
            Acted::Unknown(error) => panic!("{error}"),
        }
    }
    assert!(admitted > 0);
    let expect = if fixture.gate().await == "open" { Expectation::Passes } else { Expectation::Refused };
    let met = fixture.done(fixture.trial(expect)).await.unwrap();
    assert!(["passed", "refused"].contains(&met["public.t"].as_str()));
}

#[tokio::test]
async fn a_gate_does_not_open_beside_an_open_one() {
    let (source, target) = Fixture::both().await;
    source.prepare(GateMode::Open).await;
    target.prepare(GateMode::Closed).await;
    let finding = target.done(target.open()).await.unwrap_err();
    assert!(
        finding.what.contains("open on the source") || finding.what.contains("source is open"),
        "{finding}"
    );
    source.done(source.close()).await.unwrap();
    target.done(target.open()).await.unwrap();
    assert_eq!((source.gate().await, target.gate().await), ("closed".to_owned(), "open".to_owned()));
    // With the target gone, the source opens.
    target.cluster.process().signal(rustix::process::Signal::STOP).unwrap();
    let opened = source.done(source.open()).await;
    target.cluster.process().signal(rustix::process::Signal::CONT).unwrap();
    opened.unwrap();
}

#[tokio::test]
async fn without_a_gate_row_nothing_is_admitted() {
    let fixture = Fixture::alone().await;
    let (open, at) = fixture.next(fixture.open());
    assert_eq!(fixture.receiver.probe(&open, at).await, Probe::Absent);
    let mover = fixture.mover().await;
    mover.batch_execute(executors::postgres::HOME_SQL).await.unwrap();
    assert!(refusal(fixture.receiver.act(&open, at).await).contains("a missing row means closed"));
}

#[tokio::test]
async fn a_marker_is_in_the_stream_once_however_often_it_is_done() {
    let fixture = Fixture::alone().await;
    fixture.prepare(GateMode::Closed).await;
    let mover = fixture.mover().await;
    mover.batch_execute("select pg_create_logical_replication_slot('seen', 'test_decoding')").await.unwrap();
    let marker = Effect::EmitMarker { side: fixture.side, nonce: "n-1".to_owned() };
    let (spec, at) = fixture.next(marker);
    let evidence = fixture.finish(&spec, at).await.unwrap();
    assert!(matches!(fixture.receiver.act(&spec, at).await, Acted::Done(again) if again == evidence));
    evidence["lsn"].parse::<journal::Lsn>().unwrap();
    wait("the marker is decoded", || async {
        let sql = "select count(*) from pg_logical_slot_peek_changes('seen', null, null) \
                   where data like '%prefix: switchyard%n-1%'";
        mover.query_one(sql, &[]).await.unwrap().get::<_, i64>(0) == 1
    })
    .await;
}
