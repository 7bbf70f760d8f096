//! Everything that is peculiar to PostgreSQL, all SQL against it included.

pub mod address;
pub mod anew;
pub mod apply;
pub mod behaviour;
mod brief;
mod build;
pub mod catalog;
pub mod changes;
pub mod chunk;
pub mod columns;
pub mod copy;
pub mod database;
pub mod definitions;
pub mod doctor;
pub mod facts;
pub mod feed;
pub mod fence;
pub mod gate;
pub mod home;
pub mod identity;
mod inputs;
mod line;
pub mod live;
pub mod marker;
pub mod meets;
pub mod objects;
pub mod pgoutput;
pub mod preflight;
mod preflight_tables;
pub mod proof;
pub mod quote;
pub mod receipt;
pub mod receiver;
pub mod sequences;
mod sets;
mod settings;
pub mod snapshot;
pub mod stream_row;
pub mod survey;
pub mod tables;
pub mod trial;
mod watch;
pub mod wire;
pub mod writers;

/// Our own schema on a migrated database.
pub const HOME_SQL: &str = include_str!("sql/home.sql");
