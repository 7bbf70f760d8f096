//! Discord's interactions: over HTTP, signed, and through the gateway, they are heard the same.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use ed25519_dalek::VerifyingKey;
use journal::plan::Platform;
use serde_json::{Value, json};

use super::{Doors, believed, json_body, read, signature};
use crate::discord::{Answer, Reception, Settings, receive, whispered};
use crate::words;

/// Discord's interactions.
#[derive(Debug)]
pub struct DiscordDoor {
    /// What they are signed with. None: they come through the gateway alone.
    pub key: Option<VerifyingKey>,
    /// What is listened to.
    pub settings: Settings,
    /// Answers what is no word.
    pub reception: Reception,
}

/// What came of an interaction.
#[derive(Debug, Clone, PartialEq)]
pub enum Heard {
    /// It is answered with this.
    Answer(Value),
    /// It is of no concern.
    Nothing,
    /// It cannot be read.
    Malformed,
    /// It was not kept.
    Unkept,
}

// The kinds of answers.
const PONG: u8 = 1;
const DEFERRED: u8 = 5;

impl Doors {
    /// What is listened to in Discord.
    pub(crate) fn discord_settings(&self) -> Option<&Settings> {
        self.discord.as_ref().map(|door| &door.settings)
    }

    /// Does what an interaction needs before it is answered.
    pub(crate) async fn hear_discord(&self, answer: Answer) -> Heard {
        let Some(door) = &self.discord else { return Heard::Nothing };
        match answer {
            Answer::Pong => Heard::Answer(json!({"type": PONG})),
            Answer::Letter(letter) => {
                if self.kept(&letter).await {
                    Heard::Answer(json!({"type": DEFERRED}))
                } else {
                    Heard::Unkept
                }
            }
            Answer::Window(press) => Heard::Answer(door.reception.window(&press).await),
            Answer::Complete(typing) => Heard::Answer(door.reception.complete(&typing).await),
            Answer::Elsewhere => Heard::Answer(whispered(&words::not_heard_here())),
            Answer::Nothing => Heard::Nothing,
            Answer::Malformed => Heard::Malformed,
        }
    }
}

pub(super) async fn interaction(State(doors): State<Arc<Doors>>, headers: HeaderMap, body: Body) -> Response {
    let Some(door) = &doors.discord else { return StatusCode::NOT_FOUND.into_response() };
    let Some(key) = &door.key else { return StatusCode::NOT_FOUND.into_response() };
    let body = match read(body).await {
        Ok(body) => body,
        Err(status) => return status.into_response(),
    };
    let signed = signature::discord(key, &headers, &body, doors.seconds());
    if let Err(status) = believed(Platform::Discord, signed.map(|()| "public_key")) {
        return status.into_response();
    }
    match doors.hear_discord(receive(&body, &door.settings)).await {
        Heard::Answer(answer) => json_body(&answer),
        Heard::Nothing => StatusCode::NO_CONTENT.into_response(),
        Heard::Malformed => StatusCode::BAD_REQUEST.into_response(),
        Heard::Unkept => StatusCode::SERVICE_UNAVAILABLE.into_response(),
    }
}
