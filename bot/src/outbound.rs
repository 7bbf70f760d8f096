//! From the outbox to the platforms: one sender a platform, urgent messages first, tried again until it is there.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use journal::Holder;
use journal::plan::Platform;
use journal_store::{Mailroom, Outgoing};
use runtime::{Clock, Scrubber, failpoint};
use tokio::sync::{Notify, watch};

use crate::metrics;

/// How long a row is one instance's: above the longest delivery, and no more, since what an instance that died had in its
/// hand waits for so long.
const TERM: Duration = Duration::from_secs(35);

/// How long one delivery may take. Afterwards nobody knows whether it was made, and the platform is asked.
const LIMIT: Duration = Duration::from_secs(25);

/// How long a row that another instance wrote may wait to be seen.
const POLL: Duration = Duration::from_millis(250);

/// The first wait after a failure, and the longest.
const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(300);

/// What came of a delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delivery {
    /// It is there, under this id.
    Sent(String),
    /// It is not there, or nobody knows. The wait is the platform's wish.
    Later {
        /// How long to wait at least.
        wait: Option<Duration>,
        /// Why.
        why: String,
    },
    /// It cannot be there, whatever is done.
    Never(String),
}

/// Delivers to one platform. A row with more than one attempt may be there already: it is looked for first.
#[async_trait]
pub trait Carrier: fmt::Debug + Send + Sync {
    /// Which.
    fn platform(&self) -> Platform;

    /// The least time between two messages.
    fn pace(&self) -> Duration;

    /// Delivers one.
    async fn deliver(&self, outgoing: &Outgoing) -> Delivery;
}

/// Sends what waits for one platform.
#[derive(Debug)]
pub struct Sender {
    /// How.
    pub carrier: Box<dyn Carrier>,
    /// The outbox.
    pub mailroom: Arc<dyn Mailroom>,
    /// This instance.
    pub holder: Holder,
    /// Waits.
    pub clock: Arc<dyn Clock>,
    /// Told of each row written here.
    pub written: Arc<Notify>,
    /// Takes secrets out of what platforms say.
    pub scrubber: Scrubber,
}

impl Sender {
    /// Sends until it is told to stop; what is under way is finished first.
    pub async fn run(self, mut stop: watch::Receiver<bool>) {
        while !*stop.borrow() {
            let wait = match self.mailroom.take_outgoing(self.carrier.platform(), &self.holder, TERM).await {
                Ok(Some(outgoing)) => {
                    self.one(&outgoing).await;
                    self.carrier.pace()
                }
                Ok(None) => POLL,
                Err(error) => {
                    tracing::warn!(%error, "the outbox cannot be read");
                    LONGEST / 60
                }
            };
            tokio::select! {
                // What was written while a message was under way is met by the next look.
                () = self.written.notified(), if wait == POLL => {}
                () = self.clock.sleep(wait) => {}
                _ = stop.changed() => {}
            }
        }
    }

    async fn one(&self, outgoing: &Outgoing) {
        let platform = self.carrier.platform();
        let delivery = match tokio::time::timeout(LIMIT, self.carrier.deliver(outgoing)).await {
            Ok(delivery) => delivery,
            Err(_) => Delivery::Later { wait: None, why: format!("no answer in {} s", LIMIT.as_secs()) },
        };
        failpoint::hit("mail.before_sent");
        let outcome = match &delivery {
            Delivery::Sent(_) => "sent",
            Delivery::Later { .. } => "later",
            Delivery::Never(_) => "given_up",
        };
        metrics::count(&metrics::names::MESSAGES, &[metrics::word(platform), outcome]);
        let noted = match delivery {
            Delivery::Sent(message) => {
                tracing::info!(?platform, outbox = outgoing.id, %message, "sent");
                self.mailroom.sent(outgoing, &message).await
            }
            Delivery::Later { wait, why } => {
                let why = self.scrubber.scrub(&why);
                let wait = wait.unwrap_or_default().max(backoff(outgoing.attempts));
                tracing::warn!(?platform, outbox = outgoing.id, why, seconds = wait.as_secs(), "sent later");
                self.mailroom.postpone(outgoing, wait, &why).await
            }
            Delivery::Never(why) => {
                let why = self.scrubber.scrub(&why);
                tracing::error!(?platform, outbox = outgoing.id, why, "never sent");
                self.mailroom.give_up(outgoing, &why).await
            }
        };
        match noted {
            Ok(true) => {}
            Ok(false) => tracing::info!(outbox = outgoing.id, "another instance has it"),
            Err(error) => tracing::warn!(%error, outbox = outgoing.id, "not noted: it is looked for again"),
        }
    }
}

/// The wait after so many attempts.
fn backoff(attempts: i64) -> Duration {
    let doublings = u32::try_from(attempts.clamp(1, 12) - 1).unwrap_or(0);
    (FIRST * 2_u32.pow(doublings)).min(LONGEST)
}
