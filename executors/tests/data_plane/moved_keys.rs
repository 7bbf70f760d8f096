//! Rows whose key changes: every way in which they do, there and back, and in sets.

use std::time::Instant;

use executors::native::streams::Streams;
use journal::{Direction, Side, StreamMode};
use tokio_postgres::Client;

use crate::fixture::{Dice, assert_same_rows, phase, slot};
use crate::streams::{Pair, count};

/// With what replaces a row's rest, what reads it, and who writes beside the application.
const TABLES: &str = r"
create extension citext;
create table shop.plain (id int primary key, tag text unique, n int not null default 0, big text, more text);
alter table shop.plain alter big set storage external, alter more set storage external;
create table shop.whole (like shop.plain including all);
alter table shop.whole replica identity full;
create table shop.words (word citext, part int, tag text unique, n int not null default 0, big text, primary key (part, word));
alter table shop.words alter big set storage external;
create table shop.made (id int generated always as identity primary key, n int not null default 0, big text);
alter table shop.made alter big set storage external;
create table shop.child (id int primary key, parent int references shop.plain on update cascade on delete cascade);
create function shop.stamp() returns trigger language plpgsql as 'begin new.n := new.n + 1; return new; end';
create trigger stamp before update on shop.plain for each row execute function shop.stamp();
";

const NAMES: [(&str, &str); 5] = [
    ("shop.plain", "id"),
    ("shop.whole", "id"),
    ("shop.words", "part, word"),
    ("shop.made", "id"),
    ("shop.child", "id"),
];

/// Forty rows, most with values that are not sent unless they change.
const ROWS: &str = r"
delete from shop.child; delete from shop.plain; delete from shop.whole; delete from shop.words; delete from shop.made;
insert into shop.plain select i, 't' || i, 0, case when i % 5 > 0 then repeat(md5(i::text), 100) end, repeat(md5('m' || i), 100)
  from generate_series(1, 40) i;
insert into shop.whole select * from shop.plain;
insert into shop.words select 'W' || i, i % 3, 't' || i, 0, case when i % 5 > 0 then repeat(md5(i::text), 100) end
  from generate_series(1, 40) i;
insert into shop.made (n, big) select i, case when i % 5 > 0 then repeat(md5(i::text), 100) end from generate_series(1, 40) i;
insert into shop.child select i, i from generate_series(1, 40) i;
";

/// Each a transaction.
const MOVES: [&str; 18] = [
    "update {t} set id = id + 1000 where id <= 4",
    // Two change places.
    "update {t} set id = -6 where id = 6; update {t} set id = 6 where id = 7; update {t} set id = 7 where id = -6",
    // A chain, of which one was changed before.
    "update {t} set n = n + 7 where id = 8; update {t} set id = -1 where id = 10; update {t} set id = 10 where id = 9; \
     update {t} set id = 9 where id = 8",
    // Moved away and inserted anew, and the new one moved and inserted anew.
    "update {t} set id = 2000 where id = 11; insert into {t} values (11, 'anew', 1, null, null); \
     update {t} set id = 2001, tag = null where id = 11; insert into {t} values (11, 'again', 1, 'b', 'm')",
    // Onto a row that is gone.
    "delete from {t} where id = 12; update {t} set id = 12 where id = 13",
    // Away and back again.
    "update {t} set id = 3000 where id = 14; update {t} set id = 14, n = n + 5 where id = 3000",
    // Away and gone.
    "update {t} set id = 3001 where id = 15; delete from {t} where id = 3001",
    // New, and moved on.
    "insert into {t} values (50, 't50', 0, repeat('x', 3000), null); update {t} set id = 51 where id = 50; \
     update {t} set n = 9 where id = 51",
    // Keys and unique values change places.
    "update {t} set tag = null where id = 16; update {t} set tag = 't16', id = 3017 where id = 17; \
     update {t} set tag = 't17', id = 17 where id = 16",
    // A part of what is not sent is sent.
    "update {t} set id = id + 4000, more = repeat('new', 1000) where id = 18",
    // Two that change places, of one a part is sent.
    "update {t} set id = -19 where id = 19; \
     update {t} set id = 19, more = repeat('m', 4000) where id = 21; update {t} set id = 21 where id = -19",
    // One whose every value is sent, and one of which not.
    "update {t} set id = -22 where id = 22; update {t} set id = 22 where id = 25; update {t} set id = 25 where id = -22",
    // Down by one, in the order of the keys.
    "delete from {t} where id = 30; do $$ begin for i in 31..34 loop update {t} set id = i - 1 where id = i; end loop; end $$",
    // A unique value of a row that is gone, to a row that moves to a row that moves.
    "delete from {t} where id = 26; update {t} set id = 5026, tag = 't27' || 'old' where id = 27; \
     update {t} set id = 27, tag = 't26' where id = 28; update {t} set id = 28, tag = 't27' where id = 29",
    // Undone in part.
    "update {t} set id = 35 + 1000 where id = 35; savepoint a; update {t} set id = 36 + 1000 where id = 36; rollback to a; \
     update {t} set id = 37 + 1000 where id = 37",
    // What one transaction left another takes.
    "update {t} set id = 6000 where id = 38",
    "update {t} set id = 38 where id = 39",
    "update {t} set id = 39, big = null where id = 6000; insert into {t} values (6000, 'late', 0, repeat('l', 3000), null)",
];

const WORDS: [&str; 7] = [
    // The same key in another spelling, to the server and not to who reads its stream.
    "update shop.words set word = lower(word::text) where word in ('W1', 'W2')",
    "update shop.words set word = 'x3' where word = 'W3'; insert into shop.words values ('w3', 0, 'anew', 1, repeat('n', 3000))",
    "update shop.words set word = 'x4' where word = 'W4'; insert into shop.words values ('w4', 1, 'gone', 1, repeat('n', 3000)); \
     delete from shop.words where word = 'w4'",
    "update shop.words set word = 'x6' where word = 'W6'; update shop.words set word = 'w6' where word = 'W9'",
    "delete from shop.words where word = 'W7'; insert into shop.words values ('w7', 1, 't7', 3, null)",
    "update shop.words set part = part + 3",
    "update shop.words set word = 'z' || word, tag = 'z' || tag where part = 4",
];

const MADE: [&str; 3] = [
    "update shop.made set id = default where n <= 5",
    "do $$ declare old int := id from shop.made where n = 7; begin update shop.made set id = default where n = 7; \
     insert into shop.made overriding system value values (old, 0, 'anew'); end $$",
    "update shop.made set id = default; update shop.made set n = n + 1",
];

/// Both streams apply; each has the tables.
async fn pair() -> (Pair, [Client; 2]) {
    let pair = Pair::new(StreamMode::Apply, StreamMode::Apply).await;
    let sides = [pair.fixture.on(Side::Source).await, pair.fixture.on(Side::Target).await];
    for (client, direction) in sides.iter().zip(Direction::ALL) {
        client.batch_execute(TABLES).await.unwrap();
        for (name, _) in NAMES {
            let add = format!("alter publication {} add table {name}", slot(direction));
            client.batch_execute(&add).await.unwrap();
        }
    }
    (pair, sides)
}

async fn assert_same(pair: &Pair) {
    for (name, key) in NAMES {
        assert!(assert_same_rows(&pair.fixture, name, key).await > 0, "{name} is empty");
    }
}

fn begin(pair: &Pair) -> Streams {
    let streams = pair.streams();
    pair.start(&streams, 1, &Direction::ALL);
    streams
}

/// With the stream up, each transaction by itself, and all at once after it was down.
#[tokio::test(flavor = "multi_thread")]
async fn keys_that_change_in_every_way_arrive_as_they_were_there_and_back() {
    let (pair, [source, target]) = pair().await;
    let mut streams = begin(&pair);
    for (direction, from, to) in
        [(Direction::Forward, &source, &target), (Direction::Failback, &target, &source)]
    {
        for is_up in [true, false] {
            let done = format!("{direction} {is_up}");
            from.batch_execute(ROWS).await.unwrap();
            // A sequence is not replicated: what it gives is new on either side.
            from.batch_execute("select setval('shop.made_id_seq', max(id) + 100) from shop.made")
                .await
                .unwrap();
            pair.drained(direction, &format!("rows {done}")).await;
            assert_same(&pair).await;
            to.batch_execute("delete from _switchyard.changed").await.unwrap();
            if !is_up {
                streams.stop_phase(&phase());
            }
            let tables = ["shop.plain", "shop.whole"];
            let moves = tables.into_iter().flat_map(|name| MOVES.map(|sql| sql.replace("{t}", name)));
            for sql in moves.chain(WORDS.map(str::to_owned)).chain(MADE.map(str::to_owned)) {
                from.batch_execute(&format!("begin; {sql}; commit"))
                    .await
                    .unwrap_or_else(|error| panic!("{sql}: {error:?}"));
                if is_up {
                    pair.drained(direction, &format!("{sql} {done}")).await;
                    assert_same(&pair).await;
                }
            }
            if !is_up {
                streams = begin(&pair);
            }
            pair.drained(direction, &format!("moved {done}")).await;
            assert_same(&pair).await;
            for key in ["1", "1001", "6", "-6", "7", "8", "2000", "2001", "3001", "38", "6000"] {
                let remembered = format!(
                    "_switchyard.changed where direction = '{direction}' and key = '[\"{key}\"]' \
                     and table_name in ('shop.plain', 'shop.whole')"
                );
                assert_eq!(count(to, &remembered).await, 2, "{key} {done}");
            }
        }
    }
    pair.fixture.tasks.stop().await;
}

/// Several statements, which move few rows about.
fn transaction(dice: &mut Dice) -> String {
    let mut sql = "begin; ".to_owned();
    let name = if dice.below(2) == 0 { "shop.plain" } else { "shop.whole" };
    for _ in 0..=dice.below(6) {
        let (id, other) = (dice.below(14), dice.below(14));
        sql += &match dice.below(10) {
            0..=3 => format!("update {name} set id = {other} where id = {id}; "),
            4 => format!("update {name} set id = {other}, more = repeat('{id}', 3000) where id = {id}; "),
            5 => format!(
                "update {name} set id = -1 where id = {id}; update {name} set id = {id} where id = {other}; \
                 update {name} set id = {other} where id = -1; "
            ),
            6 => format!("delete from {name} where id = {id}; "),
            7 => format!(
                "insert into {name} values ({id}, 't{id}', 0, repeat('b{other}', 1500), repeat('m', {other} * 300)) \
                 on conflict do nothing; "
            ),
            8 => format!(
                "update {name} set tag = null where tag = 't{other}'; \
                 update {name} set tag = 't{other}', id = {other} where id = {id}; "
            ),
            _ => format!("update {name} set n = n + 1 where id = {id}; "),
        };
    }
    sql + "commit"
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_move_about_at_random_arrive_as_they_were() {
    let (pair, [source, target]) = pair().await;
    let mut dice = Dice::seeded(11);
    let mut done = 0;
    for round in 0..20 {
        for (direction, from) in [(Direction::Forward, &source), (Direction::Failback, &target)] {
            from.batch_execute(ROWS).await.unwrap();
            let mut streams = begin(&pair);
            pair.drained(direction, &format!("rows {direction} {round}")).await;
            // What comes while the stream is down comes in large batches.
            if round % 2 == 0 {
                streams.stop_phase(&phase());
            }
            for _ in 0..60 {
                match from.batch_execute(&transaction(&mut dice)).await {
                    Ok(()) => done += 1,
                    // A key or a tag that is there.
                    Err(_) => from.batch_execute("rollback").await.unwrap(),
                }
            }
            if round % 2 == 0 {
                streams = begin(&pair);
            }
            pair.drained(direction, &format!("moved {direction} {round}")).await;
            assert_same(&pair).await;
            streams.stop_phase(&phase());
        }
    }
    assert!(done > 500, "{done} transactions");
    pair.fixture.tasks.stop().await;
}

/// How many rows are moved by one statement.
const SHIFTED: i64 = 20_000;

#[tokio::test(flavor = "multi_thread")]
async fn a_shift_of_every_key_is_written_in_sets() {
    let (pair, [source, target]) = pair().await;
    let _streams = begin(&pair);
    source
        .batch_execute(&format!(
            "insert into shop.plain select i, 't' || i, 0, case when i % 100 = 0 then repeat(md5(i::text), 100) end, 'm' || i \
             from generate_series(1, {SHIFTED}) i"
        ))
        .await
        .unwrap();
    pair.drained(Direction::Forward, "there").await;
    target
        .batch_execute(
            "create table shop.statement (n int);
             create function shop.said() returns trigger language plpgsql as
               'begin insert into shop.statement values (1); return null; end';
             create trigger said after insert or update or delete on shop.plain execute function shop.said();
             alter table shop.plain enable always trigger said",
        )
        .await
        .unwrap();
    source.batch_execute("update shop.plain set id = id + 10000000").await.unwrap();
    let began = Instant::now();
    pair.drained(Direction::Forward, "shifted").await;
    let took = began.elapsed();
    let statements = count(&target, "shop.statement").await;
    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    let rate = SHIFTED as f64 / took.as_secs_f64();
    println!("{SHIFTED} keys shifted in {took:?}: {rate:.0}/s, by {statements} statements");
    assert_same_rows(&pair.fixture, "shop.plain", "id").await;
    assert!(statements < 2 + SHIFTED / 1000, "{statements} statements for {SHIFTED} rows");
    assert_eq!(count(&target, "_switchyard.changed where table_name = 'shop.plain'").await, 2 * SHIFTED);
    pair.fixture.tasks.stop().await;
}
