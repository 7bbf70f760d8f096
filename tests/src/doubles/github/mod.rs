//! A double of GitHub, as a GitHub App sees it.
//!
//! It holds one repository, on which people act; each act sends the webhook that GitHub would send, truly signed, to the
//! product. It verifies the App's token, gives installation tokens that end, serves the REST API that is documented with
//! its refusals and its limits, and remembers what no good client does ([`World::violations`]). The App may what
//! `config/github-app.json` asks for, and hears the events that stand there.

mod acts;
mod api;
mod auth;
mod hooks;
mod limits;
pub mod scene;
mod settings;
mod shapes;
mod told;
mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context as _, Result};
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse as _, Response};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use api::{Answer, Api, Request};
use auth::{Caller, Keys};
use hooks::Post;
use limits::Limits;

pub use acts::ReviewState;
pub use auth::{APP, INSTALLATION};
pub use hooks::{Attempt, Delivering, Hook, deliver, signature};
pub use limits::Haste;
pub use world::{
    APP_USER, Action, Check, Comment, Commit, Deployment, Files, Pull, Review, Thread, User, World,
};

/// The App's manifest, as people give it to GitHub.
const MANIFEST: &str = include_str!("../../../../config/github-app.json");

/// What webhooks are signed with.
pub const SECRET: &str = "github webhook secret LEAK";

/// Everything behind the one lock.
#[derive(Debug)]
struct Inner {
    world: World,
    keys: Keys,
    post: Post,
    limits: Limits,
    permissions: BTreeMap<String, String>,
    events: BTreeSet<String>,
    needed: BTreeMap<String, String>,
    /// Seconds that GitHub's clock is ahead of this machine's.
    ahead: i64,
    is_down: bool,
    /// The next request whose path ends so is done, and answered with 502.
    swallow: Option<String>,
    requests: Vec<String>,
}

/// A running double. It ends when it is dropped.
#[derive(Debug)]
pub struct Github {
    shared: Arc<Shared>,
    server: JoinHandle<()>,
    address: std::net::SocketAddr,
}

#[derive(Debug)]
struct Shared {
    inner: Mutex<Inner>,
    client: reqwest::Client,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn seconds(&self) -> i64 {
        jiff::Timestamp::now().as_second() + self.ahead
    }

    /// GitHub's time, as it writes it: to the second.
    fn time(&self) -> String {
        jiff::Timestamp::from_second(self.seconds()).map(|at| at.to_string()).unwrap_or_default()
    }
}

fn manifest() -> Result<(BTreeMap<String, String>, BTreeSet<String>)> {
    #[derive(serde::Deserialize)]
    struct Manifest {
        default_permissions: BTreeMap<String, String>,
        default_events: BTreeSet<String>,
    }
    let manifest: Manifest = serde_json::from_str(MANIFEST).context("config/github-app.json")?;
    Ok((manifest.default_permissions, manifest.default_events))
}

impl Github {
    /// Starts it, with a repository whose `main` holds these files.
    ///
    /// # Errors
    /// It cannot listen, or the manifest cannot be read.
    pub async fn start(repository: &str, files: Files) -> Result<Self> {
        let (permissions, events) = manifest()?;
        let inner = Inner {
            world: World::new(repository, files),
            keys: Keys::new()?,
            post: Post::default(),
            limits: Limits::default(),
            permissions,
            events,
            needed: BTreeMap::new(),
            ahead: 0,
            is_down: false,
            swallow: None,
            requests: Vec::new(),
        };
        let shared = Arc::new(Shared { inner: Mutex::new(inner), client: reqwest::Client::new() });
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let router = axum::Router::new().fallback(serve).with_state(Arc::clone(&shared));
        let server = tokio::spawn(async move {
            // It ends with the double.
            let _ended = axum::serve(listener, router).await.is_ok();
        });
        Ok(Self { shared, server, address })
    }

    /// Where its API is.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Where its API is, if it is taken for an Enterprise Server.
    #[must_use]
    pub fn enterprise_url(&self) -> String {
        format!("http://{}/api/v3", self.address)
    }

    /// The App's private key, PEM.
    #[must_use]
    pub fn private_key(&self) -> String {
        self.shared.lock().keys.private().to_owned()
    }

    /// Looks at, or changes, what it knows, without telling anybody.
    pub fn world<T>(&self, look: impl FnOnce(&mut World) -> T) -> T {
        look(&mut self.shared.lock().world)
    }

    /// Ends every installation token, as an hour does.
    pub fn expire_tokens(&self) {
        self.shared.lock().keys.expire();
    }

    /// How many installation tokens were given.
    #[must_use]
    pub fn tokens_given(&self) -> u64 {
        self.shared.lock().keys.given()
    }

    /// Answers everything with 503, or not any more.
    pub fn set_down(&self, is_down: bool) {
        self.shared.lock().is_down = is_down;
    }

    /// Refuses the next request that makes content, and all until its time is over.
    pub fn refuse_for_haste(&self, haste: Haste) {
        self.shared.lock().limits.arm(haste);
    }

    /// How often a request was refused for haste.
    #[must_use]
    pub fn refused_for_haste(&self) -> u64 {
        self.shared.lock().limits.refused
    }

    /// Does the next writing request whose path ends so, and answers it with 502: nobody knows whether it was done.
    pub fn swallow_answer(&self, path_end: &str) {
        self.shared.lock().swallow = Some(path_end.to_owned());
    }

    /// The requests so far whose method and path contain this.
    #[must_use]
    pub fn requests(&self, containing: &str) -> usize {
        self.shared.lock().requests.iter().filter(|request| request.contains(containing)).count()
    }

    /// The permissions of the manifest, and those that were needed.
    #[must_use]
    pub fn permissions(&self) -> (BTreeMap<String, String>, BTreeMap<String, String>) {
        let inner = self.shared.lock();
        (inner.permissions.clone(), inner.needed.clone())
    }
}

impl Drop for Github {
    fn drop(&mut self) {
        self.server.abort();
    }
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let mut hex = || char::from(rest.next()?).to_digit(16);
        match byte {
            b'%' => {
                if let (Some(high), Some(low)) = (hex(), hex()) {
                    bytes.push(u8::try_from(high * 16 + low).unwrap_or_default());
                }
            }
            b'+' => bytes.push(b' '),
            byte => bytes.push(byte),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

async fn serve(
    State(shared): State<Arc<Shared>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let (answer, caused, redeliver) = {
        let mut inner = shared.lock();
        answer(&mut inner, &method, &uri, &headers, &body)
    };
    if !caused.is_empty() || redeliver.is_some() {
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            for (event, body) in caused {
                shared.send(event, &body).await;
            }
            if let Some(id) = redeliver {
                shared.redeliver(id).await;
            }
        });
    }
    answer
}

/// The parts of a path: at the root, as GitHub has them, or as an Enterprise Server does.
fn path_of(path: &str) -> Vec<String> {
    let parts: Vec<String> = path.split('/').filter(|part| !part.is_empty()).map(decoded).collect();
    let skipped = match parts.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["api", "v3", ..] => 2,
        ["api", "graphql"] => 1,
        _ => 0,
    };
    parts.into_iter().skip(skipped).collect()
}

type Handled = (Response, Vec<(&'static str, Value)>, Option<u64>);

fn answer(inner: &mut Inner, method: &Method, uri: &Uri, headers: &HeaderMap, body: &Bytes) -> Handled {
    let (now, time) = (inner.seconds(), inner.time());
    let text = |name: header::HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let what = format!("{method} {uri}");
    inner.requests.push(what.clone());
    let refused = |answer: Answer| (respond(answer, &[], None), Vec::new(), None);
    if inner.is_down {
        return refused(Answer::refusal(503, "No server is currently available to service your request."));
    }
    if text(header::USER_AGENT).is_none_or(str::is_empty) {
        inner.world.violations.push(format!("{what}: no User-Agent"));
        return refused(Answer::refusal(403, "Request forbidden by administrative rules."));
    }
    let caller = match inner.keys.caller(text(header::AUTHORIZATION), now) {
        Ok(caller) => caller,
        Err(why) => return refused(Answer::refusal(401, &why)),
    };
    let makes_content = *method != Method::GET && caller == Caller::Installation;
    if let Some(haste) = inner.limits.count(&what, makes_content, now) {
        let (status, message) = match haste {
            Haste::Primary { .. } => (403, "API rate limit exceeded for installation ID 55001."),
            Haste::Secondary { .. } => {
                (403, "You have exceeded a secondary rate limit. Please wait a few minutes.")
            }
        };
        let limits = inner.limits.headers(Some(haste), now);
        return (respond(Answer::refusal(status, message), &limits, None), Vec::new(), None);
    }
    let value = if body.is_empty() { Ok(Value::Null) } else { serde_json::from_slice(body) };
    let Ok(value) = value else {
        inner.world.violations.push(format!("{what}: a body that is no JSON"));
        return refused(Answer::refusal(400, "Problems parsing JSON"));
    };
    let query = uri.query().unwrap_or_default();
    let request = Request {
        method: method.to_string(),
        path: path_of(uri.path()),
        query: query
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .map(|(name, value)| (decoded(name), decoded(value)))
            .collect(),
        body: value,
        wants_raw: text(header::ACCEPT).is_some_and(|accept| accept.contains("raw")),
        caller,
    };
    let mut api = Api {
        world: &mut inner.world,
        keys: &mut inner.keys,
        post: &mut inner.post,
        permissions: &inner.permissions,
        events: &inner.events,
        needed: &mut inner.needed,
        caused: Vec::new(),
        redeliver: None,
        now,
        time,
    };
    let mut answer = api.answer(&request);
    let (caused, redeliver) = (api.caused, api.redeliver);
    if makes_content && inner.swallow.as_deref().is_some_and(|end| uri.path().ends_with(end)) {
        inner.swallow = None;
        answer = Answer::refusal(502, "Server Error");
    }
    let known = text(header::IF_NONE_MATCH).map(str::to_owned);
    let tag = (*method == Method::GET && answer.status == 200).then(|| {
        use sha2::Digest as _;
        let seen = answer.raw.clone().unwrap_or_else(|| answer.body.to_string());
        format!("W/\"{}\"", hex::encode(sha2::Sha256::digest(seen)))
    });
    if tag.is_some() && tag == known {
        inner.limits.give_back();
        answer = Answer { status: 304, body: Value::Null, headers: Vec::new(), raw: Some(String::new()) };
    }
    let limits = inner.limits.headers(None, now);
    (respond(answer, &limits, tag), caused, redeliver)
}

fn respond(answer: Answer, limits: &[(&'static str, String)], tag: Option<String>) -> Response {
    let kind =
        if answer.raw.is_some() { "application/vnd.github.raw" } else { "application/json; charset=utf-8" };
    let body = answer.raw.unwrap_or_else(|| answer.body.to_string());
    let mut response = Response::builder()
        .status(answer.status)
        .header(header::CONTENT_TYPE, kind)
        .header("x-github-request-id", "C0DE:1:2:3");
    for (name, value) in answer.headers.iter().chain(limits) {
        response = response.header(*name, value);
    }
    if let Some(tag) = tag {
        response = response.header(header::ETAG, tag);
    }
    response.body(Body::from(body)).unwrap_or_else(|_| StatusCode::INTERNAL_SERVER_ERROR.into_response())
}
