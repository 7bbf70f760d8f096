//! The data plane as a receiver of effects.
