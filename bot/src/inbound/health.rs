//! What those who watch ask for: whether it is well, and the numbers.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use journal::Timestamp;
use journal_store::StoreError;
use serde_json::json;

use super::{Doors, json_body};
use crate::metrics::{Look, page};

/// How far this machine's clock may be from the journal database's. Signed times are believed within five minutes, so at one
/// something is wrong and nothing is lost yet.
pub const CLOCK_LIMIT: Duration = Duration::from_secs(60);

/// How long the journal may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Asks the journal, and gives up soon: whoever watches has a limit of their own.
async fn soon<T>(answer: impl Future<Output = Result<T, StoreError>>) -> Option<T> {
    match tokio::time::timeout(PATIENCE, answer).await {
        Ok(Ok(answer)) => Some(answer),
        Ok(Err(error)) => {
            tracing::error!(%error, "the journal does not answer");
            None
        }
        Err(_) => {
            tracing::error!(seconds = PATIENCE.as_secs(), "the journal does not answer in time");
            None
        }
    }
}

impl Doors {
    /// The journal database's clock, and how far it is before this machine's, in milliseconds.
    async fn clocks(&self) -> Result<(Timestamp, i64), StoreError> {
        let before = self.clock.now_millis();
        let now = self.store.now().await?;
        // The database read its clock somewhere between.
        let ours = before + (self.clock.now_millis() - before) / 2;
        Ok((now, now.millis().saturating_sub(ours)))
    }
}

pub(super) async fn health(State(doors): State<Arc<Doors>>) -> Response {
    let looked = soon(async { Ok((doors.mailroom.waiting().await?, doors.clocks().await?.1)) }).await;
    let Some(((inbox, outbox), difference)) = looked else {
        return (StatusCode::SERVICE_UNAVAILABLE, json_body(&json!({"status": "no journal"})))
            .into_response();
    };
    let is_far = u128::from(difference.unsigned_abs()) > CLOCK_LIMIT.as_millis();
    if is_far {
        tracing::error!(
            milliseconds = difference,
            "this machine's clock differs from the journal database's"
        );
    }
    let status = if is_far { "clock differs" } else { "ok" };
    let body = json!({"status": status, "inbox": inbox, "outbox": outbox, "clock_difference_ms": difference});
    let code = if is_far { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    (code, json_body(&body)).into_response()
}

pub(super) async fn metrics(State(doors): State<Arc<Doors>>) -> Response {
    let looked = soon(async {
        let (now, clock_difference) = doors.clocks().await?;
        let (state, reported) = (doors.store.state().await?, doors.store.reported().await?);
        let (waiting, oldest) = (doors.mailroom.waiting().await?, doors.mailroom.oldest().await?);
        Ok((state, reported, now, clock_difference, waiting, oldest))
    })
    .await;
    let text = match &looked {
        Some((state, reported, now, clock_difference, waiting, oldest)) => page(Some(&Look {
            state,
            reported,
            now: *now,
            clock_difference: *clock_difference,
            waiting: *waiting,
            oldest: *oldest,
        })),
        None => page(None),
    };
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}
