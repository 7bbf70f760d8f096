//! The data plane against two real clusters: load and fill, streams, comparison, the catalog, preflight.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a test ends where it fails, waits for real servers in real time, and prints what it measures"
)]

mod catalog;
mod fixture;
mod load;
mod moved_keys;
mod preflight;
mod streams;
mod verify;
