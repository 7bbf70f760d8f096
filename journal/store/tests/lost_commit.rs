//! A COMMIT whose answer is lost, in PostgreSQL: a proxy stands before the server and swallows it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

use crate::server::OnServer;
use crate::suite::{TERM, adopt, assert_sound, clock, holder, id, migration, phase, planned, request};
use journal::{Position, Recorded};
use journal_store::{PostgresStore, Store};
use runtime::Secret;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// What becomes of the next write that passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// It is done and answered.
    Passes = 0,
    /// It is done, and the answer is swallowed with the connection.
    Unanswered = 1,
    /// It never reaches the server.
    Unheard = 2,
}

/// A proxy that knows PostgreSQL's frames, version 3.
struct Proxy {
    port: u16,
    fate: Arc<AtomicU8>,
    swallowed: Arc<AtomicUsize>,
}

impl Proxy {
    async fn before(port: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let proxy = Self {
            port: listener.local_addr().unwrap().port(),
            fate: Arc::default(),
            swallowed: Arc::default(),
        };
        let (fate, swallowed) = (Arc::clone(&proxy.fate), Arc::clone(&proxy.swallowed));
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                tokio::spawn(pass(client, server, Arc::clone(&fate), Arc::clone(&swallowed)));
            }
        });
        proxy
    }

    fn next(&self, fate: Fate) {
        self.fate.store(fate as u8, Ordering::SeqCst);
    }

    fn swallowed(&self) -> usize {
        self.swallowed.load(Ordering::SeqCst)
    }

    fn url(&self) -> Secret {
        Secret::new(format!("postgres://keeper:pw-keeper@127.0.0.1:{}/journal", self.port))
    }
}

/// Whether a client's bytes make something durable: the end of a transaction, or a call of `append` outside of one.
/// A statement's text stands in its Parse; a later call names the statement alone, so each name is remembered.
#[derive(Default)]
struct Watched {
    appending: Vec<Vec<u8>>,
    is_open: bool,
}

impl Watched {
    fn is_commit(&mut self, bytes: &[u8]) -> bool {
        let mut commits = false;
        let mut rest = bytes;
        while let [kind, a, b, c, d, ..] = rest {
            let length = 1 + u32::from_be_bytes([*a, *b, *c, *d]) as usize;
            let Some(frame) = rest.get(5..length) else { break };
            let text = String::from_utf8_lossy(frame).to_lowercase();
            match kind {
                b'Q' if text.starts_with("begin") => self.is_open = true,
                b'Q' if text.starts_with("commit") => {
                    self.is_open = false;
                    commits = true;
                }
                b'P' if text.contains("switchyard_journal.append") => {
                    self.appending.push(frame.split(|byte| *byte == 0).next().unwrap().to_vec());
                }
                // Bind: the portal, then the statement.
                b'B' => {
                    let statement = frame.split(|byte| *byte == 0).nth(1).unwrap();
                    commits |= !self.is_open && self.appending.iter().any(|name| name == statement);
                }
                _ => {}
            }
            rest = &rest[length..];
        }
        commits
    }
}

async fn pass(
    mut client: TcpStream,
    mut server: TcpStream,
    fate: Arc<AtomicU8>,
    swallowed: Arc<AtomicUsize>,
) {
    let (mut asked, mut answered) = (vec![0; 1 << 20], vec![0; 1 << 20]);
    let mut watched = Watched::default();
    let mut is_started = false;
    loop {
        tokio::select! {
            read = client.read(&mut asked) => {
                let Ok(count) = read else { return };
                if count == 0 { return }
                let bytes = &asked[..count];
                // The first message has no kind.
                let commits = is_started && watched.is_commit(bytes);
                is_started = true;
                let now = if commits { fate.swap(Fate::Passes as u8, Ordering::SeqCst) } else { 0 };
                if now == Fate::Unheard as u8 {
                    swallowed.fetch_add(1, Ordering::SeqCst);
                    return;
                }
                if server.write_all(bytes).await.is_err() { return }
                if now == Fate::Unanswered as u8 {
                    // It has answered, so it is done. Nobody hears it.
                    assert!(server.read(&mut answered).await.unwrap() > 0);
                    swallowed.fetch_add(1, Ordering::SeqCst);
                    return;
                }
            }
            read = server.read(&mut answered) => {
                let Ok(count) = read else { return };
                if count == 0 || client.write_all(&answered[..count]).await.is_err() { return }
            }
        }
    }
}

async fn stored(store: &dyn Store, after: u64) -> Vec<Recorded> {
    let rows = store.stored(Position::new(after), u32::MAX).await.unwrap();
    rows.iter().map(|(_, bytes)| Recorded::from_bytes(bytes).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_whose_answer_is_lost_is_done_once_and_answered_with_what_it_made() {
    let server = OnServer::start().await;
    let proxy = Proxy::before(server.cluster.port()).await;
    let store = PostgresStore::open(&proxy.url(), &migration(), clock()).await.unwrap();
    planned(&store).await;
    let mut head = store.state().await.unwrap().head.get();
    for (round, fate) in [Fate::Unanswered, Fate::Unheard].into_iter().cycle().take(6).enumerate() {
        // In one statement, on what is known; and, after something went wrong, under the lock.
        for number in 0..2 {
            proxy.next(fate);
            let before = proxy.swallowed();
            let (id, command) = (id(format!("c{round}.{number}")), adopt(10 * round as u64 + number + 1));
            let made = store.execute(id.clone(), None, command.clone()).await.unwrap();
            assert_eq!(proxy.swallowed(), before + 1, "{fate:?}: nothing was swallowed");
            assert_eq!(made, stored(&store, head).await, "{fate:?}: what it made, once");
            head += 1;
            assert_eq!(store.execute(id, None, command).await.unwrap(), made);
        }
        // A change of hands.
        proxy.next(fate);
        let before = proxy.swallowed();
        let lease = store.claim(&phase("a"), &holder("one"), TERM).await.unwrap().unwrap();
        assert_eq!(proxy.swallowed(), before + 1);
        head += 1;
        assert_eq!(store.state().await.unwrap().head.get(), head);
        assert!(store.renew(&lease).await.unwrap());
        // The end of a term is moved as often as one likes.
        proxy.next(fate);
        assert!(store.renew(&lease).await.unwrap());
    }
    assert_sound(&store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_of_a_batch_whose_answer_is_lost_are_each_answered_for_themselves() {
    let server = OnServer::start().await;
    let proxy = Proxy::before(server.cluster.port()).await;
    let store = Arc::new(PostgresStore::open(&proxy.url(), &migration(), clock()).await.unwrap());
    planned(&*store).await;
    for fate in [Fate::Unanswered, Fate::Unheard] {
        let head = store.state().await.unwrap().head.get();
        proxy.next(fate);
        let asked = (0..12u64).map(|number| {
            let store = Arc::clone(&store);
            let name = format!("{fate:?}.{number}");
            tokio::spawn(async move {
                // Every other one is refused: there is no such phase.
                let command = if number % 2 == 0 { adopt(100 * (head + 1) + number) } else { request("c") };
                (number, store.execute(id(name), None, command).await)
            })
        });
        for answer in futures::future::join_all(asked).await {
            let (number, answer) = answer.unwrap();
            assert_eq!(answer.is_ok(), number % 2 == 0, "{number}: {answer:?}");
        }
        assert_eq!(store.state().await.unwrap().head.get(), head + 6, "{fate:?}");
        assert_sound(&*store).await;
    }
    assert_eq!(proxy.swallowed(), 2);
}
