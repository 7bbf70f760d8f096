use std::time::Duration;

use executors::native::mover::Mover;
use executors::postgres::fence;
use executors::{Acted, Probe, Receiver};
use journal::{Direction, Effect, Epoch, Evidence, Finding, Side, Step, TableName};

use crate::fixture::{Fixture, Writers, assert_same_rows, phase, slot, table, wait};
use crate::load::{SHOP, write};

async fn loaded(fixture: &Fixture) -> Mover {
    fixture.on(Side::Source).await.batch_execute(SHOP).await.unwrap();
    let mover = fixture.mover();
    fixture.prepare(&mover, &[table("shop.orders"), table("shop.items"), table("shop.moves")]).await;
    for name in ["shop.orders", "shop.items", "shop.moves"] {
        let effect = Effect::CopyTable { table: table(name), slot: slot(Direction::Forward) };
        fixture.done(&mover, Step::Load, effect).await.unwrap();
    }
    mover
}

async fn remember(fixture: &Fixture, side: Side, table: &str, key: &str) {
    let direction = if side == Side::Target { "forward" } else { "failback" };
    fixture
        .on(side)
        .await
        .execute(
            "insert into _switchyard.changed values ('move', 'a', $1, $2, $3, '0/1') on conflict do nothing",
            &[&direction, &table, &key],
        )
        .await
        .unwrap();
}

/// The tables compared whole, and both sides fenced, as a switch leaves them before it compares what changed.
async fn compared_and_closed(fixture: &Fixture, mover: &Mover) {
    let streams = &mover.plane().streams;
    streams.set_desired(&phase(), Epoch::new(fixture.epoch), vec![fixture.stream()], Duration::from_secs(1));
    for name in ["shop.items", "shop.orders"] {
        whole(fixture, mover, name, "sweep").await.unwrap();
    }
    for side in Side::ALL {
        let database = mover.plane().side(side);
        let mut session = database.session().await.unwrap();
        let tx = session.transaction().await.unwrap();
        let tables = [table("shop.items"), table("shop.orders")];
        fence::stand_closed(&tx, database, &phase(), tables.iter()).await.unwrap();
        tx.commit().await.unwrap();
    }
}

async fn changed(fixture: &Fixture, mover: &Mover) -> Result<Evidence, Finding> {
    let tables: Vec<TableName> = vec![table("shop.items"), table("shop.orders")];
    let effect = Effect::VerifyChanged { tables, stream: fixture.forward() };
    fixture.done(mover, Step::VerifyDelta, effect).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_changed_is_compared_and_a_difference_counts_for_the_intent_that_found_it() {
    let fixture = Fixture::new().await;
    let mover = loaded(&fixture).await;
    let unproven = changed(&fixture, &mover).await.unwrap_err();
    assert_eq!(unproven.code, "SW-0410", "{unproven}");
    compared_and_closed(&fixture, &mover).await;
    for id in 1..=2500 {
        // More than a page, on both sides, in part the same.
        let side = if id % 2 == 0 { Side::Source } else { Side::Target };
        if id <= 3 {
            remember(&fixture, Side::Target, "shop.orders", &format!("[\"{id}\"]")).await;
        }
        if id % 500 == 0 {
            remember(&fixture, side, "shop.orders", &format!("[\"{id}\"]")).await;
        }
    }
    fixture
        .on(Side::Target)
        .await
        .batch_execute(
            "insert into _switchyard.changed select 'move', 'a', 'forward', 'shop.orders', \
             format('[\"%s\"]', i), '0/2' from generate_series(1, 3000) i on conflict do nothing; \
             insert into _switchyard.changed values \
             ('move', 'a', 'forward', 'shop.items', '[\"l\\t\\\\1\", \"4\"]', '0/2'), \
             ('move', 'a', 'forward', 'shop.items', '[\"never\", \"4\"]', '0/2')",
        )
        .await
        .unwrap();
    let target = fixture.on(Side::Target).await;
    target
        .batch_execute(
            "set session_replication_role = replica; \
             update shop.orders set price = 0 where id = 3; update shop.orders set note = '' where id = 7; \
             delete from shop.orders where id = 20; \
             update shop.items set qty = 4.4 where \"Order\" = 4; \
             update shop.orders set n = 0 where id = 3900",
        )
        .await
        .unwrap();
    let finding = changed(&fixture, &mover).await.unwrap_err();
    assert_eq!(finding.code, "SW-0401");
    for expected in [
        "differ in 4 rows",
        "shop.items key (l\t\\1, 4) differs in column qty",
        "shop.orders key (20) is missing at the target",
        "shop.orders key (3) differs in column price",
        "shop.orders key (7) differs in column note",
    ] {
        assert!(finding.what.contains(expected), "{expected} is not in: {}", finding.what);
    }
    // Put right, and asked again: the old difference is not believed.
    target
        .batch_execute(
            "update shop.orders set price = '-0' where id = 3; update shop.orders set note = null where id = 7; \
             update shop.items set qty = 4.40 where \"Order\" = 4",
        )
        .await
        .unwrap();
    let row = fixture
        .on(Side::Source)
        .await
        .query_one("select n, note, big, price, at::text from shop.orders where id = 20", &[])
        .await
        .unwrap();
    target
        .execute(
            "insert into shop.orders (id, n, note, big, price, at) overriding system value \
             values (20, $1, $2, $3, $4, $5::text::timestamptz)",
            &[
                &row.get::<_, i32>(0),
                &row.get::<_, Option<String>>(1),
                &row.get::<_, String>(2),
                &row.get::<_, f64>(3),
                &row.get::<_, String>(4),
            ],
        )
        .await
        .unwrap();
    let evidence = changed(&fixture, &mover).await.unwrap();
    assert!(evidence["keys"].parse::<u32>().unwrap() >= 3002, "{evidence:?}");
    // A late verdict under a position that was passed is refused at the gate.
    let spec = fixture.spec(
        Step::VerifyDelta,
        Effect::VerifyChanged { tables: vec![table("shop.items")], stream: fixture.forward() },
    );
    let late = fixture.authority();
    target.batch_execute("update _switchyard.gate set position = 100000").await.unwrap();
    assert!(matches!(mover.act(&spec, late).await, Acted::Definite(_)));
    assert_eq!(mover.probe(&spec, late).await, Probe::Absent);
    fixture.tasks.stop().await;
}

async fn whole(fixture: &Fixture, mover: &Mover, name: &str, moment: &str) -> Result<Evidence, Finding> {
    let effect =
        Effect::VerifyTable { table: table(name), stream: fixture.forward(), moment: moment.to_owned() };
    fixture.done(mover, Step::VerifyLoad, effect).await
}

#[tokio::test(flavor = "multi_thread")]
async fn whole_tables_are_compared_under_writes_without_a_false_report_and_a_spoiled_row_is_named() {
    let fixture = Fixture::new().await;
    let mover = loaded(&fixture).await;
    let streams = &mover.plane().streams;
    streams.set_desired(&phase(), Epoch::new(fixture.epoch), vec![fixture.stream()], Duration::from_secs(1));
    let writers = Writers::start(&fixture, 3, write).await;
    let mut proven = String::new();
    for round in 0..4 {
        for name in ["shop.orders", "shop.items", "shop.moves"] {
            let evidence = whole(&fixture, &mover, name, &format!("sweep {round}")).await;
            let evidence = evidence.unwrap_or_else(|finding| panic!("false report: {finding}"));
            assert!(evidence["rows"].parse::<u32>().unwrap() >= 200);
            if name == "shop.orders" {
                proven = evidence["source_lsn"].clone();
            }
        }
    }
    // What is proven is forgotten, what changed since is not.
    let target = fixture.on(Side::Target).await;
    let sql = "select count(*) from _switchyard.changed \
               where table_name = 'shop.orders' and lsn <= $1::text::pg_lsn";
    let remembered: i64 = target.query_one(sql, &[&proven]).await.unwrap().get(0);
    assert_eq!(remembered, 0);
    // Three spoiled rows that no write touches (the writers' ids end below 4400 and come from a sequence).
    fixture
        .on(Side::Source)
        .await
        .batch_execute(
            "insert into shop.orders (id, n, note, price) overriding system value \
             values (900001, 1, 'a', '-0'), (900002, 1, null, 1), (900003, 1, 'a ', 1)",
        )
        .await
        .unwrap();
    crate::fixture::wait("the new rows arrive", async || {
        let sql = "select count(*) from shop.orders where id in (900001, 900002, 900003)";
        fixture.on(Side::Target).await.query_one(sql, &[]).await.unwrap().get::<_, i64>(0) == 3
    })
    .await;
    target
        .batch_execute(
            "set session_replication_role = replica; \
             update shop.orders set price = 0 where id = 900001; \
             update shop.orders set note = 'a' where id = 900003; \
             delete from shop.orders where id = 900002; \
             insert into shop.orders (id, n) overriding system value values (900004, 1)",
        )
        .await
        .unwrap();
    let finding = whole(&fixture, &mover, "shop.orders", "sweep").await.unwrap_err();
    for expected in [
        "differ in 4 rows",
        "key (900001) differs in column price",
        "key (900002) is missing at the target",
        "key (900003) differs in column note",
        "key (900004) is at the target but not at the source",
    ] {
        assert!(finding.what.contains(expected), "{expected} is not in: {}", finding.what);
    }
    whole(&fixture, &mover, "shop.items", "sweep").await.unwrap();
    target
        .batch_execute("set session_replication_role = replica; delete from shop.orders where id >= 900001")
        .await
        .unwrap();
    let source = fixture.on(Side::Source).await;
    source.batch_execute("delete from shop.orders where id >= 900001").await.unwrap_or_default();
    assert!(writers.stop().await > 50);
    fixture.tasks.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_executors_one_after_the_other_end_in_the_same_rows() {
    let fixture = Fixture::new().await;
    let mover = loaded(&fixture).await;
    let writers = Writers::start(&fixture, 2, write).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    writers.stop().await;
    crate::load::catch_up(&fixture, mover.plane()).await;
    assert_same_rows(&fixture, "shop.orders", "id").await;
    assert_same_rows(&fixture, "shop.items", "line, \"Order\"").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_changed_is_swept_until_little_is_left_and_a_difference_is_named() {
    let fixture = Fixture::new().await;
    let mover = loaded(&fixture).await;
    let streams = &mover.plane().streams;
    streams.set_desired(&phase(), Epoch::new(fixture.epoch), vec![fixture.stream()], Duration::from_secs(1));
    let target = fixture.on(Side::Target).await;
    let sweep = |limit_ms| Effect::SweepChanged {
        tables: vec![table("shop.orders"), table("shop.items"), table("shop.moves")],
        stream: fixture.forward(),
        limit_ms,
    };
    let writers = Writers::start(&fixture, 2, write).await;
    let count = "select count(*) from _switchyard.changed where table_name = 'shop.orders'";
    wait("changes to be remembered", || async {
        target.query_one(count, &[]).await.unwrap().get::<_, i64>(0) > 50
    })
    .await;
    let evidence = fixture.done(&mover, Step::PrepareSwitch, sweep(60_000)).await.unwrap();
    assert!(evidence["keys"].parse::<u32>().unwrap() > 50, "{evidence:?}");
    writers.stop().await;
    let evidence = fixture.done(&mover, Step::PrepareSwitch, sweep(60_001)).await.unwrap();
    assert_eq!(evidence["left"], "0", "what is proven is forgotten: {evidence:?}");
    // Keys that change again by the time they were compared: an application that is not caught up with.
    target
        .batch_execute(
            "insert into _switchyard.changed select 'move', 'a', 'forward', 'shop.orders', \
             format('[\"%s\"]', i), 'FFFFFFFF/0' from generate_series(1000001, 1020000) i",
        )
        .await
        .unwrap();
    let finding = fixture.done(&mover, Step::PrepareSwitch, sweep(1)).await.unwrap_err();
    assert!(finding.code == "SW-0402" && finding.what.contains("20000 changed keys are left"), "{finding}");
    target
        .batch_execute(
            "delete from _switchyard.changed where lsn = 'FFFFFFFF/0'; set session_replication_role = replica; \
             update shop.orders set price = 0.5 where id = 3",
        )
        .await
        .unwrap();
    remember(&fixture, Side::Target, "shop.orders", "[\"3\"]").await;
    let finding = fixture.done(&mover, Step::PrepareSwitch, sweep(60_002)).await.unwrap_err();
    assert!(finding.what.contains("shop.orders key (3) differs in column price"), "{finding}");
    fixture.tasks.stop().await;
}
