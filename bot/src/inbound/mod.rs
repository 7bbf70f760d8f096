//! Where the platforms deliver: verify, keep, acknowledge.
//!
//! A request is read as raw bytes, verified, and only then parsed; what is to be answered is committed to the inbox
//! before it is acknowledged. If that cannot be done the platform is told so (503): GitHub keeps the delivery for a
//! later sweep, Slack and Discord show the person that it failed. Nothing of a request is ever repeated to its
//! sender but the challenge of a verified probe.

mod form;
mod health;
pub mod signature;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use ed25519_dalek::VerifyingKey;
use journal::plan::Platform;
use journal_store::{Letter, Mailroom, Receipt, Store};
use runtime::Clock;
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::{discord, github, metrics, slack, words};
use signature::{Bad, Labelled};

pub use health::CLOCK_LIMIT;

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

/// Slack's requests.
#[derive(Debug)]
pub struct SlackDoor {
    /// What they are signed with.
    pub secrets: Vec<Labelled>,
    /// What is listened to.
    pub settings: slack::Settings,
}

/// Discord's interactions.
#[derive(Debug)]
pub struct DiscordDoor {
    /// What they are signed with.
    pub key: VerifyingKey,
    /// What is listened to.
    pub settings: discord::Settings,
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
    if doors.slack.is_some() {
        router = router
            .route("/slack/commands", post(slack_command))
            .route("/slack/interactions", post(slack_interaction))
            .route("/slack/events", post(slack_event));
    }
    if doors.discord.is_some() {
        router = router.route("/discord", post(from_discord));
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

    /// Keeps it, and then acknowledges.
    async fn keep(&self, letter: &Letter, acknowledge: impl FnOnce() -> Response) -> Response {
        match self.mailroom.receive(letter).await {
            Ok(receipt) => {
                let is_new = receipt == Receipt::New;
                let word = if is_new { "new" } else { "duplicate" };
                metrics::count(&metrics::names::LETTERS, &[metrics::word(letter.platform), word]);
                tracing::info!(meaning = %letter.meaning, kind = %letter.kind, is_new, "received");
                self.arrived.notify_one();
                acknowledge()
            }
            Err(error) => {
                metrics::count(&metrics::names::LETTERS, &[metrics::word(letter.platform), "not_kept"]);
                tracing::error!(%error, meaning = %letter.meaning, "the inbox did not keep it");
                StatusCode::SERVICE_UNAVAILABLE.into_response()
            }
        }
    }

    fn slack(&self, headers: &HeaderMap, body: &[u8]) -> Result<&slack::Settings, StatusCode> {
        let Some(door) = &self.slack else { return Err(StatusCode::NOT_FOUND) };
        believed(Platform::Slack, signature::slack(&door.secrets, headers, body, self.seconds()))?;
        Ok(&door.settings)
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

/// What is told at once, to the person alone.
fn whispered(text: &str) -> Response {
    json_body(&json!({"response_type": "ephemeral", "text": text}))
}

async fn slack_command(State(doors): State<Arc<Doors>>, headers: HeaderMap, body: Body) -> Response {
    let answer = match slack_form(&doors, &headers, body, slack::command).await {
        Ok(answer) => answer,
        Err(status) => return status.into_response(),
    };
    // What was said is shown to the channel, as the answer will be.
    let shown = || json_body(&json!({"response_type": "in_channel"}));
    slack_answer(&doors, answer, shown).await
}

async fn slack_interaction(State(doors): State<Arc<Doors>>, headers: HeaderMap, body: Body) -> Response {
    match slack_form(&doors, &headers, body, slack::interaction).await {
        Ok(answer) => slack_answer(&doors, answer, || StatusCode::OK.into_response()).await,
        Err(status) => status.into_response(),
    }
}

async fn slack_form(
    doors: &Doors,
    headers: &HeaderMap,
    body: Body,
    receive: impl FnOnce(&std::collections::BTreeMap<String, String>, &slack::Settings) -> slack::Answer,
) -> Result<slack::Answer, StatusCode> {
    let body = read(body).await?;
    let settings = doors.slack(headers, &body)?;
    let form = form::read(&body).ok_or(StatusCode::BAD_REQUEST)?;
    Ok(receive(&form, settings))
}

async fn slack_event(State(doors): State<Arc<Doors>>, headers: HeaderMap, body: Body) -> Response {
    let body = match read(body).await {
        Ok(body) => body,
        Err(status) => return status.into_response(),
    };
    match doors.slack(&headers, &body) {
        Ok(settings) => {
            let answer = slack::event(&body, settings);
            slack_answer(&doors, answer, || StatusCode::OK.into_response()).await
        }
        Err(status) => status.into_response(),
    }
}

async fn slack_answer(
    doors: &Doors,
    answer: slack::Answer,
    acknowledge: impl FnOnce() -> Response,
) -> Response {
    match answer {
        slack::Answer::Letter(letter) => doors.keep(&letter, acknowledge).await,
        slack::Answer::Echo(text) => ([(header::CONTENT_TYPE, "text/plain")], text).into_response(),
        slack::Answer::Elsewhere => whispered(&words::not_heard_here()),
        slack::Answer::Nothing => StatusCode::NO_CONTENT.into_response(),
        slack::Answer::Malformed => StatusCode::BAD_REQUEST.into_response(),
    }
}

async fn from_discord(State(doors): State<Arc<Doors>>, headers: HeaderMap, body: Body) -> Response {
    // The kinds of answers to an interaction.
    const PONG: u8 = 1;
    const MESSAGE: u8 = 4;
    const DEFERRED: u8 = 5;
    const TO_THE_PERSON_ALONE: u8 = 1 << 6;
    let Some(door) = &doors.discord else { return StatusCode::NOT_FOUND.into_response() };
    let body = match read(body).await {
        Ok(body) => body,
        Err(status) => return status.into_response(),
    };
    let signed = signature::discord(&door.key, &headers, &body, doors.seconds());
    if let Err(status) = believed(Platform::Discord, signed.map(|()| "public_key")) {
        return status.into_response();
    }
    match discord::receive(&body, &door.settings) {
        discord::Answer::Pong => json_body(&json!({"type": PONG})),
        discord::Answer::Letter(letter) => {
            doors.keep(&letter, || json_body(&json!({"type": DEFERRED}))).await
        }
        discord::Answer::Elsewhere => json_body(&json!({
            "type": MESSAGE, "data": {"content": words::not_heard_here(), "flags": TO_THE_PERSON_ALONE},
        })),
        discord::Answer::Nothing => StatusCode::NO_CONTENT.into_response(),
        discord::Answer::Malformed => StatusCode::BAD_REQUEST.into_response(),
    }
}
