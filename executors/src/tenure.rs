//! A lease as its holder lives by it.
//!
//! The race: this process is stopped, or its journal is away, and another takes the phase while it still acts. The
//! journal's database alone decides when the term is over; the holder counts by its own monotonic clock from before it
//! asked, and ends itself at two thirds of the term without a renewal. What it has sent by then, receivers refuse by
//! epoch. A process that is woken after a long stop polls this before anything else, and so ends before it acts again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use journal_store::{Lease, Store};
use runtime::Clock;

/// How soon a renewal that the journal did not answer is tried again.
const AGAIN: Duration = Duration::from_millis(100);

/// A lease, and since when it is good.
#[derive(Debug, Clone)]
pub(crate) struct Tenure {
    /// The lease.
    pub(crate) lease: Lease,
    /// A reading from before the claim was asked for.
    pub(crate) since: Instant,
}

impl Tenure {
    /// Renews the lease at each third of its term; completes when it is lost. Dropped, nothing is renewed.
    pub(crate) async fn keep(&self, store: &Arc<dyn Store>, clock: &Arc<dyn Clock>) {
        let (third, bound) = (self.lease.term / 3, self.lease.term * 2 / 3);
        let mut since = self.since;
        let mut next = since + third;
        loop {
            clock.sleep(next.saturating_duration_since(clock.monotonic())).await;
            let asked = clock.monotonic();
            let left = (since + bound).saturating_duration_since(asked);
            if left.is_zero() {
                tracing::warn!(phase = %self.lease.phase, epoch = %self.lease.epoch, "lease not renewed in time");
                return;
            }
            match tokio::time::timeout(left, store.renew(&self.lease)).await {
                Ok(Ok(true)) => {
                    since = asked;
                    next = since + third;
                }
                Ok(Ok(false)) => {
                    tracing::warn!(phase = %self.lease.phase, epoch = %self.lease.epoch, "lease lost");
                    return;
                }
                Ok(Err(error)) => {
                    tracing::warn!(phase = %self.lease.phase, %error, "lease renewal failed");
                    next = (clock.monotonic() + AGAIN).min(since + bound);
                }
                Err(_) => next = since + bound,
            }
        }
    }
}
