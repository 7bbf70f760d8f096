//! What is wrong in a plan's file, with the line that it stands on.

use std::path::Path;

use journal::{PlanProblem, PlanProblems};

/// Everything wrong in a plan's file, each with its place and its line.
#[must_use]
pub fn problems(file: &Path, text: &str, problems: &PlanProblems) -> String {
    let mut told = blocks(file, text, &problems.0, "");
    let count = problems.0.len();
    let plural = if count == 1 { "problem" } else { "problems" };
    told.push_str(&format!("{} has {count} {plural}, and is not used.", file.display()));
    told
}

/// What the databases have against a plan that is right by itself.
#[must_use]
pub fn in_the_way(file: &Path, text: &str, problems: &[PlanProblem]) -> String {
    format!("{}{}", blocks(file, text, problems, ""), super::super::live_count(problems.len()))
}

/// What a person should know of a plan that is right.
#[must_use]
pub fn warnings(file: &Path, text: &str, warnings: &[PlanProblem]) -> String {
    blocks(file, text, warnings, "warning: ").trim_end().to_owned()
}

fn blocks(file: &Path, text: &str, problems: &[PlanProblem], mark: &str) -> String {
    problems.iter().map(|problem| block(file, text, problem, mark)).collect()
}

/// One thing, with its place and its line, and an empty line after it.
pub(in crate::words) fn block(file: &Path, text: &str, problem: &PlanProblem, mark: &str) -> String {
    let PlanProblem { line, column, what, suggestion } = problem;
    let mut told = format!("{}:{line}:{column}: {mark}{what}\n", file.display());
    let number = line.to_string();
    let gutter = " ".repeat(number.len());
    if let Some(source) = journal::plan::shown(text, *line).filter(|line| !line.trim().is_empty()) {
        let before = source.chars().take(column.saturating_sub(1));
        // Under a tab stands a tab, so that the mark is where the letter is.
        let space: String = before.map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
        told.push_str(&format!("  {number} | {source}\n  {gutter} | {space}^\n"));
    }
    if let Some(meant) = suggestion {
        told.push_str(&format!("  {gutter} help: did you mean `{meant}`?\n"));
    }
    told.push('\n');
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_in_the_plan_is_not_shown() {
        let text =
            "[journal]\nurl = \"postgres://mover:hunter2@h/d\"\nfrob = \"postgres://mover:hunter2@h/d\"\n";
        let Err(found) = journal::Plan::parse(text) else { panic!("no plan") };
        let told = problems(Path::new("p.toml"), text, &found);
        assert!(told.contains("p.toml:2:7: ") && told.contains("  2 | url = …\n"), "{told}");
        assert!(told.contains("p.toml:3:1: ") && told.contains("  3 | frob = …\n"), "{told}");
        assert!(!told.contains("hunter2"), "{told}");
    }

    #[test]
    fn the_mark_stands_under_the_letter() {
        let text = "[journal]\n\turl = \"sqlite:é\"; lese\n";
        let problem =
            PlanProblem { line: 2, column: 20, what: "no".to_owned(), suggestion: Some("lease".to_owned()) };
        let told = warnings(Path::new("p.toml"), &text.replace("url", "why"), &[problem]);
        assert_eq!(
            told,
            "p.toml:2:20: warning: no\n  2 | \twhy = \"sqlite:é\"; lese\n    | \t                  ^\n    help: did you mean `lease`?"
        );
    }
}
