//! `undo`: an unfinished operation is undone, newest first.
//!
//! A switch that has stopped the traffic is undone by the list that was written with the intent to stop it: the phase's
//! later self, another process, another plan cannot change it. Of that list, what was never intended needs no undo. It
//! deletes nothing: slots and streams stay, and the next attempt adopts them. It ends with a proof that the application
//! can write again.
//!
//! A start that is undone removes what it made, and only that: an effect that definitely failed made nothing, and what
//! stands under its name may be somebody else's.

use journal::{
    Direction, Effect, EffectRecord, EffectStatus, Expectation, Finding, Operation, Side, Step, StreamMode,
};

use super::StepContext;

/// What is left to undo.
pub(crate) fn plan(ctx: &StepContext<'_>) -> Result<Vec<Effect>, Finding> {
    match ctx.run.operation {
        Operation::Start => Ok(of_start(ctx)),
        Operation::Cutover | Operation::Failback => Ok(of_switch(ctx)),
        // These undo nothing: they give up for ever, or only look.
        Operation::Complete
        | Operation::Verify
        | Operation::Retire
        | Operation::FailbackTargetLost
        | Operation::CompleteSourceLost => Ok(Vec::new()),
    }
}

/// Whether an effect is definitely not there.
pub(crate) const fn failed(record: &EffectRecord) -> bool {
    matches!(record.status, EffectStatus::Failed(_))
}

/// The whole undo of a switch, as it is written down with the intent that stops the traffic.
pub(crate) fn whole(ctx: &StepContext<'_>) -> Vec<Effect> {
    if ctx.run.operation == Operation::FailbackTargetLost {
        return Vec::new();
    }
    let from = ctx.leaving();
    let opening = ctx.opening();
    let mut effects = vec![
        Effect::CloseGate { side: opening },
        Effect::AwaitWriters {
            side: opening,
            tables: ctx.tables(),
            patience_ms: u64::try_from(ctx.plan.fence_patience.as_millis()).unwrap_or(u64::MAX),
            terminate: true,
        },
    ];
    // What slipped in while a late opening stood is carried over before its stream turns to guarding.
    effects.extend(ctx.marker(Step::Undo, ctx.guarding()));
    // The side being left opens before the streams turn: their rows are on both sides, and a dead other side must not
    // keep this one closed. The stream that reads it rests until it applies again, so nothing is dropped.
    effects.extend([
        Effect::OpenGate { side: from },
        Effect::RouteTraffic { to: from },
        Effect::ResumeTraffic { to: from },
        Effect::TrialWrite {
            side: from,
            tables: ctx.tables(),
            expect: Expectation::Passes,
            moment: "undone".to_owned(),
        },
        Effect::ObserveTraffic { at: from },
        Effect::SetStreamMode { stream: ctx.stream(ctx.guarding()), mode: StreamMode::Guard },
        Effect::SetStreamMode { stream: ctx.stream(ctx.applying()), mode: StreamMode::Apply },
    ]);
    effects.extend(ctx.marker(Step::Undo, ctx.applying()));
    effects
}

fn of_switch(ctx: &StepContext<'_>) -> Vec<Effect> {
    let Some((_, written)) = &ctx.run.stopped else { return Vec::new() };
    // What the undo itself has intended does not count as something to undo.
    let intended = |test: fn(&Effect) -> bool| {
        ctx.run.effects.iter().any(|record| record.step != Step::Undo && test(&record.effect))
    };
    let streams = intended(|effect| matches!(effect, Effect::SetStreamMode { .. }));
    let route = intended(|effect| matches!(effect, Effect::RouteTraffic { .. }));
    written
        .effects
        .iter()
        .filter(|effect| match effect {
            // An opening that failed may still arrive late: its side is closed first, under a higher position.
            Effect::CloseGate { .. } | Effect::AwaitWriters { .. } => ctx.run.opening_failed,
            Effect::EmitMarker { side, .. } if *side == ctx.opening() => ctx.run.opening_failed,
            Effect::AwaitMarker { stream, .. } if stream.direction == ctx.guarding() => {
                ctx.run.opening_failed
            }
            Effect::SetStreamMode { .. } => streams,
            Effect::RouteTraffic { .. } => route,
            _ => true,
        })
        .cloned()
        .collect()
}

fn of_start(ctx: &StepContext<'_>) -> Vec<Effect> {
    let made = |test: &dyn Fn(&Effect) -> bool| {
        ctx.run
            .effects
            .iter()
            .any(|record| record.step != Step::Undo && !failed(record) && test(&record.effect))
    };
    let mut effects = Vec::new();
    for direction in [Direction::Failback, Direction::Forward] {
        let reads = direction.from();
        if made(
            &|effect| matches!(effect, Effect::StartStream { stream, .. } if stream.direction == direction),
        ) {
            effects.push(Effect::DropStream { stream: ctx.stream(direction) });
        }
        if made(&|effect| matches!(effect, Effect::CreateSlot { side, .. } if *side == reads)) {
            effects.push(Effect::DropSlot { side: reads, slot: ctx.slot(direction) });
        }
        if made(&|effect| matches!(effect, Effect::CreatePublication { side, .. } if *side == reads)) {
            effects.push(Effect::DropPublication { side: reads, publication: ctx.publication(direction) });
        }
    }
    for direction in [Direction::Forward, Direction::Failback] {
        let writes = direction.to();
        if made(&|effect| matches!(effect, Effect::CreateOrigin { side, .. } if *side == writes)) {
            effects.push(Effect::DropOrigin { side: writes, origin: ctx.origin(direction) });
        }
    }
    // The tables go with their triggers; only then the fence's function. The other way round they would stand open.
    let side = Side::Target;
    if made(&|effect| matches!(effect, Effect::CreateTables { .. })) {
        effects.push(Effect::DropTables { tables: ctx.tables() });
    }
    if made(&|effect| matches!(effect, Effect::InstallFence { side: at, .. } if *at == side)) {
        effects.push(Effect::RemoveFence { side, tables: ctx.tables() });
    }
    effects
}
