//! What the journal is given to do.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use journal::{
    Actor, Command, CommandBody, CommandId, Direction, Effect, EffectOutcome, Evidence, Fact, GateMode,
    Holder, Lsn, MigrationName, Operation, PersonId, PhaseName, RequestOptions, Side, Step, StreamHealth,
    StreamMode, StreamName,
};
use journal_store::{Claim, PostgresStore, SqliteStore, Store};
use product::cluster::{Cluster, Role};
use runtime::{Secret, SystemClock};

/// A plan with one phase.
pub(crate) const PLAN: &str = r#"
[migration]
name = "shop"
source = "env:SOURCE"
target = "env:TARGET"
[journal]
url = "sqlite:shop.db"
[[person]]
id = "ana"
roles = ["operator", "approver"]
[[person]]
id = "ben"
roles = ["approver"]
[[phase]]
name = "region-a"
tables = ["shop.orders"]
lever = { kind = "command", stop = ["true"], observe = ["true"], route = ["true"], resume = ["true"] }
"#;

pub(crate) fn migration() -> Result<MigrationName> {
    "shop".parse().context("a migration's name")
}

pub(crate) fn phase() -> Result<PhaseName> {
    PhaseName::new("region-a").context("a phase's name")
}

pub(crate) fn holder() -> Result<Holder> {
    Holder::new("host/main").context("a holder's name")
}

/// A journal whose phase is being loaded, and an executor's claim on it.
pub(crate) async fn begun(store: &dyn Store) -> Result<Claim> {
    let adopt = CommandBody::AdoptPlan { text: PLAN.to_owned(), authors: Vec::new() };
    store.execute(CommandId::new("plan")?, None, Command::new(Actor::Operator, adopt)).await?;
    let term = Duration::from_secs(3600);
    let lease = store.claim(&phase()?, &holder()?, term).await?.context("the lease is free")?;
    let claim = lease.claim();
    let (operation, options) = (Operation::Start, RequestOptions::default());
    let asked = Command::new(
        Actor::Person(PersonId::new("ana")?),
        CommandBody::Request { phase: phase()?, operation, options },
    );
    let made = store.execute(CommandId::new("ask")?, None, asked).await?;
    let request = made.first().context("a request")?.envelope.position;
    let mut number = 0;
    let mut give = async |body: CommandBody| {
        number += 1;
        let id = CommandId::new(format!("begin.{number}"))?;
        store.execute(id, Some(claim.clone()), by_executor(body)?).await.context("beginning")
    };
    give(CommandBody::Begin { phase: phase()?, request }).await?;
    let home = |side, mode| Effect::InstallHome { side, mode };
    let stream = StreamName { phase: phase()?, direction: Direction::Forward };
    let word = || "x".to_owned();
    let steps = [
        (Step::Preflight, Effect::Preflight { tables: vec!["shop.orders".parse()?] }),
        (Step::PrepareSource, home(Side::Source, GateMode::Open)),
        (Step::PrepareTarget, home(Side::Target, GateMode::Closed)),
        (
            Step::Load,
            Effect::StartStream {
                stream,
                mode: StreamMode::Apply,
                slot: word(),
                publication: word(),
                origin: word(),
                from: Lsn::new(1),
            },
        ),
    ];
    for (step, effect) in steps {
        let made = give(CommandBody::Intend { phase: phase()?, step, effect, undo: Vec::new() }).await?;
        let Some(Fact::EffectIntended { effect, .. }) = made.first().map(|event| &event.body) else {
            bail!("no intent was made");
        };
        let outcome = EffectOutcome::Succeeded { adopted: false, evidence: Evidence::new() };
        give(CommandBody::Conclude { phase: phase()?, effect: *effect, outcome }).await?;
        give(CommandBody::FinishStep { phase: phase()?, step }).await?;
    }
    Ok(claim)
}

fn by_executor(body: CommandBody) -> Result<Command> {
    Ok(Command::new(Actor::Executor(holder()?), body))
}

/// What an executor may always ask, and makes one event whatever came before: a stream is broken in a way of its own.
pub(crate) fn one_event(number: u64) -> Result<Command> {
    let (direction, mode) = (Direction::Forward, StreamMode::Apply);
    let health = StreamHealth::Broken { error: format!("the server closed the connection, {number}") };
    by_executor(CommandBody::ReportStream { phase: phase()?, direction, mode, health, seen: Evidence::new() })
}

/// A journal in a database of a server.
pub(crate) async fn on_server(cluster: &Cluster) -> Result<(Arc<dyn Store>, Claim)> {
    let url = Secret::new(cluster.url(Role::Mover));
    let store: Arc<dyn Store> =
        Arc::new(PostgresStore::open(&url, &migration()?, Arc::new(SystemClock)).await?);
    let claim = begun(store.as_ref()).await?;
    Ok((store, claim))
}

/// A journal in a new SQLite file of a folder.
pub(crate) async fn in_file(folder: &Path) -> Result<(Arc<dyn Store>, Claim)> {
    let url = format!("sqlite:{}", folder.join("journal.db").display());
    let store: Arc<dyn Store> =
        Arc::new(SqliteStore::open(&url, &migration()?, Arc::new(SystemClock)).await?);
    let claim = begun(store.as_ref()).await?;
    Ok((store, claim))
}
