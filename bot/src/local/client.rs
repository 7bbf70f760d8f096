//! The client's side of the socket.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use runtime::{Clock, Secret};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;

use super::wire::{Answer, Ask, VERSION};

/// How often a text is sent again, under its first id, when the server goes away before it answers.
const TRIES: u32 = 10;

/// The pause before each: a server that is started again is back in about this time.
const PAUSE: Duration = Duration::from_millis(500);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No server answers, and nothing was sent.
    #[error("no server answers: {0}")]
    NotReachable(std::io::Error),
    /// The server went away before it answered.
    #[error("the server went away before it answered")]
    Lost,
}

/// What is said.
#[derive(Debug)]
pub struct Saying<'s> {
    /// Who.
    pub person: &'s str,
    /// Their token.
    pub token: &'s Secret,
    /// What.
    pub text: &'s str,
    /// Whether to follow the operation.
    pub wait: bool,
}

/// Says a text, and hands each answer on as it comes. Returns the last one.
///
/// A lost answer is asked for again under the same id, so that nothing is done twice.
///
/// # Errors
/// No server answers.
pub async fn say(
    socket: &Path,
    saying: &Saying<'_>,
    clock: &dyn Clock,
    mut each: impl FnMut(&Answer),
) -> Result<Answer, ClientError> {
    let ask = Ask {
        v: VERSION,
        person: saying.person.to_owned(),
        token: saying.token.expose().to_owned(),
        command_id: uuid::Uuid::now_v7().to_string(),
        text: saying.text.to_owned(),
        wait: saying.wait,
    };
    let mut was_sent = false;
    let mut told = BTreeSet::new();
    for attempt in 0..TRIES {
        if attempt > 0 {
            clock.sleep(PAUSE).await;
        }
        let stream = match UnixStream::connect(socket).await {
            Ok(stream) => stream,
            Err(error) if !was_sent => return Err(ClientError::NotReachable(error)),
            Err(_) => continue,
        };
        was_sent = true;
        // What was told before the connection was lost is told again under the same id, but handed on once.
        let mut anew = |answer: &Answer| {
            if told.insert(answer.reply.clone()) {
                each(answer);
            }
        };
        if let Ok(Some(last)) = exchange(stream, &ask, &mut anew).await {
            return Ok(last);
        }
    }
    Err(ClientError::Lost)
}

/// One try. `None`: the connection ended before the last answer.
async fn exchange(
    stream: UnixStream,
    ask: &Ask,
    each: &mut impl FnMut(&Answer),
) -> std::io::Result<Option<Answer>> {
    let (read, mut write) = stream.into_split();
    let mut bytes = serde_json::to_vec(ask).map_err(std::io::Error::other)?;
    bytes.push(b'\n');
    write.write_all(&bytes).await?;
    let mut lines = BufReader::new(read).lines();
    while let Some(line) = lines.next_line().await? {
        let answer: Answer = serde_json::from_str(&line).map_err(std::io::Error::other)?;
        each(&answer);
        if !answer.more {
            return Ok(Some(answer));
        }
    }
    Ok(None)
}
