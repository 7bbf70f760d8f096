//! From TOML to a checked plan: everything that is wrong, with its place.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::time::Duration;

use serde::Deserialize;
use toml::Spanned;

use super::key;
use super::model::{
    ApprovalPolicy, BreakGlass, Existing, FailbackDeadline, JournalPlace, JournalSettings, LeverSettings,
    LoadSettings, Person, PhasePlan, Plan, PlanProblem, PlanProblems, Role, SecretRef,
};
use crate::ids::{MigrationName, PersonId, PhaseName, TableName};
use crate::operation::Operation;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPlan {
    migration: RawMigration,
    journal: RawJournal,
    serve: Option<RawServe>,
    #[serde(default)]
    person: Vec<RawPerson>,
    #[serde(default)]
    approvals: BTreeMap<String, Spanned<RawPolicy>>,
    load: Option<RawLoad>,
    #[serde(default)]
    phase: Vec<RawPhase>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawMigration {
    name: Spanned<String>,
    source: Spanned<String>,
    target: Spanned<String>,
    engine: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawJournal {
    url: Spanned<String>,
    lease: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawServe {
    socket: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPerson {
    id: Spanned<String>,
    #[serde(default)]
    roles: BTreeSet<Role>,
    local_token_sha256: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPolicy {
    required: Option<Spanned<u8>>,
    role: Option<Role>,
    expires: Option<Spanned<String>>,
    exclude_requester: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawLoad {
    lanes: Option<Spanned<u16>>,
    chunk_bytes: Option<Spanned<u64>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPhase {
    name: Spanned<String>,
    tables: Spanned<Vec<Spanned<String>>>,
    max_downtime: Option<Spanned<String>>,
    undo_reserve: Option<Spanned<String>>,
    fence_patience: Option<Spanned<String>>,
    #[serde(default)]
    terminate_blockers: bool,
    lag_limit: Option<Spanned<String>>,
    #[serde(default)]
    failback_deadline: FailbackDeadline,
    lever: Spanned<RawLever>,
}

#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
enum RawLever {
    Command {
        stop: Vec<String>,
        observe: Vec<String>,
        route: Vec<String>,
        resume: Vec<String>,
        timeout: Option<String>,
    },
    Pgbouncer {
        admin: String,
        ini: String,
        database: String,
        source: String,
        target: String,
        pause_limit: Option<String>,
    },
}

/// Reads a raw plan into a checked one, and gathers everything that is wrong on the way.
struct Reader<'t> {
    text: &'t str,
    problems: Vec<PlanProblem>,
}

impl Reader<'_> {
    fn problem(&mut self, span: Range<usize>, what: impl Into<String>) {
        let before = self.text.get(..span.start).unwrap_or(self.text);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        self.problems.push(PlanProblem { line, column, what: what.into(), suggestion: None });
    }

    fn read<T>(
        &mut self,
        text: &Spanned<String>,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        match parse(text.get_ref()) {
            Ok(value) => Some(value),
            Err(what) => {
                self.problem(text.span(), what);
                None
            }
        }
    }

    fn secret(&mut self, text: &Spanned<String>, key: &str) -> Option<SecretRef> {
        self.read(text, |given| {
            SecretRef::parse(given).ok_or_else(|| {
                format!("`{key}` must say where the connection string is kept, env:NAME or file:PATH, never the string itself")
            })
        })
    }

    fn duration(&mut self, text: Option<&Spanned<String>>, default: Duration) -> Duration {
        text.and_then(|text| self.read(text, duration)).unwrap_or(default)
    }

    fn lever(&mut self, raw: &Spanned<RawLever>) -> Option<LeverSettings> {
        let span = raw.span();
        match raw.get_ref() {
            RawLever::Command { stop, observe, route, resume, timeout } => {
                for (key, argv) in
                    [("stop", stop), ("observe", observe), ("route", route), ("resume", resume)]
                {
                    if argv.is_empty() {
                        self.problem(span.clone(), format!("`{key}` needs at least a program's name"));
                    }
                }
                let timeout = self.nested(&span, timeout.as_deref(), Duration::from_secs(10));
                Some(LeverSettings::Command {
                    stop: stop.clone(),
                    observe: observe.clone(),
                    route: route.clone(),
                    resume: resume.clone(),
                    timeout,
                })
            }
            RawLever::Pgbouncer { admin, ini, database, source, target, pause_limit } => {
                let Some(admin) = SecretRef::parse(admin) else {
                    self.problem(span, "`admin` must say where the console's connection string is kept, env:NAME or file:PATH");
                    return None;
                };
                let pause_limit = self.nested(&span, pause_limit.as_deref(), Duration::from_secs(5));
                Some(LeverSettings::Pgbouncer {
                    admin,
                    ini: ini.clone(),
                    database: database.clone(),
                    source: source.clone(),
                    target: target.clone(),
                    pause_limit,
                })
            }
        }
    }

    fn nested(&mut self, span: &Range<usize>, text: Option<&str>, default: Duration) -> Duration {
        match text.map(duration) {
            None => default,
            Some(Ok(value)) => value,
            Some(Err(what)) => {
                self.problem(span.clone(), what);
                default
            }
        }
    }

    fn phase(&mut self, raw: &RawPhase) -> Option<PhasePlan> {
        let name = self.read(&raw.name, |text| PhaseName::new(text).map_err(|e| e.to_string()));
        let mut tables = Vec::new();
        if raw.tables.get_ref().is_empty() {
            self.problem(raw.tables.span(), "a phase needs at least one table");
        }
        for table in raw.tables.get_ref() {
            let read = self.read(table, |text| text.parse::<TableName>().map_err(|e| e.to_string()));
            match read {
                Some(name) if tables.contains(&name) => {
                    self.problem(table.span(), format!("the table {name} is named twice"));
                }
                Some(name) => tables.push(name),
                None => {}
            }
        }
        let max_downtime = self.duration(raw.max_downtime.as_ref(), Duration::from_secs(60));
        let reserve = (max_downtime / 4).min(Duration::from_secs(10));
        let undo_reserve = self.duration(raw.undo_reserve.as_ref(), reserve);
        if undo_reserve >= max_downtime {
            let span = raw.undo_reserve.as_ref().map_or_else(|| raw.name.span(), Spanned::span);
            self.problem(span, "`undo_reserve` must be shorter than `max_downtime`");
        }
        let fence_patience = self.duration(raw.fence_patience.as_ref(), Duration::from_secs(5));
        let lag_limit = self.duration(raw.lag_limit.as_ref(), Duration::from_secs(2));
        let lever = self.lever(&raw.lever);
        Some(PhasePlan {
            name: name?,
            tables,
            patterns: Vec::new(),
            filter: None,
            filters: BTreeMap::new(),
            after: Vec::new(),
            max_downtime,
            undo_reserve,
            fence_patience,
            terminate_blockers: raw.terminate_blockers,
            lag_limit,
            failback_deadline: raw.failback_deadline,
            lever: lever?,
        })
    }

    fn people(&mut self, raw: &[RawPerson]) -> BTreeMap<PersonId, Person> {
        let mut people = BTreeMap::new();
        let mut tokens = BTreeSet::new();
        for person in raw {
            let Some(id) = self.read(&person.id, |text| PersonId::new(text).map_err(|e| e.to_string()))
            else {
                continue;
            };
            if let Some(token) = &person.local_token_sha256 {
                let digits = token.get_ref();
                if digits.len() != 64
                    || !digits.chars().all(|c| c.is_ascii_hexdigit() && !c.is_ascii_uppercase())
                {
                    self.problem(
                        token.span(),
                        "expected the SHA-256 of the token: 64 lower-case hexadecimal digits",
                    );
                } else if !tokens.insert(digits.clone()) {
                    self.problem(
                        token.span(),
                        "two persons have the same token: one of them could approve as both",
                    );
                }
            }
            let local_token_sha256 = person.local_token_sha256.as_ref().map(|token| token.get_ref().clone());
            let entry = Person {
                id: id.clone(),
                roles: person.roles.clone(),
                local_token_sha256,
                accounts: BTreeMap::new(),
            };
            if people.insert(id.clone(), entry).is_some() {
                self.problem(person.id.span(), format!("the person {id} is named twice"));
            }
        }
        people
    }

    fn approvals(
        &mut self,
        raw: &BTreeMap<String, Spanned<RawPolicy>>,
    ) -> BTreeMap<Operation, ApprovalPolicy> {
        let mut policies: BTreeMap<Operation, ApprovalPolicy> = Operation::ALL
            .into_iter()
            .map(|operation| {
                let policy = ApprovalPolicy {
                    required: operation.default_approvals(),
                    role: Role::Approver,
                    expires: Duration::from_secs(4 * 3600),
                    exclude_requester: false,
                };
                (operation, policy)
            })
            .collect();
        for (word, policy) in raw {
            let span = policy.span();
            let Some(operation) = Operation::ALL.into_iter().find(|operation| key(*operation) == word) else {
                let known: Vec<_> = Operation::ALL.into_iter().map(key).collect();
                self.problem(span, format!("`{word}` is no operation: expected one of {}", known.join(", ")));
                continue;
            };
            let policy = policy.get_ref();
            let Some(kept) = policies.get_mut(&operation) else { continue };
            if let Some(role) = policy.role {
                kept.role = role;
            }
            if let Some(exclude) = policy.exclude_requester {
                kept.exclude_requester = exclude;
            }
            kept.expires = self.duration(policy.expires.as_ref(), kept.expires);
            if let Some(required) = &policy.required {
                let least = operation.default_approvals();
                if *required.get_ref() < least {
                    self.problem(
                        required.span(),
                        format!("{operation} needs at least {least} distinct persons"),
                    );
                } else {
                    kept.required = *required.get_ref();
                }
            }
        }
        policies
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || {
        format!("`{text}` is not a duration: expected a whole number and a unit, as in 500ms, 60s, 5m, 4h")
    };
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number: u64 = digits.parse().map_err(|_| wrong())?;
    let unit = text.strip_prefix(digits).unwrap_or_default();
    let millis = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(wrong()),
    };
    let total = number.checked_mul(millis).filter(|total| *total > 0).ok_or_else(wrong)?;
    Ok(Duration::from_millis(total))
}

impl Reader<'_> {
    fn load(&mut self, raw: Option<&RawLoad>) -> LoadSettings {
        let mut load = LoadSettings {
            lanes: 2,
            chunk_bytes: 8 * 1024 * 1024,
            bytes_per_second: None,
            existing: Existing::Check,
        };
        if let Some(lanes) = raw.and_then(|raw| raw.lanes.as_ref()) {
            load.lanes = *lanes.get_ref();
            if !(1..=32).contains(&load.lanes) {
                self.problem(lanes.span(), "`lanes` must be from 1 to 32");
            }
        }
        if let Some(bytes) = raw.and_then(|raw| raw.chunk_bytes.as_ref()) {
            load.chunk_bytes = *bytes.get_ref();
            if load.chunk_bytes < 8192 {
                self.problem(bytes.span(), "`chunk_bytes` must be at least one block, 8192");
            }
        }
        load
    }

    /// Refuses a plan under which an operation could never get its approvals.
    fn check_quorum(
        &mut self,
        raw: &RawPlan,
        people: &BTreeMap<PersonId, Person>,
        approvals: &BTreeMap<Operation, ApprovalPolicy>,
    ) {
        for (operation, policy) in approvals {
            let able = people.values().filter(|person| person.roles.contains(&policy.role)).count();
            if able < usize::from(policy.required) {
                let span = raw.person.last().map_or_else(|| raw.migration.name.span(), |last| last.id.span());
                let role = if policy.role == Role::Approver { "approver" } else { "operator" };
                self.problem(
                    span,
                    format!(
                        "{operation} needs {} persons with the role {role}, the plan has {able}",
                        policy.required
                    ),
                );
            }
        }
        if !people.values().any(|person| person.roles.contains(&Role::Operator)) {
            self.problem(
                raw.migration.name.span(),
                "nobody has the role operator, so nobody could start a phase",
            );
        }
    }
}

impl Plan {
    /// Reads a plan.
    ///
    /// # Errors
    /// Everything that is wrong, each with its line and column. What the TOML parser itself refuses comes alone.
    pub fn parse(text: &str) -> Result<Self, PlanProblems> {
        let mut reader = Reader { text, problems: Vec::new() };
        let raw: RawPlan = match toml::from_str(text) {
            Ok(raw) => raw,
            Err(error) => {
                reader.problem(error.span().unwrap_or(0..0), error.message().to_owned());
                return Err(PlanProblems(reader.problems));
            }
        };
        let migration =
            reader.read(&raw.migration.name, |text| MigrationName::new(text).map_err(|e| e.to_string()));
        let source = reader.secret(&raw.migration.source, "source");
        let target = reader.secret(&raw.migration.target, "target");
        if let Some(engine) = raw.migration.engine.as_ref().filter(|engine| engine.get_ref() != "native") {
            reader.problem(engine.span(), "the engine must be \"native\"");
        }
        let place = reader.read(&raw.journal.url, |text| match text.strip_prefix("sqlite:") {
            Some(file) if !file.is_empty() => Ok(JournalPlace::Sqlite(file.to_owned())),
            _ => Err("the journal's url must be sqlite:FILE".to_owned()),
        });
        let lease_term = reader.duration(raw.journal.lease.as_ref(), Duration::from_secs(5));
        if let Some(lease) = raw.journal.lease.as_ref().filter(|_| lease_term < Duration::from_millis(500)) {
            reader.problem(lease.span(), "a lease shorter than 500ms would be lost under load");
        }
        let people = reader.people(&raw.person);
        let approvals = reader.approvals(&raw.approvals);
        let load = reader.load(raw.load.as_ref());
        let mut phases: Vec<PhasePlan> = Vec::new();
        for phase in &raw.phase {
            let Some(read) = reader.phase(phase) else { continue };
            if phases.iter().any(|other| other.name == read.name) {
                reader.problem(phase.name.span(), format!("the phase {} is named twice", read.name));
            }
            let shared =
                phases.iter().flat_map(|other| &other.tables).find(|table| read.tables.contains(table));
            if let Some(table) = shared {
                let what = format!(
                    "the table {table} is in two phases, and without filters phases cannot share a table"
                );
                reader.problem(phase.tables.span(), what);
            }
            phases.push(read);
        }
        if phases.is_empty() && raw.phase.is_empty() {
            reader.problem(raw.migration.name.span(), "a plan needs at least one [[phase]]");
        }
        reader.check_quorum(&raw, &people, &approvals);
        let socket = raw.serve.and_then(|serve| serve.socket).unwrap_or_else(|| "switchyard.sock".to_owned());
        match (migration, source, target, place) {
            (Some(migration), Some(source), Some(target), Some(place)) if reader.problems.is_empty() => {
                Ok(Self {
                    migration,
                    source,
                    target,
                    journal: JournalSettings { place, lease_term, signing_key: None, witness_file: None },
                    socket,
                    people,
                    approvals,
                    break_glass: BreakGlass {
                        role: Role::Approver,
                        review_within: Duration::from_secs(24 * 3600),
                    },
                    windows: Vec::new(),
                    load,
                    phases,
                })
            }
            _ => Err(PlanProblems(reader.problems)),
        }
    }
}
