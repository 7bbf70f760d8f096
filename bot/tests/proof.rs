//! Keys, log checkpoints and the journal's check, through the binary.
#![allow(
    clippy::allow_attributes,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "tests"
)]

mod support;

use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use journal::log_checkpoint::notes;
use journal::note::{KeyName, SignerKey, VerifierKey};
use journal::{LogCheckpoint, note::Note};
use sqlx::Connection as _;
use support::{Place, plan_text, token};

const BINARY: &str = env!("CARGO_BIN_EXE_switchyard");

/// A place whose plan can prove its journal, with the key made.
struct Proven {
    place: Place,
    key: String,
}

impl Proven {
    fn new() -> Self {
        let place = Place::new();
        let (code, out, err) = verb(&place, &["journal", "key", "new", "-o", "journal.key"]);
        assert_eq!(code, 0, "{err}");
        let key = out.lines().next().unwrap().to_owned();
        let with_key = "[journal]\nsigning_key = \"file:journal.key\"\nwitness = \"witness.txt\"\n";
        std::fs::write(place.file("plan.toml"), plan_text().replace("[journal]\n", with_key)).unwrap();
        Self { place, key }
    }

    fn witness(&self) -> String {
        std::fs::read_to_string(self.place.file("witness.txt")).unwrap_or_default()
    }

    /// Changes the journal's file as somebody does who has it.
    fn tamper(&self, sql: &str) {
        let url = format!("sqlite:{}", self.place.file("shop.journal").display());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut file = sqlx::SqliteConnection::connect(&url).await.unwrap();
            sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&mut file).await.unwrap();
            file.close().await.unwrap();
        });
    }
}

fn switchyard(place: &Place) -> Command {
    let mut command = Command::new(BINARY);
    command.current_dir(place.dir.path()).env_clear().env("SWITCHYARD_PLAN", place.file("plan.toml"));
    command.env("SHOP_SOURCE_URL", "postgres://mover:hunter22@127.0.0.1:1/shop");
    command.env("SHOP_TARGET_URL", "postgres://mover:hunter23@127.0.0.1:1/shop");
    command.env("SHOP_PGBOUNCER_ADMIN_URL", "postgres://mover:hunter24@127.0.0.1:1/pgbouncer");
    command.stdin(Stdio::null());
    command
}

fn verb(place: &Place, arguments: &[&str]) -> (i32, String, String) {
    let out = switchyard(place).args(arguments).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (out.status.code().unwrap(), text(out.stdout), text(out.stderr))
}

fn chat(place: &Place, person: &str, text: &str) -> (i32, String, String) {
    let mut command = switchyard(place);
    let out =
        command.args(["chat", "--as", person, text]).env("SWITCHYARD_TOKEN", token(person)).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (out.status.code().unwrap(), text(out.stdout), text(out.stderr))
}

struct Serve(Child);

impl Serve {
    fn start(place: &Place) -> Self {
        let log =
            std::fs::OpenOptions::new().create(true).append(true).open(place.file("serve.log")).unwrap();
        Self(switchyard(place).arg("serve").stdout(Stdio::null()).stderr(log).spawn().unwrap())
    }

    fn end(mut self) {
        let pid = self.0.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        assert_eq!(self.0.wait().unwrap().code(), Some(0));
    }
}

impl Drop for Serve {
    fn drop(&mut self) {
        let _ended = self.0.kill().and_then(|()| self.0.wait()).is_ok();
    }
}

fn until<T>(what: &str, mut look: impl FnMut() -> Result<T, String>) -> T {
    let start = Instant::now();
    loop {
        match look() {
            Ok(found) => return found,
            Err(seen) if start.elapsed() > Duration::from_secs(30) => panic!("{what}: {seen}"),
            Err(_) => std::thread::yield_now(),
        }
    }
}

/// Serves until a request for `start` was taken: a journal of a few events, some of them told by log checkpoints.
fn lived() -> Proven {
    let proven = Proven::new();
    let serve = Serve::start(&proven.place);
    until("a start to be asked for", || {
        let (code, out, err) = chat(&proven.place, "ana", "/migrate region-a start");
        if code == 0 || out.contains("SW-0113") || out.contains("SW-0114") { Ok(()) } else { Err(out + &err) }
    });
    until("a log checkpoint", || match proven.witness() {
        text if text.is_empty() => Err(text),
        text => Ok(text),
    });
    serve.end();
    // What came after the last one is covered too.
    let (code, _, err) = verb(&proven.place, &["journal", "checkpoint"]);
    assert_eq!(code, 0, "{err}");
    proven
}

#[test]
fn a_key_is_made_once_for_its_owner_alone() {
    let place = Place::new();
    let (code, out, _) = verb(&place, &["journal", "key", "new", "-o", "journal.key"]);
    assert_eq!(code, 0);
    let file = place.file("journal.key");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let secret = std::fs::read_to_string(&file).unwrap();
    let key = SignerKey::from_secret(&secret).unwrap();
    assert_eq!(key.verifier().to_string(), out.lines().next().unwrap());
    assert_eq!(key.verifier().name().as_str(), "shop.switchyard");
    // The last part, which may itself hold the mark that keeps the parts apart.
    let seed = secret.splitn(5, '+').nth(4).unwrap().trim();
    assert!(seed.len() > 40 && !out.contains(seed), "the key was printed");
    let (code, _, err) = verb(&place, &["journal", "key", "new", "-o", "journal.key"]);
    assert!(code == 1 && err.contains("(SW-0650)"), "{err}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), secret);
    let (code, _, err) = verb(&place, &["journal", "key", "new", "--name", "a b", "-o", "x"]);
    assert!(code == 2 && err.contains("(SW-0652)"), "{err}");
    let (code, _, err) = verb(&place, &["journal", "key", "show"]);
    assert!(code == 1 && err.contains("cannot prove itself"), "{err}");
}

#[test]
fn a_key_that_others_can_read_or_that_is_another_logs_is_refused_with_the_remedy() {
    let proven = Proven::new();
    let place = &proven.place;
    assert_eq!(verb(place, &["journal", "key", "show"]), (0, format!("{}\n", proven.key), String::new()));
    let file = place.file("journal.key");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640)).unwrap();
    for arguments in [&["journal", "key", "show"][..], &["serve"]] {
        let (code, _, err) = verb(place, arguments);
        assert!(code == 1 && err.contains("chmod 600") && err.contains("(SW-0651)"), "{err}");
    }
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    let other = SignerKey::from_seed(KeyName::new("other.switchyard").unwrap(), &[3; 32]).to_secret();
    std::fs::write(&file, &other).unwrap();
    let (code, _, err) = verb(place, &["journal", "key", "show"]);
    assert!(code == 1 && err.contains("(SW-0653)"), "{err}");
    std::fs::write(&file, "PRIVATE+KEY+shop.switchyard+00000000+secretsecret").unwrap();
    let (code, _, err) = verb(place, &["journal", "key", "show"]);
    assert!(code == 1 && err.contains("(SW-0652)") && !err.contains("secretsecret"), "{err}");
    std::fs::remove_file(&file).unwrap();
    let (code, _, err) = verb(place, &["serve"]);
    assert!(code == 1 && err.contains("(SW-0650)"), "{err}");
}

#[test]
fn serve_lets_log_checkpoints_leave_and_the_check_agrees() {
    let proven = lived();
    let place = &proven.place;
    let key: VerifierKey = proven.key.parse().unwrap();
    for note in notes(&proven.witness()) {
        let note = Note::parse(note.as_bytes()).unwrap();
        LogCheckpoint::verify(&note, std::slice::from_ref(&key)).unwrap();
    }
    let (code, out, err) = verb(place, &["journal", "checkpoint"]);
    assert_eq!(code, 0, "{err}");
    assert!(out.starts_with("shop.switchyard\n") && proven.witness().ends_with(&out), "{out}");
    assert_eq!(verb(place, &["journal", "checkpoint"]).1, out, "nothing new, nothing signed");
    let (code, out, err) = verb(place, &["journal", "check"]);
    assert!(code == 0 && out.contains("agree"), "{out}{err}");
    std::fs::copy(place.file("witness.txt"), place.file("elsewhere.txt")).unwrap();
    let asked = ["journal", "check", "--witness", "elsewhere.txt", "--key", &proven.key];
    assert_eq!(verb(place, &asked).1, out, "the same of a copy, by the key that was handed out");
    let secret = std::fs::read_to_string(place.file("journal.key")).unwrap();
    let (code, out, err) = verb(place, &["journal", "check", "--key", secret.trim()]);
    let seed = secret.trim().splitn(5, '+').nth(4).unwrap();
    assert!(code == 2 && err.contains("(SW-0652)") && !(out + &err).contains(seed), "the key was printed");
    let stranger = SignerKey::from_seed(KeyName::new("shop.switchyard").unwrap(), &[9; 32]);
    let (code, out, _) = verb(place, &["journal", "check", "--key", &stranger.verifier().to_string()]);
    assert!(code == 1 && out.contains("(SW-0658)"), "{out}");
    let (code, _, err) = verb(place, &["journal", "check", "--witness", "absent.txt"]);
    assert!(code == 1 && err.contains("(SW-0654)"), "{err}");
}

#[test]
fn an_unfinished_note_is_no_error_and_is_cut_off() {
    let proven = lived();
    let whole = notes(&proven.witness()).next().unwrap().to_owned();
    let file = proven.place.file("witness.txt");
    for torn in ["\nshop.switch", "\nshop.switchyard\n999\n", "\nshop.switchyard\n999\nAAAA\n\n\u{2014} sh"] {
        std::fs::write(&file, format!("{whole}{torn}")).unwrap();
        let (code, out, err) = verb(&proven.place, &["journal", "check"]);
        assert_eq!(code, 0, "{out}{err}");
    }
    let mut bytes = whole.clone().into_bytes();
    bytes.extend_from_slice(b"\nshop\n\n\xe2\x80");
    std::fs::write(&file, bytes).unwrap();
    let (code, out, err) = verb(&proven.place, &["journal", "checkpoint"]);
    assert_eq!(code, 0, "{err}");
    let mended = proven.witness();
    assert!(mended.starts_with(&whole) && mended.ends_with(&out) && !mended.contains("shop\n\n"), "{mended}");
    std::fs::write(&file, whole.replacen("shop.switchyard", "shop switchyard", 1)).unwrap();
    let (code, _, err) = verb(&proven.place, &["journal", "checkpoint"]);
    assert!(code == 1 && err.contains("(SW-0654)"), "{err}");
}

/// What somebody with the file can do, and the guards do not stop: each is found, by its name.
#[test]
fn whoever_rewrites_the_journal_is_found_and_nothing_more_is_signed() {
    let drop_guards = "drop trigger event_update; drop trigger event_delete; drop trigger event_insert;";
    let earlier = "update event set bytes = cast(replace(bytes, '\"recorded_at\":\"2', '\"recorded_at\":\"1') as blob) where position = 2;";
    let cases = [
        ("edited", earlier.to_owned(), "(SW-0659)"),
        ("garbled", "update event set bytes = x'7b' where position = 2;".to_owned(), "(SW-0656)"),
        ("deleted", "delete from event where position = 2;".to_owned(), "(SW-0657)"),
        (
            "reordered",
            "update event set position = 1000 where position = 1; update event set position = 1 where position = 2;
             update event set position = 2 where position = 1000;"
                .to_owned(),
            "(SW-0656)",
        ),
        ("a leaf", "update event set leaf = zeroblob(32) where position = 2;".to_owned(), "(SW-0656)"),
        ("cut", "delete from event where position > 1;".to_owned(), "(SW-0659)"),
    ];
    for (what, sql, code) in cases {
        let proven = lived();
        proven.tamper(&format!("pragma foreign_keys = off; {drop_guards} {sql}"));
        let before = proven.witness();
        let (ended, out, err) = verb(&proven.place, &["journal", "check"]);
        assert!(ended == 1 && out.contains(code), "{what}: {out}{err}");
        let (ended, _, err) = verb(&proven.place, &["journal", "checkpoint"]);
        assert!(ended != 0, "{what}: {err}");
        assert_eq!(proven.witness(), before, "{what}: something was signed over it");
    }
}

#[test]
fn an_event_that_was_edited_is_found_beside_its_leaf_without_any_witness() {
    let proven = lived();
    std::fs::remove_file(proven.place.file("witness.txt")).unwrap();
    let (code, out, err) = verb(&proven.place, &["journal", "check"]);
    assert_eq!(code, 0, "{out}{err}");
    proven.tamper(
        "drop trigger event_update;
         update event set bytes = cast(replace(bytes, '\"recorded_at\":\"2', '\"recorded_at\":\"1') as blob) where position = 2;",
    );
    let (code, out, err) = verb(&proven.place, &["journal", "check"]);
    assert!(
        code == 1 && out.contains("event 2 does not hash to the leaf") && out.contains("(SW-0656)"),
        "{out}{err}"
    );
}

#[test]
fn an_approval_is_answered_with_a_log_checkpoint_over_it_and_audit_shows_it() {
    let proven = Proven::new();
    let place = &proven.place;
    let with_approvals = std::fs::read_to_string(place.file("plan.toml")).unwrap();
    let policy = "[approvals.start]\nrequired = 2\nrole = \"approver\"\n\n[journal]\n";
    std::fs::write(place.file("plan.toml"), with_approvals.replace("[journal]\n", policy)).unwrap();
    let serve = Serve::start(place);
    let request = until("a start to be asked for", || {
        let (code, out, err) = chat(place, "ana", "/migrate region-a start");
        let number = out.strip_prefix("Request #").and_then(|rest| rest.split(':').next());
        if code == 0 { Ok(number.unwrap().parse::<u64>().unwrap()) } else { Err(out + &err) }
    });
    let (code, out, _) = chat(place, "ben", &format!("/migrate approve #{request}"));
    assert_eq!(code, 0, "{out}");
    let size = out.split("Log checkpoint ").nth(1).and_then(|rest| rest.split(' ').next());
    let size: u64 = size.unwrap_or_else(|| panic!("{out}")).parse().unwrap();
    assert!(size > request, "the approval is event {} at least: {out}", request + 1);
    until("the journal to know", || {
        let (_, out, _) = verb(place, &["status", "--json"]);
        let status: serde_json::Value = serde_json::from_str(&out).map_err(|error| error.to_string())?;
        let left = status["log_checkpoint"]["size"].as_u64();
        if left.is_some_and(|left| left > request) { Ok(()) } else { Err(out) }
    });
    let (_, shown, _) = verb(place, &["status"]);
    assert!(shown.contains("log checkpoint ") && shown.contains("witness.txt"), "{shown}");
    let (code, out, _) = chat(place, "ben", "/migrate audit");
    assert!(code == 0 && out.contains(&proven.key) && out.contains("\u{2014} shop.switchyard "), "{out}");
    serve.end();
    the_journals_own_word_of_its_witness_is_believed(&proven);
    let log = std::fs::read_to_string(place.file("serve.log")).unwrap();
    let secret = std::fs::read_to_string(place.file("journal.key")).unwrap();
    assert!(!log.contains(secret.rsplit('+').next().unwrap().trim()), "{log}");
}

/// The journal says which log checkpoints left it: a witness that lacks them is found, and so is a tree that lacks them.
fn the_journals_own_word_of_its_witness_is_believed(proven: &Proven) {
    let check = || verb(&proven.place, &["journal", "check"]);
    assert_eq!(check().0, 0, "{}", check().1);
    let file = proven.place.file("witness.txt");
    let whole = proven.witness();
    let first = notes(&whole).next().unwrap().to_owned();
    for left in [Some(""), Some(first.as_str()), None] {
        match left {
            Some(text) => std::fs::write(&file, text).unwrap(),
            None => std::fs::remove_file(&file).unwrap(),
        }
        let (code, out, err) = check();
        assert!(code == 1 && out.contains("(SW-0661)"), "{left:?}: {out}{err}");
    }
    // An older copy of what was kept elsewhere agrees as far as it goes.
    std::fs::write(proven.place.file("kept.txt"), &first).unwrap();
    let (code, out, err) =
        verb(&proven.place, &["journal", "check", "--witness", "kept.txt", "--key", &proven.key]);
    assert_eq!(code, 0, "{out}{err}");
    std::fs::write(&file, &whole).unwrap();
    let (code, out, err) = check();
    assert_eq!(code, 0, "{out}{err}");
    std::fs::remove_file(&file).unwrap();
    proven.tamper(
        "drop trigger event_update;
         update event set bytes = cast(replace(bytes, '\"recorded_at\":\"2', '\"recorded_at\":\"1') as blob) where position = 1;",
    );
    let (code, out, err) = check();
    assert!(
        code == 1 && out.contains("tells of a log checkpoint over") && out.contains("(SW-0659)"),
        "{out}{err}"
    );
}
