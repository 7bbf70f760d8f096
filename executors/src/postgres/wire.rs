//! Our own replication connection: the driver has none.
//!
//! It speaks as much of protocol 3.0 as replication needs: startup, authentication, simple queries, CopyBoth. Sessions
//! are pinned as all others are, so that text is the same on both sides.

use std::fmt;
use std::io;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use journal::{Lsn, Timeline};
use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl::{ChannelBinding, SCRAM_SHA_256, ScramSha256};
use postgres_protocol::message::frontend;
use runtime::Clock;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_postgres::config::SslMode;

use crate::postgres::address::HOST_PATIENCE;
use crate::postgres::database::{Database, IDENTITY_SQL, backend};
use crate::postgres::feed::Feed;
use crate::postgres::line::{Line, Pulse, Socket};
use crate::postgres::pgoutput::{Malformed, Reader};
use crate::postgres::watch::watch;
use crate::postgres::{quote, stream_row};
use crate::seams::Cause;

/// How long a slot may be read by another before its reader is ended, if it is one of ours: a dead process's walsender
/// goes within moments, that of a stopped one does not.
const ACTIVE_PATIENCE: Duration = Duration::from_millis(700);

/// How long in all.
const ACTIVE_LIMIT: Duration = Duration::from_secs(10);

/// The pause between two tries.
const ACTIVE_PAUSE: Duration = Duration::from_millis(50);

/// The longest message a server may send: a field has at most 1 GiB.
const MAX_MESSAGE: usize = 1 << 31;

/// What sessions are pinned to, as startup parameters.
const PINS: [(&str, &str); 14] = [
    ("client_encoding", "UTF8"),
    ("TimeZone", "UTC"),
    ("DateStyle", "ISO, YMD"),
    ("IntervalStyle", "postgres"),
    ("extra_float_digits", "3"),
    ("bytea_output", "hex"),
    ("search_path", "pg_catalog"),
    ("statement_timeout", "0"),
    ("idle_in_transaction_session_timeout", "0"),
    ("standard_conforming_strings", "on"),
    ("array_nulls", "on"),
    ("quote_all_identifiers", "off"),
    ("lock_timeout", "0"),
    ("idle_session_timeout", "0"),
];

/// A message as it came.
#[derive(Debug)]
pub(crate) struct Frame {
    /// Its kind.
    pub(crate) tag: u8,
    /// What follows the length.
    pub(crate) body: Bytes,
}

/// A server's refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerError {
    /// Its SQLSTATE.
    pub code: String,
    /// Its message, with detail and hint; not scrubbed.
    pub message: String,
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.message, self.code)
    }
}

/// What goes wrong on the wire.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WireError {
    /// The server said so; the connection lives.
    #[error("{0}")]
    Server(ServerError),
    /// The connection is gone.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The server speaks what we do not.
    #[error("{0}")]
    Malformed(#[from] Malformed),
    /// No way in.
    #[error("{0}")]
    Refused(String),
}

/// A slot that was made, and the snapshot of its beginning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreatedSlot {
    /// Where it begins: the snapshot holds all that committed before.
    pub consistent_point: Lsn,
    /// The snapshot's name for `set transaction snapshot`. It lives while the connection stays open and idle.
    pub snapshot: String,
}

/// A slot was not made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CreateSlotError {
    /// One of this name is there (42710).
    #[error("a replication slot of this name is there already")]
    Exists,
    /// The server has no free slot (53400).
    #[error("no free replication slot: raise max_replication_slots, or drop a slot that nobody reads")]
    NoFreeSlot,
    /// The connection, or the server.
    #[error("{0}")]
    Other(Cause),
}

/// A slot was not begun to be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// There is no such slot (42704).
    #[error("the slot is not there")]
    NoSlot,
    /// The slot's log is gone (55000).
    #[error("{0}")]
    Invalidated(Cause),
    /// The connection, or the server, or another reader of the slot.
    #[error("{0}")]
    Other(Cause),
}

/// What to read, and from where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StartAt<'a> {
    /// The slot.
    pub slot: &'a str,
    /// The publication.
    pub publication: &'a str,
    /// The place: transactions that ended before it are not sent.
    pub from: Lsn,
}

/// A connection in replication mode, idle.
pub struct ReplicationConnection {
    home: Database,
    io: Box<dyn Socket>,
    buf: BytesMut,
    /// A query was sent and its end not seen: the future was dropped in between.
    busy: bool,
    /// The timeline that it met.
    timeline: Option<Timeline>,
    /// What passes over it.
    pulse: Pulse,
    /// The server's process.
    pid: Arc<OnceLock<i32>>,
}

impl fmt::Debug for ReplicationConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ReplicationConnection({})", self.home.side())
    }
}

impl ReplicationConnection {
    /// Connects to a side.
    ///
    /// # Errors
    /// The server cannot be reached or refuses, or is not the one seen on first contact.
    pub async fn connect(home: &Database) -> Result<Self, Cause> {
        let mut opened = Self::open(home).await?;
        let asked = tokio::time::timeout(HOST_PATIENCE, opened.query(IDENTITY_SQL)).await;
        let rows = asked.unwrap_or_else(|_| Err(WireError::Refused("no answer".to_owned())));
        let rows = rows.map_err(|error| cause(home, "does not say who it is", &error))?;
        let row = rows.first().map(Vec::as_slice).unwrap_or_default();
        opened.timeline = home.meet(row)?;
        if let Some(process) = backend(row) {
            let _first = opened.pid.set(process).is_ok();
        }
        Ok(opened)
    }

    /// The timeline that it met.
    #[must_use]
    pub const fn timeline(&self) -> Option<Timeline> {
        self.timeline
    }

    /// Where a timeline left another, by the server's own history of it; none if it does not descend from it.
    ///
    /// # Errors
    /// The server cannot be asked.
    pub async fn fork(&mut self, timeline: Timeline, was: Timeline) -> Result<Option<Lsn>, Cause> {
        let rows = match self.query(&format!("TIMELINE_HISTORY {timeline}")).await {
            Ok(rows) => rows,
            // The first one has no history, and so descends from none.
            Err(WireError::Server(error)) if error.code == "58P01" => return Ok(None),
            Err(error) => return Err(cause(&self.home, "does not tell the history of its timeline", &error)),
        };
        let history = rows.into_iter().flatten().nth(1).flatten().unwrap_or_default();
        Ok(forked(&history, was))
    }

    async fn open(home: &Database) -> Result<Self, Cause> {
        let address = home.address();
        let mut last = WireError::Refused("the connection string names no host".to_owned());
        for at in 0..address.hosts() {
            let opened = tokio::time::timeout(HOST_PATIENCE, async {
                let mut io: Box<dyn Socket> = Box::new(address.dial(at).await?);
                if !address.is_local(at) {
                    io = secured(home, &address.name(at), io).await?;
                }
                let (buf, pulse) = (BytesMut::with_capacity(64 * 1024), Pulse::default());
                let io = Box::new(Line::new(io, pulse.clone()));
                let pid = Arc::default();
                let mut opened =
                    Self { home: home.clone(), io, buf, busy: false, timeline: None, pulse, pid };
                opened.start_up().await?;
                Ok(opened)
            });
            match opened.await {
                Ok(Ok(opened)) => return Ok(opened),
                Ok(Err(error)) => last = error,
                Err(_) => last = WireError::Refused(format!("no answer within {HOST_PATIENCE:?}")),
            }
        }
        Err(Cause(home.scrub(&format!("{} takes no replication connection: {last}", home.named()))))
    }

    async fn start_up(&mut self) -> Result<(), WireError> {
        let config = self.home.address().config().clone();
        let user = config
            .get_user()
            .ok_or_else(|| WireError::Refused("the connection string names no user".to_owned()))?;
        let mut parameters = vec![("user", user), ("database", config.get_dbname().unwrap_or(user))];
        parameters.push(("replication", "database"));
        parameters.extend(config.get_application_name().map(|name| ("application_name", name)));
        parameters.extend(config.get_options().map(|options| ("options", options)));
        parameters.extend(PINS);
        let mut out = BytesMut::new();
        frontend::startup_message(parameters, &mut out)?;
        self.io.write_all(&out).await?;
        self.authenticate(user, config.get_password()).await?;
        loop {
            let frame = self.frame().await?;
            match frame.tag {
                b'Z' => return Ok(()),
                b'E' => return Err(WireError::Server(server_error(frame.body)?)),
                _ => {}
            }
        }
    }

    async fn authenticate(&mut self, user: &str, password: Option<&[u8]>) -> Result<(), WireError> {
        let needed = || WireError::Refused("the server asks for a password, and none is given".to_owned());
        let mut scram: Option<ScramSha256> = None;
        loop {
            let frame = self.frame().await?;
            match frame.tag {
                b'R' => {}
                b'E' => return Err(WireError::Server(server_error(frame.body)?)),
                _ => continue,
            }
            let mut reader = Reader(frame.body);
            let mut out = BytesMut::new();
            match reader.word()? {
                0 => return Ok(()),
                3 => frontend::password_message(password.ok_or_else(needed)?, &mut out)?,
                5 => {
                    let salt = reader.word()?.to_be_bytes();
                    let hash = md5_hash(user.as_bytes(), password.ok_or_else(needed)?, salt);
                    frontend::password_message(hash.as_bytes(), &mut out)?;
                }
                10 => {
                    let mut offered = Vec::new();
                    while !reader.is_empty() {
                        offered.push(reader.text()?);
                    }
                    if !offered.iter().any(|mechanism| mechanism == SCRAM_SHA_256) {
                        return Err(WireError::Refused("the server offers no SCRAM-SHA-256".to_owned()));
                    }
                    let begun = ScramSha256::new(password.ok_or_else(needed)?, ChannelBinding::unsupported());
                    frontend::sasl_initial_response(SCRAM_SHA_256, begun.message(), &mut out)?;
                    scram = Some(begun);
                }
                11 => {
                    let scram = scram.as_mut().ok_or(Malformed("SASL goes on before it began"))?;
                    scram.update(&reader.0)?;
                    frontend::sasl_response(scram.message(), &mut out)?;
                }
                12 => scram.as_mut().ok_or(Malformed("SASL ends before it began"))?.finish(&reader.0)?,
                _ => {
                    return Err(WireError::Refused(
                        "the server asks for a way of authentication that is not spoken here".to_owned(),
                    ));
                }
            }
            if !out.is_empty() {
                self.io.write_all(&out).await?;
            }
        }
    }

    /// Makes a logical slot with pgoutput and exports its snapshot. It waits for every transaction that is writing now.
    /// Dropped on the way, the slot may or may not come to be.
    ///
    /// # Errors
    /// It is there, there is no room, or the server cannot be asked.
    pub async fn create_slot(&mut self, name: &str, temporary: bool) -> Result<CreatedSlot, CreateSlotError> {
        let kind = if temporary { " TEMPORARY" } else { "" };
        // The older notation, which every version understands; upper case alone is a keyword here.
        let sql =
            format!("CREATE_REPLICATION_SLOT {}{kind} LOGICAL pgoutput EXPORT_SNAPSHOT", quote::ident(name));
        let rows = self.query(&sql).await.map_err(|error| match &error {
            WireError::Server(server) if server.code == "42710" => CreateSlotError::Exists,
            WireError::Server(server) if server.code == "53400" => CreateSlotError::NoFreeSlot,
            _ => CreateSlotError::Other(cause(&self.home, &format!("does not make the slot {name}"), &error)),
        })?;
        let column = |at: usize| rows.first().and_then(|row| row.get(at)).and_then(Clone::clone);
        match (column(1).and_then(|lsn| lsn.parse().ok()), column(2)) {
            (Some(consistent_point), Some(snapshot)) => Ok(CreatedSlot { consistent_point, snapshot }),
            _ => {
                let error = WireError::Malformed(Malformed("a new slot without its place and snapshot"));
                Err(CreateSlotError::Other(cause(&self.home, "does not describe its slot", &error)))
            }
        }
    }

    /// Begins to read a slot. One that a dead predecessor still reads is waited for; if that lasts, its reader is ended,
    /// provided that it is one of this migration's.
    ///
    /// # Errors
    /// The slot is not there, or lost, or read by another, or the server cannot be asked.
    pub async fn start(mut self, at: StartAt<'_>, clock: &dyn Clock) -> Result<Feed, StartError> {
        let sql = format!(
            "START_REPLICATION SLOT {} LOGICAL {} (proto_version '1', publication_names {}, messages 'true')",
            quote::ident(at.slot),
            at.from,
            quote::literal(&quote::ident(at.publication)),
        );
        let began = clock.monotonic();
        let mut may_end = true;
        loop {
            let error = match self.copy_both(&sql).await {
                Ok(()) => return Ok(Feed::new(self.home, self.io, self.buf, at.from)),
                Err(error) => error,
            };
            let cause = cause(&self.home, &format!("does not let the slot {} be read", at.slot), &error);
            let WireError::Server(server) = &error else { return Err(StartError::Other(cause)) };
            let waited = clock.monotonic().duration_since(began);
            match server.code.as_str() {
                "42704" => return Err(StartError::NoSlot),
                "55000" => return Err(StartError::Invalidated(cause)),
                "55006" if waited < ACTIVE_LIMIT => {
                    if may_end && waited >= ACTIVE_PATIENCE {
                        may_end = false;
                        stream_row::end_ours(&self.home, &server.message).await.map_err(StartError::Other)?;
                    }
                    clock.sleep(ACTIVE_PAUSE).await;
                }
                _ => return Err(StartError::Other(cause)),
            }
        }
    }

    async fn copy_both(&mut self, sql: &str) -> Result<(), WireError> {
        let watching = watch(self.home.clone(), self.pulse.clone(), Arc::clone(&self.pid));
        tokio::select! {
            answer = self.begin_both(sql) => answer,
            why = watching => Err(WireError::Refused(why)),
        }
    }

    async fn begin_both(&mut self, sql: &str) -> Result<(), WireError> {
        self.send_query(sql).await?;
        let mut refused = None;
        loop {
            let frame = self.frame().await?;
            match frame.tag {
                b'W' => return Ok(()),
                b'E' => refused = Some(server_error(frame.body)?),
                b'Z' => {
                    self.busy = false;
                    return Err(refused.map_or(
                        WireError::Malformed(Malformed("replication ended before it began")),
                        WireError::Server,
                    ));
                }
                _ => {}
            }
        }
    }

    /// A query that may take long, as a new slot that waits for writers does: bounded by the server's word on it.
    async fn query(&mut self, sql: &str) -> Result<Vec<Vec<Option<String>>>, WireError> {
        let watching = watch(self.home.clone(), self.pulse.clone(), Arc::clone(&self.pid));
        tokio::select! {
            answer = self.ask(sql) => answer,
            why = watching => Err(WireError::Refused(why)),
        }
    }

    async fn ask(&mut self, sql: &str) -> Result<Vec<Vec<Option<String>>>, WireError> {
        self.send_query(sql).await?;
        let (mut rows, mut refused) = (Vec::new(), None);
        loop {
            let frame = self.frame().await?;
            match frame.tag {
                b'D' => rows.push(data_row(frame.body)?),
                b'E' => refused = Some(server_error(frame.body)?),
                b'Z' => {
                    self.busy = false;
                    return refused.map_or(Ok(rows), |error| Err(WireError::Server(error)));
                }
                _ => {}
            }
        }
    }

    async fn send_query(&mut self, sql: &str) -> Result<(), WireError> {
        if self.busy {
            return Err(WireError::Refused("the connection was left in the midst of a query".to_owned()));
        }
        self.busy = true;
        let mut out = BytesMut::new();
        frontend::query(sql, &mut out)?;
        Ok(self.io.write_all(&out).await?)
    }

    async fn frame(&mut self) -> Result<Frame, WireError> {
        loop {
            if let Some(frame) = take_frame(&mut self.buf)? {
                return Ok(frame);
            }
            if self.io.read_buf(&mut self.buf).await? == 0 {
                return Err(WireError::Io(io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }
}

/// Where a history says that a timeline was left: lines of a timeline, a place and a reason.
fn forked(history: &str, was: Timeline) -> Option<Lsn> {
    let lines = history.lines().map(str::split_whitespace);
    lines
        .filter_map(|mut words| Some((words.next()?.parse::<Timeline>().ok()?, words.next()?)))
        .find_map(|(timeline, place)| if timeline == was { place.parse().ok() } else { None })
}

/// Asks the server for TLS, as the connection string wants it, before anything else is said.
async fn secured(
    home: &Database,
    host: &str,
    mut stream: Box<dyn Socket>,
) -> Result<Box<dyn Socket>, WireError> {
    let mode = home.address().config().get_ssl_mode();
    if mode == SslMode::Disable {
        return Ok(stream);
    }
    let mut ask = BytesMut::new();
    frontend::ssl_request(&mut ask);
    stream.write_all(&ask).await?;
    // One byte, and not one more: what followed it in the clear could be anybody's.
    match stream.read_u8().await? {
        b'S' => Ok(Box::new(home.address().secure(host, stream).await?)),
        _ if mode == SslMode::Require => {
            Err(WireError::Refused("the server speaks no TLS, and sslmode asks for it".to_owned()))
        }
        _ => Ok(stream),
    }
}

/// The next whole message, if it is there.
pub(crate) fn take_frame(buf: &mut BytesMut) -> Result<Option<Frame>, Malformed> {
    let Some((&[tag, a, b, c, d], _)) = buf.split_first_chunk::<5>() else { return Ok(None) };
    let len = usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(usize::MAX);
    if !(4..MAX_MESSAGE).contains(&len) {
        return Err(Malformed("a message with an impossible length"));
    }
    if buf.len() <= len {
        buf.reserve(len + 1 - buf.len());
        return Ok(None);
    }
    let mut body = buf.split_to(len + 1).freeze();
    let _head = body.split_to(5);
    Ok(Some(Frame { tag, body }))
}

/// Reads an ErrorResponse.
pub(crate) fn server_error(body: Bytes) -> Result<ServerError, Malformed> {
    let mut reader = Reader(body);
    let mut error = ServerError { code: String::new(), message: String::new() };
    loop {
        match reader.byte()? {
            0 => return Ok(error),
            b'C' => error.code = reader.text()?,
            b'M' => error.message = reader.text()?,
            b'D' | b'H' => {
                error.message.push_str("; ");
                error.message.push_str(&reader.text()?);
            }
            _ => {
                let _other = reader.text()?;
            }
        }
    }
}

fn data_row(body: Bytes) -> Result<Vec<Option<String>>, Malformed> {
    let mut reader = Reader(body);
    let mut columns = Vec::new();
    for _ in 0..reader.short()? {
        let len = reader.word()?;
        columns.push(match usize::try_from(len) {
            // −1: null.
            Ok(_) if len == u32::MAX => None,
            Ok(len) => {
                let text = reader.bytes(len)?.to_vec();
                Some(String::from_utf8(text).map_err(|_| Malformed("a value that is not UTF-8"))?)
            }
            Err(_) => return Err(Malformed("a length beyond memory")),
        });
    }
    Ok(columns)
}

fn cause(home: &Database, what: &str, error: &WireError) -> Cause {
    Cause(home.scrub(&format!("the {} {what}: {error}", home.side())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_taken_only_when_it_is_whole() {
        let mut buf = BytesMut::from(&b"Z\0\0\0\x05I"[..]);
        let frame = take_frame(&mut buf).unwrap().unwrap();
        assert_eq!((frame.tag, frame.body.as_ref()), (b'Z', &b"I"[..]));
        let mut part = BytesMut::from(&b"d\0\0\0\x09abc"[..]);
        assert!(take_frame(&mut part).unwrap().is_none());
        let mut short = BytesMut::from(&b"d\0\0\0\x03"[..]);
        assert!(take_frame(&mut short).is_err());
    }

    #[test]
    fn a_history_tells_where_each_timeline_was_left() {
        let history =
            "1\t0/3000060\tno recovery target specified\n\n2\t0/5000148\tbefore 2026-11-27 22:00:00\n";
        let place = |was| forked(history, Timeline::new(was)).map(|place| place.to_string());
        assert_eq!(place(1).as_deref(), Some("0/3000060"));
        assert_eq!(place(2).as_deref(), Some("0/5000148"));
        assert_eq!(place(3), None);
        assert_eq!(forked("", Timeline::new(1)), None);
    }

    proptest::proptest! {
        #[test]
        fn random_bytes_from_a_server_never_panic(bytes: Vec<u8>) {
            let _taken = take_frame(&mut BytesMut::from(bytes.as_slice())).is_ok();
            let _error = server_error(Bytes::from(bytes.clone())).is_ok();
            let _row = data_row(Bytes::from(bytes)).is_ok();
        }
    }
}
