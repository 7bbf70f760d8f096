//! The plan's hash is of its meaning: every changed meaning changes it, another way of writing the same does not.

use std::collections::BTreeSet;

use journal::{Plan, PlanHash};
use proptest::prelude::*;
use toml::de::{DeTable, DeValue};
use toml::{Table, Value};

const FULL: &str = include_str!("../../config/plan.full.toml");

/// What is not part of the meaning: where the journal, its witness and the socket are.
const PLACES: [&str; 3] = ["journal.url", "journal.witness", "serve.socket"];

/// Every value of the text: the way to it, and where it stands.
fn values(text: &str) -> Vec<(String, std::ops::Range<usize>)> {
    fn walk(
        value: &DeValue<'_>,
        span: std::ops::Range<usize>,
        way: &str,
        found: &mut Vec<(String, std::ops::Range<usize>)>,
    ) {
        match value {
            DeValue::Table(table) => walk_table(table, way, found),
            DeValue::Array(list) if list.iter().any(|each| each.get_ref().is_table()) => {
                for (index, each) in list.iter().enumerate() {
                    walk(each.get_ref(), each.span(), &format!("{way}[{index}]"), found);
                }
            }
            _ => found.push((way.to_owned(), span)),
        }
    }
    fn walk_table(table: &DeTable<'_>, way: &str, found: &mut Vec<(String, std::ops::Range<usize>)>) {
        for (key, value) in table {
            let key = key.get_ref();
            let way = if way.is_empty() { key.to_string() } else { format!("{way}.{key}") };
            walk(value.get_ref(), value.span(), &way, found);
        }
    }
    let tree = DeTable::parse(text).unwrap();
    let mut found = Vec::new();
    walk_table(tree.get_ref(), "", &mut found);
    found
}

/// Other values that a plan may have there.
fn others(way: &str, old: &str) -> String {
    let key = way.rsplit('.').next().unwrap();
    match (key, old) {
        (_, "true") => "false".to_owned(),
        (_, "false") => "true".to_owned(),
        ("source" | "target" | "signing_key" | "admin", _) if old.contains("env:") => {
            old.replace("env:", "env:OTHER_")
        }
        ("url", _) => "\"env:JOURNAL_URL\"".to_owned(),
        ("name", "\"region-a\"" | "\"region-b\"") => old.replace("region", "district"),
        ("after", _) => "[]".to_owned(),
        ("phases", _) => "[\"region-a\"]".to_owned(),
        ("roles", "[\"approver\"]") => "[\"approver\", \"operator\"]".to_owned(),
        ("roles", _) => "[\"operator\"]".to_owned(),
        ("role", "\"approver\"") => "\"operator\"".to_owned(),
        ("role", _) => "\"approver\"".to_owned(),
        ("slack_group", _) => "\"T9/S9\"".to_owned(),
        ("operations", _) => "[\"start\"]".to_owned(),
        ("kind", "\"allowed\"") => "\"frozen\"".to_owned(),
        ("kind", "\"frozen\"") => "\"allowed\"".to_owned(),
        ("cron", _) => "\"1 1 1 1 *\"".to_owned(),
        ("time_zone", _) => "\"UTC\"".to_owned(),
        ("failback_deadline", _) => "\"return\"".to_owned(),
        ("slack", _) => "\"T9/U9\"".to_owned(),
        ("local_token_sha256", _) => format!("\"{}\"", "0".repeat(64)),
        ("tables", _) => old.replace("customer", "client"),
        ("stop" | "observe" | "route" | "resume", _) => old.replace("traffic", "flow"),
        ("undo_reserve", _) => "\"9s\"".to_owned(),
        ("filter", _) => old.replacen(" = ", " > '0' AND region = ", 1),
        (_, _) if old.contains(" = ") => old.replacen(" = ", " > '0' AND order_region = ", 1),
        (_, _) if old.starts_with('"') && old[1..2].parse::<u8>().is_ok() => old.replacen('"', "\"1", 1),
        (_, _) if old.starts_with('"') => old.replacen('"', "\"other", 1),
        (_, _) => (old.parse::<u64>().unwrap() + 1).to_string(),
    }
}

/// A person more, so that a change of a role leaves enough persons.
fn roomy() -> String {
    let more = "[[person]]\nid = \"dan\"\nroles = [\"operator\", \"approver\"]\ngithub = 2004\n\n\
                [[person]]\nid = \"eve\"\nroles = [\"operator\", \"approver\"]\ngithub = 3005\n\n\
                [[person]]\nid = \"fay\"\nroles = [\"operator\", \"approver\"]\ngithub = 4006\n\n";
    FULL.replacen("[approvals.start]", &format!("{more}[approvals.start]"), 1)
}

#[test]
fn every_changed_meaning_changes_the_hash() {
    let text = roomy();
    let hash = Plan::parse(&text).unwrap().hash();
    let mut seen = BTreeSet::from([hash]);
    let values = values(&text);
    assert!(values.len() > 80);
    for (way, span) in values {
        let old = &text[span.clone()];
        // There is one engine; a table that the target has can only be checked; the kind of a lever decides about its
        // other keys.
        if way == "migration.engine" || way == "load.existing" || way.ends_with("lever.kind") {
            continue;
        }
        let mut changed = text.clone();
        let new = others(&way, old);
        assert_ne!(new, *old, "{way}");
        changed.replace_range(span, &new);
        // What is named elsewhere is renamed there too.
        if way.starts_with("phase[") && way.ends_with("].name") {
            changed = changed.replace(old, &new);
        }
        let plan = Plan::parse(&changed).unwrap_or_else(|problems| panic!("{way} = {new}: {problems}"));
        if PLACES.contains(&way.as_str()) {
            assert_eq!(plan.hash(), hash, "{way}");
        } else {
            assert!(seen.insert(plan.hash()), "{way} = {new} changes nothing");
        }
    }
}

#[test]
fn a_key_left_out_means_its_default() {
    let hash = Plan::parse(FULL).unwrap().hash();
    for line in [
        "engine = \"native\"",
        "lease = \"5s\"",
        "socket = \"switchyard.sock\"",
        "role = \"approver\"",
        "review_within = \"24h\"",
        "operations = [\"cutover\", \"failback\"]",
        "lanes = 2",
        "chunk_bytes = 8388608",
        "existing = \"check\"",
        "max_downtime = \"60s\"",
        "undo_reserve = \"10s\"",
        "fence_patience = \"5s\"",
        "terminate_blockers = false",
        "lag_limit = \"2s\"",
        "failback_deadline = \"hold\"",
        "pause_limit = \"5s\"",
        "timeout = \"10s\"",
        "expires = \"4h\"",
    ] {
        assert!(FULL.contains(line), "{line}");
        assert_eq!(Plan::parse(&FULL.replacen(line, "", 1)).unwrap().hash(), hash, "{line}");
    }
}

#[test]
fn a_phase_is_bound_to_its_section_and_the_shared_ones_alone() {
    let plan = Plan::parse(FULL).unwrap();
    let hashes = |plan: &Plan| -> Vec<PlanHash> {
        plan.phases.iter().map(|phase| plan.hash_for(&phase.name)).collect()
    };
    let before = hashes(&plan);
    let one = Plan::parse(&FULL.replacen("lag_limit = \"2s\"", "lag_limit = \"3s\"", 1)).unwrap();
    assert_ne!(hashes(&one)[0], before[0]);
    assert_eq!(hashes(&one)[1], before[1]);
    assert_eq!(one.hash_shared(), plan.hash_shared());
    let all = Plan::parse(&FULL.replacen("lanes = 2", "lanes = 3", 1)).unwrap();
    assert!(hashes(&all).iter().zip(&before).all(|(new, old)| new != old));
    assert_ne!(all.hash_shared(), plan.hash_shared());
}

/// Writes a plan in another order, with comments, durations in other units, and needless space.
fn rewritten(table: &Table, draw: &mut impl FnMut() -> usize) -> String {
    fn shuffled<T>(mut list: Vec<T>, draw: &mut impl FnMut() -> usize) -> Vec<T> {
        let mut out = Vec::new();
        while !list.is_empty() {
            out.push(list.swap_remove(draw() % list.len()));
        }
        out
    }
    fn duration(text: &str, draw: &mut impl FnMut() -> usize) -> String {
        let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let (Ok(number), unit) = (digits.parse::<u64>(), &text[digits.len()..]) else {
            return text.to_owned();
        };
        let (smaller, times) = match unit {
            "s" => ("ms", 1000),
            "m" => ("s", 60),
            "h" => ("m", 60),
            _ => return text.to_owned(),
        };
        if draw().is_multiple_of(2) { text.to_owned() } else { format!("{}{smaller}", number * times) }
    }
    fn value(of: &Value, set: bool, draw: &mut impl FnMut() -> usize) -> String {
        match of {
            Value::String(text) => Value::String(duration(text, draw)).to_string(),
            Value::Array(list) => {
                let list = if set { shuffled(list.clone(), draw) } else { list.clone() };
                let list: Vec<String> = list.iter().map(ToString::to_string).collect();
                format!("[\n  {},\n]", list.join(",  # and\n  "))
            }
            other => other.to_string(),
        }
    }
    fn inside(table: &Table, way: &str, text: &mut String, draw: &mut impl FnMut() -> usize) {
        let pairs = shuffled(table.iter().collect(), draw);
        let is_table = |value: &Value| match value {
            Value::Table(_) => true,
            Value::Array(list) => list.iter().any(Value::is_table),
            _ => false,
        };
        let (tables, plain): (Vec<_>, Vec<_>) = pairs.into_iter().partition(|(_, value)| is_table(value));
        for (key, of) in plain {
            // A call's arguments have an order; the other lists are sets.
            let set = !["stop", "observe", "route", "resume"].contains(&key.as_str());
            let key = Value::String(key.clone());
            text.push_str(&format!("{key}   =  {} # {}\n", value(of, set, draw), draw()));
        }
        for (key, of) in tables {
            let way = if way.is_empty() { key.clone() } else { format!("{way}.{key}") };
            match of {
                Value::Table(inner) => {
                    text.push_str(&format!("\n# a table\n[{way}]\n"));
                    inside(inner, &way, text, draw);
                }
                Value::Array(list) => {
                    for each in shuffled(list.clone(), draw) {
                        text.push_str(&format!("\n[[{way}]]\n"));
                        inside(each.as_table().unwrap(), &way, text, draw);
                    }
                }
                other => panic!("{other} is no table"),
            }
        }
    }
    let mut text = String::new();
    inside(table, "", &mut text, draw);
    text
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn another_way_of_writing_the_same_does_not_change_the_hash(seed in proptest::collection::vec(any::<u16>(), 97)) {
        let mut at = 0;
        let mut draw = || {
            at += 1;
            usize::from(seed[at % seed.len()]).wrapping_mul(at)
        };
        let text = rewritten(&toml::from_str(FULL).unwrap(), &mut draw);
        let (one, two) = (Plan::parse(FULL).unwrap(), Plan::parse(&text).unwrap_or_else(|problems| panic!("{problems}\n{text}")));
        prop_assert_eq!(one.hash(), two.hash());
        for phase in &one.phases {
            prop_assert_eq!(one.hash_for(&phase.name), two.hash_for(&phase.name));
        }
    }
}
