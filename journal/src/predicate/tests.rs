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
    let chain = (0..1000).map(|n| format!("a={n}")).collect::<Vec<_>>().join(" OR ");
    let chain = Predicate::parse(&chain).expect("a chain within the limit");
    assert_eq!(Predicate::parse(&chain.to_string()).expect("its text"), chain);
    assert!(!chain.disjoint(&chain));
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
