//! The latency of one append, beside a bare commit of one row of the same size by the same driver in the same database.

use std::str::FromStr as _;
use std::time::Instant;

use anyhow::Result;
use journal::CommandId;
use journal_store::{Claim, Store};
use product::cluster::{Cluster, Role};
use sqlx::postgres::PgConnectOptions;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Connection as _};

use crate::report::{Reach, Report, Times, median, millis};
use crate::work::{in_file, on_server, one_event};

const ROUNDS: u64 = 10;
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
    let (store, claim) = in_file(dir.path()).await?;
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
    let mut pairs = Pairs::default();
    for round in 0..ROUNDS {
        let mut commit = async |_: u64| -> Result<()> {
            sqlx::query("insert into row (bytes) values (?1)")
                .bind(vec![7_u8; ROW])
                .execute(&mut bare)
                .await?;
            Ok(())
        };
        pairs.reference(round, &mut commit).await?;
        pairs.ours(round, store.as_ref(), &claim).await?;
    }
    bare.close().await?;
    pairs.report(report, name);
    Ok(())
}

/// In PostgreSQL, where every commit reaches the disk.
pub(crate) async fn postgres(report: &mut Report) -> Result<()> {
    let name = "append postgres";
    if !report.wants(name) {
        return Ok(());
    }
    let cluster = Cluster::start_durable("journal").await?;
    let (store, claim) = on_server(&cluster).await?;
    let url = cluster.url(Role::Mover);
    let mut bare = url.parse::<PgConnectOptions>()?.disable_statement_logging().connect().await?;
    sqlx::query("create table row (id bigserial primary key, bytes bytea not null)")
        .execute(&mut bare)
        .await?;
    let mut pairs = Pairs::default();
    for round in 0..ROUNDS {
        let mut commit = async |_: u64| -> Result<()> {
            sqlx::query("insert into row (bytes) values ($1)")
                .bind(vec![7_u8; ROW])
                .execute(&mut bare)
                .await?;
            Ok(())
        };
        pairs.reference(round, &mut commit).await?;
        pairs.ours(round, store.as_ref(), &claim).await?;
    }
    bare.close().await?;
    pairs.report(report, name);
    Ok(())
}

/// Rounds of one and the other; each round gives a ratio of its own, so that a busy moment spoils one of them alone.
#[derive(Default)]
struct Pairs {
    all: [Times; 2],
    ratios: Vec<f64>,
    reference: Times,
}

impl Pairs {
    async fn reference(
        &mut self,
        _round: u64,
        commit: &mut impl AsyncFnMut(u64) -> Result<()>,
    ) -> Result<()> {
        self.reference = Times::default();
        for number in 0..COMMITS {
            let began = Instant::now();
            commit(number).await?;
            self.reference.push(began.elapsed());
            self.all[1].push(began.elapsed());
        }
        Ok(())
    }

    async fn ours(&mut self, round: u64, store: &dyn Store, claim: &Claim) -> Result<()> {
        let mut ours = Times::default();
        for number in 0..COMMITS {
            let number = round * COMMITS + number;
            let (id, command) = (CommandId::new(format!("c{number}"))?, one_event(number)?);
            let claim = Some(claim.clone());
            let began = Instant::now();
            store.execute(id, claim, command).await?;
            ours.push(began.elapsed());
            self.all[0].push(began.elapsed());
        }
        self.ratios.push(millis(ours.at(0.5)) / millis(self.reference.at(0.5)));
        Ok(())
    }

    fn report(self, report: &mut Report, name: &'static str) {
        let [ours, reference] = &self.all;
        let said = (ours.text(), format!("bare commit {}", reference.text()));
        report.found(name, said, median(self.ratios.clone()), REACH);
    }
}
