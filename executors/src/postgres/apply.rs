//! Applying batches: the sink.
