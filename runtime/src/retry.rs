//! Backoff with jitter, in one place.

use std::time::Duration;

/// Waits that double from `first` to `most`, each cut by up to a quarter by a jitter made from `seed`.
#[derive(Debug, Clone)]
pub struct Backoff {
    next: Duration,
    first: Duration,
    most: Duration,
    seed: u64,
}

impl Backoff {
    /// Begins at `first`.
    #[must_use]
    pub const fn new(first: Duration, most: Duration) -> Self {
        Self { next: first, first, most, seed: 0x9E37_79B9_7F4A_7C15 }
    }

    /// The next wait.
    pub fn wait(&mut self) -> Duration {
        // xorshift64: enough to keep two executors from knocking in step.
        self.seed ^= self.seed << 13;
        self.seed ^= self.seed >> 7;
        self.seed ^= self.seed << 17;
        let whole = self.next;
        self.next = (whole * 2).min(self.most);
        let cut = u32::try_from(self.seed % 256).unwrap_or(0);
        whole - whole / 4 * cut / 256
    }

    /// Begins again, after a success.
    pub const fn reset(&mut self) {
        self.next = self.first;
    }
}
