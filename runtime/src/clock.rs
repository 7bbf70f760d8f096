//! The one way to time.

use std::fmt::Debug;
use std::time::{Duration, Instant, SystemTime};

use async_trait::async_trait;

/// Tells the time and waits. Tests step it.
#[async_trait]
pub trait Clock: Debug + Send + Sync + 'static {
    /// Milliseconds since 1970-01-01 UTC.
    fn now_millis(&self) -> i64;

    /// A monotonic reading: only differences mean anything.
    fn monotonic(&self) -> Instant;

    /// Waits. Cancellation safe.
    async fn sleep(&self, duration: Duration);
}

/// The machine's own clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

#[async_trait]
impl Clock for SystemClock {
    fn now_millis(&self) -> i64 {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    }

    fn monotonic(&self) -> Instant {
        Instant::now()
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}
