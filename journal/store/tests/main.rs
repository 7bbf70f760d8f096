//! The stores' tests, one program: what they share, and the libraries beneath, are built once. One file's alone:
//! `cargo test --workspace --test stores postgres::`.
#![allow(
    missing_docs,
    missing_debug_implementations,
    unreachable_pub,
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::wildcard_imports,
    clippy::too_many_lines,
    reason = "tests"
)]

#[macro_use]
mod post;
#[macro_use]
mod suite;
mod lost_commit;
mod mail;
mod postgres;
mod server;
mod sqlite;
