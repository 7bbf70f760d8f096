use std::time::Duration;

use executors::native::mover::Mover;
use executors::native::plane::Plane;
use executors::native::stream::apply_until;
use executors::postgres::snapshot::{HeldSnapshot, SnapshotRows};
use executors::{Probe, Receiver};
use journal::{Direction, Effect, Epoch, Evidence, Side, Step};

use crate::fixture::{Dice, Fixture, Writers, assert_same_rows, slot, table};

pub const SHOP: &str = r#"
create schema shop;
create table shop.orders (
  id bigint generated always as identity primary key,
  n int not null,
  note text,
  big text,
  twice int generated always as (n * 2) stored,
  price float8,
  at timestamptz not null default clock_timestamp()
);
create table shop.moves (
  id int generated always as identity primary key, tag int generated always as identity, big text, n int
);
alter table shop.moves alter column big set storage external;
insert into shop.moves (big, n) select repeat(md5(i::text), 100), i from generate_series(1, 200) i;
alter table shop.orders alter column big set storage external;
create table shop.items ("Order" bigint, line text, qty numeric, "we""ird	x" char(5), primary key (line, "Order"));
insert into shop.orders (n, note, big, price)
  select i, case when i % 7 = 0 then null when i % 5 = 0 then E'tab\t\\N\nline\r\b' else 'note ' || i end,
         repeat(md5(i::text), 100), case when i % 3 = 0 then '-0'::float8 else i / 7.0 end
  from generate_series(1, 4000) i;
insert into shop.items select i, E'l\t\\' || i % 3, i * 1.10, 'ab' from generate_series(1, 3000) i;
"#;

/// Inserts, updates that leave TOAST alone or not, changed keys, deletes, several to a transaction.
pub fn write(dice: &mut Dice) -> String {
    let id = 1 + dice.below(4400);
    match dice.below(12) {
        10 => format!("update shop.moves set id = default, n = n + 1 where n % 200 = {id} % 200"),
        11 => format!("update shop.moves set tag = default, n = n + 200 where n % 200 = {id} % 200"),
        0 | 1 => format!(
            "insert into shop.orders (n, note, big) values ({id}, 'new', repeat('x{id}', 1500));
             insert into shop.items values ({id} + 100000 + {}, 'n', 1.0, 'z')",
            dice.below(1_000_000)
        ),
        2 | 3 => format!("update shop.orders set n = n + 1 where id = {id}"),
        4 => format!("update shop.orders set n = n + 1, note = null where id between {id} and {id} + 20"),
        5 => format!("update shop.orders set big = repeat('y{id}', 1200) where id = {id}"),
        6 => format!("update shop.items set \"Order\" = \"Order\" + 1000000 where \"Order\" = {id}"),
        7 => format!("delete from shop.items where \"Order\" = {id}"),
        8 => format!(
            "begin; delete from shop.orders where id = {id}; update shop.items set qty = 1.00 where \"Order\" = {id}; \
             insert into shop.items values ({id}, 'back', 2, null) on conflict do nothing; commit"
        ),
        _ => format!(
            "begin; update shop.orders set n = 0, big = big where id = {id}; savepoint a; \
             delete from shop.orders where id = {id} + 1; rollback to a; commit"
        ),
    }
}

/// Applies what is left, after the writers have stopped.
pub async fn catch_up(fixture: &Fixture, plane: &Plane) {
    let held = std::sync::Arc::new(HeldSnapshot::of_now(&plane.source).await.unwrap());
    let rows = std::sync::Arc::new(SnapshotRows::new(std::sync::Arc::clone(&held)));
    apply_until(plane.streams.parts(), &fixture.stream(), Epoch::new(fixture.epoch), held.lsn(), rows)
        .await
        .unwrap();
}

async fn copy(fixture: &Fixture, mover: &Mover, name: &str) -> Evidence {
    let effect = Effect::CopyTable { table: table(name), slot: slot(Direction::Forward) };
    fixture.done(mover, Step::Load, effect).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_without_interruption_is_the_state_at_the_slot() {
    let fixture = Fixture::new().await;
    fixture.on(Side::Source).await.batch_execute(SHOP).await.unwrap();
    let mover = fixture.mover();
    let names = [table("shop.orders"), table("shop.items"), table("shop.moves")];
    fixture.prepare(&mover, &names).await;
    let before = crate::fixture::rows(&fixture.on(Side::Source).await, "shop.orders", "id").await;
    let writers = Writers::start(&fixture, 2, write).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    let orders = copy(&fixture, &mover, "shop.orders").await;
    let items = copy(&fixture, &mover, "shop.items").await;
    assert!(writers.stop().await > 20);
    assert_eq!((orders["rows"].as_str(), orders["filled"].as_str()), ("4000", "false"));
    assert_eq!((items["rows"].as_str(), items["filled"].as_str()), ("3000", "false"));
    assert!(orders["chunks"].parse::<u32>().unwrap() > 3, "{orders:?}");
    assert_eq!(orders["snapshot_lsn"], items["snapshot_lsn"]);
    let after = crate::fixture::rows(&fixture.on(Side::Target).await, "shop.orders", "id").await;
    assert_eq!(before, after);
    // The hash is of the rows, in whatever order and chunks they came.
    let again = fixture.mover();
    let spec = fixture
        .spec(Step::Load, Effect::CopyTable { table: table("shop.orders"), slot: slot(Direction::Forward) });
    assert_eq!(again.probe(&spec, fixture.authority()).await, Probe::Ours(orders));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_that_is_killed_again_and_again_is_filled_to_the_same_rows() {
    let fixture = Fixture::new().await;
    fixture.on(Side::Source).await.batch_execute(SHOP).await.unwrap();
    let first = fixture.mover();
    let names = [table("shop.orders"), table("shop.items"), table("shop.moves")];
    fixture.prepare(&first, &names).await;
    let writers = Writers::start(&fixture, 3, write).await;
    let target = fixture.on(Side::Target).await;
    let receipts = async || -> i64 {
        let sql = "select count(rows) from _switchyard.chunk";
        target.query_one(sql, &[]).await.unwrap().get(0)
    };
    let mut mover = first;
    for round in 0..4 {
        for name in ["shop.orders", "shop.moves", "shop.items"] {
            let had = receipts().await;
            let spec = fixture
                .spec(Step::Load, Effect::CopyTable { table: table(name), slot: slot(Direction::Forward) });
            let under = fixture.authority();
            // Killed as soon as some of it is done: the future and all memory go.
            tokio::select! {
                _ = mover.act(&spec, under) => {}
                () = async { while receipts().await <= had + round { tokio::time::sleep(Duration::from_millis(1)).await } } => {}
            }
        }
        mover = fixture.mover();
    }
    let orders = copy(&fixture, &mover, "shop.orders").await;
    let items = copy(&fixture, &mover, "shop.items").await;
    copy(&fixture, &mover, "shop.moves").await;
    let writes = writers.stop().await;
    assert!(writes > 100, "{writes} writes");
    assert!([&orders, &items].iter().any(|one| one["filled"] == "true"), "{orders:?} {items:?}");
    catch_up(&fixture, mover.plane()).await;
    assert!(assert_same_rows(&fixture, "shop.orders", "id").await > 3000);
    assert!(assert_same_rows(&fixture, "shop.items", "line, \"Order\"").await > 2000);
    assert_eq!(assert_same_rows(&fixture, "shop.moves", "id").await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_that_another_executor_has_gone_past_copies_nothing_more() {
    let fixture = Fixture::new().await;
    fixture.on(Side::Source).await.batch_execute(SHOP).await.unwrap();
    let first = fixture.mover();
    fixture.prepare(&first, &[table("shop.orders"), table("shop.items"), table("shop.moves")]).await;
    // The first executor stops; the second fills a part; rows that only the first's snapshot has are deleted.
    fixture.on(Side::Source).await.batch_execute("delete from shop.items").await.unwrap();
    let second = fixture.mover();
    copy(&fixture, &second, "shop.orders").await;
    // The first comes back, still holding its snapshot.
    assert!(first.plane().snapshots.current(&crate::fixture::phase()).is_some());
    let items = copy(&fixture, &first, "shop.items").await;
    assert_eq!((items["rows"].as_str(), items["filled"].as_str()), ("0", "true"));
    catch_up(&fixture, first.plane()).await;
    assert_eq!(assert_same_rows(&fixture, "shop.items", "line, \"Order\"").await, 0);
    assert_same_rows(&fixture, "shop.orders", "id").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_rewritten_in_mid_load_is_loaded_again_alone() {
    let mut fixture = Fixture::new().await;
    fixture.on(Side::Source).await.batch_execute(SHOP).await.unwrap();
    let mover = fixture.mover();
    fixture.prepare(&mover, &[table("shop.orders"), table("shop.items"), table("shop.moves")]).await;
    let items = copy(&fixture, &mover, "shop.items").await;
    let source = fixture.on(Side::Source).await;
    let target = fixture.on(Side::Target).await;
    let spec = fixture
        .spec(Step::Load, Effect::CopyTable { table: table("shop.orders"), slot: slot(Direction::Forward) });
    let under = fixture.authority();
    tokio::select! {
        _ = mover.act(&spec, under) => {}
        () = async {
            let sql = "select count(rows) from _switchyard.chunk where table_name = 'shop.orders'";
            while target.query_one(sql, &[]).await.unwrap().get::<_, i64>(0) < 1 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        } => {}
    }
    source.batch_execute("delete from shop.orders where id % 2 = 0").await.unwrap();
    source.batch_execute("vacuum full shop.orders").await.unwrap();
    fixture.epoch = 2;
    let orders = copy(&fixture, &mover, "shop.orders").await;
    assert_eq!(orders["rows"], "2000");
    catch_up(&fixture, mover.plane()).await;
    assert_eq!(assert_same_rows(&fixture, "shop.orders", "id").await, 2000);
    let spec = fixture
        .spec(Step::Load, Effect::CopyTable { table: table("shop.items"), slot: slot(Direction::Forward) });
    assert_eq!(mover.probe(&spec, under).await, Probe::Ours(items), "the other table stands");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chunk_under_an_old_epoch_is_refused() {
    let fixture = Fixture::new().await;
    fixture.on(Side::Source).await.batch_execute(SHOP).await.unwrap();
    let mover = fixture.mover();
    fixture.prepare(&mover, &[table("shop.orders"), table("shop.items"), table("shop.moves")]).await;
    let target = fixture.on(Side::Target).await;
    target.batch_execute("update _switchyard.gate set epoch = 7").await.unwrap();
    let spec = fixture
        .spec(Step::Load, Effect::CopyTable { table: table("shop.items"), slot: slot(Direction::Forward) });
    let acted = mover.act(&spec, fixture.authority()).await;
    assert!(format!("{acted:?}").contains("Definite"), "{acted:?}");
    let loaded: i64 = target.query_one("select count(*) from shop.items", &[]).await.unwrap().get(0);
    assert_eq!(loaded, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lane_of_an_executor_that_stands_still_is_ended_by_its_successor() {
    let mut fixture = Fixture::new().await;
    fixture.on(Side::Source).await.batch_execute(SHOP).await.unwrap();
    let mover = fixture.mover();
    fixture.prepare(&mover, &[table("shop.orders"), table("shop.items"), table("shop.moves")]).await;
    // What a stopped process leaves behind: a row that is not committed, in a session of its epoch.
    let stopped = fixture.on(Side::Target).await;
    let which = journal::PlanHash::of(b"move/a").short();
    stopped
        .batch_execute(&format!(
            "begin; set local application_name = 'switchyard load {which} 1'; \
             set local session_replication_role = replica; \
             insert into shop.items (\"Order\", line) values (4, E'l\\t\\\\1')"
        ))
        .await
        .unwrap();
    fixture.epoch = 2;
    let items = copy(&fixture, &mover, "shop.items").await;
    assert_eq!(items["rows"], "3000");
    assert!(stopped.batch_execute("commit").await.is_err());
}
