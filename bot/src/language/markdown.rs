//! Which lines of a Markdown text are plain text.
//!
//! A command that is quoted, shown as code, commented out or linked was not said. The rules are CommonMark's, and where
//! they leave a doubt the line is text: a command that was not heard is said again, one that nobody said is not
//! taken back. So a line right below a quote belongs to it (mail programs wrap quoted lines), a heading is text, and
//! everything within an HTML element is.
//!
//! Anybody may comment, and every comment is read: so no text, however it is made up, takes longer than its length allows.
//! What ends a bracket or a tag is looked up, not searched for from each of their beginnings.

use std::collections::BTreeMap;

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
    /// The elements, by their place among [`CONTAINERS`].
    elements: Vec<usize>,
    /// How many of each there are.
    counts: BTreeMap<usize, usize>,
}

impl Open {
    const fn is_open(&self) -> bool {
        self.is_comment || !self.elements.is_empty()
    }

    fn push(&mut self, element: usize) {
        self.elements.push(element);
        *self.counts.entry(element).or_default() += 1;
    }

    /// Closes the newest of an element, and all within it.
    fn close(&mut self, element: usize) {
        while self.counts.get(&element).is_some_and(|count| *count > 0) {
            let Some(newest) = self.elements.pop() else { return };
            if let Some(count) = self.counts.get_mut(&newest) {
                *count -= 1;
            }
            if newest == element {
                return;
            }
        }
    }
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
        } else if open.is_open() {
            let line: Vec<char> = line.chars().collect();
            scan(&line, last_end(&line), &mut open);
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
    let (links, runs, last_end) = (Links::of(&text), tick_runs(&text), last_end(&text));
    let mut masked = vec![false; text.len()];
    let mut at = 0;
    while let Some(c) = text.get(at) {
        let rest = text.get(at..).unwrap_or_default();
        let length = match c {
            '\\' => 2,
            '`' => code_span(rest, at, &runs),
            '<' => {
                let length = html(rest, last_end.is_some_and(|end| end >= at), open);
                // Everything up to the end of the comment or element, wherever that is.
                let inner = rest.get(length..).unwrap_or_default();
                let end = last_end.and_then(|end| end.checked_sub(at + length));
                length + if open.is_open() { scan(inner, end, open) } else { 0 }
            }
            '[' => links.length(&text, at),
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

/// Where the last mark stands that could end a tag.
fn last_end(text: &[char]) -> Option<usize> {
    text.iter().rposition(|c| *c == '>')
}

/// Where runs of backticks begin, by their length.
fn tick_runs(text: &[char]) -> BTreeMap<usize, Vec<usize>> {
    let mut runs: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    let mut at = 0;
    while at < text.len() {
        let run = text.iter().skip(at).take_while(|c| **c == '`').count();
        if run > 0 {
            runs.entry(run).or_default().push(at);
        }
        at += run.max(1);
    }
    runs
}

/// The length of a code span that begins here, at this place of the text; of the backticks alone if nothing closes it.
fn code_span(rest: &[char], at: usize, runs: &BTreeMap<usize, Vec<usize>>) -> usize {
    let ticks = rest.iter().take_while(|c| **c == '`').count();
    let alike = runs.get(&ticks).map(Vec::as_slice).unwrap_or_default();
    let next = alike.partition_point(|start| *start < at + ticks);
    alike.get(next).map_or(ticks, |end| end + ticks - at)
}

/// Where brackets end, and addresses.
struct Links {
    /// For each character, the bracket that closes it if it opens one.
    closing: Vec<Option<usize>>,
    /// For each character, the first parenthesis that closes one from there on.
    parenthesis: Vec<Option<usize>>,
}

impl Links {
    fn of(text: &[char]) -> Self {
        let mut closing = vec![None; text.len()];
        let mut opened = Vec::new();
        for (at, c) in text.iter().enumerate() {
            match c {
                '[' => opened.push(at),
                ']' => {
                    if let Some(place) = opened.pop().and_then(|start| closing.get_mut(start)) {
                        *place = Some(at);
                    }
                }
                _ => {}
            }
        }
        let mut parenthesis = vec![None; text.len()];
        let mut next = None;
        for (at, (c, place)) in text.iter().zip(&mut parenthesis).enumerate().rev() {
            if *c == ')' {
                next = Some(at);
            }
            *place = next;
        }
        Self { closing, parenthesis }
    }

    /// The length of a link or an image's text that begins here, its address included; 1 if it is none.
    fn length(&self, text: &[char], start: usize) -> usize {
        let Some(end) = self.closing.get(start).copied().flatten() else { return 1 };
        let to = |end: usize| end - start + 1;
        match text.get(end + 1) {
            Some('(') => to(self.parenthesis.get(end).copied().flatten().unwrap_or(end)),
            Some('[') => to(end),
            _ => 1,
        }
    }
}

/// The length of what begins with `<` here: the mark that opens a comment, a tag, or 1. Notes what it opens. Without an end
/// behind it nothing is a tag.
fn html(rest: &[char], has_end: bool, open: &mut Open) -> usize {
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
        // No element's name is longer.
        .take(16)
        .collect::<String>()
        .to_lowercase();
    let ends_well =
        rest.get(name_at + name.len()).is_some_and(|c| c.is_whitespace() || matches!(c, '>' | '/'));
    let element = CONTAINERS.iter().position(|known| *known == name);
    let Some(element) = element.filter(|_| ends_well && has_end) else { return 1 };
    let Some(length) = rest.iter().position(|c| *c == '>').map(|end| end + 1) else { return 1 };
    let is_empty = length >= 2 && rest.get(length - 2) == Some(&'/');
    if is_closing {
        open.close(element);
    } else if !is_empty {
        open.push(element);
    }
    length
}

/// Follows comments and elements through a text until all are closed, or to its end. Returns how far it went, in
/// characters.
fn scan(text: &[char], last_end: Option<usize>, open: &mut Open) -> usize {
    let mut at = 0;
    while at < text.len() && open.is_open() {
        let rest = text.get(at..).unwrap_or_default();
        if open.is_comment {
            if rest.starts_with(&['-', '-', '>']) {
                open.is_comment = false;
                at += 3;
            } else {
                at += 1;
            }
        } else if rest.first() == Some(&'<') {
            at += html(rest, last_end.is_some_and(|end| end >= at), open);
        } else {
            at += 1;
        }
    }
    at
}
