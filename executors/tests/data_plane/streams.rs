//! Streams between two real clusters: exactly once, no echo, and what stops them.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use executors::native::streams::{StreamReports, Streams};
use executors::native::{Breach, Checkpoint};
use journal::{
    Direction, Epoch, Side, StreamHealth, StreamMode, StreamName, StreamSpec, TableName, origin_name,
};
use runtime::SystemClock;
use tokio_postgres::Client;

use crate::fixture::{Dice, Fixture, Writers, assert_same_rows, migration, phase, slot, wait};

const TABLES: &str = "create schema shop; \
    create table shop.things (id bigint primary key, name text, place int unique, big text, n int not null default 0); \
    alter table shop.things alter column big set storage external; \
    create table shop.seats (id int primary key, seat int, unique (seat) deferrable initially deferred);";

#[derive(Debug, Default)]
struct Heard {
    health: Mutex<Vec<(StreamName, StreamMode, StreamHealth)>>,
    breaches: Mutex<Vec<(TableName, Checkpoint, u64)>>,
}

#[async_trait]
impl StreamReports for Heard {
    async fn stream(&self, name: &StreamName, _: Epoch, mode: StreamMode, health: StreamHealth) {
        self.health.lock().unwrap().push((name.clone(), mode, health));
    }
    async fn breach(&self, _: &StreamName, _: Epoch, breach: &Breach) {
        self.breaches.lock().unwrap().push((breach.table.clone(), breach.at, breach.changes));
    }
}

impl Heard {
    fn stopped(&self) -> Option<String> {
        self.health.lock().unwrap().iter().find_map(|(_, _, health)| match health {
            StreamHealth::Stopped { finding } => Some(finding.to_string()),
            _ => None,
        })
    }
}

/// Both sides with the same empty tables, both streams made.
pub(crate) struct Pair {
    pub(crate) fixture: Fixture,
    heard: Arc<Heard>,
}

impl Pair {
    pub(crate) async fn new(forward: StreamMode, failback: StreamMode) -> Self {
        let fixture = Fixture::new().await;
        for direction in Direction::ALL {
            let client = fixture.on(direction.from()).await;
            client.batch_execute(TABLES).await.unwrap();
            let publication = slot(direction);
            client
                .batch_execute(&format!("create publication {publication} for table shop.things, shop.seats"))
                .await
                .unwrap();
            let writes = origin_name(&migration(), &phase(), direction.opposite(), 0);
            client.execute("select pg_replication_origin_create($1)", &[&writes]).await.unwrap();
        }
        for (direction, mode) in [(Direction::Forward, forward), (Direction::Failback, failback)] {
            let sql = "select lsn::text from pg_create_logical_replication_slot($1, 'pgoutput')";
            let from = fixture.on(direction.from()).await;
            let lsn: String = from.query_one(sql, &[&slot(direction)]).await.unwrap().get(0);
            fixture
                .on(direction.to())
                .await
                .batch_execute(&format!(
                    "insert into _switchyard.stream (migration, phase, direction, mode, epoch, position, effect, lsn) \
                     values ('move', 'a', '{direction}', '{}', 0, 0, '', '{lsn}')",
                    mode.word()
                ))
                .await
                .unwrap();
        }
        Self { fixture, heard: Arc::default() }
    }

    fn spec(direction: Direction) -> StreamSpec {
        let origin = |direction| origin_name(&migration(), &phase(), direction, 0);
        StreamSpec {
            name: StreamName { phase: phase(), direction },
            mode: StreamMode::Apply,
            slot: slot(direction),
            publication: slot(direction),
            origin: origin(direction),
            opposite_origin: origin(direction.opposite()),
            from: journal::Lsn::default(),
            timelines: [None, None],
            since: None,
            tables: Vec::new(),
        }
    }

    pub(crate) fn streams(&self) -> Streams {
        Streams::new(
            self.fixture.database(Side::Source),
            self.fixture.database(Side::Target),
            Arc::<Heard>::clone(&self.heard),
            Arc::new(SystemClock),
            self.fixture.tasks.clone(),
        )
    }

    pub(crate) fn start(&self, streams: &Streams, epoch: u64, directions: &[Direction]) {
        let specs = directions.iter().map(|direction| Self::spec(*direction)).collect();
        streams.set_desired(&phase(), Epoch::new(epoch), specs, Duration::from_secs(2));
    }

    /// Everything before this call has passed through the stream.
    pub(crate) async fn drained(&self, direction: Direction, nonce: &str) -> Duration {
        let began = Instant::now();
        let from = self.fixture.on(direction.from()).await;
        let sql = "select pg_logical_emit_message(true, 'switchyard', $1)::text";
        from.query_one(sql, &[&nonce]).await.unwrap();
        let to = self.fixture.on(direction.to()).await;
        wait(&format!("the marker {nonce} passes; stopped: {:?}", self.heard.stopped()), async || {
            let sql = "select count(*) from _switchyard.marker where nonce = $1 and direction = $2";
            to.query_one(sql, &[&nonce, &direction.word()]).await.unwrap().get::<_, i64>(0) == 1
        })
        .await;
        began.elapsed()
    }

    async fn assert_same(&self) {
        assert_same_rows(&self.fixture, "shop.things", "id").await;
        assert_same_rows(&self.fixture, "shop.seats", "id").await;
    }
}

pub(crate) async fn count(client: &Client, what: &str) -> i64 {
    client.query_one(&format!("select count(*) from {what}"), &[]).await.unwrap().get(0)
}

/// Each answer is one transaction. Inserts, updates with and without TOAST, changed keys, deletes, unique values that change places, re-inserts.
fn write(dice: &mut Dice) -> String {
    let id = dice.below(300);
    let other = dice.below(300);
    match dice.below(9) {
        0..=2 => format!(
            "insert into shop.things (id, name, big) values ({id}, 'n{other}', repeat('x{other}', 2000)) \
             on conflict (id) do update set name = excluded.name, n = shop.things.n + 1"
        ),
        3 => format!("update shop.things set n = n + 1 where id = {id}"),
        4 => format!("update shop.things set id = {other} + 300 - id % 7 where id = {id}"),
        5 => format!("delete from shop.things where id = {id}"),
        6 => format!(
            "delete from shop.things where id = {id}; \
             insert into shop.things (id, name) values ({id}, null); \
             update shop.things set big = repeat('y', 3000) where id = {id}"
        ),
        7 => format!(
            "update shop.things set place = null where place = {other}; \
             update shop.things set place = {other} where id = {id}"
        ),
        _ => "insert into shop.seats values (1, 1), (2, 2) on conflict do nothing; \
             update shop.seats set seat = 3 - seat"
            .to_owned(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_dropped_again_and_again_applies_each_change_once() {
    let pair = Pair::new(StreamMode::Apply, StreamMode::Guard).await;
    let writers = Writers::start(&pair.fixture, 3, write).await;
    let mut dice = Dice::seeded(5);
    for _ in 0..15 {
        // Each time as another process: nothing but the row is remembered.
        let streams = pair.streams();
        pair.start(&streams, 1, &Direction::ALL);
        tokio::time::sleep(Duration::from_millis(20 + dice.below(400))).await;
        streams.stop_phase(&phase());
    }
    let written = writers.stop().await;
    let streams = pair.streams();
    pair.start(&streams, 1, &Direction::ALL);
    pair.drained(Direction::Forward, "forward").await;
    pair.drained(Direction::Failback, "failback").await;
    assert!(written > 100, "{written} writes");
    pair.assert_same().await;
    assert_eq!(pair.heard.stopped(), None);
    assert_eq!(*pair.heard.breaches.lock().unwrap(), Vec::new(), "our own changes are no breach");
    pair.fixture.tasks.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_stream_passes_a_marker_and_a_guard_reports_what_is_not_ours() {
    let pair = Pair::new(StreamMode::Apply, StreamMode::Guard).await;
    let streams = pair.streams();
    pair.start(&streams, 1, &Direction::ALL);
    pair.drained(Direction::Forward, "first").await;
    pair.drained(Direction::Failback, "first").await;
    let mut waits = Vec::new();
    for n in 0..10 {
        waits.push(pair.drained(Direction::Forward, &format!("idle {n}")).await.as_millis());
    }
    println!("ms from a marker to its commit on the other side, looks every 20 ms included: {waits:?}");
    let (source, target) = (pair.fixture.on(Side::Source).await, pair.fixture.on(Side::Target).await);
    source.batch_execute("insert into shop.things (id) select generate_series(1, 50)").await.unwrap();
    pair.drained(Direction::Forward, "ours").await;
    pair.drained(Direction::Failback, "ours").await;
    assert!(pair.heard.breaches.lock().unwrap().is_empty());
    target
        .batch_execute("begin; update shop.things set n = 9 where id in (3, 4); delete from shop.things where id = 5; commit")
        .await
        .unwrap();
    pair.drained(Direction::Failback, "breached").await;
    wait("the breach is told", async || !pair.heard.breaches.lock().unwrap().is_empty()).await;
    let told = pair.heard.breaches.lock().unwrap().clone();
    assert_eq!((told.len(), told[0].0.to_string().as_str(), told[0].2), (1, "shop.things", 3), "{told:?}");
    // Nothing of it is applied; its keys are remembered.
    assert_eq!(count(&source, "shop.things where id = 5 or n = 9").await, 1);
    let keys =
        "_switchyard.changed where direction = 'failback' and key in ('[\"3\"]', '[\"4\"]', '[\"5\"]')";
    assert_eq!(count(&source, keys).await, 3);
    assert_eq!(count(&source, "_switchyard.breach").await, 1);
    pair.fixture.tasks.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn truncate_stops_the_stream_and_empties_nothing() {
    let pair = Pair::new(StreamMode::Apply, StreamMode::Guard).await;
    let streams = pair.streams();
    pair.start(&streams, 1, &[Direction::Forward]);
    let source = pair.fixture.on(Side::Source).await;
    source.batch_execute("insert into shop.things (id) select generate_series(1, 20)").await.unwrap();
    source
        .batch_execute(
            "begin; insert into shop.things (id) values (99); truncate shop.things, shop.seats; commit",
        )
        .await
        .unwrap();
    wait("the stream stops", async || pair.heard.stopped().is_some()).await;
    let said = pair.heard.stopped().unwrap();
    assert!(
        said.contains("TRUNCATE") && said.contains("shop.things") && said.contains("shop.seats"),
        "{said}"
    );
    assert_eq!(count(&pair.fixture.on(Side::Target).await, "shop.things").await, 20);
    pair.fixture.tasks.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_set_of_columns_and_a_missing_row_stop_the_stream_by_name() {
    let pair = Pair::new(StreamMode::Apply, StreamMode::Guard).await;
    let source = pair.fixture.on(Side::Source).await;
    source.batch_execute("insert into shop.things (id, big) values (1, repeat('x', 9000))").await.unwrap();
    let streams = pair.streams();
    pair.start(&streams, 1, &[Direction::Forward]);
    pair.drained(Direction::Forward, "there").await;
    let target = pair.fixture.on(Side::Target).await;
    target.batch_execute("delete from shop.things").await.unwrap();
    source.batch_execute("update shop.things set n = 1").await.unwrap();
    wait("the missing row stops it", async || pair.heard.stopped().is_some()).await;
    assert!(pair.heard.stopped().unwrap().contains("shop.things"));
    streams.stop_phase(&phase());
    pair.heard.health.lock().unwrap().clear();
    target.batch_execute("insert into shop.things (id, big) values (1, repeat('x', 9000))").await.unwrap();
    pair.start(&streams, 1, &[Direction::Forward]);
    pair.drained(Direction::Forward, "put back").await;
    source
        .batch_execute("alter table shop.things add column more int; update shop.things set n = 2")
        .await
        .unwrap();
    wait("the new column stops it", async || pair.heard.stopped().is_some()).await;
    let said = pair.heard.stopped().unwrap();
    assert!(said.contains("shop.things") && said.contains("more"), "{said}");
    pair.fixture.tasks.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_or_a_trigger_that_swallows_rows_stops_the_stream_before_anything_is_committed() {
    let pair = Pair::new(StreamMode::Apply, StreamMode::Guard).await;
    let (source, target) = (pair.fixture.on(Side::Source).await, pair.fixture.on(Side::Target).await);
    for side in [&source, &target] {
        side.batch_execute("create table shop.marks (id int primary key)").await.unwrap();
    }
    source
        .batch_execute(&format!("alter publication {} add table shop.marks", slot(Direction::Forward)))
        .await
        .unwrap();
    target
        .batch_execute(
            "insert into shop.marks values (1);
             create rule quiet as on insert to shop.things where new.n = 7 do instead nothing;
             create rule quiet as on insert to shop.marks where new.id = 3 do instead nothing;
             create function shop.keep() returns trigger language plpgsql as 'begin return null; end';
             create trigger keep before delete on shop.things for each row execute function shop.keep()",
        )
        .await
        .unwrap();
    let streams = pair.streams();
    pair.start(&streams, 1, &[Direction::Forward]);
    // Ordinary ones do nothing here, and a row of nothing but its key may be there already.
    source
        .batch_execute(
            "insert into shop.things (id, n) values (1, 7), (2, 7), (3, 8);
             delete from shop.things where id in (2, 99); insert into shop.marks values (1), (2)",
        )
        .await
        .unwrap();
    pair.drained(Direction::Forward, "ordinary").await;
    pair.assert_same().await;

    for (table, always, write, ordinary) in [
        (
            "shop.things",
            "alter table shop.things enable always rule quiet",
            "insert into shop.things (id, n) values (10, 7), (11, 8), (12, 9)",
            "alter table shop.things enable rule quiet",
        ),
        (
            "shop.marks",
            "alter table shop.marks enable replica rule quiet",
            "insert into shop.marks values (3), (4)",
            "alter table shop.marks enable rule quiet",
        ),
        (
            "shop.things",
            "alter table shop.things enable always trigger keep",
            "delete from shop.things where id = 1",
            "alter table shop.things enable trigger keep",
        ),
    ] {
        let rows = async || (count(&target, "shop.things").await, count(&target, "shop.marks").await);
        let before = rows().await;
        target.batch_execute(always).await.unwrap();
        source.batch_execute(write).await.unwrap();
        wait("the swallowed rows stop it", async || pair.heard.stopped().is_some()).await;
        let said = pair.heard.stopped().unwrap();
        assert!(said.contains("SW-0321") && said.contains(&format!("into {table} on the target")), "{said}");
        assert_eq!(rows().await, before, "something was committed");
        streams.stop_phase(&phase());
        pair.heard.health.lock().unwrap().clear();
        target.batch_execute(ordinary).await.unwrap();
        pair.start(&streams, 1, &[Direction::Forward]);
        pair.drained(Direction::Forward, write).await;
        pair.assert_same().await;
        assert_eq!(count(&source, "shop.marks").await, count(&target, "shop.marks").await);
    }
    pair.fixture.tasks.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn changed_keys_unchanged_toast_and_swapped_unique_values_arrive_as_they_were() {
    let pair = Pair::new(StreamMode::Apply, StreamMode::Guard).await;
    let source = pair.fixture.on(Side::Source).await;
    source
        .batch_execute(
            "insert into shop.things (id, name, place, big) \
             select i, 'n' || i, i, repeat(md5(i::text), 300) from generate_series(1, 20) i; \
             insert into shop.seats values (1, 1), (2, 2)",
        )
        .await
        .unwrap();
    let streams = pair.streams();
    pair.start(&streams, 1, &Direction::ALL);
    pair.drained(Direction::Forward, "there").await;
    for sql in [
        "update shop.things set id = id + 1000 where id <= 3",
        "update shop.things set n = n + 1, name = null where id between 4 and 9",
        "begin; update shop.things set place = null where id = 10; update shop.things set place = 10 where id = 11; \
         update shop.things set place = 11 where id = 10; commit",
        "update shop.seats set seat = 3 - seat",
        "begin; delete from shop.things where id = 12; insert into shop.things (id, place) values (500, 12); commit",
        "begin; delete from shop.things where id = 13; insert into shop.things (id, name) values (13, E'a\\\\\\t\\n,{\"'); commit",
    ] {
        source.batch_execute(sql).await.unwrap();
    }
    pair.drained(Direction::Forward, "changed").await;
    pair.assert_same().await;
    let target = pair.fixture.on(Side::Target).await;
    assert_eq!(count(&target, "shop.things where id > 1000 and length(big) = 9600").await, 3);
    pair.fixture.tasks.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_streams_that_both_apply_echo_nothing() {
    let pair = Pair::new(StreamMode::Apply, StreamMode::Apply).await;
    let streams = pair.streams();
    pair.start(&streams, 1, &Direction::ALL);
    let (source, target) = (pair.fixture.on(Side::Source).await, pair.fixture.on(Side::Target).await);
    for n in 0..30 {
        source.batch_execute(&format!("insert into shop.things (id) values ({n})")).await.unwrap();
        target.batch_execute(&format!("insert into shop.things (id) values ({})", 1000 + n)).await.unwrap();
    }
    for (n, direction) in Direction::ALL.into_iter().chain(Direction::ALL).enumerate() {
        pair.drained(direction, &format!("end {n}")).await;
    }
    pair.assert_same().await;
    assert_eq!(count(&source, "shop.things").await, 60);
    // Each direction wrote what began on its own side, and nothing that came back.
    assert_eq!(count(&target, "_switchyard.changed where direction = 'forward'").await, 30);
    assert_eq!(count(&source, "_switchyard.changed where direction = 'failback'").await, 30);
    pair.fixture.tasks.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_epoch_takes_the_stream_and_the_older_one_writes_no_more() {
    let pair = Pair::new(StreamMode::Apply, StreamMode::Guard).await;
    let source = pair.fixture.on(Side::Source).await;
    let target = pair.fixture.on(Side::Target).await;
    let (old, new) = (pair.streams(), pair.streams());
    pair.start(&old, 1, &[Direction::Forward]);
    pair.drained(Direction::Forward, "old").await;
    target.batch_execute("update _switchyard.gate set epoch = 2").await.unwrap();
    pair.start(&new, 2, &[Direction::Forward]);
    let epoch = "select epoch from _switchyard.stream where direction = 'forward'";
    wait("the newer one takes over", async || {
        target.query_one(epoch, &[]).await.unwrap().get::<_, i64>(0) == 2
    })
    .await;
    for n in 0..20 {
        source.batch_execute(&format!("insert into shop.things (id) values ({n})")).await.unwrap();
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
    pair.drained(Direction::Forward, "new").await;
    pair.assert_same().await;
    assert_eq!(target.query_one(epoch, &[]).await.unwrap().get::<_, i64>(0), 2);
    pair.fixture.tasks.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_mode_holds_from_its_commit_on() {
    let pair = Pair::new(StreamMode::Guard, StreamMode::Guard).await;
    let source = pair.fixture.on(Side::Source).await;
    let target = pair.fixture.on(Side::Target).await;
    let streams = pair.streams();
    pair.start(&streams, 1, &Direction::ALL);
    pair.drained(Direction::Forward, "guarding").await;
    target
        .batch_execute("update _switchyard.stream set mode = 'apply' where direction = 'forward'")
        .await
        .unwrap();
    source.batch_execute("insert into shop.things (id) select generate_series(1, 5)").await.unwrap();
    pair.drained(Direction::Forward, "applying").await;
    pair.assert_same().await;
    assert!(pair.heard.breaches.lock().unwrap().is_empty());
    pair.fixture.tasks.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_set_to_guard_too_late_drops_nothing_of_a_side_whose_gate_is_open() {
    let pair = Pair::new(StreamMode::Apply, StreamMode::Guard).await;
    let source = pair.fixture.on(Side::Source).await;
    let target = pair.fixture.on(Side::Target).await;
    let streams = pair.streams();
    pair.start(&streams, 1, &Direction::ALL);
    pair.drained(Direction::Forward, "applying").await;
    let set = async |mode: &str| {
        let sql = format!("update _switchyard.stream set mode = '{mode}' where direction = 'forward'");
        target.batch_execute(&sql).await.unwrap();
    };
    set("guard").await;
    source.batch_execute("insert into shop.things (id) select generate_series(1, 50)").await.unwrap();
    let handle = streams.handle(&StreamName { phase: phase(), direction: Direction::Forward }).unwrap();
    wait("the late mode is met", async || handle.progress().borrow().lag_ms.is_some_and(|lag| lag > 500))
        .await;
    assert_eq!(count(&target, "_switchyard.breach").await, 0, "what may be written is no breach");
    set("apply").await;
    pair.drained(Direction::Forward, "applying again").await;
    pair.assert_same().await;
    assert!(pair.heard.breaches.lock().unwrap().is_empty());
    // With the gate closed the same is a breach.
    source.batch_execute("update _switchyard.gate set mode = 'closed'").await.unwrap();
    set("guard").await;
    source.batch_execute("insert into shop.things (id) values (51)").await.unwrap();
    pair.drained(Direction::Forward, "guarding").await;
    assert_eq!(count(&target, "shop.things where id = 51").await, 0);
    assert_eq!(count(&target, "_switchyard.breach").await, 1);
    pair.fixture.tasks.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_apply_keeps_its_connection_and_a_hold_stands_where_it_was_asked() {
    let pair = Pair::new(StreamMode::Apply, StreamMode::Guard).await;
    let (source, mut target) = (pair.fixture.on(Side::Source).await, pair.fixture.on(Side::Target).await);
    source.batch_execute("alter system set wal_sender_timeout = '2s'").await.unwrap();
    source.batch_execute("select pg_reload_conf()").await.unwrap();
    let streams = pair.streams();
    pair.start(&streams, 1, &[Direction::Forward]);
    pair.drained(Direction::Forward, "up").await;
    let reader = "select active_pid from pg_replication_slots where active";
    let before: i32 = source.query_one(reader, &[]).await.unwrap().get(0);
    let lock = target.transaction().await.unwrap();
    lock.batch_execute("lock table shop.things in access exclusive mode").await.unwrap();
    source.batch_execute("insert into shop.things (id) select generate_series(1, 5)").await.unwrap();
    tokio::time::sleep(Duration::from_secs(6)).await;
    lock.rollback().await.unwrap();
    pair.drained(Direction::Forward, "slow").await;
    assert_eq!(source.query_one(reader, &[]).await.unwrap().get::<_, i32>(0), before, "reconnected");
    // A hold in the midst of writes: what ended before its place is there, what ended after is not.
    let name = StreamName { phase: phase(), direction: Direction::Forward };
    let handle = streams.handle(&name).unwrap();
    source.batch_execute("insert into shop.things (id) values (100)").await.unwrap();
    let at: String = source.query_one("select pg_current_wal_insert_lsn()::text", &[]).await.unwrap().get(0);
    let writing = handle.hold_at(at.parse().unwrap());
    let hold = tokio::time::timeout(Duration::from_secs(10), writing).await.expect("held in time").unwrap();
    source.batch_execute("insert into shop.things (id) values (101)").await.unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    let there = "shop.things where id >= 100";
    assert_eq!(count(&target, there).await, 1);
    assert!(hold.holds());
    assert!(handle.hold_at(journal::Lsn::new(1)).await.is_err(), "a passed place cannot be held");
    drop(hold);
    wait("it goes on", async || count(&target, there).await == 2).await;
    pair.fixture.tasks.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn transactions_of_one_row_go_through_in_bulk() {
    let pair = Pair::new(StreamMode::Apply, StreamMode::Guard).await;
    let source = pair.fixture.on(Side::Source).await;
    source
        .batch_execute(
            "create procedure shop.fill() language plpgsql as $$ begin for i in 1..20000 loop \
             insert into shop.things (id, name) values (i, 'n' || i); commit; end loop; end $$",
        )
        .await
        .unwrap();
    source.batch_execute("call shop.fill()").await.unwrap();
    let streams = pair.streams();
    let began = Instant::now();
    pair.start(&streams, 1, &[Direction::Forward]);
    pair.drained(Direction::Forward, "bulk").await;
    let took = began.elapsed();
    println!("20,000 transactions of one row in {took:?}: {:.0}/s", 20_000.0 / took.as_secs_f64());
    pair.assert_same().await;
    pair.fixture.tasks.stop().await;
}

/// More than fits in one message, or should be held in memory: sets, TOAST that was not sent, changed keys, unique values
/// that change places, all of it in one transaction.
#[tokio::test(flavor = "multi_thread")]
async fn a_large_transaction_goes_through_whole() {
    let pair = Pair::new(StreamMode::Apply, StreamMode::Guard).await;
    let source = pair.fixture.on(Side::Source).await;
    let streams = pair.streams();
    pair.start(&streams, 1, &Direction::ALL);
    pair.drained(Direction::Forward, "up").await;
    source
        .batch_execute(
            "begin; \
             insert into shop.things (id, name, place, big) \
             select i, repeat('n', 700), i, case when i % 1000 = 0 then repeat(md5(i::text), 300) end \
             from generate_series(1, 60000) i; \
             update shop.things set n = n + 1, name = 'm' where id > 20000; \
             update shop.things set id = id + 100000 where id % 5000 = 0; \
             update shop.things set place = null where id = 7; \
             update shop.things set place = 7 where id = 8; \
             update shop.things set place = 8 where id = 7; \
             delete from shop.things where id between 100 and 900; commit",
        )
        .await
        .unwrap();
    let took = pair.drained(Direction::Forward, "large").await;
    println!("one transaction of 100,000 changes in {took:?}");
    pair.assert_same().await;
    let target = pair.fixture.on(Side::Target).await;
    assert_eq!(count(&target, "shop.things").await, 60_000 - 801);
    assert_eq!(
        count(&target, "_switchyard.changed where key like '[\"105000\"%' or key like '[\"5%'").await,
        11_112
    );
    pair.fixture.tasks.stop().await;
}
