//! What changed since the last proof, compared again.
//!
//! Inside the window both sides stand still, and the keys that the streams remembered are compared as they are. That is
//! downtime, and it grows with what changed: so before the window the same is done at places of the stream, beside the
//! application, until what is left is little; each round leaves what was written during it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use journal::{EffectSpec, Evidence, Finding, Side, StreamName, TableName};

use crate::native::TableShape;
use crate::native::compare::{Differing, NAMED, Pair, finding};
use crate::native::place::{Unmet, one_place};
use crate::native::plane::Plane;
use crate::native::unchanged::Tables;
use crate::native::verify::Compared;
use crate::postgres::catalog;
use crate::postgres::copy::key_first;
use crate::postgres::database::Session;
use crate::postgres::proof::{ChangedKeys, by_index, count_changed, stand};
use crate::postgres::snapshot::end;
use crate::seams::Cause;

/// How many rounds there are before the window. An application that changes keys as fast as they are compared is never
/// caught up with.
const ROUNDS: u32 = 6;

/// A rate is not read off fewer keys than this: their comparison is mostly its beginning and end.
const ENOUGH_KEYS: u64 = 2_000;

/// What the comparison of remembered keys came to.
#[derive(Default)]
struct Delta {
    keys: u64,
    /// The first few rows that differ.
    found: Vec<(TableName, Differing)>,
    differing: u64,
}

impl Delta {
    fn finding(&self) -> Option<Finding> {
        (self.differing > 0).then(|| finding(&self.found, self.differing, true))
    }
}

/// A transaction on each side, source first, in which nothing moves.
struct Still<'p> {
    plane: &'p Plane,
    sessions: [&'p Session; 2],
    shapes: &'p Shapes<'p>,
}

/// The tables as the source has them.
type Shapes<'t> = BTreeMap<&'t TableName, TableShape>;

async fn shapes<'t>(plane: &Plane, tables: &'t [TableName]) -> Result<Shapes<'t>, Cause> {
    let session = plane.source.session().await?;
    let shapes = catalog::shapes(&*session, tables).await?;
    session.done();
    Ok(tables.iter().zip(shapes).collect())
}

impl<'p> Still<'p> {
    async fn new(
        plane: &'p Plane,
        sessions: [&'p Session; 2],
        shapes: &'p Shapes<'p>,
    ) -> Result<Self, Cause> {
        for (side, session) in Side::ALL.into_iter().zip(sessions) {
            let fault = |error| plane.side(side).cause("refuses a setting", &error);
            by_index(session).await.map_err(fault)?;
        }
        Ok(Self { plane, sessions, shapes })
    }

    /// Compares every key of the tables that either side remembers.
    async fn compare(&self, spec: &EffectSpec) -> Result<Delta, Cause> {
        let mut delta = Delta::default();
        let mut seen = BTreeSet::new();
        for (side, session) in Side::ALL.into_iter().zip(self.sessions) {
            let mut changed = ChangedKeys::open(session, self.plane.side(side), &spec.phase).await?;
            loop {
                let page = changed.next().await?;
                if page.is_empty() {
                    break;
                }
                for (table, keys) in page {
                    self.table(&table, &keys, (&mut delta, &mut seen)).await?;
                }
            }
            changed.close().await?;
        }
        Ok(delta)
    }

    async fn table(
        &self,
        table: &TableName,
        keys: &[String],
        (delta, seen): (&mut Delta, &mut BTreeSet<(TableName, String)>),
    ) -> Result<(), Cause> {
        let Some(shape) = self.shapes.get(table) else { return Ok(()) };
        let [source, target] = self.sessions;
        let pair = Pair { plane: self.plane, source, target, shape, order: key_first(shape) };
        let keys = parsed(table, keys)?;
        delta.keys += u64::try_from(keys.len()).unwrap_or(0);
        for row in pair.compare(&pair.rows(&keys).await?) {
            // A key that is remembered more than once is counted once.
            if seen.insert((table.clone(), row.key.clone())) {
                delta.differing += 1;
                if delta.found.len() < NAMED {
                    delta.found.push((table.clone(), row));
                }
            }
        }
        Ok(())
    }
}

/// In the window: both sides stand still.
pub(super) async fn verify_changed(
    plane: &Plane,
    spec: &EffectSpec,
    (tables, stream): (&[TableName], &StreamName),
) -> Result<Compared, Cause> {
    let began = plane.clock.monotonic();
    let source = stand(&plane.source).await?.session;
    let target = stand(&plane.target).await?.session;
    if let Some(finding) = other_than_compared(plane, [&source, &target], (stream, tables)).await? {
        return Ok(Compared::refused(finding));
    }
    let shapes = shapes(plane, tables).await?;
    let delta = Still::new(plane, [&source, &target], &shapes).await?.compare(spec).await?;
    end(source).await;
    end(target).await;
    let evidence = Evidence::from([
        ("keys".to_owned(), delta.keys.to_string()),
        ("tables".to_owned(), tables.len().to_string()),
        ("duration_ms".to_owned(), plane.clock.monotonic().duration_since(began).as_millis().to_string()),
    ]);
    Ok(Compared { evidence, finding: delta.finding(), proven: Vec::new() })
}

/// Why the keys that the streams have named are not all that may differ: a table is another one than was compared, or is not
/// carried, or is not fenced.
async fn other_than_compared(
    plane: &Plane,
    sessions: [&Session; 2],
    of: (&StreamName, &[TableName]),
) -> Result<Option<Finding>, Cause> {
    let found = Tables::look(plane, sessions, of).await?;
    if let Some(finding) = found.lacking() {
        return Ok(Some(finding));
    }
    if let Some(finding) = found.changed().await? {
        return Ok(Some(finding));
    }
    found.unfenced(sessions).await
}

/// Before the window: what changed is compared at one place of the stream, again and again, until what is left would be
/// compared within the limit. A finding if it never would.
pub(super) async fn sweep_changed(
    plane: &Plane,
    spec: &EffectSpec,
    (tables, stream, limit_ms): (&[TableName], &StreamName, u64),
) -> Result<Compared, Unmet> {
    let began = plane.clock.monotonic();
    let shapes = shapes(plane, tables).await?;
    let (mut keys, mut left, mut estimate_ms) = (0, 0, 0);
    for round in 1..=ROUNDS {
        let (swept, took) = sweep_once(plane, spec, (&shapes, stream)).await?;
        keys += swept.keys;
        if let Some(finding) = swept.finding() {
            let evidence = Evidence::from([("keys".to_owned(), keys.to_string())]);
            return Ok(Compared { evidence, finding: Some(finding), proven: Vec::new() });
        }
        left = count_changed(&plane.source, &spec.phase).await?
            + count_changed(&plane.target, &spec.phase).await?;
        estimate_ms = estimate(left, &swept, took);
        tracing::debug!(phase = %spec.phase, round, keys = swept.keys, left, estimate_ms, "changes swept");
        if estimate_ms <= limit_ms {
            break;
        }
    }
    let evidence = Evidence::from([
        ("keys".to_owned(), keys.to_string()),
        ("left".to_owned(), left.to_string()),
        ("estimate_ms".to_owned(), estimate_ms.to_string()),
        ("limit_ms".to_owned(), limit_ms.to_string()),
        ("duration_ms".to_owned(), plane.clock.monotonic().duration_since(began).as_millis().to_string()),
    ]);
    let finding = (estimate_ms > limit_ms).then(|| Finding {
        code: "SW-0402".to_owned(),
        what: format!(
            "the application changes rows about as fast as they are compared: after {ROUNDS} rounds {left} changed keys are \
             left, which would take about {estimate_ms} ms of the window, of which {limit_ms} ms are for them"
        ),
        remedy: "Nothing was stopped. Say `retry` at a quieter time, or `abort` and give the phase a longer \
                 `max_downtime`."
            .to_owned(),
    });
    Ok(Compared { evidence, finding, proven: Vec::new() })
}

/// One round; what it proved is forgotten.
async fn sweep_once(
    plane: &Plane,
    spec: &EffectSpec,
    (shapes, stream): (&Shapes<'_>, &StreamName),
) -> Result<(Delta, Duration), Unmet> {
    let place = one_place(plane, stream).await?;
    let began = plane.clock.monotonic();
    let sessions = [place.at(Side::Source), place.at(Side::Target)];
    let delta = Still::new(plane, sessions, shapes).await?.compare(spec).await?;
    let took = plane.clock.monotonic().duration_since(began);
    let proven = shapes.keys().flat_map(|table| place.proven(table)).collect();
    place.leave().await;
    let compared = Compared { evidence: Evidence::new(), finding: delta.finding(), proven };
    if compared.finding.is_none() {
        compared.forget(plane, spec).await;
    }
    Ok((delta, took))
}

/// How long the keys that are left would take, in milliseconds, at the rate of a round.
fn estimate(left: u64, swept: &Delta, took: Duration) -> u64 {
    let took = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    left.saturating_mul(took) / swept.keys.max(ENOUGH_KEYS)
}

fn parsed(table: &TableName, page: &[String]) -> Result<Vec<Vec<String>>, Cause> {
    page.iter()
        .map(|text| {
            serde_json::from_str(text).map_err(|_| {
                Cause(format!("a remembered key of {table} is not a list of texts: this is an error"))
            })
        })
        .collect()
}
