//! Both databases, row for row, by the rig's own SQL.

use std::collections::BTreeMap;

use anyhow::Result;
use tokio_postgres::{Client, SimpleQueryMessage};

use crate::shop::Table;

/// What a full comparison saw.
#[derive(Debug, Default)]
pub struct Comparison {
    /// Rows on the side that is taken for right.
    pub rows: u64,
    /// Rows that are missing on the other side or differ there.
    pub missing_or_different: Vec<String>,
    /// Rows that only the other side has.
    pub extra: Vec<String>,
}

impl Comparison {
    /// Whether both sides are equal.
    #[must_use]
    pub fn is_equal(&self) -> bool {
        self.missing_or_different.is_empty() && self.extra.is_empty()
    }

    /// The first differences, in words.
    #[must_use]
    pub fn summary(&self) -> String {
        let first = |list: &[String]| list.iter().take(5).cloned().collect::<Vec<_>>().join("; ");
        format!(
            "{} rows; {} missing or different: {}; {} extra: {}",
            self.rows,
            self.missing_or_different.len(),
            first(&self.missing_or_different),
            self.extra.len(),
            first(&self.extra)
        )
    }
}

async fn rows(client: &Client, table: Table) -> Result<BTreeMap<String, String>> {
    let query = format!("select {}, t::text from {} t", table.key(), table.name());
    let mut rows = BTreeMap::new();
    for message in client.simple_query(&query).await? {
        if let SimpleQueryMessage::Row(row) = message {
            let key = row.get(0).unwrap_or_default().to_owned();
            let text = row.get(1).unwrap_or_default().to_owned();
            anyhow::ensure!(
                rows.insert(key.clone(), text).is_none(),
                "{} has the key {key} twice",
                table.name()
            );
        }
    }
    Ok(rows)
}

fn short(text: &str) -> String {
    text.chars().take(160).collect()
}

/// Compares every row of every table. The first side is taken for right.
///
/// # Errors
/// A database does not answer.
pub async fn compare(right: &Client, other: &Client) -> Result<Comparison> {
    let mut comparison = Comparison::default();
    for table in Table::ALL {
        let (here, there) = (rows(right, table).await?, rows(other, table).await?);
        comparison.rows += u64::try_from(here.len()).unwrap_or(u64::MAX);
        for (key, row) in &here {
            match there.get(key) {
                Some(same) if same == row => {}
                Some(different) => comparison.missing_or_different.push(format!(
                    "{} {key}: {} <> {}",
                    table.name(),
                    short(row),
                    short(different)
                )),
                None => comparison.missing_or_different.push(format!("{} {key}: missing", table.name())),
            }
        }
        let extra = there.keys().filter(|key| !here.contains_key(*key));
        comparison.extra.extend(extra.map(|key| format!("{} {key}", table.name())));
    }
    Ok(comparison)
}

/// What of the schema the other side lacks: indexes and constraints, by their definitions.
///
/// # Errors
/// A database does not answer.
pub async fn compare_schema(right: &Client, other: &Client) -> Result<Vec<String>> {
    const QUERY: &str = "
        select 'constraint ' || conrelid::regclass || ' ' || conname || ' ' || pg_get_constraintdef(oid) || ' ' || convalidated
          from pg_constraint where connamespace = 'shop'::regnamespace and contype <> 't'
        union all
        select 'index ' || indexdef from pg_indexes where schemaname = 'shop'
        union all
        select 'column ' || table_name || ' ' || column_name || ' ' || data_type || ' ' || is_nullable || ' '
               || coalesce(column_default, '') || ' ' || coalesce(identity_generation, '')
          from information_schema.columns where table_schema = 'shop'
        order by 1";
    let mut sides = Vec::new();
    for client in [right, other] {
        let mut lines = Vec::new();
        for message in client.simple_query(QUERY).await? {
            if let SimpleQueryMessage::Row(row) = message {
                lines.push(row.get(0).unwrap_or_default().to_owned());
            }
        }
        sides.push(lines);
    }
    let [here, there] = sides.as_slice() else { return Ok(Vec::new()) };
    let lacks = here.iter().filter(|line| !there.contains(line)).map(|line| format!("lacks {line}"));
    let has = there.iter().filter(|line| !here.contains(line)).map(|line| format!("has {line}"));
    Ok(lacks.chain(has).collect())
}
