//! All phases of a migration, kept going.
