//! Whether a plan has the tables and keys that it may have, with values of their kinds.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problems::{distance, nearest};
use super::schema::{Key, Keys, Kind, PLAN, Section};

/// A key that its table does not have.
#[derive(Debug)]
pub(super) struct Unknown {
    /// Its place in the text that was read.
    pub(super) span: Range<usize>,
    /// The key.
    pub(super) given: String,
    /// The key that was probably meant.
    pub(super) meant: Option<&'static str>,
    /// What is wrong.
    pub(super) what: String,
    /// Whether it is one of the plan's own tables, which several headers may name.
    pub(super) outermost: bool,
}

/// Something wrong, with what was probably meant.
#[derive(Debug)]
pub(super) struct Wrong {
    /// The table it is in.
    pub(super) title: String,
    pub(super) span: Range<usize>,
    pub(super) what: String,
    pub(super) meant: Option<String>,
}

/// What a look at a plan found.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Keys that are not known.
    pub(super) unknown: Vec<Unknown>,
    /// Keys that are missing.
    pub(super) missing: Vec<Wrong>,
    /// Values of another kind.
    pub(super) wrong: Vec<Wrong>,
}

/// Looks at a whole plan.
pub(super) fn look(tree: &DeTable<'_>) -> Seen {
    let mut seen = Seen::default();
    seen.table(tree, &(0..0), &PLAN, PLAN.title);
    seen
}

/// The word of a list that a text is, or was probably meant to be.
pub(super) fn word(given: &str, words: &[&'static str]) -> Option<&'static str> {
    let exact = words.iter().copied().find(|word| *word == given);
    exact.or_else(|| nearest(given, words.iter().copied()))
}

/// The keys whose value may be a secret that somebody wrote into the plan by mistake, and how one is called.
const SECRETS: [&str; 9] =
    ["url", "source", "target", "admin", "signing_key", "local_token_sha256", "token", "password", "secret"];

/// Whether a key holds what may be a secret, or was probably meant to.
pub(in super::super) fn is_secret(key: &str) -> bool {
    let is_other = super::schema::keys().into_iter().any(|(_, known)| known == key);
    SECRETS.contains(&key) || !is_other && nearest(key, SECRETS).is_some()
}

/// A whole number from 0.
pub(super) fn number(value: &DeValue<'_>) -> Option<u64> {
    let DeValue::Integer(integer) = value else { return None };
    u64::from_str_radix(integer.as_str().trim_start_matches('+'), integer.radix()).ok()
}

/// The keys of a table whose `kind` decides about them: of the kind it names, or else of the one it has most keys of.
fn of_kind(table: &DeTable<'_>, kinds: &'static [(&'static str, &'static [Key])]) -> &'static [Key] {
    let words: Vec<&'static str> = kinds.iter().map(|(word, _)| *word).collect();
    let given =
        table.get("kind").and_then(|value| value.get_ref().as_str()).and_then(|text| word(text, &words));
    let named = kinds.iter().find(|(word, _)| Some(*word) == given);
    let shared = |keys: &[Key]| keys.iter().filter(|key| table.contains_key(key.name)).count();
    named.or_else(|| kinds.iter().max_by_key(|(_, keys)| shared(keys))).map_or(&[], |(_, keys)| keys)
}

fn expected(kind: Kind) -> String {
    match kind {
        Kind::Text => "text in quotes".to_owned(),
        Kind::Length => "a duration in quotes, as in \"60s\"".to_owned(),
        Kind::Number => "a whole number".to_owned(),
        Kind::Flag => "true or false".to_owned(),
        Kind::Texts => "a list of texts, as in [\"a\", \"b\"]".to_owned(),
        Kind::Word(words) => format!("one of {}", words.join(", ")),
        Kind::Words(words) => format!("a list of {}", words.join(", ")),
        Kind::Table(section) => format!("a table, {}", section.title),
        Kind::Tables(section) => format!("a table with two brackets, {}", section.title),
    }
}

fn found(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => format!("the text \"{}\"", text.escape_debug()),
        DeValue::Integer(integer) => format!("the number {integer}"),
        DeValue::Float(float) => format!("the fraction {float}"),
        DeValue::Boolean(flag) => flag.to_string(),
        DeValue::Datetime(moment) => format!("the date {moment}"),
        DeValue::Array(_) => "a list".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
    }
}

/// The same value as another kind would write it.
fn rewritten(value: &DeValue<'_>, kind: Kind) -> Option<String> {
    match (kind, value) {
        (Kind::Text, DeValue::Integer(integer)) => Some(format!("\"{integer}\"")),
        (Kind::Length, DeValue::Integer(integer)) => Some(format!("\"{integer}s\"")),
        (Kind::Number, DeValue::String(text)) => text.trim().parse::<u64>().ok().map(|n| n.to_string()),
        (Kind::Flag, DeValue::String(text)) => text.trim().parse::<bool>().ok().map(|flag| flag.to_string()),
        (Kind::Texts | Kind::Words(_), DeValue::String(text)) => {
            Some(format!("[\"{}\"]", text.escape_debug()))
        }
        (Kind::Tables(section), DeValue::Table(_)) => Some(section.title.to_owned()),
        (Kind::Table(section), DeValue::Array(_)) => Some(section.title.to_owned()),
        _ => None,
    }
}

/// Whether a value could be of a kind, for choosing between two keys that are as near.
const fn fits(kind: Kind, value: &DeValue<'_>) -> bool {
    match kind {
        Kind::Text | Kind::Length | Kind::Word(_) => matches!(value, DeValue::String(_)),
        Kind::Number => matches!(value, DeValue::Integer(_)),
        Kind::Flag => matches!(value, DeValue::Boolean(_)),
        Kind::Texts | Kind::Words(_) => matches!(value, DeValue::Array(_)),
        Kind::Table(_) => matches!(value, DeValue::Table(_)),
        Kind::Tables(_) => matches!(value, DeValue::Array(_) | DeValue::Table(_)),
    }
}

impl Seen {
    fn table(&mut self, table: &DeTable<'_>, span: &Range<usize>, section: &'static Section, title: &str) {
        let keys = match section.keys {
            Keys::Of(keys) => keys,
            Keys::OfKind(kinds) => of_kind(table, kinds),
            Keys::OfTables => return self.free(table, title),
        };
        for (name, value) in table {
            match keys.iter().find(|key| key.name == name.get_ref().as_ref()) {
                Some(key) => self.value(title, key, value),
                None => self.unknown(table, keys, (name, value), title),
            }
        }
        for key in keys.iter().filter(|key| key.required && !table.contains_key(key.name)) {
            let what = match key.kind {
                Kind::Table(inner) | Kind::Tables(inner) => format!("{title} has no {}", inner.title),
                _ => format!("{title} has no `{}`: expected {}", key.name, expected(key.kind)),
            };
            self.missing.push(Wrong { title: title.to_owned(), span: span.clone(), what, meant: None });
        }
    }

    fn unknown(
        &mut self,
        table: &DeTable<'_>,
        keys: &'static [Key],
        (name, value): (&Spanned<toml::de::DeString<'_>>, &Spanned<DeValue<'_>>),
        title: &str,
    ) {
        let given: &str = name.get_ref();
        let near = keys.iter().filter_map(|key| distance(given, key.name).map(|apart| (apart, key)));
        let meant = near
            .min_by_key(|(apart, key)| {
                (*apart, !fits(key.kind, value.get_ref()), table.contains_key(key.name))
            })
            .map(|(_, key)| key.name);
        let sort = match value.get_ref() {
            DeValue::Table(_) => "table",
            DeValue::Array(list) if list.iter().any(|each| each.get_ref().is_table()) => "table",
            _ => "key",
        };
        let mut what = format!("{title} has no {sort} `{given}`");
        if meant.is_none() {
            let known: Vec<&str> = keys.iter().map(|key| key.name).collect();
            what.push_str(&format!(": expected one of {}", known.join(", ")));
            if let Some((home, _)) = super::schema::keys().into_iter().find(|(_, key)| *key == given) {
                what.push_str(&format!("; `{given}` belongs to {home}"));
            }
        }
        let outermost = title == PLAN.title;
        self.unknown.push(Unknown { span: name.span(), given: given.to_owned(), meant, what, outermost });
    }

    /// The filters: any key, each with a text.
    fn free(&mut self, table: &DeTable<'_>, title: &str) {
        for (name, value) in table {
            match value.get_ref() {
                DeValue::String(_) => {}
                DeValue::Table(inner) => {
                    let table = inner.keys().next().map_or("table", |table| table.get_ref());
                    self.wrong.push(Wrong {
                        title: title.to_owned(),
                        span: name.span(),
                        what: format!("in {title} a table's name with its schema stands in quotes"),
                        meant: Some(format!("\"{}.{table}\"", name.get_ref())),
                    });
                }
                other => self.other(title, name.get_ref(), value.span(), (Kind::Text, other)),
            }
        }
    }

    fn other(&mut self, title: &str, name: &str, span: Range<usize>, (kind, value): (Kind, &DeValue<'_>)) {
        let is_secret = is_secret(name);
        let found = if is_secret { "something else".to_owned() } else { found(value) };
        let what = format!("{title} `{name}` must be {}, found {found}", expected(kind));
        let meant = rewritten(value, kind).filter(|_| !is_secret);
        self.wrong.push(Wrong { title: title.to_owned(), span, what, meant });
    }

    fn value(&mut self, title: &str, key: &'static Key, value: &Spanned<DeValue<'_>>) {
        let other = |seen: &mut Self| seen.other(title, key.name, value.span(), (key.kind, value.get_ref()));
        match (key.kind, value.get_ref()) {
            (Kind::Text | Kind::Length, DeValue::String(_)) | (Kind::Flag, DeValue::Boolean(_)) => {}
            (Kind::Number, given) if number(given).is_some() => {}
            (Kind::Word(words), DeValue::String(text)) => self.word(title, key, words, (text, value.span())),
            (Kind::Texts | Kind::Words(_), DeValue::Array(list)) => {
                for each in list.iter() {
                    match (key.kind, each.get_ref()) {
                        (Kind::Words(words), DeValue::String(text)) => {
                            self.word(title, key, words, (text, each.span()));
                        }
                        (_, DeValue::String(_)) => {}
                        (_, given) => self.other(title, key.name, each.span(), (Kind::Text, given)),
                    }
                }
            }
            (Kind::Table(section), DeValue::Table(table)) => {
                self.table(table, &value.span(), section, &section.title.replace('…', key.name));
            }
            (Kind::Tables(section), DeValue::Array(list)) => {
                for each in list.iter() {
                    match each.get_ref() {
                        DeValue::Table(table) => self.table(table, &each.span(), section, section.title),
                        given => self.other(title, key.name, each.span(), (key.kind, given)),
                    }
                }
            }
            _ => other(self),
        }
    }

    fn word(&mut self, title: &str, key: &Key, words: &[&str], (given, span): (&str, Range<usize>)) {
        if words.contains(&given) {
            return;
        }
        let sort = key.name.trim_end_matches('s');
        let what = format!("`{given}` is no {sort}: expected one of {}", words.join(", "));
        let meant = nearest(given, words.iter().copied()).map(str::to_owned);
        self.wrong.push(Wrong { title: title.to_owned(), span, what, meant });
    }
}
