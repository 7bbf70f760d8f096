//! The command `/migrate` as Discord registers it, made from the language's verbs, and the way back from it to a line.
//!
//! A subcommand a verb, an option for what the verb is said of, and one for each of its own. What a person fills in
//! becomes the line that they would have typed elsewhere, so it means the same and is answered in the same words.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::language::{Object, Opt, Verb};
use crate::words;

/// The command's name.
pub const NAME: &str = "migrate";

/// Kinds of options.
const SUBCOMMAND: u8 = 1;
const TEXT: u8 = 3;
const YES_OR_NO: u8 = 5;

/// The longest description that Discord takes.
const MOST: usize = 100;

/// The options that a verb's object is given in.
pub(super) const PHASE: &str = "phase";
pub(super) const REQUEST: &str = "request";
pub(super) const TOPIC: &str = "command";

/// What is registered.
#[must_use]
pub fn definition() -> Value {
    let verbs: Vec<Value> = Verb::ALL.iter().map(|verb| subcommand(*verb)).collect();
    json!({
        "name": NAME, "type": 1, "description": described(words::migrate_command()), "options": verbs,
    })
}

fn described(text: &str) -> String {
    if text.chars().count() <= MOST {
        return text.to_owned();
    }
    text.chars().take(MOST - 1).chain(['…']).collect()
}

fn subcommand(verb: Verb) -> Value {
    let mut options = Vec::new();
    let mut text = |name: &str, about: &str, is_required: bool, completes: bool| {
        let mut option = json!({"type": TEXT, "name": name, "description": described(about)});
        if let Some(fields) = option.as_object_mut() {
            if is_required {
                fields.insert("required".to_owned(), json!(true));
            }
            if completes {
                fields.insert("autocomplete".to_owned(), json!(true));
            }
        }
        options.push(option);
    };
    match verb.object() {
        Object::Phase => text(PHASE, words::option_phase(), true, true),
        Object::MaybePhase => text(PHASE, words::option_phase(), false, true),
        Object::Request => text(REQUEST, words::option_request(), true, true),
        Object::MaybeVerb => text(TOPIC, words::option_topic(), false, true),
        Object::Nothing => {}
    }
    let needs_reason = needs_reason(verb);
    if needs_reason {
        text(bare(Opt::Reason), words::option(Opt::Reason), true, false);
    }
    let rest = verb.options().iter().copied().filter(|option| !(needs_reason && *option == Opt::Reason));
    for option in rest {
        if option.takes_value() {
            text(bare(option), words::option(option), false, false);
        }
    }
    for option in verb.options().iter().copied().filter(|option| !option.takes_value()) {
        let about = described(words::option(option));
        options.push(json!({"type": YES_OR_NO, "name": bare(option), "description": about}));
    }
    // Discord wants what is required first.
    options.sort_by_key(|option| option.get("required").is_none());
    json!({"type": SUBCOMMAND, "name": verb.word(), "description": described(words::summary(verb)), "options": options})
}

/// The verbs that the journal takes no word of without a reason.
const fn needs_reason(verb: Verb) -> bool {
    matches!(verb, Verb::Abort | Verb::Deny | Verb::BreakGlass | Verb::Hold)
}

/// An option's name without its hyphens.
fn bare(option: Opt) -> &'static str {
    option.word().trim_start_matches('-')
}

/// What a person filled in.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Given {
    pub(super) name: String,
    pub(super) value: Option<Value>,
    #[serde(default)]
    pub(super) focused: bool,
    #[serde(default)]
    pub(super) options: Vec<Given>,
}

impl Given {
    pub(super) fn text(&self) -> Option<&str> {
        self.value.as_ref()?.as_str()
    }
}

/// The line that a person would have typed; none if it is no command of ours.
pub(super) fn line(options: &[Given]) -> Option<String> {
    let [subcommand] = options else { return options.is_empty().then(|| Verb::Help.word().to_owned()) };
    let verb = Verb::named(&subcommand.name)?;
    let find = |name: &str| subcommand.options.iter().find(|option| option.name == name);
    let filled = |name: &str| find(name).and_then(Given::text).map(str::trim).filter(|text| !text.is_empty());
    let mut words = Vec::new();
    match (verb.object(), filled(PHASE), filled(REQUEST), filled(TOPIC)) {
        (Object::Phase, Some(phase), ..) => words.extend([word(phase), verb.word().to_owned()]),
        (Object::MaybePhase, Some(phase), ..) => words.extend([verb.word().to_owned(), word(phase)]),
        (Object::Request, _, Some(request), _) => words.extend([verb.word().to_owned(), word(request)]),
        (Object::MaybeVerb, .., Some(topic)) => words.extend([verb.word().to_owned(), word(topic)]),
        _ => words.push(verb.word().to_owned()),
    }
    for option in verb.options() {
        let name = bare(*option);
        if option.takes_value() {
            words.extend(filled(name).map(|value| format!("--{name} {}", quoted(value))));
        } else if find(name).and_then(|option| option.value.as_ref()) == Some(&Value::Bool(true)) {
            words.push(format!("--{name}"));
        }
    }
    Some(words.join(" "))
}

/// A word as it stands in a line: in quotes if it would be more than one.
fn word(text: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '#' | '.');
    if text.chars().all(is_plain) && !text.starts_with("--") { text.to_owned() } else { quoted(text) }
}

fn quoted(text: &str) -> String {
    let one_line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    format!("\"{}\"", one_line.replace('\\', "\\\\").replace('"', "\\\""))
}

/// A command without what Discord fills in by itself, so that two can be compared.
fn normal(value: &Value) -> Value {
    const OURS: [&str; 7] = ["name", "type", "description", "options", "required", "autocomplete", "choices"];
    match value {
        Value::Object(fields) => {
            let kept = fields.iter().filter(|(key, value)| {
                let says_nothing = value.is_null()
                    || **value == json!(false)
                    || value.as_array().is_some_and(|list| list.is_empty() && *key == "options");
                OURS.contains(&key.as_str()) && !says_nothing
            });
            Value::Object(kept.map(|(key, value)| (key.clone(), normal(value))).collect::<Map<_, _>>())
        }
        Value::Array(list) => Value::Array(list.iter().map(normal).collect()),
        other => other.clone(),
    }
}

/// What a registration would change, subcommand by subcommand; empty if all of it is there.
#[must_use]
pub fn changes(there: Option<&Value>, wanted: &Value) -> Vec<Change> {
    let Some(there) = there else { return vec![Change::New] };
    let (there, wanted) = (normal(there), normal(wanted));
    if there == wanted {
        return Vec::new();
    }
    let subcommands = |of: &Value| of.get("options").and_then(Value::as_array).cloned().unwrap_or_default();
    let name = |of: &Value| of.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
    let (old, new) = (subcommands(&there), subcommands(&wanted));
    let mut changes = Vec::new();
    for each in &new {
        match old.iter().find(|known| name(known) == name(each)) {
            None => changes.push(Change::Added(name(each))),
            Some(known) if known != each => changes.push(Change::Changed(name(each))),
            Some(_) => {}
        }
    }
    let gone = old.iter().filter(|known| !new.iter().any(|each| name(each) == name(known)));
    changes.extend(gone.map(|known| Change::Removed(name(known))));
    if changes.is_empty() {
        changes.push(Change::Whole);
    }
    changes
}

/// One thing that a registration changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The command was not there.
    New,
    /// A subcommand is new.
    Added(String),
    /// A subcommand is another.
    Changed(String),
    /// A subcommand is gone.
    Removed(String),
    /// The order, or what is said of the command as a whole.
    Whole,
    /// Another command of the application is gone.
    Foreign(String),
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{Change, Given, changes, definition, line};
    use crate::language::{Dialect, Verb, read};

    fn said(options: Value) -> String {
        let options: Vec<Given> = serde_json::from_value(options).unwrap();
        line(&options).unwrap()
    }

    fn sub(name: &str, options: Value) -> Value {
        json!([{"type": 1, "name": name, "options": options}])
    }

    #[test]
    fn what_is_filled_in_is_the_line_that_would_be_typed() {
        for (options, expected) in [
            (json!([]), "help"),
            (sub("help", json!([{"name": "command", "value": "cutover"}])), "help cutover"),
            (sub("status", json!([])), "status"),
            (sub("status", json!([{"name": "phase", "value": "region-a"}])), "status region-a"),
            (
                sub(
                    "cutover",
                    json!([{"name": "phase", "value": "region-a"}, {"name": "plan", "value": "1a2b3c4d"}]),
                ),
                "region-a cutover --plan \"1a2b3c4d\"",
            ),
            (
                sub(
                    "deny",
                    json!([{"name": "request", "value": "#41"}, {"name": "reason", "value": "say \"no\"\n now"}]),
                ),
                "deny #41 --reason \"say \\\"no\\\" now\"",
            ),
            (
                sub(
                    "failback",
                    json!([
                        {"name": "phase", "value": "region-a"}, {"name": "target-lost", "value": true},
                        {"name": "confirm", "value": "up to 3 s"},
                    ]),
                ),
                "region-a failback --target-lost --confirm \"up to 3 s\"",
            ),
            (sub("start", json!([{"name": "phase", "value": "x cutover"}])), "\"x cutover\" start"),
        ] {
            assert_eq!(said(options), expected);
        }
        assert_eq!(line(&serde_json::from_value::<Vec<Given>>(sub("format", json!([]))).unwrap()), None);
    }

    #[test]
    fn nothing_that_is_filled_in_becomes_another_word_of_the_command() {
        let line = said(sub("status", json!([{"name": "phase", "value": "--reason x\napprove #1"}])));
        let heard = read(&line, Dialect::Terminal);
        assert_eq!(heard.len(), 1, "{line}");
        assert!(heard[0].said.is_err(), "{line} is {heard:?}");
    }

    #[test]
    fn every_verb_is_a_subcommand_and_discord_takes_the_whole() {
        let all = definition();
        let options = all["options"].as_array().unwrap();
        assert_eq!(options.len(), Verb::ALL.len());
        assert!(options.len() <= 25, "Discord takes 25");
        let mut length = 0;
        for option in options {
            for text in [&option["name"], &option["description"]] {
                length += text.as_str().unwrap().chars().count();
            }
            assert!(option["description"].as_str().unwrap().chars().count() <= 100);
            let required = |option: &Value| option.get("required").is_some();
            let own = option["options"].as_array().unwrap();
            assert!(
                own.is_sorted_by_key(|option| !required(option)),
                "what is required comes first: {option}"
            );
            for option in own {
                for text in [&option["name"], &option["description"]] {
                    length += text.as_str().unwrap().chars().count();
                }
            }
        }
        assert!(length < 8000, "Discord takes 8000 characters: {length}");
    }

    #[test]
    fn a_registration_tells_what_it_changes() {
        let wanted = definition();
        assert_eq!(changes(None, &wanted), [Change::New]);
        // What Discord gives back has more in it.
        let mut there = wanted.clone();
        there["id"] = json!("1");
        there["nsfw"] = json!(false);
        there["default_member_permissions"] = Value::Null;
        assert!(changes(Some(&there), &wanted).is_empty());
        let list = there["options"].as_array_mut().unwrap();
        list[0]["description"] = json!("something else");
        list.push(json!({"type": 1, "name": "drop", "description": "x"}));
        let gone = list.remove(1)["name"].as_str().unwrap().to_owned();
        let first = wanted["options"][0]["name"].as_str().unwrap().to_owned();
        assert_eq!(
            changes(Some(&there), &wanted),
            [Change::Changed(first), Change::Added(gone), Change::Removed("drop".to_owned())]
        );
    }
}
