//! The inbox and the outbox: what people sent and was acknowledged, and what they are to be told.
//!
//! What can happen at once, and why it is right:
//!
//! * **A message arrives twice**, as a redelivery, a replay or by another way. It is one row: the transport key and the
//!   meaning key are unique, and the second arrival is a [`Receipt::Duplicate`], which its receiver acknowledges too.
//! * **The process dies after the acknowledgement.** The row was committed before. It is taken again when its taker's
//!   term is over, or at once by the same instance: an instance's name is held by one process at a time.
//! * **Two instances.** One row is in one hand, the oldest first, so that people's words keep their order. A taker whose
//!   term ran out cannot finish: each taking raises the tries, and finishing names them. What it appended to the journal
//!   meanwhile is under the meaning key as the command's id, so the second taker's append is the same one.
//! * **A death between the append and the reply.** The row is done again; the journal answers with the events made the
//!   first time, and only then the row is finished and its replies written, in one transaction.
//! * **A death between sending and noting it.** The sender finds its own mark at the platform before it sends again
//!   ([`Outgoing::attempts`] says that there was a try).
//! * **A state of a living message that was not sent yet** is replaced by a newer one, unless somebody is sending it:
//!   then the newer one waits for it and edits it. A state that says what the newest row says is not written again.
//! * **Two instances tell of the same events.** What a reader of the journal writes goes out with its watermark in one
//!   transaction ([`Mailroom::publish`]): after a crash neither is there or both are. A second instance that has read
//!   the same events writes the same states of the same living messages, which come to nothing.

mod postgres;
mod row;
mod sqlite;

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use journal::plan::Platform;
use journal::{Holder, Position, Timestamp};
use serde_json::Value;

use crate::StoreError;

pub use postgres::PostgresMailroom;
pub use sqlite::SqliteMailroom;

/// What arrived, as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter {
    /// The platform's name of this delivery; none where it has none.
    pub transport: Option<String>,
    /// What is meant: the id of the command that it becomes. At most 180 bytes.
    pub meaning: String,
    /// Where it came from.
    pub platform: Platform,
    /// What it is.
    pub kind: String,
    /// The fields in use.
    pub body: Value,
}

/// Whether it was there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Receipt {
    /// It is kept now.
    New,
    /// It was there: also a success.
    Duplicate,
}

/// A row of the inbox in one instance's hand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    /// Its number.
    pub id: i64,
    /// What it is.
    pub letter: Letter,
    /// How often it was taken, this time included.
    pub tries: i64,
}

/// What is to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    /// By which platform.
    pub platform: Platform,
    /// Where to, as the platform's sender reads it.
    pub destination: String,
    /// The living message that it is a state of; none: a message of its own.
    pub living: Option<String>,
    /// The higher leaves first.
    pub priority: i64,
    /// What it says, as the platform's sender reads it.
    pub body: Value,
    /// How long it waits before it is sent.
    pub wait: Duration,
}

/// A row of the outbox in one instance's hand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    /// Its number: the mark by which the sender finds at the platform what it sent.
    pub id: i64,
    /// What is to be sent.
    pub draft: Draft,
    /// How often it was taken, this time included. More than one: it may have been sent.
    pub attempts: i64,
    /// The platform's id of the living message, if a state of it was sent before.
    pub edits: Option<String>,
    /// When it was written: what is at the platform is not older.
    pub written_at: Timestamp,
}

/// Inbox and outbox. Every method is one transaction; a crash after it loses nothing of it.
#[async_trait]
pub trait Mailroom: fmt::Debug + Send + Sync + 'static {
    /// Keeps what arrived. To be called before it is acknowledged.
    async fn receive(&self, letter: &Letter) -> Result<Receipt, StoreError>;

    /// Takes the oldest row that is not finished, for a term. `None`: there is none, or it is in another's hand.
    async fn take(&self, by: &Holder, term: Duration) -> Result<Option<Taken>, StoreError>;

    /// Finishes a row and writes its replies. `false`: it is in another's hand by now, and nothing was written.
    async fn finish(&self, taken: &Taken, replies: &[Draft]) -> Result<bool, StoreError>;

    /// Lets anybody take a row again after a while.
    async fn put_back(&self, taken: &Taken, wait: Duration) -> Result<bool, StoreError>;

    /// Writes what is to be sent without having been asked. A state of a living message whose newest row has an equal
    /// body is not written again, here and wherever drafts are written. One that may leave sooner than the state that it
    /// takes the place of brings the message forward, unless that was tried already.
    async fn write(&self, drafts: &[Draft]) -> Result<(), StoreError>;

    /// Writes what a reader of the journal has to say of the events up to a position, and raises the reader's watermark
    /// to it: one transaction. The watermark never falls; the drafts are written also where it stands higher already.
    async fn publish(&self, reader: &str, upto: Position, drafts: &[Draft]) -> Result<(), StoreError>;

    /// A reader's watermark: the position up to which it has published. 0 if it never did.
    async fn published(&self, reader: &str) -> Result<Position, StoreError>;

    /// The platform's id of a living message, if a state of it was sent.
    async fn living(&self, destination: &str, key: &str) -> Result<Option<String>, StoreError>;

    /// Takes the next row that is due to leave by a platform, for a term.
    async fn take_outgoing(
        &self,
        platform: Platform,
        by: &Holder,
        term: Duration,
    ) -> Result<Option<Outgoing>, StoreError>;

    /// Notes that it was sent, and the platform's id of the message. `false`: another has it by now.
    async fn sent(&self, outgoing: &Outgoing, message: &str) -> Result<bool, StoreError>;

    /// Notes that it was not sent, or that nobody knows, and that it is to be tried again after a while.
    async fn postpone(&self, outgoing: &Outgoing, wait: Duration, why: &str) -> Result<bool, StoreError>;

    /// Notes that it will never be sent.
    async fn give_up(&self, outgoing: &Outgoing, why: &str) -> Result<bool, StoreError>;

    /// How many rows wait: of the inbox, and of the outbox.
    async fn waiting(&self) -> Result<(u64, u64), StoreError>;

    /// Since when the oldest of them do: of the inbox, and of the outbox.
    async fn oldest(&self) -> Result<(Option<Timestamp>, Option<Timestamp>), StoreError>;
}
