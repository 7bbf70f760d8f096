//! What is made and dropped beside a phase that is live: the application's open transaction on it is waited for, and its
//! other writers do not wait with us.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use product::cluster::Role;
use product::scene::{Scene, Setting};
use product::wait::{Seen, wait_until};
use tokio::task::JoinHandle;
use tokio_postgres::Client;

const LONG: Duration = Duration::from_secs(120);

/// How long the application leaves a transaction open.
const OPEN: Duration = Duration::from_secs(8);

/// The longest that one of its other writes may take.
const STILL: Duration = Duration::from_millis(1500);

/// An application that writes to a live phase every 20 ms, each time in a transaction of its own.
struct Writer {
    stop: Arc<AtomicBool>,
    /// The longest write so far, in milliseconds.
    longest: Arc<AtomicU64>,
    task: JoinHandle<Result<u64>>,
}

impl Writer {
    fn start(client: Client) -> Self {
        let (stop, longest) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, slowest) = (Arc::clone(&stop), Arc::clone(&longest));
        let task = tokio::spawn(async move {
            let mut writes = 0;
            while !stopped.load(Ordering::SeqCst) {
                let began = Instant::now();
                client.batch_execute("update shop.customers set stamp = stamp where id = 2").await?;
                slowest.fetch_max(u64::try_from(began.elapsed().as_millis())?, Ordering::SeqCst);
                writes += 1;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Ok(writes)
        });
        Self { stop, longest, task }
    }

    /// The longest write since it was last asked.
    fn longest(&self) -> Duration {
        Duration::from_millis(self.longest.swap(0, Ordering::SeqCst))
    }

    async fn finish(self) -> Result<()> {
        self.stop.store(true, Ordering::SeqCst);
        let writes = self.task.await??;
        ensure!(writes > 100, "the application wrote only {writes} times");
        Ok(())
    }
}

/// A transaction of the application that has written to a live table, open for a while.
async fn open_for(scene: &Scene, table: &str, time: Duration) -> Result<JoinHandle<Result<()>>> {
    let client = scene.target.connect(Role::App).await?;
    let write = format!("update {table} set stamp = stamp where id = 1");
    client.batch_execute(&format!("set application_name = 'nightly report'; begin; {write}")).await?;
    Ok(tokio::spawn(async move {
        tokio::time::sleep(time).await;
        client.batch_execute("commit").await?;
        Ok(())
    }))
}

async fn ask(scene: &Scene, operation: &str) -> Result<u64> {
    scene.say("anna", &format!("/migrate letters {operation}")).await?;
    let request = scene.product.journal().await?.request(operation).context("no request")?;
    if operation != "start" {
        for person in ["ben", "chris"] {
            scene.approve(person, request).await?;
        }
    }
    Ok(request)
}

/// The shop's phase on the target, and a phase to come whose only table refers to two of it.
async fn one_live_and_one_to_come() -> Result<(Scene, product::switchyard::Serve)> {
    let scene = Scene::set(Setting::default()).await?;
    scene
        .on_source()
        .await?
        .batch_execute(
            "create table shop.letters (id bigint primary key, customer_id bigint references shop.customers,
               product_id bigint references shop.products, line text);
             insert into shop.letters select n, n, 1, 'line' from generate_series(1, 100) n",
        )
        .await?;
    scene.add_phase("letters", "tables = [\"shop.letters\"]\nafter = [\"region-a\"]")?;
    let mut serve = scene.product.serve("a", None)?;
    serve.ready().await?;
    scene.complete("start", LONG).await?;
    scene.complete("cutover", LONG).await?;
    Ok((scene, serve))
}

async fn foreign_keys(scene: &Scene) -> Result<i64> {
    let sql =
        "select count(*) from pg_constraint where contype = 'f' and conrelid = to_regclass('shop.letters')";
    Ok(scene.on_target().await?.query_one(sql, &[]).await?.get(0))
}

#[tokio::test]
async fn a_phase_that_begins_and_ends_beside_a_live_one_does_not_hold_up_its_application() -> Result<()> {
    let (scene, serve) = one_live_and_one_to_come().await?;
    let writer = Writer::start(scene.target.connect(Role::App).await?);
    for operation in ["start", "retire"] {
        let open = open_for(&scene, "shop.customers", OPEN).await?;
        let began = Instant::now();
        let request = ask(&scene, operation).await?;
        let outcome = scene.over(request, LONG).await?;
        let (took, longest) = (began.elapsed(), writer.longest());
        ensure!(outcome == "completed", "{operation} ended as {outcome}");
        ensure!(
            took >= OPEN - Duration::from_secs(1),
            "{operation} did not meet the open transaction: {took:?}"
        );
        ensure!(longest < STILL, "a write stood still for {longest:?} beside {operation}");
        open.await??;
        let expected = if operation == "start" { 2 } else { 0 };
        ensure!(
            foreign_keys(&scene).await? == expected,
            "after {operation} the foreign keys are not as they should be"
        );
    }
    let left =
        scene.on_target().await?.query_one("select to_regclass('shop.letters') is not null", &[]).await?;
    ensure!(!left.get::<_, bool>(0), "the retired phase's table was left");
    writer.finish().await?;
    serve.end().await
}

#[tokio::test]
async fn a_start_that_is_undone_beside_a_live_phase_does_not_hold_up_its_application() -> Result<()> {
    let (scene, serve) = one_live_and_one_to_come().await?;
    let writer = Writer::start(scene.target.connect(Role::App).await?);
    let never_ending = open_for(&scene, "shop.products", LONG * 5).await?;
    let request = ask(&scene, "start").await?;
    wait_until(LONG, "the first of two foreign keys", async || {
        let made = foreign_keys(&scene).await?;
        Ok(if made == 1 { Seen::Done(()) } else { Seen::NotYet(format!("{made} foreign keys")) })
    })
    .await?;
    let open = open_for(&scene, "shop.customers", OPEN).await?;
    let began = Instant::now();
    scene.say("anna", "/migrate letters abort --reason \"not tonight\"").await?;
    let outcome = scene.over(request, LONG).await?;
    let (took, longest) = (began.elapsed(), writer.longest());
    ensure!(outcome == "undone", "it ended as {outcome}");
    ensure!(took >= OPEN - Duration::from_secs(1), "it did not meet the open transaction: {took:?}");
    ensure!(longest < STILL, "a write stood still for {longest:?}");
    open.await??;
    never_ending.abort();
    writer.finish().await?;
    serve.end().await
}

#[tokio::test]
async fn who_keeps_a_lock_for_longer_is_named_and_the_step_goes_on_once_he_is_gone() -> Result<()> {
    let (scene, serve) = one_live_and_one_to_come().await?;
    let writer = Writer::start(scene.target.connect(Role::App).await?);
    let open = open_for(&scene, "shop.customers", Duration::from_secs(600)).await?;
    let request = ask(&scene, "start").await?;
    wait_until(LONG, "the open transaction to be named", async || {
        let status = scene.product.status().await?;
        let phases = status.get("phases").and_then(serde_json::Value::as_array).cloned().unwrap_or_default();
        let phase = phases.into_iter().find(|phase| phase.get("name").is_some_and(|name| name == "letters"));
        let blocked = phase.as_ref().and_then(|phase| phase.get("blocked")).unwrap_or_default().to_string();
        let is_told = ["shop.customers", "pid ", "user app", "application nightly report", "open for"]
            .iter()
            .all(|word| blocked.contains(word));
        Ok(if is_told { Seen::Done(()) } else { Seen::NotYet(format!("{phase:?}")) })
    })
    .await?;
    // Its session ends, and with it the transaction.
    open.abort();
    scene.say("anna", "/migrate letters retry").await?;
    ensure!(scene.over(request, LONG).await? == "completed", "the start did not go on");
    ensure!(foreign_keys(&scene).await? == 2, "a foreign key is missing");
    let longest = writer.longest();
    ensure!(longest < STILL, "a write stood still for {longest:?}");
    writer.finish().await?;
    serve.end().await
}
