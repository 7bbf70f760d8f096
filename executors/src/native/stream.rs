//! One running stream.
