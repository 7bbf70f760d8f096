//! The data plane against two real clusters: load and fill, comparison, the catalog, preflight.

mod catalog;
mod fixture;
mod load;
mod preflight;
mod verify;
