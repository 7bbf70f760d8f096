//! From the outbox to GitHub: comments, check runs, deployments, and comments that are minimised.
//!
//! A row that was tried before may be there already. Whatever is made carries a mark by which it is looked for before it is
//! made again: a comment its row's number, a check run and a deployment their operation's. A comment that people deleted is
//! made anew.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use journal::Timestamp;
use journal::plan::Platform;
use journal_store::Outgoing;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::client::{Client, Failure};
use super::repository::Comment;
use crate::markup::{Flavour, render};
use crate::outbound::{Carrier, Delivery};

/// GitHub asks for a second between two requests that make content.
const PACE: Duration = Duration::from_secs(1);

/// What check runs take, in characters of their output's summary and text; less than 65,535, since marks count.
const LONGEST_OUTPUT: usize = 60_000;

/// What a deployment's status takes, in characters.
const LONGEST_DESCRIPTION: usize = 140;

/// Where a row goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "at", rename_all = "snake_case")]
pub(super) enum Target {
    /// A pull request's conversation; written as [`crate::arrival::Place`] writes it.
    PullRequest {
        /// `owner/name`.
        repository: String,
        /// Its number.
        number: u64,
    },
    /// A commit's checks.
    Commit {
        /// The commit.
        head: String,
    },
    /// A phase's deployments.
    Environment {
        /// The phase.
        phase: String,
    },
    /// The comments in a pull request that show older operations of a phase.
    Older {
        /// The pull request's number.
        number: u64,
    },
}

/// A comment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Told {
    /// What it says, as the terminal would print it.
    pub(super) text: String,
    /// The phase of the operation that it shows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) phase: Option<String>,
    /// A text in GitHub's own Markdown, which follows it as it is: nothing that people wrote stands in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) markdown: Option<String>,
}

/// A check run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Run {
    /// Its name.
    pub(super) name: String,
    /// What it shows.
    pub(super) shown: Shown,
    /// `queued`, `in_progress`, `completed`.
    pub(super) status: String,
    /// How it ended.
    pub(super) conclusion: Option<String>,
    /// One line.
    pub(super) title: String,
    /// What the living comment says.
    pub(super) summary: String,
    /// The evidence.
    pub(super) text: String,
    /// The request that its buttons approve or deny, as long as it has some.
    pub(super) asks: Option<u64>,
}

/// What a check run shows, and what a press on its buttons is checked against.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Shown {
    /// The request.
    pub(super) request: u64,
    /// The first digits of its plan's hash.
    pub(super) plan: String,
    /// The pull request in which it was asked for.
    pub(super) number: u64,
}

impl Shown {
    /// As it stands in the check run: `41:12345678:7`.
    fn external_id(&self) -> String {
        format!("{}:{}:{}", self.request, self.plan, self.number)
    }

    /// What stands in a check run; none if it is not one of these.
    pub(super) fn read(external_id: &str) -> Option<Self> {
        let mut parts = external_id.split(':');
        let request = parts.next()?.parse().ok()?;
        let plan = parts.next().filter(|plan| plan.len() >= 8)?.to_owned();
        let number = parts.next()?.parse().ok()?;
        parts.next().is_none().then_some(Self { request, plan, number })
    }
}

/// A deployment and its newest status.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Deployed {
    /// The request.
    pub(super) request: u64,
    /// The operation.
    pub(super) operation: String,
    /// The plan it runs by.
    pub(super) plan: String,
    /// The commit; none: the newest one of the default branch.
    pub(super) head: Option<String>,
    /// `in_progress`, `success`, `failure`, …
    pub(super) state: String,
    /// One line.
    pub(super) description: String,
}

/// A phase whose older comments are minimised.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Superseded {
    /// The phase.
    pub(super) phase: String,
    /// The request that took their place.
    pub(super) request: u64,
}

/// Delivers to GitHub.
#[derive(Debug)]
pub struct GithubSender {
    client: Arc<Client>,
}

fn id_of(made: &Value) -> Result<String, Failure> {
    match made.get("id").and_then(Value::as_u64) {
        Some(id) => Ok(id.to_string()),
        None => Err(Failure::Later { wait: None, why: "GitHub's answer has no id".to_owned() }),
    }
}

fn body_of<T: serde::de::DeserializeOwned>(outgoing: &Outgoing) -> Result<T, Failure> {
    serde_json::from_value(outgoing.draft.body.clone())
        .map_err(|error| Failure::Refused(format!("the row cannot be read: {error}")))
}

fn mark(outgoing: &Outgoing) -> String {
    format!("<!-- switchyard:{} -->", outgoing.id)
}

/// The mark of the comment that shows an operation, up to the phase.
const SHOWN: &str = "<!-- switchyard:request:";

impl Told {
    fn body(&self, outgoing: &Outgoing) -> String {
        let mut body = render(&self.text, Flavour::Github);
        if let Some(markdown) = &self.markdown {
            let _written = write!(body, "\n\n{markdown}");
        }
        body.push_str("\n\n");
        let request = outgoing.draft.living.as_deref().and_then(|key| key.strip_prefix("request:"));
        if let (Some(request), Some(phase)) = (request, &self.phase) {
            let _written = writeln!(body, "{SHOWN}{request}:{phase} -->");
        }
        body.push_str(&mark(outgoing));
        body
    }
}

/// The operation that a comment shows, by its mark: its request and its phase.
fn shown_by(body: &str) -> Option<(u64, &str)> {
    let (_, rest) = body.rsplit_once(SHOWN)?;
    let (request, phase) = rest.split_once(" -->")?.0.split_once(':')?;
    Some((request.parse().ok()?, phase))
}

impl Run {
    fn body(&self, head: Option<&str>) -> Value {
        let cut = |text: &str| -> String { text.chars().take(LONGEST_OUTPUT).collect() };
        let mut body = json!({
            "name": self.name,
            "external_id": self.shown.external_id(),
            "status": self.status,
            "output": {
                "title": self.title,
                "summary": cut(&render(&self.summary, Flavour::Github)),
                "text": cut(&self.text),
            },
            "actions": self.actions(),
        });
        if let Some(body) = body.as_object_mut() {
            if let Some(head) = head {
                body.insert("head_sha".to_owned(), json!(head));
            }
            if let Some(conclusion) = &self.conclusion {
                body.insert("conclusion".to_owned(), json!(conclusion));
            }
        }
        body
    }

    fn actions(&self) -> Vec<Value> {
        let Some(request) = self.asks else { return Vec::new() };
        let button = |word: &str, label: &str, description: &str| {
            json!({
                "label": format!("{label} #{request}"),
                "description": description,
                "identifier": format!("{word}-{request}"),
            })
        };
        vec![
            button("approve", "Approve", crate::words::approve_described()),
            button("deny", "Deny", crate::words::deny_described()),
        ]
    }
}

impl GithubSender {
    /// A sender.
    #[must_use]
    pub const fn new(client: Arc<Client>) -> Self {
        Self { client }
    }

    async fn comment(&self, number: u64, outgoing: &Outgoing) -> Result<String, Failure> {
        let told: Told = body_of(outgoing)?;
        let body = json!({ "body": told.body(outgoing) });
        let known = match &outgoing.edits {
            Some(id) => Some(id.clone()),
            None if outgoing.attempts > 1 => self.posted(number, outgoing).await?,
            None => None,
        };
        if let Some(id) = known {
            match self.client.patch(&format!("/issues/comments/{id}"), &body).await {
                Ok(edited) => return id_of(&edited),
                // Somebody deleted it: a new one takes its place.
                Err(Failure::Missing) => {}
                Err(other) => return Err(other),
            }
        }
        id_of(&self.client.post(&format!("/issues/{number}/comments"), &body).await?)
    }

    /// The comments of this App in a conversation that are not older than a moment.
    async fn own(&self, number: u64, since: Timestamp) -> Result<Vec<Comment>, Failure> {
        let mut found = self.client.conversation_since(number, since).await?;
        found.retain(|comment| comment.user.as_ref().is_some_and(|user| user.kind == "Bot"));
        Ok(found)
    }

    /// The comment with this row's mark.
    async fn posted(&self, number: u64, outgoing: &Outgoing) -> Result<Option<String>, Failure> {
        let mark = mark(outgoing);
        // A minute for clocks that differ.
        let since = Timestamp::from_millis(outgoing.written_at.millis() - 60_000);
        let own = self.own(number, since).await?;
        let is_it =
            |comment: &&Comment| comment.body.as_deref().unwrap_or_default().trim_end().ends_with(&mark);
        Ok(own.iter().find(is_it).map(|comment| comment.id.to_string()))
    }

    async fn check(&self, head: &str, outgoing: &Outgoing) -> Result<String, Failure> {
        let run: Run = body_of(outgoing)?;
        let known = match &outgoing.edits {
            Some(id) => Some(id.clone()),
            None if outgoing.attempts > 1 => self.made(head, &run).await?,
            None => None,
        };
        let made = match known {
            Some(id) => self.client.patch(&format!("/check-runs/{id}"), &run.body(None)).await,
            None => self.client.post("/check-runs", &run.body(Some(head))).await,
        };
        id_of(&made?)
    }

    /// The check run of this operation, if it is there.
    async fn made(&self, head: &str, run: &Run) -> Result<Option<String>, Failure> {
        let found = self.client.of_repository(&format!("/commits/{head}/check-runs?per_page=100")).await?;
        let runs = found.get("check_runs").and_then(Value::as_array);
        let external_id = run.shown.external_id();
        let is_it =
            |one: &&Value| one.get("external_id").and_then(Value::as_str) == Some(external_id.as_str());
        Ok(runs
            .into_iter()
            .flatten()
            .find(is_it)
            .and_then(|one| one.get("id")?.as_u64())
            .map(|id| id.to_string()))
    }

    async fn deployment(&self, phase: &str, outgoing: &Outgoing) -> Result<String, Failure> {
        let deployed: Deployed = body_of(outgoing)?;
        let known = match &outgoing.edits {
            Some(id) => Some(id.clone()),
            None if outgoing.attempts > 1 => self.deployed(phase, deployed.request).await?,
            None => None,
        };
        let id = match known {
            Some(id) => id,
            None => self.deploy(phase, &deployed).await?,
        };
        let description: String = deployed.description.chars().take(LONGEST_DESCRIPTION).collect();
        let status = json!({ "state": deployed.state, "description": description, "auto_inactive": true });
        self.client.post(&format!("/deployments/{id}/statuses"), &status).await?;
        Ok(id)
    }

    async fn deploy(&self, phase: &str, deployed: &Deployed) -> Result<String, Failure> {
        let reference = match &deployed.head {
            Some(head) => head.clone(),
            None => {
                let repository = self.client.of_repository("").await?;
                repository.get("default_branch").and_then(Value::as_str).unwrap_or("main").to_owned()
            }
        };
        let body = json!({
            "ref": reference,
            "environment": phase,
            "task": deployed.operation,
            "description": deployed.description.chars().take(LONGEST_DESCRIPTION).collect::<String>(),
            "auto_merge": false,
            // The checks of the commit are this program's own, and not over yet.
            "required_contexts": [],
            "payload": { "request": deployed.request.to_string(), "plan": deployed.plan },
        });
        id_of(&self.client.post("/deployments", &body).await?)
    }

    /// The deployment of this operation, if it is there.
    async fn deployed(&self, phase: &str, request: u64) -> Result<Option<String>, Failure> {
        let found =
            self.client.of_repository(&format!("/deployments?environment={phase}&per_page=100")).await?;
        let request = request.to_string();
        let is_it =
            |one: &&Value| one.pointer("/payload/request").and_then(Value::as_str) == Some(request.as_str());
        let found = found.as_array().and_then(|all| all.iter().find(is_it));
        Ok(found.and_then(|one| one.get("id")?.as_u64()).map(|id| id.to_string()))
    }

    /// Minimises the comments that show older operations of a phase.
    async fn minimise(&self, number: u64, outgoing: &Outgoing) -> Result<String, Failure> {
        let superseded: Superseded = body_of(outgoing)?;
        let own = self.own(number, Timestamp::from_millis(0)).await?;
        let older = own.into_iter().filter(|comment| {
            let shown = shown_by(comment.body.as_deref().unwrap_or_default());
            shown.is_some_and(|(request, phase)| request < superseded.request && phase == superseded.phase)
        });
        for comment in older {
            let query = "mutation($subject: ID!, $classifier: ReportedContentClassifiers!) { \
                         minimizeComment(input: {subjectId: $subject, classifier: $classifier}) { \
                         minimizedComment { isMinimized } } }";
            let variables = json!({ "subject": comment.node_id, "classifier": "OUTDATED" });
            match self.client.graphql(&json!({ "query": query, "variables": variables })).await {
                Ok(_) | Err(Failure::Missing) => {}
                // It is not worth more: the comment stays as it is.
                Err(Failure::Refused(why)) => tracing::warn!(comment = comment.id, why, "not minimised"),
                Err(later) => return Err(later),
            }
        }
        Ok(format!("older-than:{}", superseded.request))
    }
}

#[async_trait]
impl Carrier for GithubSender {
    fn platform(&self) -> Platform {
        Platform::Github
    }

    fn pace(&self) -> Duration {
        PACE
    }

    async fn deliver(&self, outgoing: &Outgoing) -> Delivery {
        let sent = match serde_json::from_str(&outgoing.draft.destination) {
            Ok(Target::PullRequest { number, .. }) => self.comment(number, outgoing).await,
            Ok(Target::Commit { head }) => self.check(&head, outgoing).await,
            Ok(Target::Environment { phase }) => self.deployment(&phase, outgoing).await,
            Ok(Target::Older { number }) => self.minimise(number, outgoing).await,
            Err(error) => Err(Failure::Refused(format!("the row cannot be read: {error}"))),
        };
        match sent {
            Ok(id) => Delivery::Sent(id),
            Err(Failure::Later { wait, why }) => Delivery::Later { wait, why },
            Err(failure @ (Failure::Missing | Failure::Refused(_))) => Delivery::Never(failure.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Shown, shown_by};

    #[test]
    fn a_comment_tells_which_operation_it_shows() {
        let body = "text\n\n<!-- switchyard:request:41:region-a -->\n<!-- switchyard:7 -->";
        assert_eq!(shown_by(body), Some((41, "region-a")));
        assert_eq!(shown_by("<!-- switchyard:7 -->"), None);
        assert_eq!(shown_by("<!-- switchyard:request:x:region-a -->"), None);
    }

    #[test]
    fn a_check_run_tells_what_it_shows() {
        let shown = Shown { request: 41, plan: "12345678".to_owned(), number: 7 };
        assert_eq!(Shown::read(&shown.external_id()), Some(shown));
        for other in ["", "41", "41:12345678", "41:1234:7", "x:12345678:7", "41:12345678:7:8"] {
            assert_eq!(Shown::read(other), None, "{other}");
        }
    }
}
