//! A journal that a gate shows to be older than what was done under it.

use journal::GateMode;

use super::*;

#[tokio::test]
async fn nothing_is_done_by_an_older_journal_until_the_newest_is_back() {
    let trial = Trial::begin().await;
    let unknown = GateRow { mode: GateMode::Open, epoch: Epoch::new(1), position: Position::new(10_000) };
    trial.world.rows.lock().unwrap().insert(Side::Target, unknown);
    let request = trial.ask(Operation::Start).await;
    trial.run("one");
    let said = async {
        loop {
            let reported = trial.store.reported().await.unwrap();
            if let Some(said) = reported.get(&phase()).and_then(|seen| seen.progress.observed.get(BEHIND)) {
                return said.clone();
            }
            SystemClock.sleep(Duration::from_millis(20)).await;
        }
    };
    let said = tokio::time::timeout(Duration::from_secs(10), said).await.expect("it is reported");
    assert!(said.contains("SW-0660") && said.contains("event 10000"), "{said}");
    let state = trial.store.state().await.unwrap();
    assert!(state.operation(&phase()).is_none(), "an operation was begun");
    assert!(trial.world.acted.lock().unwrap().is_empty());

    trial.world.rows.lock().unwrap().clear();
    assert_eq!(trial.finished(request).await, Outcome::Completed);
}
