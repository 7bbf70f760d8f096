//! Everything a scenario needs: two clusters, the shop, a pgbouncer, the product with its plan, and its people.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use tokio_postgres::Client;

use crate::cluster::{Cluster, Role};
use crate::compare::{Comparison, compare, compare_schema};
use crate::events::Journal;
use crate::link::Link;
use crate::pgbouncer::{Pgbouncer, connect_string};
use crate::process::find_program;
use crate::shop::{Size, build, table_list};
use crate::switchyard::{Answer, Product, token};
use crate::town::{Town, accounts};
use crate::wait::{Seen, wait_until};
use crate::workload::{Pace, Workload};

/// The phase of every scenario.
pub const PHASE: &str = "region-a";

/// Which lever a scenario's plan names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeverKind {
    /// The product speaks to pgbouncer.
    Pgbouncer,
    /// The product runs the team's own commands, which speak to pgbouncer.
    Command,
}

/// Where a scenario's journal is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JournalKind {
    /// In a SQLite file beside the plan.
    Sqlite,
    /// In a PostgreSQL database of its own.
    Postgres,
}

/// What a scenario's plan says.
#[derive(Debug, Clone)]
pub struct Setting {
    /// How many rows.
    pub size: Size,
    /// The journal.
    pub journal: JournalKind,
    /// The lever.
    pub lever: LeverKind,
    /// `max_downtime`.
    pub max_downtime: &'static str,
    /// `undo_reserve`, if it is said.
    pub undo_reserve: Option<&'static str>,
    /// The lease's term.
    pub lease: &'static str,
    /// `fence_patience`.
    pub fence_patience: &'static str,
    /// `chunk_bytes`.
    pub chunk_bytes: u32,
    /// Lines of `[approvals.…]`.
    pub approvals: &'static str,
    /// Whether its people talk on GitHub and in Slack too.
    pub has_town: bool,
    /// `failback_deadline`.
    pub failback_deadline: &'static str,
    /// Whether the product reaches the source over a link that can die.
    pub has_link: bool,
}

impl Default for Setting {
    fn default() -> Self {
        Self {
            size: Size::SMALL,
            journal: JournalKind::Sqlite,
            lever: LeverKind::Pgbouncer,
            max_downtime: "60s",
            undo_reserve: None,
            lease: "2s",
            fence_patience: "5s",
            chunk_bytes: 32_768,
            approvals: "",
            has_town: false,
            failback_deadline: "hold",
            has_link: false,
        }
    }
}

impl Setting {
    /// A window that is soon over, in which nothing but its deadline ends a wait.
    #[must_use]
    pub fn short_window(max_downtime: &'static str, undo_reserve: &'static str) -> Self {
        Self { max_downtime, undo_reserve: Some(undo_reserve), fence_patience: "60s", ..Self::default() }
    }
}

/// A whole scene. What it started is stopped when it is dropped.
#[derive(Debug)]
pub struct Scene {
    /// The product.
    pub product: Product,
    /// The application's pgbouncer.
    pub pgbouncer: Pgbouncer,
    /// The database being left.
    pub source: Cluster,
    /// The database being moved to.
    pub target: Cluster,
    /// GitHub and Slack, if its people talk there.
    pub town: Option<Town>,
    /// The server of the journal, if it is in one.
    pub journal: Option<Cluster>,
    setting: Setting,
    /// The link to the source, if the product reaches it over one.
    pub link: Option<Link>,
    dir: TempDir,
}

impl Scene {
    /// Sets it up; `serve` does not run yet.
    ///
    /// # Errors
    /// Something is missing or does not start.
    pub async fn set(setting: Setting) -> Result<Self> {
        let (source, target) = tokio::try_join!(Cluster::start("source"), Cluster::start("target"))?;
        build(&source.connect(Role::Mover).await?, setting.size).await.context("building the shop")?;
        let pgbouncer = Pgbouncer::start(&source).await?;
        let dir = tempfile::Builder::new().prefix("switchyard-product-").tempdir()?;
        let link = if setting.has_link { Some(Link::to(source.port()).await?) } else { None };
        let mut environment = vec![
            (
                "SHOP_SOURCE".to_owned(),
                source.url_at(Role::Mover, link.as_ref().map_or(source.port(), Link::port)),
            ),
            ("SHOP_TARGET".to_owned(), target.url(Role::Mover)),
            ("SHOP_PGBOUNCER".to_owned(), pgbouncer.admin_url()),
        ];
        let journal = match setting.journal {
            JournalKind::Sqlite => None,
            JournalKind::Postgres => {
                let (server, url) = journal_server().await?;
                environment.push(("SHOP_JOURNAL".to_owned(), url));
                Some(server)
            }
        };
        let town = if setting.has_town { Some(Town::start().await?) } else { None };
        environment.extend(town.iter().flat_map(Town::environment));
        let mut product = Product::new(dir.path(), environment)?;
        if let Some(town) = &town {
            let file = dir.path().join("bot.toml");
            town.write_bot(&file)?;
            product.hear_with(file);
        }
        product.make_key().await?;
        let mut scene = Self { product, pgbouncer, source, target, town, journal, setting, link, dir };
        let plan = scene.plan_text(&scene.setting)?;
        std::fs::write(scene.product.plan(), &plan)?;
        if let Some(town) = &mut scene.town {
            town.open_pull(&plan).await;
        }
        Ok(scene)
    }

    /// A scene whose phase is on the target, with its application at work and nobody serving.
    ///
    /// # Errors
    /// A server does not start, or the phase does not get there.
    pub async fn cut_over(setting: Setting) -> Result<(Self, Workload)> {
        let scene = Self::set(setting).await?;
        let workload = scene.workload(Pace::GENTLE);
        let serve = scene.product.serve("a", None)?;
        for operation in ["start", "cutover"] {
            scene.complete(operation, Duration::from_secs(120)).await?;
        }
        serve.end().await?;
        Ok((scene, workload))
    }

    /// Writes the plan anew, with something changed.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn rewrite_plan(&self, change: impl FnOnce(&mut Setting)) -> Result<()> {
        let mut setting = self.setting.clone();
        change(&mut setting);
        Ok(std::fs::write(self.product.plan(), self.plan_text(&setting)?)?)
    }

    /// Adds a phase with these keys to the plan's file. Its lever moves nothing.
    ///
    /// # Errors
    /// The file cannot be read or written.
    pub fn add_phase(&self, name: &str, keys: &str) -> Result<()> {
        let plan = self.product.plan();
        let text = std::fs::read_to_string(&plan)?;
        let lever = "kind = \"command\"\nstop = [\"true\"]\nobserve = [\"echo\", \"source\"]\n\
                     route = [\"true\"]\nresume = [\"true\"]\n";
        let phase = format!("[[phase]]\nname = \"{name}\"\n{keys}\n\n[phase.lever]\n{lever}");
        Ok(std::fs::write(&plan, format!("{text}\n{phase}"))?)
    }

    /// A file of the scene's own directory.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn plan_text(&self, setting: &Setting) -> Result<String> {
        let people = [
            ("anna", "\"operator\", \"approver\""),
            ("ben", "\"approver\""),
            ("chris", "\"approver\""),
            ("dora", "\"operator\""),
        ];
        let people: String = people
            .iter()
            .map(|(id, roles)| {
                let digest = hex::encode(Sha256::digest(token(id)));
                format!(
                    "[[person]]\nid = \"{id}\"\nroles = [{roles}]\nlocal_token_sha256 = \"{digest}\"\n{}\n",
                    accounts(id)
                )
            })
            .collect();
        let reserve =
            setting.undo_reserve.map(|reserve| format!("undo_reserve = \"{reserve}\"\n")).unwrap_or_default();
        Ok(format!(
            "[migration]\nname = \"shop\"\nsource = \"env:SHOP_SOURCE\"\ntarget = \"env:SHOP_TARGET\"\n\n\
             [journal]\nurl = \"{journal}\"\nlease = \"{lease}\"\n\
             signing_key = \"file:journal.key\"\nwitness = \"witness.txt\"\n\n\
             [serve]\nsocket = \"{dir}/switchyard.sock\"\n\n\
             {people}{approvals}\n\
             [load]\nlanes = 2\nchunk_bytes = {chunk_bytes}\n\n\
             [[phase]]\nname = \"{PHASE}\"\ntables = [{tables}]\nmax_downtime = \"{max_downtime}\"\n{reserve}\
             fence_patience = \"{fence_patience}\"\nlag_limit = \"5s\"\n\
             failback_deadline = \"{failback_deadline}\"\n\n{lever}",
            dir = self.dir.path().display(),
            journal = match setting.journal {
                JournalKind::Sqlite => format!("sqlite:{}/journal.db", self.dir.path().display()),
                JournalKind::Postgres => "env:SHOP_JOURNAL".to_owned(),
            },
            lease = setting.lease,
            approvals = setting.approvals,
            chunk_bytes = setting.chunk_bytes,
            tables = table_list(),
            max_downtime = setting.max_downtime,
            fence_patience = setting.fence_patience,
            failback_deadline = setting.failback_deadline,
            lever = self.lever_text(setting.lever)?,
        ))
    }

    fn lever_text(&self, kind: LeverKind) -> Result<String> {
        if kind == LeverKind::Pgbouncer {
            return Ok(format!(
                "[phase.lever]\nkind = \"pgbouncer\"\nadmin = \"env:SHOP_PGBOUNCER\"\nini = \"{}\"\n\
                 database = \"shop\"\nsource = \"{}\"\ntarget = \"{}\"\npause_limit = \"5s\"\n",
                self.pgbouncer.ini().display(),
                connect_string(&self.source),
                connect_string(&self.target),
            ));
        }
        let script = self.file("lever.sh");
        std::fs::write(&script, self.lever_script()?)?;
        let call = |word: &str| format!("[\"bash\", \"{}\", \"{word}\"]", script.display());
        Ok(format!(
            "[phase.lever]\nkind = \"command\"\nstop = {}\nobserve = {}\nroute = {}\nresume = {}\ntimeout = \"10s\"\n",
            call("stop"),
            call("observe"),
            call("route"),
            call("resume")
        ))
    }

    /// A team's own lever: the same pgbouncer, by a shell script. Every word may be said twice.
    fn lever_script(&self) -> Result<String> {
        Ok(format!(
            r#"set -eu
console() {{ '{psql}' -X -q -A -t -F ' ' '{admin}' -c "$1"; }}
entry() {{ console 'show databases' | awk '$1 == "shop"'; }}
paused() {{ entry | awk '{{ exit !($(NF - 1) == "1") }}'; }}
side() {{ case "$(entry | awk '{{ print $3 }}')" in {source}) echo source ;; {target}) echo target ;; *) echo unknown ;; esac; }}
test "$1" = observe || test -n "$SWITCHYARD_PHASE" -a -n "$SWITCHYARD_EPOCH" -a -n "$SWITCHYARD_POSITION"
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
            psql = find_program("psql")?.display(),
            admin = self.pgbouncer.admin_url(),
            source = self.source.port(),
            target = self.target.port(),
            ini = self.pgbouncer.ini().display(),
        ))
    }

    /// Starts the application.
    #[must_use]
    pub fn workload(&self, pace: Pace) -> Workload {
        Workload::start(self.pgbouncer.app_url(), self.setting.size, pace)
    }

    /// A superuser's session on the source.
    ///
    /// # Errors
    /// The server is away.
    pub async fn on_source(&self) -> Result<Client> {
        self.source.connect(Role::Mover).await
    }

    /// A superuser's session on the target.
    ///
    /// # Errors
    /// The server is away.
    pub async fn on_target(&self) -> Result<Client> {
        self.target.connect(Role::Mover).await
    }

    /// Says `/migrate region-a …` as a person and demands that it is accepted.
    ///
    /// # Errors
    /// It is refused.
    pub async fn say(&self, person: &str, words: &str) -> Result<Answer> {
        let answer = self.product.chat(person, words).await?;
        ensure!(answer.accepted, "{person} said `{words}` and was refused: {}", answer.text);
        Ok(answer)
    }

    /// Says something until it is in the journal, through crashes of the server: a command that was taken just
    /// before the crash is not said twice.
    ///
    /// # Errors
    /// It is not taken in time.
    pub async fn say_until(
        &self,
        person: &str,
        words: &str,
        done: impl Fn(&Journal) -> bool,
    ) -> Result<Journal> {
        wait_until(Duration::from_secs(120), &format!("`{words}` to be taken"), async || {
            // Before the first `serve` there is no journal to read.
            if let Ok(journal) = self.product.journal().await
                && done(&journal)
            {
                return Ok(Seen::Done(journal));
            }
            let answer = self.product.chat(person, words).await?;
            match self.product.journal().await {
                Ok(journal) if done(&journal) => Ok(Seen::Done(journal)),
                _ => Ok(Seen::NotYet(answer.text)),
            }
        })
        .await
    }

    /// Asks for an operation as anna, and gives its number.
    ///
    /// # Errors
    /// It is not taken in time.
    pub async fn ask(&self, operation: &str) -> Result<u64> {
        let before = self.head().await;
        let newer = |journal: &Journal| journal.request(operation).filter(|number| *number > before);
        let words = format!("/migrate {PHASE} {operation}");
        let journal = self.say_until("anna", &words, |journal| newer(journal).is_some()).await?;
        newer(&journal).context("the request vanished")
    }

    /// The journal's head; 0 before there is one.
    pub async fn head(&self) -> u64 {
        self.product.journal().await.map_or(0, |journal| journal.head())
    }

    /// Waits for a request of an operation that is newer than a head, wherever it was made.
    ///
    /// # Errors
    /// There is none in time.
    pub async fn asked(&self, operation: &str, before: u64) -> Result<u64> {
        wait_until(Duration::from_secs(60), &format!("a request for {operation}"), async || {
            let journal = self.product.journal().await?;
            Ok(match journal.request(operation).filter(|number| *number > before) {
                Some(number) => Seen::Done(number),
                None => Seen::NotYet(format!("{}\n{}", journal.tail(4), self.product.log_tail("a", 8))),
            })
        })
        .await
    }

    /// Waits until a person's approval of a request is in the journal, wherever it was given.
    ///
    /// # Errors
    /// It is not in time.
    pub async fn approved(&self, person: &str, request: u64) -> Result<()> {
        let actor = format!("\"{person}\"");
        wait_until(Duration::from_secs(60), &format!("{person}'s approval of #{request}"), async || {
            let journal = self.product.journal().await?;
            let is_there = journal
                .of("approved")
                .any(|event| event.number("request") == request && event.actor().contains(&actor));
            Ok(if is_there {
                Seen::Done(())
            } else {
                Seen::NotYet(format!("{}\n{}", journal.tail(4), self.product.log_tail("a", 8)))
            })
        })
        .await
    }

    /// Approves a request as a person.
    ///
    /// # Errors
    /// It is not taken in time.
    pub async fn approve(&self, person: &str, request: u64) -> Result<()> {
        let actor = format!("\"{person}\"");
        self.say_until(person, &format!("/migrate approve #{request}"), |journal| {
            journal
                .of("approved")
                .any(|event| event.number("request") == request && event.actor().contains(&actor))
        })
        .await
        .map(drop)
    }

    /// Asks for an operation, with the approvals of ben and chris if it needs them.
    ///
    /// # Errors
    /// It is not taken in time.
    pub async fn order(&self, operation: &str) -> Result<u64> {
        let request = self.ask(operation).await?;
        if !matches!(operation, "start" | "verify") {
            self.approve("ben", request).await?;
            self.approve("chris", request).await?;
        }
        Ok(request)
    }

    /// Orders an operation that may rightly be refused; none if nobody took it.
    ///
    /// # Errors
    /// The client cannot be run.
    pub async fn order_anyway(&self, operation: &str) -> Result<Option<u64>> {
        let answer = self.product.chat("anna", &format!("/migrate {PHASE} {operation}")).await?;
        if !answer.accepted {
            return Ok(None);
        }
        let request = self.product.journal().await?.request(operation);
        if let Some(request) = request.filter(|_| !matches!(operation, "start" | "verify")) {
            for person in ["ben", "chris"] {
                self.product.chat(person, &format!("/migrate approve #{request}")).await?;
            }
        }
        Ok(request)
    }

    /// Waits until a request's operation is over, and gives its outcome.
    ///
    /// # Errors
    /// It is not over in time; the message shows the journal's end.
    pub async fn over(&self, request: u64, within: Duration) -> Result<String> {
        wait_until(within, &format!("the operation of #{request} to end"), async || {
            let journal = self.product.journal().await?;
            Ok(match journal.outcome_of(request) {
                Some(outcome) => Seen::Done(outcome),
                None => Seen::NotYet(format!("{}\n{}", journal.tail(8), self.product.log_tail("a", 8))),
            })
        })
        .await
    }

    /// Orders an operation and waits until it is completed.
    ///
    /// # Errors
    /// It ends otherwise, or not in time.
    pub async fn complete(&self, operation: &str, within: Duration) -> Result<u64> {
        let request = self.order(operation).await?;
        let outcome = self.over(request, within).await?;
        if outcome != "completed" {
            let journal = self.product.journal().await?;
            anyhow::bail!("{operation} ended as {outcome}:\n{}", journal.tail(40));
        }
        Ok(request)
    }

    /// Waits until a step of a request's operation has an intent of this kind.
    ///
    /// # Errors
    /// Not in time.
    pub async fn reached(&self, request: u64, step: &str, kind: &str, within: Duration) -> Result<Journal> {
        wait_until(within, &format!("#{request} to reach {step}/{kind}"), async || {
            let journal = self.product.journal().await?;
            let operation = journal.operation_of(request);
            let found = journal.of("effect_intended").any(|event| {
                Some(event.number("operation")) == operation
                    && (step.is_empty() || event.text("step") == step)
                    && event.field("spec").get("kind").is_some_and(|found| found == kind)
            });
            Ok(if found { Seen::Done(journal) } else { Seen::NotYet(journal.tail(5)) })
        })
        .await
    }

    /// Waits until both databases are equal, the application at rest. The first named is taken for right.
    ///
    /// # Errors
    /// They are not in time; the message shows the differences.
    pub async fn equal(&self, right: Side) -> Result<Comparison> {
        let (source, target) = (self.on_source().await?, self.on_target().await?);
        let (here, there) = match right {
            Side::Source => (&source, &target),
            Side::Target => (&target, &source),
        };
        wait_until(Duration::from_secs(30), "both databases to be equal", async || {
            let comparison = compare(here, there).await?;
            Ok(if comparison.is_equal() {
                Seen::Done(comparison)
            } else {
                Seen::NotYet(comparison.summary())
            })
        })
        .await
    }

    /// The application rests; both databases are equal, row for row; the writer's side holds every acknowledged
    /// write and nothing that nobody wrote; the application goes on.
    ///
    /// # Errors
    /// Anything of that does not hold.
    pub async fn sound(&self, workload: &Workload, writer: Side) -> Result<Comparison> {
        workload.rest(Duration::from_secs(60)).await?;
        let comparison = self.equal(writer).await?;
        self.kept(workload, writer).await?;
        workload.go_on();
        Ok(comparison)
    }

    /// The writer's side holds every acknowledged write and nothing that nobody wrote. The application rests.
    ///
    /// # Errors
    /// It does not.
    pub async fn kept(&self, workload: &Workload, writer: Side) -> Result<()> {
        let client = match writer {
            Side::Source => self.on_source().await?,
            Side::Target => self.on_target().await?,
        };
        let found = workload.judge(&client).await?;
        ensure!(
            found.lost.is_empty() && found.extra.is_empty(),
            "{} acknowledged writes are lost: {:?}; {} rows are extra: {:?}",
            found.lost.len(),
            found.lost.iter().take(5).collect::<Vec<_>>(),
            found.extra.len(),
            found.extra.iter().take(5).collect::<Vec<_>>()
        );
        Ok(())
    }

    /// The target has the source's schema: columns, constraints, indexes.
    ///
    /// # Errors
    /// It has not.
    pub async fn same_schema(&self) -> Result<()> {
        let differences = compare_schema(&self.on_source().await?, &self.on_target().await?).await?;
        ensure!(differences.is_empty(), "the target's schema differs: {differences:#?}");
        Ok(())
    }

    /// The phase in `status --json`: its status, its writer, and all of it.
    ///
    /// # Errors
    /// It is not there.
    pub async fn phase_status(&self) -> Result<(String, String, serde_json::Value)> {
        let status = self.product.status().await?;
        let phases = status.get("phases").and_then(serde_json::Value::as_array);
        let found = phases.and_then(|phases| {
            phases.iter().find(|phase| phase.get("name").is_some_and(|name| name == PHASE)).cloned()
        });
        let phase = found.with_context(|| format!("status shows no phase {PHASE}: {status}"))?;
        let text = |key| phase.get(key).and_then(serde_json::Value::as_str).unwrap_or_default().to_owned();
        Ok((text("status"), text("writer"), phase))
    }

    /// Demands a status and a writer of `status --json`.
    ///
    /// # Errors
    /// They are others.
    pub async fn shows(&self, status: &str, writer: &str) -> Result<()> {
        let (found, who, phase) = self.phase_status().await?;
        ensure!(found == status && who == writer, "expected {status}, writer {writer}: {phase}");
        Ok(())
    }

    /// The plan's settings.
    #[must_use]
    pub const fn setting(&self) -> &Setting {
        &self.setting
    }
}

/// The password of the role that keeps the journal. It must be found nowhere.
pub const JOURNAL_PASSWORD: &str = "pw-of-the-journal-LEAK";

/// A server with an empty database for the journal, and the connection string of a role that may make it there.
async fn journal_server() -> Result<(Cluster, String)> {
    let server = Cluster::start("journal").await?;
    let mover = server.connect(Role::Mover).await?;
    mover.batch_execute("create database journal").await?;
    mover
        .batch_execute(&format!(
            "create role keeper login createrole password '{JOURNAL_PASSWORD}';
             grant create on database journal to keeper"
        ))
        .await?;
    let url = format!("postgres://keeper:{JOURNAL_PASSWORD}@127.0.0.1:{}/journal", server.port());
    Ok((server, url))
}

/// One of the two databases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The database being left.
    Source,
    /// The database being moved to.
    Target,
}
