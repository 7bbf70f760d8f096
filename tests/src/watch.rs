//! A watcher that looks all the time whether both sides would take a write.
//!
//! Two databases cannot be read at one instant, so a plain look at both gates proves nothing: the switch may fall
//! between the two reads. Two things do prove it. A gate row that stands at the same position before and after a look at
//! the other one was so at the moment of that look. And an uncommitted write that one side has accepted while the other
//! accepts one too: a closed fence waits for the open writers before the other side may open, so this can never be.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Result, ensure};
use tokio::task::JoinHandle;
use tokio_postgres::{Client, SimpleQueryMessage};

use crate::cluster::{Role, open};
use crate::scene::Scene;

#[derive(Debug, Default)]
struct Seen {
    both_open: Mutex<Vec<String>>,
    epoch_fell: Mutex<Vec<String>>,
    looks: AtomicU64,
    trials: AtomicU64,
    stop: AtomicBool,
}

/// A running watcher.
#[derive(Debug)]
pub struct Watcher {
    seen: Arc<Seen>,
    task: JoinHandle<()>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Gate {
    mode: String,
    epoch: u64,
    position: u64,
}

async fn gate(client: &Client) -> Result<Option<Gate>> {
    let query = "select mode, epoch::text, position::text from _switchyard.gate";
    for message in client.simple_query(query).await? {
        if let SimpleQueryMessage::Row(row) = message {
            let text = |n| row.get(n).unwrap_or_default();
            return Ok(Some(Gate {
                mode: text(0).to_owned(),
                epoch: text(1).parse()?,
                position: text(2).parse()?,
            }));
        }
    }
    Ok(None)
}

/// An application's write, left uncommitted. Whether it was accepted.
async fn trial(client: &Client) -> bool {
    let write = "begin; set local lock_timeout = '200ms'; \
                 insert into shop.events (id, worker, seq, kind) values (-2, -2, 1, 'trial')";
    client.batch_execute(write).await.is_ok()
}

struct Sides {
    source: Client,
    target: Client,
    source_app: Client,
    target_app: Client,
}

impl Watcher {
    /// Starts watching a scene.
    ///
    /// # Errors
    /// A database is away.
    pub fn start(scene: &Scene) -> Self {
        let seen = Arc::new(Seen::default());
        let urls = [
            scene.source.url(Role::Mover),
            scene.target.url(Role::Mover),
            scene.source.url(Role::App),
            scene.target.url(Role::App),
        ];
        let task = tokio::spawn(watch(Arc::clone(&seen), urls));
        Self { seen, task }
    }

    /// Ends it, and demands that it looked often and never saw both sides open or an epoch fall.
    ///
    /// # Errors
    /// It did see that.
    pub async fn finish(self) -> Result<u64> {
        self.seen.stop.store(true, Ordering::SeqCst);
        self.task.await.ok();
        let read = |list: &Mutex<Vec<String>>| list.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let (both, fell) = (read(&self.seen.both_open), read(&self.seen.epoch_fell));
        ensure!(both.is_empty(), "both sides were open {} times: {:?}", both.len(), both.first());
        ensure!(fell.is_empty(), "a gate's epoch or position fell: {fell:?}");
        let looks = self.seen.looks.load(Ordering::SeqCst);
        ensure!(looks > 10, "the watcher looked only {looks} times");
        Ok(looks)
    }
}

async fn watch(seen: Arc<Seen>, urls: [String; 4]) {
    let mut highest: [Option<Gate>; 2] = [None, None];
    let mut sides = None;
    while !seen.stop.load(Ordering::SeqCst) {
        let looked = match sides.take() {
            Some(open) => look(&seen, &open, &mut highest).await.map(|()| open),
            None => connect(&urls).await,
        };
        // A side that is away is no finding: connect again.
        sides = looked.ok();
        tokio::time::sleep(Duration::from_millis(15)).await;
    }
}

async fn connect([a, b, c, d]: &[String; 4]) -> Result<Sides> {
    Ok(Sides {
        source: open(a).await?,
        target: open(b).await?,
        source_app: open(c).await?,
        target_app: open(d).await?,
    })
}

async fn look(seen: &Seen, sides: &Sides, highest: &mut [Option<Gate>; 2]) -> Result<()> {
    let note = |list: &Mutex<Vec<String>>, what: String| {
        list.lock().unwrap_or_else(PoisonError::into_inner).push(what);
    };
    if let (Some(before), Some(target), Some(after)) =
        (gate(&sides.source).await?, gate(&sides.target).await?, gate(&sides.source).await?)
    {
        seen.looks.fetch_add(1, Ordering::SeqCst);
        if before == after && before.mode == "open" && target.mode == "open" {
            note(&seen.both_open, format!("gates: source {before:?}, target {target:?}"));
        }
        for (kept, now) in highest.iter_mut().zip([&after, &target]) {
            if let Some(kept) = kept
                && (now.epoch < kept.epoch || now.position < kept.position)
            {
                note(&seen.epoch_fell, format!("{kept:?} then {now:?}"));
            }
            *kept = Some(now.clone());
        }
        // From the target's gate on, its tables and fence stand; before that there is nothing to try.
        let first_source = seen.trials.fetch_add(1, Ordering::SeqCst).is_multiple_of(2);
        let (first, second) = if first_source {
            (&sides.source_app, &sides.target_app)
        } else {
            (&sides.target_app, &sides.source_app)
        };
        let one = trial(first).await;
        let two = one && trial(second).await;
        // The first write is still uncommitted only if its session still answers inside its transaction.
        let alive = two && first.batch_execute("select 1 from shop.events limit 1").await.is_ok();
        if one && two && alive {
            note(&seen.both_open, format!("trial writes; gates: source {after:?}, target {target:?}"));
        }
        first.batch_execute("rollback").await?;
        second.batch_execute("rollback").await?;
    }
    Ok(())
}
