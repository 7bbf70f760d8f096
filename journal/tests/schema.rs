//! Bodies of older schema versions become today's facts, and a program stops at what it is too old for.

use journal::*;
use serde_json::{Map, Value, json};

/// Three versions, of which the third is today's shape. In the first a breach said `rows`, a number, and an operation
/// had one `approver`; the second called the rows `changes`; the third has a list of persons.
const THREE: Schema = Schema::new(&[rows_are_changes, approvers_are_many]);

fn rows_are_changes(_: &Envelope, mut body: Map<String, Value>) -> Result<Map<String, Value>, String> {
    if body["kind"] == "fence_breached" {
        let rows = body.remove("rows").and_then(|rows| rows.as_u64()).ok_or("a breach without `rows`")?;
        body.insert("changes".to_owned(), json!(rows.to_string()));
    }
    Ok(body)
}

fn approvers_are_many(
    envelope: &Envelope,
    mut body: Map<String, Value>,
) -> Result<Map<String, Value>, String> {
    if body["kind"] == "operation_started"
        && let Some(approver) = body.remove("approver")
    {
        // What the envelope says may be needed: the requester is not among those who approve.
        let is_actor = envelope.actor == Actor::Operator;
        body.insert("reserved".to_owned(), if is_actor { json!([]) } else { json!([approver]) });
    }
    Ok(body)
}

fn stored(version: &str, body: Value) -> Vec<u8> {
    let event = json!({
        "position": "7", "migration": "shop", "phase": "a", "event_id": "e7", "schema_version": version,
        "actor": { "by": "executor", "name": "host/main" }, "recorded_at": "2026-01-02T03:04:05.678Z",
        "command_id": "c7", "epoch": "3", "body": body,
    });
    serde_json::to_vec(&event).unwrap()
}

fn breach(field: &str, changes: Value) -> Value {
    let mut body =
        json!({ "kind": "fence_breached", "direction": "forward", "table": "shop.orders", "at": "0/1" });
    body[field] = changes;
    body
}

fn started(more: Value) -> Value {
    let hash = "0".repeat(64);
    let mut body = json!({
        "kind": "operation_started", "request": "5", "operation": "cutover", "plan_hash": hash, "generation": "1",
    });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

#[test]
fn a_body_of_each_older_version_becomes_todays_fact_by_its_own_upcast_and_all_after_it() {
    let changed = |bytes: &[u8]| match THREE.read(bytes).unwrap().body {
        Fact::FenceBreached { changes, .. } => changes,
        other => panic!("{other:?}"),
    };
    assert_eq!(THREE.version(), 3);
    assert_eq!(changed(&stored("1", breach("rows", json!(12)))), "12");
    assert_eq!(changed(&stored("2", breach("changes", json!("12")))), "12");
    assert_eq!(changed(&stored("3", breach("changes", json!("12")))), "12");
    let reserved =
        |version: &str, more: Value| match THREE.read(&stored(version, started(more))).unwrap().body {
            Fact::OperationStarted { reserved, .. } => reserved,
            other => panic!("{other:?}"),
        };
    let ana = vec![PersonId::new("ana").unwrap()];
    assert_eq!(reserved("1", json!({ "approver": "ana" })), ana);
    assert_eq!(reserved("2", json!({ "approver": "ana" })), ana);
    assert_eq!(reserved("3", json!({ "reserved": ["ana"] })), ana);
}

#[test]
fn the_envelope_keeps_the_version_that_was_written_and_the_hash_is_of_the_stored_bytes() {
    let bytes = stored("1", breach("rows", json!(12)));
    let event = THREE.read(&bytes).unwrap();
    assert_eq!(event.envelope.schema_version, "1");
    assert_eq!((event.envelope.position, event.envelope.epoch), (Position::new(7), Some(Epoch::new(3))));
    assert_ne!(merkle::leaf(&bytes), merkle::leaf(&event.to_bytes().unwrap()), "it is not what was stored");
}

#[test]
fn a_body_that_its_own_version_would_not_have_written_is_named() {
    for (version, body, said) in [
        ("1", breach("changes", json!("12")), "schema version 1: a breach without `rows`"),
        ("2", breach("rows", json!(12)), "missing field `changes`"),
        ("3", started(json!({ "approver": "ana" })), "missing field `reserved`"),
        ("0", breach("rows", json!(12)), "`0` is no schema version"),
        ("01", breach("rows", json!(12)), "`01` is no schema version"),
        ("+1", breach("rows", json!(12)), "`+1` is no schema version"),
        ("x", breach("rows", json!(12)), "`x` is no schema version"),
    ] {
        let error = THREE.read(&stored(version, body)).unwrap_err().to_string();
        assert!(error.contains(said), "{version}: {error}");
    }
}

#[test]
fn an_older_program_stops_at_a_newer_event_and_at_the_barrier_before_it() {
    let two = Schema::new(&[rows_are_changes]);
    let newer = stored("3", started(json!({ "reserved": ["ana"] })));
    let barrier = stored("2", json!({ "kind": "version_barrier", "to": "3" }));
    // Also where the newer version's envelope cannot be read at all.
    let other = br#"{"schema_version":"3","place":7}"#.to_vec();
    for bytes in [newer, barrier.clone(), other] {
        let error = two.read(&bytes).unwrap_err();
        assert!(matches!(&error, DecodeError::Newer { found, known: 2 } if found == "3"), "{error}");
        assert!(error.to_string().contains("use a newer switchyard"), "{error}");
    }
    assert!(matches!(THREE.read(&barrier).unwrap().body, Fact::VersionBarrier { to } if to == "3"));
}

#[test]
fn a_barrier_is_due_once_before_the_first_event_of_a_newer_version() {
    let mut state = State::default();
    assert_eq!(state.schema_version(), 1);
    assert_eq!(barrier(&state, 1), None);
    let (fact, written_by) = barrier(&state, 3).unwrap();
    assert_eq!((&fact, written_by), (&Fact::VersionBarrier { to: "3".to_owned() }, 1));
    let event = THREE.read(&stored("1", serde_json::to_value(fact).unwrap())).unwrap();
    evolve(&mut state, &event);
    assert_eq!(state.schema_version(), 3);
    assert_eq!(barrier(&state, 3), None);
    // A program that was told to go back writes none.
    assert_eq!(barrier(&state, 2), None);
}
