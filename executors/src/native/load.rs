//! Loading a table, and filling it after a crash.
