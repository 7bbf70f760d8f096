//! Gates, fences, objects and levers against real servers.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test's own helpers fail by panicking, and a test waits by the machine's clock"
)]

mod columns;
mod fence;
mod fixture;
mod gate;
mod levers;
mod objects;
mod sequences;
mod writers;
