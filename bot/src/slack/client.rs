//! Slack's Web API, by the bot's token.

use std::time::Duration;

use reqwest::{RequestBuilder, StatusCode};
use runtime::Secret;
use serde_json::Value;

/// Why a call did nothing, or may have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failed {
    /// Slack refuses it, in its own word.
    Refused(String),
    /// Too many calls: not before this time has passed.
    Limited(Option<Duration>),
    /// Nobody knows.
    Unknown(String),
}

/// Calls Slack.
#[derive(Debug)]
pub struct Client {
    http: reqwest::Client,
    token: Secret,
    app_token: Option<Secret>,
    api: String,
}

impl Client {
    /// A client. Nothing is connected yet. The second token opens sockets, and only that.
    ///
    /// # Errors
    /// No client can be made.
    pub fn new(api: &str, token: Secret, app_token: Option<Secret>) -> Result<Self, reqwest::Error> {
        let http = reqwest::Client::builder()
            .connect_timeout(Duration::from_secs(10))
            .timeout(Duration::from_secs(30))
            .build()?;
        Ok(Self { http, token, app_token, api: api.trim_end_matches('/').to_owned() })
    }

    /// Calls a method that reads.
    pub(super) async fn get(&self, method: &str, query: &[(&str, &str)]) -> Result<Value, Failed> {
        let request = self.http.get(format!("{}/{method}", self.api)).query(query);
        answered(request.bearer_auth(self.token.expose())).await
    }

    /// Calls a method that writes.
    pub(super) async fn post(&self, method: &str, body: &Value) -> Result<Value, Failed> {
        let request = self.http.post(format!("{}/{method}", self.api)).json(body);
        answered(request.bearer_auth(self.token.expose())).await
    }

    /// The address of a socket that Slack's requests come through.
    pub(super) async fn socket(&self) -> Result<String, Failed> {
        let Some(token) = &self.app_token else {
            return Err(Failed::Refused("no app token is configured".to_owned()));
        };
        let request = self.http.post(format!("{}/apps.connections.open", self.api));
        let answer = answered(request.bearer_auth(token.expose())).await?;
        let url = answer.get("url").and_then(Value::as_str).map(str::to_owned);
        url.ok_or_else(|| Failed::Unknown("Slack's answer has no url".to_owned()))
    }

    /// Answers where a request came from, to whoever sent it alone. The address is a secret of that request's.
    pub(super) async fn whisper(&self, response_url: &str, text: &str) -> Result<(), Failed> {
        let body = serde_json::json!({"response_type": "ephemeral", "replace_original": false, "text": text});
        let unknown = |error: reqwest::Error| Failed::Unknown(error.without_url().to_string());
        let response = self.http.post(response_url).json(&body).send().await.map_err(unknown)?;
        if response.status().is_success() {
            Ok(())
        } else {
            Err(Failed::Refused(format!("the answer's address is no good: {}", response.status())))
        }
    }
}

/// Slack answers 200 also to what it refuses.
async fn answered(request: RequestBuilder) -> Result<Value, Failed> {
    let unknown = |error: reqwest::Error| Failed::Unknown(error.without_url().to_string());
    let response = request.send().await.map_err(unknown)?;
    let status = response.status();
    if status == StatusCode::TOO_MANY_REQUESTS {
        let wait = response.headers().get("retry-after").and_then(|wait| wait.to_str().ok()?.parse().ok());
        return Err(Failed::Limited(wait.map(Duration::from_secs)));
    }
    if !status.is_success() {
        return Err(Failed::Unknown(format!("Slack answered {status}")));
    }
    let answer: Value = response.json().await.map_err(unknown)?;
    if answer.get("ok").and_then(Value::as_bool) == Some(true) {
        return Ok(answer);
    }
    let error = answer.get("error").and_then(Value::as_str).unwrap_or("no error named");
    Err(Failed::Refused(error.to_owned()))
}
