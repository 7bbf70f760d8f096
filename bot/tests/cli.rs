//! The binary, as its users call it.
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

use std::io::Read as _;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use support::{Place, token};

const BINARY: &str = env!("CARGO_BIN_EXE_switchyard");

/// The binary in a place. Its databases cannot be reached, so operations begin and wait.
fn switchyard(place: &Place) -> Command {
    let mut command = Command::new(BINARY);
    command.current_dir(place.dir.path()).env_clear().env("SWITCHYARD_PLAN", place.file("plan.toml"));
    command.env("SHOP_SOURCE_URL", "postgres://mover:hunter22@127.0.0.1:1/shop");
    command.env("SHOP_TARGET_URL", "postgres://mover:hunter23@127.0.0.1:1/shop");
    command.env("SHOP_PGBOUNCER_ADMIN_URL", "postgres://mover:hunter24@127.0.0.1:1/pgbouncer");
    command.stdin(Stdio::null());
    command
}

fn run(command: &mut Command) -> (i32, String, String) {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

fn verb(place: &Place, arguments: &[&str]) -> (i32, String, String) {
    run(switchyard(place).args(arguments))
}

fn chat(place: &Place, person: &str, text: &str) -> (i32, String, String) {
    run(switchyard(place).args(["chat", "--as", person, text]).env("SWITCHYARD_TOKEN", token(person)))
}

/// A running `serve`, ended with the test.
struct Serve {
    child: Child,
}

impl Serve {
    fn start(place: &Place, arguments: &[&str]) -> Self {
        let log = std::fs::File::create(place.file("serve.log")).unwrap();
        let mut command = switchyard(place);
        let child = command.arg("serve").args(arguments).stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let mut serve = Self { child };
        let mut said = String::new();
        let mut out = serve.child.stdout.take().unwrap();
        let mut byte = [0];
        while out.read(&mut byte).unwrap() == 1 && byte != *b"\n" {
            said.push(char::from(byte[0]));
        }
        let log = std::fs::read_to_string(place.file("serve.log")).unwrap();
        assert!(said.starts_with("serving shop, socket "), "{said}\n{log}");
        serve
    }

    fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([name, &pid]).status().unwrap().success());
    }

    fn ended(&mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }
}

impl Drop for Serve {
    fn drop(&mut self) {
        let _ended = self.child.kill().and_then(|()| self.child.wait()).is_ok();
    }
}

/// Waits for a condition, and shows what was seen last if it does not come.
fn until(what: &str, mut look: impl FnMut() -> Result<(), String>) {
    let start = Instant::now();
    loop {
        match look() {
            Ok(()) => return,
            Err(seen) if start.elapsed() > Duration::from_secs(20) => panic!("{what}: {seen}"),
            Err(_) => std::thread::yield_now(),
        }
    }
}

#[test]
fn the_example_plan_is_right() {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/plan.example.toml");
    let (code, out, err) = run(Command::new(BINARY).args(["plan", "check"]).arg(&example));
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("is right: migration shop, 1 phase, plan "), "{out}");
    let (code, out, _) = run(Command::new(BINARY).args(["plan", "show"]).arg(&example));
    assert_eq!(code, 0);
    assert!(out.contains("phase region-a, bound to "), "{out}");
}

#[test]
fn every_problem_of_a_plan_has_its_place() {
    let place = Place::new();
    let text = support::plan_text().replace("max_downtime = \"60s\"", "max_downtime = \"soon\"");
    std::fs::write(
        place.file("bad.toml"),
        text.replace("role = \"approver\"", "role = \"approver\"\nrequired = 1"),
    )
    .unwrap();
    let text = std::fs::read_to_string(place.file("bad.toml")).unwrap().replacen("required = 2", "", 1);
    std::fs::write(place.file("bad.toml"), text).unwrap();
    let (code, out, err) = verb(&place, &["plan", "check", "bad.toml"]);
    assert_eq!((code, out.as_str()), (1, ""));
    let lines: Vec<&str> = err.lines().collect();
    assert!(
        lines.iter().any(|line| line.starts_with("bad.toml:") && line.contains("cutover needs at least 2")),
        "{err}"
    );
    assert!(
        lines.iter().any(|line| line.starts_with("bad.toml:") && line.contains("`soon` is not a duration")),
        "{err}"
    );
    let (code, _, err) = verb(&place, &["plan", "check", "absent.toml"]);
    assert_eq!(code, 1);
    assert!(err.contains("absent.toml cannot be read"), "{err}");
}

#[test]
fn every_plan_of_the_folder_is_right() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config");
    let mut seen = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let file = entry.unwrap().path();
        if file.file_name().is_some_and(|name| name.to_string_lossy().starts_with("plan.")) {
            let (code, out, err) = run(Command::new(BINARY).args(["plan", "check"]).arg(&file));
            assert_eq!(code, 0, "{err}");
            assert!(out.contains(" is right: migration shop, "), "{out}");
            seen += 1;
        }
    }
    assert!(seen >= 2);
}

#[test]
fn a_wrong_plan_is_shown_with_its_lines_and_what_was_meant() {
    let place = Place::new();
    let text = support::plan_text().replace("lease =", "lese =").replace("lanes = 2", "lanes = \"2\"");
    std::fs::write(place.file("bad.toml"), &text).unwrap();
    let (code, out, err) = verb(&place, &["plan", "check", "bad.toml"]);
    assert_eq!((code, out.as_str()), (1, ""));
    let line = |word: &str| text.lines().position(|line| line.starts_with(word)).unwrap() + 1;
    let (lease, lanes) = (line("lese"), line("lanes"));
    let shown = text.lines().nth(lease - 1).unwrap();
    assert!(
        err.starts_with(&format!(
            "bad.toml:{lease}:1: [journal] has no key `lese`\n  {lease} | {shown}\n     | ^\n"
        )),
        "{err}"
    );
    assert!(err.contains("help: did you mean `lease`?\n"), "{err}");
    assert!(err.contains(&format!("bad.toml:{lanes}:9: [load] `lanes` must be a whole number")), "{err}");
    assert!(err.ends_with("bad.toml has 2 problems, and is not used.\n"), "{err}");

    let (code, out, _) = verb(&place, &["plan", "check", "--json", "bad.toml"]);
    assert_eq!(code, 1);
    let told: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (&told["v"], &told["ok"], &told["plan_hash"]),
        (&1.into(), &false.into(), &serde_json::Value::Null)
    );
    let first = &told["problems"][0];
    assert_eq!(
        (&first["line"], &first["column"], &first["suggestion"]),
        (&lease.into(), &1.into(), &"lease".into())
    );
    assert_eq!(told["problems"].as_array().unwrap().len(), 2);

    // Without a file it is the plan of the environment, which is right, and says what is odd.
    let (code, out, _) = verb(&place, &["plan", "check", "--json"]);
    assert_eq!(code, 0);
    let told: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&told["ok"], &told["problems"]), (&true.into(), &serde_json::json!([])));
    assert_eq!(told["plan_hash"].as_str().unwrap().len(), 64);
    assert!(told["warnings"][0]["what"].as_str().unwrap().contains("signing_key"), "{out}");
}

#[test]
fn a_revision_tells_what_it_changes_and_what_it_voids() {
    let place = Place::new();
    let second = support::plan_text().split("[[phase]]").nth(1).unwrap().replace("region-a", "region-b");
    let second =
        second.replace("\"public.", "\"second.").replace("database = \"shop\"", "database = \"second\"");
    let old = format!("{}\n[[phase]]{second}", support::plan_text());
    std::fs::write(place.file("plan.toml"), &old).unwrap();
    assert_eq!(verb(&place, &["plan", "adopt", "plan.toml"]).0, 0);

    // The same, written otherwise.
    std::fs::write(
        place.file("new.toml"),
        old.replace("max_downtime = \"60s\"", "max_downtime = \"1m\" # a minute"),
    )
    .unwrap();
    let (code, out, _) = verb(&place, &["plan", "diff", "plan.toml", "new.toml"]);
    assert_eq!(code, 0);
    assert!(out.contains("They mean the same"), "{out}");

    // One phase changed.
    let new = old.replacen("max_downtime = \"60s\"", "max_downtime = \"90s\"", 1);
    std::fs::write(place.file("new.toml"), &new).unwrap();
    let (_, out, _) = verb(&place, &["plan", "diff", "plan.toml", "new.toml"]);
    assert!(
        out.contains("\nphase region-a: bound to ") && out.contains("\n  max_downtime: 1m → 90s\n"),
        "{out}"
    );
    assert!(out.contains("\nphase region-b: unchanged, bound to "), "{out}");
    assert!(!out.contains("shared sections"), "{out}");
    assert!(
        out.contains("voids every open request of region-a.") && out.contains("Requests of region-b stay"),
        "{out}"
    );

    // A shared section changed: all are bound anew.
    std::fs::write(place.file("shared.toml"), old.replace("lanes = 2", "lanes = 3")).unwrap();
    let (_, out, _) = verb(&place, &["plan", "diff", "plan.toml", "shared.toml"]);
    assert!(out.contains("\n  [load]\n    lanes: 2 → 3\n"), "{out}");
    assert!(out.contains("phase region-b: itself unchanged; bound to "), "{out}");
    assert!(out.contains("voids every open request of region-a, region-b."), "{out}");

    // The journal knows the requests by number, and an operation that runs stands against it.
    {
        let _serve = Serve::start(&place, &[]);
        let (code, said, err) = chat(&place, "ana", "/migrate region-b start");
        assert_eq!(code, 0, "{said}{err}");
        until("region-b begins", || {
            let (_, out, _) = verb(&place, &["status", "--phase", "region-b"]);
            if out.contains("preflight") { Ok(()) } else { Err(out) }
        });
    }
    let (code, out, err) = verb(&place, &["plan", "diff", "plan.toml", "shared.toml", "--journal"]);
    assert_eq!(code, 0, "{err}");
    assert!(
        out.contains("region-b is in mid-operation (start, request #") && out.contains("refuses it until"),
        "{out}"
    );
    let (_, out, _) = verb(&place, &["plan", "diff", "plan.toml", "new.toml", "--journal"]);
    assert!(
        out.contains("region-b is in mid-operation (start, request #")
            && out.contains("ends by the plan it began with"),
        "{out}"
    );
    assert!(out.contains("No open request would be void."), "{out}");
    let adopt = |file: &str| {
        run(switchyard(&place)
            .args(["plan", "adopt", file, "--as", "ana"])
            .env("SWITCHYARD_TOKEN", token("ana")))
    };
    let (code, _, err) = adopt("shared.toml");
    assert_eq!(code, 1);
    assert!(err.contains("region-b") && err.contains("SW-0104"), "{err}");
    let (code, out, err) = adopt("new.toml");
    assert_eq!(code, 0, "{err}");
    assert!(
        out.contains("The start of region-b (request #") && out.contains("ends by the plan it began with"),
        "{out}"
    );

    // An open request is named by its number.
    let place = Place::new();
    let old = support::plan_text()
        .replace("[approvals.cutover]", "[approvals.start]\nrequired = 1\n\n[approvals.cutover]");
    std::fs::write(place.file("plan.toml"), &old).unwrap();
    let request = {
        let _serve = Serve::start(&place, &[]);
        let (code, said, err) = chat(&place, "ana", "/migrate region-a start");
        assert_eq!(code, 0, "{said}{err}");
        let digits = said.split_once('#').unwrap().1;
        digits.chars().take_while(char::is_ascii_digit).collect::<String>()
    };
    let named = format!("#{request} (start of region-a)");
    std::fs::write(place.file("new.toml"), old.replace("lanes = 2", "lanes = 3")).unwrap();
    let (_, out, _) = verb(&place, &["plan", "diff", "plan.toml", "new.toml", "--journal"]);
    assert!(out.ends_with(&format!("Void as soon as it is adopted: {named}.\n")), "{out}");
    let arguments = ["plan", "adopt", "new.toml", "--as", "ana"];
    let (code, out, err) = run(switchyard(&place).args(arguments).env("SWITCHYARD_TOKEN", token("ana")));
    assert_eq!(code, 0, "{err}");
    assert!(
        out.contains(&format!("One open request was bound to another plan and is void: {named}.")),
        "{out}"
    );

    // `serve` takes the adopted plan alone, and says how to make it so.
    let (code, _, err) = verb(&place, &["serve"]);
    assert_eq!(code, 1);
    assert!(err.contains("SW-0627") && err.contains("switchyard plan adopt"), "{err}");
}

#[test]
fn usage_errors_end_with_2_and_help_with_0() {
    let place = Place::new();
    for arguments in
        [&["frob"][..], &["chat"], &["serve", "--instance", "a/b"], &["status", "--phase", "A B"]]
    {
        let (code, out, err) = verb(&place, arguments);
        // Some are found before the journal is, some after.
        assert!(code == 2 || arguments[0] == "status" && code == 3, "{arguments:?}: {code} {out} {err}");
    }
    for arguments in
        [&["--help"][..], &["serve", "--help"], &["chat", "--help"], &["status", "--help"], &["--version"]]
    {
        let (code, out, _) = verb(&place, arguments);
        assert_eq!(code, 0);
        assert!(!out.is_empty());
    }
}

#[test]
fn without_a_server_chat_ends_with_3_and_status_says_what_is_missing() {
    let place = Place::new();
    let (code, _, err) = chat(&place, "ana", "status");
    assert_eq!(code, 3);
    assert!(err.contains("No server answers on ") && err.contains("(SW-0625)"), "{err}");
    let (code, _, err) = verb(&place, &["status"]);
    assert_eq!(code, 3, "{err}");
    assert!(!place.file("shop.journal").exists(), "a look must not make a journal");
}

#[test]
fn a_token_and_its_digest_fit() {
    let place = Place::new();
    let (code, out, _) = verb(&place, &["token", "new"]);
    assert_eq!(code, 0);
    let token = out.lines().next().unwrap().strip_prefix("token   ").unwrap();
    let digest = hex::encode(<sha2::Sha256 as sha2::Digest>::digest(token));
    assert!(out.contains(&format!("local_token_sha256 = \"{digest}\"")), "{out}");
    assert_ne!(verb(&place, &["token", "new"]).1, out);
}

#[test]
fn serve_answers_and_status_and_journal_tell_the_same_without_it() {
    let place = Place::new();
    let mut serve = Serve::start(&place, &[]);
    let (code, out, _) = chat(&place, "ana", "/migrate region-a start");
    assert_eq!(code, 0, "{out}");
    assert!(out.starts_with("Request #"), "{out}");
    let (code, out, _) = chat(&place, "ben", "/migrate region-a start");
    assert_eq!(code, 1, "{out}");
    let (code, out, _) = chat(&place, "ana", "/migrate cutover");
    assert_eq!(code, 2, "{out}");
    until("the start to begin", || {
        let (code, out, err) = verb(&place, &["status", "--json"]);
        let status: serde_json::Value =
            serde_json::from_str(&out).map_err(|error| format!("{error} {code} {err}"))?;
        let phase = &status["phases"][0];
        if phase["status"] == "starting" && phase["operation"] == "start" { Ok(()) } else { Err(out) }
    });
    serve.signal("-TERM");
    assert_eq!(serve.ended(), Some(0));
    assert!(!place.file("shop.sock").exists());

    let (code, out, _) = verb(&place, &["status"]);
    assert_eq!(code, 0);
    assert!(out.contains("region-a  starting  start, at preflight"), "{out}");
    let (code, shown, _) = verb(&place, &["journal", "show"]);
    assert_eq!(code, 0);
    assert!(shown.contains("start was asked for") && shown.contains("· ana"), "{shown}");
    let (_, json, _) = verb(&place, &["journal", "show", "--json"]);
    let (_, exported, _) = verb(&place, &["journal", "export", "-"]);
    assert_eq!(json, exported, "both are the stored bytes");
    for (index, line) in exported.lines().enumerate() {
        let event: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(event["position"], (index + 1).to_string());
    }
    let (_, later, _) = verb(&place, &["journal", "show", "--json", "--from", "2", "--phase", "region-a"]);
    assert!(!later.contains("plan_adopted") && later.contains("\"requested\""), "{later}");
    for word in ["show", "tail"] {
        let (code, out, error) = verb(&place, &["journal", word, "--phase", "regoin-a"]);
        assert_eq!((code, out.as_str()), (2, ""), "{error}");
        assert!(error.contains("no phase regoin-a. Did you mean region-a?"), "{error}");
    }
    assert_eq!(verb(&place, &["journal", "export", "copy.jsonl"]).0, 0);
    assert_eq!(std::fs::read_to_string(place.file("copy.jsonl")).unwrap(), exported);
    assert_eq!(verb(&place, &["journal", "export", "copy.jsonl"]).0, 1, "an export replaces nothing");

    let log = std::fs::read_to_string(place.file("serve.log")).unwrap();
    assert!(log.contains("serving"), "{log}");
    for secret in ["hunter2", "the token of"] {
        assert!(!log.contains(secret) && !exported.contains(secret), "{secret} was written");
    }
}

#[test]
fn an_instance_runs_once_and_a_killed_one_can_be_started_again() {
    let place = Place::new();
    let mut first = Serve::start(&place, &[]);
    let (code, _, err) = verb(&place, &["serve"]);
    assert_eq!(code, 1);
    assert!(
        err.contains("The instance main of this journal runs already") && err.contains("(SW-0626)"),
        "{err}"
    );
    let (code, _, err) = verb(&place, &["serve", "--instance", "b"]);
    assert_eq!(code, 1);
    assert!(err.contains("Another server listens on") && err.contains("(SW-0628)"), "{err}");
    let second = Serve::start(&place, &["--instance", "b", "--socket", "b.sock"]);
    drop(second);
    first.signal("-KILL");
    assert_eq!(first.ended(), None);
    assert!(place.file("shop.sock").exists(), "a killed server leaves its socket");
    let _again = Serve::start(&place, &["--log-format", "json"]);
    assert_eq!(chat(&place, "ana", "whoami").0, 0);
    let log = std::fs::read_to_string(place.file("serve.log")).unwrap();
    for line in log.lines() {
        let _event: serde_json::Value =
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    }
}

#[test]
fn a_file_that_is_not_the_adopted_plan_is_refused_until_an_operator_adopts_it() {
    let place = Place::new();
    let adopted = Serve::start(&place, &[]);
    let changed = support::plan_text().replace("max_downtime = \"60s\"", "max_downtime = \"61s\"");
    std::fs::write(place.file("next.toml"), changed).unwrap();
    let (code, _, err) =
        verb(&place, &["serve", "--plan", "next.toml", "--instance", "b", "--socket", "b.sock"]);
    assert_eq!(code, 1);
    assert!(err.contains("switchyard plan adopt next.toml --as PERSON (SW-0627)"), "{err}");
    let adopt = |person: &str, token: &str| {
        run(switchyard(&place)
            .args(["plan", "adopt", "next.toml", "--as", person])
            .env("SWITCHYARD_TOKEN", token))
    };
    assert_eq!(verb(&place, &["plan", "adopt", "next.toml"]).0, 2);
    let (code, _, err) = adopt("ana", "guess");
    assert!(code == 1 && err.contains("SW-0621"), "{err}");
    let (code, _, err) = adopt("ben", &token("ben"));
    assert!(code == 1 && err.contains("SW-0109"), "{err}");
    let (code, out, err) = adopt("ana", &token("ana"));
    assert!(code == 0 && out.contains("is adopted."), "{out}{err}");
    // The running one goes on under it; the old file no longer starts one.
    until("the running one to take the new plan", || {
        let log = std::fs::read_to_string(place.file("serve.log")).unwrap();
        if log.contains("another plan was adopted") { Ok(()) } else { Err(log) }
    });
    drop(adopted);
    let (code, _, err) = verb(&place, &["serve"]);
    assert!(code == 1 && err.contains("SW-0627"), "{err}");
    let _next = Serve::start(&place, &["--plan", "next.toml"]);
}

#[test]
fn commands_come_from_standard_input_too() {
    let place = Place::new();
    let _serve = Serve::start(&place, &[]);
    std::fs::write(place.file("said"), "whoami\n\n/migrate hold --reason \"freeze\"\n").unwrap();
    let said = std::fs::File::open(place.file("said")).unwrap();
    let (code, out, err) = run(switchyard(&place)
        .args(["chat", "--as", "ana"])
        .stdin(said)
        .env("SWITCHYARD_TOKEN", token("ana")));
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("You are ana") && out.contains("“freeze”"), "{out}");
}

#[test]
fn people_check_tells_who_is_known_where_and_what_is_odd() {
    let place = Place::new();
    let bot = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/bot.example.toml");
    let bot = bot.to_str().unwrap();
    // The bot's file alone is needed, none of the secrets that it points at.
    let (code, out, err) = verb(&place, &["people", "check", "--bot", bot]);
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    assert!(
        out.starts_with("heard: the terminal, GitHub, Slack, Discord\n\nana  operator, approver"),
        "{out}"
    );
    assert!(out.contains("\ncutover               2 of ana, ben, cy; asked for by ana\n"), "{out}");
    let line = support::plan_text().lines().position(|line| line == "id = \"ben\"").unwrap() + 1;
    let shown = format!(":{line}:6: warning: ben has no account on any platform that the bot hears");
    assert!(out.contains(&shown), "{out}");
    assert!(out.ends_with("plan.toml: 3 persons, 0 problems, 3 warnings.\n"), "{out}");

    let changed = support::plan_text().replace("required = 2 ", "bind_commit = true\nrequired = 2 ");
    std::fs::write(place.file("bound.toml"), changed).unwrap();
    let arguments = ["people", "check", "--plan", "bound.toml", "--bot", bot, "--json"];
    let (code, out, _) = verb(&place, &arguments);
    assert_eq!(code, 1);
    let told: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&told["v"], &told["ok"]), (&1.into(), &false.into()));
    assert_eq!(told["platforms"], serde_json::json!(["github", "slack", "discord"]));
    let first = &told["findings"][0];
    assert_eq!((&first["level"], &first["kind"]), (&"problem".into(), &"nobody_can_ask".into()));
    assert_eq!(told["persons"][0]["known_at"], serde_json::json!(["terminal"]));

    std::fs::write(place.file("bad.toml"), "[http]\nlisten = \"127.0.0.1:0\"\n[frob]\n").unwrap();
    let (code, _, err) = verb(&place, &["people", "check", "--bot", "bad.toml"]);
    assert!(code == 1 && err.contains("bad.toml:3: unknown field `frob`"), "{err}");
    let (code, _, err) = verb(&place, &["people", "check", "--bot", "absent.toml"]);
    assert!(code == 1 && err.contains("absent.toml cannot be read"), "{err}");
}
