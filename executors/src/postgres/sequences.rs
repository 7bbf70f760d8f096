//! Sequences move forward.
