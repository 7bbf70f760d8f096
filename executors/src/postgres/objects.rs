//! Publications, origins, slots.
