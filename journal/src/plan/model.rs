//! What a plan says, checked: the types that the rest of the program reads.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize, Serializer};

use crate::ids::{MigrationName, PersonId, PhaseName, TableName};
use crate::operation::Operation;
use crate::predicate::Predicate;

/// Where a secret is kept: never the secret itself.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(tag = "from", content = "name", rename_all = "snake_case")]
pub enum SecretRef {
    /// An environment variable.
    Env(String),
    /// A file.
    File(String),
}

impl fmt::Display for SecretRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Env(name) => write!(f, "env:{name}"),
            Self::File(path) => write!(f, "file:{path}"),
        }
    }
}

impl SecretRef {
    /// Reads `env:NAME` or `file:PATH`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text.split_once(':') {
            Some(("env", name)) if !name.is_empty() => Some(Self::Env(name.to_owned())),
            Some(("file", path)) if !path.is_empty() => Some(Self::File(path.to_owned())),
            _ => None,
        }
    }
}

/// What a person may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// May ask for operations, and pause, resume, retry, hold, abort.
    Operator,
    /// May approve.
    Approver,
}

/// Where a person has an account besides the terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Platform {
    /// By the account's number, never by its login, which can change hands.
    Github,
    /// By `TEAM/USER`, both ids.
    Slack,
    /// By the account's snowflake.
    Discord,
}

/// A human.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Person {
    /// Their id.
    pub id: PersonId,
    /// What they may do.
    pub roles: BTreeSet<Role>,
    /// SHA-256, in hexadecimal, of the token they use at a terminal.
    pub local_token_sha256: Option<String>,
    /// Their accounts, by the platform's immutable id. One account belongs to one person.
    pub accounts: BTreeMap<Platform, String>,
}

/// A group of a platform whose members, as far as they are persons of the plan, have a role: GitHub's team, Slack's user
/// group. Who is in it is asked when a role is used.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Group {
    /// The role it gives.
    pub role: Role,
    /// Whose it is.
    pub platform: Platform,
    /// By the platform's immutable id: a team's number, or `TEAM/GROUP`.
    pub id: String,
    /// Where a team is looked for, `org/slug`. A name can change hands; what is found there counts by its number alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// Who must approve an operation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ApprovalPolicy {
    /// How many distinct persons.
    #[serde(serialize_with = "decimal")]
    pub required: u8,
    /// The role they need.
    pub role: Role,
    /// How long a request waits.
    #[serde(serialize_with = "millis")]
    pub expires: Duration,
    /// Whether the requester's own approval does not count.
    pub exclude_requester: bool,
    /// Whether the approvals of those who wrote the plan do not count, where the journal knows them.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub exclude_author: bool,
    /// Whether it is asked for in a pull request alone, and so bound to a commit.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub bind_commit: bool,
}

/// Who may break the glass, alone, and how soon another person has to review it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BreakGlass {
    /// The role that may.
    pub role: Role,
    /// How long the review may take before everybody is told that it is missing.
    #[serde(serialize_with = "millis")]
    pub review_within: Duration,
}

/// What a window means for the operations that it names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WindowKind {
    /// They begin inside such a window only.
    Allowed,
    /// They do not begin inside it.
    Frozen,
}

/// A recurring time: each firing of the cron expression, in its time zone, opens it for a while.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Window {
    /// What it means.
    pub kind: WindowKind,
    /// Five fields (minute, hour, day of month, month, day of week), checked.
    pub cron: String,
    /// How long it lasts from each firing.
    #[serde(serialize_with = "millis")]
    pub lasts: Duration,
    /// An IANA name, checked: `Europe/Berlin`.
    pub time_zone: String,
    /// The operations it is about.
    pub operations: BTreeSet<Operation>,
    /// The phases it is about; none means all.
    pub phases: BTreeSet<PhaseName>,
    /// What people are told.
    pub why: Option<String>,
}

/// Where the journal is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JournalPlace {
    /// A file beside the plan.
    Sqlite(String),
    /// A secret that holds a `postgres://` URL.
    Postgres(SecretRef),
}

impl fmt::Display for JournalPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(file) => write!(f, "sqlite:{file}"),
            Self::Postgres(secret) => write!(f, "{secret}"),
        }
    }
}

/// The journal: where it is, how it is leased, and how it proves itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalSettings {
    /// Where it is.
    pub place: JournalPlace,
    /// The lease's term.
    pub lease_term: Duration,
    /// The Ed25519 key that signs log checkpoints; without one nothing can be proven.
    pub signing_key: Option<SecretRef>,
    /// A file that each signed log checkpoint is appended to: the least of the witnesses.
    pub witness_file: Option<String>,
}

/// How tables are loaded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LoadSettings {
    /// Copy lanes side by side.
    #[serde(serialize_with = "decimal")]
    pub lanes: u16,
    /// Heap bytes of one chunk, before the last block is reached.
    #[serde(serialize_with = "decimal")]
    pub chunk_bytes: u64,
    /// The most bytes a second that a phase reads from the source; none means no limit.
    #[serde(serialize_with = "decimals")]
    pub bytes_per_second: Option<u64>,
    /// What `start` does with a table that the target has already.
    pub existing: Existing,
}

/// What `start` does with a table that the target has already.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Existing {
    /// It stops and says so.
    #[default]
    Check,
    /// It drops the table, if it is empty, and makes it anew.
    Recreate,
}

/// How a failback ends whose downtime is over, or that fails, before the source has begun to open.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailbackDeadline {
    /// The traffic stays held and a person is called: whoever fails back may have no target worth returning to.
    #[default]
    Hold,
    /// The traffic returns to the target by itself, as a cutover's returns to the source.
    Return,
}

/// What stops, holds, routes and resumes a phase's traffic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum LeverSettings {
    /// Commands of the team's own. Each gets `SWITCHYARD_PHASE`, `SWITCHYARD_EPOCH` and `SWITCHYARD_POSITION`; the last
    /// two are empty for `observe`, which changes nothing.
    Command {
        /// Holds the traffic; returns when no transaction of the application is open.
        stop: Vec<String>,
        /// Prints `source`, `target`, `held source` or `held target`.
        observe: Vec<String>,
        /// Points the held traffic at the side that is appended as the last argument.
        route: Vec<String>,
        /// Lets the traffic through.
        resume: Vec<String>,
        /// How long one command may take.
        #[serde(serialize_with = "millis")]
        timeout: Duration,
    },
    /// One database entry of a pgbouncer in transaction pooling.
    Pgbouncer {
        /// The admin console's connection string.
        admin: SecretRef,
        /// Its configuration file, which this program rewrites.
        ini: String,
        /// The entry's name.
        database: String,
        /// The entry's connect string for the source: `host=… port=… dbname=…`.
        source: String,
        /// The same for the target.
        target: String,
        /// How long PAUSE may wait for clients that are in a transaction.
        #[serde(serialize_with = "millis")]
        pause_limit: Duration,
    },
}

/// A schema's name, a dot, and a table's name in which `*` stands for any letters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TablePattern(String);

impl TablePattern {
    /// Reads one.
    ///
    /// # Errors
    /// It is no `schema.pattern` with a `*` in the part after the dot.
    pub fn new(text: &str) -> Result<Self, String> {
        match text.split_once('.') {
            Some((schema, rest)) if !schema.is_empty() && !schema.contains('*') && rest.contains('*') => {
                Ok(Self(text.to_owned()))
            }
            _ => Err(format!(
                "`{text}` is no pattern: expected schema.name with a * in the name, as in shop.order_*"
            )),
        }
    }

    /// Whether a table is meant.
    #[must_use]
    pub fn matches(&self, table: &TableName) -> bool {
        fn like(pattern: &str, text: &str) -> bool {
            match pattern.split_once('*') {
                None => pattern == text,
                Some((head, tail)) => text.strip_prefix(head).is_some_and(|rest| {
                    rest.char_indices()
                        .map(|(at, _)| at)
                        .chain([rest.len()])
                        .any(|at| rest.get(at..).is_some_and(|rest| like(tail, rest)))
                }),
            }
        }
        self.0
            .split_once('.')
            .is_some_and(|(schema, pattern)| schema == table.schema && like(pattern, &table.table))
    }
}

impl fmt::Display for TablePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One slice of the data that moves on its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PhasePlan {
    /// Its name.
    pub name: PhaseName,
    /// Its tables that are named outright, parents before children or not.
    pub tables: Vec<TableName>,
    /// Its tables that are named by a pattern: `shop.order_*`. `start` expands them once, by an event.
    pub patterns: Vec<TablePattern>,
    /// The rows of each of its tables that belong to it; none means all of them.
    pub filter: Option<Predicate>,
    /// The same for one table, instead of `filter`.
    pub filters: BTreeMap<TableName, Predicate>,
    /// The phases that must be on the target before this one is cut over.
    pub after: Vec<PhaseName>,
    /// The longest downtime of a cutover or failback.
    #[serde(serialize_with = "millis")]
    pub max_downtime: Duration,
    /// The part of it that is kept for the undo.
    #[serde(serialize_with = "millis")]
    pub undo_reserve: Duration,
    /// How long a closed fence waits for the writers that were open.
    #[serde(serialize_with = "millis")]
    pub fence_patience: Duration,
    /// Whether such writers are ended when the patience is over.
    pub terminate_blockers: bool,
    /// The replication lag above which no cutover begins.
    #[serde(serialize_with = "millis")]
    pub lag_limit: Duration,
    /// How a failback ends whose downtime is over.
    pub failback_deadline: FailbackDeadline,
    /// What stops its traffic.
    pub lever: LeverSettings,
}

/// A whole plan, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The migration's name.
    pub migration: MigrationName,
    /// Where the source's connection string is kept.
    pub source: SecretRef,
    /// Where the target's is kept.
    pub target: SecretRef,
    /// The journal.
    pub journal: JournalSettings,
    /// The socket that `serve` listens on and `chat` speaks to.
    pub socket: String,
    /// The people.
    pub people: BTreeMap<PersonId, Person>,
    /// Groups that stand for roles.
    pub groups: Vec<Group>,
    /// Who must approve what; every operation has its policy.
    pub approvals: BTreeMap<Operation, ApprovalPolicy>,
    /// Who may break the glass.
    pub break_glass: BreakGlass,
    /// When operations may begin; none means always.
    pub windows: Vec<Window>,
    /// How tables are loaded.
    pub load: LoadSettings,
    /// The phases, in the file's order.
    pub phases: Vec<PhasePlan>,
}

/// One thing wrong in a plan, with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanProblem {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// What is wrong and what was expected.
    pub what: String,
    /// What was probably meant.
    pub suggestion: Option<String>,
}

impl fmt::Display for PlanProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}: {}", self.line, self.column, self.what)?;
        self.suggestion.iter().try_for_each(|meant| write!(f, "; did you mean `{meant}`?"))
    }
}

/// Everything wrong in a plan.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub struct PlanProblems(pub Vec<PlanProblem>);

fn decimals<S: Serializer>(value: &Option<u64>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&value.map_or_else(|| "none".to_owned(), |value| value.to_string()))
}

fn millis<S: Serializer>(value: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&value.as_millis())
}

fn decimal<T: fmt::Display, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}
