//! Tells cargo that the journal's schema, which the program embeds, is a source of this crate.

#[expect(clippy::print_stdout, reason = "a build script speaks to cargo by printing")]
fn main() {
    println!("cargo:rerun-if-changed=../../migrations/sqlite");
}
