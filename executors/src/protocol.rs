//! The effect protocol: intent, probe, act, probe, outcome.
