//! What somebody wrote into a plan by mistake is in no message, no suggestion, and no line that is shown.

use journal::Plan;
use journal::plan::shown;

const START: &str = include_str!("../../config/plan.example.toml");
const SECRET: &str = "Hunter2Sekret";

/// All that is said of a plan, with the lines it is said of.
fn told(text: &str) -> String {
    let found = Plan::read(text).expect_err("it is no plan").0;
    assert!(!found.is_empty());
    found
        .iter()
        .map(|problem| format!("{problem}\n{}\n", shown(text, problem.line).unwrap_or_default()))
        .collect()
}

/// The plan to start from, with another line in place of the one that begins so.
fn with(begins: &str, by: &str) -> String {
    assert!(START.lines().any(|line| line.starts_with(begins)), "{begins}");
    START
        .lines()
        .map(|line| if line.starts_with(begins) { by } else { line })
        .map(|line| format!("{line}\n"))
        .collect()
}

#[test]
fn the_value_of_a_key_that_holds_a_secret_is_never_shown() {
    for (begins, by) in [
        ("source = ", "sorce = \"Hunter2Sekret\""),
        ("source = ", "source = \"$Hunter2Sekret\""),
        ("source = ", "source = [\"Hunter2Sekret\"]"),
        ("source = ", "\"source\" = \"Hunter2Sekret\""),
        ("source = ", "source \"Hunter2Sekret\""),
        ("source = ", "source = \"\"\"\nHunter2Sekret\"\"\""),
        ("source = ", "frob = 1\n\"postgres://bob:Hunter2Sekret@db.example.com:5432/shop\" = \"x\""),
        ("source = ", "\"postgres://bob:a b Hunter2Sekret@db.example.com:5432/shop\" = \"x\""),
        ("source = ", "frob = \"postgres://bob:Hunter2Sekret@db/shop\""),
        ("[migration]", "migration = { naem = \"shop\", source = \"Hunter2Sekret\" }\n[migration]"),
        ("url = ", "url = \"Hunter2Sekret\""),
        ("url = ", "url = \"sqllite:Hunter2Sekret\""),
        ("url = ", "ulr = \"Hunter2Sekret\""),
        ("url = ", "url = \"sqlite:x.db\"\nsigning_kye = \"Hunter2Sekret\""),
        ("local_token_sha256 = ", "local_token_sha256 = \"Hunter2Sekret\""),
    ] {
        let found = told(&with(begins, by));
        assert!(!found.contains(SECRET), "{by}:\n{found}");
    }
    let number = told(&with("source = ", "source = 271828182"));
    assert!(!number.contains("271828182"), "{number}");
    let inline = "migration = { naem = \"shop\", source = \"Hunter2Sekret\", target = \"env:B\" }\n";
    assert!(!told(inline).contains(SECRET), "{}", told(inline));
}

#[test]
fn a_token_is_not_guessed_at() {
    let digits = "2AEEFB4CC9EF30FEF9DD4AD8D0B42C18EF24AE43B8B5B83F8D8EC6A2D2D48A31";
    let found = told(&with("local_token_sha256 = ", &format!("local_token_sha256 = \"{digits}\"")));
    assert!(!found.to_lowercase().contains(&digits.to_lowercase()), "{found}");
}

#[test]
fn a_line_without_a_secret_is_shown_as_it_is() {
    for line in [
        "naem = \"shop\"",
        "  tables = [\"shop.source\", \"shop.target\"]",
        "[journal]",
        "cron = \"0 22 * * FRI\"",
        "ini = \"pgbouncer.ini\"",
        "filter = \"region = 'eu'\"",
        "resume = [\"x\"]",
    ] {
        assert_eq!(shown(line, 1).as_deref(), Some(line));
    }
    assert_eq!(shown("sorce = \"x\"", 1).as_deref(), Some("sorce = …"));
    assert_eq!(shown("a = { source = \"x\" }", 1).as_deref(), Some("a = { source = …"));
    assert_eq!(shown("", 7), None);
}
