use std::fmt::Write as _;

use journal::Plan;

use super::{Level, Report, check};
use crate::config::Heard;

const EXAMPLE: &str = include_str!("../../../config/plan.example.toml");

/// The example with other people and policies: what stands before the first person and after the last policy is kept.
fn plan(people: &[(&str, &str, &str)], policies: &str) -> String {
    let head = EXAMPLE.split("[[person]]").next().unwrap();
    let tail = EXAMPLE.split_once("[load]").unwrap().1;
    let mut text = head.to_owned();
    for (id, roles, accounts) in people {
        let _written = writeln!(text, "[[person]]\nid = \"{id}\"\nroles = [{roles}]\n{accounts}\n");
    }
    format!("{text}{policies}\n[load]{tail}")
}

fn bot(sections: &[&str]) -> Heard {
    let mut text = "[http]\nlisten = \"127.0.0.1:0\"\n".to_owned();
    for section in sections {
        text.push_str(match *section {
            "github" => "[github]\napp_id = 1\nprivate_key = \"env:A\"\nwebhook_secrets = [\"env:B\"]\nrepository = \"a/b\"\n",
            "slack" => "[slack]\nsigning_secrets = [\"env:C\"]\nbot_token = \"env:D\"\nteam = \"T1\"\n",
            _ => {
                "[discord]\npublic_key = \"00\"\napplication_id = \"1\"\nbot_token = \"env:E\"\nguild = \"2\"\nchannel = \"3\"\n"
            }
        });
    }
    Heard::read(&text).unwrap()
}

fn checked(text: &str, heard: Option<&Heard>) -> Report {
    check(&Plan::parse(text).unwrap_or_else(|wrong| panic!("{wrong}\n{text}")), text, heard)
}

/// The kinds of what was found at a level, each with the line that its place stands on.
fn found(text: &str, report: &Report, level: Level) -> Vec<(&'static str, String)> {
    let line = |number: usize| text.lines().nth(number - 1).unwrap_or_default().trim().to_owned();
    let of_level = report.findings.iter().filter(|finding| finding.level == level);
    of_level.map(|finding| (finding.kind, line(finding.line))).collect()
}

const BOTH: &str = "\"operator\", \"approver\"";
const APPROVER: &str = "\"approver\"";

fn three() -> [(&'static str, &'static str, &'static str); 3] {
    [
        ("ana", BOTH, "github = 1\nslack = \"T1/U1\""),
        ("ben", BOTH, "github = 2\nslack = \"T1/U2\""),
        ("cy", APPROVER, "github = 3\nslack = \"T1/U3\""),
    ]
}

#[test]
fn people_who_are_all_known_are_no_problem() {
    let text = plan(&three(), "");
    let report = checked(&text, Some(&bot(&["github", "slack"])));
    assert!(report.ok);
    assert_eq!(found(&text, &report, Level::Problem), []);
    assert_eq!(found(&text, &report, Level::Warning), []);
    assert_eq!(report.persons[0].known_at, ["github", "slack"]);
    // What one person does alone by design is said all the same.
    let notes: Vec<&str> = found(&text, &report, Level::Note).into_iter().map(|(kind, _)| kind).collect();
    assert_eq!(notes, ["alone", "glass"]);
}

#[test]
fn who_can_be_known_nowhere_counts_nowhere() {
    let mut people = three();
    people[1].2 = "discord = \"22\"";
    people[2].2 = "discord = \"33\"";
    let text = plan(&people, "");
    // Without the bot's file every platform may be heard.
    assert!(checked(&text, None).ok);
    let report = checked(&text, Some(&bot(&["github"])));
    let problems = found(&text, &report, Level::Problem);
    assert!(problems.contains(&("known_nowhere", "id = \"ben\"".to_owned())), "{problems:?}");
    assert!(problems.contains(&("known_nowhere", "id = \"cy\"".to_owned())), "{problems:?}");
    assert!(problems.iter().any(|(kind, _)| *kind == "nobody_can_approve"), "{problems:?}");
    let warnings = found(&text, &report, Level::Warning);
    assert!(warnings.contains(&("platform_not_heard", "discord = \"22\"".to_owned())), "{warnings:?}");
    let cutover =
        report.operations.iter().find(|each| each.operation == journal::Operation::Cutover).unwrap();
    assert_eq!(cutover.may_approve.len(), 1);
}

#[test]
fn who_is_known_at_the_terminal_alone_is_unmapped() {
    let mut people = three();
    let token = format!("local_token_sha256 = \"{}\"", "a".repeat(64));
    people[1].2 = &token;
    let text = plan(&people, "");
    let report = checked(&text, Some(&bot(&["github", "slack"])));
    assert!(report.ok);
    assert_eq!(found(&text, &report, Level::Warning), [("unmapped", "id = \"ben\"".to_owned())]);
    assert_eq!(found(&text, &checked(&text, None), Level::Warning), []);
}

#[test]
fn one_human_under_two_teams_is_a_problem() {
    let mut people = three();
    people[1].2 = "slack = \"E9/U1\"";
    let text = plan(&people, "");
    let report = checked(&text, Some(&bot(&["slack"])));
    let problems = found(&text, &report, Level::Problem);
    assert_eq!(problems, [("one_user_two_persons", "slack = \"E9/U1\"".to_owned())]);
    let notes = found(&text, &report, Level::Note);
    assert!(notes.contains(&("other_workspace", "slack = \"E9/U1\"".to_owned())), "{notes:?}");
}

#[test]
fn an_operation_that_is_bound_to_a_commit_needs_github_and_an_operator_there() {
    let text = plan(&three(), "[approvals.cutover]\nbind_commit = true\n");
    let problems = |heard: &Heard| found(&text, &checked(&text, Some(heard)), Level::Problem);
    assert_eq!(problems(&bot(&["github"])), []);
    assert_eq!(problems(&bot(&["slack"])), [("nobody_can_ask", "bind_commit = true".to_owned())]);
    let mut people = three();
    people[0].2 = "slack = \"T1/U1\"";
    people[1].2 = "slack = \"T1/U2\"";
    let text = plan(&people, "[approvals.cutover]\nbind_commit = true\n");
    let report = checked(&text, Some(&bot(&["github", "slack"])));
    assert_eq!(found(&text, &report, Level::Problem), [("nobody_can_ask", "bind_commit = true".to_owned())]);
    assert!(report.findings[0].what.contains("no operator has an account of GitHub"));
    let warnings = found(&text, &checked(&text, None), Level::Warning);
    assert!(warnings.contains(&("bot_unknown", "bind_commit = true".to_owned())), "{warnings:?}");
}

#[test]
fn authors_are_excluded_only_where_they_are_known_and_others_are_left() {
    let text = plan(&three(), "[approvals.cutover]\nexclude_author = true\n");
    let report = checked(&text, Some(&bot(&["slack"])));
    assert_eq!(
        found(&text, &report, Level::Problem),
        [("authors_unknown", "exclude_author = true".to_owned())]
    );
    let report = checked(&text, Some(&bot(&["github", "slack"])));
    assert_eq!(found(&text, &report, Level::Warning), []);
    let two = [three()[0], three()[1]];
    let text = plan(&two, "[approvals.cutover]\nexclude_author = true\n");
    let report = checked(&text, Some(&bot(&["github", "slack"])));
    assert_eq!(
        found(&text, &report, Level::Warning),
        [("authors_block", "exclude_author = true".to_owned())]
    );
}

#[test]
fn one_person_who_asks_and_approves_alone_is_named() {
    let text = plan(&three(), "[approvals.start]\nrequired = 1\n");
    let report = checked(&text, Some(&bot(&["github", "slack"])));
    assert_eq!(found(&text, &report, Level::Warning), [("alone", "required = 1".to_owned())]);
    assert!(report.findings[0].what.contains("start needs one approval, and each of ana, ben may ask"));
    let text = plan(&three(), "[approvals.start]\nrequired = 1\nexclude_requester = true\n");
    assert_eq!(found(&text, &checked(&text, None), Level::Warning), []);
}

#[test]
fn excluding_the_requester_may_leave_too_few_of_those_who_can_be_known() {
    let mut people = three();
    people[2].2 = "discord = \"33\"";
    let text = plan(&people, "[approvals.cutover]\nexclude_requester = true\n");
    assert!(checked(&text, None).ok);
    let report = checked(&text, Some(&bot(&["github"])));
    let problems = found(&text, &report, Level::Problem);
    assert!(
        problems.contains(&("nobody_can_approve", "exclude_requester = true".to_owned())),
        "{problems:?}"
    );
}

#[test]
fn glass_that_nobody_could_review_is_a_problem() {
    let people = [
        ("ana", BOTH, "github = 1"),
        ("ben", "\"operator\"", "github = 2"),
        ("cy", "\"operator\"", "github = 3"),
    ];
    // All that need two take operators; `start` takes the one approver, who alone may break the glass.
    let mut policies = "[approvals.start]\nrequired = 1\nrole = \"approver\"\n".to_owned();
    for operation in
        ["cutover", "failback", "complete", "retire", "failback_target_lost", "complete_source_lost"]
    {
        let _written = writeln!(policies, "[approvals.{operation}]\nrole = \"operator\"");
    }
    let text = plan(&people, &policies);
    let report = checked(&text, Some(&bot(&["github"])));
    assert_eq!(found(&text, &report, Level::Problem), [("nobody_can_review", "id = \"ana\"".to_owned())]);
    assert!(report.findings[0].what.contains("broke the glass for start"), "{:?}", report.findings);
}

#[test]
fn a_role_that_nobody_fills_and_a_lonely_operator_are_told() {
    let people = [
        ("ana", "\"operator\"", "github = 1"),
        ("ben", "\"operator\"", "github = 2"),
        ("cy", "", "github = 3"),
    ];
    let mut policies = String::new();
    for operation in
        ["cutover", "failback", "complete", "retire", "failback_target_lost", "complete_source_lost"]
    {
        let _written = writeln!(policies, "[approvals.{operation}]\nrole = \"operator\"");
    }
    let text = plan(&people, &policies);
    let report = checked(&text, Some(&bot(&["github"])));
    let warnings: Vec<&str> =
        found(&text, &report, Level::Warning).into_iter().map(|(kind, _)| kind).collect();
    assert_eq!(warnings, ["role_unfilled", "nobody_can_break_glass"]);
    let mut people = three();
    people[1].1 = APPROVER;
    let text = plan(&people, "");
    let notes = found(&text, &checked(&text, None), Level::Note);
    assert!(notes.contains(&("one_operator", "id = \"ana\"".to_owned())), "{notes:?}");
}
