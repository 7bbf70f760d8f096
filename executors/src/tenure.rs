//! A lease as its holder lives by it.
//!
//! The race: this process is stopped, or its journal is away, and another takes the phase while it still acts. The
//! journal's database alone decides when the term is over; the holder counts by its own monotonic clock from before it
//! asked, and ends itself at two thirds of the term without a renewal. What it has sent by then, receivers refuse by
//! epoch. A process that is woken after a long stop polls this before anything else, and so ends before it acts again.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::{Duration, Instant};

use journal_store::{Lease, Store};
use runtime::Clock;

/// How soon a renewal that the journal did not answer is tried again.
const AGAIN: Duration = Duration::from_millis(100);

/// A lease, and since when it is good.
#[derive(Debug)]
pub(crate) struct Tenure {
    /// The lease.
    pub(crate) lease: Lease,
    /// A reading from before the claim, or the newest renewal, was asked for.
    since: Mutex<Instant>,
}

impl Tenure {
    /// A lease that was asked for at this reading of the monotonic clock.
    pub(crate) const fn new(lease: Lease, since: Instant) -> Self {
        Self { lease, since: Mutex::new(since) }
    }

    fn since(&self) -> Instant {
        *self.since.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does the work as long as the tenure lasts: looks at the clock before each turn of it, so that a process that slept
    /// through its term does not take one more.
    pub(crate) async fn within(&self, clock: &Arc<dyn Clock>, work: impl Future<Output = ()>) {
        let mut work = pin!(work);
        poll_fn(|context| {
            if clock.monotonic() >= self.since() + self.lease.term * 2 / 3 {
                return Poll::Ready(());
            }
            work.as_mut().poll(context)
        })
        .await;
    }

    /// Renews the lease at each third of its term; completes when it is lost. Dropped, nothing is renewed.
    pub(crate) async fn keep(&self, store: &Arc<dyn Store>, clock: &Arc<dyn Clock>) {
        let (third, bound) = (self.lease.term / 3, self.lease.term * 2 / 3);
        let mut next = self.since() + third;
        loop {
            clock.sleep(next.saturating_duration_since(clock.monotonic())).await;
            let (asked, since) = (clock.monotonic(), self.since());
            let left = (since + bound).saturating_duration_since(asked);
            if left.is_zero() {
                tracing::warn!(phase = %self.lease.phase, epoch = %self.lease.epoch, "lease not renewed in time");
                return;
            }
            match tokio::time::timeout(left, store.renew(&self.lease)).await {
                Ok(Ok(true)) => {
                    *self.since.lock().unwrap_or_else(PoisonError::into_inner) = asked;
                    next = asked + third;
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
