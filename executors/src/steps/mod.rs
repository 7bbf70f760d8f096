//! One file a step. A step plans effects and nothing else.
