//! The journal's tests, one program: what they share, and the libraries beneath, are built once. One file's alone:
//! `cargo test --workspace --test journal rules::`.
#![allow(
    missing_docs,
    let_underscore_drop,
    clippy::allow_attributes,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::disallowed_methods,
    clippy::print_stderr,
    clippy::let_underscore_must_use,
    reason = "tests"
)]

mod approvals;
mod behind;
mod binding;
mod golden;
mod groups;
mod invariants;
mod model;
mod plan_documents;
mod plan_hash;
mod plan_reading;
mod plan_rules;
mod plan_secrets;
mod plan_senseless;
mod rules;
mod schema;
mod source_lost;
mod support;
mod target_lost;
mod timelines;
mod witnessed;
