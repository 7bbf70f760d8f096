//! Whether a request is the platform's own: over the raw bytes, before anything is parsed.
//!
//! GitHub and Slack sign with a shared secret (HMAC-SHA256), Discord with its private key (Ed25519). Comparisons take the
//! same time whatever they compare. Several secrets may be good at once, so that they can be changed without a gap; the
//! label of the one that matched is handed back, for the log. GitHub signs no time: a captured request is good for
//! ever, and only the inbox's keys keep it from being done twice.

use axum::http::HeaderMap;
use ed25519_dalek::{Signature, VerifyingKey};
use hmac::{Hmac, KeyInit as _, Mac as _};
use runtime::Secret;
use sha2::Sha256;
use subtle::ConstantTimeEq as _;

/// How far a signed time may be from ours, in seconds, either way. Slack's own recommendation.
pub const WINDOW_SECONDS: i64 = 300;

/// A secret, and where it is kept, which is how it is called in the log.
#[derive(Debug, Clone)]
pub struct Labelled {
    /// `env:NAME` or `file:PATH`.
    pub label: String,
    /// The secret. Never empty: the configuration refuses that.
    pub secret: Secret,
}

/// Why a request is not believed. For the log alone: the sender is told nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Bad {
    /// A header is missing, or stands there more than once.
    #[error("the header {0} is missing or stands there twice")]
    Header(&'static str),
    /// A header is not of its form.
    #[error("the header {0} is not of its form")]
    Form(&'static str),
    /// The signed time is too far from ours.
    #[error("its time is {by_seconds} s from ours: compare this machine's clock")]
    Stale {
        /// Theirs less ours.
        by_seconds: i64,
    },
    /// No secret makes this signature.
    #[error("no secret makes its signature")]
    Wrong,
}

/// A header that stands there once.
fn single<'h>(headers: &'h HeaderMap, name: &'static str) -> Result<&'h str, Bad> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().map_err(|_| Bad::Form(name)),
        _ => Err(Bad::Header(name)),
    }
}

/// Bytes in lower-case hexadecimal, as both schemes write them.
fn bytes<const N: usize>(text: &str, name: &'static str) -> Result<[u8; N], Bad> {
    let mut bytes = [0; N];
    let is_lower = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if !is_lower || hex::decode_to_slice(text, &mut bytes).is_err() {
        return Err(Bad::Form(name));
    }
    Ok(bytes)
}

/// The secret under which these parts, one after another, have this HMAC-SHA256. Every secret is tried, whichever fits.
fn matching<'s>(secrets: &'s [Labelled], parts: &[&[u8]], given: &[u8; 32]) -> Result<&'s str, Bad> {
    let mut found = Err(Bad::Wrong);
    for each in secrets {
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(each.secret.expose().as_bytes()) else { continue };
        for part in parts {
            mac.update(part);
        }
        let made: [u8; 32] = mac.finalize().into_bytes().into();
        if bool::from(made.ct_eq(given)) && !each.secret.expose().is_empty() {
            found = Ok(each.label.as_str());
        }
    }
    found
}

/// A time in seconds since 1970, digits alone, within the window.
fn fresh(text: &str, name: &'static str, now_seconds: i64) -> Result<(), Bad> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Bad::Form(name));
    }
    let time: i64 = text.parse().map_err(|_| Bad::Form(name))?;
    let by_seconds = time.saturating_sub(now_seconds);
    if by_seconds.abs() > WINDOW_SECONDS { Err(Bad::Stale { by_seconds }) } else { Ok(()) }
}

/// GitHub: `X-Hub-Signature-256` over the body. Returns the secret's label.
///
/// # Errors
/// It is not GitHub's.
pub fn github<'s>(secrets: &'s [Labelled], headers: &HeaderMap, body: &[u8]) -> Result<&'s str, Bad> {
    const NAME: &str = "x-hub-signature-256";
    let given = single(headers, NAME)?.strip_prefix("sha256=").ok_or(Bad::Form(NAME))?;
    matching(secrets, &[body], &bytes(given, NAME)?)
}

/// Slack: version, time and body, version 0. Returns the secret's label.
///
/// # Errors
/// It is not Slack's, or too old.
pub fn slack<'s>(
    secrets: &'s [Labelled],
    headers: &HeaderMap,
    body: &[u8],
    now_seconds: i64,
) -> Result<&'s str, Bad> {
    const NAME: &str = "x-slack-signature";
    const TIME: &str = "x-slack-request-timestamp";
    let time = single(headers, TIME)?;
    fresh(time, TIME, now_seconds)?;
    let given = single(headers, NAME)?.strip_prefix("v0=").ok_or(Bad::Form(NAME))?;
    matching(secrets, &[b"v0:", time.as_bytes(), b":", body], &bytes(given, NAME)?)
}

/// Discord: time and body, by the application's public key.
///
/// # Errors
/// It is not Discord's, or too old.
pub fn discord(key: &VerifyingKey, headers: &HeaderMap, body: &[u8], now_seconds: i64) -> Result<(), Bad> {
    const NAME: &str = "x-signature-ed25519";
    const TIME: &str = "x-signature-timestamp";
    let time = single(headers, TIME)?;
    fresh(time, TIME, now_seconds)?;
    let given: [u8; 64] = bytes(single(headers, NAME)?, NAME)?;
    let signed = [time.as_bytes(), body].concat();
    key.verify_strict(&signed, &Signature::from_bytes(&given)).map_err(|_| Bad::Wrong)
}

#[cfg(test)]
#[path = "signature_tests.rs"]
mod tests;
