//! What cannot be meant is refused on its line; a plan that was adopted with it stays one.

use journal::Plan;

const START: &str = include_str!("../../config/plan.example.toml");

/// The plan to start from without its comments, with some of its text replaced.
fn with(old: &str, new: &str) -> String {
    assert!(START.contains(old), "{old}");
    START.replacen(old, new, 1)
}

/// One thing is told of a plan: on this line, with these words. Who adopted it before the rule keeps it.
#[track_caller]
fn refused(text: &str, line: &str, words: &str) {
    let found = Plan::parse(text).expect_err(line).0;
    assert_eq!(found.len(), 1, "{found:#?}");
    let at = text.lines().nth(found[0].line - 1).unwrap_or_default();
    assert!(at.contains(line), "on `{at}`: {found:#?}");
    assert!(found[0].what.contains(words), "{found:#?}");
    assert!(Plan::parse_adopted(text).is_ok(), "what was adopted stays: {text}");
}

/// A line of the plan to start from that begins so.
fn line(begins: &str) -> &'static str {
    START.lines().find(|line| line.starts_with(begins)).unwrap_or_else(|| panic!("{begins}"))
}

fn value(begins: &str) -> String {
    line(begins).split('"').nth(1).unwrap_or_default().to_owned()
}

#[test]
fn a_table_has_a_name_that_a_database_can_have_and_is_the_applications() {
    let tables = line("tables = ");
    let long = "a".repeat(64);
    let wide = "é".repeat(32);
    for (name, words) in [
        (format!("public.{long}"), "64 bytes: expected at most 63"),
        (format!("{long}.orders"), "the schema's name"),
        (format!("public.{wide}"), "64 bytes"),
        (format!("public.{long}*"), "64 bytes"),
        ("public.\\u0000x".to_owned(), "`public.\\u{0}x` holds a control character"),
        ("public.\\u001b[2J".to_owned(), "control character"),
        ("pg_catalog.pg_class".to_owned(), "PostgreSQL's own"),
        ("pg_toast.*".to_owned(), "PostgreSQL's own"),
        ("information_schema.tables".to_owned(), "PostgreSQL's own"),
        ("_switchyard.*".to_owned(), "Switchyard's own"),
    ] {
        refused(&with(tables, &format!("tables = [\"{name}\"]")), "tables", words);
    }
    let fits = with(tables, &format!("tables = [\"public.{}\", \"pgx.a\"]", "a".repeat(63)));
    assert!(Plan::parse(&fits).is_ok());
    let filters = format!("tables = [\"public.*\"]\nfilters = {{ \"public.{long}\" = \"a = 1\" }}");
    refused(&with(tables, &filters), "filters", "64 bytes");
}

#[test]
fn the_databases_and_the_journal_are_three() {
    let (source, target) = (line("source = "), line("target = "));
    let reference = value("source = ");
    refused(&with(target, &format!("target = \"{reference}\"")), "target", "both are one database");
    let files = with(source, "source = \"file:a/b\"").replacen(target, "target = \"file:./a/./b\"", 1);
    refused(&files, "target", "both are one database");
    for side in ["source = ", "target = "] {
        let text = with(line("url = "), &format!("url = \"{}\"", value(side)));
        refused(&text, "url", "the journal's `url` is the same reference as");
    }
}

#[test]
fn the_witness_is_a_file_of_its_own() {
    let url = line("url = ");
    let with_witness = |more: &str| {
        let kept =
            START.lines().filter(|line| !line.starts_with("witness") && !line.starts_with("signing_key"));
        let text: String = kept.map(|line| format!("{line}\n")).collect();
        text.replacen(url, &format!("url = \"sqlite:shop.journal\"\n{more}"), 1)
    };
    refused(
        &with_witness("signing_key = \"env:K\"\nwitness = \"./shop.journal\""),
        "witness",
        "the journal's own file",
    );
    refused(
        &with_witness("signing_key = \"file:shop.key\"\nwitness = \"shop.key\""),
        "witness",
        "the file of the signing key",
    );
    assert!(Plan::parse(&with_witness("signing_key = \"file:k\"\nwitness = \"witness.txt\"")).is_ok());
}

#[test]
fn a_window_is_for_a_phase_and_closes() {
    let window =
        |rest: &str| format!("{START}\n[[window]]\nkind = \"frozen\"\ncron = \"0 22 * * FRI\"\n{rest}\n");
    refused(&window("lasts = \"4h\"\nphases = []"), "phases", "leave `phases` out for all");
    refused(&window("lasts = \"8785h\""), "lasts", "at most 8784h");
    assert!(Plan::parse(&window("lasts = \"8784h\"")).is_ok());
}

#[test]
fn a_filter_is_in_the_language_that_is_documented() {
    let tables = line("tables = ");
    for (filter, words) in [
        ("x == 1", "expected `=`"),
        ("x NOT NULL", "expected `IS NOT NULL`"),
        ("y = 1 AND x not null", "expected `IS NOT NULL`"),
        ("x NOTNULL", "expected `IS NOT NULL`"),
    ] {
        refused(&with(tables, &format!("{tables}\nfilter = \"{filter}\"")), "filter", words);
    }
    for filter in ["x IS NOT NULL", "NOT x IS NULL", "x = '== NOT NULL'", "\\\"notnull\\\" = 1"] {
        let plan = Plan::parse(&with(tables, &format!("{tables}\nfilter = \"{filter}\"")));
        assert!(plan.is_ok(), "{filter}: {plan:?}");
    }
}

/// What is told of a plan with a line after its tables.
fn told(more: &str) -> String {
    let tables = line("tables = ");
    Plan::parse(&with(tables, &format!("{tables}\n{more}"))).expect_err(more).to_string()
}

#[test]
fn what_is_not_understood_is_told_in_words() {
    let none = told("lag_limit = \"0s\"");
    assert!(none.contains("expected more than zero"), "{none}");
    let digits = told("lag_limit = \"99999999999999999999s\"");
    assert!(digits.contains("expected fewer digits"), "{digits}");
    let end = told("filter = \"x = \"");
    assert!(end.contains("the end of the filter") && !end.contains("EOF"), "{end}");
    for (cron, words) in [
        ("0 22 * * FRI-MON", "the day of week `FRI-MON` is not understood"),
        ("0 25 * * *", "the hour `25` is not understood, expected 0 to 23"),
    ] {
        let window = format!("{START}\n[[window]]\nkind = \"frozen\"\nlasts = \"4h\"\ncron = \"{cron}\"\n");
        let found = Plan::parse(&window).expect_err(cron).to_string();
        assert!(found.contains(words) && !found.contains("Component"), "{found}");
    }
    let control = told("frob\u{202e}ulate = 1");
    assert!(!control.contains('\u{202e}'), "{control}");
}

#[test]
fn a_key_that_stands_there_twice_is_named_and_nothing_follows_from_it() {
    let text = include_str!("../../config/plan.full.toml");
    assert!(text.contains("\nfilter = "));
    let found = Plan::parse(&text.replace("\nfilter = ", "\nfilters = ")).expect_err("twice").to_string();
    assert!(found.contains("the key `filters` stands here for the second time"), "{found}");
    assert!(!found.contains("cannot share a table"), "{found}");
}
