//! Our schema and gate row.
