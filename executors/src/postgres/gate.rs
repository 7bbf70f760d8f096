//! The gate: closing, opening.
