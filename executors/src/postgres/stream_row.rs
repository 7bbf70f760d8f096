//! Checkpoint rows of streams.
