//! Folding one window of changes by key.
