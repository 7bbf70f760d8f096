#![expect(clippy::string_slice, reason = "the signatures are ASCII")]

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use ed25519_dalek::VerifyingKey;
use runtime::Secret;

use super::{Bad, Labelled, discord, github, slack};

/// The time signed in the vectors.
const SLACK_NOW: i64 = 1_531_420_618;
const DISCORD_NOW: i64 = 1_700_000_000;

const GITHUB: &str = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
const SLACK: &str = "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503";
const SLACK_BODY: &[u8] = b"token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c";
const DISCORD: &str = "1695961a47c91a1ec033b819b7e87e3dbc583dd0cee6d1fd0216f58ac87b6228ae531ddbf91fb7bc28d7edf7f08604da16f54624f38a6bc0614e4dc13cd47f0f";

const HUB: &str = "x-hub-signature-256";
const SIGNATURE: &str = "x-slack-signature";
const TIME: &str = "x-slack-request-timestamp";
const ED: &str = "x-signature-ed25519";
const ED_TIME: &str = "x-signature-timestamp";

fn secrets(each: &[&str]) -> Vec<Labelled> {
    each.iter().map(|text| Labelled { label: format!("env:{text}"), secret: Secret::new(*text) }).collect()
}

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        headers.append(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
    }
    headers
}

fn hub(value: &str, body: &[u8]) -> Result<String, Bad> {
    github(&secrets(&["It's a Secret to Everybody"]), &headers(&[(HUB, value)]), body).map(str::to_owned)
}

fn v0(time: &str, signature: &str, body: &[u8], now: i64) -> Result<String, Bad> {
    let headers = headers(&[(TIME, time), (SIGNATURE, signature)]);
    slack(&secrets(&["8f742231b10e8888abcd99yyyzzz85a5"]), &headers, body, now).map(str::to_owned)
}

fn key() -> VerifyingKey {
    let text = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
    VerifyingKey::from_bytes(&hex::decode(text).unwrap().try_into().unwrap()).unwrap()
}

fn ed(time: &str, signature: &str, body: &[u8], now: i64) -> Result<(), Bad> {
    discord(&key(), &headers(&[(ED_TIME, time), (ED, signature)]), body, now)
}

/// Every text that differs from this one in one bit of one character and is still ASCII.
fn bent(text: &str) -> Vec<String> {
    (0..text.len())
        .flat_map(|at| (0..7).map(move |bit| (at, bit)))
        .map(|(at, bit)| {
            let mut bytes = text.as_bytes().to_vec();
            bytes[at] ^= 1 << bit;
            String::from_utf8(bytes).unwrap()
        })
        .filter(|text| HeaderValue::from_str(text).is_ok())
        .collect()
}

fn bent_bytes(body: &[u8]) -> Vec<Vec<u8>> {
    (0..body.len() * 8)
        .map(|bit| {
            let mut bytes = body.to_vec();
            bytes[bit / 8] ^= 1 << (bit % 8);
            bytes
        })
        .collect()
}

#[test]
fn the_published_vectors_are_believed() {
    assert_eq!(hub(GITHUB, b"Hello, World!").unwrap(), "env:It's a Secret to Everybody");
    assert_eq!(SLACK_BODY.len(), 362);
    v0("1531420618", SLACK, SLACK_BODY, SLACK_NOW).unwrap();
    ed("1700000000", DISCORD, br#"{"type":1}"#, DISCORD_NOW).unwrap();
}

#[test]
fn one_bit_anywhere_is_refused() {
    for body in bent_bytes(b"Hello, World!") {
        assert_eq!(hub(GITHUB, &body), Err(Bad::Wrong));
    }
    for header in bent(GITHUB) {
        hub(&header, b"Hello, World!").unwrap_err();
    }
    for body in bent_bytes(SLACK_BODY) {
        assert_eq!(v0("1531420618", SLACK, &body, SLACK_NOW), Err(Bad::Wrong));
    }
    for header in bent(SLACK) {
        v0("1531420618", &header, SLACK_BODY, SLACK_NOW).unwrap_err();
    }
    for time in bent("1531420618") {
        v0(&time, SLACK, SLACK_BODY, SLACK_NOW).unwrap_err();
        // The same, were it fresh.
        if let Ok(now) = time.parse() {
            assert_eq!(v0(&time, SLACK, SLACK_BODY, now), Err(Bad::Wrong), "{time}");
        }
    }
    for body in bent_bytes(br#"{"type":1}"#) {
        assert_eq!(ed("1700000000", DISCORD, &body, DISCORD_NOW), Err(Bad::Wrong));
    }
    for header in bent(DISCORD) {
        ed("1700000000", &header, br#"{"type":1}"#, DISCORD_NOW).unwrap_err();
    }
    for time in bent("1700000000") {
        if let Ok(now) = time.parse() {
            assert_eq!(ed(&time, DISCORD, br#"{"type":1}"#, now), Err(Bad::Wrong), "{time}");
        }
    }
}

#[test]
fn a_header_is_there_once_and_of_its_form() {
    let hello = b"Hello, World!";
    let known = secrets(&["It's a Secret to Everybody"]);
    assert_eq!(github(&known, &headers(&[]), hello), Err(Bad::Header(HUB)));
    assert_eq!(github(&known, &headers(&[(HUB, GITHUB), (HUB, GITHUB)]), hello), Err(Bad::Header(HUB)));
    let digits = GITHUB.strip_prefix("sha256=").unwrap();
    let wrong = [
        String::new(),
        digits.to_owned(),
        format!("sha1={digits}"),
        format!("SHA256={digits}"),
        format!("sha256={}", digits.to_uppercase()),
        format!("sha256={}", &digits[1..]),
        format!("sha256={}", &digits[2..]),
        format!("sha256={digits}00"),
        format!("sha256={digits} "),
    ];
    for header in wrong {
        assert_eq!(hub(&header, hello), Err(Bad::Form(HUB)), "{header}");
    }
    let known = secrets(&["8f742231b10e8888abcd99yyyzzz85a5"]);
    let ask = |pairs: &[(&'static str, &str)]| {
        slack(&known, &headers(pairs), SLACK_BODY, SLACK_NOW).map(str::to_owned)
    };
    assert_eq!(ask(&[(SIGNATURE, SLACK)]), Err(Bad::Header(TIME)));
    assert_eq!(ask(&[(TIME, "1531420618")]), Err(Bad::Header(SIGNATURE)));
    assert_eq!(
        ask(&[(TIME, "1531420618"), (TIME, "1531420618"), (SIGNATURE, SLACK)]),
        Err(Bad::Header(TIME))
    );
    for wrong in [SLACK.replace("v0", "v1"), SLACK.to_uppercase(), SLACK[..SLACK.len() - 1].to_owned()] {
        assert_eq!(v0("1531420618", &wrong, SLACK_BODY, SLACK_NOW), Err(Bad::Form(SIGNATURE)), "{wrong}");
    }
    for wrong in ["", " 1531420618", "+1531420618", "1531420618.0", "99999999999999999999", "-1"] {
        assert_eq!(v0(wrong, SLACK, SLACK_BODY, SLACK_NOW), Err(Bad::Form(TIME)), "{wrong}");
    }
    let body = br#"{"type":1}"#;
    let ask = |pairs: &[(&'static str, &str)]| discord(&key(), &headers(pairs), body, DISCORD_NOW);
    assert_eq!(ask(&[(ED, DISCORD)]), Err(Bad::Header(ED_TIME)));
    assert_eq!(ask(&[(ED_TIME, "1700000000")]), Err(Bad::Header(ED)));
    assert_eq!(ask(&[(ED_TIME, "1700000000"), (ED, DISCORD), (ED, DISCORD)]), Err(Bad::Header(ED)));
    for wrong in [DISCORD.to_uppercase(), DISCORD[1..].to_owned(), DISCORD[2..].to_owned(), String::new()] {
        assert_eq!(ed("1700000000", &wrong, body, DISCORD_NOW), Err(Bad::Form(ED)), "{wrong}");
    }
}

#[test]
fn a_signed_time_is_good_for_five_minutes_either_way() {
    for (off, is_good) in [(-301, false), (-300, true), (300, true), (301, false)] {
        assert_eq!(v0("1531420618", SLACK, SLACK_BODY, SLACK_NOW + off).is_ok(), is_good, "{off}");
        assert_eq!(ed("1700000000", DISCORD, br#"{"type":1}"#, DISCORD_NOW + off).is_ok(), is_good, "{off}");
    }
    // Said before anything is computed: also with a wrong signature it is the time that is told.
    assert_eq!(
        v0("1531420618", &SLACK.replace('a', "b"), SLACK_BODY, SLACK_NOW + 900),
        Err(Bad::Stale { by_seconds: -900 })
    );
}

#[test]
fn a_body_written_anew_is_another_body() {
    let body = br#"{"type":1}"#;
    let value: serde_json::Value = serde_json::from_slice(body).unwrap();
    let pretty = serde_json::to_vec_pretty(&value).unwrap();
    assert_eq!(ed("1700000000", DISCORD, &pretty, DISCORD_NOW), Err(Bad::Wrong));
    let text = String::from_utf8(SLACK_BODY.to_vec()).unwrap().replace("%2F", "/");
    assert_eq!(v0("1531420618", SLACK, text.as_bytes(), SLACK_NOW), Err(Bad::Wrong));
}

#[test]
fn an_old_and_a_new_secret_are_good_together() {
    let both = secrets(&["the next one", "It's a Secret to Everybody"]);
    let label = github(&both, &headers(&[(HUB, GITHUB)]), b"Hello, World!").unwrap();
    assert_eq!(label, "env:It's a Secret to Everybody");
    for none in [secrets(&["the next one"]), secrets(&[])] {
        assert_eq!(github(&none, &headers(&[(HUB, GITHUB)]), b"Hello, World!"), Err(Bad::Wrong));
    }
    // HMAC under no key at all, which anybody can make.
    let made = "sha256=2bbcfa9524f3218c7a34b30e6936f8b1a4516cb097f1a85a1c7d98b5977ec769";
    assert_eq!(github(&secrets(&[""]), &headers(&[(HUB, made)]), b"Hello, World!"), Err(Bad::Wrong));
}
