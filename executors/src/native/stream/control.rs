//! What is known of a stream and asked of it from outside, through all its runs.

use journal::{Finding, Lsn, StreamMode, StreamSpec};
use tokio::sync::{mpsc, oneshot, watch};

use crate::native::hold::{Asked, Holds, StreamHold};
use crate::seams::Cause;

/// How far a stream has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Everything up to here is applied, durably, or needed nothing.
    pub lsn: Lsn,
    /// What it does.
    pub mode: StreamMode,
    /// Its lag in milliseconds when this was written; none while it is not known, or the stream is not up.
    pub lag_ms: Option<u64>,
    /// When the oldest transaction that was outstanding then was committed, in milliseconds since 1970: it is outstanding for
    /// as long as this stands.
    pub oldest_ms: Option<i64>,
}

impl Progress {
    /// Its lag at a time in milliseconds since 1970: within a long transaction nothing is said anew, and its age goes on.
    #[must_use]
    pub fn lag_at(&self, now_ms: i64) -> Option<u64> {
        self.oldest_ms.map(|oldest| age(oldest, now_ms)).or(self.lag_ms)
    }
}

pub(super) fn age(committed_ms: i64, now_ms: i64) -> u64 {
    u64::try_from(now_ms.saturating_sub(committed_ms)).unwrap_or(0)
}

/// A stream that is desired here. Cheap to clone.
#[derive(Debug, Clone)]
pub struct StreamHandle {
    progress: watch::Receiver<Progress>,
    stopped: watch::Receiver<Option<Finding>>,
    asks: mpsc::UnboundedSender<Asked>,
}

impl StreamHandle {
    /// Why it needs a person, until a run has passed the place where it stopped.
    #[must_use]
    pub fn stopped(&self) -> Option<Finding> {
        self.stopped.borrow().clone()
    }

    /// How far it has come, and every change of that.
    #[must_use]
    pub fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.clone()
    }

    /// Holds the stream where everything that ended at or before `lsn` is applied and nothing after it. It goes on when
    /// the hold is dropped, or this call is.
    ///
    /// # Errors
    /// The stream is past it already, is not up, or has stopped.
    pub async fn hold_at(&self, lsn: Lsn) -> Result<StreamHold, Cause> {
        let (reply, held) = oneshot::channel();
        let gone = || Cause("the stream was ended here before it could be held".to_owned());
        self.asks.send(Asked::Hold(lsn, reply)).map_err(|_| gone())?;
        let mut stopped = self.stopped.clone();
        tokio::select! {
            held = held => held.map_err(|_| gone())?,
            // Between the runs of a stream that has stopped nobody answers.
            why = stopped.wait_for(Option::is_some) => {
                let why = why.ok().and_then(|why| why.as_ref().map(ToString::to_string));
                Err(Cause(format!("the stream has stopped: {}", why.unwrap_or_default())))
            }
        }
    }

    /// Has the stream read its row again: its mode was set.
    pub(crate) fn look_again(&self) {
        // Gone: then it reads the row when it begins.
        let _told = self.asks.send(Asked::LookAgain).is_ok();
    }
}

/// What a stream is given for as long as it is desired, through all its runs.
#[derive(Debug)]
pub(crate) struct Control {
    progress: watch::Sender<Progress>,
    stopped: watch::Sender<Option<Finding>>,
    pub(super) holds: Holds,
}

impl Control {
    /// The two ends.
    pub(crate) fn new(spec: &StreamSpec) -> (Self, StreamHandle) {
        let (progress, seen) =
            watch::channel(Progress { lsn: spec.from, mode: spec.mode, lag_ms: None, oldest_ms: None });
        let (stopped, why) = watch::channel(None);
        let (asks, asked) = mpsc::unbounded_channel();
        (
            Self { progress, stopped, holds: Holds::new(asked) },
            StreamHandle { progress: seen, stopped: why, asks },
        )
    }

    /// The run is over, and the next one will be too, until a person has looked.
    pub(crate) fn stop(&self, finding: &Finding) {
        self.stopped.send_replace(Some(finding.clone()));
    }

    /// What stopped an earlier run is passed.
    pub(super) fn pass(&self) {
        self.stopped.send_if_modified(|stopped| stopped.take().is_some());
    }

    /// The run is over: nobody knows the lag now, and nothing is held.
    pub(crate) fn down(&mut self, why: &str) {
        self.progress.send_modify(|progress| (progress.lag_ms, progress.oldest_ms) = (None, None));
        self.holds.fail(why);
    }

    /// What it does, as was last read.
    pub(crate) fn mode(&self) -> StreamMode {
        self.progress.borrow().mode
    }

    /// Says how far it has come.
    pub(super) fn publish(&self, now: Progress) {
        self.progress.send_if_modified(|progress| {
            let moved = *progress != now;
            *progress = now;
            moved
        });
    }
}
