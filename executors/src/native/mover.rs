//! The data plane as the receiver of effects.

use async_trait::async_trait;
use journal::{Effect, EffectSpec, Step};

use crate::native::plane::Plane;
use crate::native::{load, stream_effects, verify};
use crate::postgres::{anew, preflight};
use crate::seams::{Acted, Authority, EffectError, Probe, Receiver};

/// Who copies, verifies and runs the streams.
#[derive(Debug, Clone)]
pub struct Mover {
    plane: Plane,
}

impl Mover {
    /// A mover on this plane.
    #[must_use]
    pub const fn new(plane: Plane) -> Self {
        Self { plane }
    }

    /// What it works with.
    #[must_use]
    pub const fn plane(&self) -> &Plane {
        &self.plane
    }

    /// A load's snapshot keeps the source from cleaning up: it goes with the first effect of a later step.
    fn let_snapshot_go(&self, spec: &EffectSpec) {
        let loads =
            matches!(spec.step, Step::Preflight | Step::PrepareSource | Step::PrepareTarget | Step::Load);
        if !loads {
            self.plane.snapshots.release(&spec.phase);
        }
    }
}

fn strange(spec: &EffectSpec) -> String {
    format!("{} is not an effect of the data plane: this is an error in Switchyard", spec.effect.label())
}

#[async_trait]
impl Receiver for Mover {
    async fn probe(&self, spec: &EffectSpec, under: Authority) -> Probe {
        self.let_snapshot_go(spec);
        match &spec.effect {
            Effect::Preflight { tables } => {
                preflight::probe(&self.plane.source, &self.plane.target, spec, tables).await
            }
            Effect::ProbeAnew { side, .. } => {
                anew::probe(self.plane.side(*side), self.plane.side(side.other()), spec).await
            }
            Effect::CreateSlot { .. } | Effect::CopyTable { .. } => {
                load::probe(&self.plane, spec, under).await
            }
            Effect::VerifyTable { .. } | Effect::VerifyChanged { .. } | Effect::SweepChanged { .. } => {
                verify::probe(&self.plane, spec, under).await
            }
            Effect::StartStream { .. }
            | Effect::SetStreamMode { .. }
            | Effect::AwaitApplied { .. }
            | Effect::AwaitLag { .. }
            | Effect::AwaitMarker { .. }
            | Effect::DrainAvailable { .. }
            | Effect::DropStream { .. } => stream_effects::probe(&self.plane.streams, spec, under).await,
            _ => Probe::Unreachable(crate::seams::Cause(strange(spec))),
        }
    }

    async fn act(&self, spec: &EffectSpec, under: Authority) -> Acted {
        self.let_snapshot_go(spec);
        match &spec.effect {
            Effect::Preflight { .. } | Effect::ProbeAnew { .. } => {
                preflight::act(self.plane.clock.as_ref()).await
            }
            Effect::CreateSlot { .. } | Effect::CopyTable { .. } => load::act(&self.plane, spec, under).await,
            Effect::VerifyTable { .. } | Effect::VerifyChanged { .. } | Effect::SweepChanged { .. } => {
                verify::act(&self.plane, spec, under).await
            }
            Effect::StartStream { .. }
            | Effect::SetStreamMode { .. }
            | Effect::AwaitApplied { .. }
            | Effect::AwaitLag { .. }
            | Effect::AwaitMarker { .. }
            | Effect::DrainAvailable { .. }
            | Effect::DropStream { .. } => stream_effects::act(&self.plane.streams, spec, under).await,
            _ => Acted::Definite(EffectError(strange(spec))),
        }
    }
}
