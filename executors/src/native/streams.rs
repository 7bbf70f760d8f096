//! The supervisor of streams.
