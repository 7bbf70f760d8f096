//! Webhooks: signed truly, delivered, lost, held back and redelivered, and the list of their deliveries.

use std::time::Duration;

use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;

use super::auth::INSTALLATION;

/// What becomes of the next webhooks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Delivering {
    /// Delivered at once.
    #[default]
    AtOnce,
    /// Never made: no list has them.
    Never,
    /// Tried, and the connection failed: the list has them.
    Failing,
    /// Kept until they are let go.
    Held,
}

/// A webhook.
#[derive(Debug, Clone)]
pub struct Hook {
    /// The same for every attempt.
    pub guid: String,
    /// `issue_comment`, …
    pub event: &'static str,
    /// `created`, …
    pub action: String,
    /// The body, as it is signed.
    pub body: String,
}

/// An attempt to deliver one.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// Its number in the list.
    pub id: u64,
    /// What was delivered.
    pub hook: Hook,
    /// When.
    pub delivered_at: String,
    /// Whether somebody asked for it again.
    pub is_redelivery: bool,
    /// What came back; none: nothing did.
    pub status: Option<u16>,
}

/// The post: what is delivered how, and what was.
#[derive(Debug, Default)]
pub struct Post {
    /// Where to.
    pub url: Option<String>,
    /// What becomes of the next ones.
    pub delivering: Delivering,
    /// Those that are held.
    pub held: Vec<Hook>,
    /// All attempts, oldest first.
    pub attempts: Vec<Attempt>,
    made: u64,
}

impl Post {
    /// A webhook for an event.
    pub fn hook(&mut self, event: &'static str, body: &Value) -> Hook {
        self.made += 1;
        let action = body.get("action").and_then(Value::as_str).unwrap_or_default().to_owned();
        let guid = uuid::Uuid::from_u128(0x5eed_0000_0000_4000_8000_0000_0000_0000 + u128::from(self.made));
        Hook { guid: guid.to_string(), event, action, body: body.to_string() }
    }

    /// Notes an attempt.
    pub fn note(&mut self, hook: &Hook, status: Option<u16>, is_redelivery: bool, now: &str) {
        let id = 31_000_000_000 + u64::try_from(self.attempts.len()).unwrap_or(0) * 3;
        let hook = hook.clone();
        self.attempts.push(Attempt { id, hook, delivered_at: now.to_owned(), is_redelivery, status });
    }
}

impl Attempt {
    /// As the list writes it.
    #[must_use]
    pub fn shown(&self, repository_id: u64) -> Value {
        let status = match self.status {
            Some(200..300) => "OK".to_owned(),
            Some(code) => format!("Invalid HTTP Response: {code}"),
            None => "failed to connect to host".to_owned(),
        };
        json!({
            "id": self.id, "guid": self.hook.guid, "delivered_at": self.delivered_at,
            "redelivery": self.is_redelivery, "duration": 0.12, "status": status,
            "status_code": self.status.unwrap_or(0), "event": self.hook.event, "action": self.hook.action,
            "installation_id": INSTALLATION, "repository_id": repository_id, "throttled_at": null,
        })
    }
}

/// The signature of a body: `sha256=` and HMAC-SHA256 in hexadecimal.
#[must_use]
pub fn signature(secret: &str, body: &[u8]) -> String {
    // HMAC takes keys of every length.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.as_bytes()) else { return String::new() };
    mac.update(body);
    format!("sha256={}", hex::encode(mac.finalize().into_bytes()))
}

/// Delivers; gives the status, or none if nothing came back in GitHub's ten seconds.
pub async fn deliver(client: &reqwest::Client, url: &str, secret: &str, hook: &Hook) -> Option<u16> {
    let request = client
        .post(url)
        .timeout(Duration::from_secs(10))
        .header("content-type", "application/json")
        .header("user-agent", "GitHub-Hookshot/044aadd")
        .header("x-github-event", hook.event)
        .header("x-github-delivery", &hook.guid)
        .header("x-github-hook-id", "292430182")
        .header("x-github-hook-installation-target-id", "123456")
        .header("x-github-hook-installation-target-type", "integration")
        .header("x-hub-signature-256", signature(secret, hook.body.as_bytes()))
        .body(hook.body.clone());
    request.send().await.ok().map(|answer| answer.status().as_u16())
}
