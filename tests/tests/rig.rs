//! The rig itself: what it is there to notice, it notices.

use std::time::Duration;

use anyhow::{Result, ensure};
use product::cluster::{Cluster, Role};
use product::compare::compare;
use product::pgbouncer::Pgbouncer;
use product::shop::{Size, build};
use product::workload::{Pace, Workload};

#[tokio::test]
async fn the_rig_notices_a_lost_write_an_invented_row_and_a_differing_cell() -> Result<()> {
    let (one, other) = tokio::try_join!(Cluster::start("one"), Cluster::start("other"))?;
    let client = one.connect(Role::Mover).await?;
    build(&client, Size::SMALL).await?;
    let pgbouncer = Pgbouncer::start(&one).await?;
    let workload = Workload::start(pgbouncer.app_url(), Size::SMALL, Pace::BRISK);
    workload.acknowledged(300, Duration::from_secs(30)).await?;
    workload.rest(Duration::from_secs(10)).await?;

    let check = async || workload.judge(&client).await;
    let clean = check().await?;
    ensure!(clean.lost.is_empty() && clean.extra.is_empty(), "a clean run is judged as {clean:?}");
    ensure!(workload.records().failed_requests() == 0, "{:?}", workload.records().failed);

    client.batch_execute("delete from shop.events where worker = 1 and seq = 3").await?;
    ensure!(check().await?.lost.len() == 1, "a deleted row was not noticed");
    client.batch_execute("update shop.customers set stamp = 'other' where id = 7").await?;
    ensure!(check().await?.lost.len() == 2, "an overwritten row was not noticed");
    client.batch_execute("insert into shop.events (worker, seq, kind) values (77, 1, 'x')").await?;
    ensure!(check().await?.extra.len() == 1, "an invented row was not noticed");

    let second = other.connect(Role::Mover).await?;
    build(&second, Size::SMALL).await?;
    let third = Cluster::start("third").await?;
    let third = third.connect(Role::Mover).await?;
    build(&third, Size::SMALL).await?;
    // Columns that default to the clock differ between two builds.
    for client in [&second, &third] {
        client.batch_execute("update shop.customers set created_at = '2025-01-01'").await?;
    }
    ensure!(compare(&second, &third).await?.is_equal(), "{}", compare(&second, &third).await?.summary());
    third.batch_execute("update shop.products set title = title || ' ' where id = 5").await?;
    third.batch_execute("delete from shop.order_items where order_id = 9 and line = 2").await?;
    third
        .batch_execute("insert into shop.prices (product_id, currency, amount) values (3, 'USD', 1)")
        .await?;
    let found = compare(&second, &third).await?;
    ensure!(found.missing_or_different.len() == 2 && found.extra.len() == 1, "{}", found.summary());
    workload.stop().await;
    Ok(())
}
