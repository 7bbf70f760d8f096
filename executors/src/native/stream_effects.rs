//! Probing and doing the effects on streams.

use std::time::Duration;

use journal::{Effect, EffectSpec, Evidence, GateMode, Lsn, Step, StreamName};

use crate::native::available;
use crate::native::stream::Progress;
use crate::native::streams::Streams;
use crate::postgres::database::Database;
use crate::postgres::gate;
use crate::postgres::receipt::probe_receipt;
use crate::postgres::stream_row::{self, Change};
use crate::seams::{Acted, Authority, Cause, EffectError, Probe};

/// The longest wait of one observation before the loop looks at the journal again.
const MOMENT: Duration = Duration::from_millis(500);

/// Between two looks where no running stream tells when it moves.
const LOOK: Duration = Duration::from_millis(50);

fn written<'s>(streams: &'s Streams, stream: &StreamName) -> &'s Database {
    streams.parts().side(stream.direction.to())
}

fn strange(spec: &EffectSpec) -> String {
    format!("{} is not an effect on a stream: this is an error in Switchyard", spec.effect.label())
}

/// Looks for a stream's effect. For `AwaitApplied`, `AwaitLag` and `AwaitMarker` it observes.
pub async fn probe(streams: &Streams, spec: &EffectSpec, _under: Authority) -> Probe {
    match &spec.effect {
        Effect::StartStream { stream, .. } | Effect::SetStreamMode { stream, .. } => {
            let database = written(streams, stream);
            match probe_receipt(database, spec).await {
                Probe::Ours(evidence) => stream_row::probe_standing(database, stream, evidence).await,
                other => other,
            }
        }
        Effect::DropStream { stream } => probe_receipt(written(streams, stream), spec).await,
        Effect::AwaitApplied { stream, lsn } => {
            let seen = applied(written(streams, stream), stream, *lsn).await;
            or_stopped(streams, spec, stream, seen).await
        }
        Effect::AwaitMarker { stream, nonce } => {
            let seen = match stream_row::marker(written(streams, stream), stream, nonce).await {
                Ok(Some(lsn)) => Probe::Ours(Evidence::from([("lsn".to_owned(), lsn)])),
                Ok(None) => Probe::Absent,
                Err(cause) => Probe::Unreachable(cause),
            };
            or_stopped(streams, spec, stream, seen).await
        }
        Effect::AwaitLag { stream, limit_ms } => {
            or_stopped(streams, spec, stream, lag(streams, stream, *limit_ms)).await
        }
        Effect::DrainAvailable { .. } => available::probe(streams, spec).await,
        _ => Probe::Unreachable(Cause(strange(spec))),
    }
}

/// What is waited for does not come by itself from a stream that needs a person: its finding is the answer.
///
/// An undo has given the side back by then that the stream reads, and its proof that replication goes on cannot be had:
/// it says so and ends, since the stream's own state is in the journal. Where that side's gate is not open, what the
/// stream still holds must come over first, and the undo waits.
async fn or_stopped(streams: &Streams, spec: &EffectSpec, stream: &StreamName, seen: Probe) -> Probe {
    let Probe::Absent = seen else { return seen };
    let Some(finding) = streams.handle(stream).and_then(|handle| handle.stopped()) else { return seen };
    if spec.step == Step::Undo {
        let read = streams.parts().side(stream.direction.from());
        match gate::mode(read, &stream.phase).await {
            Ok(Some(GateMode::Open)) => {
                return Probe::Ours(Evidence::from([("not_proven".to_owned(), finding.to_string())]));
            }
            Ok(_) => {}
            Err(cause) => return Probe::Unreachable(cause),
        }
    }
    Probe::Differs(finding)
}

async fn applied(database: &Database, stream: &StreamName, lsn: Lsn) -> Probe {
    match stream_row::read(database, stream).await {
        Ok(Some(row)) if row.lsn >= lsn => {
            Probe::Ours(Evidence::from([("checkpoint".to_owned(), row.lsn.to_string())]))
        }
        Ok(_) => Probe::Absent,
        Err(cause) => Probe::Unreachable(cause),
    }
}

/// Only a stream that is up here knows its lag: silence is not taken for none.
fn lag(streams: &Streams, stream: &StreamName, limit_ms: u64) -> Probe {
    let Some(handle) = streams.handle(stream) else { return Probe::Absent };
    let seen = *handle.progress().borrow();
    match seen.lag_at(streams.parts().clock.now_millis()) {
        Some(lag_ms) if lag_ms <= limit_ms => Probe::Ours(Evidence::from([
            ("lag_ms".to_owned(), lag_ms.to_string()),
            ("checkpoint".to_owned(), seen.lsn.to_string()),
        ])),
        Some(_) | None => Probe::Absent,
    }
}

/// Does a stream's effect. Observations wait for a moment.
pub async fn act(streams: &Streams, spec: &EffectSpec, under: Authority) -> Acted {
    let (stream, change) = match &spec.effect {
        Effect::StartStream { stream, mode, from, .. } => (stream, Change::Start(*from, *mode)),
        Effect::SetStreamMode { stream, mode } => (stream, Change::Mode(*mode)),
        Effect::DropStream { stream } => (stream, Change::Drop),
        Effect::AwaitApplied { stream, lsn } => {
            let until = *lsn;
            return moved(streams, stream, move |progress| progress.lsn >= until).await;
        }
        Effect::AwaitLag { stream, limit_ms } => {
            let limit = *limit_ms;
            let clock = &streams.parts().clock;
            let is_near =
                |progress: &Progress| progress.lag_at(clock.now_millis()).is_some_and(|lag| lag <= limit);
            return moved(streams, stream, is_near).await;
        }
        Effect::AwaitMarker { stream, nonce } => return marked(streams, stream, nonce).await,
        Effect::DrainAvailable { .. } => {
            streams.parts().clock.sleep(LOOK).await;
            return Acted::Done(Evidence::new());
        }
        _ => return Acted::Definite(EffectError(strange(spec))),
    };
    let acted = stream_row::act(written(streams, stream), stream, (spec, under), change).await;
    // A stream that is idle would not meet its row before the next change.
    if let Some(handle) = streams.handle(stream) {
        handle.look_again();
    }
    acted
}

/// Waits a moment until the running stream's progress is as the test wants it.
async fn moved(streams: &Streams, stream: &StreamName, test: impl Fn(&Progress) -> bool + Send) -> Acted {
    match streams.handle(stream) {
        Some(handle) => {
            let mut progress = handle.progress();
            // Over, or the stream ended: either way the loop looks again.
            let _seen = tokio::time::timeout(MOMENT, progress.wait_for(|seen| test(seen))).await.is_ok();
        }
        None => streams.parts().clock.sleep(LOOK).await,
    }
    Acted::Done(Evidence::new())
}

/// Waits a moment until the marker is committed: looks each time that the running stream moves, and now and then.
async fn marked(streams: &Streams, stream: &StreamName, nonce: &str) -> Acted {
    let clock = &streams.parts().clock;
    let database = written(streams, stream);
    let began = clock.monotonic();
    let mut progress = streams.handle(stream).map(|handle| handle.progress());
    while clock.monotonic() - began < MOMENT {
        match stream_row::marker(database, stream, nonce).await {
            Ok(None) => {}
            Ok(Some(_)) | Err(_) => break,
        }
        match &mut progress {
            Some(progress) => {
                let _moved =
                    tokio::time::timeout(LOOK, progress.changed()).await.is_ok_and(|moved| moved.is_ok());
            }
            None => clock.sleep(LOOK).await,
        }
    }
    let waited = clock.monotonic() - began;
    Acted::Done(Evidence::from([("waited_ms".to_owned(), waited.as_millis().to_string())]))
}
