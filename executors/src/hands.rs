//! What a phase's loop works with outside the journal, as one thing, so that tests can put another in its place.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::time::Duration;

use async_trait::async_trait;
use journal::plan::TablePattern;
use journal::{
    Direction, Epoch, Evidence, Found, GateRow, Party, Quarantine, Side, Step, StreamSpec, TableName,
    Timeline,
};

use crate::postgres::survey::SharedSequence;
use crate::seams::{Authority, Cause, Observed, Receiver};

/// Receivers, streams and eyes of one phase.
#[async_trait]
pub(crate) trait Hands: Debug + Send + Sync {
    /// Who receives a party's effects.
    fn receiver(&self, party: Party) -> &dyn Receiver;

    /// What a step needs to have seen to plan.
    async fn observe(&self, step: Step, tables: &[TableName]) -> Result<Observed, Cause>;

    /// The source's tables that any of these patterns matches, by name.
    async fn matching(&self, patterns: &[TablePattern]) -> Result<Vec<TableName>, Cause>;

    /// The source's sequences that several tables take values from.
    async fn sequences(&self) -> Result<Vec<SharedSequence>, Cause>;

    /// The phase's gate row at a side, as it stands.
    async fn gate(&self, side: Side) -> Result<Option<GateRow>, Cause>;

    /// Raises the phase's epoch at a side. `false`: a newer one was there.
    async fn raise_epoch(&self, side: Side, epoch: Epoch) -> Result<bool, Cause>;

    /// Whether a side takes a write for this phase, committed as durably as its gate. `false`: a newer epoch was there.
    async fn answers(&self, side: Side, epoch: Epoch) -> Result<bool, Cause>;

    /// Holds a side's connections against what first contact saw.
    fn expect_identity(&self, side: Side, seen: &Evidence);

    /// The timeline that the newest connection to a side met.
    fn timeline(&self, side: Side) -> Option<Timeline>;

    /// Meets these sides anew.
    async fn meet(&self, sides: &[Side]) -> Result<(), Cause>;

    /// Does the next thing that is to be done with a quarantined target.
    async fn first_contact(
        &self,
        quarantined: (&Quarantine, &[TableName]),
        under: Authority,
    ) -> Result<Found, Cause>;

    /// Makes these the phase's streams.
    fn set_streams(&self, epoch: Epoch, specs: Vec<StreamSpec>, lag_limit: Duration);

    /// Ends the phase's streams: the lease is lost.
    fn stop_streams(&self);

    /// A stream's lag in milliseconds, if it runs and knows.
    fn lag_ms(&self, direction: Direction) -> Option<u64>;

    /// What the data plane is doing, in words for people.
    fn doing(&self) -> Option<String>;

    /// Facts for people, by name, as just probed: `gate.source`, `gate.target`.
    async fn facts(&self) -> BTreeMap<String, String>;
}
