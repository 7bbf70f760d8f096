//! A table of the plan whose shape was looked at: what it has is read, what is of another kind is passed over.

use std::ops::Range;

use toml::de::{DeTable, DeValue};

use super::shape::{number, word};

/// A value with its place.
#[derive(Debug, Clone)]
pub(super) struct At<T> {
    pub(super) value: T,
    pub(super) span: Range<usize>,
}

/// A table with its place.
#[derive(Debug, Clone)]
pub(super) struct Table<'p> {
    table: &'p DeTable<'p>,
    /// Its header.
    pub(super) span: Range<usize>,
}

impl<'p> Table<'p> {
    pub(super) const fn new(table: &'p DeTable<'p>, span: Range<usize>) -> Self {
        Self { table, span }
    }

    fn get(&self, key: &str) -> Option<At<&'p DeValue<'p>>> {
        self.table.get(key).map(|value| At { value: value.get_ref(), span: value.span() })
    }

    pub(super) fn text(&self, key: &str) -> Option<At<&'p str>> {
        self.get(key).and_then(|At { value, span }| value.as_str().map(|value| At { value, span }))
    }

    pub(super) fn number(&self, key: &str) -> Option<At<u64>> {
        self.get(key).and_then(|At { value, span }| number(value).map(|value| At { value, span }))
    }

    pub(super) fn flag(&self, key: &str) -> Option<bool> {
        self.get(key).and_then(|at| at.value.as_bool())
    }

    /// A word, or the one that was probably meant.
    pub(super) fn word(&self, key: &str, words: &[&'static str]) -> Option<At<&'static str>> {
        self.text(key).and_then(|At { value, span }| word(value, words).map(|value| At { value, span }))
    }

    pub(super) fn texts(&self, key: &str) -> Option<At<Vec<At<&'p str>>>> {
        let At { value, span } = self.get(key)?;
        let DeValue::Array(list) = value else { return None };
        let texts = list
            .iter()
            .filter_map(|each| each.get_ref().as_str().map(|value| At { value, span: each.span() }));
        Some(At { value: texts.collect(), span })
    }

    pub(super) fn table(&self, key: &str) -> Option<Self> {
        match self.get(key)? {
            At { value: DeValue::Table(table), span } => Some(Table { table, span }),
            _ => None,
        }
    }

    pub(super) fn tables(&self, key: &str) -> Vec<Self> {
        let Some(At { value: DeValue::Array(list), .. }) = self.get(key) else { return Vec::new() };
        let tables = list.iter().filter_map(|each| match each.get_ref() {
            DeValue::Table(table) => Some(Table { table, span: each.span() }),
            _ => None,
        });
        tables.collect()
    }

    /// Its keys that hold texts, in the text's order: each key, and the text.
    pub(super) fn pairs(&self) -> Vec<(At<&'p str>, At<&'p str>)> {
        let mut pairs: Vec<_> = self
            .table
            .iter()
            .filter_map(|(key, value)| {
                let text = value.get_ref().as_str()?;
                let key = At { value: key.get_ref().as_ref(), span: key.span() };
                Some((key, At { value: text, span: value.span() }))
            })
            .collect();
        pairs.sort_by_key(|(key, _)| key.span.start);
        pairs
    }
}
