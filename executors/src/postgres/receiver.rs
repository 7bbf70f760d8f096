//! One side as a receiver of effects.
