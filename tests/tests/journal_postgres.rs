//! The journal in PostgreSQL: several servers, on as many machines as one likes, serve one migration.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use product::cluster::{Role, open};
use product::scene::{JOURNAL_PASSWORD, JournalKind, PHASE, Scene, Setting, Side};
use product::wait::{Seen, wait_until};
use product::watch::Watcher;
use product::workload::Pace;
use tokio_postgres::Client;

const LONG: Duration = Duration::from_secs(120);

fn setting() -> Setting {
    Setting { journal: JournalKind::Postgres, ..Setting::default() }
}

/// A superuser's session on the journal's server.
async fn on_journal(scene: &Scene) -> Result<Client> {
    let server = scene.journal.as_ref().context("the journal is in no server")?;
    server.connect(Role::Mover).await
}

/// Ends every session of the journal's role.
async fn end_sessions(superuser: &Client) -> Result<()> {
    let end = "select count(pg_terminate_backend(pid)) from pg_stat_activity where usename = 'keeper'";
    let ended: i64 = superuser.query_one(end, &[]).await?.get(0);
    ensure!(ended > 0, "no session was ended");
    Ok(())
}

/// Waits until an instance that must not start has ended, and gives its last words.
async fn ends(scene: &Scene, instance: &str) -> Result<String> {
    let mut serve = scene.product.serve(instance, None)?;
    wait_until(Duration::from_secs(30), "the second of one name to end", async || {
        Ok(match serve.exited()? {
            Some(status) => Seen::Done(format!("{status}\n{}", serve.log_tail(10))),
            None => Seen::NotYet(serve.log_tail(5)),
        })
    })
    .await
}

#[tokio::test]
async fn a_killed_server_of_two_on_one_journal_in_postgresql_is_followed_by_the_other() -> Result<()> {
    let scene = Scene::set(setting()).await?;
    let workload = scene.workload(Pace::GENTLE);
    let watcher = Watcher::start(&scene);
    // The first has the lease when the second comes. It dies between the opening's intent and the opening.
    let mut first = scene.product.serve("a", Some("cutover/switch_traffic/open_gate:target/after_intent"))?;
    first.ready().await?;
    scene.complete("start", LONG).await?;
    let mut second = scene.product.serve("b", None)?;
    second.ready().await?;
    let said = ends(&scene, "b").await?;
    ensure!(said.contains("SW-0626") && said.contains("runs already"), "{said}");

    let request = scene.order("cutover").await?;
    first.killed_itself(LONG).await?;
    // People speak to the other, and ask the journal itself, as ever.
    scene.product.speak_to("b");
    ensure!(scene.over(request, LONG).await? == "completed", "the other did not finish the cutover");
    scene.shows("on_target", "target").await?;
    let journal = scene.product.journal().await?;
    journal.check()?;
    let holders: Vec<&str> = journal.of("lease_taken").map(|event| event.text("holder")).collect();
    ensure!(
        holders.first().is_some_and(|holder| holder.ends_with("/a"))
            && holders.last().is_some_and(|holder| holder.ends_with("/b")),
        "the lease went through {holders:?}"
    );
    scene.sound(&workload, Side::Target).await?;

    // The killed one's name is free, and a plan is adopted past both.
    let mut again = scene.product.serve("a", None)?;
    again.ready().await?;
    scene.rewrite_plan(|setting| setting.max_downtime = "50s")?;
    scene.product.adopt_plan("anna").await?;
    // Killed as well, it is followed by itself, without waiting for its term.
    second.kill9().await?;
    scene.product.speak_to("a");
    scene.complete("failback", LONG).await?;
    scene.shows("replicating", "source").await?;
    scene.sound(&workload, Side::Source).await?;
    scene.product.check_journal().await?;
    watcher.finish().await?;
    workload.stop().await;
    again.end().await?;
    let everything = scene.product.everything_written().await?;
    ensure!(!everything.contains(JOURNAL_PASSWORD), "the journal's password was written somewhere");
    ensure!(everything.contains(PHASE), "nothing was looked at");
    Ok(())
}

#[tokio::test]
async fn a_journal_whose_server_is_away_is_told_and_waited_for() -> Result<()> {
    let scene = Scene::set(setting()).await?;
    let mut serve = scene.product.serve("a", None)?;
    serve.ready().await?;
    // Every session of the journal ends at once, the one that holds the instance's name among them.
    let superuser = on_journal(&scene).await?;
    end_sessions(&superuser).await?;
    scene.complete("start", LONG).await?;
    ensure!(serve.exited()?.is_none(), "it ended: {}", serve.log_tail(10));
    // Nobody may have it while the first holds its name again.
    let held = "select count(*) from pg_locks where locktype = 'advisory' and granted";
    wait_until(Duration::from_secs(30), "the name to be held again", async || {
        let count: i64 = superuser.query_one(held, &[]).await?.get(0);
        Ok(if count > 0 { Seen::Done(()) } else { Seen::NotYet(count.to_string()) })
    })
    .await?;
    let said = ends(&scene, "a").await?;
    ensure!(said.contains("SW-0626"), "{said}");
    serve.end().await
}

/// Appends as a newer version would: its barrier.
const BARRIER: &str = "
    do $$
    declare
        head bigint;
        at bigint := switchyard_journal.now_ms();
        body bytea;
    begin
        select position into head from switchyard_journal.head for update;
        body := convert_to(format(
            '{\"actor\":{\"by\":\"operator\"},\"body\":{\"kind\":\"version_barrier\",\"to\":\"9\"},\"command_id\":\"schema/9\",'
            '\"event_id\":\"0199c0de-0000-7000-8000-000000000001\",\"migration\":\"shop\",\"position\":\"%s\",'
            '\"recorded_at\":\"2026-01-02T03:04:05.678Z\",\"schema_version\":\"1\"}', head + 1), 'UTF8');
        if switchyard_journal.append(head, at, null, '{}', '{}', array[body], '{0199c0de-0000-7000-8000-000000000001}',
            '{schema/9}', array[sha256('')], '{version_barrier}', array[null::text], array[at]) is null
        then
            raise exception 'the head moved';
        end if;
    end
    $$";

#[tokio::test]
async fn an_older_server_stops_at_the_barrier_of_a_newer_version() -> Result<()> {
    let scene = Scene::set(setting()).await?;
    let mut serve = scene.product.serve("a", None)?;
    serve.ready().await?;
    scene.complete("start", LONG).await?;
    let journal = scene.journal.as_ref().context("the journal is in no server")?;
    let inside = open(&journal.url(Role::Mover).replace("/shop", "/journal")).await?;
    inside.batch_execute(BARRIER).await?;
    let said = wait_until(LONG, "the older server to end", async || {
        Ok(match serve.exited()? {
            Some(status) => Seen::Done(format!("{status}\n{}", serve.log_tail(10))),
            None => Seen::NotYet(serve.log_tail(5)),
        })
    })
    .await?;
    ensure!(said.contains("schema version 9") && said.contains("use a newer switchyard"), "{said}");
    let head = "select position from switchyard_journal.head";
    let before: i64 = inside.query_one(head, &[]).await?.get(0);
    let answer = scene.product.chat("anna", "/migrate status").await?;
    ensure!(!answer.accepted, "{}", answer.text);
    let told = scene.product.status().await.expect_err("it cannot be read").to_string();
    ensure!(told.contains("use a newer switchyard"), "{told}");
    let said = ends(&scene, "a").await?;
    ensure!(said.contains("use a newer switchyard"), "{said}");
    let after: i64 = inside.query_one(head, &[]).await?.get(0);
    ensure!(before == after, "the older version went on writing");
    Ok(())
}

#[tokio::test]
async fn a_server_whose_name_another_has_by_now_ends_by_itself() -> Result<()> {
    let scene = Scene::set(setting()).await?;
    let mut first = scene.product.serve("a", None)?;
    first.ready().await?;
    first.freeze().await?;
    end_sessions(&on_journal(&scene).await?).await?;
    let mut second = scene.product.serve_as("a", "elsewhere")?;
    second.ready().await?;
    first.thaw()?;
    let said = wait_until(Duration::from_secs(90), "the first to end", async || {
        Ok(match first.exited()? {
            Some(status) => Seen::Done(format!("{status}\n{}", first.log_tail(10))),
            None => Seen::NotYet(first.log_tail(5)),
        })
    })
    .await?;
    ensure!(said.contains("another process runs as this instance"), "{said}");
    ensure!(second.exited()?.is_none(), "the second ended too: {}", second.log_tail(10));
    second.end().await
}

#[tokio::test]
async fn a_server_whose_journal_connections_are_cut_again_and_again_goes_on() -> Result<()> {
    let scene = Scene::set(setting()).await?;
    let mut serve = scene.product.serve("a", None)?;
    serve.ready().await?;
    let inside = on_journal(&scene).await?;
    let request = scene.ask("start").await?;
    let until = std::time::Instant::now() + Duration::from_secs(3);
    let mut cuts: i64 = 0;
    while std::time::Instant::now() < until {
        // The connection that keeps the instance's name is one of them: it is taken anew.
        let end = "select count(pg_terminate_backend(pid)) from pg_stat_activity where usename = 'keeper'";
        cuts += inside.query_one(end, &[]).await?.get::<_, i64>(0);
        tokio::time::sleep(Duration::from_millis(40)).await;
        ensure!(serve.exited()?.is_none(), "it ended after {cuts} cuts: {}", serve.log_tail(10));
    }
    ensure!(cuts > 20, "only {cuts} sessions were ended");
    ensure!(scene.over(request, LONG).await? == "completed", "{}", scene.product.journal().await?.tail(20));
    scene.product.journal().await?.check()?;
    serve.end().await
}
