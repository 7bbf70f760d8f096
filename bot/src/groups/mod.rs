//! Who is in the groups that the plan lets stand for roles: asked when a role is used, never before.
//!
//! What is seen goes into the event's origin, so that a replay asks nobody. What cannot be asked gives no role. A person who
//! leaves a group after their word is found by the second look, which is taken just before an operation begins, as the one
//! at a pull request is.

mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use journal::plan::Platform;
use journal::{Group, Membership, PersonId, Plan};
use runtime::Clock;

pub use watch::Watch;

/// How long what a group said is believed for the words of the next moments.
const BELIEVED: Duration = Duration::from_secs(30);

/// How long a person waits for a platform that does not answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// The accounts of a group as the plan names accounts, or why it cannot be asked.
type Told = Result<BTreeSet<String>, String>;

/// Asks the platforms.
#[derive(Debug)]
pub struct Groups {
    github: Option<Arc<crate::github::Client>>,
    slack: Option<Arc<crate::slack::Client>>,
    clock: Arc<dyn Clock>,
    /// What each group said, and when by the clock's milliseconds.
    told: Mutex<BTreeMap<Group, (i64, Told)>>,
}

/// What the groups say of a person.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// Those that they are in, and that give them a role which the plan does not.
    pub memberships: Vec<Membership>,
    /// Those that could not be asked, and why.
    pub unread: Vec<(Group, String)>,
}

impl Groups {
    /// Nothing is asked yet.
    #[must_use]
    pub fn new(
        github: Option<Arc<crate::github::Client>>,
        slack: Option<Arc<crate::slack::Client>>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self { github, slack, clock, told: Mutex::default() }
    }

    /// The groups of the plan that a person is in.
    pub async fn of(&self, plan: &Plan, person: &PersonId) -> Seen {
        let mut seen = Seen::default();
        let Some(known) = plan.people.get(person) else { return seen };
        for group in plan.asked_of(known) {
            let Some(account) = known.accounts.get(&group.platform) else { continue };
            // Who is in is believed to be in for a while; who is not may just have joined.
            let believed = self.members(group, BELIEVED).await;
            let told = match believed {
                Ok(members) if !members.contains(account) => self.members(group, Duration::ZERO).await,
                other => other,
            };
            match told {
                Ok(members) if members.contains(account) => seen.memberships.push(Membership {
                    platform: group.platform,
                    group: group.id.clone(),
                    account: account.clone(),
                }),
                Ok(_) => {}
                Err(why) => {
                    tracing::warn!(group = group.id, why, "a group cannot be asked, and gives no role");
                    seen.unread.push((group.clone(), why));
                }
            }
        }
        seen
    }

    /// Which of these memberships are gone.
    ///
    /// # Errors
    /// A group could not be asked now: nothing is known.
    pub(crate) async fn gone(
        &self,
        plan: &Plan,
        memberships: &BTreeSet<Membership>,
    ) -> Result<Vec<Membership>, String> {
        let mut gone = Vec::new();
        for one in memberships {
            let is_it = |group: &&Group| group.platform == one.platform && group.id == one.group;
            let Some(group) = plan.groups.iter().find(is_it) else { continue };
            if !self.members(group, Duration::ZERO).await?.contains(&one.account) {
                gone.push(one.clone());
            }
        }
        Ok(gone)
    }

    async fn members(&self, group: &Group, believed: Duration) -> Told {
        let now = self.clock.now_millis();
        let is_young = |at: i64| u128::from(now.abs_diff(at)) <= believed.as_millis();
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner).get(group).cloned();
        if let Some((_, told)) = told.filter(|(at, _)| !believed.is_zero() && is_young(*at)) {
            return told;
        }
        let told = match tokio::time::timeout(PATIENCE, self.ask(group)).await {
            Ok(told) => told,
            Err(_) => Err(format!("no answer in {} s", PATIENCE.as_secs())),
        };
        // A refusal or a silence is believed for less: whoever puts it right tries again at once.
        if told.is_ok() {
            let mut known = self.told.lock().unwrap_or_else(PoisonError::into_inner);
            known.insert(group.clone(), (now, told.clone()));
        }
        told
    }

    async fn ask(&self, group: &Group) -> Told {
        match (group.platform, &self.github, &self.slack) {
            (Platform::Github, Some(client), _) => crate::github::team(client, group).await,
            (Platform::Slack, _, Some(client)) => crate::slack::user_group(client, group).await,
            _ => Err("the bot's file has no section for it".to_owned()),
        }
    }
}
