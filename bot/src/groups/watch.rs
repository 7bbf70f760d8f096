//! The second look: whether those whose roles come from groups are still in them, just before an operation begins.

use std::sync::Arc;

use journal::{
    Actor, Command, CommandBody, CommandId, Plan, Request, RequestStatus, Timestamp, Wait, memberships, waits,
};
use journal_store::{ExecuteError, Store};
use runtime::Clock;
use tokio::sync::watch;

use super::Groups;
use crate::rounds::{Missed, Round, rounds};

/// Asks the groups that requests rest on, where these wait for nothing else.
#[derive(Debug)]
pub struct Watch {
    /// Asks.
    pub groups: Arc<Groups>,
    /// The journal.
    pub store: Arc<dyn Store>,
    /// Waits.
    pub clock: Arc<dyn Clock>,
}

fn waits_for_a_look(state: &journal::State, request: &Request, now: Timestamp) -> bool {
    request.status == RequestStatus::Open && {
        let waits = waits(state, request, now);
        waits.contains(&Wait::Roles) && waits.iter().all(Wait::is_look)
    }
}

impl Watch {
    /// Watches until it is told to stop.
    pub async fn run(self, stop: watch::Receiver<bool>) {
        rounds(&self, self.clock.as_ref(), stop).await;
    }

    async fn all(&self) -> Result<(), String> {
        let state = self.store.state().await.map_err(|error| error.to_string())?;
        let now = self.store.now().await.map_err(|error| error.to_string())?;
        let Some((plan, _)) = &state.plan else { return Ok(()) };
        let mut ended = Ok(());
        for request in state.requests.values().filter(|request| waits_for_a_look(&state, request, now)) {
            // One group that is silent does not keep the other requests waiting.
            if let Err(why) = self.look(plan, request).await {
                ended = Err(why);
            }
        }
        ended
    }

    async fn look(&self, plan: &Plan, request: &Request) -> Result<(), String> {
        let lost = self.groups.gone(plan, &memberships(plan, request)).await?;
        let number = request.position;
        tracing::info!(request = %number, ?lost, "asked the groups that it rests on");
        let body = CommandBody::ReportRoles { request: number, lost };
        let id = CommandId::new(format!("groups:look:{number}:{}", uuid::Uuid::now_v7()));
        let id = id.map_err(|error| error.to_string())?;
        match self.store.execute(id, None, Command::new(Actor::Operator, body)).await {
            Ok(_) => Ok(()),
            Err(ExecuteError::Store(error)) => Err(error.to_string()),
            Err(why) => {
                tracing::warn!(request = %number, %why, "the look was not taken");
                Ok(())
            }
        }
    }
}

impl Round for Watch {
    async fn once(&self) -> Result<(), Missed> {
        let missed = |why| Missed { why: format!("a group cannot be asked: {why}"), wait: None };
        self.all().await.map_err(missed)
    }
}
