//! Each rule of a plan refuses what breaks it, on the line that breaks it.

use journal::{Plan, PlanProblem};

const PLAN: &str = r#"[migration]
name = "shop"
source = "env:SRC"
target = "file:/run/target"

[journal]
url = "sqlite:x.db"
lease = "5s"
signing_key = "env:KEY"

[[person]]
id = "ana"
roles = ["operator", "approver"]
local_token_sha256 = "2aeefb4cc9ef30fef9dd4ad8d0b42c18ef24ae43b8b5b83f8d8ec6a2d2d48a31"
github = 1001
slack = "T01/U02"
discord = "80351110224678912"

[[person]]
id = "ben"
roles = ["approver"]
local_token_sha256 = "5d8f2a4d7cbd07cc19cbb1e43a60a2d8cdd6a87ac3cf1db4be01cf4a1f3c7b52"
github = 1002

[approvals.cutover]
required = 2
role = "approver"
expires = "4h"

[break_glass]
role = "approver"

[[window]]
kind = "frozen"
cron = "0 22 * * FRI"
lasts = "4h"
time_zone = "Europe/Berlin"
operations = ["cutover"]
phases = ["b"]

[load]
lanes = 2
chunk_bytes = 8192

[[phase]]
name = "a"
tables = ["shop.orders", "shop.line_*"]
max_downtime = "60s"
undo_reserve = "10s"

[phase.lever]
kind = "command"
stop = ["x"]
observe = ["x"]
route = ["x"]
resume = ["x"]

[[phase]]
name = "b"
tables = ["shop.people"]
after = ["a"]

[phase.lever]
kind = "pgbouncer"
admin = "env:ADMIN"
ini = "pgbouncer.ini"
database = "shop"
source = "host=a"
target = "host=b"
"#;

fn problems(text: &str) -> Vec<PlanProblem> {
    Plan::parse(text).map(|plan| plan.hash()).unwrap_err().0
}

/// The plan with a line replaced; every line of `PLAN` that is replaced stands in it once.
fn with(line: &str, by: &str) -> String {
    let line = format!("{line}\n");
    assert_eq!(PLAN.matches(&line).count(), 1, "{line}");
    PLAN.replace(&line, &format!("{by}\n"))
}

/// A plan of which one thing is told: on the line with this text, with these words, and what was meant.
#[track_caller]
fn refused(text: &str, line: &str, words: &str, meant: Option<&str>) {
    let found = problems(text);
    assert_eq!(found.len(), 1, "{found:#?}");
    let told = text.lines().nth(found[0].line - 1).unwrap();
    assert!(told.contains(line), "on line {}, `{told}`: {found:#?}", found[0].line);
    assert!(found[0].what.contains(words), "{found:#?}");
    assert_eq!(found[0].suggestion.as_deref(), meant, "{found:#?}");
}

#[test]
fn two_phases_have_an_entry_each() {
    let third = |lever: &str| {
        format!(
            "{PLAN}\n[[phase]]\nname = \"c\"\ntables = [\"shop.more\"]\nafter = [\"b\"]\n\n[phase.lever]\nkind = \"pgbouncer\"\n{lever}"
        )
    };
    let places = "source = \"host=c\"\ntarget = \"host=d\"\n";
    let line = PLAN.lines().position(|line| line == "database = \"shop\"").unwrap() + 1;
    for (admin, ini) in [("ADMIN", "other.ini"), ("OTHER", "pgbouncer.ini")] {
        let text = third(&format!("admin = \"env:{admin}\"\nini = \"{ini}\"\ndatabase = \"shop\"\n{places}"));
        refused(&text, "database = \"shop\"", &format!("b (line {line}) and c"), None);
        assert!(Plan::parse_adopted(&text).is_ok(), "what was adopted stays");
    }
    for (admin, ini, database) in [("OTHER", "other.ini", "shop"), ("ADMIN", "pgbouncer.ini", "more")] {
        let text =
            third(&format!("admin = \"env:{admin}\"\nini = \"{ini}\"\ndatabase = \"{database}\"\n{places}"));
        assert!(Plan::parse(&text).is_ok(), "{text}");
    }
}

#[test]
fn it_is_right_and_warns_of_nothing() {
    assert_eq!(Plan::read(PLAN).unwrap().warnings, []);
}

#[test]
fn values_are_of_their_kind() {
    refused(&with("lease = \"5s\"", "lease = 5"), "lease", "a duration in quotes", Some("\"5s\""));
    for (line, by, words, meant) in [
        ("lanes = 2", "lanes = \"2\"", "a whole number, found the text \"2\"", Some("2")),
        ("lanes = 2", "lanes = -2", "a whole number, found the number -2", None),
        ("lanes = 2", "lanes = 2.5", "found the fraction 2.5", None),
        ("lanes = 2", "lanes = 0", "from 1 to 32", None),
        ("lanes = 2", "lanes = 33", "from 1 to 32", None),
        ("chunk_bytes = 8192", "chunk_bytes = 8191", "one block", None),
        ("name = \"shop\"", "name = 7", "text in quotes, found the number 7", Some("\"7\"")),
        ("name = \"shop\"", "name = \"My Shop\"", "is not a migration's name", Some("my-shop")),
        ("max_downtime = \"60s\"", "max_downtime = \"soon\"", "`soon` is not a duration", None),
        ("max_downtime = \"60s\"", "max_downtime = \"5 min\"", "is not a duration", Some("5m")),
        ("max_downtime = \"60s\"", "max_downtime = \"1d\"", "is not a duration", Some("24h")),
        ("roles = [\"approver\"]", "roles = \"approver\"", "a list of", Some("[\"approver\"]")),
        ("roles = [\"approver\"]", "roles = [\"aprover\"]", "`aprover` is no role", Some("approver")),
        (
            "roles = [\"approver\"]",
            "roles = [\"approver\", \"admin\"]",
            "expected one of operator, approver",
            None,
        ),
        ("after = [\"a\"]", "after = [1]", "text in quotes", Some("\"1\"")),
        ("kind = \"frozen\"", "kind = \"forzen\"", "is no kind", Some("frozen")),
        ("kind = \"command\"", "kind = \"comand\"", "is no kind", Some("command")),
        (
            "operations = [\"cutover\"]",
            "operations = [\"cutvoer\"]",
            "`cutvoer` is no operation",
            Some("cutover"),
        ),
        ("operations = [\"cutover\"]", "operations = []", "no operation", None),
        ("cron = \"0 22 * * FRI\"", "cron = \"0 0 22 * * FRI\"", "has 6 fields", None),
        ("cron = \"0 22 * * FRI\"", "cron = \"0 25 * * FRI\"", "is no cron expression", None),
        ("cron = \"0 22 * * FRI\"", "cron = \"0 22 30 2 *\"", "never comes", None),
        (
            "time_zone = \"Europe/Berlin\"",
            "time_zone = \"Europe/Berlim\"",
            "no time zone",
            Some("Europe/Berlin"),
        ),
        (
            "time_zone = \"Europe/Berlin\"",
            "time_zone = \"europe/berlin\"",
            "no time zone",
            Some("Europe/Berlin"),
        ),
        ("lease = \"5s\"", "lease = \"100ms\"", "lost under load", None),
        ("url = \"sqlite:x.db\"", "url = \"x.db\"", "sqlite:FILE", None),
        ("url = \"sqlite:x.db\"", "url = \"postgres://u:p@h/d\"", "never the URL itself", None),
        ("source = \"env:SRC\"", "source = \"$SRC\"", "`source` must say where", None),
        ("signing_key = \"env:KEY\"", "signing_key = \"0badc0de\"", "`signing_key` must say where", None),
        ("admin = \"env:ADMIN\"", "admin = \"host=x\"", "`admin` must say where", None),
        ("stop = [\"x\"]", "stop = []", "at least a program's name", None),
        ("github = 1001", "github = 0", "the account's number", None),
        ("github = 1001", "github = \"ana\"", "a whole number, found the text \"ana\"", None),
        ("slack = \"T01/U02\"", "slack = \"@ana\"", "no Slack account", None),
        ("slack = \"T01/U02\"", "slack = \"t01/u02\"", "no Slack account", Some("T01/U02")),
        ("discord = \"80351110224678912\"", "discord = \"ana#1\"", "digits alone", None),
        ("tables = [\"shop.people\"]", "tables = []", "at least one table", None),
        ("tables = [\"shop.people\"]", "tables = [\"people\"]", "schema.table", Some("public.people")),
        ("tables = [\"shop.people\"]", "tables = [\"*.people\"]", "is no pattern", None),
        ("tables = [\"shop.people\"]", "tables = [\"shop.people\", \"shop.people\"]", "named twice", None),
    ] {
        let key = by.split(' ').next().unwrap();
        refused(&with(line, by), key, words, meant);
    }
}

#[test]
fn keys_and_tables_are_known_and_there() {
    refused(&with("lanes = 2", "frobnicate = 2"), "frobnicate", "expected one of lanes, chunk_bytes", None);
    refused(&with("lanes = 2", "max_downtime = \"2s\""), "max_downtime", "belongs to [[phase]]", None);
    refused(
        &with("lanes = 2", "lanes = 2\n[lodge]\nx = 1"),
        "[lodge]",
        "the plan has no table `lodge`",
        None,
    );
    refused(&with("url = \"sqlite:x.db\"", ""), "[journal]", "[journal] has no `url`: expected text", None);
    refused(
        &with("kind = \"command\"", ""),
        "[phase.lever]",
        "has no `kind`: expected one of command, pgbouncer",
        None,
    );
    refused(
        &with("[break_glass]", "[[break_glass]]"),
        "[[break_glass]]",
        "a table, [break_glass]",
        Some("[break_glass]"),
    );
    refused(
        &with("[approvals.cutover]", "[approvals.cutvoer]"),
        "cutvoer",
        "[approvals] has no table",
        Some("cutover"),
    );
    refused(
        &with("stop = [\"x\"]", "stop = [\"x\"]\npause_limit = \"2s\""),
        "pause_limit",
        "[phase.lever] has no key",
        None,
    );
    let last = PLAN.rfind("[[phase]]").unwrap();
    refused(
        &format!("{}[[phases]]{}", &PLAN[..last], &PLAN[last + 9..]),
        "[[phases]]",
        "no table `phases`",
        Some("phase"),
    );
    let no_phase = PLAN.split("[[phase]]").next().unwrap().replace("phases = [\"b\"]\n", "");
    refused(&no_phase, "[migration]", "the plan has no [[phase]]", None);
    let empty = problems("");
    assert_eq!(empty.len(), 4, "{empty:#?}");
}

#[test]
fn text_that_is_no_toml_is_told_with_the_rest() {
    let text =
        with("lease = \"5s\"", "lease = 5s").replace("name = \"a\"", "name \"a\"").replace("lanes", "lnes");
    let found = problems(&text);
    for line in ["lease = 5s", "name \"a\"", "lnes"] {
        let at = text.lines().position(|each| each.starts_with(line)).unwrap() + 1;
        assert!(found.iter().any(|problem| problem.line == at), "{line}: {found:#?}");
    }
    assert!(found.iter().all(|problem| !problem.what.contains("has no `")), "{found:#?}");
    // Of keys under a broken header nobody knows whose they are.
    let found = problems(&with("[load]", "[load"));
    let at = PLAN.lines().position(|each| each == "[load]").unwrap() + 1;
    assert!(found[0].line == at && found[0].what.contains("unclosed table"), "{found:#?}");
    assert!(found.iter().all(|problem| problem.line != at + 1 && problem.line != at + 2), "{found:#?}");
}

#[test]
fn nobody_acts_as_two() {
    refused(&with("id = \"ben\"", "id = \"ana\""), "id", "the person ana is named twice", None);
    let token = "local_token_sha256 = \"5d8f2a4d7cbd07cc19cbb1e43a60a2d8cdd6a87ac3cf1db4be01cf4a1f3c7b52\"";
    let same = "local_token_sha256 = \"2aeefb4cc9ef30fef9dd4ad8d0b42c18ef24ae43b8b5b83f8d8ec6a2d2d48a31\"";
    let text = with(token, same);
    refused(&text, "local_token", "ana and ben have the same token", None);
    assert_eq!(problems(&text)[0].line, 22);
    refused(&with(token, "local_token_sha256 = \"secret\""), "secret", "64 lower-case", None);
    refused(&with("github = 1002", "github = 1001"), "github", "ana and ben have the same account", None);
    refused(
        &with("github = 1002", "slack = \"T01/U02\""),
        "slack",
        "ana and ben have the same account",
        None,
    );
}

#[test]
fn approvals_need_enough_persons() {
    refused(
        &with("required = 2", "required = 1"),
        "required",
        "cutover needs at least 2 distinct persons",
        Some("2"),
    );
    refused(
        &with("required = 2", "required = 3"),
        "required",
        "cutover needs 3 persons with the role approver, the plan has 2",
        None,
    );
    refused(&with("required = 2", "required = 256"), "required", "from 0 to 255", None);
    refused(
        &with("required = 2", "exclude_requester = true"),
        "[approvals.cutover]",
        "whoever asks is not one of them",
        None,
    );
    // Who asks need not approve: then the others are enough.
    let asker = "[[person]]\nid = \"cy\"\nroles = [\"operator\"]\ngithub = 7\n\n[approvals.cutover]";
    let text = with("required = 2", "exclude_requester = true").replace("[approvals.cutover]", asker);
    assert!(Plan::parse(&text).is_ok());
    refused(
        &with("role = \"approver\"\nexpires = \"4h\"", "role = \"operator\""),
        "required",
        "2 persons with the role operator, the plan has 1",
        None,
    );
    let lonely = with("roles = [\"approver\"]", "roles = [\"operator\"]");
    refused(
        &lonely,
        "required",
        "cutover, failback, complete, retire, failback_target_lost need 2 persons",
        None,
    );
    refused(
        &with("roles = [\"operator\", \"approver\"]", "roles = [\"approver\"]"),
        "id = \"ben\"",
        "nobody has the role operator",
        None,
    );
    let nobody = PLAN.replace("[break_glass]\nrole = \"approver\"", "[break_glass]\nrole = \"operator\"");
    assert!(Plan::parse(&nobody).is_ok());
    let found = problems(&nobody.replace("roles = [\"operator\", \"approver\"]", "roles = [\"approver\"]"));
    assert!(found.iter().any(|problem| problem.what.contains("break the glass")), "{found:#?}");
}

#[test]
fn phases_come_after_phases_that_are_there_and_never_in_a_circle() {
    refused(&with("after = [\"a\"]", "after = [\"aa\"]"), "after", "the plan has no phase `aa`", Some("a"));
    refused(&with("after = [\"a\"]", "after = [\"zebra\"]"), "after", "expected one of a, b", None);
    refused(
        &with("after = [\"a\"]", "after = [\"b\"]"),
        "after",
        "the phase b cannot come after itself",
        None,
    );
    refused(&with("after = [\"a\"]", "after = [\"a\", \"a\"]"), "after", "named twice", None);
    let circle = with("undo_reserve = \"10s\"", "undo_reserve = \"10s\"\nafter = [\"b\"]");
    refused(&circle, "after = [\"b\"]", "a after b after a", None);
    refused(
        &with("phases = [\"b\"]", "phases = [\"bb\"]"),
        "phases",
        "the plan has no phase `bb`",
        Some("b"),
    );
    let twice = PLAN
        .replace("name = \"b\"", "name = \"a\"")
        .replace("after = [\"a\"]", "")
        .replace("phases = [\"b\"]", "");
    refused(&twice, "name = \"a\"", "the phase a is named twice", None);
}

#[test]
fn the_undo_has_less_than_the_whole_downtime() {
    refused(
        &with("undo_reserve = \"10s\"", "undo_reserve = \"60s\""),
        "undo_reserve",
        "shorter than `max_downtime`",
        None,
    );
}

/// The plan whose second phase has these tables, and filters for both.
fn sharing(tables: &str, first: &str, second: &str) -> String {
    let filter = |text: &str| if text.is_empty() { String::new() } else { format!("\nfilter = \"{text}\"") };
    with("undo_reserve = \"10s\"", &format!("undo_reserve = \"10s\"{}", filter(first)))
        .replace("tables = [\"shop.people\"]", &format!("tables = [{tables}]{}", filter(second)))
}

#[test]
fn phases_share_a_table_only_where_no_row_is_in_both() {
    for tables in
        ["\"shop.orders\"", "\"shop.line_1\"", "\"shop.ord*\"", "\"shop.*_x\"", "\"shop.*\", \"x.y\""]
    {
        let bare = problems(&sharing(tables, "", ""));
        assert!(bare[0].what.contains("without filters phases cannot share a table"), "{tables}: {bare:#?}");
        assert!(PLAN.lines().nth(bare[0].line - 1).unwrap().contains("tables"), "{bare:#?}");
        assert!(Plan::parse(&sharing(tables, "region = 'a'", "")).is_err(), "{tables}");
        let overlap = problems(&sharing(tables, "region = 'a'", "region <> 'b'"));
        assert!(overlap[0].what.contains("nothing proves that no row is in both"), "{tables}: {overlap:#?}");
        let apart = Plan::parse(&sharing(tables, "region = 'a'", "region = 'b'"));
        assert!(apart.is_ok(), "{tables}: {apart:#?}");
    }
    for tables in ["\"shop.item\"", "\"other.orders\"", "\"shop.l_*\"", "\"shop.*_line\"", "\"other.*\""] {
        let alone = Plan::parse(&sharing(tables, "", ""));
        // `line_*` and `*_line` meet in `line_line`.
        assert_eq!(alone.is_ok(), !tables.contains("*_line"), "{tables}: {alone:#?}");
    }
}

#[test]
fn a_table_may_have_its_own_filter() {
    let own = |phase_a: &str, phase_b: &str| {
        let text = sharing("\"shop.orders\"", "region = 'a'", "region = 'b'");
        let text = text.replacen("[phase.lever]", &format!("[phase.filters]\n{phase_a}\n[phase.lever]"), 1);
        let at = text.rfind("[phase.lever]").unwrap();
        let (head, tail) = text.split_at(at);
        format!("{head}[phase.filters]\n{phase_b}\n{tail}")
    };
    assert!(Plan::parse(&own("\"shop.orders\" = \"place = 1\"", "\"shop.orders\" = \"place = 2\"")).is_ok());
    assert!(Plan::parse(&own("\"shop.line_2\" = \"place = 1\"", "")).is_ok(), "a pattern names it");
    refused(
        &own("\"shop.orders\" = \"place = 1\"", ""),
        "tables = [\"shop.orders\"]",
        "nothing proves",
        None,
    );
    refused(
        &own("\"shop.oders\" = \"place = 1\"", ""),
        "shop.oders",
        "no table shop.oders",
        Some("shop.orders"),
    );
    refused(&own("\"orders\" = \"place = 1\"", ""), "\"orders\"", "schema.table", None);
    refused(
        &own("shop.orders = \"place = 1\"", ""),
        "shop.orders",
        "stands in quotes",
        Some("\"shop.orders\""),
    );
    refused(&own("\"shop.orders\" = 1", ""), "shop.orders", "text in quotes", Some("\"1\""));
}

#[test]
fn a_filter_that_cannot_be_read_is_told_at_its_very_place() {
    let text = sharing("\"shop.people\"", "region = 'a' and lower(name) = 'x'", "");
    let found = problems(&text);
    assert_eq!(found.len(), 1, "{found:#?}");
    let line = text.lines().nth(found[0].line - 1).unwrap();
    let rest: String = line.chars().skip(found[0].column - 1).collect();
    assert!(rest.starts_with("lower"), "{rest}: {found:#?}");
}

#[test]
fn what_this_version_does_not_do_is_refused() {
    refused(&with("lanes = 2", "bytes_per_second = 1000"), "bytes_per_second", "this version", None);
    refused(&with("lanes = 2", "existing = \"recreate\""), "existing", "this version", Some("\"check\""));
    assert!(Plan::parse(&with("lanes = 2", "existing = \"check\"")).is_ok());
}

#[test]
fn what_is_odd_is_warned_of_at_its_place() {
    let warned = |text: &str| {
        let warnings = Plan::read(text).unwrap().warnings;
        assert_eq!(warnings.len(), 1, "{warnings:#?}");
        let line = text.lines().nth(warnings[0].line - 1).unwrap().to_owned();
        (line, warnings[0].what.clone())
    };
    let (line, what) = warned(&with("signing_key = \"env:KEY\"", ""));
    assert!(line == "[journal]" && what.contains("cannot prove itself"), "{line}: {what}");
    let cy = "[[person]]\nid = \"cy\"\nroles = [\"approver\"]\n\n[approvals.cutover]";
    let (line, what) = warned(&with("[approvals.cutover]", cy));
    assert!(line == "id = \"cy\"" && what.contains("no account and no token"), "{line}: {what}");
    let cy = "[[person]]\nid = \"cy\"\ngithub = 3\n\n[approvals.cutover]";
    let (line, what) = warned(&with("[approvals.cutover]", cy));
    assert!(line == "id = \"cy\"" && what.contains("no roles"), "{line}: {what}");
}

#[test]
fn a_secret_that_stands_in_the_plan_by_mistake_is_in_no_message() {
    let secrets = ["postgres://mover:hunter2@host/shop", "host=a password=hunter2"];
    let lines: Vec<&str> = PLAN.lines().filter(|line| line.contains(" = ")).collect();
    for secret in secrets {
        for line in &lines {
            let key = line.split(" = ").next().unwrap();
            let text = PLAN.replacen(line, &format!("{key} = \"{secret}\""), 1);
            if let Err(found) = Plan::parse(&text) {
                assert!(!found.to_string().contains("hunter2"), "{key}: {found}");
            }
        }
    }
}
