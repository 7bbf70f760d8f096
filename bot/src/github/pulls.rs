//! Pull requests as such: what one that touches the plan would change, what a push or a closing does to the requests in
//! it, and the adoption of a plan that was merged.
//!
//! Merges can be told of in another order than they were made in, or a day later. So a merge adopts its plan only if that
//! is what the default branch holds now; if it is not, a newer merge has its own event.

use std::path::Path;

use journal::plan::Reading;
use journal::{
    Actor, Command, CommandBody, CommandId, Origin, PersonId, Plan, Refusal, RequestStatus, State,
};
use journal_store::{Draft, ExecuteError};

use super::client::Failure;
use super::desk::{At, Desk, Stopped, once};
use super::receive::{GHOST, merge_id};
use super::repository::Pull;
use super::send::Told;
use crate::arrival::Place;
use crate::groups::Seen;
use crate::words::{self, World};

/// The name of the living comment about a pull request's plan.
const PLAN: &str = "plan";

/// The name of the comment about its merge.
const MERGED: &str = "merged";

impl Desk {
    /// A pull request was opened, pushed to, or closed; or it is looked at because that may have been missed.
    pub(super) async fn pull_changed(&self, at: At<'_>) -> Result<Vec<Draft>, Stopped> {
        let place = Place::PullRequest { repository: at.repository.to_owned(), number: at.number };
        let mut drafts = Vec::new();
        let Some(pull) = self.client.pull(at.number).await? else { return Ok(drafts) };
        if pull.is_open() && self.client.touches(at.number, &self.plan_path).await? {
            drafts.push(self.plan_comment(&place, &pull).await?);
        }
        let state = self.store.state().await?;
        let open = at.requests(&state, |status| *status == RequestStatus::Open);
        for request in open.into_iter().map(|request| request.position) {
            drafts.extend(self.look_and_report(request).await?);
        }
        Ok(drafts)
    }

    /// The living comment that tells what the plan at a pull request's head is and would change.
    async fn plan_comment(&self, place: &Place, pull: &Pull) -> Result<Draft, Stopped> {
        let text = match self.client.file(&self.plan_path, pull.head()).await {
            Ok(Some(text)) => text,
            Ok(None) => return Ok(once(place, PLAN, words::plan_removed(&self.plan_path))),
            Err(Failure::Refused(why)) => {
                let text = words::plan_unread_at_head(&self.plan_path, pull.head(), &why);
                return Ok(once(place, PLAN, text));
            }
            Err(other) => return Err(other.into()),
        };
        let state = self.store.state().await?;
        let file = Path::new(&self.plan_path);
        let text = match Plan::read(&text) {
            Ok(Reading { plan, warnings }) => words::plan_in_pull(&words::PlanInPull {
                file,
                text: &text,
                head: pull.head(),
                plan: &plan,
                warnings: &warnings,
                state: &state,
            }),
            Err(problems) => words::bad_plan_in_pull(file, &text, pull.head(), &problems),
        };
        let told = Told { text, phase: None, markdown: pull.link(&self.plan_path) };
        let body = serde_json::to_value(told).unwrap_or_default();
        Ok(Draft { body, ..once(place, PLAN, String::new()) })
    }

    /// Makes the plan that was merged the migration's, in the name of who merged it.
    pub(super) async fn merged(&self, at: At<'_>) -> Result<Vec<Draft>, Stopped> {
        let place = Place::PullRequest { repository: at.repository.to_owned(), number: at.number };
        let Some(pull) = self.client.pull(at.number).await? else { return Ok(Vec::new()) };
        let touches = self.client.touches(at.number, &self.plan_path).await?;
        let Some(commit) = pull.merge_commit_sha.as_ref().filter(|_| touches && pull.is_merged()) else {
            return Ok(Vec::new());
        };
        let text = match self.client.file(&self.plan_path, commit).await {
            Ok(Some(text)) => text,
            // Whoever removes the plan's file keeps the plan.
            Ok(None) => return Ok(Vec::new()),
            Err(Failure::Refused(why)) => {
                let text = words::plan_unread_at_head(&self.plan_path, commit, &why);
                return Ok(vec![once(&place, MERGED, text)]);
            }
            Err(other) => return Err(other.into()),
        };
        if !self.is_on_default_branch(&pull, &text).await? {
            return Ok(Vec::new());
        }
        let told = self.adopt(&place, &pull, (commit, text)).await?;
        Ok(vec![once(&place, MERGED, told)])
    }

    /// Whether the branch that a pull request was merged into is the default one, and holds this plan now.
    async fn is_on_default_branch(&self, pull: &Pull, text: &str) -> Result<bool, Stopped> {
        let Some(branch) = pull.default_branch() else { return Ok(false) };
        let Some(newest) = self.client.newest(branch).await? else { return Ok(false) };
        let now = match self.client.file(&self.plan_path, &newest).await {
            Ok(now) => now,
            Err(Failure::Refused(_)) => None,
            Err(other) => return Err(other.into()),
        };
        Ok(now.as_deref() == Some(text))
    }

    async fn adopt(
        &self,
        place: &Place,
        pull: &Pull,
        (commit, text): (&str, String),
    ) -> Result<String, Stopped> {
        let state = self.store.state().await?;
        let merger = pull.merged_by.as_ref();
        let account = merger.map(|user| user.id.to_string()).unwrap_or_default();
        let login = merger.map_or(GHOST, |user| user.login.as_str());
        if let Ok(plan) = Plan::parse(&text)
            && state.plan.as_ref().is_some_and(|(_, adopted)| *adopted == plan.hash())
        {
            return Ok(words::merged_and_adopted(login, &plan.hash()));
        }
        let Some(person) = Self::person(&state, &account) else {
            return Ok(words::merged_by_nobody(login, &account));
        };
        let authors = self.authors(pull, &state).await?;
        let id = merge_id(pull.number, commit);
        let body = CommandBody::AdoptPlan { text, authors };
        let plan = state.plan.as_ref().map(|(plan, _)| plan);
        let seen = match plan {
            Some(plan) => self.groups.of(plan, &person).await,
            None => Seen::default(),
        };
        let origin = Some(Origin { groups: seen.memberships, ..place.origin(&account, &id) });
        let command = Command { origin, ..Command::new(Actor::Person(person), body) };
        let id = match CommandId::new(id) {
            Ok(id) => id,
            Err(error) => return Ok(words::merged_not_adopted(login, &error.to_string())),
        };
        match self.store.execute(id, None, command).await {
            Ok(_) | Err(ExecuteError::Refused(Refusal::SamePlan)) => {
                let state = self.store.state().await?;
                let hash = state.plan.as_ref().map(|(_, hash)| *hash);
                Ok(hash.map_or_else(String::new, |hash| words::merged_and_adopted(login, &hash)))
            }
            Err(ExecuteError::Refused(refusal)) => {
                let now = self.store.now().await?;
                let mut why = words::refusal(&refusal, None, World { state: &state, now });
                if let Refusal::LacksRole { role, .. } = &refusal {
                    why.push_str(&words::groups_unread(*role, &seen.unread));
                }
                Ok(words::merged_not_adopted(login, &why))
            }
            Err(ExecuteError::Store(error)) => Err(error.into()),
            Err(error) => Ok(words::merged_not_adopted(login, &error.to_string())),
        }
    }

    /// The persons of the plan who wrote a pull request.
    async fn authors(&self, pull: &Pull, state: &State) -> Result<Vec<PersonId>, Stopped> {
        let mut accounts = self.client.authors(pull.number).await?;
        accounts.extend(pull.user.as_ref().map(|user| user.id));
        let mut persons: Vec<PersonId> =
            accounts.iter().filter_map(|account| Self::person(state, &account.to_string())).collect();
        persons.sort();
        persons.dedup();
        Ok(persons)
    }
}
