//! The REST API and the one GraphQL mutation, as an App's installation sees them. What is not documented is refused, and
//! remembered against the caller.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::auth::{APP, Caller, INSTALLATION, Keys};
use super::hooks::Post;
use super::world::World;

mod repository;
mod writing;

/// A request, read.
#[derive(Debug)]
pub struct Request {
    /// `GET`, …
    pub method: String,
    /// The path's parts, decoded.
    pub path: Vec<String>,
    /// The query.
    pub query: BTreeMap<String, String>,
    /// The body; null if there is none.
    pub body: Value,
    /// Whether the raw content of a file is wanted.
    pub wants_raw: bool,
    /// Who calls.
    pub caller: Caller,
}

impl Request {
    fn number(&self, name: &str, otherwise: usize) -> usize {
        self.query.get(name).and_then(|text| text.parse().ok()).unwrap_or(otherwise)
    }
}

/// What is answered.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The body.
    pub body: Value,
    /// More headers.
    pub headers: Vec<(&'static str, String)>,
    /// A file's raw content instead of the body.
    pub raw: Option<String>,
}

impl Answer {
    pub(super) fn ok(body: Value) -> Self {
        Self::with(200, body)
    }

    fn with(status: u16, body: Value) -> Self {
        Self { status, body, headers: Vec::new(), raw: None }
    }

    /// A refusal in GitHub's form.
    #[must_use]
    pub fn refusal(status: u16, message: &str) -> Self {
        let url = "https://docs.github.com/rest";
        Self::with(
            status,
            json!({"message": message, "documentation_url": url, "status": status.to_string()}),
        )
    }

    fn invalid(resource: &str, field: &str, code: &str) -> Self {
        let mut answer = Self::refusal(422, "Validation Failed");
        if let Some(body) = answer.body.as_object_mut() {
            body.insert("errors".to_owned(), json!([{"resource": resource, "field": field, "code": code}]));
        }
        answer
    }
}

/// The number of the organisation that owns the repository.
const ORGANIZATION: u64 = 9001;

type Answered = Result<Answer, Answer>;

fn not_found() -> Answer {
    Answer::refusal(404, "Not Found")
}

/// One request's work on what GitHub knows.
#[derive(Debug)]
pub struct Api<'s> {
    /// What GitHub knows.
    pub world: &'s mut World,
    /// Tokens.
    pub keys: &'s mut Keys,
    /// Deliveries.
    pub post: &'s mut Post,
    /// What the App may, by its manifest.
    pub permissions: &'s BTreeMap<String, String>,
    /// What the App hears, by its manifest.
    pub events: &'s BTreeSet<String>,
    /// Permissions that were needed so far.
    pub needed: &'s mut BTreeMap<String, String>,
    /// Webhooks that the work causes: event, body.
    pub caused: Vec<(&'static str, Value)>,
    /// A delivery that is asked for again.
    pub redeliver: Option<u64>,
    /// Seconds since 1970.
    pub now: i64,
    /// The same, as GitHub writes it.
    pub time: String,
}

/// The fields of a body, each asked for by name; what is not asked for is not known.
struct Fields<'b> {
    of: &'static str,
    fields: &'b Map<String, Value>,
    known: Vec<&'static str>,
}

impl<'b> Fields<'b> {
    fn value(&mut self, name: &'static str) -> Option<&'b Value> {
        self.known.push(name);
        self.fields.get(name).filter(|value| !value.is_null())
    }

    fn text(&mut self, name: &'static str) -> Result<Option<String>, Answer> {
        match self.value(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(_) => Err(Answer::invalid(self.of, name, "invalid")),
        }
    }

    fn required(&mut self, name: &'static str) -> Result<String, Answer> {
        self.text(name)?
            .filter(|text| !text.is_empty())
            .ok_or_else(|| Answer::invalid(self.of, name, "missing_field"))
    }

    fn one_of(&mut self, name: &'static str, words: &[&str]) -> Result<Option<String>, Answer> {
        let given = self.text(name)?;
        match given {
            Some(word) if !words.contains(&word.as_str()) => Err(Answer::invalid(self.of, name, "invalid")),
            given => Ok(given),
        }
    }
}

impl Api<'_> {
    /// Answers a request.
    pub fn answer(&mut self, request: &Request) -> Answer {
        if let Some(led) = self.led(request) {
            return led;
        }
        let what = format!("{} /{}", request.method, request.path.join("/"));
        let answer = match request.caller {
            Caller::App => self.as_app(request),
            Caller::Installation => self.as_installation(request),
        };
        answer.unwrap_or_else(|refused| {
            if matches!(refused.status, 400 | 403 | 422) {
                self.world.violations.push(format!("{what}: {} {}", refused.status, refused.body));
            }
            refused
        })
    }

    fn unknown(&mut self, request: &Request) -> Answered {
        let path = request.path.join("/");
        self.world.violations.push(format!("unknown to {:?}: {} /{path}", request.caller, request.method));
        Err(not_found())
    }

    fn needs(&mut self, permission: &str, level: &str) -> Result<(), Answer> {
        let rank = |level: &str| ["read", "write", "admin"].iter().position(|known| *known == level);
        let had = self.permissions.get(permission).and_then(|had| rank(had));
        if had < rank(level) {
            return Err(Answer::refusal(403, "Resource not accessible by integration"));
        }
        let before = self.needed.get(permission).and_then(|needed| rank(needed));
        if before < rank(level) {
            self.needed.insert(permission.to_owned(), level.to_owned());
        }
        Ok(())
    }

    /// Reads a body by its fields; one that is not known there is against the caller.
    fn fields<T>(
        &mut self,
        of: &'static str,
        body: &Value,
        read: impl FnOnce(&mut Fields<'_>) -> Result<T, Answer>,
    ) -> Result<T, Answer> {
        let object = body.as_object().ok_or_else(|| Answer::refusal(400, "Problems parsing JSON"))?;
        let mut fields = Fields { of, fields: object, known: Vec::new() };
        let found = read(&mut fields)?;
        for name in object.keys().filter(|name| !fields.known.contains(&name.as_str())) {
            self.world.violations.push(format!("{of} has no field `{name}`"));
        }
        Ok(found)
    }

    fn page(&self, request: &Request, items: &[Value]) -> Answer {
        let size = request.number("per_page", 30).clamp(1, 100);
        let page = request.number("page", 1).max(1);
        let shown: Vec<Value> = items.iter().skip((page - 1) * size).take(size).cloned().collect();
        let mut answer = Answer::ok(json!(shown));
        let last = items.len().div_ceil(size).max(1);
        if page < last {
            let query: Vec<String> = request
                .query
                .iter()
                .filter(|(name, _)| *name != "page")
                .map(|(name, value)| format!("{name}={value}"))
                .collect();
            let base = format!("https://api.github.test/{}?{}", request.path.join("/"), query.join("&"));
            let link =
                format!("<{base}&page={}>; rel=\"next\", <{base}&page={last}>; rel=\"last\"", page + 1);
            answer.headers.push(("link", link));
        }
        answer
    }

    fn as_app(&mut self, request: &Request) -> Answered {
        let path: Vec<&str> = request.path.iter().map(String::as_str).collect();
        match (request.method.as_str(), path.as_slice()) {
            ("GET", ["app"]) => Ok(Answer::ok(json!({
                "id": APP, "slug": "switchyard", "name": "Switchyard", "permissions": self.permissions,
                "events": self.events, "installations_count": 1,
            }))),
            ("GET", ["repos", owner, name, "installation"]) => {
                if !format!("{owner}/{name}").eq_ignore_ascii_case(&self.world.repository) {
                    return Err(not_found());
                }
                Ok(Answer::ok(json!({
                    "id": INSTALLATION, "app_id": APP, "app_slug": "switchyard", "target_type": "Organization",
                    "account": {"login": owner, "id": ORGANIZATION, "type": "Organization"},
                    "permissions": self.permissions, "events": self.events, "repository_selection": "selected",
                    "access_tokens_url": format!("https://api.github.test/app/installations/{INSTALLATION}/access_tokens"),
                    "suspended_at": null,
                })))
            }
            ("POST", ["app", "installations", id, "access_tokens"]) => {
                if *id != INSTALLATION.to_string() {
                    return Err(not_found());
                }
                let (token, until) = self.keys.give(self.now);
                let until = jiff::Timestamp::from_second(until).map(|at| at.to_string()).unwrap_or_default();
                Ok(Answer::with(
                    201,
                    json!({
                        "token": token, "expires_at": until, "permissions": self.permissions,
                        "repository_selection": "selected",
                    }),
                ))
            }
            ("GET", ["app", "hook", "config"]) => Ok(self.hook_config()),
            ("GET", ["app", "hook", "deliveries"]) => Ok(self.deliveries(request)),
            ("POST", ["app", "hook", "deliveries", id, "attempts"]) => {
                let known =
                    id.parse().ok().filter(|id| self.post.attempts.iter().any(|known| known.id == *id));
                self.redeliver = Some(known.ok_or_else(not_found)?);
                Ok(Answer::with(202, json!({})))
            }
            _ => self.unknown(request),
        }
    }

    /// Newest first; the cursor is where the next page begins.
    fn deliveries(&self, request: &Request) -> Answer {
        let size = request.number("per_page", 30).clamp(1, 100);
        let from: Option<u64> =
            request.query.get("cursor").and_then(|text| text.strip_prefix("v1_")?.parse().ok());
        let mut newest =
            self.post.attempts.iter().rev().filter(|attempt| from.is_none_or(|from| attempt.id <= from));
        let shown: Vec<Value> =
            newest.by_ref().take(size).map(|attempt| attempt.shown(self.world.repository_id)).collect();
        let mut answer = Answer::ok(json!(shown));
        if let Some(next) = newest.next() {
            let link = format!(
                "<https://api.github.test/app/hook/deliveries?per_page={size}&cursor=v1_{}>; rel=\"next\"",
                next.id
            );
            answer.headers.push(("link", link));
        }
        answer
    }

    fn as_installation(&mut self, request: &Request) -> Answered {
        let path: Vec<&str> = request.path.iter().map(String::as_str).collect();
        match (request.method.as_str(), path.as_slice()) {
            ("POST", ["graphql"]) => self.graphql(request),
            ("GET", ["user", id]) => {
                let user = id.parse().ok().and_then(|id| self.world.users.get(&id)).ok_or_else(not_found)?;
                Ok(Answer::ok(self.world.user(Some(user.id))))
            }
            ("GET", ["orgs", org, "teams", slug]) => {
                let owner = self.world.repository.split('/').next().unwrap_or_default().to_owned();
                if !owner.eq_ignore_ascii_case(org) {
                    return Err(not_found());
                }
                self.needs("members", "read")?;
                let (id, members) = self.world.teams.get(*slug).ok_or_else(not_found)?;
                Ok(Answer::ok(json!({
                    "id": id, "slug": slug, "name": slug, "privacy": "closed", "members_count": members.len(),
                    "members_url": format!("https://api.github.test/organizations/{ORGANIZATION}/team/{id}/members{{/member}}"),
                    "organization": {"login": owner, "id": ORGANIZATION, "type": "Organization"},
                })))
            }
            ("GET", ["organizations", organization, "team", id, "members"]) => {
                self.needs("members", "read")?;
                let mut teams = self.world.teams.values();
                let team = teams.find(|(number, _)| number.to_string() == *id);
                let (_, members) =
                    team.filter(|_| *organization == ORGANIZATION.to_string()).ok_or_else(not_found)?;
                let shown: Vec<Value> = members.iter().map(|id| self.world.user(Some(*id))).collect();
                Ok(self.page(request, &shown))
            }
            (method, ["repos", owner, name, rest @ ..]) => {
                if !format!("{owner}/{name}").eq_ignore_ascii_case(&self.world.repository) {
                    return Err(not_found());
                }
                let rest: Vec<String> = rest.iter().map(|part| (*part).to_owned()).collect();
                let rest: Vec<&str> = rest.iter().map(String::as_str).collect();
                if method == "GET" { self.read(request, &rest) } else { self.write(request, &rest) }
            }
            _ => self.unknown(request),
        }
    }

    fn graphql(&mut self, request: &Request) -> Answered {
        const CLASSIFIERS: [&str; 6] = ["ABUSE", "DUPLICATE", "OFF_TOPIC", "OUTDATED", "RESOLVED", "SPAM"];
        self.needs("issues", "write")?;
        self.needs("pull_requests", "write")?;
        let text = |pointer: &str| request.body.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let (query, subject) = (text("/query"), text("/variables/subject"));
        let classifier = text("/variables/classifier").to_owned();
        let is_known = query.contains("minimizeComment(input:") && query.contains("subjectId: $subject");
        if !is_known || !CLASSIFIERS.contains(&classifier.as_str()) {
            self.world.violations.push(format!("a GraphQL query that is not known: {query} {classifier}"));
            return Ok(Answer::ok(json!({"errors": [{"type": "INVALID", "message": "not known"}]})));
        }
        let id: Option<u64> = subject.strip_prefix("IC_").and_then(|id| id.parse().ok());
        let Some(comment) = id.and_then(|id| self.world.comments.get_mut(&id)) else {
            let message = format!("Could not resolve to a node with the global id of '{subject}'");
            return Ok(Answer::ok(json!({"data": {"minimizeComment": null},
                "errors": [{"type": "NOT_FOUND", "path": ["minimizeComment"], "message": message}]})));
        };
        comment.minimized = Some(classifier);
        Ok(Answer::ok(json!({"data": {"minimizeComment": {"minimizedComment": {"isMinimized": true}}}})))
    }
}
