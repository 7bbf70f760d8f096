//! `preflight`: everything that can be known to fail is found before anything is touched; what the phase is, is fixed.
//!
//! The phase's tables are those that the plan names and those that its patterns match on the source now. The list stands
//! in the effect, and from its success on in the journalled state: every later step and operation reads it there,
//! whatever the source has by then.

use std::collections::BTreeSet;

use journal::{Effect, Finding, TableName};

use super::StepContext;

/// One look at both sides.
pub(crate) fn plan(ctx: &StepContext<'_>) -> Result<Vec<Effect>, Finding> {
    unfiltered(ctx)?;
    if !ctx.state.tables.is_empty() {
        apart(ctx, &ctx.state.tables)?;
        return Ok(vec![Effect::Preflight { tables: ctx.state.tables.clone() }]);
    }
    let mut tables = ctx.plan.tables.clone();
    for pattern in &ctx.plan.patterns {
        if !ctx.seen.matching.iter().any(|table| pattern.matches(table)) {
            return Err(Finding {
                code: "SW-0313".to_owned(),
                what: format!("no table of the source is like {pattern}, which phase {} names", ctx.phase),
                remedy: "Say `abort`, correct the pattern in the plan, and begin anew.".to_owned(),
            });
        }
    }
    let named: BTreeSet<TableName> = tables.iter().cloned().collect();
    tables.extend(ctx.seen.matching.iter().filter(|table| !named.contains(table)).cloned());
    unshared(ctx, &tables)?;
    apart(ctx, &tables)?;
    Ok(vec![Effect::Preflight { tables }])
}

/// This version's data plane moves whole tables: with a filter ignored, rows of others would move, too.
fn unfiltered(ctx: &StepContext<'_>) -> Result<(), Finding> {
    if ctx.plan.filter.is_none() && ctx.plan.filters.is_empty() {
        return Ok(());
    }
    Err(Finding {
        code: "SW-0311".to_owned(),
        what: format!("phase {} has a filter, and this version moves whole tables only", ctx.phase),
        remedy: "Say `abort`; then give the phase its tables without a filter.".to_owned(),
    })
}

/// No sequence that tables of two phases take values from: once they are apart, both databases give the same ones.
fn apart(ctx: &StepContext<'_>, tables: &[TableName]) -> Result<(), Finding> {
    let mut shared = Vec::new();
    for sequence in &ctx.seen.sequences {
        let ours = sequence.tables.iter().find(|table| tables.contains(table));
        let theirs = sequence.tables.iter().filter(|table| !tables.contains(table));
        let theirs = theirs.filter_map(|table| Some((table, ctx.meant_elsewhere(table)?))).next();
        if let (Some(ours), Some((table, phase))) = (ours, theirs) {
            shared.push(format!("{} (of {ours}, and of {table} in phase {phase})", sequence.name));
        }
    }
    if shared.is_empty() {
        return Ok(());
    }
    Err(Finding {
        code: "SW-0320".to_owned(),
        what: format!("phase {} would share sequences with another: {}", ctx.phase, shared.join(", ")),
        remedy: "Say `abort`, and let the plan move the tables of one sequence in one phase, or give each table a sequence of its \
                 own; then begin anew."
            .to_owned(),
    })
}

/// No table in two phases. Asked again once the list is journalled: two phases may expand their patterns at once, and
/// the later one sees both lists.
pub(crate) fn unshared(ctx: &StepContext<'_>, tables: &[TableName]) -> Result<(), Finding> {
    let shared: Vec<String> = tables
        .iter()
        .filter_map(|table| ctx.elsewhere(table).map(|other| format!("{table} (phase {other})")))
        .collect();
    if shared.is_empty() {
        return Ok(());
    }
    Err(Finding {
        code: "SW-0312".to_owned(),
        what: format!("phase {} would share tables with another: {}", ctx.phase, shared.join(", ")),
        remedy: "Say `abort`, let the plan name each table in one phase, and begin anew.".to_owned(),
    })
}
