//! One database entry of a pgbouncer.
