//! What every store does, whatever keeps it. A backend implements [`Backend`] and calls `conformance!`.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures::StreamExt as _;
use futures::future::join_all;
use journal::*;
use journal_store::{ExecuteError, Lease, Progress, Store, StoreError};
use runtime::{Clock, SystemClock};

/// One journal in one backend, which ends with this value.
#[async_trait]
pub trait Backend: Send + Sync + Sized + 'static {
    /// A new, empty journal of the migration [`migration`].
    async fn new() -> Self;

    /// Opens it, once more, as another process would.
    async fn open(&self, clock: Arc<dyn Clock>) -> Arc<dyn Store>;

    /// Moves on the time that leases and events go by.
    async fn advance(&self, clock: &TestClock, by: Duration) {
        clock.advance(by);
    }

    /// The leaves as stored, in the order of positions.
    async fn leaves(&self) -> Vec<Vec<u8>>;

    /// Statements that would change the past; `{next}` stands for the next position. The journal has some events.
    fn forgeries(&self) -> Vec<&'static str>;

    /// Runs a statement on a plain connection, and says what the database said.
    async fn attempt(&self, statement: String) -> Result<(), String>;
}

/// The machine's clock, moved on by hand.
#[derive(Debug, Default, Clone)]
pub struct TestClock {
    ahead: Arc<AtomicI64>,
}

impl TestClock {
    /// The same clock for another opening.
    pub fn shared(&self) -> Arc<dyn Clock> {
        Arc::new(self.clone())
    }

    pub fn advance(&self, by: Duration) {
        self.ahead.fetch_add(i64::try_from(by.as_millis()).unwrap(), Ordering::SeqCst);
    }
}

#[async_trait]
impl Clock for TestClock {
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

/// Long enough that nothing here meets its end by itself.
pub const TERM: Duration = Duration::from_secs(600);

pub fn clock() -> Arc<TestClock> {
    Arc::default()
}

pub fn migration() -> MigrationName {
    MigrationName::new("shop").unwrap()
}

pub fn phase(name: &str) -> PhaseName {
    PhaseName::new(name).unwrap()
}

pub fn holder(name: &str) -> Holder {
    Holder::new(name).unwrap()
}

pub fn id(text: impl Into<String>) -> CommandId {
    CommandId::new(text).unwrap()
}

/// A plan with the phases `a` and `b`; each number makes another meaning.
pub fn plan(number: u64) -> String {
    let lever = r#"lever = { kind = "command", stop = ["true"], observe = ["true"], route = ["true"], resume = ["true"] }"#;
    format!(
        r#"
[migration]
name = "shop"
source = "env:SOURCE"
target = "env:TARGET"

[journal]
url = "sqlite:shop.db"

[load]
chunk_bytes = {}

[[person]]
id = "ana"
roles = ["operator", "approver"]

[[person]]
id = "ben"
roles = ["operator", "approver"]

[[phase]]
name = "a"
tables = ["shop.orders"]
{lever}

[[phase]]
name = "b"
tables = ["shop.people"]
{lever}
"#,
        8192 + number
    )
}

pub fn by(person: &str, body: CommandBody) -> Command {
    Command::new(Actor::Person(PersonId::new(person).unwrap()), body)
}

/// A command that no state refuses, once there is a plan, if the number is new.
pub fn adopt(number: u64) -> Command {
    by("ana", CommandBody::AdoptPlan { text: plan(number), authors: Vec::new() })
}

pub fn request(phase_name: &str) -> Command {
    by(
        "ana",
        CommandBody::Request {
            phase: phase(phase_name),
            operation: Operation::Start,
            options: RequestOptions::default(),
        },
    )
}

fn hold(on: Option<&str>) -> Command {
    by("ana", CommandBody::Hold { phase: on.map(phase), reason: "a reason".to_owned() })
}

fn release(on: Option<&str>) -> Command {
    by("ana", CommandBody::Release { phase: on.map(phase) })
}

/// What an executor may always ask: it begins a request that is there.
fn begin(by: &Lease, request: Position) -> Command {
    let body = CommandBody::Begin { phase: by.phase.clone(), request };
    Command::new(Actor::Executor(by.holder.clone()), body)
}

/// A journal with a plan.
pub async fn planned(store: &dyn Store) {
    let first = Command::new(Actor::Operator, CommandBody::AdoptPlan { text: plan(0), authors: Vec::new() });
    store.execute(id("plan"), None, first).await.unwrap();
}

async fn head(store: &dyn Store) -> Position {
    store.state().await.unwrap().head
}

async fn stored(store: &dyn Store) -> Vec<(Position, Vec<u8>)> {
    store.stored(Position::default(), u32::MAX).await.unwrap()
}

/// Dense, decodable, canonical, unique ids; the live state is what the bytes say.
pub async fn assert_sound(store: &dyn Store) {
    let rows = stored(store).await;
    let mut events = Vec::new();
    for (index, (position, bytes)) in rows.iter().enumerate() {
        assert_eq!(position.get(), index as u64 + 1, "positions are dense");
        let event = Recorded::from_bytes(bytes).unwrap();
        assert_eq!(&event.to_bytes().unwrap(), bytes, "the stored bytes are the canonical ones");
        assert_eq!(event.envelope.position, *position);
        assert_eq!(event.envelope.migration, migration());
        events.push(event);
    }
    let ids: BTreeSet<_> = events.iter().map(|event| event.envelope.event_id.clone()).collect();
    assert_eq!(ids.len(), events.len(), "event ids are unique");
    let replayed = replay(&events);
    let live = store.state().await.unwrap();
    assert_eq!(format!("{replayed:?}"), format!("{live:?}"), "replay gives the live state");
}

pub async fn appends_are_dense_canonical_and_replay_to_the_live_state<B: Backend>() {
    let backend = B::new().await;
    let store = backend.open(clock()).await;
    planned(&*store).await;
    let asked = store.execute(id("ask"), None, request("a")).await.unwrap();
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].envelope.phase, Some(phase("a")));
    assert_eq!(asked[0].envelope.command_id, id("ask"));
    assert_eq!(asked[0].envelope.epoch, None);
    store.execute(id("hold"), None, hold(None)).await.unwrap();
    store.execute(id("go"), None, release(None)).await.unwrap();
    assert_eq!(head(&*store).await, Position::new(4));
    assert_sound(&*store).await;
    let later = store.stored(Position::new(1), 2).await.unwrap();
    assert_eq!(later.iter().map(|row| row.0.get()).collect::<Vec<_>>(), [2, 3]);
    let leaves = backend.leaves().await;
    let hashes: Vec<Vec<u8>> =
        stored(&*store).await.iter().map(|(_, bytes)| merkle::leaf(bytes).to_vec()).collect();
    assert_eq!(leaves, hashes, "each leaf is the hash of the stored bytes");
    let again = backend.open(clock()).await;
    assert_sound(&*again).await;
}

pub async fn a_command_id_answers_the_same_command_again_and_refuses_another<B: Backend>() {
    let backend = B::new().await;
    let store = backend.open(clock()).await;
    planned(&*store).await;
    let first = store.execute(id("ask"), None, request("a")).await.unwrap();
    let again = store.execute(id("ask"), None, request("a")).await.unwrap();
    assert_eq!(first, again);
    let elsewhere = backend.open(clock()).await;
    assert_eq!(elsewhere.execute(id("ask"), None, request("a")).await.unwrap(), first);
    let other = store.execute(id("ask"), None, request("b")).await.unwrap_err();
    assert!(matches!(other, ExecuteError::IdReused(used) if used == id("ask")));
    assert_eq!(head(&*store).await, Position::new(2));
    // A refusal uses no id: the caller may try again when the state has changed.
    let early = store.execute(id("go"), None, release(None)).await.unwrap_err();
    assert!(matches!(early, ExecuteError::Refused(Refusal::NotHeld)), "{early}");
    store.execute(id("hold"), None, hold(None)).await.unwrap();
    store.execute(id("go"), None, release(None)).await.unwrap();
    assert_sound(&*store).await;
}

pub async fn callers_at_once_are_decided_one_after_the_other_and_a_refused_one_fails_alone<B: Backend>() {
    let backend = B::new().await;
    let store = backend.open(clock()).await;
    planned(&*store).await;
    let commands = (0..40u64).map(|number| match number % 4 {
        0 => hold(None),
        1 => adopt(number),
        2 => request("a"),
        _ => by("nobody", CommandBody::Release { phase: None }),
    });
    // Handed over before the appender runs, so they wait together.
    let done =
        join_all(commands.enumerate().map(|(n, command)| store.execute(id(format!("c{n}")), None, command)))
            .await;
    let mut held = 0;
    for (number, result) in done.iter().enumerate() {
        match (number % 4, result) {
            (0, Ok(events)) => held += events.len(),
            (0, Err(ExecuteError::Refused(Refusal::HeldAlready))) => {}
            (1, Ok(events)) => assert!(!events.is_empty()),
            (2, Err(ExecuteError::Refused(Refusal::Held { .. }))) => {}
            (3, Err(ExecuteError::Refused(Refusal::UnknownPerson { .. }))) => {}
            (_, other) => panic!("command {number}: {other:?}"),
        }
    }
    assert_eq!(held, 1, "one hold stands, the others saw it");
    assert_eq!(head(&*store).await, Position::new(12));
    assert_sound(&*store).await;
    // The same id twice at once is one command.
    let twice = join_all((0..2).map(|_| store.execute(id("twice"), None, adopt(99)))).await;
    assert_eq!(twice[0].as_ref().unwrap(), twice[1].as_ref().unwrap());
    assert_eq!(head(&*store).await, Position::new(13));
}

pub async fn facts_about_requests_of_several_phases_carry_their_own_phase<B: Backend>() {
    let backend = B::new().await;
    let store = backend.open(clock()).await;
    planned(&*store).await;
    let asked = store.execute(id("a"), None, request("a")).await.unwrap();
    store.execute(id("b"), None, request("b")).await.unwrap();
    let denied = store
        .execute(
            id("no"),
            None,
            by(
                "ben",
                CommandBody::Deny { request: asked[0].envelope.position, reason: "not now".to_owned() },
            ),
        )
        .await
        .unwrap();
    assert!(denied.iter().all(|event| event.envelope.phase == Some(phase("a"))), "{denied:?}");
    store.execute(id("a2"), None, request("a")).await.unwrap();
    let adopted = store.execute(id("new"), None, adopt(7)).await.unwrap();
    let seen: Vec<_> =
        adopted.iter().map(|event| (event.body.kind(), event.envelope.phase.clone())).collect();
    let voided = "request_voided";
    assert_eq!(
        seen,
        [("plan_adopted", None), (voided, Some(phase("b"))), (voided, Some(phase("a")))],
        "in the order of the requests"
    );
    assert_sound(&*store).await;
}

pub async fn a_command_of_many_events_answers_again_with_all_of_them_and_no_other<B: Backend>() {
    let phases = (0..31).map(|number| format!("p{number}"));
    let more: String = phases
        .clone()
        .map(|name| {
            let lever =
                r#"{ kind = "command", stop = ["x"], observe = ["x"], route = ["x"], resume = ["x"] }"#;
            format!("[[phase]]\nname = \"{name}\"\ntables = [\"shop.{name}\"]\nlever = {lever}\n")
        })
        .collect();
    let revision = |number: u64| {
        let text = format!("{}\n{more}", plan(number));
        by("ana", CommandBody::AdoptPlan { text, authors: Vec::new() })
    };
    // Fifteen that are voided and the plan: as many as are read at once.
    for asked in [15, 31] {
        let backend = B::new().await;
        let store = backend.open(clock()).await;
        planned(&*store).await;
        store.execute(id("wide"), None, revision(1)).await.unwrap();
        for name in phases.clone().take(asked) {
            store.execute(id(format!("ask.{name}")), None, request(&name)).await.unwrap();
        }
        let made = store.execute(id("new"), None, revision(2)).await.unwrap();
        assert_eq!(made.len(), asked + 1);
        for number in 3..20 {
            store.execute(id(format!("more.{number}")), None, revision(number)).await.unwrap();
        }
        let elsewhere = backend.open(clock()).await;
        assert_eq!(elsewhere.execute(id("new"), None, revision(2)).await.unwrap(), made);
    }
}

pub async fn a_plan_of_another_migration_is_refused_from_the_first_on<B: Backend>() {
    let backend = B::new().await;
    let store = backend.open(clock()).await;
    let text = plan(0).replace("name = \"shop\"", "name = \"bank\"");
    let first = Command::new(Actor::Operator, CommandBody::AdoptPlan { text, authors: Vec::new() });
    let refused = store.execute(id("plan"), None, first).await.unwrap_err();
    assert!(matches!(refused, ExecuteError::Refused(Refusal::OtherMigration)), "{refused}");
}

pub async fn a_lease_is_held_by_one_and_each_change_of_hands_is_an_event_under_a_new_epoch<B: Backend>() {
    let backend = B::new().await;
    let clock = clock();
    let store = backend.open(clock.shared()).await;
    let other = backend.open(clock.shared()).await;
    planned(&*store).await;
    let nowhere = store.claim(&phase("z"), &holder("one"), TERM).await.unwrap_err();
    assert!(matches!(nowhere, StoreError::Refused(Refusal::NoPhase { .. })), "{nowhere}");

    let first = store.claim(&phase("a"), &holder("one"), TERM).await.unwrap().unwrap();
    assert_eq!(first.epoch, Epoch::new(1));
    assert_eq!(other.claim(&phase("a"), &holder("two"), TERM).await.unwrap(), None);
    assert!(other.claim(&phase("b"), &holder("two"), TERM).await.unwrap().is_some());
    // A term that was extended is over later.
    backend.advance(&clock, TERM / 2).await;
    assert!(store.renew(&first).await.unwrap());
    backend.advance(&clock, TERM / 2 + Duration::from_secs(1)).await;
    assert_eq!(other.claim(&phase("a"), &holder("two"), TERM).await.unwrap(), None);
    backend.advance(&clock, TERM).await;
    assert!(!store.renew(&first).await.unwrap(), "a term that is over is over, also if nobody took it");

    let second = other.claim(&phase("a"), &holder("two"), TERM).await.unwrap().unwrap();
    assert_eq!(second.epoch, Epoch::new(2));
    assert!(!store.renew(&first).await.unwrap());
    store.release(&first).await.unwrap();
    assert!(other.renew(&second).await.unwrap(), "the old holder cannot release the new one's");
    // The holder's next life need not wait for its own term.
    let third = other.claim(&phase("a"), &holder("two"), TERM).await.unwrap().unwrap();
    assert_eq!(third.epoch, Epoch::new(3));
    assert!(!other.renew(&second).await.unwrap());
    other.release(&third).await.unwrap();
    let fourth = store.claim(&phase("a"), &holder("one"), TERM).await.unwrap().unwrap();
    assert_eq!(fourth.epoch, Epoch::new(4), "no epoch is used twice");

    let state = store.state().await.unwrap();
    assert_eq!(state.phases[&phase("a")].epoch, Epoch::new(4));
    assert_eq!(state.phases[&phase("a")].holder, Some(holder("one")));
    let taken: Vec<_> = stored(&*store)
        .await
        .iter()
        .map(|(_, bytes)| Recorded::from_bytes(bytes).unwrap())
        .filter(|event| event.envelope.phase == Some(phase("a")))
        .map(|event| (event.body, event.envelope.epoch))
        .collect();
    let expected: Vec<_> = [(1, "one"), (2, "two"), (3, "two"), (4, "one")]
        .into_iter()
        .map(|(epoch, name)| {
            let epoch = Epoch::new(epoch);
            (Fact::LeaseTaken { epoch, holder: holder(name) }, Some(epoch))
        })
        .collect();
    assert_eq!(taken, expected);
    assert_sound(&*store).await;
}

pub async fn executors_at_once_get_one_lease_between_them<B: Backend>() {
    let backend = B::new().await;
    let clock = clock();
    let stores = [backend.open(clock.shared()).await, backend.open(clock.shared()).await];
    planned(&*stores[0]).await;
    for round in 1..=5u64 {
        let (a, holders) = (phase("a"), ["one", "two", "three", "four"].map(holder));
        let claims = holders.iter().enumerate().map(|(n, holder)| stores[n % 2].claim(&a, holder, TERM));
        let got: Vec<Lease> = join_all(claims).await.into_iter().filter_map(Result::unwrap).collect();
        assert_eq!(got.len(), 1, "round {round}: {got:?}");
        assert_eq!(got[0].epoch, Epoch::new(round));
        backend.advance(&clock, TERM).await;
    }
}

pub async fn an_append_is_fenced_by_its_claim<B: Backend>() {
    let backend = B::new().await;
    let clock = clock();
    let store = backend.open(clock.shared()).await;
    planned(&*store).await;
    let asked = store.execute(id("ask"), None, request("a")).await.unwrap()[0].envelope.position;
    let old = store.claim(&phase("a"), &holder("one"), TERM).await.unwrap().unwrap();
    let lost =
        |result: Result<Vec<Recorded>, ExecuteError>| matches!(result, Err(ExecuteError::LeaseLost { .. }));

    // Without a claim an executor appends nothing, nor does anybody a change of hands.
    let bare = store.execute(id("x"), None, begin(&old, asked)).await.unwrap_err();
    assert!(matches!(bare, ExecuteError::Refused(Refusal::NotAnExecutor)), "{bare}");
    let (epoch, name) = (Epoch::new(9), holder("one"));
    let body = CommandBody::TakeLease { phase: phase("a"), epoch, holder: name.clone() };
    let forged = Command::new(Actor::Executor(name), body);
    let refused = store.execute(id("x"), Some(old.claim()), forged).await.unwrap_err();
    assert!(matches!(refused, ExecuteError::Refused(Refusal::NotAnExecutor)), "{refused}");

    // Over, and nobody else has it yet.
    backend.advance(&clock, TERM).await;
    assert!(lost(store.execute(id("x"), Some(old.claim()), begin(&old, asked)).await));
    // Another has it.
    let other = backend.open(clock.shared()).await;
    let new = other.claim(&phase("a"), &holder("two"), TERM).await.unwrap().unwrap();
    assert!(lost(store.execute(id("x"), Some(old.claim()), begin(&old, asked)).await));
    // Another phase's claim is none.
    let b = store.claim(&phase("b"), &holder("one"), TERM).await.unwrap().unwrap();
    assert!(lost(store.execute(id("x"), Some(b.claim()), begin(&old, asked)).await));
    let before = head(&*store).await;
    assert_eq!(before, Position::new(5));

    let begun = other.execute(id("begin"), Some(new.claim()), begin(&new, asked)).await.unwrap();
    assert!(begun.iter().all(|event| event.envelope.epoch == Some(new.epoch)));
    assert!(begun.iter().all(|event| event.envelope.phase == Some(phase("a"))));
    // A lost answer is heard by asking again, also when the lease is lost by then.
    backend.advance(&clock, TERM).await;
    let again = other.execute(id("begin"), Some(new.claim()), begin(&new, asked)).await.unwrap();
    assert_eq!(begun, again);
    assert_sound(&*store).await;
}

pub async fn a_change_of_hands_fences_what_waits_in_the_same_batch<B: Backend>() {
    let backend = B::new().await;
    let store = backend.open(clock()).await;
    planned(&*store).await;
    let asked = store.execute(id("ask"), None, request("a")).await.unwrap()[0].envelope.position;
    let old = store.claim(&phase("a"), &holder("one"), TERM).await.unwrap().unwrap();
    let (a, one) = (phase("a"), holder("one"));
    let (taken, append) = futures::join!(
        store.claim(&a, &one, TERM),
        store.execute(id("late"), Some(old.claim()), begin(&old, asked)),
    );
    assert_eq!(taken.unwrap().unwrap().epoch, old.epoch.next());
    assert!(matches!(append, Err(ExecuteError::LeaseLost { .. })), "{append:?}");
    assert_sound(&*store).await;
}

pub async fn two_openings_of_one_journal_interleave_without_gaps<B: Backend>() {
    let backend = B::new().await;
    let stores = [backend.open(clock()).await, backend.open(clock()).await];
    planned(&*stores[0]).await;
    let writers = (0..4u64).map(|writer| {
        let store = Arc::clone(&stores[usize::try_from(writer % 2).unwrap()]);
        tokio::spawn(async move {
            for number in 0..25 {
                let number = 1 + writer * 100 + number;
                store.execute(id(format!("c{number}")), None, adopt(number)).await.unwrap();
            }
        })
    });
    for writer in join_all(writers).await {
        writer.unwrap();
    }
    for store in &stores {
        assert_eq!(head(&**store).await, Position::new(101));
        assert_sound(&**store).await;
    }
}

pub async fn a_tail_skips_nothing_and_wakes_for_both_own_and_others_appends<B: Backend>() {
    let backend = B::new().await;
    let stores = [backend.open(clock()).await, backend.open(clock()).await];
    planned(&*stores[0]).await;
    let mut tails = Vec::new();
    for after in [0u64, 1, 30] {
        let mut tail = stores[0].tail(Position::new(after));
        tails.push(tokio::spawn(async move {
            for expected in after + 1..=81 {
                let event = tail.next().await.unwrap().unwrap();
                assert_eq!(event.envelope.position, Position::new(expected));
            }
            tail
        }));
    }
    let writers = stores.iter().enumerate().map(|(writer, store)| {
        let (writer, store) = (writer as u64, Arc::clone(store));
        tokio::spawn(async move {
            for number in 0..40 {
                let number = 1 + writer * 100 + number;
                store.execute(id(format!("c{number}")), None, adopt(number)).await.unwrap();
            }
        })
    });
    for writer in join_all(writers).await {
        writer.unwrap();
    }
    for tail in tails {
        let mut tail =
            tokio::time::timeout(Duration::from_secs(20), tail).await.expect("all 81 events").unwrap();
        assert!(
            tokio::time::timeout(Duration::from_millis(150), tail.next()).await.is_err(),
            "there is no event more"
        );
    }
}

pub async fn the_past_cannot_be_changed_by_any_plain_statement<B: Backend>() {
    let backend = B::new().await;
    let store = backend.open(clock()).await;
    planned(&*store).await;
    store.execute(id("ask"), None, request("a")).await.unwrap();
    store.claim(&phase("a"), &holder("one"), TERM).await.unwrap().unwrap();
    let (before, leaves) = (stored(&*store).await, backend.leaves().await);
    assert_eq!(before.len(), 3);
    for forgery in backend.forgeries() {
        let statement = forgery.replace("{next}", "4");
        let answer = backend.attempt(statement.clone()).await;
        assert!(answer.is_err(), "accepted: {statement}");
        assert_eq!(stored(&*store).await, before, "changed by: {statement}");
        assert_eq!(backend.leaves().await, leaves, "changed by: {statement}");
    }
    store.execute(id("hold"), None, hold(None)).await.unwrap();
    let again = store.execute(id("ask"), None, request("a")).await.unwrap();
    assert_eq!(again[0].envelope.position, Position::new(2));
    assert_sound(&*store).await;
}

pub async fn progress_is_the_newest_report_of_each_phase_and_no_event<B: Backend>() {
    let backend = B::new().await;
    let store = backend.open(clock()).await;
    planned(&*store).await;
    let progress = |doing: &str| Progress {
        lag_ms: Some(12),
        doing: Some(doing.to_owned()),
        observed: [("lever".to_owned(), "source".to_owned())].into(),
    };
    store.report(&phase("a"), progress("first")).await.unwrap();
    store.report(&phase("a"), progress("second")).await.unwrap();
    store.report(&phase("b"), Progress::default()).await.unwrap();
    let elsewhere = backend.open(clock()).await;
    let reports = elsewhere.reported().await.unwrap();
    assert_eq!(reports.len(), 2);
    assert_eq!(reports[&phase("a")].progress, progress("second"));
    assert!(reports[&phase("a")].at <= elsewhere.now().await.unwrap());
    assert_eq!(head(&*store).await, Position::new(1));
}

/// Makes a test of each case, for one backend.
#[macro_export]
macro_rules! conformance {
    ($backend:ty: $($case:ident),+ $(,)?) => {
        $(
            #[tokio::test]
            async fn $case() {
                $crate::suite::$case::<$backend>().await;
            }
        )+
    };
    ($backend:ty) => {
        $crate::conformance! {
            $backend:
            appends_are_dense_canonical_and_replay_to_the_live_state,
            a_command_id_answers_the_same_command_again_and_refuses_another,
            callers_at_once_are_decided_one_after_the_other_and_a_refused_one_fails_alone,
            facts_about_requests_of_several_phases_carry_their_own_phase,
            a_command_of_many_events_answers_again_with_all_of_them_and_no_other,
            a_plan_of_another_migration_is_refused_from_the_first_on,
            a_lease_is_held_by_one_and_each_change_of_hands_is_an_event_under_a_new_epoch,
            executors_at_once_get_one_lease_between_them,
            an_append_is_fenced_by_its_claim,
            a_change_of_hands_fences_what_waits_in_the_same_batch,
            two_openings_of_one_journal_interleave_without_gaps,
            a_tail_skips_nothing_and_wakes_for_both_own_and_others_appends,
            the_past_cannot_be_changed_by_any_plain_statement,
            progress_is_the_newest_report_of_each_phase_and_no_event,
        }
    };
}
