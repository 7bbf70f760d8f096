//! The whole executor against real clusters and a real journal: the life of one phase while an application writes.
#![expect(
    clippy::print_stdout,
    reason = "a failure shows the journal's last events, a success its durations"
)]
#![expect(clippy::unwrap_used, reason = "the one name is a constant")]
#![expect(clippy::indexing_slicing, reason = "a request or phase that is not in the state fails the test")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use executors::Settings;
use executors::postgres::database::Database;
use journal::{
    Actor, Command, CommandBody, CommandId, Fact, Holder, Operation, Outcome, PersonId, PhaseName, Plan,
    Position, Recorded, RequestOptions, RequestStatus, Side,
};
use journal_store::{SqliteStore, Store};
use product::cluster::{Cluster, Role};
use product::compare::compare;
use product::pgbouncer::Pgbouncer;
use product::shop::{Size, build, table_list};
use product::wait::{Seen, wait_until};
use product::workload::{Pace, Workload};
use runtime::{Clock, Scrubber, Secret, SystemClock, Tasks};

const PHASE: &str = "region-a";

struct Stage {
    source: Cluster,
    target: Cluster,
    pgbouncer: Pgbouncer,
    plan: Arc<Plan>,
    store: Arc<dyn Store>,
    _dir: tempfile::TempDir,
}

struct Running {
    tasks: Tasks,
    executor: tokio::task::JoinHandle<anyhow::Result<()>>,
}

fn phase() -> PhaseName {
    PHASE.parse().unwrap()
}

/// A team's own lever: the application's pgbouncer, by a shell script. Every word may be said twice.
fn lever_script(pgbouncer: &Pgbouncer, source: &Cluster, target: &Cluster) -> String {
    format!(
        r#"set -eu
console() {{ psql -X -q -A -t -F ' ' '{admin}' -c "$1"; }}
entry() {{ console 'show databases' | awk '$1 == "shop"'; }}
paused() {{ entry | awk '{{ exit !($(NF - 1) == "1") }}'; }}
side() {{ case "$(entry | awk '{{ print $3 }}')" in {source}) echo source ;; {target}) echo target ;; *) echo unknown ;; esac; }}
case "$1" in
  stop) paused || console 'pause shop' ;;
  resume) ! paused || console 'resume shop' ;;
  observe) if paused; then echo "held $(side)"; else side; fi ;;
  route)
    case "$2" in source) port={source} ;; target) port={target} ;; *) exit 2 ;; esac
    sed -i "s/^shop = .*/shop = host=127.0.0.1 port=$port dbname=shop/" '{ini}'
    chmod a+r '{ini}'
    console reload
    for try in $(seq 50); do test "$(side)" = "$2" && exit 0; sleep 0.05; done
    exit 1 ;;
  *) exit 2 ;;
esac
"#,
        admin = pgbouncer.admin_url(),
        source = source.port(),
        target = target.port(),
        ini = pgbouncer.ini().display(),
    )
}

impl Stage {
    async fn set(max_downtime: &str) -> Result<Self> {
        let (source, target) = tokio::try_join!(Cluster::start("source"), Cluster::start("target"))?;
        build(&source.connect(Role::Mover).await?, Size::SMALL).await.context("building the shop")?;
        let pgbouncer = Pgbouncer::start(&source).await?;
        let dir = tempfile::tempdir()?;
        let script = dir.path().join("lever.sh");
        std::fs::write(&script, lever_script(&pgbouncer, &source, &target))?;
        let call = |word: &str| format!("[\"bash\", \"{}\", \"{word}\"]", script.display());
        let text = format!(
            "[migration]\nname = \"shop\"\nsource = \"env:SHOP_SOURCE\"\ntarget = \"env:SHOP_TARGET\"\n\
             [journal]\nurl = \"sqlite:{journal}\"\nlease = \"2s\"\n\
             [[person]]\nid = \"anna\"\nroles = [\"operator\", \"approver\"]\n\
             [[person]]\nid = \"ben\"\nroles = [\"approver\"]\n\
             [load]\nlanes = 2\nchunk_bytes = 32768\n\
             [[phase]]\nname = \"{PHASE}\"\ntables = [{tables}]\nmax_downtime = \"{max_downtime}\"\n\
             lag_limit = \"5s\"\n\
             [phase.lever]\nkind = \"command\"\nstop = {stop}\nobserve = {observe}\nroute = {route}\n\
             resume = {resume}\ntimeout = \"10s\"\n",
            journal = dir.path().join("journal.db").display(),
            tables = table_list(),
            stop = call("stop"),
            observe = call("observe"),
            route = call("route"),
            resume = call("resume"),
        );
        let plan = Arc::new(Plan::parse(&text)?);
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let store: Arc<dyn Store> =
            Arc::new(SqliteStore::open(&plan.journal.place.to_string(), &plan.migration, clock).await?);
        let stage = Self { source, target, pgbouncer, plan, store, _dir: dir };
        stage.say(Actor::Operator, CommandBody::AdoptPlan { text, authors: Vec::new() }).await?;
        Ok(stage)
    }

    fn run(&self, holder: &str) -> Result<Running> {
        let scrubber = Scrubber::default();
        let database = |side, cluster: &Cluster| {
            Database::new(
                side,
                self.plan.migration.clone(),
                &Secret::new(cluster.url(Role::Mover)),
                &scrubber,
            )
        };
        let tasks = Tasks::default();
        let settings = Settings {
            store: Arc::clone(&self.store),
            plan: Arc::clone(&self.plan),
            source: database(Side::Source, &self.source)?,
            target: database(Side::Target, &self.target)?,
            holder: Holder::new(holder)?,
            clock: Arc::new(SystemClock),
            tasks: tasks.clone(),
            scrubber,
            people_files: self._dir.path().to_owned(),
            folder: self._dir.path().to_owned(),
        };
        Ok(Running { tasks, executor: tokio::spawn(executors::run(settings)) })
    }

    async fn say(&self, actor: Actor, body: CommandBody) -> Result<Position> {
        let id = CommandId::new(uuid::Uuid::now_v7().to_string())?;
        let events = self.store.execute(id, None, Command::new(actor, body)).await?;
        Ok(events.last().context("no event")?.envelope.position)
    }

    async fn ask(&self, operation: Operation) -> Result<Position> {
        let person = |id: &str| PersonId::new(id).map(Actor::Person);
        let body = CommandBody::Request { phase: phase(), operation, options: RequestOptions::default() };
        let request = self.say(person("anna")?, body).await?;
        if operation.default_approvals() > 0 {
            for who in ["anna", "ben"] {
                self.say(person(who)?, CommandBody::Approve { request, reason: None }).await?;
            }
        }
        Ok(request)
    }

    async fn over(&self, request: Position, within: Duration) -> Result<Outcome> {
        let what = format!("request #{request} to end");
        let ended = wait_until(within, &what, async || {
            let state = self.store.state().await?;
            if let RequestStatus::Finished(outcome) = &state.requests[&request].status {
                return Ok(Seen::Done(*outcome));
            }
            let run = state.operation(&phase());
            if let Some(finding) = run.and_then(|run| run.blocked.clone()) {
                bail!("blocked: {finding}");
            }
            let reported = self.store.reported().await?;
            let doing = reported.get(&phase()).and_then(|report| report.progress.doing.clone());
            Ok(Seen::NotYet(format!("at {:?}: {doing:?}", run.map(|run| run.step))))
        });
        let ended = ended.await;
        if ended.is_err() {
            for event in self.events().await?.iter().rev().take(12).rev() {
                let text = serde_json::to_string(&event.body)?;
                println!("{} {}", event.envelope.position, text.chars().take(600).collect::<String>());
            }
        }
        ended
    }

    async fn complete(&self, operation: Operation) -> Result<Position> {
        let began = Instant::now();
        let request = self.ask(operation).await?;
        let outcome =
            self.over(request, Duration::from_secs(90)).await.with_context(|| operation.to_string())?;
        ensure!(outcome == Outcome::Completed, "{operation} ended {outcome:?}");
        println!("{operation}: {:?}", began.elapsed());
        Ok(request)
    }

    async fn events(&self) -> Result<Vec<Recorded>> {
        let stored = self.store.stored(Position::default(), 100_000).await?;
        stored.into_iter().map(|(_, bytes)| Ok(Recorded::from_bytes(&bytes)?)).collect()
    }

    async fn until(&self, what: &str, seen: impl Fn(&Fact) -> bool) -> Result<()> {
        wait_until(Duration::from_secs(40), what, async || {
            let events = self.events().await?;
            let last = events.last().map(|event| event.body.kind());
            let there = events.iter().any(|event| seen(&event.body));
            Ok(if there { Seen::Done(()) } else { Seen::NotYet(format!("last event {last:?}")) })
        })
        .await
    }

    /// Rests the application, lets the applying stream come level, and compares all of it.
    async fn sound(&self, workload: &Workload, writer: Side) -> Result<()> {
        workload.rest(Duration::from_secs(20)).await?;
        let (right, other) = match writer {
            Side::Source => (&self.source, &self.target),
            Side::Target => (&self.target, &self.source),
        };
        let (right, other) = (right.connect(Role::Mover).await?, other.connect(Role::Mover).await?);
        wait_until(Duration::from_secs(20), "both sides to be equal", async || {
            let seen = compare(&right, &other).await?;
            Ok(if seen.is_equal() { Seen::Done(()) } else { Seen::NotYet(seen.summary()) })
        })
        .await?;
        self.kept(workload, writer).await?;
        workload.go_on();
        Ok(())
    }

    async fn kept(&self, workload: &Workload, writer: Side) -> Result<()> {
        let cluster = if writer == Side::Source { &self.source } else { &self.target };
        let verdict = workload.judge(&cluster.connect(Role::Mover).await?).await?;
        ensure!(verdict.lost.is_empty(), "lost: {:?}", verdict.lost);
        ensure!(verdict.extra.is_empty(), "extra: {:?}", verdict.extra);
        Ok(())
    }
}

impl Running {
    async fn stop(self) -> Result<()> {
        self.tasks.stop().await;
        tokio::time::timeout(Duration::from_secs(10), self.executor)
            .await
            .context("the executor does not stop")??
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_phase_is_moved_cut_over_failed_back_cut_over_and_completed_while_it_is_written() -> Result<()> {
    let stage = Stage::set("30s").await?;
    let workload = Workload::start(stage.pgbouncer.app_url(), Size::SMALL, Pace::GENTLE);
    let running = stage.run("one")?;
    stage.complete(Operation::Start).await?;
    stage.sound(&workload, Side::Source).await?;
    workload.acknowledged(20, Duration::from_secs(20)).await?;
    stage.complete(Operation::Cutover).await?;
    workload.acknowledged(20, Duration::from_secs(20)).await?;
    stage.sound(&workload, Side::Target).await?;
    stage.complete(Operation::Failback).await?;
    workload.acknowledged(20, Duration::from_secs(20)).await?;
    stage.sound(&workload, Side::Source).await?;
    stage.complete(Operation::Verify).await?;
    // Another process goes on with the same phase.
    running.stop().await?;
    let running = stage.run("two")?;
    stage.complete(Operation::Cutover).await?;
    workload.acknowledged(20, Duration::from_secs(20)).await?;
    stage.sound(&workload, Side::Target).await?;
    stage.complete(Operation::Complete).await?;
    workload.acknowledged(20, Duration::from_secs(20)).await?;
    workload.rest(Duration::from_secs(20)).await?;
    stage.kept(&workload, Side::Target).await?;
    running.stop().await?;

    let source = stage.source.connect(Role::App).await?;
    let refused = source.execute("insert into shop.notes (body, stamp) values ('late', 'late')", &[]).await;
    ensure!(refused.is_err(), "the source takes writes after complete");
    for cluster in [&stage.source, &stage.target] {
        let client = cluster.connect(Role::Mover).await?;
        let left = "select count(*) from pg_replication_slots";
        ensure!(client.query_one(left, &[]).await?.get::<_, i64>(0) == 0, "a slot is left behind");
        let left =
            "select (select count(*) from pg_publication) + (select count(*) from pg_replication_origin)";
        ensure!(client.query_one(left, &[]).await?.get::<_, i64>(0) == 0, "something is left behind");
    }
    let breaches = stage.events().await?.iter().any(|event| matches!(event.body, Fact::FenceBreached { .. }));
    ensure!(!breaches, "a breach was reported");
    workload.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cutover_whose_target_hangs_is_undone_in_time_and_the_next_one_succeeds() -> Result<()> {
    let stage = Stage::set("8s").await?;
    let workload = Workload::start(stage.pgbouncer.app_url(), Size::SMALL, Pace::GENTLE);
    let running = stage.run("one")?;
    stage.complete(Operation::Start).await?;
    let mut target = stage.target.connect(Role::Mover).await?;
    let request = stage.ask(Operation::Cutover).await?;
    stage
        .until("the stop", |fact| {
            matches!(fact, Fact::EffectIntended { spec: journal::Effect::HoldTraffic { .. }, .. })
        })
        .await?;
    // Neither the stream nor a comparison gets past this.
    let held = target.transaction().await?;
    held.batch_execute("lock table shop.events in access exclusive mode").await?;
    stage.until("the undo", |fact| matches!(fact, Fact::UndoStarted { .. })).await?;
    // The application is back on the source while the target still hangs.
    workload.acknowledged(20, Duration::from_secs(10)).await?;
    held.rollback().await?;
    let outcome = stage.over(request, Duration::from_secs(30)).await?;
    ensure!(outcome == Outcome::Undone, "{outcome:?}");
    stage.sound(&workload, Side::Source).await?;
    stage.complete(Operation::Cutover).await?;
    workload.acknowledged(20, Duration::from_secs(20)).await?;
    stage.sound(&workload, Side::Target).await?;
    running.stop().await?;
    workload.stop().await;
    Ok(())
}
