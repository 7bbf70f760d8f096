//! A plan's line as it may be shown: without a value that may be a secret that somebody wrote into it by mistake.

use super::read::{is_secret, without_secrets};

/// A line of a plan's text, from 1, without what may be a secret: the value of a key that holds one or was probably meant
/// to, and whatever looks like a URL with a password.
#[must_use]
pub fn shown(text: &str, line: usize) -> Option<String> {
    let number = line.checked_sub(1)?;
    let found = text.lines().nth(number)?;
    // A text over several lines is its key's value on each of them.
    let mut inside: Option<(&str, bool)> = None;
    for before in text.lines().take(number) {
        inside = after(before, inside);
    }
    match inside {
        Some((_, true)) => Some("…".to_owned()),
        _ => Some(line_shown(found)),
    }
}

/// The text over several lines that is open after a line: its quotes, and whether its key may hold a secret.
fn after<'q>(line: &str, inside: Option<(&'q str, bool)>) -> Option<(&'q str, bool)> {
    let mut open = inside;
    let mut rest = line;
    loop {
        let next = match open {
            Some((quotes, _)) => rest.find(quotes).map(|at| (at, quotes)),
            None => ["\"\"\"", "'''"].into_iter().filter_map(|q| rest.find(q).map(|at| (at, q))).min(),
        };
        let Some((at, quotes)) = next else { return open };
        open = match open {
            Some(_) => None,
            None => Some((quotes, secret_from(line).is_some())),
        };
        rest = rest.get(at + quotes.len()..).unwrap_or_default();
    }
}

/// Where the value of the line's first key that may hold a secret begins.
fn secret_from(line: &str) -> Option<usize> {
    let is_part = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-');
    let mut word: Option<usize> = None;
    let mut is_first = true;
    for (at, c) in line.char_indices().chain([(line.len(), '\n')]) {
        if is_part(c) {
            word.get_or_insert(at);
            continue;
        }
        let Some(start) = word.take() else { continue };
        let rest = line.get(at..).unwrap_or_default();
        let sign = rest.trim_start_matches(['"', '\'', ' ', '\t']);
        // Where the sign is missing, as in `url "…"`, the line's first word is the key.
        let is_key = sign.starts_with(['=', ':']) || is_first && !line.trim_start().starts_with('[');
        is_first = false;
        if is_key && line.get(start..at).is_some_and(is_secret) {
            let sign_at = line.len() - sign.len();
            return Some(if sign.starts_with(['=', ':']) { sign_at + 1 } else { at });
        }
    }
    None
}

fn line_shown(line: &str) -> String {
    let line = match secret_from(line) {
        Some(at) if line.get(at..).is_some_and(|value| !value.trim().is_empty()) => {
            format!("{} …", line.get(..at).unwrap_or_default())
        }
        _ => line.to_owned(),
    };
    let lower = line.to_lowercase();
    if !lower.contains("://") && !lower.contains("password") {
        return line;
    }
    match line.split_once('=') {
        Some((key, _)) if without_secrets(key) == key && !key.to_lowercase().contains("password") => {
            format!("{key}= …")
        }
        _ => "…".to_owned(),
    }
}
