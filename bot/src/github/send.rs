//! Comments on pull requests, as the App.
//!
//! Each comment carries a hidden mark with its row's number. A row that was tried before may be there: it is looked for
//! by its mark before it is posted again.

use std::time::Duration;

use async_trait::async_trait;
use axum::http::HeaderMap;
use journal::Timestamp;
use journal::plan::Platform;
use journal_store::Outgoing;
use octocrab::Octocrab;
use octocrab::models::{AppId, InstallationId};
use runtime::{Clock, Secret};
use serde_json::{Value, json};
use tokio::sync::Mutex;

use crate::arrival::{Message, Place};
use crate::markup::{Flavour, render};
use crate::outbound::{Carrier, Delivery};

/// GitHub asks for a second between two requests that make content.
const PACE: Duration = Duration::from_secs(1);

/// What GitHub asks for after a refusal for haste that names no time.
const SECONDARY: Duration = Duration::from_secs(60);

/// Comments a page, and pages read to find a mark.
const PAGE: usize = 100;
const PAGES: usize = 20;

/// The App cannot be spoken for.
#[derive(Debug, thiserror::Error)]
pub enum GithubError {
    /// The key or the address is wrong.
    #[error("its key or address is not usable: {0}")]
    Settings(String),
}

/// Posts as the App's installation in one repository.
#[derive(Debug)]
pub struct GithubSender {
    app: Octocrab,
    repository: String,
    /// The installation's client; it renews its own token.
    installed: Mutex<Option<Octocrab>>,
    clock: std::sync::Arc<dyn Clock>,
}

/// What the App is.
#[derive(Debug)]
pub struct App<'s> {
    /// Its number.
    pub id: u64,
    /// Its private key, PEM.
    pub key: &'s Secret,
    /// Where the API is.
    pub api: &'s str,
    /// `owner/name`.
    pub repository: &'s str,
}

/// A response, read.
struct Answered {
    status: u16,
    headers: HeaderMap,
    body: Value,
}

/// Reads a response; a macro, since the client does not say the type of its bodies.
macro_rules! read {
    ($client:expr, $response:expr) => {{
        let response = $response.await.map_err(later)?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let text = $client.body_to_string(response).await.map_err(later)?;
        Answered { status, headers, body: serde_json::from_str(&text).unwrap_or_default() }
    }};
}

/// Why there is no success.
enum No {
    Delivery(Delivery),
    /// Its token is not taken any more.
    Unauthorized,
}

impl From<Delivery> for No {
    fn from(delivery: Delivery) -> Self {
        Self::Delivery(delivery)
    }
}

fn later(why: impl ToString) -> Delivery {
    Delivery::Later { wait: None, why: why.to_string() }
}

impl GithubSender {
    /// A sender. Nothing is connected yet. To be called within a tokio runtime.
    ///
    /// # Errors
    /// The key is no RSA key in PEM, the address is none.
    pub fn new(app: &App<'_>, clock: std::sync::Arc<dyn Clock>) -> Result<Self, GithubError> {
        let wrong = |error: octocrab::Error| GithubError::Settings(error.to_string());
        let built = Octocrab::builder()
            .base_uri(app.api)
            .and_then(|builder| builder.app_from_rsa_pem(AppId(app.id), app.key.expose()))
            .map_err(wrong)?
            .set_connect_timeout(Some(Duration::from_secs(10)))
            .set_read_timeout(Some(Duration::from_secs(30)))
            .build()
            .map_err(wrong)?;
        Ok(Self { app: built, repository: app.repository.to_owned(), installed: Mutex::new(None), clock })
    }

    async fn client(&self) -> Result<Octocrab, No> {
        let mut installed = self.installed.lock().await;
        if let Some(client) = installed.as_ref() {
            return Ok(client.clone());
        }
        let path = format!("/repos/{}/installation", self.repository);
        let found = self.checked(read!(self.app, self.app._get(path)))?;
        let Some(id) = found.body.get("id").and_then(Value::as_u64) else {
            return Err(later("the App's installation has no id").into());
        };
        let client = self.app.installation(InstallationId(id)).map_err(later)?;
        *installed = Some(client.clone());
        Ok(client)
    }

    /// The response, if it is a success; otherwise what to do.
    fn checked(&self, answered: Answered) -> Result<Answered, No> {
        match answered.status {
            200..300 => Ok(answered),
            401 => Err(No::Unauthorized),
            _ => Err(self.refused(&answered).into()),
        }
    }

    fn refused(&self, answered: &Answered) -> Delivery {
        let said = answered.body.get("message").and_then(Value::as_str).unwrap_or("no message");
        let why = format!("GitHub answered {}: {said}", answered.status);
        let number = |name: &str| answered.headers.get(name)?.to_str().ok()?.trim().parse::<i64>().ok();
        let is_limited = answered.status == 429
            || (answered.status == 403
                && (number("retry-after").is_some()
                    || number("x-ratelimit-remaining") == Some(0)
                    || said.contains("rate limit")));
        if is_limited {
            let until_reset = number("x-ratelimit-reset")
                .filter(|_| number("x-ratelimit-remaining") == Some(0))
                .map(|reset| reset - self.clock.now_millis().div_euclid(1000));
            let seconds = number("retry-after").or(until_reset).and_then(|wait| u64::try_from(wait).ok());
            let wait = seconds.map_or(SECONDARY, Duration::from_secs);
            return Delivery::Later { wait: Some(wait), why };
        }
        match answered.status {
            // Gone, locked, or not writable for the App: to say it again changes nothing.
            403 | 404 | 410 | 422 => Delivery::Never(why),
            _ => later(why),
        }
    }

    async fn post(&self, number: u64, outgoing: &Outgoing, message: &Message) -> Result<String, No> {
        let client = self.client().await?;
        let mark = format!("<!-- switchyard:{} -->", outgoing.id);
        let body = json!({ "body": format!("{}\n\n{mark}", render(&message.text, Flavour::Github)) });
        let known = match &outgoing.edits {
            Some(id) => Some(id.clone()),
            None if outgoing.attempts > 1 => self.find(&client, number, outgoing, &mark).await?,
            None => None,
        };
        let repository = &self.repository;
        let answered = match known {
            Some(id) => {
                let path = format!("/repos/{repository}/issues/comments/{id}");
                self.checked(read!(client, client._patch(path, Some(&body))))
            }
            None => {
                let path = format!("/repos/{repository}/issues/{number}/comments");
                self.checked(read!(client, client._post(path, Some(&body))))
            }
        }?;
        match answered.body.get("id").and_then(Value::as_u64) {
            Some(id) => Ok(id.to_string()),
            None => Err(later("GitHub's answer has no comment id").into()),
        }
    }

    /// The comment with this mark among those that are not older than the row.
    async fn find(
        &self,
        client: &Octocrab,
        number: u64,
        outgoing: &Outgoing,
        mark: &str,
    ) -> Result<Option<String>, No> {
        // A minute for clocks that differ.
        let since = Timestamp::from_millis(outgoing.written_at.millis() - 60_000);
        for page in 1..=PAGES {
            let path = format!(
                "/repos/{}/issues/{number}/comments?since={since}&per_page={PAGE}&page={page}",
                self.repository
            );
            let answered = self.checked(read!(client, client._get(path)))?;
            let comments = answered.body.as_array().cloned().unwrap_or_default();
            let found = comments.iter().find(|comment| {
                let is_app = comment.pointer("/user/type").and_then(Value::as_str) == Some("Bot");
                let text = comment.get("body").and_then(Value::as_str).unwrap_or_default();
                is_app && text.trim_end().ends_with(mark)
            });
            if let Some(id) = found.and_then(|comment| comment.get("id")).and_then(Value::as_u64) {
                return Ok(Some(id.to_string()));
            }
            if comments.len() < PAGE {
                break;
            }
        }
        Ok(None)
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
        let place = serde_json::from_str(&outgoing.draft.destination);
        let message = serde_json::from_value::<Message>(outgoing.draft.body.clone());
        let (Ok(Place::PullRequest { number, .. }), Ok(message)) = (place, message) else {
            return Delivery::Never("the row cannot be read".to_owned());
        };
        match self.post(number, outgoing, &message).await {
            Ok(id) => Delivery::Sent(id),
            Err(No::Delivery(delivery)) => delivery,
            Err(No::Unauthorized) => {
                *self.installed.lock().await = None;
                later("GitHub does not take the App's key or token")
            }
        }
    }
}
