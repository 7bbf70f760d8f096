//! One or two clusters, each with the receiver of its effects.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use executors::postgres::database::Database;
use executors::postgres::receiver::DatabaseReceiver;
use executors::{Acted, Authority, Probe, Receiver};
use journal::{
    Effect, EffectSpec, Epoch, Evidence, Expectation, Finding, GateMode, MigrationName, PhaseName, PlanHash,
    Position, Side, Step, TableName,
};
use product::cluster::{Cluster, Role};
use runtime::{Scrubber, Secret};
use tokio_postgres::Client;

pub fn migration() -> MigrationName {
    MigrationName::new("move").unwrap()
}

pub fn phase() -> PhaseName {
    PhaseName::new("region-a").unwrap()
}

pub fn tables() -> Vec<TableName> {
    vec!["public.t".parse().unwrap()]
}

fn database(side: Side, url: &str) -> Database {
    Database::new(side, migration(), &Secret::new(url), &Scrubber::default()).unwrap()
}

/// One side, with the table `t`, and its receiver.
pub struct Fixture {
    pub cluster: Cluster,
    pub side: Side,
    pub receiver: DatabaseReceiver,
    other_url: String,
    position: AtomicU64,
}

impl Fixture {
    /// The source alone; the other side does not answer.
    pub async fn alone() -> Self {
        let cluster = Cluster::start("source").await.unwrap();
        Self::on(Side::Source, cluster, "postgres://nobody@127.0.0.1:1/none").await
    }

    pub async fn both() -> (Self, Self) {
        let (source, target) =
            futures::future::join(Cluster::start("source"), Cluster::start("target")).await;
        let (source, target) = (source.unwrap(), target.unwrap());
        let urls = (source.url(Role::Mover), target.url(Role::Mover));
        (Self::on(Side::Source, source, &urls.1).await, Self::on(Side::Target, target, &urls.0).await)
    }

    async fn on(side: Side, cluster: Cluster, other: &str) -> Self {
        let client = cluster.connect(Role::Mover).await.unwrap();
        client
            .batch_execute(
                "create table t (id bigint primary key, v text not null default 'x');
                 insert into t select n, 'row ' || n from generate_series(1, 10) n",
            )
            .await
            .unwrap();
        let url = cluster.url(Role::Mover);
        let receiver = DatabaseReceiver::new(database(side, &url), database(side.other(), other));
        Self { cluster, side, receiver, other_url: other.to_owned(), position: AtomicU64::new(10) }
    }

    pub fn database(&self) -> Database {
        database(self.side, &self.cluster.url(Role::Mover))
    }

    /// Another executor's receiver, with nothing in memory.
    pub fn another(&self) -> DatabaseReceiver {
        DatabaseReceiver::new(self.database(), database(self.side.other(), &self.other_url))
    }

    pub async fn mover(&self) -> Client {
        self.cluster.connect(Role::Mover).await.unwrap()
    }

    pub async fn app(&self) -> Client {
        self.cluster.connect(Role::App).await.unwrap()
    }

    /// A new effect under the next position.
    pub fn next(&self, effect: Effect) -> (EffectSpec, Authority) {
        let position = self.position.fetch_add(1, Ordering::SeqCst);
        (spec(position, effect), under(1, position))
    }

    /// Does an effect as the loop would.
    pub async fn done(&self, effect: Effect) -> Result<Evidence, Finding> {
        let (spec, under) = self.next(effect);
        self.finish(&spec, under).await
    }

    pub async fn finish(&self, spec: &EffectSpec, under: Authority) -> Result<Evidence, Finding> {
        finish(&self.receiver, spec, under).await
    }

    pub fn close(&self) -> Effect {
        Effect::CloseGate { side: self.side }
    }

    pub fn open(&self) -> Effect {
        Effect::OpenGate { side: self.side }
    }

    pub fn trial(&self, expect: Expectation) -> Effect {
        Effect::TrialWrite { side: self.side, tables: tables(), expect, moment: "now".to_owned() }
    }

    pub fn writers(&self, patience: Duration, terminate: bool) -> Effect {
        let patience_ms = u64::try_from(patience.as_millis()).unwrap();
        Effect::AwaitWriters { side: self.side, tables: tables(), patience_ms, terminate }
    }

    /// Our schema, the gate in this mode, and the fence.
    pub async fn prepare(&self, mode: GateMode) {
        self.done(Effect::InstallHome { side: self.side, mode }).await.unwrap();
        self.done(Effect::InstallFence { side: self.side, tables: tables() }).await.unwrap();
    }

    /// The gate's mode, and whether a write meets it.
    pub async fn gate(&self) -> String {
        let client = self.mover().await;
        client.query_one("select mode from _switchyard.gate", &[]).await.unwrap().get(0)
    }

    pub async fn count(&self) -> i64 {
        self.mover().await.query_one("select count(*) from t", &[]).await.unwrap().get(0)
    }
}

pub fn spec(operation: u64, effect: Effect) -> EffectSpec {
    let operation = Position::new(operation);
    EffectSpec::new(PlanHash::of(b"plan"), &phase(), operation, Step::SwitchTraffic, effect)
}

pub fn under(epoch: u64, position: u64) -> Authority {
    Authority { epoch: Epoch::new(epoch), position: Position::new(position) }
}

/// Does an effect as the loop would.
pub async fn finish(
    receiver: &dyn Receiver,
    spec: &EffectSpec,
    under: Authority,
) -> Result<Evidence, Finding> {
    let until = Instant::now() + Duration::from_secs(40);
    let mut last = String::new();
    while Instant::now() < until {
        match receiver.probe(spec, under).await {
            Probe::Ours(evidence) => return Ok(evidence),
            Probe::Differs(finding) => return Err(finding),
            Probe::Absent => match receiver.act(spec, under).await {
                Acted::Done(_) => {}
                Acted::Definite(error) => {
                    let (code, remedy) = ("definite".to_owned(), String::new());
                    return Err(Finding { code, what: error.to_string(), remedy });
                }
                Acted::Unknown(error) => last = error.to_string(),
            },
            Probe::Foreign(owner) => {
                return Err(Finding { code: "foreign".to_owned(), what: owner.0, remedy: String::new() });
            }
            Probe::Unreachable(cause) => last = cause.to_string(),
        }
    }
    panic!("{} was never done: {last}", spec.effect.label());
}

/// A statement's SQLSTATE, or none if it passed.
pub async fn refused(client: &Client, sql: &str) -> Option<String> {
    client
        .batch_execute(sql)
        .await
        .err()
        .map(|error| error.code().map_or_else(|| error.to_string(), |code| code.code().to_owned()))
}

/// Waits for a condition.
pub async fn wait<F: Future<Output = bool>>(what: &str, mut condition: impl FnMut() -> F) {
    let until = Instant::now() + Duration::from_secs(30);
    while !condition().await {
        assert!(Instant::now() < until, "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
