//! What is read of the repository.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::super::world::{Comment, Pull, Thread};
use super::{Answer, Answered, Api, Request, not_found};

impl Api<'_> {
    pub(super) fn read(&mut self, request: &Request, rest: &[&str]) -> Answered {
        match rest {
            [] => {
                self.needs("metadata", "read")?;
                Ok(Answer::ok(self.world.repository()))
            }
            ["contents", path @ ..] => self.contents(request, &path.join("/")),
            ["pulls"] => {
                self.needs("pull_requests", "read")?;
                let wanted = request.query.get("state").map_or("open", String::as_str).to_owned();
                let mut found: Vec<&Pull> = self
                    .world
                    .pulls
                    .values()
                    .rev()
                    .filter(|pull| wanted == "all" || (wanted == "open") == pull.is_open)
                    .collect();
                if request.query.get("sort").is_some_and(|sort| sort == "updated") {
                    found.sort_by(|one, other| other.updated_at.cmp(&one.updated_at));
                }
                let pulls: Vec<Value> = found.into_iter().map(|pull| self.world.listed_pull(pull)).collect();
                Ok(self.page(request, &pulls))
            }
            ["pulls", "comments"] => {
                self.needs("pull_requests", "read")?;
                self.comments(request, |comment| matches!(comment.thread, Thread::Diff(_)))
            }
            ["pulls", "comments", id] => {
                self.needs("pull_requests", "read")?;
                let comment = id.parse().ok().and_then(|id: u64| self.world.comments.get(&id));
                let comment = comment.filter(|comment| matches!(comment.thread, Thread::Diff(_)));
                Ok(Answer::ok(self.world.comment(comment.ok_or_else(not_found)?)))
            }
            ["pulls", number, what @ ..] => self.pull(request, number, what),
            ["issues", "comments"] => {
                self.needs("issues", "read")?;
                self.comments(request, |comment| !matches!(comment.thread, Thread::Diff(_)))
            }
            ["issues", "comments", id] => {
                self.needs("issues", "read")?;
                let comment = id.parse().ok().and_then(|id: u64| self.world.comments.get(&id));
                let comment = comment.filter(|comment| !matches!(comment.thread, Thread::Diff(_)));
                Ok(Answer::ok(self.world.comment(comment.ok_or_else(not_found)?)))
            }
            ["issues", number, "comments"] => {
                self.needs("issues", "read")?;
                let number: u64 = number.parse().map_err(|_| not_found())?;
                self.comments(request, |comment| {
                    !matches!(comment.thread, Thread::Diff(_)) && comment.thread.number() == number
                })
            }
            ["commits", reference] => {
                self.needs("contents", "read")?;
                let sha = self.world.resolve(Some(reference));
                // A branch or a commit that is not there is unprocessable, as the real one has it.
                let sha = sha
                    .ok_or_else(|| Answer::refusal(422, &format!("No commit found for SHA: {reference}")))?;
                Ok(Answer::ok(json!({"sha": sha, "commit": {"message": "a change"}})))
            }
            ["commits", reference, "check-runs"] => {
                self.needs("checks", "read")?;
                let sha = self.world.resolve(Some(reference)).ok_or_else(not_found)?;
                let name = request.query.get("check_name");
                let runs: Vec<Value> = self
                    .world
                    .checks
                    .values()
                    .filter(|check| check.head == sha && name.is_none_or(|name| *name == check.name))
                    .map(|check| self.world.check(check))
                    .collect();
                let total = runs.len();
                let mut answer = self.page(request, &runs);
                answer.body = json!({"total_count": total, "check_runs": answer.body});
                Ok(answer)
            }
            ["deployments"] => {
                self.needs("deployments", "read")?;
                let is =
                    |name: &str, value: &str| request.query.get(name).is_none_or(|wanted| wanted == value);
                let found: Vec<Value> = self
                    .world
                    .deployments
                    .values()
                    .rev()
                    .filter(|one| {
                        is("environment", &one.environment) && is("sha", &one.sha) && is("task", &one.task)
                    })
                    .map(|one| self.world.deployment(one))
                    .collect();
                Ok(self.page(request, &found))
            }
            ["collaborators", login, "permission"] => {
                self.needs("metadata", "read")?;
                let user = self.world.users.values().find(|user| user.login.eq_ignore_ascii_case(login));
                let user = user.ok_or_else(not_found)?;
                let permission = self.world.collaborators.get(&user.id).copied().unwrap_or("none");
                let shown = self.world.user(Some(user.id));
                Ok(Answer::ok(json!({"permission": permission, "role_name": permission, "user": shown})))
            }
            _ => self.unknown(request),
        }
    }

    /// A file at a commit: as JSON with its content in base64, or raw.
    fn contents(&mut self, request: &Request, path: &str) -> Answered {
        self.needs("contents", "read")?;
        let reference = request.query.get("ref").map(String::as_str);
        if reference.is_none() {
            self.world.violations.push(format!("{path} was read from a branch that moves, at no ref"));
        }
        let sha = self.world.resolve(reference).ok_or_else(not_found)?;
        let commit = self.world.commits.get(&sha).ok_or_else(not_found)?;
        let text = commit.files.get(path).ok_or_else(not_found)?;
        if request.wants_raw {
            return Ok(Answer { raw: Some(text.clone()), ..Answer::ok(Value::Null) });
        }
        // GitHub breaks base64 into lines of sixty.
        let encoded = STANDARD.encode(text);
        let mut lines = String::new();
        for (index, letter) in encoded.chars().enumerate() {
            if index > 0 && index % 60 == 0 {
                lines.push('\n');
            }
            lines.push(letter);
        }
        Ok(Answer::ok(json!({
            "type": "file", "encoding": "base64", "size": text.len(), "name": path, "path": path, "sha": sha,
            "content": format!("{lines}\n"), "url": "…",
            "html_url": format!("https://github.test/{}/blob/{sha}/{path}", self.world.repository),
        })))
    }

    fn pull(&mut self, request: &Request, number: &str, what: &[&str]) -> Answered {
        self.needs("pull_requests", "read")?;
        let number: u64 = number.parse().map_err(|_| not_found())?;
        let pull = self.world.pulls.get(&number).ok_or_else(not_found)?;
        match what {
            [] => Ok(Answer::ok(self.world.pull(pull))),
            ["reviews"] => {
                let of_pull = self.world.reviews.values().filter(|review| review.number == number);
                let mut reviews: Vec<_> = of_pull.collect();
                reviews
                    .sort_by(|one, other| (&one.submitted_at, one.id).cmp(&(&other.submitted_at, other.id)));
                let shown: Vec<Value> =
                    reviews.into_iter().map(|review| self.world.review(review, true)).collect();
                Ok(self.page(request, &shown))
            }
            ["files"] => {
                let files: Vec<Value> = self
                    .world
                    .changed(pull)
                    .into_iter()
                    .map(|(path, status)| json!({"filename": path, "status": status, "sha": pull.head}))
                    .collect();
                Ok(self.page(request, &files))
            }
            ["commits"] => {
                let commits: Vec<Value> = self
                    .world
                    .commits_of(pull)
                    .into_iter()
                    .map(|sha| {
                        let author = self.world.commits.get(&sha).map(|commit| commit.author);
                        let login =
                            author.and_then(|id| self.world.users.get(&id)).map(|user| user.login.clone());
                        json!({
                            "sha": sha, "author": self.world.user(author),
                            "commit": {"message": "a change", "author": {"name": login, "email": "x@x.test"}},
                        })
                    })
                    .collect();
                Ok(self.page(request, &commits))
            }
            _ => self.unknown(request),
        }
    }

    fn comments(&self, request: &Request, wanted: impl Fn(&Comment) -> bool) -> Answered {
        let since = request.query.get("since").and_then(|text| text.parse::<jiff::Timestamp>().ok());
        if request.query.contains_key("since") && since.is_none() {
            return Err(Answer::refusal(422, "since is no ISO 8601 time"));
        }
        let mut found: Vec<&Comment> = self
            .world
            .comments
            .values()
            .filter(|comment| wanted(comment))
            .filter(|comment| {
                let updated = comment.updated_at.parse::<jiff::Timestamp>().ok();
                let is_late = self.world.listed_late.contains(&comment.id);
                since.is_none_or(|since| is_late || updated.is_some_and(|updated| updated >= since))
            })
            .collect();
        if request.query.get("sort").is_some_and(|sort| sort == "updated") {
            found.sort_by(|one, other| (&one.updated_at, one.id).cmp(&(&other.updated_at, other.id)));
        }
        if request.query.get("direction").is_some_and(|direction| direction == "desc") {
            found.reverse();
        }
        let shown: Vec<Value> = found.into_iter().map(|comment| self.world.comment(comment)).collect();
        Ok(self.page(request, &shown))
    }
}
