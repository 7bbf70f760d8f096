//! `prepare_switch`: before the window, all that can wait for strangers, and a rehearsal.
//!
//! What changed is compared last but for the wait for long writers, since the window compares again what changes from
//! then on.
//!
//! Triggers are made here, under a short lock timeout; inside the window only their function is replaced.

use journal::{Effect, Expectation, Finding, Side, Step, TableName};

use super::StepContext;

/// An age from which a writing transaction is shown by name before the traffic is stopped, in milliseconds.
const LONG_WRITER_MS: u64 = 1_000;

/// The lag gate, the fence's triggers, both streams proven, a sweep, and a look at lever, gate and writers.
pub(crate) fn plan(ctx: &StepContext<'_>) -> Result<Vec<Effect>, Finding> {
    let (from, to) = (ctx.leaving(), ctx.opening());
    if from == Side::Source {
        complete(ctx)?;
    }
    let limit_ms = u64::try_from(ctx.plan.lag_limit.as_millis()).unwrap_or(u64::MAX);
    let mut effects = vec![
        Effect::AwaitLag { stream: ctx.stream(ctx.applying()), limit_ms },
        Effect::InstallFence { side: from, tables: ctx.tables() },
    ];
    effects.extend(ctx.marker(Step::PrepareSwitch, ctx.applying()));
    effects.extend(ctx.guard_marker(Step::PrepareSwitch));
    effects.extend(ctx.verify_tables("sweep"));
    effects.push(Effect::ObserveTraffic { at: from });
    effects.push(Effect::TrialWrite {
        side: to,
        tables: ctx.tables(),
        expect: Expectation::Refused,
        moment: "before".to_owned(),
    });
    effects.push(Effect::SweepChanged {
        tables: ctx.tables(),
        stream: ctx.stream(ctx.applying()),
        limit_ms: delta_limit_ms(ctx),
    });
    // On the way back it compares the sequences alone.
    effects.push(Effect::CompareColumns { side: to, tables: ctx.tables() });
    effects.push(Effect::AwaitQuiet { side: from, tables: ctx.tables(), older_than_ms: LONG_WRITER_MS });
    Ok(effects)
}

/// A quarter of the time until an undo would begin: the window has more to do than compare.
fn delta_limit_ms(ctx: &StepContext<'_>) -> u64 {
    let time = ctx.plan.max_downtime.saturating_sub(ctx.plan.undo_reserve) / 4;
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Nothing that the plan means is left behind: traffic that goes to the target finds there only what `start` moved.
fn complete(ctx: &StepContext<'_>) -> Result<(), Finding> {
    let moved = ctx.tables();
    let meant = ctx.plan.tables.iter().chain(&ctx.seen.matching);
    let left: Vec<String> = meant
        .filter(|table| !moved.contains(table) && ctx.elsewhere(table).is_none())
        .map(TableName::to_string)
        .collect();
    if left.is_empty() {
        return Ok(());
    }
    Err(Finding {
        code: "SW-0314".to_owned(),
        what: format!(
            "phase {} means tables that its `start` did not move, since they were not there then or not in the plan: {}",
            ctx.phase,
            left.join(", ")
        ),
        remedy: "Drop or rename them at the source and say `retry`. Or say `abort`, name the phase's tables outright in the \
                 plan and these in a phase of their own, and move that one first."
            .to_owned(),
    })
}
