//! Discord's HTTP API, by the bot's token or by an interaction's.

use std::time::{Duration, Instant};

use reqwest::{Method, StatusCode};
use runtime::Secret;
use serde_json::Value;

use super::limits::{Limits, Route, seconds};

/// How this program names itself: Discord takes nothing else.
pub(crate) const AGENT: &str =
    concat!("DiscordBot (https://switchyard.example.org, ", env!("CARGO_PKG_VERSION"), ")");

/// Discord's own address.
pub const HOME: &str = "https://discord.com";

/// Discord's numbers for what it refuses.
pub(super) mod code {
    pub(crate) const UNKNOWN_MESSAGE: u64 = 10_008;
    pub(crate) const TOO_MANY_LATE_EDITS: u64 = 30_046;
    pub(crate) const ALREADY_ANSWERED: u64 = 40_060;
    pub(crate) const ANOTHERS_MESSAGE: u64 = 50_005;
    pub(crate) const UNKNOWN_CHANNEL: u64 = 10_003;
    pub(crate) const NO_ACCESS: u64 = 50_001;
    pub(crate) const NO_PERMISSION: u64 = 50_013;
    pub(crate) const ARCHIVED_THREAD: u64 = 50_083;
    pub(crate) const HAS_A_THREAD: u64 = 160_004;
}

/// Why a call did nothing, or may have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failed {
    /// Discord refuses it.
    Refused {
        /// The answer's status.
        status: u16,
        /// Discord's number for it, 0 if it gave none.
        code: u64,
        /// Discord's words.
        message: String,
    },
    /// Too many calls: not before this time has passed.
    Limited(Duration),
    /// Nobody knows.
    Unknown(String),
}

impl Failed {
    /// Discord's number for a refusal.
    pub(super) const fn code(&self) -> Option<u64> {
        match self {
            Self::Refused { code, .. } => Some(*code),
            Self::Limited(_) | Self::Unknown(_) => None,
        }
    }
}

/// Calls Discord.
#[derive(Debug)]
pub struct Client {
    http: reqwest::Client,
    token: Secret,
    api: String,
    limits: Limits,
}

impl Client {
    /// A client. Nothing is connected yet. Another address than Discord's own is for proxies and tests.
    ///
    /// # Errors
    /// No client can be made.
    pub fn new(api: Option<&str>, token: Secret) -> Result<Self, reqwest::Error> {
        let http = reqwest::Client::builder()
            .user_agent(AGENT)
            .connect_timeout(Duration::from_secs(10))
            .timeout(Duration::from_secs(30))
            .build()?;
        let api = format!("{}/api/v10", api.unwrap_or(HOME).trim_end_matches('/'));
        Ok(Self { http, token, api, limits: Limits::default() })
    }

    /// Reads.
    pub(crate) async fn get(&self, path: &str) -> Result<Value, Failed> {
        self.call(Method::GET, path, None).await
    }

    /// Makes something, or answers something.
    pub(super) async fn post(&self, path: &str, body: &Value) -> Result<Value, Failed> {
        self.call(Method::POST, path, Some(body)).await
    }

    /// Changes something.
    pub(super) async fn patch(&self, path: &str, body: &Value) -> Result<Value, Failed> {
        self.call(Method::PATCH, path, Some(body)).await
    }

    /// Puts something in the place of what is there.
    pub(crate) async fn put(&self, path: &str, body: &Value) -> Result<Value, Failed> {
        self.call(Method::PUT, path, Some(body)).await
    }

    /// Takes something away.
    pub(super) async fn delete(&self, path: &str) -> Result<Value, Failed> {
        self.call(Method::DELETE, path, None).await
    }

    async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, Failed> {
        // Answers to interactions are exempt from every limit, and have no time to wait.
        let route = (!path.starts_with("/interactions/")).then(|| Route::of(method.as_str(), path));
        if let Some(wait) = route.as_ref().and_then(|route| self.limits.wait(route, Instant::now())) {
            return Err(Failed::Limited(wait));
        }
        let mut request = self.http.request(method, format!("{}{path}", self.api));
        // An interaction's address is all the authority that it takes.
        if !path.starts_with("/interactions/") && !path.starts_with("/webhooks/") {
            request = request.header("authorization", format!("Bot {}", self.token.expose()));
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        // The error's own text may hold the address, and that a token.
        let unknown = |error: reqwest::Error| Failed::Unknown(error.without_url().to_string());
        let response = request.send().await.map_err(unknown)?;
        let (status, headers) = (response.status(), response.headers().clone());
        if let Some(route) = &route {
            self.limits.learn(route, &headers, Instant::now());
        }
        let bytes = response.bytes().await.map_err(unknown)?;
        if status == StatusCode::NO_CONTENT {
            return Ok(Value::Null);
        }
        let answer = serde_json::from_slice::<Value>(&bytes);
        if status.is_success() {
            return answer.map_err(|_| Failed::Unknown(format!("Discord's answer {status} cannot be read")));
        }
        if status.is_server_error() {
            return Err(Failed::Unknown(format!("Discord answered {status}")));
        }
        let answer = answer.unwrap_or_default();
        let code = answer.get("code").and_then(Value::as_u64).unwrap_or(0);
        if status == StatusCode::TOO_MANY_REQUESTS && code != code::TOO_MANY_LATE_EDITS {
            let said = headers.get("retry-after").and_then(|wait| seconds(wait.to_str().ok()?));
            // The body's is the finer one.
            let finer = answer.get("retry_after").and_then(|wait| seconds(&wait.to_string()));
            let wait = finer.or(said).unwrap_or(Duration::from_secs(1));
            let is_global = answer.get("global").and_then(Value::as_bool) == Some(true)
                || headers.contains_key("x-ratelimit-global");
            if let Some(route) = &route {
                self.limits.refused(route, wait, is_global, Instant::now());
            }
            return Err(Failed::Limited(wait));
        }
        let message = answer.get("message").and_then(Value::as_str).unwrap_or_default();
        let message = message.chars().filter(|letter| !letter.is_control()).take(300).collect();
        Err(Failed::Refused { status: status.as_u16(), code, message })
    }
}
