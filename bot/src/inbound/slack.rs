//! Slack's requests: over HTTP, signed, and through a socket, they are heard the same.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use journal::plan::Platform;
use serde_json::{Value, json};

use super::signature::Labelled;
use super::{Doors, believed, form, json_body, read, signature};
use crate::slack::{self, Answer, Readers, Settings, Windows};
use crate::status::Report;
use crate::words;

/// Slack's requests.
#[derive(Debug)]
pub struct SlackDoor {
    /// What they are signed with. None: they come through a socket alone.
    pub secrets: Vec<Labelled>,
    /// What is listened to.
    pub settings: Settings,
    /// Opens windows.
    pub windows: Windows,
    /// Who looks at the home tab.
    pub readers: Arc<Readers>,
}

/// What a sender is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// That it was taken, and perhaps something to show at once.
    Taken(Option<Value>),
    /// A text that it asked for.
    Text(String),
    /// That it is of no concern.
    Nothing,
    /// That it cannot be read.
    Malformed,
    /// That it was not kept.
    Unkept,
}

impl Doors {
    /// What is listened to in Slack.
    pub(crate) fn slack_settings(&self) -> Option<&Settings> {
        self.slack.as_ref().map(|door| &door.settings)
    }

    /// Does what a request needs before it is acknowledged. `shown` goes with the acknowledgement of what is kept.
    pub(crate) async fn hear_slack(&self, answer: Answer, shown: Option<Value>) -> Told {
        let Some(door) = &self.slack else { return Told::Nothing };
        match answer {
            Answer::Letter(letter) => {
                if self.kept(&letter).await {
                    Told::Taken(shown)
                } else {
                    Told::Unkept
                }
            }
            Answer::Window(press) => {
                door.windows.open(&press).await;
                Told::Taken(None)
            }
            Answer::Unheard(response_url) => {
                door.windows.refuse(response_url.as_deref(), &words::not_heard_here()).await;
                Told::Taken(None)
            }
            Answer::Amend(text) => {
                Told::Taken(Some(json!({"response_action": "errors", "errors": {slack::REASON: text}})))
            }
            Answer::Home(user) => {
                door.readers.opened(&user);
                match self.show_home(door, &user).await {
                    Ok(()) => Told::Taken(None),
                    Err(error) => {
                        tracing::warn!(%error, "a home tab was not shown");
                        Told::Unkept
                    }
                }
            }
            Answer::Echo(text) => Told::Text(text),
            // What is told at once, to the person alone.
            Answer::Elsewhere => {
                Told::Taken(Some(json!({"response_type": "ephemeral", "text": words::not_heard_here()})))
            }
            Answer::Nothing => Told::Nothing,
            Answer::Malformed => Told::Malformed,
        }
    }

    async fn show_home(&self, door: &SlackDoor, user: &str) -> Result<(), journal_store::StoreError> {
        let store = &door.windows.store;
        let (state, reported, now) = (store.state().await?, store.reported().await?, store.now().await?);
        let text = Report::new(&state, &reported, now, None).map(|report| words::status(&report));
        let draft = slack::home(user, &text.unwrap_or_default(), Duration::ZERO);
        self.mailroom.write(&[draft]).await
    }

    fn slack(&self, headers: &HeaderMap, body: &[u8]) -> Result<&Settings, StatusCode> {
        let Some(door) = &self.slack else { return Err(StatusCode::NOT_FOUND) };
        believed(Platform::Slack, signature::slack(&door.secrets, headers, body, self.seconds()))?;
        Ok(&door.settings)
    }
}

/// An answer over HTTP. Slack takes nothing but 200 for an interaction or a command.
fn over_http(told: Told) -> Response {
    match told {
        Told::Taken(Some(shown)) => json_body(&shown),
        Told::Taken(None) | Told::Nothing => StatusCode::OK.into_response(),
        Told::Text(text) => ([(header::CONTENT_TYPE, "text/plain")], text).into_response(),
        Told::Malformed => StatusCode::BAD_REQUEST.into_response(),
        Told::Unkept => StatusCode::SERVICE_UNAVAILABLE.into_response(),
    }
}

pub(super) async fn command(State(doors): State<Arc<Doors>>, headers: HeaderMap, body: Body) -> Response {
    match form_of(&doors, &headers, body, slack::command).await {
        // What was said is shown to the channel, as the answer will be.
        Ok(answer) => over_http(doors.hear_slack(answer, Some(json!({"response_type": "in_channel"}))).await),
        Err(status) => status.into_response(),
    }
}

pub(super) async fn interaction(State(doors): State<Arc<Doors>>, headers: HeaderMap, body: Body) -> Response {
    match form_of(&doors, &headers, body, slack::interaction).await {
        Ok(answer) => over_http(doors.hear_slack(answer, None).await),
        Err(status) => status.into_response(),
    }
}

async fn form_of(
    doors: &Doors,
    headers: &HeaderMap,
    body: Body,
    receive: impl FnOnce(&BTreeMap<String, String>, &Settings) -> Answer,
) -> Result<Answer, StatusCode> {
    let body = read(body).await?;
    let settings = doors.slack(headers, &body)?;
    let form = form::read(&body).ok_or(StatusCode::BAD_REQUEST)?;
    Ok(receive(&form, settings))
}

pub(super) async fn event(State(doors): State<Arc<Doors>>, headers: HeaderMap, body: Body) -> Response {
    let body = match read(body).await {
        Ok(body) => body,
        Err(status) => return status.into_response(),
    };
    match doors.slack(&headers, &body) {
        Ok(settings) => match doors.hear_slack(slack::event(&body, settings), None).await {
            Told::Nothing => StatusCode::NO_CONTENT.into_response(),
            told => over_http(told),
        },
        Err(status) => status.into_response(),
    }
}
