//! The bytes of a running replication, read ahead of who applies them.
//!
//! The race: a server ends a reader from which it has not heard for `wal_sender_timeout`, and an apply may take longer
//! than that. So a task of its own reads, and answers by itself with what was last confirmed, never with what was merely
//! read: a feedback above the durable checkpoint loses data silently. When its room is full it stops reading, but
//! goes on answering by the clock, since it does not see the server's questions then.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use journal::Lsn;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use crate::postgres::database::Database;
use crate::postgres::line::Socket;
use crate::postgres::pgoutput::{Malformed, Reader};
use crate::postgres::wire::{Frame, ServerError, WireError, server_error, take_frame};
use crate::seams::Cause;

/// How many bytes are read ahead.
const ROOM: u32 = 16 * 1024 * 1024;

/// How often the server hears of us unasked. The shortest sensible `wal_sender_timeout` is some seconds.
const STATUS_EVERY: Duration = Duration::from_secs(1);

/// How many times the server may leave us without an answer before the connection counts as dead.
const MAX_SILENT: u32 = 30;

/// What the server sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sent {
    /// A message of the output plugin.
    Message(Bytes),
    /// Everything that committed up to here was sent before. `asks`: the server waits for how far we have come, as it does
    /// when it shuts down.
    Alive {
        /// The place.
        at: Lsn,
        /// Whether it asks.
        asks: bool,
    },
}

/// Why nothing more comes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FeedError {
    /// The connection is gone.
    #[error("{0}")]
    Lost(Cause),
    /// The server ended it in words.
    #[error("{0}")]
    Refused(ServerError),
}

type Item = Result<(Sent, OwnedSemaphorePermit), FeedError>;

/// A running replication. Dropped, its connection closes.
pub struct Feed {
    items: mpsc::UnboundedReceiver<Item>,
    confirmed: watch::Sender<Lsn>,
    asked: Arc<Notify>,
    /// Ends the task with this.
    _task: JoinSet<()>,
}

impl fmt::Debug for Feed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Feed(confirmed {})", *self.confirmed.borrow())
    }
}

impl Feed {
    pub(crate) fn new(home: Database, io: Box<dyn Socket>, buf: BytesMut, from: Lsn) -> Self {
        let (sender, items) = mpsc::unbounded_channel();
        let (confirmed, heard) = watch::channel(from);
        let mut task = JoinSet::new();
        let asked = Arc::new(Notify::new());
        let mut pump = Pump {
            io,
            buf,
            confirmed: heard,
            asked: Arc::clone(&asked),
            out: sender,
            room: Arc::new(semaphore()),
        };
        task.spawn(async move {
            if let Err(error) = pump.run().await {
                let error = match error {
                    WireError::Server(error) => FeedError::Refused(ServerError {
                        message: home.scrub(&error.message),
                        code: error.code,
                    }),
                    other => FeedError::Lost(Cause(
                        home.scrub(&format!("the {} stopped sending its changes: {other}", home.side())),
                    )),
                };
                // Nobody listens any more: the stream was dropped.
                let _heard = pump.out.send(Err(error)).is_ok();
            }
        });
        Self { items, confirmed, asked, _task: task }
    }

    /// What comes next. Cancellation safe.
    ///
    /// # Errors
    /// Nothing more comes.
    pub async fn next(&mut self) -> Result<Sent, FeedError> {
        match self.items.recv().await {
            Some(Ok((sent, _room))) => Ok(sent),
            Some(Err(error)) => Err(error),
            None => Err(FeedError::Lost(Cause("the reader of the change stream has ended".to_owned()))),
        }
    }

    /// What is there already.
    pub fn ready(&mut self) -> Option<Result<Sent, FeedError>> {
        Some(self.items.try_recv().ok()?.map(|(sent, _room)| sent))
    }

    /// Asks the server how far it has come.
    pub fn ask(&self) {
        self.asked.notify_one();
    }

    /// Tells the server that everything up to here is durable elsewhere. It never goes back.
    pub fn confirm(&self, at: Lsn) {
        self.confirmed.send_if_modified(|confirmed| {
            let newer = at > *confirmed;
            *confirmed = at.max(*confirmed);
            newer
        });
    }
}

fn semaphore() -> Semaphore {
    Semaphore::new(usize::try_from(ROOM).unwrap_or(Semaphore::MAX_PERMITS))
}

struct Pump {
    io: Box<dyn Socket>,
    buf: BytesMut,
    confirmed: watch::Receiver<Lsn>,
    asked: Arc<Notify>,
    out: mpsc::UnboundedSender<Item>,
    room: Arc<Semaphore>,
}

impl Pump {
    async fn run(&mut self) -> Result<(), WireError> {
        let mut tick = tokio::time::interval(STATUS_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut waiting: Option<(Sent, u32)> = None;
        let asked = Arc::clone(&self.asked);
        let mut silent = 0_u32;
        loop {
            while waiting.is_none() {
                let Some(frame) = take_frame(&mut self.buf)? else { break };
                waiting = self.receive(frame).await?;
                if let Some((sent, size)) = waiting.take() {
                    match Arc::clone(&self.room).try_acquire_many_owned(size) {
                        Ok(permit) => self.hand_over(sent, permit)?,
                        Err(_) => waiting = Some((sent, size)),
                    }
                }
            }
            let size = waiting.as_ref().map_or(0, |(_, size)| *size);
            if self.buf.capacity() - self.buf.len() < 16 * 1024 {
                self.buf.reserve(256 * 1024);
            }
            tokio::select! {
                changed = self.confirmed.changed() => match changed {
                    Ok(()) => self.status(false).await?,
                    Err(_) => return Ok(()),
                },
                () = asked.notified() => self.status(true).await?,
                _ = tick.tick() => {
                    // While there is no room nothing is read, so nothing can be heard.
                    silent = if waiting.is_some() { 0 } else { silent + 1 };
                    if silent > MAX_SILENT {
                        return Err(WireError::Io(io::ErrorKind::TimedOut.into()));
                    }
                    self.status(true).await?;
                }
                permit = Arc::clone(&self.room).acquire_many_owned(size), if waiting.is_some() => {
                    let permit = permit.map_err(|_| Malformed("the room for reading ahead is closed"))?;
                    if let Some((sent, _)) = waiting.take() {
                        self.hand_over(sent, permit)?;
                    }
                }
                read = self.io.read_buf(&mut self.buf), if waiting.is_none() => {
                    silent = 0;
                    if read? == 0 {
                        return Err(WireError::Io(io::ErrorKind::UnexpectedEof.into()));
                    }
                }
            }
        }
    }

    fn hand_over(&self, sent: Sent, permit: OwnedSemaphorePermit) -> Result<(), WireError> {
        self.out
            .send(Ok((sent, permit)))
            .map_err(|_| WireError::Io(io::Error::other("nobody reads the stream any more")))
    }

    /// Reads one frame; answers the server's question at once.
    async fn receive(&mut self, frame: Frame) -> Result<Option<(Sent, u32)>, WireError> {
        match frame.tag {
            b'd' => {}
            b'E' => return Err(WireError::Server(server_error(frame.body)?)),
            b'c' => return Err(WireError::Refused("the server ended the replication".to_owned())),
            _ => return Ok(None),
        }
        let size = u32::try_from(frame.body.len()).unwrap_or(ROOM).min(ROOM);
        let mut reader = Reader(frame.body);
        match reader.byte()? {
            b'w' => {
                let _places_and_time = reader.bytes(24)?;
                Ok(Some((Sent::Message(reader.0), size)))
            }
            b'k' => {
                let (end, _time) = (reader.long()?, reader.long()?);
                let asks = reader.byte()? == 1;
                if asks {
                    self.status(false).await?;
                }
                Ok(Some((Sent::Alive { at: Lsn::new(end), asks }, size)))
            }
            _ => Err(Malformed("an unknown kind of replication data").into()),
        }
    }

    /// A standby status update: written, flushed and applied are all what was confirmed.
    async fn status(&mut self, asks: bool) -> Result<(), WireError> {
        let at = self.confirmed.borrow_and_update().get();
        let mut out = BytesMut::with_capacity(39);
        out.put_u8(b'd');
        out.put_u32(38);
        out.put_u8(b'r');
        for _ in 0..3 {
            out.put_u64(at);
        }
        out.put_i64(0);
        out.put_u8(u8::from(asks));
        Ok(self.io.write_all(&out).await?)
    }
}
