//! Waiting on a condition, with a deadline whose message says what was seen last.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// How long a look at a condition may outlast the deadline.
const A_LOOK: Duration = Duration::from_secs(60);

/// Between two looks: the first ones come quickly, since most waits are short, and a long wait is not to cost much.
const PAUSES: [Duration; 2] = [Duration::from_millis(10), Duration::from_millis(150)];

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
    let [mut pause, longest] = PAUSES;
    loop {
        // A look that hangs would wait for ever, and take the whole suite's time with it.
        let left = until.saturating_duration_since(Instant::now()) + A_LOOK;
        let Ok(seen) = tokio::time::timeout(left, condition()).await else {
            bail!("waited {deadline:?} and {A_LOOK:?} for: {what}; the last look at it did not end");
        };
        match seen? {
            Seen::Done(value) => return Ok(value),
            Seen::NotYet(seen) if Instant::now() > until => {
                bail!("waited {deadline:?} for: {what}; seen last: {seen}");
            }
            Seen::NotYet(_) => tokio::time::sleep(pause).await,
        }
        pause = (pause * 3 / 2).min(longest);
    }
}
