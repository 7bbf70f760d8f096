//! From a webhook's body to what was said.

use journal::plan::Platform;
use journal_store::Letter;
use serde::Deserialize;

use crate::arrival::{Arrival, Place, Said};
use crate::language::{Dialect, read};

/// What a delivery is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Arrived {
    /// Something to answer.
    Letter(Box<Letter>),
    /// Part of the life cycle: `ping`, `installation`.
    Known,
    /// Nothing that concerns the bot.
    Nothing,
    /// It cannot be read.
    Malformed,
}

#[derive(Deserialize)]
struct CommentEvent {
    action: String,
    issue: Issue,
    comment: Comment,
    repository: Repository,
    sender: User,
}

#[derive(Deserialize)]
struct Issue {
    number: u64,
    /// There if the issue is a pull request.
    pull_request: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
struct Comment {
    id: u64,
    body: Option<String>,
    /// None: the account was deleted.
    user: Option<User>,
}

#[derive(Deserialize)]
struct Repository {
    full_name: String,
}

#[derive(Deserialize)]
struct User {
    id: u64,
    login: String,
    #[serde(rename = "type")]
    kind: String,
}

/// Reads a delivery of the event that its header names, about the configured repository.
#[must_use]
pub fn receive(event: &str, delivery: &str, body: &[u8], repository: &str) -> Arrived {
    match event {
        "ping" | "installation" | "installation_repositories" => Arrived::Known,
        "issue_comment" => match serde_json::from_slice::<CommentEvent>(body) {
            Ok(event) => comment(event, delivery, repository),
            Err(_) => Arrived::Malformed,
        },
        _ => Arrived::Nothing,
    }
}

fn comment(event: CommentEvent, delivery: &str, repository: &str) -> Arrived {
    let text = event.comment.body.unwrap_or_default();
    // People alone are heard: no App, no bot, not this one's own comments, not an account that is gone.
    let Some(author) = event.comment.user.filter(|user| user.kind == "User") else { return Arrived::Nothing };
    let concerns = event.issue.pull_request.is_some()
        && event.repository.full_name.eq_ignore_ascii_case(repository)
        && !read(&text, Dialect::Markdown).is_empty();
    if !concerns {
        return Arrived::Nothing;
    }
    let id = format!("github:comment:{}", event.comment.id);
    let by = event.sender;
    let (meaning, said) = match event.action.as_str() {
        "created" if by.id == author.id => (id, Said::Text { text }),
        "edited" if by.kind == "User" => (format!("{id}:edited"), Said::Edited),
        "deleted" => (format!("{id}:deleted"), Said::Deleted { meaning: id, by: by.id.to_string() }),
        _ => return Arrived::Nothing,
    };
    let place = Place::PullRequest { repository: event.repository.full_name, number: event.issue.number };
    let arrival = Arrival { account: by.id.to_string(), name: by.login, place, said };
    match arrival.letter(Platform::Github, Some(delivery), &meaning) {
        Some(letter) => Arrived::Letter(Box::new(letter)),
        None => Arrived::Malformed,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn event(action: &str, text: &str) -> serde_json::Value {
        let anna = json!({"id": 583_231, "login": "anna", "type": "User"});
        json!({
            "action": action,
            "issue": {"number": 7, "pull_request": {"url": "…"}},
            "comment": {"id": 99, "body": text, "user": anna},
            "repository": {"full_name": "acme/shop"},
            "sender": anna,
        })
    }

    fn read(event: &serde_json::Value) -> Arrived {
        receive("issue_comment", "d-1", event.to_string().as_bytes(), "Acme/shop")
    }

    fn letter(event: &serde_json::Value) -> (Letter, Arrival) {
        let Arrived::Letter(letter) = read(event) else { panic!("{event}") };
        let arrival = serde_json::from_value(letter.body.clone()).unwrap();
        (*letter, arrival)
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
        let change = |path: &str, value: serde_json::Value| {
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
    fn other_events_and_bodies_are_told_apart() {
        assert_eq!(receive("ping", "d", b"{}", "a/b"), Arrived::Known);
        assert_eq!(receive("star", "d", b"{}", "a/b"), Arrived::Nothing);
        for body in [&b""[..], b"{}", b"[]", b"{\"action\":1}", b"\xff"] {
            assert_eq!(receive("issue_comment", "d", body, "a/b"), Arrived::Malformed);
        }
    }
}
