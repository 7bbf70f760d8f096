//! The one command language: the same words in the terminal, in a pull request, in a chat.
//!
//! A line is a command if it begins with `/migrate`; in the terminal the word may be left out. What a command may
//! say is in [`Command`]; how it is read is in `line`; where a text holds commands at all is in `markdown`.

mod command;
mod line;
mod markdown;
mod nearest;
mod problem;
#[cfg(test)]
mod tests;

pub use command::{Command, Object, Opt, Verb};
pub use nearest::nearest;
pub use problem::Problem;

/// The word that begins a command.
pub const PREFIX: &str = "/migrate";

/// How many commands one text may hold.
pub const MOST_COMMANDS: usize = 20;

/// What a text is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// Each line is a command, with or without `/migrate`.
    Terminal,
    /// Lines that begin with `/migrate` and are plain text by Markdown's rules.
    Markdown,
}

/// A line that is a command, or was meant as one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heard {
    /// Its line in the text, from 1.
    pub line: usize,
    /// What it says, or why that cannot be told.
    pub said: Result<Command, Problem>,
}

/// All commands of a text, in their order. Never fails: what cannot be read is in its place.
#[must_use]
pub fn read(text: &str, dialect: Dialect) -> Vec<Heard> {
    let lines: Vec<(usize, &str)> = match dialect {
        Dialect::Terminal => text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()).collect(),
        Dialect::Markdown => markdown::command_lines(text),
    };
    let mut heard: Vec<Heard> = lines
        .iter()
        .take(MOST_COMMANDS)
        .map(|(index, line)| Heard { line: index + 1, said: line::parse(line) })
        .collect();
    if let Some((index, _)) = lines.get(MOST_COMMANDS) {
        heard.push(Heard { line: index + 1, said: Err(Problem::TooMany) });
    }
    heard
}
