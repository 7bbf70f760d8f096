//! `AdvanceSequences`: before a side opens, its sequences go past every value either side has used.
//!
//! # The race
//!
//! A sequence may serve another phase that is being written at this moment, and `setval` is absolute: a value read,
//! compared and set in three statements would take back what others drew in between. So a sequence is set in the very
//! statement that reads it, to the greater of what it has and what it needs; and what it needs is a thousand past the
//! highest value known, so that what is drawn within that one statement is not drawn again. A sequence that has few
//! values left gives up a hundredth of them.
//!
//! `setval` survives a rollback. That is harmless here: the set is absolute and only ever forward, so an attempt that
//! was rolled back, or done twice, leaves a gap in the numbers and nothing else. It happens after admission at the gate,
//! so an executor that was refused moves nothing.
//!
//! A value keeps its remainder by the increment: two sides that draw odd and even numbers still do.
//!
//! What stands in a column tells where a sequence is only if it was written as it was drawn. Behind an expression, as
//! `nextval('s') * 100 + 7`, it is something else, and the sequence follows what was drawn alone.
//!
//! Nor is a greater value a later one in a sequence that cycles: it stands where the side that is left has it, as long as
//! there is that side to ask.

use std::collections::BTreeMap;
use std::fmt;

use journal::{EffectSpec, Evidence, TableName};
use tokio_postgres::{Client, GenericClient, Row, Transaction};

use crate::postgres::database::Database;
use crate::postgres::quote::{self, ident};
use crate::postgres::receipt::{self, acted, admit, leave};
use crate::postgres::writers;
use crate::seams::{Acted, Authority, Cause, EffectError, Probe};

/// How many values are left free, where there are plenty.
const HEADROOM: i128 = 1000;

/// A sequence of the tables.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Sequence {
    name: TableName,
    increment: i64,
    min: i64,
    max: i64,
    cycles: bool,
    kind: String,
    cache: i64,
    /// The numeric columns that hold its values as they were drawn.
    columns: Vec<(TableName, String)>,
}

/// The last value drawn, or that the next one will be this.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Standing {
    last: i64,
    is_called: bool,
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.last, if self.is_called { "" } else { " not drawn" })
    }
}

/// Whether the sequences were moved.
pub async fn probe(database: &Database, spec: &EffectSpec) -> Probe {
    receipt::probe_receipt(database, spec).await
}

/// Moves them. Evidence: each sequence, before and after. Without the other side, which is lost, past what is known here.
pub async fn act(
    (database, other): (&Database, Option<&Database>),
    spec: &EffectSpec,
    tables: &[TableName],
    under: Authority,
) -> Acted {
    let across = async {
        match other {
            Some(other) => other.session().await.map(Some),
            None => Ok(None),
        }
    };
    let (mut here, there) = match futures::try_join!(database.session(), across) {
        Ok(sessions) => sessions,
        Err(cause) => return Acted::Unknown(EffectError(cause.0)),
    };
    let ended = match advance(&mut here, there.as_deref(), database, (spec, under), tables).await {
        Ok(ended) => ended,
        Err(Fault::Here(error)) => return acted(database, &error),
        Err(Fault::There(error)) => {
            let side = other.unwrap_or(database);
            return Acted::Unknown(EffectError(side.cause("does not show its sequences", &error).0));
        }
    };
    here.done();
    if let Some(there) = there {
        there.done();
    }
    ended
}

/// Below how many values left a sequence is named before it is moved.
const FEW: i128 = 10_000;

/// The sequences of tables that have few values left to give, with how many.
///
/// # Errors
/// They cannot be read.
pub(crate) async fn few_left(
    client: &Client,
    tables: &[TableName],
) -> Result<Vec<(TableName, i128)>, tokio_postgres::Error> {
    let mut found = Vec::new();
    let mut all = sequences(client, tables).await?;
    all.retain(|sequence| !sequence.cycles);
    let now = standings(client, &all).await?;
    for sequence in all {
        let Some(now) = now.get(&sequence.name) else { continue };
        let end = if sequence.increment > 0 { sequence.max } else { sequence.min };
        let left = (i128::from(end) - i128::from(now.last)) / i128::from(sequence.increment);
        if left < FEW {
            found.push((sequence.name, left));
        }
    }
    Ok(found)
}

impl Sequence {
    /// What it is, as `alter sequence` says it.
    fn options(&self) -> String {
        let Self { increment, min, max, kind, cache, .. } = self;
        let cycle = if self.cycles { "cycle" } else { "no cycle" };
        format!("as {kind} increment by {increment} minvalue {min} maxvalue {max} cache {cache} {cycle}")
    }

    /// The statement that makes it this one where it is another one.
    fn alter(&self) -> String {
        format!("alter sequence {} {}", quote::table(&self.name), self.options())
    }

    fn holds(&self, value: i128) -> bool {
        (i128::from(self.min)..=i128::from(self.max)).contains(&value)
    }
}

/// The sequences of tables that are not the same on the side that opens as on the other: what they are on both, with the
/// statement that makes them the same. Where a sequence stands is not compared.
///
/// # Errors
/// A side cannot be read.
pub(crate) async fn differing(
    opening: &Database,
    other: &Database,
    tables: &[TableName],
) -> Result<Vec<String>, Cause> {
    let (here, there) = futures::try_join!(of(opening, tables), of(other, tables))?;
    let mut found = Vec::new();
    for other_one in &there {
        let twin = here.iter().find(|sequence| sequence.name == other_one.name);
        let (name, wanted) = (&other_one.name, other_one.options());
        match twin.map(Sequence::options) {
            Some(options) if options == wanted => {}
            Some(options) => found.push(format!(
                "{name} is `{options}` at the {} and `{wanted}` at the {}: `{}`",
                opening.side(),
                other.side(),
                other_one.alter()
            )),
            None => found
                .push(format!("no column of the tables takes values from {name} at the {}", opening.side())),
        }
    }
    Ok(found)
}

async fn of(database: &Database, tables: &[TableName]) -> Result<Vec<Sequence>, Cause> {
    let session = database.session().await?;
    let found = sequences(&*session, tables)
        .await
        .map_err(|error| database.cause("does not show its sequences", &error))?;
    session.done();
    Ok(found)
}

/// Which side failed: the other one has not been changed, so it is only asked again.
enum Fault {
    Here(tokio_postgres::Error),
    There(tokio_postgres::Error),
}

impl From<tokio_postgres::Error> for Fault {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Here(error)
    }
}

async fn advance(
    here: &mut Client,
    there: Option<&Client>,
    database: &Database,
    (spec, under): (&EffectSpec, Authority),
    tables: &[TableName],
) -> Result<Acted, Fault> {
    let migration = database.migration();
    let tx = here.transaction().await?;
    if let Some(ended) = admit(&tx, migration, spec, under).await?.ended() {
        return Ok(ended);
    }
    let sequences = sequences(&tx, tables).await?;
    let here = standings(&tx, &sequences).await?;
    let across = match there {
        Some(there) => standings(there, &sequences).await.map_err(Fault::There)?,
        None => BTreeMap::new(),
    };
    // Set to its own end instead, one would have nothing to give, or what was given before.
    for sequence in sequences.iter().filter(|sequence| here.contains_key(&sequence.name)) {
        let drawn = across.get(&sequence.name).copied().and_then(drawn);
        if let Some(value) = drawn.filter(|value| !sequence.holds(*value)) {
            return Ok(Acted::Definite(EffectError(format!(
                "the sequence {} of the {} cannot hold {value}, which was drawn on the other side (SW-0406): make it \
                 there what it is on the other side (`{}` is what it is now)",
                sequence.name,
                database.side(),
                sequence.alter()
            ))));
        }
    }
    let stands = extremes(&tx, &sequences).await?;
    let mut evidence = Evidence::new();
    let mut moves = Vec::new();
    for (sequence, stands) in sequences.iter().zip(stands) {
        let Some(now) = here.get(&sequence.name).copied() else { continue };
        let across = across.get(&sequence.name).copied();
        let key = sequence.name.to_string();
        if let Some(across) = across.filter(|_| sequence.cycles) {
            evidence.insert(key, follow(&tx, sequence, now, across).await?);
            continue;
        }
        let drawn = [Some(now), across].into_iter().flatten().filter_map(drawn);
        let known = Known { drawn: farthest(sequence, drawn), stands: farthest(sequence, stands) };
        match next(sequence, now, known) {
            None => {
                evidence.insert(key, format!("{now}, left as it is"));
            }
            Some(value) => moves.push((sequence, now, value)),
        }
    }
    for (sequence, now, after) in advanced(&tx, &moves).await? {
        evidence.insert(sequence.name.to_string(), format!("{now} → {after}"));
    }
    leave(&tx, migration, spec, under, &evidence).await?;
    tx.commit().await?;
    Ok(Acted::Done(evidence))
}

/// Sets a sequence that cycles to where it stands on the other side.
async fn follow(
    client: &impl GenericClient,
    sequence: &Sequence,
    now: Standing,
    across: Standing,
) -> Result<String, tokio_postgres::Error> {
    if now == across {
        return Ok(format!("{now}, left as it is"));
    }
    let sql = "select pg_catalog.setval($1::text::regclass, $2, $3)";
    client.execute(sql, &[&quote::table(&sequence.name), &across.last, &across.is_called]).await?;
    Ok(format!("{now} → {across}"))
}

/// The farthest of some values, in the sequence's direction.
fn farthest(sequence: &Sequence, values: impl IntoIterator<Item = i128>) -> Option<i128> {
    if sequence.increment > 0 { values.into_iter().max() } else { values.into_iter().min() }
}

fn drawn(standing: Standing) -> Option<i128> {
    standing.is_called.then_some(i128::from(standing.last))
}

/// What is known of the values of a sequence.
#[derive(Debug, Clone, Copy)]
struct Known {
    /// The farthest that either side has drawn.
    drawn: Option<i128>,
    /// The farthest that stands in a row, drawn or written by hand.
    stands: Option<i128>,
}

/// Where the sequence goes: none if it stays where it is, since nothing was drawn yet, or there is nowhere to go.
///
/// At its end a sequence has nothing to give on either side, before as after: that is no reason to keep the
/// application from either. A value written by hand past what the sequence can reach does not take away what it has
/// left to give.
fn next(sequence: &Sequence, now: Standing, known: Known) -> Option<i64> {
    let step = i128::from(sequence.increment);
    let size = step.abs().max(1);
    // Downwards is upwards with the signs turned.
    let sign = if step < 0 { -1 } else { 1 };
    let base = i128::from(now.last) * sign;
    let limit = if sign > 0 { i128::from(sequence.max) } else { -i128::from(sequence.min) };
    // The last place that it can stand at, by its increment from where it stands now.
    let end = base + (limit - base) / size * size;
    let past = |value: i128| {
        let value = base.max(value * sign);
        // What a switch skips is never more than a hundredth of what is left: a phase goes there and back many times.
        let headroom = HEADROOM.min((limit - value) / 100);
        base + (value + headroom - base + size - 1) / size * size
    };
    let (drawn, stands) = (known.drawn.map(past), known.stands.map(past).filter(|goal| *goal < end));
    let goal = drawn.into_iter().chain(stands).max()?.min(end);
    i64::try_from(goal * sign).ok()
}

/// Sequences that belong to a column of the tables, or that a column's default draws from. A column holds their values as
/// they were drawn if its default is `nextval` alone, cast at most, or if it has none: an identity, or what the application
/// draws for it.
async fn sequences(
    client: &impl GenericClient,
    tables: &[TableName],
) -> Result<Vec<Sequence>, tokio_postgres::Error> {
    let sql = "with uses as ( \
                 select t.oid as tid, tn.nspname as tschema, t.relname as tname, a.attname, q.seq, \
                        y.typcategory = 'N' and (e.oid is null or q.is_default and pg_get_expr(e.adbin, e.adrelid) \
                          ~ '^\\(*nextval\\(''([^'']|'''')+''::regclass\\)\\)*(::[a-z0-9_.\" ]+)?$') as holds \
                 from unnest($1::text[], $2::text[]) as w (schema, name) \
                 join pg_namespace tn on tn.nspname = w.schema \
                 join pg_class t on t.relnamespace = tn.oid and t.relname = w.name \
                 join pg_attribute a on a.attrelid = t.oid and a.attnum > 0 and not a.attisdropped \
                 join pg_type y on y.oid = a.atttypid \
                 left join pg_attrdef e on e.adrelid = a.attrelid and e.adnum = a.attnum \
                 join lateral ( \
                   select d.objid as seq, false as is_default from pg_depend d \
                   where d.classid = 'pg_class'::regclass and d.refclassid = 'pg_class'::regclass \
                     and d.refobjid = t.oid and d.refobjsubid = a.attnum and d.deptype in ('a', 'i') \
                   union \
                   select d.refobjid, true from pg_depend d \
                   where d.classid = 'pg_attrdef'::regclass and d.objid = e.oid and d.refclassid = 'pg_class'::regclass) q \
                 on true) \
               select n.nspname::text, c.relname::text, s.seqincrement, s.seqmin, s.seqmax, s.seqcycle, \
                      format_type(s.seqtypid, null), s.seqcache, \
                      array_agg(u.tschema::text order by u.tid, u.attname) filter (where u.holds), \
                      array_agg(u.tname::text order by u.tid, u.attname) filter (where u.holds), \
                      array_agg(u.attname::text order by u.tid, u.attname) filter (where u.holds) \
               from uses u join pg_class c on c.oid = u.seq and c.relkind = 'S' \
               join pg_namespace n on n.oid = c.relnamespace join pg_sequence s on s.seqrelid = c.oid \
               group by 1, 2, 3, 4, 5, 6, 7, 8 order by 1, 2";
    let schemas: Vec<&str> = tables.iter().map(|table| table.schema.as_str()).collect();
    let names: Vec<&str> = tables.iter().map(|table| table.table.as_str()).collect();
    let rows = client.query(sql, &[&schemas, &names]).await?;
    Ok(rows
        .iter()
        .map(|row| {
            let list = |at: usize| row.get::<_, Option<Vec<String>>>(at).unwrap_or_default();
            let columns = list(8)
                .into_iter()
                .zip(list(9))
                .zip(list(10))
                .map(|((schema, table), column)| (TableName { schema, table }, column))
                .collect();
            Sequence {
                name: TableName { schema: row.get(0), table: row.get(1) },
                increment: row.get(2),
                min: row.get(3),
                max: row.get(4),
                cycles: row.get(5),
                kind: row.get(6),
                cache: row.get(7),
                columns,
            }
        })
        .collect())
}

/// How many selects are put to the server as one: a query for each of several hundred sequences would be the downtime.
const AT_ONCE: usize = 100;

/// Where each of the sequences stands that are there.
async fn standings(
    client: &impl GenericClient,
    sequences: &[Sequence],
) -> Result<BTreeMap<TableName, Standing>, tokio_postgres::Error> {
    let names: Vec<TableName> = sequences.iter().map(|sequence| sequence.name.clone()).collect();
    let there = "select w.place from unnest($1::text[], $2::text[]) with ordinality as w (schema, name, place) \
                 where exists (select from pg_class c join pg_namespace n on n.oid = c.relnamespace \
                               where n.nspname = w.schema and c.relname = w.name and c.relkind = 'S') order by 1";
    let (schemas, of) = writers::columns(&names);
    let rows = client.query(there, &[&schemas, &of]).await?;
    let there = rows.iter().filter_map(|row| names.get(usize::try_from(row.get::<_, i64>(0) - 1).ok()?));
    let there: Vec<&TableName> = there.collect();
    let selects: Vec<String> =
        there.iter().map(|name| format!("last_value, is_called from {}", quote::table(name))).collect();
    let rows = at_once(client, &selects).await?;
    let standing = |row: &Row| Standing { last: row.get(1), is_called: row.get(2) };
    Ok(there.into_iter().cloned().zip(rows.iter().map(standing)).collect())
}

/// Of each sequence the farthest values of its columns, in its direction, as whole numbers.
async fn extremes(
    client: &impl GenericClient,
    sequences: &[Sequence],
) -> Result<Vec<Vec<i128>>, tokio_postgres::Error> {
    let (mut of, mut selects) = (Vec::new(), Vec::new());
    for (at, sequence) in sequences.iter().enumerate() {
        let (pick, round) = if sequence.increment > 0 { ("max", "ceil") } else { ("min", "floor") };
        for (table, column) in &sequence.columns {
            of.push(at);
            selects.push(format!(
                "{round}({pick}({})::numeric)::numeric(60, 0)::text from {}",
                ident(column),
                quote::table(table)
            ));
        }
    }
    let mut found = vec![Vec::new(); sequences.len()];
    for (at, row) in of.into_iter().zip(at_once(client, &selects).await?) {
        if let (Some(found), Some(text)) = (found.get_mut(at), row.get::<_, Option<&str>>(1)) {
            found.extend(text.parse::<i128>().ok());
        }
    }
    Ok(found)
}

/// Sets sequences to values, or farther: each in the very select that reads it. Where each stands then.
async fn advanced<'s>(
    tx: &Transaction<'_>,
    moves: &[(&'s Sequence, Standing, i64)],
) -> Result<Vec<(&'s Sequence, Standing, i64)>, tokio_postgres::Error> {
    let set = |(sequence, _, value): &(&Sequence, Standing, i64)| {
        let name = quote::table(&sequence.name);
        let farther = if sequence.increment > 0 { "greatest" } else { "least" };
        let regclass = quote::literal(&name);
        format!(
            "pg_catalog.setval({regclass}::regclass, {farther}('{value}'::bigint, s.last_value), true) from {name} s"
        )
    };
    let selects: Vec<String> = moves.iter().map(set).collect();
    let rows = at_once(tx, &selects).await?;
    Ok(moves.iter().zip(rows).map(|((sequence, now, _), row)| (*sequence, *now, row.get(1))).collect())
}

/// What comes behind `select`, of each of one row, many to a query: their rows, each with its place as a first column, in
/// their order.
async fn at_once(client: &impl GenericClient, selects: &[String]) -> Result<Vec<Row>, tokio_postgres::Error> {
    let mut rows = Vec::with_capacity(selects.len());
    for some in selects.chunks(AT_ONCE) {
        let each: Vec<String> =
            some.iter().enumerate().map(|(at, select)| format!("(select {at}, {select})")).collect();
        let mut found = client.query(&each.join(" union all "), &[]).await?;
        found.sort_by_key(|row| row.get::<_, i32>(0));
        rows.append(&mut found);
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sequence(increment: i64, min: i64, max: i64) -> Sequence {
        let name = "public.s".parse().unwrap();
        Sequence {
            name,
            increment,
            min,
            max,
            cycles: false,
            kind: "bigint".to_owned(),
            cache: 1,
            columns: Vec::new(),
        }
    }

    fn at(last: i64) -> Standing {
        Standing { last, is_called: true }
    }

    fn known(drawn: i128, stands: i128) -> Known {
        Known { drawn: Some(drawn), stands: Some(stands) }
    }

    #[test]
    fn a_sequence_goes_past_the_highest_value_and_keeps_its_remainder() {
        assert_eq!(next(&sequence(1, 1, i64::MAX), at(5), known(5, 900)), Some(1900));
        let odd = next(&sequence(2, 1, i64::MAX), at(7), known(7, 100)).unwrap();
        assert_eq!((odd, odd % 2), (1101, 1));
    }

    #[test]
    fn a_sequence_never_goes_back() {
        assert_eq!(next(&sequence(1, 1, i64::MAX), at(10_000), known(10_000, 3)), Some(11_000));
        assert_eq!(next(&sequence(-1, i64::MIN, -1), at(-50), known(-50, -20)), Some(-1050));
    }

    #[test]
    fn a_sequence_that_nobody_used_is_left_alone() {
        let unused = Standing { last: 1, is_called: false };
        assert_eq!(next(&sequence(1, 1, 100), unused, Known { drawn: None, stands: None }), None);
    }

    #[test]
    fn a_small_sequence_gives_up_a_hundredth_of_what_is_left() {
        assert_eq!(next(&sequence(1, 1, 32_767), at(32_000), known(32_000, 32_000)), Some(32_007));
        assert_eq!(next(&sequence(1, 1, 32_767), at(32_760), known(32_760, 32_760)), Some(32_760));
        assert_eq!(next(&sequence(-2, -101, -1), at(-1), known(-51, -49)), Some(-51));
    }

    #[test]
    fn a_sequence_at_its_end_stays_there_and_a_row_at_the_end_takes_nothing_from_it() {
        let small = sequence(1, 1, 32_767);
        assert_eq!(next(&small, at(5), known(32_767, 32_767)), Some(32_767));
        assert_eq!(next(&small, at(5), known(90, 32_767)), Some(416));
        assert_eq!(next(&small, at(5), known(90, 70_000)), Some(416));
    }
}
