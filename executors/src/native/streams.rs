//! The streams that run here, and what brings them to what the journal wants.
//!
//! A stream that breaks is begun again, with growing pauses, from its row: nothing else is remembered. One that needs a
//! person is tried again too, more and more seldom and without a word: what stopped it may have been put right without a
//! word to us, and a trial that stops again has written nothing. The journal hears of it once, and again when a run has
//! passed the place where it stopped, or stops for another reason.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use journal::{Epoch, PhaseName, StreamHealth, StreamMode, StreamName, StreamSpec};
use runtime::retry::Backoff;
use runtime::{Clock, Tasks};
use tokio::sync::{mpsc, oneshot};

use crate::native::available::Drains;
use crate::native::stream::{Control, StreamHandle, StreamParts, Told, run};
use crate::native::unchanged::{uncarried, until_uncarried};
use crate::native::{Breach, StreamError};
use crate::postgres::database::Database;

/// The first pause before a broken stream is begun again, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));

/// The first pause before a stream that needs a person is tried again, and the longest.
const STOPPED_PAUSES: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(30));

/// So many failures in a row are journalled: a new holder's first tries may meet what its predecessor left behind.
const BROKEN_AFTER: u32 = 4;

/// Who is told what becomes of the streams. Both calls may repeat what was said before: the journal knows a repeat.
#[async_trait]
pub trait StreamReports: std::fmt::Debug + Send + Sync {
    /// A stream changed.
    async fn stream(&self, name: &StreamName, epoch: Epoch, mode: StreamMode, health: StreamHealth);

    /// A guard saw what no fence should have let through.
    async fn breach(&self, name: &StreamName, epoch: Epoch, breach: &Breach);
}

/// The supervisor of the streams. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Streams {
    parts: StreamParts,
    reports: Arc<dyn StreamReports>,
    tasks: Tasks,
    running: Arc<Mutex<BTreeMap<StreamName, Desired>>>,
    drains: Drains,
}

/// A stream that is desired. Dropped, it ends.
#[derive(Debug)]
struct Desired {
    epoch: Epoch,
    spec: StreamSpec,
    lag_limit: Duration,
    handle: StreamHandle,
    _alive: oneshot::Sender<()>,
}

impl Desired {
    fn serves(&self, spec: &StreamSpec, epoch: Epoch, lag_limit: Duration) -> bool {
        let mine = &self.spec;
        self.epoch == epoch
            && self.lag_limit == lag_limit
            && (&mine.slot, &mine.publication) == (&spec.slot, &spec.publication)
            && (&mine.origin, &mine.opposite_origin) == (&spec.origin, &spec.opposite_origin)
            && (&mine.timelines, &mine.since) == (&spec.timelines, &spec.since)
    }
}

impl Streams {
    /// A supervisor of no streams yet.
    #[must_use]
    pub fn new(
        source: Database,
        target: Database,
        reports: Arc<dyn StreamReports>,
        clock: Arc<dyn Clock>,
        tasks: Tasks,
    ) -> Self {
        Self {
            parts: StreamParts { source, target, clock },
            reports,
            tasks,
            running: Arc::default(),
            drains: Drains::default(),
        }
    }

    /// Makes these the phase's streams: starts what is missing, ends what is not named or runs under another epoch. Cheap
    /// when nothing changed. `lag_limit` parts caught up from lagging. A stream's mode is in its row, not here.
    pub fn set_desired(&self, phase: &PhaseName, epoch: Epoch, specs: Vec<StreamSpec>, lag_limit: Duration) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.retain(|name, desired| {
            &name.phase != phase
                || specs.iter().any(|spec| &spec.name == name && desired.serves(spec, epoch, lag_limit))
        });
        for spec in specs {
            if let Some(desired) = running.get_mut(&spec.name) {
                if desired.spec.mode != spec.mode {
                    desired.spec.mode = spec.mode;
                    desired.handle.look_again();
                }
            } else {
                running.insert(spec.name.clone(), self.start(spec, epoch, lag_limit));
            }
        }
    }

    fn start(&self, spec: StreamSpec, epoch: Epoch, lag_limit: Duration) -> Desired {
        let (control, handle) = Control::new(&spec);
        let (alive, ended) = oneshot::channel::<()>();
        let (teller, told) = mpsc::unbounded_channel();
        let keeper = Keeper {
            parts: self.parts.clone(),
            spec: spec.clone(),
            epoch,
            control,
            teller: Teller { out: teller, lag_limit, said: Mutex::new(Said::default()) },
        };
        let (name, reports) = (spec.name.clone(), Arc::clone(&self.reports));
        self.tasks.spawn("stream", async move {
            tokio::select! {
                () = keeper.keep() => {}
                () = report(reports, (name, epoch), told) => {}
                // The sender is never used but to be dropped.
                _ = ended => {}
            }
        });
        Desired { epoch, spec, lag_limit, handle, _alive: alive }
    }

    /// Ends the phase's streams: the lease is lost. What they had in flight commits whole or not at all.
    pub fn stop_phase(&self, phase: &PhaseName) {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).retain(|name, _| &name.phase != phase);
    }

    /// A stream that is desired here, whether it is up at this moment or being restarted.
    #[must_use]
    pub fn handle(&self, name: &StreamName) -> Option<StreamHandle> {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.get(name).map(|desired| desired.handle.clone())
    }

    /// The publication that a stream reads which is desired here.
    #[must_use]
    pub fn publication(&self, name: &StreamName) -> Option<String> {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.get(name).map(|desired| desired.spec.publication.clone())
    }

    /// What is known here of drains that may never be through.
    pub(crate) const fn drains(&self) -> &Drains {
        &self.drains
    }

    /// What the streams work with.
    #[must_use]
    pub const fn parts(&self) -> &StreamParts {
        &self.parts
    }
}

/// What goes to the journal, in order.
#[derive(Debug)]
enum Report {
    Health(StreamMode, StreamHealth),
    Breach(Breach),
}

/// Passes reports on, however long the journal takes: the stream does not wait for it.
async fn report(
    reports: Arc<dyn StreamReports>,
    (name, epoch): (StreamName, Epoch),
    mut told: mpsc::UnboundedReceiver<Report>,
) {
    while let Some(report) = told.recv().await {
        match report {
            Report::Health(mode, health) => reports.stream(&name, epoch, mode, health).await,
            Report::Breach(breach) => reports.breach(&name, epoch, &breach).await,
        }
    }
}

#[derive(Debug, Default)]
struct Said {
    health: Option<(StreamMode, StreamHealth)>,
    is_up: bool,
    has_passed: bool,
}

/// Says each change once.
#[derive(Debug)]
struct Teller {
    out: mpsc::UnboundedSender<Report>,
    lag_limit: Duration,
    said: Mutex<Said>,
}

impl Teller {
    fn say(&self, mode: StreamMode, health: StreamHealth) {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        // A connection that is lost in several ways is lost once; and one that is lost meanwhile has not gone on.
        let is_down =
            matches!(said.health, Some((_, StreamHealth::Broken { .. } | StreamHealth::Stopped { .. })));
        if is_down && matches!(health, StreamHealth::Broken { .. }) {
            return;
        }
        let now = Some((mode, health));
        if said.health != now {
            said.health.clone_from(&now);
            // The other end goes with the stream's own task.
            let _heard =
                now.is_some_and(|(mode, health)| self.out.send(Report::Health(mode, health)).is_ok());
        }
    }

    /// Whether the stream dealt with something since this was asked last, and whether it got past what it began behind.
    fn was_up(&self) -> (bool, bool) {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        (std::mem::take(&mut said.is_up), std::mem::take(&mut said.has_passed))
    }
}

impl Told for Teller {
    fn lag(&self, mode: StreamMode, lag_ms: u64) {
        let lagging = {
            let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
            (said.is_up, said.has_passed) = (true, true);
            matches!(said.health, Some((_, StreamHealth::Lagging)))
        };
        // Once lagging, half of the limit ends it: a lag at the limit would fill the journal.
        let limit = if lagging { self.lag_limit / 2 } else { self.lag_limit };
        let caught_up = u128::from(lag_ms) <= limit.as_millis();
        self.say(mode, if caught_up { StreamHealth::CaughtUp } else { StreamHealth::Lagging });
    }

    fn moved(&self) {
        self.said.lock().unwrap_or_else(PoisonError::into_inner).is_up = true;
    }

    fn breach(&self, breach: Breach) {
        let _heard = self.out.send(Report::Breach(breach)).is_ok();
    }
}

/// Keeps one stream running.
struct Keeper {
    parts: StreamParts,
    spec: StreamSpec,
    epoch: Epoch,
    control: Control,
    teller: Teller,
}

impl Keeper {
    /// Runs it until it cannot go on, or does not carry a table of its phase: its place would say what is not so.
    async fn run(&mut self) -> StreamError {
        let from = self.parts.side(self.spec.name.direction.from());
        if let Some(finding) = uncarried(from, &self.spec).await {
            return StreamError::Stopped(finding);
        }
        tokio::select! {
            error = run(&self.parts, (&self.spec, self.epoch), &mut self.control, &self.teller) => error,
            finding = until_uncarried((from, &*self.parts.clock), &self.spec) => StreamError::Stopped(finding),
        }
    }

    async fn keep(mut self) {
        let mut backoff = Backoff::new(PAUSES.0, PAUSES.1);
        let mut stops = Backoff::new(STOPPED_PAUSES.0, STOPPED_PAUSES.1);
        let mut failures = 0_u32;
        loop {
            let error = self.run().await;
            self.control.down(&error.to_string());
            let (was_up, has_passed) = self.teller.was_up();
            if was_up {
                backoff.reset();
                failures = 0;
            }
            if has_passed {
                stops.reset();
            }
            failures += 1;
            let mode = self.control.mode();
            tracing::warn!(stream = %self.spec.name, epoch = %self.epoch, %error, failures, "stream is down");
            let pause = match error {
                StreamError::Superseded => backoff.wait(),
                StreamError::Lost(cause) => {
                    if failures >= BROKEN_AFTER {
                        self.teller.say(mode, StreamHealth::Broken { error: cause.0 });
                    }
                    backoff.wait()
                }
                StreamError::Stopped(finding) => {
                    self.control.stop(&finding);
                    self.teller.say(mode, StreamHealth::Stopped { finding });
                    stops.wait()
                }
            };
            self.parts.clock.sleep(pause).await;
        }
    }
}
