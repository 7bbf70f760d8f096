//! What is looked at on GitHub before a word counts, and what is done about what happens there.
//!
//! A webhook is a hint: it may be late, lost, or overtaken by what happened since. So whatever can be read again is read
//! again when it is used, and only what a person said in so many words is taken from the webhook itself, provided that it
//! still stands there as it was written.

use std::sync::Arc;

use journal::plan::Platform;
use journal::{Bound, Origin, PersonId, Request, RequestStatus, State};
use journal_store::{Draft, Store, StoreError};

use super::client::{Client, Failure};
use super::event::Event;
use super::receive::review_id;
use crate::arrival::{Arrival, Place, person};
use crate::conversation::{Conversation, Reply, Utterance};
use crate::groups::Groups;
use crate::language::{Command, Dialect, read};
use crate::withdrawn::{Withdrawal, take_back};
use crate::{board, words};

/// Reads GitHub on behalf of what is said there.
#[derive(Debug, Clone)]
pub struct Desk {
    /// GitHub.
    pub client: Arc<Client>,
    /// The journal.
    pub store: Arc<dyn Store>,
    /// The plan's file in the repository.
    pub plan_path: String,
    /// Does what is said.
    pub conversation: Conversation,
    /// Asks the groups that stand for roles.
    pub groups: Arc<Groups>,
}

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
pub enum Stopped {
    /// The journal did not do its part.
    #[error("{0}")]
    Journal(#[from] StoreError),
    /// GitHub did not.
    #[error("{0}")]
    Github(#[from] Failure),
}

/// What a text in a pull request is bound to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Binding {
    /// It asks for nothing that is bound.
    Free,
    /// The head, as it was when the text was read.
    Bound(Bound),
    /// It does not count; the answer.
    Refused(String),
    /// It is gone: nothing is done and nothing said.
    Gone,
}

/// A pull request by its repository and number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct At<'p> {
    pub(super) repository: &'p str,
    pub(super) number: u64,
}

impl<'p> At<'p> {
    pub(super) const fn of(place: &'p Place) -> Option<Self> {
        match place {
            Place::PullRequest { repository, number } => {
                Some(Self { repository: repository.as_str(), number: *number })
            }
            Place::SlackChannel { .. } | Place::SlackHome { .. } | Place::DiscordChannel { .. } => None,
        }
    }

    /// Whether a commit is bound in it.
    pub(super) fn holds(self, bound: &Bound) -> bool {
        bound.repository.eq_ignore_ascii_case(self.repository)
            && bound.pull_request == self.number.to_string()
    }

    pub(super) fn bound(self, head: &str) -> Bound {
        Bound {
            repository: self.repository.to_owned(),
            pull_request: self.number.to_string(),
            head: head.to_owned(),
        }
    }

    /// The requests that were made in it and are as the test wants them, oldest first.
    pub(super) fn requests(self, state: &State, wanted: impl Fn(&RequestStatus) -> bool) -> Vec<&Request> {
        let here = |request: &&Request| request.bound().is_some_and(|bound| self.holds(bound));
        state.requests.values().filter(|request| wanted(&request.status)).filter(here).collect()
    }
}

/// Something that a person says on GitHub.
pub(super) struct Word<'w> {
    /// Who.
    pub(super) person: &'w PersonId,
    /// By which account.
    pub(super) account: &'w str,
    /// Where.
    pub(super) place: &'w Place,
    /// The id of its command.
    pub(super) id: &'w str,
    /// What.
    pub(super) text: &'w str,
    /// What it is written in.
    pub(super) dialect: Dialect,
    /// The commit that it is about.
    pub(super) bound: Option<Bound>,
}

/// The id of a comment from its name in the journal, and whether it is on a diff.
pub(super) fn comment_of(meaning: &str) -> Option<(u64, bool)> {
    let name = meaning.split('.').next()?;
    let (kind, id) = name.rsplit_once(':')?;
    let id = id.parse().ok()?;
    match kind {
        "github:comment" => Some((id, false)),
        "github:diff_comment" => Some((id, true)),
        _ => None,
    }
}

impl Desk {
    /// What a text that arrived is bound to.
    ///
    /// # Errors
    /// GitHub cannot be read now, or the journal.
    pub async fn bind(&self, meaning: &str, arrival: &Arrival, text: &str) -> Result<Binding, Stopped> {
        let dialect = crate::arrival::dialect(&arrival.said);
        let Some(at) = At::of(&arrival.place) else { return Ok(Binding::Free) };
        let commands: Vec<Command> =
            read(text, dialect).into_iter().filter_map(|heard| heard.said.ok()).collect();
        let asks = commands.iter().any(|command| matches!(command, Command::Request { .. }));
        let approves = commands.iter().any(|command| matches!(command, Command::Approve { .. }));
        if !asks && !approves {
            return Ok(Binding::Free);
        }
        if let Some((id, is_on_diff)) = comment_of(meaning) {
            match self.client.comment(id, is_on_diff).await? {
                None => return Ok(Binding::Gone),
                Some(comment) if comment.body.as_deref().unwrap_or_default() != text => {
                    return Ok(Binding::Refused(words::edits_do_not_count()));
                }
                Some(_) => {}
            }
        }
        let Some(pull) = self.client.pull(at.number).await? else { return Ok(Binding::Gone) };
        if asks {
            if pull.is_dropped() {
                return Ok(Binding::Refused(words::pull_dropped()));
            }
            let state = self.store.state().await?;
            if let Some(refusal) = self.plan_in_the_way(&state, pull.head()).await? {
                return Ok(Binding::Refused(refusal));
            }
        }
        Ok(Binding::Bound(at.bound(pull.head())))
    }

    /// Why the plan at a commit does not let anything be asked for; none if it is the adopted one.
    async fn plan_in_the_way(&self, state: &State, head: &str) -> Result<Option<String>, Stopped> {
        let Some((_, adopted)) = &state.plan else { return Ok(None) };
        let text = match self.client.file(&self.plan_path, head).await {
            Ok(Some(text)) => text,
            Ok(None) => return Ok(Some(words::no_plan_at_head(&self.plan_path, head))),
            Err(Failure::Refused(why)) => {
                return Ok(Some(words::plan_unread_at_head(&self.plan_path, head, &why)));
            }
            Err(other) => return Err(other.into()),
        };
        Ok(match journal::Plan::parse(&text) {
            Ok(plan) if plan.hash() == *adopted => None,
            Ok(plan) => Some(words::other_plan_at_head(&self.plan_path, head, &plan.hash(), adopted)),
            Err(_) => Some(words::bad_plan_at_head(&self.plan_path, head)),
        })
    }

    /// Answers what happens on GitHub alone.
    ///
    /// # Errors
    /// GitHub cannot be read now, or the journal.
    pub async fn answer(&self, arrival: &Arrival, event: &Event) -> Result<Vec<Draft>, Stopped> {
        match event {
            Event::Review { id, state, text } => {
                let review = super::review::Reviewed { id: *id, state, text };
                self.reviewed(arrival, &review).await
            }
            Event::Dismissed { id, reviewer } => self.dismissed(arrival, *id, reviewer).await,
            Event::Pull => match At::of(&arrival.place) {
                Some(at) => self.pull_changed(at).await,
                None => Ok(Vec::new()),
            },
            Event::Merged => match At::of(&arrival.place) {
                Some(at) => self.merged(at).await,
                None => Ok(Vec::new()),
            },
            Event::Late { at } => Ok(vec![arrival.place.say(words::too_late(*at))]),
        }
    }

    /// What is said when GitHub could not be read for long enough: who waits for it has to know. What is in the way of a
    /// request is found by the second look.
    #[must_use]
    pub fn unread(state: &State, arrival: &Arrival, event: &Event, why: &str) -> Vec<Draft> {
        let Some(at) = At::of(&arrival.place) else { return Vec::new() };
        let concerns = match event {
            Event::Review { .. } => !at.requests(state, |status| *status == RequestStatus::Open).is_empty(),
            Event::Merged => true,
            Event::Dismissed { .. } | Event::Pull | Event::Late { .. } => false,
        };
        let text = match event {
            Event::Merged => words::merged_not_adopted(&arrival.name, &words::github_unread(why)),
            _ => words::github_unread(why),
        };
        if concerns { vec![arrival.place.say(text)] } else { Vec::new() }
    }

    async fn dismissed(&self, arrival: &Arrival, id: u64, reviewer: &str) -> Result<Vec<Draft>, Stopped> {
        let name = review_id(id);
        let meaning = format!("{name}:dismissed");
        let withdrawal = Withdrawal {
            prefix: &format!("{name}:"),
            id: &meaning,
            origin: arrival.place.origin(&arrival.account, &meaning),
        };
        let taken_back = take_back(&self.store, &withdrawal).await?;
        Ok(taken_back
            .iter()
            .map(|gone| {
                let text = words::review_dismissed(&gone.person, reviewer, &arrival.name, &gone.request);
                once(&arrival.place, &meaning, text)
            })
            .collect())
    }

    /// Says something in a person's name.
    pub(super) async fn say(&self, word: &Word<'_>) -> Reply {
        let origin = Origin { bound: word.bound.clone(), ..word.place.origin(word.account, word.id) };
        let utterance = Utterance {
            person: word.person,
            id: word.id,
            text: word.text,
            dialect: word.dialect,
            origin: Some(origin),
        };
        self.conversation.hear(&utterance).await
    }

    /// Whose account it is.
    pub(super) fn person(state: &State, account: &str) -> Option<PersonId> {
        person(state, Platform::Github, account)
    }
}

/// A message that is said once under its name, however often and by whomever it is found.
pub(super) fn once(place: &Place, name: &str, text: String) -> Draft {
    Draft { living: Some(name.to_owned()), ..place.say(text) }
}

/// A reply; one that made a request is the first state of its operation's living message.
pub(super) fn replied(place: &Place, reply: Reply) -> Draft {
    let living = reply.made.map(|request| board::key(request.get()));
    Draft { living, ..place.say(reply.text) }
}

#[cfg(test)]
mod tests {
    use super::comment_of;
    use crate::github::receive::comment_id;

    #[test]
    fn a_commands_id_tells_its_comment() {
        assert_eq!(comment_of("github:comment:99"), Some((99, false)));
        assert_eq!(comment_of("github:comment:99.0"), Some((99, false)));
        assert_eq!(comment_of("github:diff_comment:7.2"), Some((7, true)));
        for other in ["github:review:50:approved.0", "github:check:60:approve-41:2.0", "chat:1", ""] {
            assert_eq!(comment_of(other), None, "{other}");
        }
    }

    #[test]
    fn ids_are_named_in_one_place() {
        assert_eq!(comment_of(&comment_id(5, true)), Some((5, true)));
        assert_eq!(comment_of(&comment_id(5, false)), Some((5, false)));
    }
}
