//! What the data plane works with.
