//! How GitHub writes what it knows: the documented fields of REST answers and of webhooks.

use serde_json::{Value, json};

use super::auth::{APP, INSTALLATION};
use super::world::{APP_USER, Check, Comment, Deployment, Pull, Review, Thread, World};

impl World {
    fn url(&self, rest: &str) -> String {
        format!("https://github.test/{}/{rest}", self.repository)
    }

    /// An account; null, as for the account that is gone.
    #[must_use]
    pub fn user(&self, id: Option<u64>) -> Value {
        let Some(user) = id.and_then(|id| self.users.get(&id)) else { return Value::Null };
        json!({
            "login": user.login, "id": user.id, "node_id": format!("U_{}", user.id), "type": user.kind,
            "site_admin": false, "html_url": format!("https://github.test/{}", user.login),
        })
    }

    /// The repository.
    #[must_use]
    pub fn repository(&self) -> Value {
        self.repository_named(&self.repository)
    }

    fn repository_named(&self, full_name: &str) -> Value {
        let (owner, name) = full_name.split_once('/').unwrap_or_default();
        json!({
            "id": self.repository_id, "node_id": "R_1", "name": name, "full_name": full_name, "private": true,
            "owner": {"login": owner, "id": 9001, "type": "Organization"},
            "html_url": format!("https://github.test/{full_name}"), "default_branch": "main", "fork": false,
        })
    }

    /// A pull request, as REST and webhooks write it.
    #[must_use]
    pub fn pull(&self, pull: &Pull) -> Value {
        let head_repository = pull.head_repository.as_deref().map(|name| self.repository_named(name));
        json!({
            "id": 500_000 + pull.number, "node_id": format!("PR_{}", pull.number), "number": pull.number,
            "state": if pull.is_open { "open" } else { "closed" }, "locked": false, "title": pull.title,
            "user": self.user(Some(pull.author)), "body": null, "draft": pull.is_draft,
            "created_at": pull.created_at, "updated_at": pull.updated_at,
            "closed_at": if pull.is_open { Value::Null } else { json!(pull.updated_at) },
            "merged_at": if pull.merged.is_some() { json!(pull.updated_at) } else { Value::Null },
            "merge_commit_sha": pull.merged.as_ref().map(|(_, sha)| sha), "merged": pull.merged.is_some(),
            "merged_by": self.user(pull.merged.as_ref().map(|(by, _)| *by)),
            "head": {
                "label": format!("acme:{}", pull.head_branch), "ref": pull.head_branch, "sha": pull.head,
                "user": self.user(Some(pull.author)), "repo": head_repository,
            },
            "base": {
                "label": "acme:main", "ref": "main", "sha": pull.base, "repo": self.repository(),
            },
            "html_url": self.url(&format!("pull/{}", pull.number)),
            "author_association": "CONTRIBUTOR", "commits": self.commits_of(pull).len(),
        })
    }

    /// The same in a list, which tells less.
    #[must_use]
    pub fn listed_pull(&self, pull: &Pull) -> Value {
        let mut shown = self.pull(pull);
        if let Some(shown) = shown.as_object_mut() {
            shown.remove("merged");
            shown.remove("merged_by");
            shown.remove("commits");
        }
        shown
    }

    /// A pull request or an issue, as events about issues write it.
    #[must_use]
    pub fn issue(&self, thread: Thread) -> Value {
        let number = thread.number();
        let pull = self.pulls.get(&number);
        let mut issue = json!({
            "id": 600_000 + number, "number": number, "state": "open", "locked": false,
            "title": pull.map_or("an issue", |pull| pull.title.as_str()),
            "user": self.user(pull.map(|pull| pull.author)), "html_url": self.url(&format!("issues/{number}")),
            "author_association": "CONTRIBUTOR",
        });
        if let (Some(pull), Some(issue)) = (pull, issue.as_object_mut()) {
            let url = self.url(&format!("pull/{number}"));
            issue.insert("pull_request".to_owned(), json!({"url": url, "html_url": url}));
            issue.insert("state".to_owned(), json!(if pull.is_open { "open" } else { "closed" }));
        }
        issue
    }

    /// A comment.
    #[must_use]
    pub fn comment(&self, comment: &Comment) -> Value {
        let number = comment.thread.number();
        let is_app = comment.author == Some(APP_USER);
        let page = match comment.thread {
            Thread::Pull(_) => format!("pull/{number}#issuecomment-{}", comment.id),
            Thread::Issue(_) => format!("issues/{number}#issuecomment-{}", comment.id),
            Thread::Diff(_) => format!("pull/{number}#discussion_r{}", comment.id),
        };
        let mut shown = json!({
            "id": comment.id, "node_id": format!("IC_{}", comment.id), "user": self.user(comment.author),
            "body": comment.body, "created_at": comment.created_at, "updated_at": comment.updated_at,
            "html_url": self.url(&page),
            "author_association": if is_app { "NONE" } else { "CONTRIBUTOR" },
            "performed_via_github_app": if is_app { json!({"id": APP, "slug": "switchyard"}) } else { Value::Null },
        });
        let (key, kind) = match comment.thread {
            Thread::Diff(_) => ("pull_request_url", "pulls"),
            Thread::Pull(_) | Thread::Issue(_) => ("issue_url", "issues"),
        };
        let url = format!("https://api.github.test/repos/{}/{kind}/{number}", self.repository);
        if let Some(shown) = shown.as_object_mut() {
            shown.insert(key.to_owned(), json!(url));
            if matches!(comment.thread, Thread::Diff(_)) {
                shown.insert("path".to_owned(), json!("switchyard.toml"));
                shown.insert("diff_hunk".to_owned(), json!("@@ -1 +1 @@"));
            }
        }
        shown
    }

    /// A review: REST writes its state in capitals, webhooks in small letters.
    #[must_use]
    pub fn review(&self, review: &Review, is_rest: bool) -> Value {
        let state = if is_rest { review.state.to_owned() } else { review.state.to_lowercase() };
        json!({
            "id": review.id, "node_id": format!("PRR_{}", review.id), "user": self.user(Some(review.author)),
            "body": if review.body.is_empty() { Value::Null } else { json!(review.body) }, "state": state,
            "commit_id": review.commit, "submitted_at": review.submitted_at, "author_association": "CONTRIBUTOR",
            "html_url": self.url(&format!("pull/{}#pullrequestreview-{}", review.number, review.id)),
        })
    }

    /// A check run.
    #[must_use]
    pub fn check(&self, check: &Check) -> Value {
        let open = self.pulls.values().filter(|pull| pull.is_open && pull.head == check.head);
        let pulls: Vec<Value> = open
            .map(|pull| json!({"number": pull.number, "head": {"sha": pull.head, "ref": pull.head_branch}}))
            .collect();
        json!({
            "id": check.id, "node_id": format!("CR_{}", check.id), "name": check.name, "head_sha": check.head,
            "external_id": check.external_id, "status": check.status, "conclusion": check.conclusion,
            "output": {"title": check.title, "summary": check.summary, "text": check.text},
            "app": {"id": APP, "slug": "switchyard"}, "pull_requests": pulls,
            "html_url": self.url(&format!("runs/{}", check.id)),
            "check_suite": {"id": 77, "head_sha": check.head},
        })
    }

    /// A deployment.
    #[must_use]
    pub fn deployment(&self, deployment: &Deployment) -> Value {
        json!({
            "id": deployment.id, "node_id": format!("DE_{}", deployment.id), "sha": deployment.sha,
            "ref": deployment.sha, "task": deployment.task, "environment": deployment.environment,
            "original_environment": deployment.environment, "description": deployment.description,
            "payload": deployment.payload, "creator": self.user(Some(APP_USER)), "transient_environment": false,
            "production_environment": deployment.is_production,
        })
    }

    /// A webhook's body: what every one carries, and its own.
    #[must_use]
    pub fn event(&self, action: &str, sender: u64, own: Value) -> Value {
        let mut event = json!({
            "action": action, "repository": self.repository(), "sender": self.user(Some(sender)),
            "organization": {"login": "acme", "id": 9001},
            "installation": {"id": INSTALLATION, "node_id": "MDIz"},
        });
        if let (Some(event), Value::Object(own)) = (event.as_object_mut(), own) {
            event.extend(own);
        }
        event
    }
}
