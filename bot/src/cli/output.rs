//! The one place that writes to the terminal.

use std::borrow::Cow;
use std::io::{IsTerminal as _, Write as _};

/// A text without what a terminal obeys: names, reasons and what programs answered come from others.
fn tame(text: &str) -> Cow<'_, str> {
    let is_obeyed = |c: char| c.is_control() && c != '\n' && c != '\t';
    if !text.contains(is_obeyed) {
        return Cow::Borrowed(text);
    }
    let mut tamed = String::with_capacity(text.len());
    for c in text.chars() {
        if is_obeyed(c) {
            tamed.extend(c.escape_default());
        } else {
            tamed.push(c);
        }
    }
    Cow::Owned(tamed)
}

/// Prints a line to standard output. A reader that has gone away is not an error.
pub fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    let text = tame(text);
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
    let text = tame(text);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_written_out() {
        assert_eq!(tame("caf\u{e9}\n\t\u{1f600}"), "caf\u{e9}\n\t\u{1f600}");
        assert_eq!(tame("\u{1b}]0;evil\u{7}\r\u{9b}2J\u{7f}"), "\\u{1b}]0;evil\\u{7}\\r\\u{9b}2J\\u{7f}");
    }
}
