//! Everything that is known to make a later step fail, looked for before anything is touched.
//!
//! All of it is told at once: a person who mends one thing only to meet the next has been told too little. What blocks has
//! a code and a remedy; what merely wants to be known stands in the evidence as warnings.

use std::collections::BTreeSet;
use std::time::Duration;

use journal::plan::TablePattern;
use journal::{Direction, EffectSpec, Evidence, Finding, Generation, PhaseName, Side, TableName, slot_name};
use runtime::Clock;
use tokio_postgres::{Client, GenericClient};

use crate::postgres::database::{Database, chain};
use crate::postgres::quote::ident;
use crate::postgres::{preflight_tables, settings};
use crate::seams::{Acted, Cause, Probe};

/// How many slots one phase holds at a side at once: its own, a fill's and a comparison's.
const SLOTS: i64 = 3;

/// What a finding is about, as far as the plan has a place for it.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// The migration as a whole.
    #[default]
    Whole,
    /// A side.
    Side(Side),
    /// A phase.
    Phase(PhaseName),
    /// A table of a phase.
    Table(PhaseName, TableName),
    /// A phase's pattern.
    Pattern(PhaseName, TablePattern),
    /// The filter of a phase's table.
    Filter(PhaseName, TableName),
    /// A key of a phase's lever.
    Lever(PhaseName, String),
}

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Found {
    about: Subject,
    blocking: Vec<(Subject, Finding)>,
    warnings: Vec<String>,
    rows: i64,
    bytes: i64,
}

impl Found {
    /// What is found from here on is about this.
    pub(crate) fn about(&mut self, subject: Subject) {
        self.about = subject;
    }

    /// Something that makes a later step fail.
    pub(crate) fn block(&mut self, code: &str, what: impl Into<String>, remedy: impl Into<String>) {
        let finding = Finding { code: code.to_owned(), what: what.into(), remedy: remedy.into() };
        self.blocking.push((self.about.clone(), finding));
    }

    /// Everything that blocks, with what it is about, and everything to know.
    pub(crate) fn take(self) -> (Vec<(Subject, Finding)>, Vec<String>) {
        (self.blocking, self.warnings)
    }

    /// Something to know.
    pub(crate) fn warn(&mut self, what: impl Into<String>) {
        self.warnings.push(what.into());
    }

    /// What a table holds, as the catalog estimates it.
    pub(crate) const fn count(&mut self, rows: i64, bytes: i64) {
        self.rows += if rows > 0 { rows } else { 0 };
        self.bytes += bytes;
    }
}

/// Two sides and sessions on them.
pub(crate) struct Sides<'a> {
    pub(crate) source: &'a Client,
    pub(crate) target: &'a Client,
    pub(crate) phase: &'a PhaseName,
    pub(crate) tables: &'a [TableName],
    /// What will be on the target by the phase's `start`, since phases before it bring it there.
    pub(crate) before: &'a BTreeSet<TableName>,
}

/// Looks at everything. A finding that blocks is never mended by waiting.
pub async fn probe(source: &Database, target: &Database, spec: &EffectSpec, tables: &[TableName]) -> Probe {
    match look(source, target, spec, tables).await {
        Err(cause) => Probe::Unreachable(cause),
        Ok(found) if found.blocking.is_empty() => Probe::Ours(evidence(&found, tables)),
        Ok(mut found) if found.blocking.len() == 1 => {
            found.blocking.pop().map_or(Probe::Absent, |(_, finding)| Probe::Differs(finding))
        }
        Ok(found) => {
            let all: Vec<String> = found
                .blocking
                .iter()
                .map(|(_, one)| format!("[{}] {}. {}", one.code, one.what, one.remedy))
                .collect();
            Probe::Differs(Finding {
                code: "SW-0200".to_owned(),
                what: format!("{} things stand in the way:\n{}", all.len(), all.join("\n")),
                remedy: "Mend them all, then `retry`.".to_owned(),
            })
        }
    }
}

/// Waits a moment for another look.
pub async fn act(clock: &dyn Clock) -> Acted {
    clock.sleep(Duration::from_millis(500)).await;
    Acted::Done(Evidence::new())
}

fn evidence(found: &Found, tables: &[TableName]) -> Evidence {
    let mut evidence = Evidence::from([
        ("tables".to_owned(), tables.len().to_string()),
        ("estimated_rows".to_owned(), found.rows.to_string()),
        ("bytes".to_owned(), found.bytes.to_string()),
    ]);
    if !found.warnings.is_empty() {
        evidence.insert("warnings".to_owned(), found.warnings.join("; "));
    }
    evidence
}

async fn look(
    source: &Database,
    target: &Database,
    spec: &EffectSpec,
    tables: &[TableName],
) -> Result<Found, Cause> {
    let (on_source, on_target) = (source.session().await?, target.session().await?);
    let mut found = Found::default();
    servers(source, target, [&on_source, &on_target], &mut found).await?;
    phase(source, target, [&on_source, &on_target], &mut found, (&spec.phase, tables, &BTreeSet::new()))
        .await?;
    on_source.done();
    on_target.done();
    Ok(found)
}

/// The two servers, each by itself and beside the other.
pub(crate) async fn servers(
    source: &Database,
    target: &Database,
    clients: [&Client; 2],
    found: &mut Found,
) -> Result<(), Cause> {
    let mut servers = Vec::with_capacity(2);
    for (database, client) in [source, target].into_iter().zip(clients) {
        let fault = |error| database.cause("cannot be looked at", &error);
        found.about(Subject::Side(database.side()));
        servers.push(server(client, database.side(), found).await.map_err(fault)?);
        rights(client, database.side(), found).await.map_err(fault)?;
        company(client, database.side(), found).await.map_err(fault)?;
    }
    found.about(Subject::Side(Side::Target));
    let [on_source, on_target] = clients;
    let identities = (source.identity(on_source).await?, target.identity(on_target).await?);
    if same(identities.0) == same(identities.1) {
        found.block(
            "SW-0201",
            "source and target are the same database",
            "Point the plan's `target` at the database being moved to.",
        );
    }
    if let [source, target] = servers.as_slice() {
        alike(source, target, found);
    }
    settings::look(source, target, found).await?;
    Ok(())
}

/// One phase: its names, and its tables where they are and where they go.
pub(crate) async fn phase(
    source: &Database,
    target: &Database,
    clients: [&Client; 2],
    found: &mut Found,
    (name, tables, before): (&PhaseName, &[TableName], &BTreeSet<TableName>),
) -> Result<(), Cause> {
    let mut may_look = true;
    for (database, client) in [source, target].into_iter().zip(clients) {
        found.about(Subject::Phase(name.clone()));
        let fault = |error| database.cause("cannot be looked at", &error);
        names(client, database, name, found).await.map_err(fault)?;
        may_look &= may_use(client, database.side(), tables, found).await.map_err(fault)?;
    }
    // What cannot be named cannot be looked at either.
    if !may_look {
        return Ok(());
    }
    let sides = Sides { source: clients[0], target: clients[1], phase: name, tables, before };
    let fault = |error: tokio_postgres::Error| Cause(source.scrub(&format!("preflight: {}", chain(&error))));
    preflight_tables::look(&sides, found).await.map_err(fault)
}

/// What two identities of one database have in common.
fn same(mut identity: Evidence) -> Evidence {
    identity.remove("timeline");
    identity
}

/// A server's own make.
struct Server {
    encoding: String,
    collate: String,
    ctype: String,
    collation_version: Option<String>,
}

async fn server(client: &Client, side: Side, found: &mut Found) -> Result<Server, tokio_postgres::Error> {
    let setting = "select current_setting('server_version_num')::int4, pg_is_in_recovery(), \
                     current_setting('wal_level'), \
                     current_setting('max_replication_slots')::int8 - (select count(*) from pg_replication_slots), \
                     current_setting('max_wal_senders')::int8 - (select count(*) from pg_stat_replication), \
                     current_setting('max_replication_slots')::int8 - (select count(*) from pg_replication_origin), \
                     current_setting('max_slot_wal_keep_size'), \
                     pg_encoding_to_char(encoding)::text, datcollate::text, datctype::text, \
                     to_jsonb(d) ->> 'datcollversion' \
                   from pg_database d where datname = current_database()";
    let row = client.query_one(setting, &[]).await?;
    let version = row.get::<_, i32>(0) / 10_000;
    if version < 14 {
        found.block(
            "SW-0202",
            format!("the {side} runs PostgreSQL {version}"),
            "Upgrade it to 14 or newer; 15 is tested.",
        );
    } else if version != 15 {
        found.warn(format!("the {side} runs PostgreSQL {version}; only 15 is tested"));
    }
    if row.get(1) {
        found.block(
            "SW-0203",
            format!("the {side} is a standby"),
            format!("Point the plan's `{side}` at the primary."),
        );
    }
    let level: &str = row.get(2);
    if level != "logical" {
        found.block(
            "SW-0204",
            format!("the {side} has wal_level = {level}"),
            format!("At the {side}: alter system set wal_level = 'logical', and restart it."),
        );
    }
    let room = [
        (row.get::<_, i64>(3), SLOTS, "replication slots", "max_replication_slots"),
        (row.get::<_, i64>(4), SLOTS, "WAL senders", "max_wal_senders"),
        (row.get::<_, i64>(5), 1, "replication origins", "max_replication_slots"),
    ];
    for (free, needed, what, name) in room {
        if free < needed {
            found.block(
                "SW-0205",
                format!("the {side} has {} free {what}, and this phase needs {needed}", free.max(0)),
                format!("Raise {name} there and restart it, or drop what nobody uses."),
            );
        }
    }
    let kept: &str = row.get(6);
    if kept != "-1" {
        found.warn(format!(
            "max_slot_wal_keep_size is {kept} at the {side}: a load that outlasts it loses its slot"
        ));
    }
    Ok(Server {
        encoding: row.get(7),
        collate: row.get(8),
        ctype: row.get(9),
        collation_version: row.get(10),
    })
}

fn alike(source: &Server, target: &Server, found: &mut Found) {
    if source.encoding != target.encoding {
        found.block(
            "SW-0206",
            format!("the source's encoding is {} and the target's is {}", source.encoding, target.encoding),
            "Make the target database anew with the source's encoding.",
        );
    }
    if source.encoding == "SQL_ASCII" {
        found.block(
            "SW-0206",
            "the encoding is SQL_ASCII, in which bytes have no meaning",
            "Convert the database to UTF8 first.",
        );
    }
    for (what, one, other) in
        [("lc_collate", &source.collate, &target.collate), ("lc_ctype", &source.ctype, &target.ctype)]
    {
        if one != other {
            found.warn(format!(
                "{what} is {one} at the source and {other} at the target: order and comparison of text differ"
            ));
        }
    }
    if source.collation_version != target.collation_version {
        let text = |version: &Option<String>| version.clone().unwrap_or_else(|| "unknown".to_owned());
        found.warn(format!(
            "the collation's version is {} at the source and {} at the target: order of text may differ",
            text(&source.collation_version),
            text(&target.collation_version)
        ));
    }
}

async fn rights(client: &Client, side: Side, found: &mut Found) -> Result<(), tokio_postgres::Error> {
    let sql = "select current_user::text, r.rolsuper, r.rolreplication, \
                 has_database_privilege(current_database(), 'CREATE'), \
                 has_database_privilege(current_database(), 'TEMP'), \
                 has_function_privilege('pg_replication_origin_create(text)', 'execute') \
                   and has_function_privilege('pg_replication_origin_session_setup(text)', 'execute') \
                   and has_function_privilege('pg_replication_origin_xact_setup(pg_lsn, timestamptz)', 'execute') \
                   and has_function_privilege('pg_replication_origin_drop(text)', 'execute'), \
                 to_regnamespace('_switchyard') is not null, current_database()::text \
               from pg_roles r where r.rolname = current_user";
    let row = client.query_one(sql, &[]).await?;
    let user: &str = row.get(0);
    let is_superuser = row.get::<_, bool>(1);
    let mut missing = |lacks: bool, right: &str, grant: String| {
        if lacks && !is_superuser {
            let remedy = format!("At the {side}, as a superuser: {grant};");
            found.block("SW-0207", format!("{user} may not {right} at the {side}"), remedy);
        }
    };
    let (role, database) = (ident(user), ident(row.get(7)));
    missing(!row.get::<_, bool>(2), "replicate", format!("alter role {role} replication"));
    missing(
        !row.get::<_, bool>(3) && !row.get::<_, bool>(6),
        "create schemas",
        format!("grant create on database {database} to {role}"),
    );
    missing(
        !row.get::<_, bool>(4),
        "make temporary tables",
        format!("grant temporary on database {database} to {role}"),
    );
    missing(
        !row.get::<_, bool>(5),
        "use replication origins",
        format!(
            "grant execute on function pg_replication_origin_create(text), pg_replication_origin_session_setup(text), \
             pg_replication_origin_xact_setup(pg_lsn, timestamptz), pg_replication_origin_drop(text) to {role}"
        ),
    );
    // Tried, since from 15 on it may be granted: no catalog says it in all versions.
    let tried = client.batch_execute("begin; set local session_replication_role = replica").await;
    client.batch_execute("rollback").await?;
    missing(
        tried.is_err(),
        "set session_replication_role",
        format!("grant set on parameter session_replication_role to {role}"),
    );
    if let Some(grant) = lacks_origin_status(client).await? {
        found.warn(format!(
            "{user} may not see at the {side} how far replication origins are, which only `doctor` shows; as a superuser: \
             {grant}"
        ));
    }
    Ok(())
}

/// The grant without which this role cannot see how far replication origins are; none if it can. Nothing is moved by it.
pub(crate) async fn lacks_origin_status<C: GenericClient>(
    client: &C,
) -> Result<Option<String>, tokio_postgres::Error> {
    let sql = "select has_table_privilege('pg_replication_origin_status', 'select') \
                 and has_function_privilege('pg_show_replication_origin_status()', 'execute'), current_user::text";
    let row = client.query_one(sql, &[]).await?;
    let grant = || {
        let role = ident(row.get(1));
        format!(
            "grant select on pg_replication_origin_status to {role}; grant execute on function \
             pg_show_replication_origin_status() to {role};"
        )
    };
    Ok((!row.get::<_, bool>(0)).then(grant))
}

/// Whether the role may name what is in the tables' schemas, where these are there.
async fn may_use(
    client: &Client,
    side: Side,
    tables: &[TableName],
    found: &mut Found,
) -> Result<bool, tokio_postgres::Error> {
    let schemas: Vec<&str> = tables.iter().map(|table| table.schema.as_str()).collect();
    let sql = "select nspname::text, current_user::text from pg_namespace \
               where nspname = any ($1) and not has_schema_privilege(oid, 'usage') order by 1";
    let lacking = client.query(sql, &[&schemas]).await?;
    for row in &lacking {
        let (schema, user): (&str, &str) = (row.get(0), row.get(1));
        found.block(
            "SW-0207",
            format!("{user} may not use the schema {schema} at the {side}, so nothing in it was looked at"),
            format!("At the {side}: grant usage on schema {} to {};", ident(schema), ident(user)),
        );
    }
    Ok(lacking.is_empty())
}

/// Slots of our names that are another's.
async fn names(
    client: &Client,
    database: &Database,
    phase: &PhaseName,
    found: &mut Found,
) -> Result<(), tokio_postgres::Error> {
    let direction = match database.side() {
        Side::Source => Direction::Forward,
        Side::Target => Direction::Failback,
    };
    let ours: Vec<String> =
        (1..=32).map(|n| slot_name(database.migration(), phase, Generation::new(n), direction)).collect();
    let sql = "select slot_name::text, coalesce(plugin::text, 'none'), coalesce(database::text, 'none') \
               from pg_replication_slots \
               where slot_name = any ($1) and (plugin is distinct from 'pgoutput' \
                 or database is distinct from current_database())";
    for row in client.query(sql, &[&ours]).await? {
        found.block(
            "SW-0208",
            format!(
                "the {} has a replication slot {} of plugin {} in database {}, a name that this phase needs",
                database.side(),
                row.get::<_, &str>(0),
                row.get::<_, &str>(1),
                row.get::<_, &str>(2)
            ),
            "Drop it if nobody reads it, or name the migration differently.",
        );
    }
    Ok(())
}

/// Others whose doings touch ours.
async fn company(client: &Client, side: Side, found: &mut Found) -> Result<(), tokio_postgres::Error> {
    let subscriptions = "select subname::text from pg_subscription \
                         where subdbid = (select oid from pg_database where datname = current_database()) order by 1";
    let names: BTreeSet<String> =
        client.query(subscriptions, &[]).await?.iter().map(|row| row.get(0)).collect();
    if !names.is_empty() {
        let names: Vec<String> = names.into_iter().collect();
        found.warn(format!(
            "subscriptions at the {side} ({}) write past the fence if they write tables of the phase",
            names.join(", ")
        ));
    }
    let prepared = "select count(*), coalesce(max(extract(epoch from now() - prepared))::int8, 0) \
                    from pg_prepared_xacts where prepared < now() - interval '5 min'";
    let row = client.query_one(prepared, &[]).await?;
    if row.get::<_, i64>(0) > 0 {
        found.warn(format!(
            "{} prepared transactions stand in the cluster of the {side}, the oldest for {} s: no slot is made before they end",
            row.get::<_, i64>(0),
            row.get::<_, i64>(1)
        ));
    }
    let open = "select count(*), coalesce(max(extract(epoch from now() - xact_start))::int8, 0) \
                from pg_stat_activity where backend_xid is not null and xact_start < now() - interval '5 min'";
    let row = client.query_one(open, &[]).await?;
    if row.get::<_, i64>(0) > 0 {
        found.warn(format!(
            "{} writing transactions are open in the cluster of the {side}, the oldest for {} s: no slot is made before they end",
            row.get::<_, i64>(0),
            row.get::<_, i64>(1)
        ));
    }
    Ok(())
}
