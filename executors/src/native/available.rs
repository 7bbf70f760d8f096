//! `DrainAvailable`: what can still be had of a side that is given up, and no waiting for what cannot.
//!
//! Everything is had once the stream has passed the place where that side's log is, taken when its gate is closed and
//! nobody holds a write lock on the phase any more: what committed before lies before it. Where the side does not answer,
//! or its stream cannot go on, that never comes, and it is said so after a time. What is kept here may be lost: then the
//! time begins anew.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use journal::{Effect, EffectId, EffectSpec, Evidence, Lsn, TableName};

use crate::native::streams::Streams;
use crate::postgres::database::Database;
use crate::postgres::writers::holders;
use crate::seams::{Cause, Probe};

/// How long a side that does not answer is waited for.
const AWAY: Duration = Duration::from_secs(3);

/// How long one look at it may take.
const LOOK_LIMIT: Duration = Duration::from_secs(2);

/// The drains that are waited for, by effect. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Drains(Arc<Mutex<BTreeMap<EffectId, Drain>>>);

#[derive(Debug, Clone, Copy)]
struct Drain {
    since: Instant,
    away_since: Option<Instant>,
    barrier: Option<Lsn>,
}

pub(crate) async fn probe(streams: &Streams, spec: &EffectSpec) -> Probe {
    let Effect::DrainAvailable { stream, tables, patience_ms } = &spec.effect else {
        return Probe::Unreachable(Cause(format!("{} drains nothing", spec.effect.label())));
    };
    let clock = &streams.parts().clock;
    let kept = |change: &dyn Fn(&mut Drain)| {
        let mut all = streams.drains().0.lock().unwrap_or_else(PoisonError::into_inner);
        let new = Drain { since: clock.monotonic(), away_since: None, barrier: None };
        let drain = all.entry(spec.id).or_insert(new);
        change(drain);
        *drain
    };
    kept(&|_| {});
    let read = streams.parts().side(stream.direction.from());
    let looked = tokio::time::timeout(LOOK_LIMIT, barrier(read, tables)).await;
    let looked = looked.unwrap_or_else(|_| Err(Cause(format!("the {} does not answer", read.side()))));
    let now = clock.monotonic();
    let drain = kept(&|drain| match &looked {
        Ok(place) => {
            drain.away_since = None;
            drain.barrier = drain.barrier.or(*place);
        }
        Err(_) => drain.away_since = drain.away_since.or(Some(now)),
    });
    let handle = streams.handle(stream);
    let reached = handle.as_ref().map(|handle| handle.progress().borrow().lsn);
    let ended = |drained: bool, why: Option<String>| {
        let mut evidence =
            Evidence::from([("drained".to_owned(), if drained { "yes" } else { "no" }.to_owned())]);
        evidence.extend(reached.map(|lsn| ("reached".to_owned(), lsn.to_string())));
        evidence.extend(drain.barrier.map(|lsn| ("barrier".to_owned(), lsn.to_string())));
        evidence.extend(why.map(|why| ("why".to_owned(), why)));
        Probe::Ours(evidence)
    };
    if let (Some(barrier), Some(reached)) = (drain.barrier, reached)
        && reached >= barrier
    {
        return ended(true, None);
    }
    if let Some(finding) = handle.and_then(|handle| handle.stopped()) {
        return ended(false, Some(finding.to_string()));
    }
    if let (Err(cause), Some(since)) = (&looked, drain.away_since)
        && now.duration_since(since) >= AWAY
    {
        return ended(false, Some(cause.to_string()));
    }
    if now.duration_since(drain.since) >= Duration::from_millis(*patience_ms) {
        let why = match drain.barrier {
            Some(_) => "the stream did not get to the end of the log in time",
            None => "writers were still open, or the side did not answer, for all the time",
        };
        return ended(false, Some(why.to_owned()));
    }
    Probe::Absent
}

/// Where the side's log is, once nobody holds a write lock on the tables. None: somebody does.
pub(crate) async fn barrier(database: &Database, tables: &[TableName]) -> Result<Option<Lsn>, Cause> {
    let session = database.session().await?;
    let held = holders(&*session, tables)
        .await
        .map_err(|error| database.cause("does not name its writers", &error))?;
    if !held.is_empty() {
        session.done();
        return Ok(None);
    }
    // Where the next record goes: a commit that was acknowledged before it was flushed is before it too.
    let row = session
        .query_one("select pg_current_wal_insert_lsn()::text", &[])
        .await
        .map_err(|error| database.cause("does not say where its log is", &error))?;
    let place = row.get::<_, &str>(0).parse();
    session.done();
    place.map(Some).map_err(|_| Cause(format!("the {} says a place that is none", database.side())))
}
