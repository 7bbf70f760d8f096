//! What stands in for a lever that cannot be made by the plan, so that all that needs no lever goes on: the phase's streams,
//! and every other phase. A switch ends before it has stopped anything.

use async_trait::async_trait;
use journal::{Effect, EffectSpec, PhaseName, Step};

use super::does_not_answer;
use crate::seams::{Acted, Authority, Cause, EffectError, Examined, Lever, Probe, Receiver, TrafficState};

/// A lever that is none.
#[derive(Debug)]
pub(crate) struct Unmade {
    /// The phase.
    pub(crate) phase: PhaseName,
    /// Why it cannot be made.
    pub(crate) why: Cause,
}

#[async_trait]
impl Receiver for Unmade {
    async fn probe(&self, spec: &EffectSpec, _under: Authority) -> Probe {
        if matches!(spec.effect, Effect::ObserveTraffic { .. }) && spec.step != Step::Undo {
            return Probe::Differs(does_not_answer(&self.phase, &self.why.to_string()));
        }
        Probe::Unreachable(self.why.clone())
    }

    async fn act(&self, _spec: &EffectSpec, _under: Authority) -> Acted {
        Acted::Unknown(EffectError(self.why.to_string()))
    }
}

#[async_trait]
impl Lever for Unmade {
    async fn observe(&self) -> Result<TrafficState, Cause> {
        Err(self.why.clone())
    }

    async fn examine(&self) -> Examined {
        let finding = does_not_answer(&self.phase, &self.why.to_string());
        Examined { problems: vec![("admin", finding)], ..Examined::default() }
    }
}
