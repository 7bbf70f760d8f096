//! A double's server, and what it can be told to do wrong.

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};

use anyhow::Result;
use axum::Router;
use axum::body::Body;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use futures::stream;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// A running server; it ends when it is dropped.
#[derive(Debug)]
pub struct Served {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Served {
    /// Serves on a port of its own.
    ///
    /// # Errors
    /// It cannot listen.
    pub async fn start(make: impl FnOnce(SocketAddr) -> Router) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let router = make(address);
        let task = tokio::spawn(async move {
            // It ends with the test; an error would show as a connection that breaks.
            axum::serve(listener, router).await.ok();
        });
        Ok(Self { address, task })
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What a double does instead of its duty, once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// Answers this status and does nothing.
    Status(u16),
    /// Refuses with the platform's own error.
    Refuse(String),
    /// Says that it is too much, for so many seconds.
    Limit(u64),
    /// Does it, and loses the answer on the way.
    LoseAnswer,
}

/// Faults that wait for their call, by the name of the call.
#[derive(Debug, Default)]
pub struct Faults(Mutex<BTreeMap<String, VecDeque<Fault>>>);

impl Faults {
    /// The next call of this name goes wrong; several wait for several calls.
    pub fn next(&self, call: &str, fault: Fault) {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.entry(call.to_owned()).or_default().push_back(fault);
    }

    /// What this call does wrong.
    #[must_use]
    pub fn take(&self, call: &str) -> Option<Fault> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get_mut(call)?.pop_front()
    }

    /// Whether all of them have happened.
    #[must_use]
    pub fn are_spent(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).values().all(VecDeque::is_empty)
    }
}

/// A JSON answer.
#[must_use]
pub fn json(status: StatusCode, value: &Value) -> Response {
    (status, [("content-type", "application/json")], value.to_string()).into_response()
}

/// An answer that breaks off: whoever reads it does not know what was done.
#[must_use]
pub fn broken() -> Response {
    let error = std::io::Error::other("the answer was lost");
    let body = Body::from_stream(stream::iter([Err::<&'static str, _>(error)]));
    (StatusCode::OK, [("content-type", "application/json")], body).into_response()
}

/// What a call came to, sent or lost.
pub(crate) async fn carried(fault: Option<Fault>, done: impl Future<Output = Response>) -> Response {
    let answer = done.await;
    if fault == Some(Fault::LoseAnswer) { broken() } else { answer }
}
