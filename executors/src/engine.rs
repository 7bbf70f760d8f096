//! The native engine: which step plans what.
