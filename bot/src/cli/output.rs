//! The one place that writes to the terminal.

use std::io::{IsTerminal as _, Write as _};

/// Prints a line to standard output. A reader that has gone away is not an error.
pub fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    let _gone = writeln!(out, "{text}").and_then(|()| out.flush()).is_err();
}

/// Prints bytes to standard output as they are.
///
/// # Errors
/// They cannot be written.
pub fn write(bytes: &[u8]) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(bytes)?;
    out.flush()
}

/// Prints a line to standard error.
pub fn complain(text: &str) {
    let _gone = writeln!(std::io::stderr().lock(), "{text}").is_err();
}

/// Prints a prompt, without a line's end.
pub fn prompt(text: &str) {
    let mut out = std::io::stderr().lock();
    let _gone = write!(out, "{text}").and_then(|()| out.flush()).is_err();
}

/// Whether a person types the input.
#[must_use]
pub fn input_is_a_terminal() -> bool {
    std::io::stdin().is_terminal()
}
