//! What the catalog says of tables.
