//! A cluster as it is before its test does anything to it: made once, then copied, since `initdb` and the rig's own
//! roles cost more than everything else that a start does.
//!
//! One template a name: clusters of different names have different system identifiers, as servers have that never were
//! one. A template lies beside the programs that Cargo built, is never written again, and is another one as soon as what
//! it is made with is.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::Signal;
use sha2::{Digest as _, Sha256};

use super::{Cluster, DATABASE, HASTY, Role};
use crate::process::{find_program, give, server_command, server_dir};

const INITDB: [&str; 8] =
    ["-U", "mover", "-A", "scram-sha-256", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync"];

/// What an operator does on a new side: the application's role may use what will be made there.
const RIGHTS: &str = "alter default privileges grant usage on schemas to app;
                      alter default privileges grant all on tables to app;
                      alter default privileges grant all on sequences to app;
                      alter default privileges grant usage on types to app";

/// Fills `data`, which is not there yet, with a cluster that was shut down.
pub(super) async fn fill(data: &Path, name: &str) -> Result<()> {
    let template = home()?.join(format!("{name}-{}", mark()?));
    if !template.is_dir() {
        make(name, &template).await?;
    }
    copy(&template, data)
}

/// Beside the programs: `target/debug/clusters`.
fn home() -> Result<PathBuf> {
    let program = std::env::current_exe()?;
    let mut dir = program.parent().context("a program without a directory")?;
    if dir.ends_with("deps") {
        dir = dir.parent().unwrap_or(dir);
    }
    Ok(dir.join("clusters"))
}

/// Tells templates apart that were made otherwise.
fn mark() -> Result<&'static str> {
    static MARK: OnceLock<String> = OnceLock::new();
    if let Some(known) = MARK.get() {
        return Ok(known);
    }
    let version = done("initdb", Command::new(find_program("initdb")?).arg("--version").output())?.stdout;
    let made_with = format!(
        "{version:?} {INITDB:?} {RIGHTS} {DATABASE} {} {}",
        Role::Mover.password(),
        Role::App.password()
    );
    let mark = hex::encode(Sha256::digest(made_with)).split_off(52);
    Ok(MARK.get_or_init(|| mark))
}

async fn make(name: &str, template: &Path) -> Result<()> {
    let dir = server_dir(name)?;
    let password = dir.path().join("password");
    std::fs::write(&password, Role::Mover.password())?;
    give(&password)?;
    let mut initdb = server_command(&find_program("initdb")?, "KILL", dir.path());
    initdb.arg("-D").arg(dir.path().join("data")).args(INITDB);
    initdb.arg(format!("--pwfile={}", password.display()));
    done("initdb", initdb.stdin(Stdio::null()).output())?;
    let mut cluster = Cluster::launch(name, dir, &HASTY).await?;
    furnish(&cluster).await?;
    cluster.server.signal(Signal::INT)?;
    let ended = cluster.server.ended(Duration::from_secs(30)).await?;
    ensure!(ended.success(), "the template of {name} ended with {ended}:\n{}", cluster.log_tail(20));
    let home = template.parent().context("a template without a directory")?;
    std::fs::create_dir_all(home)?;
    let place = tempfile::Builder::new().prefix(".making-").tempdir_in(home)?;
    let whole = place.path().join("data");
    copy(&cluster.data(), &whole)?;
    // Others make the same one at this moment: the first is kept.
    match std::fs::rename(&whole, template) {
        Err(error) if !template.is_dir() => Err(error).context("keeping a template"),
        Ok(()) | Err(_) => Ok(()),
    }
}

async fn furnish(cluster: &Cluster) -> Result<()> {
    let client = cluster.open(Role::Mover, "postgres").await?;
    let app = format!("create role {} login password '{}'", Role::App.name(), Role::App.password());
    client.batch_execute(&app).await?;
    client.batch_execute(&format!("create database {DATABASE}")).await?;
    cluster.connect(Role::Mover).await?.batch_execute(RIGHTS).await?;
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    done("cp", Command::new("cp").arg("-a").arg(from).arg(to).output()).map(drop)
}

fn done(program: &str, output: std::io::Result<Output>) -> Result<Output> {
    let output = output.with_context(|| program.to_owned())?;
    if !output.status.success() {
        bail!("{program} failed: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(output)
}
