//! A plan held against its databases, and a plan made from one.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use product::cluster::Role;
use product::scene::{JournalKind, PHASE, Scene, Setting};
use product::switchyard::binary;
use product::wait::{Seen, wait_until};

/// Runs the program in the scene's directory. Gives its exit code and both outputs.
fn run(scene: &Scene, arguments: &[&str]) -> Result<(i32, String)> {
    let Output { status, stdout, stderr } = std::process::Command::new(binary()?)
        .args(arguments)
        .current_dir(scene.file(""))
        .env("SHOP_SOURCE", scene.source.url(Role::Mover))
        .env("SHOP_TARGET", scene.target.url(Role::Mover))
        .env("SHOP_PGBOUNCER", scene.pgbouncer.admin_url())
        .env("SWITCHYARD_TARGET_URL", scene.target.url(Role::Mover))
        .output()?;
    let text = format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    ensure!(!text.contains("LEAK"), "a secret was printed: {text}");
    Ok((status.code().context("ended by a signal")?, text))
}

fn change(file: &Path, what: impl Fn(&str) -> String) -> Result<()> {
    let text = std::fs::read_to_string(file)?;
    Ok(std::fs::write(file, what(&text))?)
}

/// Where a text stands in a file, as the program says it.
fn place(file: &Path, needle: &str) -> Result<String> {
    let text = std::fs::read_to_string(file)?;
    let at = text.find(needle).with_context(|| format!("no {needle} in the plan"))?;
    let before = text.get(..at).unwrap_or_default();
    let column = at - before.rfind('\n').map_or(0, |end| end + 1) + 1;
    Ok(format!(":{}:{column}:", before.matches('\n').count() + 1))
}

#[tokio::test]
async fn a_plan_is_held_against_its_databases() -> Result<()> {
    let scene = Scene::set(Setting::default()).await?;
    let plan = scene.product.plan();
    let (code, text) = run(&scene, &["plan", "check", "plan.toml", "--connect"])?;
    ensure!(code == 0 && text.contains("nothing was changed"), "{code}: {text}");

    let source = scene.on_source().await?;
    source
        .batch_execute(
            "create table shop.note (id bigint, body text collate \"C\", tags jsonb);
             create table shop.parent (id bigint primary key);
             create table shop.child (id bigint primary key, parent bigint references shop.parent);
             create table shop.big (id bigint, region text, primary key (id, region));
             create sequence shop.number;
             create table shop.invoice (id bigint primary key default nextval('shop.number'));
             create table shop.credit (id bigint primary key default nextval('shop.number'))",
        )
        .await?;
    scene.on_target().await?.batch_execute("create schema shop; create table shop.events (id int)").await?;
    let lever = "[phase.lever]\nkind = \"command\"\nstop = [\"true\"]\nobserve = [\"echo\", \"source\"]\n\
                 route = [\"true\"]\nresume = [\"true\"]\n";
    let phase = |name: &str, lines: &str| format!("\n[[phase]]\nname = \"{name}\"\n{lines}\n\n{lever}");
    change(&plan, |text| {
        let misspelt = text.replace("\"shop.prices\"", "\"shop.price\"");
        format!(
            "{misspelt}{}{}{}{}{}{}",
            phase("notes", "tables = [\"shop.note\"]\nfilter = \"boddy = 'x' OR tags = 'y'\""),
            phase("children", "tables = [\"shop.chi*\"]"),
            phase("one", "tables = [\"shop.big\"]\nfilter = \"region = 'eu' AND id > 1\""),
            phase(
                "other",
                "tables = [\"shop.big\", \"shop.nothing_*\"]\nfilter = \"region = 'us' AND id < 2\""
            ),
            phase("invoices", "tables = [\"shop.invoice\"]"),
            phase("credits", "tables = [\"shop.cred*\", \"shop.credit\"]"),
        )
    })?;
    let (code, text) = run(&scene, &["plan", "check", "plan.toml", "--connect"])?;
    ensure!(code == 1, "{code}: {text}");
    let says = |place: &str, parts: &[&str]| -> Result<()> {
        let line =
            text.lines().find(|line| line.contains(place) && parts.iter().all(|part| line.contains(part)));
        line.map(drop).with_context(|| format!("no line with {place} and {parts:?} in\n{text}"))
    };
    says(&place(&plan, "shop.price\"")?, &["SW-0210", "Is shop.prices meant?"])?;
    says(&place(&plan, "shop.events")?, &["SW-0231"])?;
    says(&place(&plan, "shop.note\"]")?, &["SW-0213"])?;
    says(&place(&plan, "filter = \"boddy")?, &["SW-0315", "boddy", "Is body meant?"])?;
    says(&place(&plan, "filter = \"boddy")?, &["SW-0315", "tags", "jsonb"])?;
    says(":", &["SW-0215", "shop.parent"])?;
    says(&place(&plan, "shop.nothing_*")?, &["SW-0313"])?;
    says(&place(&plan, "shop.credit\"")?, &["SW-0320", "shop.number", "phase invoices"])?;
    says("phase children: shop.chi* is 1 table", &["shop.child"])?;
    ensure!(!text.contains("SW-0318"), "these slices are disjoint: {text}");

    // A phase that comes before brings the parent.
    change(&plan, |text| {
        text.replace("\"shop.chi*\"]", "\"shop.chi*\"]\nafter = [\"parents\"]")
            + &phase("parents", "tables = [\"shop.parent\"]")
    })?;
    let (_, text) = run(&scene, &["plan", "check", "plan.toml", "--connect", "--json"])?;
    ensure!(!text.contains("SW-0215") && text.contains("\"ok\":false") && text.contains("SW-0213"), "{text}");
    for client in [scene.on_source().await?, scene.on_target().await?] {
        let home = client.query_one("select to_regnamespace('_switchyard') is null", &[]).await?;
        ensure!(home.get::<_, bool>(0), "a check has written");
    }
    Ok(())
}

#[tokio::test]
async fn a_plan_is_made_from_a_source_and_is_right_once_it_is_filled_in() -> Result<()> {
    let scene = Scene::set(Setting::default()).await?;
    let source = scene.on_source().await?;
    source
        .batch_execute(
            "create table shop.log (at timestamptz, line text);
             create table shop.\"We.ird\" (id bigint primary key);
             create table shop.\"Quo\"\"ted\\\" (id bigint primary key)",
        )
        .await?;
    source
        .batch_execute(
            "create sequence shop.number;
             create table shop.invoice (id bigint primary key default nextval('shop.number'));
             create table shop.credit (id bigint primary key default nextval('shop.number'))",
        )
        .await?;
    let sold = "create function shop.sold() returns trigger language plpgsql as
                  'begin update shop.stock set id = id where id = new.id; return new; end'";
    source
        .batch_execute(&format!(
            "create table shop.stock (id bigint primary key);
             create table shop.sale (id bigint primary key);
             {sold};
             create trigger sold after insert on shop.sale for each row execute function shop.sold()"
        ))
        .await?;
    source
        .batch_execute(
            "create view shop.recent as select * from shop.notes;
             create materialized view shop.tally as select count(*) from shop.recent;
             create view shop.same as select 1 as one;
             create rule quiet as on delete to shop.stock do instead nothing;
             create foreign data wrapper nowhere;
             create server away foreign data wrapper nowhere;
             create foreign table shop.remote (id bigint) server away",
        )
        .await?;
    scene.on_target().await?.batch_execute(&format!("create schema shop; {sold}")).await?;
    let init =
        ["plan", "init", "--source", "env:SHOP_SOURCE", "--target", "env:SHOP_TARGET", "-o", "begun.toml"];
    let (code, text) = run(&scene, &init)?;
    ensure!(code == 0 && text.contains("begun.toml is written"), "{code}: {text}");
    let file = scene.file("begun.toml");
    let written = std::fs::read_to_string(&file)?;
    ensure!(written.contains("#   shop.log") && written.contains("add primary key"), "{written}");
    ensure!(written.contains("\n  \"shop.We.ird\""), "{written}");

    let phase_of = |table: &str| written.split("[[phase]]").position(|phase| phase.contains(table));
    ensure!(
        phase_of("\"shop.sale\"") == phase_of("\"shop.stock\""),
        "a trigger's tables are apart: {written}"
    );
    ensure!(written.contains("a trigger of it writes shop.stock"), "{written}");
    ensure!(
        written.contains("target = \"env:SHOP_TARGET\"") && written.contains("# signing_key = "),
        "{written}"
    );
    ensure!(written.contains("# witness = "), "{written}");
    for left in [
        "#   shop.remote  ",
        "#   view shop.recent, over shop.notes\n",
        "#   materialized view shop.tally, over shop.notes\n",
        "#   rule quiet of shop.stock\n",
    ] {
        ensure!(written.contains(left), "{left} is not named: {written}");
    }
    ensure!(!written.contains("shop.same"), "a view over no table is named: {written}");

    let tied = written.split("[[phase]]").filter(|phase| phase.contains("shares shop.number")).count();
    ensure!(tied == 1, "a sequence's tables are in {tied} phases: {written}");

    let (code, text) = run(&scene, &init)?;
    ensure!(code == 1 && text.contains("never overwritten"), "{code}: {text}");
    ensure!(std::fs::read_to_string(&file)? == written, "the file was overwritten");

    let (code, text) = run(&scene, &["plan", "check", "begun.toml"])?;
    ensure!(code == 1, "an unfilled plan passes: {text}");
    change(&file, |text| {
        text.replace("FILL IN: first-person", &"a".repeat(64))
            .replace("FILL IN: second-person", &"b".repeat(64))
    })?;
    let (code, text) = run(&scene, &["plan", "check", "begun.toml", "--connect"])?;
    ensure!(code == 1 && text.contains("SW-0513"), "levers that are not there pass: {text}");
    let observe = scene.file("where.sh");
    std::fs::write(&observe, "#!/bin/sh\necho source\n")?;
    std::fs::set_permissions(&observe, std::fs::Permissions::from_mode(0o755))?;
    change(&file, |text| {
        let of_lever = |line: &str| {
            ["stop", "observe", "route", "resume"].iter().any(|key| line.starts_with(&format!("{key} = ")))
        };
        let lines = text.lines().map(|line| match line.split_once(" = ") {
            Some((key, _)) if of_lever(line) => format!("{key} = [\"{}\"]\n", observe.display()),
            _ => format!("{line}\n"),
        });
        lines.collect()
    })?;
    let (code, text) = run(&scene, &["plan", "check", "begun.toml", "--connect"])?;
    ensure!(code == 0, "{text}\n{written}");
    for left in ["view shop.recent", "materialized view shop.tally", "rule quiet of shop.stock"] {
        ensure!(text.contains(left), "{left} is not told of: {text}");
    }
    let (code, text) = run(&scene, &["plan", "init", "--source", "postgres://u:pw-LEAK@h/d"])?;
    ensure!(code == 2 && text.contains("env:NAME") && !text.contains("u:"), "{code}: {text}");
    let (code, text) = run(&scene, &["plan", "init", "--source", "env:NOBODY_SET_THIS"])?;
    ensure!(code == 3 && text.contains("NOBODY_SET_THIS"), "{code}: {text}");
    Ok(())
}

/// A path as it is written from a folder of the same depth below the same place.
fn from_beside(folder: &Path, path: &Path) -> Result<String> {
    let above = folder.parent().context("no folder above")?;
    Ok(format!("../{}", path.strip_prefix(above).context("not beside each other")?.display()))
}

#[tokio::test]
async fn what_a_plan_names_is_found_from_wherever_it_is_called() -> Result<()> {
    let scene = Scene::set(Setting { journal: JournalKind::Postgres, ..Setting::default() }).await?;
    let journal = scene.product.environment("SHOP_JOURNAL").context("no journal's url")?.to_owned();
    for (name, url) in [
        ("source.url", scene.source.url(Role::Mover)),
        ("target.url", scene.target.url(Role::Mover)),
        ("journal.url", journal),
        ("admin.url", scene.pgbouncer.admin_url()),
    ] {
        std::fs::write(scene.file(name), format!("{url}\n"))?;
    }
    let (plan, folder, ini) = (scene.product.plan(), scene.file(""), scene.pgbouncer.ini());
    let beside = from_beside(&folder, &ini)?;
    change(&plan, |text| {
        text.replace("env:SHOP_SOURCE", "file:source.url")
            .replace("env:SHOP_TARGET", "file:target.url")
            .replace("env:SHOP_JOURNAL", "file:journal.url")
            .replace("env:SHOP_PGBOUNCER", "file:admin.url")
            .replace(&ini.display().to_string(), &beside)
    })?;
    let text = std::fs::read_to_string(&plan)?;
    ensure!(!text.contains("env:") && text.contains(&beside), "{text}");

    let (elsewhere, above) = (tempfile::tempdir()?, folder.parent().context("no folder above")?);
    let short = format!("{}/plan.toml", folder.file_name().context("no name")?.to_string_lossy());
    let ways = [(elsewhere.path(), plan.to_string_lossy().into_owned()), (above, short)];
    let call = |(cwd, plan): &(&Path, String), verb: &[&str]| {
        let mut command = std::process::Command::new(binary()?);
        command.args(verb).current_dir(cwd).env("SWITCHYARD_PLAN", plan);
        Ok::<_, anyhow::Error>(command)
    };
    let mut serve = tokio::process::Command::from(call(&ways[0], &["serve"])?);
    let mut serve = serve.stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true).spawn()?;
    wait_until(Duration::from_secs(30), "`serve` to listen", async || {
        let ended = serve.try_wait()?;
        ensure!(ended.is_none(), "`serve` ended: {ended:?}");
        Ok(if scene.file("switchyard.sock").exists() { Seen::Done(()) } else { Seen::NotYet(String::new()) })
    })
    .await?;
    scene.complete("start", Duration::from_secs(120)).await?;
    for way in &ways {
        let check = ["plan", "check", way.1.as_str(), "--connect"];
        for verb in [check.as_slice(), &["status"], &["doctor"]] {
            let Output { status, stdout, stderr } = call(way, verb)?.output()?;
            let said = format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
            ensure!(status.success(), "{verb:?} from {}: {status}: {said}", way.0.display());
        }
    }
    Ok(())
}

#[tokio::test]
async fn plan_tells_before_anybody_asks_what_a_start_would_be_refused_for() -> Result<()> {
    let scene = Scene::set(Setting::default()).await?;
    let mut serve = scene.product.serve("a", None)?;
    serve.ready().await?;
    let asked = format!("plan {PHASE}");
    let clear = scene.say("ben", &asked).await?.text;
    ensure!(clear.contains("now    preflight finds nothing in the way"), "{clear}");
    let target = scene.on_target().await?;
    target.batch_execute("create schema shop; create table shop.events (id int)").await?;
    let blocked = scene.say("ben", &asked).await?.text;
    ensure!(blocked.contains("now    preflight finds 1 thing in the way\n"), "{blocked}");
    ensure!(blocked.contains("           [SW-0231] ") && blocked.contains("shop.events"), "{blocked}");
    // Whoever starts it all the same is told the same.
    let refused = scene.product.say_and_wait("anna", &format!("{PHASE} start")).await?.1;
    ensure!(refused.contains("SW-0231"), "{refused}");
    scene.say("anna", &format!("{PHASE} abort --reason \"the table is in the way\"")).await?;
    target.batch_execute("drop schema shop cascade").await?;
    scene.complete("start", Duration::from_secs(120)).await?;
    // What has begun has no start before it.
    let after = scene.say("ben", &asked).await?.text;
    ensure!(!after.contains("preflight") && after.contains("cutover"), "{after}");
    Ok(())
}
