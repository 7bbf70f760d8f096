use serde_json::{Value, json};

use super::*;

fn event(action: &str, text: &str) -> Value {
    let anna = json!({"id": 583_231, "login": "anna", "type": "User"});
    json!({
        "action": action,
        "issue": {"number": 7, "pull_request": {"url": "…"}},
        "comment": {"id": 99, "body": text, "user": anna},
        "repository": {"full_name": "acme/shop"},
        "sender": anna,
    })
}

fn of(name: &str, event: &Value) -> Arrived {
    receive(name, "d-1", event.to_string().as_bytes(), "Acme/shop")
}

fn read(event: &Value) -> Arrived {
    of("issue_comment", event)
}

fn opened(arrived: Arrived) -> (Letter, Arrival) {
    let Arrived::Letter(letter) = arrived else { panic!("{arrived:?}") };
    let arrival = serde_json::from_value(letter.body.clone()).unwrap();
    (*letter, arrival)
}

fn letter(event: &Value) -> (Letter, Arrival) {
    opened(read(event))
}

#[test]
fn a_comment_with_a_command_is_kept_by_its_number() {
    let (letter, arrival) = letter(&event("created", "Now.\n\n/migrate region-b cutover"));
    assert_eq!(letter.meaning, "github:comment:99");
    assert_eq!(letter.transport.as_deref(), Some("d-1"));
    assert_eq!((arrival.account.as_str(), arrival.name.as_str()), ("583231", "anna"));
    assert_eq!(arrival.place, Place::PullRequest { repository: "acme/shop".to_owned(), number: 7 });
}

#[test]
fn case_13_a_command_in_code_quotes_or_html_comments_is_text() {
    for text in [
        "`/migrate a start`",
        "> /migrate a start",
        "<!--\n/migrate a start\n-->",
        "```\n/migrate a start\n```",
        "",
    ] {
        assert_eq!(read(&event("created", text)), Arrived::Nothing, "{text}");
    }
}

#[test]
fn case_26_bots_other_repositories_issues_and_the_deleted_are_not_heard() {
    let command = "/migrate a start";
    let change = |path: &str, value: Value| {
        let mut event = event("created", command);
        *event.pointer_mut(path).unwrap() = value;
        event
    };
    for event in [
        change("/comment/user/type", json!("Bot")),
        change("/comment/user/type", json!("Organization")),
        change("/comment/user", json!(null)),
        change("/repository/full_name", json!("acme/shop-fork")),
        change("/issue/pull_request", json!(null)),
        change("/sender/id", json!(1)),
        change("/action", json!("pinned")),
    ] {
        assert_eq!(read(&event), Arrived::Nothing, "{event}");
    }
}

#[test]
fn cases_5_and_6_an_edit_and_a_deletion_are_meanings_of_their_own() {
    let (edited, arrival) = letter(&event("edited", "/migrate a start"));
    assert_eq!((edited.meaning.as_str(), &arrival.said), ("github:comment:99:edited", &Said::Edited));
    let mut deletion = event("deleted", "/migrate approve #4");
    deletion["sender"] = json!({"id": 5, "login": "mod", "type": "User"});
    let (deleted, arrival) = letter(&deletion);
    assert_eq!(deleted.meaning, "github:comment:99:deleted");
    let said = Said::Deleted { meaning: "github:comment:99".to_owned(), by: "5".to_owned() };
    assert_eq!(arrival.said, said);
}

#[test]
fn case_5_an_edit_that_takes_a_command_away_is_one_and_an_empty_edit_is_none() {
    let edited = |from: &str, now: &str| {
        let mut event = event("edited", now);
        event["changes"] = json!({"body": {"from": from}});
        read(&event)
    };
    let is_told = |arrived: Arrived| matches!(arrived, Arrived::Letter(letter) if letter.kind == "edited");
    assert!(is_told(edited("/migrate approve #4", "never mind")));
    assert!(is_told(edited("never mind", "/migrate approve #4")));
    assert_eq!(edited("/migrate approve #4", "/migrate approve #4"), Arrived::Nothing);
    assert_eq!(edited("one", "two"), Arrived::Nothing);
}

#[test]
fn case_6_a_deletion_is_one_whatever_the_comment_says_by_then_and_whosever_it_was() {
    let mut deletion = event("deleted", "never mind");
    assert_eq!(letter(&deletion).0.meaning, "github:comment:99:deleted");
    deletion["comment"]["user"] = json!(null);
    assert_eq!(letter(&deletion).0.meaning, "github:comment:99:deleted");
    deletion["comment"]["user"] = json!({"id": 9, "login": "app[bot]", "type": "Bot"});
    assert_eq!(read(&deletion), Arrived::Nothing);
}

#[test]
fn case_8_a_review_of_an_account_that_is_gone_is_dismissed_all_the_same() {
    let mut dismissed = review("dismissed", "dismissed", None);
    dismissed["review"]["user"] = json!(null);
    let (letter, arrival) = opened(of("pull_request_review", &dismissed));
    assert_eq!(letter.meaning, "github:review:50:dismissed");
    let said = Event::Dismissed { id: 50, reviewer: "ghost".to_owned() };
    assert_eq!(arrival.said, Said::Github(said));
}

#[test]
fn a_comment_on_a_line_of_the_diff_is_one_like_any_other() {
    let mut event = event("created", "/migrate a start");
    event["pull_request"] = json!({"number": 8, "head": {"sha": "abc"}});
    let (letter, arrival) = opened(of("pull_request_review_comment", &event));
    assert_eq!(letter.meaning, "github:diff_comment:99");
    assert_eq!(arrival.place, Place::PullRequest { repository: "acme/shop".to_owned(), number: 8 });
}

fn review(action: &str, state: &str, text: Option<&str>) -> Value {
    let ben = json!({"id": 2, "login": "ben", "type": "User"});
    json!({
        "action": action,
        "pull_request": {"number": 7, "head": {"sha": "abc"}},
        "review": {"id": 50, "state": state, "body": text, "user": ben, "commit_id": "abc"},
        "repository": {"full_name": "acme/shop"},
        "sender": ben,
    })
}

#[test]
fn case_7_a_review_is_kept_by_its_state_and_one_that_says_nothing_is_not() {
    let (letter, arrival) = opened(of("pull_request_review", &review("submitted", "approved", None)));
    assert_eq!((letter.meaning.as_str(), letter.kind.as_str()), ("github:review:50:approved", "github"));
    let said = Event::Review { id: 50, state: "approved".to_owned(), text: String::new() };
    assert_eq!(arrival.said, Said::Github(said));
    assert_eq!(of("pull_request_review", &review("submitted", "commented", Some("nice"))), Arrived::Nothing);
    let with_command = review("submitted", "commented", Some("/migrate status"));
    assert_eq!(opened(of("pull_request_review", &with_command)).0.meaning, "github:review:50:commented");
}

#[test]
fn case_8_a_dismissal_names_the_reviewer_and_comes_from_the_dismisser() {
    let mut event = review("dismissed", "dismissed", None);
    event["sender"] = json!({"id": 3, "login": "chris", "type": "User"});
    let (letter, arrival) = opened(of("pull_request_review", &event));
    assert_eq!(letter.meaning, "github:review:50:dismissed");
    assert_eq!(arrival.name, "chris");
    assert_eq!(arrival.said, Said::Github(Event::Dismissed { id: 50, reviewer: "ben".to_owned() }));
}

fn pull(action: &str, changes: Value) -> Value {
    json!({
        "action": action,
        "number": 7,
        "pull_request": {"number": 7, "head": {"sha": "abc"}, "updated_at": "2026-11-27T10:00:00Z"},
        "changes": changes,
        "repository": {"full_name": "acme/shop"},
        "sender": {"id": 9, "login": "renovate[bot]", "type": "Bot"},
    })
}

#[test]
fn a_push_is_looked_at_whoever_pushed_and_a_new_title_is_not() {
    let (letter, arrival) = opened(of("pull_request", &pull("synchronize", json!(null))));
    assert_eq!(letter.meaning, "github:pull:7:synchronize:abc:2026-11-27T10:00:00Z");
    assert_eq!(arrival.said, Said::Github(Event::Pull));
    assert_eq!(of("pull_request", &pull("edited", json!({"title": {"from": "x"}}))), Arrived::Nothing);
    assert_eq!(of("pull_request", &pull("labeled", json!(null))), Arrived::Nothing);
    assert!(matches!(of("pull_request", &pull("edited", json!({"base": {}}))), Arrived::Letter(_)));
}

#[test]
fn a_press_is_checked_against_what_the_check_run_shows() {
    let press = |external: &str, identifier: &str| {
        let event = json!({
            "action": "requested_action",
            "check_run": {"id": 60, "external_id": external},
            "requested_action": {"identifier": identifier},
            "repository": {"full_name": "acme/shop"},
            "sender": {"id": 2, "login": "ben", "type": "User"},
        });
        of("check_run", &event)
    };
    let (letter, arrival) = opened(press("41:12345678:7", "approve-41"));
    assert_eq!(letter.meaning, "github:check:60:approve-41:2");
    let plan = "12345678".to_owned();
    assert_eq!(arrival.said, Said::Button { word: Word::Approve, request: 41, plan, reason: None });
    for (external, identifier) in
        [("41:12345678:7", "approve-42"), ("other", "approve-41"), ("41:12345678:7", "merge-41")]
    {
        assert_eq!(press(external, identifier), Arrived::Nothing, "{external} {identifier}");
    }
}

#[test]
fn other_events_and_bodies_are_told_apart() {
    assert_eq!(receive("ping", "d", b"{}", "a/b"), Arrived::Known);
    assert_eq!(receive("star", "d", b"{}", "a/b"), Arrived::Nothing);
    for event in
        ["issue_comment", "pull_request_review", "pull_request_review_comment", "pull_request", "check_run"]
    {
        for body in [&b""[..], b"{}", b"[]", b"{\"action\":1}", b"\xff"] {
            assert_eq!(receive(event, "d", body, "a/b"), Arrived::Malformed, "{event}");
        }
    }
    let no_comment = json!({
        "action": "created", "issue": {"number": 7, "pull_request": {}}, "repository": {"full_name": "a/b"},
        "sender": {"id": 2, "login": "ben", "type": "User"},
    });
    let bytes = no_comment.to_string();
    assert_eq!(receive("issue_comment", "d", bytes.as_bytes(), "a/b"), Arrived::Malformed);
}
