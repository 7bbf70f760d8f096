//! What does not come to an end by itself, said to people: a lever that does not answer before the stop, and an undo that
//! cannot give the traffic back.
//!
//! A receiver that cannot be reached is waited for, since it may be there again in a moment. Of a lever that is not
//! there for longer, a person hears: before the stop, as a step that is blocked, with the traffic untouched; in an undo, as
//! a finding beside it, while it goes on trying, since nobody can write until it is through.

use std::time::{Duration, Instant};

use journal::{EffectId, EffectSpec, Finding, OperationRun, Party, Step};
use runtime::retry::Backoff;

use super::{Halt, Work};
use crate::levers::does_not_answer;

/// How long a lever may be away before a person hears of it.
const PATIENCE: Duration = Duration::from_secs(10);

/// The same in an undo, in which nobody can write.
const PATIENCE_UNDOING: Duration = Duration::from_secs(3);

/// An effect that is tried again: how long to wait for it, and since when it is tried.
#[derive(Debug)]
pub(super) struct Pace {
    pub(super) id: EffectId,
    pub(super) backoff: Backoff,
    pub(super) since: Instant,
}

impl Work<'_> {
    /// A lever that has been away for too long before anything was stopped: as a finding.
    pub(super) fn is_away(&self, spec: &EffectSpec, since: Instant, why: &str) -> Option<Finding> {
        let waited = self.home.clock.monotonic().saturating_duration_since(since);
        let is_before = matches!(spec.step, Step::PrepareSwitch)
            || (spec.step == Step::StopTraffic && spec.effect.class() == journal::EffectClass::Observation);
        let is_over = spec.effect.party() == Party::Lever && is_before && waited >= PATIENCE;
        is_over.then(|| does_not_answer(&spec.phase, why))
    }

    /// What keeps an undo, or what follows an opening, from giving the traffic back, with what a person can do by hand.
    pub(super) fn stuck(&self, spec: &EffectSpec, why: &str) -> Option<Finding> {
        if spec.effect.party() != Party::Lever {
            return None;
        }
        let by_hand = self.home.hands.receiver(Party::Lever).by_hand(spec)?;
        Some(Finding {
            code: "SW-0517".to_owned(),
            what: format!(
                "the lever cannot give the traffic of phase {} back ({}): {why}. Nobody can write",
                spec.phase,
                spec.effect.label()
            ),
            remedy: format!("It is tried again by itself, so remove the cause. Or by hand: {by_hand}."),
        })
    }

    /// Says so if a lever is away for too long in an undo. It is tried again all the same.
    pub(super) async fn say_stuck(
        &mut self,
        run: &OperationRun,
        spec: &EffectSpec,
        (since, why): (Instant, &str),
    ) -> Result<(), Halt> {
        let gives_back = spec.step == Step::Undo || run.opened;
        let waited = self.home.clock.monotonic().saturating_duration_since(since);
        if !gives_back || waited < PATIENCE_UNDOING {
            return Ok(());
        }
        match self.stuck(spec, why) {
            Some(finding) if run.blocked.as_ref().is_none_or(|known| known.code != finding.code) => {
                self.block(spec.step, finding).await
            }
            _ => Ok(()),
        }
    }
}
