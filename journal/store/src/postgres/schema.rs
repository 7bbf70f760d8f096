//! The schema: whether it is there, whose it is, and who may do what in it.
//!
//! Where the connecting role may make roles, two are made, neither of which can log in: `switchyard_journal_owner` owns
//! everything, `switchyard_journal_writer` may read and call the functions that append. The connecting role is made a
//! member of the second. Where it may not, it owns the tables itself, and then only the triggers stand between it and
//! the past. Where it is a superuser, an event trigger refuses changes of the schema to everybody who cannot disable it.
//!
//! An older version's schema is brought up to date by the same roles, in one transaction; an older program that is
//! started afterwards refuses it.

use std::sync::LazyLock;

use journal::MigrationName;
use sqlx::migrate::Migrator;
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, PgConnection};

use super::sql::from_database;
use crate::backend::Trouble;
use crate::{StoreError, schema};

static TABLES: LazyLock<Migrator> = LazyLock::new(|| {
    schema::versions(&[
        ("journal", include_str!("../../../../migrations/postgres/0001_journal.sql")),
        ("mail", include_str!("../../../../migrations/postgres/0002_mail.sql")),
    ])
});

/// The oldest server that is used.
const OLDEST: i32 = 140_000;

/// `SWYD`: the lock under which one process makes the schema.
const MAKING: i64 = 1_398_233_412;

const ROLES: &str = "
do $$
begin
    if not exists (select from pg_catalog.pg_roles where rolname = 'switchyard_journal_owner') then
        create role switchyard_journal_owner nologin;
    end if;
    if not exists (select from pg_catalog.pg_roles where rolname = 'switchyard_journal_writer') then
        create role switchyard_journal_writer nologin;
    end if;
exception when duplicate_object or unique_violation then
    null;
end
$$;
grant switchyard_journal_owner to current_user;
grant switchyard_journal_writer to current_user;
create schema switchyard_journal authorization switchyard_journal_owner;
set local role switchyard_journal_owner;
";

const GRANTS: &str = "
grant usage on schema switchyard_journal to switchyard_journal_writer;
grant select on all tables in schema switchyard_journal to switchyard_journal_writer;
grant insert, update on switchyard_journal.inbox, switchyard_journal.outbox, switchyard_journal.watermark
    to switchyard_journal_writer;
-- To lock its rows; a trigger refuses what would change them.
grant update on switchyard_journal.box to switchyard_journal_writer;
grant execute on all functions in schema switchyard_journal to switchyard_journal_writer;
reset role;
";

/// Refuses whatever would change the schema's objects. It fires for superusers as well, who can disable it. Its functions
/// are in a schema of their own: whoever drops the journal's would drop them with it, and the guard with them.
const SCHEMA_GUARD: &str = "
create schema switchyard_journal_guard;
create function switchyard_journal_guard.refuse_change() returns event_trigger
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
    if to_regnamespace('switchyard_journal') is null
        or exists (
            select from pg_event_trigger_ddl_commands() c
            where c.schema_name = 'switchyard_journal' or c.object_identity like 'switchyard\\_journal%'
        )
    then
        raise exception 'the journal is append-only: % on its schema is refused', tg_tag
            using errcode = 'restrict_violation';
    end if;
end
$$;
create function switchyard_journal_guard.refuse_drop() returns event_trigger
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
    if exists (
        select from pg_event_trigger_dropped_objects() d
        where d.schema_name = 'switchyard_journal' or d.object_identity like 'switchyard\\_journal%'
    ) then
        raise exception 'the journal is append-only: % on its schema is refused', tg_tag
            using errcode = 'restrict_violation';
    end if;
end
$$;
create event trigger switchyard_journal_changes on ddl_command_end
    execute function switchyard_journal_guard.refuse_change();
create event trigger switchyard_journal_drops on sql_drop
    execute function switchyard_journal_guard.refuse_drop();
alter event trigger switchyard_journal_changes enable always;
alter event trigger switchyard_journal_drops enable always;
";

/// For the time of a change of the schema, which only who may disable it gets through.
const GUARD_DOWN: &str = "
alter event trigger switchyard_journal_changes disable;
alter event trigger switchyard_journal_drops disable;
";

const GUARD_UP: &str = "
alter event trigger switchyard_journal_changes enable always;
alter event trigger switchyard_journal_drops enable always;
";

/// What the connecting role may do.
struct Rights {
    may_make_roles: bool,
    is_superuser: bool,
}

/// Makes the schema where it is missing, and looks whether it is this migration's.
pub(super) async fn prepare(options: &PgConnectOptions, migration: &MigrationName) -> Result<(), StoreError> {
    let mut connection = connect(options).await?;
    let done = try_prepare(&mut connection, migration).await;
    done.map_err(named)?;
    connection.close().await.map_err(|error| from_database(&error))
}

/// Looks whether the schema is there and this migration's, of this version; changes nothing.
pub(super) async fn inspect(options: &PgConnectOptions, migration: &MigrationName) -> Result<(), StoreError> {
    let mut connection = connect(options).await?;
    if !is_there(&mut connection).await.map_err(named)? {
        return Err(StoreError::Foreign(
            "the database holds no journal. `switchyard serve` makes it; is this the right database?"
                .to_owned(),
        ));
    }
    agrees(&mut connection, migration).await.map_err(named)?;
    connection.close().await.map_err(|error| from_database(&error))
}

async fn connect(options: &PgConnectOptions) -> Result<PgConnection, StoreError> {
    tokio::time::timeout(super::PATIENCE, options.connect())
        .await
        .map_err(|_elapsed| StoreError::Unavailable("no answer to a connection in 5 s".to_owned()))?
        .map_err(|error| from_database(&error))
}

fn named(trouble: Trouble) -> StoreError {
    match trouble {
        Trouble::Database(error) => from_database(&error),
        Trouble::Store(error) => error,
    }
}

async fn try_prepare(connection: &mut PgConnection, migration: &MigrationName) -> Result<(), Trouble> {
    if is_there(connection).await? {
        if matches!(age(connection).await?, Age::Older(_)) {
            upgrade(connection, migration).await?;
        }
        return agrees(connection, migration).await;
    }
    let version: String = sqlx::query_scalar("select version()").fetch_one(&mut *connection).await?;
    let number: i32 = sqlx::query_scalar("select current_setting('server_version_num')::integer")
        .fetch_one(&mut *connection)
        .await?;
    if version.contains("Cockroach") || number < OLDEST {
        return Err(StoreError::Foreign(format!(
            "a journal needs PostgreSQL 14 or later, this is {version}"
        ))
        .into());
    }
    let mut tx = connection.begin().await?;
    sqlx::query("select pg_advisory_xact_lock($1)").bind(MAKING).execute(&mut *tx).await?;
    if !is_there(&mut tx).await? {
        make(&mut tx, migration).await?;
    }
    agrees(&mut tx, migration).await?;
    tx.commit().await?;
    Ok(())
}

async fn is_there(connection: &mut PgConnection) -> Result<bool, Trouble> {
    // From the table: what a session has cached about a name that was missing may be older than the lock.
    let found =
        sqlx::query_scalar("select exists (select from pg_namespace where nspname = 'switchyard_journal')");
    Ok(found.fetch_one(connection).await?)
}

async fn make(connection: &mut PgConnection, migration: &MigrationName) -> Result<(), Trouble> {
    let rights = rights(connection).await?;
    if rights.may_make_roles {
        sqlx::raw_sql(ROLES).execute(&mut *connection).await?;
    } else {
        tracing::warn!(
            "the journal's role may not make roles, so it owns the journal's tables itself: their triggers alone guard the past"
        );
        sqlx::raw_sql("create schema switchyard_journal").execute(&mut *connection).await?;
    }
    apply(connection, 0).await?;
    sqlx::query("insert into switchyard_journal.journal (migration) values ($1)")
        .bind(migration.as_str())
        .execute(&mut *connection)
        .await?;
    if rights.may_make_roles {
        sqlx::raw_sql(GRANTS).execute(&mut *connection).await?;
    }
    if rights.is_superuser {
        sqlx::raw_sql(SCHEMA_GUARD).execute(&mut *connection).await?;
    }
    if rights.may_make_roles {
        sqlx::raw_sql("revoke switchyard_journal_owner from current_user").execute(&mut *connection).await?;
    }
    Ok(())
}

async fn rights(connection: &mut PgConnection) -> Result<Rights, Trouble> {
    let (may_make_roles, is_superuser): (bool, bool) = sqlx::query_as(
        "select rolcreaterole or rolsuper, rolsuper from pg_roles where rolname = current_user",
    )
    .fetch_one(connection)
    .await?;
    Ok(Rights { may_make_roles, is_superuser })
}

/// Makes the tables of every version after the first so many.
async fn apply(connection: &mut PgConnection, done: usize) -> Result<(), Trouble> {
    for one in TABLES.iter().skip(done) {
        sqlx::raw_sql(AssertSqlSafe(one.sql.as_str().to_owned())).execute(&mut *connection).await?;
        sqlx::query("insert into switchyard_journal.migration (version, checksum) values ($1, $2)")
            .bind(one.version)
            .bind(&*one.checksum)
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

/// A schema beside this program's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Age {
    /// This program's.
    Same,
    /// The first so many of this program's versions.
    Older(usize),
    /// Another's, or a newer one's.
    Other,
}

async fn age(connection: &mut PgConnection) -> Result<Age, Trouble> {
    let applied: Vec<(i64, Vec<u8>)> =
        sqlx::query_as("select version, checksum from switchyard_journal.migration order by version")
            .fetch_all(connection)
            .await?;
    let known: Vec<(i64, &[u8])> = TABLES.iter().map(|one| (one.version, &*one.checksum)).collect();
    let agree = applied.iter().zip(&known).all(|(a, k)| a.0 == k.0 && a.1 == k.1);
    Ok(match applied.len() {
        _ if !agree => Age::Other,
        count if count < known.len() => Age::Older(count),
        count if count == known.len() => Age::Same,
        _ => Age::Other,
    })
}

/// Brings an older version's schema up to date.
async fn upgrade(connection: &mut PgConnection, migration: &MigrationName) -> Result<(), Trouble> {
    belongs_to(connection, migration).await?;
    let mut tx = connection.begin().await?;
    sqlx::query("select pg_advisory_xact_lock($1)").bind(MAKING).execute(&mut *tx).await?;
    // Another process may have done it meanwhile.
    let Age::Older(done) = age(&mut tx).await? else { return Ok(()) };
    let rights = rights(&mut tx).await?;
    let (is_guarded, is_owner, is_split): (bool, bool, bool) = sqlx::query_as(
        "select exists (select from pg_event_trigger where evtname = 'switchyard_journal_changes'),
                pg_has_role(nspowner, 'member'), pg_get_userbyid(nspowner) = 'switchyard_journal_owner'
         from pg_namespace
         where nspname = 'switchyard_journal'",
    )
    .fetch_one(&mut *tx)
    .await?;
    let refused = |who: &str| {
        Trouble::from(StoreError::Foreign(format!(
            "the database's journal was written by an older version, and only {who} may bring it up to date. Start \
             `switchyard serve` of this version once with the connection string of such a role"
        )))
    };
    if is_guarded && !rights.is_superuser {
        return Err(refused("a superuser"));
    }
    let may_own = is_owner || (is_split && rights.may_make_roles);
    if !may_own {
        return Err(refused("a role that made it or may make roles"));
    }
    if is_guarded {
        sqlx::raw_sql(GUARD_DOWN).execute(&mut *tx).await?;
    }
    if is_split {
        if !is_owner {
            sqlx::raw_sql("grant switchyard_journal_owner to current_user").execute(&mut *tx).await?;
        }
        sqlx::raw_sql("set local role switchyard_journal_owner").execute(&mut *tx).await?;
    }
    apply(&mut tx, done).await?;
    if is_split {
        sqlx::raw_sql(GRANTS).execute(&mut *tx).await?;
        if !is_owner {
            sqlx::raw_sql("revoke switchyard_journal_owner from current_user").execute(&mut *tx).await?;
        }
    }
    if is_guarded {
        sqlx::raw_sql(GUARD_UP).execute(&mut *tx).await?;
    }
    tx.commit().await?;
    Ok(())
}

async fn agrees(connection: &mut PgConnection, migration: &MigrationName) -> Result<(), Trouble> {
    match age(connection).await? {
        Age::Same => belongs_to(connection, migration).await,
        Age::Older(_) => Err(StoreError::Foreign(
            "the database's journal was written by an older version. `switchyard serve` of this version brings it up to date"
                .to_owned(),
        )
        .into()),
        Age::Other => Err(StoreError::Foreign(
            "the database's journal was written by another version. Use the switchyard that wrote it, or a newer one"
                .to_owned(),
        )
        .into()),
    }
}

async fn belongs_to(connection: &mut PgConnection, migration: &MigrationName) -> Result<(), Trouble> {
    let found: Option<String> = sqlx::query_scalar("select migration from switchyard_journal.journal")
        .fetch_optional(&mut *connection)
        .await?;
    match found {
        Some(found) if found == migration.as_str() => Ok(()),
        Some(found) => Err(StoreError::Foreign(format!(
            "the database holds the journal of the migration {found}, not of {migration}. Each migration has its own"
        ))
        .into()),
        None => Err(StoreError::Foreign("the database's journal has no migration".to_owned()).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::TABLES;
    use crate::schema::tests::holds;

    #[tokio::test]
    async fn every_file_of_the_folder_is_a_version() {
        holds(&TABLES, "postgres").await;
    }
}
