//! What stops, holds, routes and resumes application traffic: one file a lever.

pub mod command;
pub mod pgbouncer;
