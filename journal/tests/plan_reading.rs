//! Everything that is wrong in a plan is told at once, each at its place, with what was meant.

use std::collections::BTreeSet;
use std::ops::Range;

use journal::{Plan, PlanProblem};
use toml::de::{DeTable, DeValue};

const FULL: &str = include_str!("../../config/plan.full.toml");
const START: &str = include_str!("../../config/plan.example.toml");

fn problems(text: &str) -> Vec<PlanProblem> {
    Plan::parse(text).map(|plan| plan.hash()).unwrap_err().0
}

fn shown(problems: &[PlanProblem]) -> String {
    problems.iter().map(|problem| format!("{problem:?}\n")).collect()
}

fn line(text: &str, at: usize) -> usize {
    text[..at].matches('\n').count() + 1
}

/// Every key of a text with its place: those of tables in headers too.
fn keys(text: &str) -> Vec<(String, Range<usize>)> {
    fn walk(table: &DeTable<'_>, inside: &str, found: &mut BTreeSet<(usize, usize, String)>) {
        for (key, value) in table {
            if inside != "filters" {
                found.insert((key.span().start, key.span().end, key.get_ref().to_string()));
            }
            match value.get_ref() {
                DeValue::Table(inner) => walk(inner, key.get_ref(), found),
                DeValue::Array(list) => {
                    for each in list.iter() {
                        if let DeValue::Table(inner) = each.get_ref() {
                            walk(inner, key.get_ref(), found);
                        }
                    }
                }
                _ => {}
            }
        }
    }
    let tree = DeTable::parse(text).unwrap();
    let mut found = BTreeSet::new();
    walk(tree.get_ref(), "", &mut found);
    // Of a table that several headers name, the tree has one place alone: the others are found by their brackets.
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        if let Some(header) = line.strip_prefix('[') {
            let from = start + line.len() - header.trim_start_matches('[').len();
            let name: String = text[from..].chars().take_while(|c| !matches!(c, ']' | '.')).collect();
            found.insert((from, from + name.len(), name));
        }
        start += line.len();
    }
    found.into_iter().map(|(from, to, name)| (name, from..to)).collect()
}

/// The ways to miss one letter of a word: twice, left out, another, two the wrong way round.
fn misspellings(word: &str) -> Vec<String> {
    let middle = word.len() / 2;
    let (head, tail) = (&word[..middle], &word[middle + 1..]);
    let letter = &word[middle..=middle];
    let other = if letter == "x" { "y" } else { "x" };
    let mut all = vec![
        format!("{head}{letter}{letter}{tail}"),
        format!("{head}{tail}"),
        format!("{head}{other}{tail}"),
        format!("{word}{other}"),
    ];
    if word.len() > 2 && word[..1] != word[1..2] {
        all.push(format!("{}{}{}", &word[1..2], &word[..1], &word[2..]));
    }
    let known: BTreeSet<&str> = journal::plan::keys().into_iter().map(|(_, key)| key).collect();
    all.retain(|each| !known.contains(each.as_str()));
    all
}

#[test]
fn the_files_to_start_from_are_right() {
    for text in [FULL, START] {
        let reading = Plan::read(text).unwrap();
        assert_eq!(reading.plan, Plan::parse(text).unwrap());
    }
    assert_eq!(Plan::read(FULL).unwrap().warnings, []);
}

#[test]
fn every_misspelt_key_is_told_once_on_its_line_with_the_right_one() {
    for text in [FULL, START] {
        let keys = keys(text);
        assert!(keys.len() > 30, "{}", keys.len());
        for (key, place) in keys {
            for wrong in misspellings(&key) {
                let mut changed = text.to_owned();
                changed.replace_range(place.clone(), &wrong);
                let found = problems(&changed);
                assert_eq!(found.len(), 1, "{key} as {wrong}: {}", shown(&found));
                assert_eq!(found[0].line, line(text, place.start), "{key} as {wrong}: {}", shown(&found));
                assert_eq!(found[0].suggestion.as_deref(), Some(key.as_str()), "as {wrong}");
                assert!(found[0].what.contains(&format!("`{wrong}`")), "{}", found[0].what);
            }
        }
    }
}

#[test]
fn all_keys_misspelt_at_once_are_all_told() {
    let keys = keys(FULL);
    let mut changed = FULL.to_owned();
    for (key, place) in keys.iter().rev() {
        changed.replace_range(place.clone(), &misspellings(key)[0]);
    }
    let found = problems(&changed);
    for (key, place) in &keys {
        let at = line(FULL, place.start);
        assert!(
            found.iter().any(|problem| problem.line == at && problem.suggestion.as_deref() == Some(key)),
            "{key} in line {at}:\n{}",
            shown(&found)
        );
    }
    assert_eq!(found.len(), keys.len(), "{}", shown(&found));
}

/// The full plan after some strokes of a careless hand.
fn spoiled(strokes: &[(u8, u16, char)]) -> String {
    let mut text: Vec<char> = FULL.chars().collect();
    for (kind, at, letter) in strokes {
        let at = usize::from(*at) % text.len();
        match kind % 4 {
            0 => {
                text.remove(at);
            }
            1 => text.insert(at, *letter),
            2 => text[at] = *letter,
            _ => {
                let line: String = text.iter().collect();
                let line: Vec<char> = line.lines().nth(at % 100).unwrap_or_default().chars().collect();
                text.splice(at..at, line);
            }
        }
    }
    text.into_iter().collect()
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config { cases: 300, failure_persistence: None, ..Default::default() })]

    #[test]
    fn whatever_is_given_is_read_or_told_at_places_that_are_there(
        strokes in proptest::collection::vec(
            (proptest::num::u8::ANY, proptest::num::u16::ANY, proptest::char::ranges(vec!['\n'..='\n', ' '..='~', 'é'..='é'].into())),
            1..12,
        ),
    ) {
        let text = spoiled(&strokes);
        if let Err(found) = Plan::read(&text) {
            proptest::prop_assert!(!found.0.is_empty());
            for problem in &found.0 {
                let line = text.split('\n').nth(problem.line - 1);
                let line = line.unwrap_or_else(|| panic!("{problem:?} is on no line"));
                proptest::prop_assert!(problem.column <= line.chars().count() + 1, "{problem:?} on {line:?}");
            }
        }
    }
}
