//! An effect that computes for longer than a term.

use std::time::Duration;

use super::*;

/// How long it computes: the term is a second.
pub(super) const FOR: Duration = Duration::from_millis(1500);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_holder_that_computes_for_longer_than_a_term_keeps_its_lease() {
    let trial = Trial::begin().await;
    trial.world.trick("load/copy_table:shop.items", Trick::Busy);
    trial.run("one");
    let request = trial.ask(Operation::Start).await;
    assert_eq!(trial.finished(request).await, Outcome::Completed);
    assert_eq!(trial.world.acted("load/copy_table:shop.items"), 1, "it was begun anew");
    assert_eq!(trial.store.state().await.unwrap().phases[&phase()].epoch, Epoch::new(1));
    trial.tasks.stop().await;
}
