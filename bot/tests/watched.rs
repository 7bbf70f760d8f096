//! What those who watch are told: `/healthz`, `/metrics`, and what is made for them.
#![allow(
    clippy::allow_attributes,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "tests"
)]

mod support;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bot::conversation::Conversation;
use bot::inbound::{CLOCK_LIMIT, Doors, router};
use bot::metrics::names;
use journal_store::SqliteMailroom;
use runtime::{Clock, SystemClock};
use serde_json::Value;
use support::{Place, say};
use tokio::sync::Notify;

/// A clock that goes wrong by a fixed time.
#[derive(Debug)]
struct Ahead(i64);

#[async_trait]
impl Clock for Ahead {
    fn now_millis(&self) -> i64 {
        SystemClock.now_millis() + self.0
    }

    fn monotonic(&self) -> Instant {
        SystemClock.monotonic()
    }

    async fn sleep(&self, duration: Duration) {
        SystemClock.sleep(duration).await;
    }
}

/// The endpoints of a machine whose clock is ahead of the journal's, at an address.
async fn serve(place: &Place, ahead: Duration) -> String {
    let store = place.store().await;
    let url = format!("sqlite:{}", place.file("shop.journal").display());
    let mailroom = SqliteMailroom::open(&url, Arc::new(SystemClock)).await.unwrap();
    let doors = Doors {
        store,
        mailroom: Arc::new(mailroom),
        clock: Arc::new(Ahead(i64::try_from(ahead.as_millis()).unwrap())),
        arrived: Arc::new(Notify::new()),
        github: None,
        slack: None,
        discord: None,
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router(Arc::new(doors))).await });
    address
}

async fn get(url: &str) -> (u16, String) {
    let answer = reqwest::get(url).await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

#[tokio::test]
async fn case_24_a_clock_that_is_far_from_the_journals_is_not_healthy() {
    let place = Place::new();
    let (status, body) = get(&format!("{}/healthz", serve(&place, Duration::from_secs(2)).await)).await;
    let told: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status, &told["status"]), (200, &"ok".into()), "{body}");
    assert_eq!((&told["inbox"], &told["outbox"]), (&0.into(), &0.into()));
    let difference = told["clock_difference_ms"].as_i64().unwrap();
    assert!((-3000..-1000).contains(&difference), "{body}");

    let far = CLOCK_LIMIT + Duration::from_secs(5);
    let (status, body) = get(&format!("{}/healthz", serve(&place, far).await)).await;
    let told: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status, &told["status"]), (503, &"clock differs".into()), "{body}");
}

#[tokio::test]
async fn the_page_of_numbers_is_in_prometheus_form_and_tells_the_phases() {
    let place = Place::new();
    let address = serve(&place, Duration::ZERO).await;
    let conversation = Conversation::new(place.store().await);
    say(&conversation, "ana", "1", "/migrate region-a start").await;
    say(&conversation, "ana", "2", "/migrate frob").await;
    say(&conversation, "ben", "3", "/migrate region-a start").await;
    let (status, page) = get(&format!("{address}/metrics")).await;
    assert_eq!(status, 200);
    for line in [
        "switchyard_journal_up 1",
        "switchyard_phase_status{phase=\"region-a\",status=\"new\"} 1",
        "switchyard_phase_writer{phase=\"region-a\",writer=\"source\"} 1",
        "switchyard_phase_open_requests{phase=\"region-a\"} 1",
        "switchyard_phase_blocked{phase=\"region-a\"} 0",
        "switchyard_inbox_oldest_seconds 0.000",
    ] {
        assert!(page.lines().any(|each| each == line), "{line} in\n{page}");
    }
    // Other tests of this process count, too.
    for start in [
        "switchyard_commands_total{platform=\"terminal\",verb=\"start\",outcome=\"done\"} ",
        "switchyard_commands_total{platform=\"terminal\",verb=\"none\",outcome=\"misread\"} ",
        "switchyard_commands_total{platform=\"terminal\",verb=\"start\",outcome=\"refused\"} ",
    ] {
        assert!(page.lines().any(|line| line.starts_with(start)), "{start} in\n{page}");
    }
    // Each line is a comment of a known family, or a sample of the one above with a number.
    let mut seen = BTreeSet::new();
    let mut family = "";
    for line in page.lines() {
        if let Some(rest) = line.strip_prefix("# ") {
            let (what, rest) = rest.split_once(' ').unwrap();
            assert!(matches!(what, "HELP" | "TYPE"), "{line}");
            family = rest.split(' ').next().unwrap();
            seen.insert(family.to_owned());
        } else {
            let (name, number) = line.rsplit_once(' ').unwrap();
            assert_eq!(name.split('{').next().unwrap(), family, "{line}");
            assert!(number.parse::<f64>().is_ok(), "{line}");
        }
    }
    let known: BTreeSet<String> = names::ALL.iter().map(|family| family.name.to_owned()).collect();
    assert_eq!(seen, known);
}

#[tokio::test]
async fn a_journal_that_is_gone_is_told_and_the_counters_are_there_all_the_same() {
    let place = Place::new();
    let address = serve(&place, Duration::ZERO).await;
    // The file's tables are gone under the open journal.
    let pool =
        sqlx::SqlitePool::connect(&format!("sqlite:{}", place.file("shop.journal").display())).await.unwrap();
    sqlx::query("alter table inbox rename to gone").execute(&pool).await.unwrap();
    let (status, body) = get(&format!("{address}/healthz")).await;
    assert_eq!((status, body.as_str()), (503, "{\"status\":\"no journal\"}"));
    let (status, page) = get(&format!("{address}/metrics")).await;
    assert_eq!(status, 200);
    assert!(
        page.contains("\nswitchyard_journal_up 0\n") && page.contains("# TYPE switchyard_commands_total"),
        "{page}"
    );
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The names of this program's numbers in a text.
fn named(text: &str) -> BTreeSet<String> {
    let starts = text.match_indices("switchyard_").map(|(at, _)| &text[at..]);
    let name =
        |rest: &str| rest.chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect::<String>();
    starts.map(name).collect()
}

/// Every expression of a dashboard.
fn expressions(of: &Value, found: &mut Vec<String>) {
    match of {
        Value::Object(fields) => {
            for (key, value) in fields {
                match value.as_str() {
                    Some(text) if key == "expr" => found.push(text.to_owned()),
                    _ => expressions(value, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| expressions(item, found)),
        _ => {}
    }
}

#[test]
fn the_dashboard_shows_every_number_and_asks_for_none_that_is_not_there() {
    let text = std::fs::read_to_string(root().join("config/grafana-dashboard.json")).unwrap();
    let dashboard: Value = serde_json::from_str(&text).unwrap();
    let mut asked = Vec::new();
    expressions(&dashboard, &mut asked);
    let known: BTreeSet<String> = names::ALL.iter().map(|family| family.name.to_owned()).collect();
    assert_eq!(named(&asked.join("\n")), known);
    for expression in &asked {
        let family = names::ALL.iter().find(|family| named(expression).contains(family.name)).unwrap();
        let Some((_, by)) = expression.split_once(" by (") else { continue };
        for label in by.split(')').next().unwrap().split(", ") {
            assert!(family.labels.contains(&label), "{label} of {}", family.name);
        }
    }
}
