//! The latency of one append, beside a bare commit of one row of the same size by the same driver in the same database.
//! Both are asked for by a task of the runtime, as in the product: the main thread would have to be woken for each answer.

use std::str::FromStr as _;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Result;
use journal::CommandId;
use journal_store::{Claim, Store};
use product::cluster::{Cluster, Role};
use sqlx::postgres::PgConnectOptions;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Connection as _, PgConnection, SqliteConnection};

use crate::report::{Reach, Report, Times, median, millis};
use crate::work::{in_file, on_server, one_event};

const ROUNDS: u64 = 20;
const COMMITS: u64 = 200;
/// As large as the events that are appended.
const ROW: usize = 420;
const REACH: Reach = Reach::AtMost(1.5);

/// In a SQLite file with `synchronous = FULL`.
pub(crate) async fn sqlite(report: &mut Report) -> Result<()> {
    let name = "append sqlite";
    if !report.wants(name) {
        return Ok(());
    }
    let dir = tempfile::tempdir()?;
    let options =
        SqliteConnectOptions::from_str(&format!("sqlite:{}", dir.path().join("bare.db").display()))?;
    let mut bare = options
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .disable_statement_logging()
        .connect()
        .await?;
    sqlx::query("create table row (id integer primary key, bytes blob not null) strict")
        .execute(&mut bare)
        .await?;
    compare(report, name, Bare::Sqlite(bare), in_file(dir.path()).await?).await
}

/// In PostgreSQL, where every commit reaches the disk.
pub(crate) async fn postgres(report: &mut Report) -> Result<()> {
    let name = "append postgres";
    if !report.wants(name) {
        return Ok(());
    }
    let cluster = Cluster::start_durable("journal").await?;
    let url = cluster.url(Role::Mover);
    let mut bare = url.parse::<PgConnectOptions>()?.disable_statement_logging().connect().await?;
    sqlx::query("create table row (id bigserial primary key, bytes bytea not null)")
        .execute(&mut bare)
        .await?;
    compare(report, name, Bare::Postgres(bare), on_server(&cluster).await?).await
}

/// What an append is compared with.
enum Bare {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
}

impl Bare {
    async fn commit(&mut self) -> Result<()> {
        let row = vec![7_u8; ROW];
        match self {
            Self::Sqlite(connection) => {
                sqlx::query("insert into row (bytes) values (?1)").bind(row).execute(connection).await?;
            }
            Self::Postgres(connection) => {
                sqlx::query("insert into row (bytes) values ($1)").bind(row).execute(connection).await?;
            }
        }
        Ok(())
    }

    async fn round(mut self) -> Result<(Self, Times)> {
        let mut times = Times::default();
        for _ in 0..COMMITS {
            let began = Instant::now();
            self.commit().await?;
            times.push(began.elapsed());
        }
        Ok((self, times))
    }

    async fn close(self) -> Result<()> {
        match self {
            Self::Sqlite(connection) => connection.close().await?,
            Self::Postgres(connection) => connection.close().await?,
        }
        Ok(())
    }
}

async fn ours(store: Arc<dyn Store>, claim: Claim, round: u64) -> Result<Times> {
    let mut times = Times::default();
    for number in round * COMMITS..(round + 1) * COMMITS {
        let (id, command) = (CommandId::new(format!("c{number}"))?, one_event(number)?);
        let claim = Some(claim.clone());
        let began = Instant::now();
        store.execute(id, claim, command).await?;
        times.push(began.elapsed());
    }
    Ok(times)
}

/// Rounds of one and the other; each round gives a ratio of its own, so that a busy moment spoils one of them alone.
async fn compare(
    report: &mut Report,
    name: &'static str,
    mut bare: Bare,
    (store, claim): (Arc<dyn Store>, Claim),
) -> Result<()> {
    let (mut all_ours, mut all_reference) = (Times::default(), Times::default());
    let mut ratios = Vec::new();
    for round in 0..ROUNDS {
        let (again, reference) = tokio::spawn(bare.round()).await??;
        bare = again;
        let ours = tokio::spawn(ours(Arc::clone(&store), claim.clone(), round)).await??;
        ratios.push(millis(ours.at(0.5)) / millis(reference.at(0.5)));
        all_ours.extend(ours);
        all_reference.extend(reference);
    }
    bare.close().await?;
    let said = (all_ours.text(), format!("bare commit {}", all_reference.text()));
    report.found(name, said, median(ratios), REACH);
    Ok(())
}
