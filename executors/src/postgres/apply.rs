//! Writing what a stream read.

use async_trait::async_trait;

use crate::native::{Cell, Row, TableShape};
use crate::seams::Cause;

/// Where a row that the side written lacks is read from: the side read, under a snapshot that is not older than the
/// change.
#[async_trait]
pub trait RowSource: std::fmt::Debug + Send + Sync {
    /// The row of this key, cells in the shape's order; none if it is not there.
    async fn row_by_key(&self, shape: &TableShape, key: &[Cell]) -> Result<Option<Row>, Cause>;
}
