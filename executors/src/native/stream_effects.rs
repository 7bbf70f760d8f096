//! Probing and doing the effects on streams.

use journal::EffectSpec;

use crate::native::streams::Streams;
use crate::seams::{Acted, Authority, Cause, EffectError, Probe};

/// Looks for a stream's effect. For `AwaitApplied`, `AwaitLag` and `AwaitMarker` it observes.
pub async fn probe(streams: &Streams, spec: &EffectSpec, under: Authority) -> Probe {
    let _unbuilt = (streams, under);
    Probe::Unreachable(Cause(format!("{} is not built yet", spec.effect.label())))
}

/// Does a stream's effect. Observations wait for a moment.
pub async fn act(streams: &Streams, spec: &EffectSpec, under: Authority) -> Acted {
    let _unbuilt = (streams, under);
    Acted::Definite(EffectError(format!("{} is not built yet", spec.effect.label())))
}
