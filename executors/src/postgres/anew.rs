//! `ProbeAnew`: a side that came back on another timeline, held against what this phase had left there.
//!
//! # The race
//!
//! A standby is promoted, or a backup restored up to some moment: the server has its old name, its old identity and our
//! schema, and lacks what was committed last. A gate that was closed may be open again; a slot may be gone, or be there
//! from before; places of the log that a stream has passed may hold other changes now. None of it is told by an error. The
//! timeline tells: every connection reads it, and a stream begins on no other than those on which both its sides were last
//! probed ([`check_timeline`]). So from the failover on both streams stand still, and what is looked at here does not move
//! under the look.
//!
//! What must hold, for each stream: what was applied from the side was written before the timelines parted, and what the
//! other side's slot has let go is still here. Then the new timeline is the old one's continuation, as far as this phase
//! has seen of it, and the stream goes on from its place as after any lost connection.

use journal::{
    DISPLACED, Effect, EffectSpec, Evidence, Finding, GateMode, Lsn, Position, Side, StreamCheck, StreamMode,
    StreamName, StreamSpec, TableName, Timeline,
};
use tokio_postgres::Client;

use crate::native::StreamError;
use crate::postgres::database::Database;
use crate::postgres::fence;
use crate::postgres::receipt::{is_missing, position};
use crate::postgres::stream_row::{self, StreamRow};
use crate::postgres::wire::ReplicationConnection;
use crate::seams::{Cause, Probe};

/// What a person does where the other side, or this one, lacks what it had.
const BEGIN_ANEW: &str = "While the source is the writer, say `abort`, then `retire`, then `start`, which loads the phase \
                          anew. While the target is the writer, the way back is lost: the target goes on, and `complete` \
                          ends the move.";

/// A stream stands still on any timeline but the one on which the side was last probed.
///
/// # Errors
/// It is another: stopped.
pub(crate) fn check_timeline(
    side: Side,
    spec: &StreamSpec,
    timeline: Option<Timeline>,
) -> Result<(), StreamError> {
    let [reads, writes] = spec.timelines;
    let expected = if side == spec.name.direction.from() { reads } else { writes };
    match (expected, timeline) {
        (Some(expected), Some(timeline)) if expected != timeline => Err(StreamError::Stopped(Finding {
            code: DISPLACED.to_owned(),
            what: format!(
                "the {side} is on timeline {timeline}, and {} has read and written it on timeline {expected}: it was failed \
                 over or restored",
                spec.name
            ),
            remedy: format!(
                "It goes on by itself once the {side} was probed anew: `/migrate {} verify` does it, or the next switch.",
                spec.name.phase
            ),
        })),
        _ => Ok(()),
    }
}

/// What is asked of a side.
struct Asked<'e> {
    was: Timeline,
    timeline: Timeline,
    mode: GateMode,
    gate: Option<Position>,
    fenced: &'e [TableName],
    streams: &'e [StreamCheck],
}

/// Why it is not what it was, or cannot be asked.
enum Fault {
    Lacks(Box<Finding>),
    Away(Cause),
}

impl From<Cause> for Fault {
    fn from(cause: Cause) -> Self {
        Self::Away(cause)
    }
}

fn lacks(code: &str, what: String, remedy: &str) -> Fault {
    Fault::Lacks(Box::new(Finding { code: code.to_owned(), what, remedy: remedy.to_owned() }))
}

/// Looks at the side. `other` is read for the rows and slots of the streams that end there.
pub async fn probe(side: &Database, other: &Database, spec: &EffectSpec) -> Probe {
    let Effect::ProbeAnew { was, timeline, mode, gate, fenced, streams, .. } = &spec.effect else {
        return Probe::Unreachable(Cause(format!("{} probes no side", spec.effect.label())));
    };
    let asked = Asked { was: *was, timeline: *timeline, mode: *mode, gate: *gate, fenced, streams };
    match look(side, other, spec, &asked).await {
        Ok(evidence) => Probe::Ours(evidence),
        Err(Fault::Lacks(finding)) => Probe::Differs(*finding),
        Err(Fault::Away(cause)) => Probe::Unreachable(cause),
    }
}

async fn look(
    side: &Database,
    other: &Database,
    spec: &EffectSpec,
    asked: &Asked<'_>,
) -> Result<Evidence, Fault> {
    let mut replication = ReplicationConnection::connect(side).await?;
    if replication.timeline() != Some(asked.timeline) {
        let what = format!("the {} is not on timeline {} any more", side.side(), asked.timeline);
        return Err(lacks(DISPLACED, what, "It changed again meanwhile. Say `retry`."));
    }
    let fork = replication.fork(asked.timeline, asked.was).await?.ok_or_else(|| {
        let what = format!(
            "timeline {} of the {} does not descend from timeline {}, on which this phase was",
            asked.timeline,
            side.side(),
            asked.was
        );
        lacks("SW-0532", what, &format!("It was restored from another history. {BEGIN_ANEW}"))
    })?;
    let session = side.session().await?;
    let mut evidence = gate(&session, side, spec, asked).await?;
    standing(&session, side, spec, asked).await?;
    evidence.insert("timeline".to_owned(), asked.timeline.to_string());
    evidence.insert("forked_at".to_owned(), fork.to_string());
    for check in asked.streams {
        let told = match stream((side, other), spec, check, fork).await {
            Err(Fault::Lacks(finding)) if !check.is_needed => format!("lost: {finding}"),
            told => told?,
        };
        evidence.insert(check.direction.to_string(), told);
    }
    session.done();
    Ok(evidence)
}

/// The gate's row is at least as new as what was last journalled of it, and says the same.
async fn gate(
    client: &Client,
    side: &Database,
    spec: &EffectSpec,
    asked: &Asked<'_>,
) -> Result<Evidence, Fault> {
    let sql = "select mode, epoch, position from _switchyard.gate where migration = $1 and phase = $2";
    let row = match client.query_opt(sql, &[&side.migration().as_str(), &spec.phase.as_str()]).await {
        Ok(row) => row,
        Err(error) if is_missing(&error) => None,
        Err(error) => return Err(side.cause("does not show its gate", &error).into()),
    };
    let seen = row.as_ref().map(|row| (row.get::<_, &str>(0), position(row.get(2))));
    let is_new = |seen: Position| asked.gate.is_none_or(|gate| seen >= gate);
    match seen {
        Some((mode, seen)) if mode == asked.mode.word() && is_new(seen) => Ok(Evidence::from([
            ("gate".to_owned(), mode.to_owned()),
            ("gate_position".to_owned(), seen.to_string()),
        ])),
        seen => {
            let there = seen.map_or_else(
                || "is not there".to_owned(),
                |(mode, seen)| format!("says {mode}, from position {seen}"),
            );
            let set = asked.gate.map_or_else(String::new, |gate| format!(" at position {gate}"));
            Err(lacks(
                "SW-0531",
                format!(
                    "the gate of phase {} on the {} was set {}{set}, and {there} since timeline {}: its last change was lost",
                    spec.phase,
                    side.side(),
                    asked.mode.word(),
                    asked.timeline
                ),
                "Keep the application away from this side: both may accept writes. `switchyard doctor` shows who can write \
                 where. Bring back the server that has it, if it still is; or see the runbook of your database, then `retry`.",
            ))
        }
    }
}

/// The fence stands, and does what the gate says.
async fn standing(
    client: &Client,
    side: &Database,
    spec: &EffectSpec,
    asked: &Asked<'_>,
) -> Result<(), Fault> {
    if asked.fenced.is_empty() {
        return Ok(());
    }
    let defect = fence::defect(client, side, &spec.phase, (asked.fenced, asked.mode)).await;
    match defect.map_err(|error| side.cause("does not show its fence", &error))? {
        None => Ok(()),
        Some(what) => Err(lacks(
            "SW-0531",
            format!(
                "the fence of phase {} on the {} is not whole since timeline {}: {what}",
                spec.phase,
                side.side(),
                asked.timeline
            ),
            "Keep the application away from this side until it is. `switchyard doctor` shows what is missing.",
        )),
    }
}

/// One stream's slot, checkpoint and mode, one of whose ends is here.
async fn stream(
    (side, other): (&Database, &Database),
    spec: &EffectSpec,
    check: &StreamCheck,
    fork: Lsn,
) -> Result<String, Fault> {
    let name = StreamName { phase: spec.phase.clone(), direction: check.direction };
    let reads = check.direction.from() == side.side();
    let (read, written) = if reads { (side, other) } else { (other, side) };
    let row = row(written, &name, check.mode).await?;
    let confirmed = slot(read, &name, &check.slot).await?;
    if confirmed > row.lsn {
        let what = format!(
            "the checkpoint of {name} on the {} is {}, and its slot has let everything go up to {confirmed}: what lies \
             between is lost there",
            written.side(),
            row.lsn
        );
        return Err(lacks("SW-0319", what, BEGIN_ANEW));
    }
    if reads && row.lsn > fork {
        let what = format!(
            "{name} has brought the {} up to {}, and the {}'s timeline left at {fork}: the {} has changes that the {} lacks \
             now",
            written.side(),
            row.lsn,
            read.side(),
            written.side(),
            read.side()
        );
        return Err(lacks("SW-0532", what, BEGIN_ANEW));
    }
    Ok(format!("whole: checkpoint {}, slot at {confirmed}", row.lsn))
}

async fn row(written: &Database, name: &StreamName, mode: StreamMode) -> Result<StreamRow, Fault> {
    let there = stream_row::read(written, name).await?;
    let what = match &there {
        Some(row) if row.mode == mode => None,
        Some(row) => Some(format!("says {}, where {} was set", row.mode.word(), mode.word())),
        None => Some("is gone".to_owned()),
    };
    match (there, what) {
        (Some(row), None) => Ok(row),
        (_, what) => Err(lacks(
            "SW-0531",
            format!(
                "the checkpoint row of {name} on the {} {}: its last change was lost",
                written.side(),
                what.unwrap_or_default()
            ),
            BEGIN_ANEW,
        )),
    }
}

/// Up to where a slot has let go.
async fn slot(read: &Database, name: &StreamName, slot: &str) -> Result<Lsn, Fault> {
    let session = read.session().await?;
    let sql = "select confirmed_flush_lsn::text from pg_replication_slots \
               where slot_name::text = $1 and plugin = 'pgoutput' and database = current_database() \
                 and coalesce(wal_status, 'lost') <> 'lost'";
    let row = session.query_opt(sql, &[&slot]).await;
    let row = row.map_err(|error| read.cause("does not show a slot", &error))?;
    session.done();
    row.and_then(|row| row.get::<_, Option<&str>>(0)?.parse().ok()).ok_or_else(|| {
        let what = format!("the slot {slot} of {name} is not there on the {}, or is lost", read.side());
        lacks("SW-0301", what, &format!("A promoted standby has no slots of its own. {BEGIN_ANEW}"))
    })
}
