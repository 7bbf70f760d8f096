//! A stream that cannot go on: said once, in the way of a switch, and gone once the phase was begun anew.

use std::time::Duration;

use anyhow::{Result, ensure};
use product::cluster::{Role, let_go};
use product::events::Journal;
use product::scene::{PHASE, Scene, Setting, Side};
use product::wait::{Seen, wait_until};

const LONG: Duration = Duration::from_secs(120);

/// What the journal was told of a direction's stream.
fn told(journal: &Journal, direction: &str) -> Vec<String> {
    journal
        .of("stream_changed")
        .filter(|event| event.text("direction") == direction)
        .map(|event| event.field("health").to_string())
        .collect()
}

/// How often the forward stream has come to its end for a reason, by the server's own log.
fn ends(scene: &Scene, code: &str) -> usize {
    let log = scene.product.log_tail("a", 100_000);
    log.lines().filter(|line| line.contains("stream is down") && line.contains(code)).count()
}

async fn tried(scene: &Scene, code: &str, times: usize) -> Result<()> {
    wait_until(LONG, &format!("the stopped stream to be tried {times} times"), async || {
        let found = ends(scene, code);
        Ok(if found >= times {
            Seen::Done(())
        } else {
            Seen::NotYet(format!("tried {found} times; the log's end:\n{}", scene.product.log_tail("a", 40)))
        })
    })
    .await
}

#[tokio::test]
async fn a_truncate_is_said_once_and_the_phase_is_begun_anew() -> Result<()> {
    let scene = Scene::set(Setting::default()).await?;
    let mut serve = scene.product.serve("a", None)?;
    serve.ready().await?;
    scene.complete("start", LONG).await?;
    scene.on_source().await?.batch_execute("truncate shop.notes").await?;
    tried(&scene, "SW-0310", 3).await?;
    let journal = scene.product.journal().await?;
    let before = told(&journal, "forward");
    let stops = before.iter().filter(|health| health.contains("SW-0310")).count();
    ensure!(stops == 1, "the stop was said {stops} times: {before:?}");
    ensure!(before.last().is_some_and(|last| last.contains("shop.notes")), "it was taken back: {before:?}");

    // Doctor says the reason first, and not to start what runs.
    wait_until(LONG, "doctor to see that nobody reads the slot", async || {
        let (_, report) = scene.product.doctor().await?;
        let text = report.to_string();
        let unread =
            report.pointer("/phases/0/findings").and_then(serde_json::Value::as_array).and_then(|all| {
                all.iter().find(|one| one.get("code").is_some_and(|code| code == "SW-0547")).cloned()
            });
        let what = unread.as_ref().and_then(|one| one.get("what")?.as_str()).unwrap_or_default().to_owned();
        let is_said = what.starts_with("the forward stream is down") && what.contains("SW-0310");
        Ok(if is_said { Seen::Done(()) } else { Seen::NotYet(text) })
    })
    .await?;

    // Another process knows nothing of it and finds it again, without a word in the journal.
    serve.end().await?;
    let known = ends(&scene, "SW-0310");
    let mut serve = scene.product.serve("a", None)?;
    serve.ready().await?;
    tried(&scene, "SW-0310", known + 2).await?;
    let after = told(&scene.product.journal().await?, "forward");
    ensure!(after == before, "a restart made the journal say {after:?}");

    let answer = scene.product.chat("anna", &format!("/migrate {PHASE} cutover")).await?;
    ensure!(!answer.accepted && answer.text.contains("SW-0540"), "{}", answer.text);
    ensure!(answer.text.contains("SW-0310") && answer.text.contains("retire"), "{}", answer.text);
    let (_, _, phase) = scene.phase_status().await?;
    ensure!(phase.to_string().contains("SW-0310"), "status says nothing of it: {phase}");

    // What hangs on the target's tables stops it for good: there is no abort, and none is named.
    scene.on_target().await?.batch_execute("create view public.on_notes as select * from shop.notes").await?;
    let request = scene.order("retire").await?;
    wait_until(LONG, "the view to be in the way", async || {
        let (_, _, phase) = scene.phase_status().await?;
        Ok(if phase.get("blocked").is_some_and(|blocked| blocked.to_string().contains("on_notes")) {
            Seen::Done(())
        } else {
            Seen::NotYet(phase.to_string())
        })
    })
    .await?;
    let (_, table) = scene.product.verb(&["status"], &[]).await?;
    ensure!(
        table.contains("retry") && !table.contains(" abort --reason") && !table.contains("say `abort`"),
        "{table}"
    );
    let answer = scene.product.chat("anna", &format!("/migrate {PHASE} abort --reason \"x\"")).await?;
    ensure!(!answer.accepted && answer.text.contains("SW-0127"), "{}", answer.text);
    scene.on_target().await?.batch_execute("drop view public.on_notes").await?;
    scene.say("anna", &format!("/migrate {PHASE} retry")).await?;
    ensure!(scene.over(request, LONG).await? == "completed", "retire did not go on");
    scene.shows("retired", "source").await?;
    let left = "select count(*) from pg_class c join pg_namespace n on n.oid = c.relnamespace \
                where n.nspname = 'shop' and c.relkind = 'r'";
    let left: i64 = scene.on_target().await?.query_one(left, &[]).await?.get(0);
    ensure!(left == 0, "{left} tables are left on the target");
    scene.complete("start", LONG).await?;
    scene.equal(Side::Source).await?;
    scene.same_schema().await?;
    scene.complete("cutover", LONG).await?;
    scene.shows("on_target", "target").await?;
    scene.product.journal().await?.check()?;
    serve.end().await
}

#[tokio::test]
async fn a_truncate_while_a_switch_drains_undoes_it_at_once() -> Result<()> {
    let setting = Setting { max_downtime: "60s", ..Setting::default() };
    let scene = Scene::set(setting).await?;
    let serve = scene.product.serve("a", None)?;
    scene.complete("start", LONG).await?;
    serve.end().await?;
    let mut serve = scene.product.serve("a", Some("stop:cutover/stop_traffic/hold_traffic/before_intent"))?;
    serve.ready().await?;
    let request = scene.order("cutover").await?;
    serve.stopped_itself(LONG).await?;
    let source = scene.on_source().await?;
    let_go(&source, "shop.notes").await?;
    source.batch_execute("truncate shop.notes").await?;
    serve.thaw()?;
    ensure!(scene.over(request, Duration::from_secs(40)).await? == "undone", "not undone");
    let journal = scene.product.journal().await?;
    let cause = journal.of("undo_started").next_back().map(|event| event.field("cause").to_string());
    ensure!(cause.as_deref().is_some_and(|cause| cause.contains("SW-0310")), "undone because of {cause:?}");
    scene.shows("replicating", "source").await?;
    let app = scene.source.connect(Role::App).await?;
    app.batch_execute("insert into shop.events (worker, seq, kind) values (-31, 1, 'back')").await?;
    serve.end().await
}

#[tokio::test]
async fn a_comparison_beside_a_stream_that_stops_says_so_and_can_be_given_up() -> Result<()> {
    let scene = Scene::set(Setting::default()).await?;
    let serve = scene.product.serve("a", None)?;
    scene.complete("start", LONG).await?;
    serve.end().await?;
    let place = "stop:verify/verify_full/verify_table:shop.notes/before_intent";
    let mut serve = scene.product.serve("a", Some(place))?;
    serve.ready().await?;
    let request = scene.order("verify").await?;
    serve.stopped_itself(LONG).await?;
    let source = scene.on_source().await?;
    let_go(&source, "shop.notes").await?;
    source.batch_execute("truncate shop.notes").await?;
    serve.thaw()?;
    let told = wait_until(LONG, "the comparison to be blocked", async || {
        let journal = scene.product.journal().await?;
        let blocked = journal.of("step_blocked").next_back().map(|event| event.field("finding").to_string());
        Ok(match blocked {
            Some(finding) => Seen::Done(finding),
            None => Seen::NotYet(format!("{}\n{}", journal.tail(5), scene.product.log_tail("a", 5))),
        })
    })
    .await?;
    ensure!(told.contains("SW-0310") && told.contains("shop.notes"), "blocked by {told}");
    let abort = format!("/migrate {PHASE} abort --reason \"the stream\"");
    let (is_done, said) = scene.product.say_and_wait("anna", &abort).await?;
    ensure!(is_done, "the abort of a blocked operation was not waited for: {said}");
    ensure!(scene.over(request, LONG).await? == "undone", "not undone");
    let answer = scene.product.chat("anna", &format!("/migrate {PHASE} verify")).await?;
    ensure!(!answer.accepted && answer.text.contains("SW-0540"), "{}", answer.text);
    serve.end().await
}

#[tokio::test]
async fn a_column_that_one_side_lacks_is_named_until_both_have_it() -> Result<()> {
    let scene = Scene::set(Setting::default()).await?;
    let mut serve = scene.product.serve("a", None)?;
    serve.ready().await?;
    scene.complete("start", LONG).await?;
    let added = "alter table shop.notes add column added int";
    scene.on_source().await?.batch_execute(&format!("{added}; update shop.notes set added = 1")).await?;
    // It is tried again, from another place than the one that first met the change.
    tried(&scene, "SW-0306", 3).await?;
    let (_, _, phase) = scene.phase_status().await?;
    let said = phase.to_string();
    ensure!(said.contains("SW-0306") && said.contains("only on the source added"), "{said}");
    let journal = scene.product.journal().await?;
    let before = told(&journal, "forward");
    ensure!(!before.iter().any(|health| health.contains("SW-0303")), "a vaguer word came after: {before:?}");
    scene.on_target().await?.batch_execute(added).await?;
    scene.equal(Side::Source).await?;
    serve.end().await
}

#[tokio::test]
async fn what_was_written_to_a_table_under_another_name_is_carried_once_it_has_its_own_again() -> Result<()> {
    let scene = Scene::set(Setting::default()).await?;
    let mut serve = scene.product.serve("a", None)?;
    serve.ready().await?;
    scene.complete("start", LONG).await?;
    let away = "alter table shop.notes rename to memos";
    let write =
        "insert into shop.memos (body) values ('meanwhile'); update shop.memos set pinned = not pinned";
    let back = "alter table shop.memos rename to notes";
    // While the stream looks on, and all at once.
    let source = scene.on_source().await?;
    source.batch_execute(&format!("{away}; {write}")).await?;
    tried(&scene, "SW-0412", 1).await?;
    source.batch_execute(back).await?;
    scene.equal(Side::Source).await?;
    for sql in [away, write, back] {
        source.batch_execute(sql).await?;
    }
    scene.equal(Side::Source).await?;
    scene.complete("cutover", LONG).await?;
    let target = scene.on_target().await?;
    for sql in [away, write, back] {
        target.batch_execute(sql).await?;
    }
    scene.equal(Side::Target).await?;
    scene.complete("failback", LONG).await?;
    serve.end().await
}

#[tokio::test]
async fn what_was_written_before_a_column_came_is_carried_also_when_it_is_read_after() -> Result<()> {
    let scene = Scene::set(Setting::default()).await?;
    let mut serve = scene.product.serve("a", None)?;
    serve.ready().await?;
    scene.complete("start", LONG).await?;
    serve.end().await?;

    let write = "insert into shop.notes (body, stamp) select 'n' || n, 'seed' from generate_series(1, 3) n; \
                 update shop.notes set body = body || '.' where id % 2 = 0; delete from shop.notes where id = 1";
    let added = "alter table shop.notes add column added int not null default 5";
    let (source, target) = (scene.on_source().await?, scene.on_target().await?);
    source.batch_execute(write).await?;
    source.batch_execute(added).await?;
    source.batch_execute("update shop.notes set added = 7 where id % 3 = 0").await?;
    source.batch_execute("insert into shop.notes (body, added) values ('later', 8)").await?;
    target.batch_execute(added).await?;
    let mut serve = scene.product.serve("a", None)?;
    serve.ready().await?;
    scene.equal(Side::Source).await?;
    scene.complete("cutover", LONG).await?;

    // On the way back, while the stream looks on.
    target.batch_execute(write.replace("id = 1", "id = 2").as_str()).await?;
    let more = "alter table shop.notes add column more text default 'x'";
    source.batch_execute(more).await?;
    target.batch_execute(more).await?;
    target.batch_execute("update shop.notes set more = 'y' where id % 5 = 0").await?;
    scene.equal(Side::Target).await?;
    scene.complete("failback", LONG).await?;
    serve.end().await
}
