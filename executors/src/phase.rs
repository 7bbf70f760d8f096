//! One phase's loop.
