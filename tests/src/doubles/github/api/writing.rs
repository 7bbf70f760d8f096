//! What is written into the repository: comments, check runs, deployments.

use std::time::Instant;

use serde_json::{Value, json};

use super::super::world::{APP_USER, Action, Check, Comment, Deployment, Thread};
use super::{Answer, Answered, Api, Fields, Request, not_found};

/// The longest comment, in characters.
const LONGEST: usize = 65_536;

const CONCLUSIONS: [&str; 7] =
    ["action_required", "cancelled", "failure", "neutral", "success", "skipped", "timed_out"];

/// The fields of a check run that a request names.
struct Changes {
    name: Option<String>,
    head: Option<String>,
    external_id: Option<String>,
    status: Option<String>,
    conclusion: Option<String>,
    output: Option<(String, String, String)>,
    actions: Option<Vec<Action>>,
}

fn within(text: &str, most: usize, field: &str) -> Result<(), Answer> {
    if text.chars().count() > most { Err(Answer::invalid("CheckRun", field, "invalid")) } else { Ok(()) }
}

fn action(value: &Value) -> Result<Action, Answer> {
    let text = |name: &str, most: usize| {
        let text = value.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
        let text = text.ok_or_else(|| Answer::invalid("CheckRun", "actions", "missing_field"))?;
        within(text, most, "actions")?;
        Ok::<_, Answer>(text.to_owned())
    };
    text("description", 40)?;
    Ok(Action { label: text("label", 20)?, identifier: text("identifier", 20)? })
}

fn changes(fields: &mut Fields<'_>) -> Result<Changes, Answer> {
    let output = match fields.value("output") {
        None => None,
        Some(output) => {
            let text = |name: &str| output.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
            let (title, summary, text) = (text("title"), text("summary"), text("text"));
            if title.is_empty() || summary.is_empty() {
                return Err(Answer::invalid("CheckRun", "output", "missing_field"));
            }
            within(&summary, 65_535, "output.summary")?;
            within(&text, 65_535, "output.text")?;
            Some((title, summary, text))
        }
    };
    let actions = match fields.value("actions").map(Value::as_array) {
        None => None,
        Some(Some(actions)) if actions.len() <= 3 => {
            Some(actions.iter().map(action).collect::<Result<Vec<_>, _>>()?)
        }
        Some(_) => return Err(Answer::invalid("CheckRun", "actions", "invalid")),
    };
    let status = fields.one_of("status", &["queued", "in_progress", "completed"])?;
    let conclusion = fields.one_of("conclusion", &CONCLUSIONS)?;
    if status.as_deref() == Some("completed") && conclusion.is_none() {
        return Err(Answer::invalid("CheckRun", "conclusion", "missing_field"));
    }
    for time in ["started_at", "completed_at"] {
        if fields.text(time)?.is_some_and(|text| text.parse::<jiff::Timestamp>().is_err()) {
            return Err(Answer::invalid("CheckRun", time, "invalid"));
        }
    }
    fields.value("details_url");
    Ok(Changes {
        name: fields.text("name")?,
        head: fields.text("head_sha")?,
        external_id: fields.text("external_id")?,
        status,
        conclusion,
        output,
        actions,
    })
}

impl Check {
    fn change(&mut self, changes: Changes) {
        if let Some(external_id) = changes.external_id {
            self.external_id = external_id;
        }
        // A conclusion makes it completed; another status takes the conclusion away.
        if let Some(conclusion) = changes.conclusion {
            (self.status, self.conclusion) = ("completed".to_owned(), Some(conclusion));
        } else if let Some(status) = changes.status {
            (self.status, self.conclusion) = (status, None);
        }
        if let Some((title, summary, text)) = changes.output {
            (self.title, self.summary, self.text) = (title, summary, text);
        }
        if let Some(actions) = changes.actions {
            self.actions = actions;
        }
        let state = (self.conclusion.clone().unwrap_or_else(|| self.status.clone()), self.title.clone());
        if self.states.last() != Some(&state) {
            self.states.push(state);
        }
    }
}

impl Api<'_> {
    pub(super) fn write(&mut self, request: &Request, rest: &[&str]) -> Answered {
        match (request.method.as_str(), rest) {
            ("POST", ["issues", number, "comments"]) => self.create_comment(request, number),
            ("PATCH", ["issues", "comments", id]) => self.edit_comment(request, id),
            ("POST", ["check-runs"]) => self.create_check(request),
            ("PATCH", ["check-runs", id]) => self.update_check(request, id),
            ("POST", ["deployments"]) => self.create_deployment(request),
            ("POST", ["deployments", id, "statuses"]) => self.deployment_status(request, id),
            _ => self.unknown(request),
        }
    }

    fn body_of_comment(&mut self, request: &Request) -> Result<String, Answer> {
        let body = self.fields("IssueComment", &request.body, |fields| fields.required("body"))?;
        if body.chars().count() > LONGEST {
            let mut answer = Answer::invalid("IssueComment", "body", "unprocessable");
            if let Some(error) = answer.body.pointer_mut("/errors/0") {
                *error = json!({"resource": "IssueComment", "code": "unprocessable", "field": "data",
                    "message": format!("Body is too long (maximum is {LONGEST} characters)")});
            }
            return Err(answer);
        }
        Ok(body)
    }

    fn create_comment(&mut self, request: &Request, number: &str) -> Answered {
        // A pull request's conversation is an issue's, and is asked for as both.
        self.needs("issues", "write")?;
        self.needs("pull_requests", "write")?;
        let number: u64 = number.parse().map_err(|_| not_found())?;
        let thread = match (self.world.pulls.contains_key(&number), self.world.issues.contains(&number)) {
            (true, _) => Thread::Pull(number),
            (false, true) => Thread::Issue(number),
            (false, false) => return Err(not_found()),
        };
        let body = self.body_of_comment(request)?;
        let comment = Comment {
            id: self.world.number(),
            thread,
            author: Some(APP_USER),
            versions: vec![(Instant::now(), body.clone())],
            body,
            created_at: self.time.clone(),
            updated_at: self.time.clone(),
            minimized: None,
            is_expected: false,
        };
        let shown = self.world.comment(&comment);
        let own = json!({"issue": self.world.issue(thread), "comment": shown});
        self.caused.push(("issue_comment", self.world.event("created", APP_USER, own)));
        self.world.comments.insert(comment.id, comment);
        Ok(Answer::with(201, shown))
    }

    fn edit_comment(&mut self, request: &Request, id: &str) -> Answered {
        self.needs("issues", "write")?;
        self.needs("pull_requests", "write")?;
        let id: u64 = id.parse().map_err(|_| not_found())?;
        let author = self.world.comments.get(&id).ok_or_else(not_found)?.author;
        if author != Some(APP_USER) {
            return Err(Answer::refusal(403, "Must have admin rights to Repository."));
        }
        let body = self.body_of_comment(request)?;
        let time = self.time.clone();
        let comment = self.world.comments.get_mut(&id).ok_or_else(not_found)?;
        let from = std::mem::replace(&mut comment.body, body.clone());
        comment.versions.push((Instant::now(), body));
        comment.updated_at = time;
        let (thread, comment) = (comment.thread, comment.clone());
        let shown = self.world.comment(&comment);
        let own = json!({
            "issue": self.world.issue(thread), "comment": shown, "changes": {"body": {"from": from}},
        });
        self.caused.push(("issue_comment", self.world.event("edited", APP_USER, own)));
        Ok(Answer::ok(shown))
    }

    fn create_check(&mut self, request: &Request) -> Answered {
        self.needs("checks", "write")?;
        let changes = self.fields("CheckRun", &request.body, changes)?;
        let missing = |field: &str| Answer::invalid("CheckRun", field, "missing_field");
        let name = changes.name.clone().ok_or_else(|| missing("name"))?;
        let head = changes.head.clone().ok_or_else(|| missing("head_sha"))?;
        if !self.world.commits.contains_key(&head) {
            return Err(Answer::refusal(422, &format!("No commit found for SHA: {head}")));
        }
        let mut check = Check {
            id: self.world.number(),
            name,
            head,
            external_id: String::new(),
            status: "queued".to_owned(),
            conclusion: None,
            title: String::new(),
            summary: String::new(),
            text: String::new(),
            actions: Vec::new(),
            states: Vec::new(),
        };
        check.change(changes);
        let shown = self.world.check(&check);
        let event = self.world.event("created", APP_USER, json!({"check_run": shown}));
        self.caused.push(("check_run", event));
        self.world.checks.insert(check.id, check);
        Ok(Answer::with(201, shown))
    }

    fn update_check(&mut self, request: &Request, id: &str) -> Answered {
        self.needs("checks", "write")?;
        let id: u64 = id.parse().map_err(|_| not_found())?;
        let changes = self.fields("CheckRun", &request.body, changes)?;
        let check = self.world.checks.get_mut(&id).ok_or_else(not_found)?;
        check.change(changes);
        let check = check.clone();
        Ok(Answer::ok(self.world.check(&check)))
    }

    fn create_deployment(&mut self, request: &Request) -> Answered {
        self.needs("deployments", "write")?;
        let (reference, environment, task, description, contexts, payload, is_production) =
            self.fields("Deployment", &request.body, |fields| {
                for flag in ["auto_merge", "transient_environment"] {
                    if fields.value(flag).is_some_and(|value| !value.is_boolean()) {
                        return Err(Answer::invalid("Deployment", flag, "invalid"));
                    }
                }
                let is_production = fields.value("production_environment").and_then(Value::as_bool);
                let contexts = fields.value("required_contexts").cloned();
                let payload = fields.value("payload").cloned().unwrap_or_else(|| json!({}));
                let environment = fields.text("environment")?.unwrap_or_else(|| "production".to_owned());
                let task = fields.text("task")?.unwrap_or_else(|| "deploy".to_owned());
                let description = fields.text("description")?.unwrap_or_default();
                let is_production = is_production.unwrap_or(environment == "production");
                let reference = fields.required("ref")?;
                Ok((reference, environment, task, description, contexts, payload, is_production))
            })?;
        let sha = self.world.resolve(Some(&reference));
        let sha = sha.ok_or_else(|| Answer::refusal(422, &format!("No ref found for: {reference}")))?;
        // Unless they are waived, every check of the commit must have succeeded.
        let is_waived = contexts.is_some_and(|contexts| contexts.as_array().is_some_and(Vec::is_empty));
        let is_green = self
            .world
            .checks
            .values()
            .all(|check| check.head != sha || check.conclusion.as_deref() == Some("success"));
        if !is_waived && !is_green {
            return Err(Answer::refusal(409, "Conflict: Commit status checks failed"));
        }
        let id = self.world.number();
        let statuses = Vec::new();
        let deployment =
            Deployment { id, sha, environment, task, description, payload, is_production, statuses };
        let shown = self.world.deployment(&deployment);
        self.world.deployments.insert(id, deployment);
        Ok(Answer::with(201, shown))
    }

    fn deployment_status(&mut self, request: &Request, id: &str) -> Answered {
        const STATES: [&str; 7] =
            ["error", "failure", "inactive", "in_progress", "queued", "pending", "success"];
        self.needs("deployments", "write")?;
        let id: u64 = id.parse().map_err(|_| not_found())?;
        let (state, description, inactivates) = self.fields("DeploymentStatus", &request.body, |fields| {
            let state = fields.one_of("state", &STATES)?;
            let state = state.ok_or_else(|| Answer::invalid("DeploymentStatus", "state", "missing_field"))?;
            let description = fields.text("description")?.unwrap_or_default();
            if description.chars().count() > 140 {
                return Err(Answer::invalid("DeploymentStatus", "description", "invalid"));
            }
            fields.text("log_url")?;
            fields.text("environment_url")?;
            let inactivates = fields.value("auto_inactive").and_then(Value::as_bool).unwrap_or(true);
            Ok((state, description, inactivates))
        })?;
        let deployment = self.world.deployments.get_mut(&id).ok_or_else(not_found)?;
        deployment.statuses.push((state.clone(), description.clone()));
        let environment = deployment.environment.clone();
        if state == "success" && inactivates {
            let older = self.world.deployments.values_mut().filter(|one| {
                one.environment == environment
                    && one.id < id
                    && !one.is_production
                    && one.statuses.last().is_some_and(|(state, _)| state == "success")
            });
            older.for_each(|one| one.statuses.push(("inactive".to_owned(), String::new())));
        }
        let status = json!({"id": self.world.number(), "state": state, "description": description});
        Ok(Answer::with(201, status))
    }
}
