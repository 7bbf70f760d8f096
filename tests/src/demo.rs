//! The demo: a shop of more than 200,000 rows moves to another cluster, comes back and moves again, under an
//! application's writes, while Switchyard is killed four times.
//!
//! It tells the story as it goes and closes with one line of JSON. The figures come from the application's own records
//! and from a full comparison of both databases, not from Switchyard. Exit code 1 if anything is wrong.

use std::io::Write as _;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use product::compare::{Comparison, compare};
use product::events::Journal;
use product::records::Verdict;
use product::scene::{PHASE, Scene, Setting, Side};
use product::shop::{Size, Table};
use product::switchyard::Serve;
use product::town::Town;
use product::wait::{Seen, wait_until};
use product::workload::{Pace, Workload};
use serde::Serialize;

const LONG: Duration = Duration::from_secs(90);

/// Where the failpoints kill, in the order in which they are met: one a restart.
const IN_THE_WINDOW: &str = "cutover/drain/await_marker:forward/after_intent";
const AT_THE_OPENING: &str = "failback/switch_traffic_back/open_gate:source/after_effect";
const WHILE_ROUTED: &str = "cutover/switch_traffic/route_traffic:target/after_effect";

const USAGE: &str = "The life of one phase on throwaway servers, with kills. It takes no arguments; `make demo` builds and runs it. \
                     The last line is JSON; exit code 0 if nothing was lost, else 1.";

#[tokio::main]
async fn main() -> ExitCode {
    let mut story = Story { began: Instant::now() };
    if let Some(given) = std::env::args().nth(1) {
        story.line(USAGE);
        return if matches!(given.as_str(), "--help" | "-h") { ExitCode::SUCCESS } else { ExitCode::from(2) };
    }
    match tell(&mut story).await {
        Ok(closing) => {
            story.line(&serde_json::to_string(&closing).unwrap_or_default());
            ExitCode::SUCCESS
        }
        Err(error) => {
            story.line(&format!("the demo went wrong: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Prints lines with the time since the beginning.
struct Story {
    began: Instant,
}

impl Story {
    fn line(&self, text: &str) {
        let mut out = std::io::stdout().lock();
        writeln!(out, "{text}").and_then(|()| out.flush()).ok();
    }

    fn heading(&self, text: &str) {
        self.line(&format!("\n== {text}"));
    }

    fn tell(&self, text: &str) {
        self.line(&format!("{:6.1} s  {text}", self.began.elapsed().as_secs_f64()));
    }
}

fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// What the rig itself found wrong, over the whole demo.
#[derive(Default)]
struct Found {
    lost: usize,
    extra: usize,
    rows: u64,
}

impl Found {
    fn add(&mut self, comparison: &Comparison, verdict: &Verdict) {
        self.lost += comparison.missing_or_different.len() + verdict.lost.len();
        self.extra += comparison.extra.len() + verdict.extra.len();
        self.rows = self.rows.max(comparison.rows);
    }
}

/// The closing line, in this order.
#[derive(Serialize)]
struct Closing {
    demo: &'static str,
    rows: u64,
    acked_writes: u64,
    lost_writes: usize,
    extra_rows: usize,
    kills: u64,
    longest_pause_ms: Pauses,
    failed_requests: u64,
    approvals: usize,
    events: usize,
}

#[derive(Serialize)]
struct Pauses {
    cutover: u64,
    failback: u64,
}

/// Where somebody says something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Terminal,
    /// By a comment, or by an approving review at the head.
    PullRequest,
    /// By the slash command, or by the button under the message.
    Slack,
}

impl Way {
    fn place(self, town: &Town) -> String {
        match self {
            Self::Terminal => "at a terminal".to_owned(),
            Self::PullRequest => format!("in pull request {}", town.pull()),
            Self::Slack => "in Slack".to_owned(),
        }
    }
}

struct Demo<'d> {
    story: &'d Story,
    scene: Scene,
    workload: Workload,
    found: Found,
    kills: u64,
}

async fn tell(story: &mut Story) -> Result<Closing> {
    story.heading("The stage");
    let setting = Setting {
        size: Size::DEMO,
        lease: "2s",
        max_downtime: "30s",
        chunk_bytes: 256 * 1024,
        has_town: true,
        ..Setting::default()
    };
    let scene = Scene::set(setting).await?;
    story.tell(&format!(
        "two PostgreSQL clusters, a pgbouncer, a shop of {} rows in {} tables on the source, GitHub and Slack (doubles)",
        thousands(u64::from(Size::DEMO.rows())),
        Table::ALL.len()
    ));
    let workload = scene.workload(Pace::BRISK);
    workload.acknowledged(100, LONG).await?;
    let measured = Instant::now();
    workload.acknowledged(500, LONG).await?;
    story.tell(&format!(
        "an application writes through pgbouncer, {:.0} transactions a second, and remembers every write that is acknowledged",
        500.0 / measured.elapsed().as_secs_f64()
    ));
    let mut demo = Demo { story, scene, workload, found: Found::default(), kills: 0 };

    let serve = demo.start().await?;
    let (serve, first) = demo.first_cutover(serve).await?;
    let (serve, back) = demo.failback(serve).await?;
    let (serve, second) = demo.second_cutover(serve).await?;
    demo.complete().await?;
    serve.end().await?;
    demo.close(first.max(second), back).await
}

impl Demo<'_> {
    fn serve(&self, failpoint: Option<&str>) -> Result<Serve> {
        self.scene.product.serve("a", failpoint)
    }

    /// Anna asks in one place; ben and chris approve in others, or nobody has to.
    async fn order(&self, operation: &str, asked: Way, approved: Option<(Way, Way)>) -> Result<u64> {
        let words = format!("/migrate {PHASE} {operation}");
        let before = self.scene.head().await;
        let town = self.scene.town.as_ref().context("the demo's people have no town")?;
        let request = match asked {
            Way::Terminal => self.scene.ask(operation).await?,
            Way::PullRequest => {
                town.comment("anna", &words).await?;
                self.scene.asked(operation, before).await?
            }
            Way::Slack => {
                town.slash("anna", &format!("{PHASE} {operation}")).await?;
                self.scene.asked(operation, before).await?
            }
        };
        self.story.tell(&format!("anna, {}: {words}   (it is request #{request})", asked.place(town)));
        let approvals = approved.map(|(bens, chriss)| [("ben", bens), ("chris", chriss)]);
        for (person, way) in approvals.into_iter().flatten() {
            let how = match way {
                Way::Terminal => {
                    self.scene.approve(person, request).await?;
                    format!("/migrate approve #{request}")
                }
                Way::PullRequest => {
                    town.review(person).await?;
                    "an approving review".to_owned()
                }
                Way::Slack => {
                    town.press_approve(person, request).await?;
                    format!("the button Approve #{request}")
                }
            };
            self.scene.approved(person, request).await?;
            self.story.tell(&format!("{person}, {}: {how}", way.place(town)));
        }
        Ok(request)
    }

    async fn completed(&self, request: u64) -> Result<()> {
        let outcome = self.scene.over(request, LONG).await?;
        ensure!(outcome == "completed", "the operation of #{request} ended as {outcome}");
        Ok(())
    }

    /// A failpoint has killed `serve`: the journal must say that it fell where it was meant to.
    async fn killed(&mut self, serve: Serve, place: &str) -> Result<()> {
        serve.killed_itself(LONG).await.with_context(|| format!("the kill at {place} was missed"))?;
        self.kills += 1;
        let journal = self.scene.product.journal().await?;
        let (step, kind) = journal.under_way().context("the journal shows no effect under way")?;
        let mut parts = place.split('/').skip(1);
        let (want_step, want_label) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        ensure!(
            step == want_step && want_label.split(':').next() == Some(kind.as_str()),
            "a kill missed its place: meant for {place}, the journal shows {step}/{kind}"
        );
        self.story.tell(&format!(
            "KILL -9: by the journal in step {step}, {} of the operation's effects done, {want_label} under way",
            done_in_newest_operation(&journal)
        ));
        Ok(())
    }

    /// The application rests for a moment; both databases are compared row for row, the writer's side with the
    /// application's memory.
    async fn compared(&mut self, writer: Side) -> Result<()> {
        self.workload.rest(LONG).await?;
        let (source, target) = (self.scene.on_source().await?, self.scene.on_target().await?);
        let (right, other) = match writer {
            Side::Source => (&source, &target),
            Side::Target => (&target, &source),
        };
        // What is on its way arrives within moments; what does not is a difference.
        self.scene.equal(writer).await.ok();
        let comparison = compare(right, other).await?;
        let verdict = self.workload.judge(right).await?;
        self.found.add(&comparison, &verdict);
        ensure!(comparison.is_equal(), "the databases differ: {}", comparison.summary());
        ensure!(
            verdict.lost.is_empty() && verdict.extra.is_empty(),
            "the application's memory differs: {verdict:?}"
        );
        self.story.tell(&format!(
            "compared: {} rows are equal on both sides, and every acknowledged write is there",
            thousands(comparison.rows)
        ));
        self.workload.go_on();
        Ok(())
    }

    async fn start(&mut self) -> Result<Serve> {
        self.story.heading("start: load, verify, replicate");
        let mut serve = self.serve(None)?;
        serve.ready().await?;
        let request = self.order("start", Way::PullRequest, None).await?;
        let (copied, all) = self.in_the_load().await?;
        serve.kill9().await?;
        self.kills += 1;
        let journal = self.scene.product.journal().await?;
        let (step, kind) = journal.under_way().context("the journal shows no effect under way")?;
        ensure!(
            step == "load" && kind == "copy_table",
            "a kill missed its place: meant for load, fell in {step}/{kind}"
        );
        self.story.tell(&format!(
            "KILL -9: by the journal in step {step}, {} of the operation's effects done; {copied} of {all} chunks of shop.order_items copied",
            done_in_newest_operation(&journal)
        ));
        let serve = self.serve(Some(IN_THE_WINDOW))?;
        self.story.tell("started again: it fills what is missing");
        self.completed(request).await?;
        self.story.tell("loaded, verified, indexed; both streams run, the source is the writer");
        self.scene.same_schema().await?;
        self.compared(Side::Source).await?;
        Ok(serve)
    }

    /// Waits until some but not all of a table's chunks are copied.
    async fn in_the_load(&self) -> Result<(i64, i64)> {
        let target = self.scene.on_target().await?;
        let until = Instant::now() + LONG;
        let query = "select count(*) filter (where rows is not null), count(*) from _switchyard.chunk
                     where table_name like '%order_items%'";
        loop {
            // Before `prepare_target` there is no such table.
            if let Ok(row) = target.query_one(query, &[]).await {
                let (copied, all): (i64, i64) = (row.get(0), row.get(1));
                ensure!(all == 0 || copied < all, "the load was over before it could be killed");
                if copied >= 2 {
                    return Ok((copied, all));
                }
            }
            ensure!(
                Instant::now() < until,
                "the load did not begin: {}",
                self.scene.product.log_tail("a", 10)
            );
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    async fn switched(&mut self, began: Instant, to: Side) -> Result<Duration> {
        self.workload.acknowledged(200, LONG).await?;
        let (port, held) = self.scene.pgbouncer.entry().await?;
        let meant = match to {
            Side::Source => self.scene.source.port(),
            Side::Target => self.scene.target.port(),
        };
        ensure!(port == meant && !held, "pgbouncer points at port {port}, held: {held}");
        let pause = self.workload.records().longest_pause(began, Instant::now());
        let word = if to == Side::Target { "target" } else { "source" };
        self.story.tell(&format!(
            "the {word} is the writer; the application's longest pause was {} ms",
            pause.as_millis()
        ));
        self.compared(to).await?;
        Ok(pause)
    }

    async fn first_cutover(&mut self, serve: Serve) -> Result<(Serve, Duration)> {
        self.story.heading("cutover: the target becomes the writer");
        let began = Instant::now();
        let request = self.order("cutover", Way::PullRequest, Some((Way::PullRequest, Way::Slack))).await?;
        self.killed(serve, IN_THE_WINDOW).await?;
        let serve = self.serve(Some(AT_THE_OPENING))?;
        self.story.tell("started again: the traffic is still held, it goes on from there");
        self.completed(request).await?;
        let pause = self.switched(began, Side::Target).await?;
        Ok((serve, pause))
    }

    async fn failback(&mut self, serve: Serve) -> Result<(Serve, Duration)> {
        self.story.heading("failback: the source becomes the writer again");
        let began = Instant::now();
        let request = self.order("failback", Way::Slack, Some((Way::Slack, Way::Terminal))).await?;
        self.killed(serve, AT_THE_OPENING).await?;
        let serve = self.serve(Some(WHILE_ROUTED))?;
        self.story.tell("started again: the source's gate was open, it adopts that and resumes the traffic");
        self.completed(request).await?;
        let pause = self.switched(began, Side::Source).await?;
        Ok((serve, pause))
    }

    async fn second_cutover(&mut self, serve: Serve) -> Result<(Serve, Duration)> {
        self.story.heading("cutover: once more, without a new load");
        let began = Instant::now();
        let request = self.order("cutover", Way::Terminal, Some((Way::Slack, Way::Terminal))).await?;
        self.killed(serve, WHILE_ROUTED).await?;
        let serve = self.serve(None)?;
        self.story.tell("started again: the lever points at the target and holds, it goes on from there");
        self.completed(request).await?;
        let loads = self.scene.product.journal().await?;
        let loads = loads.of("step_finished").filter(|event| event.text("step") == "load").count();
        ensure!(loads == 1, "the phase was loaded {loads} times");
        let pause = self.switched(began, Side::Target).await?;
        Ok((serve, pause))
    }

    async fn complete(&mut self) -> Result<()> {
        self.story.heading("complete: the way back is given up");
        let request = self.order("complete", Way::PullRequest, Some((Way::PullRequest, Way::Slack))).await?;
        self.completed(request).await?;
        wait_until(LONG, "no slot to be left", async || {
            let query = "select count(*) from pg_replication_slots";
            let source: i64 = self.scene.on_source().await?.query_one(query, &[]).await?.get(0);
            let target: i64 = self.scene.on_target().await?.query_one(query, &[]).await?.get(0);
            Ok(if source + target == 0 {
                Seen::Done(())
            } else {
                Seen::NotYet(format!("{source} and {target}"))
            })
        })
        .await?;
        self.story.tell("streams and slots are gone, the source stays closed; the application goes on");
        self.workload.acknowledged(200, LONG).await
    }

    async fn close(mut self, cutover: Duration, failback: Duration) -> Result<Closing> {
        self.story.heading("The count");
        self.workload.rest(LONG).await?;
        let verdict = self.workload.judge(&self.scene.on_target().await?).await?;
        self.found.add(&Comparison::default(), &verdict);
        let journal = self.scene.product.journal().await?;
        journal.check()?;
        ensure!(journal.of("fence_breached").count() == 0, "a fence was breached");
        ensure!(self.kills >= 3, "only {} kills", self.kills);
        ensure!(self.found.rows >= 200_000, "only {} rows", self.found.rows);
        self.scene.town.as_ref().context("no town")?.is_content()?;
        let checked = self.scene.product.check_journal().await?;
        let records = self.workload.records();
        self.story.tell(&format!(
            "{} acknowledged transactions, {} acknowledged writes, {} of unknown outcome",
            thousands(records.acked_transactions),
            thousands(records.acked_writes),
            records.unknown
        ));
        ensure!(checked.contains("agree"), "no log checkpoint was held against the journal: {checked}");
        self.story.tell(&format!(
            "the journal's {} events agree with every signed log checkpoint of the witness file",
            journal.events().len()
        ));
        ensure!(
            self.found.lost == 0 && self.found.extra == 0,
            "{} writes are lost, {} rows are extra: {verdict:?}",
            self.found.lost,
            self.found.extra
        );
        Ok(Closing {
            demo: "ok",
            rows: self.found.rows,
            acked_writes: records.acked_writes,
            lost_writes: self.found.lost,
            extra_rows: self.found.extra,
            kills: self.kills,
            longest_pause_ms: Pauses { cutover: millis(cutover), failback: millis(failback) },
            failed_requests: records.failed_requests(),
            approvals: journal.of("approved").count(),
            events: journal.events().len(),
        })
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn done_in_newest_operation(journal: &Journal) -> usize {
    let began = journal.of("operation_started").next_back().map_or(0, product::events::Event::position);
    journal.of("effect_succeeded").filter(|event| event.position() > began).count()
}
