//! A lever that does not work, or leads elsewhere, is found before anything is stopped; one that breaks in the window does
//! not keep the traffic.

use std::process::Output;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use product::cluster::Role;
use product::scene::{PHASE, Scene, Setting, Side};
use product::switchyard::binary;
use product::wait::{Seen, wait_until};
use product::workload::Pace;
use tokio::task::JoinSet;
use tokio_postgres::{NoTls, SimpleQueryMessage};

const LONG: Duration = Duration::from_secs(120);

/// Writes the plan anew before anybody has read it.
fn change(scene: &Scene, what: impl Fn(String) -> String) -> Result<()> {
    let plan = scene.product.plan();
    let text = std::fs::read_to_string(&plan)?;
    let changed = what(text.clone());
    ensure!(changed != text, "the plan was not changed");
    Ok(std::fs::write(plan, changed)?)
}

/// `plan check --connect`: its exit code and what it says.
fn check(scene: &Scene, admin: &str) -> Result<(i32, String)> {
    said_by(scene, &["plan", "check", "plan.toml", "--connect"], admin)
}

fn said_by(scene: &Scene, words: &[&str], admin: &str) -> Result<(i32, String)> {
    let Output { status, stdout, stderr } = std::process::Command::new(binary()?)
        .args(words)
        .current_dir(scene.file(""))
        .env("SHOP_SOURCE", scene.source.url(Role::Mover))
        .env("SHOP_TARGET", scene.target.url(Role::Mover))
        .env("SHOP_PGBOUNCER", admin)
        .output()?;
    let text = format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    ensure!(!text.contains("LEAK"), "a secret was printed: {text}");
    Ok((status.code().context("ended by a signal")?, text))
}

/// Demands that the check names a code at the line of a key.
fn names(scene: &Scene, (code, key): (&str, &str)) -> Result<()> {
    let text = std::fs::read_to_string(scene.product.plan())?;
    let line = text.split("[phase.lever]").next().unwrap_or_default().lines().count()
        + text
            .split_once("[phase.lever]")
            .and_then(|(_, lever)| lever.lines().position(|line| line.starts_with(&format!("{key} ="))))
            .with_context(|| format!("no {key} in the lever"))?
        + 1;
    let (exit, said) = check(scene, &scene.pgbouncer.admin_url())?;
    let place = format!("plan.toml:{line}:1:");
    let found = said.lines().any(|each| each.contains(&place) && each.contains(code));
    ensure!(exit == 1 && found, "expected {code} at {place}, exit code {exit}: {said}");
    Ok(())
}

/// Waits until the phase is blocked by a finding of this code, and gives what status says of it.
async fn blocked(scene: &Scene, code: &str) -> Result<String> {
    wait_until(LONG, &format!("the phase to be blocked by {code}"), async || {
        let (_, _, phase) = scene.phase_status().await?;
        let found = phase.pointer("/blocked/code").is_some_and(|found| found == code);
        Ok(if found {
            Seen::Done(phase.to_string())
        } else {
            Seen::NotYet(format!("{phase}\n{}", scene.product.log_tail("a", 5)))
        })
    })
    .await
}

async fn never_held(scene: &Scene) -> Result<()> {
    let journal = scene.product.journal().await?;
    let held = journal
        .of("effect_intended")
        .any(|event| event.field("spec").get("kind").is_some_and(|kind| kind == "hold_traffic"));
    ensure!(!held, "the traffic was stopped: {}", journal.tail(20));
    Ok(())
}

#[tokio::test]
async fn a_wrong_ini_is_named_by_the_check_and_stops_a_cutover_before_the_traffic() -> Result<()> {
    let scene = Scene::set(Setting::default()).await?;
    ensure!(check(&scene, &scene.pgbouncer.admin_url())?.0 == 0, "the right lever is refused");
    let wrong = "postgres://admin:wrong-LEAK@";
    let (exit, said) =
        check(&scene, &scene.pgbouncer.admin_url().replacen("postgres://admin:pw-admin-LEAK@", wrong, 1))?;
    ensure!(exit == 1 && said.contains("SW-0516"), "a wrong password of the console passes: {said}");

    // A copy is not what pgbouncer reads; then there is no file at all.
    let real = scene.pgbouncer.ini();
    let named = scene.file("named.ini");
    std::fs::copy(&real, &named)?;
    change(&scene, |text| text.replace(&real.display().to_string(), &named.display().to_string()))?;
    names(&scene, ("SW-0514", "ini"))?;
    std::fs::write(&named, "[databases]\nother = host=127.0.0.1\n")?;
    names(&scene, ("SW-0513", "database"))?;
    std::fs::remove_file(&named)?;
    names(&scene, ("SW-0513", "ini"))?;

    let workload = scene.workload(Pace::GENTLE);
    let mut serve = scene.product.serve("a", None)?;
    serve.ready().await?;
    scene.complete("start", LONG).await?;
    let request = scene.order("cutover").await?;
    let said = blocked(&scene, "SW-0513").await?;
    ensure!(said.contains("prepare_switch") && said.contains("named.ini"), "{said}");
    never_held(&scene).await?;
    workload.acknowledged(20, LONG).await?;
    std::os::unix::fs::symlink(&real, &named)?;
    let before = std::fs::read(&real)?;
    scene.say("anna", &format!("/migrate {PHASE} retry")).await?;
    ensure!(scene.over(request, LONG).await? == "completed", "not mended");
    let journal = scene.product.journal().await?;
    let rehearsed =
        journal.of("effect_succeeded").any(|event| event.value().to_string().contains("rehearsed_ms"));
    ensure!(rehearsed, "nothing was rehearsed: {}", journal.tail(60));
    let text = std::fs::read_to_string(&real)?;
    ensure!(!text.contains("rehearsal") && text.len() == before.len(), "the file is not as it was: {text}");
    scene.sound(&workload, Side::Target).await?;
    workload.stop().await;
    serve.end().await
}

#[tokio::test]
async fn an_entry_that_is_not_there_blocks_and_so_does_a_target_that_is_another_database() -> Result<()> {
    let scene = Scene::set(Setting::default()).await?;
    scene.on_target().await?.batch_execute("create database other").await?;
    let right = std::fs::read_to_string(scene.product.plan())?;
    change(&scene, |text| text.replace("database = \"shop\"", "database = \"shopp\""))?;
    names(&scene, ("SW-0516", "database"))?;
    std::fs::write(scene.product.plan(), &right)?;
    let port = scene.target.port();
    change(&scene, |text| {
        text.replace(&format!("port={port} dbname=shop"), &format!("port={port} dbname=other"))
    })?;
    names(&scene, ("SW-0515", "target"))?;

    let mut serve = scene.product.serve("a", None)?;
    serve.ready().await?;
    scene.complete("start", LONG).await?;
    let (in_order, report) = scene.product.doctor().await?;
    ensure!(!in_order && report.to_string().contains("SW-0515"), "doctor sees nothing: {report}");
    scene.order("cutover").await?;
    let said = blocked(&scene, "SW-0515").await?;
    ensure!(said.contains("prepare_switch") && said.contains("oid"), "{said}");
    never_held(&scene).await?;
    serve.end().await
}

#[tokio::test]
async fn a_file_that_vanishes_in_the_window_costs_the_cutover_and_not_the_traffic() -> Result<()> {
    let scene = Scene::set(Setting { max_downtime: "20s", ..Setting::default() }).await?;
    let workload = scene.workload(Pace::GENTLE);
    let mut serve =
        scene.product.serve("a", Some("stop:cutover/fence_source/close_gate:source/before_intent"))?;
    serve.ready().await?;
    scene.complete("start", LONG).await?;
    let began = Instant::now();
    let request = scene.order("cutover").await?;
    serve.stopped_itself(Duration::from_secs(60)).await?;
    let (ini, away) = (scene.pgbouncer.ini(), scene.file("away.ini"));
    std::fs::copy(&ini, &away)?;
    std::fs::remove_file(&ini)?;
    serve.thaw()?;
    ensure!(scene.over(request, LONG).await? == "undone", "{}", scene.product.journal().await?.tail(20));
    workload.acknowledged(40, LONG).await?;
    let pause = workload.records().longest_pause(began, Instant::now());
    ensure!(pause < Duration::from_secs(20), "the application waited {pause:?} under max_downtime = 20s");
    scene.shows("replicating", "source").await?;
    std::fs::copy(&away, &ini)?;
    scene.complete("cutover", LONG).await?;
    scene.sound(&workload, Side::Target).await?;
    workload.stop().await;
    serve.end().await
}

#[tokio::test]
async fn an_undo_that_cannot_route_back_says_so_aloud_and_goes_on_once_it_can() -> Result<()> {
    let scene = Scene::set(Setting { max_downtime: "8s", ..Setting::default() }).await?;
    let workload = scene.workload(Pace::GENTLE);
    let mut serve =
        scene.product.serve("a", Some("stop:cutover/switch_traffic/route_traffic:target/after_outcome"))?;
    serve.ready().await?;
    scene.complete("start", LONG).await?;
    let request = scene.order("cutover").await?;
    serve.stopped_itself(Duration::from_secs(60)).await?;
    let (ini, away) = (scene.pgbouncer.ini(), scene.file("away.ini"));
    std::fs::copy(&ini, &away)?;
    std::fs::remove_file(&ini)?;
    // Past its deadline it may not open any more: it is undone, and the lever points at the target.
    tokio::time::sleep(Duration::from_secs(9)).await;
    serve.thaw()?;
    let said = blocked(&scene, "SW-0517").await?;
    ensure!(said.contains("by hand") && said.contains("RELOAD") && said.contains("RESUME"), "{said}");
    let (_, table) = scene.product.verb(&["status"], &[]).await?;
    ensure!(table.contains("goes on by itself"), "{table}");
    std::fs::copy(&away, &ini)?;
    ensure!(scene.over(request, LONG).await? == "undone", "{}", scene.product.journal().await?.tail(20));
    workload.acknowledged(40, LONG).await?;
    scene.sound(&workload, Side::Source).await?;
    workload.stop().await;
    serve.end().await
}

#[tokio::test]
async fn a_lever_of_ones_own_that_does_not_answer_blocks_before_the_traffic() -> Result<()> {
    let setting = Setting { lever: product::scene::LeverKind::Command, ..Setting::default() };
    let scene = Scene::set(setting).await?;
    let script = scene.file("lever.sh");
    let right = std::fs::read_to_string(&script)?;
    let plan = std::fs::read_to_string(scene.product.plan())?;
    change(&scene, |text| text.replace("route = [\"bash\"", "route = [\"no-such-program\""))?;
    names(&scene, ("SW-0513", "route"))?;
    std::fs::write(scene.product.plan(), plan)?;
    std::fs::write(&script, "echo the lever is broken >&2; exit 3\n")?;
    names(&scene, ("SW-0516", "observe"))?;

    let mut serve = scene.product.serve("a", None)?;
    serve.ready().await?;
    scene.complete("start", LONG).await?;
    let request = scene.order("cutover").await?;
    let said = blocked(&scene, "SW-0516").await?;
    ensure!(said.contains("prepare_switch") && said.contains("the lever is broken"), "{said}");
    never_held(&scene).await?;
    std::fs::write(&script, right)?;
    scene.say("anna", &format!("/migrate {PHASE} retry")).await?;
    ensure!(scene.over(request, LONG).await? == "completed", "not mended");
    serve.end().await
}

#[tokio::test]
async fn who_adopts_a_plan_is_told_what_its_lever_lacks() -> Result<()> {
    let scene = Scene::set(Setting::default()).await?;
    let ini = scene.pgbouncer.ini().display().to_string();
    change(&scene, |text| text.replace(&ini, "/nowhere/pgbouncer.ini"))?;
    let adopt = ["plan", "adopt", "plan.toml"];
    let (exit, said) = said_by(&scene, &adopt, &scene.pgbouncer.admin_url())?;
    let found = said.lines().any(|line| line.contains("warning") && line.contains("/nowhere/pgbouncer.ini"));
    ensure!(exit == 0 && found && said.contains("is adopted"), "exit code {exit}: {said}");
    // One that is away, and one whose lever is right.
    change(&scene, |text| text.replace("/nowhere/pgbouncer.ini", &ini))?;
    std::fs::remove_file(scene.file("journal.db"))?;
    let (exit, said) = said_by(&scene, &adopt, "postgres://nobody@127.0.0.1:1/pgbouncer")?;
    ensure!(exit == 0 && said.contains("SW-0516") && said.contains("is adopted"), "exit code {exit}: {said}");
    std::fs::remove_file(scene.file("journal.db"))?;
    let (exit, said) = said_by(&scene, &adopt, &scene.pgbouncer.admin_url())?;
    ensure!(exit == 0 && !said.contains("warning"), "exit code {exit}: {said}");
    Ok(())
}

/// Requests at short intervals that each connect anew through pgbouncer: how long the longest took.
async fn connect_again_and_again(url: String, over: Arc<AtomicBool>) -> Result<Duration> {
    let mut requests = JoinSet::new();
    let mut longest = Duration::ZERO;
    while !over.load(Ordering::Relaxed) {
        tokio::time::sleep(Duration::from_millis(7)).await;
        while let Some(request) = requests.try_join_next() {
            longest = longest.max(request??);
        }
        if requests.len() > 100 {
            continue;
        }
        let url = url.clone();
        requests.spawn(async move {
            let began = Instant::now();
            let (client, connection) = tokio_postgres::connect(&url, NoTls).await?;
            let driven = tokio::spawn(connection);
            client.simple_query("select 1").await?;
            drop(client);
            driven.await??;
            anyhow::Ok(began.elapsed())
        });
    }
    while let Some(request) = requests.join_next().await {
        longest = longest.max(request??);
    }
    Ok(longest)
}

#[tokio::test]
async fn clients_that_connect_for_each_request_do_not_wait_for_pgbouncers_login_retry() -> Result<()> {
    let mut scene = Scene::set(Setting::default()).await?;
    let ini = std::fs::read_to_string(scene.pgbouncer.ini())?;
    let default = ini.replace("server_login_retry = 1\n", "");
    ensure!(default != ini, "the rig's pgbouncer has its default anyway");
    std::fs::write(scene.pgbouncer.ini(), default)?;
    scene.pgbouncer.restart().await?;
    let serve = scene.product.serve("a", None)?;
    scene.complete("start", LONG).await?;
    for operation in ["cutover", "failback"] {
        let over = Arc::new(AtomicBool::new(false));
        let requests = tokio::spawn(connect_again_and_again(scene.pgbouncer.app_url(), Arc::clone(&over)));
        scene.complete(operation, LONG).await?;
        over.store(true, Ordering::Relaxed);
        let longest = requests.await??;
        ensure!(longest < Duration::from_secs(8), "{operation}: a request took {longest:?}");
    }
    let console = product::cluster::open(&scene.pgbouncer.admin_url()).await?;
    let settings = console.simple_query("show config").await?;
    let retry = settings.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) if row.get("key") == Some("server_login_retry") => row.get("value"),
        _ => None,
    });
    ensure!(retry == Some("15"), "the file's setting is back: {retry:?}");
    serve.end().await
}
