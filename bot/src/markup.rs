//! How a platform shows what the terminal prints: the same words, and nothing in them does anything.
//!
//! A text may hold what people wrote: reasons, names, errors. So all that a platform would read as its own is made
//! plain; commands and request numbers stand in code, where no platform links, mentions or formats anything, and from
//! where they can be copied. A table stays one: all of it is code.

use crate::language::PREFIX;
use crate::words;

/// Whose way to write text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flavour {
    /// GitHub's Markdown.
    Github,
    /// Slack's mrkdwn.
    Slack,
    /// Discord's Markdown.
    Discord,
}

impl Flavour {
    /// The longest text that is sent, in characters: GitHub takes 65,536, a block of Slack 3,000, Discord 2,000, and
    /// the marks around it count.
    pub(crate) const fn most(self) -> usize {
        match self {
            Self::Github => 60_000,
            Self::Slack => 2_800,
            Self::Discord => 1_800,
        }
    }
}

/// A text as the platform takes it.
#[must_use]
pub fn render(text: &str, flavour: Flavour) -> String {
    render_within(text, flavour, flavour.most())
}

/// The same, where the platform takes another length.
#[must_use]
pub(crate) fn render_within(text: &str, flavour: Flavour, most: usize) -> String {
    let text = text.trim_end();
    let is_table = text.lines().count() > 8
        || text.lines().any(|line| line.starts_with(' ') || line.trim_end().contains("  "));
    let mut length = most;
    loop {
        let (kept, was_cut) = first(text, length);
        let mut shown = if is_table { block(&kept, flavour) } else { prose(&kept, flavour) };
        if was_cut {
            shown.push_str(words::cut());
        }
        // Escapes make it longer than it was.
        if shown.chars().count() <= most + 100 || length < 100 {
            return shown;
        }
        length = length * 3 / 4;
    }
}

fn first(text: &str, length: usize) -> (String, bool) {
    let was_cut = text.chars().count() > length;
    (text.chars().take(length).collect(), was_cut)
}

/// A block of code that nothing in it can end.
fn block(text: &str, flavour: Flavour) -> String {
    match flavour {
        Flavour::Slack => format!("```\n{}\n```", entities(text).replace("```", "`\u{200b}`\u{200b}`")),
        Flavour::Github | Flavour::Discord => {
            format!("```text\n{}\n```", text.replace("```", "`\u{200b}`\u{200b}`"))
        }
    }
}

fn entities(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn prose(text: &str, flavour: Flavour) -> String {
    let lines: Vec<String> = text.lines().map(|line| of_line(line, flavour)).collect();
    // A line's end is one.
    lines.join(if flavour == Flavour::Github { "  \n" } else { "\n" })
}

/// A line: what stands in backticks, a command, a request's number are code; the rest is plain.
fn of_line(line: &str, flavour: Flavour) -> String {
    let mut shown = String::new();
    let mut rest = line;
    while !rest.is_empty() {
        if let Some((inside, after)) = rest.strip_prefix('`').and_then(|rest| rest.split_once('`')) {
            shown.push_str(&code(inside, flavour));
            rest = after;
        } else if rest.starts_with(PREFIX) {
            shown.push_str(&code(rest, flavour));
            rest = "";
        } else if let Some(number) = request_number(rest) {
            shown.push_str(&code(number, flavour));
            rest = rest.strip_prefix(number).unwrap_or_default();
        } else {
            let mut chars = rest.chars();
            if let Some(c) = chars.next() {
                plain(c, flavour, &mut shown);
            }
            rest = chars.as_str();
        }
    }
    shown
}

/// `#41` at the beginning of a text.
fn request_number(text: &str) -> Option<&str> {
    let digits = text.strip_prefix('#')?.chars().take_while(char::is_ascii_digit).count();
    (digits > 0).then(|| text.get(..=digits)).flatten()
}

fn code(text: &str, flavour: Flavour) -> String {
    let text = text.replace('`', "'");
    let text = text.trim();
    match (text.is_empty(), flavour) {
        (true, _) => String::new(),
        (false, Flavour::Slack) => format!("`{}`", entities(text)),
        (false, Flavour::Github | Flavour::Discord) => format!("`{text}`"),
    }
}

fn plain(c: char, flavour: Flavour, shown: &mut String) {
    match (flavour, c) {
        (Flavour::Slack, '&') => shown.push_str("&amp;"),
        (Flavour::Slack, '<') => shown.push_str("&lt;"),
        (Flavour::Slack, '>') => shown.push_str("&gt;"),
        // A word that nobody's name or issue begins with.
        (Flavour::Github, '@' | '#') => {
            shown.push(c);
            shown.push_str("<!-- -->");
        }
        (Flavour::Slack | Flavour::Discord, '@') => shown.push_str("@\u{200b}"),
        // A lone backtick, or one of several: plain letters have no use for it.
        (_, '`') => shown.push('\''),
        (Flavour::Slack, '*' | '_' | '~') => {
            shown.push('\u{200b}');
            shown.push(c);
        }
        (
            Flavour::Github | Flavour::Discord,
            '\\' | '*' | '_' | '{' | '}' | '[' | ']' | '<' | '>' | '~' | '|' | '!' | '#' | '$',
        ) => {
            shown.push('\\');
            shown.push(c);
        }
        (_, other) => shown.push(other),
    }
}

#[cfg(test)]
mod tests {
    use super::{Flavour, render};

    #[test]
    fn commands_and_numbers_are_code() {
        let text =
            "Request #41: cutover of region_a. Say `/migrate status`.\nIt needs 2: /migrate approve #41";
        assert_eq!(
            render(text, Flavour::Github),
            "Request `#41`: cutover of region\\_a. Say `/migrate status`.  \nIt needs 2: `/migrate approve #41`"
        );
        assert_eq!(
            render(text, Flavour::Slack),
            "Request `#41`: cutover of region\u{200b}_a. Say `/migrate status`.\nIt needs 2: `/migrate approve #41`"
        );
    }

    #[test]
    fn case_29_nothing_that_people_wrote_does_anything() {
        let text =
            "ana denied it: “@everyone <!channel> <@U1> [x](http://e) **b** ![i](u) <img src=x> `` #7”";
        assert_eq!(
            render(text, Flavour::Github),
            "ana denied it: “@<!-- -->everyone \\<\\!channel\\> \\<@<!-- -->U1\\> \\[x\\](http://e) \\*\\*b\\*\\* \
             \\!\\[i\\](u) \\<img src=x\\>  `#7`”"
        );
        let slack = render(text, Flavour::Slack);
        assert!(!slack.contains('<') && slack.contains("&lt;!channel&gt;"), "{slack}");
        let discord = render(text, Flavour::Discord);
        assert!(!discord.contains("@everyone") && discord.contains("\\<"), "{discord}");
    }

    #[test]
    fn a_table_is_one_block_that_nothing_ends() {
        let table = "phase     status\nregion-a  new ```\n@here";
        let shown = render(table, Flavour::Github);
        assert!(shown.starts_with("```text\nphase     status\n") && shown.ends_with("@here\n```"), "{shown}");
        assert_eq!(shown.matches("```").count(), 2);
    }

    #[test]
    fn case_28_what_is_too_long_says_that_it_was_cut() {
        for flavour in [Flavour::Github, Flavour::Slack, Flavour::Discord] {
            for letter in ["a", "*"] {
                let shown = render(&letter.repeat(100_000), flavour);
                assert!(shown.chars().count() <= flavour.most() + 100, "{flavour:?} {letter}");
                assert!(shown.ends_with("shows all of it."), "{flavour:?} {letter}");
            }
        }
    }
}
