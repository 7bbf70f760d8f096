//! What the documents promise is what the program does.
#![allow(
    clippy::allow_attributes,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "tests"
)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// Every code that stands in the program's own source.
fn codes() -> BTreeSet<String> {
    let mut files = Vec::new();
    for folder in ["journal/src", "journal/store/src", "runtime/src", "executors/src", "bot/src"] {
        sources(&root().join(folder), &mut files);
    }
    let mut codes = BTreeSet::new();
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        for (at, _) in text.match_indices("SW-") {
            let digits: String = text[at + 3..].chars().take_while(char::is_ascii_digit).collect();
            if digits.len() == 4 && digits != "0012" {
                codes.insert(format!("SW-{digits}"));
            }
        }
    }
    codes
}

#[test]
fn every_code_has_its_paragraph() {
    let text = std::fs::read_to_string(root().join("docs/errors.md")).unwrap();
    let missing: Vec<String> =
        codes().into_iter().filter(|code| !text.contains(&format!("**{code}**"))).collect();
    assert!(missing.is_empty(), "docs/errors.md has no paragraph that begins with: {missing:?}");
}

#[test]
fn every_source_that_a_page_names_is_there() {
    let mut missing = Vec::new();
    for page in std::fs::read_dir(root().join("docs")).unwrap() {
        let page = page.unwrap().path();
        let text = std::fs::read_to_string(&page).unwrap_or_default();
        let named =
            text.split('`').skip(1).step_by(2).filter(|word| word.ends_with(".rs") && word.contains('/'));
        missing.extend(
            named.filter(|name| !root().join(name).is_file()).map(|name| (page.clone(), name.to_owned())),
        );
    }
    assert!(missing.is_empty(), "pages name what is not there: {missing:?}");
}

#[test]
fn the_manual_shows_the_help_as_the_program_prints_it() {
    let mut text = String::from(
        "# The command line\n\nThis page is the program's own `--help`, verb by verb; a test keeps it so.\n\
         What people say to a running server is in the help of `switchyard chat --as PERSON help`.\n",
    );
    for verb in [
        "",
        "serve",
        "chat",
        "status",
        "doctor",
        "journal",
        "journal show",
        "journal tail",
        "journal export",
        "journal checkpoint",
        "journal check",
        "journal key",
        "journal key new",
        "journal key show",
        "plan",
        "plan check",
        "plan init",
        "plan show",
        "plan diff",
        "plan adopt",
        "bot",
        "bot check",
        "discord",
        "discord register",
        "people",
        "people check",
        "token",
        "token new",
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_switchyard"));
        let out = command.args(verb.split_whitespace()).arg("--help").env_clear().output().unwrap();
        let help = String::from_utf8(out.stdout).unwrap();
        let lines: Vec<&str> = help.lines().map(str::trim_end).collect();
        let title = format!("switchyard {verb}");
        text.push_str(&format!(
            "\n## `{}`\n\n```text\n{}\n```\n",
            title.trim_end(),
            lines.join("\n").trim_end()
        ));
    }
    let kept = root().join("docs/cli.md");
    if std::fs::read_to_string(&kept).unwrap_or_default() != text {
        let new = kept.with_extension("md.new");
        std::fs::write(&new, text).unwrap();
        panic!("the help changed: compare {} with docs/cli.md, and rename it if it is right", new.display());
    }
}
