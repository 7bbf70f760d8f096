//! `serve`, started again whenever it dies, as a service supervisor would.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Result, ensure};
use tokio::task::JoinHandle;

use crate::scene::Scene;
use crate::switchyard::Serve;

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    kills: AtomicU64,
    wrong: Mutex<Vec<String>>,
}

/// A `serve` that is killed at every place it passes, and started again each time.
#[derive(Debug)]
pub struct Supervised {
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

impl Supervised {
    /// Starts the loop. Every start is armed with the failpoint.
    #[must_use]
    pub fn start(scene: &Arc<Scene>, failpoint: String) -> Self {
        let shared = Arc::new(Shared::default());
        let task = tokio::spawn(run(Arc::clone(scene), Arc::clone(&shared), failpoint));
        Self { shared, task }
    }

    /// How often it was killed.
    #[must_use]
    pub fn kills(&self) -> u64 {
        self.shared.kills.load(Ordering::SeqCst)
    }

    /// Ends the loop; every death must have been a SIGKILL.
    ///
    /// # Errors
    /// It ended otherwise.
    pub async fn finish(self) -> Result<u64> {
        self.shared.stop.store(true, Ordering::SeqCst);
        self.task.await?;
        let wrong = self.shared.wrong.lock().unwrap_or_else(PoisonError::into_inner).clone();
        ensure!(wrong.is_empty(), "`serve` ended by itself: {wrong:#?}");
        Ok(self.shared.kills.load(Ordering::SeqCst))
    }
}

async fn run(scene: Arc<Scene>, shared: Arc<Shared>, failpoint: String) {
    use std::os::unix::process::ExitStatusExt as _;
    let note = |what: String| {
        shared.wrong.lock().unwrap_or_else(PoisonError::into_inner).push(what);
    };
    let mut running: Option<Serve> = None;
    while !shared.stop.load(Ordering::SeqCst) {
        let serve = match running.as_mut() {
            Some(serve) => serve,
            None => match scene.product.serve("a", Some(&failpoint)) {
                Ok(serve) => running.insert(serve),
                Err(error) => return note(format!("{error:#}")),
            },
        };
        match serve.exited() {
            Ok(None) => tokio::time::sleep(Duration::from_millis(10)).await,
            Ok(Some(status)) if status.signal() == Some(9) => {
                shared.kills.fetch_add(1, Ordering::SeqCst);
                running = None;
            }
            Ok(Some(status)) => {
                note(format!("{status}:\n{}", serve.log_tail(20)));
                running = None;
                // A serve that cannot start would fill the log.
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
            Err(error) => return note(format!("{error:#}")),
        }
    }
    if let Some(serve) = running {
        serve.end().await.ok();
    }
}
