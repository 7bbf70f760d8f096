//! Both sides at one place of a stream.
//!
//! The race is told in `verify`: two snapshots are taken that show the same state, while the application goes on.

use std::time::Duration;

use journal::{Direction, Finding, Lsn, PhaseName, Side, StreamName, TableName};

use crate::native::plane::Plane;
use crate::native::stream::{StreamHandle, StreamHold};
use crate::native::verify::Proven;
use crate::postgres::database::Session;
use crate::postgres::proof::{Settled, Standing, settled, stand};
use crate::postgres::snapshot::{ExportedSnapshot, HeldSnapshot, end, oldest_writer};
use crate::seams::Cause;

/// The longest that the stream stands still for a comparison's snapshot.
const HOLD: Duration = Duration::from_secs(10);

/// How often a snapshot is taken to meet the stream at its place.
const MEETINGS: u32 = 40;

/// How long a snapshot is waited for before it is said whom it waits for, and how often that is looked at anew.
const TELL: Duration = Duration::from_secs(1);

/// Why there is no such place.
#[derive(Debug)]
pub(super) enum Unmet {
    /// The stream needs a person, so that waiting for it is of no use.
    Stopped(Finding),
    /// Anything else: to be tried again.
    Cause(Cause),
}

impl From<Cause> for Unmet {
    fn from(cause: Cause) -> Self {
        Self::Cause(cause)
    }
}

/// A transaction on each side, whose snapshots show the state at one place of the stream.
pub(super) struct Place {
    direction: Direction,
    /// On the side that the stream reads, and its log's place.
    reading: (Session, Lsn),
    /// On the side that the stream writes.
    standing: Standing,
    /// Where the written side's log ended before.
    before: Settled,
}

impl Place {
    /// The transaction on a side.
    pub(super) const fn at(&self, side: Side) -> &Session {
        if self.reads(side) { &self.reading.0 } else { &self.standing.session }
    }

    /// A side's place in its log.
    pub(super) const fn lsn(&self, side: Side) -> Lsn {
        if self.reads(side) { self.reading.1 } else { self.standing.lsn }
    }

    const fn reads(&self, side: Side) -> bool {
        matches!((self.direction.from(), side), (Side::Source, Side::Source) | (Side::Target, Side::Target))
    }

    /// What a comparison of a table here makes unnecessary to remember.
    pub(super) fn proven(&self, table: &TableName) -> Vec<Proven> {
        let direction = self.direction;
        let mut proven = vec![(direction.to(), table.clone(), direction, self.reading.1)];
        if self.standing.holds(self.before) {
            proven.push((direction.from(), table.clone(), direction.opposite(), self.before.lsn));
        }
        proven
    }

    /// Ends both transactions.
    pub(super) async fn leave(self) {
        end(self.reading.0).await;
        end(self.standing.session).await;
    }
}

/// Takes both snapshots.
///
/// # Errors
/// The stream has stopped, does not run here, or is not met; a side gives no snapshot.
pub(super) async fn one_place(plane: &Plane, stream: &StreamName) -> Result<Place, Unmet> {
    let (read_side, written_side) = (stream.direction.from(), stream.direction.to());
    let handle = plane.streams.handle(stream).ok_or_else(|| {
        Cause(format!("the stream {stream} does not run here yet, and fixes the place of comparison"))
    })?;
    let before = settled(plane.side(written_side)).await?;
    let (snapshot, hold) = meet(plane, read_side, (&stream.phase, &handle)).await?;
    let standing = tokio::time::timeout(HOLD, stand(plane.side(written_side)))
        .await
        .map_err(|_| Cause(format!("the {written_side} gave no snapshot within {HOLD:?}")))??;
    if !hold.holds() {
        return Err(
            Cause(format!("the stream {stream} was restarted while its place was being fixed")).into()
        );
    }
    drop(hold);
    let lsn = snapshot.lsn();
    Ok(Place { direction: stream.direction, reading: (snapshot.into_reading(), lsn), standing, before })
}

/// A snapshot of the side read, and the stream held at its place.
///
/// A stream that lags little may be past the place by the time it is known here. Then there is another snapshot: it is
/// held first and imported later, so that one try in a few meets.
async fn meet(
    plane: &Plane,
    side: Side,
    (phase, stream): (&PhaseName, &StreamHandle),
) -> Result<(HeldSnapshot, StreamHold), Unmet> {
    let mut last = Cause("the stream was never met".to_owned());
    for attempt in 0..MEETINGS {
        if let Some(finding) = stream.stopped() {
            return Err(Unmet::Stopped(finding));
        }
        let exported = exported(plane, side, phase).await?;
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
    Err(last.into())
}

/// A snapshot of this moment. It waits for the writers that are open now, however long they are, so people are told whom it
/// waits for.
async fn exported(plane: &Plane, side: Side, phase: &PhaseName) -> Result<ExportedSnapshot, Cause> {
    let before = plane.doing.of(phase);
    let taking = ExportedSnapshot::of_now(plane.side(side));
    tokio::pin!(taking);
    let taken = loop {
        tokio::select! {
            taken = &mut taking => break taken,
            () = plane.clock.sleep(TELL) => {
                if let Ok(Some(writer)) = oldest_writer(plane.side(side)).await {
                    let doing = before.as_deref().unwrap_or("taking a snapshot");
                    plane.doing.say(phase, format!("{doing}; waits on the {side} for {writer}"));
                }
            }
        }
    };
    match before {
        Some(before) => plane.doing.say(phase, before),
        None => plane.doing.clear(phase),
    }
    taken
}
