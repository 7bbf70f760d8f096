//! Effects on streams.
