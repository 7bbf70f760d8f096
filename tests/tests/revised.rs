//! A plan that is adopted while the phases of the one before are live.

use std::time::Duration;

use anyhow::{Result, ensure};
use product::scene::{PHASE, Scene, Setting};
use product::switchyard::binary;

const LONG: Duration = Duration::from_secs(120);

#[tokio::test]
async fn a_phase_that_is_live_cannot_be_left_out_of_the_plan() -> Result<()> {
    let scene = Scene::set(Setting::default()).await?;
    scene.on_source().await?.batch_execute("create table shop.letters (id bigint primary key)").await?;
    scene.add_phase("letters", "tables = [\"shop.letters\"]")?;
    let whole = std::fs::read_to_string(scene.product.plan())?;
    let serve = scene.product.serve("a", None)?;
    scene.complete("start", LONG).await?;

    let from = whole.find("[[phase]]").unwrap_or_default();
    let to = whole.rfind("[[phase]]").unwrap_or_default();
    let without = format!("{}{}", whole.get(..from).unwrap_or_default(), whole.get(to..).unwrap_or_default());
    let revised = scene.file("revised.toml");
    std::fs::write(&revised, without)?;
    let diff = ["plan", "diff", "plan.toml", "revised.toml", "--journal"];
    let told = std::process::Command::new(binary()?).args(diff).current_dir(scene.file("")).output()?;
    let told = String::from_utf8_lossy(&told.stdout).into_owned();
    ensure!(told.contains(&format!("refuses it until {PHASE} is retired or completed")), "{told}");
    std::fs::copy(&revised, scene.product.plan())?;
    let refused =
        scene.product.adopt_plan("anna").await.err().map(|error| error.to_string()).unwrap_or_default();
    let is_told = refused.contains("SW-0160") && refused.contains(&format!("{PHASE} is replicating"));
    ensure!(is_told && refused.contains("`retire`"), "{refused:?}");
    scene.shows("replicating", "source").await?;

    scene.complete("retire", LONG).await?;
    scene.product.adopt_plan("anna").await?;
    serve.end().await
}
