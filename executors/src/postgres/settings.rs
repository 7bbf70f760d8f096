//! What a database gives every session that begins in it, ours aside: those pin their own.
//!
//! An application meets other settings after a switch if the other database has others, and that shows in no table. One of
//! them is worse than a surprise: a database that was kept from being written to refuses all that comes after the switch.

use std::collections::BTreeMap;

use journal::{Finding, Side};
use tokio_postgres::{Client, Error};

use crate::postgres::database::Database;
use crate::postgres::preflight::Found;
use crate::seams::Cause;

const READ_ONLY: &str = "default_transaction_read_only";

/// Whose settings: all of this database, or everywhere the role's that is connected, and what they are.
const SETTINGS: &str = "select s.setrole <> 0, split_part(c, '=', 1), substr(c, strpos(c, '=') + 1) \
     from pg_db_role_setting s, unnest(s.setconfig) c \
     where s.setrole = 0 and s.setdatabase = (select oid from pg_database where datname = current_database()) \
        or s.setrole = (select oid from pg_roles where rolname = session_user) \
     order by s.setdatabase";

/// What a session of this role began with, before it was pinned: of now, so by a session that has just begun.
const BEGAN: &str = "select reset_val from pg_settings where name = $1";

#[derive(Debug, Default)]
struct Settings {
    /// Of the database, by name.
    database: BTreeMap<String, String>,
    /// Whether every session begins read-only that no role's own setting spares.
    is_read_only: bool,
}

async fn settings(database: &Database) -> Result<Settings, Cause> {
    let client = database.connect().await?;
    read(&client).await.map_err(|error| database.cause("does not say its settings", &error))
}

async fn read(client: &Client) -> Result<Settings, Error> {
    let mut settings = Settings::default();
    let mut of_role = None;
    for row in client.query(SETTINGS, &[]).await? {
        let (is_role, name, value): (bool, String, String) = (row.get(0), row.get(1), row.get(2));
        if !is_role {
            settings.database.insert(name, value);
        } else if name == READ_ONLY {
            of_role = Some(value);
        }
    }
    let is_on = |value: &str| ["on", "true", "yes", "1"].contains(&value.to_lowercase().as_str());
    settings.is_read_only = match (settings.database.get(READ_ONLY), of_role) {
        (Some(value), _) => is_on(value),
        // What the server's own files say cannot be seen past the role's.
        (None, Some(_)) => false,
        (None, None) => is_on(client.query_one(BEGAN, &[&READ_ONLY]).await?.get(0)),
    };
    Ok(settings)
}

/// Looks at both before a phase is started.
///
/// # Errors
/// A side cannot be asked.
pub(crate) async fn look(source: &Database, target: &Database, found: &mut Found) -> Result<(), Cause> {
    let (here, there) = (settings(source).await?, settings(target).await?);
    if there.is_read_only {
        let Finding { what, remedy, .. } = read_only(Side::Target);
        found.block(
            "SW-0233",
            what,
            format!("{remedy} Fence it from people by its rights or by pg_hba.conf."),
        );
    }
    let names =
        here.database.keys().chain(there.database.keys().filter(|name| !here.database.contains_key(*name)));
    let said = |settings: &Settings, name: &String| {
        settings.database.get(name).map_or_else(|| "none".to_owned(), |value| format!("`{value}`"))
    };
    let differing: Vec<String> = names
        .filter(|name| here.database.get(*name) != there.database.get(*name))
        .map(|name| {
            format!("{name}: {} at the source, {} at the target", said(&here, name), said(&there, name))
        })
        .collect();
    if !differing.is_empty() {
        found.warn(format!(
            "what `alter database … set` gave the two differs, and the application meets it after a switch: {}",
            differing.join("; ")
        ));
    }
    Ok(())
}

/// Why a side must not open: it would refuse whatever the application writes.
///
/// # Errors
/// The side cannot be asked.
pub async fn refuses_writes(opening: &Database) -> Result<Option<Finding>, Cause> {
    let settings = settings(opening).await?;
    Ok(settings.is_read_only.then(|| read_only(opening.side())))
}

fn read_only(side: Side) -> Finding {
    Finding {
        code: "SW-0407".to_owned(),
        what: format!(
            "the {side} begins every session read-only ({READ_ONLY} is on there): each write of the application would be refused"
        ),
        remedy: format!(
            "Run there `alter database … set {READ_ONLY} = off`, or take it out of the server's configuration."
        ),
    }
}
