//! A role that is no superuser is told what it lacks, as SQL that can be run, and needs no more than that.

use std::process::Output;

use anyhow::{Context as _, Result, ensure};
use product::scene::{Scene, Setting};
use product::switchyard::binary;

const PASSWORD: &str = "pw-of-the-plain-LEAK";

fn run(scene: &Scene, arguments: &[&str]) -> Result<String> {
    let url = |port: u16| format!("postgres://Plain%20Mover:{PASSWORD}@127.0.0.1:{port}/shop");
    let Output { stdout, stderr, .. } = std::process::Command::new(binary()?)
        .args(arguments)
        .current_dir(scene.file(""))
        .env("SHOP_SOURCE", url(scene.source.port()))
        .env("SHOP_TARGET", url(scene.target.port()))
        .env("SHOP_PGBOUNCER", scene.pgbouncer.admin_url())
        .output()?;
    let text = format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    ensure!(!text.contains("LEAK"), "a secret was printed: {text}");
    Ok(text)
}

/// The statements that a remedy names for a side.
fn statements(text: &str, side: &str) -> Vec<String> {
    let mut found = Vec::new();
    for line in text.lines().filter(|line| line.contains("SW-0207") || line.contains("; as a superuser: ")) {
        let of_side = line.contains(&format!("at the {side}")) || line.contains(&format!("At the {side}"));
        let said = [": grant ", ": alter "].iter().find_map(|start| line.find(start));
        if let Some(said) = said.filter(|_| of_side).and_then(|at| line.get(at + 2..)) {
            found.push(said.to_owned());
        }
    }
    found
}

#[tokio::test]
async fn what_a_role_lacks_is_told_as_sql_that_runs_and_doctor_needs_no_more() -> Result<()> {
    let scene = Scene::set(Setting::default()).await?;
    let sides = [("source", scene.on_source().await?), ("target", scene.on_target().await?)];
    for (_, client) in &sides {
        client
            .batch_execute(&format!(
                "create role \"Plain Mover\" login password '{PASSWORD}'; revoke temporary on database shop from public"
            ))
            .await?;
    }
    let check = ["plan", "check", "plan.toml", "--connect"];
    let before = run(&scene, &check)?;
    for (side, _) in &sides {
        let told = statements(&before, side);
        ensure!(told.len() >= 5, "the {side} lacks more than {told:?}: {before}");
    }
    // What a schema hides is told once it may be used.
    let mut after = before;
    for _round in 0..3 {
        for (side, client) in &sides {
            for sql in statements(&after, side) {
                ensure!(sql.ends_with(';'), "no statement: {sql}");
                client.batch_execute(&sql).await.with_context(|| format!("at the {side}: {sql}"))?;
            }
        }
        after = run(&scene, &check)?;
    }
    ensure!(!after.contains("SW-0207") && !after.contains("pg_replication_origin_status"), "{after}");

    // Without the one grant that only doctor needs, it goes on and says what it does not see.
    for (_, client) in &sides {
        client.batch_execute("revoke select on pg_replication_origin_status from \"Plain Mover\"").await?;
    }
    let seen = run(&scene, &["doctor", "--plan", "plan.toml"])?;
    ensure!(!seen.contains("SW-0542"), "a side cannot be seen: {seen}");
    ensure!(seen.contains("grant select on pg_replication_origin_status to \"Plain Mover\";"), "{seen}");
    Ok(())
}
