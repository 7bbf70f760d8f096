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
//! What changed since is compared in `delta`.

use std::collections::BTreeSet;

use journal::{Direction, Effect, EffectSpec, Evidence, Finding, Lsn, Side, StreamName, TableName};

use crate::native::TableShape;
use crate::native::compare::{Differing, NAMED, Pair, finding, key_texts};
use crate::native::delta::{sweep_changed, verify_changed};
use crate::native::hash::Buckets;
use crate::native::place::{Unmet, one_place};
use crate::native::plane::Plane;
use crate::native::unchanged::{Tables, lacking_now};
use crate::postgres::catalog::shapes;
use crate::postgres::copy::key_first;
use crate::postgres::database::Database;
use crate::postgres::proof::{differs, forget_changed, leave_verdict, probe_verdict};
use crate::seams::{Acted, Authority, Cause, EffectError, Probe};

/// How many rows of differing buckets are looked through at once: bounded memory when everything differs.
const LOOKED_THROUGH: u64 = 50_000;

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
        Effect::VerifyChanged { tables, stream } => {
            plane.doing.say(&spec.phase, "comparing what changed on both sides".to_owned());
            verify_changed(plane, spec, (tables, stream)).await.map_err(Unmet::Cause)
        }
        Effect::SweepChanged { tables, stream, limit_ms } => {
            plane
                .doing
                .say(&spec.phase, "comparing what changed, so that the window has little to".to_owned());
            sweep_changed(plane, spec, (tables, stream, *limit_ms)).await
        }
        _ => Err(Unmet::Cause(Cause(format!("{} is not a comparison", spec.effect.label())))),
    };
    plane.doing.clear(&spec.phase);
    let compared = match compared {
        Ok(compared) => compared,
        // It does not come to its place by itself: a person has to know.
        Err(Unmet::Stopped(finding)) => Compared::refused(finding),
        Err(Unmet::Cause(cause)) => return Acted::Unknown(EffectError(cause.to_string())),
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
pub(super) struct Compared {
    pub(super) evidence: Evidence,
    pub(super) finding: Option<Finding>,
    /// What need not be remembered any more if there is no finding: side, table, direction of the log, place.
    pub(super) proven: Vec<Proven>,
}

/// A side's memory of what changed in a table, of one direction, up to a place.
pub(super) type Proven = (Side, TableName, Direction, Lsn);

impl Compared {
    pub(super) const fn refused(finding: Finding) -> Self {
        Self { evidence: Evidence::new(), finding: Some(finding), proven: Vec::new() }
    }

    /// Forgets what is proven. A failure costs time at the next comparison, nothing else.
    pub(super) async fn forget(&self, plane: &Plane, spec: &EffectSpec) {
        for (side, table, direction, up_to) in &self.proven {
            let names = (&spec.phase, table);
            if let Err(cause) = forget_changed(plane.side(*side), names, *direction, *up_to).await {
                tracing::info!(phase = %spec.phase, %table, error = %cause, "proven changes are remembered still");
            }
        }
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
) -> Result<Compared, Unmet> {
    let (table, stream, moment) = what;
    let began = plane.clock.monotonic();
    let of = (stream, std::slice::from_ref(table));
    // A table that is not there has no shape, and one that is not published is never compared at a place of the stream.
    if let Some(finding) = lacking_now(plane, of).await? {
        return Ok(Compared::refused(finding));
    }
    let shape = shape(plane.side(stream.direction.from()), table).await?;
    let place = one_place(plane, stream).await?;
    let tables = Tables::look(plane, [place.at(Side::Source), place.at(Side::Target)], of).await?;
    if let Some(finding) = tables.lacking() {
        place.leave().await;
        return Ok(Compared::refused(finding));
    }
    let met_after = plane.clock.monotonic().duration_since(began);
    let pair = Pair {
        plane,
        source: place.at(Side::Source),
        target: place.at(Side::Target),
        shape: &shape,
        order: key_first(&shape),
    };
    let (in_source, in_target) = pair.buckets().await?;
    let found = named_differences(&pair, &in_source, &in_target).await?;
    let mut evidence = Evidence::from([
        ("rows".to_owned(), in_source.total().rows.to_string()),
        ("hash".to_owned(), in_source.total().to_string()),
        ("source_lsn".to_owned(), place.lsn(Side::Source).to_string()),
        ("target_lsn".to_owned(), place.lsn(Side::Target).to_string()),
        ("moment".to_owned(), moment.to_owned()),
        ("met_after_ms".to_owned(), met_after.as_millis().to_string()),
        ("duration_ms".to_owned(), plane.clock.monotonic().duration_since(began).as_millis().to_string()),
    ]);
    evidence.extend(tables.evidence(table));
    let proven = place.proven(table);
    place.leave().await;
    tracing::debug!(phase = %spec.phase, %table, equal = found.is_none(), "table compared");
    Ok(Compared { evidence, finding: found, proven })
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
