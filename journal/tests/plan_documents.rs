//! Every key that a plan may have is explained.

const PAGE: &str = include_str!("../../docs/plan.md");
const FULL: &str = include_str!("../../config/plan.full.toml");

#[test]
fn the_page_has_every_key_in_its_own_section_and_no_other() {
    let mut rows = Vec::new();
    let mut title = "";
    for line in PAGE.lines() {
        if let Some(heading) = line.strip_prefix("## ") {
            title = heading.trim_matches('`');
        } else if let Some(rest) = line.strip_prefix("| `") {
            rows.push((title, rest.split('`').next().unwrap()));
        }
    }
    let keys: Vec<_> = journal::plan::keys().into_iter().filter(|(title, _)| *title != "the plan").collect();
    assert!(keys.len() > 50);
    for key in &keys {
        assert!(rows.contains(key), "docs/plan.md has no row for {key:?}");
    }
    for row in &rows {
        assert!(keys.contains(row), "docs/plan.md has a row for {row:?}, which no plan may have");
    }
}

#[test]
fn the_full_example_has_every_key() {
    let code = |line: &'static str| line.strip_prefix("# ").unwrap_or(line);
    for (title, key) in journal::plan::keys() {
        let said = FULL.lines().map(code).any(|line| {
            line.split_once('=').is_some_and(|(name, _)| name.trim() == key)
                || line.starts_with(&format!("[{key}]"))
                || line.starts_with(&format!("[{key}."))
                || line.starts_with(&format!("[[{key}]]"))
                || line.contains(&format!(".{key}]"))
        });
        assert!(said, "config/plan.full.toml has no `{key}` of {title}");
    }
}
