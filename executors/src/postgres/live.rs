//! A plan held against the two databases that it names, before anybody asks for anything. Nothing is changed.
//!
//! What a phase's preflight looks for is looked for here for all phases at once; what only the plan as a whole can get
//! wrong, is looked for besides.

use std::collections::{BTreeMap, BTreeSet};

use journal::plan::TablePattern;
use journal::predicate::Typed;
use journal::{Finding, PhaseName, PhasePlan, Plan, Predicate, TableName};
use tokio_postgres::Client;

use crate::postgres::database::Database;
use crate::postgres::preflight::{self, Found, Subject};
use crate::postgres::survey;
use crate::seams::Cause;

/// What was seen.
#[derive(Debug, Default)]
pub struct Seen {
    /// What a phase's `start` would refuse, with what it is about.
    pub problems: Vec<(Subject, Finding)>,
    /// What is merely good to know.
    pub warnings: Vec<String>,
    /// What each pattern matches now.
    pub expanded: Vec<(PhaseName, TablePattern, Vec<TableName>)>,
    /// The phases that have begun: their tables are at the target already, and are theirs.
    pub begun: Vec<PhaseName>,
}

/// A phase, its tables as the source has them now, and its filters with their types.
struct Slice<'p> {
    plan: &'p PhasePlan,
    tables: Vec<TableName>,
    filters: BTreeMap<TableName, Typed>,
}

/// Looks at everything.
///
/// # Errors
/// One of the databases cannot be reached, or looked at.
pub async fn check(source: &Database, target: &Database, plan: &Plan) -> Result<Seen, Cause> {
    let (on_source, on_target) = (source.session().await?, target.session().await?);
    for (database, client) in [(source, &on_source), (target, &on_target)] {
        let set = client.batch_execute("set default_transaction_read_only = on").await;
        set.map_err(|error| database.cause("refuses a setting", &error))?;
    }
    let mut found = Found::default();
    let mut seen = Seen::default();
    preflight::servers(source, target, [&on_source, &on_target], &mut found).await?;
    let fault = |error: tokio_postgres::Error| source.cause("cannot be looked at", &error);
    let begun = begun(&on_target, plan).await.map_err(|error| target.cause("cannot be looked at", &error))?;
    let mut slices = Vec::with_capacity(plan.phases.len());
    for phase in &plan.phases {
        slices.push(slice(&on_source, phase, &mut found, &mut seen).await.map_err(fault)?);
    }
    for slice in &slices {
        if begun.contains(&slice.plan.name) {
            continue;
        }
        let before = before(plan, &slices, &slice.plan.name);
        let phase = (&slice.plan.name, slice.tables.as_slice(), &before);
        preflight::phase(source, target, [&on_source, &on_target], &mut found, phase).await?;
    }
    shared(&slices, &mut found);
    let sequences = survey::shared_sequences(&on_source).await.map_err(fault)?;
    sequences_apart(&slices, &sequences, &mut found);
    on_source.done();
    on_target.done();
    let (problems, warnings) = found.take();
    let mut told = BTreeSet::new();
    seen.problems = problems;
    seen.problems.retain(|(subject, finding)| told.insert((subject.clone(), finding.what.clone())));
    seen.warnings = warnings;
    let mut told = BTreeSet::new();
    seen.warnings.retain(|warning| told.insert(warning.clone()));
    seen.begun = begun.into_iter().collect();
    Ok(seen)
}

/// The phases whose tables were made at the target and are there still: after a `retire` they are looked at again.
async fn begun(target: &Client, plan: &Plan) -> Result<BTreeSet<PhaseName>, tokio_postgres::Error> {
    let home = "select to_regclass('_switchyard.gate') is not null";
    if !target.query_one(home, &[]).await?.get::<_, bool>(0) {
        return Ok(BTreeSet::new());
    }
    let sql = "select distinct r.phase from _switchyard.receipt r, jsonb_each_text(r.evidence::jsonb) made \
               where r.migration = $1 and made.key like 'oid:%' \
                 and exists (select from pg_class where oid::text = made.value and relkind = 'r')";
    let rows = target.query(sql, &[&plan.migration.as_str()]).await?;
    let names: BTreeSet<String> = rows.iter().map(|row| row.get(0)).collect();
    let phases = plan.phases.iter().map(|phase| phase.name.clone());
    Ok(phases.filter(|name| names.contains(name.as_str())).collect())
}

async fn slice<'p>(
    source: &Client,
    phase: &'p PhasePlan,
    found: &mut Found,
    seen: &mut Seen,
) -> Result<Slice<'p>, tokio_postgres::Error> {
    let mut tables = phase.tables.clone();
    for pattern in &phase.patterns {
        let matching = survey::matching(source, std::slice::from_ref(pattern)).await?;
        if matching.is_empty() {
            found.about(Subject::Pattern(phase.name.clone(), pattern.clone()));
            found.block(
                "SW-0313",
                format!("no table of the source is like {pattern}"),
                "Correct the pattern in the plan.",
            );
        }
        tables.extend(matching.iter().cloned());
        seen.expanded.push((phase.name.clone(), pattern.clone(), matching));
    }
    let mut once = BTreeSet::new();
    tables.retain(|table| once.insert(table.clone()));
    let mut filters = BTreeMap::new();
    for table in &tables {
        let Some(filter) = phase.filters.get(table).or(phase.filter.as_ref()) else { continue };
        found.about(Subject::Filter(phase.name.clone(), table.clone()));
        let columns = survey::columns(source, table).await?;
        if columns.types.is_empty() {
            continue;
        }
        if let Some(typed) = typed(table, filter, &columns, found) {
            filters.insert(table.clone(), typed);
        }
    }
    if phase.filter.is_some() || !phase.filters.is_empty() {
        found.about(Subject::Phase(phase.name.clone()));
        found.block(
            "SW-0311",
            format!("phase {} has a filter, and this version moves whole tables only", phase.name),
            "Its `start` will be refused: give the phase its tables without a filter.",
        );
    }
    Ok(Slice { plan: phase, tables, filters })
}

/// A filter with the types that its table's columns have.
fn typed(
    table: &TableName,
    filter: &Predicate,
    columns: &survey::Columns,
    found: &mut Found,
) -> Option<Typed> {
    for name in filter.columns() {
        if columns.types.contains_key(name) && !columns.identity.contains(name) {
            found.block(
                "SW-0316",
                format!("deletions from {table} do not carry {name}, so nobody could tell whose they are"),
                format!("Put {name} into the primary key of {table}, or set its replica identity to full."),
            );
        }
        if columns.own.contains(name) {
            found.block(
                "SW-0317",
                format!(
                    "{name} of {table} is of an enum or a domain, which no publication's filter may name"
                ),
                "Filter on a column of a built-in type.",
            );
        }
    }
    match filter.typed(&columns.types) {
        Ok(typed) => Some(typed),
        Err(problems) => {
            for problem in problems {
                let meant = problem.suggestion.map(|meant| format!("Is {meant} meant? ")).unwrap_or_default();
                found.block(
                    "SW-0315",
                    format!("the filter of {table}: {}", problem.what),
                    format!("{meant}Correct the filter in the plan."),
                );
            }
            None
        }
    }
}

/// The tables that phases before this one bring to the target.
fn before(plan: &Plan, slices: &[Slice<'_>], phase: &PhaseName) -> BTreeSet<TableName> {
    let mut earlier: BTreeSet<&PhaseName> = BTreeSet::new();
    let mut open = vec![phase];
    while let Some(name) = open.pop() {
        for first in plan.phase(name).map(|phase| phase.after.as_slice()).unwrap_or_default() {
            if earlier.insert(first) {
                open.push(first);
            }
        }
    }
    let before = slices.iter().filter(|slice| earlier.contains(&slice.plan.name));
    before.flat_map(|slice| slice.tables.iter().cloned()).collect()
}

/// No sequence that tables of two phases take values from.
fn sequences_apart(slices: &[Slice<'_>], sequences: &[survey::SharedSequence], found: &mut Found) {
    for sequence in sequences {
        let of =
            |slice: &Slice<'_>| sequence.tables.iter().find(|table| slice.tables.contains(table)).cloned();
        let mut phases = slices.iter().filter_map(|slice| Some((&slice.plan.name, of(slice)?)));
        let Some((first, table)) = phases.next() else { continue };
        for (second, other) in phases {
            found.about(Subject::Table(second.clone(), other.clone()));
            found.block(
                "SW-0320",
                format!(
                    "the sequence {} gives values to {table} of phase {first} and to {other} of phase {second}: once one of them \
                     has moved, both databases give the same ones",
                    sequence.name
                ),
                "Move its tables in one phase, or give each table a sequence of its own.",
            );
        }
        let left =
            sequence.tables.iter().find(|table| !slices.iter().any(|slice| slice.tables.contains(table)));
        if let Some(left) = left {
            found.warn(format!(
                "the sequence {} gives values to {table} of phase {first} and to {left}, which is in no phase: once the phase \
                 has moved, both databases give the same ones",
                sequence.name
            ));
        }
    }
}

/// No row in two phases, now that the patterns are expanded and the types are known.
fn shared(slices: &[Slice<'_>], found: &mut Found) {
    for (at, slice) in slices.iter().enumerate() {
        for other in slices.iter().take(at) {
            for table in slice.tables.iter().filter(|table| other.tables.contains(table)) {
                found.about(Subject::Table(slice.plan.name.clone(), table.clone()));
                let (one, two) = (&other.plan.name, &slice.plan.name);
                match (other.filters.get(table), slice.filters.get(table)) {
                    (Some(first), Some(second)) if first.disjoint(second) => {}
                    (Some(_), Some(_)) => found.block(
                        "SW-0318",
                        format!(
                            "nothing proves that no row of {table} is in both phases {one} and {two}, given its columns' types"
                        ),
                        "Filter both on one column, by values that exclude each other.",
                    ),
                    _ => found.block(
                        "SW-0312",
                        format!("the table {table} would be in the phases {one} and {two}"),
                        "Name each table in one phase.",
                    ),
                }
            }
        }
    }
}
