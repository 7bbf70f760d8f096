//! What the time calls people for, on a clock that the test moves: a scheduled request that lacks approvals, and one whose
//! time runs out.
#![allow(
    clippy::allow_attributes,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bot::arrival::Place as Spot;
use bot::board::{Audience, Board, Card, Notice, Plain};
use bot::conversation::{Conversation, Utterance};
use bot::language::Dialect;
use journal::plan::Platform;
use journal::{Actor, Command, CommandBody, CommandId, Holder, PersonId, PhaseName, Plan, Position};
use journal_store::{Draft, Mailroom, SqliteMailroom, SqliteStore, Store};
use runtime::{Clock, SystemClock};
use support::{Place, plan_text};
use tokio::sync::{Notify, watch};

/// 2026-12-01 09:00 UTC.
const NINE: i64 = 1_796_115_600_000;

/// A clock that stands still until it is moved; whoever sleeps wakes when it is moved far enough.
#[derive(Debug)]
struct Stepped(watch::Sender<i64>);

#[async_trait]
impl Clock for Stepped {
    fn now_millis(&self) -> i64 {
        *self.0.borrow()
    }

    fn monotonic(&self) -> Instant {
        Instant::now()
    }

    async fn sleep(&self, duration: Duration) {
        let until = self.now_millis() + i64::try_from(duration.as_millis()).unwrap();
        self.0.subscribe().wait_for(|now| *now >= until).await.unwrap();
    }
}

/// Slack's readers, who count how often they are written to.
#[derive(Debug)]
struct Counted {
    plain: Plain,
    rounds: Arc<AtomicUsize>,
}

impl Audience for Counted {
    fn platform(&self) -> Platform {
        self.plain.platform
    }

    fn card(&self, _card: &Card) -> Vec<Draft> {
        Vec::new()
    }

    fn notice(&self, notice: &Notice) -> Vec<Draft> {
        self.plain.notice(notice)
    }

    fn overview(&self, _status: &dyn Fn() -> String) -> Vec<Draft> {
        self.rounds.fetch_add(1, Ordering::SeqCst);
        Vec::new()
    }
}

struct Scene {
    _place: Place,
    clock: Arc<Stepped>,
    store: Arc<dyn Store>,
    mailroom: Arc<dyn Mailroom>,
    rounds: Arc<AtomicUsize>,
    _stop: watch::Sender<bool>,
}

impl Scene {
    /// A board that follows a journal from nine o'clock on, under a plan in which a start needs two approvals.
    async fn set() -> Self {
        let place = Place::new();
        let clock = Arc::new(Stepped(watch::Sender::new(NINE)));
        let url = format!("sqlite:{}", place.file("shop.journal").display());
        let text = format!("{}\n[approvals.start]\nrequired = 2\n", plan_text());
        let migration = Plan::parse(&text).unwrap().migration;
        let store = SqliteStore::open(&url, &migration, Arc::<Stepped>::clone(&clock)).await.unwrap();
        let store: Arc<dyn Store> = Arc::new(store);
        let mailroom = SqliteMailroom::open(&url, Arc::<Stepped>::clone(&clock)).await.unwrap();
        let mailroom: Arc<dyn Mailroom> = Arc::new(mailroom);
        let body = CommandBody::AdoptPlan { text, authors: Vec::new() };
        let adopt = CommandId::new("adopt").unwrap();
        store.execute(adopt, None, Command::new(Actor::Operator, body)).await.unwrap();
        let channel = Some(Spot::SlackChannel { channel: "C0OPS".to_owned(), thread: None });
        let rounds = Arc::new(AtomicUsize::new(0));
        let plain = Plain { platform: Platform::Slack, channel };
        let board = Board {
            store: Arc::clone(&store),
            mailroom: Arc::clone(&mailroom),
            audiences: vec![Box::new(Counted { plain, rounds: Arc::clone(&rounds) })],
            clock: Arc::<Stepped>::clone(&clock),
            written: Arc::new(Notify::new()),
        };
        let (stop, stopped) = watch::channel(false);
        tokio::spawn(board.run(stopped));
        let scene = Self { _place: place, clock, store, mailroom, rounds, _stop: stop };
        scene.looked(1).await;
        scene
    }

    /// Waits until the board has looked so often more.
    async fn looked(&self, times: usize) {
        let wanted = self.rounds.load(Ordering::SeqCst) + times;
        let looks = async {
            while self.rounds.load(Ordering::SeqCst) < wanted {
                // The board sleeps on this clock; a tick of its own wakes it.
                self.clock.0.send_modify(|now| *now += 5_000);
                SystemClock.sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), looks).await.expect("the board looks");
    }

    /// It is so many minutes past nine, and the board has looked since.
    async fn minute(&self, minutes: i64) {
        self.clock.0.send_modify(|now| *now = (*now).max(NINE + minutes * 60_000));
        self.looked(2).await;
    }

    /// Says something in a thread of Slack; gives the request that it made.
    async fn says(&self, person: &str, id: &str, text: &str) -> Option<Position> {
        let place = Spot::SlackChannel { channel: "C0TALK".to_owned(), thread: None };
        let person = PersonId::new(person).unwrap();
        let said = Utterance {
            person: &person,
            id,
            text,
            dialect: Dialect::Terminal,
            origin: Some(place.origin("T01/U01", id)),
        };
        let reply = Conversation::new(Arc::clone(&self.store)).hear(&said).await;
        assert!(reply.ok, "{}", reply.text);
        reply.made
    }

    /// What was written since the last time, by place: new messages, and no edits of older ones.
    async fn heard(&self) -> Vec<(String, String)> {
        let sender = Holder::new("test/sender").unwrap();
        let mut heard = Vec::new();
        while let Some(out) =
            self.mailroom.take_outgoing(Platform::Slack, &sender, Duration::from_secs(60)).await.unwrap()
        {
            assert_eq!(out.edits, None, "a notice is said once: {:?}", out.draft);
            let text = out.draft.body["text"].as_str().unwrap().to_owned();
            let place = if out.draft.destination.contains("C0OPS") { "ops" } else { "there" };
            heard.push((place.to_owned(), text));
            self.mailroom.sent(&out, &format!("{}.1", out.id)).await.unwrap();
        }
        heard.sort();
        heard
    }

    /// An executor does something in a phase.
    async fn does(&self, phase: &str, id: &str, body: impl Fn(PhaseName) -> CommandBody) {
        let phase = PhaseName::new(phase).unwrap();
        let holder = Holder::new("test/executor").unwrap();
        let lease = self.store.claim(&phase, &holder, Duration::from_secs(5)).await.unwrap().unwrap();
        let id = CommandId::new(id).unwrap();
        let command = Command::new(Actor::Executor(holder), body(phase));
        self.store.execute(id, Some(lease.claim()), command).await.unwrap();
    }
}

#[tokio::test]
async fn a_scheduled_request_that_lacks_approvals_calls_for_them_ten_minutes_before_its_time_once() {
    let scene = Scene::set().await;
    scene.says("ana", "ask", "region-a start --at 2026-12-01T10:00:00Z").await.unwrap();
    scene.minute(40).await;
    assert_eq!(scene.heard().await, []);
    scene.minute(55).await;
    let heard = scene.heard().await;
    let places: Vec<&str> = heard.iter().map(|(place, _)| place.as_str()).collect();
    assert_eq!(places, ["ops", "there"], "{heard:?}");
    for (_, text) in &heard {
        for part in [
            "is to begin at 2026-12-01 10:00:00 UTC",
            "by 2026-12-01 11:00:00 UTC",
            "lacks approvals",
            "approve #",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }
    scene.minute(70).await;
    assert_eq!(scene.heard().await, []);
    // Three quarters of its time are over: once more, where it was asked for.
    scene.minute(95).await;
    let heard = scene.heard().await;
    assert!(
        matches!(&heard[..], [(place, text)] if place == "there" && text.contains("counts until 2026-12-01 11:00:00 UTC")),
        "{heard:?}"
    );
    scene.minute(110).await;
    assert_eq!(scene.heard().await, []);
    scene.minute(125).await;
    scene.does("region-a", "void", |phase| CommandBody::VoidStale { phase }).await;
    scene.looked(2).await;
    let heard = scene.heard().await;
    assert!(
        matches!(&heard[..], [(place, text)] if place == "there" && text.contains("it had to begin by 2026-12-01 11:00:00 UTC")),
        "{heard:?}"
    );
}

#[tokio::test]
async fn a_scheduled_request_that_has_its_approvals_or_was_asked_for_just_before_its_time_calls_nobody() {
    let scene = Scene::set().await;
    let request = scene.says("ana", "ask", "region-a start --at 2026-12-01T10:00:00Z").await.unwrap();
    scene.says("ana", "one", &format!("approve #{request}")).await;
    scene.says("ben", "two", &format!("approve #{request}")).await;
    scene.minute(55).await;
    assert_eq!(scene.heard().await, []);
    // Whoever asks five minutes before is told at once what it needs.
    let scene = Scene::set().await;
    scene.minute(54).await;
    scene.says("ana", "late", "region-a start --at 2026-12-01T10:00:00Z").await.unwrap();
    scene.minute(65).await;
    assert_eq!(scene.heard().await, []);
}

#[tokio::test]
async fn a_request_whose_time_runs_out_is_recalled_once_where_it_was_asked_for() {
    let scene = Scene::set().await;
    scene.says("ana", "ask", "region-a start").await.unwrap();
    scene.minute(170).await;
    assert_eq!(scene.heard().await, []);
    scene.minute(185).await;
    let heard = scene.heard().await;
    assert!(
        matches!(&heard[..], [(place, text)] if place == "there" && text.contains("counts until 2026-12-01 13:00:")),
        "{heard:?}"
    );
    scene.minute(225).await;
    assert_eq!(scene.heard().await, []);
    scene.minute(245).await;
    scene.does("region-a", "void", |phase| CommandBody::VoidStale { phase }).await;
    scene.looked(2).await;
    let heard = scene.heard().await;
    assert!(
        matches!(&heard[..], [(place, text)] if place == "there" && text.contains("expired")),
        "{heard:?}"
    );
}

#[tokio::test]
async fn case_23_the_review_of_broken_glass_is_called_for_each_day_while_nobody_has_looked() {
    let scene = Scene::set().await;
    let request = scene.says("ana", "ask", "region-a start").await.unwrap();
    let said = format!("break-glass #{request} --reason \"the source is failing\"");
    scene.says("ben", "glass", &said).await;
    scene.minute(1).await;
    let in_both = |heard: &[(String, String)], part: &str| {
        let places: Vec<&str> = heard.iter().map(|(place, _)| place.as_str()).collect();
        assert_eq!(places, ["ops", "there"], "{heard:?}");
        assert!(heard.iter().all(|(_, text)| text.contains(part)), "{heard:?}");
    };
    in_both(&scene.heard().await, "GLASS BROKEN: ben alone gave request");
    scene.does("region-a", "begin", |phase| CommandBody::Begin { phase, request }).await;
    let day = 24 * 60;
    for (minutes, is_called) in [(day - 5, false), (day + 5, true), (day + 600, false), (2 * day + 5, true)] {
        scene.minute(minutes).await;
        let heard = scene.heard().await;
        if is_called {
            in_both(
                &heard,
                "ran under broken glass of ben (“the source is failing”), and the review was due",
            );
        } else {
            assert_eq!(heard, [], "{minutes}");
        }
    }
}
