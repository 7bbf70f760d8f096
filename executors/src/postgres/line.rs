//! A connection that knows whether an answer is owed to it, and since when nothing has passed.
//!
//! The race: a link may die so that its near end goes on taking bytes and answering the kernel's probes, while nothing
//! of it reaches the server any more. No timeout of the transport ends that, and a long statement looks just the same. What
//! tells them apart is the server: asked over another connection, it says what it does for this one.
//!
//! Nor does the kernel's own limit for what is unacknowledged (`TCP_USER_TIMEOUT`) serve: it also ends a connection to a
//! healthy server that has something else to do for that long than read what we send it.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use rustls::ClientConfig;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, ToSocketAddrs, UnixStream, lookup_host};
use tokio::time::timeout;
use tokio_postgres::tls::{ChannelBinding, MakeTlsConnect, TlsConnect, TlsStream};
use tokio_postgres_rustls::MakeRustlsConnect;

/// Either kind of socket, or TLS over one.
pub(crate) trait Socket: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Socket for T {}

/// After this long without a word the kernel asks whether the other end is there, this often, and gives up after so many.
const KEEPALIVE: (Duration, Duration, u32) = (Duration::from_secs(5), Duration::from_secs(2), 3);

/// How long one address may take to be there.
const ADDRESS_PATIENCE: Duration = Duration::from_secs(3);

/// A connection over TCP, to the first address that is there; a machine that is gone does not hold an idle one for long.
pub(crate) async fn tcp(address: impl ToSocketAddrs) -> io::Result<TcpStream> {
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for address in lookup_host(address).await? {
        match timeout(ADDRESS_PATIENCE, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return kept_alive(stream),
            Ok(Err(error)) => last = error,
            Err(_) => last = io::ErrorKind::TimedOut.into(),
        }
    }
    Err(last)
}

fn kept_alive(stream: TcpStream) -> io::Result<TcpStream> {
    stream.set_nodelay(true)?;
    let (idle, interval, retries) = KEEPALIVE;
    let keepalive = TcpKeepalive::new().with_time(idle).with_interval(interval).with_retries(retries);
    SockRef::from(&stream).set_tcp_keepalive(&keepalive)?;
    Ok(stream)
}

/// What has passed over a connection, as its two ends see it. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Pulse(Arc<Mutex<Heard>>);

#[derive(Debug)]
struct Heard {
    /// When bytes passed last, in either direction.
    passed: Instant,
    /// How many answers are owed: one for each message that asks for ReadyForQuery.
    owed: usize,
    /// A read found nothing: whoever reads waits for the other end, and not the other way round.
    is_read: bool,
    /// What is to be sent is not taken.
    is_full: bool,
    sent: Sent,
    frames: Frames,
}

impl Default for Pulse {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Heard {
            passed: Instant::now(),
            owed: 0,
            is_read: false,
            is_full: false,
            sent: Sent::default(),
            frames: Frames::default(),
        })))
    }
}

impl Pulse {
    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For how long the other end has been waited for in silence. None: nothing is owed, or nobody reads.
    pub(crate) fn silent(&self) -> Option<Duration> {
        let heard = self.heard();
        (heard.is_full || heard.owed > 0 && heard.is_read).then(|| heard.passed.elapsed())
    }

    /// For how long nothing has passed.
    pub(crate) fn idle(&self) -> Duration {
        self.heard().passed.elapsed()
    }

    /// Begins anew, as inside TLS.
    fn restart(&self) {
        let mut heard = self.heard();
        (heard.owed, heard.sent, heard.frames) = (0, Sent::default(), Frames::default());
    }
}

impl Heard {
    fn read(&mut self, new: &[u8]) {
        self.passed = Instant::now();
        let owed = &mut self.owed;
        self.frames.take(new, |kind| {
            // `Z` is an answer's end. From `G` on the server takes rows, and the Sync that came with the statement is
            // passed over: what it owes then is for the Sync after the rows.
            if matches!(kind, b'Z' | b'G') {
                *owed = owed.saturating_sub(1);
            }
        });
    }

    fn write(&mut self, new: &[u8]) {
        self.passed = Instant::now();
        let owed = &mut self.owed;
        self.sent.take(new, || *owed += 1);
    }
}

/// Follows messages as far as their kinds.
#[derive(Debug, Default)]
struct Messages {
    /// The bytes of the head that is being read: a kind and a length.
    head: [u8; 5],
    /// How many of them there are.
    have: usize,
    /// How many bytes of the message are left.
    left: usize,
}

impl Messages {
    /// Calls for the kind of each message that begins in these bytes, which came next.
    fn take(&mut self, mut bytes: &[u8], mut begun: impl FnMut(u8)) {
        while let Some((&first, rest)) = bytes.split_first() {
            if self.left > 0 {
                let passed = self.left.min(bytes.len());
                self.left -= passed;
                bytes = bytes.get(passed..).unwrap_or_default();
                continue;
            }
            bytes = rest;
            if let Some(place) = self.head.get_mut(self.have) {
                *place = first;
            }
            self.have += 1;
            if self.have == self.head.len() {
                let [kind, a, b, c, d] = self.head;
                let length = usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(usize::MAX);
                self.left = length.saturating_sub(4);
                self.have = 0;
                begun(kind);
            }
        }
    }
}

/// What the server sends.
#[derive(Debug, Default)]
struct Frames {
    messages: Messages,
    /// The answer to the question for TLS, one byte without a length, is past.
    has_begun: bool,
}

impl Frames {
    fn take(&mut self, mut bytes: &[u8], begun: impl FnMut(u8)) {
        if !self.has_begun && !bytes.is_empty() {
            self.has_begun = true;
            // A server says first how it wants to be convinced, or why not; `N` and `S` are about TLS.
            if let [b'N' | b'S', rest @ ..] = bytes {
                bytes = rest;
            }
        }
        self.messages.take(bytes, begun);
    }
}

/// What we send.
#[derive(Debug, Default)]
struct Sent {
    /// The first messages have no kind: a length, and a number that says what they are.
    head: Vec<u8>,
    messages: Messages,
    has_begun: bool,
}

/// What the question for TLS has in the place of a version.
const ASKS_FOR_TLS: u32 = 80_877_103;

impl Sent {
    /// Calls for each message that asks for ReadyForQuery: the first, a query, a function call, and Sync.
    fn take(&mut self, mut bytes: &[u8], mut asked: impl FnMut()) {
        while !self.has_begun {
            let Some((&first, rest)) = bytes.split_first() else { return };
            bytes = rest;
            self.head.push(first);
            if let [a, b, c, d, e, f, g, h] = *self.head.as_slice() {
                self.head.clear();
                if u32::from_be_bytes([e, f, g, h]) != ASKS_FOR_TLS {
                    let length = usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(usize::MAX);
                    self.messages.left = length.saturating_sub(8);
                    self.has_begun = true;
                    asked();
                }
            }
        }
        self.messages.take(bytes, |kind| {
            if matches!(kind, b'Q' | b'F' | b'S') {
                asked();
            }
        });
    }
}

/// A stream whose passing bytes are noted.
pub(crate) struct Line<S> {
    io: S,
    pulse: Pulse,
}

impl<S> Line<S> {
    pub(crate) const fn new(io: S, pulse: Pulse) -> Self {
        Self { io, pulse }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Line<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.io).poll_read(cx, buf);
        let mut heard = self.pulse.heard();
        heard.is_read = read.is_pending();
        let new = buf.filled().get(before..).unwrap_or_default();
        if !new.is_empty() {
            heard.read(new);
        }
        drop(heard);
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Line<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(cx, buf);
        let mut heard = self.pulse.heard();
        heard.is_full = written.is_pending();
        if let Poll::Ready(Ok(taken)) = written {
            heard.write(buf.get(..taken).unwrap_or_default());
        }
        drop(heard);
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.io).poll_flush(cx);
        self.pulse.heard().is_full = flushed.is_pending();
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

impl<S: TlsStream + Unpin> TlsStream for Line<S> {
    fn channel_binding(&self) -> ChannelBinding {
        self.io.channel_binding()
    }
}

/// TLS whose messages are followed inside it: under it there is nothing to read.
pub(crate) struct Tls {
    rustls: <MakeRustlsConnect as MakeTlsConnect<Wire>>::TlsConnect,
    pulse: Pulse,
}

/// What TLS, or a plain connection, is spoken over.
pub(crate) type Wire = Line<Plain>;

/// A socket, of either kind.
pub(crate) enum Plain {
    /// Over the network.
    Tcp(TcpStream),
    /// A file's.
    Unix(UnixStream),
}

impl AsyncRead for Plain {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Plain {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Self::Unix(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

type Rustls = <MakeRustlsConnect as MakeTlsConnect<Wire>>::Stream;

impl Tls {
    /// # Errors
    /// The name is none that a certificate can have.
    pub(crate) fn new(config: &ClientConfig, host: &str, pulse: Pulse) -> io::Result<Self> {
        let mut make = MakeRustlsConnect::new(config.clone());
        let rustls = MakeTlsConnect::<Wire>::make_tls_connect(&mut make, host).map_err(io::Error::other)?;
        Ok(Self { rustls, pulse })
    }
}

impl TlsConnect<Wire> for Tls {
    type Stream = Line<Rustls>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Line<Rustls>>> + Send>>;

    fn connect(self, mut stream: Wire) -> Self::Future {
        let Self { rustls, pulse } = self;
        // Below, it is noise from here on.
        stream.pulse = Pulse::default();
        pulse.restart();
        Box::pin(async move {
            let secured = rustls.connect(stream).await.map_err(io::Error::other)?;
            Ok(Line::new(secured, pulse))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u8, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len() + 4).unwrap();
        [&[kind][..], &length.to_be_bytes(), body].concat()
    }

    fn startup(code: u32, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len() + 8).unwrap();
        [&length.to_be_bytes(), &code.to_be_bytes(), body].concat()
    }

    fn owed(pulse: &Pulse) -> usize {
        pulse.heard().owed
    }

    #[test]
    fn what_is_owed_is_counted_however_the_bytes_come() {
        let asked = [
            startup(ASKS_FOR_TLS, b""),
            startup(196_608, b"user\0Q\0\0"),
            message(b'p', b"SSSS\0"),
            message(b'Q', b"select\0"),
        ]
        .concat();
        let said =
            [message(b'R', &[0; 4]), message(b'Z', b"I"), message(b'D', &[b'Z'; 40]), message(b'Z', b"I")];
        let said = [&b"N"[..], &said.concat()].concat();
        for size in [1, 3, 7, 1_000] {
            let pulse = Pulse::default();
            asked.chunks(size).for_each(|part| pulse.heard().write(part));
            assert_eq!(owed(&pulse), 2, "in parts of {size}");
            said.chunks(size).for_each(|part| pulse.heard().read(part));
            assert_eq!(owed(&pulse), 0, "in parts of {size}");
        }
    }

    #[test]
    fn one_answer_is_not_the_next_ones() {
        let pulse = Pulse::default();
        pulse.heard().write(&startup(196_608, b""));
        pulse.heard().read(&message(b'Z', b"I"));
        // The closing of a statement and a query that follows it, both under way.
        pulse
            .heard()
            .write(&[message(b'C', b"Ss1\0"), message(b'S', b""), message(b'Q', b"select\0")].concat());
        pulse.heard().read(&[message(b'3', b""), message(b'Z', b"I")].concat());
        assert_eq!(owed(&pulse), 1);
        pulse.heard().read(&message(b'Z', b"I"));
        assert_eq!(owed(&pulse), 0);
    }

    #[test]
    fn a_server_that_waits_for_our_rows_owes_nothing() {
        let pulse = Pulse::default();
        pulse.heard().write(&startup(196_608, b""));
        pulse.heard().read(&message(b'Z', b"I"));
        pulse.heard().write(&[message(b'B', b"\0"), message(b'E', b"\0"), message(b'S', b"")].concat());
        assert_eq!(owed(&pulse), 1);
        pulse.heard().read(&[message(b'2', b""), message(b'G', b"\0\0\0")].concat());
        assert_eq!(owed(&pulse), 0);
        pulse.heard().write(&[message(b'd', b"SSQQ"), message(b'c', b""), message(b'S', b"")].concat());
        assert_eq!(owed(&pulse), 1);
        pulse.heard().read(&[message(b'C', b"COPY 1\0"), message(b'Z', b"I")].concat());
        assert_eq!(owed(&pulse), 0);
    }
}
