//! The rig: the product tried from outside, against real servers.
//!
//! It speaks to the product through its command line, its socket and the databases' SQL, never through its crates,
//! so a scenario can only see what an operator or an application sees.

pub mod cluster;
pub mod compare;
pub mod doubles;
pub mod events;
pub mod link;
pub mod pgbouncer;
pub mod process;
pub mod records;
pub mod scene;
pub mod shop;
pub mod supervise;
pub mod switchyard;
pub mod talk;
pub mod town;
pub mod wait;
pub mod watch;
pub mod webhooks;
pub mod workload;
