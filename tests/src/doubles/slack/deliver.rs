//! How Slack's requests reach the app: signed over HTTP, or through a socket that the app opened.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use super::SIGNING_SECRET;
use super::state::seconds;

/// How long Slack waits.
const PATIENCE: Duration = Duration::from_secs(3);

/// A request as it was sent: it can be sent again.
#[derive(Debug, Clone)]
pub struct Request {
    /// `/slack/commands` and so on.
    pub path: String,
    /// Its content type.
    pub kind: String,
    /// Its body.
    pub body: String,
    /// Its other headers.
    pub headers: Vec<(String, String)>,
}

/// What the app answered.
#[derive(Debug, Clone)]
pub struct Ack {
    /// The status; 0 if there was no answer in three seconds.
    pub status: u16,
    /// The body.
    pub body: String,
    /// How long it took.
    pub took: Duration,
}

impl Ack {
    /// The person sees that it was taken.
    ///
    /// # Errors
    /// The person sees a failure.
    pub fn taken(self) -> Result<Self> {
        ensure!(self.status == 200, "Slack shows the person a failure: {self:?}");
        Ok(self)
    }
}

/// Delivers.
#[derive(Debug)]
pub(super) struct Delivery {
    client: reqwest::Client,
    app: Mutex<String>,
    secret: Mutex<String>,
    skew: AtomicI64,
    last: Mutex<Option<Request>>,
    pub(super) by_socket: AtomicBool,
}

impl Delivery {
    pub(super) fn new() -> Result<Self> {
        Ok(Self {
            client: reqwest::Client::builder().timeout(PATIENCE).no_proxy().build()?,
            app: Mutex::default(),
            secret: Mutex::new(SIGNING_SECRET.to_owned()),
            skew: AtomicI64::new(0),
            last: Mutex::default(),
            by_socket: AtomicBool::new(false),
        })
    }

    /// Signs and sends.
    pub(super) async fn send(&self, path: &str, kind: &str, body: String) -> Result<Ack> {
        let now = i64::try_from(seconds())?.saturating_add(self.skew.load(Ordering::SeqCst)).to_string();
        let secret = self.secret.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let headers = vec![
            ("x-slack-request-timestamp".to_owned(), now.clone()),
            ("x-slack-signature".to_owned(), signature(&secret, &now, &body)?),
        ];
        let request = Request { path: path.to_owned(), kind: kind.to_owned(), body, headers };
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(request.clone());
        self.send_as_it_is(&request).await
    }

    pub(super) async fn send_as_it_is(&self, request: &Request) -> Result<Ack> {
        let app = self.app.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut call =
            self.client.post(format!("{app}{}", request.path)).header("content-type", &request.kind);
        for (name, value) in &request.headers {
            call = call.header(name, value);
        }
        let begun = Instant::now();
        let answered = call.body(request.body.clone()).send().await;
        let (status, body) = match answered {
            Ok(response) => (response.status().as_u16(), response.text().await.unwrap_or_default()),
            Err(_) => (0, String::new()),
        };
        Ok(Ack { status, body, took: begun.elapsed() })
    }
}

impl super::Slack {
    /// Where the app is: the origin of its request URLs.
    pub fn aim(&self, app: &str) {
        app.clone_into(&mut self.delivery.app.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// From now on requests are signed with another secret.
    pub fn sign_with(&self, secret: &str) {
        secret.clone_into(&mut self.delivery.secret.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// From now on requests carry a time that is so many seconds from the app's.
    pub fn skew(&self, by_seconds: i64) {
        self.delivery.skew.store(by_seconds, Ordering::SeqCst);
    }

    /// From now on the app's requests go through the sockets that it opened.
    pub fn use_sockets(&self) {
        self.delivery.by_socket.store(true, Ordering::SeqCst);
    }

    /// The last request, as it was sent.
    ///
    /// # Errors
    /// There was none.
    pub fn last_request(&self) -> Result<Request> {
        self.delivery
            .last
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
            .context("nothing was sent yet")
    }

    /// Sends a request again, byte for byte: what a thief of it could do.
    ///
    /// # Errors
    /// None of the app's: those are in the answer.
    pub async fn replay(&self, request: &Request) -> Result<Ack> {
        self.delivery.send_as_it_is(request).await
    }
}

/// Slack's signature, version 0.
fn signature(secret: &str, time: &str, body: &str) -> Result<String> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).context("a secret")?;
    mac.update(format!("v0:{time}:{body}").as_bytes());
    Ok(format!("v0={}", hex::encode(mac.finalize().into_bytes())))
}

/// A form, as browsers write it.
pub(super) fn encoded(fields: &[(&str, &str)]) -> String {
    let encode = |text: &str| {
        let mut out = String::new();
        for byte in text.bytes() {
            match byte {
                b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'*' => {
                    out.push(char::from(byte));
                }
                b' ' => out.push('+'),
                other => out.push_str(&format!("%{other:02X}")),
            }
        }
        out
    };
    let pairs: Vec<String> =
        fields.iter().map(|(name, value)| format!("{}={}", encode(name), encode(value))).collect();
    pairs.join("&")
}

/// A name or value of a form.
pub(super) fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'+' => bytes.push(b' '),
            b'%' => {
                let digits: Vec<u8> = rest.by_ref().take(2).collect();
                let text = String::from_utf8_lossy(&digits).into_owned();
                bytes.extend(u8::from_str_radix(&text, 16).ok());
            }
            other => bytes.push(other),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::{decoded, encoded, signature};

    #[test]
    fn the_double_signs_as_slacks_own_example_does() {
        let body = "token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V\
                    &channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=\
                    &response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN\
                    &trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c";
        assert_eq!(
            signature("8f742231b10e8888abcd99yyyzzz85a5", "1531420618", body).unwrap(),
            "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503"
        );
    }

    #[test]
    fn a_form_is_read_as_it_was_written() {
        let text = "region-b failback --reason \"a+b & c\" ä";
        assert_eq!(encoded(&[("text", "a b")]), "text=a+b");
        assert_eq!(decoded(&encoded(&[("x", text)])).strip_prefix("x="), Some(text));
    }
}
