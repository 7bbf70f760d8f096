//! How soon a signed webhook is acknowledged, 200 a second, beside nothing and beside the whole start of a phase of the demo's size.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use product::scene::{Scene, Setting};
use product::shop::Size;
use product::webhooks::acknowledgements;

use crate::report::{Reach, Report, millis};

const A_SECOND: u32 = 200;
const LASTING: Duration = Duration::from_secs(10);
const LONG: Duration = Duration::from_secs(120);

/// Milliseconds at the 99th percentile; the journal is a SQLite file.
pub(crate) async fn acknowledged(report: &mut Report) -> Result<()> {
    let (idle, loading) = ("webhooks", "webhooks while loading");
    if !report.wants(idle) && !report.wants(loading) {
        return Ok(());
    }
    let mut scene = Scene::set(Setting { has_town: true, size: Size::DEMO, ..Setting::default() }).await?;
    let town = Arc::new(scene.town.take().context("a scene without a town")?);
    let mut serve = scene.product.serve("a", None)?;
    serve.ready().await?;
    town.is_heard().await?;
    let found = acknowledgements(&town, A_SECOND, LASTING).await?;
    said(report, idle, &found, 100.0);
    let (found, _) =
        tokio::try_join!(acknowledgements(&town, A_SECOND, LASTING), scene.complete("start", LONG))?;
    said(report, loading, &found, 500.0);
    serve.kill9().await.context("the server had ended")
}

fn said(report: &mut Report, name: &'static str, found: &product::webhooks::Latencies, reach: f64) {
    let ours = format!("p50 {:.1} ms of {} webhooks", millis(found.percentile(50)), found.count());
    let p99 = millis(found.percentile(99));
    report.found(name, (ours, "p99 in ms".to_owned()), p99, Reach::AtMost(reach));
}
