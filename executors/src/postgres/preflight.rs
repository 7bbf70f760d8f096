//! Everything that is known to make a later step fail, looked for before anything is touched.
use crate::postgres::database::Database;
use crate::seams::{Acted, Probe};
use journal::{EffectSpec, Evidence, TableName};
/// Observes.
pub async fn probe(
    _source: &Database,
    _target: &Database,
    _spec: &EffectSpec,
    _tables: &[TableName],
) -> Probe {
    Probe::Absent
}
/// Waits.
pub async fn act(clock: &dyn runtime::Clock) -> Acted {
    clock.sleep(std::time::Duration::from_millis(500)).await;
    Acted::Done(Evidence::new())
}
