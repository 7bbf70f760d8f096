//! Holding a stream at a place, as its run and those who ask see it.

use futures::future::select_all;
use journal::Lsn;
use tokio::sync::{mpsc, oneshot};

use crate::seams::Cause;

/// A stream that stands still until this is dropped.
#[derive(Debug)]
pub struct StreamHold {
    at: Lsn,
    standing: oneshot::Sender<()>,
}

impl StreamHold {
    /// Where it stands.
    #[must_use]
    pub const fn at(&self) -> Lsn {
        self.at
    }

    /// Whether it still stands: ask after the snapshot was taken. A stream that was ended meanwhile may run elsewhere.
    #[must_use]
    pub fn holds(&self) -> bool {
        !self.standing.is_closed()
    }
}

/// What a running stream is asked.
#[derive(Debug)]
pub(crate) enum Asked {
    /// Stand at this place.
    Hold(Lsn, oneshot::Sender<Result<StreamHold, Cause>>),
    /// Read the row again.
    LookAgain,
}

type Reply = oneshot::Sender<Result<StreamHold, Cause>>;

/// The holds of one stream.
#[derive(Debug)]
pub(crate) struct Holds {
    asks: mpsc::UnboundedReceiver<Asked>,
    waiting: Vec<(Lsn, Reply)>,
    standing: Vec<oneshot::Receiver<()>>,
    must_look: bool,
}

impl Holds {
    pub(crate) const fn new(asks: mpsc::UnboundedReceiver<Asked>) -> Self {
        Self { asks, waiting: Vec::new(), standing: Vec::new(), must_look: false }
    }

    fn put(&mut self, asked: Asked) {
        match asked {
            Asked::Hold(lsn, reply) => self.waiting.push((lsn, reply)),
            Asked::LookAgain => self.must_look = true,
        }
    }

    /// Takes in what was asked. `true`: the row is to be read again.
    pub(crate) fn take_asked(&mut self) -> bool {
        while let Ok(asked) = self.asks.try_recv() {
            self.put(asked);
        }
        self.waiting.retain(|(_, reply)| !reply.is_closed());
        std::mem::take(&mut self.must_look)
    }

    /// Completes when something is asked, or somebody who waited is gone. Cancellation safe.
    pub(crate) async fn asked(&mut self) {
        let asked = if self.waiting.is_empty() {
            self.asks.recv().await
        } else {
            let gone = select_all(self.waiting.iter_mut().map(|(_, reply)| Box::pin(reply.closed())));
            tokio::select! {
                _ = gone => return,
                asked = self.asks.recv() => asked,
            }
        };
        match asked {
            Some(asked) => self.put(asked),
            // Nobody can ask any more.
            None => std::future::pending().await,
        }
    }

    /// Answers whoever can be answered. `true`: the stream is held.
    ///
    /// `reached`: everything up to there was dealt with; `written`: the newest rows written are from there.
    pub(crate) fn settle(&mut self, reached: Lsn, written: Lsn) -> bool {
        let (answered, waiting) = std::mem::take(&mut self.waiting)
            .into_iter()
            .partition::<Vec<_>, _>(|(lsn, _)| written > *lsn || reached >= *lsn);
        self.waiting = waiting;
        for (lsn, reply) in answered {
            if written > lsn {
                let past =
                    format!("the stream has applied up to {written}, and cannot be held at {lsn} any more");
                // Whoever asked is gone: nothing to do for them.
                let _heard = reply.send(Err(Cause(past))).is_ok();
                continue;
            }
            let (standing, ended) = oneshot::channel();
            if reply.send(Ok(StreamHold { at: lsn, standing })).is_ok() {
                self.standing.push(ended);
            }
        }
        !self.standing.is_empty()
    }

    /// The nearest place that somebody waits for.
    pub(crate) fn limit(&self) -> Option<Lsn> {
        self.waiting.iter().map(|(lsn, _)| *lsn).min()
    }

    /// Waits until a hold ends or something is asked. Cancellation safe.
    pub(crate) async fn wait(&mut self) {
        if self.standing.is_empty() {
            return;
        }
        let ended = select_all(self.standing.iter_mut());
        tokio::select! {
            (_, at, _) = ended => {
                drop(self.standing.swap_remove(at));
            }
            asked = self.asks.recv() => if let Some(asked) = asked { self.put(asked) } else {
                std::future::pending::<()>().await;
            },
        }
    }

    /// Ends all holds: the run is over.
    pub(crate) fn fail(&mut self, why: &str) {
        self.take_asked();
        self.standing.clear();
        for (lsn, reply) in self.waiting.drain(..) {
            let what = format!("the stream went down before it could be held at {lsn}: {why}");
            let _heard = reply.send(Err(Cause(what))).is_ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(asks: &mpsc::UnboundedSender<Asked>, at: u64) -> oneshot::Receiver<Result<StreamHold, Cause>> {
        let (reply, held) = oneshot::channel();
        asks.send(Asked::Hold(Lsn::new(at), reply)).unwrap();
        held
    }

    #[tokio::test]
    async fn a_hold_is_given_at_its_place_and_ends_when_it_is_dropped() {
        let (asks, receiver) = mpsc::unbounded_channel();
        let mut holds = Holds::new(receiver);
        let held = asked(&asks, 10);
        assert!(!holds.take_asked());
        assert!(!holds.settle(Lsn::new(9), Lsn::new(9)));
        assert_eq!(holds.limit(), Some(Lsn::new(10)));
        assert!(holds.settle(Lsn::new(12), Lsn::new(9)));
        let hold = held.await.unwrap().unwrap();
        assert!(hold.holds());
        drop(hold);
        holds.wait().await;
        assert!(!holds.settle(Lsn::new(12), Lsn::new(9)));
    }

    #[tokio::test]
    async fn a_place_that_was_passed_is_refused_and_a_run_that_ends_lets_go() {
        let (asks, receiver) = mpsc::unbounded_channel();
        let mut holds = Holds::new(receiver);
        let passed = asked(&asks, 10);
        let reached = asked(&asks, 30);
        holds.take_asked();
        assert!(holds.settle(Lsn::new(30), Lsn::new(20)));
        assert!(passed.await.unwrap().is_err());
        let hold = reached.await.unwrap().unwrap();
        holds.fail("over");
        assert!(!hold.holds());
    }
}
