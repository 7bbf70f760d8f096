//! The server's side of `switchyard chat`: a unix socket with one JSON object a line.
//!
//! A person is known by their token, whose SHA-256 the adopted plan holds. An unknown person and a wrong token get the
//! same answer, after the same comparison. The socket file is made under another name, closed to others, and
//! renamed into its place, so at no instant may somebody else connect to it; what a dead server left there is so
//! replaced too, while a live one is an error.

pub mod client;
mod wire;

use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use journal::{Fact, PersonId, RequestStatus, State};
use journal_store::{Store, StoreError};
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::conversation::{Conversation, Follow, Reply, Utterance};
use crate::language::Dialect;
use crate::words::{self, Narrator};

pub use wire::{Answer, Ask, MOST_BYTES, VERSION};

/// How long a connection may take to send its line.
const READ_LIMIT: Duration = Duration::from_secs(30);

/// How many connections are answered at once; more wait.
const CONNECTIONS: usize = 64;

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// A live server listens there.
    #[error("another server listens on {0}")]
    Taken(PathBuf),
    /// Something else is in the place.
    #[error("{0} is there, and is no socket")]
    NoSocket(PathBuf),
    /// The system refuses.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// A listening socket. Its file goes with it.
#[derive(Debug)]
pub struct Server {
    listener: UnixListener,
    path: PathBuf,
    inode: u64,
}

impl Server {
    /// Listens, with a socket file that its owner alone may use.
    ///
    /// # Errors
    /// A live server listens there, or the file cannot be made.
    pub async fn bind(path: &Path) -> Result<Self, SocketError> {
        match std::fs::symlink_metadata(path) {
            Ok(found) if !found.file_type().is_socket() => {
                return Err(SocketError::NoSocket(path.to_owned()));
            }
            Ok(_) if UnixStream::connect(path).await.is_ok() => {
                return Err(SocketError::Taken(path.to_owned()));
            }
            Ok(_) | Err(_) => {}
        }
        let mut making = path.as_os_str().to_owned();
        making.push(format!(".{}", std::process::id()));
        let making = PathBuf::from(making);
        if let Err(error) = std::fs::remove_file(&making)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            return Err(error.into());
        }
        let listener = UnixListener::bind(&making)?;
        std::fs::set_permissions(&making, std::fs::Permissions::from_mode(0o600))?;
        let inode = std::fs::symlink_metadata(&making)?.ino();
        std::fs::rename(&making, path)?;
        Ok(Self { listener, path: path.to_owned(), inode })
    }

    /// Where it listens.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Answers until it is dropped. A command in the hand at that moment is done or not; its id tells a repeat.
    pub async fn run(self, store: Arc<dyn Store>, conversation: Conversation) {
        let places = Arc::new(Semaphore::new(CONNECTIONS));
        let mut connections = JoinSet::new();
        loop {
            while connections.try_join_next().is_some() {}
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    let (store, conversation) = (Arc::clone(&store), conversation.clone());
                    connections.spawn(async move {
                        if let Err(error) = serve(stream, store, conversation).await {
                            tracing::debug!(%error, "a connection ended early");
                        }
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    // Out of file descriptors, most likely: the next try must not spin.
                    tokio::task::yield_now().await;
                }
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let is_ours = std::fs::symlink_metadata(&self.path).is_ok_and(|found| found.ino() == self.inode);
        if is_ours && let Err(error) = std::fs::remove_file(&self.path) {
            tracing::debug!(%error, "the socket file stays");
        }
    }
}

/// Answers the requests of one connection.
async fn serve(stream: UnixStream, store: Arc<dyn Store>, conversation: Conversation) -> std::io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut lines = BufReader::new(read);
    loop {
        let line = match tokio::time::timeout(READ_LIMIT, line(&mut lines)).await {
            Err(_) | Ok(Ok(Line::End)) => return Ok(()),
            Ok(Err(error)) => return Err(error),
            Ok(Ok(Line::TooLong)) => {
                let why = format!("it is longer than {MOST_BYTES} bytes");
                return send(&mut write, &Answer::refused(words::malformed(&why), words::MALFORMED)).await;
            }
            Ok(Ok(Line::Text(line))) => line,
        };
        answer(&line, &store, &conversation, &mut write).await?;
    }
}

enum Line {
    Text(Vec<u8>),
    TooLong,
    End,
}

/// Reads a line of bounded length.
async fn line(from: &mut BufReader<OwnedReadHalf>) -> std::io::Result<Line> {
    let mut bytes = Vec::new();
    let limit = u64::try_from(MOST_BYTES + 1).unwrap_or(u64::MAX);
    from.take(limit).read_until(b'\n', &mut bytes).await?;
    match bytes.pop() {
        None => Ok(Line::End),
        Some(b'\n') => Ok(Line::Text(bytes)),
        Some(_) if bytes.len() >= MOST_BYTES => Ok(Line::TooLong),
        Some(last) => {
            bytes.push(last);
            Ok(Line::Text(bytes))
        }
    }
}

async fn send(to: &mut OwnedWriteHalf, answer: &Answer) -> std::io::Result<()> {
    let mut bytes = serde_json::to_vec(answer).map_err(std::io::Error::other)?;
    bytes.push(b'\n');
    to.write_all(&bytes).await
}

/// Answers one line.
async fn answer(
    line: &[u8],
    store: &Arc<dyn Store>,
    conversation: &Conversation,
    write: &mut OwnedWriteHalf,
) -> std::io::Result<()> {
    let ask: Ask = match serde_json::from_slice(line) {
        Ok(ask) => ask,
        Err(_) => {
            // The text is not repeated: it may hold a token.
            let why = words::malformed("it is not the JSON object that `switchyard chat` sends");
            return send(write, &Answer::refused(why, words::MALFORMED)).await;
        }
    };
    if let Some(why) = ask.problem() {
        return send(write, &Answer::refused(words::malformed(&why), words::MALFORMED)).await;
    }
    let state = match store.state().await {
        Ok(state) => state,
        Err(error) => {
            return send(write, &Answer::refused(words::store_failed(&error), words::STORE_FAILED)).await;
        }
    };
    let Some(person) = known(&state, &ask.person, &ask.token) else {
        tracing::info!("somebody unknown, or with a wrong token, was turned away");
        return send(write, &Answer::refused(words::not_known(), words::NOT_KNOWN)).await;
    };
    let id = format!("local:{person}:{}", ask.command_id);
    let said =
        Utterance { person: &person, id: &id, text: &ask.text, dialect: Dialect::Terminal, origin: None };
    let reply = conversation.hear(&said).await;
    tracing::info!(%person, ok = reply.ok, code = reply.code, "answered");
    let Reply { ok, text, code, follow, made: _ } = reply;
    let follow = follow.filter(|_| ask.wait);
    send(write, &Answer { ok, reply: text, code, more: follow.is_some() }).await?;
    match follow {
        Some(follow) => tell(store, &follow, write).await,
        None => Ok(()),
    }
}

/// The person, if this is their token. Everybody takes the same time.
#[must_use]
pub fn known(state: &State, person: &str, token: &str) -> Option<PersonId> {
    let (plan, _) = state.plan.as_ref()?;
    let person = PersonId::new(person).ok();
    let kept = person
        .as_ref()
        .and_then(|person| plan.people.get(person))
        .and_then(|person| person.local_token_sha256.as_deref());
    let mut expected = [0_u8; 32];
    let is_kept = kept.is_some_and(|kept| hex::decode_to_slice(kept, &mut expected).is_ok());
    let given: [u8; 32] = Sha256::digest(token.as_bytes()).into();
    let differs = given.iter().zip(expected).fold(0_u8, |seen, (one, other)| seen | (one ^ other));
    person.filter(|_| is_kept && differs == 0)
}

/// Follows an operation and tells each step, until it rests or needs a person.
async fn tell(store: &Arc<dyn Store>, follow: &Follow, write: &mut OwnedWriteHalf) -> std::io::Result<()> {
    let failed = |error: StoreError| Answer::refused(words::store_failed(&error), words::STORE_FAILED);
    let phase = match store.state().await {
        Ok(state) => state.requests.get(&follow.request).map(|request| request.phase.clone()),
        Err(error) => return send(write, &failed(error)).await,
    };
    let mut narrator = Narrator::default();
    let mut events = store.tail(follow.after);
    let mut told = follow.after;
    loop {
        match store.state().await {
            // The end is told when everything before it was.
            Ok(state) if told < state.head => {}
            Ok(state) => {
                if let Some((ok, text)) = ended(&state, follow) {
                    return send(write, &Answer { ok, reply: text, code: None, more: false }).await;
                }
            }
            Err(error) => return send(write, &failed(error)).await,
        }
        match events.next().await {
            Some(Ok(event)) => {
                told = event.envelope.position;
                let is_ours = event.envelope.phase == phase || is_about(&event.body, follow);
                if let Some(line) = narrator.progress(&event).filter(|_| is_ours) {
                    send(write, &Answer { ok: true, reply: line, code: None, more: true }).await?;
                }
            }
            Some(Err(error)) => return send(write, &failed(error)).await,
            None => return Ok(()),
        }
    }
}

/// Whether an event of no phase is about the request.
fn is_about(fact: &Fact, follow: &Follow) -> bool {
    fact.request() == Some(follow.request)
}

/// Whether there is nothing more to wait for, how it ended, and the last line.
fn ended(state: &State, follow: &Follow) -> Option<(bool, String)> {
    let request = state.requests.get(&follow.request)?;
    match &request.status {
        RequestStatus::Open => None,
        RequestStatus::Running | RequestStatus::Consumed => {
            let run = state.operation(&request.phase)?;
            let finding = run.blocked.as_ref()?;
            // An undo goes on whatever blocked the step that it undoes, and whatever is in its own way.
            let is_undoing = run.undo.is_some() || run.undo_asked.is_some();
            (!is_undoing).then(|| (false, words::ended_blocked(request, finding, run.step)))
        }
        RequestStatus::Finished(outcome) => {
            let is_wanted = (*outcome == journal::Outcome::Undone) == follow.wants_undo;
            Some((is_wanted, words::ended(request)))
        }
        RequestStatus::Void(_) => Some((follow.wants_undo, words::ended(request))),
    }
}
