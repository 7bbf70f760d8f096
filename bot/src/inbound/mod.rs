//! Where the platforms deliver: verify, keep, acknowledge.
//!
//! A request is read as raw bytes, verified, and only then parsed; what is to be answered is committed to the inbox
//! before it is acknowledged. If that cannot be done the platform is told so (503): GitHub keeps the delivery for a
//! later sweep, Slack and Discord show the person that it failed. Nothing of a request is ever repeated to its
//! sender but the challenge of a verified probe.

mod discord;
mod form;
mod health;
pub mod signature;
mod slack;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use journal::plan::Platform;
use journal_store::{Letter, Mailroom, Receipt, Store};
use runtime::Clock;
use serde_json::Value;
use tokio::sync::Notify;

use crate::{github, metrics};
use signature::{Bad, Labelled};

pub use discord::{DiscordDoor, Heard};
pub use health::CLOCK_LIMIT;
pub use slack::{SlackDoor, Told};

/// The longest body that is read: GitHub's own limit.
pub const MOST_BYTES: usize = 25 * 1024 * 1024;

/// How long a body may take. Every platform gives up before.
const READ_LIMIT: Duration = Duration::from_secs(10);

/// GitHub's deliveries.
#[derive(Debug)]
pub struct GithubDoor {
    /// What they are signed with.
    pub secrets: Vec<Labelled>,
    /// `owner/name`.
    pub repository: String,
}

/// All that the endpoints need.
#[derive(Debug)]
pub struct Doors {
    /// The journal, for those who watch.
    pub store: Arc<dyn Store>,
    /// Where arrivals are kept.
    pub mailroom: Arc<dyn Mailroom>,
    /// The clock that signed times are compared with.
    pub clock: Arc<dyn Clock>,
    /// Told of each arrival.
    pub arrived: Arc<Notify>,
    /// GitHub, if it is configured.
    pub github: Option<GithubDoor>,
    /// Slack, if it is configured.
    pub slack: Option<SlackDoor>,
    /// Discord, if it is configured.
    pub discord: Option<DiscordDoor>,
}

/// The endpoints. Those of a platform that is not configured are not there.
pub fn router(doors: Arc<Doors>) -> Router {
    let mut router =
        Router::new().route("/healthz", get(health::health)).route("/metrics", get(health::metrics));
    if doors.github.is_some() {
        router = router.route("/github", post(from_github));
    }
    if doors.slack.as_ref().is_some_and(|door| !door.secrets.is_empty()) {
        router = router
            .route("/slack/commands", post(slack::command))
            .route("/slack/interactions", post(slack::interaction))
            .route("/slack/events", post(slack::event));
    }
    if doors.discord.as_ref().is_some_and(|door| door.key.is_some()) {
        router = router.route("/discord", post(discord::interaction));
    }
    router.with_state(doors)
}

/// The whole body, or what to answer instead.
async fn read(body: Body) -> Result<Bytes, StatusCode> {
    match tokio::time::timeout(READ_LIMIT, to_bytes(body, MOST_BYTES)).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(error)) => {
            tracing::info!(%error, "a body was too long or broke off");
            Err(StatusCode::PAYLOAD_TOO_LARGE)
        }
        Err(_) => Err(StatusCode::REQUEST_TIMEOUT),
    }
}

fn json_body(value: &Value) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], value.to_string()).into_response()
}

impl Doors {
    fn seconds(&self) -> i64 {
        self.clock.now_millis().div_euclid(1000)
    }

    /// Keeps it. False: it may not be acknowledged.
    async fn kept(&self, letter: &Letter) -> bool {
        match self.mailroom.receive(letter).await {
            Ok(receipt) => {
                let is_new = receipt == Receipt::New;
                let word = if is_new { "new" } else { "duplicate" };
                metrics::count(&metrics::names::LETTERS, &[metrics::word(letter.platform), word]);
                tracing::info!(meaning = %letter.meaning, kind = %letter.kind, is_new, "received");
                self.arrived.notify_one();
                true
            }
            Err(error) => {
                metrics::count(&metrics::names::LETTERS, &[metrics::word(letter.platform), "not_kept"]);
                tracing::error!(%error, meaning = %letter.meaning, "the inbox did not keep it");
                false
            }
        }
    }

    /// Keeps it, and then acknowledges.
    async fn keep(&self, letter: &Letter, acknowledge: impl FnOnce() -> Response) -> Response {
        if self.kept(letter).await { acknowledge() } else { StatusCode::SERVICE_UNAVAILABLE.into_response() }
    }
}

/// Logs and counts what a signature came to.
fn believed(platform: Platform, found: Result<&str, Bad>) -> Result<(), StatusCode> {
    match found {
        Ok(secret) => {
            tracing::debug!(?platform, secret, "signed");
            Ok(())
        }
        Err(why) => {
            let cause = match why {
                Bad::Wrong => "bad_signature",
                Bad::Stale { .. } => "stale",
                Bad::Header(_) | Bad::Form(_) => "bad_header",
            };
            metrics::count(&metrics::names::REFUSED, &[metrics::word(platform), cause]);
            tracing::warn!(?platform, %why, "a request was not believed");
            Err(StatusCode::UNAUTHORIZED)
        }
    }
}

async fn from_github(State(doors): State<Arc<Doors>>, headers: HeaderMap, body: Body) -> Response {
    let Some(door) = &doors.github else { return StatusCode::NOT_FOUND.into_response() };
    let body = match read(body).await {
        Ok(body) => body,
        Err(status) => return status.into_response(),
    };
    if let Err(status) = believed(Platform::Github, signature::github(&door.secrets, &headers, &body)) {
        return status.into_response();
    }
    let header = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let (Some(event), Some(delivery)) = (header("x-github-event"), header("x-github-delivery")) else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    match github::receive(event, delivery, &body, &door.repository) {
        github::Arrived::Letter(letter) => doors.keep(&letter, || StatusCode::OK.into_response()).await,
        github::Arrived::Known => StatusCode::OK.into_response(),
        github::Arrived::Nothing => StatusCode::NO_CONTENT.into_response(),
        github::Arrived::Malformed => StatusCode::BAD_REQUEST.into_response(),
    }
}
