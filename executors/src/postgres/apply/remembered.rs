//! What a batch leaves beside its rows, in its own transaction: the keys it touched, its markers, the breaches of a guard.

use std::collections::BTreeMap;

use journal::{Lsn, TableName};
use tokio_postgres::types::ToSql;

use super::{Failure, Work};
use crate::native::fold::key_of;
use crate::native::{Breach, Change, Checkpoint, Row, StreamError, Transaction};
use crate::postgres::receipt::signed;
use crate::postgres::sets::text;
use crate::seams::Cause;

/// How many keys are remembered with one statement, roughly.
const MAX_KEYS: usize = 20_000;

/// A key of up to so many bytes stands in the index of what changed, beside the names; an entry has 2,704 at most.
const INDEXED: usize = 1_500;

/// Where each key, by table, was changed last.
type LatestKeys = BTreeMap<(String, String), Lsn>;

impl Work<'_, '_> {
    /// The keys that these transactions touch, for the verification of what changed.
    pub(super) async fn keys(&mut self, transactions: &[&Transaction]) -> Result<(), Failure> {
        let mut latest = LatestKeys::new();
        for transaction in transactions {
            let Checkpoint::Lsn(end) = transaction.end;
            for window in transaction.changes.windows() {
                for change in window?.iter() {
                    for (table, key) in touched(change)? {
                        latest.insert((table.to_string(), key), end);
                    }
                }
                if latest.len() >= MAX_KEYS {
                    self.remember(&std::mem::take(&mut latest)).await?;
                }
            }
        }
        self.remember(&latest).await
    }

    async fn remember(&mut self, latest: &LatestKeys) -> Result<(), Failure> {
        let (short, long): (Vec<_>, Vec<_>) = latest.iter().partition(|((_, key), _)| key.len() <= INDEXED);
        let short_sql = "insert into _switchyard.changed (migration, phase, direction, table_name, key, lsn) \
                         select $1, $2, $3, u.t, u.k, u.l::pg_lsn \
                         from unnest($4::text[], $5::text[], $6::text[]) as u(t, k, l) \
                         on conflict (migration, phase, direction, table_name, key) do update set lsn = excluded.lsn";
        let long_sql = "insert into _switchyard.changed (migration, phase, direction, table_name, key, lsn, long_key) \
                        select $1, $2, $3, u.t, encode(sha256(convert_to(u.k, 'UTF8')), 'hex'), u.l::pg_lsn, u.k \
                        from unnest($4::text[], $5::text[], $6::text[]) as u(t, k, l) \
                        on conflict (migration, phase, direction, table_name, key) do update set lsn = excluded.lsn";
        for (some, sql) in [(short, short_sql), (long, long_sql)] {
            if !some.is_empty() {
                self.remember_by(sql, &some).await?;
            }
        }
        Ok(())
    }

    async fn remember_by(&mut self, sql: &str, some: &[(&(String, String), &Lsn)]) -> Result<(), Failure> {
        let tables: Vec<&str> = some.iter().map(|((table, _), _)| table.as_str()).collect();
        let keys: Vec<&str> = some.iter().map(|((_, key), _)| key.as_str()).collect();
        let places: Vec<String> = some.iter().map(|(_, place)| place.to_string()).collect();
        let statement = self.statement(sql).await?;
        let name = &self.spec.name;
        let values: [&(dyn ToSql + Sync); 6] = [
            &self.database.migration().as_str(),
            &name.phase.as_str(),
            &name.direction.word(),
            &tables,
            &keys,
            &places,
        ];
        self.tx.execute(&statement, &values).await?;
        Ok(())
    }

    pub(super) async fn breaches(&mut self, transactions: &[&Transaction]) -> Result<Vec<Breach>, Failure> {
        let mut found = Vec::new();
        for transaction in transactions {
            let mut counts: BTreeMap<TableName, u64> = BTreeMap::new();
            for window in transaction.changes.windows() {
                for change in window?.iter() {
                    let (Change::Insert { shape, .. }
                    | Change::Update { shape, .. }
                    | Change::Delete { shape, .. }) = change;
                    *counts.entry(shape.table.clone()).or_default() += 1;
                }
            }
            found.extend(counts.into_iter().map(|(table, changes)| Breach {
                table,
                at: transaction.end,
                changes,
            }));
        }
        let sql = "insert into _switchyard.breach (migration, phase, direction, lsn, table_name, changes) \
                   values ($1, $2, $3, $4::text::pg_lsn, $5, $6) on conflict do nothing";
        let statement = self.statement(sql).await?;
        let name = &self.spec.name;
        for breach in &found {
            let Checkpoint::Lsn(at) = breach.at;
            let values: [&(dyn ToSql + Sync); 6] = [
                &self.database.migration().as_str(),
                &name.phase.as_str(),
                &name.direction.word(),
                &at.to_string(),
                &breach.table.to_string(),
                &signed(breach.changes),
            ];
            self.tx.execute(&statement, &values).await?;
        }
        Ok(found)
    }

    pub(super) async fn markers(&mut self, transactions: &[Transaction]) -> Result<(), Failure> {
        let sql = "insert into _switchyard.marker (migration, phase, direction, nonce, lsn) \
                   values ($1, $2, $3, $4, $5::text::pg_lsn) on conflict do nothing";
        for transaction in transactions.iter().filter(|each| !each.markers.is_empty()) {
            let statement = self.statement(sql).await?;
            let name = &self.spec.name;
            let Checkpoint::Lsn(end) = transaction.end;
            for nonce in &transaction.markers {
                let values: [&(dyn ToSql + Sync); 5] = [
                    &self.database.migration().as_str(),
                    &name.phase.as_str(),
                    &name.direction.word(),
                    nonce,
                    &end.to_string(),
                ];
                self.tx.execute(&statement, &values).await?;
            }
        }
        Ok(())
    }
}

/// The keys that a change touches, each as a JSON array of its values' texts.
fn touched(change: &Change) -> Result<Vec<(&TableName, String)>, StreamError> {
    let named = |key: &Row| {
        let texts: Vec<Option<&str>> = key.iter().map(|cell| text(Some(cell))).collect::<Result<_, _>>()?;
        serde_json::to_string(&texts)
            .map_err(|error| StreamError::Lost(Cause(format!("a key that cannot be written down: {error}"))))
    };
    Ok(match change {
        Change::Insert { shape, new } => vec![(&shape.table, named(&key_of(shape, new))?)],
        Change::Delete { shape, key } => vec![(&shape.table, named(key)?)],
        Change::Update { shape, old_key, new } => {
            let mut keys = vec![(&shape.table, named(&key_of(shape, new))?)];
            if let Some(old) = old_key {
                keys.push((&shape.table, named(old)?));
            }
            keys
        }
    })
}
