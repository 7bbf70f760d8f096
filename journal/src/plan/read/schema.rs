//! The tables and keys that a plan may have: the one list that the reader, its suggestions and the tests go by.

use crate::operation::Operation;

/// What a key's value is.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    /// Text.
    Text,
    /// A length of time, as text with its unit.
    Length,
    /// A whole number from 0.
    Number,
    /// `true` or `false`.
    Flag,
    /// A list of texts.
    Texts,
    /// One of these words.
    Word(&'static [&'static str]),
    /// A list of these words.
    Words(&'static [&'static str]),
    /// A table.
    Table(&'static Section),
    /// A table that is written once for each thing.
    Tables(&'static Section),
}

/// A key of a table.
#[derive(Debug, Clone, Copy)]
pub(super) struct Key {
    /// As it is written.
    pub(super) name: &'static str,
    /// What it holds.
    pub(super) kind: Kind,
    /// Whether the table needs it.
    pub(super) required: bool,
}

const fn key(name: &'static str, kind: Kind) -> Key {
    Key { name, kind, required: false }
}

const fn needed(name: &'static str, kind: Kind) -> Key {
    Key { name, kind, required: true }
}

/// What keys a table has.
#[derive(Debug)]
pub(super) enum Keys {
    /// These.
    Of(&'static [Key]),
    /// Those of the kind that the table's `kind` names.
    OfKind(&'static [(&'static str, &'static [Key])]),
    /// Any: the tables of the phase, each with a text.
    OfTables,
}

/// A table of the plan.
#[derive(Debug)]
pub(super) struct Section {
    /// As messages name it.
    pub(super) title: &'static str,
    /// Its keys.
    pub(super) keys: Keys,
}

pub(super) const ROLES: &[&str] = &["operator", "approver"];
pub(super) const LEVERS: &[&str] = &["command", "pgbouncer"];

const OPERATIONS: &[&str] = &{
    let mut words = [""; Operation::ALL.len()];
    let mut at = 0;
    while at < words.len() {
        #[expect(clippy::indexing_slicing, reason = "the loop's own bound, and at compile time")]
        {
            words[at] = super::super::key(Operation::ALL[at]);
        }
        at += 1;
    }
    words
};

/// The whole plan.
pub(super) const PLAN: Section = Section {
    title: "the plan",
    keys: Keys::Of(&[
        needed("migration", Kind::Table(&MIGRATION)),
        needed("journal", Kind::Table(&JOURNAL)),
        key("serve", Kind::Table(&SERVE)),
        needed("person", Kind::Tables(&PERSON)),
        key("group", Kind::Tables(&GROUP)),
        key("approvals", Kind::Table(&APPROVALS)),
        key("break_glass", Kind::Table(&BREAK_GLASS)),
        key("window", Kind::Tables(&WINDOW)),
        key("load", Kind::Table(&LOAD)),
        needed("phase", Kind::Tables(&PHASE)),
    ]),
};

const MIGRATION: Section = Section {
    title: "[migration]",
    keys: Keys::Of(&[
        needed("name", Kind::Text),
        needed("source", Kind::Text),
        needed("target", Kind::Text),
        key("engine", Kind::Word(&["native"])),
    ]),
};

const JOURNAL: Section = Section {
    title: "[journal]",
    keys: Keys::Of(&[
        needed("url", Kind::Text),
        key("lease", Kind::Length),
        key("signing_key", Kind::Text),
        key("witness", Kind::Text),
    ]),
};

const SERVE: Section = Section { title: "[serve]", keys: Keys::Of(&[key("socket", Kind::Text)]) };

const PERSON: Section = Section {
    title: "[[person]]",
    keys: Keys::Of(&[
        needed("id", Kind::Text),
        key("roles", Kind::Words(ROLES)),
        key("local_token_sha256", Kind::Text),
        key("github", Kind::Number),
        key("slack", Kind::Text),
        key("discord", Kind::Text),
    ]),
};

const GROUP: Section = Section {
    title: "[[group]]",
    keys: Keys::Of(&[
        needed("role", Kind::Word(ROLES)),
        key("github_team", Kind::Text),
        key("github_team_id", Kind::Number),
        key("slack_group", Kind::Text),
    ]),
};

const APPROVALS: Section = Section {
    title: "[approvals]",
    keys: Keys::Of(&{
        let mut keys = [key("", Kind::Table(&POLICY)); OPERATIONS.len()];
        let mut at = 0;
        while at < keys.len() {
            #[expect(clippy::indexing_slicing, reason = "the loop's own bound, and at compile time")]
            {
                keys[at].name = OPERATIONS[at];
            }
            at += 1;
        }
        keys
    }),
};

const POLICY: Section = Section {
    title: "[approvals.…]",
    keys: Keys::Of(&[
        key("required", Kind::Number),
        key("role", Kind::Word(ROLES)),
        key("expires", Kind::Length),
        key("exclude_requester", Kind::Flag),
        key("exclude_author", Kind::Flag),
        key("bind_commit", Kind::Flag),
    ]),
};

const BREAK_GLASS: Section = Section {
    title: "[break_glass]",
    keys: Keys::Of(&[key("role", Kind::Word(ROLES)), key("review_within", Kind::Length)]),
};

const WINDOW: Section = Section {
    title: "[[window]]",
    keys: Keys::Of(&[
        needed("kind", Kind::Word(&["allowed", "frozen"])),
        needed("cron", Kind::Text),
        needed("lasts", Kind::Length),
        key("time_zone", Kind::Text),
        key("operations", Kind::Words(OPERATIONS)),
        key("phases", Kind::Texts),
        key("why", Kind::Text),
    ]),
};

const LOAD: Section = Section {
    title: "[load]",
    keys: Keys::Of(&[
        key("lanes", Kind::Number),
        key("chunk_bytes", Kind::Number),
        key("bytes_per_second", Kind::Number),
        key("existing", Kind::Word(&["check", "recreate"])),
    ]),
};

const PHASE: Section = Section {
    title: "[[phase]]",
    keys: Keys::Of(&[
        needed("name", Kind::Text),
        needed("tables", Kind::Texts),
        key("filter", Kind::Text),
        key("filters", Kind::Table(&FILTERS)),
        key("after", Kind::Texts),
        key("max_downtime", Kind::Length),
        key("undo_reserve", Kind::Length),
        key("fence_patience", Kind::Length),
        key("terminate_blockers", Kind::Flag),
        key("lag_limit", Kind::Length),
        key("failback_deadline", Kind::Word(&["hold", "return"])),
        needed("lever", Kind::Table(&LEVER)),
    ]),
};

const FILTERS: Section = Section { title: "[phase.filters]", keys: Keys::OfTables };

const LEVER: Section = Section {
    title: "[phase.lever]",
    keys: Keys::OfKind(&[
        (
            "pgbouncer",
            &[
                needed("kind", Kind::Word(LEVERS)),
                needed("admin", Kind::Text),
                needed("ini", Kind::Text),
                needed("database", Kind::Text),
                needed("source", Kind::Text),
                needed("target", Kind::Text),
                key("pause_limit", Kind::Length),
            ],
        ),
        (
            "command",
            &[
                needed("kind", Kind::Word(LEVERS)),
                needed("stop", Kind::Texts),
                needed("observe", Kind::Texts),
                needed("route", Kind::Texts),
                needed("resume", Kind::Texts),
                key("timeout", Kind::Length),
            ],
        ),
    ]),
};

impl Keys {
    /// All that there are, of every kind.
    pub(super) fn all(&self) -> Vec<&'static Key> {
        match self {
            Self::Of(keys) => keys.iter().collect(),
            Self::OfKind(kinds) => kinds.iter().flat_map(|(_, keys)| keys.iter()).collect(),
            Self::OfTables => Vec::new(),
        }
    }
}

/// Every table of a plan with its keys, for the documents' tests: `("[journal]", "url")`.
#[must_use]
pub fn keys() -> Vec<(&'static str, &'static str)> {
    fn walk(section: &'static Section, found: &mut Vec<(&'static str, &'static str)>) {
        for key in section.keys.all() {
            if !found.contains(&(section.title, key.name)) {
                found.push((section.title, key.name));
            }
        }
        for key in section.keys.all() {
            if let Kind::Table(inner) | Kind::Tables(inner) = key.kind
                && !found.iter().any(|(title, _)| *title == inner.title)
            {
                walk(inner, found);
            }
        }
    }
    let mut found = Vec::new();
    walk(&PLAN, &mut found);
    found
}
