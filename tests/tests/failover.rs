//! A side that fails over to a real standby: said, probed anew, and nothing opens before.

use std::time::Duration;

use anyhow::{Result, ensure};
use product::cluster::Standby;
use product::scene::{PHASE, Scene, Setting, Side};
use product::switchyard::Serve;
use product::wait::{Seen, wait_until};
use product::workload::{Pace, Workload};

const LONG: Duration = Duration::from_secs(120);

struct Set {
    scene: Scene,
    workload: Workload,
    serve: Serve,
}

async fn replicating() -> Result<Set> {
    let scene = Scene::set(Setting::default()).await?;
    let workload = scene.workload(Pace::GENTLE);
    let mut serve = scene.product.serve("a", None)?;
    serve.ready().await?;
    scene.complete("start", LONG).await?;
    Ok(Set { scene, workload, serve })
}

impl Set {
    /// A standby of the source, with the slots that it has by now or without.
    async fn standby(&self, with_slots: bool) -> Result<Standby> {
        let standby = self.scene.source.standby().await?;
        if with_slots {
            self.workload.acknowledged(40, LONG).await?;
            self.scene.source.copy_slots(&standby).await?;
        }
        Ok(standby)
    }

    /// The source is lost in the midst of nothing, and its standby takes its place. The application rests.
    async fn fail_over(&mut self, standby: Standby) -> Result<()> {
        self.workload.rest(LONG).await?;
        self.scene.source.followed(&standby).await?;
        self.scene.source.fail_over(standby).await
    }

    async fn told(&self) -> Result<()> {
        let scene = &self.scene;
        wait_until(LONG, "the failover to be told", async || {
            let journal = scene.product.journal().await?;
            let told = journal.of("timeline_changed").count();
            Ok(if told > 0 { Seen::Done(()) } else { Seen::NotYet(scene.product.log_tail("a", 8)) })
        })
        .await?;
        let (_, _, phase) = scene.phase_status().await?;
        let shown = phase.get("timelines").map(ToString::to_string).unwrap_or_default();
        ensure!(shown.contains("SW-0530") && shown.contains("source"), "status does not show it: {phase}");
        Ok(())
    }

    /// What a step of the running operation is blocked by.
    async fn blocked(&self, code: &str) -> Result<String> {
        let scene = &self.scene;
        wait_until(LONG, &format!("a block with {code}"), async || {
            let (status, _, phase) = scene.phase_status().await?;
            let found = phase.get("blocked").map(ToString::to_string).unwrap_or_default();
            let is_there = status == "blocked" && found.contains(code);
            Ok(if is_there { Seen::Done(found) } else { Seen::NotYet(phase.to_string()) })
        })
        .await
    }

    async fn end(self) -> Result<()> {
        self.scene.product.journal().await?.check()?;
        let written = self.scene.product.everything_written().await?;
        ensure!(!written.contains("LEAK"), "a password or token stands in a log or in the journal");
        self.workload.stop().await;
        self.serve.end().await
    }
}

#[tokio::test]
async fn a_failover_with_its_slots_is_probed_anew_and_everything_goes_on() -> Result<()> {
    let mut set = replicating().await?;
    let standby = set.standby(true).await?;
    set.workload.acknowledged(40, LONG).await?;
    set.fail_over(standby).await?;
    set.told().await?;
    // Until it is probed, nothing is read or written across: what the application writes now waits in the slot.
    set.workload.go_on();
    set.workload.acknowledged(40, LONG).await?;
    let stopped = |journal: &product::events::Journal| {
        let mut told = journal.of("stream_changed").map(|event| event.field("health").to_string());
        told.any(|health| health.contains("SW-0530"))
    };
    let scene = &set.scene;
    wait_until(LONG, "a stream to stand still", async || {
        let journal = scene.product.journal().await?;
        Ok(if stopped(&journal) { Seen::Done(()) } else { Seen::NotYet(journal.tail(5)) })
    })
    .await?;
    scene.complete("verify", LONG).await?;
    scene.sound(&set.workload, Side::Source).await?;
    let (_, _, phase) = scene.phase_status().await?;
    ensure!(
        phase.get("timelines").and_then(serde_json::Value::as_array).is_some_and(Vec::is_empty),
        "still shown: {phase}"
    );
    let journal = scene.product.journal().await?;
    let probed = journal.of("effect_succeeded").any(|event| {
        let evidence = event.field("evidence");
        evidence.get("timeline").is_some_and(|timeline| timeline == "2")
            && evidence.get("forked_at").is_some()
    });
    ensure!(probed, "no probe names timeline 2: {}", journal.tail(30));
    scene.complete("cutover", LONG).await?;
    set.workload.acknowledged(40, LONG).await?;
    scene.sound(&set.workload, Side::Target).await?;
    set.end().await
}

#[tokio::test]
async fn a_failover_without_its_slots_is_said_and_the_phase_is_begun_anew() -> Result<()> {
    let mut set = replicating().await?;
    let standby = set.standby(false).await?;
    set.workload.acknowledged(40, LONG).await?;
    set.fail_over(standby).await?;
    set.told().await?;
    // A switch probes by itself, before anything else, and goes no further.
    let request = set.scene.order("cutover").await?;
    let found = set.blocked("SW-0301").await?;
    ensure!(found.contains("retire"), "no way out is named: {found}");
    set.scene.say("anna", &format!("/migrate {PHASE} abort --reason \"no slots\"")).await?;
    ensure!(set.scene.over(request, LONG).await? == "undone", "not undone");
    set.scene.complete("retire", LONG).await?;
    set.workload.go_on();
    set.scene.complete("start", LONG).await?;
    set.scene.sound(&set.workload, Side::Source).await?;
    let (_, _, phase) = set.scene.phase_status().await?;
    ensure!(
        phase.get("timelines").and_then(serde_json::Value::as_array).is_some_and(Vec::is_empty),
        "still shown: {phase}"
    );
    set.scene.complete("cutover", LONG).await?;
    set.workload.acknowledged(40, LONG).await?;
    set.scene.sound(&set.workload, Side::Target).await?;
    set.end().await
}

#[tokio::test]
async fn a_failover_that_lost_what_the_target_has_is_never_gone_on_from() -> Result<()> {
    let mut set = replicating().await?;
    let mut standby = set.standby(true).await?;
    standby.stop().await?;
    // Acknowledged, carried over, and lost with the primary.
    set.workload.acknowledged(40, LONG).await?;
    set.workload.rest(LONG).await?;
    set.scene.equal(Side::Source).await?;
    set.scene.source.fail_over(standby).await?;
    set.told().await?;
    let request = set.scene.order("cutover").await?;
    set.blocked("SW-0532").await?;
    set.scene.say("anna", &format!("/migrate {PHASE} abort --reason \"it lacks rows\"")).await?;
    ensure!(set.scene.over(request, LONG).await? == "undone", "not undone");
    set.scene.shows("replicating", "source").await?;
    set.scene.complete("retire", LONG).await?;
    set.scene.complete("start", LONG).await?;
    set.scene.equal(Side::Source).await?;
    set.end().await
}

#[tokio::test]
async fn the_way_back_to_a_source_that_failed_over_is_open_without_its_own_stream() -> Result<()> {
    let mut set = replicating().await?;
    set.scene.complete("cutover", LONG).await?;
    let standby = set.standby(false).await?;
    set.workload.acknowledged(40, LONG).await?;
    set.fail_over(standby).await?;
    set.told().await?;
    set.workload.go_on();
    set.scene.complete("failback", LONG).await?;
    set.workload.acknowledged(40, LONG).await?;
    set.workload.rest(LONG).await?;
    set.scene.kept(&set.workload, Side::Source).await?;
    set.scene.shows("replicating", "source").await?;
    // The slot of the way forth went with the old primary.
    let (_, _, phase) = set.scene.phase_status().await?;
    wait_until(LONG, "the lost slot to be said", async || {
        let journal = set.scene.product.journal().await?;
        let mut told = journal.of("stream_changed").map(|event| event.field("health").to_string());
        let said = told.any(|health| health.contains("SW-0301"));
        Ok(if said { Seen::Done(()) } else { Seen::NotYet(phase.to_string()) })
    })
    .await?;
    set.end().await
}
