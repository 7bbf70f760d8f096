//! Snapshots and COPY.
