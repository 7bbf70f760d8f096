//! What every inbox and outbox does, whatever keeps it. A backend implements [`Office`] and calls `mail_conformance!`.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures::future::join_all;
use journal::plan::Platform;
use journal::{Holder, Position};
use journal_store::{Draft, Letter, Mailroom, Receipt};
use runtime::{Clock, SystemClock};
use serde_json::json;

/// One journal in one backend, which ends with this value.
#[async_trait]
pub trait Office: Send + Sync + Sized + 'static {
    /// A new, empty one.
    async fn new() -> Self;

    /// Opens it, once more, as another process would.
    async fn open(&self, clock: Arc<dyn Clock>) -> Arc<dyn Mailroom>;

    /// Moves on the time that terms and waits go by.
    async fn advance(&self, clock: &HandClock, by: Duration) {
        clock.advance(by);
    }
}

/// The machine's clock, moved on by hand.
#[derive(Debug, Default, Clone)]
pub struct HandClock {
    ahead: Arc<AtomicI64>,
}

impl HandClock {
    fn advance(&self, by: Duration) {
        self.ahead.fetch_add(i64::try_from(by.as_millis()).unwrap(), Ordering::SeqCst);
    }
}

#[async_trait]
impl Clock for HandClock {
    fn now_millis(&self) -> i64 {
        SystemClock.now_millis() + self.ahead.load(Ordering::SeqCst)
    }

    fn monotonic(&self) -> Instant {
        SystemClock.monotonic()
    }

    async fn sleep(&self, duration: Duration) {
        SystemClock.sleep(duration).await;
    }
}

const TERM: Duration = Duration::from_secs(600);
const LATER: Duration = Duration::from_secs(601);

fn holder(name: &str) -> Holder {
    Holder::new(name).unwrap()
}

fn letter(transport: Option<&str>, meaning: &str) -> Letter {
    Letter {
        transport: transport.map(str::to_owned),
        meaning: meaning.to_owned(),
        platform: Platform::Github,
        kind: "comment".to_owned(),
        body: json!({ "text": format!("of {meaning}: “ä”") }),
    }
}

fn draft(text: &str) -> Draft {
    Draft {
        platform: Platform::Github,
        destination: "issue 7".to_owned(),
        living: None,
        priority: 0,
        body: json!({ "text": text }),
        wait: Duration::ZERO,
    }
}

fn state(text: &str) -> Draft {
    Draft { living: Some("operation 41".to_owned()), ..draft(text) }
}

async fn opened<O: Office>() -> (O, HandClock, Arc<dyn Mailroom>) {
    let (office, clock) = (O::new().await, HandClock::default());
    let room = office.open(Arc::new(clock.clone())).await;
    (office, clock, room)
}

pub async fn what_arrives_twice_is_one_row<O: Office>() {
    let (_office, _clock, room) = opened::<O>().await;
    assert_eq!(room.receive(&letter(Some("d1"), "m1")).await.unwrap(), Receipt::New);
    for again in
        [letter(Some("d1"), "m1"), letter(Some("d2"), "m1"), letter(None, "m1"), letter(Some("d1"), "m2")]
    {
        assert_eq!(room.receive(&again).await.unwrap(), Receipt::Duplicate, "{again:?}");
    }
    // Two without a name of the delivery are two.
    assert_eq!(room.receive(&letter(None, "m3")).await.unwrap(), Receipt::New);
    assert_eq!(room.receive(&letter(None, "m4")).await.unwrap(), Receipt::New);
    assert_eq!(room.waiting().await.unwrap(), (3, 0));
    let (inbox, outbox) = room.oldest().await.unwrap();
    assert!(inbox.is_some() && outbox.is_none(), "{inbox:?} {outbox:?}");
    let taken = room.take(&holder("a"), TERM).await.unwrap().unwrap();
    assert_eq!((taken.letter.clone(), taken.tries), (letter(Some("d1"), "m1"), 1));
    assert!(room.finish(&taken, &[]).await.unwrap());
    // Also when it is long done.
    assert_eq!(room.receive(&letter(Some("d9"), "m1")).await.unwrap(), Receipt::Duplicate);
    assert_eq!(room.waiting().await.unwrap(), (2, 0));
}

pub async fn rows_are_taken_one_at_a_time_in_their_order<O: Office>() {
    let (office, clock, room) = opened::<O>().await;
    let other = office.open(Arc::new(clock.clone())).await;
    for number in 0..4 {
        room.receive(&letter(None, &format!("m{number}"))).await.unwrap();
    }
    for number in 0..4 {
        let taken = room.take(&holder("a"), TERM).await.unwrap().unwrap();
        assert_eq!(taken.letter.meaning, format!("m{number}"));
        assert!(other.take(&holder("b"), TERM).await.unwrap().is_none(), "the next waits for the one before");
        assert!(room.finish(&taken, &[]).await.unwrap());
    }
    assert!(room.take(&holder("a"), TERM).await.unwrap().is_none());
}

pub async fn a_dead_takers_row_is_taken_again_and_finished_once<O: Office>() {
    let (office, clock, room) = opened::<O>().await;
    room.receive(&letter(None, "m")).await.unwrap();
    let lost = room.take(&holder("a"), TERM).await.unwrap().unwrap();
    // The same instance, started again, does not wait for the term; another does.
    let again = office.open(Arc::new(clock.clone())).await;
    let mine = again.take(&holder("a"), TERM).await.unwrap().unwrap();
    assert_eq!((mine.id, mine.tries), (lost.id, 2));
    assert!(again.take(&holder("b"), TERM).await.unwrap().is_none());
    office.advance(&clock, LATER).await;
    let theirs = again.take(&holder("b"), TERM).await.unwrap().unwrap();
    assert_eq!((theirs.id, theirs.tries), (lost.id, 3));
    for stale in [&lost, &mine] {
        assert!(!room.finish(stale, &[draft("stale")]).await.unwrap());
        assert!(!room.put_back(stale, Duration::ZERO).await.unwrap());
    }
    assert!(again.finish(&theirs, &[draft("once")]).await.unwrap());
    assert!(!again.finish(&theirs, &[draft("twice")]).await.unwrap());
    let out = room.take_outgoing(Platform::Github, &holder("a"), TERM).await.unwrap().unwrap();
    assert_eq!(out.draft, draft("once"));
    assert!(room.sent(&out, "c1").await.unwrap());
    assert!(room.take_outgoing(Platform::Github, &holder("a"), TERM).await.unwrap().is_none());
}

pub async fn a_row_put_back_waits_its_time<O: Office>() {
    let (office, clock, room) = opened::<O>().await;
    room.receive(&letter(None, "m")).await.unwrap();
    let taken = room.take(&holder("a"), TERM).await.unwrap().unwrap();
    assert!(room.put_back(&taken, Duration::from_secs(60)).await.unwrap());
    assert!(room.take(&holder("a"), TERM).await.unwrap().is_none());
    office.advance(&clock, Duration::from_secs(61)).await;
    assert_eq!(room.take(&holder("b"), TERM).await.unwrap().unwrap().tries, 2);
}

pub async fn of_many_takers_one_has_it<O: Office>() {
    let (office, clock, room) = opened::<O>().await;
    let rooms = join_all((0..4).map(|_| office.open(Arc::new(clock.clone())))).await;
    let meanings: Vec<String> = (0..12).map(|number| format!("m{number}")).collect();
    // The same arrivals by every door at once.
    let received = join_all(rooms.iter().flat_map(|room| {
        meanings.iter().map(|meaning| async { room.receive(&letter(Some(meaning), meaning)).await.unwrap() })
    }))
    .await;
    assert_eq!(received.iter().filter(|receipt| **receipt == Receipt::New).count(), meanings.len());
    let done = join_all(rooms.iter().enumerate().map(|(index, room)| async move {
        let by = holder(&format!("instance-{index}"));
        let mut mine = Vec::new();
        loop {
            match room.take(&by, TERM).await.unwrap() {
                Some(taken) => {
                    let meaning = taken.letter.meaning.clone();
                    assert!(room.finish(&taken, &[draft(&meaning)]).await.unwrap());
                    mine.push(meaning);
                }
                None if room.waiting().await.unwrap().0 == 0 => return mine,
                None => SystemClock.sleep(Duration::from_millis(2)).await,
            }
        }
    }))
    .await
    .concat();
    assert_eq!(done.len(), meanings.len());
    assert_eq!(done.into_iter().collect::<BTreeSet<_>>(), meanings.into_iter().collect());
    assert_eq!(room.waiting().await.unwrap(), (0, 12));
}

pub async fn what_is_to_be_sent_leaves_by_its_platform_urgency_and_time<O: Office>() {
    let (office, clock, room) = opened::<O>().await;
    let elsewhere = Draft { platform: Platform::Slack, ..draft("slack") };
    let urgent = Draft { priority: 9, ..draft("urgent") };
    let late = Draft { wait: Duration::from_secs(60), priority: 99, ..draft("late") };
    room.write(&[draft("first"), draft("second"), elsewhere.clone(), urgent, late]).await.unwrap();
    let by = holder("a");
    let next = async |platform| {
        let out = room.take_outgoing(platform, &by, TERM).await.unwrap()?;
        assert!(room.sent(&out, "x").await.unwrap());
        assert!(!room.sent(&out, "x").await.unwrap(), "noted once");
        Some(out.draft.body["text"].as_str().unwrap().to_owned())
    };
    for expected in ["urgent", "first", "second"] {
        assert_eq!(next(Platform::Github).await.as_deref(), Some(expected));
    }
    assert_eq!(next(Platform::Github).await, None);
    assert_eq!(next(Platform::Discord).await, None);
    assert_eq!(next(Platform::Slack).await.as_deref(), Some("slack"));
    office.advance(&clock, Duration::from_secs(61)).await;
    assert_eq!(next(Platform::Github).await.as_deref(), Some("late"));
}

pub async fn what_was_not_sent_is_tried_again_until_it_is_given_up<O: Office>() {
    let (office, clock, room) = opened::<O>().await;
    room.write(&[draft("hello")]).await.unwrap();
    let (a, b) = (holder("a"), holder("b"));
    let first = room.take_outgoing(Platform::Github, &a, TERM).await.unwrap().unwrap();
    assert_eq!((first.attempts, first.edits.as_deref()), (1, None));
    assert!(room.take_outgoing(Platform::Github, &b, TERM).await.unwrap().is_none());
    assert!(room.postpone(&first, Duration::from_secs(60), "503").await.unwrap());
    assert!(room.take_outgoing(Platform::Github, &a, TERM).await.unwrap().is_none(), "not before its time");
    office.advance(&clock, Duration::from_secs(61)).await;
    let second = room.take_outgoing(Platform::Github, &a, TERM).await.unwrap().unwrap();
    assert_eq!((second.id, second.attempts), (first.id, 2));
    assert!(!room.sent(&first, "x").await.unwrap(), "an older try notes nothing");
    // Its taker dies: another instance has it after the term.
    office.advance(&clock, LATER).await;
    let room = office.open(Arc::new(clock.clone())).await;
    let third = room.take_outgoing(Platform::Github, &b, TERM).await.unwrap().unwrap();
    assert_eq!((third.id, third.attempts), (first.id, 3));
    assert!(!room.postpone(&second, Duration::ZERO, "late").await.unwrap());
    assert!(room.give_up(&third, "404").await.unwrap());
    office.advance(&clock, LATER).await;
    assert!(room.take_outgoing(Platform::Github, &b, TERM).await.unwrap().is_none());
    assert_eq!(room.waiting().await.unwrap(), (0, 0));
    assert_eq!(room.oldest().await.unwrap(), (None, None));
}

pub async fn of_a_living_message_the_newest_state_is_sent<O: Office>() {
    let (_office, _clock, room) = opened::<O>().await;
    let by = holder("a");
    let elsewhere = Draft { destination: "issue 8".to_owned(), ..state("elsewhere") };
    room.write(&[state("1"), elsewhere.clone(), state("2"), draft("other")]).await.unwrap();
    let out = room.take_outgoing(Platform::Github, &by, TERM).await.unwrap().unwrap();
    assert_eq!((out.draft.body.clone(), out.edits.as_deref()), (json!({"text": "2"}), None));
    // While it is being sent, newer states wait for it, and only the newest of them follows.
    room.write(&[state("3"), state("4")]).await.unwrap();
    let next = room.take_outgoing(Platform::Github, &holder("b"), TERM).await.unwrap().unwrap();
    assert_eq!(next.draft, elsewhere);
    assert!(room.sent(&next, "c8").await.unwrap());
    let next = room.take_outgoing(Platform::Github, &holder("b"), TERM).await.unwrap().unwrap();
    assert_eq!(next.draft, draft("other"));
    assert!(room.sent(&next, "c9").await.unwrap());
    assert!(room.take_outgoing(Platform::Github, &holder("b"), TERM).await.unwrap().is_none());
    assert!(room.sent(&out, "c1").await.unwrap());
    let edit = room.take_outgoing(Platform::Github, &holder("b"), TERM).await.unwrap().unwrap();
    assert_eq!((edit.draft.body.clone(), edit.edits.as_deref()), (json!({"text": "4"}), Some("c1")));
    // One that may have been posted keeps its number, by which the sender finds it, and takes the newer text.
    assert!(room.postpone(&edit, Duration::ZERO, "timeout").await.unwrap());
    room.write(&[state("5")]).await.unwrap();
    let again = room.take_outgoing(Platform::Github, &by, TERM).await.unwrap().unwrap();
    assert_eq!((again.id, again.attempts, &again.draft.body), (edit.id, 2, &json!({"text": "5"})));
    assert!(room.sent(&again, "c1").await.unwrap());
}

/// What is to be sent, until nothing is left: text and the message it edits. Each is noted as sent under `id`.
async fn all_leave(room: &dyn Mailroom, id: &str) -> Vec<(String, Option<String>)> {
    let mut left = Vec::new();
    while let Some(out) = room.take_outgoing(Platform::Github, &holder("a"), TERM).await.unwrap() {
        assert!(room.sent(&out, id).await.unwrap());
        left.push((out.draft.body["text"].as_str().unwrap().to_owned(), out.edits));
    }
    left
}

pub async fn a_state_that_says_what_the_newest_says_is_not_written_again<O: Office>() {
    let (_office, _clock, room) = opened::<O>().await;
    let elsewhere = Draft { destination: "issue 8".to_owned(), ..state("1") };
    let other = Draft { living: Some("operation 42".to_owned()), ..state("1") };
    // A message of its own is written as often as it is said.
    room.write(&[state("1"), state("1"), elsewhere, other, draft("1"), draft("1")]).await.unwrap();
    assert_eq!(room.waiting().await.unwrap(), (0, 5));
    assert_eq!(all_leave(&*room, "c1").await.len(), 5);
    // Also when it was sent long ago, and by every door.
    room.write(&[state("1")]).await.unwrap();
    room.publish("bot", Position::new(1), &[state("1")]).await.unwrap();
    room.receive(&letter(None, "m")).await.unwrap();
    let taken = room.take(&holder("a"), TERM).await.unwrap().unwrap();
    assert!(room.finish(&taken, &[state("1")]).await.unwrap());
    assert_eq!(room.waiting().await.unwrap(), (0, 0));
    // What was said before the newest is news again.
    room.write(&[state("2")]).await.unwrap();
    assert_eq!(all_leave(&*room, "c1").await, [("2".to_owned(), Some("c1".to_owned()))]);
    room.write(&[state("1")]).await.unwrap();
    assert_eq!(all_leave(&*room, "c1").await, [("1".to_owned(), Some("c1".to_owned()))]);
    // While it is being sent, the same again is nothing, and back to what was there before is something.
    room.write(&[state("3")]).await.unwrap();
    let out = room.take_outgoing(Platform::Github, &holder("a"), TERM).await.unwrap().unwrap();
    room.write(&[state("3")]).await.unwrap();
    assert_eq!(room.waiting().await.unwrap(), (0, 1));
    room.write(&[state("1")]).await.unwrap();
    assert!(room.sent(&out, "c1").await.unwrap());
    assert_eq!(all_leave(&*room, "c1").await, [("1".to_owned(), Some("c1".to_owned()))]);
}

pub async fn a_readers_watermark_and_what_it_says_are_written_together<O: Office>() {
    let (office, clock, room) = opened::<O>().await;
    assert_eq!(room.published("bot").await.unwrap(), Position::default());
    room.publish("bot", Position::new(7), &[draft("of 7"), state("1")]).await.unwrap();
    room.publish("board", Position::new(3), &[]).await.unwrap();
    // It never falls; what is said is written all the same.
    room.publish("bot", Position::new(5), &[draft("of 5")]).await.unwrap();
    // A draft that the outbox refuses takes the watermark back with it.
    let refused = Draft { living: Some(String::new()), ..draft("refused") };
    assert!(room.publish("bot", Position::new(9), &[draft("of 9"), refused]).await.is_err());
    let again = office.open(Arc::new(clock.clone())).await;
    assert_eq!(again.published("bot").await.unwrap(), Position::new(7));
    assert_eq!(again.published("board").await.unwrap(), Position::new(3));
    assert_eq!(again.published("nobody").await.unwrap(), Position::default());
    let left: Vec<String> = all_leave(&*again, "c").await.into_iter().map(|(text, _)| text).collect();
    assert_eq!(left, ["of 7", "1", "of 5"]);
}

pub async fn a_state_that_may_leave_sooner_brings_its_message_forward<O: Office>() {
    let (office, clock, room) = opened::<O>().await;
    let soon = |text| Draft { wait: Duration::from_secs(3), ..state(text) };
    room.write(&[Draft { wait: Duration::from_secs(60), ..state("slow") }, soon("sooner")]).await.unwrap();
    assert!(all_leave(&*room, "c1").await.is_empty());
    office.advance(&clock, Duration::from_secs(3)).await;
    assert_eq!(all_leave(&*room, "c1").await, [("sooner".to_owned(), None)]);
    // One that may leave later does not put it off.
    room.write(&[soon("1"), Draft { wait: Duration::from_secs(60), ..state("2") }]).await.unwrap();
    office.advance(&clock, Duration::from_secs(3)).await;
    let out = room.take_outgoing(Platform::Github, &holder("a"), TERM).await.unwrap().unwrap();
    // What a platform asked to wait for waits.
    assert!(room.postpone(&out, Duration::from_secs(60), "too fast").await.unwrap());
    room.write(&[state("3")]).await.unwrap();
    assert!(all_leave(&*room, "c1").await.is_empty());
    office.advance(&clock, Duration::from_secs(60)).await;
    assert_eq!(all_leave(&*room, "c1").await, [("3".to_owned(), Some("c1".to_owned()))]);
}

pub async fn a_living_message_is_known_by_the_platforms_id<O: Office>() {
    let (_office, _clock, room) = opened::<O>().await;
    let id = async |destination, key| room.living(destination, key).await.unwrap();
    assert_eq!(id("issue 7", "operation 41").await, None);
    room.write(&[state("1"), draft("other")]).await.unwrap();
    assert_eq!(id("issue 7", "operation 41").await, None, "not sent yet");
    all_leave(&*room, "c1").await;
    assert_eq!(id("issue 7", "operation 41").await.as_deref(), Some("c1"));
    assert_eq!(id("issue 8", "operation 41").await, None);
    assert_eq!(id("issue 7", "operation 42").await, None);
    // A newer state that waits, or that was given up, changes nothing.
    room.write(&[state("2")]).await.unwrap();
    assert_eq!(id("issue 7", "operation 41").await.as_deref(), Some("c1"));
    let out = room.take_outgoing(Platform::Github, &holder("a"), TERM).await.unwrap().unwrap();
    assert!(room.give_up(&out, "404").await.unwrap());
    assert_eq!(id("issue 7", "operation 41").await.as_deref(), Some("c1"));
    // Somebody deleted it, and it was posted anew.
    room.write(&[state("3")]).await.unwrap();
    all_leave(&*room, "c2").await;
    assert_eq!(id("issue 7", "operation 41").await.as_deref(), Some("c2"));
}

/// One test a rule.
#[macro_export]
macro_rules! mail_conformance {
    ($office:ty) => {
        mail_conformance!($office:
            what_arrives_twice_is_one_row
            rows_are_taken_one_at_a_time_in_their_order
            a_dead_takers_row_is_taken_again_and_finished_once
            a_row_put_back_waits_its_time
            of_many_takers_one_has_it
            what_is_to_be_sent_leaves_by_its_platform_urgency_and_time
            what_was_not_sent_is_tried_again_until_it_is_given_up
            of_a_living_message_the_newest_state_is_sent
            a_state_that_says_what_the_newest_says_is_not_written_again
            a_state_that_may_leave_sooner_brings_its_message_forward
            a_readers_watermark_and_what_it_says_are_written_together
            a_living_message_is_known_by_the_platforms_id
        );
    };
    ($office:ty: $($rule:ident)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $rule() {
                $crate::post::$rule::<$office>().await;
            }
        )*
    };
}
