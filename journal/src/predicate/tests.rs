use std::collections::BTreeMap;

use super::*;

fn text(given: &str) -> String {
    Predicate::parse(given)
        .map_or_else(|problem| format!("{} at {}", problem.what, problem.at), |p| p.to_string())
}

fn problem(given: &str) -> PredicateProblem {
    Predicate::parse(given).expect_err(given)
}

fn disjoint(one: &str, other: &str) -> bool {
    let (one, other) = (Predicate::parse(one).expect(one), Predicate::parse(other).expect(other));
    assert_eq!(one.disjoint(&other), other.disjoint(&one), "{one} | {other}");
    one.disjoint(&other)
}

#[test]
fn the_canonical_text_keeps_the_meaning_alone() {
    for (given, canonical) in [
        ("region='eu'", "region = 'eu'"),
        ("REGION  =\n 'EU'", "region = 'EU'"),
        ("((a) = (1))", "a = 1"),
        ("5 < a", "a > 5"),
        ("a != -007.50", "a <> -7.5"),
        ("a = +.5 or a = -0.0", "a = 0.5 OR a = 0"),
        ("a = 1 and (b = 2 and c = 3)", "a = 1 AND b = 2 AND c = 3"),
        ("a = 1 and (b = 2 or c = 3)", "a = 1 AND (b = 2 OR c = 3)"),
        ("a = 1 and b = 2 or c = 3", "(a = 1 AND b = 2) OR c = 3"),
        ("not a = 1 and b is null", "NOT (a = 1) AND b IS NULL"),
        ("not (not a in (1,2))", "NOT (NOT (a IN (1, 2)))"),
        ("\"Region\" not in ('it''s', 'x')", "\"Region\" NOT IN ('it''s', 'x')"),
        ("\"region\" is not null", "region IS NOT NULL"),
        ("\"user\" = true", "\"user\" = TRUE"),
        ("d not between '2024-01-01' and '2024-02-01'", "d NOT BETWEEN '2024-01-01' AND '2024-02-01'"),
        ("s = 'a\\b'", "s = 'a\\b'"),
        ("größe = 1", "\"größe\" = 1"),
    ] {
        assert_eq!(text(given), canonical);
        assert_eq!(text(canonical), canonical);
    }
}

#[test]
fn what_the_language_has_not_is_refused_by_name_at_its_place() {
    for (given, at, what) in [
        ("a = lower('X')", 4, "a function"),
        ("a = 1 AND b = now()", 14, "a function"),
        ("a IN (SELECT 1)", 0, "a subquery"),
        ("EXISTS (SELECT 1)", 8, "a subquery"),
        ("a = 1::bigint", 4, "a type written beside a value"),
        ("a = CAST('1' AS int)", 9, "a type written beside a value"),
        ("d = DATE '2024-01-01'", 9, "a type written beside a value"),
        ("a LIKE 'x%'", 0, "a match against a pattern"),
        ("a + 1 = 2", 0, "this operator"),
        ("a || 'x' = 'y'", 0, "this operator"),
        ("a ~ 'x'", 0, "the operator `~`"),
        ("a = b", 4, "not with another column"),
        ("1 = 1", 4, "not with another literal"),
        ("a = $1", 4, "the parameter `$1`"),
        ("a = 1 -- all", 6, "no comments"),
        ("a = /* x */ 1", 4, "no comments"),
        ("t.a = 1", 0, "a column with its table's name"),
        ("a = NULL", 4, "equal to NULL"),
        ("a IN (1, NULL)", 9, "equal to NULL"),
        ("a", 0, "a column alone"),
        ("TRUE", 0, "a literal alone"),
        ("a IS TRUE", 0, "IS TRUE"),
        ("a = \"b\"", 4, "another column"),
        ("a IN (b)", 6, "expected a literal"),
        ("a = E'x'", 4, "this kind of literal"),
        ("a = 1e5", 4, "no plain decimal"),
        ("a = 1 b = 2", 6, "ends before `b`"),
        ("a IS DISTINCT FROM 1", 0, "IS DISTINCT FROM"),
        ("user = 'x'", 0, "a function"),
        ("a = CASE WHEN TRUE THEN 1 END", 4, "CASE"),
        ("a = 'x", 4, "unterminated"),
        ("ä = 'ö' AND b = $1", 18, "the parameter"),
    ] {
        let problem = problem(given);
        assert!(problem.what.contains(what), "{given}: {problem:?}");
        assert_eq!(problem.at, at, "{given}: {problem:?}");
    }
    assert_eq!(problem("t.region = 'x'").suggestion.as_deref(), Some("region"));
    assert_eq!(problem("a = NULL").suggestion.as_deref(), Some("IS NULL"));
    assert!(problem(&format!("{}a = 1{}", "(".repeat(200), ")".repeat(200))).what.contains("nested"));
    assert!(problem(&format!("a = '{}'", "x".repeat(20_000))).what.contains("longer"));
    assert!(problem(&format!("{}a = 1", "NOT ".repeat(40))).what.contains("nested"));
    problem("");
}

#[test]
fn a_long_chain_is_read() {
    let chain = (0..256).map(|n| format!("a={n}")).collect::<Vec<_>>().join(" OR ");
    let chain = Predicate::parse(&chain).expect("a chain within the limit");
    assert_eq!(Predicate::parse(&chain.to_string()).expect("its text"), chain);
    assert!(!chain.disjoint(&chain));
}

#[test]
fn a_chain_that_no_stack_would_hold_is_refused_where_it_goes_too_far() {
    for link in [" OR a=1", "+a", "::int", " IS NULL", " COLLATE x"] {
        let within = format!("a{}", link.repeat(300));
        // Whether it is a filter is another matter; that it is looked at to its end is not.
        let _read = Predicate::parse(&within);
        let problem =
            Predicate::parse(&format!("a{}", link.repeat(1030))).expect_err("longer than any stack");
        assert!(problem.what.contains("more than 1024 words and signs"), "{link}: {}", problem.what);
    }
    let list = (0..2500).map(|n| n.to_string()).collect::<Vec<_>>().join(",");
    Predicate::parse(&format!("a IN ({list})")).expect("a list may be long");
}

#[test]
fn slices_that_differ_in_one_column_are_disjoint() {
    for (one, other) in [
        ("region = 'eu'", "region = 'us'"),
        ("region = 'eu' AND a > 1", "a < 100 AND region IN ('us', 'asia')"),
        ("region = 'eu'", "region <> 'eu'"),
        ("region = 'eu'", "region IS NULL"),
        ("region = 'eu'", "NOT (region = 'eu' OR b = 2)"),
        ("region IN ('eu', 'us')", "region NOT IN ('eu', 'us', 'x')"),
        ("region = 'eu' OR region = 'us'", "region = 'asia' OR region IS NULL"),
        ("a < 10", "a >= 10"),
        ("a < 10", "a BETWEEN 10 AND 20"),
        ("a BETWEEN 1 AND 5", "a NOT BETWEEN 0 AND 6"),
        ("a <= 10 AND a <> 10", "a >= 10"),
        ("a > 9.5", "a < 9.50"),
        ("b = TRUE", "b = FALSE"),
        ("b <> TRUE", "b <> FALSE"),
        ("b IS NOT NULL", "b IS NULL"),
        ("b IS NULL", "NOT (b IS NULL)"),
        ("d < '2024-01-01'", "d >= '2024-01-01'"),
        ("d BETWEEN '2024-01-01' AND '2024-01-31'", "d BETWEEN '2024-02-01' AND '2024-02-29'"),
        ("u = '0e37df36-f698-11e6-8dd4-cb9ced3df976'", "u = '1e37df36-f698-11e6-8dd4-cb9ced3df976'"),
    ] {
        assert!(disjoint(one, other), "{one} | {other}");
    }
}

#[test]
fn what_no_type_decides_is_not_proven() {
    for (one, other) in [
        ("region = 'eu'", "region = 'eu'"),
        ("region = 'eu'", "tenant = 'us'"),
        ("region = 'eu'", "region IS NOT NULL"),
        ("a < 10", "a <= 9"),
        // Nothing lies between them in an integer; a numeric has room.
        ("a > 1", "a < 2"),
        // One value of a character column.
        ("s = 'x'", "s = 'x '"),
        // One UUID.
        ("u = '0e37df36-f698-11e6-8dd4-cb9ced3df976'", "u = '0E37DF36-F698-11E6-8DD4-CB9CED3DF976'"),
        // One bytea.
        ("b = '\\xff'", "b = '\\xFF'"),
        // One moment.
        ("t = '2024-01-01 00:00:00Z'", "t = '2024-01-01 01:00:00+01'"),
        ("t = '2024-01-01'", "t = '2024-01-01 00:00:00'"),
        // In the order of letters, 9 is after 10.
        ("t < '2024-01-01 01:00:00Z'", "t >= '2024-01-01 00:00:00-02'"),
        // No type takes both.
        ("a = 1", "a = 'x'"),
    ] {
        assert!(!disjoint(one, other), "{one} | {other}");
    }
}

#[test]
fn too_many_clauses_are_not_proven() {
    let wide = (0..9).map(|n| format!("(a{n} = 1 OR b{n} = 1)")).collect::<Vec<_>>().join(" AND ");
    assert!(!disjoint(&format!("{wide} AND r = 'x'"), "r = 'y'"));
}

#[test]
fn every_key_word_is_a_column_in_its_canonical_writing() {
    for word in sqlparser::keywords::ALL_KEYWORDS {
        let column = words::name(&word.to_lowercase()).into_owned();
        let given = format!(
            "{column} = 1 AND NOT ({column} IN ('x', 'y')) AND ({column} BETWEEN 1 AND 2 OR {column} IS NULL)"
        );
        let read = Predicate::parse(&given).unwrap_or_else(|problem| panic!("{given}: {problem:?}"));
        assert_eq!(read.to_string(), given);
        assert_eq!(read.columns().into_iter().collect::<Vec<_>>(), [word.to_lowercase()]);
    }
}

fn columns() -> BTreeMap<String, ColumnType> {
    let mood = ColumnType::Enum {
        name: "\"shop\".\"mood\"".to_owned(),
        labels: vec!["calm".to_owned(), "it's".to_owned()],
    };
    let other = |name: &str, is_composite| ColumnType::Other { name: name.to_owned(), is_composite };
    [
        ("region", ColumnType::Text(Collation::Deterministic)),
        ("code", ColumnType::Text(Collation::Bytes)),
        ("folded", ColumnType::Text(Collation::Nondeterministic)),
        ("padded", ColumnType::Char(Collation::Bytes)),
        ("small", ColumnType::SmallInt),
        ("whole", ColumnType::Integer),
        ("big", ColumnType::BigInt),
        ("amount", ColumnType::Numeric),
        ("open", ColumnType::Boolean),
        ("id", ColumnType::Uuid),
        ("day", ColumnType::Date),
        ("at", ColumnType::Timestamp),
        ("moment", ColumnType::TimestampTz),
        ("raw", ColumnType::Bytea),
        ("mood", mood),
        ("doc", other("jsonb", false)),
        ("ratio", other("real", false)),
        ("place", other("\"shop\".\"place\"", true)),
    ]
    .into_iter()
    .map(|(name, kind)| (name.to_owned(), kind))
    .collect()
}

fn typed(given: &str) -> Typed {
    let read = Predicate::parse(given).unwrap_or_else(|problem| panic!("{given}: {problem:?}"));
    read.typed(&columns()).unwrap_or_else(|problems| panic!("{given}: {problems:?}"))
}

#[test]
fn a_typed_predicate_is_sql_that_no_setting_changes() {
    for (given, sql) in [
        ("region = 'eu'", "(t.\"region\" = 'eu'::text)"),
        ("whole IN (1, -2)", "(t.\"whole\" = any (array['1'::integer, '-2'::integer]))"),
        ("padded <> 'a\\b'", "(t.\"padded\" <>  E'a\\\\b'::bpchar)"),
        ("mood = 'it''s'", "(t.\"mood\" = 'it''s'::\"shop\".\"mood\")"),
        ("open = TRUE AND doc IS NOT NULL", "((t.\"open\" = true) and (t.\"doc\" is not null))"),
        (
            "NOT (small = 1 OR day NOT BETWEEN '2024-01-01' AND 'infinity')",
            "(not ((t.\"small\" = '1'::smallint) or (t.\"day\" not between '2024-01-01'::date and 'infinity'::date)))",
        ),
    ] {
        assert_eq!(typed(given).sql(Some("t")).replace("\"t\".", "t."), sql);
    }
    assert_eq!(typed("raw > '\\x00'").sql(None), "(\"raw\" >  E'\\\\x00'::bytea)");
}

#[test]
fn every_misfit_is_told_with_its_place_and_what_was_meant() {
    let problems = |given: &str| {
        let read = Predicate::parse(given).unwrap_or_else(|problem| panic!("{given}: {problem:?}"));
        read.typed(&columns()).expect_err(given)
    };
    for (given, at, what, suggestion) in [
        ("regoin = 'eu'", 0, "no column `regoin`", Some("region")),
        ("xyz = 'eu'", 0, "no column `xyz`", None),
        ("region > 'eu'", 0, "ordered by a language's rules", Some("= or IN")),
        ("folded = 'eu'", 0, "nondeterministic", None),
        ("mood < 'calm'", 0, "whose order changes", Some("= or IN")),
        ("mood = 'clam'", 7, "no value of `mood`", Some("'calm'")),
        ("region = 5", 9, "no value of `region`", Some("'5'")),
        ("whole = '5'", 8, "no value of `whole`", Some("whole number")),
        ("whole = 1.5", 8, "no value of `whole`", Some("whole number")),
        ("small = 32768", 8, "no value of `small`", Some("range")),
        ("open = 1", 7, "no value of `open`", Some("TRUE")),
        ("day = '2024-1-1'", 6, "no value of `day`", Some("'2024-01-31'")),
        ("day = '2024-02-30'", 6, "no value of `day`", Some("'2024-01-31'")),
        ("day = '0044-03-15 BC'", 6, "no value of `day`", Some("'2024-01-31'")),
        ("at = '2024-01-01 00:00:00+01'", 5, "no value of `at`", Some("12:00:00'")),
        ("moment = '2024-01-01 00:00:00'", 9, "no value of `moment`", Some("with its offset")),
        ("raw = 'abc'", 6, "no value of `raw`", Some("'\\x00ff'")),
        ("id = 'x'", 5, "no value of `id`", Some("0e37df36")),
        ("doc = 'x'", 0, "only asks whether it is NULL", None),
        ("ratio = 0.5", 0, "rounded", Some("numeric")),
        ("place IS NULL", 0, "composite", None),
    ] {
        let found = problems(given);
        assert_eq!(found.len(), 1, "{given}: {found:?}");
        assert_eq!(found[0].at, at, "{given}: {found:?}");
        assert!(found[0].what.contains(what), "{given}: {found:?}");
        let said = found[0].suggestion.as_deref();
        assert!(
            suggestion.map_or(said.is_none(), |part| said.is_some_and(|said| said.contains(part))),
            "{found:?}"
        );
    }
    assert_eq!(problems("regoin = 'eu' AND (whole = 'x' OR NOT (folded = 'x'))").len(), 3);
}

#[test]
fn a_row_belongs_where_the_filter_is_true_alone() {
    let holds = |given: &str, row: &[(&str, Option<&str>)]| {
        typed(given).holds(|column| {
            let found = row.iter().find(|(name, _)| *name == column);
            found.map(|(_, value)| value.map_or(Value::Null, Value::Text))
        })
    };
    assert_eq!(holds("region = 'eu'", &[("region", Some("eu"))]), Ok(Some(true)));
    assert_eq!(holds("region = 'eu'", &[("region", Some("eu "))]), Ok(Some(false)));
    assert_eq!(holds("region = 'eu'", &[("region", None)]), Ok(None));
    assert_eq!(holds("NOT (region = 'eu')", &[("region", None)]), Ok(None));
    assert_eq!(holds("region = 'eu' OR region IS NULL", &[("region", None)]), Ok(Some(true)));
    assert_eq!(holds("padded = 'x'", &[("padded", Some("x   "))]), Ok(Some(true)));
    assert_eq!(holds("amount > 1", &[("amount", Some("NaN"))]), Ok(Some(true)));
    assert_eq!(holds("doc IS NULL", &[("doc", Some("{}"))]), Ok(Some(false)));
    assert_eq!(holds("region = 'eu'", &[]), Err(RowProblem::Missing("region".to_owned())));
    assert_eq!(holds("whole = 1", &[("whole", Some("x"))]), Err(RowProblem::Unreadable("whole".to_owned())));
}

#[test]
fn types_prove_more() {
    let disjoint = |one: &str, other: &str| typed(one).disjoint(&typed(other));
    assert!(disjoint("whole > 1", "whole < 2"));
    assert!(!disjoint("amount > 1", "amount < 2"));
    assert!(disjoint("day > '2024-01-01'", "day < '2024-01-02'"));
    assert!(disjoint("moment >= '2024-01-01 00:00:00-02'", "moment < '2024-01-01 01:00:00Z'"));
    assert!(disjoint("region = 'x'", "region = 'x '"));
    assert!(!disjoint("padded = 'x'", "padded = 'x '"));
    assert!(disjoint("mood <> 'calm'", "mood NOT IN ('it''s')"));
}

mod at_random {
    use proptest::prelude::*;

    use super::*;

    fn name() -> impl Strategy<Value = String> {
        prop_oneof![
            Just("region".to_owned()),
            Just("a".to_owned()),
            Just("select".to_owned()),
            "[ -~é\"]{1,8}",
        ]
        .prop_map(|name| words::name(&name).into_owned())
    }

    fn literal() -> impl Strategy<Value = String> {
        prop_oneof![
            "-?[0-9]{1,4}(\\.[0-9]{0,3})?",
            "[ -~\n'é]{0,6}".prop_map(|text| format!("'{}'", text.replace('\'', "''"))),
            Just("TRUE".to_owned()),
            Just("false".to_owned()),
        ]
    }

    fn test() -> impl Strategy<Value = String> {
        let operator =
            prop_oneof![Just("="), Just("<>"), Just("!="), Just("<"), Just("<="), Just(">"), Just(">=")];
        let not = || prop_oneof![Just(""), Just("not ")];
        prop_oneof![
            (name(), operator, literal(), any::<bool>()).prop_map(|(column, operator, literal, turned)| {
                if turned {
                    format!("{literal}{operator} {column}")
                } else {
                    format!("{column} {operator} {literal}")
                }
            }),
            (name(), not(), prop::collection::vec(literal(), 1..4))
                .prop_map(|(column, not, items)| format!("{column} {not}in ({})", items.join(","))),
            (name(), not(), literal(), literal())
                .prop_map(|(column, not, low, high)| format!("{column} {not}between {low} and {high}")),
            (name(), not()).prop_map(|(column, not)| format!("{column} is {not}null")),
        ]
    }

    fn predicate() -> impl Strategy<Value = String> {
        test().prop_recursive(5, 24, 3, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 2..4)
                    .prop_map(|parts| format!("({})", parts.join(") and ("))),
                prop::collection::vec(inner.clone(), 2..4)
                    .prop_map(|parts| format!("({})", parts.join(") OR ("))),
                (inner.clone(), inner.clone(), inner.clone())
                    .prop_map(|(one, two, three)| format!("({one}) and ({two}) or ({three})")),
                inner.prop_map(|inner| format!("not ({inner})")),
            ]
        })
    }

    proptest! {
        #[test]
        fn the_canonical_text_reads_as_itself(given in predicate()) {
            let read = Predicate::parse(&given).map_err(|problem| TestCaseError::fail(format!("{given}: {problem:?}")))?;
            let again = Predicate::parse(&read.to_string());
            prop_assert_eq!(again.map(|again| again.to_string()), Ok(read.to_string()));
        }

        #[test]
        fn no_text_makes_it_fall(given in "\\PC{0,60}", near in "(a|not|and|or|in|is|null|between|case|\\(|\\)|'|=|<|1| ){0,40}") {
            for given in [given, near] {
                if let Err(problem) = Predicate::parse(&given) {
                    prop_assert!(problem.at <= given.len() && given.is_char_boundary(problem.at), "{given}: {problem:?}");
                }
            }
        }
    }
}
