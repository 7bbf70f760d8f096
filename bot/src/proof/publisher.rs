//! The task of `serve` that lets log checkpoints leave the journal.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use journal::note::VerifierKey;
use journal::{Actor, Command, CommandBody, CommandId, Position, Root, State, unwitnessed};
use journal_store::{ExecuteError, Store, StoreError};
use runtime::Clock;
use tokio::sync::watch;

use super::desk::{Desk, DeskError};
use super::witness::Witnessed;
use crate::words;

/// How long what nobody waits for may stay without a log checkpoint. It bounds what could be cut off unseen.
const AT_LEAST_EVERY: Duration = Duration::from_secs(10);

/// Between two tries after something went wrong.
const TRY_AGAIN: Duration = Duration::from_secs(2);

/// The longest that an answer to a person waits for a log checkpoint over it.
const PATIENCE: Duration = Duration::from_secs(2);

/// Events read at once.
const PAGE: u32 = 1000;

/// Why nothing was published.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error(transparent)]
    Desk(#[from] DeskError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Refused(#[from] ExecuteError),
    #[error("{0}")]
    Task(String),
}

/// The newest log checkpoint that this process knows to stand outside the journal. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Proof {
    newest: watch::Receiver<Option<Witnessed>>,
    contradicted: watch::Receiver<Option<String>>,
    key: VerifierKey,
    stands_in: String,
}

impl Proof {
    /// The newest.
    #[must_use]
    pub fn newest(&self) -> Option<Witnessed> {
        self.newest.borrow().clone()
    }

    /// Why the journal cannot be believed, in words, if what was signed contradicts it.
    #[must_use]
    pub fn contradiction(&self) -> Option<String> {
        self.contradicted.borrow().clone()
    }

    /// One that covers a position, or the newest there is after a short wait. Cancellation safe.
    pub async fn covering(&self, position: Position) -> Option<Witnessed> {
        let mut newest = self.newest.clone();
        let covers =
            |known: &Option<Witnessed>| known.as_ref().is_some_and(|known| known.checkpoint.covers(position));
        if let Ok(Ok(found)) = tokio::time::timeout(PATIENCE, newest.wait_for(covers)).await {
            return found.clone();
        }
        self.newest()
    }

    /// What an auditor needs to know of the key.
    #[must_use]
    pub const fn key(&self) -> &VerifierKey {
        &self.key
    }

    /// The witness file, as the journal names it.
    #[must_use]
    pub fn stands_in(&self) -> &str {
        &self.stands_in
    }
}

/// Publishes log checkpoints for as long as it runs.
#[derive(Debug)]
pub struct Publisher {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    desk: Option<Desk>,
    stands_in: String,
    told: watch::Sender<Option<Witnessed>>,
    contradicted: watch::Sender<Option<String>>,
}

impl Publisher {
    /// A publisher at a desk, and what others may know of its work. `stands_in` is how the journal names the witness file.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>, desk: Desk, stands_in: String) -> (Self, Proof) {
        let (told, contradicted) = (watch::Sender::new(None), watch::Sender::new(None));
        let key = desk.key().verifier().clone();
        let (newest, contradiction) = (told.subscribe(), contradicted.subscribe());
        let proof = Proof { newest, contradicted: contradiction, key, stands_in: stands_in.clone() };
        (Self { store, clock, desk: Some(desk), stands_in, told, contradicted }, proof)
    }

    /// Runs until it is dropped. Dropped in mid-write, it leaves an unfinished note that proves nothing.
    pub async fn run(mut self) {
        let mut last_said = None;
        loop {
            match self.follow().await {
                Ok(()) => return,
                Err(trouble) => {
                    let text = match &trouble {
                        Trouble::Desk(error) => words::publisher_refuses(error),
                        other => other.to_string(),
                    };
                    if let Trouble::Desk(error) = &trouble {
                        self.contradicted.send_replace(error.is_contradiction().then(|| text.clone()));
                    }
                    // Loud, once: it is tried again and again, and says the same.
                    if last_said.as_ref() != Some(&text) {
                        tracing::error!(error = %text, "no log checkpoint leaves the journal");
                        last_said = Some(text);
                    }
                    // What was read may be what is wrong: the next try begins at the first event.
                    self.desk = self.desk.take().map(Desk::anew);
                    self.clock.sleep(TRY_AGAIN).await;
                }
            }
        }
    }

    /// Follows the journal until something goes wrong.
    async fn follow(&mut self) -> Result<(), Trouble> {
        self.read().await?;
        let state = self.store.state().await?;
        if let Some(left) = &state.left {
            // The journal's own word of what has left it, should the witness file have been lost.
            self.desk()?.compare(left.size.get(), left.root.hash())?;
        }
        self.at_desk(Desk::look).await?;
        let read = self.desk()?.read();
        let mut events = self.store.tail(read);
        let mut due = self.clock.monotonic();
        loop {
            let state = self.store.state().await?;
            self.read().await?;
            let wanted = unwitnessed(&state);
            if wanted.is_some() || self.clock.monotonic() >= due {
                let published = self.publish().await?;
                self.contradicted.send_replace(None);
                due = self.clock.monotonic() + AT_LEAST_EVERY;
                self.report(&state, wanted, &published).await?;
                self.told.send_if_modified(|known| {
                    let is_news = known.as_ref() != Some(&published);
                    *known = Some(published);
                    is_news
                });
            }
            loop {
                tokio::select! {
                    event = events.next() => match event {
                        // What was read with those before it is no reason to look again.
                        Some(Ok(event)) if event.envelope.position <= self.desk()?.read() => {}
                        Some(Ok(_)) => break,
                        Some(Err(error)) => return Err(error.into()),
                        None => return Err(Trouble::Task("the journal's tail ended".to_owned())),
                    },
                    () = self.clock.sleep(due.saturating_duration_since(self.clock.monotonic())) => break,
                }
            }
        }
    }

    fn desk(&mut self) -> Result<&mut Desk, Trouble> {
        self.desk.as_mut().ok_or_else(|| Trouble::Task("the desk is away".to_owned()))
    }

    /// Reads the stored bytes that are new.
    async fn read(&mut self) -> Result<(), Trouble> {
        loop {
            let after = self.desk()?.read();
            let page = self.store.stored(after, PAGE).await?;
            if page.is_empty() {
                return Ok(());
            }
            for (position, bytes) in &page {
                self.desk()?.take(*position, bytes)?;
            }
        }
    }

    async fn publish(&mut self) -> Result<Witnessed, Trouble> {
        match self.at_desk(Desk::publish).await {
            // Another process has read further: what it signed is in the journal, or the journal was cut.
            Err(Trouble::Desk(DeskError::Behind { .. })) => {
                self.read().await?;
                self.at_desk(Desk::publish).await
            }
            other => other,
        }
    }

    /// Does what waits for a disk or another process, away from the runtime's own threads.
    async fn at_desk<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut Desk) -> Result<T, DeskError> + Send + 'static,
    ) -> Result<T, Trouble> {
        let mut desk = self.desk.take().ok_or_else(|| Trouble::Task("the desk is away".to_owned()))?;
        let worked = tokio::task::spawn_blocking(move || {
            let done = work(&mut desk);
            (desk, done)
        });
        let (desk, done) = worked.await.map_err(|error| Trouble::Task(error.to_string()))?;
        self.desk = Some(desk);
        Ok(done?)
    }

    /// Tells the journal, if it waits for that. The file is synced before.
    async fn report(
        &self,
        state: &State,
        wanted: Option<Position>,
        published: &Witnessed,
    ) -> Result<(), Trouble> {
        let checkpoint = &published.checkpoint;
        if wanted.is_none_or(|word| !checkpoint.covers(word)) {
            return Ok(());
        }
        let id = CommandId::new(format!("log-checkpoint:{}", uuid::Uuid::now_v7()))
            .map_err(|error| Trouble::Task(error.to_string()))?;
        let body = CommandBody::ReportCheckpoint {
            size: Position::new(checkpoint.size),
            root: Root::new(checkpoint.root),
            left_to: vec![self.stands_in.clone()],
        };
        let told = self.store.execute(id, None, Command::new(Actor::Operator, body)).await?;
        if !told.is_empty() {
            tracing::info!(checkpoint = %checkpoint.short(), head = %state.head, "a log checkpoint left the journal");
        }
        Ok(())
    }
}
