//! What a database has: looked at for people, and to know what a pattern means. Nothing is changed.

use std::collections::{BTreeMap, BTreeSet};

use journal::TableName;
use journal::plan::TablePattern;
use journal::predicate::{CatalogType, Collation, ColumnType};
use tokio_postgres::{Client, Error};

/// The tables, ordinary and partitioned ones, that any of the patterns matches, by name. Our own schema is never meant.
///
/// # Errors
/// The catalog cannot be read.
pub async fn matching(client: &Client, patterns: &[TablePattern]) -> Result<Vec<TableName>, Error> {
    let mut tables = every_table(client).await?;
    tables.retain(|table| patterns.iter().any(|pattern| pattern.matches(table)));
    Ok(tables)
}

/// The names of all tables outside the system's schemas and ours.
///
/// # Errors
/// The catalog cannot be read.
pub async fn every_table(client: &Client) -> Result<Vec<TableName>, Error> {
    let sql = "select n.nspname::text, c.relname::text \
               from pg_class c join pg_namespace n on n.oid = c.relnamespace \
               where c.relkind in ('r', 'p') and c.relpersistence <> 't' \
                 and n.nspname not in ('information_schema', '_switchyard') and n.nspname not like 'pg\\_%' \
               order by n.nspname collate \"C\", c.relname collate \"C\"";
    let rows = client.query(sql, &[]).await?;
    Ok(rows.iter().map(|row| TableName { schema: row.get(0), table: row.get(1) }).collect())
}

/// The name of the database.
///
/// # Errors
/// The catalog cannot be read.
pub async fn database_name(client: &Client) -> Result<String, Error> {
    Ok(client.query_one("select current_database()::text", &[]).await?.get(0))
}

/// The table whose name is nearest to one that is not there.
///
/// # Errors
/// The catalog cannot be read.
pub async fn nearest(client: &Client, table: &TableName) -> Result<Option<TableName>, Error> {
    let meant = table.to_string();
    let far = (meant.chars().count() / 4).max(2);
    let tables = every_table(client).await?;
    let near = tables.into_iter().map(|other| (strsim::osa_distance(&meant, &other.to_string()), other));
    let nearest = near.filter(|(distance, other)| *distance <= far || other.table == table.table).min();
    Ok(nearest.map(|(_, other)| other))
}

/// A sequence from which several tables take their values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SharedSequence {
    /// Its name.
    pub name: String,
    /// The tables that own it or take a default from it.
    pub tables: BTreeSet<TableName>,
}

/// The sequences that more than one table takes its values from. Moved apart, two databases would give the same values to
/// rows that had one source of them. What a function or a trigger asks of a sequence is not seen.
///
/// # Errors
/// The catalog cannot be read.
pub async fn shared_sequences(client: &Client) -> Result<Vec<SharedSequence>, Error> {
    let sql = "with uses (seq, tid) as ( \
                 select d.objid, d.refobjid from pg_depend d \
                 where d.classid = 'pg_class'::regclass and d.refclassid = 'pg_class'::regclass and d.deptype in ('a', 'i') \
                 union \
                 select d.refobjid, ad.adrelid from pg_attrdef ad join pg_depend d \
                   on d.classid = 'pg_attrdef'::regclass and d.objid = ad.oid and d.refclassid = 'pg_class'::regclass) \
               select n.nspname::text, s.relname::text, \
                 array_agg(tn.nspname::text order by t.oid), array_agg(t.relname::text order by t.oid) \
               from uses u join pg_class s on s.oid = u.seq and s.relkind = 'S' \
               join pg_namespace n on n.oid = s.relnamespace \
               join pg_class t on t.oid = u.tid and t.relkind in ('r', 'p') and not t.relispartition \
               join pg_namespace tn on tn.oid = t.relnamespace \
               where tn.nspname not in ('information_schema', '_switchyard') and tn.nspname not like 'pg\\_%' \
               group by n.nspname, s.relname having count(*) > 1 order by 1, 2";
    let rows = client.query(sql, &[]).await?;
    Ok(rows
        .iter()
        .map(|row| {
            let (schema, name): (&str, &str) = (row.get(0), row.get(1));
            let (schemas, names): (Vec<String>, Vec<String>) = (row.get(2), row.get(3));
            let tables = schemas.into_iter().zip(names).map(|(schema, table)| TableName { schema, table });
            SharedSequence { name: format!("{schema}.{name}"), tables: tables.collect() }
        })
        .collect())
}

/// What filters need to know of a table.
#[derive(Debug, Clone, Default)]
pub struct Columns {
    /// Each column's type, its domains resolved.
    pub types: BTreeMap<String, ColumnType>,
    /// The columns that a deletion carries in the change stream.
    pub identity: BTreeSet<String>,
    /// The columns of an enum's or a domain's type, which no publication's filter may name.
    pub own: BTreeSet<String>,
}

/// A table's columns; none if it is not there.
///
/// # Errors
/// The catalog cannot be read.
pub async fn columns(client: &Client, table: &TableName) -> Result<Columns, Error> {
    let sql = "with recursive below (attnum, typid) as ( \
                 select a.attnum, a.atttypid from pg_attribute a \
                 join pg_class c on c.oid = a.attrelid join pg_namespace n on n.oid = c.relnamespace \
                 where n.nspname = $1 and c.relname = $2 and a.attnum > 0 and not a.attisdropped \
                 union all \
                 select b.attnum, t.typbasetype from below b join pg_type t on t.oid = b.typid where t.typtype = 'd') \
               select a.attname::text, tn.nspname::text, t.typname::text, t.typtype::text, \
                 array(select e.enumlabel::text from pg_enum e where e.enumtypid = t.oid order by e.enumsortorder), \
                 case when a.attcollation = 0 then 'C' \
                      when l.collprovider = 'd' then (select datcollate::text from pg_database \
                        where datname = current_database() and to_jsonb(pg_database) ->> 'datlocprovider' is distinct from 'i') \
                      when l.collprovider = 'c' then l.collcollate::text end, \
                 coalesce(l.collisdeterministic, true), a.atttypid <> t.oid or t.typtype = 'e', \
                 c.relreplident = 'f' or exists (select from pg_index i where i.indrelid = c.oid \
                   and a.attnum = any (i.indkey) \
                   and (c.relreplident = 'd' and i.indisprimary or c.relreplident = 'i' and i.indisreplident)) \
               from below b join pg_type t on t.oid = b.typid and t.typtype <> 'd' \
               join pg_namespace tn on tn.oid = t.typnamespace \
               join pg_namespace n on n.nspname = $1 \
               join pg_class c on c.relnamespace = n.oid and c.relname = $2 \
               join pg_attribute a on a.attrelid = c.oid and a.attnum = b.attnum \
               left join pg_collation l on l.oid = a.attcollation";
    let mut columns = Columns::default();
    for row in client.query(sql, &[&table.schema, &table.table]).await? {
        let name: String = row.get(0);
        let by_bytes = matches!(row.get::<_, Option<&str>>(5), Some("C" | "POSIX"));
        let collation = match (row.get::<_, bool>(6), by_bytes) {
            (false, _) => Collation::Nondeterministic,
            (true, true) => Collation::Bytes,
            (true, false) => Collation::Deterministic,
        };
        let catalog = CatalogType {
            schema: row.get(1),
            name: row.get(2),
            kind: row.get::<_, &str>(3).chars().next().unwrap_or('b'),
            labels: row.get(4),
            collation,
        };
        columns.types.insert(name.clone(), ColumnType::from(catalog));
        if row.get(7) {
            columns.own.insert(name.clone());
        }
        if row.get(8) {
            columns.identity.insert(name);
        }
    }
    Ok(columns)
}

/// A table as somebody who plans a migration wants to know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inventory {
    /// Its name.
    pub table: TableName,
    /// Rows, as the catalog estimates them; none if it never was analysed.
    pub rows: Option<i64>,
    /// Bytes with its indexes and TOAST.
    pub bytes: i64,
    /// The columns of its primary key.
    pub key: Vec<String>,
    /// Other tables that its foreign keys lead to.
    pub references: BTreeSet<TableName>,
    /// Sequences from which other tables take values, too.
    pub sequences: BTreeSet<String>,
    /// Other tables that the functions of its triggers write, as far as their text names them.
    pub writes: BTreeSet<TableName>,
    /// Why no phase can hold it as it is.
    pub obstacle: Option<Obstacle>,
}

/// Why a table cannot be moved as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Obstacle {
    /// It is a foreign table: its rows are elsewhere.
    Foreign,
    /// It is a partitioned table, or a partition.
    Partitioned,
    /// It is part of an inheritance tree.
    Inherits,
    /// It is unlogged.
    Unlogged,
    /// It has no primary key.
    NoKey,
    /// Its primary key is deferrable or invalid, or holds a generated column.
    UnusableKey,
    /// Its replica identity is not the primary key.
    Identity,
    /// A trigger of it fires on replicated rows, too.
    Fires,
    /// A foreign key of it leads to a table that no phase can hold.
    Bound,
}

/// Every table outside the system's schemas and ours, by name.
///
/// # Errors
/// The catalog cannot be read.
pub async fn inventory(client: &Client) -> Result<Vec<Inventory>, Error> {
    let sql = "select n.nspname::text, c.relname::text, c.reltuples::int8, pg_total_relation_size(c.oid), \
                 coalesce((select array_agg(a.attname::text order by k.place) \
                   from pg_index i, unnest(i.indkey::int2[]) with ordinality as k (attnum, place), pg_attribute a \
                   where i.indrelid = c.oid and i.indisprimary and i.indimmediate and i.indisvalid \
                     and k.place <= i.indnkeyatts and a.attrelid = c.oid and a.attnum = k.attnum \
                   having bool_and(a.attgenerated = '')), '{}'), \
                 array(select distinct format('%s.%s', fn.nspname, f.relname) from pg_constraint k \
                   join pg_class f on f.oid = k.confrelid join pg_namespace fn on fn.oid = f.relnamespace \
                   where k.conrelid = c.oid and k.contype = 'f' and k.confrelid <> c.oid), \
                 c.relkind = 'p' or c.relispartition, \
                 exists (select from pg_inherits i where c.oid in (i.inhrelid, i.inhparent)), \
                 c.relpersistence = 'u', \
                 c.relreplident = 'n' or c.relreplident = 'i' and not exists (select from pg_index i \
                   where i.indrelid = c.oid and i.indisreplident and i.indisprimary), \
                 exists (select from pg_index i where i.indrelid = c.oid and i.indisprimary), \
                 array(select p.prosrc from pg_trigger g join pg_proc p on p.oid = g.tgfoid \
                   where g.tgrelid = c.oid and not g.tgisinternal), \
                 exists (select from pg_trigger g \
                   where g.tgrelid = c.oid and not g.tgisinternal and g.tgenabled in ('A', 'R')), \
                 c.relkind = 'f' \
               from pg_class c join pg_namespace n on n.oid = c.relnamespace \
               where c.relkind in ('r', 'p', 'f') and c.relpersistence <> 't' \
                 and n.nspname not in ('information_schema', '_switchyard') and n.nspname not like 'pg\\_%' \
               order by n.nspname collate \"C\", c.relname collate \"C\"";
    let shared = shared_sequences(client).await?;
    let rows = client.query(sql, &[]).await?;
    let named = |row: &tokio_postgres::Row| TableName { schema: row.get(0), table: row.get(1) };
    let every: Vec<TableName> = rows.iter().map(named).collect();
    let mut tables = Vec::new();
    for row in rows {
        let key: Vec<String> = row.get(4);
        let references: Vec<String> = row.get(5);
        let obstacle = match () {
            () if row.get(13) => Some(Obstacle::Foreign),
            () if row.get(6) => Some(Obstacle::Partitioned),
            () if row.get(7) => Some(Obstacle::Inherits),
            () if row.get(8) => Some(Obstacle::Unlogged),
            () if key.is_empty() && row.get(10) => Some(Obstacle::UnusableKey),
            () if key.is_empty() => Some(Obstacle::NoKey),
            () if row.get(9) => Some(Obstacle::Identity),
            () if row.get(12) => Some(Obstacle::Fires),
            () => None,
        };
        let table = named(&row);
        let texts: Vec<String> = row.get(11);
        let written: BTreeSet<String> = texts.iter().flat_map(|text| written(text)).collect();
        let is_written = |other: &&TableName| {
            **other != table && (written.contains(&other.to_string()) || written.contains(&other.table))
        };
        let sequences = shared.iter().filter(|sequence| sequence.tables.contains(&table));
        tables.push(Inventory {
            sequences: sequences.map(|sequence| sequence.name.clone()).collect(),
            writes: every.iter().filter(is_written).cloned().collect(),
            table,
            rows: Some(row.get(2)).filter(|rows| *rows >= 0),
            bytes: row.get(3),
            key,
            references: references.iter().filter_map(|name| name.parse().ok()).collect(),
            obstacle,
        });
    }
    bind(&mut tables);
    Ok(tables)
}

/// A view that reads tables, or a rule of one: what no phase brings to the target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reader {
    /// What it is: `view`, `materialized view`, or `rule NAME of`.
    pub kind: String,
    /// The view, or the rule's table.
    pub name: TableName,
    /// The tables that it reads, through other views too.
    pub over: BTreeSet<TableName>,
}

/// As people read it.
impl std::fmt::Display for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.kind, self.name)
    }
}

/// The views and materialized views that read a table outside the system's schemas and ours, and the rules of such tables.
///
/// # Errors
/// The catalog cannot be read.
pub async fn readers(client: &Client) -> Result<Vec<Reader>, Error> {
    let sql = "with recursive reads (reader, relation) as ( \
                 select r.ev_class, d.refobjid from pg_rewrite r join pg_depend d \
                   on d.classid = 'pg_rewrite'::regclass and d.objid = r.oid and d.refclassid = 'pg_class'::regclass \
                 where r.rulename = '_RETURN' and d.refobjid <> r.ev_class \
                 union \
                 select b.reader, d.refobjid from reads b join pg_rewrite r on r.ev_class = b.relation and r.rulename = '_RETURN' \
                 join pg_depend d on d.classid = 'pg_rewrite'::regclass and d.objid = r.oid \
                   and d.refclassid = 'pg_class'::regclass and d.refobjid <> r.ev_class), \
               found (kind, reader, relation) as ( \
                 select case c.relkind when 'm' then 'materialized view' else 'view' end, b.reader, b.relation \
                 from reads b join pg_class c on c.oid = b.reader and c.relkind in ('v', 'm') \
                 union all \
                 select 'rule ' || r.rulename || ' of', r.ev_class, r.ev_class from pg_rewrite r where r.rulename <> '_RETURN') \
               select found.kind, n.nspname::text, c.relname::text, \
                 array_agg(distinct tn.nspname::text || '.' || t.relname::text) \
               from found join pg_class c on c.oid = found.reader join pg_namespace n on n.oid = c.relnamespace \
               join pg_class t on t.oid = found.relation and t.relkind in ('r', 'p', 'f') \
               join pg_namespace tn on tn.oid = t.relnamespace \
               where tn.nspname not in ('information_schema', '_switchyard') and tn.nspname not like 'pg\\_%' \
                 and n.nspname not in ('information_schema', '_switchyard') and n.nspname not like 'pg\\_%' \
               group by found.kind, n.nspname, c.relname \
               order by n.nspname collate \"C\", c.relname collate \"C\", found.kind collate \"C\"";
    let rows = client.query(sql, &[]).await?;
    Ok(rows
        .iter()
        .map(|row| {
            let over: Vec<String> = row.get(3);
            let name = TableName { schema: row.get(1), table: row.get(2) };
            Reader {
                kind: row.get(0),
                name,
                over: over.iter().filter_map(|name| name.parse().ok()).collect(),
            }
        })
        .collect())
}

/// Finds the tables that cannot be moved because one that they reference cannot.
fn bind(tables: &mut [Inventory]) {
    let mut stuck: BTreeSet<TableName> = BTreeSet::new();
    loop {
        let found = tables.iter().filter(|each| each.obstacle.is_some()).map(|each| each.table.clone());
        let before = stuck.len();
        stuck.extend(found);
        if stuck.len() == before {
            return;
        }
        for table in tables.iter_mut().filter(|table| table.obstacle.is_none()) {
            if !table.references.is_disjoint(&stuck) {
                table.obstacle = Some(Obstacle::Bound);
            }
        }
    }
}

/// What a function's text inserts into, updates, deletes from or merges into, as it is written there: with its schema or
/// without. A statement that is put together when it runs is not seen.
fn written(text: &str) -> Vec<String> {
    let in_name = |letter: char| letter.is_alphanumeric() || matches!(letter, '_' | '$' | '.' | '"');
    let words: Vec<&str> = text.split(|letter| !in_name(letter)).filter(|word| !word.is_empty()).collect();
    let is = |at: Option<usize>, word: &str| {
        at.and_then(|at| words.get(at)).is_some_and(|found| found.eq_ignore_ascii_case(word))
    };
    let verbs = (0..words.len()).filter(|at| {
        let before = at.checked_sub(1);
        is(Some(*at), "into") && (is(before, "insert") || is(before, "merge"))
            || is(Some(*at), "from") && is(before, "delete")
            || is(Some(*at), "update")
    });
    let name = |at: usize| {
        let only = usize::from(is(Some(at + 1), "only"));
        let parts = words.get(at + 1 + only)?.split('.').map(|part| match part.strip_prefix('"') {
            Some(quoted) => quoted.trim_end_matches('"').to_owned(),
            None => part.to_lowercase(),
        });
        Some(parts.collect::<Vec<_>>().join("."))
    };
    verbs.filter_map(name).collect()
}

/// Tables that foreign keys, sequences or triggers tie together, each group the largest table first, the largest group first.
/// Tables that no phase can hold as they are tie nothing, and are left out.
#[must_use]
pub fn groups(tables: &[Inventory]) -> Vec<Vec<&Inventory>> {
    let mut open: BTreeMap<&TableName, &Inventory> =
        tables.iter().filter(|each| each.obstacle.is_none()).map(|each| (&each.table, each)).collect();
    let mut groups = Vec::new();
    while let Some((_, first)) = open.pop_first() {
        let mut group = vec![first];
        let mut reached = 0;
        while let Some(here) = group.get(reached).copied() {
            reached += 1;
            let tied = |other: &Inventory| {
                here.references.contains(&other.table)
                    || other.references.contains(&here.table)
                    || !here.sequences.is_disjoint(&other.sequences)
                    || here.writes.contains(&other.table)
                    || other.writes.contains(&here.table)
            };
            let near: Vec<&TableName> =
                open.iter().filter(|(_, other)| tied(other)).map(|(name, _)| *name).collect();
            group.extend(near.into_iter().filter_map(|name| open.remove(name)));
        }
        group.sort_by(|one, other| other.bytes.cmp(&one.bytes).then_with(|| one.table.cmp(&other.table)));
        groups.push(group);
    }
    let size = |group: &[&Inventory]| group.iter().map(|each| each.bytes).sum::<i64>();
    groups.sort_by_key(|group| std::cmp::Reverse(size(group)));
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(name: &str, bytes: i64, references: &[&str]) -> Inventory {
        Inventory {
            table: name.parse().unwrap(),
            rows: None,
            bytes,
            key: vec!["id".to_owned()],
            references: references.iter().map(|name| name.parse().unwrap()).collect(),
            sequences: BTreeSet::new(),
            writes: BTreeSet::new(),
            obstacle: None,
        }
    }

    #[test]
    fn what_a_function_writes_is_read_from_its_text() {
        let text = "begin insert into Shop.History values (new.id); UPDATE only stock set n = n - 1; \
                    delete from \"Odd\".\"Name\" where true; select a into b from c; perform f(); return new; end";
        assert_eq!(written(text), ["shop.history", "stock", "Odd.Name"]);
        assert_eq!(written("begin new.at := now(); return new; end"), Vec::<String>::new());
    }

    #[test]
    fn what_references_a_table_that_cannot_be_moved_cannot_be_moved() {
        let mut measures = table("a.measure", 900, &[]);
        measures.obstacle = Some(Obstacle::Partitioned);
        let mut tables = [
            table("a.alarm", 1, &["a.note"]),
            table("a.note", 1, &["a.measure"]),
            table("a.user", 1, &[]),
            measures,
        ];
        bind(&mut tables);
        let obstacles = tables.map(|each| each.obstacle);
        assert_eq!(
            obstacles,
            [Some(Obstacle::Bound), Some(Obstacle::Bound), None, Some(Obstacle::Partitioned)]
        );
    }

    #[test]
    fn what_foreign_keys_and_sequences_tie_stays_together_largest_first() {
        let mut log = table("a.log", 900, &["a.user"]);
        log.obstacle = Some(Obstacle::NoKey);
        let mut numbered = ["a.invoice", "a.credit"].map(|name| table(name, 5, &[]));
        for each in &mut numbered {
            each.sequences.insert("a.number".to_owned());
        }
        let [invoice, credit] = numbered;
        let mut history = table("a.history", 1, &[]);
        history.writes.insert("a.price".parse().unwrap());
        let tables = [
            invoice,
            credit,
            history,
            table("a.item", 50, &["a.order"]),
            table("a.order", 20, &["a.user"]),
            table("a.price", 300, &[]),
            table("a.user", 10, &[]),
            log,
        ];
        let names: Vec<Vec<String>> = groups(&tables)
            .iter()
            .map(|group| group.iter().map(|each| each.table.to_string()).collect())
            .collect();
        assert_eq!(
            names,
            [
                vec!["a.price", "a.history"],
                vec!["a.item", "a.order", "a.user"],
                vec!["a.credit", "a.invoice"]
            ]
        );
    }
}
