//! A plan's settings one by one, as its file would say them: what `plan show` prints and `plan diff` compares.

use std::fmt::Display;
use std::time::Duration;

use journal::plan::{Existing, Platform, Window, WindowKind};
use journal::{FailbackDeadline, Group, LeverSettings, Operation, Person, PhasePlan, Plan, Role};

use crate::words::group;

/// A table of the plan with what it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Said {
    /// As people name it: `[load]`, `[[person]] ana`.
    pub(super) title: String,
    /// Each key with its value.
    pub(super) settings: Vec<(String, String)>,
}

impl Said {
    fn new(title: impl Into<String>) -> Self {
        Self { title: title.into(), settings: Vec::new() }
    }

    fn with(mut self, key: impl Into<String>, value: impl Display) -> Self {
        self.settings.push((key.into(), hidden(&value.to_string())));
        self
    }

    fn with_some(self, key: &str, value: Option<impl Display>) -> Self {
        match value {
            Some(value) => self.with(key, value),
            None => self,
        }
    }

    /// What a key says, if it says anything.
    pub(super) fn get(&self, key: &str) -> Option<&str> {
        self.settings.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }
}

/// A length of time as a plan says it: exactly, in the largest unit.
pub(super) fn exact(of: Duration) -> String {
    let millis = of.as_millis();
    match millis {
        _ if !millis.is_multiple_of(1_000) => format!("{millis}ms"),
        _ if !millis.is_multiple_of(60_000) => format!("{}s", millis / 1_000),
        _ if !millis.is_multiple_of(3_600_000) => format!("{}m", millis / 60_000),
        _ => format!("{}h", millis / 3_600_000),
    }
}

/// A text without the passwords that a connect string may hold.
pub(super) fn hidden(text: &str) -> String {
    let mut kept = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("password=") {
        kept.push_str(before);
        kept.push_str("password=…");
        rest = after.find(char::is_whitespace).and_then(|at| after.get(at..)).unwrap_or_default();
    }
    kept.push_str(rest);
    kept
}

fn words<T: Display>(items: impl IntoIterator<Item = T>) -> String {
    items.into_iter().map(|item| item.to_string()).collect::<Vec<_>>().join(", ")
}

pub(in crate::words) const fn role(role: Role) -> &'static str {
    match role {
        Role::Operator => "operator",
        Role::Approver => "approver",
    }
}

/// A person's accounts, each with its platform.
pub(super) fn accounts(person: &Person) -> Vec<String> {
    let named = |(platform, account): (&Platform, &String)| match platform {
        Platform::Github => format!("github {account}"),
        Platform::Slack => format!("slack {account}"),
        Platform::Discord => format!("discord {account}"),
    };
    person.accounts.iter().map(named).collect()
}

/// A window in one line.
pub(super) fn window(window: &Window) -> String {
    let kind = match window.kind {
        WindowKind::Allowed => "allowed",
        WindowKind::Frozen => "frozen",
    };
    let phases = if window.phases.is_empty() { "all phases".to_owned() } else { words(&window.phases) };
    let why = window.why.as_ref().map(|why| format!(" ({why})")).unwrap_or_default();
    format!(
        "{kind}: {} for {} from `{}` in {}, for {phases}{why}",
        words(window.operations.iter().copied().map(journal::plan::key)),
        exact(window.lasts),
        window.cron,
        window.time_zone
    )
}

fn person(person: &Person) -> Said {
    let token = person.local_token_sha256.as_ref();
    Said::new(format!("[[person]] {}", person.id))
        .with("roles", words(person.roles.iter().map(|each| role(*each))))
        .with_some("local_token_sha256", token.map(|token| token.chars().take(8).collect::<String>() + "…"))
        .with_some("accounts", Some(accounts(person).join(", ")).filter(|all| !all.is_empty()))
}

/// The sections that every phase is bound to, in the file's usual order.
pub(super) fn shared(plan: &Plan) -> Vec<Said> {
    let mut all = vec![
        Said::new("[migration]")
            .with("name", &plan.migration)
            .with("source", &plan.source)
            .with("target", &plan.target),
        Said::new("[journal]")
            .with("lease", exact(plan.journal.lease_term))
            .with_some("signing_key", plan.journal.signing_key.as_ref()),
    ];
    all.extend(plan.people.values().map(person));
    let group = |each: &Group| Said::new(format!("[[group]] {}", group(each))).with("role", role(each.role));
    all.extend(plan.groups.iter().map(group));
    for operation in Operation::ALL {
        let policy = plan.policy(operation);
        all.push(
            Said::new(format!("[approvals.{}]", journal::plan::key(operation)))
                .with("required", policy.required)
                .with("role", role(policy.role))
                .with("expires", exact(policy.expires))
                .with("exclude_requester", policy.exclude_requester)
                .with("exclude_author", policy.exclude_author)
                .with("bind_commit", policy.bind_commit),
        );
    }
    all.push(
        Said::new("[break_glass]")
            .with("role", role(plan.break_glass.role))
            .with("review_within", exact(plan.break_glass.review_within)),
    );
    let existing = match plan.load.existing {
        Existing::Check => "check",
        Existing::Recreate => "recreate",
    };
    all.push(
        Said::new("[load]")
            .with("lanes", plan.load.lanes)
            .with("chunk_bytes", plan.load.chunk_bytes)
            .with_some("bytes_per_second", plan.load.bytes_per_second)
            .with("existing", existing),
    );
    all
}

/// What the plan says that is not part of its meaning.
pub(super) fn places(plan: &Plan) -> Said {
    Said::new("the places")
        .with("[journal] url", &plan.journal.place)
        .with_some("[journal] witness", plan.journal.witness_file.as_ref())
        .with("[serve] socket", &plan.socket)
}

/// A phase.
pub(super) fn phase(phase: &PhasePlan) -> Said {
    let mut tables: Vec<String> = phase.tables.iter().map(ToString::to_string).collect();
    tables.extend(phase.patterns.iter().map(ToString::to_string));
    let mut said = Said::new(format!("phase {}", phase.name))
        .with("tables", words(tables))
        .with_some("filter", phase.filter.as_ref());
    for (table, filter) in &phase.filters {
        said = said.with(format!("filter of {table}"), filter);
    }
    let deadline = match phase.failback_deadline {
        FailbackDeadline::Hold => "hold",
        FailbackDeadline::Return => "return",
    };
    said = said
        .with_some("after", Some(words(&phase.after)).filter(|after| !after.is_empty()))
        .with("max_downtime", exact(phase.max_downtime))
        .with("undo_reserve", exact(phase.undo_reserve))
        .with("fence_patience", exact(phase.fence_patience))
        .with("terminate_blockers", phase.terminate_blockers)
        .with("lag_limit", exact(phase.lag_limit))
        .with("failback_deadline", deadline);
    let call = |argv: &[String]| argv.join(" ");
    match &phase.lever {
        LeverSettings::Command { stop, observe, route, resume, timeout } => said
            .with("lever", "command")
            .with("lever stop", call(stop))
            .with("lever observe", call(observe))
            .with("lever route", call(route))
            .with("lever resume", call(resume))
            .with("lever timeout", exact(*timeout)),
        LeverSettings::Pgbouncer { admin, ini, database, source, target, pause_limit } => said
            .with("lever", "pgbouncer")
            .with("lever admin", admin)
            .with("lever ini", ini)
            .with("lever database", database)
            .with("lever source", source)
            .with("lever target", target)
            .with("lever pause_limit", exact(*pause_limit)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_exact() {
        for (millis, said) in
            [(500, "500ms"), (1_500, "1500ms"), (90_000, "90s"), (60_000, "1m"), (14_400_000, "4h")]
        {
            assert_eq!(exact(Duration::from_millis(millis)), said);
        }
    }

    #[test]
    fn a_connect_string_is_shown_without_its_password() {
        assert_eq!(
            hidden("host=a password=hunter2 port=1 password=x"),
            "host=a password=… port=1 password=…"
        );
        assert_eq!(hidden("host=a port=1"), "host=a port=1");
    }
}
