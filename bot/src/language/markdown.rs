//! Which lines of a Markdown text are plain text.
//!
//! A command that is quoted, shown as code, commented out or linked was not said. The rules are CommonMark's, and where
//! they leave a doubt the line is text: a command that was not heard is said again, one that nobody said is not
//! taken back. So a line right below a quote belongs to it (mail programs wrap quoted lines), a heading is text, and
//! everything within an HTML element is.

use super::PREFIX;

/// HTML elements whose content is text, as people write them in comments. Others, and words in angle brackets, are
/// taken as they stand.
const CONTAINERS: &[&str] = &[
    "a",
    "b",
    "blockquote",
    "code",
    "del",
    "details",
    "div",
    "em",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "i",
    "ins",
    "kbd",
    "li",
    "ol",
    "p",
    "pre",
    "q",
    "s",
    "samp",
    "script",
    "section",
    "small",
    "span",
    "strike",
    "strong",
    "style",
    "sub",
    "summary",
    "sup",
    "table",
    "tbody",
    "td",
    "textarea",
    "th",
    "thead",
    "tr",
    "tt",
    "u",
    "ul",
    "var",
];

/// What is still open at the end of a line.
#[derive(Debug, Default)]
struct Open {
    fence: Option<(char, usize)>,
    is_comment: bool,
    elements: Vec<String>,
}

/// Lines that begin with `/migrate` and are plain text, with their index.
pub(super) fn command_lines(text: &str) -> Vec<(usize, &str)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut open = Open::default();
    let mut found = Vec::new();
    let mut is_quote = false;
    let mut index = 0;
    while let Some(line) = lines.get(index) {
        let here = index;
        index += 1;
        if open.fence.is_some() {
            close_fence(&mut open, line);
        } else if open.is_comment || !open.elements.is_empty() {
            scan(line, &mut open);
        } else if line.trim().is_empty() {
            is_quote = false;
        } else if line.trim_start().starts_with('>') {
            is_quote = true;
        } else if let Some(fence) = fence(line) {
            open.fence = Some(fence);
            is_quote = false;
        } else if is_quote || is_indented(line) {
            // The rest of the quoted paragraph, or code.
        } else {
            let length = lines.iter().skip(here).take_while(|line| continues(line)).count().max(1);
            let paragraph: Vec<&str> = lines.iter().skip(here).take(length).copied().collect();
            let underlined = paragraph.iter().rposition(|line| is_underline(line)).unwrap_or(0);
            let is_plain = plain_starts(&paragraph, &mut open);
            for (offset, (line, plain)) in paragraph.iter().zip(is_plain).enumerate() {
                if plain && !is_indented(line) && is_command(line) && offset >= underlined {
                    found.push((here + offset, *line));
                }
            }
            index = here + length;
        }
    }
    found
}

fn is_command(line: &str) -> bool {
    let mut words = line.split_whitespace();
    words.next().is_some_and(|first| first.eq_ignore_ascii_case(PREFIX))
}

/// Whether a line goes on with the paragraph before it.
fn continues(line: &str) -> bool {
    !line.trim().is_empty() && !line.trim_start().starts_with('>') && fence(line).is_none()
}

fn is_indented(line: &str) -> bool {
    let mut width = 0;
    for c in line.chars() {
        match c {
            ' ' => width += 1,
            '\t' => width += 4,
            _ => break,
        }
    }
    width >= 4
}

/// The line under a heading.
fn is_underline(line: &str) -> bool {
    let line = line.trim();
    !line.is_empty() && (line.chars().all(|c| c == '=') || line.chars().all(|c| c == '-'))
}

/// The mark of a code fence and its length.
fn fence(line: &str) -> Option<(char, usize)> {
    let line = line.trim_start();
    let mark = line.chars().next().filter(|c| matches!(c, '`' | '~'))?;
    let length = line.chars().take_while(|c| *c == mark).count();
    let info: String = line.chars().skip(length).collect();
    (length >= 3 && !(mark == '`' && info.contains('`'))).then_some((mark, length))
}

fn close_fence(open: &mut Open, line: &str) {
    let Some((mark, length)) = open.fence else { return };
    let line = line.trim();
    if line.chars().count() >= length && line.chars().all(|c| c == mark) {
        open.fence = None;
    }
}

/// For each line of a paragraph, whether it begins outside code, links, comments and elements. What stays open is
/// noted.
fn plain_starts(paragraph: &[&str], open: &mut Open) -> Vec<bool> {
    let text: Vec<char> = paragraph.join("\n").chars().collect();
    let mut masked = vec![false; text.len()];
    let mut at = 0;
    while let Some(c) = text.get(at) {
        let rest = text.get(at..).unwrap_or_default();
        let length = match c {
            '\\' => 2,
            '`' => code_span(rest),
            '<' => {
                let length = html(rest, open);
                if open.is_comment || !open.elements.is_empty() {
                    // Everything up to the end of the comment or element, wherever that is.
                    let inner: String = rest.iter().skip(length).collect();
                    length + scan(&inner, open)
                } else {
                    length
                }
            }
            '[' => link(rest),
            _ => 1,
        };
        for mask in masked.iter_mut().skip(at + 1).take(length.saturating_sub(1)) {
            *mask = true;
        }
        at += length.max(1);
    }
    let mut starts = Vec::with_capacity(paragraph.len());
    let mut offset = 0;
    for line in paragraph {
        starts.push(!masked.get(offset).copied().unwrap_or(false));
        offset += line.chars().count() + 1;
    }
    starts
}

/// The length of a code span that begins here; of the backticks alone if nothing closes it.
fn code_span(rest: &[char]) -> usize {
    let ticks = rest.iter().take_while(|c| **c == '`').count();
    let mut at = ticks;
    while at < rest.len() {
        let run = rest.iter().skip(at).take_while(|c| **c == '`').count();
        if run == ticks {
            return at + run;
        }
        at += run.max(1);
    }
    ticks
}

/// The length of a link or an image's text that begins here, its address included; 1 if it is none.
fn link(rest: &[char]) -> usize {
    let mut depth = 0_usize;
    for (at, c) in rest.iter().enumerate() {
        match c {
            '[' => depth += 1,
            ']' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            let end = match rest.get(at + 1) {
                Some('(') => ')',
                Some('[') => ']',
                _ => return 1,
            };
            return rest.iter().skip(at).position(|c| *c == end).map_or(at + 1, |more| at + more + 1);
        }
    }
    1
}

/// The length of what begins with `<` here: the mark that opens a comment, a tag, or 1. Notes what it opens.
fn html(rest: &[char], open: &mut Open) -> usize {
    if rest.starts_with(&['<', '!', '-', '-']) {
        open.is_comment = true;
        return 4;
    }
    let is_closing = rest.get(1) == Some(&'/');
    let name_at = if is_closing { 2 } else { 1 };
    let name: String = rest
        .iter()
        .skip(name_at)
        .take_while(|c| c.is_ascii_alphanumeric())
        .collect::<String>()
        .to_lowercase();
    let Some(length) = rest.iter().position(|c| *c == '>').map(|end| end + 1) else { return 1 };
    let ends_well =
        rest.get(name_at + name.len()).is_some_and(|c| c.is_whitespace() || matches!(c, '>' | '/'));
    if !ends_well || !CONTAINERS.contains(&name.as_str()) {
        return 1;
    }
    let is_empty = length >= 2 && rest.get(length - 2) == Some(&'/');
    if is_closing {
        if let Some(at) = open.elements.iter().rposition(|each| *each == name) {
            open.elements.truncate(at);
        }
    } else if !is_empty {
        open.elements.push(name);
    }
    length
}

/// Follows comments and elements through a text until all are closed, or to its end. Returns how far it went, in
/// characters.
fn scan(text: &str, open: &mut Open) -> usize {
    let text: Vec<char> = text.chars().collect();
    let mut at = 0;
    while at < text.len() && (open.is_comment || !open.elements.is_empty()) {
        let rest = text.get(at..).unwrap_or_default();
        if open.is_comment {
            if rest.starts_with(&['-', '-', '>']) {
                open.is_comment = false;
                at += 3;
            } else {
                at += 1;
            }
        } else if rest.first() == Some(&'<') {
            at += html(rest, open);
        } else {
            at += 1;
        }
    }
    at
}
