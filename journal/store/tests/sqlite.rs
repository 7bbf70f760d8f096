//! The store in SQLite: what every store does, and what is peculiar to a file.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command as Process, Stdio};
use std::sync::Arc;
use std::time::Duration;

use crate::suite::{Backend, adopt, assert_sound, clock, id, migration, plan, planned, request};
use async_trait::async_trait;
use journal::{MigrationName, Position};
use journal_store::{SqliteStore, Store, StoreError};
use runtime::{Clock, SystemClock};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Executor as _, SqliteConnection};
use tempfile::TempDir;

struct InFile {
    directory: TempDir,
}

impl InFile {
    fn url(&self) -> String {
        format!("sqlite:{}", self.directory.path().join("journal.db").display())
    }

    async fn plain(&self) -> SqliteConnection {
        plain(&self.directory.path().join("journal.db")).await
    }
}

async fn plain(path: &Path) -> SqliteConnection {
    let options = SqliteConnectOptions::new().filename(path).create_if_missing(true);
    options.busy_timeout(Duration::from_secs(5)).connect().await.unwrap()
}

#[async_trait]
impl Backend for InFile {
    async fn new() -> Self {
        Self { directory: TempDir::new().unwrap() }
    }

    async fn open(&self, clock: Arc<dyn Clock>) -> Arc<dyn Store> {
        Arc::new(SqliteStore::open(&self.url(), &migration(), clock).await.unwrap())
    }

    async fn leaves(&self) -> Vec<Vec<u8>> {
        sqlx::query_scalar("select leaf from event order by position")
            .fetch_all(&mut self.plain().await)
            .await
            .unwrap()
    }

    fn forgeries(&self) -> Vec<&'static str> {
        const COLUMNS: [&str; 21] = [
            "update event set bytes = x'7b7d' where position = 2",
            "update or replace event set position = 1 where position = 2",
            "delete from event where position = 2",
            "delete from event where position = 3",
            "delete from event",
            "insert or replace into event select 2, x'7b7d', leaf, event_id, command_id, digest, kind, phase, recorded_at from event where position = 2",
            "replace into event select 3, x'7b7d', leaf, 'aa', command_id, digest, kind, phase, recorded_at from event where position = 3",
            "insert or ignore into event select 2, x'7b7d', leaf, event_id, command_id, digest, kind, phase, recorded_at from event where position = 2",
            "insert into event select * from event where position = 2 on conflict (position) do update set bytes = x'7b7d'",
            "insert into event select * from event where position = 2 on conflict do nothing",
            // At the next position, but taking the place of the row that has this command.
            "insert or replace into event select {next}, x'7b7d', leaf, event_id, command_id, digest, kind, phase, recorded_at from event where position = 2",
            "insert into event select 9, x'7b7d', leaf, 'aa', command_id, digest, kind, phase, recorded_at from event where position = 2",
            "insert into event select null, x'7b7d', leaf, 'aa', command_id, digest, kind, phase, recorded_at from event where position = 2",
            // Of no command, with half a leaf, without bytes.
            "insert into event select {next}, x'7b7d', leaf, 'aa', 'no such', null, kind, phase, recorded_at from event where position = 2",
            "insert into event select {next}, x'7b7d', x'00', 'aa', 'new', digest, kind, phase, recorded_at from event where position = 2",
            "insert into event select {next}, x'', leaf, 'aa', 'new', digest, kind, phase, recorded_at from event where position = 2",
            "update event set digest = zeroblob(32)",
            "insert or replace into event values ({next}, x'7b7d', zeroblob(32), 'aa', 'ask', zeroblob(32), 'x', 'a', 0)",
            "update lease set epoch = 0",
            "update lease set holder = 'thief'",
            "insert or replace into lease values ('a', 1, 'thief', 0)",
        ];
        let mut all = COLUMNS.to_vec();
        all.extend(["delete from lease", "update journal set migration = 'bank'", "delete from journal"]);
        all.push("insert or replace into journal values (1, 'bank')");
        all
    }

    async fn attempt(&self, statement: String) -> Result<(), String> {
        let mut connection = self.plain().await;
        let done = connection.execute(AssertSqlSafe(statement)).await;
        done.map(|_| ()).map_err(|error| error.to_string())
    }
}

conformance!(InFile);

fn foreign(result: Result<SqliteStore, StoreError>) -> String {
    match result {
        Err(error @ StoreError::Foreign(_)) => error.to_string(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn opening_an_existing_journal_never_makes_one() {
    let backend = InFile::new().await;
    let url = backend.url();
    let open = async || SqliteStore::open_existing(&url, &migration(), Arc::new(SystemClock)).await;
    let said = foreign(open().await);
    assert!(said.contains("there is no file"), "{said}");
    assert!(!backend.directory.path().join("journal.db").exists());
    std::fs::write(backend.directory.path().join("journal.db"), "").unwrap();
    assert!(foreign(open().await).contains("is not a journal"));
    std::fs::write(backend.directory.path().join("journal.db"), "something else ".repeat(100)).unwrap();
    assert!(foreign(open().await).contains("is not a journal"));
    assert!(foreign(SqliteStore::open(&url, &migration(), clock()).await).contains("is not a journal"));
    std::fs::remove_file(backend.directory.path().join("journal.db")).unwrap();

    let store = backend.open(clock()).await;
    planned(&*store).await;
    let existing = open().await.unwrap();
    assert_eq!(existing.state().await.unwrap().head, Position::new(1));
    // It may append, too.
    existing.execute(id("ask"), None, request("a")).await.unwrap();
    assert_eq!(store.state().await.unwrap().head, Position::new(2));
}

#[tokio::test]
async fn another_programs_database_or_another_migrations_journal_is_left_alone() {
    let backend = InFile::new().await;
    backend.attempt("create table theirs (a integer)".to_owned()).await.unwrap();
    let said = foreign(SqliteStore::open(&backend.url(), &migration(), clock()).await);
    assert!(said.contains("is not a journal"), "{said}");
    let mut connection = backend.plain().await;
    let tables: i64 =
        sqlx::query_scalar("select count(*) from sqlite_schema").fetch_one(&mut connection).await.unwrap();
    let mode: String = sqlx::query_scalar("pragma journal_mode").fetch_one(&mut connection).await.unwrap();
    assert_eq!((tables, mode.as_str()), (1, "delete"));

    let ours = InFile::new().await;
    ours.open(clock()).await;
    let bank = MigrationName::new("bank").unwrap();
    let said = foreign(SqliteStore::open(&ours.url(), &bank, clock()).await);
    assert!(said.contains("journal of the migration shop, not of bank"), "{said}");
    let said = foreign(SqliteStore::open_existing(&ours.url(), &bank, clock()).await);
    assert!(said.contains("journal of the migration shop, not of bank"), "{said}");
    for url in ["postgres://x/y", "sqlite:", "sqlite::memory:", "sqlite:a.db?mode=ro", "a.db"] {
        let said = foreign(SqliteStore::open(url, &bank, clock()).await);
        assert!(said.contains("write sqlite:FILE"), "{said}");
    }
    let nowhere = SqliteStore::open("sqlite:/no/such/directory/j.db", &bank, clock()).await.unwrap_err();
    assert!(
        matches!(&nowhere, StoreError::Unavailable(why) if why.contains("/no/such/directory")),
        "{nowhere}"
    );
}

#[tokio::test]
async fn a_journal_of_a_newer_version_is_not_touched() {
    let backend = InFile::new().await;
    backend.open(clock()).await;
    let newer = "insert into _sqlx_migrations (version, description, success, checksum, execution_time)
        values (9999, 'newer', true, x'00', 0)";
    backend.attempt(newer.to_owned()).await.unwrap();
    assert!(foreign(SqliteStore::open(&backend.url(), &migration(), clock()).await).contains("newer"));
    assert!(
        foreign(SqliteStore::open_existing(&backend.url(), &migration(), clock()).await).contains("newer")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn openings_of_a_new_file_at_the_same_instant_all_succeed() {
    for _ in 0..10 {
        let backend = InFile::new().await;
        let opened = futures::future::join_all((0..6).map(|_| {
            let url = backend.url();
            tokio::spawn(async move { SqliteStore::open(&url, &migration(), clock()).await.unwrap() })
        }))
        .await;
        planned(opened[0].as_ref().unwrap()).await;
        for store in opened {
            assert_eq!(store.unwrap().state().await.unwrap().head, Position::new(1));
        }
    }
}

#[tokio::test]
async fn the_file_is_kept_as_the_promise_of_durability_needs_it() {
    let backend = InFile::new().await;
    planned(&*backend.open(clock()).await).await;
    let mut connection = backend.plain().await;
    let mode: String = sqlx::query_scalar("pragma journal_mode").fetch_one(&mut connection).await.unwrap();
    assert_eq!(mode, "wal");
    let loose: Vec<String> = sqlx::query_scalar(
        "select name from pragma_table_list where schema = 'main' and type = 'table' and strict = 0
         and name not like 'sqlite_%' and name not like '_sqlx_%'",
    )
    .fetch_all(&mut connection)
    .await
    .unwrap();
    assert!(loose.is_empty(), "not strict: {loose:?}");
}

#[tokio::test]
async fn a_row_changed_beneath_the_guards_is_found_when_it_is_read() {
    let cases = [
        (
            "event_update",
            "update event set bytes = cast(replace(bytes, '\"ana\"', '\"eve\"') as blob) where position = 2",
            "does not hash",
        ),
        ("event_delete", "delete from event where position = 2", "event 2 is missing"),
    ];
    for (guard, statement, said) in cases {
        let backend = InFile::new().await;
        let store = backend.open(clock()).await;
        planned(&*store).await;
        for number in 1..4 {
            store.execute(id(format!("c{number}")), None, adopt(number)).await.unwrap();
        }
        backend.attempt(format!("drop trigger {guard}")).await.unwrap();
        backend.attempt(statement.to_owned()).await.unwrap();
        let found = foreign(SqliteStore::open_existing(&backend.url(), &migration(), clock()).await);
        assert!(found.contains(said), "{found}");
        // A tail hands out what is before it, then says so and ends.
        let mut tail = store.tail(Position::default());
        use futures::StreamExt as _;
        assert_eq!(tail.next().await.unwrap().unwrap().envelope.position, Position::new(1));
        assert!(matches!(tail.next().await, Some(Err(StoreError::Foreign(why))) if why.contains(said)));
        assert!(tail.next().await.is_none());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_append_waits_for_another_process_that_holds_the_file() {
    let backend = InFile::new().await;
    let store = backend.open(clock()).await;
    planned(&*store).await;
    let mut other = backend.plain().await;
    let tx = other.begin_with("begin immediate").await.unwrap();
    let waits = tokio::spawn({
        let store = Arc::clone(&store);
        async move { store.execute(id("ask"), None, request("a")).await }
    });
    // Longer than SQLite waits by itself, so the transaction is tried again.
    SystemClock.sleep(Duration::from_millis(2500)).await;
    assert!(!waits.is_finished());
    // Reading goes on meanwhile.
    assert_eq!(store.state().await.unwrap().head, Position::new(1));
    tx.rollback().await.unwrap();
    let done = waits.await.unwrap().unwrap();
    assert_eq!(done[0].envelope.position, Position::new(2));
}

// ---- a process that is killed ----

/// Set for the child alone: makes the case below a writer for ever.
const CHILD: &str = "JOURNAL_STORE_CHILD";

/// Not a case of its own: the child that the cases below kill. Writes to `journal.db` in its working directory, and
/// says each command id that was acknowledged on a line.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "run by other cases, in a process of its own"]
async fn child_that_appends_for_ever() {
    let Some(name) = std::env::var_os(CHILD).and_then(|name| name.into_string().ok()) else { return };
    let store: Arc<dyn Store> =
        Arc::new(SqliteStore::open("sqlite:journal.db", &migration(), Arc::new(SystemClock)).await.unwrap());
    let writers = (0..4u64).map(|writer| {
        let (name, store) = (name.clone(), Arc::clone(&store));
        async move {
            for number in 0.. {
                let command = id(format!("{name}.{writer}.{number}"));
                let salt = name.bytes().fold(0u64, |sum, byte| sum * 31 + u64::from(byte));
                let number = 1 + salt * 1_000_000 + writer * 100_000 + number;
                store.execute(command.clone(), None, adopt(number)).await.unwrap();
                writeln!(std::io::stdout().lock(), "acknowledged {command}").unwrap();
            }
        }
    });
    futures::future::join_all(writers).await;
}

fn child(directory: &Path, name: &str) -> Process {
    let mut process = Process::new(std::env::current_exe().unwrap());
    process
        .args(["--exact", "sqlite::child_that_appends_for_ever", "--ignored", "--nocapture"])
        .current_dir(directory)
        .env(CHILD, name)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    process
}

fn acknowledged(line: &str) -> Option<String> {
    line.split_once("acknowledged ").map(|(_, id)| id.trim().to_owned())
}

#[tokio::test]
async fn a_killed_writer_loses_no_acknowledged_append() {
    let backend = InFile::new().await;
    let store = backend.open(clock()).await;
    planned(&*store).await;
    let mut known = Vec::new();
    for round in 0..3 {
        // Two at once: the other must go on after the first is killed in its midst.
        let names = [format!("k{round}"), format!("o{round}")];
        let mut children: Vec<_> =
            names.iter().map(|name| child(backend.directory.path(), name).spawn().unwrap()).collect();
        let mut lines: Vec<_> =
            children.iter_mut().map(|child| BufReader::new(child.stdout.take().unwrap()).lines()).collect();
        for (which, child) in children.iter_mut().enumerate() {
            let wanted = known.len() + 50 + 7 * round;
            while known.len() < wanted {
                let line = lines[which].next().expect("the child goes on").unwrap();
                known.extend(acknowledged(&line));
            }
            child.kill().unwrap();
            child.wait().unwrap();
            known.extend(lines[which].by_ref().filter_map(|line| acknowledged(&line.unwrap())));
        }
    }
    assert_sound(&*store).await;
    let mut connection = backend.plain().await;
    for command in &known {
        let count: i64 = sqlx::query_scalar("select count(*) from event where command_id = ?1")
            .bind(command)
            .fetch_one(&mut connection)
            .await
            .unwrap();
        assert!(count >= 1, "lost: {command}");
    }
    let torn: i64 = sqlx::query_scalar(
        "select count(*)
         from (select count(*) as events, count(digest) as firsts, max(position) - min(position) + 1 as places
               from event
               group by command_id)
         where events <> places or firsts <> 1",
    )
    .fetch_one(&mut connection)
    .await
    .unwrap();
    assert_eq!(torn, 0, "a command's events are all there or none is");
}

#[tokio::test]
async fn an_append_cut_off_around_its_commit_is_resolved_by_asking_again() {
    for (place, was_there) in [("journal.before_commit", false), ("journal.after_commit", true)] {
        let backend = InFile::new().await;
        let store = backend.open(clock()).await;
        planned(&*store).await;
        let output =
            child(backend.directory.path(), "k").env("SWITCHYARD_FAILPOINT", place).output().unwrap();
        assert!(!output.status.success());
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(said.lines().all(|line| acknowledged(line).is_none()), "{said}");
        let before = store.state().await.unwrap().head;
        assert_eq!(before > Position::new(1), was_there, "{place}");
        let number = 1 + u64::from(b'k') * 1_000_000;
        let again = store.execute(id("k.0.0"), None, adopt(number)).await.unwrap();
        let after = store.state().await.unwrap().head;
        assert_eq!(after == before, was_there, "{place}: {again:?}");
        assert_sound(&*store).await;
    }
}

#[test]
fn the_plan_used_here_is_a_plan() {
    journal::Plan::parse(&plan(1)).unwrap();
}
