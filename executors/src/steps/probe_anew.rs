//! Before any step: what an operation leans on is proven again where a side came back on another timeline.
//!
//! It belongs to no step of its own, since it may be needed before any of them. What changed before the operation began
//! needs one look; what changed since has also made doubtful what a switch had proven by then, so its markers and its
//! sweep are done again, under names of their own. The undo asks nothing: a side that is back must not keep the other
//! closed.

use journal::{
    Direction, Effect, EffectStatus, GateMode, Operation, Side, Step, StreamCheck, TimelineChange,
};

use super::StepContext;

/// The looks, and what a switch proves again.
pub(crate) fn plan(ctx: &StepContext<'_>, step: Step) -> Vec<Effect> {
    if step == Step::Undo {
        return Vec::new();
    }
    // A start leans on nothing of a side before it has met it, and what it finds there then is its first contact.
    let is_met = |side: Side| {
        let home = |effect: &Effect| matches!(effect, Effect::InstallHome { side: at, .. } if *at == side);
        ctx.run.operation != Operation::Start || ctx.run.evidence(|record| home(&record.effect)).is_some()
    };
    // Nothing is asked of a side that is lost.
    let is_lost = |side: Side| match side {
        Side::Target => ctx.run.operation == Operation::FailbackTargetLost || ctx.state.quarantine.is_some(),
        Side::Source => ctx.run.operation == Operation::CompleteSourceLost,
    };
    let is_met = |side: Side| is_met(side) && !is_lost(side);
    let changes = ctx.state.timelines.iter().filter(|(side, _)| is_met(**side));
    let mut effects: Vec<Effect> = changes.map(|(side, change)| probe(ctx, *side, change)).collect();
    let changed = ctx.state.timeline_changed.filter(|changed| *changed > ctx.run.position);
    let is_switch = matches!(ctx.run.operation, Operation::Cutover | Operation::Failback);
    let Some(changed) = changed.filter(|_| is_switch) else { return effects };
    let mut again = Vec::new();
    for direction in [ctx.applying(), ctx.guarding()] {
        if direction == ctx.applying() || !ctx.has_stopped(direction) {
            let (side, nonce) =
                (direction.from(), format!("{}-anew-{changed}-{}", ctx.run.position, direction.from()));
            again.push(Effect::EmitMarker { side, nonce: nonce.clone() });
            again.push(Effect::AwaitMarker { stream: ctx.stream(direction), nonce });
        }
    }
    again.extend(ctx.verify_tables(&format!("anew-{changed}")));
    // Done once, in whatever step that was.
    let is_done = |effect: &Effect| {
        ctx.run
            .effects
            .iter()
            .any(|record| record.effect == *effect && matches!(record.status, EffectStatus::Succeeded(_)))
    };
    effects.extend(again.into_iter().filter(|effect| !is_done(effect)));
    effects
}

fn probe(ctx: &StepContext<'_>, side: Side, change: &TimelineChange) -> Effect {
    let mode = ctx.state.gates.get(&side).copied().unwrap_or(GateMode::Closed);
    // On the source the fence stands from the first switch on; until then its triggers are made by the operation itself.
    let is_fenced = side == Side::Target || mode == GateMode::Closed;
    let streams = ctx.state.streams.iter().map(|(direction, stream)| StreamCheck {
        direction: *direction,
        slot: stream.slot.clone(),
        mode: stream.mode,
        is_needed: is_needed(ctx, *direction),
    });
    Effect::ProbeAnew {
        side,
        was: change.was,
        timeline: change.timeline,
        mode,
        gate: ctx.state.gate_positions.get(&side).copied(),
        fenced: if is_fenced { ctx.tables() } else { Vec::new() },
        streams: streams.collect(),
    }
}

/// Whether the operation cannot do without a stream. What gives it up, or leads back to where it reads, can.
fn is_needed(ctx: &StepContext<'_>, direction: Direction) -> bool {
    match ctx.run.operation {
        Operation::Start | Operation::Cutover => true,
        Operation::Failback | Operation::Verify => direction == ctx.applying(),
        Operation::Complete
        | Operation::Retire
        | Operation::FailbackTargetLost
        | Operation::CompleteSourceLost => false,
    }
}
