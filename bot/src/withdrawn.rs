//! Approvals that are taken back because what they stood in is gone: a deleted comment, a dismissed review.
//!
//! It is the safe direction, so it does not matter who did it; who it was stands in the origin of the event. A webhook, a
//! sweep and a second look may all find the same: whichever is first takes the approval back, and only it, or a repeat of
//! it, says so.

use std::sync::Arc;

use journal::{
    Actor, ApprovalWord, Command, CommandBody, CommandId, Fact, Origin, PersonId, Position, Recorded, Request,
};
use journal_store::{ExecuteError, Store, StoreError, each_event};

/// What is gone.
#[derive(Debug, Clone)]
pub struct Withdrawal<'w> {
    /// How the ids of the commands begin that were read from it.
    pub prefix: &'w str,
    /// The name of its going.
    pub id: &'w str,
    /// Who made it go, and where.
    pub origin: Origin,
}

/// An approval that does not count any more.
#[derive(Debug, Clone)]
pub struct TakenBack {
    /// Whose it was.
    pub person: PersonId,
    /// What it approved.
    pub request: Request,
}

/// An approval that was read from what is gone.
struct Given {
    person: PersonId,
    request: Position,
    at: Position,
}

/// Takes back what was approved in something that is gone, if it is still its person's latest word.
///
/// # Errors
/// The journal cannot be read or written.
pub async fn take_back(
    store: &Arc<dyn Store>,
    withdrawal: &Withdrawal<'_>,
) -> Result<Vec<TakenBack>, StoreError> {
    let mut taken_back = Vec::new();
    for (index, given) in given(store, withdrawal.prefix).await?.into_iter().enumerate() {
        let state = store.state().await?;
        let Some(request) = state.requests.get(&given.request) else { continue };
        let Ok(id) = CommandId::new(format!("{}.{index}", withdrawal.id)) else { continue };
        let latest = request.words.get(&given.person);
        let stands =
            latest.is_some_and(|word| word.word == ApprovalWord::Approved && word.position == given.at);
        let is_gone = if stands {
            revoke(store, id, &given, withdrawal).await?
        } else {
            // Only a repeat of the same command may say so again; a new one would take back a later word.
            latest.is_some_and(|word| word.position > given.at) && was_done(store, &id).await?
        };
        if is_gone {
            taken_back.push(TakenBack { person: given.person, request: request.clone() });
        }
    }
    Ok(taken_back)
}

async fn revoke(
    store: &Arc<dyn Store>,
    id: CommandId,
    given: &Given,
    withdrawal: &Withdrawal<'_>,
) -> Result<bool, StoreError> {
    let body = CommandBody::Revoke { request: given.request };
    let origin = Some(withdrawal.origin.clone());
    let command = Command { origin, ..Command::new(Actor::Person(given.person.clone()), body) };
    match store.execute(id, None, command).await {
        Ok(_) => Ok(true),
        Err(ExecuteError::Store(error)) => Err(error),
        Err(why) => {
            tracing::info!(request = %given.request, person = %given.person, %why, "nothing is taken back");
            Ok(false)
        }
    }
}

/// Approvals whose commands' ids begin so.
async fn given(store: &Arc<dyn Store>, prefix: &str) -> Result<Vec<Given>, StoreError> {
    let events = events(store, |event| event.envelope.command_id.as_str().starts_with(prefix)).await?;
    Ok(events
        .into_iter()
        .filter_map(|event| match (&event.envelope.actor, &event.body) {
            (Actor::Person(person), Fact::Approved { request, .. }) => {
                Some(Given { person: person.clone(), request: *request, at: event.envelope.position })
            }
            _ => None,
        })
        .collect())
}

async fn was_done(store: &Arc<dyn Store>, id: &CommandId) -> Result<bool, StoreError> {
    Ok(!events(store, |event| event.envelope.command_id == *id).await?.is_empty())
}

/// Events of the requests that are not over, and of what came after the oldest of them.
async fn events(
    store: &Arc<dyn Store>,
    wanted: impl Fn(&Recorded) -> bool,
) -> Result<Vec<Recorded>, StoreError> {
    let state = store.state().await?;
    let Some(oldest) = state.requests.values().find(|request| request.is_live()) else {
        return Ok(Vec::new());
    };
    let mut found = Vec::new();
    each_event(store.as_ref(), oldest.position, |event| {
        if wanted(&event) {
            found.push(event);
        }
    })
    .await?;
    Ok(found)
}
