//! Who holds what serves one session alone: a slot, an origin.

use tokio_postgres::Client;

use crate::postgres::database::Database;
use crate::seams::Cause;

/// Ends the session that an error 55006 names, if it is one of this migration's: of a process that is dead or stopped.
/// No view says who uses an origin; the error does, in whatever language: the last number in it is the pid.
///
/// # Errors
/// The session is another's, and is named; or the server cannot be asked.
pub(crate) async fn end_ours(home: &Database, client: &Client, message: &str) -> Result<(), Cause> {
    let fault = |error| home.cause("does not end a session of ours", &error);
    let Some(pid) = last_number(message) else { return Ok(()) };
    let sql = "select coalesce(usename::text, 'unknown'), coalesce(application_name, '') \
               from pg_stat_activity where pid = $1 and pid <> pg_backend_pid()";
    let Some(row) = client.query_opt(sql, &[&pid]).await.map_err(fault)? else { return Ok(()) };
    let (user, application): (&str, &str) = (row.get(0), row.get(1));
    if home.config().get_application_name() != Some(application) {
        return Err(Cause(home.scrub(&format!(
            "the {}: {message}: pid {pid} (user {user}, application {application}) is not ours: end it",
            home.side()
        ))));
    }
    client.execute("select pg_terminate_backend($1)", &[&pid]).await.map_err(fault)?;
    Ok(())
}

fn last_number(text: &str) -> Option<i32> {
    text.split(|c: char| !c.is_ascii_digit()).rfind(|part| !part.is_empty())?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pid_is_the_last_number_of_the_message() {
        assert_eq!(last_number("replication slot \"switchyard_m_a_1\" is active for PID 4711"), Some(4711));
        assert_eq!(last_number("kein Prozess"), None);
    }
}
