//! A link to a server that can die by halves: its connections stay, take bytes, and bring none.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context as _, Result};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Forwards connections to a port of this machine. Dropped, all of them end.
#[derive(Debug)]
pub struct Link {
    port: u16,
    /// Connections with a lower number are dead.
    alive_from: watch::Sender<u64>,
    made: Arc<AtomicU64>,
    accepting: JoinHandle<()>,
}

impl Link {
    /// A link to this port.
    ///
    /// # Errors
    /// There is no port for it.
    pub async fn to(server: u16) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.context("a port for the link")?;
        let port = listener.local_addr()?.port();
        let alive_from = watch::Sender::new(0);
        let made = Arc::new(AtomicU64::new(0));
        let (heard, number) = (alive_from.subscribe(), Arc::clone(&made));
        let accepting = tokio::spawn(async move {
            let mut open = tokio::task::JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let Ok(server) = TcpStream::connect(("127.0.0.1", server)).await else { continue };
                let one = number.fetch_add(1, Ordering::SeqCst);
                let ((from_client, to_client), (from_server, to_server)) =
                    (client.into_split(), server.into_split());
                open.spawn(forward(one, heard.clone(), from_client, to_server));
                open.spawn(forward(one, heard.clone(), from_server, to_client));
            }
        });
        Ok(Self { port, alive_from, made, accepting })
    }

    /// Its own port.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Nothing passes any more, over no connection, old or new.
    pub fn die(&self) {
        self.alive_from.send_replace(u64::MAX);
    }

    /// What is connected from now on passes; what was connected before stays dead.
    pub fn revive(&self) {
        self.alive_from.send_replace(self.made.load(Ordering::SeqCst));
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Forwards one way for as long as the connection is alive, then holds both sockets open without a word.
async fn forward(
    number: u64,
    mut alive_from: watch::Receiver<u64>,
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
) {
    let mut bytes = vec![0; 16 * 1024];
    loop {
        tokio::select! {
            biased;
            is_dead = async { alive_from.wait_for(|first| number < *first).await.is_ok() } => {
                if is_dead {
                    std::future::pending::<()>().await;
                }
                return;
            }
            read = from.read(&mut bytes) => match read {
                Ok(some @ 1..) => {
                    if to.write_all(bytes.get(..some).unwrap_or_default()).await.is_err() {
                        return;
                    }
                }
                Ok(_) | Err(_) => return,
            },
        }
    }
}
