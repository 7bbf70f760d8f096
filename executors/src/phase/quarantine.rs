//! A target that was given up for lost, watched for beside everything else, for as long as the phase keeps it in mind.
//!
//! The race: it comes back with its gate open, and somebody who does not go by the lever finds it. So it is tried all the
//! time, from the moment on at which its loss was declared, and its gate is the first thing that is touched.

use std::time::Duration;

use journal::{Actor, Command, CommandBody, Quarantine, TableName};
use journal_store::{ExecuteError, Lease};
use runtime::retry::Backoff;

use super::{PhaseLoop, command_id};
use crate::seams::Authority;

/// Between two tries to reach it, at first and at most.
const TRIES: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(2));

impl PhaseLoop {
    /// Closes a quarantined target at its first contact, and has the rest of its stream read. For ever.
    pub(super) async fn keep_quarantine(&self, lease: &Lease) {
        let mut backoff = Backoff::new(TRIES.0, TRIES.1);
        loop {
            let known = match self.store.state().await {
                Ok(state) => state
                    .phases
                    .get(&self.name)
                    .and_then(|phase| Some((phase.quarantine.clone()?, phase.tables.clone()))),
                Err(_) => None,
            };
            let open = known.filter(|(known, _)| !known.is_closed || known.rest.is_none());
            if let Some((known, tables)) = open
                && self.try_contact(lease, (&known, &tables)).await
            {
                backoff.reset();
            }
            self.clock.sleep(backoff.wait()).await;
        }
    }

    /// Whether something was done.
    async fn try_contact(&self, lease: &Lease, (known, tables): (&Quarantine, &[TableName])) -> bool {
        let under = Authority { epoch: lease.epoch, position: known.position };
        let found = match self.hands.first_contact((known, tables), under).await {
            Ok(found) => found,
            Err(cause) => {
                // Once it is closed it was there: what keeps its rest from being read is for a person to see.
                if known.is_closed {
                    tracing::warn!(phase = %self.name, %cause, "the quarantined target's rest is not read yet");
                } else {
                    tracing::debug!(phase = %self.name, %cause, "the quarantined target");
                }
                return false;
            }
        };
        tracing::warn!(phase = %self.name, ?found, "met the quarantined target");
        let Ok(id) = command_id(&self.holder, lease) else { return false };
        let body = CommandBody::ReportQuarantine { phase: self.name.clone(), loss: known.position, found };
        let command = Command::new(Actor::Executor(self.holder.clone()), body);
        loop {
            match self.store.execute(id.clone(), Some(lease.claim()), command.clone()).await {
                Ok(_) => return true,
                // What was done is found again, by its receipt or its name.
                Err(ExecuteError::Store(error)) => {
                    tracing::warn!(phase = %self.name, %error, "the quarantine's report waits for the journal");
                    self.clock.sleep(TRIES.1).await;
                }
                Err(error) => {
                    tracing::warn!(phase = %self.name, %error, "the quarantine's report was not taken");
                    return false;
                }
            }
        }
    }
}
