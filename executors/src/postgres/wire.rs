//! Our own replication connection.

use journal::Lsn;

use crate::postgres::database::Database;
use crate::seams::Cause;

/// A connection in replication mode, idle.
#[derive(Debug)]
pub struct ReplicationConnection {
    home: Database,
}

/// A slot that was made, and the snapshot of its beginning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreatedSlot {
    /// Where it begins: the snapshot holds all that committed before.
    pub consistent_point: Lsn,
    /// The snapshot's name for `set transaction snapshot`. It lives while the connection stays open and idle.
    pub snapshot: String,
}

/// A slot was not made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CreateSlotError {
    /// One of this name is there (42710).
    #[error("a replication slot of this name is there already")]
    Exists,
    /// The server has no free slot (53400).
    #[error("no free replication slot: raise max_replication_slots, or drop a slot that nobody reads")]
    NoFreeSlot,
    /// The connection, or the server.
    #[error("{0}")]
    Other(Cause),
}

impl ReplicationConnection {
    /// Connects to a side.
    ///
    /// # Errors
    /// The server cannot be reached or refuses.
    pub async fn connect(home: &Database) -> Result<Self, Cause> {
        Ok(Self { home: home.clone() })
    }

    /// Makes a logical slot with pgoutput and exports its snapshot.
    ///
    /// # Errors
    /// It is there, there is no room, or the server cannot be asked.
    pub async fn create_slot(&mut self, name: &str, temporary: bool) -> Result<CreatedSlot, CreateSlotError> {
        let _unbuilt = temporary;
        Err(CreateSlotError::Other(Cause(format!(
            "the slot {name} at the {} is not made yet",
            self.home.side()
        ))))
    }
}
