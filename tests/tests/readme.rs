//! The demo's output in the README is true: a fresh demo prints the same story, with other figures.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

const BEGIN: &str = "<!-- demo output begins -->";
const END: &str = "<!-- demo output ends -->";

/// A line without its figures: every number is one sign, every run of blanks one blank.
fn shape(line: &str) -> String {
    let mut out = String::new();
    for sign in line.chars() {
        let sign = match sign {
            '0'..='9' => '#',
            ',' | '.' if out.ends_with('#') => '#',
            other if other.is_whitespace() => ' ',
            other => other,
        };
        if !((sign == '#' && out.ends_with('#')) || (sign == ' ' && out.ends_with(' '))) {
            out.push(sign);
        }
    }
    out.trim().to_owned()
}

/// The story's lines in shape, and the closing line.
fn parts(output: &str) -> Result<(Vec<String>, Value)> {
    let mut lines: Vec<&str> = output.lines().filter(|line| !line.trim().is_empty()).collect();
    let closing = lines.pop().context("the output is empty")?;
    let closing = serde_json::from_str(closing).with_context(|| format!("the last line is {closing}"))?;
    Ok((lines.into_iter().map(shape).collect(), closing))
}

fn keys(value: &Value) -> Vec<String> {
    let mut keys = Vec::new();
    if let Some(object) = value.as_object() {
        for (key, inner) in object {
            keys.push(key.clone());
            keys.extend(self::keys(inner).into_iter().map(|deeper| format!("{key}.{deeper}")));
        }
    }
    keys
}

#[tokio::test]
async fn the_readme_shows_what_the_demo_prints() -> Result<()> {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md");
    let readme = std::fs::read_to_string(readme)?;
    let shown = readme.split(BEGIN).nth(1).and_then(|rest| rest.split(END).next());
    let shown = shown.context("README.md has no demo output between its markers")?;
    let shown: String =
        shown.lines().filter(|line| !line.starts_with("```")).map(|line| format!("{line}\n")).collect();
    let (story, closing) = parts(&shown)?;

    let mut demo = tokio::process::Command::new(env!("CARGO_BIN_EXE_demo"));
    demo.stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(Duration::from_secs(400), demo.output()).await??;
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(output.status.success(), "the demo failed:\n{printed}");
    let (fresh_story, fresh) = parts(&printed)?;
    ensure!(fresh_story == story, "the README's story is not the demo's, which is now:\n{printed}");
    ensure!(keys(&fresh) == keys(&closing), "the closing lines have other keys:\n{fresh}\n{closing}");
    for line in [&fresh, &closing] {
        let none = |key: &str| line.get(key).and_then(Value::as_u64) == Some(0);
        let ok = line.get("demo").and_then(Value::as_str) == Some("ok");
        ensure!(ok && none("lost_writes") && none("extra_rows"), "{line}");
    }
    Ok(())
}
