//! Many signed webhooks: how soon they are acknowledged, and whether repeats do anything.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use tokio::task::JoinSet;

use crate::doubles::github::{Attempt, Hook, SECRET, deliver};
use crate::town::Town;

/// How soon things were, sorted.
#[derive(Debug, Clone, Default)]
pub struct Latencies(Vec<Duration>);

impl Latencies {
    /// So many of a hundred were not later than this.
    #[must_use]
    pub fn percentile(&self, of_hundred: usize) -> Duration {
        let last = self.0.len().saturating_sub(1);
        let index = (self.0.len() * of_hundred).div_ceil(100).saturating_sub(1).min(last);
        self.0.get(index).copied().unwrap_or_default()
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.len()
    }
}

/// People comment in the pull request, evenly, so many times a second; each comment's webhook is timed until it is
/// acknowledged.
///
/// # Errors
/// One was not acknowledged.
pub async fn acknowledgements(town: &Arc<Town>, a_second: u32, lasting: Duration) -> Result<Latencies> {
    let before = town.github.attempts().len();
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / a_second);
    let began = Instant::now();
    let mut sent: JoinSet<Result<Duration>> = JoinSet::new();
    while began.elapsed() < lasting {
        ticks.tick().await;
        let town = Arc::clone(town);
        sent.spawn(async move {
            let begun = Instant::now();
            town.comment("dora", "/migrate whoami").await?;
            Ok(begun.elapsed())
        });
    }
    let mut took = Vec::new();
    while let Some(one) = sent.join_next().await {
        took.push(one??);
    }
    let attempts = town.github.attempts();
    let asked = |attempt: &&Attempt| attempt.hook.body.contains("/migrate whoami");
    let refused = attempts.iter().skip(before).filter(asked).find(|attempt| attempt.status != Some(200));
    ensure!(refused.is_none(), "one was not acknowledged: {refused:?}");
    took.sort();
    Ok(Latencies(took))
}

/// Delivers what was delivered before, again and again: as GitHub's redeliveries, under the same number, and as replays
/// under numbers of their own.
///
/// # Errors
/// One was not acknowledged.
pub async fn repeats(url: &str, of: &[Hook], count: usize) -> Result<()> {
    ensure!(!of.is_empty(), "there is nothing to repeat");
    let next = Arc::new(AtomicUsize::new(0));
    let mut callers: JoinSet<Result<()>> = JoinSet::new();
    for _ in 0..8 {
        let (next, hooks, url) = (Arc::clone(&next), of.to_vec(), url.to_owned());
        callers.spawn(async move {
            let client = reqwest::Client::new();
            loop {
                let index = next.fetch_add(1, Ordering::SeqCst);
                if index >= count {
                    return Ok(());
                }
                let mut hook = hooks.get(index % hooks.len()).cloned().context("no hook")?;
                if index % 2 == 1 {
                    hook.guid = uuid::Uuid::from_u128(0xdead_0000_u128 + u128::try_from(index)?).to_string();
                }
                let status = deliver(&client, &url, SECRET, &hook).await;
                ensure!(status == Some(200), "{status:?} for {}", hook.guid);
            }
        });
    }
    while let Some(one) = callers.join_next().await {
        one??;
    }
    Ok(())
}
