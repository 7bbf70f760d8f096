//! Waiting on a condition, with a deadline whose message says what was seen last.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// What a look at the condition saw.
#[derive(Debug)]
pub enum Seen<T> {
    /// It holds.
    Done(T),
    /// It does not hold yet; this is what there was instead.
    NotYet(String),
}

/// Waits until a condition holds.
///
/// # Errors
/// The deadline passes, or the condition itself fails.
pub async fn wait_until<T>(
    deadline: Duration,
    what: &str,
    mut condition: impl AsyncFnMut() -> Result<Seen<T>>,
) -> Result<T> {
    let until = Instant::now() + deadline;
    loop {
        match condition().await? {
            Seen::Done(value) => return Ok(value),
            Seen::NotYet(seen) if Instant::now() > until => {
                bail!("waited {deadline:?} for: {what}; seen last: {seen}");
            }
            Seen::NotYet(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}
