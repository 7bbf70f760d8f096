//! What this instance, as every other, looks at again and again.

use std::time::Duration;

use runtime::Clock;
use runtime::retry::Backoff;
use tokio::sync::watch;

/// How often what is waited for is looked at.
const TICK: Duration = Duration::from_secs(1);

/// The longest wait after a round that came to nothing, unless the platform asks for more.
const LONGEST: Duration = Duration::from_secs(30);

/// A round that came to nothing.
#[derive(Debug)]
pub(crate) struct Missed {
    /// Why, with what waits for it.
    pub(crate) why: String,
    /// How long the platform asks to wait at least.
    pub(crate) wait: Option<Duration>,
}

/// Something to look at.
pub(crate) trait Round {
    /// Looks once. What is dropped within it is looked at again.
    fn once(&self) -> impl Future<Output = Result<(), Missed>> + Send;
}

/// Looks again and again until it is told to stop; the round under way is finished first.
pub(crate) async fn rounds(round: &impl Round, clock: &dyn Clock, mut stop: watch::Receiver<bool>) {
    let mut backoff = Backoff::new(TICK * 2, LONGEST);
    while !*stop.borrow() {
        let wait = match round.once().await {
            Ok(()) => {
                backoff.reset();
                TICK
            }
            Err(Missed { why, wait }) => {
                tracing::warn!(why, "what waits for it waits on");
                backoff.wait().max(wait.unwrap_or_default())
            }
        };
        tokio::select! {
            () = clock.sleep(wait) => {}
            _ = stop.changed() => {}
        }
    }
}
