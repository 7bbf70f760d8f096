//! What databases say of a plan, and the plan that is written from one.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use executors::TrafficState;
use executors::postgres::live::Seen;
use executors::postgres::survey::{Inventory, Obstacle, Reader, groups};
use journal::quote::ident;
use journal::{Finding, MigrationName, PhaseName, SecretRef, TableName};

use super::list;

/// A finding in one line, for a place in the plan.
#[must_use]
pub fn live_problem(finding: &Finding) -> String {
    format!("[{}] {}. {}", finding.code, finding.what, finding.remedy)
}

/// What was seen that is neither right nor wrong.
#[must_use]
pub fn live(seen: &Seen) -> String {
    let mut lines: Vec<String> = seen
        .expanded
        .iter()
        .map(|(phase, pattern, tables)| match tables.len() {
            0 => format!("phase {phase}: {pattern} is no table"),
            1 => format!("phase {phase}: {pattern} is 1 table: {}", list(tables)),
            count => format!("phase {phase}: {pattern} is {count} tables: {}", list(tables)),
        })
        .collect();
    if !seen.begun.is_empty() {
        lines.push(format!("begun already, and not looked at again: {}", list(&seen.begun)));
    }
    lines.push("Both databases and the levers were looked at; nothing was changed.".to_owned());
    lines.join("\n")
}

/// A warning about one phase.
#[must_use]
pub fn of_phase(phase: &PhaseName, warning: &str) -> String {
    format!("phase {phase}: {warning}")
}

/// A lever that is not where a phase that has not begun needs it.
#[must_use]
pub fn lever_elsewhere(phase: &PhaseName, state: TrafficState) -> String {
    let state = match state {
        TrafficState::Source => "leads to the source".to_owned(),
        TrafficState::Target => "leads to the target".to_owned(),
        TrafficState::Held(side) => format!("holds the traffic at the {side}"),
    };
    format!(
        "phase {phase}: the lever {state} now; a cutover begins only while it leads to the source and lets it through"
    )
}

/// What stands in a plan's way.
#[must_use]
pub fn live_count(count: usize) -> String {
    if count == 1 {
        "1 thing stands in the way of this plan.".to_owned()
    } else {
        format!("{count} things stand in the way of this plan.")
    }
}

/// A side could not be looked at.
#[must_use]
pub fn not_checked(cause: &str) -> String {
    format!("The databases could not be looked at: {cause}.")
}

/// An option is no place of a secret.
#[must_use]
pub fn no_place(option: &str) -> String {
    format!(
        "{option}: expected env:NAME or file:PATH, where the connection string is kept. What was given is not repeated, since \
         a connection string holds a password: put it into an environment variable, say SHOP_SOURCE, and give env:SHOP_SOURCE."
    )
}

/// There is a file of that name.
#[must_use]
pub fn plan_not_written(file: &std::path::Path, error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::AlreadyExists => {
            format!("{} is there already, and is never overwritten: name another file.", file.display())
        }
        _ => format!("{} cannot be written: {error}.", file.display()),
    }
}

/// A plan was written.
#[must_use]
pub fn plan_written(file: &std::path::Path, tables: usize) -> String {
    format!(
        "{0} is written, with {tables} tables. Fill in what it says FILL IN, then: switchyard plan check {0}",
        file.display()
    )
}

/// A number of bytes for people.
fn bytes(count: i64) -> String {
    let mut unit = "B";
    let (mut whole, mut tenths) = (count, 0);
    for next in ["kB", "MB", "GB", "TB"] {
        if whole < 1024 {
            break;
        }
        tenths = (whole % 1024) * 10 / 1024;
        whole /= 1024;
        unit = next;
    }
    if unit == "B" { format!("{whole} B") } else { format!("{whole}.{tenths} {unit}") }
}

fn rows(table: &Inventory) -> String {
    table.rows.map_or_else(|| "rows unknown".to_owned(), |rows| format!("about {rows} rows"))
}

/// Text in a comment of one line.
fn aside(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { '?' } else { letter }).collect()
}

/// A text as TOML writes it.
fn toml(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// Whether a plan can name it, and mean this table alone.
fn is_writable(table: &TableName) -> bool {
    let text = table.to_string();
    !text.contains('*')
        && !text.contains(char::is_control)
        && text.parse().is_ok_and(|read: TableName| read == *table)
}

fn remedy(table: &Inventory) -> String {
    let name = format!("{}.{}", ident(&table.table.schema), ident(&table.table.table));
    match table.obstacle {
        Some(Obstacle::Foreign) => "a foreign table: its rows are on another server".to_owned(),
        Some(Obstacle::Partitioned) => "partitioned: this version moves ordinary tables only".to_owned(),
        Some(Obstacle::Inherits) => {
            "part of an inheritance tree: this version moves ordinary tables only".to_owned()
        }
        Some(Obstacle::Unlogged) => format!("unlogged: alter table {name} set logged"),
        Some(Obstacle::NoKey) => format!("no primary key: alter table {name} add primary key (…)"),
        Some(Obstacle::UnusableKey) => {
            "its primary key is deferrable, invalid or holds a generated column: make it anew".to_owned()
        }
        Some(Obstacle::Identity) => {
            format!("its replica identity: alter table {name} replica identity default")
        }
        Some(Obstacle::Fires) => format!(
            "a trigger that fires on replicated rows, too (ENABLE ALWAYS or REPLICA): alter table {name} enable trigger …"
        ),
        Some(Obstacle::Bound) => format!(
            "it references {}, of which one cannot be moved: make that table movable, or drop the foreign key",
            list(&table.references)
        ),
        None => "its name cannot be written in a plan: rename it".to_owned(),
    }
}

/// A phase's name from its biggest table's.
fn phase_name(table: &str, taken: &mut BTreeSet<String>) -> String {
    let plain = |letter: char| if letter.is_ascii_alphanumeric() { letter.to_ascii_lowercase() } else { '-' };
    let slug: String = table.chars().take(36).map(plain).collect();
    let slug = slug.trim_matches('-');
    let slug = if PhaseName::new(slug).is_ok() { slug } else { "phase" };
    let names = std::iter::once(slug.to_owned()).chain((2..).map(|number| format!("{slug}-{number}")));
    let mut free = names.filter(|name| !taken.contains(name));
    let name = free.next().unwrap_or_default();
    taken.insert(name.clone());
    name
}

/// A plan from what a source has, with places to fill in.
#[must_use]
pub fn plan_begun(
    migration: &MigrationName,
    (source, target): (&SecretRef, &SecretRef),
    (tables, readers): (&[Inventory], &[Reader]),
) -> String {
    let total: i64 = tables.iter().map(|table| table.bytes).sum();
    let mut text = format!(
        "# A plan to begin with, from what {source} has: {count} tables, {total}. Review it; nothing has happened yet.\n\
         #\n\
         #   1. Fill in what says FILL IN: the people, and each phase's lever.\n\
         #   2. switchyard plan check THIS-FILE              prints what is wrong, with line and column\n\
         #      switchyard plan check THIS-FILE --connect    the same, held against both databases\n\
         #   3. switchyard serve --plan THIS-FILE\n\n\
         [migration]\nname = {name}\nsource = {source_text}   # the database being left\n\
         target = {target_text}   # the database being moved to: where its connection string is kept\n\n\
         # Without a key the journal cannot prove itself: switchyard journal key new --name {migration}.switchyard -o {migration}.key\n\
         [journal]\nurl = {journal}\n\
         # signing_key = {key}\n\
         # witness = {witness}   # each signed log checkpoint is appended here: keep it where the journal is not\n\n\
         [serve]\nsocket = {socket}\n\n\
         # `switchyard token new` makes a person's token, which is theirs alone, and prints the line to put here.\n\
         # Cutover, failback, complete and retire need two distinct persons.\n\n",
        count = tables.len(),
        total = bytes(total),
        name = toml(migration.as_str()),
        source_text = toml(&source.to_string()),
        target_text = toml(&target.to_string()),
        key = toml(&format!("file:{migration}.key")),
        witness = toml(&format!("{migration}.witness")),
        journal = toml(&format!("sqlite:{migration}.journal")),
        socket = toml(&format!("{migration}.sock")),
    );
    for (id, roles) in [("first-person", "[\"operator\", \"approver\"]"), ("second-person", "[\"approver\"]")]
    {
        let _written = write!(
            text,
            "[[person]]\nid = \"{id}\"   # FILL IN\nroles = {roles}\nlocal_token_sha256 = \"FILL IN: {id}\"\n\n"
        );
    }
    let mut names = BTreeSet::new();
    text.push_str(
        "# Phases: tables that foreign keys, sequences and triggers tie together, the largest first. A phase moves, and can go \
         back, as one.\n\
         # What one transaction of the application writes or reads belongs into one phase, too: no catalog tells that, so join \
         phases\n# where it is so.\n",
    );
    for group in groups(tables) {
        phase(&mut text, &group, &mut names);
    }
    let left: Vec<&Inventory> =
        tables.iter().filter(|table| table.obstacle.is_some() || !is_writable(&table.table)).collect();
    if !left.is_empty() {
        text.push_str("\n# These are in no phase, since they cannot be moved as they are:\n#\n");
        for table in left {
            let line = format!("{}  {}, {}; {}", table.table, bytes(table.bytes), rows(table), remedy(table));
            let _written = writeln!(text, "#   {}", aside(&line));
        }
    }
    if !readers.is_empty() {
        text.push_str("\n# No phase brings these to the target: make them there before its cutover.\n#\n");
        for reader in readers {
            let over: Vec<String> = reader.over.iter().map(ToString::to_string).collect();
            let line = match reader.over.contains(&reader.name) {
                true => reader.to_string(),
                false => format!("{reader}, over {}", over.join(", ")),
            };
            let _written = writeln!(text, "#   {}", aside(&line));
        }
    }
    text
}

fn phase(text: &mut String, group: &[&Inventory], names: &mut BTreeSet<String>) {
    let group: Vec<&&Inventory> = group.iter().filter(|table| is_writable(&table.table)).collect();
    let Some(biggest) = group.first() else { return };
    let name = phase_name(&biggest.table.table, names);
    let size: i64 = group.iter().map(|table| table.bytes).sum();
    let _written = write!(text, "\n[[phase]]   # {}\nname = {}\ntables = [\n", bytes(size), toml(&name));
    for table in &group {
        let mut known = format!("{}, {}, key ({})", bytes(table.bytes), rows(table), table.key.join(", "));
        if !table.references.is_empty() {
            let _written = write!(known, ", references {}", list(&table.references));
        }
        if !table.sequences.is_empty() {
            let _written = write!(known, ", shares {}", list(&table.sequences));
        }
        if !table.writes.is_empty() {
            let _written = write!(known, ", a trigger of it writes {}", list(&table.writes));
        }
        let _written = writeln!(text, "  {},   # {}", toml(&table.table.to_string()), aside(&known));
    }
    let _written = write!(
        text,
        "]\nmax_downtime = \"60s\"   # of a cutover or failback; when it is over, a cutover undoes by itself\n\n\
         [phase.lever]   # FILL IN: what stops, holds, routes and resumes this phase's traffic; or kind = \"pgbouncer\"\n\
         kind = \"command\"\n\
         stop = [\"{name}-traffic\", \"stop\"]\nobserve = [\"{name}-traffic\", \"where\"]\n\
         route = [\"{name}-traffic\", \"route\"]\nresume = [\"{name}-traffic\", \"resume\"]\n"
    );
}
