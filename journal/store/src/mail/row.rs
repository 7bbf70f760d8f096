//! Rows of the inbox and the outbox, the same in every database.
//!
//! They are read by hand: sqlx's derive would have every build compile both drivers twice, once for the compiler's use.

use std::time::Duration;

use journal::Timestamp;
use journal::plan::Platform;
use serde_json::Value;
use sqlx::{ColumnIndex, Decode, FromRow, Row, Type};

use super::{Draft, Letter, Outgoing, Taken};
use crate::StoreError;

pub(super) fn millis(of: Duration) -> i64 {
    i64::try_from(of.as_millis()).unwrap_or(i64::MAX / 4)
}

pub(super) const fn word(platform: Platform) -> &'static str {
    match platform {
        Platform::Github => "github",
        Platform::Slack => "slack",
        Platform::Discord => "discord",
    }
}

fn platform(text: &str) -> Result<Platform, StoreError> {
    [Platform::Github, Platform::Slack, Platform::Discord]
        .into_iter()
        .find(|each| word(*each) == text)
        .ok_or_else(|| StoreError::Foreign(format!("`{text}` is no platform that this version knows")))
}

pub(super) fn json(text: &str) -> Result<Value, StoreError> {
    serde_json::from_str(text).map_err(|error| StoreError::Foreign(format!("a row's body: {error}")))
}

/// What a column of either database holds.
trait Columns<'r>: Row {
    fn number(&'r self, column: &'static str) -> sqlx::Result<i64>;
    fn text(&'r self, column: &'static str) -> sqlx::Result<String>;
    fn optional(&'r self, column: &'static str) -> sqlx::Result<Option<String>>;
}

impl<'r, R> Columns<'r> for R
where
    R: Row,
    &'static str: ColumnIndex<R>,
    i64: Decode<'r, R::Database> + Type<R::Database>,
    String: Decode<'r, R::Database> + Type<R::Database>,
    Option<String>: Decode<'r, R::Database> + Type<R::Database>,
{
    fn number(&'r self, column: &'static str) -> sqlx::Result<i64> {
        self.try_get(column)
    }

    fn text(&'r self, column: &'static str) -> sqlx::Result<String> {
        self.try_get(column)
    }

    fn optional(&'r self, column: &'static str) -> sqlx::Result<Option<String>> {
        self.try_get(column)
    }
}

/// A row of the inbox as it was before it was taken.
#[derive(Debug)]
pub(super) struct InboxRow {
    pub(super) id: i64,
    transport_key: Option<String>,
    meaning_key: String,
    platform: String,
    kind: String,
    body: String,
    taken_by: Option<String>,
    taken_until: i64,
    tries: i64,
}

impl<'r, R: Columns<'r>> FromRow<'r, R> for InboxRow {
    fn from_row(row: &'r R) -> sqlx::Result<Self> {
        Ok(Self {
            id: row.number("id")?,
            transport_key: row.optional("transport_key")?,
            meaning_key: row.text("meaning_key")?,
            platform: row.text("platform")?,
            kind: row.text("kind")?,
            body: row.text("body")?,
            taken_by: row.optional("taken_by")?,
            taken_until: row.number("taken_until")?,
            tries: row.number("tries")?,
        })
    }
}

impl InboxRow {
    /// Whether another has it now.
    pub(super) fn is_in_another_hand(&self, by: &str, now: i64) -> bool {
        self.taken_until > now && self.taken_by.as_deref() != Some(by)
    }

    /// As it is once it was taken.
    pub(super) fn taken(self) -> Result<Taken, StoreError> {
        let letter = Letter {
            transport: self.transport_key,
            meaning: self.meaning_key,
            platform: platform(&self.platform)?,
            kind: self.kind,
            body: json(&self.body)?,
        };
        Ok(Taken { id: self.id, letter, tries: self.tries + 1 })
    }
}

/// A row of the outbox as it was before it was taken.
#[derive(Debug)]
pub(super) struct OutboxRow {
    pub(super) id: i64,
    platform: String,
    pub(super) destination: String,
    pub(super) living: Option<String>,
    priority: i64,
    body: String,
    written_at: i64,
    attempts: i64,
}

impl<'r, R: Columns<'r>> FromRow<'r, R> for OutboxRow {
    fn from_row(row: &'r R) -> sqlx::Result<Self> {
        Ok(Self {
            id: row.number("id")?,
            platform: row.text("platform")?,
            destination: row.text("destination")?,
            living: row.optional("living")?,
            priority: row.number("priority")?,
            body: row.text("body")?,
            written_at: row.number("written_at")?,
            attempts: row.number("attempts")?,
        })
    }
}

impl OutboxRow {
    /// As it is once it was taken.
    pub(super) fn taken(self, edits: Option<String>) -> Result<Outgoing, StoreError> {
        let draft = Draft {
            platform: platform(&self.platform)?,
            destination: self.destination,
            living: self.living,
            priority: self.priority,
            body: json(&self.body)?,
            wait: Duration::ZERO,
        };
        Ok(Outgoing {
            id: self.id,
            draft,
            attempts: self.attempts + 1,
            edits,
            written_at: Timestamp::from_millis(self.written_at),
        })
    }
}
