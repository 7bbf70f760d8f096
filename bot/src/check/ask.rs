//! Questions to a platform, and whether it answered at all.

use std::time::Duration;

use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::{Client, RequestBuilder, StatusCode};
use serde_json::Value;

use crate::discord::AGENT;
use crate::words;

/// The longest text of a platform that is repeated.
const LONGEST: usize = 300;

/// Nobody answered, or not to the question.
#[derive(Debug)]
pub(super) struct Unreachable(pub(super) String);

/// An answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Value,
}

impl Answer {
    pub(super) const fn is_ok(&self) -> bool {
        self.status >= 200 && self.status < 300
    }

    pub(super) fn text(&self, pointer: &str) -> Option<&str> {
        self.body.pointer(pointer).and_then(Value::as_str)
    }

    /// What the platform says of its refusal.
    pub(super) fn why(&self) -> String {
        let said = self.text("/message").or_else(|| self.text("/error")).unwrap_or_default();
        let said: String = said.chars().filter(|letter| !letter.is_control()).take(LONGEST).collect();
        if said.is_empty() { self.status.to_string() } else { format!("{} {said}", self.status) }
    }
}

/// A platform that is asked.
#[derive(Debug)]
pub(super) struct Ask {
    client: Client,
    base: String,
}

impl Ask {
    pub(super) fn new(base: &str) -> Result<Self, Unreachable> {
        let client = Client::builder()
            // Discord takes nothing else, the others do not mind.
            .user_agent(AGENT)
            .connect_timeout(Duration::from_secs(10))
            .timeout(Duration::from_secs(20))
            .build()
            .map_err(|error| Unreachable(error.to_string()))?;
        Ok(Self { client, base: base.trim_end_matches('/').to_owned() })
    }

    pub(super) async fn get(&self, path: &str, authorization: &str) -> Result<Answer, Unreachable> {
        answered(self.client.get(format!("{}{path}", self.base)), authorization).await
    }

    pub(super) async fn post(&self, path: &str, authorization: &str) -> Result<Answer, Unreachable> {
        answered(self.client.post(format!("{}{path}", self.base)), authorization).await
    }
}

async fn answered(request: RequestBuilder, authorization: &str) -> Result<Answer, Unreachable> {
    let silent = |error: reqwest::Error| Unreachable(words::check::chain(&error.without_url()));
    let response = request.header("authorization", authorization).send().await.map_err(silent)?;
    let (status, headers) = (response.status(), response.headers().clone());
    let body = response.bytes().await.map_err(silent)?;
    let answer =
        Answer { status: status.as_u16(), headers, body: serde_json::from_slice(&body).unwrap_or_default() };
    let asks_to_wait = status == StatusCode::TOO_MANY_REQUESTS
        || (status == StatusCode::FORBIDDEN && answer.headers.contains_key(RETRY_AFTER));
    if asks_to_wait || status.is_server_error() {
        return Err(Unreachable(answer.why()));
    }
    Ok(answer)
}
