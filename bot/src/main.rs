//! (next)

fn main() {}
