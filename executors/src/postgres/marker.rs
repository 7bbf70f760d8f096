//! Markers in a side's own stream.
