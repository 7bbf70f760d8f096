//! Tables, indexes and constraints on the target.
