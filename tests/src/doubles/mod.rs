//! Doubles of what cannot be installed: they speak the real protocol over HTTP, sign truly, keep state, and are strict.

pub mod github;
