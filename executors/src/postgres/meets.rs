//! Whether an address that somebody else will use leads to one of the migration's databases.
//!
//! A lever sends the application to an address of its own. Whether that is the database which the plan means is told by the
//! cluster's system identifier and the database's oid, never by names: two servers may both have a database `shop`.

use std::time::Duration;

use tokio_postgres::error::SqlState;

use crate::postgres::database::{Database, IDENTITY_SQL, chain};

/// How long the other way may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// What is at an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Meets {
    /// The database that the plan means.
    Same,
    /// A server answered, and it is not that; how it differs, scrubbed.
    Another(String),
    /// It cannot be told from here; why, scrubbed.
    Unseen(String),
}

/// Connects to an address by the role of the plan's own connection string, and compares.
pub async fn meets(database: &Database, host: &str, port: u16, name: &str) -> Meets {
    let known = match identity(database).await {
        Ok(known) => known,
        Err(why) => return Meets::Unseen(why),
    };
    let mut address = database.address().elsewhere(host, port, name);
    address.config_mut().connect_timeout(PATIENCE).application_name("switchyard lever");
    let (client, connection) = match tokio::time::timeout(PATIENCE * 2, address.connect()).await {
        Err(_) => return Meets::Unseen(format!("no answer within {:?}", PATIENCE * 2)),
        Ok(Err(error)) if error.code() == Some(&SqlState::INVALID_CATALOG_NAME) => {
            return Meets::Another(database.scrub(&format!("the server there answers: {}", chain(&error))));
        }
        Ok(Err(error)) => return Meets::Unseen(database.scrub(&chain(&error))),
        Ok(Ok(connected)) => connected,
    };
    // The driver's own task ends when the client is dropped.
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(error = %chain(&error), "connection ended");
        }
    });
    let row = match tokio::time::timeout(PATIENCE, client.query_one(IDENTITY_SQL, &[])).await {
        Err(_) => return Meets::Unseen(format!("no answer within {PATIENCE:?}")),
        Ok(Err(error)) => return Meets::Unseen(database.scrub(&chain(&error))),
        Ok(Ok(row)) => row,
    };
    let seen: Vec<Option<String>> = (0..row.len()).map(|at| row.get(at)).collect();
    compare(&known, &seen)
}

async fn identity(database: &Database) -> Result<Vec<Option<String>>, String> {
    let session = database.session().await.map_err(|cause| cause.to_string())?;
    let row = session.query_one(IDENTITY_SQL, &[]).await;
    let row = row.map_err(|error| database.cause("does not say who it is", &error).to_string())?;
    let known = (0..row.len()).map(|at| row.get(at)).collect();
    session.done();
    Ok(known)
}

/// The columns of [`IDENTITY_SQL`] on both ways.
fn compare(known: &[Option<String>], seen: &[Option<String>]) -> Meets {
    let text = |row: &[Option<String>], at: usize| row.get(at).cloned().flatten().unwrap_or_default();
    for (at, what) in [(0, "system identifier"), (1, "database oid")] {
        let (meant, met) = (text(known, at), text(seen, at));
        if meant != met {
            return Meets::Another(format!("its {what} is {met}, and the plan's has {meant}"));
        }
    }
    if text(known, 3) == "false" && text(seen, 3) == "true" {
        return Meets::Another("it is a standby, which takes no writes".to_owned());
    }
    Meets::Same
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_is_the_same_by_its_cluster_and_its_oid() {
        let row = |system: &str, oid: &str, standby: &str| {
            [system, oid, "1", standby].map(|value| Some(value.to_owned())).to_vec()
        };
        let known = row("7", "16384", "false");
        assert_eq!(compare(&known, &known), Meets::Same);
        assert!(
            matches!(compare(&known, &row("8", "16384", "false")), Meets::Another(how) if how.contains("system"))
        );
        assert!(
            matches!(compare(&known, &row("7", "5", "false")), Meets::Another(how) if how.contains("oid"))
        );
        assert!(
            matches!(compare(&known, &row("7", "16384", "true")), Meets::Another(how) if how.contains("standby"))
        );
    }
}
