//! The socket of the terminal.
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
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bot::conversation::Conversation;
use bot::local::client::{Saying, say};
use bot::local::{Answer, MOST_BYTES, Server, SocketError};
use journal_store::Store as _;
use runtime::{Secret, SystemClock};
use support::{Place, token};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;

/// Sends a line and reads one.
async fn exchange(socket: &Path, line: &str) -> Answer {
    let (read, mut write) = UnixStream::connect(socket).await.unwrap().into_split();
    // A server that refuses a line by its length need not read all of it.
    let _sent = write.write_all(format!("{line}\n").as_bytes()).await.is_ok();
    let mut lines = BufReader::new(read).lines();
    let answered = tokio::time::timeout(Duration::from_secs(10), lines.next_line());
    serde_json::from_str(&answered.await.expect("an answer in time").unwrap().expect("an answer")).unwrap()
}

fn ask(person: &str, token: &str, id: &str, text: &str) -> String {
    serde_json::json!({"v": 1, "person": person, "token": token, "command_id": id, "text": text}).to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_known_person_is_answered_and_nobody_else() {
    let place = Place::new();
    let store = place.store().await;
    let socket = place.file("s.sock");
    let server = Server::bind(&socket).await.unwrap();
    assert_eq!(std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
    let server =
        tokio::spawn(server.run(Arc::clone(&store) as _, Conversation::new(Arc::clone(&store) as _)));

    let known = exchange(&socket, &ask("ana", &token("ana"), "1", "whoami")).await;
    assert!(known.ok && known.reply.starts_with("You are ana"), "{known:?}");
    let wrong = exchange(&socket, &ask("ana", "guess", "2", "region-a start")).await;
    let unknown = exchange(&socket, &ask("eve", "guess", "3", "region-a start")).await;
    let another = exchange(&socket, &ask("ana", &token("ben"), "4", "region-a start")).await;
    let no_name = exchange(&socket, &ask("No Name", &token("ben"), "4", "region-a start")).await;
    assert_eq!(wrong.code.as_deref(), Some("SW-0621"));
    assert_eq!(wrong, unknown);
    assert_eq!(wrong, another);
    assert_eq!(wrong, no_name);
    assert_eq!(store.state().await.unwrap().head.get(), 1, "nothing was done");

    for line in [
        "not json".to_owned(),
        "{}".to_owned(),
        ask("ana", &token("ana"), "", "status"),
        ask("ana", &token("ana"), "a b", "status"),
        ask("ana", &token("ana"), &"x".repeat(101), "status"),
        ask("ana", &token("ana"), "5", "status").replace("\"v\":1", "\"v\":2"),
        "x".repeat(MOST_BYTES + 10),
    ] {
        let answer = exchange(&socket, &line).await;
        assert_eq!(answer.code.as_deref(), Some("SW-0620"), "{answer:?}");
        assert!(!answer.reply.contains("the token of"), "{answer:?}");
    }

    // Somebody who says nothing and goes away harms nobody.
    drop(UnixStream::connect(&socket).await.unwrap());
    let again = exchange(&socket, &ask("ben", &token("ben"), "6", "help")).await;
    assert!(again.ok);
    server.abort();
    assert!(server.await.is_err());
    assert!(!socket.exists(), "the socket's file goes with its server");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_id_is_one_command_and_ids_of_two_persons_are_two() {
    let place = Place::new();
    let store = place.store().await;
    let socket = place.file("s.sock");
    let server = tokio::spawn(
        Server::bind(&socket)
            .await
            .unwrap()
            .run(Arc::clone(&store) as _, Conversation::new(Arc::clone(&store) as _)),
    );
    let line = ask("ana", &token("ana"), "same", "region-a start");
    let first = exchange(&socket, &line).await;
    assert!(first.ok, "{first:?}");
    assert_eq!(exchange(&socket, &line).await, first);
    assert_eq!(store.state().await.unwrap().head.get(), 2);
    let other = exchange(&socket, &ask("ben", &token("ben"), "same", "deny #2 --reason no")).await;
    assert!(other.ok, "{other:?}");
    server.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_servers_socket_is_replaced_and_a_live_one_is_not() {
    let place = Place::new();
    let store = place.store().await;
    let socket = place.file("s.sock");
    // What a killed process leaves: a file that nobody listens on.
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    assert!(socket.exists());
    let server = tokio::spawn(
        Server::bind(&socket).await.unwrap().run(Arc::clone(&store) as _, Conversation::new(store as _)),
    );
    assert!(exchange(&socket, &ask("ana", &token("ana"), "1", "help")).await.ok);
    assert!(matches!(Server::bind(&socket).await, Err(SocketError::Taken(_))));
    assert!(exchange(&socket, &ask("ana", &token("ana"), "2", "help")).await.ok);
    server.abort();

    let file = place.file("precious");
    std::fs::write(&file, "data").unwrap();
    assert!(matches!(Server::bind(&file).await, Err(SocketError::NoSocket(_))));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "data");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_waits_is_told_each_step_and_the_end() {
    let place = Place::new();
    let store = place.store().await;
    let socket = place.file("s.sock");
    let server = tokio::spawn(
        Server::bind(&socket).await.unwrap().run(Arc::clone(&store) as _, Conversation::new(store as _)),
    );
    let (told, mut telling) = tokio::sync::mpsc::unbounded_channel();
    let waiting = tokio::spawn({
        let socket = socket.clone();
        async move {
            let token = Secret::new(token("ana"));
            let saying = Saying { person: "ana", token: &token, text: "region-a start", wait: true };
            say(&socket, &saying, &SystemClock, |answer| told.send(answer.reply.clone()).unwrap())
                .await
                .unwrap()
        }
    });
    let first = tokio::time::timeout(Duration::from_secs(10), telling.recv()).await.unwrap().unwrap();
    assert!(first.starts_with("Request #2: start of region-a."), "{first}");
    assert!(exchange(&socket, &ask("ben", &token("ben"), "1", "deny #2 --reason \"not now\"")).await.ok);
    let last = tokio::time::timeout(Duration::from_secs(10), waiting).await.unwrap().unwrap();
    assert!(!last.ok, "{last:?}");
    assert_eq!(last.reply, "Request #2 (start of region-a): void, because ben denied it.");
    let mut steps = Vec::new();
    while let Some(step) = telling.recv().await {
        steps.push(step);
    }
    assert!(steps.iter().any(|step| step.contains("request #2 was denied: “not now”")), "{steps:?}");
    server.abort();
}
