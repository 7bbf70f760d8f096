//! Who can change the journal's past, and how: each way is refused by the database, or found by `journal check` with one
//! witness. `docs/journal-guards.md` is this list; `GUARDS=write` writes it anew.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::str::FromStr as _;

use anyhow::{Context as _, Result, bail, ensure};
use product::cluster::{Cluster, Role, open};
use product::switchyard::{Product, token};
use sha2::{Digest as _, Sha256};
use sqlx::{ConnectOptions as _, Connection as _};
use tempfile::TempDir;
use tokio_postgres::Client;

/// Who tries it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    /// The role that a running program connects as.
    Program,
    /// The tables' owner.
    Owner,
    /// The owner, where a superuser made the journal and so an event trigger guards the schema.
    GuardedOwner,
    /// A superuser, there.
    Superuser,
    /// Whoever has the server's files or its backups.
    Administrator,
    /// Any program that has a connection to the SQLite file.
    Connection,
    /// Whoever may do with the SQLite file what they like.
    FileHolder,
}

impl Who {
    const fn word(self) -> &'static str {
        match self {
            Self::Program => "the program's role",
            Self::Owner => "the tables' owner",
            Self::GuardedOwner => "the owner, under the event trigger",
            Self::Superuser => "a superuser, under the event trigger",
            Self::Administrator => "the server's administrator",
            Self::Connection => "a program with a connection",
            Self::FileHolder => "whoever has the file",
        }
    }
}

/// What comes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ends {
    /// The database refuses it, in these words, and the journal stays as it was.
    Refused(&'static str),
    /// It is done, and `journal check` finds it under this code.
    Found(&'static str),
}

/// One way to change the past: in people's words, and in SQL.
struct Attempt(Who, &'static str, &'static str, Ends);

/// The same bytes but for one letter of a plan's comment: still an event, still canonical.
const FORGED: &str = "convert_to(replace(convert_from(bytes, 'UTF8'), 'reviewed', 'reviewEd'), 'UTF8')";
const APPEND_ONLY: &str = "append-only";
const DENIED: &str = "permission denied";
const SIGNED: &str = "SW-0659";
const MISSING: &str = "SW-0657";
const MISPLACED: &str = "SW-0656";

const POSTGRES: &[Attempt] = {
    use Ends::{Found, Refused};
    use Who::{Administrator, GuardedOwner, Owner, Program, Superuser};
    &[
        Attempt(Program, "UPDATE", "update {event} set bytes = {forged}", Refused(DENIED)),
        Attempt(Program, "DELETE", "delete from {event} where position = 2", Refused(DENIED)),
        Attempt(Program, "TRUNCATE", "truncate {event}", Refused(DENIED)),
        Attempt(
            Program,
            "INSERT … ON CONFLICT DO UPDATE",
            "insert into {event} select * from {event} where position = 2
             on conflict (position) do update set bytes = excluded.bytes",
            Refused(DENIED),
        ),
        Attempt(
            Program,
            "the function that appends, at a position that is taken",
            "do $$ begin
                 if switchyard_journal.append(1, switchyard_journal.now_ms(), null, '{}', '{}', '{\"\\\\x7b7d\"}', '{e}',
                     '{late}', array[sha256('')], '{plan_adopted}', '{null}', '{0}') is null
                 then raise exception 'not after the head'; end if;
             end $$",
            Refused("not after the head"),
        ),
        Attempt(Program, "DISABLE TRIGGER", "alter table {event} disable trigger all", Refused("must be owner")),
        Attempt(
            Program,
            "session_replication_role = replica",
            "set session_replication_role = replica",
            Refused(DENIED),
        ),
        Attempt(
            Program,
            "replacing the triggers' function",
            "create or replace function switchyard_journal.refuse() returns trigger language plpgsql
             as 'begin return new; end'",
            Refused(DENIED),
        ),
        Attempt(Program, "SET ROLE to the owner", "set role switchyard_journal_owner", Refused(DENIED)),
        Attempt(Owner, "UPDATE", "update {event} set bytes = {forged}", Refused(APPEND_ONLY)),
        Attempt(Owner, "DELETE", "delete from {event} where position = 2", Refused(APPEND_ONLY)),
        Attempt(Owner, "TRUNCATE", "truncate {event}", Refused(APPEND_ONLY)),
        Attempt(
            Owner,
            "setting the head back",
            "update switchyard_journal.head set position = 1",
            Refused("only grows"),
        ),
        Attempt(
            Owner,
            "ALTER COLUMN … TYPE … USING, which fires no trigger",
            "alter table {event} alter column bytes type bytea using {forged}",
            Found(SIGNED),
        ),
        Attempt(
            Owner,
            "DISABLE TRIGGER, then UPDATE of bytes and leaf",
            "alter table {event} disable trigger event_stays;
             update {event} set bytes = {forged};
             update {event} set leaf = sha256('\\x00'::bytea || bytes);
             alter table {event} enable always trigger event_stays",
            Found(SIGNED),
        ),
        Attempt(
            Owner,
            "replacing the triggers' function, then UPDATE",
            "create or replace function switchyard_journal.refuse() returns trigger language plpgsql
             as 'begin return new; end';
             update {event} set bytes = {forged} where position = 2",
            Found(SIGNED),
        ),
        Attempt(
            Owner,
            "DISABLE TRIGGER, then DELETE in the middle",
            "alter table {event} disable trigger event_stays; delete from {event} where position = 2",
            Found(MISSING),
        ),
        Attempt(
            Owner,
            "DISABLE TRIGGER, then DELETE of the end, and the head set back",
            "alter table {event} disable trigger event_stays; delete from {event} where position > 2;
             alter table switchyard_journal.head disable trigger head_grows;
             update switchyard_journal.head set position = 2",
            Found(SIGNED),
        ),
        Attempt(
            Owner,
            "DISABLE TRIGGER, then two rows exchanged",
            "alter table {event} disable trigger event_stays;
             update {event} set position = 99 where position = 1;
             update {event} set position = 1 where position = 2;
             update {event} set position = 2 where position = 99",
            Found(MISPLACED),
        ),
        Attempt(
            Owner,
            "a child table with a forged row",
            "create table switchyard_journal.more () inherits (switchyard_journal.event);
             insert into switchyard_journal.more select * from only {event} where position = 2;
             update switchyard_journal.more set bytes = {forged}",
            Found(MISSING),
        ),
        Attempt(
            Owner,
            "row security that hides an event from the program",
            "alter table {event} enable row level security;
             create policy hidden on {event} for select using (position <> 2)",
            Found(MISSING),
        ),
        Attempt(
            Owner,
            "another table under the name, with other rows",
            "alter table {event} rename to event_as_it_was;
             create table {event} as select * from switchyard_journal.event_as_it_was;
             update {event} set bytes = {forged};
             grant select on {event} to switchyard_journal_writer",
            Found(SIGNED),
        ),
        Attempt(
            GuardedOwner,
            "ALTER COLUMN … TYPE … USING",
            "alter table {event} alter column bytes type bytea using {forged}",
            Refused(APPEND_ONLY),
        ),
        Attempt(
            GuardedOwner,
            "DISABLE TRIGGER",
            "alter table {event} disable trigger event_stays",
            Refused(APPEND_ONLY),
        ),
        Attempt(
            GuardedOwner,
            "replacing the triggers' function",
            "create or replace function switchyard_journal.refuse() returns trigger language plpgsql
             as 'begin return new; end'",
            Refused(APPEND_ONLY),
        ),
        Attempt(GuardedOwner, "DROP TABLE", "drop table {event}", Refused(APPEND_ONLY)),
        Attempt(GuardedOwner, "DROP SCHEMA", "drop schema switchyard_journal cascade", Refused(APPEND_ONLY)),
        Attempt(
            GuardedOwner,
            "DROP EVENT TRIGGER",
            "drop event trigger switchyard_journal_changes",
            Refused("must be owner"),
        ),
        Attempt(
            Superuser,
            "session_replication_role = replica, then UPDATE",
            "set session_replication_role = replica; update {event} set bytes = {forged}",
            Refused(APPEND_ONLY),
        ),
        Attempt(
            Superuser,
            "session_replication_role = replica, then DISABLE TRIGGER",
            "set session_replication_role = replica; alter table {event} disable trigger event_stays",
            Refused(APPEND_ONLY),
        ),
        Attempt(
            Superuser,
            "the event trigger disabled, the triggers disabled, UPDATE of bytes and leaf, all enabled again",
            "alter event trigger switchyard_journal_changes disable;
             alter table {event} disable trigger event_stays;
             update {event} set bytes = {forged};
             update {event} set leaf = sha256('\\x00'::bytea || bytes);
             alter table {event} enable always trigger event_stays;
             alter event trigger switchyard_journal_changes enable always",
            Found(SIGNED),
        ),
        Attempt(Administrator, "an older copy put in its place", "", Found(SIGNED)),
        Attempt(Administrator, "a letter changed in the table's file", "", Found(SIGNED)),
    ]
};

const SQLITE_FORGED: &str = "cast(replace(bytes, 'reviewed', 'reviewEd') as blob)";

const SQLITE: &[Attempt] = {
    use Ends::{Found, Refused};
    use Who::{Connection, FileHolder};
    &[
        Attempt(Connection, "UPDATE", "update event set bytes = {forged}", Refused(APPEND_ONLY)),
        Attempt(Connection, "DELETE", "delete from event where position = 2", Refused(APPEND_ONLY)),
        Attempt(
            Connection,
            "INSERT OR REPLACE, whose implicit DELETE fires no trigger",
            "insert or replace into event
             select position, {forged}, leaf, event_id, command_id, digest, kind, phase, recorded_at from event where position = 2",
            Refused(APPEND_ONLY),
        ),
        Attempt(
            Connection,
            "INSERT OR REPLACE at the next position under a known command",
            "insert or replace into event
             select (select max(position) + 1 from event), {forged}, leaf, event_id, command_id, digest, kind, phase, recorded_at
             from event where position = 2",
            Refused(APPEND_ONLY),
        ),
        Attempt(
            Connection,
            "INSERT … ON CONFLICT DO UPDATE",
            "insert into event select * from event where position = 2
             on conflict (position) do update set bytes = {forged}",
            Refused(APPEND_ONLY),
        ),
        Attempt(
            Connection,
            "UPDATE OR REPLACE of a position",
            "update or replace event set position = 1 where position = 2",
            Refused(APPEND_ONLY),
        ),
        Attempt(
            Connection,
            "the same with recursive_triggers and without foreign keys",
            "pragma recursive_triggers = on; pragma foreign_keys = off;
             insert or replace into event
             select position, {forged}, leaf, event_id, command_id, digest, kind, phase, recorded_at from event where position = 2",
            Refused(APPEND_ONLY),
        ),
        Attempt(
            FileHolder,
            "DROP TRIGGER, then UPDATE",
            "drop trigger event_update; update event set bytes = {forged}",
            Found(SIGNED),
        ),
        Attempt(
            FileHolder,
            "the triggers taken out of the schema's table, then UPDATE",
            "pragma writable_schema = on; delete from sqlite_schema where type = 'trigger';
             pragma writable_schema = reset; update event set bytes = {forged}",
            Found(SIGNED),
        ),
        Attempt(
            FileHolder,
            "DROP TRIGGER, then DELETE in the middle",
            "drop trigger event_delete; delete from event where position = 2",
            Found(MISSING),
        ),
        Attempt(
            FileHolder,
            "DROP TRIGGER, then DELETE of the end",
            "drop trigger event_delete; delete from event where position > 2",
            Found(SIGNED),
        ),
        Attempt(
            FileHolder,
            "a view under the table's name",
            "alter table event rename to event_as_it_was;
             create view event as select position, {forged} as bytes, leaf, event_id, command_id, digest, kind, phase, recorded_at
             from event_as_it_was",
            Found(SIGNED),
        ),
        Attempt(FileHolder, "an older copy put in its place", "", Found(SIGNED)),
        Attempt(FileHolder, "a letter changed in a page", "", Found(SIGNED)),
    ]
};

/// A plan that is small enough for a row of a page, with a comment that a forger changes.
fn plan(url: &str, revision: u32) -> String {
    let digest = hex::encode(Sha256::digest(token("anna")));
    format!(
        "# reviewed {revision}\n[migration]\nname=\"shop\"\nsource=\"env:S\"\ntarget=\"env:T\"\n[journal]\nurl=\"{url}\"\n\
         signing_key=\"file:journal.key\"\nwitness=\"witness.txt\"\n[load]\nlanes={revision}\n\
         [[person]]\nid=\"anna\"\nroles=[\"operator\",\"approver\"]\nlocal_token_sha256=\"{digest}\"\n\
         [[person]]\nid=\"ben\"\nroles=[\"approver\"]\n[[phase]]\nname=\"a\"\ntables=[\"s.t\"]\n\
         lever={{kind=\"command\",stop=[\"x\"],observe=[\"x\"],route=[\"x\"],resume=[\"x\"]}}\n"
    )
}

/// A journal of four events that a log checkpoint in the witness covers.
struct Written {
    dir: TempDir,
    product: Product,
}

impl Written {
    /// Writes it where the URL says; `halfway` is called when the first two events are there.
    async fn at(
        url: &str,
        secret: Option<&str>,
        halfway: impl AsyncFnOnce(&Path) -> Result<()>,
    ) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("switchyard-bypass-").tempdir()?;
        let environment = secret.map(|secret| ("SHOP_JOURNAL".to_owned(), secret.to_owned()));
        let product = Product::new(dir.path(), environment.into_iter().collect())?;
        product.make_key().await?;
        for revision in 1..=2 {
            std::fs::write(product.plan(), plan(url, revision))?;
            product.adopt_plan("anna").await?;
        }
        halfway(dir.path()).await?;
        for revision in 3..=4 {
            std::fs::write(product.plan(), plan(url, revision))?;
            product.adopt_plan("anna").await?;
        }
        let (signed, said) = product.verb(&["journal", "checkpoint"], &[]).await?;
        ensure!(signed, "no log checkpoint: {said}");
        Ok(Self { dir, product })
    }

    /// What `journal check` says of a journal, which must be as it was or spoiled in the way that is foreseen.
    async fn judge(&self, attempt: &Attempt, done: Result<(), String>, more: &[(&str, &str)]) -> Result<()> {
        let Attempt(who, what, _, ends) = attempt;
        let case = format!("{}: {what}", who.word());
        let (agrees, said) = self.product.verb(&["journal", "check"], more).await?;
        match (ends, done) {
            (Ends::Refused(why), Err(error)) => {
                ensure!(error.contains(why), "{case}: refused otherwise: {error}");
                ensure!(agrees, "{case}: it was refused, and yet: {said}");
            }
            (Ends::Found(code), Ok(())) => {
                ensure!(
                    !agrees && said.contains(code),
                    "{case}: found as something else, or not at all: {said}"
                );
            }
            (Ends::Refused(_), Ok(())) => bail!("{case}: was not refused; the check says: {said}"),
            (Ends::Found(_), Err(error)) => bail!("{case}: was refused: {error}"),
        }
        Ok(())
    }
}

/// A server with the journal as a role without superuser's rights made it, as a superuser made it, and as the first
/// was before the last events.
struct Server {
    cluster: Cluster,
    plain: Written,
    guarded: Written,
}

impl Server {
    async fn start() -> Result<Self> {
        let cluster = Cluster::start("journal").await?;
        let mover = cluster.connect(Role::Mover).await?;
        mover
            .batch_execute(
                "create role keeper login createrole password 'pw'; create role program login password 'pw'",
            )
            .await?;
        for name in ["plain", "guarded"] {
            mover.batch_execute(&format!("create database {name}")).await?;
        }
        mover.batch_execute("grant create on database plain to keeper").await?;
        let at = |role: &str, name: &str| format!("postgres://{role}@127.0.0.1:{}/{name}", cluster.port());
        let older = async |_: &Path| {
            mover.batch_execute("create database older template plain").await?;
            Ok(())
        };
        let plain = Written::at("env:SHOP_JOURNAL", Some(&at("keeper:pw", "plain")), older).await?;
        let root = format!("mover:{}", Role::Mover.password());
        let nothing = async |_: &Path| Ok(());
        let guarded = Written::at("env:SHOP_JOURNAL", Some(&at(&root, "guarded")), nothing).await?;
        mover.batch_execute("grant switchyard_journal_writer to program").await?;
        Ok(Self { cluster, plain, guarded })
    }

    fn url(&self, role: &str, name: &str) -> String {
        format!("postgres://{role}@127.0.0.1:{}/{name}", self.cluster.port())
    }

    async fn superuser(&self, name: &str) -> Result<Client> {
        open(&self.url(&format!("mover:{}", Role::Mover.password()), name)).await
    }

    /// Tries it on a copy of its own.
    async fn attempt(&self, number: usize, attempt: &Attempt) -> Result<()> {
        let Attempt(who, what, sql, _) = attempt;
        let (written, template) = match who {
            Who::GuardedOwner | Who::Superuser => (&self.guarded, "guarded"),
            _ if what.contains("older copy") => (&self.plain, "older"),
            _ => (&self.plain, "plain"),
        };
        let copy = format!("copy_{number}");
        let mover = self.cluster.connect(Role::Mover).await?;
        mover
            .batch_execute(&format!("create database {copy} template {template} strategy file_copy"))
            .await?;
        let sql = sql.replace("{event}", "switchyard_journal.event").replace("{forged}", FORGED);
        let done = match who {
            Who::Administrator if what.contains("letter") => {
                self.edit_table(&copy).await?;
                Ok(())
            }
            Who::Administrator => Ok(()),
            Who::Program => run(&open(&self.url("program:pw", &copy)).await?, &sql).await,
            Who::Owner | Who::GuardedOwner => {
                let session = self.superuser(&copy).await?;
                session.batch_execute("set session authorization switchyard_journal_owner").await?;
                run(&session, &sql).await
            }
            _ => run(&self.superuser(&copy).await?, &sql).await,
        };
        let url = self.url("program:pw", &copy);
        written.judge(attempt, done, &[("SHOP_JOURNAL", &url)]).await
    }

    /// Changes a letter in the file of a database that nobody has opened yet.
    async fn edit_table(&self, name: &str) -> Result<()> {
        // What the template's file is called is what the copy's is called.
        let plain = self.superuser("plain").await?;
        let path: String =
            plain.query_one("select pg_relation_filepath('switchyard_journal.event')", &[]).await?.get(0);
        let (_, file) = path.rsplit_once('/').context("a file of a table")?;
        let oid: u32 =
            plain.query_one("select oid from pg_database where datname = $1", &[&name]).await?.get(0);
        edit(&self.cluster.data().join(format!("base/{oid}/{file}")))
    }
}

async fn run(session: &Client, sql: &str) -> Result<(), String> {
    session.batch_execute(sql).await.map_err(|error| format!("{error:?}"))
}

/// Changes one letter of every plan's comment in a file, whatever it is the file of: a page may hold what it once held.
fn edit(path: &Path) -> Result<()> {
    let mut bytes = std::fs::read(path).with_context(|| path.display().to_string())?;
    let mut edited = 0;
    for at in 0..bytes.len() {
        if bytes.get(at..).is_some_and(|rest| rest.starts_with(b"reviewed"))
            && let Some(letter) = bytes.get_mut(at + 6)
        {
            *letter = b'E';
            edited += 1;
        }
    }
    ensure!(edited > 0, "no plan's comment in {}", path.display());
    std::fs::write(path, bytes)?;
    Ok(())
}

#[tokio::test]
async fn every_way_to_change_the_past_in_postgresql_is_refused_or_found() -> Result<()> {
    let server = Server::start().await?;
    for (number, attempt) in POSTGRES.iter().enumerate() {
        server.attempt(number, attempt).await?;
    }
    Ok(())
}

#[tokio::test]
async fn every_way_to_change_the_past_in_sqlite_is_refused_or_found() -> Result<()> {
    let keep = async |dir: &Path| {
        settle(&dir.join("journal.db")).await?;
        std::fs::copy(dir.join("journal.db"), dir.join("older.db"))?;
        Ok(())
    };
    let written = Written::at("sqlite:journal.db", None, keep).await?;
    let file = |name: &str| -> PathBuf { written.dir.path().join(name) };
    settle(&file("journal.db")).await?;
    std::fs::copy(file("journal.db"), file("whole.db"))?;
    for attempt in SQLITE {
        let Attempt(_, what, sql, _) = attempt;
        for rest in ["journal.db-wal", "journal.db-shm"] {
            // Not there when the last connection closed it.
            std::fs::remove_file(file(rest)).ok();
        }
        let from = if what.contains("older copy") { "older.db" } else { "whole.db" };
        std::fs::copy(file(from), file("journal.db"))?;
        let done = match sql.is_empty() {
            true if what.contains("letter") => {
                edit(&file("journal.db"))?;
                Ok(())
            }
            true => Ok(()),
            false => on_file(&file("journal.db"), &sql.replace("{forged}", SQLITE_FORGED)).await,
        };
        written.judge(attempt, done, &[]).await?;
    }
    Ok(())
}

async fn on_file(path: &Path, sql: &str) -> Result<(), String> {
    let options = sqlx::sqlite::SqliteConnectOptions::from_str(&format!("sqlite:{}", path.display()));
    let mut file =
        options.map_err(|error| error.to_string())?.connect().await.map_err(|error| error.to_string())?;
    let done = sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&mut file).await;
    let done = done.map(drop).map_err(|error| error.to_string());
    file.close().await.map_err(|error| error.to_string())?;
    done
}

/// Brings what is in the write-ahead log into the file.
async fn settle(path: &Path) -> Result<()> {
    on_file(path, "pragma wal_checkpoint(truncate)").await.map_err(anyhow::Error::msg)
}

const BEFORE: &str = "\
# What guards the journal, and what passes the guards

Every row below is tried by `tests/tests/bypass.rs`, on PostgreSQL 15 and on SQLite, against a journal whose newest log checkpoint
stands in a witness file. What the database refuses leaves the journal as it was. What it does not refuse is found by
`switchyard journal check` with that witness, under the code in the last column ([errors.md](errors.md)).

The guards keep programs and people from accidents. They are no proof: the owner of the tables can take most of them down, a
superuser all of them, and whoever has the file needs none of it. The proof is the signed log checkpoint that is kept where they do not
reach. Whoever holds the signing key **and** every witness can write another history; who deletes only what no kept checkpoint
covers leaves no trace ([journal.md](journal.md)). An event that is forged and appended after the last one, as the program appends, is
no change of the past: whoever may append can do it, and nothing here finds it. And a role that may make roles (`createrole`) can, up to
PostgreSQL 15, make itself a member of the owner: take that right away once the schema is there.
";

fn table(title: &str, attempts: &[Attempt]) -> String {
    let mut text = format!("\n## {title}\n\n| who | what | what comes of it |\n| --- | --- | --- |\n");
    for Attempt(who, what, _, ends) in attempts {
        let said = match ends {
            Ends::Refused(DENIED | "must be owner") => "refused: no right to".to_owned(),
            Ends::Refused("not after the head") => "refused: appends go after the head".to_owned(),
            Ends::Refused(_) => "refused by a trigger".to_owned(),
            Ends::Found(code) => format!("done, and **found: {code}**"),
        };
        writeln!(text, "| {} | {what} | {said} |", who.word()).ok();
    }
    text
}

#[test]
fn the_page_about_the_guards_is_this_list() -> Result<()> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/journal-guards.md");
    let text = format!("{BEFORE}{}{}", table("PostgreSQL", POSTGRES), table("SQLite", SQLITE));
    if std::env::var("GUARDS").is_ok_and(|word| word == "write") {
        std::fs::write(&page, &text)?;
    }
    ensure!(
        std::fs::read_to_string(&page)? == text,
        "docs/journal-guards.md is not the list of the cases: GUARDS=write cargo test --test scenarios bypass:: writes it"
    );
    Ok(())
}
