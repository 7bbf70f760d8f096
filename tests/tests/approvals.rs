//! Two people: who may approve, what voids an approval, who speaks for whom.

use std::time::Duration;

use anyhow::{Result, ensure};
use product::scene::{PHASE, Scene, Setting, Side};
use product::wait::{Seen, wait_until};
use product::workload::Pace;

const LONG: Duration = Duration::from_secs(120);
/// Long enough for an executor that wrongly begins to be seen at it.
const A_MOMENT: Duration = Duration::from_secs(2);

async fn begins_not(scene: &Scene, request: u64) -> Result<()> {
    tokio::time::sleep(A_MOMENT).await;
    let journal = scene.product.journal().await?;
    ensure!(journal.operation_of(request).is_none(), "#{request} began: {}", journal.tail(5));
    Ok(())
}

async fn refused(scene: &Scene, person: &str, words: &str) -> Result<String> {
    let answer = scene.product.chat(person, words).await?;
    ensure!(!answer.accepted, "{person} said `{words}` and it was accepted: {}", answer.text);
    Ok(answer.text)
}

async fn void(scene: &Scene, request: u64) -> Result<String> {
    wait_until(LONG, &format!("#{request} to be void"), async || {
        let journal = scene.product.journal().await?;
        let found = journal.of("request_voided").find(|event| event.number("request") == request);
        Ok(match found {
            Some(event) => Seen::Done(event.field("reason").to_string()),
            None => Seen::NotYet(journal.tail(5)),
        })
    })
    .await
}

#[tokio::test]
async fn one_person_cannot_cut_over_and_two_can() -> Result<()> {
    let scene = Scene::set(Setting::default()).await?;
    let workload = scene.workload(Pace::GENTLE);
    let mut serve = scene.product.serve("a", None)?;
    serve.ready().await?;
    // An approver who is no operator may not ask; nobody may with another's token, or unknown.
    refused(&scene, "ben", &format!("/migrate {PHASE} start")).await?;
    let stolen =
        scene.product.chat_with("anna", "token-of-nobody", &format!("/migrate {PHASE} start")).await?;
    ensure!(!stolen.accepted, "a wrong token was accepted: {}", stolen.text);
    let other = product::switchyard::token("ben");
    let stolen = scene.product.chat_with("anna", &other, &format!("/migrate {PHASE} start")).await?;
    ensure!(!stolen.accepted, "ben's token speaks for anna: {}", stolen.text);
    refused(&scene, "eve", &format!("/migrate {PHASE} start")).await?;
    ensure!(scene.product.journal().await?.of("requested").count() == 0, "a refused word is in the journal");
    scene.complete("start", LONG).await?;

    let request = scene.ask("cutover").await?;
    begins_not(&scene, request).await?;
    scene.approve("anna", request).await?;
    begins_not(&scene, request).await?;
    // The same person twice is one person; who is no approver is nobody.
    scene.product.chat("anna", &format!("/migrate approve #{request}")).await?;
    begins_not(&scene, request).await?;
    refused(&scene, "dora", &format!("/migrate approve #{request}")).await?;
    begins_not(&scene, request).await?;
    // The requester's own and one more are two.
    scene.approve("ben", request).await?;
    ensure!(scene.over(request, LONG).await? == "completed", "two persons could not cut over");
    // Used once: they do not carry the next operation.
    let next = scene.ask("failback").await?;
    begins_not(&scene, next).await?;
    // A denial stands against approvals.
    scene.approve("ben", next).await?;
    scene.say("chris", &format!("/migrate deny #{next} --reason \"not today\"")).await?;
    void(&scene, next).await?;
    begins_not(&scene, next).await?;
    // An approval taken back does not count.
    let next = scene.ask("failback").await?;
    scene.approve("ben", next).await?;
    scene.say("ben", &format!("/migrate revoke #{next}")).await?;
    scene.approve("chris", next).await?;
    begins_not(&scene, next).await?;
    scene.say("ben", &format!("/migrate approve #{next}")).await?;
    ensure!(scene.over(next, LONG).await? == "completed", "the failback did not run");
    scene.sound(&workload, Side::Source).await?;
    scene.product.journal().await?.check()?;
    workload.stop().await;
    serve.end().await
}

#[tokio::test]
async fn a_request_that_expires_while_its_operation_waits_keeps_it_from_nothing() -> Result<()> {
    let approvals = "[approvals.cutover]\nrequired = 2\nexpires = \"8s\"\n";
    let scene = Scene::set(Setting { approvals, ..Setting::default() }).await?;
    let workload = scene.workload(Pace::GENTLE);
    let serve = scene.product.serve("a", None)?;
    scene.complete("start", LONG).await?;
    serve.end().await?;
    let place = "stop:cutover/prepare_switch/observe_traffic/before_intent";
    let mut serve = scene.product.serve("a", Some(place))?;
    serve.ready().await?;
    // Somebody writes for so long that the cutover waits for them before its window, past the request's expiry.
    let writer = scene.on_source().await?;
    writer.batch_execute("create index beside on shop.events (stamp)").await?;
    let request = scene.order("cutover").await?;
    serve.stopped_itself(LONG).await?;
    writer
        .batch_execute("begin; insert into shop.events (worker, seq, kind) values (-21, 1, 'long')")
        .await?;
    serve.thaw()?;
    scene.reached(request, "prepare_switch", "sweep_changed", LONG).await?;
    // Who approves too late can still see it through.
    let approve = format!("/migrate approve #{request}");
    let approving = scene.product.say_and_wait("ben", &approve);
    let leaving = async {
        tokio::time::sleep(Duration::from_secs(9)).await;
        Ok(writer.batch_execute("rollback").await?)
    };
    let ((ok, told), ()) = tokio::try_join!(approving, leaving)?;
    ensure!(told.contains("SW-0117") || told.contains("runs"), "{told}");
    ensure!(ok && told.contains("completed"), "an approval that waits did not see it through: {told}");
    ensure!(scene.over(request, LONG).await? == "completed", "an expiry stranded what had begun");
    let status = scene.product.status().await?;
    let phase = &status["phases"][0];
    let warning = phase["warning"].as_str().unwrap_or_default();
    ensure!(warning.contains("beside"), "the index that the target lacks is not in the status: {phase}");
    for side in ["source", "target"] {
        let gate = &phase["gates"][side];
        let (mode, seen) = (gate["mode"].as_str().unwrap_or_default(), gate["seen"].as_str());
        ensure!(
            seen.is_none_or(|seen| seen.starts_with(mode)),
            "a probe from before the switch is shown: {gate}"
        );
    }
    scene.sound(&workload, Side::Target).await?;
    workload.stop().await;
    // A way back that stopped is no target that is away.
    scene.on_target().await?.batch_execute("truncate shop.notes").await?;
    wait_until(LONG, "the status to tell of the way back", async || {
        let (_, text) = scene.product.verb(&["status"], &[]).await?;
        let is_told = text.contains("LOST?") && text.contains("TRUNCATE of shop.notes");
        Ok(if is_told && !text.contains("away") { Seen::Done(()) } else { Seen::NotYet(text) })
    })
    .await?;
    serve.end().await
}

#[tokio::test]
async fn requests_expire_and_a_changed_plan_voids_them() -> Result<()> {
    let approvals = "[approvals.cutover]\nrequired = 2\nexpires = \"10s\"\n\n[approvals.failback]\nrequired = 2\nexclude_requester = true\n";
    let scene = Scene::set(Setting { approvals, ..Setting::default() }).await?;
    let mut serve = scene.product.serve("a", None)?;
    serve.ready().await?;
    scene.complete("start", LONG).await?;

    let request = scene.ask("cutover").await?;
    scene.approve("ben", request).await?;
    let why = void(&scene, request).await?;
    ensure!(why.contains("expired"), "voided because of {why}");
    refused(&scene, "chris", &format!("/migrate approve #{request}")).await?;
    begins_not(&scene, request).await?;

    // A changed file is not the adopted plan: `serve` refuses it, adopting it voids what was asked under the old one.
    scene.complete("cutover", LONG).await?;
    let request = scene.ask("failback").await?;
    refused(&scene, "anna", &format!("/migrate approve #{request}")).await?;
    scene.approve("ben", request).await?;
    begins_not(&scene, request).await?;
    serve.end().await?;
    scene.rewrite_plan(|setting| setting.fence_patience = "4s")?;
    let mut changed = scene.product.serve("a", None)?;
    wait_until(Duration::from_secs(20), "`serve` to refuse a plan that was not adopted", async || {
        Ok(match changed.exited()? {
            Some(status) if !status.success() => Seen::Done(()),
            Some(status) => anyhow::bail!("it ended with {status}"),
            None => Seen::NotYet(changed.log_tail(5)),
        })
    })
    .await?;
    scene.product.adopt_plan("anna").await?;
    let mut serve = scene.product.serve("a", None)?;
    serve.ready().await?;
    let why = void(&scene, request).await?;
    ensure!(why.contains("plan_changed"), "voided because of {why}");
    refused(&scene, "chris", &format!("/migrate approve #{request}")).await?;
    begins_not(&scene, request).await?;
    scene.product.journal().await?.check()?;
    serve.end().await
}
