//! One phase's loop: take the lease, replay, find what is due, do it, append what came of it.
//!
//! All memory here can be thrown away at any instant: what is due is a function of the journal, and what an effect came
//! to is a function of its receiver. Recovery and the normal path are one path.
//!
//! The races, and what decides each:
//!
//! - *Another executor takes the phase.* The tenure completes first, and everything of this phase is dropped in
//!   mid-await. What was sent is refused by its receiver, what was to be appended by the journal, both by epoch.
//! - *The deadline passes, a person aborts or revokes, while an effect is under way.* Beside each effect the journal and
//!   the undo's time are watched; as soon as something else is due than this effect, it is dropped, and is unknown. The
//!   undo's own effects come with higher positions, so what arrives late is refused. From the opening's intent to its
//!   outcome nothing else is ever due, so nothing is dropped there.
//! - *The journal goes away in the window.* What the intent to stop the traffic wrote down is done from memory: see
//!   [`memory`].
//! - *A finding in the window.* The block is written before the effect's failure, so that a crash in between leaves the
//!   finding there and not a failure that would be tried again by itself.

mod meeting;
mod memory;
mod quarantine;
mod returning;
mod stuck;
mod work;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use journal::{CommandId, Finding, Holder, NameError, PhaseName, PlanHash, Refusal, Side, State, behind};
use journal_store::{BEHIND, Lease, Progress, Store};
use runtime::retry::Backoff;
use runtime::{Clock, Tasks};
use tokio::task::JoinSet;

use self::memory::Memory;
use self::work::{Work, running};
use crate::hands::Hands;
use crate::seams::{Cause, Engine};
use crate::tenure::Tenure;

/// The longest wait before the journal is looked at again, should a wake-up be lost.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Between two looks of an observation that does not hold yet. The receiver has waited already.
const OBSERVE_AGAIN: Duration = Duration::from_millis(20);

/// Between two progress reports while an operation runs, and while none does.
const REPORT_BUSY: Duration = Duration::from_millis(500);
const REPORT_IDLE: Duration = Duration::from_secs(2);

/// How long an orderly end may take to give the lease up.
const RELEASE_LIMIT: Duration = Duration::from_secs(2);

/// What one phase's loop works with.
#[derive(Debug)]
pub(crate) struct PhaseLoop {
    /// The phase.
    pub(crate) name: PhaseName,
    /// The hash of the plan's section of it, as this process read it: its lever and its limits.
    pub(crate) plan_hash: PlanHash,
    /// The journal.
    pub(crate) store: Arc<dyn Store>,
    /// This process, as leases name it.
    pub(crate) holder: Holder,
    /// The lease's term.
    pub(crate) term: Duration,
    /// Time.
    pub(crate) clock: Arc<dyn Clock>,
    /// What ends everything.
    pub(crate) tasks: Tasks,
    /// Plans the steps.
    pub(crate) engine: Arc<dyn Engine>,
    /// Does the effects.
    pub(crate) hands: Arc<dyn Hands>,
    /// The leases held here, for what reports about streams.
    pub(crate) leases: Leases,
}

/// The leases that this process holds now. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Leases(Arc<Mutex<BTreeMap<PhaseName, Lease>>>);

impl Leases {
    fn set(&self, phase: &PhaseName, lease: Option<Lease>) {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match lease {
            Some(lease) => held.insert(phase.clone(), lease),
            None => held.remove(phase),
        };
    }

    /// The phase's lease, if it is held here.
    pub(crate) fn of(&self, phase: &PhaseName) -> Option<Lease> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(phase).cloned()
    }
}

/// Why the loop left its lease.
enum End {
    Lost,
    Stopping,
}

/// Why a command was not appended.
enum Halt {
    /// The lease is lost.
    Lost,
    /// A rule refuses it: the state has moved on, or something must change.
    Refused(Refusal),
    /// The journal takes nothing, and the undo waits for it no longer.
    Away,
}

/// What the loop's parts share under one lease.
#[derive(Debug, Default)]
struct Shared {
    doing: Mutex<Option<String>>,
    raised: Mutex<BTreeSet<Side>>,
    behind: Mutex<BTreeMap<Side, Finding>>,
}

impl Shared {
    fn doing(&self, text: Option<String>) {
        let mut doing = self.doing.lock().unwrap_or_else(PoisonError::into_inner);
        if *doing != text {
            if let Some(text) = &text {
                tracing::debug!(doing = %text, "executor");
            }
            *doing = text;
        }
    }

    /// What a side shows of the journal's age now; whether it is news.
    fn behind(&self, side: Side, finding: Option<Finding>) -> bool {
        let mut behind = self.behind.lock().unwrap_or_else(PoisonError::into_inner);
        let is_news = behind.get(&side) != finding.as_ref();
        match finding {
            Some(finding) => behind.insert(side, finding),
            None => behind.remove(&side),
        };
        is_news
    }

    /// Why nothing can be done by this journal.
    fn is_behind(&self) -> Option<Finding> {
        self.behind.lock().unwrap_or_else(PoisonError::into_inner).values().next().cloned()
    }

    /// Whether both sides have been looked at under this lease.
    fn is_looked_at(&self) -> bool {
        let raised = self.raised.lock().unwrap_or_else(PoisonError::into_inner);
        Side::ALL.iter().all(|side| raised.contains(side)) || self.is_behind().is_some()
    }

    fn told(&self) -> Option<String> {
        self.doing.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl PhaseLoop {
    /// Runs until the tasks stop. The lease is given up on the way out.
    pub(crate) async fn run(self) {
        let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_millis(500));
        let memory = Memory::default();
        loop {
            let since = self.clock.monotonic();
            let claimed = tokio::select! {
                biased;
                () = self.tasks.stopping() => return,
                claimed = memory.reach(since, self.store.claim(&self.name, &self.holder, self.term)) => claimed,
            };
            match claimed {
                Ok(Some(lease)) => {
                    backoff.reset();
                    memory.taken(lease.epoch);
                    if let End::Stopping = self.hold(Tenure::new(lease, since), &memory).await {
                        return;
                    }
                }
                Ok(None) => memory.forget(),
                Err(error) => {
                    tracing::warn!(phase = %self.name, %error, "no lease");
                    if memory.is_due(self.clock.monotonic()) {
                        tokio::select! {
                            biased;
                            () = self.tasks.stopping() => return,
                            _ = Box::pin(self.undo_without_journal(&memory)) => {}
                        }
                    }
                }
            }
            let wait = backoff.wait();
            let left = memory.left(self.clock.monotonic()).filter(|left| !left.is_zero());
            tokio::select! {
                biased;
                () = self.tasks.stopping() => return,
                () = self.clock.sleep(left.unwrap_or(wait).min(wait)) => {}
            }
        }
    }

    /// Works under a lease until it is lost or the tasks stop.
    async fn hold(&self, tenure: Tenure, memory: &Memory) -> End {
        let tenure = Arc::new(tenure);
        tracing::info!(phase = %self.name, epoch = %tenure.lease.epoch, "lease taken");
        self.leases.set(&self.name, Some(tenure.lease.clone()));
        let shared = Shared::default();
        let mut work = Work::new(self, &tenure.lease, (&shared, memory));
        // A task of its own: a very large value keeps this one busy for longer than a term, and is not a holder that is gone.
        let mut keeping = JoinSet::new();
        let (kept, store, clock) = (Arc::clone(&tenure), Arc::clone(&self.store), Arc::clone(&self.clock));
        keeping.spawn(async move { kept.keep(&store, &clock).await });
        let end = tokio::select! {
            biased;
            _ended = keeping.join_next() => End::Lost,
            () = self.tasks.stopping() => End::Stopping,
            () = tenure.within(&self.clock, Box::pin(work.run())) => End::Lost,
            () = Box::pin(self.raise_both(&tenure.lease, &shared)) => End::Lost,
            () = Box::pin(self.report(&shared)) => End::Lost,
            () = Box::pin(self.keep_quarantine(&tenure.lease)) => End::Lost,
        };
        self.leases.set(&self.name, None);
        self.hands.stop_streams();
        if let End::Stopping = end {
            let released = tokio::time::timeout(RELEASE_LIMIT, self.store.release(&tenure.lease)).await;
            if !matches!(released, Ok(Ok(()))) {
                tracing::warn!(phase = %self.name, "lease not given up: it ends with its term");
            }
        }
        end
    }

    /// Raises the epoch at both sides as soon as each can be reached. Completes only when a newer one was there.
    async fn raise_both(&self, lease: &Lease, shared: &Shared) {
        let [one, other] = Side::ALL;
        tokio::select! {
            () = self.raise_until_done(one, lease, shared) => {}
            () = self.raise_until_done(other, lease, shared) => {}
        }
    }

    async fn raise_until_done(&self, side: Side, lease: &Lease, shared: &Shared) {
        let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(2));
        loop {
            match self.raise(side, lease, shared).await {
                Ok(true) => std::future::pending().await,
                Ok(false) => return,
                Err(_) => self.clock.sleep(backoff.wait()).await,
            }
        }
    }

    /// Raises the epoch at one side, once a lease. `false`: a newer one was there, so the lease is lost. Before that the
    /// side shows whether this journal is older than what was done there: then nothing is done by it.
    async fn raise(&self, side: Side, lease: &Lease, shared: &Shared) -> Result<bool, Cause> {
        if shared.raised.lock().unwrap_or_else(PoisonError::into_inner).contains(&side) {
            return Ok(true);
        }
        // Another database than the journal's, as when source and target changed places, shows nothing of its age.
        self.expect_identities(&*self.store.state().await.map_err(|error| Cause(error.to_string()))?);
        let row = self.hands.gate(side).await?;
        // Read after the row, so that it has all that the row can name.
        let state = self.store.state().await.map_err(|error| Cause(error.to_string()))?;
        let finding = row.and_then(|row| behind(&state, &self.name, side, row));
        let is_news = shared.behind(side, finding.clone());
        if let Some(finding) = finding {
            if is_news {
                tracing::error!(phase = %self.name, %finding, "nothing is done by this journal");
            }
            return Err(Cause(finding.to_string()));
        }
        let raised = self.hands.raise_epoch(side, lease.epoch).await?;
        if raised {
            shared.raised.lock().unwrap_or_else(PoisonError::into_inner).insert(side);
        } else {
            tracing::warn!(phase = %self.name, epoch = %lease.epoch, %side, "a newer executor was at this side");
        }
        Ok(raised)
    }

    /// Holds both sides against what the journal has seen of them.
    fn expect_identities(&self, state: &State) {
        let Some(phase) = state.phases.get(&self.name) else { return };
        for (side, seen) in phase.identities.iter().filter(|(_, seen)| !seen.is_empty()) {
            self.hands.expect_identity(*side, seen);
        }
    }

    /// Writes the projection for people, for ever.
    async fn report(&self, shared: &Shared) {
        loop {
            let doing = shared.told().map(|doing| match self.hands.doing() {
                Some(more) => format!("{doing}: {more}"),
                None => doing,
            });
            let pause = if doing.is_some() { REPORT_BUSY } else { REPORT_IDLE };
            let lag_ms = match self.store.state().await {
                Ok(state) => {
                    state.phases.get(&self.name).and_then(|phase| self.hands.lag_ms(phase.applying()))
                }
                Err(_) => None,
            };
            let mut observed =
                tokio::time::timeout(REPORT_IDLE, self.hands.facts()).await.unwrap_or_default();
            if let Some(finding) = shared.is_behind() {
                observed.insert(BEHIND.to_owned(), finding.to_string());
            }
            if let Err(error) = self.store.report(&self.name, Progress { lag_ms, doing, observed }).await {
                tracing::debug!(phase = %self.name, %error, "progress not reported");
            }
            self.clock.sleep(pause).await;
        }
    }
}

/// A command id of this holder's, under this lease, used by no other.
///
/// # Errors
/// None that can come about: the parts fit a command id's rules.
pub(crate) fn command_id(holder: &Holder, lease: &Lease) -> Result<CommandId, NameError> {
    let holder: String = holder.as_str().chars().take(100).collect();
    CommandId::new(format!("{holder}-{}-{}", lease.epoch, uuid::Uuid::now_v7()))
}

#[cfg(test)]
mod tests;
