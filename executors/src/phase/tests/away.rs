//! The undo without the journal.

use super::*;

/// As the tests' plan, with time for another executor to take over before the undo is due.
fn patient() -> String {
    PLAN.replace("1500ms", "4s").replace("700ms", "1s")
}

/// A phase that is replicated, its first executor on a journal that can fail.
async fn begun(plan: &str, prepare: impl FnOnce(&mut Fragile)) -> (Trial, Arc<Fragile>) {
    let trial = Trial::begin_with(plan).await;
    let mut fragile = Fragile::new(open(&trial.url).await);
    prepare(&mut fragile);
    let fragile = Arc::new(fragile);
    let store: Arc<dyn Store> = Arc::clone(&fragile) as Arc<dyn Store>;
    trial.run_on("one", store, Duration::from_secs(1));
    assert_eq!(trial.finished(trial.ask(Operation::Start).await).await, Outcome::Completed);
    (trial, fragile)
}

async fn acted(trial: &Trial, label: &str) {
    for _ in 0..1000 {
        if trial.world.acted(label) > 0 {
            return;
        }
        tokio::time::timeout(Duration::from_millis(10), std::future::pending::<()>()).await.unwrap_err();
    }
    panic!("never acted {label}: {:?}", trial.world.acted.lock().unwrap());
}

/// Undone by receipts: each effect of the undo was acted once, the openings' other side never.
async fn adopted(trial: &Trial, request: Position) {
    assert_eq!(trial.finished(request).await, Outcome::Undone);
    assert_eq!(trial.world.acted("undo/open_gate:source"), 1);
    assert_eq!(trial.world.acted("undo/resume_traffic:source"), 1);
    assert_eq!(trial.world.acted("switch_traffic/open_gate:target"), 0);
    let opened = EffectSpec::new(
        Plan::parse(&trial.plan).unwrap().hash(),
        &phase(),
        trial
            .events()
            .await
            .iter()
            .rev()
            .find(|e| e.body.kind() == "operation_started")
            .unwrap()
            .envelope
            .position,
        Step::Undo,
        Effect::OpenGate { side: Side::Source },
    );
    let adopted = trial.events().await.into_iter().any(|event| {
        matches!(event.body, Fact::EffectSucceeded { effect, adopted: true, .. } if effect == opened.id)
    });
    assert!(adopted, "the undo's opening was not adopted by its receipt");
    let state = trial.store.state().await.unwrap();
    assert_eq!(state.phases[&phase()].writer(), journal::Writer::Source);
    // What was left behind is in nobody's way.
    assert_eq!(trial.finished(trial.ask(Operation::Cutover).await).await, Outcome::Completed);
    trial.tasks.stop().await;
}

#[tokio::test]
async fn a_journal_that_is_away_does_not_keep_the_application_waiting() {
    let (trial, fragile) = begun(PLAN, |_| {}).await;
    trial.world.trick("drain/await_marker:forward", Trick::Hang);
    let request = trial.ask(Operation::Cutover).await;
    acted(&trial, "drain/await_marker:forward").await;
    fragile.away.store(true, Ordering::SeqCst);
    acted(&trial, "undo/resume_traffic:source").await;
    let held = trial.events().await.into_iter().find_map(|event| match event.body {
        Fact::EffectIntended { spec: Effect::HoldTraffic { .. }, .. } => Some(event.envelope.recorded_at),
        _ => None,
    });
    let took = trial.store.now().await.unwrap().since(held.unwrap());
    assert!(took < Duration::from_millis(1500), "{took:?}");
    assert!(trial.world.streams_stopped.load(Ordering::SeqCst));
    trial.world.tricks.lock().unwrap().clear();
    fragile.away.store(false, Ordering::SeqCst);
    adopted(&trial, request).await;
}

#[tokio::test]
async fn a_journal_that_answers_and_takes_nothing_is_away_too() {
    let (trial, fragile) = begun(PLAN, |_| {}).await;
    trial.world.trick("drain/await_marker:forward", Trick::Hang);
    let request = trial.ask(Operation::Cutover).await;
    acted(&trial, "drain/await_marker:forward").await;
    fragile.full.store(true, Ordering::SeqCst);
    acted(&trial, "undo/resume_traffic:source").await;
    trial.world.tricks.lock().unwrap().clear();
    fragile.full.store(false, Ordering::SeqCst);
    adopted(&trial, request).await;
}

#[tokio::test]
async fn an_openings_intent_without_an_answer_is_never_acted_after_the_undo() {
    let (trial, fragile) = begun(PLAN, |fragile| fragile.loses_opening = true).await;
    let request = trial.ask(Operation::Cutover).await;
    acted(&trial, "undo/resume_traffic:source").await;
    // The other side was closed first.
    let acted = trial.world.acted.lock().unwrap().clone();
    let at = |label: &str| acted.iter().position(|(acted, _)| acted == label).unwrap();
    assert!(at("undo/close_gate:target") < at("undo/open_gate:source"));
    let state = trial.store.state().await.unwrap();
    assert!(state.operation(&phase()).unwrap().opening.is_some(), "the journal holds the intent");
    fragile.away.store(false, Ordering::SeqCst);
    assert_eq!(trial.finished(request).await, Outcome::Undone);
    assert_eq!(trial.world.acted("switch_traffic/open_gate:target"), 0);
    assert_eq!(trial.world.acted("undo/close_gate:target"), 1);
    assert_eq!(trial.world.acted("undo/open_gate:source"), 1);
    trial.tasks.stop().await;
}

#[tokio::test]
async fn an_executor_that_has_the_phase_since_is_not_disturbed() {
    let (trial, fragile) = begun(&patient(), |_| {}).await;
    trial.world.trick("drain/await_marker:forward", Trick::Hang);
    let request = trial.ask(Operation::Cutover).await;
    acted(&trial, "drain/await_marker:forward").await;
    fragile.away.store(true, Ordering::SeqCst);
    trial.world.tricks.lock().unwrap().clear();
    trial.run("two");
    assert_eq!(trial.finished(request).await, Outcome::Completed);
    // The first still has no journal, and comes to the time of its undo.
    let tries = || {
        let raised = trial.world.raised.lock().unwrap();
        let newest = raised.iter().map(|(_, epoch)| *epoch).max().unwrap();
        let last = raised.iter().rposition(|(_, epoch)| *epoch == newest).unwrap();
        raised.iter().skip(last).filter(|(side, epoch)| *side == Side::Source && *epoch < newest).count()
    };
    for _ in 0..1000 {
        if tries() > 0 {
            break;
        }
        tokio::time::timeout(Duration::from_millis(10), std::future::pending::<()>()).await.unwrap_err();
    }
    assert!(tries() > 0, "it never asked the gate");
    assert_eq!(trial.world.acted("undo/open_gate:source"), 0);
    assert_eq!(trial.world.acted("undo/resume_traffic:source"), 0);
    assert_eq!(trial.store.state().await.unwrap().phases[&phase()].writer(), journal::Writer::Target);
    trial.tasks.stop().await;
}

#[tokio::test]
async fn whoever_takes_over_finds_the_undo_before_anything_else() {
    let (trial, fragile) = begun(&patient(), |_| {}).await;
    // A step fails just when the journal is gone: the undo does not wait for its time.
    trial.world.trick("drain/await_marker:forward", Trick::Definite);
    let bell = ("drain/await_marker:forward".to_owned(), Arc::clone(&fragile.away));
    *trial.world.bell.lock().unwrap() = Some(bell);
    let request = trial.ask(Operation::Cutover).await;
    acted(&trial, "undo/resume_traffic:source").await;
    trial.world.tricks.lock().unwrap().clear();
    *trial.world.bell.lock().unwrap() = None;
    trial.run("two");
    adopted(&trial, request).await;
    let cause = trial.events().await.into_iter().find_map(|event| match event.body {
        Fact::UndoStarted { cause: UndoCause::StepFailed { finding, .. }, .. } => Some(finding.code),
        _ => None,
    });
    assert_eq!(cause.as_deref(), Some("SW-0523"));
    assert_eq!(trial.world.acted("drain/await_marker:forward"), 2, "once before, once in the next cutover");
}
