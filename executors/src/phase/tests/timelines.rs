//! A side that comes back on another timeline.

use std::sync::atomic::Ordering;
use std::time::Duration;

use journal::{DISPLACED, Effect, Fact, Operation, Outcome, PhaseStatus, Side, Timeline, UndoCause};

use super::{PLAN, Trial, Trick, phase};

impl Trial {
    fn comes_back(&self, side: Side, timeline: u64) {
        self.world.timelines.lock().unwrap().insert(side, Timeline::new(timeline));
    }

    async fn started_on_its_timelines() -> Self {
        let trial = Self::begin_with(&PLAN.replace("1500ms", "30s").replace("700ms", "1s")).await;
        trial.comes_back(Side::Source, 1);
        trial.comes_back(Side::Target, 1);
        trial.run("one");
        let request = trial.ask(Operation::Start).await;
        assert_eq!(trial.finished(request).await, Outcome::Completed);
        trial
    }
}

#[tokio::test]
async fn a_failover_at_rest_is_told_and_probed_by_the_next_operation() {
    let trial = Trial::started_on_its_timelines().await;
    trial.comes_back(Side::Source, 2);
    trial.until("told", |state| !state.phases[&phase()].timelines.is_empty()).await;
    let request = trial.ask(Operation::Verify).await;
    assert_eq!(trial.finished(request).await, Outcome::Completed);
    assert_eq!(trial.intended(request).await[0], "verify_full/probe_anew:source");
    let state = trial.store.state().await.unwrap();
    assert!(state.phases[&phase()].timelines.is_empty());
    let told = trial.events().await.iter().filter(|event| event.body.kind() == "timeline_changed").count();
    assert_eq!(told, 1);
    trial.tasks.stop().await;
}

#[tokio::test]
async fn a_failover_in_the_window_undoes_it_and_the_next_cutover_probes_first() {
    let trial = Trial::started_on_its_timelines().await;
    trial.world.trick("drain/emit_marker:source", Trick::Hang);
    let request = trial.ask(Operation::Cutover).await;
    trial
        .until("draining", |state| {
            state.operation(&phase()).is_some_and(|run| {
                run.effects.iter().any(|record| {
                    matches!(&record.effect, Effect::EmitMarker { nonce, .. }
                    if nonce.contains("drain"))
                })
            })
        })
        .await;
    trial.comes_back(Side::Target, 2);
    trial.world.tricks.lock().unwrap().clear();
    assert_eq!(trial.finished(request).await, Outcome::Undone);
    let causes: Vec<String> = trial
        .events()
        .await
        .into_iter()
        .filter_map(|event| match event.body {
            Fact::UndoStarted { cause: UndoCause::StepFailed { finding, .. }, .. } => Some(finding.code),
            _ => None,
        })
        .collect();
    assert_eq!(causes, [DISPLACED]);
    let request = trial.ask(Operation::Cutover).await;
    assert_eq!(trial.finished(request).await, Outcome::Completed);
    assert_eq!(trial.intended(request).await[0], "prepare_switch/probe_anew:target");
    trial.tasks.stop().await;
}

#[tokio::test]
async fn both_sides_are_met_anew_before_an_opening() {
    let trial = Trial::started_on_its_timelines().await;
    assert_eq!(trial.world.met.load(Ordering::SeqCst), 0);
    let request = trial.ask(Operation::Cutover).await;
    assert_eq!(trial.finished(request).await, Outcome::Completed);
    assert_eq!(trial.world.met.load(Ordering::SeqCst), 1);
    let state = trial.store.state().await.unwrap();
    assert_eq!(state.phases[&phase()].status, PhaseStatus::OnTarget);
    tokio::time::timeout(Duration::from_secs(5), trial.tasks.stop()).await.unwrap();
}
