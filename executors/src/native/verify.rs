//! Proof that both sides hold the same rows.
//!
//! The race is with the application, which goes on writing one side while the stream carries it to the other: two counts
//! taken "at once" never agree. A whole table is therefore compared at one place of the stream. A snapshot S of the side
//! read is taken at L; the applying stream is held where everything up to L is applied and nothing after it; while it
//! stands, a transaction takes its snapshot on the side written; then the stream goes on. Both snapshots now show the state
//! at L, however long the comparison takes, and any difference is a true one: no retry, no tolerance, no false report.
//!
//! Each side is read once, without order, each row's bytes hashed into one of 4096 buckets by its key. Only differing
//! buckets are read again, under the same snapshots, to name the keys; of those a few are fetched to name the column.
//! No value is decoded and no equality of a type is asked, so -0.0 is not 0.0 and a trailing space counts.
//!
//! A proof at L makes what the streams remembered as changed up to L unnecessary. What the opposite, guarding stream
//! remembered lies in the other side's log: it is forgotten only up to a place whose every transaction was closed when
//! that side's snapshot was taken.
//!
//! Inside the window both sides stand still, and only the remembered keys are compared.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use journal::{Effect, EffectSpec, Evidence, Finding, Lsn, Side, StreamName, TableName};
use xxhash_rust::xxh3::xxh3_128;

use crate::native::hash::{Buckets, bucket, key_of};
use crate::native::plane::Plane;
use crate::native::stream::{StreamHandle, StreamHold};
use crate::native::{Cell, TableShape};
use crate::postgres::catalog::shapes;
use crate::postgres::copy::{cells, each_line, key_first, keyed_select, whole_select};
use crate::postgres::database::{Database, Session};
use crate::postgres::proof::{
    Settled, by_index, changed_keys, differs, forget_changed, leave_verdict, probe_verdict, settled, stand,
};
use crate::postgres::snapshot::{ExportedSnapshot, HeldSnapshot, end};
use crate::seams::{Acted, Authority, Cause, EffectError, Probe};

/// How many differing keys a finding names.
const NAMED: usize = 5;

/// How many rows of differing buckets are looked through at once: bounded memory when everything differs.
const LOOKED_THROUGH: u64 = 50_000;

/// How many changed keys are compared at a time.
const PAGE: i64 = 2_000;

/// The longest that the stream stands still for a comparison's snapshot.
const HOLD: Duration = Duration::from_secs(10);

/// How often a snapshot is taken to meet the stream at its place.
const MEETINGS: u32 = 40;

/// The verdict, if one was left.
pub async fn probe(plane: &Plane, spec: &EffectSpec, under: Authority) -> Probe {
    probe_verdict(&plane.target, spec, under).await
}

/// Compares, and leaves the verdict on the target.
pub async fn act(plane: &Plane, spec: &EffectSpec, under: Authority) -> Acted {
    let compared = match &spec.effect {
        Effect::VerifyTable { table, stream, moment } => {
            plane.doing.say(&spec.phase, format!("comparing {table} on both sides"));
            verify_table(plane, spec, (table, stream, moment)).await
        }
        Effect::VerifyChanged { tables, .. } => {
            plane.doing.say(&spec.phase, "comparing what changed on both sides".to_owned());
            verify_changed(plane, spec, tables).await
        }
        _ => Err(Cause(format!("{} is not a comparison", spec.effect.label()))),
    };
    plane.doing.clear(&spec.phase);
    let compared = match compared {
        Ok(compared) => compared,
        Err(cause) => return Acted::Unknown(EffectError(cause.to_string())),
    };
    let evidence = match &compared.finding {
        Some(finding) => differs(compared.evidence.clone(), finding),
        None => compared.evidence.clone(),
    };
    let left = leave_verdict(&plane.target, spec, under, &evidence).await;
    if matches!(left, Acted::Done(_)) && compared.finding.is_none() {
        compared.forget(plane, spec).await;
    }
    left
}

/// What a comparison came to.
struct Compared {
    evidence: Evidence,
    finding: Option<Finding>,
    /// What need not be remembered any more if there is no finding: side, table, direction of the log, place.
    proven: Vec<(Side, TableName, journal::Direction, Lsn)>,
}

impl Compared {
    /// Forgets what is proven. A failure costs time at the next comparison, nothing else.
    async fn forget(&self, plane: &Plane, spec: &EffectSpec) {
        for (side, table, direction, up_to) in &self.proven {
            let names = (&spec.phase, table);
            if let Err(cause) = forget_changed(plane.side(*side), names, *direction, *up_to).await {
                tracing::info!(phase = %spec.phase, %table, error = %cause, "proven changes are remembered still");
            }
        }
    }
}

/// A table on both sides: a transaction under its snapshot each, source first.
struct Pair<'p> {
    plane: &'p Plane,
    source: &'p Session,
    target: &'p Session,
    shape: &'p TableShape,
    order: Vec<usize>,
}

/// A key that differs: its text for people, and what of it is where.
struct Differing {
    key: String,
    how: String,
}

impl Pair<'_> {
    fn fault(&self, side: Side) -> impl Fn(tokio_postgres::Error) -> Cause + '_ {
        move |error| {
            self.plane.side(side).cause(&format!("does not give {} to be compared", self.shape.table), &error)
        }
    }

    /// Every line of the same select on both sides.
    async fn both(
        &self,
        select: &str,
        mut source: impl FnMut(&[u8]),
        mut target: impl FnMut(&[u8]),
    ) -> Result<(), Cause> {
        let reads = futures::future::join(
            each_line(self.source, select, &mut source),
            each_line(self.target, select, &mut target),
        );
        let (from_source, from_target) = reads.await;
        from_source.map_err(self.fault(Side::Source))?;
        from_target.map_err(self.fault(Side::Target))
    }

    /// The whole table in buckets, on both sides.
    async fn buckets(&self) -> Result<(Buckets, Buckets), Cause> {
        let parts = self.shape.key.len();
        let (mut source, mut target) = (Buckets::default(), Buckets::default());
        let select = whole_select(self.shape, &self.order);
        self.both(&select, |line| source.add(line, parts), |line| target.add(line, parts)).await?;
        Ok((source, target))
    }

    /// The keys that differ in these buckets, as copy text.
    async fn differing_keys(&self, among: &BTreeSet<usize>) -> Result<Vec<Vec<u8>>, Cause> {
        let parts = self.shape.key.len();
        let (mut source, mut target) = (BTreeMap::new(), BTreeMap::new());
        let gather = |into: &mut BTreeMap<Vec<u8>, u128>, line: &[u8]| {
            let key = key_of(line, parts);
            if among.contains(&bucket(key)) {
                into.insert(key.to_vec(), xxh3_128(line));
            }
        };
        let select = whole_select(self.shape, &self.order);
        self.both(&select, |line| gather(&mut source, line), |line| gather(&mut target, line)).await?;
        let mut keys: BTreeSet<&Vec<u8>> = source.keys().collect();
        keys.extend(target.keys());
        Ok(keys.into_iter().filter(|key| source.get(*key) != target.get(*key)).cloned().collect())
    }

    /// The rows of these keys on both sides, by their key's copy text.
    async fn rows(&self, keys: &[Vec<String>]) -> Result<[BTreeMap<Vec<u8>, Vec<u8>>; 2], Cause> {
        let parts = self.shape.key.len();
        let (mut source, mut target) = (BTreeMap::new(), BTreeMap::new());
        let gather = |into: &mut BTreeMap<Vec<u8>, Vec<u8>>, line: &[u8]| {
            into.insert(key_of(line, parts).to_vec(), line.to_vec());
        };
        let select = keyed_select(self.shape, &self.order, keys);
        self.both(&select, |line| gather(&mut source, line), |line| gather(&mut target, line)).await?;
        Ok([source, target])
    }

    /// How two rows of one key differ, without their values; none if they do not.
    fn how(&self, source: Option<&Vec<u8>>, target: Option<&Vec<u8>>) -> Option<String> {
        match (source, target) {
            (None, None) => None,
            (Some(_), None) => Some("is missing at the target".to_owned()),
            (None, Some(_)) => Some("is at the target but not at the source".to_owned()),
            (Some(source), Some(target)) if source == target => None,
            (Some(source), Some(target)) => {
                let (source, target) = (cells(source), cells(target));
                let at = source.iter().zip(&target).position(|(a, b)| a != b)?;
                let column = self.order.get(at).and_then(|at| self.shape.columns.get(*at))?;
                Some(format!("differs in column {column}"))
            }
        }
    }

    /// Names how rows differ, in the keys' order.
    fn compare(&self, rows: &[BTreeMap<Vec<u8>, Vec<u8>>; 2]) -> Vec<Differing> {
        let [source, target] = rows;
        let mut keys: BTreeSet<&Vec<u8>> = source.keys().collect();
        keys.extend(target.keys());
        keys.into_iter()
            .filter_map(|key| {
                let how = self.how(source.get(key), target.get(key))?;
                Some(Differing { key: key_texts(key).join(", "), how })
            })
            .collect()
    }
}

/// A key's copy text as its values.
fn key_texts(key: &[u8]) -> Vec<String> {
    cells(key)
        .into_iter()
        .map(|cell| match cell {
            Cell::Text(text) => String::from_utf8_lossy(&text).into_owned(),
            Cell::Null | Cell::Unchanged => String::new(),
        })
        .collect()
}

fn finding(found: &[(TableName, Differing)], count: u64, is_all: bool) -> Finding {
    let named: Vec<String> =
        found.iter().map(|(table, row)| format!("{table} key ({}) {}", row.key, row.how)).collect();
    let at_least = if is_all { "" } else { "at least " };
    let rows = if count == 1 { "row" } else { "rows" };
    let more = if count > u64::try_from(found.len()).unwrap_or(0) { "; and others" } else { "" };
    Finding {
        code: "SW-0401".to_owned(),
        what: format!("source and target differ in {at_least}{count} {rows}: {}{more}", named.join("; ")),
        remedy:
            "Find out who wrote there, make the rows equal on the side that takes no traffic, and `retry`."
                .to_owned(),
    }
}

async fn shape(database: &Database, table: &TableName) -> Result<TableShape, Cause> {
    let session = database.session().await?;
    let shapes = shapes(&*session, std::slice::from_ref(table)).await?;
    session.done();
    shapes.into_iter().next().ok_or_else(|| Cause(format!("the table {table} is not there")))
}

async fn verify_table(
    plane: &Plane,
    spec: &EffectSpec,
    what: (&TableName, &StreamName, &str),
) -> Result<Compared, Cause> {
    let (table, stream, moment) = what;
    let began = plane.clock.monotonic();
    let (read_side, written_side) = (stream.direction.from(), stream.direction.to());
    let shape = shape(plane.side(read_side), table).await?;
    let handle = plane.streams.handle(stream).ok_or_else(|| {
        Cause(format!("the stream {stream} does not run here yet, and fixes the place of comparison"))
    })?;
    let before: Settled = settled(plane.side(written_side)).await?;
    let (snapshot, hold) = meet(plane, read_side, &handle).await?;
    let standing = tokio::time::timeout(HOLD, stand(plane.side(written_side)))
        .await
        .map_err(|_| Cause(format!("the {written_side} gave no snapshot within {HOLD:?}")))??;
    if !hold.holds() {
        return Err(Cause(format!("the stream {stream} was restarted while its place was being fixed")));
    }
    drop(hold);
    let reading = snapshot.begin().await.map_err(|error| Cause(error.to_string()))?;
    let (source, target) = match read_side {
        Side::Source => (&reading, &standing.session),
        Side::Target => (&standing.session, &reading),
    };
    let met_after = plane.clock.monotonic().duration_since(began);
    let pair = Pair { plane, source, target, shape: &shape, order: key_first(&shape) };
    let (in_source, in_target) = pair.buckets().await?;
    let found = named_differences(&pair, &in_source, &in_target).await?;
    let holds = standing.holds(before);
    let (read_lsn, written_lsn) = (snapshot.lsn(), standing.lsn);
    end(reading).await;
    end(standing.session).await;
    let at = |side: Side| if side == read_side { read_lsn } else { written_lsn };
    let evidence = Evidence::from([
        ("rows".to_owned(), in_source.total().rows.to_string()),
        ("hash".to_owned(), in_source.total().to_string()),
        ("source_lsn".to_owned(), at(Side::Source).to_string()),
        ("target_lsn".to_owned(), at(Side::Target).to_string()),
        ("moment".to_owned(), moment.to_owned()),
        ("met_after_ms".to_owned(), met_after.as_millis().to_string()),
        ("duration_ms".to_owned(), plane.clock.monotonic().duration_since(began).as_millis().to_string()),
    ]);
    tracing::debug!(phase = %spec.phase, %table, equal = found.is_none(), "table compared");
    let mut proven = vec![(written_side, table.clone(), stream.direction, read_lsn)];
    if holds {
        proven.push((read_side, table.clone(), stream.direction.opposite(), before.lsn));
    }
    Ok(Compared { evidence, finding: found, proven })
}

/// A snapshot of the side read, and the stream held at its place.
///
/// A stream that lags little may be past the place by the time it is known here. Then there is another snapshot: it is
/// held first and imported later, so that one try in a few meets.
async fn meet(plane: &Plane, side: Side, stream: &StreamHandle) -> Result<(HeldSnapshot, StreamHold), Cause> {
    let mut last = Cause("the stream was never met".to_owned());
    for attempt in 0..MEETINGS {
        let exported = ExportedSnapshot::of_now(plane.side(side)).await?;
        let met = futures::future::join(stream.hold_at(exported.lsn()), exported.hold()).await;
        match met {
            (Ok(hold), snapshot) => return Ok((snapshot?, hold)),
            (Err(cause), _) => {
                tracing::debug!(attempt, error = %cause, "the stream was not met");
                last = cause;
            }
        }
        plane.clock.sleep(Duration::from_millis(5) * attempt).await;
    }
    Err(last)
}

/// The finding of two tables in buckets; none if they are equal.
async fn named_differences(
    pair: &Pair<'_>,
    source: &Buckets,
    target: &Buckets,
) -> Result<Option<Finding>, Cause> {
    let differing = source.differing(target);
    if differing.is_empty() {
        return Ok(None);
    }
    let (mut among, mut rows) = (BTreeSet::new(), 0);
    for (bucket, size) in &differing {
        if rows > 0 && rows + size > LOOKED_THROUGH {
            break;
        }
        among.insert(*bucket);
        rows += size;
    }
    let keys = pair.differing_keys(&among).await?;
    let count = u64::try_from(keys.len()).unwrap_or(u64::MAX);
    let texts: Vec<Vec<String>> = keys.iter().take(NAMED).map(|key| key_texts(key)).collect();
    let rows = pair.rows(&texts).await?;
    let found: Vec<(TableName, Differing)> =
        pair.compare(&rows).into_iter().map(|row| (pair.shape.table.clone(), row)).collect();
    Ok(Some(finding(&found, count, among.len() == differing.len())))
}

async fn verify_changed(plane: &Plane, spec: &EffectSpec, tables: &[TableName]) -> Result<Compared, Cause> {
    let began = plane.clock.monotonic();
    let source = stand(&plane.source).await?.session;
    let target = stand(&plane.target).await?.session;
    for (side, session) in [(Side::Source, &source), (Side::Target, &target)] {
        let fault = |error| plane.side(side).cause("refuses a setting", &error);
        by_index(session).await.map_err(fault)?;
    }
    let (mut found, mut count, mut compared) = (Vec::new(), 0_u64, 0_u64);
    for table in tables {
        let shape = shape(&plane.source, table).await?;
        let pair = Pair { plane, source: &source, target: &target, shape: &shape, order: key_first(&shape) };
        let mut seen = BTreeSet::new();
        for side in Side::ALL {
            let session = if side == Side::Source { &source } else { &target };
            let mut after: Option<String> = None;
            loop {
                let names = (&spec.phase, table);
                let page = changed_keys(session, plane.side(side), names, after.as_deref(), PAGE)
                    .await
                    .map_err(|error| plane.side(side).cause("does not show what changed", &error))?;
                let Some(last) = page.last() else { break };
                after = Some(last.clone());
                let keys = parsed(table, &page)?;
                compared += u64::try_from(keys.len()).unwrap_or(0);
                for row in pair.compare(&pair.rows(&keys).await?) {
                    // A key that both sides remember is compared twice and counted once.
                    if seen.insert(row.key.clone()) {
                        count += 1;
                        if found.len() < NAMED {
                            found.push((table.clone(), row));
                        }
                    }
                }
            }
        }
    }
    end(source).await;
    end(target).await;
    let evidence = Evidence::from([
        ("keys".to_owned(), compared.to_string()),
        ("tables".to_owned(), tables.len().to_string()),
        ("duration_ms".to_owned(), plane.clock.monotonic().duration_since(began).as_millis().to_string()),
    ]);
    let finding = (count > 0).then(|| finding(&found, count, true));
    Ok(Compared { evidence, finding, proven: Vec::new() })
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
