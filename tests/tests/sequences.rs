//! Where a sequence stands after a switch, and after the way back.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use product::scene::{Scene, Setting};
use tokio_postgres::Client;

const LONG: Duration = Duration::from_secs(120);

const SCHEMA: &str = "
create sequence shop.behind start 100000;
create table shop.numbered (id integer primary key default (nextval('shop.behind') * 100 + 7), line text);
create sequence shop.around minvalue 10 maxvalue 1030 start 1028 cycle;
create table shop.ring (id integer primary key default nextval('shop.around'), line text);
create sequence shop.down increment -3 minvalue -40 maxvalue -1 start -35 cycle;
create table shop.falling (id integer primary key default nextval('shop.down'), line text);
create sequence shop.worn as smallint minvalue 1 maxvalue 4 cycle;
create table shop.reused (id uuid primary key default gen_random_uuid(), slot smallint default nextval('shop.worn'));
create sequence shop.cast;
create table shop.plain (id integer primary key default nextval('shop.cast')::integer, line text);
create table shop.owned (id serial primary key, line text);
alter table shop.owned alter id set default (nextval('shop.owned_id_seq') << 8);";

/// What a column is given by its default, some times.
async fn draw(client: &Client, (table, column): (&str, &str), times: usize) -> Result<Vec<i64>> {
    let sql = format!("insert into shop.{table} default values returning {column}::bigint");
    let mut drawn = Vec::new();
    for _ in 0..times {
        let row = client.query_one(&sql, &[]).await.with_context(|| format!("{table}, after {drawn:?}"))?;
        drawn.push(row.get(0));
    }
    Ok(drawn)
}

/// As [`draw`], and every value is greater than those before by less than this.
async fn follows(client: &Client, table: &str, known: &mut i64, most: i64) -> Result<()> {
    for value in draw(client, (table, "id"), 2).await? {
        let step = value - *known;
        ensure!((1..=most).contains(&step), "{table}: {value} comes after {known}");
        *known = value;
    }
    Ok(())
}

#[tokio::test]
async fn sequences_follow_what_was_drawn_there_and_back() -> Result<()> {
    let scene = Scene::set(Setting::default()).await?;
    let plan = std::fs::read_to_string(scene.product.plan())?;
    let (before, rest) = plan.split_once("tables = [").context("a plan without tables")?;
    let (_, after) = rest.split_once(']').context("a list without its end")?;
    let names = ["numbered", "ring", "falling", "reused", "plain", "owned"];
    let list = names.map(|name| format!("\"shop.{name}\"")).join(", ");
    std::fs::write(scene.product.plan(), format!("{before}tables = [{list}]{after}"))?;
    let source = scene.on_source().await?;
    source.batch_execute(SCHEMA).await?;
    let mut serve = scene.product.serve("a", None)?;
    serve.ready().await?;
    scene.complete("start", LONG).await?;
    let target = scene.on_target().await?;

    ensure!(draw(&source, ("ring", "id"), 2).await? == [1028, 1029]);
    ensure!(draw(&source, ("falling", "id"), 2).await? == [-35, -38]);
    ensure!(draw(&source, ("reused", "slot"), 3).await? == [1, 2, 3]);
    let (mut numbered, mut plain, mut owned) = (9_999_907, 0, 0);
    follows(&source, "numbered", &mut numbered, 100).await?;
    follows(&source, "plain", &mut plain, 1).await?;
    follows(&source, "owned", &mut owned, 256).await?;
    // A row that was written past the sequence, by hand.
    source.batch_execute("insert into shop.plain values (5000, 'by hand')").await?;
    scene.complete("cutover", LONG).await?;

    // One that cycles goes on where it was, past its end.
    ensure!(draw(&target, ("ring", "id"), 4).await? == [1030, 10, 11, 12]);
    ensure!(draw(&target, ("falling", "id"), 3).await? == [-1, -4, -7]);
    ensure!(draw(&target, ("reused", "slot"), 6).await? == [4, 1, 2, 3, 4, 1]);
    // Behind an expression, a thousand values are left free, whatever the column holds.
    follows(&target, "numbered", &mut numbered, 110_000).await?;
    follows(&target, "owned", &mut owned, 300_000).await?;
    let next = draw(&target, ("plain", "id"), 1).await?;
    ensure!(
        next.iter().all(|next| (5001..=6001).contains(next)),
        "{next:?} after the row that was written by hand"
    );
    scene.complete("failback", LONG).await?;

    // The values that it gave last are greater than where it stands now.
    ensure!(draw(&source, ("ring", "id"), 2).await? == [13, 14]);
    ensure!(draw(&source, ("falling", "id"), 2).await? == [-10, -13]);
    ensure!(draw(&source, ("reused", "slot"), 1).await? == [2]);
    follows(&source, "numbered", &mut numbered, 110_000).await?;
    follows(&source, "owned", &mut owned, 300_000).await?;
    scene.complete("cutover", LONG).await?;

    ensure!(draw(&target, ("ring", "id"), 2).await? == [15, 16]);
    ensure!(draw(&target, ("falling", "id"), 1).await? == [-16]);
    ensure!(draw(&target, ("reused", "slot"), 2).await? == [3, 4]);
    follows(&target, "numbered", &mut numbered, 110_000).await?;
    follows(&target, "owned", &mut owned, 300_000).await?;
    scene.product.journal().await?.check()?;
    serve.end().await
}
