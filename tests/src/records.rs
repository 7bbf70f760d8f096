//! What the application remembers: every acknowledged write, and apart from them those whose outcome it does not know.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::Result;
use tokio_postgres::{Client, SimpleQueryMessage};

use crate::shop::{Size, Table};

/// A row's stamp; none if the row is not there.
pub type Stamp = Option<String>;

/// One write to one row.
#[derive(Debug, Clone)]
pub struct Write {
    /// The table.
    pub table: Table,
    /// The row's key as one text.
    pub key: String,
    /// What the row's stamp is from then on; none for a delete.
    pub stamp: Stamp,
}

#[derive(Debug, Default)]
struct Slot {
    acked: Stamp,
    possible: Vec<Stamp>,
}

/// The application's memory.
#[derive(Debug)]
pub struct Records {
    size: Size,
    rows: BTreeMap<(Table, String), Slot>,
    /// Stamps of inserts whose outcome, and so whose key, is unknown.
    possible_inserts: BTreeSet<String>,
    acks: Vec<Instant>,
    /// Row writes that were acknowledged.
    pub acked_writes: u64,
    /// Transactions that were acknowledged.
    pub acked_transactions: u64,
    /// Transactions whose outcome nobody told.
    pub unknown: u64,
    /// Requests that got an error, and what the errors were.
    pub failed: BTreeMap<String, u64>,
}

/// What a look at the writer's side says of the application's memory.
#[derive(Debug, Default)]
pub struct Verdict {
    /// Rows that do not hold the last acknowledged write.
    pub lost: Vec<String>,
    /// Rows that nobody wrote.
    pub extra: Vec<String>,
    /// Rows looked at.
    pub rows: u64,
}

impl Records {
    /// A memory that knows the rows the shop began with.
    #[must_use]
    pub fn new(size: Size) -> Self {
        Self {
            size,
            rows: BTreeMap::new(),
            possible_inserts: BTreeSet::new(),
            acks: Vec::new(),
            acked_writes: 0,
            acked_transactions: 0,
            unknown: 0,
            failed: BTreeMap::new(),
        }
    }

    /// The transaction was acknowledged.
    pub fn acknowledge(&mut self, writes: Vec<Write>) {
        self.acks.push(Instant::now());
        self.acked_transactions += 1;
        for write in writes {
            self.acked_writes += 1;
            let slot = self.rows.entry((write.table, write.key)).or_default();
            slot.acked = write.stamp;
            slot.possible.clear();
        }
    }

    /// Nobody told how the transaction ended. Writes without a key are inserts whose key would have been returned.
    pub fn lose_track(&mut self, known: Vec<Write>, inserted: Vec<String>, seeded: impl Fn(&Write) -> Stamp) {
        self.unknown += 1;
        self.possible_inserts.extend(inserted);
        for write in known {
            let before = seeded(&write);
            let slot = self
                .rows
                .entry((write.table, write.key))
                .or_insert_with(|| Slot { acked: before, possible: Vec::new() });
            slot.possible.push(write.stamp);
        }
    }

    /// A request got an error.
    pub fn fail(&mut self, error: &str) {
        *self.failed.entry(error.to_owned()).or_default() += 1;
    }

    /// How many requests got an error.
    #[must_use]
    pub fn failed_requests(&self) -> u64 {
        self.failed.values().sum()
    }

    /// The longest time without an acknowledged transaction between two instants.
    #[must_use]
    pub fn longest_pause(&self, from: Instant, to: Instant) -> Duration {
        let mut last = from;
        let mut longest = Duration::ZERO;
        for ack in self.acks.iter().copied().filter(|ack| *ack > from && *ack < to).chain([to]) {
            longest = longest.max(ack.saturating_duration_since(last));
            last = last.max(ack);
        }
        longest
    }

    /// How many transactions were acknowledged since an instant.
    #[must_use]
    pub fn acknowledged_since(&self, from: Instant) -> usize {
        self.acks.iter().rev().take_while(|ack| **ack > from).count()
    }

    /// Compares the memory with what a database holds.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn check(&self, client: &Client) -> Result<Verdict> {
        let mut verdict = Verdict::default();
        for table in Table::ALL {
            let query = format!("select {}, stamp from {}", table.key(), table.name());
            let mut found = BTreeMap::new();
            for message in client.simple_query(&query).await? {
                if let SimpleQueryMessage::Row(row) = message {
                    let text = |n| row.get(n).unwrap_or_default().to_owned();
                    found.insert(text(0), text(1));
                }
            }
            verdict.rows += u64::try_from(found.len()).unwrap_or(u64::MAX);
            self.judge(table, &found, &mut verdict);
        }
        Ok(verdict)
    }

    fn judge(&self, table: Table, found: &BTreeMap<String, String>, verdict: &mut Verdict) {
        let seeded: BTreeSet<String> = self.size.keys(table).into_iter().collect();
        for key in &seeded {
            let touched = self.rows.contains_key(&(table, key.clone()));
            let stamp = found.get(key).map(String::as_str);
            if !touched && stamp != Some("seed") {
                verdict.lost.push(format!("{} {key}: a row from before, now {stamp:?}", table.name()));
            }
        }
        for ((_, key), slot) in self.rows.range((table, String::new())..).take_while(|(at, _)| at.0 == table)
        {
            let stamp = found.get(key).cloned();
            if stamp != slot.acked && !slot.possible.contains(&stamp) {
                verdict.lost.push(format!(
                    "{} {key}: acknowledged {:?}, possible {:?}, found {stamp:?}",
                    table.name(),
                    slot.acked,
                    slot.possible
                ));
            }
        }
        for (key, stamp) in found {
            let known = seeded.contains(key) || self.rows.contains_key(&(table, key.clone()));
            if !known && !self.possible_inserts.contains(stamp) {
                verdict.extra.push(format!("{} {key}: {stamp}", table.name()));
            }
        }
    }
}
