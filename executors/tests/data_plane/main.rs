//! The data plane against two real clusters: load and fill, streams, comparison, the catalog, preflight.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test ends where it fails, and waits for real servers in real time"
)]

mod catalog;
mod fixture;
mod load;
mod preflight;
mod streams;
mod verify;
