//! Appends of many callers at once: how many events a second.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use futures::future::try_join_all;
use journal::CommandId;
use journal_store::{Claim, Store};
use product::cluster::{Cluster, Role};
use product::process::find_program;

use crate::report::{Reach, Report, median};
use crate::work::{in_file, on_server, one_event};

const CALLERS: u64 = 16;
const ROUNDS: u64 = 3;
const SECONDS: u64 = 3;
const EVENTS: u64 = 10_000;

/// Sixteen callers that each append one event after the other, beside sixteen clients of pgbench that each commit one
/// row after the other.
pub(crate) async fn callers(report: &mut Report) -> Result<()> {
    let name = "callers postgres";
    if !report.wants(name) {
        return Ok(());
    }
    let cluster = Cluster::start_durable("journal").await?;
    let (store, claim) = on_server(&cluster).await?;
    let client = cluster.connect(Role::Mover).await?;
    client.batch_execute("create table row (id bigserial primary key, bytes bytea not null)").await?;
    let dir = tempfile::tempdir()?;
    let script = dir.path().join("commit.sql");
    std::fs::write(
        &script,
        format!("insert into row (bytes) values (decode(repeat('07', {}), 'hex'));\n", 420),
    )?;
    let (mut rates, mut bare, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let reference = pgbench(&cluster, &script).await?;
        let ours = rate(&store, &claim, round).await?;
        rates.push(ours);
        bare.push(reference);
        ratios.push(ours / reference);
    }
    let said = (
        format!("{:.0} events/s", median(rates)),
        format!("{CALLERS} pgbench clients {:.0} commits/s", median(bare)),
    );
    report.found(name, said, median(ratios), Reach::AtLeast(0.9));
    Ok(())
}

async fn rate(store: &Arc<dyn Store>, claim: &Claim, round: u64) -> Result<f64> {
    let began = Instant::now();
    let until = began + Duration::from_secs(SECONDS);
    let callers = (0..CALLERS).map(|caller| {
        let (store, claim) = (Arc::clone(store), claim.clone());
        tokio::spawn(async move {
            let mut done: u64 = 0;
            while Instant::now() < until {
                let id = CommandId::new(format!("r{round}.{caller}.{done}"))?;
                let command = one_event((round * CALLERS + caller) << 32 | done)?;
                store.execute(id, Some(claim.clone()), command).await?;
                done += 1;
            }
            anyhow::Ok(done)
        })
    });
    let mut done = 0;
    for caller in try_join_all(callers).await? {
        done += caller?;
    }
    Ok(per_second(done, began.elapsed()))
}

async fn pgbench(cluster: &Cluster, script: &std::path::Path) -> Result<f64> {
    let mut command = tokio::process::Command::new(find_program("pgbench")?);
    command.args(["-n", "-M", "prepared", "-c", &CALLERS.to_string(), "-j", "2", "-T", &SECONDS.to_string()]);
    command.arg("-f").arg(script).arg(cluster.url(Role::Mover));
    let output = command.output().await?;
    let said = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "pgbench: {said}{}", String::from_utf8_lossy(&output.stderr));
    let rate = said.lines().find_map(|line| line.strip_prefix("tps = ")?.split(' ').next());
    rate.context("pgbench gave no rate")?.parse().context("pgbench's rate")
}

fn per_second(count: u64, time: Duration) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    let count = count as f64;
    count / time.as_secs_f64()
}

/// Ten thousand events, handed over at once.
async fn all_at_once(store: Arc<dyn Store>, claim: Claim, round: u64) -> Result<f64> {
    let commands = (0..EVENTS)
        .map(|number| {
            Ok((CommandId::new(format!("b{round}.{number}"))?, one_event(round * EVENTS + number)?))
        })
        .collect::<Result<Vec<_>>>()?;
    let before = store.state().await?.head.get();
    let began = Instant::now();
    try_join_all(commands.into_iter().map(|(id, command)| store.execute(id, Some(claim.clone()), command)))
        .await?;
    let took = began.elapsed();
    ensure!(store.state().await?.head.get() == before + EVENTS, "not every event is there");
    Ok(per_second(EVENTS, took))
}

async fn batches(
    report: &mut Report,
    name: &'static str,
    store: &Arc<dyn Store>,
    claim: &Claim,
) -> Result<()> {
    let mut rates = Vec::new();
    for round in 0..5 {
        rates.push(tokio::spawn(all_at_once(Arc::clone(store), claim.clone(), round)).await??);
    }
    let rate = median(rates);
    report.found(
        name,
        (format!("{rate:.0} events/s"), format!("{EVENTS} events handed over at once")),
        rate,
        Reach::AtLeast(30_000.0),
    );
    Ok(())
}

/// Into a SQLite file.
pub(crate) async fn sqlite(report: &mut Report) -> Result<()> {
    let name = "batches sqlite";
    if !report.wants(name) {
        return Ok(());
    }
    let dir = tempfile::tempdir()?;
    let (store, claim) = in_file(dir.path()).await?;
    batches(report, name, &store, &claim).await
}

/// Into PostgreSQL.
pub(crate) async fn postgres(report: &mut Report) -> Result<()> {
    let name = "batches postgres";
    if !report.wants(name) {
        return Ok(());
    }
    let cluster = Cluster::start_durable("journal").await?;
    let (store, claim) = on_server(&cluster).await?;
    batches(report, name, &store, &claim).await
}
