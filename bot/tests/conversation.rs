//! What people say, against a real journal.
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

use std::sync::Arc;

use bot::conversation::Conversation;
use journal_store::Store as _;
use support::{Place, say};

#[tokio::test]
async fn a_request_says_its_number_and_what_is_next() {
    let place = Place::new();
    let conversation = Conversation::new(place.store().await);
    let reply = say(&conversation, "ana", "1", "/migrate region-a start").await;
    assert!(reply.ok, "{reply:?}");
    assert!(reply.text.starts_with("Request #2: start of region-a. It needs no approval"), "{}", reply.text);
    let follow = reply.follow.unwrap();
    assert_eq!((follow.request.get(), follow.wants_undo), (2, false));
}

#[tokio::test]
async fn the_same_text_under_the_same_id_is_done_once() {
    let place = Place::new();
    let store = place.store().await;
    let conversation = Conversation::new(Arc::clone(&store) as _);
    let first = say(&conversation, "ana", "1", "region-a start").await;
    let head = store.state().await.unwrap().head;
    let again = say(&conversation, "ana", "1", "region-a start").await;
    assert_eq!(first, again);
    assert_eq!(store.state().await.unwrap().head, head);
    let other = say(&conversation, "ana", "1", "hold --reason x").await;
    assert_eq!(other.code.as_deref(), Some("SW-0622"), "{other:?}");
    let asked = say(&conversation, "ana", "2", "region-a start").await;
    assert_eq!(asked.code.as_deref(), Some("SW-0114"), "{asked:?}");
}

#[tokio::test]
async fn case_14_several_commands_run_in_order_and_an_error_stops_the_rest() {
    let place = Place::new();
    let store = place.store().await;
    let conversation = Conversation::new(Arc::clone(&store) as _);
    let reply =
        say(&conversation, "ana", "1", "hold --reason freeze\nregion-b start\n\nrelease\nregion-a start")
            .await;
    assert!(!reply.ok);
    assert_eq!(reply.code.as_deref(), Some("SW-0107"));
    assert!(reply.text.starts_with("No new operation begins anywhere: “freeze”."), "{}", reply.text);
    assert!(
        reply.text.contains("Line 2: The plan has no phase region-b. Did you mean region-a?"),
        "{}",
        reply.text
    );
    assert!(reply.text.ends_with("The 2 commands after it were not done."), "{}", reply.text);
    assert!(store.state().await.unwrap().hold.is_some());
}

#[tokio::test]
async fn case_15_a_destructive_verb_without_its_target_gets_the_line_to_paste() {
    let place = Place::new();
    let conversation = Conversation::new(place.store().await);
    let reply = say(&conversation, "ana", "1", "/migrate cutover").await;
    assert_eq!(reply.code.as_deref(), Some("SW-0603"));
    assert!(reply.text.contains("`/migrate region-a cutover`"), "{}", reply.text);
}

#[tokio::test]
async fn case_20_a_verb_in_the_wrong_state_is_told_the_state() {
    let place = Place::new();
    let conversation = Conversation::new(place.store().await);
    let reply = say(&conversation, "ana", "1", "region-a cutover").await;
    assert_eq!(reply.code.as_deref(), Some("SW-0112"));
    assert!(
        reply.text.contains("region-a is new") && reply.text.contains("`/migrate region-a start`"),
        "{}",
        reply.text
    );
    let reply = say(&conversation, "ana", "2", "region-a resume").await;
    assert_eq!(reply.code.as_deref(), Some("SW-0125"), "{reply:?}");
}

#[tokio::test]
async fn a_request_of_two_gathers_distinct_persons() {
    let place = Place::new();
    let conversation = Conversation::new(place.store().await);
    // A new phase can only be started; a denial of that is its approvers' right all the same.
    assert!(say(&conversation, "ana", "1", "region-a start").await.ok);
    let reply = say(&conversation, "ben", "2", "approve #2").await;
    assert_eq!(reply.code.as_deref(), Some("SW-0122"), "{reply:?}");
    let reply = say(&conversation, "ben", "3", "deny #2").await;
    assert_eq!(reply.code.as_deref(), Some("SW-0142"), "{reply:?}");
    assert!(reply.text.contains("`/migrate deny #2 --reason \"…\"`"), "{}", reply.text);
    let reply = say(&conversation, "ben", "4", "deny #2 --reason “not now”").await;
    assert!(
        reply.ok && reply.text.starts_with("ben denied request #2 (start of region-a): “not now”."),
        "{reply:?}"
    );
    assert!(reply.follow.unwrap().wants_undo);
    let reply = say(&conversation, "ben", "5", "approve #2").await;
    assert!(reply.text.contains("it is void, because ben denied it"), "{}", reply.text);
    let reply = say(&conversation, "ben", "6", "region-a start").await;
    assert_eq!(reply.code.as_deref(), Some("SW-0109"), "{reply:?}");
    assert!(reply.text.ends_with("Ask ana. (SW-0109)"), "{}", reply.text);
}

#[tokio::test]
async fn what_only_asks_changes_nothing() {
    let place = Place::new();
    let store = place.store().await;
    let conversation = Conversation::new(Arc::clone(&store) as _);
    for (text, holds) in [
        ("status", "region-a  new"),
        ("status region-a", "way back"),
        ("plan", "/migrate region-a start\n    needs  no approvals\n    steps  preflight, prepare_source"),
        ("help", "/migrate approve #N"),
        ("help cutover", "Steps: prepare_switch, stop_traffic"),
        ("whoami", "You are ana (operator, approver)."),
        ("audit", "The journal has 1 events"),
        ("region-a history", "Nothing has happened to region-a yet."),
    ] {
        let reply = say(&conversation, "ana", "1", text).await;
        assert!(reply.ok && reply.text.contains(holds), "{text}: {reply:?}");
    }
    assert_eq!(store.state().await.unwrap().head.get(), 1);
    let reply = say(&conversation, "ana", "1", "status region-b").await;
    assert_eq!(reply.code.as_deref(), Some("SW-0107"));
    let reply = say(&conversation, "ana", "1", " \n ").await;
    assert_eq!(reply.code.as_deref(), Some("SW-0613"));
}
