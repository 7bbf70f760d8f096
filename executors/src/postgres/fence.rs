//! Fence triggers.
