//! Long-running tasks: named, joined, ended by one signal.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;
use tokio::task::JoinSet;

/// A set of tasks that end together. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Tasks {
    stop: Arc<watch::Sender<bool>>,
    set: Arc<Mutex<JoinSet<()>>>,
}

impl Default for Tasks {
    fn default() -> Self {
        Self { stop: Arc::new(watch::Sender::new(false)), set: Arc::default() }
    }
}

impl Tasks {
    /// Starts a task. It is aborted when [`Tasks::stop`] is called and it has not ended by itself.
    pub fn spawn(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let mut stopped = self.stop.subscribe();
        let running = async move {
            tokio::select! {
                () = task => tracing::debug!(name, "task ended"),
                _ = stopped.wait_for(|stop| *stop) => tracing::debug!(name, "task stopped"),
            }
        };
        self.set.lock().unwrap_or_else(PoisonError::into_inner).spawn(running);
    }

    /// Completes when the tasks are to stop.
    pub async fn stopping(&self) {
        let mut stopped = self.stop.subscribe();
        // An error means that the sender is gone, which is a stop too.
        let _stopped = stopped.wait_for(|stop| *stop).await.is_ok();
    }

    /// Ends all tasks and waits for them.
    pub async fn stop(&self) {
        self.stop.send_replace(true);
        let mut set = std::mem::take(&mut *self.set.lock().unwrap_or_else(PoisonError::into_inner));
        while set.join_next().await.is_some() {}
    }
}
